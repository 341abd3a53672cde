//! Asking reviewers, and hearing them. What goes wrong here becomes a line of the log and of the record, never
//! an answer: whoever is not reached says nothing, and silence denies.
//!
//! Each hold and channel has a task of its own, so a slow reviewer's side delays nobody else's. A hold whose
//! reviewers no channel asks can still be answered on the host.

pub mod callback;
mod delivery;
mod message;
pub mod standard_webhooks;
mod webhook;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
    time::Instant,
};

use self::{
    delivery::{Failure, Limit},
    webhook::Webhook,
};
use crate::{
    config::Config,
    record::{Entry, Event},
    request::{Answer, Hold, HoldId, Outcome, Refusal, Standing},
};

/// An answer on its way to the state machine, from a callback or from the control socket.
#[derive(Debug)]
pub struct Submission {
    /// What a reviewer said.
    pub answer: Answer,
    /// Where the result goes. Dropped without one: the agent is ending.
    pub reply: oneshot::Sender<Result<Outcome, Refusal>>,
}

/// How long, and how often, it is tried to say that a hold is over. Nothing depends on it.
const FAREWELL: Limit = Limit { time: Duration::from_secs(60), attempts: 5 };

/// The configured channels and the questions that are open on them.
#[derive(Debug)]
pub struct Approval {
    host: String,
    /// Beginning of callback URLs.
    base: Option<String>,
    webhooks: Vec<Arc<Webhook>>,
    asking: HashMap<HoldId, Vec<AbortHandle>>,
    notes: mpsc::Sender<Entry>,
}

impl Approval {
    /// The channels of `config`. `host` is what reviewers are told of where this is; what is to be recorded
    /// comes out of `notes`.
    ///
    /// # Errors
    /// TLS cannot be set up: the system has no certificate authorities and a channel names none.
    pub fn new(config: &Config, host: String, notes: mpsc::Sender<Entry>) -> anyhow::Result<Self> {
        let base = config.listener.as_ref().map(|listener| listener.url.clone());
        let webhooks = config.channels.iter().map(|channel| Webhook::new(channel.clone()).map(Arc::new));
        Ok(Self { host, base, webhooks: webhooks.collect::<Result<_, _>>()?, asking: HashMap::new(), notes })
    }

    /// Asks the channels of the hold's reviewers, until they took the question, the deadline, or
    /// [`Self::tell`]. Needs a Tokio runtime; returns at once. `now` is on the clock of the deadline.
    pub fn ask(&mut self, now: Timestamp, hold: &Hold) {
        let callback = self.base.as_ref().map(|base| format!("{base}/v1/holds/{}/answer", hold.id));
        let body = Bytes::from(message::created(now, &self.host, hold, callback.as_deref()));
        let left = Duration::try_from(hold.deadline.duration_since(now)).unwrap_or_default();
        let limit = Limit { time: left, attempts: u32::MAX };
        let asking: Vec<_> = self
            .asked_by(&hold.reviewers)
            .map(|webhook| self.send(now, hold.id, Kind::Created, webhook, body.clone(), limit))
            .collect();
        if asking.is_empty() {
            tracing::info!(hold = %hold.id, reviewers = hold.reviewers, "no channel asks these reviewers");
        }
        self.asking.entry(hold.id).or_default().extend(asking);
    }

    /// Stops asking and tells the channels how the hold ended. Returns at once; best effort.
    pub fn tell(&mut self, now: Timestamp, hold: &Hold, standing: &Standing) {
        self.asking.remove(&hold.id).into_iter().flatten().for_each(|task| task.abort());
        let body = Bytes::from(message::ended(now, &self.host, hold, standing));
        for webhook in self.asked_by(&hold.reviewers) {
            self.send(now, hold.id, Kind::Ended, webhook, body.clone(), FAREWELL);
        }
    }

    fn asked_by(&self, group: &str) -> impl Iterator<Item = &Arc<Webhook>> {
        self.webhooks.iter().filter(move |webhook| webhook.asks(group))
    }

    fn send(
        &self,
        now: Timestamp,
        hold: HoldId,
        kind: Kind,
        webhook: &Arc<Webhook>,
        body: Bytes,
        limit: Limit,
    ) -> AbortHandle {
        let (webhook, notes) = (Arc::clone(webhook), self.notes.clone());
        let id = format!("{}-{hold}-{}", kind.word(), webhook.name());
        let began = Instant::now();
        let task = tokio::spawn(async move {
            let result = delivery::deliver(limit, || webhook.post(&id, body.clone())).await;
            let elapsed = SignedDuration::try_from(began.elapsed()).unwrap_or_default();
            report(now + elapsed, hold, kind, webhook.name(), result, &notes);
        });
        task.abort_handle()
    }
}

/// What a message is about; the beginning of its `webhook-id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Created,
    Ended,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Ended => "ended",
        }
    }
}

fn report(
    time: Timestamp,
    hold: HoldId,
    kind: Kind,
    channel: &str,
    result: Result<u32, Failure>,
    notes: &mpsc::Sender<Entry>,
) {
    let channel = channel.to_owned();
    let event = match (kind, result) {
        (Kind::Created, Ok(attempts)) => Event::Asked { hold, channel, attempts },
        (Kind::Created, Err(Failure { error, .. })) => {
            tracing::warn!(%hold, channel, error, "reviewers could not be asked");
            Event::NotAsked { hold, channel, error }
        }
        (Kind::Ended, Ok(_)) => return,
        (Kind::Ended, Err(Failure { error, .. })) => {
            tracing::warn!(%hold, channel, error, "reviewers could not be told how the hold ended");
            return;
        }
    };
    note(notes, Entry { time, event });
}

/// Hands a line to whoever writes the record, without waiting.
fn note(notes: &mpsc::Sender<Entry>, entry: Entry) {
    if let Err(error) = notes.try_send(entry) {
        tracing::warn!(%error, "a line did not get into the record");
    }
}

#[cfg(test)]
mod tests;
