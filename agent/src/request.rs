//! The plain data that flows through the agent: what was asked, and, in [`answer`], what came back and what was decided; in
//! [`same`], what stands in one question.
//! No I/O, no clock.

mod answer;
mod same;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use holdpoint_common::{
    decision::{DIGEST_BYTES, Decision},
    request::Stamps,
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub use self::{
    answer::{
        Account, Answer, Caller, End, Entrance, Known, Outcome, Proof, Refusal, Standing, Withdrawal, Word,
        decision_word, word,
    },
    same::Same,
};
use crate::{
    claims::Claim,
    class::Class,
    ladder::{self, Step},
    quorum::{self, Assurance, Group, SelfAnswer},
    record::Before,
    scope::Scope,
};

/// Identity of a hold, given by the kernel: 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId(pub u64);

impl fmt::Display for HoldId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for HoldId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        match u64::from_str_radix(text, 16) {
            Ok(id) if digits => Ok(Self(id)),
            _ => Err(format!("\"{text}\" is not a hold id (16 hexadecimal digits)")),
        }
    }
}

impl Serialize for HoldId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HoldId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// One process, as it was when it asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// The image that it runs, empty if it could not be read.
    pub exe: String,
    /// Its arguments, as it shows them (a claim: it can rewrite them).
    pub argv: Vec<String>,
    /// User name, or the number where there is no name.
    pub user: String,
}

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

/// Serde asks by reference.
pub fn is_false(flag: &bool) -> bool {
    !flag
}

/// Likewise.
pub fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One argument or path, so that it can be told from two.
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\' | '[' | ']');
    match !argument.is_empty() && argument.chars().all(plain) {
        true => shown(argument),
        false => format!("\"{}\"", shown(&argument.replace('\\', "\\\\").replace('"', "\\\""))),
    }
}

/// Text from the subject with everything that could forge a line or hide in it made visible.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Control characters, those that reorder or hide text (Unicode Cf), and those that are not seen
/// (`Default_Ignorable_Code_Point`, blank letters).
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
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

/// What a process asks, who it is and which rule it met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// The governed tree, 16 hexadecimal digits.
    pub tree: String,
    /// Name of the subject.
    pub subject: String,
    /// Name of the rule, none if no rule matched.
    pub rule: Option<String>,
    /// The rule's reason, in the words of the policy.
    pub why: Option<String>,
    /// Revision of the policy, as its digest's first 16 digits.
    pub policy: String,
    /// What is asked for.
    #[serde(flatten)]
    pub what: Operation,
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Thread id, likewise.
    pub tid: u32,
    /// Start of the process, nanoseconds of `CLOCK_BOOTTIME`.
    pub started: u64,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Group id, likewise.
    pub gid: u32,
    /// Who has logged in, whoever they have become since: may not approve, unless the rule allows that. Nobody of whom the
    /// kernel's audit knows, for services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// User id that launched the tree: likewise.
    pub launcher: u32,
    /// When it was asked.
    pub at: Timestamp,
}

/// A login, as `pam_loginuid` tells the kernel: it passes to all that is started from there, and stays through `su` and `sudo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// User id as which somebody has logged in.
    pub uid: u32,
    /// User name, where there is one.
    pub user: Option<String>,
    /// Number of the session, unique since boot.
    pub session: u32,
}

/// Labelled data that was read: from then on the tree carries the label, or the process and what it forks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// The governed tree, 16 hexadecimal digits.
    pub tree: String,
    /// The label's name.
    pub label: String,
    /// Whether only the process carries it, and what it forks.
    pub lineage: bool,
    /// The file, resolved.
    pub path: String,
    /// Who has read it.
    pub pid: u32,
    /// Start of that process, nanoseconds of `CLOCK_BOOTTIME`.
    pub started: u64,
    /// The image that it ran, if that could still be read.
    pub exe: Option<String>,
    /// When.
    pub at: Timestamp,
}

impl Reading {
    /// For people: `customer-data: /srv/exports/a (process 7, /usr/bin/cat)`.
    fn sentence(&self) -> String {
        let exe = self.exe.as_ref().map_or_else(String::new, |exe| format!(", {}", quoted(exe)));
        format!("{}: {} (process {}{exe})", self.label, quoted(&self.path), self.pid)
    }
}

/// Context that the agent gathers from `/proc` while the process is held. Shown, never bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Context {
    /// Working directory.
    pub cwd: String,
    /// Unit of systemd, by the control group: `agent.service`; with that of the user's own systemd after it, where that has
    /// started it.
    pub unit: Option<String>,
    /// The process, its parent, and so on up to pid 1.
    pub ancestry: Vec<Process>,
}

/// SHA-256 over the canonical description of a held operation, in hexadecimal: what a reviewer approves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(pub String);

impl Digest {
    /// The digest of `id` asking for `request`: the JSON of both, keys sorted.
    ///
    /// `at` is left out: every start of the agent converts it anew from the kernel's clock, and a hold keeps
    /// its digest over a restart. So are `names`, which are forgotten. `id` is random and used once, so no two holds share a digest.
    pub fn of(id: HoldId, request: &Request) -> Self {
        Self(hashed((id, without(request, &["at", "names"]))))
    }

    /// As the kernel keeps it with the decision.
    pub fn bytes(&self) -> [u8; DIGEST_BYTES] {
        let byte = |at: usize| self.0.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        std::array::from_fn(|at| byte(at).unwrap_or_default())
    }
}

/// What `data` is as JSON, without these fields.
pub fn without(data: &impl Serialize, fields: &[&str]) -> Value {
    let mut value = serde_json::to_value(data).expect("plain data always serialises");
    if let Some(object) = value.as_object_mut() {
        fields.iter().for_each(|field| drop(object.remove(*field)));
    }
    value
}

/// SHA-256 over the JSON of plain data, keys sorted, in hexadecimal.
pub fn hashed(data: impl Serialize) -> String {
    let mut value = serde_json::to_value(data).expect("plain data always serialises");
    value.sort_all_objects();
    hexadecimal(&Sha256::digest(value.to_string()))
}

/// A span of time for people. What is negative is over.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..=0 => "0 s".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Likewise.
pub fn span_of(duration: Duration) -> String {
    span(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// Seconds of a span of time as people write it: `90s`, `5m`, `1h`. As good as infinite where the number is too large.
pub fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(number.parse().unwrap_or(u64::MAX).saturating_mul(factor))
}

/// Lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request parked by a `hold` verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hold {
    /// Its identity.
    pub id: HoldId,
    /// What a reviewer approves: [`Self::alone`], or [`Digest::of_all`] where the question lists others.
    pub digest: Digest,
    /// After this moment an approval counts for nothing.
    pub deadline: Timestamp,
    /// Groups of reviewers who are asked at once, as the rule names them: only answers of members of groups that are asked
    /// count.
    pub reviewers: Vec<Group>,
    /// Who is asked after a while.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub escalation: Vec<Step>,
    /// How often those who are asked are reminded, if at all.
    #[serde(skip)]
    pub remind: Option<Duration>,
    /// How sure it has to be who approves.
    pub assurance: Assurance,
    /// Whether the requester may answer.
    #[serde(rename = "self", skip_serializing_if = "SelfAnswer::is_refused")]
    pub own: SelfAnswer,
    /// What an approval may be for besides the one call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<Scope>,
    /// Who has approved so far, where several must.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approved: Vec<String>,
    /// What a denial does: [`Decision::Fail`] or [`Decision::Kill`].
    #[serde(skip)]
    pub on_deny: Decision,
    /// What silence does, likewise.
    #[serde(skip)]
    pub on_timeout: Decision,
    /// How long the same request of the tree is refused without a question after a reviewer's no.
    #[serde(skip)]
    pub pause: Duration,
    /// User name of `request.uid`, where there is one: may not answer unless `own` allows it.
    pub user: Option<String>,
    /// User name of `request.launcher`, where there is one: likewise.
    pub launcher_name: Option<String>,
    /// What other requests are the same, told before its secrets were masked: see [`Hold::class`].
    #[serde(skip)]
    pub class: Option<Class>,
    /// What is asked, its secrets masked.
    #[serde(flatten)]
    pub request: Request,
    /// Others that ask for the same, and are approved with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub same: Vec<Same>,
    /// [`Self::alone`], once the question has listed others.
    #[serde(skip)]
    pub alone: Option<Digest>,
    /// The hold that reviewers are asked about instead, since it asks for the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<HoldId>,
    /// The labels of which the rule asks whether they were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub if_read: Vec<String>,
    /// What labelled data was read before, whatever the rule asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Reading>,
    /// What reviewers have decided of the same operation before. Not part of the digest.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
    /// What was claimed of the tree when it was asked. Not verified, and not part of the digest: it is not what is compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Seen beside it.
    pub context: Context,
}

impl Hold {
    /// The digest of this hold and no other, whatever the question lists: what the kernel keeps with the decision, and the record.
    pub fn alone(&self) -> Digest {
        self.alone.as_ref().unwrap_or(&self.digest).clone()
    }

    /// Names of the requester, where it has any: who runs the process, who launched the tree, who had logged in for that.
    pub fn requesters(&self) -> impl Iterator<Item = &String> {
        let login = self.request.login.as_ref().and_then(|login| login.user.as_ref());
        self.user.iter().chain(&self.launcher_name).chain(login)
    }

    /// The groups that are asked by now: [`ladder::asked`].
    pub fn asked(&self) -> impl Iterator<Item = &[Group]> {
        ladder::asked(&self.reviewers, &self.escalation)
    }

    /// Whether somebody of that name is asked by now.
    pub fn asks(&self, who: &str) -> bool {
        self.asked().any(|groups| quorum::asks(groups, who))
    }

    /// Who is asked by now, in words: [`ladder::brief`].
    pub fn asked_briefly(&self) -> String {
        ladder::brief(&self.reviewers, &self.escalation)
    }

    /// One line for people: [`Operation::sentence`], and what was read before, where that is what the rule asks for.
    pub fn sentence(&self) -> String {
        let asked = self.read.iter().filter(|reading| self.if_read.contains(&reading.label));
        let read: Vec<_> = asked.map(Reading::sentence).collect();
        let after = if read.is_empty() { "" } else { ", after reading " };
        format!("{}{after}{}", self.request.what.sentence(), read.join("; "))
    }
}

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests {
    use super::*;

    const ID: HoldId = HoldId(7);

    #[test]
    fn an_id_is_sixteen_digits_both_ways() {
        assert_eq!("0000000000000007".parse(), Ok(ID));
        assert_eq!(ID.to_string(), "0000000000000007");
        for bad in ["7", "+000000000000007", "000000000000000g", "00000000000000007"] {
            assert!(bad.parse::<HoldId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_digest_is_the_same_after_a_restart_and_of_nothing_else() {
        let request = sample::hold(ID).request;
        let restarted = Request { at: request.at + jiff::SignedDuration::from_nanos(1), ..request.clone() };
        assert_eq!(Digest::of(ID, &request), Digest::of(ID, &restarted));
        assert_ne!(Digest::of(ID, &request), Digest::of(HoldId(8), &request));
        assert_ne!(Digest::of(ID, &request), Digest::of(ID, &Request { uid: 0, ..request.clone() }));
    }

    #[test]
    fn the_digest_is_of_all_that_the_kernel_compares() {
        let stamps = Stamps { size: 1, version: 2, modified: 3, changed: 4, modified_fraction: 5, changed_fraction: 6 };
        let digest = |stamps: Stamps, inode| {
            let what = Operation::Exec {
                path: "/x".into(),
                check: false,
                filename: "x".into(),
                argv: vec![],
                cut: false,
                masked: 0,
                object: Object { device: 1, inode },
                directory: Object { device: 1, inode: 3 },
                content: Some((&stamps).into()),
            };
            Digest::of(ID, &Request { what, ..sample::hold(ID).request })
        };
        let changed = [
            digest(Stamps { size: 0, ..stamps }, 1),
            digest(Stamps { version: 0, ..stamps }, 1),
            digest(Stamps { modified: 0, ..stamps }, 1),
            digest(Stamps { changed: 0, ..stamps }, 1),
            digest(Stamps { modified_fraction: 0, ..stamps }, 1),
            digest(Stamps { changed_fraction: 0, ..stamps }, 1),
            digest(Stamps { modified: i64::MAX, ..stamps }, 1),
            digest(stamps, 2),
        ];
        assert!(!changed.contains(&digest(stamps, 1)));
    }

    #[test]
    fn the_kernel_keeps_the_digest_byte_for_byte() {
        let digest = sample::hold(ID).digest;
        assert_eq!(hexadecimal(&digest.bytes()), digest.0);
    }

    #[test]
    fn spans_are_short() {
        let spans = [-3, 0, 59, 60, 3599, 7260].map(span);
        assert_eq!(spans, ["0 s", "0 s", "59 s", "1 min 0 s", "59 min 59 s", "2 h 1 min"]);
    }

    #[test]
    fn what_hides_or_reorders_text_is_shown() {
        assert_eq!(shown("a\n\u{202e}b"), "a\\u{a}\\u{202e}b");
        for ignored in "\u{180b}\u{180f}\u{1bca0}\u{1bca3}\u{fff0}\u{fff8}\u{e0000}\u{e0080}\u{e01f0}\u{e0fff}".chars()
        {
            assert_eq!(shown(&ignored.to_string()), ignored.escape_unicode().to_string());
        }
    }
}
