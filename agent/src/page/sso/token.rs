//! What an ID token says, once it is known that the provider has said it, to us, and in this login: OpenID Connect Core 1.0,
//! section 3.1.3.7. Signatures are verified by ring, as those of TLS are.

use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, Header, Validation,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    decode, decode_header,
    errors::{Error, ErrorKind},
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
    signature::{self, Verifier},
};
use ring::signature as verification;
use serde::Deserialize;
use serde_json::Value;

/// How far the provider's clock may be from ours, in seconds.
const LEEWAY: i64 = 60;
/// Longest subject: OpenID Connect Core 1.0, section 2.
const SUBJECT: usize = 255;

/// Longest address: RFC 5321, section 4.5.3.1.3.
const EMAIL: usize = 254;

/// What signs an ID token. Nothing that who knows the client's secret, or nobody's secret, could sign with.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// What a token has to be about.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client: &'a str,
    pub nonce: &'a str,
    pub now: Timestamp,
}

/// Who has logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Who that is to the issuer, for good.
    pub subject: String,
    /// The address, if the issuer has verified it.
    pub email: Option<String>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    #[error("it is malformed")]
    Malformed,
    #[error("it is not signed as it has to be")]
    Algorithm,
    #[error("the provider has no such key")]
    Key,
    #[error("its signature is not the provider's")]
    Signature,
    #[error("it is another issuer's")]
    Issuer,
    #[error("it is for another client")]
    Audience,
    #[error("its time is over, or has not come")]
    Time,
    #[error("it is of another login")]
    Nonce,
    #[error("its subject is none")]
    Subject,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    // Seconds since 1970, in JSON a number of any kind.
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    nonce: Option<String>,
    email: Option<Value>,
    email_verified: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Who has logged in, by this token.
///
/// # Errors
/// It is not what is expected, or no key of `keys` has signed it. [`Bad::Key`]: the provider may have a newer one.
pub fn read(token: &str, keys: &[Jwk], expected: &Expected<'_>) -> Result<Found, Bad> {
    // An error says that it is installed already.
    let _ = PROVIDER.install_default();
    let header = decode_header(token).map_err(|error| match error.kind() {
        // Also "none", which the library does not know.
        ErrorKind::Json(_) => Bad::Algorithm,
        _ => Bad::Malformed,
    })?;
    // Extensions that have to be understood, and are not.
    if header.crit.is_some() {
        return Err(Bad::Malformed);
    }
    if !ALGORITHMS.contains(&header.alg) {
        return Err(Bad::Algorithm);
    }
    let key = DecodingKey::from_jwk(key(keys, &header)?).map_err(|_| Bad::Key)?;
    let claims = decode::<Claims>(token, &key, &signature_only(header.alg)).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => Bad::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidKeyFormat => Bad::Algorithm,
        _ => Bad::Malformed,
    })?;
    judge(claims.claims, expected)
}

/// The library checks the signature; what is claimed is checked here, with its reasons.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    (validation.validate_exp, validation.validate_nbf, validation.validate_aud) = (false, false, false);
    validation.required_spec_claims.clear();
    validation
}

/// The key that the header names; without a name, the only one that it can be.
fn key<'a>(keys: &'a [Jwk], header: &Header) -> Result<&'a Jwk, Bad> {
    let mut fitting = keys.iter().filter(|key| fits(key, header.alg));
    let found = match &header.kid {
        Some(kid) => fitting.find(|key| key.common.key_id.as_ref() == Some(kid)),
        None => fitting.next().filter(|_| fitting.next().is_none()),
    };
    found.ok_or(Bad::Key)
}

/// Whether a key is for signatures of that kind.
fn fits(key: &Jwk, algorithm: Algorithm) -> bool {
    let signs = !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_)));
    let named = key.common.key_algorithm.is_none_or(|named| named == of(algorithm));
    let kind = match &key.algorithm {
        AlgorithmParameters::RSA(_) => !matches!(algorithm, Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA),
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => algorithm == Algorithm::ES256,
            EllipticCurve::P384 => algorithm == Algorithm::ES384,
            _ => false,
        },
        AlgorithmParameters::OctetKeyPair(curve) => {
            curve.curve == EllipticCurve::Ed25519 && algorithm == Algorithm::EdDSA
        }
        _ => false,
    };
    signs && named && kind
}

/// As keys name it.
fn of(algorithm: Algorithm) -> KeyAlgorithm {
    match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::RS384 => KeyAlgorithm::RS384,
        Algorithm::RS512 => KeyAlgorithm::RS512,
        Algorithm::PS256 => KeyAlgorithm::PS256,
        Algorithm::PS384 => KeyAlgorithm::PS384,
        Algorithm::PS512 => KeyAlgorithm::PS512,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::ES384 => KeyAlgorithm::ES384,
        Algorithm::EdDSA => KeyAlgorithm::EdDSA,
        _ => KeyAlgorithm::UNKNOWN_ALGORITHM,
    }
}

fn judge(claims: Claims, expected: &Expected<'_>) -> Result<Found, Bad> {
    let is_ours = |client: &String| client == expected.client;
    let (for_us, alone) = match &claims.aud {
        Audience::One(client) => (is_ours(client), true),
        Audience::Several(clients) => (clients.iter().any(is_ours), clients.len() == 1),
    };
    // Where others are meant, too, it has to say that it was made for us.
    let made_for_us = claims.azp.as_ref().map_or(alone, is_ours);
    let now = expected.now.as_second() as f64;
    let leeway = LEEWAY as f64;
    let in_time = now < claims.exp + leeway && claims.iat.max(claims.nbf.unwrap_or(0.0)) <= now + leeway;
    let subject = claims.sub;
    if claims.iss != expected.issuer {
        Err(Bad::Issuer)
    } else if !for_us || !made_for_us {
        Err(Bad::Audience)
    } else if !in_time {
        Err(Bad::Time)
    } else if claims.nonce.as_deref() != Some(expected.nonce) {
        Err(Bad::Nonce)
    } else if subject.is_empty() || subject.len() > SUBJECT || !subject.is_ascii() {
        Err(Bad::Subject)
    } else {
        // A text "true" is what somebody wrote, not what the provider found.
        let verified = claims.email_verified == Some(Value::Bool(true));
        let email = claims.email.as_ref().filter(|_| verified).and_then(Value::as_str);
        let email = email.filter(|email| email.len() <= EMAIL).map(str::to_owned);
        Ok(Found { subject, email })
    }
}

/// Verification alone, by ring.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory,
    key_utils: KeyUtils::new_unimplemented(),
};

fn verifier_factory(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    if algorithm.family() != key.family() || !ALGORITHMS.contains(algorithm) {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(Ring { algorithm: *algorithm, key: key.kind().clone() }))
}

struct Ring {
    algorithm: Algorithm,
    key: DecodingKeyKind,
}

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match (self.algorithm, &self.key) {
            (_, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let (n, e) = (without_zeros(n), without_zeros(e));
                let parameters = rsa(self.algorithm).ok_or_else(signature::Error::new)?;
                verification::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => {
                verification::UnparsedPublicKey::new(&verification::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
            }
            (Algorithm::ES384, DecodingKeyKind::SecretOrDer(point)) => {
                verification::UnparsedPublicKey::new(&verification::ECDSA_P384_SHA384_FIXED, point)
                    .verify(message, signature)
            }
            (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => {
                verification::UnparsedPublicKey::new(&verification::ED25519, point).verify(message, signature)
            }
            _ => return Err(signature::Error::new()),
        };
        verified.map_err(|_| signature::Error::new())
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static verification::RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &verification::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &verification::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &verification::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &verification::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &verification::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &verification::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// A number as ring wants it.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests;
