//! Terminals that somebody outside the tree works at.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{system::System, task::Task};

use super::system::{asked, is_at_terminal, is_relative, refused};
use crate::kernel::{current, offset, read};

/// `TIOCSTI`, `TIOCLINUX`, `include/uapi/asm-generic/ioctls.h`.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
/// `FIOSETOWN`, `SIOCSPGRP`, `include/uapi/asm-generic/sockios.h`: who is sent SIGIO.
const FIOSETOWN: u32 = 0x8901;
const FIOASYNC: u32 = 0x5452;
const SIOCSPGRP: u32 = 0x8902;
/// `BTRFS_IOC_SNAP_CREATE` and `_V2`, `include/uapi/linux/btrfs.h`: other files with what the protected ones hold.
const SNAPSHOT: u32 = 0x5000_9401;
const SNAPSHOT_NAMED: u32 = 0x5000_9417;
/// Places in `enum pid_type`.
const PIDTYPE_PID: u64 = 0;
const PIDTYPE_SID: u64 = 3;

/// `security_file_ioctl(file, cmd, arg)`: called often, so the command is looked at first.
#[lsm(hook = "file_ioctl")]
pub fn ioctl(ctx: LsmContext) -> i32 {
    commanded(ctx.arg(0), ctx.arg(1))
}

/// `security_file_ioctl_compat(file, cmd, arg)`, of 32-bit callers; kernels without it call the other.
#[lsm(hook = "file_ioctl_compat")]
pub fn ioctl_compat(ctx: LsmContext) -> i32 {
    commanded(ctx.arg(0), ctx.arg(1))
}

#[inline(always)]
fn commanded(file: u64, command: u32) -> i32 {
    match command {
        TIOCSTI | TIOCLINUX => asked(System::Terminal, u64::from(command)),
        SNAPSHOT | SNAPSHOT_NAMED => asked(System::Mount, u64::from(command)),
        FIOASYNC if is_at_terminal(file) => refused(System::Signal, u64::from(command)),
        FIOSETOWN | SIOCSPGRP => refused(System::Signal, u64::from(command)),
        _ => 0,
    }
}

/// Whether the pseudo terminal at `dentry` is that of a session whose leader is outside the tree, and not the caller's own.
#[inline(always)]
pub fn is_somebody_elses(task: *mut Task, dentry: u64) -> bool {
    let terminal: u64 = read(dentry, offset!(dentry_private));
    let session: u64 = read(terminal, offset!(tty_session));
    let signal: u64 = read(current(), offset!(task_signal));
    let own: u64 = read(signal, offset!(signal_pids) + PIDTYPE_SID * 8);
    if terminal == 0 || session == 0 || session == own {
        return false;
    }
    let link: u64 = read(session, offset!(pid_tasks) + PIDTYPE_PID * 8);
    link == 0 || !is_relative(task, link - offset!(task_pid_links))
}
