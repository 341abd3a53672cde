//! What becomes of a request that has met its rule: allow, audit, deny and kill are carried out here, at once. A hold is made
//! and looked up again by [`crate::park`].
//!
//! The second half of each program that judges. The kernel's verifier looks at it by itself, once, and not anew for each
//! way through the first half ([`crate::gate`]), which leaves in the thread's entry what it has found.

use holdpoint_common::{
    event::{Kind, Reason},
    matcher::{Asker, Tables as _},
    pending::hook,
    request::{Action, Class, Operation, Request},
    system::NO_SYSTEM,
    tables::{NO_RULE, RootKey, RuleKey, UNKNOWN, Verdict},
    task::{Met, Task},
};

use crate::{
    gate::{EPERM, read_back},
    kernel::{current, opaque},
    labels, park, report, task,
    walk::{self, Chain, Maps},
};

/// A request that has met its rule.
pub struct Judged {
    /// The request.
    pub request: &'static Request,
    /// What kind it is.
    pub operation: Operation,
    /// The [`hook`] that asks.
    pub at: u32,
    /// Who asks.
    pub task: *mut Task,
    /// What else it is about.
    pub target: Target,
    /// Policy revision and subject.
    pub asker: Asker,
    /// The first rule that accepts, or [`NO_RULE`].
    pub rule: u32,
}

impl Judged {
    /// What the first half has left; none if the current thread is not governed.
    #[inline(always)]
    fn of_current(operation: Operation, target: impl FnOnce(u64) -> Target) -> Option<Self> {
        let task = task::governed(current())?;
        // SAFETY: the entry is the current thread's own.
        let (met, subject) = unsafe { ((*task).met, (*task).subject) };
        Some(Self {
            request: read_back(task),
            operation,
            at: met.at,
            task,
            target: target(met.target),
            asker: Asker { revision: met.revision, subject },
            rule: met.rule,
        })
    }

    /// Where; empty for what has no path. The verifier need not follow it from the beginning.
    #[inline(always)]
    pub fn chain(&self) -> Chain {
        // SAFETY: the entry is the current thread's own.
        let met = unsafe { &(*self.task).met };
        walk::chain(self.task, met.depth, met.whole != 0)
    }

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
    /// The directory entry of the new name.
    Entry(u64),
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

    /// As a number, for another function to go on with.
    #[inline(always)]
    fn packed(&self) -> u64 {
        match *self {
            Self::Pass => sealed(0),
            Self::Fail(error) => sealed(error),
            Self::Told(kind, reason) => TOLD | u64::from(kind as u32) << 32 | u64::from(reason),
        }
    }

    /// And back.
    #[inline(always)]
    fn unpacked(packed: u64) -> Self {
        if packed & TOLD == 0 {
            return match unsealed(packed) {
                0 => Self::Pass,
                error => Self::Fail(error),
            };
        }
        let kind = Kind::try_from(((packed & !TOLD) >> 32) as u32);
        kind.map_or(Self::Fail(EPERM), |kind| Self::Told(kind, packed as u32))
    }
}

/// Marks a packed [`Outcome::Told`].
const TOLD: u64 = 1 << 63;

/// Decides what has met this: 0 if it passes, else the error that the hook returns.
#[inline(always)]
pub fn decide(task: *mut Task, met: Met, operation: Operation, target: Target) -> i32 {
    let address = match target {
        Target::None => 0,
        Target::Entry(address) | Target::Text(address) => address,
    };
    // SAFETY: the entry is the current thread's own.
    unsafe { (*task).met = Met { target: address, ..met } };
    unsealed(match (operation, target) {
        (Operation::Exec, _) => tell_exec(decide_exec()),
        (Operation::Open, _) => decide_open(),
        (Operation::Connect, _) => decide_connect(),
        (Operation::File | Operation::System, Target::None) => decide_file(),
        (Operation::File | Operation::System, Target::Entry(_)) => decide_file_with_entry(),
        (Operation::File | Operation::System, Target::Text(_)) => decide_file_with_text(),
    })
}

/// Likewise, where nothing can be held: what a rule would hold is refused.
#[inline(always)]
pub fn decide_at_once(task: *mut Task, met: Met, operation: Operation) -> i32 {
    // SAFETY: the entry is the current thread's own.
    unsafe { (*task).met = met };
    unsealed(match operation {
        Operation::Exec => tell_exec(decide_exec_at_once()),
        Operation::Open | Operation::File => decide_file_at_once(),
        Operation::Connect => decide_connect_at_once(),
        Operation::System => decide_system_at_once(),
    })
}

/// `MAX_ERRNO`, `include/linux/err.h`.
const LAST_ERROR: i32 = 4095;

/// The answer of a hook, 0 or an error, as a number from 0 to [`LAST_ERROR`].
#[inline(always)]
fn sealed(answer: i32) -> u64 {
    (answer + LAST_ERROR) as u64
}

/// And back. The verifier does not see what a function gives that it has looked at by itself, and wants to know that it is
/// such an answer (since 6.12).
#[inline(always)]
fn unsealed(answer: u64) -> i32 {
    (opaque(answer) & LAST_ERROR as u64) as i32 - LAST_ERROR
}

/// Global functions, see the top: one for each kind of request, since none needs what the others do.
macro_rules! halves {
    ($($name:ident: $half:ident, $operation:ident, $target:expr;)*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name() -> u64 {
                let judged = Judged::of_current(Operation::$operation, $target);
                sealed(judged.map_or(EPERM, |judged| answer(&judged, $half(&judged))))
            }
        )*
    };
}

/// Likewise for programs, whose answer is given by [`tell_exec`]: what they were given is much to read, and the stack of both
/// together would be too large.
macro_rules! halves_of_exec {
    ($($name:ident: $half:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name() -> u64 {
                let judged = Judged::of_current(Operation::Exec, |_| Target::None);
                judged.map_or(Outcome::Fail(EPERM), |judged| $half(&judged)).packed()
            }
        )*
    };
}

/// The answer to what has become of an exec.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell_exec(packed: u64) -> u64 {
    let judged = Judged::of_current(Operation::Exec, |_| Target::None);
    sealed(judged.map_or(EPERM, |judged| answer(&judged, Outcome::unpacked(packed))))
}

halves_of_exec! {
    decide_exec: held;
    decide_exec_at_once: at_once;
}

halves! {
    decide_open: held, Open, |_| Target::None;
    decide_connect: held, Connect, |_| Target::None;
    decide_file: held, File, |_| Target::None;
    decide_file_with_entry: held, File, Target::Entry;
    decide_file_with_text: held, File, Target::Text;
    decide_file_at_once: at_once, File, |_| Target::None;
    decide_connect_at_once: at_once, Connect, |_| Target::None;
    decide_system_at_once: at_once, System, |_| Target::None;
}

#[inline(always)]
fn held(judged: &Judged) -> Outcome {
    if judged.operation == Operation::Open {
        park::creates_nothing(judged.task, judged.request, judged.at);
    }
    match verdict(judged) {
        (Verdict::Hold, patience) => park::park(judged, patience),
        (verdict, _) => park::moved_on(judged).unwrap_or_else(|| told(verdict)),
    }
}

#[inline(always)]
fn at_once(judged: &Judged) -> Outcome {
    match verdict(judged) {
        (Verdict::Hold, _) if judged.request.covered != 0 => Outcome::Pass,
        (Verdict::Hold, _) => Outcome::not_held(Reason::AtOnce),
        (verdict, _) => told(verdict),
    }
}

/// What becomes of the request, and how long a hold waits.
#[inline(always)]
fn verdict(judged: &Judged) -> (Verdict, u64) {
    match said(judged) {
        (Verdict::Allow | Verdict::Audit, _) if !is_known(judged) => (Verdict::Deny, 0),
        said => said,
    }
}

/// Whether the policy in force knows this subject: then it has a rule on paths for it, if only the one on Holdpoint's own
/// files. Who becomes governed in the very moment in which a policy without the subject is put in force meets no rule of
/// it, which must not mean that all is allowed.
#[inline(always)]
fn is_known(judged: &Judged) -> bool {
    let Asker { revision, subject } = judged.asker;
    Maps(judged.task).root(&RootKey { revision, subject, device: UNKNOWN }).is_some()
}

/// What the policy says.
#[inline(always)]
fn said(judged: &Judged) -> (Verdict, u64) {
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
fn answer(judged: &Judged, outcome: Outcome) -> i32 {
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
fn labels_read(judged: &Judged) -> u64 {
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
    if reads { labels::fresh(unsafe { (*judged.task).scratch.labels }) } else { 0 }
}
