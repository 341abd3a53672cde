//! Birth and death of threads: every descendant of a governed one is governed.

use aya_ebpf::{
    macros::{btf_tracepoint, lsm},
    programs::{BtfTracePointContext, LsmContext},
};
use holdpoint_common::system::System;

use super::system::refused;
use crate::task;

/// `clone3(2)`, `include/uapi/linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// `clone(2)`.
const CLONE_THREAD: u64 = 0x1_0000;

/// `security_task_alloc(task, clone_flags)`: before the new thread exists for anybody else; can refuse the fork.
#[lsm(hook = "task_alloc")]
pub fn inherit(ctx: LsmContext) -> i32 {
    let flags: u64 = ctx.arg(1);
    task::inherit(ctx.arg(0), flags & CLONE_THREAD != 0)
}

/// The same, where the caller chooses the control group of its child: any that it has a descriptor of, so the agent's too,
/// to use up what that may have.
#[lsm(hook = "task_alloc")]
pub fn placed(ctx: LsmContext) -> i32 {
    let flags: u64 = ctx.arg(1);
    if flags & CLONE_INTO_CGROUP != 0 { refused(System::Schedule, 0) } else { 0 }
}

/// `sched_process_fork(parent, child)`: the child has its ids and has not run.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn named(ctx: BtfTracePointContext) -> i32 {
    task::named(ctx.arg(1));
    0
}

/// `security_task_free(task)`: also for a fork that failed after [`inherit`].
#[lsm(hook = "task_free")]
pub fn forget(ctx: LsmContext) -> i32 {
    task::forget(ctx.arg(0));
    0
}
