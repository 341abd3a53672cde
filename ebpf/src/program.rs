//! Program files that are busy: an exec of them is held, or was approved and is what a process runs.
//!
//! The kernel keeps a running program from being written (ETXTBSY), but not a script, which its interpreter opens and
//! reads after the exec, and not a file whose exec is held. What a governed tree could then write is not what was
//! approved; and time stamps do not show it where it is quick enough. So to governed processes such a file is busy from
//! the question to the end of the process, or its next exec. Others can write it: that, its stamps show.
//!
//! Both sides say what they do before they look at the other: an exec counts itself here before it looks for writers,
//! and a writer is one (`i_writecount`) before `file_open` looks here.

use holdpoint_common::{
    request::{Class, Operation, Request},
    task::{Program, Task},
};

use crate::{
    decide::Judged,
    kernel::{decrement, increment, offset, read},
    maps::BUSY,
};

/// `-ETXTBSY`.
pub const ETXTBSY: i32 = -26;

/// The current thread asks to execute a file: busy from now on. False if that cannot be kept.
#[inline(always)]
pub fn take(task: *mut Task, request: &Request) -> bool {
    drop_candidate(task);
    let program = Program { inode: request.binding.inode, device: request.binding.device, reserved: 0 };
    // Fails if it is there; then that one counts.
    let _ = BUSY.insert(program, 0, aya_ebpf::bindings::BPF_NOEXIST as u64);
    let Some(users) = BUSY.get_ptr_mut(program) else { return false };
    increment(users);
    // SAFETY: the entry is the current thread's own.
    unsafe { (*task).candidate = program };
    true
}

/// The thread executes something new: its candidate, if the exec was approved.
#[inline(always)]
pub fn executed(task: *mut Task, approved: bool) {
    // SAFETY: the entry is the current thread's own.
    unsafe {
        leave(&raw mut (*task).program);
        if approved {
            (*task).program = (*task).candidate;
            (*task).candidate.inode = 0;
        }
    }
    drop_candidate(task);
}

/// The thread does not execute its candidate.
#[inline(always)]
pub fn drop_candidate(task: *mut Task) {
    // SAFETY: the entry is the current thread's own, or that of a thread that is no more.
    unsafe { leave(&raw mut (*task).candidate) };
}

/// The thread is no more.
#[inline(always)]
pub fn forget(task: *mut Task) {
    drop_candidate(task);
    // SAFETY: the entry is that of a thread that is no more.
    unsafe { leave(&raw mut (*task).program) };
}

/// # Safety
///
/// `program` is a field of an entry that only this thread writes.
#[inline(always)]
unsafe fn leave(program: *mut Program) {
    // SAFETY: see above.
    unsafe {
        if (*program).inode == 0 {
            return;
        }
        if let Some(users) = BUSY.get_ptr_mut(*program) {
            decrement(users);
        }
        (*program).inode = 0;
    }
}

/// Whether the request writes to a file that is busy.
#[inline(always)]
pub fn is_written(request: &Request) -> bool {
    let writes = request.binding.access & Class::TRUNCATING != 0;
    writes && !cfg!(feature = "broken-grant") && has_users(request.binding.inode, request.binding.device)
}

/// Not inlined, so that the verifier follows its branches apart from all others.
#[inline(never)]
fn has_users(inode: u64, device: u32) -> bool {
    // SAFETY: a counter is read.
    unsafe { BUSY.get(Program { inode, device, reserved: 0 }) }.is_some_and(|users| *users != 0)
}

/// Whether somebody has the program open for writing: then no kernel executes it, but some (6.11 to 6.12) that have
/// forgotten to look.
#[inline(always)]
pub fn is_open_for_writing(judged: &Judged) -> bool {
    let writers: i32 = read(judged.request.inode, offset!(inode_writers));
    judged.operation == Operation::Exec && writers > 0
}
