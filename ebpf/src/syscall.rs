//! The system call that the current thread is in, and whether the kernel can execute it again by itself.
//!
//! A hold is transparent only where -ERESTARTNOINTR goes straight back through a system call's return path. It does
//! not in io_uring (the completion carries -EINTR or -513), in kernel threads, or where the kernel opens files on
//! its own account: there, a request that would be held is refused.

use holdpoint_common::{pending::hook, request::Class};

use crate::kernel::{current, offset, read, registers};

/// Marks a 32-bit call, whose numbers are others.
pub const COMPAT: u32 = 1 << 31;

/// `TS_COMPAT`, `arch/x86/include/asm/thread_info.h`.
const TS_COMPAT: u32 = 2;
/// `-ENOSYS`, the result of every call on x86 until it has one (`arch/x86/entry/entry_64.S`).
const ENOSYS: i64 = -38;
/// `io_uring_enter(2)`: requests are carried out within it; -513 would be their result.
const IO_URING_ENTER: u32 = 426;
/// `execveat(2)` of 32-bit programs.
const EXECVEAT_COMPAT: u32 = COMPAT | 358;
/// The x32 bit in a system call number.
const X32: u32 = 1 << 30;
/// `PF_IO_WORKER | PF_USER_WORKER | PF_KTHREAD`, `include/linux/sched.h`.
const WORKER: u32 = 0x10 | 0x4000 | 0x0020_0000;

/// `open(2)`'s flags.
mod flags {
    pub const ACCESS: u64 = 3;
    pub const WRITE: u64 = 1;
    pub const APPEND: u64 = 0o2000;
}

/// Number of the current system call, with [`COMPAT`].
#[inline(always)]
pub fn number() -> u32 {
    let number: u64 = read(registers(), offset!(regs_orig_ax));
    let status: u32 = read(current(), offset!(task_status));
    let number = number as u32 & !COMPAT;
    if status & TS_COMPAT != 0 { number | COMPAT } else { number & !X32 }
}

/// Whether `number` is one of the calls that open a file by its name or handle.
#[inline(always)]
pub fn opens(number: u32) -> bool {
    const OPEN: [u32; 4] = [2, 85, 257, 437]; // open, creat, openat, openat2
    const OPEN32: [u32; 4] = [5, 8, 295, 437];
    contains(OPEN, OPEN32, number) || contains([304; 4], [342; 4], number) // open_by_handle_at
}

/// Whether the call `number` can be held at `at`: it is executed again as if nothing had been. Not inlined, so that its
/// share of the small stack is not its caller's.
#[inline(never)]
pub fn can_restart(number: u32, at: u32) -> bool {
    let result: i64 = read(registers(), offset!(regs_ax));
    // Within a call its result is still what the entry code put there; work that io_uring left for the way out of a
    // call comes later.
    if is_uring() || result != ENOSYS {
        return false;
    }
    match at {
        hook::EXEC => executes(number),
        hook::OPEN => opens(number),
        // Only as part of a call that could have been held at its own hook.
        hook::BACKING => opens(number) || contains([76; 4], [92, 193, 92, 193], number), // truncate
        hook::CREATE => opens(number) || contains([133, 259, 49, 49], [14, 297, 361, 102], number), // mknod, mknodat, bind
        hook::TRUNCATE => contains([76, 77, 76, 77], [92, 93, 193, 194], number), // truncate, ftruncate
        hook::CONNECT => contains([42, 42, 42, 42], [362, 102, 362, 102], number), // connect
        hook::SEND | hook::DEPUTY => true,
        hook::NAME => names(number),
        _ => false,
    }
}

/// Whether `number` is one of the calls that work on names, or on what is kept beside them: rename, mkdir, rmdir, link,
/// unlink, symlink, chmod, chown, utime and their kin.
#[inline(always)]
fn names(number: u32) -> bool {
    let plain = number & !COMPAT;
    if number & COMPAT != 0 {
        return matches!(
            plain,
            9 | 10 | 15 | 16 | 30 | 38..=40 | 83 | 94 | 95 | 182 | 198 | 207 | 212 | 271 | 296 | 298
        ) || matches!(plain, 299 | 301..=304 | 306 | 320 | 353 | 412 | 452);
    }
    matches!(plain, 82..=84 | 86..=88 | 90..=94 | 132 | 235 | 258 | 260 | 261 | 263..=266 | 268 | 280 | 316 | 452)
}

/// The length that `truncate(2)` or `ftruncate(2)` is given. 32-bit programs give 64 bits as two registers, and 32 as one:
/// then the other is whatever it is, each time that the call is executed.
#[inline(always)]
pub fn new_length() -> u64 {
    if number() & COMPAT == 0 {
        return read(registers(), offset!(regs_second));
    }
    let (low, high): (u32, u32) =
        (read(registers(), offset!(regs_second_compat)), read(registers(), offset!(regs_third)));
    u64::from(high) << 32 | u64::from(low)
}

/// Whether io_uring carries out the request, or a thread of the kernel's own.
#[inline(always)]
pub fn is_uring() -> bool {
    let flags: u32 = read(current(), offset!(task_flags));
    flags & WORKER != 0 || number() & !COMPAT == IO_URING_ENTER
}

/// Whether `number` is `execve(2)` or `execveat(2)`, or x32's.
#[inline(always)]
pub fn executes(number: u32) -> bool {
    contains([59, 322, 520, 545], [11, 358, 11, 358], number)
}

/// `AT_EXECVE_CHECK` if the current call only asks whether a file could be executed (`execveat(2)`, 6.14 and later;
/// earlier kernels refuse the flag before any hook).
#[inline(always)]
pub fn execution_check() -> u32 {
    const AT_EXECVE_CHECK: u32 = 0x1_0000;
    let flags: u64 = match number() {
        322 | 545 => read(registers(), offset!(regs_fifth)),
        EXECVEAT_COMPAT => read(registers(), offset!(regs_fifth_compat)),
        _ => 0,
    };
    flags as u32 & AT_EXECVE_CHECK
}

/// The access that a creating `open(2)` asks for, from its flags: a mask. They are in registers, which the kernel has
/// saved and nobody can change. Where they are not (`openat2`, 32-bit), reading and writing.
#[inline(always)]
pub fn open_access(number: u32) -> u32 {
    let flags: Option<u64> = match number {
        2 => Some(read(registers(), offset!(regs_second))),
        85 => Some(flags::WRITE),
        257 => Some(read(registers(), offset!(regs_third))),
        _ if opens(number) => None,
        _ => return 0,
    };
    let Some(flags) = flags else { return Class::Read.bit() | Class::WRITING };
    let writes = Class::writing(flags & flags::APPEND != 0);
    match flags & flags::ACCESS {
        0 => Class::Read.bit(),
        flags::WRITE => writes,
        _ => Class::Read.bit() | writes,
    }
}

#[inline(always)]
fn contains(native: [u32; 4], compat: [u32; 4], number: u32) -> bool {
    let plain = number & !COMPAT;
    let list = if number & COMPAT != 0 { compat } else { native };
    plain == list[0] || plain == list[1] || plain == list[2] || plain == list[3]
}
