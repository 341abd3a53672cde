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
    matcher::Asker,
    request::Class,
    tables::{CGROUPS, ENROLMENT, NO_RULE, RuleKey},
    task::{Task, enrols},
};

use crate::{
    gate::EPERM,
    kernel::{current, offset, read},
    labels,
    maps::{CANDIDATES, ENROLMENTS, NO_TASK, STARTERS, SWITCHES, TASKS},
    program, report, running, walk,
};

/// `-EAGAIN`, what a fork says when there are too many.
const EAGAIN: i32 = -11;
/// `-EEXIST`.
const EEXIST: i32 = -17;

/// What is the same for all threads of a governed tree.
#[derive(Clone, Copy)]
pub struct Membership {
    /// The tree.
    pub tree: u64,
    /// The process; 0 for one of which no thread is governed yet.
    pub process: u64,
    /// The subject that it is.
    pub subject: u32,
    /// Who launched it.
    pub launcher: u32,
    /// See [`Task::keeper`].
    pub keeper: u32,
}

/// The entry of the thread at `address`, if it is governed.
#[inline(always)]
pub fn governed(address: u64) -> Option<*mut Task> {
    TASKS.get_ptr_mut(address)
}

/// A new thread at `child`, of the same process or of one of its own: governed if the current one is. 0, or the error with
/// which the fork fails.
#[inline(always)]
pub fn inherit(child: u64, same_process: bool) -> i32 {
    // The address may have been another thread's; a removal that failed must not make this one governed.
    remove(child);
    if running::found_first().is_err() {
        return EAGAIN;
    }
    descend(child, same_process)
}

/// The process id of a new thread is known only after [`inherit`]. And its parent may have been found in between: the
/// child can be seen by now, but has not run.
#[inline(always)]
pub fn named(child: u64) {
    // It is too late to refuse the fork. A search that cannot govern the parent fails, and the agent with it.
    let process: u32 = read(child, offset!(task_tgid));
    if governed(child).is_none() && running::found_first().is_ok() {
        descend(child, process == (bpf_get_current_pid_tgid() >> 32) as u32);
    }
    if let (Some(entry), Some(parent)) = (governed(child), governed(current())) {
        // SAFETY: the child does not run yet; the parent's entry is the current thread's own.
        unsafe {
            (*entry).tgid = process;
            // What another thread of the parent has read meanwhile may be in the memory that the child has a copy of.
            labels::pass_on((*parent).process, (*entry).process);
        }
    }
}

/// Gives the new thread at `child` its parent's entry, if that has one.
#[inline(always)]
fn descend(child: u64, same_process: bool) -> i32 {
    let Some(parent) = governed(current()) else {
        return 0;
    };
    // SAFETY: the parent's entry is the current thread's own; the child's is nobody else's before it runs.
    unsafe {
        let (tree, own) = ((*parent).tree, (*parent).process);
        let process = if same_process { own } else { random() };
        if !labels::join((tree, u64::MAX), (process, labels::labels_of(own))) {
            report::count(Reason::TasksFull);
            return EAGAIN;
        }
        if TASKS.insert(child, &*parent, BPF_NOEXIST as u64).is_err() {
            labels::leave(tree, process);
            report::count(Reason::TasksFull);
            return EAGAIN;
        }
        let Some(entry) = governed(child) else {
            return EAGAIN;
        };
        (*entry).process = process;
        (*entry).hold = 0;
        (*entry).granted = 0;
        (*entry).entering = 0;
        (*entry).program.inode = 0;
        (*entry).candidate.inode = 0;
    }
    0
}

/// The thread at `address` is no more.
#[inline(always)]
pub fn forget(address: u64) {
    if let Some(entry) = governed(address) {
        program::forget(entry);
    }
    remove(address);
}

/// Removes the entry of the thread at `address`.
#[inline(always)]
fn remove(address: u64) {
    let Some(entry) = governed(address) else { return };
    // SAFETY: these fields never change, and the entry is there as long as the thread.
    let (tree, process) = unsafe { ((*entry).tree, (*entry).process) };
    if TASKS.remove(address).is_ok() {
        labels::leave(tree, process);
    }
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
                let (subject, tree, launcher) = ((*offer).subject, (*offer).tree, (*offer).launcher);
                let parent: u64 = read(current(), offset!(task_parent));
                let keeper = read(parent, offset!(task_tgid));
                let done =
                    with_scratch(|scratch| govern(scratch, Membership { tree, process: 0, subject, launcher, keeper }));
                if done.is_ok() {
                    (*offer).taken = 1;
                }
                return done.err().unwrap_or(0);
            }
        }
    }
    let Some(switches) = SWITCHES.get(0) else { return 0 };
    if switches.enrols == enrols::NOBODY {
        return 0;
    }
    let launcher = bpf_get_current_uid_gid() as u32;
    let by_caller = switches.enrols == enrols::BY_CALLER;
    let done = with_scratch(|scratch| {
        let callers = if by_caller { callers(running::program(current()), u64::from(switches.revision)) } else { 0 };
        match subject_of(scratch, current(), callers, dentry, switches.revision) {
            NO_RULE => Ok(()),
            subject => govern(scratch, Membership { tree: random(), process: 0, subject, launcher, keeper: 0 }),
        }
    });
    done.err().unwrap_or(0)
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
fn govern(scratch: *mut Task, member: Membership) -> Result<(), i32> {
    enter(scratch, current(), member).map_err(|_| EPERM)?;
    report::bell(Kind::Enrolled, member.tree);
    Ok(())
}

/// Makes `thread` governed, unless it is; true if it was not. The entry is whole from its first moment: others may look
/// it up at any time.
#[inline(always)]
pub fn enter(scratch: *mut Task, thread: u64, member: Membership) -> Result<bool, i32> {
    let process = if member.process == 0 { random() } else { member.process };
    if !labels::join((member.tree, 0), (process, 0)) {
        report::count(Reason::TasksFull);
        return Err(EAGAIN);
    }
    // SAFETY: the scratch is the current thread's own.
    let entered = unsafe {
        (*scratch).tree = member.tree;
        (*scratch).process = process;
        (*scratch).subject = member.subject;
        (*scratch).launcher = member.launcher;
        (*scratch).keeper = member.keeper;
        (*scratch).tgid = read(thread, offset!(task_tgid));
        TASKS.insert(thread, &*scratch, BPF_NOEXIST as u64)
    };
    if entered.is_err() {
        labels::leave(member.tree, process);
    }
    match entered {
        Ok(()) => Ok(true),
        Err(EEXIST) => Ok(false),
        Err(_) => {
            report::count(Reason::TasksFull);
            Err(EAGAIN)
        }
    }
}

/// Gives `work` an empty entry of the current thread's own that governs nobody.
#[inline(always)]
pub fn with_scratch<T>(work: impl FnOnce(*mut Task) -> Result<T, i32>) -> Result<T, i32> {
    let key = current();
    let zero = NO_TASK.get_ptr(0).ok_or(EPERM)?;
    // SAFETY: the template is never written.
    CANDIDATES.insert(key, unsafe { &*zero }, 0).map_err(|_| EPERM)?;
    let scratch = CANDIDATES.get_ptr_mut(key).ok_or(EPERM)?;
    let done = work(scratch);
    let _ = CANDIDATES.remove(key);
    done
}

/// The subject that the policy makes of `thread` with the program at `dentry`, which was executed by what [`callers`] says;
/// or [`NO_RULE`].
#[inline(always)]
pub fn subject_of(scratch: *mut Task, thread: u64, callers: u64, dentry: u64, revision: u32) -> u32 {
    let asker = Asker { revision, subject: ENROLMENT };
    let access = Class::Exec.bit();
    // SAFETY: the scratch is the current thread's own.
    unsafe {
        (*scratch).credentials = read(thread, offset!(task_real_cred));
        (*scratch).callers = callers;
    }
    let file = walk::from_dentry(scratch, dentry);
    let by_file = file.rule(asker, access, false);
    let group = walk::from_kernfs(scratch, control_group(thread), CGROUPS);
    let by_group = group.rule(asker, access, false);
    let key = RuleKey { revision, rule: by_file.min(by_group) };
    // SAFETY: rows of a revision in force are not changed.
    unsafe { STARTERS.get(key) }.map_or(NO_RULE, |subject| *subject)
}

/// Which subjects the program at `dentry` can start. Global, so that its share of the small stack is not its caller's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn callers(dentry: u64, revision: u64) -> u64 {
    let Some(scratch) = CANDIDATES.get_ptr_mut(current()) else { return 0 };
    let asker = Asker { revision: revision as u32, subject: ENROLMENT };
    let program = walk::from_dentry(scratch, dentry);
    program.scratch().labels = 0;
    program.rule(asker, Class::Exec.bit(), false);
    program.scratch().labels
}

/// The kernfs node of the thread's group in the unified hierarchy.
#[inline(always)]
fn control_group(thread: u64) -> u64 {
    let sets: u64 = read(thread, offset!(task_cgroups));
    let group: u64 = read(sets, offset!(css_set_default));
    read(group, offset!(cgroup_node))
}
