//! The agent: wiring, and the one loop. It knows all the others; they do not know each other.
//!
//! ```text
//! kernel events, looks at /proc --.                         .--> record (on disk first)
//! answers (callbacks, control) ----+--> Holds::on --Effect--+--> kernel decisions, signals
//! clock --------------------------'                         '--> reviewers, `holdpoint run`
//! ```

mod claims;
mod commands;
mod effects;
mod events;
mod grants;
mod held;
mod labels;
mod revisions;
mod start;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use holdpoint_common::{request::Facts, task::Switches};
use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

pub use self::start::{PINS, STATE_DIR, mapped};
use self::{held::Watched, labels::Readings, revisions::Revisions};
use crate::{
    approval::{self, Approval, Submission},
    canary::Finding,
    claims::Claims,
    cli::AgentArgs,
    denials::Denials,
    holds::{Effect, Holds, Input, Ticket},
    identity,
    kernel::Kernel,
    mask::Masks,
    page::Page,
    record::{self, Entry, Record},
    request::{Answer, HoldId, Operation, Outcome, Proof, Refusal, Request, Word},
    sockets::{Notice, Reply, Written},
    user,
    web::Window,
};

/// How often held processes are looked at, and the clock is.
const LOOK: Duration = Duration::from_millis(100);
/// Events, and looks, in one turn of the loop.
const BATCH: usize = 32;
/// How often the kernel's truth is compared with what events said.
const RECONCILE: Duration = Duration::from_secs(2);
/// How long a name is kept after its lifetime: far longer than any program of the kernel side runs, which may look at it.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// How long after new holds are refused one may still appear: far longer than a hook runs.
const SETTLED: Duration = Duration::from_millis(500);
/// The tree of every canary; those of subjects are random.
const CANARY_TREE: u64 = 1;
/// How long `detach` waits for the last held call to be seen off.
const FAREWELL: Duration = Duration::from_secs(30);

/// Who waits for the result of an answer.
enum Waiting {
    Callback(oneshot::Sender<Result<Outcome, Refusal>>),
    Local(Reply<Outcome>),
}

/// Everything that the agent has.
struct Daemon {
    pins: PathBuf,
    policy_file: PathBuf,
    kernel: Kernel,
    revisions: Revisions,
    /// The moment at which `CLOCK_BOOTTIME` was zero, taken once.
    boot: Timestamp,
    since: Timestamp,
    holds: Holds,
    record: Record,
    approval: Approval,
    page: Option<Arc<Page>>,
    watched: BTreeMap<HoldId, Watched>,
    /// The last of them that was looked at in the latest turn; below all if the next turn begins anew.
    looked_at: HoldId,
    readings: Readings,
    claims: Claims,
    waiting: HashMap<Ticket, Waiting>,
    tickets: u64,
    /// What reviewers said, for who launched the tree.
    words: HashMap<HoldId, String>,
    watchers: HashMap<String, Vec<mpsc::Sender<Notice>>>,
    denials: Denials,
    /// Governed processes at the control socket.
    intrusions: Window,
    /// Answers of who is nobody whom the policy knows.
    strangers: Window,
    /// Trees offered to processes that have not taken them.
    offers: BTreeMap<u32, u64>,
    /// Processes of `holdpoint attack` that were offered to be governed as the canary is.
    canaries: BTreeSet<u32>,
    findings: Vec<Finding>,
    detaching: Option<(Reply<Written>, Instant)>,
}

/// Runs the agent until it is told to stop.
pub fn main(run_dir: &Path, args: &AgentArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("holdpoint: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(run_dir, args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(run_dir: &Path, args: &AgentArgs) -> Result<()> {
    // First: it would end an agent that does not wait for it yet.
    let mut hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let (mut daemon, events, mut inbox) = start::start(run_dir, args).await?;
    #[expect(deprecated, reason = "its replacement is unsafe; `Events` owns its descriptor and never changes it")]
    let mut events = AsyncFd::new(events).context("cannot wait for the kernel's events")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut look = ticker(LOOK);
    let mut reconcile = ticker(RECONCILE);
    loop {
        tokio::select! {
            ready = events.readable_mut() => {
                let mut ready = ready.context("cannot wait for the kernel's events")?;
                if daemon.drain(ready.get_inner_mut()) {
                    ready.clear_ready();
                }
            }
            Some(command) = inbox.commands.recv() => daemon.command(command),
            Some(submission) = inbox.answers.recv() => daemon.submitted(submission),
            Some(revocation) = inbox.revocations.recv() => daemon.revoked_on_the_page(revocation),
            Some(note) = inbox.notes.recv() => daemon.note(&note),
            _ = look.tick(), if daemon.waits() => {
                // What a thread did before it was gone comes first, and that can be since it was looked at. Where that is
                // too much for one turn, it is found gone in a later one: nobody else has to wait.
                let caught_up = daemon.drain(events.get_mut());
                let gone = daemon.look();
                if gone.is_empty() || caught_up && daemon.drain(events.get_mut()) {
                    daemon.gone(gone);
                }
                daemon.input(Input::Tick);
            }
            _ = reconcile.tick() => {
                let caught_up = daemon.drain(events.get_mut());
                daemon.reconcile(caught_up);
            }
            _ = hangup.recv() => drop(daemon.reload(None)),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        if let Some(written) = daemon.detached()? {
            // It would be lost with the runtime; a client that does not read it is not waited for.
            let _ = timeout(FAREWELL, written).await;
            return Ok(());
        }
    }
    daemon.note(&Entry { time: daemon.now(), event: record::Event::Stopped });
    tracing::info!("stopped; enforcement stays on, and what is held stays held");
    Ok(())
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

/// Finds the numbers of the users of this host that the reviewer is: names alone can differ, or not be known for a while.
fn number(answer: &mut Answer) -> Result<(), Refusal> {
    let names = answer.known.users.iter().chain([&answer.who]);
    let numbers: Result<Vec<_>, _> = names.map(|name| user::looked_up(name)).collect();
    match numbers {
        Ok(numbers) => answer.known.uids = numbers.into_iter().flatten().collect(),
        // Whether it is the requester cannot be told; a no needs no more than a name.
        Err(error) if answer.word == Word::Approve => {
            return Err(Refusal::Stranger(format!("the users of this host cannot be looked up: {error}")));
        }
        Err(_) => {}
    }
    Ok(())
}

/// Now, on the clock of the kernel's deadlines, as a moment of the calendar.
fn now(boot: Timestamp) -> Timestamp {
    boot.saturating_add(since_boot()).unwrap_or(Timestamp::MAX)
}

/// See [`holdpoint_common::task::Switches::monday`].
fn monday() -> u64 {
    let now = jiff::Zoned::now();
    let local = now.timestamp().as_nanosecond() + i128::from(now.offset().seconds()) * 1_000_000_000;
    // 1970 began on a Thursday.
    let monday = local + i128::from(3 * 24 * 3600) * 1_000_000_000 - since_boot().as_nanos();
    monday.try_into().unwrap_or(0)
}

fn since_boot() -> SignedDuration {
    // The call fails only for a clock that the kernel does not have; this one is there since 2.6.39.
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

impl Daemon {
    fn now(&self) -> Timestamp {
        now(self.boot)
    }

    /// Whether somebody is held, or is about to be let go for good. Otherwise the agent costs its host nothing.
    fn waits(&self) -> bool {
        !self.watched.is_empty() || self.holds.pending().next().is_some() || self.detaching.is_some()
    }

    /// Puts something into the state machine and carries out what comes out.
    fn input(&mut self, input: Input) {
        for effect in self.holds.on(self.now(), input) {
            self.carry_out(effect);
        }
    }

    fn submitted(&mut self, Submission { answer, reply }: Submission) {
        let ticket = self.ticket(Waiting::Callback(reply));
        self.answered(answer, ticket);
    }

    fn ticket(&mut self, waiting: Waiting) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.waiting.insert(ticket, waiting);
        ticket
    }

    fn answered(&mut self, mut answer: Answer, ticket: Ticket) {
        let people = &self.revisions.policy().people;
        let known = identity::identify(people, &mut answer).and_then(|()| number(&mut answer));
        if let Err(refusal) = known.and_then(|()| self.has_seen(&answer)) {
            // Anybody in a conversation can click without end.
            if let Some(more) = self.strangers.admit() {
                self.refused(Some(answer.hold), Some(answer), refusal.to_string(), more);
            }
            return self.carry_out(Effect::Reply { ticket, result: Err(refusal) });
        }
        let hold = answer.hold;
        if let (Some(why), None) = (&answer.why, self.holds.standing(hold)) {
            self.words.insert(hold, why.clone());
        }
        self.input(Input::Answered { answer, ticket });
        // Told with the end, if this answer was one.
        self.words.remove(&hold);
    }

    /// Nobody approves by a channel that could not show all of it: in its own question, and in that which it waits behind.
    fn has_seen(&self, answer: &Answer) -> Result<(), Refusal> {
        let by_message = matches!(answer.proof, Proof::Webhook { .. } | Proof::Exec { .. });
        let is_cut = || {
            let hold = self.holds.get(answer.hold);
            let first = hold.and_then(|hold| self.holds.get(hold.behind?));
            hold.into_iter().chain(first).any(|hold| !approval::is_whole(hold))
        };
        if by_message && answer.word == Word::Approve && is_cut() { Err(Refusal::NotShown) } else { Ok(()) }
    }

    /// Puts on record that an answer has no effect, and that so many more had none before.
    fn refused(&mut self, hold: Option<HoldId>, answer: Option<Answer>, refusal: String, more: u64) {
        let event = record::Event::RefusedAnswer { hold, answer, refusal, from: None, more };
        self.note(&Entry { time: self.now(), event });
    }

    /// A governed process tried to use the control socket, to answer this hold if that is known. Not more lines than it takes
    /// to know: it can try without end.
    fn intruded(&mut self, pid: u32, hold: Option<HoldId>) {
        tracing::warn!(pid, "a governed process tried to reach the control socket");
        let Some(more) = self.intrusions.admit() else { return };
        self.refused(hold, None, format!("process {pid} is governed, and has no say on the control socket"), more);
    }

    /// The masks of the policy that is in force, whichever judged what they are put on.
    fn masks(&self) -> &Masks {
        &self.revisions.policy().masks
    }

    /// The names of the address that the request is about.
    fn add_hosts(&self, request: &mut Request, facts: &Facts) {
        if let Operation::Connect { names, .. } = &mut request.what {
            *names = self.kernel.hosts(facts.tree, facts.binding.address, facts.at);
        }
    }

    /// Compares with the kernel's truth. Of holds only once all events are taken: what was read before one is shown with it,
    /// and a thousand new ones are no reason to let others wait.
    fn reconcile(&mut self, caught_up: bool) {
        self.end_grants_of_nobody();
        if caught_up && let Some(oldest) = self.take_pending() {
            self.forget_hosts(oldest);
        }
        match self.revisions.follow_mounts(&mut self.kernel) {
            Ok(true) => tracing::info!("file systems were mounted or unmounted: the policy was compiled again"),
            Ok(false) => {}
            Err(error) => tracing::error!("the mounts of this host changed, and the policy stays as it was: {error:#}"),
        }
        if let Err(error) = self.follow_clock() {
            tracing::error!("rules with times stay at the clock of before: {error:#}");
        }
    }

    /// Forgets names that were over before `oldest`, the first of the requests that are still held: it is judged by what it
    /// knew. Questions to resolvers that are over were of use to nobody, whatever is held.
    fn forget_hosts(&mut self, oldest: u64) {
        let now = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
        let [unanswered, then] = [now, oldest.min(now)].map(|then| then.saturating_sub(FORGOTTEN.as_nanos() as u64));
        if let Err(error) = self.kernel.forget_hosts(unanswered, then) {
            tracing::error!("what is known of names of hosts stays too long: {error:#}");
        }
    }

    /// Tells the kernel side if the host's clock was set, or its time zone has another offset now.
    fn follow_clock(&mut self) -> Result<()> {
        const SLACK: u64 = 1_000_000_000;
        let (switches, monday) = (self.kernel.switches()?, monday());
        if switches.monday.abs_diff(monday) > SLACK {
            self.kernel.set_switches(Switches { monday, ..switches })?;
        }
        Ok(())
    }

    /// Appends to the record; what cannot be appended is logged.
    fn note(&mut self, entry: &Entry) {
        if let Err(error) = self.record.append(entry) {
            tracing::error!(%error, "cannot write to the record");
        }
    }

    /// Tells whoever launched a tree.
    fn notify(&mut self, tree: &str, notice: &Notice) {
        if let Some(watchers) = self.watchers.get_mut(tree) {
            // A full channel is dropped: its client begins anew.
            watchers.retain(|watcher| watcher.try_send(notice.clone()).is_ok());
        }
    }
}
