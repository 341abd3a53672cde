//! THE choice: whether a request of a governed thread passes.
//!
//! Allow, audit, deny and kill are decided here, at once. A hold is made and looked up again by [`crate::park`].
//!
//! How the end of a granted call is seen, and what that costs
//! ---------------------------------------------------------
//! A grant is good for one system call of one thread, but no hook fires when a call returns, and a program on
//! `sys_exit` would tax every call of every process (about 110 instructions). What is seen instead:
//!
//! * A call passes each of its hooks once. (It can meet a hook again after waiting for a lease or a delegation, which
//!   asks again.) A hook that is met a second time is either the kernel's own restart of the interrupted call, or a
//!   new call.
//! * Only opening is restarted after its hook with nothing done: a FIFO waits for its other end. It is the restart only
//!   if the thread went through `arch_do_signal_or_restart` with a restart code in its result since then
//!   (`hooks::signal::interrupted`), the handler that ran, if any, does not turn the code into EINTR
//!   (`hooks::signal::delivered`), and no tracer can have written it. Both fire on signals only: nothing is added to a
//!   system call's path. Anything else ends the grant and is judged as a new request.
//! * A `connect()` on a socket that is already connecting to that address has no new effect and passes.
//! * A file system may open more within the call: overlayfs opens what is behind a file, and copies it. That is judged
//!   like any open, under its own path; where the approved rule holds it too, the approval covers it.
//! * An approved call that fails before it reaches its hook (the file is gone, say) leaves a grant that nobody has
//!   used. It ends with the thread's next governed request, unless a signal handler may be running on top of the
//!   held call; with the thread; when the agent sees the thread elsewhere; and at the hold's deadline. Until then the
//!   only call that it lets through is the very one that was approved, once.
//!
//! The cost is one look-up of the governed threads per delivered signal and per interrupted call.

use holdpoint_common::{
    event::{Kind, Reason},
    matcher::{Asker, Tables as _, address_rule, by_object, first_of, stricter, system_rule, unknown_path_rule},
    pending::hook,
    request::{Action, Binding, Class, Operation, Request},
    system::{NO_SYSTEM, System},
    tables::{NO_RULE, RootKey, RuleKey, UNKNOWN, Verdict},
    task::Task,
};

use crate::{
    kernel::opaque,
    labels,
    maps::SWITCHES,
    park, report,
    walk::{self, Maps, Walk},
};

/// `-EPERM`.
pub const EPERM: i32 = -1;

/// The current thread's request, empty, to be filled by a hook. `task` is the thread's entry.
#[inline(always)]
pub fn request(task: *mut Task) -> &'static mut Request {
    // SAFETY: the entry is the current thread's own, and stays while it is in a program.
    let (request, scratch) = unsafe {
        (*task).noted = NO_RULE;
        (&mut (*task).request, &mut (*task).scratch)
    };
    (scratch.labels, scratch.labels_below) = (0, 0);
    *request = Request {
        binding: Binding {
            inode: 0,
            anchor: 0,
            target: 0,
            target_anchor: 0,
            device: 0,
            access: 0,
            flags: 0,
            detail: 0,
            user: 0,
            group: 0,
            address: [0; 16],
            port: 0,
            family: 0,
        },
        dentry: 0,
        inode: 0,
        bprm: 0,
        system: NO_SYSTEM,
        created: 0,
        implied: 0,
        covered: 0,
        quiet: 0,
        at: 0,
    };
    request
}

/// Likewise, for an operation on the host.
#[inline(always)]
pub fn on_host(task: *mut Task, system: System) -> &'static mut Request {
    let request = request(task);
    request.system = system as u32;
    request.binding.flags = system as u32;
    request
}

/// A request that has met its rule.
pub struct Judged<'a> {
    /// The request.
    pub request: &'a Request,
    /// What kind it is.
    pub operation: Operation,
    /// The [`hook`] that asks.
    pub at: u32,
    /// Who asks.
    pub task: *mut Task,
    /// Where; empty for what has no path.
    pub walk: &'a Walk,
    /// What else it is about.
    pub target: Target,
    /// Policy revision and subject.
    pub asker: Asker,
    /// The first rule that accepts, or [`NO_RULE`].
    pub rule: u32,
}

impl Judged<'_> {
    /// What the rule says; 0 if there is none.
    #[inline(always)]
    pub fn meaning(&self) -> u64 {
        let key = RuleKey { revision: self.asker.revision, rule: self.rule };
        Maps(self.task).consequence(&key).map_or(0, |consequence| consequence.meaning)
    }
}

/// The second thing that an operation on a file's name is about.
#[derive(Clone, Copy)]
pub enum Target {
    /// There is none.
    None,
    /// The directory entry of the new name, and what happens to what has that name already: a mask of [`Class`] bits.
    Entry(u64, u32),
    /// Kernel memory with what a symbolic link will say.
    Text(u64),
}

/// What becomes of a request, and what is told of it.
pub enum Outcome {
    /// It passes, silently.
    Pass,
    /// It fails with this error, silently: it is held, or its end was told when it was decided.
    Fail(i32),
    /// It is over and reported: the kind, the reason where there is one.
    Told(Kind, u32),
}

impl Outcome {
    /// A request that would have been held but cannot.
    pub fn not_held(reason: Reason) -> Self {
        report::count(reason);
        Self::Told(Kind::NotHeld, reason as u32)
    }
}

/// Decides the request of the current thread, met at `at`, a [`hook`]: 0 if it passes, else the error that the hook
/// returns.
#[inline(always)]
pub fn gate(task: *mut Task, operation: Operation, at: u32) -> i32 {
    let request = read_back(task);
    let asker = asker(task);
    let walk = walk(operation, request, task);
    if operation == Operation::Open {
        park::creates_nothing(task, request, at);
    }
    let rule = first_rule(operation, request, &walk, asker, false);
    let rule = or_noted(task, asker, request, rule);
    decide(&Judged { request, operation, at, task, walk: &walk, target: Target::None, asker, rule })
}

/// Likewise, of an operation on a file's name or on what is kept beside it. What `moves` takes along all that is below.
#[inline(always)]
pub fn gate_name(task: *mut Task, moves: bool, target: Target) -> i32 {
    let asker = asker(task);
    // First, since both walks fill the same chain.
    let of_target = match target {
        Target::Entry(entry, access) => rule_of_target(task, asker, entry, access),
        Target::None | Target::Text(_) => NO_RULE,
    };
    let request = read_back(task);
    let walk = walk(Operation::File, request, task);
    let rule = first_rule(Operation::File, request, &walk, asker, moves);
    let rule = or_noted(task, asker, request, stricter(&Maps(task), asker, rule, of_target));
    decide(&Judged { request, operation: Operation::File, at: hook::NAME, task, walk: &walk, target, asker, rule })
}

/// The first rule on what gets another file, and all that is below it, in its place.
#[inline(always)]
fn rule_of_target(task: *mut Task, asker: Asker, entry: u64, access: u32) -> u32 {
    let access = opaque(u64::from(access)) as u32;
    let walk = walk::from_dentry(task, entry);
    let rule = or_unknown(walk.moved_rule(asker, access), &walk, asker, access);
    if access & Class::Read.bit() == 0 {
        // It goes, and nobody gets to read it.
        (walk.scratch().labels, walk.scratch().labels_below) = (0, 0);
    }
    rule
}

/// What passes is told under the rule that only observes, where that would have decided it otherwise.
#[inline(always)]
fn or_noted(task: *mut Task, asker: Asker, request: &Request, rule: u32) -> u32 {
    // SAFETY: the entry is the current thread's own.
    let noted = unsafe { (*task).noted };
    if noted >= rule {
        return rule;
    }
    let passes = match Maps(task).consequence(&RuleKey { revision: asker.revision, rule }) {
        Some(consequence) => consequence.verdict <= Verdict::Audit as u32,
        None => rule == NO_RULE && request.system == NO_SYSTEM,
    };
    if passes { noted } else { rule }
}

#[inline(always)]
fn decide(judged: &Judged<'_>) -> i32 {
    let outcome = match verdict(judged) {
        (Verdict::Hold, patience) => park::park(judged, patience),
        (verdict, _) => park::moved_on(judged).unwrap_or_else(|| told(verdict)),
    };
    answer(judged, outcome)
}

/// Likewise, where nothing can be held: what a rule would hold is refused.
#[inline(always)]
pub fn at_once(task: *mut Task, operation: Operation) -> i32 {
    let request = read_back(task);
    let asker = asker(task);
    let walk = walk(operation, request, task);
    let rule = first_rule(operation, request, &walk, asker, false);
    let rule = or_noted(task, asker, request, rule);
    let at = hook::AT_ONCE;
    let judged = Judged { request, operation, at, task, walk: &walk, target: Target::None, asker, rule };
    let outcome = match verdict(&judged) {
        (Verdict::Hold, _) if request.covered != 0 => Outcome::Pass,
        (Verdict::Hold, _) => Outcome::not_held(Reason::AtOnce),
        (verdict, _) => told(verdict),
    };
    answer(&judged, outcome)
}

/// Refuses an operation on the host whatever the policy says.
#[inline(always)]
pub fn never(task: *mut Task) -> i32 {
    let judged = Judged {
        request: read_back(task),
        operation: Operation::System,
        at: hook::AT_ONCE,
        task,
        walk: &walk::nowhere(task),
        target: Target::None,
        asker: asker(task),
        rule: NO_RULE,
    };
    answer(&judged, told(Verdict::Deny))
}

/// The request as it stands in the thread's entry: the compiler must not carry on what it knows of it.
#[inline(always)]
pub fn read_back(task: *mut Task) -> &'static Request {
    // SAFETY: as for `request`; the address is that of the entry's field.
    unsafe { &*(opaque(&raw const (*task).request as u64) as *const Request) }
}

#[inline(always)]
fn asker(task: *mut Task) -> Asker {
    // An array's record always exists; no table has revision 0.
    let revision = SWITCHES.get(0).map_or(0, |switches| switches.revision);
    // SAFETY: the entry is the current thread's own.
    Asker { revision, subject: unsafe { (*task).subject } }
}

#[inline(always)]
fn walk(operation: Operation, request: &Request, task: *mut Task) -> Walk {
    match operation {
        Operation::Connect | Operation::System => walk::nowhere(task),
        Operation::Exec | Operation::Open | Operation::File => walk::from_dentry(task, request.dentry),
    }
}

/// What becomes of the request, and how long a hold waits.
#[inline(always)]
fn verdict(judged: &Judged<'_>) -> (Verdict, u64) {
    match said(judged) {
        (Verdict::Allow | Verdict::Audit, _) if !is_known(judged) => (Verdict::Deny, 0),
        said => said,
    }
}

/// Whether the policy in force knows this subject: then it has a rule on paths for it, if only the one on Holdpoint's own
/// files. Who becomes governed in the very moment in which a policy without the subject is put in force meets no rule of
/// it, which must not mean that all is allowed.
#[inline(always)]
fn is_known(judged: &Judged<'_>) -> bool {
    let Asker { revision, subject } = judged.asker;
    Maps(judged.task).root(&RootKey { revision, subject, device: UNKNOWN }).is_some()
}

/// What the policy says.
#[inline(always)]
fn said(judged: &Judged<'_>) -> (Verdict, u64) {
    if judged.rule == NO_RULE {
        return (if judged.request.system == NO_SYSTEM { Verdict::Allow } else { Verdict::Deny }, 0);
    }
    let key = RuleKey { revision: judged.asker.revision, rule: judged.rule };
    match Maps(judged.task).consequence(&key) {
        Some(consequence) if judged.request.implied != 0 && consequence.everything != 0 => (Verdict::Allow, 0),
        Some(consequence) => (Verdict::try_from(consequence.verdict).unwrap_or(Verdict::Deny), consequence.patience),
        None => (Verdict::Deny, 0),
    }
}

/// The outcome of a verdict that waits for nobody.
#[inline(always)]
fn told(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Allow => Outcome::Pass,
        Verdict::Audit => Outcome::Told(Kind::Audited, 0),
        Verdict::Kill => Outcome::Told(Kind::Killed, 0),
        Verdict::Deny | Verdict::Hold => Outcome::Told(Kind::Denied, 0),
    }
}

#[inline(always)]
fn answer(judged: &Judged<'_>, outcome: Outcome) -> i32 {
    let labels = match outcome {
        Outcome::Pass | Outcome::Told(Kind::Audited, _) => labels_read(judged),
        _ => 0,
    };
    let outcome = match outcome {
        Outcome::Pass if labels != 0 => Outcome::Told(Kind::Labelled, 0),
        outcome => outcome,
    };
    match outcome {
        Outcome::Pass => 0,
        Outcome::Fail(error) => error,
        Outcome::Told(kind, reason) => {
            let told = judged.request.quiet != 0 || report::request(kind, reason, labels, judged);
            match kind {
                // On record, or not at all.
                Kind::Audited | Kind::Labelled if told => {
                    labels::carry(labels);
                    0
                }
                Kind::Killed => park::kill(),
                _ => EPERM,
            }
        }
    }
}

/// Labels of the data that the request gets to read, or to read by another name, and that the thread does not carry yet.
#[inline(always)]
fn labels_read(judged: &Judged<'_>) -> u64 {
    const TAKING: u32 = 1 << Action::Link as u32
        | 1 << Action::Rename as u32
        | 1 << Action::Connect as u32
        | 1 << Action::Receive as u32;
    let binding = &judged.request.binding;
    let reads = match judged.operation {
        Operation::Connect | Operation::System => false,
        Operation::Exec => true,
        Operation::Open => binding.access & Class::Read.bit() != 0 && judged.at != hook::CREATE,
        Operation::File => binding.access & Class::Read.bit() != 0 && TAKING >> (binding.flags & 31) & 1 != 0,
    };
    if reads { labels::fresh(judged.walk.scratch().labels) } else { 0 }
}

/// The first rule that accepts the request; where it counts as an operation on the host and no other does, on that. What
/// `moves` takes along all that is below it.
#[inline(always)]
fn first_rule(operation: Operation, request: &Request, walk: &Walk, asker: Asker, moves: bool) -> u32 {
    let rule = match operation {
        Operation::Connect => address_rule(&Maps(walk.task), asker, &request.binding.address, request.binding.port),
        Operation::Exec | Operation::Open | Operation::File => rule_on_path(operation, request, walk, asker, moves),
        Operation::System => NO_RULE,
    };
    if rule == NO_RULE && request.system != NO_SYSTEM {
        system_rule(&Maps(walk.task), asker, request.system)
    } else {
        rule
    }
}

#[inline(always)]
fn rule_on_path(operation: Operation, request: &Request, walk: &Walk, asker: Asker, moves: bool) -> u32 {
    if request.dentry == 0 || walk.nameless && operation != Operation::Exec {
        // Pipes, sockets, memory: brought along, received, mapped, or opened again through /proc, they have no path that a
        // rule could mean. What is executed from such a place (memfd) must not escape the rules on exec.
        return NO_RULE;
    }
    let access = request.binding.access;
    let exec = operation == Operation::Exec;
    let known = if moves { walk.moved_rule(asker, access) } else { walk.rule(asker, access, exec) };
    // Whatever its count of names is now: one of them may just have been taken away.
    let labels = &mut walk.scratch().labels;
    let of_object = by_object(&Maps(walk.task), asker, walk.device, request.binding.inode, access, labels);
    let of_object = first_of(&Maps(walk.task), asker, [of_object], exec);
    or_unknown(stricter(&Maps(walk.task), asker, known, of_object), walk, asker, access)
}

/// A path that could not be walked is taken for any, and so is one on a file system that the policy names and that takes
/// names in other spellings.
#[inline(always)]
fn or_unknown(known: u32, walk: &Walk, asker: Asker, access: u32) -> u32 {
    if walk.whole && !(walk.folds && is_named(walk, asker)) {
        known
    } else {
        unknown_path_rule(&Maps(walk.task), asker, access, &mut walk.scratch().labels)
    }
}

/// Whether a path of the policy leads to the file system.
#[inline(always)]
fn is_named(walk: &Walk, asker: Asker) -> bool {
    let key = RootKey { revision: asker.revision, subject: asker.subject, device: walk.device };
    Maps(walk.task).root(&key).is_some()
}
