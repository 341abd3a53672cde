//! Who is governed: the only place that knows.
//!
//! A hash map by the address of the `task_struct`, not task storage: on 6.1 `bpf_task_storage_get` answers "none"
//! when another thread on the same CPU was preempted inside it (its trylock), and "none" here means ungoverned.
//! A hash look-up has no such excuse, costs as much (kernel-facts: 314 against 291 instructions), and works from
//! 5.10. Entries are made in `task_alloc`, which can refuse the fork, and removed in `task_free`.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_prandom_u32},
};
use holdpoint_common::{
    event::{Kind, Reason},
    matcher::{Asker, path_rule},
    request::Class,
    tables::{CGROUPS, ENROLMENT, NO_RULE},
    task::Task,
};

use crate::{
    gate::EPERM,
    kernel::{current, offset, read},
    maps::{CANDIDATES, ENROLMENTS, NO_TASK, SWITCHES, TASKS},
    program, report,
    walk::{self, Maps},
};

/// `-EAGAIN`, what a fork says when there are too many.
const EAGAIN: i32 = -11;

/// The entry of the thread at `address`, if it is governed.
#[inline(always)]
pub fn governed(address: u64) -> Option<*mut Task> {
    TASKS.get_ptr_mut(address)
}

/// A new thread at `child`: governed if the current one is. 0, or the error with which the fork fails.
#[inline(always)]
pub fn inherit(child: u64) -> i32 {
    // The address may have been another thread's; a removal that failed must not make this one governed.
    let _ = TASKS.remove(child);
    let Some(parent) = governed(current()) else {
        return 0;
    };
    // SAFETY: the parent's entry is the current thread's own; the child's is nobody else's before it runs.
    unsafe {
        if TASKS.insert(child, &*parent, BPF_NOEXIST as u64).is_err() {
            report::count(Reason::TasksFull);
            return EAGAIN;
        }
        let Some(entry) = governed(child) else {
            return EAGAIN;
        };
        (*entry).hold = 0;
        (*entry).program.inode = 0;
    }
    0
}

/// The process id of a new thread is known only after [`inherit`].
#[inline(always)]
pub fn named(child: u64) {
    if let Some(entry) = governed(child) {
        // SAFETY: the child does not run yet.
        unsafe { (*entry).tgid = read(child, offset!(task_tgid)) };
    }
}

/// The thread at `address` is no more.
#[inline(always)]
pub fn forget(address: u64) {
    if let Some(entry) = governed(address) {
        program::release(entry);
    }
    let _ = TASKS.remove(address);
}

/// An exec of an ungoverned thread: it becomes governed if the agent has offered it, or if the policy governs the
/// file or the control group. 0, or the error with which the exec fails.
#[inline(always)]
pub fn enrol(dentry: u64) -> i32 {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if let Some(offer) = ENROLMENTS.get_ptr_mut(tgid) {
        // SAFETY: the offer is for this process; the agent does not write it again.
        unsafe {
            if (*offer).taken == 0 {
                let done = govern((*offer).subject, (*offer).tree, (*offer).launcher);
                if done == 0 {
                    (*offer).taken = 1;
                }
                return done;
            }
        }
    }
    let Some(switches) = SWITCHES.get(0) else { return 0 };
    if switches.enrols == 0 {
        return 0;
    }
    match subject_of(dentry, switches.revision) {
        Ok(NO_RULE) => 0,
        Ok(subject) => govern(subject, random(), bpf_get_current_uid_gid() as u32),
        Err(error) => error,
    }
}

/// A random number that is not zero.
#[inline(always)]
pub fn random() -> u64 {
    // SAFETY: no arguments.
    let (high, low) = unsafe { (bpf_get_prandom_u32(), bpf_get_prandom_u32()) };
    (u64::from(high) << 32 | u64::from(low)) | 1
}

/// Makes the current thread governed. An exec leaves no other thread of its process.
#[inline(always)]
fn govern(subject: u32, tree: u64, launcher: u32) -> i32 {
    let Some(zero) = NO_TASK.get_ptr(0) else { return EPERM };
    // SAFETY: the template is never written.
    if TASKS.insert(current(), unsafe { &*zero }, BPF_NOEXIST as u64).is_err() {
        report::count(Reason::TasksFull);
        return EPERM;
    }
    let Some(task) = governed(current()) else { return EPERM };
    // SAFETY: the entry is the current thread's own.
    unsafe {
        (*task).tree = tree;
        (*task).subject = subject;
        (*task).launcher = launcher;
        (*task).tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    }
    report::bell(Kind::Enrolled, tree);
    0
}

/// The subject that the policy makes of an exec of `dentry` by the current, ungoverned thread.
#[inline(always)]
fn subject_of(dentry: u64, revision: u32) -> Result<u32, i32> {
    let key = current();
    let zero = NO_TASK.get_ptr(0).ok_or(EPERM)?;
    // SAFETY: the template is never written.
    CANDIDATES.insert(key, unsafe { &*zero }, 0).map_err(|_| EPERM)?;
    let scratch = CANDIDATES.get_ptr_mut(key).ok_or(EPERM)?;
    let asker = Asker { revision, subject: ENROLMENT };
    let exec = Class::Exec.bit();
    let file = walk::from_dentry(scratch, dentry);
    let by_file = path_rule(&Maps, asker, file.device, &file, exec);
    let group = walk::from_kernfs(scratch, control_group(), CGROUPS);
    let by_group = path_rule(&Maps, asker, group.device, &group, exec);
    let _ = CANDIDATES.remove(key);
    Ok(if by_file == NO_RULE { by_group } else { by_file })
}

/// The kernfs node of the current thread's group in the unified hierarchy.
#[inline(always)]
fn control_group() -> u64 {
    let sets: u64 = read(current(), offset!(task_cgroups));
    let group: u64 = read(sets, offset!(css_set_default));
    read(group, offset!(cgroup_node))
}
