//! What can be asked for, and its objects.

use std::net::{IpAddr, SocketAddr};

use holdpoint_common::request::Stamps;
use jiff::Timestamp;
use serde::Serialize;

use super::{is_false, is_zero, quoted, shown};

/// What is asked for, with its objects. These are facts seen by the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "operation", rename_all = "lowercase")]
pub enum Operation {
    /// Replace the process image.
    Exec {
        /// The file, resolved: links followed, as the kernel walks it.
        path: String,
        /// Whether it is only asked if the file could be executed (`AT_EXECVE_CHECK`).
        check: bool,
        /// The name given to `execve(2)`.
        filename: String,
        /// The arguments given to `execve(2)`, from the kernel's own copy.
        argv: Vec<String>,
        /// Whether they, or the name, are not all here: they were longer than what is kept, or could not be read. Never so
        /// of a hold.
        #[serde(skip_serializing_if = "is_false")]
        cut: bool,
        /// How many pieces of them are masked: see [`crate::mask`].
        #[serde(skip_serializing_if = "is_zero")]
        masked: usize,
        /// Device and inode of the file.
        object: Object,
        /// Device and inode of the working directory.
        directory: Object,
        /// The state of its content; what is executed is what was shown.
        content: Option<Content>,
    },
    /// Open, create or truncate a file.
    Open {
        /// The file, resolved.
        path: String,
        /// `read`, `write`, `create`, `truncate`.
        access: Vec<&'static str>,
        /// `open(2)` flags; for creation the file mode.
        flags: u32,
        /// Device and inode; the inode is 0 where the file does not exist yet.
        object: Object,
        /// The state of its content, where the file is read or emptied.
        content: Option<Content>,
        /// `truncate(2)`: its size from now on, in bytes.
        length: Option<u64>,
        /// Owner's user name; of what is to be made, whose it will be.
        owner: Option<String>,
        /// Permission bits, likewise.
        mode: Option<u32>,
        /// Size in bytes, where the file exists.
        size: Option<u64>,
    },
    /// Connect a socket.
    Connect {
        /// Destination; IPv4-mapped addresses are shown as IPv4.
        address: IpAddr,
        /// Destination port.
        port: u16,
        /// `tcp`, `udp`, or the protocol's number.
        protocol: String,
        /// The names by which the tree had looked up the address, as the kernel had learned them. Shown, never bound to:
        /// they live shorter than many a hold.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
    },
    /// Do something else with a file or its name than opening it.
    File {
        /// [`holdpoint_common::request::Action::word`].
        action: &'static str,
        /// The file, resolved; none for a socket without a path.
        path: Option<String>,
        /// Rename, link: the new name, resolved. Symbolic link: what it says.
        target: Option<String>,
        /// Rename: what has the new name gets the old one.
        exchange: bool,
        /// Rename, link: something has the new name already.
        replaces: bool,
        /// chmod, mkdir: the permission bits.
        mode: Option<u32>,
        /// chown: the new owner, where it changes.
        owner: Option<String>,
        /// chown: the new group, where it changes.
        group: Option<String>,
        /// Device and inode; the inode is 0 where the file does not exist yet.
        object: Object,
        /// `file`, `directory`, `symbolic link`, ...; none where there is nothing yet.
        kind: Option<&'static str>,
        /// The state of its content, where it gets another name.
        content: Option<Content>,
        /// Likewise, of what changes places with it.
        target_content: Option<Content>,
    },
    /// Do something to the host that no file or address stands for.
    System {
        /// [`holdpoint_common::system::System::word`].
        system: &'static str,
        /// What exactly, as the kernel numbers it: the command of `bpf(2)`, a capability, a protocol; else 0.
        detail: u32,
        /// The other process that it is about.
        process: Option<u32>,
    },
}

impl Operation {
    /// The file that it is about.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Exec { path, .. } | Self::Open { path, .. } => Some(path),
            Self::File { path, .. } => path.as_deref(),
            Self::Connect { .. } | Self::System { .. } => None,
        }
    }

    /// One line for people: `open /etc/shadow (read)`. Control characters are shown escaped.
    pub fn sentence(&self) -> String {
        match self {
            Self::Exec { path, check, argv, cut, .. } => {
                let argv: Vec<_> = argv.iter().map(|word| quoted(word)).collect();
                let check = if *check { "check for " } else { "" };
                let cut = if *cut { " …" } else { "" };
                format!("{check}exec {} [{}{cut}]", quoted(path), argv.join(" "))
            }
            Self::Open { path, length: Some(length), .. } => format!("truncate {} to {length} bytes", quoted(path)),
            Self::Open { path, access, .. } => format!("open {} ({})", quoted(path), access.join(", ")),
            Self::Connect { address, port, protocol, names } => {
                let names: Vec<_> = names.iter().map(|name| format!(", looked up as {}", shown(name))).collect();
                format!("connect {} ({protocol}{})", SocketAddr::new(*address, *port), names.concat())
            }
            Self::File { action, path, target, exchange, replaces, mode, owner, group, kind, .. } => {
                let path = path.as_deref().map_or_else(|| "a socket without a path".to_owned(), quoted);
                let kind = kind.filter(|kind| *kind != "file").map_or_else(String::new, |kind| format!("{kind} "));
                let how = if *exchange { "in exchange for" } else { "to" };
                let target = target.as_deref().map(|target| format!(" {how} {}", quoted(target)));
                let details = [
                    (*replaces && !*exchange).then(|| "replacing what is there".to_owned()),
                    mode.map(|mode| format!("mode {mode:04o}")),
                    owner.as_ref().map(|owner| format!("owner {}", shown(owner))),
                    group.as_ref().map(|group| format!("group {}", shown(group))),
                ];
                let details: Vec<_> = details.into_iter().flatten().collect();
                let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
                format!("{action} {kind}{path}{}{details}", target.unwrap_or_default())
            }
            Self::System { system, detail, process } => {
                let process = process.map_or_else(String::new, |pid| format!(" of process {pid}"));
                format!("system operation {system}{process} ({detail})")
            }
        }
    }
}

/// Which file, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// `s_dev`.
    pub device: u32,
    /// Inode number.
    pub inode: u64,
}

/// What the kernel compares of a file's content: see [`holdpoint_common::request::Stamps`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Content {
    /// In bytes.
    pub size: u64,
    /// Last change of the content.
    pub modified: String,
    /// Last change of the content or of anything else.
    pub changed: String,
    /// Number of changes, where the file system counts them.
    pub version: u64,
}

impl From<&Stamps> for Content {
    fn from(stamps: &Stamps) -> Self {
        Self {
            size: stamps.size,
            modified: moment(stamps.modified, stamps.modified_fraction),
            changed: moment(stamps.changed, stamps.changed_fraction),
            version: stamps.version,
        }
    }
}

/// A file's time, whatever somebody has set it to.
fn moment(seconds: i64, nanoseconds: u32) -> String {
    let known = i32::try_from(nanoseconds).ok().and_then(|fraction| Timestamp::new(seconds, fraction).ok());
    known.map_or_else(|| format!("{seconds}.{nanoseconds:09}"), |moment| moment.to_string())
}
