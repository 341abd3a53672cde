//! THE choice: whether a request of a governed thread passes.
//!
//! Allow, audit, deny and kill are decided here, at once. A hold is made and looked up again by [`crate::park`].
//!
//! How the end of a granted call is seen, and what that costs
//! ---------------------------------------------------------
//! A grant is good for one system call of one thread, but no hook fires when a call returns, and a program on
//! `sys_exit` would tax every call of every process (about 110 instructions). What is seen instead:
//!
//! * A call passes each of its hooks once. A hook that is met a second time is either the kernel's own restart of
//!   the interrupted call, or a new call.
//! * It is the restart only if the thread went through `arch_do_signal_or_restart` with a restart code in its
//!   result since then (`hooks::signal::interrupted`), and the handler that ran, if any, does not turn the code
//!   into EINTR (`hooks::signal::delivered`). Both fire on signals only: nothing is added to a system call's path.
//!   Anything else ends the grant and is judged as a new request.
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
    matcher::{Asker, address_rule, moved_rule, object_rule, path_rule, system_rule, unknown_path_rule},
    pending::hook,
    request::{Binding, Class, Operation},
    system::{NO_SYSTEM, System},
    tables::{NO_RULE, RuleKey, Verdict},
    task::Task,
};

use crate::{
    kernel::{current, offset, opaque, read},
    maps::{RULES, SWITCHES},
    park, report, task,
    walk::{self, Maps, Walk},
};

/// `-EPERM`.
pub const EPERM: i32 = -1;

/// One guarded action, as a hook has read it from its arguments.
pub struct Request {
    /// What kind.
    pub operation: Operation,
    /// The [`holdpoint_common::pending::hook`] that asks.
    pub hook: u32,
    /// What a decision binds to.
    pub binding: Binding,
    /// The directory entry, 0 for a connect.
    pub dentry: u64,
    /// The existing inode, 0 if there is none.
    pub inode: u64,
    /// `linux_binprm`, for an exec.
    pub bprm: u64,
    /// Whether this very call has created the file that it now opens.
    pub created: bool,
    /// The directory entry of a new name for the file, 0 if it gets none.
    pub target: u64,
    /// Whether rules that accept every path do not mean this: each library that a program maps, or what it was started
    /// with.
    pub implied: bool,
    /// The [`System`] that the request counts as where no rule accepts it, else [`NO_SYSTEM`].
    pub system: u32,
    /// Whether it belongs to a call that was approved: then what cannot be held passes where it would be.
    pub covered: bool,
    /// Whether a denial is not told: the kernel only asks what would be allowed.
    pub quiet: bool,
}

impl Request {
    /// A request of this kind at this hook, with nothing else in it.
    pub const fn new(operation: Operation, hook: u32) -> Self {
        Self {
            operation,
            hook,
            binding: Binding {
                inode: 0,
                anchor: 0,
                device: 0,
                access: 0,
                flags: 0,
                protocol: 0,
                address: [0; 16],
                port: 0,
                family: 0,
            },
            dentry: 0,
            inode: 0,
            bprm: 0,
            created: false,
            target: 0,
            implied: false,
            covered: false,
            system: NO_SYSTEM,
            quiet: false,
        }
    }

    /// An operation on the host.
    pub const fn system(system: System) -> Self {
        let mut request = Self::new(Operation::System, hook::AT_ONCE);
        request.system = system as u32;
        request.binding.flags = system as u32;
        request
    }
}

/// A request that has met its rule.
pub struct Judged<'a> {
    /// The request.
    pub request: &'a Request,
    /// Who asks.
    pub task: *mut Task,
    /// Where; empty for what has no path.
    pub walk: &'a Walk,
    /// Policy revision and subject.
    pub asker: Asker,
    /// The first rule that accepts, or [`NO_RULE`].
    pub rule: u32,
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

/// Decides the request of the current thread: 0 if it passes, else the error that the hook returns.
#[inline(always)]
pub fn gate(request: &Request) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let (asker, walk) = (asker(task), walk(request, task));
    if request.hook == hook::OPEN {
        park::creates_nothing(task, request);
    }
    let judged = judged(request, task, &walk, asker);
    let outcome = match verdict(&judged) {
        (Verdict::Hold, patience) => park::park(&judged, patience),
        (verdict, _) => {
            if let Verdict::Allow | Verdict::Audit = verdict {
                park::moved_on(&judged);
            }
            told(verdict)
        }
    };
    answer(&judged, outcome)
}

/// Likewise, where nothing can be held: what a rule would hold is refused.
#[inline(always)]
pub fn at_once(request: &Request) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let asker = asker(task);
    // First, since both walks fill the same chain.
    let of_target = target_rule(request, task, asker);
    let walk = walk(request, task);
    let mut judged = judged(request, task, &walk, asker);
    judged.rule = judged.rule.min(of_target);
    let outcome = match verdict(&judged) {
        (Verdict::Hold, _) if request.covered => Outcome::Pass,
        (Verdict::Hold, _) => Outcome::not_held(Reason::AtOnce),
        (verdict, _) => told(verdict),
    };
    answer(&judged, outcome)
}

#[inline(always)]
fn asker(task: *mut Task) -> Asker {
    // An array's record always exists; no table has revision 0.
    let revision = SWITCHES.get(0).map_or(0, |switches| switches.revision);
    // SAFETY: the entry is the current thread's own.
    Asker { revision, subject: unsafe { (*task).subject } }
}

#[inline(always)]
fn walk(request: &Request, task: *mut Task) -> Walk {
    if request.dentry == 0 { walk::nowhere(task) } else { walk::from_dentry(task, request.dentry) }
}

#[inline(always)]
fn judged<'a>(request: &'a Request, task: *mut Task, walk: &'a Walk, asker: Asker) -> Judged<'a> {
    let mut rule = first_rule(request, walk, asker);
    if rule == NO_RULE && request.system != NO_SYSTEM {
        rule = system_rule(&Maps, asker, request.system);
    }
    Judged { request, task, walk, asker, rule }
}

/// What the policy says, and how long a hold waits.
#[inline(always)]
fn verdict(judged: &Judged<'_>) -> (Verdict, u64) {
    if judged.rule == NO_RULE {
        return (if judged.request.system == NO_SYSTEM { Verdict::Allow } else { Verdict::Deny }, 0);
    }
    let key = RuleKey { revision: judged.asker.revision, rule: judged.rule };
    // SAFETY: rows of a revision in force are not changed.
    match unsafe { RULES.get(key) } {
        Some(consequence) if judged.request.implied && consequence.everything != 0 => (Verdict::Allow, 0),
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
    match outcome {
        Outcome::Pass => 0,
        Outcome::Fail(error) => error,
        Outcome::Told(kind, reason) => {
            if !judged.request.quiet {
                report::request(kind, reason, judged);
            }
            match kind {
                Kind::Audited => 0,
                Kind::Killed => park::kill(),
                _ => EPERM,
            }
        }
    }
}

#[inline(always)]
fn first_rule(request: &Request, walk: &Walk, asker: Asker) -> u32 {
    // Opaque: the hooks set few bits, but the verifier must see the table's index masked.
    let access = opaque(u64::from(request.binding.access)) as u32;
    if request.operation == Operation::Connect {
        return address_rule(&Maps, asker, &request.binding.address, request.binding.port);
    }
    if request.dentry == 0 {
        return NO_RULE;
    }
    if walk.nameless && request.operation == Operation::Open {
        // Pipes, sockets: opened again through /proc, they have no path that a rule could mean. What is
        // executed from such a place (memfd) must not escape the rules on exec.
        return NO_RULE;
    }
    let known = if request.target != 0 {
        moved_rule(&Maps, asker, walk.device, walk)
    } else {
        path_rule(&Maps, asker, walk.device, walk, access)
    };
    let links: u32 = read(request.inode, offset!(inode_links));
    let known = if links > 1 {
        known.min(object_rule(&Maps, asker, walk.device, request.binding.inode, access))
    } else {
        known
    };
    if walk.whole { known } else { known.min(unknown_path_rule(&Maps, asker, access)) }
}

/// The first rule on the new name that a file gets.
#[inline(always)]
fn target_rule(request: &Request, task: *mut Task, asker: Asker) -> u32 {
    if request.target == 0 {
        return NO_RULE;
    }
    let access = opaque(u64::from(Class::OPENING)) as u32;
    let walk = walk::from_dentry(task, request.target);
    let known = path_rule(&Maps, asker, walk.device, &walk, access);
    if walk.whole { known } else { known.min(unknown_path_rule(&Maps, asker, access)) }
}
