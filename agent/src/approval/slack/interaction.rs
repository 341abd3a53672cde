//! Clicks as Slack sends them: verified before they are read, by whatever way, each once.
//!
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use super::is_id;
use crate::{
    policy::Flaw,
    request::{Digest, HoldId, Word},
    scope::Scope,
};

/// How far a request's timestamp may be from now, in seconds: what Slack recommends.
const TOLERANCE: i64 = 300;
/// What the `action_id` of all that can be clicked begins with.
const OURS: &str = "holdpoint_";

/// What is not even that.
const MALFORMED: &str = "malformed: not an interaction";

/// The app's signing secret. Never shown.
pub struct Signing(String);

/// A request that Slack has made, told from others.
pub struct Verified {
    /// The same for no other.
    pub identity: [u8; 32],
    /// When, in seconds since 1970.
    pub timestamp: i64,
}

impl Signing {
    /// Reads the app's "Signing Secret".
    pub fn read(text: &str) -> Result<Self, Flaw> {
        let good = (32..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        let remedy = "the app's \"Signing Secret\": 32 hexadecimal digits";
        if good { Ok(Self(text.to_owned())) } else { Err(Flaw::new("not a signing secret", remedy)) }
    }

    /// The secret.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Whether Slack has signed this, not long from `now` (seconds since 1970).
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], now: i64) -> Result<Verified, &'static str> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let missing = "a header of Slack's is missing or malformed";
        let stamp = header("x-slack-request-timestamp").ok_or(missing)?;
        let digits = !stamp.is_empty() && stamp.bytes().all(|b| b.is_ascii_digit());
        let timestamp: i64 = stamp.parse().ok().filter(|_| digits).ok_or(missing)?;
        let signature = header("x-slack-signature").and_then(|text| text.strip_prefix("v0=")).ok_or(missing)?;
        let mac = bytes(signature).ok_or(missing)?;
        if now.abs_diff(timestamp) > TOLERANCE.unsigned_abs() {
            return Err("old timestamp");
        }
        let mut expected = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("HMAC takes keys of every length");
        expected.update(format!("v0:{stamp}:").as_bytes());
        expected.update(body);
        expected.verify_slice(&mac).map_err(|_| "bad signature")?;
        Ok(Verified { identity: mac, timestamp })
    }
}

fn bytes(hexadecimal: &str) -> Option<[u8; 32]> {
    let digits = hexadecimal.len() == 64 && hexadecimal.bytes().all(|b| b.is_ascii_hexdigit());
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate().filter(|_| digits) {
        *byte = u8::from_str_radix(hexadecimal.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    digits.then_some(bytes)
}

/// Requests of the last minutes. Older ones are refused by their timestamp; only who has the secret can add to them.
#[derive(Default)]
pub struct Seen(Mutex<HashMap<[u8; 32], i64>>);

impl Seen {
    /// Takes a request that was not there before.
    pub fn admit(&self, Verified { identity, timestamp }: Verified, now: i64) -> Result<(), &'static str> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, timestamp| now - *timestamp <= TOLERANCE);
        match seen.insert(identity, timestamp) {
            None => Ok(()),
            Some(_) => Err("replayed"),
        }
    }
}

/// One of our buttons, or what was chosen from our list, and who clicked it.
#[derive(Debug)]
pub struct Click {
    pub team: String,
    pub user: String,
    pub hold: HoldId,
    pub digest: Digest,
    pub word: Word,
    pub scope: Scope,
}

#[derive(Deserialize)]
struct Payload {
    r#type: String,
    team: Option<Team>,
    user: User,
    container: Container,
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct Team {
    id: String,
}

#[derive(Deserialize)]
struct User {
    id: String,
    team_id: Option<String>,
}

#[derive(Deserialize)]
struct Container {
    channel_id: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    /// Of a button.
    #[serde(default)]
    value: String,
    /// Of a list.
    selected_option: Option<Chosen>,
}

#[derive(Deserialize)]
struct Chosen {
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    hold: HoldId,
    digest: Digest,
    decision: Word,
    #[serde(default)]
    scope: Scope,
}

impl Click {
    /// What a verified form says; nothing if it is not about one of our buttons.
    pub fn of_form(body: &[u8], conversation: &str) -> Result<Option<Self>, &'static str> {
        let mut fields = form_urlencoded::parse(body);
        let (Some((name, payload)), None) = (fields.next(), fields.next()) else { return Err(MALFORMED) };
        let payload = serde_json::from_str(&payload).ok().filter(|_| name == "payload").ok_or(MALFORMED)?;
        Self::of(payload, conversation)
    }

    /// Likewise, of the interaction itself.
    pub fn of(payload: serde_json::Value, conversation: &str) -> Result<Option<Self>, &'static str> {
        let payload: Payload = serde_json::from_value(payload).map_err(|_| MALFORMED)?;
        let [Action { action_id, value, selected_option }] = &payload.actions[..] else { return Err(MALFORMED) };
        if payload.r#type != "block_actions" || !action_id.starts_with(OURS) {
            return Ok(None);
        }
        if payload.container.channel_id != conversation {
            return Err("clicked in another conversation");
        }
        let team = team(&payload).ok_or("whose team this is cannot be told")?;
        let value = selected_option.as_ref().map_or(value, |chosen| &chosen.value);
        let Value { hold, digest, decision: word, scope } =
            serde_json::from_str(value).map_err(|_| "malformed: not our button")?;
        let user = payload.user.id;
        if is_id(&user) { Ok(Some(Self { team, user, hold, digest, word, scope })) } else { Err(MALFORMED) }
    }
}

/// The team of who clicked. In a conversation shared with another one, it is not that of the app.
fn team(payload: &Payload) -> Option<String> {
    let own = payload.user.team_id.as_ref();
    let team = own.or(payload.team.as_ref().map(|team| &team.id))?;
    is_id(team).then(|| team.clone())
}
