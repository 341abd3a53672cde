//! A receiver of messages after Standard Webhooks, which answers by signed callbacks, or is asked for its answers.

use std::{fmt, path::PathBuf, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use super::{
    channel::{Attempting, Channel, Desk, Going, Looked, Message, Preview, Says, Way},
    delivery::Attempt,
    http::{Http, nowhere},
    poll::{Decisions, Poll},
    standard_webhooks::{Secret, sign},
};
use crate::{
    config::{Keys, at, destination},
    policy::Problem,
};

/// A receiver.
pub struct Webhook {
    /// May contain a token, so it is not shown.
    url: Url,
    /// Signs what goes out and what comes back.
    secret: Secret,
    http: Http,
    /// Where its answers are, if they have to be fetched, and the connections for that.
    decisions: Option<(Decisions, Http)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    url: Spanned<String>,
    secret_file: Option<Spanned<PathBuf>>,
    credential: Option<Spanned<String>>,
    ca_file: Option<Spanned<PathBuf>>,
    decision_url: Option<Spanned<String>>,
}

/// Reads the keys of such a channel.
pub(super) fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Way>, Problem> {
    let raw: Raw = keys.read()?;
    let url = destination::read(&raw.url)?;
    let decisions = raw.decision_url.as_ref().map(|raw| Decisions::read(raw, &url)).transpose()?;
    let secret = keys.files.secret("secret_file", &raw.secret_file, "credential", &raw.credential, Secret::read)?;
    let authorities = raw.ca_file.as_ref().map(|file| keys.files.authorities(file)).transpose()?;
    let remedy = "install ca-certificates, or name the authorities: ca_file = \"...\"";
    let tls = |flaw| at(&raw.url, flaw, remedy);
    let apart = || Http::apart(&url, authorities.as_deref()).map_err(tls);
    let decisions = decisions.map(|decisions| Ok((decisions, apart()?))).transpose()?;
    let webhook = Webhook::new(url, secret, authorities.as_deref()).map_err(tls)?;
    Ok(Arc::new(Webhook { decisions, ..webhook }))
}

/// One that leads nowhere.
pub(super) fn example() -> Arc<dyn Way> {
    let secret = Secret::from_bytes([0; 32]);
    Arc::new(Webhook::new(nowhere(), secret, None).expect("plain http"))
}

impl Webhook {
    /// The receiver at `url`, checked against `authorities` (PEM) instead of the system's if there are any.
    ///
    /// # Errors
    /// Why TLS cannot be set up.
    pub fn new(url: Url, secret: Secret, authorities: Option<&[u8]>) -> Result<Self, String> {
        Ok(Self { http: Http::new(&url, authorities)?, url, secret, decisions: None })
    }

    /// The same, whose answers are there, and have to be fetched.
    #[cfg(test)]
    pub(super) fn answering(self, decisions: Decisions) -> Self {
        let http = Http::apart(&self.url, None).expect("plain http");
        Self { decisions: Some((decisions, http)), ..self }
    }

    /// What is sent. Where answers are fetched, none is asked to come.
    fn body(&self, message: &Message) -> Bytes {
        let says = match (&message.says, &self.decisions) {
            (Says::Question { .. }, Some(_)) => Says::Question { callback: None },
            (Says::Reminder { number, .. }, Some(_)) => Says::Reminder { callback: None, number: *number },
            _ => return message.body(),
        };
        Message { says, ..message.clone() }.body()
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        f.debug_struct("Webhook").field("host", &host).finish_non_exhaustive()
    }
}

impl Way for Webhook {
    fn send(&self, channel: &Channel, message: &Arc<Message>) -> Attempting {
        let body = self.body(message);
        let signed = sign(&self.secret, &message.id(&channel.name), Timestamp::now().as_second(), &body);
        let posted = self.http.post(self.url.clone(), signed.into(), body);
        Box::pin(async move { posted.await.map_or_else(|failed| failed, |_| Attempt::Delivered) })
    }

    fn preview(&self, message: &Message) -> Preview {
        let host = self.url.host_str().unwrap_or_default();
        let message = serde_json::from_slice(&self.body(message)).unwrap_or_default();
        Preview { to: format!("POST to {host}, signed after Standard Webhooks"), message }
    }

    fn look(&self, channel: &Channel, message: &Message, desk: &Desk) -> Option<Going<Looked>> {
        let (decisions, http) = self.decisions.as_ref().filter(|_| matches!(message.says, Says::Question { .. }))?;
        let (hold, http, secret) = (message.hold.id, http.clone(), self.secret.clone());
        let poll = Poll::new(decisions.of(hold)?, http, secret, channel.clone(), hold, desk.clone());
        Some(Box::pin(poll.run()))
    }

    fn secret(&self) -> Option<&Secret> {
        Some(&self.secret)
    }
}
