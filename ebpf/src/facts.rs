//! Filling in who asks and for what, for a hold and for a report alike.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_boot_ns};
use holdpoint_common::{
    matcher::Context as _,
    pending::hook,
    request::{Class, Facts, Operation, Path, Stamps},
    task::Task,
};

use crate::{
    decide::{Judged, Target},
    hooks::name::RENAME_EXCHANGE,
    kernel::{current, kind, login, offset, read, session},
    strings, syscall,
    walk::{self, Maps},
};

/// All of a fraction but `I_CTIME_QUERIED`, with which `stat(2)` marks a time since 6.13: looking changes nothing.
const FRACTION: u32 = 0x7fff_ffff;

/// Where a decision does not bind to content.
const NO_STAMPS: Stamps =
    Stamps { size: 0, version: 0, modified: 0, changed: 0, modified_fraction: 0, changed_fraction: 0 };

/// Writes everything about `judged` to `facts`, a record that only this thread writes.
#[inline(always)]
pub fn write(facts: *mut Facts, judged: &Judged) {
    // SAFETY: see above; the task is the current thread's own.
    unsafe {
        who(facts);
        (*facts).tree = (*judged.task).tree;
        (*facts).launcher = (*judged.task).launcher;
        (*facts).subject = judged.asker.subject;
        (*facts).revision = judged.asker.revision;
        (*facts).rule = judged.rule;
        (*facts).operation = judged.operation as u32;
        (*facts).syscall = syscall::number();
        (*facts).meaning = judged.meaning();
        (*facts).binding = judged.request.binding;
    }
    // SAFETY: see above.
    unsafe {
        write_stamps(&raw mut (*facts).content, binds_content(judged).then_some(judged.request.inode));
        write_stamps(&raw mut (*facts).target_content, exchanged(judged));
    }
    object(facts, judged.task);
    // SAFETY: see above.
    unsafe {
        judged.chain().write_path(&raw mut (*facts).path);
        write_target(&raw mut (*facts).target, judged);
    }
}

/// The walker's chain is another one afterwards.
#[inline(always)]
fn write_target(path: *mut Path, judged: &Judged) {
    match judged.target {
        // SAFETY: the caller's record is its own.
        Target::None => unsafe {
            (*path).length = 0;
            (*path).cut = 0;
        },
        Target::Entry(entry) => write_entry(path, judged.task, entry),
        Target::Text(text) => strings::write_text(path, text),
    }
}

#[inline(always)]
fn write_entry(path: *mut Path, task: *mut Task, entry: u64) {
    walk::from_dentry(task, entry).chain.write_path(path);
}

/// The current process, and now. Not inlined, so that its share of the small stack is not its caller's.
#[inline(never)]
fn who(facts: *mut Facts) {
    let ids = bpf_get_current_pid_tgid();
    let users = bpf_get_current_uid_gid();
    let leader: u64 = read(current(), offset!(task_leader));
    // SAFETY: the caller's `facts` is its own; the helper has no arguments.
    unsafe {
        (*facts).tgid = (ids >> 32) as u32;
        (*facts).tid = ids as u32;
        (*facts).uid = users as u32;
        (*facts).gid = (users >> 32) as u32;
        (*facts).login = login();
        (*facts).session = session();
        (*facts).started = read(leader, offset!(task_start));
        (*facts).at = bpf_ktime_get_boot_ns();
    }
}

/// Whether a decision on the request is about the file's content too: what is executed, read, or emptied. Who opens a
/// file to write it brings its own; and of what is no regular file the stamps say nothing.
#[inline(always)]
pub fn binds_content(judged: &Judged) -> bool {
    let request = judged.request;
    match judged.operation {
        Operation::Exec => true,
        Operation::Open => judged.at != hook::CREATE && takes_content(request.inode, request.binding.access),
        // Under another name it is another's; and what has been removed, and made anew, can have its number again.
        Operation::File => matches!(judged.target, Target::Entry(..)),
        Operation::Connect | Operation::System => false,
    }
}

/// The inode of what a rename puts in the place of its source.
#[inline(always)]
pub fn exchanged(judged: &Judged) -> Option<u64> {
    match judged.target {
        Target::Entry(entry) if judged.request.binding.detail & RENAME_EXCHANGE != 0 => {
            Some(read(entry, offset!(dentry_inode)))
        }
        _ => None,
    }
}

/// Not inlined, so that the verifier follows its branches apart from all others.
#[inline(never)]
fn takes_content(inode: u64, access: u32) -> bool {
    let mode: u16 = read(inode, offset!(inode_mode));
    let keeps = Class::WRITING | Class::Create.bit();
    u32::from(mode) & kind::MASK == kind::REGULAR && (access & keeps == 0 || access & Class::Truncate.bit() != 0)
}

/// Whether the content that the request is about is in the state `held`.
#[inline(never)]
pub fn same_content(held: *const Stamps, inode: u64) -> bool {
    // SAFETY: the caller's record is the current thread's own.
    unsafe { *held == stamps(inode) }
}

/// Zeros if a decision does not bind to content.
#[inline(always)]
unsafe fn write_stamps(to: *mut Stamps, inode: Option<u64>) {
    // SAFETY: the caller's record is its own.
    match inode {
        Some(inode) => write_stamps_of(to, inode),
        None => unsafe { *to = NO_STAMPS },
    }
}

/// Not inlined, so that its share of the small stack is not its caller's.
#[inline(never)]
fn write_stamps_of(to: *mut Stamps, inode: u64) {
    // SAFETY: see the only caller.
    unsafe { *to = stamps(inode) };
}

/// The state of a file's content.
#[inline(always)]
fn stamps(inode: u64) -> Stamps {
    let version: u64 = read(inode, offset!(inode_version));
    let modified_fraction: u32 = read(inode, offset!(inode_modified_fraction));
    let changed_fraction: u32 = read(inode, offset!(inode_changed_fraction));
    Stamps {
        size: read(inode, offset!(inode_size)),
        version: version >> 1,
        modified: read(inode, offset!(inode_modified)),
        changed: read(inode, offset!(inode_changed)),
        modified_fraction: modified_fraction & FRACTION,
        changed_fraction: changed_fraction & FRACTION,
    }
}

/// The file, or what it is to be; zeros if there is none. Not inlined: see [`who`].
#[inline(never)]
fn object(facts: *mut Facts, task: *mut Task) {
    let maps = Maps(task);
    // SAFETY: the caller's `facts` is its own, and the task the current thread's.
    unsafe {
        (*facts).size = read((*task).request.inode, offset!(inode_size));
        (*facts).mode = maps.mode();
        (*facts).owner = maps.owner().unwrap_or(0);
    }
}
