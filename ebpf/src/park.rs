//! THE way to hold: the request is written down, the thread is stopped, the call is refused with -ERESTARTNOINTR
//! so that the kernel executes it again by itself, and then the decision is looked up.
//!
//! ```text
//!   new request --> PENDING entry, SIGSTOP, -513 --> (stopped) --> SIGCONT --> the same call again
//!       ^                                                                          |
//!       |            another request, or withdrawn        no decision: SIGSTOP, -513 (no new event)
//!       +---------------------------------------------<   approve: 0, while it is this one call
//!                                                         fail, kill: -EPERM, the entry is gone
//! ```
//!
//! An approval counts while the rule says what it said when it asked; a refusal, whatever came since. What waits under a
//! rule that says something else by now is asked about anew.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_ktime_get_boot_ns, bpf_send_signal, bpf_send_signal_thread},
};
use holdpoint_common::{
    decision::Decision,
    event::{Kind, Reason},
    matcher::Turn,
    pending::{Pending, hook},
    request::{Operation, Request},
    task::Task,
};

use crate::{
    decide::{Judged, Outcome, Target},
    facts,
    gate::EPERM,
    kernel::{current, offset, read, repeat},
    labels,
    maps::{DECISIONS, NO_PENDING, PENDING, SWITCHES},
    program, refused, report,
    strings::{self, Which},
    syscall,
    task::{self, random},
};

/// `-ERESTARTNOINTR`, `include/linux/errno.h`: execute the call again, whatever handlers ran.
const ERESTARTNOINTR: i32 = -513;
/// Most stops of one call. A tracer that suppresses each has it executed again and again, which would keep a processor
/// busy. Ten thousand SIGCONTs of others at once stay below, and so does one every ten seconds of a hold that lasts a day.
const ENTRIES: u32 = 12_000;
const SIGKILL: u32 = 9;
const SIGCONT: u32 = 18;
const SIGSTOP: u32 = 19;

/// Holds the request, or gives what was decided about it.
#[inline(always)]
pub fn park(judged: &Judged, patience: u64) -> Outcome {
    // SAFETY: the entry is the current thread's own.
    let held = unsafe { (*judged.task).hold };
    if let Some(pending) = standing(held) {
        if let Some(outcome) = within(judged, pending) {
            return outcome;
        }
        if let Some(outcome) = again(judged, pending) {
            return outcome;
        }
        leave(judged.task, held);
    }
    begin(judged, patience)
}

/// The thread makes a request that needs no decision: the held call is over if it never came to its hook and no handler
/// can be running on top of it, or if one of its hooks is met again without an interruption. So it is if another policy
/// allows or denies by now what it was held for; but a refusal stands, and is given back.
#[inline(always)]
pub fn moved_on(judged: &Judged) -> Option<Outcome> {
    // SAFETY: the entries are the current thread's own.
    unsafe {
        let held = (*judged.task).hold;
        // What this call has created it may go on to open.
        if judged.at != hook::BACKING && (judged.at != hook::OPEN || judged.request.created == 0) {
            (*judged.task).granted = 0;
        }
        let pending = standing(held)?;
        let (at, passed) = (judged.at, (*pending).passed);
        if at == hook::BACKING {
            return None;
        }
        // A hold on what is behind a file is met only after the file's own hook, which was not held.
        let behind = (*pending).hook == hook::BACKING && (*pending).facts.syscall == syscall::number();
        if behind && (*pending).interrupted != 0 {
            (*pending).interrupted = 0;
            (*pending).passed = 0;
            return None;
        }
        let over = match passed {
            0 => (*pending).handlers == 0 && !behind,
            _ => (passed & at != 0 || behind) && (*pending).interrupted == 0,
        };
        match decision(held) {
            None | Some(Decision::Approve) if over => leave(judged.task, held),
            Some(refusal @ (Decision::Fail | Decision::Kill)) if over => {
                return Some(refuse(judged.task, held, refusal));
            }
            _ => {}
        }
    }
    None
}

/// Creation is asked about before the file is looked for (`fs/namei.c`, `lookup_open`): if it turns out to exist, the
/// refusal is dropped and the open goes on. There is nothing to hold then, and the stop is taken back.
#[inline(always)]
pub fn creates_nothing(task: *mut Task, request: &Request, at: u32) {
    // SAFETY: the entries are the current thread's own; the helper checks its argument.
    unsafe {
        let held = (*task).hold;
        let Some(pending) = standing(held) else { return };
        if at == hook::OPEN && (*pending).hook == hook::CREATE && request.created == 0 && decision(held).is_none() {
            leave(task, held);
            bpf_send_signal_thread(SIGCONT);
        }
    }
}

/// Whether any thread of the process of `thread` is held, and nothing is decided yet. A process with more threads than are
/// looked at counts as held.
#[inline(always)]
pub fn is_waiting(thread: u64) -> bool {
    const THREADS: u32 = 1024;
    let signal: u64 = read(thread, offset!(task_signal));
    let head = signal + offset!(signal_threads);
    let mut search = Search { head, at: read(head, 0), found: true };
    repeat(THREADS, &mut search);
    search.found
}

/// The search for a thread that waits, along the list of its process's threads.
struct Search {
    head: u64,
    at: u64,
    found: bool,
}

impl Turn for Search {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> bool {
        if self.at == self.head || self.at == 0 {
            self.found = false;
            return false;
        }
        // SAFETY: a field is read, whoever writes it meanwhile.
        let held = task::governed(self.at - offset!(task_thread_node)).map_or(0, |task| unsafe { (*task).hold });
        self.at = read(self.at, 0);
        !(standing(held).is_some() && decision(held).is_none())
    }
}

/// Whether the exec that `bprm` is about was approved.
#[inline(always)]
pub fn is_granted(task: *mut Task, bprm: u64) -> bool {
    // SAFETY: the entry is the current thread's own.
    unsafe { (*task).granted == bprm && standing((*task).hold).is_some() }
}

/// Kills the current process.
#[inline(always)]
pub fn kill() -> i32 {
    // SAFETY: the helper checks its argument. If it fails, the request is refused all the same.
    unsafe { bpf_send_signal(SIGKILL) };
    EPERM
}

/// The entry of a hold that has not been forgotten.
#[inline(always)]
pub fn standing(id: u64) -> Option<*mut Pending> {
    if id == 0 { None } else { PENDING.get_ptr_mut(id) }
}

/// What was decided; `None` while it is pending. What cannot be understood kills.
#[inline(always)]
fn decision(id: u64) -> Option<Decision> {
    // SAFETY: a decision is written once.
    let record = unsafe { DECISIONS.get(id) }?;
    Some(Decision::try_from(record.decision).unwrap_or(Decision::Kill))
}

/// A file system opens what is behind the file within a call that was approved: covered where the same rule asks for
/// it. A second question could not be waited for without asking the first again.
#[inline(always)]
fn within(judged: &Judged, pending: *mut Pending) -> Option<Outcome> {
    // SAFETY: the entry is the current thread's own; the helper has no arguments.
    unsafe {
        let facts = &(*pending).facts;
        if judged.at != hook::BACKING || (*judged.task).granted == 0 || facts.syscall != syscall::number() {
            return None;
        }
        let covered = facts.meaning == judged.meaning() && bpf_ktime_get_boot_ns() <= (*pending).deadline;
        Some(if covered { Outcome::Pass } else { Outcome::not_held(Reason::Nested) })
    }
}

/// The held thread is here once more. `None`: this is a new request.
#[inline(always)]
fn again(judged: &Judged, pending: *mut Pending) -> Option<Outcome> {
    // SAFETY: the entry is the current thread's own.
    let id = unsafe { (*pending).id };
    if !continues(pending, judged) {
        return None;
    }
    match decision(id) {
        // SAFETY: the entry is the current thread's own.
        None if unsafe { (*pending).entries } >= ENTRIES => {
            leave(judged.task, id);
            Some(Outcome::not_held(Reason::Restless))
        }
        // Another rule asks now, or this one asks otherwise.
        // SAFETY: the entry is the current thread's own.
        None if unsafe { (*pending).facts.meaning } != judged.meaning() => None,
        None => Some(stop(judged, pending)),
        Some(Decision::Approve) if program::is_open_for_writing(judged) => Some(Outcome::Fail(program::ETXTBSY)),
        Some(Decision::Approve) => pass(pending, judged).then(|| {
            // SAFETY: the entry is the current thread's own.
            unsafe {
                (*judged.task).granted = if judged.operation == Operation::Exec { judged.request.bprm } else { 1 }
            };
            Outcome::Pass
        }),
        Some(Decision::Withdraw) => None,
        Some(refusal @ (Decision::Fail | Decision::Kill)) => Some(refuse(judged.task, id, refusal)),
    }
}

/// Lets the granted call through this hook, unless the call is over: see the top of [`crate::gate`].
#[inline(always)]
fn pass(pending: *mut Pending, judged: &Judged) -> bool {
    let at = judged.at;
    // SAFETY: the entry is the current thread's own; the helper has no arguments.
    unsafe {
        if bpf_ktime_get_boot_ns() > (*pending).deadline || (*pending).facts.meaning != judged.meaning() {
            return false;
        }
        let first = (*pending).passed == 0;
        let traced: u32 = read(current(), offset!(task_ptrace));
        if traced != 0 {
            (*pending).traced = 1;
        }
        if (*pending).passed & at != 0 {
            if at != hook::OPEN || (*pending).interrupted == 0 || (*pending).traced != 0 {
                return false;
            }
            (*pending).passed = 0;
        }
        (*pending).interrupted = 0;
        (*pending).passed |= at;
        if first {
            report::bell(Kind::Passed, (*pending).id);
        }
    }
    true
}

#[inline(always)]
fn refuse(task: *mut Task, id: u64, refusal: Decision) -> Outcome {
    if refusal == Decision::Kill {
        kill();
    }
    end(task, id);
    report::bell(Kind::Refused, id);
    Outcome::Fail(EPERM)
}

/// The hold `id` is over for this thread, without having been refused.
#[inline(always)]
fn leave(task: *mut Task, id: u64) {
    end(task, id);
    report::bell(Kind::Left, id);
}

/// Nothing of the hold stays usable.
#[inline(always)]
fn end(task: *mut Task, id: u64) {
    // SAFETY: the entries are the current thread's own.
    unsafe {
        (*task).hold = 0;
        if standing(id).is_some_and(|pending| (*pending).passed == 0 && (*pending).hook == hook::EXEC) {
            program::drop_candidate(task);
        }
    }
    let _ = PENDING.remove(id);
    let _ = DECISIONS.remove(id);
}

/// Whether the request is the one that was held, or the same call's way on from there.
#[inline(always)]
fn continues(pending: *mut Pending, judged: &Judged) -> bool {
    let request = judged.request;
    if cfg!(feature = "broken-grant") {
        return true;
    }
    // SAFETY: the entry is the current thread's own.
    unsafe {
        if (*pending).facts.syscall != syscall::number() {
            return false;
        }
        if (*pending).hook == hook::CREATE && judged.at == hook::OPEN {
            return request.created != 0 && same_place(pending, request);
        }
        if (*pending).hook != judged.at || (*pending).facts.binding != request.binding {
            return false;
        }
        if facts::binds_content(judged) && !facts::same_content(&raw const (*pending).facts.content, request.inode) {
            return false;
        }
        if let Some(inode) = facts::exchanged(judged)
            && !facts::same_content(&raw const (*pending).facts.target_content, inode)
        {
            return false;
        }
    }
    match judged.operation {
        Operation::Exec => strings::same(pending, judged.request.bprm),
        Operation::Open => judged.at != hook::CREATE || same_place(pending, request),
        Operation::File => judged.at != hook::NAME || same_names(pending, judged),
        Operation::Connect | Operation::System => true,
    }
}

/// Whether the request is about the names that were held; their directories have been compared.
#[inline(always)]
fn same_names(pending: *mut Pending, judged: &Judged) -> bool {
    strings::is_entry(pending, Which::Path, judged.request.dentry)
        && match judged.target {
            Target::None => true,
            Target::Entry(entry) => strings::is_entry(pending, Which::Target, entry),
            Target::Text(text) => strings::is_text(pending, Which::Target, text),
        }
}

/// Whether the request is about the same name in the same directory as the held creation.
#[inline(always)]
fn same_place(pending: *mut Pending, request: &Request) -> bool {
    // SAFETY: the entry is the current thread's own.
    let held = unsafe { &(*pending).facts };
    if held.binding.device != request.binding.device || held.binding.anchor != request.binding.anchor {
        return false;
    }
    strings::is_entry(pending, Which::Path, request.dentry)
}

/// A new hold.
#[inline(always)]
fn begin(judged: &Judged, patience: u64) -> Outcome {
    // SAFETY: the entry is the current thread's own.
    unsafe { (*judged.task).granted = 0 };
    if SWITCHES.get(0).is_none_or(|switches| switches.closing != 0) {
        return Outcome::not_held(Reason::Closing);
    }
    if !syscall::can_restart(syscall::number(), judged.at) {
        return Outcome::not_held(Reason::NoRestart);
    }
    if judged.at == hook::EXEC {
        if !program::take(judged.task, judged.request) {
            return Outcome::not_held(Reason::TasksFull);
        }
        if program::is_open_for_writing(judged) {
            program::drop_candidate(judged.task);
            return Outcome::Fail(program::ETXTBSY);
        }
    }
    let id = random();
    let Some(pending) = reserve(id) else {
        return Outcome::not_held(Reason::PendingFull);
    };
    // SAFETY: the entry is new, and nobody looks at it before it is ready.
    unsafe {
        facts::write(&raw mut (*pending).facts, judged);
        if judged.operation == Operation::Exec && !strings::write(&raw mut (*pending).strings, judged.request.bprm)
            || matches!(judged.target, Target::Text(_)) && (*pending).facts.target.cut != 0
        {
            let _ = PENDING.remove(id);
            return Outcome::not_held(Reason::Unreadable);
        }
        if refused::stands(pending) {
            let _ = PENDING.remove(id);
            if judged.at == hook::EXEC {
                program::drop_candidate(judged.task);
            }
            return Outcome::Told(Kind::DeniedAgain, 0);
        }
        (*pending).id = id;
        (*pending).hook = judged.at;
        (*pending).carried = labels::carried(judged.task);
        (*pending).deadline = (*pending).facts.at + patience;
        (&raw mut (*pending).ready).write_volatile(1);
        (*judged.task).hold = id;
    }
    let result = stop(judged, pending);
    report::bell(Kind::Held, id);
    result
}

#[inline(always)]
fn reserve(id: u64) -> Option<*mut Pending> {
    let zero = NO_PENDING.get_ptr(0)?;
    // SAFETY: the template is never written.
    PENDING.insert(id, unsafe { &*zero }, BPF_NOEXIST as u64).ok()?;
    PENDING.get_ptr_mut(id)
}

/// Stops the thread on its way out of the kernel. Without the signal -513 would leak to the program.
#[inline(always)]
fn stop(judged: &Judged, pending: *mut Pending) -> Outcome {
    // SAFETY: the entry is the current thread's own; the helper checks its argument.
    unsafe {
        if bpf_send_signal_thread(SIGSTOP) != 0 {
            leave(judged.task, (*pending).id);
            return Outcome::not_held(Reason::NoSignal);
        }
        (*pending).entries += 1;
    }
    Outcome::Fail(if cfg!(feature = "broken-hold") { 0 } else { ERESTARTNOINTR })
}
