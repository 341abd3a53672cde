//! Fetching answers, for hosts that nothing can connect to: once the question was taken, its answer is looked for at a URL
//! of the same place, until the hold is over.
//!
//! The other side may keep a request open until there is an answer (`Prefer: wait`, RFC 7240). What it answers is signed as
//! a callback is; nothing else than 200 can be an answer.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Response, StatusCode, Url};
use tokio::time::{Instant, sleep_until, timeout};
use toml::Spanned;

use super::{
    channel::{Channel, Desk, Looked},
    delivery::pause,
    http::{self, Http},
    lane::LONGEST_REST,
    note, said,
    standard_webhooks::{Received, Secret, sign, verify},
    submit,
};
use crate::{
    config::at,
    policy::Problem,
    record::{Entry, Event},
    request::{Answer, HoldId, Outcome, Proof, Refusal},
    web,
};

/// What stands for the hold's id in the URL.
const HOLD: &str = "{hold}";
/// How long the other side is asked to wait for an answer, in seconds.
const WAIT: &str = "wait=30";
/// Time for one look: the wait, and what comes then.
const PATIENCE: Duration = Duration::from_secs(45);
/// From the beginning of one look to the next, where the other side does not wait: half of it at least.
const INTERVAL: Duration = Duration::from_secs(2);
/// Answers to one hold. Each is on record, so more are not listened to.
const MOST: usize = 32;

/// Where the answers are: a URL with [`HOLD`] in it.
#[derive(Clone)]
pub(super) struct Decisions(String);

impl Decisions {
    /// Reads the URL, which has to be at the place that questions are sent to.
    pub(super) fn read(raw: &Spanned<String>, questions: &Url) -> Result<Self, Problem> {
        let decisions = Self(raw.get_ref().clone());
        let is_bare = |url: &Url| url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let fits = |url: Url| url.origin() == questions.origin() && is_bare(&url);
        if !raw.get_ref().contains(HOLD) {
            return Err(at(raw, "it is the same for every hold", "write {hold} where the hold's id belongs"));
        }
        match decisions.of(HoldId(0)).map(fits) {
            Some(true) => Ok(decisions),
            Some(false) => Err(at(
                raw,
                "not where questions are sent",
                "the scheme, host and port of url, then /... with {hold} in it",
            )),
            None => Err(at(raw, "not a URL", "a URL at the place of url: https://.../{hold}")),
        }
    }

    /// Where the answer to that one is.
    pub(super) fn of(&self, hold: HoldId) -> Option<Url> {
        Url::parse(&self.0.replace(HOLD, &hold.to_string())).ok()
    }
}

/// Looking for the answer to one hold.
pub(super) struct Poll {
    url: Url,
    http: Http,
    secret: Secret,
    channel: Channel,
    hold: HoldId,
    desk: Desk,
    /// What has been handed on.
    heard: Vec<Answer>,
    /// What was wrong with what came, where that is on record.
    refused: Vec<&'static str>,
    /// Looks in a row that have failed.
    failures: u32,
    /// Whether it is on record that one has.
    reported: bool,
}

/// What one look came to.
enum Found {
    Answer(Box<Answer>),
    /// None yet.
    Nothing {
        pause: Option<Duration>,
    },
    /// Something that does not count.
    Refused(&'static str),
    /// The other side does not know the hold.
    Forgotten(StatusCode),
    Failed {
        error: String,
        pause: Option<Duration>,
    },
}

impl Poll {
    /// Looks at `url`.
    pub(super) fn new(url: Url, http: Http, secret: Secret, channel: Channel, hold: HoldId, desk: Desk) -> Self {
        Self { url, http, secret, channel, hold, desk, heard: vec![], refused: vec![], failures: 0, reported: false }
    }

    /// Looks until an answer decides, or the other side has forgotten the question.
    pub(super) async fn run(mut self) -> Looked {
        loop {
            let began = Instant::now();
            let late = || Found::Failed { error: "no answer in time".into(), pause: None };
            let found = timeout(PATIENCE, self.look()).await.unwrap_or_else(|_| late());
            let wait = match found {
                Found::Answer(ref answer) if self.hand_on(answer).await => return Looked::Done,
                Found::Forgotten(status) => {
                    return Looked::Forgotten { error: format!("{} at its decision_url", status.as_u16()) };
                }
                Found::Answer(_) => self.went_well(None),
                Found::Nothing { pause } => self.went_well(pause),
                Found::Refused(why) => {
                    self.refuse(why);
                    self.failed(None)
                }
                Found::Failed { error, pause } => {
                    self.report(error);
                    self.failed(pause)
                }
            };
            sleep_until((began + INTERVAL.mul_f64(rand::random_range(0.5..=1.0))).max(Instant::now() + wait)).await;
        }
    }

    async fn look(&self) -> Found {
        let failed = |error, pause| Found::Failed { error, pause };
        // So that the other side can tell who wants to know.
        let id = format!("poll-{}-{}", self.hold, self.channel.name);
        let mut headers = Vec::from(sign(&self.secret, &id, Timestamp::now().as_second(), b""));
        headers.push(("prefer", WAIT.to_owned()));
        let response = match self.http.get(self.url.clone(), headers).await {
            Ok(response) => response,
            Err(error) => return failed(error, None),
        };
        let pause = http::pause(&response);
        match response.status() {
            StatusCode::OK => self.read(response).await,
            StatusCode::ACCEPTED | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Found::Nothing { pause },
            status @ (StatusCode::NOT_FOUND | StatusCode::GONE) => Found::Forgotten(status),
            status => failed(status.as_u16().to_string(), pause),
        }
    }

    /// The answer in a response, if it is signed, of now, and about this hold.
    async fn read(&self, response: Response) -> Found {
        let headers = response.headers().clone();
        let Some(body) = http::body(response, web::LONGEST).await else {
            return Found::Refused("malformed: too large, or broken off");
        };
        let now = Timestamp::now().as_second();
        let verified = Received::of(&headers).and_then(|received| verify(&self.secret, received, &body, now));
        if let Err(rejection) = verified {
            return Found::Refused(rejection.words());
        }
        let proof = Proof::Webhook { channel: self.channel.name.clone(), asks: self.channel.reviewers.clone() };
        match said::read(self.hold, &body, proof) {
            Ok(answer) => Found::Answer(Box::new(answer)),
            Err(why) => Found::Refused(why),
        }
    }

    /// Hands an answer on that has not been before; whether there is nothing more to look for.
    async fn hand_on(&mut self, answer: &Answer) -> bool {
        if self.heard.contains(answer) {
            return false;
        }
        if self.heard.len() == MOST {
            self.report("too many answers, none of which decides".into());
            return true;
        }
        self.heard.push(answer.clone());
        match submit(&self.desk.answers, answer.clone()).await {
            Some(Ok(Outcome::Counted(_))) => false,
            // It may be on the disk the next time.
            Some(Err(Refusal::NotRecorded)) => {
                self.heard.pop();
                false
            }
            Some(Err(Refusal::Over(_) | Refusal::UnknownHold)) | Some(Ok(_)) | None => true,
            Some(Err(_)) => false,
        }
    }

    /// How long to leave the other side alone.
    fn went_well(&mut self, asked_for: Option<Duration>) -> Duration {
        self.failures = 0;
        asked_for.unwrap_or_default().min(LONGEST_REST)
    }

    /// Likewise.
    fn failed(&mut self, asked_for: Option<Duration>) -> Duration {
        self.failures = self.failures.saturating_add(1);
        pause(self.failures).max(asked_for.unwrap_or_default().min(LONGEST_REST))
    }

    /// It is on record, the first time.
    fn refuse(&mut self, why: &'static str) {
        if !self.refused.contains(&why) {
            self.refused.push(why);
            self.desk.refused.note(Some(self.hold), why, None, false);
        }
    }

    /// Likewise.
    fn report(&mut self, error: String) {
        let (hold, channel) = (self.hold, &self.channel.name);
        if std::mem::replace(&mut self.reported, true) {
            return tracing::debug!(%hold, channel, error, "no answer could be fetched");
        }
        tracing::warn!(%hold, channel, error, "no answer could be fetched");
        let error = format!("no answer could be fetched: {error}");
        let event = Event::NotAsked { hold, channel: channel.clone(), error };
        note(&self.desk.notes, Entry { time: Timestamp::now(), event });
    }
}

#[cfg(test)]
mod tests;
