//! Operations on files and their names by other calls than opening.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{
    request::{Action, Class, Operation, Request},
    task::Task,
};

use super::file::{directory, make, on_behalf, on_file};
use crate::{
    decide::Target,
    gate::{at_once, gate_name},
    kernel::{current, kind, offset, read},
    task,
};

/// `include/uapi/linux/fs.h`: what has the new name gets the old one.
pub const RENAME_EXCHANGE: u32 = 2;
/// `ATTR_*`, `include/linux/fs.h`: mode, uid, gid, size; the times of access and modification, as told by the caller or
/// set to now.
const OTHERS: u32 = 0xf;
const TIMES: u32 = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8;

/// `security_path_link(old_dentry, new_dir, new_dentry)`.
#[lsm(hook = "path_link")]
pub fn link(ctx: LsmContext) -> i32 {
    renamed(Action::Link, ctx.arg(0), ctx.arg(2), 0)
}

/// `security_path_rename(old_dir, old_dentry, new_dir, new_dentry, flags)`.
#[lsm(hook = "path_rename")]
pub fn rename(ctx: LsmContext) -> i32 {
    renamed(Action::Rename, ctx.arg(1), ctx.arg(3), ctx.arg(4))
}

/// `security_path_unlink(dir, dentry)`.
#[lsm(hook = "path_unlink")]
pub fn unlink(ctx: LsmContext) -> i32 {
    changed(Action::Unlink, ctx.arg(1), false, |request| request.binding.access = loss(request.inode))
}

/// `security_path_rmdir(dir, dentry)`.
#[lsm(hook = "path_rmdir")]
pub fn rmdir(ctx: LsmContext) -> i32 {
    // From another mount namespace that takes away what is mounted there.
    changed(Action::Rmdir, ctx.arg(1), true, |request| request.binding.access = Class::REPLACING)
}

/// `security_path_mkdir(dir, dentry, mode)`.
#[lsm(hook = "path_mkdir")]
pub fn mkdir(ctx: LsmContext) -> i32 {
    let mode: u32 = ctx.arg(2);
    changed(Action::Mkdir, ctx.arg(1), false, |request| {
        request.binding.access = Class::REPLACING;
        make(request, mode & 0o7777 | kind::DIRECTORY);
    })
}

/// `security_path_symlink(dir, dentry, old_name)`.
#[lsm(hook = "path_symlink")]
pub fn symlink(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let request = fill(task, Action::Symlink, ctx.arg(1));
    request.binding.access = Class::REPLACING;
    // Its permissions mean nothing.
    request.makes = kind::LINK;
    // Whoever looks for something below finds what the link leads to.
    gate_name(task, true, Target::Text(ctx.arg(2)), 0)
}

/// `security_path_chmod(path, mode)`.
#[lsm(hook = "path_chmod")]
pub fn chmod(ctx: LsmContext) -> i32 {
    let (path, mode): (u64, u32) = (ctx.arg(0), ctx.arg(1));
    changed(Action::Chmod, read(path, offset!(path_dentry)), false, |request| request.binding.detail = mode & 0xffff)
}

/// `security_path_chown(path, uid, gid)`.
#[lsm(hook = "path_chown")]
pub fn chown(ctx: LsmContext) -> i32 {
    let (path, user, group): (u64, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    changed(Action::Chown, read(path, offset!(path_dentry)), false, |request| {
        request.binding.user = user;
        request.binding.group = group;
    })
}

/// `security_inode_setxattr(idmap, dentry, name, value, size, flags)`.
#[lsm(hook = "inode_setxattr")]
pub fn set_attribute(ctx: LsmContext) -> i32 {
    attribute(ctx.arg(1))
}

/// `security_inode_removexattr(idmap, dentry, name)`.
#[lsm(hook = "inode_removexattr")]
pub fn remove_attribute(ctx: LsmContext) -> i32 {
    attribute(ctx.arg(1))
}

/// `security_inode_set_acl(idmap, dentry, acl_name, kacl)`, 6.2 and later: until then an attribute.
#[lsm(hook = "inode_set_acl")]
pub fn set_list(ctx: LsmContext) -> i32 {
    attribute(ctx.arg(1))
}

/// `security_inode_remove_acl(idmap, dentry, acl_name)`, likewise.
#[lsm(hook = "inode_remove_acl")]
pub fn remove_list(ctx: LsmContext) -> i32 {
    attribute(ctx.arg(1))
}

/// `security_inode_setattr(dentry, attr)`, before 6.9.
#[lsm(hook = "inode_setattr")]
pub fn touch(ctx: LsmContext) -> i32 {
    touched(ctx.arg(0), ctx.arg(1))
}

/// `security_inode_setattr(idmap, dentry, attr)`, 6.9 and later.
#[lsm(hook = "inode_setattr")]
pub fn touch_mapped(ctx: LsmContext) -> i32 {
    touched(ctx.arg(1), ctx.arg(2))
}

/// Times alone: mode, owner and size have hooks of their own, with the path.
#[inline(always)]
fn touched(dentry: u64, attributes: u64) -> i32 {
    let valid: u32 = read(attributes, offset!(attributes_valid));
    if valid & OTHERS != 0 || valid & TIMES == 0 || on_behalf() {
        return 0;
    }
    changed(Action::Times, dentry, false, |_| ())
}

#[inline(always)]
fn attribute(dentry: u64) -> i32 {
    // A file system keeps its own accounts in attributes, on behalf of a call that was judged.
    if on_behalf() {
        return 0;
    }
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    fill(task, Action::Xattr, dentry);
    at_once(task, Operation::File)
}

/// An operation on the file or the name at `dentry`, with what `more` says of it. What `moves` is about all below, too.
#[inline(always)]
fn changed(action: Action, dentry: u64, moves: bool, more: impl FnOnce(&mut Request)) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    more(fill(task, action, dentry));
    gate_name(task, moves, Target::None, 0)
}

/// The file at `dentry` gets the name at `target`, and is not read or written by rules on its old one any more.
#[inline(always)]
fn renamed(action: Action, dentry: u64, target: u64, flags: u32) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let replaced: u64 = read(target, offset!(dentry_inode));
    let request = fill(task, action, dentry);
    request.binding.target = read(replaced, offset!(inode_number));
    request.binding.target_anchor = directory(target);
    request.binding.detail = flags;
    let access = if flags & RENAME_EXCHANGE != 0 { Class::OPENING } else { loss(replaced) };
    gate_name(task, true, Target::Entry(target), access)
}

/// What taking away this name of the file at `inode` does to it. If there are other names, the rules on this one no longer
/// stand in their way.
#[inline(always)]
fn loss(inode: u64) -> u32 {
    let mode: u16 = read(inode, offset!(inode_mode));
    let links: u32 = read(inode, offset!(inode_links));
    let others = links > 1 && u32::from(mode) & kind::MASK != kind::DIRECTORY;
    if others { Class::OPENING } else { Class::REPLACING }
}

#[inline(always)]
fn fill(task: *mut Task, action: Action, dentry: u64) -> &'static mut Request {
    let inode: u64 = read(dentry, offset!(dentry_inode));
    let request = on_file(task, dentry, inode);
    request.binding.anchor = directory(dentry);
    request.binding.access = Class::OPENING;
    request.binding.flags = action as u32;
    request
}
