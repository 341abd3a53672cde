//! Who is governed, as the kernel keeps it.

use crate::{
    matcher::{DEPTH, Scratch, Words},
    request::Request,
};

/// A program file, as `execve(2)` is given it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Program {
    /// Inode number; 0 for none.
    pub inode: u64,
    /// `s_dev` of its file system.
    pub device: u32,
    /// Always zero.
    pub reserved: u32,
}

/// One governed thread, keyed by the address of its `task_struct`. Made whole by whoever makes it; changed by the
/// thread itself only, and by its parent before it first runs.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Task {
    /// The governed tree: random, the same for all descendants.
    pub tree: u64,
    /// The process: random, the same for all its threads, whatever they execute.
    pub process: u64,
    /// The hold that this thread is in, 0 if none.
    pub hold: u64,
    /// The file that the thread runs, where its exec was approved.
    pub program: Program,
    /// The file whose exec is held, or was approved and has not succeeded yet.
    pub candidate: Program,
    /// Not 0 while the call in progress has passed a hook by its approval: for an exec the address of its `linux_binprm`.
    pub granted: u64,
    /// While the entry is made up: the credentials by which a subject is told.
    pub credentials: u64,
    /// While the entry is made up: which subjects the program that calls `execve(2)` can start: a bit each, in the order
    /// of the policy.
    pub callers: u64,
    /// Scratch of the thread: the sets of working directories that its own is in, see
    /// [`crate::tables::Conditions::workplaces`].
    pub workplaces: u64,
    /// Index of the subject in the policy.
    pub subject: u32,
    /// User id that launched the tree.
    pub launcher: u32,
    /// Process id, as the initial PID namespace counts.
    pub tgid: u32,
    /// 1 while the exec that made the thread governed is under way: what it brings along is still to be judged.
    pub entering: u32,
    /// Process id of the `holdpoint run` that stays with the tree: no policy lets the tree touch it. 0 if there is none.
    pub keeper: u32,
    /// Scratch of the thread: the first rule that only observes and would have decided what it asks for, or
    /// [`crate::tables::NO_RULE`].
    pub noted: u32,
    /// Scratch of the thread: what it asks for.
    pub request: Request,
    /// Scratch of the thread: what that has met.
    pub met: Met,
    /// Scratch of the thread: what is looked up.
    pub scratch: Scratch,
    /// Scratch of the thread: what it executes is given.
    pub words: Words,
    /// Scratch of the thread: the directory entries from leaf to root of the path being judged. Here, since
    /// the stack is too small and a per-CPU buffer is not safe from preemption (programs may be preempted).
    pub chain: [u64; DEPTH],
}

/// What a request has met in the tables: what the programs' first half tells their second, see `ebpf/src/gate.rs`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Met {
    /// The second thing that the request is about: address of a directory entry or of a text; 0 if there is none.
    pub target: u64,
    /// Entries in [`Task::chain`].
    pub depth: u64,
    /// 1 if they are the whole path.
    pub whole: u32,
    /// [`crate::pending::hook`] that asks.
    pub at: u32,
    /// The policy's revision.
    pub revision: u32,
    /// The first rule that accepts, or [`crate::tables::NO_RULE`].
    pub rule: u32,
}

/// Who carries labels of data that was read: a governed tree or a process, by its random number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Carrier {
    /// The labels: a mask that only grows.
    pub labels: u64,
    /// Threads that belong to it. With the last of them it goes.
    pub threads: u64,
}

/// A socket that a governed tree has made, or has accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Socket {
    /// The tree.
    pub tree: u64,
    /// Random, and no other socket's, which the address of the `sock` comes to be.
    pub id: u64,
}

/// Where a tree's own socket leads, or may come to lead: what labels were judged is kept for each such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Connection {
    /// [`Socket::id`].
    pub socket: u64,
    /// The other end, an IPv4 address as IPv6 maps it.
    pub address: [u8; 16],
    /// Its port.
    pub port: u32,
    /// The policy's revision: another one judges anew.
    pub revision: u32,
}

/// What the agent offers a process that asked to be governed; taken at its next `execve(2)`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Enrolment {
    /// Becomes [`Task::tree`].
    pub tree: u64,
    /// Becomes [`Task::subject`].
    pub subject: u32,
    /// Becomes [`Task::launcher`].
    pub launcher: u32,
    /// 0 as offered, 1 once taken.
    pub taken: u32,
    /// Always zero.
    pub reserved: u32,
}

/// What the agent sets for all programs; one record.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Switches {
    /// Inode number of the control socket's file; 0 while there is none.
    pub control_inode: u64,
    /// Inode number of the tree socket's file, on the same file system; 0 while there is none.
    pub tree_inode: u64,
    /// What makes of `CLOCK_BOOTTIME`, in nanoseconds, the time since some Monday 00:00 in the host's time zone.
    pub monday: u64,
    /// Labels that only the process carries that has read, and what it forks from then on: a mask. The whole tree carries
    /// the others.
    pub lineage: u64,
    /// `s_dev` of the control socket's file.
    pub control_device: u32,
    /// The policy revision in force; tables of other revisions are not looked at. 0: no policy yet.
    pub revision: u32,
    /// 1 while the agent detaches: new holds are refused.
    pub closing: u32,
    /// One of [`enrols`]: whether every exec of an ungoverned process is looked at, and how closely.
    pub enrols: u32,
    /// Process id of the agent, which no policy lets a governed process touch; 0 while there is none.
    pub agent: u32,
    /// 1 while the agent looks for subjects among what runs already: whoever forks or executes is looked at first.
    pub searching: u32,
}

/// What makes subjects of ungoverned processes that execute something: [`Switches::enrols`].
pub mod enrols {
    /// Nothing does.
    pub const NOBODY: u32 = 0;
    /// What is executed, the control group, the user.
    pub const BY_PROGRAM: u32 = 1;
    /// Also which program executes it.
    pub const BY_CALLER: u32 = 2;
}
