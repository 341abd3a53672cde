//! Filling in who asks and for what, for a hold and for a report alike.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns};
use holdpoint_common::request::Facts;

use crate::{
    gate::Judged,
    kernel::{current, offset, read},
    syscall,
};

/// Writes everything about `judged` to `facts`, a record that only this thread writes.
#[inline(always)]
pub fn write(facts: *mut Facts, judged: &Judged<'_>) {
    // SAFETY: see above; the task is the current thread's own.
    unsafe {
        who(facts);
        (*facts).tree = (*judged.task).tree;
        (*facts).launcher = (*judged.task).launcher;
        (*facts).subject = judged.asker.subject;
        (*facts).revision = judged.asker.revision;
        (*facts).rule = judged.rule;
        (*facts).operation = judged.request.operation as u32;
        (*facts).syscall = syscall::number();
        (*facts).binding = judged.request.binding;
    }
    object(facts, judged.request.inode);
    judged.walk.write_path(facts);
}

/// The current process, and now.
#[inline(always)]
unsafe fn who(facts: *mut Facts) {
    let ids = bpf_get_current_pid_tgid();
    let users = bpf_get_current_uid_gid();
    let leader: u64 = read(current(), offset!(task_leader));
    // SAFETY: the caller's `facts` is its own; the helper has no arguments.
    unsafe {
        (*facts).tgid = (ids >> 32) as u32;
        (*facts).tid = ids as u32;
        (*facts).uid = users as u32;
        (*facts).gid = (users >> 32) as u32;
        (*facts).started = read(leader, offset!(task_start));
        (*facts).at = bpf_ktime_get_boot_ns();
    }
}

/// The existing file behind `inode`; zeros if there is none.
#[inline(always)]
fn object(facts: *mut Facts, inode: u64) {
    let mode: u16 = read(inode, offset!(inode_mode));
    // SAFETY: the caller's `facts` is its own.
    unsafe {
        (*facts).size = read(inode, offset!(inode_size));
        (*facts).mode = u32::from(mode);
        (*facts).owner = read(inode, offset!(inode_owner));
    }
}
