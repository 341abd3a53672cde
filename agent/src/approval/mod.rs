//! Asking reviewers, and hearing them. What goes wrong here becomes a line of the log and of the record, never
//! an answer: whoever is not reached says nothing, and silence denies.
//!
//! Each hold and channel has a task of its own, so a slow reviewer's side delays no other channel. On one channel so many
//! try at a time, and so few of one tree that it delays no other. A hold whose reviewers no channel asks can still be
//! answered on the host.

pub mod callback;
pub mod card;
pub mod channel;
mod delivery;
mod exec;
pub mod http;
mod lane;
mod message;
mod poll;
pub mod review;
pub mod said;
pub mod sample;
mod slack;
pub mod standard_webhooks;
mod teams;
mod webhook;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

pub use self::message::is_whole;
use self::{
    channel::{Channel, Desk, Looked, Message, Preview, Says},
    delivery::{Delivered, Failure, Limit},
    lane::{Lane, Lanes},
    review::Invites,
};
use crate::{
    config::Config,
    quorum,
    record::{Entry, Event},
    request::{Answer, Hold, HoldId, Outcome, Refusal, Standing},
    web::Refused,
};

/// An answer on its way to the state machine: from a callback, or from a channel that answers at once.
#[derive(Debug)]
pub struct Submission {
    /// What a reviewer said.
    pub answer: Answer,
    /// Where the result goes. Dropped without one: the agent is ending.
    pub reply: oneshot::Sender<Result<Outcome, Refusal>>,
}

/// Hands an answer on, and waits for what comes of it; nothing if the agent is ending.
pub async fn submit(answers: &mpsc::Sender<Submission>, answer: Answer) -> Option<Result<Outcome, Refusal>> {
    let (reply, result) = oneshot::channel();
    answers.send(Submission { answer, reply }).await.ok()?;
    result.await.ok()
}

/// How often a question is asked on one channel, if the other side takes it and forgets it.
const QUESTIONS: u32 = 4;

/// How long, and how often, it is tried to say that a hold is over. Nothing depends on it.
const FAREWELL: Limit = Limit { time: Duration::from_secs(60), attempts: 5 };

/// The configured channels and the questions that are open on them.
pub struct Approval {
    host: String,
    /// Beginning of callback URLs.
    base: Option<String>,
    channels: Vec<Channel>,
    /// Makes links that log in, if there is a page.
    invites: Option<Arc<dyn Invites>>,
    /// For each channel, those who may try at a time: a thousand questions are no attack on who is to hear them.
    lanes: Vec<Lanes>,
    asking: HashMap<HoldId, Vec<AbortHandle>>,
    /// Likewise for showing who has approved.
    showing: HashMap<HoldId, Vec<AbortHandle>>,
    desk: Desk,
}

impl Approval {
    /// The channels of `config`. `host` is what reviewers are told of where this is; what channels answer at once goes
    /// to `answers`, and what is to be recorded comes out of `notes`.
    pub fn new(config: &Config, host: String, answers: mpsc::Sender<Submission>, notes: mpsc::Sender<Entry>) -> Self {
        let base = config.listener.as_ref().map(|listener| listener.url.clone());
        let channels = config.channels.clone();
        let lanes = channels.iter().map(|channel| Lanes::new(channel.way.turns())).collect();
        let desk = Desk { answers, refused: Arc::new(Refused::new(notes.clone())), notes };
        Self { host, base, channels, invites: None, lanes, asking: HashMap::new(), showing: HashMap::new(), desk }
    }

    /// The same, where messages that one reviewer alone reads have links that log in.
    pub fn inviting(self, invites: Option<Arc<dyn Invites>>) -> Self {
        Self { invites, ..self }
    }

    /// Whether the channels fit these groups of reviewers: [`review::judge`].
    ///
    /// # Errors
    /// Which does not.
    pub fn judge(&self, groups: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
        review::judge(&self.channels, groups)
    }

    /// Hears what comes by channels that need no listener, for as long as this process lives. Needs a Tokio runtime.
    pub fn listen(&self) {
        for going in self.channels.iter().filter_map(|channel| channel.way.listen(channel, &self.desk)) {
            tokio::spawn(going);
        }
    }

    /// Asks the channels of the hold's reviewers, until they took the question, the deadline, or
    /// [`Self::tell`]. Needs a Tokio runtime; returns at once. `now` is on the clock of the deadline.
    pub fn ask(&mut self, now: Timestamp, hold: &Hold) {
        let asking = self.question(now, hold, |channel| channel.asks(hold));
        if asking.is_empty() {
            tracing::info!(hold = %hold.id, reviewers = hold.asked_briefly(), "no channel asks these reviewers");
        }
        // Asked anew, nobody looks for the answers of before.
        let before = self.asking.insert(hold.id, asking);
        before.into_iter().flatten().for_each(|task| task.abort());
    }

    /// Asks the channels of the reviewers who are asked last, unless they ask others already.
    pub fn escalate(&mut self, now: Timestamp, hold: &Hold) {
        let asked: Vec<_> = hold.asked().collect();
        let Some((last, before)) = asked.split_last() else { return };
        let is_new =
            |channel: &Channel| channel.asks_one_of(last) && !before.iter().any(|groups| channel.asks_one_of(groups));
        let asking = self.question(now, hold, is_new);
        if !self.channels.iter().any(|channel| channel.asks_one_of(last)) {
            tracing::info!(hold = %hold.id, reviewers = quorum::brief(last), "no channel asks these reviewers");
        }
        self.keep(hold.id, asking);
    }

    /// Says once more on the channels of the hold's reviewers that it waits.
    pub fn remind(&mut self, now: Timestamp, hold: &Hold, number: u32) {
        let says = Says::Reminder { callback: self.callback(hold), number };
        let limit = Limit { time: FAREWELL.time.min(left(now, hold)), ..FAREWELL };
        let reminded = |channel: &Channel| channel.asks(hold) && channel.way.takes_reminders();
        let reminding = self.say(now, hold, says, limit, reminded);
        self.keep(hold.id, reminding);
    }

    /// To be ended with the hold.
    fn keep(&mut self, hold: HoldId, tasks: Vec<AbortHandle>) {
        let kept = self.asking.entry(hold).or_default();
        kept.retain(|task| !task.is_finished());
        kept.extend(tasks);
    }

    /// Stops asking and tells the channels how the hold ended. Returns at once; best effort.
    pub fn tell(&mut self, now: Timestamp, hold: &Hold, standing: &Standing) {
        let under_way = self.asking.remove(&hold.id).into_iter().chain(self.showing.remove(&hold.id));
        under_way.flatten().for_each(|task| task.abort());
        self.say(now, hold, Says::Outcome(standing.clone()), FAREWELL, |channel| channel.asks(hold));
    }

    /// Shows, where that can be shown, who has approved and whose approvals are `missing`. Returns at once; best effort.
    pub fn counted(&mut self, now: Timestamp, hold: &Hold, missing: &str) {
        let says = Says::Counted { missing: missing.to_owned() };
        let showing = self.say(now, hold, says, FAREWELL, |channel| channel.asks(hold) && channel.way.shows_progress());
        // What was to be shown before is not news any more.
        let before = self.showing.insert(hold.id, showing);
        before.into_iter().flatten().for_each(|task| task.abort());
    }

    /// What the channel `name` would be asked about `hold`; nothing if there is no such channel.
    pub fn preview(&self, now: Timestamp, hold: &Hold, name: &str) -> Option<Preview> {
        let channel = self.channels.iter().find(|channel| channel.name == name)?;
        let says = Says::Question { callback: self.callback(hold) };
        let review = channel.review.as_ref().map(|review| review.shown(hold.id));
        let message = Message { at: now, host: self.host.clone(), hold: hold.clone(), says, review, test: false };
        Some(channel.way.preview(&message))
    }

    /// Where a signed answer can be sent.
    fn callback(&self, hold: &Hold) -> Option<String> {
        self.base.as_ref().map(|base| format!("{base}/v1/holds/{}/answer", hold.id))
    }

    /// Asks the channels that `hear` it, for as long as there is.
    fn question(&self, now: Timestamp, hold: &Hold, hear: impl Fn(&Channel) -> bool) -> Vec<AbortHandle> {
        let limit = Limit { time: left(now, hold), attempts: u32::MAX };
        self.say(now, hold, Says::Question { callback: self.callback(hold) }, limit, hear)
    }

    /// Says it to the channels that `hear` it.
    fn say(
        &self,
        at: Timestamp,
        hold: &Hold,
        says: Says,
        limit: Limit,
        hear: impl Fn(&Channel) -> bool,
    ) -> Vec<AbortHandle> {
        let message = Message { at, host: self.host.clone(), hold: hold.clone(), says, review: None, test: false };
        let heard = self.channels.iter().zip(&self.lanes).filter(|(channel, _)| hear(channel));
        let send = |(channel, lanes): (&Channel, &Lanes)| {
            let message = Message { review: self.review(channel, &message), ..message.clone() };
            self.send(channel.clone(), lanes.of(&message), Arc::new(message), limit)
        };
        heard.map(send).collect()
    }

    /// Where the message leads on this channel: nowhere once it is over.
    fn review(&self, channel: &Channel, message: &Message) -> Option<review::Link> {
        let review = channel.review.as_ref().filter(|_| message.asks())?;
        Some(review.sent(&message.hold, &channel.name, self.invites.as_deref()))
    }

    fn send(&self, channel: Channel, lane: Lane, message: Arc<Message>, limit: Limit) -> AbortHandle {
        let sending = Sending { channel, lane, message, desk: self.desk.clone(), began: Instant::now() };
        tokio::spawn(sending.run(limit)).abort_handle()
    }
}

/// One message on its way to one channel.
struct Sending {
    channel: Channel,
    lane: Lane,
    message: Arc<Message>,
    desk: Desk,
    began: Instant,
}

impl Sending {
    /// Sends it, and looks for the answer where that has to be fetched. A question that is forgotten is asked again.
    async fn run(self, limit: Limit) {
        for time in 1..=QUESTIONS {
            let left = Limit { time: limit.time.saturating_sub(self.began.elapsed()), ..limit };
            if !self.send(left).await {
                return;
            }
            let Some(looking) = self.channel.way.look(&self.channel, &self.message, &self.desk) else { return };
            let left = limit.time.saturating_sub(self.began.elapsed());
            let Ok(Looked::Forgotten { error }) = timeout(left, looking).await else { return };
            self.report(Err(Failure { attempts: 0, error }));
            sleep(delivery::pause(time)).await;
        }
    }

    /// Whether it was taken.
    async fn send(&self, limit: Limit) -> bool {
        let Self { channel, message, .. } = self;
        let patience = channel.way.patience(message);
        let result = delivery::deliver(limit, patience, &self.lane, || channel.way.send(channel, message)).await;
        let answer = result.as_ref().ok().and_then(|delivered| delivered.answer.clone());
        let taken = result.is_ok();
        self.report(result);
        if let Some(answer) = answer {
            // Whether it counts is in the record; this channel does not wait to hear it.
            let _ = self.desk.answers.send(Submission { answer: *answer, reply: oneshot::channel().0 }).await;
        }
        taken
    }

    fn report(&self, result: Result<Delivered, Failure>) {
        let elapsed = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        report(self.message.at + elapsed, &self.message, self.channel.name.clone(), result, &self.desk.notes);
    }
}

fn left(now: Timestamp, hold: &Hold) -> Duration {
    Duration::try_from(hold.deadline.duration_since(now)).unwrap_or_default()
}

fn report(
    time: Timestamp,
    message: &Message,
    channel: String,
    result: Result<Delivered, Failure>,
    notes: &mpsc::Sender<Entry>,
) {
    let hold = message.hold.id;
    let event = match (&message.says, result) {
        (Says::Question { .. }, Ok(Delivered { attempts, .. })) => Event::Asked { hold, channel, attempts },
        (Says::Question { .. }, Err(Failure { error, .. })) => {
            tracing::warn!(%hold, channel, error, "reviewers could not be asked");
            Event::NotAsked { hold, channel, error }
        }
        (Says::Reminder { .. } | Says::Counted { .. } | Says::Outcome(_), Ok(_)) => return,
        (Says::Reminder { .. }, Err(Failure { error, .. })) => {
            tracing::warn!(%hold, channel, error, "reviewers could not be reminded");
            return;
        }
        (Says::Counted { .. }, Err(Failure { error, .. })) => {
            tracing::warn!(%hold, channel, error, "reviewers could not be shown who has approved");
            return;
        }
        (Says::Outcome(_), Err(Failure { error, .. })) => {
            tracing::warn!(%hold, channel, error, "reviewers could not be told how the hold ended");
            return;
        }
    };
    note(notes, Entry { time, event });
}

/// Hands a line to whoever writes the record, without waiting: if there are too many, it comes later. Needs a Tokio runtime.
pub fn note(notes: &mpsc::Sender<Entry>, entry: Entry) {
    match notes.try_send(entry) {
        Ok(()) => {}
        Err(TrySendError::Full(entry)) => {
            let notes = notes.clone();
            tokio::spawn(async move { notes.send(entry).await });
        }
        Err(error @ TrySendError::Closed(_)) => tracing::warn!(%error, "a line did not get into the record"),
    }
}

#[cfg(test)]
pub mod hostile;
#[cfg(test)]
pub(crate) mod peers;
#[cfg(test)]
mod tests;
