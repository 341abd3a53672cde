//! What a governed process may not do to the host unless the policy says so.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{request::Operation, system::System, task::Task};

use super::{
    descriptor::handle,
    file::{self, device, is_pseudo_terminal, is_terminal},
};
use crate::{
    gate::{at_once, never, on_host},
    kernel::{current, offset, read},
    maps::SWITCHES,
    park, task,
};

/// `PTRACE_MODE_NOAUDIT`, `include/linux/ptrace.h`, and `CAP_OPT_NOAUDIT`, `include/linux/security.h`: the kernel asks
/// what would be allowed, and goes on without if it is not.
const TRACE_ONLY_ASKS: u32 = 4;
const CAPABLE_ONLY_ASKS: u32 = 2;
/// `arch/x86/include/uapi/asm/signal.h`.
const SIGCONT: u32 = 18;
/// `include/uapi/asm-generic/fcntl.h`, `include/uapi/linux/fcntl.h`.
const F_SETFL: u32 = 4;
const F_SETOWN: u32 = 8;
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;
const F_SETLEASE: u32 = 1024;
const O_ASYNC: u64 = 0o20_000;
const F_UNLCK: u64 = 2;
const SIGIO: u64 = 29;
/// `sizeof(struct upid)`: a process's number in one namespace.
const UPID: u64 = 16;
/// What `kernel_read_file_id` calls a module, and a kernel and its ramdisk for kexec (`include/linux/kernel_read_file.h`).
const CODE: core::ops::RangeInclusive<u32> = 2..=4;
/// Capabilities that rule the host, `include/uapi/linux/capability.h`: NET_ADMIN, SYS_MODULE, SYS_RAWIO, SYS_ADMIN,
/// SYS_PACCT, SYS_BOOT, SYS_TIME, SYS_TTY_CONFIG, AUDIT_CONTROL, MAC_OVERRIDE, MAC_ADMIN, SYSLOG, PERFMON, BPF,
/// CHECKPOINT_RESTORE.
const RULING: u64 = 1 << 12
    | 1 << 16
    | 1 << 17
    | 1 << 20
    | 1 << 21
    | 1 << 22
    | 1 << 25
    | 1 << 26
    | 1 << 30
    | 1 << 32
    | 1 << 33
    | 1 << 34
    | 1 << 38
    | 1 << 39
    | 1 << 40;

/// `security_sb_mount(dev_name, path, type, flags, data)`.
#[lsm(hook = "sb_mount")]
pub fn mount(ctx: LsmContext) -> i32 {
    mounting(ctx.arg(1))
}

/// `security_move_mount(from_path, to_path)`.
#[lsm(hook = "move_mount")]
pub fn move_mount(ctx: LsmContext) -> i32 {
    mounting(ctx.arg(1))
}

/// `security_sb_umount(mnt, flags)`.
#[lsm(hook = "sb_umount")]
pub fn unmount(_ctx: LsmContext) -> i32 {
    asked(System::Mount, 0)
}

/// `security_sb_pivotroot(old_path, new_path)`.
#[lsm(hook = "sb_pivotroot")]
pub fn pivot_root(ctx: LsmContext) -> i32 {
    mounting(ctx.arg(1))
}

/// `security_path_chroot(path)`.
#[lsm(hook = "path_chroot")]
pub fn change_root(ctx: LsmContext) -> i32 {
    mounting(ctx.arg(0))
}

/// At `path`.
#[inline(always)]
fn mounting(path: u64) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let dentry: u64 = read(path, offset!(path_dentry));
    let inode: u64 = read(dentry, offset!(dentry_inode));
    let request = on_host(task, System::Mount);
    request.binding.inode = read(inode, offset!(inode_number));
    request.binding.device = device(dentry);
    at_once(task, Operation::System)
}

/// `security_create_user_ns(cred)`.
#[lsm(hook = "userns_create")]
pub fn namespace(_ctx: LsmContext) -> i32 {
    asked(System::Namespace, 0)
}

/// `security_ptrace_access_check(child, mode)`: memory, descriptors, links of `/proc/PID`.
#[lsm(hook = "ptrace_access_check")]
pub fn trace(ctx: LsmContext) -> i32 {
    let mode: u32 = ctx.arg(1);
    other(System::Trace, ctx.arg(0), mode & TRACE_ONLY_ASKS != 0)
}

/// `security_ptrace_traceme(parent)`.
#[lsm(hook = "ptrace_traceme")]
pub fn be_traced(ctx: LsmContext) -> i32 {
    other(System::Trace, ctx.arg(0), false)
}

/// `security_task_kill(p, info, sig, cred)`: not called for what the kernel itself sends.
#[lsm(hook = "task_kill")]
pub fn signal(ctx: LsmContext) -> i32 {
    let target: u64 = ctx.arg(0);
    // 0 asks only whether the process is there.
    let number: u32 = ctx.arg(2);
    if number == 0 {
        return 0;
    }
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    if number == SIGCONT && park::is_waiting(target) {
        // It would stop again, but not before its handlers and its other threads have run.
        on_process(task, System::Signal, target, false);
        return never(task);
    }
    other(System::Signal, target, false)
}

/// `security_task_setnice(p, nice)`.
#[lsm(hook = "task_setnice")]
pub fn nice(ctx: LsmContext) -> i32 {
    other(System::Schedule, ctx.arg(0), false)
}

/// `security_task_setscheduler(p)`: the processors too.
#[lsm(hook = "task_setscheduler")]
pub fn scheduler(ctx: LsmContext) -> i32 {
    other(System::Schedule, ctx.arg(0), false)
}

/// `security_task_setioprio(p, ioprio)`.
#[lsm(hook = "task_setioprio")]
pub fn input_priority(ctx: LsmContext) -> i32 {
    other(System::Schedule, ctx.arg(0), false)
}

/// `security_task_prlimit(cred, tcred, flags)`: the process is not told, and could be the agent. What has the same
/// credentials is the caller's own.
#[lsm(hook = "task_prlimit")]
pub fn limits(ctx: LsmContext) -> i32 {
    let (own, of): (u64, u64) = (ctx.arg(0), ctx.arg(1));
    if own == of { 0 } else { refused(System::Schedule, 0) }
}

/// `security_kernel_read_file(file, id, contents)`.
#[lsm(hook = "kernel_read_file")]
pub fn read_code(ctx: LsmContext) -> i32 {
    let id: u32 = ctx.arg(1);
    if CODE.contains(&id) { asked(System::Module, u64::from(id)) } else { 0 }
}

/// `security_kernel_load_data(id, contents)`.
#[lsm(hook = "kernel_load_data")]
pub fn load_code(ctx: LsmContext) -> i32 {
    let id: u32 = ctx.arg(0);
    if CODE.contains(&id) { asked(System::Module, u64::from(id)) } else { 0 }
}

/// `security_bpf(cmd, attr, size)`.
#[lsm(hook = "bpf")]
pub fn bpf(ctx: LsmContext) -> i32 {
    let command: u32 = ctx.arg(0);
    asked(System::Bpf, u64::from(command))
}

/// `security_perf_event_open(attr, type)`.
#[lsm(hook = "perf_event_open")]
pub fn perf(_ctx: LsmContext) -> i32 {
    asked(System::Perf, 0)
}

/// `security_capable(cred, ns, cap, opts)`: called often, so the capability is looked at first.
#[lsm(hook = "capable")]
pub fn capability(ctx: LsmContext) -> i32 {
    let number: u32 = ctx.arg(2);
    if number > 63 || RULING & 1 << number == 0 {
        return 0;
    }
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let options: u32 = ctx.arg(3);
    let request = on_host(task, System::Admin);
    request.binding.detail = number;
    request.quiet = (options & CAPABLE_ONLY_ASKS != 0).into();
    at_once(task, Operation::System)
}

/// `security_inode_init_security_anon(inode, name, context_inode)`: the kernel makes a file without a path.
#[lsm(hook = "inode_init_security_anon")]
pub fn anonymous(ctx: LsmContext) -> i32 {
    if task::governed(current()).is_none() {
        return 0;
    }
    let name: u64 = ctx.arg(1);
    match handle(read(name, offset!(qstr_name))) {
        Some(system) => asked(system, 0),
        None => 0,
    }
}

/// `security_uring_allowed()`, 6.17 and later.
#[lsm(hook = "uring_allowed")]
pub fn uring(_ctx: LsmContext) -> i32 {
    asked(System::IoUring, 0)
}

/// `security_file_fcntl(file, cmd, arg)`: who is sent a signal when there is something to read, and which. The kernel sends
/// it on its own account, and asks nobody then; a terminal's goes to whoever works at it. And leases, for which others wait.
/// What was opened to append is asked about before it is made to write elsewhere. Called often, so the command is looked at
/// first.
#[lsm(hook = "file_fcntl")]
pub fn control(ctx: LsmContext) -> i32 {
    let (command, value): (u32, u64) = (ctx.arg(1), ctx.arg(2));
    if command == F_SETFL {
        let answer = file::set_flags(ctx.arg(0), value);
        if answer != 0 {
            return answer;
        }
    }
    let concerns = match command {
        F_SETOWN | F_SETOWN_EX => true,
        F_SETSIG => value != 0 && value != SIGIO,
        F_SETFL => value & O_ASYNC != 0,
        F_SETLEASE => value != F_UNLCK,
        _ => false,
    };
    if !concerns || task::governed(current()).is_none() {
        return 0;
    }
    match command {
        F_SETOWN if value == 0 || value == own_number() => 0,
        F_SETFL if !is_at_terminal(ctx.arg(0)) => 0,
        F_SETLEASE => asked(System::Schedule, value),
        _ => refused(System::Signal, value),
    }
}

/// Whether the open file is a terminal, under whatever name.
#[inline(always)]
pub fn is_at_terminal(file: u64) -> bool {
    let inode: u64 = read(file, offset!(file_inode));
    let mode: u16 = read(inode, offset!(inode_mode));
    let number: u32 = read(inode, offset!(inode_device));
    is_terminal(mode.into(), number) || is_pseudo_terminal(mode.into(), number)
}

/// The current process's id in its own PID namespace.
#[inline(always)]
fn own_number() -> u64 {
    let leader: u64 = read(current(), offset!(task_leader));
    let pid: u64 = read(leader, offset!(task_pid));
    let level: u32 = read(pid, offset!(pid_level));
    let number: u32 = read(pid, offset!(pid_numbers) + u64::from(level) * UPID);
    u64::from(number)
}

/// `security_key_permission(key_ref, cred, need_perm)`.
#[lsm(hook = "key_permission")]
pub fn key(_ctx: LsmContext) -> i32 {
    asked(System::Keys, 0)
}

/// An operation on the host; `detail` tells which.
#[inline(always)]
pub fn asked(system: System, detail: u64) -> i32 {
    about(system, detail).map_or(0, |task| at_once(task, Operation::System))
}

/// An operation on a process that the hook is not told of: never, since it could be the agent.
#[inline(always)]
pub fn refused(system: System, detail: u64) -> i32 {
    about(system, detail).map_or(0, never)
}

/// The current thread, if it is governed, with the request written down.
#[inline(always)]
fn about(system: System, detail: u64) -> Option<*mut Task> {
    let task = task::governed(current())?;
    on_host(task, system).binding.detail = detail as u32;
    Some(task)
}

/// An operation on the process of the thread at `target`: nothing to ask within the tree, and never allowed on the agent
/// and the `holdpoint run` that stays with the tree.
#[inline(always)]
fn other(system: System, target: u64, quiet: bool) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    if is_relative(task, target) {
        return 0;
    }
    let process = on_process(task, system, target, quiet);
    // SAFETY: the entry is the current thread's own.
    let keeper = unsafe { (*task).keeper };
    if process == keeper || SWITCHES.get(0).is_some_and(|switches| switches.agent == process) {
        return never(task);
    }
    at_once(task, Operation::System)
}

/// Writes down that the request is about the process of the thread at `target`; gives its id.
#[inline(always)]
fn on_process(task: *mut Task, system: System, target: u64, quiet: bool) -> u32 {
    let process: u32 = read(target, offset!(task_tgid));
    let request = on_host(task, system);
    request.binding.anchor = u64::from(process);
    request.quiet = quiet.into();
    process
}

/// Whether the thread at `target` is in the same tree as the current one.
#[inline(always)]
pub fn is_relative(task: *mut Task, target: u64) -> bool {
    match task::governed(target) {
        // SAFETY: the tree of a thread never changes, and this thread's own entry stays while it runs.
        Some(other) => unsafe { (*other).tree == (*task).tree },
        None => false,
    }
}
