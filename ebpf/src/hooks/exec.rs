//! `execve(2)`.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{
    pending::hook,
    request::{Class, Operation, Request},
    system::System,
    task::Task,
};

use super::{descriptor, file};
use crate::{
    gate::{EPERM, at_once, gate, on_host},
    kernel::{current, offset, read},
    park, program, syscall, task, workplace,
};

/// `security_bprm_creds_for_exec(bprm)`: once per exec, with the file given to it (a script, not its interpreter),
/// before any effect.
#[lsm(hook = "bprm_creds_for_exec")]
pub fn exec(ctx: LsmContext) -> i32 {
    let bprm: u64 = ctx.arg(0);
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    // SAFETY: the entry is the current thread's own.
    if unsafe { (*task).entering } != 0 {
        return 0;
    }
    request(task, bprm);
    gate(task, Operation::Exec, hook::EXEC)
}

/// The same for an ungoverned thread, which may become governed by it: in either order with [`exec`], this one exec is
/// not judged, but what it brings along is, by [`credentials`], which comes later in it.
#[lsm(hook = "bprm_creds_for_exec")]
pub fn enter(ctx: LsmContext) -> i32 {
    if let Some(task) = task::governed(current()) {
        // The exec that made it governed failed: this one is another.
        // SAFETY: the entry is the current thread's own.
        unsafe { (*task).entering = 0 };
        return 0;
    }
    let bprm: u64 = ctx.arg(0);
    let file: u64 = read(bprm, offset!(bprm_file));
    let answer = task::enrol(read(file, offset!(file_path_dentry)));
    if let Some(task) = task::governed(current()) {
        // SAFETY: the entry is the current thread's own.
        unsafe { (*task).entering = 1 };
    }
    answer
}

/// To execute the file that `bprm` is about.
#[inline(always)]
fn request(task: *mut Task, bprm: u64) -> &'static mut Request {
    let file: u64 = read(bprm, offset!(bprm_file));
    let dentry: u64 = read(file, offset!(file_path_dentry));
    let inode: u64 = read(file, offset!(file_inode));
    let request = file::on_file(task, dentry, inode);
    request.bprm = bprm;
    request.binding.access = Class::Exec.bit();
    request.binding.flags = syscall::execution_check();
    let place = workplace::directory();
    let inode: u64 = read(place, offset!(dentry_inode));
    request.binding.target = read(inode, offset!(inode_number));
    request.binding.target_anchor = u64::from(file::device(place));
    request
}

/// `security_bprm_check(bprm)`: once for the file given to the exec, which was judged, and once for each interpreter.
#[lsm(hook = "bprm_check_security")]
pub fn interpreter(ctx: LsmContext) -> i32 {
    let bprm: u64 = ctx.arg(0);
    let (given, interpreter): (u64, u64) = (read(bprm, offset!(bprm_filename)), read(bprm, offset!(bprm_interpreter)));
    if given == interpreter {
        return 0;
    }
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    request(task, bprm).covered = park::is_granted(task, bprm).into();
    at_once(task, Operation::Exec)
}

/// `security_bprm_creds_from_file(bprm, file)`: the rights of the new program are known, and nothing has been given up yet.
#[lsm(hook = "bprm_creds_from_file")]
pub fn credentials(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    // SAFETY: the entry is the current thread's own.
    if unsafe { core::mem::take(&mut (*task).entering) } != 0 && descriptor::inherited(task) != 0 {
        task::forget(current());
        return EPERM;
    }
    let bprm: u64 = ctx.arg(0);
    if !gains(bprm) || park::is_granted(task, bprm) {
        return 0;
    }
    gain(task)
}

/// Not inlined: its share of the small stack is not needed while what the exec brings along is judged.
#[inline(never)]
fn gain(task: *mut Task) -> i32 {
    on_host(task, System::Privilege);
    at_once(task, Operation::System)
}

/// `security_bprm_committed_creds(bprm)`: the exec has succeeded, and the thread is the only one of its process.
#[lsm(hook = "bprm_committed_creds")]
pub fn executed(ctx: LsmContext) -> i32 {
    if let Some(task) = task::governed(current()) {
        program::executed(task, park::is_granted(task, ctx.arg(0)));
    }
    0
}

/// Whether the exec gives another user or group, or capabilities that the thread does not have.
#[inline(always)]
fn gains(bprm: u64) -> bool {
    let new: u64 = read(bprm, offset!(bprm_cred));
    let old: u64 = read(current(), offset!(task_cred));
    let (user, group, permitted) = (offset!(cred_user), offset!(cred_group), offset!(cred_permitted));
    read::<u32>(new, user) != read::<u32>(old, user)
        || read::<u32>(new, group) != read::<u32>(old, group)
        || read::<u64>(new, permitted) & !read::<u64>(old, permitted) != 0
}
