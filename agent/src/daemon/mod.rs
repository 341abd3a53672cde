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
mod grants;
mod labels;
mod revisions;
mod start;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use holdpoint_common::{
    decision::Decision,
    event::{Bell, Kind, RING_BYTES, Reason},
    pending::{Pending, Strings},
    request::Facts,
    tables::CANARIES,
    task::Switches,
};
use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout},
};

pub use self::start::{PINS, STATE_DIR, mapped};
use self::{labels::Readings, revisions::Revisions};
use crate::{
    approval::{Approval, Submission},
    canary::Finding,
    claims::{Claims, Speaker},
    class::Class,
    cli::AgentArgs,
    denials::{Denial, Denials},
    holds::{Effect, Holds, Input, Ticket},
    identity,
    kernel::{Event, Events, Kernel, Reader},
    mask::Masks,
    page::Page,
    policy::{Policy, verdict_word},
    process::{self, State},
    record::{self, Entry, Record},
    request::{Answer, Digest, Hold, HoldId, Operation, Outcome, Reading, Refusal, Request, Withdrawal, Word},
    sockets::{Notice, Reply, Written, message::tree_text},
    user,
    web::Window,
};

/// How often held processes are looked at, and the clock is.
const LOOK: Duration = Duration::from_millis(100);
/// Events, and looks, in one turn of the loop.
const BATCH: usize = 32;
/// Batches of events that the ring can hold: bells only, each with 8 bytes of the ring's own.
const RING_BATCHES: usize = RING_BYTES as usize / (size_of::<Bell>() + 8) / BATCH;
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

/// A hold whose thread is watched.
struct Watched {
    process: process::Held,
    /// When it asked, in nanoseconds of `CLOCK_BOOTTIME`.
    asked: u64,
    due: Due,
    /// When it was last woken, and how long to wait before it is again.
    woken: (Instant, Duration),
}

/// What a held thread was woken for and has not been seen to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// The decision, which is in place.
    Decision,
    /// Another policy. It has been stopped again, if it is, once the kernel counts more stops than these.
    Policy {
        entries: u32,
    },
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
        if let Err(refusal) = identity::identify(people, &mut answer).and_then(|()| number(&mut answer)) {
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

    /// Takes events that are there, not so many that nobody else gets a turn; true if it took all.
    fn drain(&mut self, events: &mut Events) -> bool {
        for _ in 0..BATCH {
            match events.next() {
                Some(Event::Bell { kind, id, pid }) => self.bell(kind, id, pid),
                Some(Event::Report { kind, reason, labels, facts, strings }) => {
                    self.report((kind, reason), labels, &facts, strings.as_deref());
                }
                None => return true,
            }
        }
        false
    }

    fn bell(&mut self, kind: Kind, id: u64, pid: u32) {
        let hold = HoldId(id);
        match kind {
            Kind::Held => _ = self.held(hold),
            Kind::Passed => self.met(hold, Input::Passed(hold)),
            Kind::Refused => self.met(hold, Input::Refused(hold)),
            Kind::Left => self.met(hold, self.left(hold)),
            Kind::Enrolled => self.enrolled(id, pid, false),
            Kind::Found => self.enrolled(id, pid, true),
            Kind::ControlRefused => self.intruded(pid, None),
            Kind::Audited | Kind::Denied | Kind::DeniedAgain | Kind::Killed | Kind::NotHeld | Kind::Labelled => {}
        }
    }

    /// The held call is over, or is another request under another policy.
    fn left(&self, hold: HoldId) -> Input {
        match self.watched.get(&hold).map(|watched| watched.due) {
            Some(Due::Policy { .. }) => Input::Gone(hold, Withdrawal::PolicyChanged),
            _ => Input::Left(hold),
        }
    }

    /// The thread met its decision.
    fn met(&mut self, hold: HoldId, input: Input) {
        if let Some(watched) = self.watched.get_mut(&hold) {
            watched.due = Due::Nothing;
        }
        if !matches!(input, Input::Passed(_)) {
            self.watched.remove(&hold);
        }
        self.input(input);
    }

    fn enrolled(&mut self, tree: u64, pid: u32, already_running: bool) {
        let Some(governed) = self.kernel.governed().into_iter().find(|governed| governed.tree == tree) else { return };
        if CANARIES.contains(&governed.subject) {
            return;
        }
        let subject = self.reader_subject(governed.subject);
        let tree = tree_text(tree);
        if already_running {
            tracing::info!(pid, subject, tree, "already running: governed from now on");
        }
        let mut claims = self.claims_of(&tree, self.now());
        claims.retain(|claim| matches!(claim.by, Speaker::Launcher { .. }));
        let launcher = governed.launcher;
        let event = record::Event::Enrolled { tree: tree.clone(), subject, pid, launcher, already_running };
        self.note(&Entry { time: self.now(), event });
        claims.into_iter().for_each(|claim| self.claimed(&tree, claim));
    }

    fn reader_subject(&self, number: u32) -> String {
        Reader { policy: self.revisions.policy(), mounts: self.revisions.mounts(), boot: self.boot }.subject(number)
    }

    fn report(&mut self, end: (Kind, Option<Reason>), labels: u64, facts: &Facts, strings: Option<&Strings>) {
        if CANARIES.contains(&facts.subject) {
            return;
        }
        let Some(policy) = self.revisions.of(facts.revision) else {
            let pid = facts.tgid;
            return tracing::error!(?end, pid, "not in the record: a request judged by a policy that is not kept");
        };
        let reader = Reader { policy: &policy, mounts: self.revisions.mounts(), boot: self.boot };
        let Some(mut request) = reader.reported(facts, strings).map(Box::new) else { return };
        self.add_hosts(&mut request, facts);
        self.masks().request(&mut request);
        self.labelled(&policy, labels, &request);
        let time = request.at;
        let event = match end {
            (Kind::Audited, _) => {
                let rule = policy.rule(facts.rule).filter(|rule| policy.in_force(rule) != rule.verdict());
                record::Event::Audited { would: rule.map(|rule| verdict_word(rule.verdict())), request }
            }
            (Kind::Denied, _) => {
                self.denied(&request, Denial::of_request(&request));
                record::Event::Denied { again: false, request }
            }
            (Kind::DeniedAgain, _) => {
                self.denied(&request, self.denials.again(&request));
                record::Event::Denied { again: true, request }
            }
            (Kind::Killed, _) => {
                self.denied(&request, Denial::of_request(&request));
                record::Event::Killed(request)
            }
            (Kind::NotHeld, Some(reason)) => {
                self.denied(&request, Denial::not_held(&request, reason.word()));
                record::Event::NotHeld { reason: reason.word(), request }
            }
            _ => return,
        };
        self.note(&Entry { time, event });
    }

    /// Keeps it for the tree, and tells who launched it; of the same again and again, the first, and the second where that
    /// alone says that nobody is asked any more.
    fn denied(&mut self, request: &Request, denial: Denial) {
        let told = if denial.until.is_some() { 2 } else { 1 };
        if self.denials.keep(&request.tree, denial.clone()) <= told {
            self.notify(&request.tree, &Notice::Denied(denial));
        }
    }

    /// Who asks reads data with these labels, and carries them from now on.
    fn labelled(&mut self, policy: &Policy, labels: u64, request: &Request) {
        if labels == 0 {
            return;
        }
        let exe = process::context(request.pid).ancestry.first().map(|process| process.exe.clone());
        let governed: BTreeSet<_> = self.kernel.governed().iter().map(|governed| tree_text(governed.tree)).collect();
        let names: Vec<_> = self.revisions.labels(labels).map(str::to_owned).collect();
        for name in names {
            let reading = Reading {
                tree: request.tree.clone(),
                lineage: policy.labels.iter().any(|label| label.name == name && label.lineage),
                label: name,
                path: request.what.path().unwrap_or_default().to_owned(),
                pid: request.pid,
                started: request.started,
                exe: exe.clone().filter(|exe| !exe.is_empty()),
                at: request.at,
            };
            let first = self.readings.note(&reading, &governed);
            if let Err(error) = &first {
                tracing::error!("what was read is not shown after a restart of the agent: {error:#}");
            }
            if first.unwrap_or(true) {
                self.note(&Entry { time: reading.at, event: record::Event::Labelled(Box::new(reading)) });
            }
        }
    }

    /// Takes what the kernel has of this hold, and gives when it was asked (before everything, if that cannot be read);
    /// nothing if it is over already.
    fn held(&mut self, id: HoldId) -> Option<u64> {
        match self.kernel.hold(id) {
            Ok(pending) => {
                let pending = pending?;
                self.take(id, &pending);
                Some(pending.facts.at)
            }
            Err(error) => {
                tracing::error!("{error:#}");
                Some(0)
            }
        }
    }

    fn take(&mut self, id: HoldId, pending: &Pending) {
        // What is known of a hold does not change, and gathering it anew would cost.
        let known = self.holds.get(id).cloned();
        let Some(hold) = known.or_else(|| self.describe(id, pending)) else {
            return self.kill_unknown(id, pending);
        };
        let fresh = !self.watched.contains_key(&id) && self.holds.get(id).is_none();
        if fresh {
            let Some(process) = self.find(id, pending) else { return };
            let woken = (Instant::now(), effects::FIRST_NUDGE);
            let asked = pending.facts.at;
            self.watched.insert(id, Watched { process, asked, due: Due::Nothing, woken });
        }
        let kernel = match self.kernel.decided(id).unwrap_or_default() {
            Some((_, digest)) if digest != hold.alone().bytes() => return self.kill_unknown(id, pending),
            decided => decided.map(|(decision, _)| decision),
        };
        let recorded = self.record.decided(id).cloned();
        let passed = pending.passed != 0;
        self.input(Input::Held { hold: Box::new(hold), kernel, passed, recorded });
        if fresh {
            self.judge_anew(id);
        }
    }

    /// What is held under another policy than the one in force is executed again, unless it is decided: it stays held where
    /// the same rule holds it.
    fn judge_anew(&mut self, id: HoldId) {
        let of_another = |hold: &Hold| hold.request.policy != self.revisions.policy().revision();
        if !self.holds.get(id).is_some_and(of_another) || self.holds.standing(id).is_some() {
            return;
        }
        let Ok(Some(Pending { entries, .. })) = self.kernel.hold(id) else { return };
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.wake(Due::Policy { entries });
        }
    }

    /// The thread of a hold. If it is gone, the kernel's hold goes too; if that cannot be told, it stays, and the next
    /// reconciliation tries again.
    fn find(&mut self, id: HoldId, pending: &Pending) -> Option<process::Held> {
        let facts = &pending.facts;
        match process::Held::find(facts.tgid, facts.tid, facts.started, facts.syscall) {
            Ok(None) => self.kernel.forget(id),
            Ok(found) => return found,
            Err(error) => tracing::error!(%id, pid = facts.tgid, "a held process cannot be looked at: {error}"),
        }
        None
    }

    /// A hold that cannot be shown, since its policy is gone, cannot be approved; and a decision on something else, as
    /// another version of the agent can have left it, was not about this.
    fn kill_unknown(&mut self, id: HoldId, pending: &Pending) {
        let Some(process) = self.find(id, pending) else { return };
        tracing::error!(%id, pid = pending.facts.tgid, "killed: what it is held for cannot be understood any more");
        match self.kernel.decide(id, Decision::Kill, Default::default()) {
            Ok(()) => process.kill(),
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    /// Everything that is shown and compared of a hold. From here on it has no secret that a mask knows.
    fn describe(&mut self, id: HoldId, pending: &Pending) -> Option<Hold> {
        let policy = self.revisions.of(pending.facts.revision)?;
        let reader = Reader { policy: &policy, mounts: self.revisions.mounts(), boot: self.boot };
        let mut request = reader.held(pending)?;
        self.add_hosts(&mut request, &pending.facts);
        let rule = policy.rule(pending.facts.rule)?;
        let terms = rule.terms()?;
        let (digest, class) = (Digest::of(id, &request), Class::of(&request));
        let mut context = process::context(request.pid);
        self.masks().request(&mut request);
        self.masks().context(&mut context);
        let read = self.readings.of(&request.tree, &rule.only.labels, &context);
        let mut hold = Hold {
            id,
            digest,
            deadline: reader.moment(pending.deadline),
            reviewers: terms.reviewers.clone(),
            escalation: terms.escalate.iter().map(|escalation| escalation.of(request.at)).collect(),
            remind: terms.remind,
            assurance: terms.assurance,
            own: terms.own,
            scopes: terms.scopes.clone(),
            approved: vec![],
            on_deny: terms.on_deny,
            on_timeout: terms.on_timeout,
            pause: terms.pause,
            user: user::known(request.uid),
            launcher_name: user::known(request.launcher),
            same: vec![],
            alone: None,
            behind: None,
            if_read: rule.only.labels.clone(),
            read,
            // By what is shown: the request is masked already.
            before: self.record.before(&request),
            claims: self.claims_of(&request.tree, request.at),
            context,
            class,
            request,
        };
        // A policy that is not in force any more offers nothing; and what cannot be told from other requests is asked each time.
        let in_force = hold.request.policy == self.revisions.policy().revision();
        if !hold.scopes.is_empty() && (!in_force || hold.class().is_none()) {
            hold.scopes.clear();
        }
        Some(hold)
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

    /// Takes all events that are there: as many as fit into the ring.
    fn drain_all(&mut self, events: &mut Events) {
        let mut batches = RING_BATCHES;
        while batches > 0 && !self.drain(events) {
            batches -= 1;
        }
    }

    /// Looks at the next of the held threads, whether they are not yet awake; gives those that are gone or elsewhere.
    fn look(&mut self) -> Vec<(HoldId, Withdrawal)> {
        let mut gone = Vec::new();
        let after = (Bound::Excluded(self.looked_at), Bound::Unbounded);
        let mut last = HoldId(0);
        for (looked, (id, watched)) in self.watched.range_mut(after).take(BATCH).enumerate() {
            if looked + 1 == BATCH {
                last = *id;
            }
            let entries = self.kernel.hold(*id).ok().flatten().map(|pending| pending.entries);
            watched.stopped_again(entries);
            match watched.process.look(entries.unwrap_or(0)) {
                State::Gone(reason) => gone.push((*id, reason)),
                State::Waiting { stopped } => watched.nudge(stopped),
            }
        }
        self.looked_at = last;
        gone
    }

    fn gone(&mut self, gone: Vec<(HoldId, Withdrawal)>) {
        for (id, reason) in gone {
            if reason == Withdrawal::ProcessDead {
                self.watched.remove(&id);
            }
            self.input(Input::Gone(id, reason));
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

    /// Forgets what was over before `oldest`, the first of the requests that are still held: it is judged by what it knew.
    fn forget_hosts(&mut self, oldest: u64) {
        let now = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
        let then = oldest.min(now);
        if let Err(error) = self.kernel.forget_hosts(then.saturating_sub(FORGOTTEN.as_nanos() as u64)) {
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

    /// The pending map is the truth: whatever an event did not say is found here. Gives when the first of what is held was
    /// asked, in nanoseconds of `CLOCK_BOOTTIME` (without any, after everything); none if that cannot be listed.
    fn take_pending(&mut self) -> Option<u64> {
        let pending = self.kernel.pending().inspect_err(|error| tracing::error!("{error:#}")).ok()?;
        let asked = |id| self.waits_still(id).or_else(|| self.held(id));
        Some(pending.into_iter().filter_map(asked).min().unwrap_or(u64::MAX))
    }

    /// When this was asked, if it is known and nothing has come of it: then there is nothing to look at.
    fn waits_still(&self, id: HoldId) -> Option<u64> {
        let undecided = self.holds.is_pending(id) && self.kernel.decided(id).is_ok_and(|decided| decided.is_none());
        self.watched.get(&id).filter(|_| undecided).map(|watched| watched.asked)
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

impl Watched {
    /// Has the process execute its held call again, to meet what is due.
    fn wake(&mut self, due: Due) {
        self.due = due;
        self.woken = (Instant::now(), effects::FIRST_NUDGE);
        self.process.wake();
    }

    /// The kernel has stopped it so often, unless its hold is over.
    fn stopped_again(&mut self, stops: Option<u32>) {
        if matches!((self.due, stops), (Due::Policy { entries }, Some(stops)) if entries != stops) {
            self.due = Due::Nothing;
        }
    }

    /// Wakes a process that sleeps on although something is due: the stop of a sibling can have come between.
    fn nudge(&mut self, stopped: bool) {
        let (at, pause) = self.woken;
        if self.due != Due::Nothing && stopped && at.elapsed() >= pause {
            self.process.wake();
            self.woken = (Instant::now(), (pause * 2).min(effects::LAST_NUDGE));
        }
    }
}
