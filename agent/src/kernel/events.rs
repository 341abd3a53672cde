//! From the kernel's bytes to what the agent works with. Integers are checked before they become anything else.

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv6Addr},
    os::unix::ffi::OsStrExt,
};

use holdpoint_common::{
    event::{Bell, ExecReport, Kind, Reason},
    matcher::NO_LOGIN,
    pending::{Pending, Strings, hook},
    request::{Action, Class, Facts, Operation as Kernel, Path, Stamps},
    system::System,
    tables::CANARIES,
};
use jiff::{SignedDuration, Timestamp};
use nix::sys::stat::SFlag;

use crate::{
    policy::{Mounts, Policy, access_words},
    request::{Content, Login, Object, Operation, Request},
    user,
};

/// `RENAME_EXCHANGE`, `include/uapi/linux/fs.h`.
const RENAME_EXCHANGE: u32 = 2;

/// What the kernel says, checked.
#[derive(Debug)]
pub enum Event {
    /// Something happened to a hold or a tree.
    Bell {
        /// What.
        kind: Kind,
        /// The hold; for [`Kind::Enrolled`] the tree.
        id: u64,
        /// The process.
        pid: u32,
    },
    /// A request is over.
    Report {
        /// How.
        kind: Kind,
        /// Why it was not held, for [`Kind::NotHeld`].
        reason: Option<Reason>,
        /// Labels of the data that it reads, new to who reads: a mask.
        labels: u64,
        /// Who and what.
        facts: Box<Facts>,
        /// What an exec was given, if there was room for it.
        strings: Option<Box<Strings>>,
    },
}

/// One entry of the ring buffer; `None` if it makes no sense.
pub(super) fn parse(bytes: &[u8]) -> Option<Event> {
    if bytes.len() == size_of::<Bell>() {
        let bell: Bell = copy(bytes)?;
        return Some(Event::Bell { kind: Kind::try_from(bell.kind).ok()?, id: bell.id, pid: bell.tgid });
    }
    let with_strings: Option<ExecReport> = copy(bytes);
    let report = with_strings.map_or_else(|| copy(bytes), |exec| Some(exec.report))?;
    Some(Event::Report {
        kind: Kind::try_from(report.kind).ok()?,
        reason: Reason::try_from(report.reason).ok(),
        labels: report.labels,
        facts: Box::new(report.facts),
        strings: with_strings.map(|exec| Box::new(exec.strings)),
    })
}

/// A record of the contract out of the bytes that the kernel wrote.
#[expect(unsafe_code, reason = "bytes of the ring buffer become a record")]
fn copy<T: aya::Pod>(bytes: &[u8]) -> Option<T> {
    // SAFETY: `Pod` promises that every byte pattern is a valid T, and the length is checked; the source need
    // not be aligned.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Turns facts into requests: what numbers mean under a policy, on this host, at its clock.
pub struct Reader<'a> {
    /// The policy in whose revision subject and rule count.
    pub policy: &'a Policy,
    /// For showing where a file system is mounted.
    pub mounts: &'a Mounts,
    /// The moment at which `CLOCK_BOOTTIME` was zero.
    pub boot: Timestamp,
}

impl Reader<'_> {
    /// The moment of `nanoseconds` on `CLOCK_BOOTTIME`.
    pub fn moment(&self, nanoseconds: u64) -> Timestamp {
        let since = SignedDuration::from_nanos(i64::try_from(nanoseconds).unwrap_or(i64::MAX));
        self.boot.saturating_add(since).unwrap_or(Timestamp::MAX)
    }

    /// The request of a hold; none if it cannot be shown whole.
    pub fn held(&self, pending: &Pending) -> Option<Request> {
        let given = Given::of(&pending.strings);
        let is_shown = !given.cut || pending.facts.operation != Kernel::Exec as u32;
        is_shown.then(|| self.request(&pending.facts, pending.hook == hook::CREATE, &given))?
    }

    /// The request of a report, with what an exec was given as far as that is known.
    pub fn reported(&self, facts: &Facts, strings: Option<&Strings>) -> Option<Request> {
        let created = facts.binding.access & Class::Create.bit() != 0;
        self.request(facts, created, &strings.map_or_else(Given::nothing, Given::of))
    }

    fn request(&self, facts: &Facts, created: bool, given: &Given) -> Option<Request> {
        let what = match Kernel::try_from(facts.operation).ok()? {
            Kernel::Exec => Operation::Exec {
                path: self.path(facts),
                check: facts.binding.flags != 0,
                filename: given.filename.clone(),
                argv: given.argv.clone(),
                cut: given.cut,
                masked: 0,
                object: object(facts),
                directory: Object {
                    device: u32::try_from(facts.binding.target_anchor).ok()?,
                    inode: facts.binding.target,
                },
                content: content(&facts.content),
            },
            Kernel::Open => Operation::Open {
                path: self.path(facts),
                access: access_words(facts.binding.access),
                flags: facts.binding.flags,
                object: object(facts),
                content: content(&facts.content),
                length: resizes(facts).then_some(facts.binding.target),
                owner: (facts.mode != 0).then(|| user::name(facts.owner)),
                mode: (facts.mode != 0).then_some(facts.mode & 0o7777),
                size: (!created).then_some(facts.size),
            },
            Kernel::Connect => Operation::Connect {
                address: address(facts.binding.address),
                port: u16::try_from(facts.binding.port).ok()?,
                protocol: protocol(facts.binding.detail),
                names: Vec::new(),
            },
            Kernel::File => self.file(facts)?,
            Kernel::System => Operation::System {
                system: System::try_from(facts.binding.flags).ok()?.word(),
                detail: facts.binding.detail,
                process: u32::try_from(facts.binding.anchor).ok().filter(|pid| *pid != 0),
            },
        };
        let rule = self.policy.rule(facts.rule);
        Some(Request {
            tree: format!("{:016x}", facts.tree),
            subject: self.subject(facts.subject),
            rule: rule.map(|rule| rule.name.clone()),
            why: rule.and_then(|rule| rule.why.clone()),
            policy: self.policy.revision().to_owned(),
            what,
            pid: facts.tgid,
            tid: facts.tid,
            started: facts.started,
            uid: facts.uid,
            gid: facts.gid,
            login: login(facts),
            launcher: facts.launcher,
            at: self.moment(facts.at),
        })
    }

    /// The name behind the kernel's number of a subject.
    pub fn subject(&self, number: u32) -> String {
        match self.policy.subject(number) {
            Some(subject) => subject.name.clone(),
            None if CANARIES.contains(&number) => "(canary)".to_owned(),
            None => format!("(unknown subject {number})"),
        }
    }

    fn file(&self, facts: &Facts) -> Option<Operation> {
        let action = Action::try_from(facts.binding.flags).ok()?;
        let binding = &facts.binding;
        let chown = |id: u32, name: fn(u32) -> String| (action == Action::Chown && id != u32::MAX).then(|| name(id));
        Some(Operation::File {
            action: action.word(),
            // The root of a file system has no names; a socket without a path has no inode either.
            path: (is_known(&facts.path) || binding.inode != 0).then(|| self.path(facts)),
            target: match action {
                Action::Symlink => Some(text(used(&facts.target).strip_suffix(b"\0").unwrap_or_default())),
                _ => is_known(&facts.target).then(|| self.walked(binding.device, &facts.target)),
            },
            exchange: action == Action::Rename && binding.detail & RENAME_EXCHANGE != 0,
            replaces: binding.target != 0,
            mode: matches!(action, Action::Chmod | Action::Mkdir).then_some(binding.detail & 0o7777),
            owner: chown(binding.user, user::name),
            group: chown(binding.group, user::group_name),
            object: object(facts),
            kind: (binding.inode != 0).then(|| kind(facts.mode)),
            content: content(&facts.content),
            target_content: content(&facts.target_content),
        })
    }

    fn path(&self, facts: &Facts) -> String {
        self.walked(facts.binding.device, &facts.path)
    }

    /// The path as this host shows it: where the file system is mounted, then the names that the kernel walked.
    fn walked(&self, device: u32, path: &Path) -> String {
        let names = names(used(path));
        if path.cut != 0 {
            return format!("…/{}", names.join(OsStr::new("/")).to_string_lossy());
        }
        self.mounts.shown(device, &names).to_string_lossy().into_owned()
    }
}

/// What an exec was given.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    filename: String,
    argv: Vec<String>,
    /// Whether that is not all of it.
    cut: bool,
}

impl Given {
    /// Lengths are the kernel side's, checked: what could not be read is not here.
    fn of(strings: &Strings) -> Self {
        let filename = strings.filename.get(..strings.filename_length as usize).unwrap_or_default();
        let arguments = strings.arguments.get(..strings.length as usize).unwrap_or_default();
        let ends = arguments.iter().filter(|byte| **byte == 0).count();
        Self {
            filename: text(filename.strip_suffix(b"\0").unwrap_or(filename)),
            argv: split(arguments),
            cut: !filename.ends_with(b"\0") || ends != strings.argc as usize,
        }
    }

    fn nothing() -> Self {
        Self { filename: String::new(), argv: Vec::new(), cut: true }
    }
}

fn used(path: &Path) -> &[u8] {
    path.bytes.get(..path.length as usize).unwrap_or_default()
}

/// Names, from the root down.
fn names(bytes: &[u8]) -> Vec<&OsStr> {
    let mut names: Vec<_> = split_bytes(bytes).map(OsStr::from_bytes).collect();
    names.reverse();
    names
}

fn object(facts: &Facts) -> Object {
    Object { device: facts.binding.device, inode: facts.binding.inode }
}

/// None where the kernel does not bind to it: no file has ever been changed at zero.
fn content(stamps: &Stamps) -> Option<Content> {
    (*stamps != Stamps::default()).then(|| stamps.into())
}

/// Whether it is `truncate(2)` and not an open that empties the file.
fn resizes(facts: &Facts) -> bool {
    facts.binding.access == Class::TRUNCATING && facts.binding.flags == 0
}

/// As whom, and where, who asks has logged in.
fn login(facts: &Facts) -> Option<Login> {
    let Facts { login: uid, session, .. } = *facts;
    (uid != NO_LOGIN).then(|| Login { uid, user: user::known(uid), session })
}

/// The type in a file's mode.
fn kind(mode: u32) -> &'static str {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFLNK => "symbolic link",
        SFlag::S_IFSOCK => "socket",
        SFlag::S_IFIFO => "fifo",
        SFlag::S_IFBLK | SFlag::S_IFCHR => "device",
        _ => "file",
    }
}

fn is_known(path: &Path) -> bool {
    path.length > 0 || path.cut > 0
}

/// IPv4-mapped addresses as IPv4.
fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

/// `IPPROTO_*` by its usual name.
fn protocol(number: u32) -> String {
    match number {
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        132 => "sctp".to_owned(),
        262 => "mptcp".to_owned(),
        other => other.to_string(),
    }
}

/// NUL-terminated strings.
fn split(bytes: &[u8]) -> Vec<String> {
    split_bytes(bytes).map(text).collect()
}

fn split_bytes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == 0).map(|string| string.strip_suffix(b"\0").unwrap_or(string))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use holdpoint_common::pending::{ARGUMENT_BYTES, FILENAME_BYTES};

    use super::*;

    #[test]
    fn empty_arguments_are_kept() {
        assert_eq!(split(b"sh\0\0-c\0"), ["sh", "", "-c"]);
    }

    #[test]
    fn what_an_exec_was_given_is_whole_only_if_all_of_it_is_there() {
        let mut strings = Strings {
            argc: 2,
            length: 6,
            filename_length: 3,
            reserved: 0,
            filename: [0; FILENAME_BYTES],
            arguments: [0; ARGUMENT_BYTES],
        };
        strings.filename[..2].copy_from_slice(b"ls");
        strings.arguments[..5].copy_from_slice(b"ls\0-l");
        let whole = Given { filename: "ls".into(), argv: vec!["ls".into(), "-l".into()], cut: false };
        assert_eq!(Given::of(&strings), whole);
        assert_eq!(Given::of(&Strings { argc: 3, ..strings }), Given { cut: true, ..whole }, "more were given");
        let cut = Given::of(&Strings { length: 5, ..strings });
        assert!(cut.cut && cut.argv == ["ls", "-l"], "the last one goes on: {cut:?}");
        let unreadable = Given::of(&Strings { length: 0, filename_length: u32::MAX, ..strings });
        assert_eq!(unreadable, Given::nothing());
    }

    #[test]
    fn an_ipv4_destination_is_shown_as_one() {
        let mapped = "::ffff:192.0.2.1".parse::<Ipv6Addr>().unwrap();
        assert_eq!(address(mapped.octets()).to_string(), "192.0.2.1");
    }

    #[test]
    fn bytes_of_another_length_are_no_event() {
        assert!(parse(&[0; 7]).is_none());
    }
}
