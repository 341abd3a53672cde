//! Opening, creating and truncating files.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{
    pending::hook,
    request::{Binding, Class, Operation},
};

use crate::{
    gate::{Request, gate},
    kernel::{current, offset, read},
    syscall, task,
};

/// `f_mode` bits, `include/linux/fs.h`.
mod mode {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const CREATED: u32 = 0x0010_0000;
    /// `FMODE_NOACCOUNT`: opened by a file system for itself (`open_with_fake_path`, `backing_file_open`).
    pub const NO_ACCOUNT: u32 = 0x2000_0000;
}

/// `f_flags` bits, `include/uapi/asm-generic/fcntl.h`.
mod flags {
    /// `__FMODE_EXEC`: opened by the kernel in order to execute it; user space cannot set it.
    pub const EXEC: u32 = 0x20;
    pub const TRUNCATE: u32 = 0o1000;
    /// `__O_TMPFILE`.
    pub const UNNAMED: u32 = 0o20_000_000;
}

/// `security_file_open(file)`: before a file is emptied by O_TRUNC, but after O_CREAT has created it.
#[lsm(hook = "file_open")]
pub fn open(ctx: LsmContext) -> i32 {
    // The cheap test first: most calls are of processes that are not governed.
    if task::governed(current()).is_none() {
        return 0;
    }
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
    gate(&Request {
        operation: Operation::Open,
        hook: if mode & mode::NO_ACCOUNT != 0 || on_behalf() { hook::BACKING } else { hook::OPEN },
        binding: Binding {
            inode: if unnamed { 0 } else { read(inode, offset!(inode_number)) },
            device: device(dentry),
            anchor: if created || unnamed { directory(dentry) } else { 0 },
            access: bit(Class::Read, mode & mode::READ != 0)
                | bit(Class::Write, mode & mode::WRITE != 0)
                | bit(Class::Truncate, flags & flags::TRUNCATE != 0 && !created)
                | bit(Class::Create, created || unnamed),
            flags,
            protocol: 0,
            address: [0; 16],
            port: 0,
            family: 0,
        },
        dentry,
        inode,
        bprm: 0,
        created,
    })
}

/// `security_path_mknod(dir, dentry, mode, dev)`: before a file comes into being, by open, mknod or bind.
#[lsm(hook = "path_mknod")]
pub fn create(ctx: LsmContext) -> i32 {
    if task::governed(current()).is_none() {
        return 0;
    }
    let dentry: u64 = ctx.arg(1);
    let mode: u32 = ctx.arg(2);
    let (reads, writes) = syscall::open_access(syscall::number());
    gate(&Request {
        operation: Operation::Open,
        hook: hook::CREATE,
        binding: Binding {
            inode: 0,
            device: device(dentry),
            anchor: directory(dentry),
            access: Class::Create.bit() | bit(Class::Read, reads) | bit(Class::Write, writes),
            flags: mode & 0xffff,
            protocol: 0,
            address: [0; 16],
            port: 0,
            family: 0,
        },
        dentry,
        inode: 0,
        bprm: 0,
        created: false,
    })
}

/// `security_path_truncate(path)`: by truncate(2), and on some kernels by O_TRUNC and ftruncate(2).
#[lsm(hook = "path_truncate")]
pub fn truncate(ctx: LsmContext) -> i32 {
    if task::governed(current()).is_none() || syscall::opens(syscall::number()) {
        // O_TRUNC is judged when the file is opened.
        return 0;
    }
    let path: u64 = ctx.arg(0);
    let dentry: u64 = read(path, offset!(path_dentry));
    let inode: u64 = read(dentry, offset!(dentry_inode));
    gate(&Request {
        operation: Operation::Open,
        hook: hook::TRUNCATE,
        binding: Binding {
            inode: read(inode, offset!(inode_number)),
            device: device(dentry),
            anchor: 0,
            access: Class::Truncate.bit() | Class::Write.bit(),
            flags: 0,
            protocol: 0,
            address: [0; 16],
            port: 0,
            family: 0,
        },
        dentry,
        inode,
        bprm: 0,
        created: false,
    })
}

/// Whether a file system acts for the current thread, with its mounter's rights: overlayfs does so while it opens
/// what is behind a file, and while it copies it.
#[inline(always)]
fn on_behalf() -> bool {
    let task = current();
    let acting: u64 = read(task, offset!(task_cred));
    let own: u64 = read(task, offset!(task_real_cred));
    acting != own
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
fn bit(class: Class, set: bool) -> u32 {
    if set { class.bit() } else { 0 }
}

/// `s_dev` of the file system that `dentry` is on.
#[inline(always)]
fn device(dentry: u64) -> u32 {
    let superblock: u64 = read(dentry, offset!(dentry_super));
    read(superblock, offset!(super_device))
}

/// Inode number of the directory that `dentry` is in.
#[inline(always)]
fn directory(dentry: u64) -> u64 {
    let parent: u64 = read(dentry, offset!(dentry_parent));
    let inode: u64 = read(parent, offset!(dentry_inode));
    read(inode, offset!(inode_number))
}
