//! What runs already when the policy makes a subject of it: found by a search, and governed from then on.
//!
//! The agent sets [`Switches::searching`](holdpoint_common::task::Switches::searching) and reads the task iterator
//! [`running`], which looks at every thread of the host, until a pass adds nobody. A process is a member of the tree of
//! its topmost living ancestor, itself included, that is governed or that the policy makes a subject, by its program or
//! its control group: the tree that it would be in if the policy had been there from the beginning.
//!
//! Why nobody slips through
//! ------------------------
//! A pass goes through the host by thread id, one thread after the other, while all of them run. Alone it would miss who
//! is born behind its back, with an id that it has passed, of a parent that ends before it comes there. But whoever
//! forks or executes during a search is looked at first ([`found_first`]), in its own context:
//!
//! * Who was there at the beginning and does not execute anything is met by the pass, or has ended. Who executes is
//!   found before, under the program and in the place that it had.
//! * A child of who is found is governed as it is born (`task_alloc`). If its parent was found while it was being made,
//!   it is governed at the end of the fork (`sched_process_fork`): before that it can be met by the pass, and has not
//!   run.
//! * So nobody that should be found is born any more, but threads that io_uring makes, which no tracepoint shows, and
//!   who is moved into a governed control group. Those are what the repetition is for: a pass that adds nobody has met
//!   all that the one before it could not.
//!
//! What nobody can see any more counts as done before: an ancestor that has ended, a program that was executed and a
//! control group that was left before the search began.
//!
//! Who is never found
//! ------------------
//! * Kernel threads: they have no program, and stopping one could stop the host.
//! * Process 1: it takes no SIGSTOP, and without it the host dies. What it starts is no descendant for that reason.
//! * The agent, and what it starts (the canary before its turn): nobody could answer for it.
//! * Who is ending: it does nothing any more, and its entry would be news of a dead process.

use core::ffi::c_void;

use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write, macros::lsm, programs::LsmContext};
use holdpoint_common::{
    event::Kind,
    matcher::{DEPTH, Turn},
    tables::NO_RULE,
    task::Task,
};

use crate::{
    gate::EPERM,
    kernel::{current, offset, read, repeat},
    maps::SWITCHES,
    report,
    task::{self, Membership, governed, random, subject_of, with_scratch},
};

/// `PF_EXITING`, `PF_KTHREAD`: `include/linux/sched.h`.
const EXITING: u32 = 0x4;
const KERNEL: u32 = 0x0020_0000;
/// The first process.
const INIT: u32 = 1;

/// `bpf_iter__task(meta, task)`: once for each thread of the host, by thread id. What is read from it is one number of
/// 32 bits for each thread that was found: its process id, or the error for which it could not be governed.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
pub fn running(context: *mut c_void) -> i32 {
    // SAFETY: the kernel's context of a task iterator is these two pointers, and `meta` begins with the output.
    let (meta, thread) = unsafe { (*context.cast::<*const *mut seq_file>(), *context.cast::<u64>().add(1)) };
    // The end has none.
    if thread == 0 {
        return 0;
    }
    let told: i32 = match find(thread) {
        Ok(false) => return 0,
        Ok(true) => read(thread, offset!(task_tgid)),
        Err(error) => error,
    };
    // SAFETY: the kernel gives `meta` with every thread; the number is on this stack.
    unsafe { bpf_seq_write(*meta, (&raw const told).cast(), size_of::<i32>() as u32) };
    0
}

/// `security_bprm_creds_for_exec(bprm)`, beside the program that judges the exec: no stack is left for both in one. If
/// that one comes first, the exec is not judged, but what comes after it is.
#[lsm(hook = "bprm_creds_for_exec")]
pub fn found_at_exec(_: LsmContext) -> i32 {
    found_first().err().unwrap_or(0)
}

/// During a search, looks at the current thread before it forks or executes. True if it is found now.
#[inline(always)]
pub fn found_first() -> Result<bool, i32> {
    match SWITCHES.get(0) {
        Some(switches) if switches.searching != 0 => find(current()),
        _ => Ok(false),
    }
}

/// Makes `thread` governed if it should be; true if it was not.
#[inline(always)]
fn find(thread: u64) -> Result<bool, i32> {
    let flags: u32 = read(thread, offset!(task_flags));
    if flags & (EXITING | KERNEL) != 0 || governed(thread).is_some() {
        return Ok(false);
    }
    with_scratch(|scratch| {
        // The entry of the first thread is its process's. It cannot be freed meanwhile: programs run under RCU.
        let leader = leader_of(thread);
        if governed(leader).is_none() && !find_process(scratch, thread, leader)? {
            return Ok(false);
        }
        task::enter(scratch, thread, membership(leader)?)?;
        Ok(true)
    })
}

/// Makes the process of `thread` governed if it should be.
#[inline(always)]
fn find_process(scratch: *mut Task, thread: u64, leader: u64) -> Result<bool, i32> {
    let Some(switches) = SWITCHES.get(0) else { return Err(EPERM) };
    let (revision, agent) = (switches.revision, switches.agent);
    let mut ascent = Ascent { scratch, revision, agent, at: thread, top: 0, subject: NO_RULE };
    repeat(DEPTH as u32, &mut ascent);
    if ascent.top == 0 {
        return Ok(false);
    }
    let root = leader_of(ascent.top);
    if governed(root).is_none() {
        let cred: u64 = read(root, offset!(task_real_cred));
        let launcher = read(cred, offset!(cred_real_user));
        let (tree, subject) = (random(), ascent.subject);
        enter_process(scratch, root, Membership { tree, process: 0, subject, launcher, keeper: 0 })?;
    }
    enter_process(scratch, leader, Membership { process: 0, ..membership(root)? })?;
    Ok(true)
}

#[inline(always)]
fn enter_process(scratch: *mut Task, leader: u64, member: Membership) -> Result<(), i32> {
    if task::enter(scratch, leader, member)? {
        report::bell_of(Kind::Found, member.tree, read(leader, offset!(task_tgid)));
    }
    Ok(())
}

/// How the process of this first thread is governed: it is, once it has been found by anybody.
#[inline(always)]
fn membership(leader: u64) -> Result<Membership, i32> {
    let entry = governed(leader).ok_or(EPERM)?;
    // SAFETY: these fields never change, and the entry is there as long as the thread.
    Ok(unsafe {
        Membership {
            tree: (*entry).tree,
            process: (*entry).process,
            subject: (*entry).subject,
            launcher: (*entry).launcher,
            keeper: (*entry).keeper,
        }
    })
}

#[inline(always)]
fn leader_of(thread: u64) -> u64 {
    read(thread, offset!(task_leader))
}

/// The way up from a thread to its topmost ancestor that governs it.
struct Ascent {
    scratch: *mut Task,
    revision: u32,
    agent: u32,
    at: u64,
    /// The topmost so far, 0 if there is none.
    top: u64,
    /// What the policy makes of it, if it is not governed.
    subject: u32,
}

impl Turn for Ascent {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> bool {
        let (process, flags): (u32, u32) = (read(self.at, offset!(task_tgid)), read(self.at, offset!(task_flags)));
        if process <= INIT || flags & KERNEL != 0 {
            return false;
        }
        if process == self.agent {
            self.top = 0;
            return false;
        }
        if governed(leader_of(self.at)).is_some() {
            self.top = self.at;
            return false;
        }
        // What has executed its program is not known any more.
        let subject = subject_of(self.scratch, self.at, 0, program(self.at), self.revision);
        if subject != NO_RULE {
            self.top = self.at;
            self.subject = subject;
        }
        self.at = read(self.at, offset!(task_parent));
        true
    }
}

/// The directory entry of the program that `thread` runs, 0 if there is none any more. A memory that is given up in
/// between is given up by exec or exit: then it is not the thread's.
#[inline(always)]
pub fn program(thread: u64) -> u64 {
    let memory: u64 = read(thread, offset!(task_mm));
    let file: u64 = read(memory, offset!(mm_program));
    let dentry: u64 = read(file, offset!(file_path_dentry));
    let still: u64 = read(thread, offset!(task_mm));
    if memory == still { dentry } else { 0 }
}
