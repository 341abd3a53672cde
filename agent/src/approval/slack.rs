//! Slack: a message with buttons, posted by an app, changed in place when the hold is over. Clicks come to
//! `POST /v1/slack/NAME`, or by Socket Mode.
//!
//! A message that an agent before this one has posted is not changed any more; its buttons still answer.

pub(super) mod blocks;
mod interaction;
mod socket;

use std::{
    collections::VecDeque,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use reqwest::Url;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use toml::Spanned;

use self::{
    interaction::{Click, Seen, Signing, Verified},
    socket::Opener,
};
use super::{
    Submission,
    channel::{Attempting, Channel, Desk, Going, Message, Preview, Says, Unheard, Way},
    delivery::{Attempt, PATIENCE},
    http::{Http, body, nowhere},
    submit,
};
use crate::{
    config::{Keys, at, destination},
    policy::{Flaw, Problem, is_slack_id as is_id},
    request::{Answer, HoldId, Outcome, Proof},
    web,
};

/// Where Slack is.
const API: &str = "https://slack.com/api";
/// The methods that post a message, and that change it.
const POST: &str = "chat.postMessage";
const UPDATE: &str = "chat.update";
/// Longest response or interaction that is read, in bytes: it repeats the message.
const LONGEST: usize = 256 * 1024;
/// Messages that are remembered.
const POSTS: usize = 4096;

/// A conversation, and the app that posts in it.
pub struct Slack(Arc<Workspace>);

struct Workspace {
    api: Url,
    http: Http,
    /// The bot's token.
    token: String,
    ear: Ear,
    /// The conversation's id.
    conversation: String,
    seen: Seen,
    // A std mutex: nothing is awaited while it is held.
    posts: Mutex<VecDeque<(HoldId, Post)>>,
}

/// By which way clicks come, and how they are known to be Slack's.
enum Ear {
    /// To the listener, signed.
    Signed(Signing),
    /// By a WebSocket that the agent opens.
    Socket(Arc<Opener>),
}

/// The message about a hold. Locked while it is being posted or changed: what is over is not posted after that.
type Post = Arc<tokio::sync::Mutex<Posted>>;

enum Posted {
    NotYet,
    /// Its identity in the conversation.
    As(String),
    Over,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    channel: Spanned<String>,
    token_file: Option<Spanned<PathBuf>>,
    token_credential: Option<Spanned<String>>,
    secret_file: Option<Spanned<PathBuf>>,
    credential: Option<Spanned<String>>,
    app_token_file: Option<Spanned<PathBuf>>,
    app_token_credential: Option<Spanned<String>>,
    api: Option<Spanned<String>>,
    users: Option<Spanned<IgnoredAny>>,
}

/// Reads the keys of such a channel.
pub(super) fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Way>, Problem> {
    let raw: Raw = keys.read()?;
    if !is_id(raw.channel.get_ref()) || !raw.channel.get_ref().starts_with(['C', 'D', 'G']) {
        return Err(at(
            &raw.channel,
            "not a conversation's id",
            "C, D or G, then letters and digits: in Slack, \"Copy channel ID\"",
        ));
    }
    let api = raw.api.as_ref().map(loopback).transpose()?;
    let api = api.unwrap_or_else(|| Url::parse(API).expect("a URL"));
    let http = Http::new(&api, None).map_err(|flaw| at(keys.name, flaw, "install ca-certificates"))?;
    let token = keys.files.secret("token_file", &raw.token_file, "token_credential", &raw.token_credential, token)?;
    let ear = ear(keys, &raw, &api)?;
    if let Some(users) = &raw.users {
        let remedy = "write in the policy: [[reviewer]] with name = \"...\" and slack = [\"T0123ABCD/U0123ABCD\"]";
        return Err(at(users, "who is who in Slack is said by the policy", remedy));
    }
    Ok(Arc::new(Slack::new(api, http, token, ear, raw.channel.into_inner())))
}

/// Socket Mode if there is an app-level token, else the listener.
fn ear(keys: &mut Keys<'_>, raw: &Raw, api: &Url) -> Result<Ear, Problem> {
    let app = raw.app_token_file.is_some() || raw.app_token_credential.is_some();
    let signed = raw.secret_file.is_some() || raw.credential.is_some();
    if app && signed {
        let remedy = "keep the app-level token (Socket Mode), or the signing secret (a Request URL and [listener])";
        return Err(at(keys.name, "clicks cannot come by two ways", remedy));
    }
    if app {
        let (file, credential) = (&raw.app_token_file, &raw.app_token_credential);
        let token = keys.files.secret("app_token_file", file, "app_token_credential", credential, socket::token)?;
        let opener = Opener::new(api, token).map_err(|flaw| at(keys.name, flaw, "install ca-certificates"))?;
        return Ok(Ear::Socket(Arc::new(opener)));
    }
    if !keys.around.listens {
        let remedy = "add [listener], or use Socket Mode, app_token_file = \"...\": docs/channels.md";
        return Err(at(keys.name, "clicks cannot come back: there is no [listener]", remedy));
    }
    let signing = keys.files.secret("secret_file", &raw.secret_file, "credential", &raw.credential, Signing::read)?;
    Ok(Ear::Signed(signing))
}

/// One that leads nowhere.
pub(super) fn example() -> Arc<dyn Way> {
    let api = Url::parse(API).expect("a URL");
    let http = Http::new(&nowhere(), None).expect("plain http");
    let signing = Signing::read(&"0".repeat(32)).expect("long enough");
    Arc::new(Slack::new(api, http, String::new(), Ear::Signed(signing), "C0000000000".into()))
}

fn loopback(api: &Spanned<String>) -> Result<Url, Problem> {
    let url = destination::read(api)?;
    if url.scheme() == "http" { Ok(url) } else { Err(at(api, "this is for tests, on this host", "remove it")) }
}

fn token(text: &str) -> Result<String, Flaw> {
    let good = text.starts_with("xoxb-") && text.bytes().all(|b| b.is_ascii_graphic());
    let remedy = "the app's \"Bot User OAuth Token\"";
    if good { Ok(text.to_owned()) } else { Err(Flaw::new("not a bot's token: it does not begin with xoxb-", remedy)) }
}

impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slack").field("channel", &self.0.conversation).finish_non_exhaustive()
    }
}

impl Slack {
    fn new(api: Url, http: Http, token: String, ear: Ear, conversation: String) -> Self {
        let (seen, posts) = (Seen::default(), Mutex::default());
        Self(Arc::new(Workspace { api, http, token, ear, conversation, seen, posts }))
    }
}

impl Way for Slack {
    fn send(&self, _: &Channel, message: &Arc<Message>) -> Attempting {
        let (workspace, message) = (Arc::clone(&self.0), Arc::clone(message));
        Box::pin(async move {
            let posted = workspace.post(message.hold.id).lock_owned().await;
            // Not given up halfway: what Slack has taken has to be changed later.
            let sent = tokio::spawn(async move { workspace.say(&message, posted).await }).await;
            sent.unwrap_or_else(|error| Attempt::failed(error.to_string()))
        })
    }

    fn preview(&self, message: &Message) -> Preview {
        Preview { to: format!("POST {}", self.0.url(POST)), message: self.0.body(message) }
    }

    fn hears_clicks(&self) -> bool {
        true
    }

    fn app(&self) -> Vec<&str> {
        let ear = match &self.0.ear {
            Ear::Signed(signing) => signing.text(),
            Ear::Socket(opener) => opener.token(),
        };
        vec![&self.0.token, ear]
    }

    fn shows_progress(&self) -> bool {
        true
    }

    fn listen(&self, channel: &Channel, desk: &Desk) -> Option<Going<()>> {
        let Ear::Socket(opener) = &self.0.ear else { return None };
        let (workspace, opener) = (Arc::clone(&self.0), Arc::clone(opener));
        Some(Box::pin(socket::listen(workspace, opener, channel.clone(), desk.clone())))
    }

    fn hear(
        &self,
        channel: &Channel,
        headers: &HeaderMap,
        body: &[u8],
        answers: &mpsc::Sender<Submission>,
    ) -> Option<Result<(), Unheard>> {
        let Ear::Signed(signing) = &self.0.ear else { return None };
        let now = Timestamp::now().as_second();
        if let Err(why) = signing.verify(headers, body, now).and_then(|verified| self.0.seen.admit(verified, now)) {
            let status = StatusCode::UNAUTHORIZED;
            return Some(Err(Unheard { status, why: why.into(), hold: None, signed: false }));
        }
        Some(self.0.judge(channel, Click::of_form(body, &self.0.conversation), answers))
    }
}

impl Workspace {
    /// The message about a hold, posted or not.
    fn post(&self, hold: HoldId) -> Post {
        let mut posts = self.posts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, post)) = posts.iter().find(|(id, _)| *id == hold) {
            return Arc::clone(post);
        }
        if posts.len() == POSTS {
            // Fewer wait than are remembered, so no other tree's question is forgotten for many that have come and gone.
            let is_over = |post: &Post| post.try_lock().is_ok_and(|posted| matches!(*posted, Posted::Over));
            let oldest = posts.iter().position(|(_, post)| is_over(post)).unwrap_or_default();
            posts.remove(oldest);
        }
        let post = Arc::new(tokio::sync::Mutex::new(Posted::NotYet));
        posts.push_back((hold, Arc::clone(&post)));
        post
    }

    async fn say(&self, message: &Message, mut posted: tokio::sync::OwnedMutexGuard<Posted>) -> Attempt {
        let (method, body) = match (&message.says, &*posted) {
            // Who has approved meanwhile is in the one as well as in the other.
            (Says::Question { .. } | Says::Counted { .. }, Posted::NotYet) => (POST, self.body(message)),
            (Says::Counted { .. } | Says::Outcome(_), Posted::As(ts)) => {
                let mut body = self.body(message);
                body["ts"] = json!(ts);
                (UPDATE, body)
            }
            (Says::Reminder { .. }, Posted::As(ts)) => (POST, self.reminder(message, ts)),
            (Says::Outcome(_), Posted::NotYet) => {
                *posted = Posted::Over;
                return Attempt::Delivered;
            }
            (Says::Reminder { .. }, Posted::NotYet) => return Attempt::Delivered,
            (Says::Question { .. }, Posted::As(_)) | (_, Posted::Over) => return Attempt::Delivered,
        };
        match self.call(&self.http, &self.token, method, &body).await {
            Err(failed) => failed,
            Ok(response) => {
                match (&message.says, method, response["ts"].as_str()) {
                    (Says::Reminder { .. }, ..) => {}
                    (Says::Question { .. } | Says::Counted { .. }, POST, Some(ts)) => {
                        *posted = Posted::As(ts.to_owned());
                    }
                    (Says::Counted { .. }, UPDATE, _) => {}
                    _ => *posted = Posted::Over,
                }
                Attempt::Delivered
            }
        }
    }

    /// What is sent.
    fn body(&self, message: &Message) -> Value {
        let mut body = blocks::message(message);
        body["channel"] = json!(self.conversation);
        body
    }

    /// In the thread of the question, where its buttons are, and in the conversation, too.
    fn reminder(&self, message: &Message, thread: &str) -> Value {
        json!({
            "channel": self.conversation,
            "thread_ts": thread,
            "reply_broadcast": true,
            "text": blocks::reminder(message),
            "mrkdwn": false,
            "parse": "none",
            "unfurl_links": false,
            "unfurl_media": false,
        })
    }

    fn url(&self, method: &str) -> Url {
        let mut url = self.api.clone();
        url.set_path(&format!("{}/{method}", self.api.path().trim_end_matches('/')));
        url
    }

    /// Calls a method of Slack's with that token; what is not "ok" is a failed attempt.
    async fn call(&self, http: &Http, token: &str, method: &str, arguments: &Value) -> Result<Value, Attempt> {
        let url = self.url(method);
        let headers = vec![("authorization", format!("Bearer {token}"))];
        let called = async {
            let response = http.post(url, headers, arguments.to_string().into()).await?;
            let body = body(response, LONGEST).await.unwrap_or_default();
            Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
        };
        let response = timeout(PATIENCE, called).await.unwrap_or_else(|_| Err(Attempt::failed("no answer in time")))?;
        match (response["ok"].as_bool(), response["error"].as_str()) {
            (Some(true), _) => Ok(response),
            (_, Some(error)) => Err(Attempt::failed(format!("Slack says {}", super::card::line(error, 80)))),
            _ => Err(Attempt::failed("Slack says something else than it is specified to")),
        }
    }

    /// An interaction that came by the socket. It comes at once, so now is when it was made.
    fn interaction(
        self: &Arc<Self>,
        channel: &Channel,
        identity: [u8; 32],
        payload: Value,
        answers: &mpsc::Sender<Submission>,
    ) -> Result<(), Unheard> {
        let timestamp = Timestamp::now().as_second();
        let again = |why: &str| Unheard { status: StatusCode::OK, why: why.into(), hold: None, signed: true };
        self.seen.admit(Verified { identity, timestamp }, timestamp).map_err(again)?;
        self.judge(channel, Click::of(payload, &self.conversation), answers)
    }

    /// What is Slack's, and has not come before: an answer, none, or something that should not be.
    fn judge(
        self: &Arc<Self>,
        channel: &Channel,
        click: Result<Option<Click>, &'static str>,
        answers: &mpsc::Sender<Submission>,
    ) -> Result<(), Unheard> {
        match click {
            Ok(click) => {
                click.into_iter().for_each(|click| self.clicked(channel, click, answers.clone()));
                Ok(())
            }
            Err(why) => Err(Unheard { status: StatusCode::BAD_REQUEST, why: why.into(), hold: None, signed: true }),
        }
    }

    /// A button was clicked: the answer goes its way, and who clicked is told if it does not count.
    fn clicked(
        self: &Arc<Self>,
        channel: &Channel,
        Click { team, user, hold, digest, word, scope }: Click,
        answers: mpsc::Sender<Submission>,
    ) {
        let workspace = Arc::clone(self);
        let who = format!("{team}/{user}");
        let proof = Proof::Slack { channel: channel.name.clone(), user: who.clone(), asks: channel.reviewers.clone() };
        let answer = Answer { hold, digest, word, scope, who, why: None, proof, known: Box::default() };
        tokio::spawn(async move {
            match submit(&answers, answer).await {
                Some(Ok(Outcome::Counted(missing))) => {
                    workspace.whisper(&user, &format!("Your approval counts. Still needed: {missing}.")).await;
                }
                Some(Ok(_)) => {}
                Some(Err(refusal)) => workspace.dismiss(&user, &refusal.to_string()).await,
                None => workspace.dismiss(&user, web::ENDING.1).await,
            }
        });
    }

    /// Tells `user` alone why an answer does not count.
    async fn dismiss(&self, user: &str, why: &str) {
        self.whisper(user, &format!("Your answer does not count: {why}.")).await;
    }

    /// Tells `user` alone what came of a click.
    async fn whisper(&self, user: &str, text: &str) {
        let body = json!({ "channel": self.conversation, "user": user, "text": blocks::escaped(text) });
        if let Err(Attempt::Failed { error, .. }) =
            self.call(&self.http, &self.token, "chat.postEphemeral", &body).await
        {
            tracing::info!(error, "who clicked in Slack could not be told what came of it");
        }
    }
}

#[cfg(test)]
mod tests;
