//! Descriptors that a process has not opened itself: received from another one, or brought along when it became governed.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{
    matcher::{Asker, Turn},
    request::{Action, Class, Operation},
    system::{NO_SYSTEM, System},
    task::Task,
};

use super::{file, net};
use crate::{
    gate::{asker, at_once_there},
    kernel::{current, offset, read, repeat},
    task, walk, workplace,
};

/// Most places in a descriptor table that are looked at; a process that uses more brings too much along.
const TABLE: u32 = 1 << 16;

/// How a process came by a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Received,
    Inherited,
}

/// `security_file_receive(file)`: a descriptor comes from another process. Too late to hold: the message is consumed.
#[lsm(hook = "file_receive")]
pub fn receive(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let asker = asker(task);
    workplace::note(task, asker.revision);
    judge(task, asker, ctx.arg(0), Way::Received)
}

/// What the current process, which is becoming governed by an exec, keeps open over it. 0 if all of it passes.
#[inline(always)]
pub fn inherited(task: *mut Task) -> i32 {
    let asker = asker(task);
    // Here, since no stack is left for that in the search.
    workplace::note(task, asker.revision);
    let files: u64 = read(current(), offset!(task_files));
    let table: u64 = read(files, offset!(files_table));
    let mut scan = Scan {
        task,
        asker,
        files: read(table, offset!(table_files)),
        closing: read(table, offset!(table_closing)),
        length: read(table, offset!(table_length)),
        answer: 0,
    };
    repeat(TABLE, &mut scan);
    scan.answer
}

struct Scan {
    task: *mut Task,
    asker: Asker,
    files: u64,
    closing: u64,
    length: u32,
    answer: i32,
}

impl Turn for Scan {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        if index >= self.length {
            return false;
        }
        let file: u64 = read(self.files, u64::from(index) * 8);
        let closing: u64 = read(self.closing, u64::from(index / 64) * 8);
        if file != 0 && closing >> (index % 64) & 1 == 0 {
            self.answer = judge(self.task, self.asker, file, Way::Inherited);
        }
        self.answer == 0
    }
}

/// The thread's workplace is noted, for the asker's revision.
#[inline(always)]
fn judge(task: *mut Task, asker: Asker, file: u64, way: Way) -> i32 {
    let inode: u64 = read(file, offset!(file_inode));
    let mode: u16 = read(inode, offset!(inode_mode));
    let mode = u32::from(mode);
    if file::is_socket(mode) {
        return net::receive(task, asker, read(file, offset!(file_private)));
    }
    let dentry: u64 = read(file, offset!(file_path_dentry));
    let device: u32 = read(inode, offset!(inode_device));
    let request = file::on_file(task, dentry, inode);
    request.binding.access = match file::access(file) {
        // Who has sent it can make it write elsewhere: they share its flags.
        access if way == Way::Received && access & Class::Append.bit() != 0 => access | Class::WRITING,
        access => access,
    };
    request.binding.flags = Action::Receive as u32;
    if walk::is_nameless(dentry) {
        request.system = handle(read(dentry, offset!(dentry_name))).map_or(NO_SYSTEM, |system| system as u32);
    }
    // What everybody is started with, at a console, may be one.
    if file::is_sensitive_device(mode, device) && !(way == Way::Inherited && file::is_terminal(mode, device)) {
        request.system = System::Device as u32;
    }
    request.implied = (way == Way::Inherited).into();
    at_once_there(task, asker, Operation::File)
}

/// What a descriptor without a path is a handle of, by the name at `name` that the kernel gives it
/// (`anon_inode_getfile`).
#[inline(always)]
pub fn handle(name: u64) -> Option<System> {
    let start: [u8; 8] = read(name, 0);
    let start = u64::from_le_bytes(start);
    let is = |name: &[u8; 8]| start == u64::from_le_bytes(*name);
    let begins = |name: &[u8; 4]| start as u32 == u32::from_le_bytes(*name);
    if is(b"[io_urin") {
        Some(System::IoUring)
    } else if is(b"[userfau") {
        Some(System::Userfaultfd)
    } else if is(b"[perf_ev") {
        Some(System::Perf)
    } else if begins(b"bpf-") || begins(b"bpf_") {
        Some(System::Bpf)
    } else {
        None
    }
}
