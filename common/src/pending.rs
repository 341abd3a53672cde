//! A hold as the kernel keeps it. The map of these is the truth; the ring buffer is only its bell.

use crate::request::Facts;

/// Bytes kept of the file name given to `execve(2)`: `PATH_MAX`.
pub const FILENAME_BYTES: usize = 4096;

/// Bytes kept of the arguments given to `execve(2)`, NULs included: three pages, of which two are always
/// usable, wherever in its page the first string begins. An exec with more than fits is refused where it
/// would be held: nobody can approve what cannot be shown whole.
pub const ARGUMENT_BYTES: usize = 3 * 4096;

/// What `execve(2)` was given, from the kernel's own copy.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Strings {
    /// Number of arguments.
    pub argc: u32,
    /// Bytes of `arguments` in use. In a report not all strings need end in them.
    pub length: u32,
    /// Bytes of `filename` in use, its NUL included; in a report, more than there are if it could not be read.
    pub filename_length: u32,
    /// Always zero.
    pub reserved: u32,
    /// `bprm->filename`, NUL-terminated.
    pub filename: [u8; FILENAME_BYTES],
    /// `argc` strings, each NUL-terminated.
    pub arguments: [u8; ARGUMENT_BYTES],
}

/// Hooks that one system call passes, as bits of [`Pending::passed`].
pub mod hook {
    /// `bprm_creds_for_exec`.
    pub const EXEC: u32 = 1;
    /// `path_mknod`: a file is about to be created.
    pub const CREATE: u32 = 2;
    /// `file_open`.
    pub const OPEN: u32 = 4;
    /// `path_truncate`.
    pub const TRUNCATE: u32 = 8;
    /// `socket_connect`.
    pub const CONNECT: u32 = 16;
    /// `file_open` once more, within a call that has passed one of the others: a file system (overlayfs) opens what
    /// is behind the file, or copies it.
    pub const BACKING: u32 = 32;
    /// `socket_sendmsg` to an address.
    pub const SEND: u32 = 64;
    /// `unix_stream_connect`.
    pub const DEPUTY: u32 = 128;
    /// Every hook where nothing is held: see `gate::at_once`.
    pub const AT_ONCE: u32 = 256;
    /// The hooks on names and what is kept beside them, `path_rename` and its kin: a call meets one of them.
    pub const NAME: u32 = 512;
}

/// Key of a request that a reviewer refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Refused {
    /// The governed tree.
    pub tree: u64,
    /// Of all that was asked for but content and descriptor: the rule as it stands, operation, names, arguments, address.
    /// Two requests of one tree that had the same by chance would be refused together; nothing passes by it.
    pub fingerprint: u64,
}

/// Most holds at once. Each has its room from the beginning, some 38 KB, so that none is refused for want of memory.
pub const PENDING_HOLDS: u32 = 1152;

/// One pending or granted hold. Only the held thread writes it; user space reads it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Pending {
    /// Identity of the hold: random, never zero, the key of this record.
    pub id: u64,
    /// After this moment nothing but a denial counts, nanoseconds of `CLOCK_BOOTTIME`.
    pub deadline: u64,
    /// What makes another request the same, as far as asking again goes: [`Refused::fingerprint`].
    pub fingerprint: u64,
    /// Labels that were carried when it was asked: what is read while it waits, the approval does not cover.
    pub carried: u64,
    /// 1 once every other field is in place: read nothing before.
    pub ready: u32,
    /// How often the call has been stopped here: 1 after the first time.
    pub entries: u32,
    /// The [`hook`] at which the hold was made.
    pub hook: u32,
    /// [`hook`]s that the granted call has passed since it last began.
    pub passed: u32,
    /// 1 if the kernel interrupted the call and will execute it again by itself.
    pub interrupted: u32,
    /// Signal handlers that began on top of the held call.
    pub handlers: u32,
    /// 1 if the call was traced when it passed: a tracer can have any call executed again.
    pub traced: u32,
    /// Always zero.
    pub reserved: u32,
    /// Who asks and for what.
    pub facts: Facts,
    /// Exec only: what was given.
    pub strings: Strings,
    /// Scratch of the held thread: what the re-executed call gives, compared with `strings` and `facts`.
    pub again: Strings,
}
