//! Kernel to agent, by the ring buffer. Losing one loses no hold: see [`crate::pending`].

use crate::{pending::Strings, request::Facts};

/// Bytes of the ring: some 200 of the largest records, [`ExecReport`], or 950 of the others.
pub const RING_BYTES: u32 = 1 << 22;

/// What the kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// A hold was made; it is in the pending map under `id`.
    Held = 1,
    /// The held call was let through for the first time after its approval.
    Passed = 2,
    /// The held call was refused as decided.
    Refused = 3,
    /// The thread made another call that needs a decision, or the granted call is over: `id` is void.
    Left = 4,
    /// A request that the policy allows and wants recorded.
    Audited = 5,
    /// A request that the policy denies: `EPERM`.
    Denied = 6,
    /// A request that the policy answers by killing the process.
    Killed = 7,
    /// A request that would have been held and was refused with `EPERM`: see [`Reason`] in `reason`.
    NotHeld = 8,
    /// A process became governed.
    Enrolled = 9,
    /// A governed process tried to reach the agent's control socket: `EPERM`.
    ControlRefused = 10,
    /// A process that ran already became governed.
    Found = 11,
    /// A request passes that reads labelled data.
    Labelled = 12,
    /// A request that a reviewer denied not long ago: `EPERM`, and nobody is asked.
    DeniedAgain = 13,
}

impl TryFrom<u32> for Kind {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        match raw {
            1 => Ok(Self::Held),
            2 => Ok(Self::Passed),
            3 => Ok(Self::Refused),
            4 => Ok(Self::Left),
            5 => Ok(Self::Audited),
            6 => Ok(Self::Denied),
            7 => Ok(Self::Killed),
            8 => Ok(Self::NotHeld),
            9 => Ok(Self::Enrolled),
            10 => Ok(Self::ControlRefused),
            11 => Ok(Self::Found),
            12 => Ok(Self::Labelled),
            13 => Ok(Self::DeniedAgain),
            other => Err(other),
        }
    }
}

/// Why a request that would have been held was refused instead. Also the index of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Reason {
    /// Not in a system call that the kernel can execute again: io_uring, kernel thread, pid 1, ...
    NoRestart = 0,
    /// The pending map is full.
    PendingFull = 1,
    /// The stop signal could not be sent.
    NoSignal = 2,
    /// Something that the reviewer must see could not be read whole.
    Unreadable = 3,
    /// The agent is detaching.
    Closing = 4,
    /// A fork was refused because the table of governed threads, or that of trees and processes, is full.
    TasksFull = 5,
    /// An event did not fit in the ring buffer.
    RingFull = 6,
    /// Another rule than the one approved holds what is behind the file, and one call waits for one decision.
    Nested = 7,
    /// A socket was refused because the table of the trees' own sockets is full.
    SocketsFull = 8,
    /// The operation cannot be held: it is allowed or refused at once.
    AtOnce = 9,
    /// The held call was made to run again too often.
    Restless = 10,
}

/// Number of [`Reason`]s, the length of the counter array.
pub const REASONS: u32 = 11;

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; REASONS as usize] = [
        Self::NoRestart,
        Self::PendingFull,
        Self::NoSignal,
        Self::Unreadable,
        Self::Closing,
        Self::TasksFull,
        Self::RingFull,
        Self::Nested,
        Self::SocketsFull,
        Self::AtOnce,
        Self::Restless,
    ];

    /// The reason's name in records and in `status`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoRestart => "no_restart",
            Self::PendingFull => "pending_full",
            Self::NoSignal => "no_signal",
            Self::Unreadable => "unreadable",
            Self::Closing => "closing",
            Self::TasksFull => "tasks_full",
            Self::RingFull => "ring_full",
            Self::Nested => "nested",
            Self::SocketsFull => "sockets_full",
            Self::AtOnce => "at_once",
            Self::Restless => "restless",
        }
    }
}

impl TryFrom<u32> for Reason {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        Self::ALL.get(raw as usize).copied().ok_or(raw)
    }
}

/// An entry of the ring buffer about a hold, a tree or the control socket.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Bell {
    /// A [`Kind`].
    pub kind: u32,
    /// Process id of the thread concerned, as the initial PID namespace counts.
    pub tgid: u32,
    /// The hold; for [`Kind::Enrolled`] and [`Kind::Found`] the tree.
    pub id: u64,
}

/// An entry of the ring buffer about a request that is over already. Longer than a [`Bell`]: that tells them apart.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Report {
    /// A [`Kind`].
    pub kind: u32,
    /// A [`Reason`] for [`Kind::NotHeld`], otherwise 0.
    pub reason: u32,
    /// Labels that the asking process, or its tree, carries from now on and did not before: a mask. For
    /// [`Kind::Labelled`], and for [`Kind::Audited`].
    pub labels: u64,
    /// Who and what.
    pub facts: Facts,
}

/// A [`Report`] about an exec, with what it was given. Told apart by its length, too. Where the ring has no room for it any
/// more, a [`Report`] says the rest.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ExecReport {
    /// How it ended, who and what.
    pub report: Report,
    /// As much of file name and arguments as could be read.
    pub strings: Strings,
}
