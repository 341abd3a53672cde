//! Standard Webhooks 1.0.0: how a message is signed and verified, in both directions.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. Only `v1`
//! (HMAC-SHA256 with a shared secret); signatures of other versions are skipped, as the specification says.

use std::{fmt, str::FromStr};

use axum::http::HeaderMap;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::policy::Flaw;

/// Header that identifies a message, the same over all attempts to deliver it.
pub const ID: &str = "webhook-id";
/// Header with the time of the attempt, whole seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// Header with the signatures, separated by spaces.
pub const SIGNATURE: &str = "webhook-signature";

/// How far a message's timestamp may be from now, in seconds: what the official libraries take.
pub const TOLERANCE: i64 = 300;

/// Bytes that a secret may have.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret shared with a reviewer's side. Its bytes are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl FromStr for Secret {
    type Err = &'static str;

    /// Reads `whsec_` and the base64 of 24 to 64 bytes. The error never repeats the text.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let encoded = text.strip_prefix("whsec_").ok_or("it does not begin with whsec_")?;
        let bytes = BASE64.decode(encoded).map_err(|_| "what follows whsec_ is not base64")?;
        if LENGTHS.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err("it is not 24 to 64 bytes long") }
    }
}

impl Secret {
    /// These bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.into())
    }

    /// As [`Self::from_str`], with what to do about it.
    ///
    /// # Errors
    /// It is no such secret.
    pub fn read(text: &str) -> Result<Self, Flaw> {
        let remedy = "whsec_ and the base64 of 24 to 64 random bytes: echo whsec_$(openssl rand -base64 32)";
        text.parse().map_err(|flaw| Flaw::new(format!("not a secret: {flaw}"), remedy))
    }
}

/// Why a message is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A header is missing or cannot be read.
    Header,
    /// The timestamp is more than [`TOLERANCE`] from now.
    Timestamp,
    /// No signature in the header is right.
    Signature,
}

impl Rejection {
    /// It in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Header => "a webhook header is missing or malformed",
            Self::Timestamp => "old timestamp",
            Self::Signature => "bad signature",
        }
    }
}

/// The three headers of a message as received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// [`ID`].
    pub id: &'a str,
    /// [`TIMESTAMP`].
    pub timestamp: &'a str,
    /// [`SIGNATURE`].
    pub signature: &'a str,
}

impl<'a> Received<'a> {
    /// Those among `headers`.
    ///
    /// # Errors
    /// One is missing, or no text.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, Rejection> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Rejection::Header);
        Ok(Self { id: header(ID)?, timestamp: header(TIMESTAMP)?, signature: header(SIGNATURE)? })
    }
}

/// The headers of a message with `body`, sent at `timestamp` (seconds since 1970).
pub fn sign(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> [(&'static str, String); 3] {
    let signature = mac(secret, id, timestamp, body).finalize().into_bytes();
    let signature = format!("v1,{}", BASE64.encode(signature));
    [(ID, id.to_owned()), (TIMESTAMP, timestamp.to_string()), (SIGNATURE, signature)]
}

/// Whether `body` was signed with `secret`, no longer than [`TOLERANCE`] from `now` (seconds since 1970).
///
/// The signatures are compared in constant time. The body has to be the bytes as received.
pub fn verify(secret: &Secret, received: Received<'_>, body: &[u8], now: i64) -> Result<(), Rejection> {
    let timestamp = timestamp(received, now)?;
    let expected = mac(secret, received.id, timestamp, body);
    let fits =
        |encoded: &str| BASE64.decode(encoded).is_ok_and(|signature| expected.clone().verify_slice(&signature).is_ok());
    let mut signatures = received.signature.split(' ').filter_map(|signature| signature.strip_prefix("v1,"));
    if signatures.any(fits) { Ok(()) } else { Err(Rejection::Signature) }
}

fn timestamp(received: Received<'_>, now: i64) -> Result<i64, Rejection> {
    let digits = !received.timestamp.is_empty() && received.timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let timestamp = received.timestamp.parse::<i64>().ok().filter(|_| digits && !received.id.is_empty());
    let timestamp = timestamp.ok_or(Rejection::Header)?;
    if now.abs_diff(timestamp) > TOLERANCE.unsigned_abs() { Err(Rejection::Timestamp) } else { Ok(timestamp) }
}

fn mac(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).expect("HMAC takes keys of every length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the official libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> Secret {
        SECRET.parse().unwrap()
    }

    fn received(signature: &str) -> Received<'_> {
        Received { id: MESSAGE, timestamp: "1614265330", signature }
    }

    #[test]
    fn the_published_vector_is_signed_as_published() {
        let [id, timestamp, signature] = sign(&secret(), MESSAGE, SENT, BODY);
        assert_eq!((id.1.as_str(), timestamp.1.as_str()), (MESSAGE, "1614265330"));
        assert_eq!(signature, (SIGNATURE, SIGNED.to_owned()));
    }

    #[test]
    fn one_right_signature_among_several_is_enough() {
        let several = format!("v1a,AAAA v1,AAAA {SIGNED}");
        assert_eq!(verify(&secret(), received(&several), BODY, SENT), Ok(()));
    }

    #[test]
    fn another_body_id_time_or_secret_is_refused() {
        let wrong = Err(Rejection::Signature);
        let other: Secret = format!("whsec_{}", BASE64.encode([7; 24])).parse().unwrap();
        assert_eq!(verify(&secret(), received(SIGNED), br#"{"test": 2432232315}"#, SENT), wrong);
        assert_eq!(verify(&other, received(SIGNED), BODY, SENT), wrong);
        assert_eq!(verify(&secret(), Received { id: "msg_x", ..received(SIGNED) }, BODY, SENT), wrong);
        assert_eq!(verify(&secret(), Received { timestamp: "1614265331", ..received(SIGNED) }, BODY, SENT), wrong);
        assert_eq!(verify(&secret(), received(""), BODY, SENT), wrong);
    }

    #[test]
    fn five_minutes_is_the_limit_in_both_directions() {
        for now in [SENT - 300, SENT + 300] {
            assert_eq!(verify(&secret(), received(SIGNED), BODY, now), Ok(()));
        }
        for now in [SENT - 301, SENT + 301] {
            assert_eq!(verify(&secret(), received(SIGNED), BODY, now), Err(Rejection::Timestamp));
        }
    }

    #[test]
    fn a_timestamp_is_digits_only() {
        for timestamp in ["", "+1614265330", "-1", "1614265330.0", "99999999999999999999"] {
            let refused = verify(&secret(), Received { timestamp, ..received(SIGNED) }, BODY, SENT);
            assert_eq!(refused, Err(Rejection::Header));
        }
    }

    #[test]
    fn a_secret_is_whsec_and_24_to_64_bytes_and_never_shown() {
        for bad in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_***", "whsec_", "whsec_AAAA"] {
            assert!(bad.parse::<Secret>().is_err(), "{bad}");
        }
        let shown = format!("{:?}", secret());
        assert_eq!(shown, "Secret(hidden)");
    }
}
