//! Logging in by a provider of OpenID Connect: authorization code with PKCE, bound to the browser that began it.
//!
//! ```text
//! browser -- GET /sso ------> Attempt; a cookie, and on to the provider: state, nonce, challenge
//! browser <- logs in there -> provider
//! browser -- GET /sso/done -> its code and state; the cookie
//!                             agent -- code, verifier, secret --> provider -- ID token --> token.rs: who that is
//! ```
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html>, RFC 6749, RFC 7636 (PKCE), RFC 9207 (`iss`).

mod attempts;
mod provider;
mod token;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use toml::Spanned;

pub use self::attempts::LIFETIME;
use self::{attempts::Attempts, provider::Provider};
use crate::{
    approval::{card, http::Http},
    config::{Files, at, destination},
    policy::{Flaw, Problem},
    request::{Account, Entrance, HoldId},
};

/// Where the provider sends browsers back to.
pub const BACK: &str = "/sso/done";
/// Logins that are brought to their end at a time.
const ENDING: usize = 8;
/// How long one waits for its turn: of what a connection has, most is left.
const TURN: Duration = Duration::from_secs(15);
/// Longest code, in bytes.
const CODE: usize = 4096;

/// A login by a provider.
pub struct Sso {
    client: Client,
    scope: String,
    /// Whether a verified address leads to a reviewer.
    email: bool,
    provider: Provider,
    // A std mutex: nothing is awaited while it is held.
    attempts: Mutex<Attempts>,
    ending: Semaphore,
}

/// What we are to the provider.
struct Client {
    issuer: String,
    id: String,
    secret: String,
    redirect: String,
    http: Http,
}

/// The keys of `[page.sso]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub issuer: Spanned<String>,
    client_id: Spanned<String>,
    client_secret_file: Option<Spanned<PathBuf>>,
    client_secret_credential: Option<Spanned<String>>,
    ca_file: Option<Spanned<PathBuf>>,
    scopes: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    email: bool,
}

/// Where a browser goes to log in.
pub struct Begun {
    pub to: Url,
    /// What it keeps meanwhile.
    pub cookie: String,
}

/// Who has logged in, and where that leads.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub entrance: Entrance,
    pub hold: Option<HoldId>,
}

impl fmt::Debug for Sso {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sso").field("issuer", &self.client.issuer).finish_non_exhaustive()
    }
}

impl Sso {
    /// Reads the keys; `page` is what browsers call the page.
    ///
    /// # Errors
    /// One is not as it must be, or a file that it names.
    pub fn read(raw: &Raw, page: &str, files: &mut Files<'_>) -> Result<Self, Problem> {
        let url = destination::read(&raw.issuer)?;
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() {
            return Err(at(&raw.issuer, "this is no issuer", "https://host/path, as the provider calls itself"));
        }
        if raw.client_id.get_ref().is_empty() {
            return Err(at(&raw.client_id, "this is no client", "the id that the provider gave to Holdpoint"));
        }
        let (file, credential) = (&raw.client_secret_file, &raw.client_secret_credential);
        let secret = files.secret("client_secret_file", file, "client_secret_credential", credential, secret)?;
        let authorities = raw.ca_file.as_ref().map(|file| files.authorities(file)).transpose()?;
        let remedy = "install ca-certificates, or name the authorities: ca_file = \"...\"";
        let http = Http::new(&url, authorities.as_deref()).map_err(|flaw| at(&raw.issuer, flaw, remedy))?;
        let scope = scope(raw)?;
        let (issuer, id) = (raw.issuer.get_ref().clone(), raw.client_id.get_ref().clone());
        let client = Client { issuer, id, secret, redirect: format!("{page}{BACK}"), http };
        Ok(Self {
            client,
            scope,
            email: raw.email,
            provider: Provider::default(),
            attempts: Mutex::default(),
            ending: Semaphore::new(ENDING),
        })
    }

    /// Begins a login that leads to `hold`, or to the list.
    ///
    /// # Errors
    /// What the provider does not say, for the log.
    pub async fn begin(&self, hold: Option<HoldId>) -> Result<Begun, String> {
        let metadata = self.provider.metadata(&self.client).await?;
        let attempt = self.attempts().begin(Timestamp::now(), hold);
        let mut to = metadata.authorization_endpoint;
        to.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", &self.client.id),
            ("redirect_uri", &self.client.redirect),
            ("scope", &self.scope),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &attempt.challenge()),
            ("code_challenge_method", "S256"),
        ]);
        Ok(Begun { to, cookie: attempt.cookie })
    }

    /// A turn to bring a login to its end; none if too many others do. Nothing is used up by that.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        timeout(TURN, self.ending.acquire()).await.ok()?.ok()
    }

    /// Ends the login that the browser with this cookie has begun, by what the provider has it bring. In [`Self::turn`].
    ///
    /// # Errors
    /// Why nobody has logged in, for the record.
    pub async fn end(&self, query: &str, cookie: &str) -> Result<Ended, String> {
        let fields = fields(query).ok_or("a field comes twice")?;
        let field = |name: &str| fields.get(name).map(String::as_str);
        let ended = self.attempts().end(Timestamp::now(), field("state").unwrap_or_default(), cookie);
        let attempt = ended.ok_or("this browser has begun no such login, or it is over")?;
        let metadata = self.provider.metadata(&self.client).await?;
        // Another provider's answer could be mixed up with this one's.
        match field("iss") {
            Some(issuer) if issuer != self.client.issuer => return Err("the answer is another issuer's".into()),
            None if metadata.authorization_response_iss_parameter_supported => {
                return Err("the answer does not say whose it is".into());
            }
            _ => {}
        }
        if let Some(error) = field("error") {
            return Err(format!("the provider says {}", card::line(error, 80)));
        }
        let code = field("code").filter(|code| !code.is_empty() && code.len() <= CODE).ok_or("there is no code")?;
        let found = self.provider.redeem(&self.client, &metadata, &attempt, code).await?;
        let email = found.email.filter(|_| self.email);
        let subject = Account { issuer: self.client.issuer.clone(), subject: found.subject, email };
        Ok(Ended { entrance: Entrance::Sso(Box::new(subject)), hold: attempt.hold })
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn secret(text: &str) -> Result<String, Flaw> {
    match !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new("not a client's secret", "the secret that the provider gave to Holdpoint, and no more")),
    }
}

fn scope(raw: &Raw) -> Result<String, Problem> {
    let Some(scopes) = &raw.scopes else { return Ok(if raw.email { "openid email" } else { "openid" }.to_owned()) };
    let good =
        |scope: &String| !scope.is_empty() && scope.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
    match scopes.get_ref() {
        words if !words.iter().all(good) => Err(at(scopes, "this is no list of scopes", "words such as \"openid\"")),
        words if !words.iter().any(|word| word == "openid") => {
            Err(at(scopes, "without the scope openid the provider says nobody's name", "add \"openid\""))
        }
        words if raw.email && !words.iter().any(|word| word == "email") => Err(at(
            scopes,
            "without the scope email the provider says nobody's address",
            "add \"email\", or remove email = true",
        )),
        words => Ok(words.join(" ")),
    }
}

/// What a query says, if it says nothing twice.
fn fields(query: &str) -> Option<HashMap<String, String>> {
    let mut fields = HashMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
        if fields.insert(name, value).is_some() {
            return None;
        }
    }
    Some(fields)
}

#[cfg(test)]
pub mod forge;
