//! Opening, creating and truncating files.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{
    pending::hook,
    request::{Action, Class, Operation, Request},
    system::System,
    task::Task,
};

use crate::{
    gate::{at_once, gate, read_back, request},
    kernel::{current, kind, offset, read},
    program, syscall, task,
};

use super::terminal;

/// `f_mode` bits, `include/linux/fs.h`.
mod mode {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const CREATED: u32 = 0x0010_0000;
    /// `FMODE_NOACCOUNT`: opened by a file system for itself (`open_with_fake_path`, `backing_file_open`).
    pub const NO_ACCOUNT: u32 = 0x2000_0000;
}

/// `include/uapi/asm-generic/mman-common.h`, `include/uapi/linux/mman.h`.
const PROT_WRITE: u64 = 2;
const PROT_EXEC: u64 = 4;
const MAP_TYPE: u64 = 0xf;
const MAP_PRIVATE: u64 = 2;
/// `include/linux/mm.h`.
const VM_SHARED: u64 = 8;

/// `f_flags` bits, `include/uapi/asm-generic/fcntl.h`.
mod flags {
    /// `__FMODE_EXEC`: opened by the kernel in order to execute it; user space cannot set it.
    pub const EXEC: u32 = 0x20;
    pub const TRUNCATE: u32 = 0o1000;
    pub const APPEND: u32 = 0o2000;
    /// `__O_TMPFILE`.
    pub const UNNAMED: u32 = 0o20_000_000;
}

/// `security_file_open(file)`: before a file is emptied by O_TRUNC, but after O_CREAT has created it.
#[lsm(hook = "file_open")]
pub fn open(ctx: LsmContext) -> i32 {
    // The cheap test first: most calls are of processes that are not governed.
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let file: u64 = ctx.arg(0);
    let flags: u32 = read(file, offset!(file_flags));
    if flags & flags::EXEC != 0 {
        // An exec is judged as such, by the file given to it.
        return 0;
    }
    let mode: u32 = read(file, offset!(file_mode));
    let inode: u64 = read(file, offset!(file_inode));
    let dentry = own_dentry(read(file, offset!(file_path_dentry)), inode);
    let created = mode & mode::CREATED != 0;
    // A file without a name gets a new inode each time that the call is executed.
    let unnamed = flags & flags::UNNAMED == flags::UNNAMED;
    let behind = mode & mode::NO_ACCOUNT != 0 || on_behalf();
    let request = on_file(task, dentry, inode);
    request.at = if behind { hook::BACKING } else { hook::OPEN };
    if unnamed {
        request.binding.inode = 0;
    }
    request.binding.anchor = if created || unnamed { directory(dentry) } else { 0 };
    let empties = flags & flags::TRUNCATE != 0 && !created;
    request.binding.access = opened_for(mode, flags)
        // Emptying writes, whatever it is opened for.
        | if empties { Class::TRUNCATING } else { 0 }
        | bit(Class::Create, created || unnamed);
    request.binding.flags = flags;
    request.created = created.into();
    let kind: u16 = read(inode, offset!(inode_mode));
    let number: u32 = read(inode, offset!(inode_device));
    if is_sensitive_device(u32::from(kind), number) {
        request.system = System::Device as u32;
    } else if is_pseudo_terminal(u32::from(kind), number) && terminal::is_somebody_elses(task, dentry) {
        request.system = System::Terminal as u32;
    }
    if program::is_written(request) {
        return program::ETXTBSY;
    }
    gate(task, Operation::Open, read_back(task).at)
}

/// `security_path_mknod(dir, dentry, mode, dev)`: before a file comes into being, by open, mknod or bind.
#[lsm(hook = "path_mknod")]
pub fn create(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let dentry: u64 = ctx.arg(1);
    let mode: u32 = ctx.arg(2);
    let request = on_file(task, dentry, 0);
    request.binding.anchor = directory(dentry);
    request.binding.access = Class::Create.bit() | syscall::open_access(syscall::number());
    request.binding.flags = mode & 0xffff;
    make(request, if mode & kind::MASK == 0 { mode | kind::REGULAR } else { mode });
    if is_sensitive_device(mode, ctx.arg(3)) {
        request.system = System::Device as u32;
    }
    gate(task, Operation::Open, hook::CREATE)
}

/// Notes what is to be made with this mode, and binds the decision to that and to whose it will be. The umask is taken off
/// here, since not all kernels and file systems have done so before they ask. Where the directory has a default ACL, that
/// says what becomes of it, and the open that follows is judged by the outcome.
#[inline(always)]
pub fn make(request: &mut Request, mode: u32) {
    let place: u64 = read(current(), offset!(task_place));
    let umask: u32 = read(place, offset!(place_umask));
    let credentials: u64 = read(current(), offset!(task_cred));
    request.makes = mode & 0xffff & !(umask & 0o777);
    request.binding.detail = request.makes;
    request.binding.user = read(credentials, offset!(cred_files_user));
}

/// `security_path_truncate(path)`: by truncate(2), and on some kernels by O_TRUNC and ftruncate(2).
#[lsm(hook = "path_truncate")]
pub fn truncate(ctx: LsmContext) -> i32 {
    truncated(read(ctx.arg(0), offset!(path_dentry)))
}

/// `security_file_truncate(file)`, 6.2 and later: by ftruncate(2), and for O_TRUNC.
#[lsm(hook = "file_truncate")]
pub fn truncate_open(ctx: LsmContext) -> i32 {
    truncated(read(ctx.arg(0), offset!(file_path_dentry)))
}

#[inline(always)]
fn truncated(dentry: u64) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    if syscall::opens(syscall::number()) {
        // O_TRUNC is judged when the file is opened.
        return 0;
    }
    let inode: u64 = read(dentry, offset!(dentry_inode));
    let request = on_file(task, dentry, inode);
    request.binding.access = Class::TRUNCATING;
    request.binding.target = syscall::new_length();
    if program::is_written(request) {
        return program::ETXTBSY;
    }
    gate(task, Operation::Open, hook::TRUNCATE)
}

/// `security_mmap_file(file, reqprot, prot, flags)`: a file mapped executable is executed, by a loader of the caller's own;
/// and who shares a writable one writes anywhere in it. `prot` is what the kernel will map, after personality.
#[lsm(hook = "mmap_file")]
pub fn map(ctx: LsmContext) -> i32 {
    let (protection, flags): (u64, u64) = (ctx.arg(2), ctx.arg(3));
    let shares = flags & MAP_TYPE != MAP_PRIVATE;
    mapped(ctx.arg(0), protection & PROT_EXEC != 0, protection & PROT_WRITE != 0 && shares)
}

/// `security_file_mprotect(vma, reqprot, prot)`: likewise, later.
#[lsm(hook = "file_mprotect")]
pub fn protect(ctx: LsmContext) -> i32 {
    let protection: u64 = ctx.arg(2);
    let (executes, writes) = (protection & PROT_EXEC != 0, protection & PROT_WRITE != 0);
    if !executes && !writes {
        return 0;
    }
    let area: u64 = ctx.arg(0);
    let flags: u64 = read(area, offset!(area_flags));
    mapped(read(area, offset!(area_file)), executes, writes && flags & VM_SHARED != 0)
}

#[inline(always)]
fn mapped(file: u64, executes: bool, writes: bool) -> i32 {
    if file == 0 || !executes && !(writes && only_appends(file)) {
        return 0;
    }
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    if syscall::executes(syscall::number()) {
        return 0;
    }
    if writes && only_appends(file) {
        let answer = overwrite(task, file);
        if answer != 0 || !executes {
            return answer;
        }
    }
    on_open(task, file, Action::Map, Class::Exec.bit()).implied = 1;
    at_once(task, Operation::File)
}

/// `fcntl(2)` with F_SETFL takes O_APPEND off a file that is open, or leaves it.
#[inline(always)]
pub fn set_flags(file: u64, flags: u64) -> i32 {
    if flags as u32 & flags::APPEND != 0 || !only_appends(file) {
        return 0;
    }
    task::governed(current()).map_or(0, |task| overwrite(task, file))
}

#[inline(always)]
fn overwrite(task: *mut Task, file: u64) -> i32 {
    on_open(task, file, Action::Overwrite, Class::WRITING);
    at_once(task, Operation::File)
}

/// Whether what is written by this open file goes to its end: then it was not asked for more.
#[inline(always)]
fn only_appends(file: u64) -> bool {
    access(file) & Class::WRITING == Class::Append.bit()
}

/// The current thread's request to do this with a file that is open already.
#[inline(always)]
fn on_open(task: *mut Task, file: u64, action: Action, access: u32) -> &'static mut Request {
    let inode: u64 = read(file, offset!(file_inode));
    let dentry = own_dentry(read(file, offset!(file_path_dentry)), inode);
    let request = on_file(task, dentry, inode);
    request.binding.access = access;
    request.binding.flags = action as u32;
    request
}

/// The current thread's request about the file at `inode`, by its entry `dentry`; `inode` is 0 if there is no file yet.
#[inline(always)]
pub fn on_file(task: *mut Task, dentry: u64, inode: u64) -> &'static mut Request {
    let request = request(task);
    request.binding.inode = read(inode, offset!(inode_number));
    request.binding.device = device(dentry);
    request.dentry = dentry;
    request.inode = inode;
    request
}

/// Whether a node of this mode and device number reaches more than a pseudo terminal or a source of zeros.
#[inline(always)]
pub fn is_sensitive_device(mode: u32, number: u32) -> bool {
    // The kernel's own `dev_t`: 12 bits and 20 (`include/linux/kdev_t.h`).
    let (major, minor) = (number >> 20, number & 0xf_ffff);
    match mode & kind::MASK {
        kind::BLOCK => true,
        // 0:0 is overlayfs's mark for a file that is gone.
        kind::CHARACTER => !matches!(
            (major, minor),
            (0, 0) | (1, 3 | 5 | 7 | 8 | 9) | (5, 0 | 2) | (128..=143, _) // mem, tty, ptmx, pts
        ),
        _ => false,
    }
}

/// Whether it is a virtual console, a serial line or the console.
#[inline(always)]
pub fn is_terminal(mode: u32, number: u32) -> bool {
    mode & kind::MASK == kind::CHARACTER && matches!(number >> 20, 4 | 5 | 204 | 229)
}

/// Whether it is the side of a pseudo terminal at which programs work (`Documentation/admin-guide/devices.txt`).
#[inline(always)]
pub fn is_pseudo_terminal(mode: u32, number: u32) -> bool {
    mode & kind::MASK == kind::CHARACTER && matches!(number >> 20, 136..=143)
}

/// Whether it is a socket.
#[inline(always)]
pub fn is_socket(mode: u32) -> bool {
    mode & kind::MASK == kind::SOCKET
}

/// What an open file is open for.
#[inline(always)]
pub fn access(file: u64) -> u32 {
    opened_for(read(file, offset!(file_mode)), read(file, offset!(file_flags)))
}

#[inline(always)]
fn opened_for(mode: u32, flags: u32) -> u32 {
    let writes = Class::writing(flags & flags::APPEND != 0);
    match bit(Class::Read, mode & mode::READ != 0) | if mode & mode::WRITE != 0 { writes } else { 0 } {
        // Access mode 3: for `ioctl(2)` alone, which can be anything.
        0 => Class::Read.bit() | Class::WRITING,
        some => some,
    }
}

/// Whether a file system acts for the current thread, with its mounter's rights: overlayfs does so while it opens
/// what is behind a file, and while it copies it. io_uring takes whatever credentials its user has registered.
#[inline(always)]
pub fn on_behalf() -> bool {
    let task = current();
    let acting: u64 = read(task, offset!(task_cred));
    let own: u64 = read(task, offset!(task_real_cred));
    acting != own && !syscall::is_uring()
}

/// The directory entry of `inode`. `shown` is it, unless the kernel opens what backs a file and shows the path of the
/// file itself (before 6.5).
#[inline(always)]
fn own_dentry(shown: u64, inode: u64) -> u64 {
    let superblock: u64 = read(shown, offset!(dentry_super));
    let own: u64 = read(inode, offset!(inode_super));
    let alias: u64 = read(inode, offset!(inode_aliases));
    if superblock == own || alias == 0 { shown } else { alias - offset!(dentry_alias) }
}

#[inline(always)]
pub fn bit(class: Class, set: bool) -> u32 {
    if set { class.bit() } else { 0 }
}

/// `s_dev` of the file system that `dentry` is on.
#[inline(always)]
pub fn device(dentry: u64) -> u32 {
    let superblock: u64 = read(dentry, offset!(dentry_super));
    read(superblock, offset!(super_device))
}

/// Inode number of the directory that `dentry` is in.
#[inline(always)]
pub fn directory(dentry: u64) -> u64 {
    let parent: u64 = read(dentry, offset!(dentry_parent));
    let inode: u64 = read(parent, offset!(dentry_inode));
    read(inode, offset!(inode_number))
}
