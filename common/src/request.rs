//! One operation that a governed process tries, as the kernel reads it.

/// What kind of operation is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Operation {
    /// `execve(2)`, `execveat(2)`.
    Exec = 1,
    /// `open(2)` and its kin, creation of a file, `truncate(2)`.
    Open = 2,
    /// `connect(2)`, and sending to an address without it.
    Connect = 3,
    /// Another operation on a file, or on its name, than opening it: an [`Action`].
    File = 4,
    /// An operation on the host: a [`crate::system::System`].
    System = 5,
}

impl TryFrom<u32> for Operation {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        match raw {
            1 => Ok(Self::Exec),
            2 => Ok(Self::Open),
            3 => Ok(Self::Connect),
            4 => Ok(Self::File),
            5 => Ok(Self::System),
            other => Err(other),
        }
    }
}

/// What is done with a file by another call than opening it. What changes or gives away the file takes all of its access
/// along, so that every rule on the path applies; what makes or removes a name is [`Class::REPLACING`] what has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Action {
    /// Another name for it.
    Link = 0,
    /// Another name in place of the old one.
    Rename = 1,
    /// A name less.
    Unlink = 2,
    /// A directory less.
    Rmdir = 3,
    /// A new directory.
    Mkdir = 4,
    /// A new symbolic link.
    Symlink = 5,
    /// Other permissions.
    Chmod = 6,
    /// Another owner.
    Chown = 7,
    /// An extended attribute set or removed.
    Xattr = 8,
    /// Connecting to the socket that is bound there, or sending to it.
    Connect = 9,
    /// Receiving a descriptor of it from another process, or keeping one from before.
    Receive = 10,
    /// Mapping it executable.
    Map = 11,
    /// Other times of access and modification.
    Times = 12,
    /// Writing anywhere in it, by a descriptor that was opened to append.
    Overwrite = 13,
}

impl Action {
    /// All actions, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Link,
        Self::Rename,
        Self::Unlink,
        Self::Rmdir,
        Self::Mkdir,
        Self::Symlink,
        Self::Chmod,
        Self::Chown,
        Self::Xattr,
        Self::Connect,
        Self::Receive,
        Self::Map,
        Self::Times,
        Self::Overwrite,
    ];

    /// The word for it in messages and records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Rename => "rename",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Mkdir => "mkdir",
            Self::Symlink => "symlink",
            Self::Chmod => "chmod",
            Self::Chown => "chown",
            Self::Xattr => "xattr",
            Self::Connect => "connect",
            Self::Receive => "receive",
            Self::Map => "map",
            Self::Times => "times",
            Self::Overwrite => "overwrite",
        }
    }
}

impl TryFrom<u32> for Action {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        Self::ALL.get(raw as usize).copied().ok_or(raw)
    }
}

/// One way of touching a path. A set of them is a mask, bit `1 << class`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Class {
    /// Opened for reading.
    Read = 0,
    /// Opened for writing anywhere. What asks for it asks for [`Class::Append`] too.
    Write = 1,
    /// Brought into being.
    Create = 2,
    /// Emptied or shortened. What asks for it asks for [`Class::Write`] too.
    Truncate = 3,
    /// Opened for writing, at its end or elsewhere.
    Append = 4,
    /// Given to `execve(2)`; for the pseudo subject [`crate::tables::ENROLMENT`]: starts a governed tree.
    Exec = 5,
}

/// Number of [`Class`]es.
pub const CLASSES: usize = 6;

impl Class {
    /// All classes, in the order of their bits.
    pub const ALL: [Self; CLASSES] = [Self::Read, Self::Write, Self::Create, Self::Truncate, Self::Append, Self::Exec];

    /// The mask of every way of opening.
    pub const OPENING: u32 = 0x1f;
    /// The mask of what writing anywhere asks for.
    pub const WRITING: u32 = Self::Write.bit() | Self::Append.bit();
    /// The mask of what emptying and shortening ask for.
    pub const TRUNCATING: u32 = Self::Truncate.bit() | Self::WRITING;
    /// The mask of what connecting to a socket does: what is said there goes both ways.
    pub const TALKING: u32 = Self::Read.bit() | Self::WRITING;
    /// The mask of what putting another file in the place of one does to it, or removing it: all but reading.
    pub const REPLACING: u32 = Self::OPENING & !Self::Read.bit();

    /// The mask of what writing asks for that goes to the end alone (`O_APPEND`), or not.
    #[must_use]
    #[inline(always)]
    pub const fn writing(appends: bool) -> u32 {
        if appends { Self::Append.bit() } else { Self::WRITING }
    }

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
            Self::Append => "append",
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
    /// For creation, and for operations on names: inode number of the directory. For connect: address of the kernel's
    /// socket. For an operation on another process: its id.
    pub anchor: u64,
    /// Rename, link: inode number of what has the new name already; 0 if nothing has. truncate(2): the new length, as the
    /// registers have it. Exec: inode number of the working directory.
    pub target: u64,
    /// Rename, link: inode number of the new name's directory. Exec: `s_dev` of the working directory.
    pub target_anchor: u64,
    /// `s_dev` of the file system the object lives on.
    pub device: u32,
    /// Mask of [`Class`] bits.
    pub access: u32,
    /// `open(2)`: `f_flags`. Creation: file type and mode. IPv6 connect: scope id. Exec: `AT_EXECVE_CHECK` (6.14 and
    /// later) if that is all that is asked. Otherwise the [`Action`] or the [`crate::system::System`].
    pub flags: u32,
    /// Connect: `IPPROTO_*` of the socket. chmod: the mode. Creation, mkdir: the mode, with the file's type, that the umask
    /// leaves. Rename: `RENAME_*`.
    /// [`crate::system::System`]: what exactly, as the kernel numbers it.
    pub detail: u32,
    /// chown: the new owner, as the initial user namespace counts; `u32::MAX` if it stays. Of what is made: whose it will be.
    pub user: u32,
    /// chown: likewise, the new group.
    pub group: u32,
    /// Connect: destination address; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
    pub address: [u8; 16],
    /// Connect: destination port, host byte order.
    pub port: u32,
    /// Connect: `AF_INET` or `AF_INET6`, as the caller said it.
    pub family: u32,
}

/// What tells one state of a file's content from another, without reading it. All zero where a decision does not bind to
/// the content: see `facts::binds_content` on the kernel's side.
///
/// Time stamps are as fine as the kernel's tick (some milliseconds), so two changes within one look like one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Stamps {
    /// Size in bytes.
    pub size: u64,
    /// `i_version`, without its lowest bit (a mark of the kernel's own). The same for ever where the file system does not
    /// count.
    pub version: u64,
    /// Last change of the content (mtime): seconds since 1970.
    pub modified: i64,
    /// Last change of anything (ctime), which nobody can set: seconds since 1970.
    pub changed: i64,
    /// Nanoseconds of `modified`.
    pub modified_fraction: u32,
    /// Nanoseconds of `changed`.
    pub changed_fraction: u32,
}

/// One guarded action, as a hook has read it from its arguments. Scratch of the thread that asks, in its own
/// [`crate::task::Task`]: what is read from there has any value to the verifier, so that the ways by which it came about
/// are one way from then on; and the stack is too small.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Request {
    /// What a decision binds to.
    pub binding: Binding,
    /// Address of the directory entry, 0 if there is none.
    pub dentry: u64,
    /// Address of the existing inode, 0 if there is none.
    pub inode: u64,
    /// Address of the `linux_binprm` of an exec, 0 for all else.
    pub bprm: u64,
    /// The [`crate::system::System`] that the request counts as where no rule accepts it, else
    /// [`crate::system::NO_SYSTEM`].
    pub system: u32,
    /// 1 if this very call has created the file that it now opens.
    pub created: u32,
    /// 1 if rules that accept every path do not mean this: each library that a program maps, or what it was started with.
    pub implied: u32,
    /// 1 if it belongs to a call that was approved: then what cannot be held passes where it would be.
    pub covered: u32,
    /// 1 if a denial is not told: the kernel only asks what would be allowed.
    pub quiet: u32,
    /// The [`crate::pending::hook`] that asks, where it is one of several.
    pub at: u32,
    /// `i_mode` of the file that this is to make; 0 if it makes none.
    pub makes: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Bytes kept of a path.
pub const PATH_BYTES: usize = 2048;

/// Longest file name (`NAME_MAX`) with its NUL.
pub const NAME_BYTES: usize = 256;

/// A path as the kernel has walked it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Path {
    /// Bytes in use; 0 for none.
    pub length: u32,
    /// 1 if the path was deeper or longer than could be kept: its beginning is missing.
    pub cut: u32,
    /// Names from the leaf to the root of the file system, each NUL-terminated.
    pub bytes: [u8; PATH_BYTES],
}

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
    /// What the rule says: [`crate::tables::Consequence::meaning`]. Other than `rule` and `revision`, the same after a
    /// restart, and in another policy with that rule.
    pub meaning: u64,
    /// What the decision binds to.
    pub binding: Binding,
    /// Likewise, of the file's content.
    pub content: Stamps,
    /// Likewise, of what changes places with it.
    pub target_content: Stamps,
    /// Process id, as the initial PID namespace counts.
    pub tgid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// Real user id, as the initial user namespace counts.
    pub uid: u32,
    /// Real group id, likewise.
    pub gid: u32,
    /// User id as which the process has logged in, [`crate::matcher::NO_LOGIN`] if nobody has.
    pub login: u32,
    /// Number of the session in which it has; likewise.
    pub session: u32,
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
    /// Where.
    pub path: Path,
    /// Rename, link: the new name. Symbolic link: what it says, as text.
    pub target: Path,
}
