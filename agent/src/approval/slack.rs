//! Slack: a message with buttons, posted by an app, changed in place when the hold is over. Clicks come to
//! `POST /v1/slack/NAME`.
//!
//! A message that an agent before this one has posted is not changed any more; its buttons still answer.

pub(super) mod blocks;
mod interaction;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use reqwest::{Response, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use toml::Spanned;

use self::interaction::{Click, Seen, Signing};
use super::{
    Submission,
    channel::{Attempting, Channel, Message, Preview, Says, Unheard, Way},
    delivery::{Attempt, PATIENCE},
    http::{Http, nowhere},
    submit,
};
use crate::{
    config::{Keys, at},
    policy::{Flaw, Problem},
    request::{Answer, HoldId, Outcome, Proof},
    scope::Scope,
    web,
};

/// Where Slack is.
const API: &str = "https://slack.com/api";
/// The methods that post a message, and that change it.
const POST: &str = "chat.postMessage";
const UPDATE: &str = "chat.update";
/// Longest response that is read, in bytes: it repeats the message.
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
    signing: Signing,
    /// The conversation's id.
    conversation: String,
    /// Reviewers by `TEAM/USER`.
    users: BTreeMap<String, String>,
    seen: Seen,
    // A std mutex: nothing is awaited while it is held.
    posts: Mutex<VecDeque<(HoldId, Post)>>,
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
    api: Option<Spanned<String>>,
    users: Spanned<BTreeMap<Spanned<String>, Spanned<String>>>,
}

/// Reads the keys of such a channel.
pub(super) fn read(keys: &mut Keys<'_>) -> Result<Arc<dyn Way>, Problem> {
    let raw: Raw = keys.read()?;
    if !is_id(raw.channel.get_ref()) || !raw.channel.get_ref().starts_with(['C', 'G']) {
        return Err(at(
            &raw.channel,
            "not a conversation's id",
            "C or G, then letters and digits: in Slack, \"Copy channel ID\"",
        ));
    }
    if !keys.around.listens {
        return Err(at(
            keys.name,
            "clicks cannot come back: there is no [listener]",
            "add [listener]: docs/channels.md",
        ));
    }
    let api = raw.api.as_ref().map(|api| loopback(keys, api)).transpose()?;
    let api = api.unwrap_or_else(|| Url::parse(API).expect("a URL"));
    let http = Http::new(&api, None).map_err(|flaw| at(keys.name, flaw, "install ca-certificates"))?;
    let token = keys.secret("token_file", &raw.token_file, "token_credential", &raw.token_credential, token)?;
    let signing = keys.secret("secret_file", &raw.secret_file, "credential", &raw.credential, Signing::read)?;
    let users = raw.users.get_ref().iter().map(|(id, name)| user(id, name)).collect::<Result<_, _>>()?;
    Ok(Arc::new(Slack::new(api, http, token, signing, raw.channel.into_inner(), users)))
}

/// One that leads nowhere.
pub(super) fn example() -> Arc<dyn Way> {
    let api = Url::parse(API).expect("a URL");
    let http = Http::new(&nowhere(), None).expect("plain http");
    let signing = Signing::read(&"0".repeat(32)).expect("long enough");
    Arc::new(Slack::new(api, http, String::new(), signing, "C0000000000".into(), BTreeMap::new()))
}

/// Whether it looks like an id of Slack's.
fn is_id(text: &str) -> bool {
    (2..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn loopback(keys: &Keys<'_>, api: &Spanned<String>) -> Result<Url, Problem> {
    let url = keys.url(api)?;
    if url.scheme() == "http" { Ok(url) } else { Err(at(api, "this is for tests, on this host", "remove it")) }
}

fn token(text: &str) -> Result<String, Flaw> {
    let good = text.starts_with("xoxb-") && text.bytes().all(|b| b.is_ascii_graphic());
    let remedy = "the app's \"Bot User OAuth Token\"";
    if good { Ok(text.to_owned()) } else { Err(Flaw::new("not a bot's token: it does not begin with xoxb-", remedy)) }
}

fn user(id: &Spanned<String>, name: &Spanned<String>) -> Result<(String, String), Problem> {
    let good = id.get_ref().split_once('/').is_some_and(|(team, user)| is_id(team) && is_id(user));
    if !good {
        return Err(at(id, "not a team's and a user's id", "\"T0123ABCD/U0123ABCD\" = \"reviewer\""));
    }
    if name.get_ref().is_empty() {
        return Err(at(name, "no reviewer's name", "as the policy's [reviewers] name them"));
    }
    Ok((id.get_ref().clone(), name.get_ref().clone()))
}

impl fmt::Debug for Slack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slack").field("channel", &self.0.conversation).finish_non_exhaustive()
    }
}

impl Slack {
    fn new(
        api: Url,
        http: Http,
        token: String,
        signing: Signing,
        conversation: String,
        users: BTreeMap<String, String>,
    ) -> Self {
        let (seen, posts) = (Seen::default(), Mutex::default());
        Self(Arc::new(Workspace { api, http, token, signing, conversation, users, seen, posts }))
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
        vec![&self.0.token, self.0.signing.text()]
    }

    fn hear(
        &self,
        channel: &Channel,
        headers: &HeaderMap,
        body: &[u8],
        answers: &mpsc::Sender<Submission>,
    ) -> Option<Result<(), Unheard>> {
        let now = Timestamp::now().as_second();
        let click = match self.0.signing.verify(headers, body, now).and_then(|mac| self.0.seen.admit(mac, now)) {
            Ok(()) => Click::read(body, &self.0.conversation),
            Err(why) => {
                let status = StatusCode::UNAUTHORIZED;
                return Some(Err(Unheard { status, why: why.into(), hold: None, signed: false }));
            }
        };
        Some(match click {
            Ok(Some(click)) => self.0.clicked(channel, click, answers.clone()),
            Ok(None) => Ok(()),
            Err(why) => Err(Unheard { status: StatusCode::BAD_REQUEST, why: why.into(), hold: None, signed: true }),
        })
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
            posts.pop_front();
        }
        let post = Arc::new(tokio::sync::Mutex::new(Posted::NotYet));
        posts.push_back((hold, Arc::clone(&post)));
        post
    }

    async fn say(&self, message: &Message, mut posted: tokio::sync::OwnedMutexGuard<Posted>) -> Attempt {
        let (method, body) = match (&message.says, &*posted) {
            (Says::Question { .. }, Posted::NotYet) => (POST, self.body(message)),
            (Says::Outcome(_), Posted::As(ts)) => {
                let mut body = self.body(message);
                body["ts"] = json!(ts);
                (UPDATE, body)
            }
            (Says::Outcome(_), Posted::NotYet) => {
                *posted = Posted::Over;
                return Attempt::Delivered;
            }
            (Says::Question { .. }, Posted::As(_)) | (_, Posted::Over) => return Attempt::Delivered,
        };
        match self.call(method, &body).await {
            Err(failed) => failed,
            Ok(response) => {
                *posted = match (&message.says, response["ts"].as_str()) {
                    (Says::Question { .. }, Some(ts)) => Posted::As(ts.to_owned()),
                    _ => Posted::Over,
                };
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

    fn url(&self, method: &str) -> Url {
        let mut url = self.api.clone();
        url.set_path(&format!("{}/{method}", self.api.path().trim_end_matches('/')));
        url
    }

    /// Calls a method of Slack's; what is not "ok" is a failed attempt.
    async fn call(&self, method: &str, body: &Value) -> Result<Value, Attempt> {
        let url = self.url(method);
        let headers = vec![("authorization", format!("Bearer {}", self.token))];
        let called = async { Ok(json(self.http.post(url, headers, body.to_string().into()).await?).await) };
        let response = timeout(PATIENCE, called).await.unwrap_or_else(|_| Err(Attempt::failed("no answer in time")))?;
        match (response["ok"].as_bool(), response["error"].as_str()) {
            (Some(true), _) => Ok(response),
            (_, Some(error)) => Err(Attempt::failed(format!("Slack says {}", super::card::line(error, 80)))),
            _ => Err(Attempt::failed("Slack says something else than it is specified to")),
        }
    }

    /// A button was clicked: the answer goes its way, and who clicked is told if it does not count.
    fn clicked(
        self: &Arc<Self>,
        channel: &Channel,
        Click { team, user, hold, digest, word }: Click,
        answers: mpsc::Sender<Submission>,
    ) -> Result<(), Unheard> {
        let workspace = Arc::clone(self);
        let id = format!("{team}/{user}");
        let Some(who) = self.users.get(&id).cloned() else {
            tokio::spawn(async move { workspace.dismiss(&user, "you are not listed as a reviewer").await });
            let why = format!("Slack's user {id} is not listed");
            return Err(Unheard { status: StatusCode::OK, why, hold: Some(hold), signed: true });
        };
        let proof = Proof::Slack { channel: channel.name.clone(), user: id, asks: channel.reviewers.clone() };
        let answer = Answer { hold, digest, word, scope: Scope::Once, who, why: None, proof };
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
        Ok(())
    }

    /// Tells `user` alone why an answer does not count.
    async fn dismiss(&self, user: &str, why: &str) {
        self.whisper(user, &format!("Your answer does not count: {why}.")).await;
    }

    /// Tells `user` alone what came of a click.
    async fn whisper(&self, user: &str, text: &str) {
        let body = json!({ "channel": self.conversation, "user": user, "text": blocks::escaped(text) });
        if let Err(Attempt::Failed { error, .. }) = self.call("chat.postEphemeral", &body).await {
            tracing::info!(error, "who clicked in Slack could not be told what came of it");
        }
    }
}

/// The JSON of a response, null if it is none.
async fn json(mut response: Response) -> Value {
    let mut body = vec![];
    while let Ok(Some(chunk)) = response.chunk().await
        && body.len() + chunk.len() <= LONGEST
    {
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).unwrap_or_default()
}

#[cfg(test)]
mod tests;
