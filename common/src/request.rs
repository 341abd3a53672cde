//! One operation that a governed process tries, as the kernel reads it.

/// What kind of operation is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Operation {
    /// `execve(2)`, `execveat(2)`.
    Exec = 1,
    /// `open(2)` and its kin, creation of a file, `truncate(2)`.
    Open = 2,
    /// `connect(2)`.
    Connect = 3,
}

impl TryFrom<u32> for Operation {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        match raw {
            1 => Ok(Self::Exec),
            2 => Ok(Self::Open),
            3 => Ok(Self::Connect),
            other => Err(other),
        }
    }
}

/// One way of touching a path. A set of them is a mask, bit `1 << class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Class {
    /// Opened for reading.
    Read = 0,
    /// Opened for writing.
    Write = 1,
    /// Brought into being.
    Create = 2,
    /// Emptied or shortened.
    Truncate = 3,
    /// Given to `execve(2)`; for the pseudo subject [`crate::tables::ENROLMENT`]: starts a governed tree.
    Exec = 4,
}

/// Number of [`Class`]es.
pub const CLASSES: usize = 5;

impl Class {
    /// All classes, in the order of their bits.
    pub const ALL: [Self; CLASSES] = [Self::Read, Self::Write, Self::Create, Self::Truncate, Self::Exec];

    /// The class's bit in an access mask.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }

    /// The word for this class in a policy (`access = ["read", ..]`), in messages and in records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Create => "create",
            Self::Truncate => "truncate",
            Self::Exec => "exec",
        }
    }
}

/// What a decision binds to: compared as a whole when the held call is executed again.
///
/// Unused fields are zero, so equality of all fields is equality of the operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Binding {
    /// Inode number of the object; 0 where it does not exist yet.
    pub inode: u64,
    /// For creation: inode number of the directory. For connect: address of the kernel's socket.
    pub anchor: u64,
    /// `s_dev` of the file system the object lives on.
    pub device: u32,
    /// Mask of [`Class`] bits.
    pub access: u32,
    /// `open(2)`: `f_flags`. Creation: file type and mode. IPv6 connect: scope id.
    pub flags: u32,
    /// Connect: `IPPROTO_*` of the socket.
    pub protocol: u32,
    /// Connect: destination address; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
    pub address: [u8; 16],
    /// Connect: destination port, host byte order.
    pub port: u32,
    /// Connect: `AF_INET` or `AF_INET6`, as the caller said it.
    pub family: u32,
}

/// Bytes kept of a path: components from the leaf to the root of its file system, each NUL-terminated.
pub const PATH_BYTES: usize = 2048;

/// Longest file name (`NAME_MAX`) with its NUL.
pub const NAME_BYTES: usize = 256;

/// Who asks and for what: the part that a hold and a report have in common.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Facts {
    /// The governed tree: random, the same for all descendants.
    pub tree: u64,
    /// Start of the process, nanoseconds of `CLOCK_BOOTTIME` (`start_boottime` of the group leader).
    pub started: u64,
    /// When the request was made, nanoseconds of `CLOCK_BOOTTIME`.
    pub at: u64,
    /// Size of an existing file in bytes.
    pub size: u64,
    /// What the decision binds to.
    pub binding: Binding,
    /// Process id, as the initial PID namespace counts.
    pub tgid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// Effective user id, as the initial user namespace counts.
    pub uid: u32,
    /// Effective group id, likewise.
    pub gid: u32,
    /// User id that launched the tree.
    pub launcher: u32,
    /// Index of the subject in the policy.
    pub subject: u32,
    /// Index of the rule that matched; [`crate::tables::NO_RULE`] if none did.
    pub rule: u32,
    /// Revision of the policy in which `subject` and `rule` count.
    pub revision: u32,
    /// An [`Operation`].
    pub operation: u32,
    /// System call number; bit 31 marks a 32-bit call (`TS_COMPAT`).
    pub syscall: u32,
    /// Owner of an existing file.
    pub owner: u32,
    /// `i_mode` of an existing file.
    pub mode: u32,
    /// Bytes used of `path`.
    pub path_length: u32,
    /// 1 if the path was deeper or longer than could be kept: its beginning is missing.
    pub path_cut: u32,
    /// See [`PATH_BYTES`].
    pub path: [u8; PATH_BYTES],
}
