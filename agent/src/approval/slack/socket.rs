//! Socket Mode: clicks come by a WebSocket that the agent has opened, so nothing has to be able to connect to it.
//!
//! <https://docs.slack.dev/apis/events-api/using-socket-mode>. Who has opened it has shown the app's token, and Slack its
//! certificate: what comes is not signed once more. Slack ends each connection after some time and announces that; the next
//! one is opened before, and both are heard meanwhile.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::{Upgraded, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use super::{LONGEST, Workspace};
use crate::{
    approval::{
        card::line,
        channel::{Channel, Desk},
        delivery::{Attempt, pause},
        http::Http,
        lane::LONGEST_REST,
    },
    config::destination,
    policy::Flaw,
};

/// The method that gives a WebSocket's URL.
const OPEN: &str = "apps.connections.open";
/// Time for opening one, and for sending something by it.
const PATIENCE: Duration = Duration::from_secs(15);
/// When a quiet connection is asked whether it is still there, and when it is given up after that.
const QUIET: Duration = Duration::from_secs(20);
/// How long a connection is heard on that Slack wants to end.
const LEAVING: Duration = Duration::from_secs(30);
/// A connection that has lived shorter counts as a failure: the next one is not opened at once.
const SETTLED: Duration = Duration::from_secs(30);
/// How long Slack is left alone after it has refused the token: nothing changes by itself.
const REFUSED: Duration = if cfg!(test) { Duration::from_millis(500) } else { Duration::from_secs(60) };

/// What Slack says of a token that will not do, and what there is to do.
const REMEDIES: [(&str, &str); 7] = [
    ("invalid_auth", "the app-level token is not valid: put another one in its place, and restart the agent"),
    ("not_authed", "the app-level token is not valid: put another one in its place, and restart the agent"),
    ("token_revoked", "the app-level token was revoked: put another one in its place, and restart the agent"),
    ("account_inactive", "the app was removed from the workspace: install it again"),
    ("missing_scope", "generate the app-level token with the scope connections:write, and restart the agent"),
    ("not_allowed_token_type", "this is no app-level token: generate one, and restart the agent"),
    ("socket_mode_not_enabled", "turn on Socket Mode for the app"),
];

/// What opens connections.
pub(super) struct Opener {
    /// Of the app.
    token: String,
    /// Speaks HTTP/1.1 only, which WebSockets begin with.
    http: Http,
}

/// Why there is no connection.
struct Trouble {
    error: String,
    /// How long Slack wants to be left alone.
    pause: Option<Duration>,
}

/// What Slack sends.
#[derive(Deserialize)]
struct Envelope {
    r#type: String,
    envelope_id: Option<String>,
    reason: Option<String>,
    payload: Option<Value>,
}

/// Reads an app-level token.
pub(super) fn token(text: &str) -> Result<String, Flaw> {
    let good = text.starts_with("xapp-") && text.bytes().all(|b| b.is_ascii_graphic());
    let remedy = "under Basic Information, \"App-Level Tokens\", with the scope connections:write";
    if good { Ok(text.to_owned()) } else { Err(Flaw::new("not an app-level token: no xapp- at its beginning", remedy)) }
}

impl Opener {
    /// # Errors
    /// Why TLS cannot be set up.
    pub(super) fn new(api: &Url, token: String) -> Result<Self, String> {
        Ok(Self { token, http: Http::apart(api, None)? })
    }

    /// The app-level token.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    async fn open(&self, workspace: &Workspace) -> Result<WebSocketStream<Upgraded>, Trouble> {
        let trouble = |error: String| Trouble { error, pause: None };
        let opened = workspace.call(&self.http, &self.token, OPEN, &json!({})).await;
        let response = opened.map_err(|attempt| match attempt {
            Attempt::Failed { error, pause } => Trouble { error, pause },
            _ => trouble("Slack has nothing to connect to".into()),
        })?;
        let url = response["url"].as_str().unwrap_or_default();
        let url = address(url, &workspace.api).map_err(trouble)?;
        timeout(PATIENCE, self.http.socket(url, LONGEST))
            .await
            .unwrap_or(Err("no answer in time".into()))
            .map_err(trouble)
    }
}

/// The URL of a WebSocket as that of the request which it begins with. Where Slack speaks TLS, so does its socket.
fn address(url: &str, api: &Url) -> Result<Url, String> {
    let http = url.strip_prefix("ws").map(|rest| format!("http{rest}")).ok_or("Slack gave no WebSocket's URL")?;
    let url = destination::parse(&http)?;
    if url.scheme() == api.scheme() { Ok(url) } else { Err("Slack gave the URL of an insecure WebSocket".into()) }
}

/// Hears clicks for as long as it is polled.
pub(super) async fn listen(workspace: Arc<Workspace>, opener: Arc<Opener>, channel: Channel, desk: Desk) {
    let (mut failures, mut said) = (0, None);
    let mut connections = JoinSet::new();
    loop {
        let trouble = match opener.open(&workspace).await {
            Ok(socket) => {
                tracing::info!(channel = channel.name, "connected to Slack: clicks are heard");
                said = None;
                let (leaves, leaving) = oneshot::channel();
                let began = Instant::now();
                let (workspace, desk) = (Arc::clone(&workspace), desk.clone());
                connections.spawn(Connection { socket, workspace, channel: channel.clone(), desk }.hear(leaves));
                let error = leaving.await.unwrap_or_else(|_| "it was closed".into());
                tracing::info!(channel = channel.name, error, "connecting to Slack anew");
                failures = if began.elapsed() < SETTLED { failures } else { 0 };
                Trouble { error, pause: None }
            }
            Err(trouble) => {
                report(&channel.name, &trouble, &mut said);
                trouble
            }
        };
        while connections.try_join_next().is_some() {}
        let refused = remedy(&trouble.error).map(|_| REFUSED);
        let asked_for = trouble.pause.max(refused).unwrap_or_default().min(LONGEST_REST);
        sleep(pause(failures).max(asked_for)).await;
        failures = failures.saturating_add(1);
    }
}

fn remedy(error: &str) -> Option<&'static str> {
    REMEDIES.iter().find(|(word, _)| error.ends_with(word)).map(|(_, remedy)| *remedy)
}

/// Says what happened, once: it may happen for days.
fn report(channel: &str, Trouble { error, .. }: &Trouble, said: &mut Option<String>) {
    if said.as_ref() == Some(error) {
        return tracing::debug!(channel, error, "no connection to Slack");
    }
    match remedy(error) {
        Some(remedy) => tracing::error!(channel, error, remedy, "no connection to Slack: no click is heard"),
        None => tracing::warn!(channel, error, "no connection to Slack: no click is heard"),
    }
    *said = Some(error.clone());
}

/// One WebSocket.
pub(super) struct Connection<S> {
    pub(super) socket: WebSocketStream<S>,
    pub(super) workspace: Arc<Workspace>,
    pub(super) channel: Channel,
    pub(super) desk: Desk,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Hears what comes until the other side has closed it, or is gone. `leaves` is told as soon as another connection is
    /// needed.
    pub(super) async fn hear(mut self, leaves: oneshot::Sender<String>) {
        let (mut leaves, mut end, mut asked) = (Some(leaves), None, false);
        let why = loop {
            let quiet = Instant::now() + QUIET;
            match timeout_at(end.map_or(quiet, |end| quiet.min(end)), self.socket.next()).await {
                Err(_) if end.is_some_and(|end| end <= Instant::now()) => break "Slack wanted to end it".to_owned(),
                Err(_) if asked => break "it had fallen silent".into(),
                Err(_) => {
                    asked = true;
                    if let Err(error) = self.send(Message::Ping(vec![].into())).await {
                        break error;
                    }
                }
                Ok(None) => break "it was closed".into(),
                Ok(Some(Err(error))) => break error.to_string(),
                Ok(Some(Ok(message))) => {
                    asked = false;
                    match self.take(message).await {
                        Ok(None) => {}
                        Ok(Some(reason)) => {
                            end = end.or(Some(Instant::now() + LEAVING));
                            let told = leaves.take().map(|leaves| leaves.send(format!("Slack said {reason}")));
                            drop(told);
                        }
                        Err(error) => break error,
                    }
                }
            }
        };
        drop(leaves.map(|leaves| leaves.send(why)));
    }

    /// Acknowledges what came and does what it says. If it says that the connection will end: why.
    async fn take(&mut self, message: Message) -> Result<Option<String>, String> {
        // Pings are answered by the library.
        let Message::Text(text) = message else { return Ok(None) };
        let Ok(Envelope { r#type, envelope_id, reason, payload }) = serde_json::from_str(&text) else {
            tracing::debug!(channel = self.channel.name, "Slack sent something else than an envelope");
            return Ok(None);
        };
        if let Some(id) = envelope_id {
            // First: what comes of it may take longer than Slack waits.
            self.send(Message::text(json!({ "envelope_id": id }).to_string())).await?;
        }
        match (r#type.as_str(), payload) {
            ("disconnect", _) => return Ok(Some(line(&reason.unwrap_or_default(), 80))),
            ("interactive", Some(payload)) => self.clicked(payload),
            _ => {}
        }
        Ok(None)
    }

    fn clicked(&self, payload: Value) {
        // The same click has the same payload, whichever connection it comes by.
        let identity = Sha256::digest(payload.to_string()).into();
        if let Err(unheard) = self.workspace.interaction(&self.channel, identity, payload, &self.desk.answers) {
            self.desk.refused.note(unheard.hold, &unheard.why, None, unheard.signed);
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), String> {
        let sent = timeout(PATIENCE, self.socket.send(message)).await;
        sent.map_err(|_| "it takes nothing any more".to_owned())?.map_err(|error| error.to_string())
    }
}
