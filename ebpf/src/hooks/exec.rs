//! `execve(2)`.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{
    pending::hook,
    request::{Class, Operation},
};

use crate::{
    gate::{Request, gate},
    kernel::{current, offset, read},
    task,
};

/// `security_bprm_creds_for_exec(bprm)`: once per exec, with the file given to it (a script, not its interpreter),
/// before any effect.
#[lsm(hook = "bprm_creds_for_exec")]
pub fn exec(ctx: LsmContext) -> i32 {
    let bprm: u64 = ctx.arg(0);
    let file: u64 = read(bprm, offset!(bprm_file));
    let dentry: u64 = read(file, offset!(file_path_dentry));
    if task::governed(current()).is_none() {
        return task::enrol(dentry);
    }
    let inode: u64 = read(file, offset!(file_inode));
    let superblock: u64 = read(dentry, offset!(dentry_super));
    let mut request = Request::new(Operation::Exec, hook::EXEC);
    request.binding.inode = read(inode, offset!(inode_number));
    request.binding.device = read(superblock, offset!(super_device));
    request.binding.access = Class::Exec.bit();
    request.dentry = dentry;
    request.inode = inode;
    request.bprm = bprm;
    gate(&request)
}
