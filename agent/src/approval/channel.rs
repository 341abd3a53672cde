//! A way to reviewers. Each kind is one file beside this one, and a row of [`KINDS`]: it reads its own keys, says what
//! is sent, sends it, and hears what comes back.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{
    Submission,
    delivery::{Attempt, PATIENCE},
    exec, message,
    review::{Link, Review},
    slack,
    standard_webhooks::Secret,
    teams, webhook,
};
use crate::{
    config::Keys,
    policy::Problem,
    quorum::Group,
    record::Entry,
    request::{Hold, HoldId, Standing},
    web::Refused,
};

/// One attempt to send a message, under way.
pub type Attempting = Pin<Box<dyn Future<Output = Attempt> + Send>>;

/// What goes on beside that, as long as it is polled.
pub type Going<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where what is heard goes.
#[derive(Clone, Debug)]
pub struct Desk {
    /// Answers.
    pub answers: mpsc::Sender<Submission>,
    /// What is refused before it is an answer.
    pub refused: Arc<Refused>,
    /// Other lines for the record.
    pub notes: mpsc::Sender<Entry>,
}

/// What came of looking for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// There is no more to look for.
    Done,
    /// The other side has forgotten the question.
    Forgotten {
        /// What it said.
        error: String,
    },
}

/// A kind of channel.
pub struct Kind {
    /// As the configuration calls it.
    pub word: &'static str,
    /// Reads its keys.
    pub read: fn(&mut Keys<'_>) -> Result<Arc<dyn Way>, Problem>,
    /// One that leads nowhere, to look at.
    pub example: fn() -> Arc<dyn Way>,
}

/// All kinds.
pub const KINDS: [Kind; 4] = [
    Kind { word: "exec", read: exec::read, example: exec::example },
    Kind { word: "slack", read: slack::read, example: slack::example },
    Kind { word: "teams", read: teams::read, example: teams::example },
    Kind { word: "webhook", read: webhook::read, example: webhook::example },
];

/// A channel as configured.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// Of [`KINDS`].
    pub kind: &'static str,
    /// Groups of reviewers that are asked this way, and that it answers for.
    pub reviewers: Vec<String>,
    /// Where its messages lead, if there is a page.
    pub review: Option<Review>,
    /// What its kind makes of it.
    pub way: Arc<dyn Way>,
}

/// What a kind of channel does. Secrets do not show in its `Debug`.
pub trait Way: fmt::Debug + Send + Sync {
    /// Tries once to get `message` to the reviewers of `channel`, which is this one.
    fn send(&self, channel: &Channel, message: &Arc<Message>) -> Attempting;

    /// What that would send.
    fn preview(&self, message: &Message) -> Preview;

    /// How long such an attempt may take.
    fn patience(&self, _: &Message) -> Duration {
        PATIENCE
    }

    /// How many attempts may be under way at a time.
    fn turns(&self) -> usize {
        16
    }

    /// Whether it makes sense to ask the same again.
    fn takes_reminders(&self) -> bool {
        true
    }

    /// What callbacks of this channel are signed with, where it has any. It tells who answers.
    fn secret(&self) -> Option<&Secret> {
        None
    }

    /// Whether what it sends has something to click, until it is over.
    fn hears_clicks(&self) -> bool {
        false
    }

    /// Secrets of the app that hears for this channel, where it needs one of its own.
    fn app(&self) -> Vec<&str> {
        vec![]
    }

    /// Hears by itself, without a listener, where it is made for that. What it finds to be an answer goes to `desk`.
    fn listen(&self, _channel: &Channel, _desk: &Desk) -> Option<Going<()>> {
        None
    }

    /// Looks for the answer to a question that was taken, where it has to be fetched, until one decides.
    fn look(&self, _channel: &Channel, _message: &Message, _desk: &Desk) -> Option<Going<Looked>> {
        None
    }

    /// Whether it shows who has approved while others must.
    fn shows_progress(&self) -> bool {
        false
    }

    /// Takes what came to `/v1/KIND/NAME`, by whomever. What it finds to be an answer goes to `answers`, without keeping
    /// the other side waiting. Nothing is a kind that hears nothing.
    fn hear(
        &self,
        _channel: &Channel,
        _headers: &HeaderMap,
        _body: &[u8],
        _answers: &mpsc::Sender<Submission>,
    ) -> Option<Result<(), Unheard>> {
        None
    }
}

/// What would be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// Where to, without secrets.
    pub to: String,
    /// What.
    pub message: Value,
}

/// Why what came is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// What the other side is told.
    pub status: StatusCode,
    /// For the record.
    pub why: String,
    /// The hold, if it was said by somebody who can be believed.
    pub hold: Option<HoldId>,
    /// Whether the other side has signed it.
    pub signed: bool,
}

#[cfg(test)]
impl Channel {
    /// One that asks the group `security`, where there is no page.
    pub fn to_security(name: &str, kind: &'static str, way: Arc<dyn Way>) -> Self {
        Self { name: name.into(), kind, reviewers: vec!["security".into()], review: None, way }
    }
}

impl Channel {
    /// Whether reviewers of the hold are asked this way by now.
    pub fn asks(&self, hold: &Hold) -> bool {
        hold.asked().any(|groups| self.asks_one_of(groups))
    }

    /// Whether one of these groups is asked this way.
    pub fn asks_one_of(&self, groups: &[Group]) -> bool {
        groups.iter().any(|group| self.reviewers.contains(&group.name))
    }
}

/// What there is to say about a hold.
#[derive(Clone, Debug)]
pub struct Message {
    /// When it was first said.
    pub at: Timestamp,
    /// Where this is.
    pub host: String,
    /// What it is about.
    pub hold: Hold,
    /// What is said of it.
    pub says: Says,
    /// Where it leads.
    pub review: Option<Link>,
    /// Whether it is marked as a test of the channel.
    pub test: bool,
}

/// The question, or that there is none any more.
#[derive(Clone, Debug)]
pub enum Says {
    /// May this happen?
    Question {
        /// Where a signed answer can be sent.
        callback: Option<String>,
    },
    /// It still waits for an answer.
    Reminder {
        /// As of [`Self::Question`].
        callback: Option<String>,
        /// How many there have been, with this one.
        number: u32,
    },
    /// Somebody has approved, and others must. The question stands.
    Counted {
        /// Whose approvals are missing: [`crate::quorum::phrase`].
        missing: String,
    },
    /// How it ended.
    Outcome(Standing),
}

impl Message {
    /// Its identity on this channel, the same over all attempts. A question that lists others is another one than that about the
    /// hold alone, which a restarted agent asks: who has taken the one is to take the other, too.
    pub fn id(&self, channel: &str) -> String {
        let word = match self.says {
            Says::Question { .. } if self.hold.same.is_empty() => "created".to_owned(),
            Says::Question { .. } => format!("created-{:.16}", self.hold.digest.0),
            Says::Reminder { number, .. } => format!("reminded-{number}"),
            Says::Counted { .. } => "counted".to_owned(),
            Says::Outcome(_) => "ended".to_owned(),
        };
        format!("{word}-{}-{channel}", self.hold.id)
    }

    /// Whether there is something to decide.
    pub fn asks(&self) -> bool {
        !matches!(self.says, Says::Outcome(_))
    }

    /// It as JSON.
    pub fn body(&self) -> Bytes {
        let asking = |kind, callback: &Option<String>| {
            let urls = message::Urls { callback: callback.as_deref(), review: self.review.as_ref().map(Link::url) };
            message::asking(kind, self.at, &self.host, &self.hold, urls, self.test)
        };
        match &self.says {
            Says::Question { callback } => asking(message::CREATED, callback),
            Says::Reminder { callback, .. } => asking(message::REMINDED, callback),
            Says::Counted { .. } => asking(message::CREATED, &None),
            Says::Outcome(standing) => message::ended(self.at, &self.host, &self.hold, standing, self.test),
        }
        .into()
    }
}
