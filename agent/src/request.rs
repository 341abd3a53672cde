//! The plain data that flows through the agent: what was asked, what came back, what was decided.
//! No I/O, no clock.

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
use sha2::{Digest as _, Sha256};

use crate::{
    claims::Claim,
    holds::Crowd,
    ladder::{self, Step},
    quorum::{self, Assurance, Group, SelfAnswer, Voice},
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
    /// Who has logged in, whoever they have become since: may not approve. Nobody of whom the kernel's audit knows, for
    /// services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
    /// User id that launched the tree: may not approve.
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
        let mut fields = serde_json::to_value(request).expect("plain data always serialises");
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("at");
            fields.remove("names");
        }
        fields.sort_all_objects();
        let canonical = serde_json::to_vec(&(id, fields)).expect("plain data always serialises");
        Self(hexadecimal(&Sha256::digest(canonical)))
    }

    /// As the kernel keeps it with the decision.
    pub fn bytes(&self) -> [u8; DIGEST_BYTES] {
        let byte = |at: usize| self.0.get(2 * at..2 * at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        std::array::from_fn(|at| byte(at).unwrap_or_default())
    }
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
    /// What a reviewer approves.
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
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
    /// What was read before, where the rule asks for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<Reading>,
    /// What was claimed of the tree when it was asked. Not verified, and not part of the digest: it is not what is compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Claim>,
    /// Seen beside it.
    pub context: Context,
}

impl Hold {
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

    /// One line for people: [`Operation::sentence`], and what was read before.
    pub fn sentence(&self) -> String {
        let read: Vec<_> = self.read.iter().map(Reading::sentence).collect();
        let after = if read.is_empty() { "" } else { ", after reading " };
        format!("{}{after}{}", self.request.what.sentence(), read.join("; "))
    }
}

/// What a reviewer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    /// The operation may happen.
    Approve,
    /// It may not; what that does is the rule's `on_deny`.
    Deny,
    /// It may not, and the process is killed.
    Kill,
    /// It may not; the call fails and the process lives.
    Fail,
}

impl Proof {
    /// The groups that this way asks: it answers for no others. None where it is nobody's channel.
    pub fn asks(&self) -> Option<&[String]> {
        match self {
            Self::Webhook { asks, .. } | Self::Slack { asks, .. } | Self::Exec { asks, .. } => Some(asks),
            Self::Page { .. } | Self::Local(_) | Self::Signed { .. } => None,
        }
    }

    /// The user of this host who answers by this way.
    pub fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Local(caller) => Some(caller),
            Self::Page { caller, .. } => caller.as_ref(),
            Self::Webhook { .. } | Self::Slack { .. } | Self::Exec { .. } | Self::Signed { .. } => None,
        }
    }
}

impl Answer {
    /// As it counts towards a quorum.
    pub fn voice(&self) -> Voice<'_> {
        Voice { who: &self.who, asks: self.proof.asks() }
    }
}

impl Word {
    /// The decision that this word leads to, `on_deny` being what the rule says of a denial.
    pub fn decision(self, on_deny: Decision) -> Decision {
        match self {
            Self::Approve => Decision::Approve,
            Self::Deny => on_deny,
            Self::Kill => Decision::Kill,
            Self::Fail => Decision::Fail,
        }
    }
}

/// The way an answer came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Proof {
    /// A callback signed with the secret of this channel.
    Webhook {
        /// The channel's name in the configuration.
        channel: String,
        /// Groups of reviewers that the channel asks: it answers for no others.
        #[serde(skip)]
        asks: Vec<String>,
    },
    /// A click in Slack, signed with the app's secret.
    Slack {
        /// The channel's name in the configuration.
        channel: String,
        /// Who clicked, as Slack says: `TEAM/USER`.
        user: String,
        /// As of [`Self::Webhook`].
        #[serde(skip)]
        asks: Vec<String>,
    },
    /// Printed by the program of this channel.
    Exec {
        /// The channel's name in the configuration.
        channel: String,
        /// As of [`Self::Webhook`].
        #[serde(skip)]
        asks: Vec<String>,
    },
    /// Said on the review page, in a session that began with a link for this reviewer.
    Page {
        /// The reviewer's name.
        user: String,
        /// Who has asked for the link; none where root did so for somebody else.
        #[serde(flatten)]
        caller: Option<Caller>,
    },
    /// A local user, as the kernel names the peer of the control socket.
    Local(Caller),
    /// Signed with a key that the policy has of this reviewer: see [`crate::signature`].
    Signed {
        /// The key's fingerprint.
        key: String,
        /// The signature, which can be verified from the record alone.
        signature: String,
        /// User id of who passed it on. Decides nothing.
        uid: u32,
    },
}

/// A user of this host, as the kernel names the peer of the control socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// As whom there was a login, where that is somebody else: it stays through `su` and `sudo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<u32>,
    /// The user's name, or of root that of who has logged in; a user without one is `#` and the number.
    #[serde(skip)]
    pub name: String,
}

impl Caller {
    /// Whether it is this user, or has logged in as it.
    pub fn is(&self, uid: u32) -> bool {
        self.uid == uid || self.login == Some(uid)
    }
}

/// What is known of who answers, beside the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Known {
    /// How sure it is.
    #[serde(skip_serializing_if = "Assurance::is_basic")]
    pub assurance: Assurance,
    /// What the way that it came calls them, where that is another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed: Option<String>,
    /// Names of the users of this host that they are.
    #[serde(skip)]
    pub users: Vec<String>,
    /// Whether it is the requester.
    #[serde(rename = "self", skip_serializing_if = "is_false")]
    pub own: bool,
}

/// What came back from a reviewer. Not yet a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The hold that is answered.
    pub hold: HoldId,
    /// The digest that the reviewer saw; the local command line shows and repeats it.
    pub digest: Digest,
    /// What was said.
    pub word: Word,
    /// How far an approval reaches. Of a no, nothing.
    #[serde(skip_serializing_if = "Scope::is_once")]
    pub scope: Scope,
    /// Who says so: as the way that it came calls them, until [`crate::identity`] has said who that is.
    pub who: String,
    /// In their words.
    pub why: Option<String>,
    /// How that is known.
    pub proof: Proof,
    /// What else is, once it is known who that is.
    #[serde(flatten)]
    pub known: Box<Known>,
}

/// How a hold ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// A reviewer approved in time.
    Approved,
    /// A reviewer refused; or nobody was asked, since too many wait or enforcement ends.
    Denied,
    /// Nobody answered before the deadline.
    Expired,
    /// The call is gone.
    Withdrawn,
}

/// Why a hold was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Withdrawal {
    /// The process, or the thread that asked, no longer exists.
    ProcessDead,
    /// The thread does something else: a signal handler jumped out of the call.
    CallAbandoned,
    /// A signal waits that will end the process as soon as it runs.
    FatalSignal,
    /// Another policy is in force, and says something else of the call.
    PolicyChanged,
    /// The grant that let it pass was taken back before it did: the call is asked about anew.
    GrantEnded,
}

/// What stands of a hold that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The hold.
    pub hold: HoldId,
    /// How it ended.
    pub state: End,
    /// What the kernel was told.
    #[serde(serialize_with = "decision_word")]
    pub decision: Decision,
    /// The reviewer whose answer counted, or all of them if several had to approve ([`quorum::joined`]); none if nobody's
    /// did.
    pub by: Option<String>,
}

/// Serialises a decision as its word in records and messages.
pub fn decision_word<S: Serializer>(decision: &Decision, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(*decision))
}

/// The decision's word in records and messages.
pub fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Approve => "approve",
        Decision::Fail => "fail",
        Decision::Kill => "kill",
        Decision::Withdraw => "withdraw",
    }
}

/// What the sender of an answer is told when it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This answer decided the hold.
    Accepted(Standing),
    /// The hold was already decided in the same way; the answer had no effect.
    Again(Standing),
    /// This approval counts, and others are needed still: [`quorum::phrase`].
    Counted(String),
}

/// Why an answer was refused. It had no effect on the hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No hold has this id, or it ended long ago.
    #[error("unknown hold")]
    UnknownHold,
    /// The answer is about something else than what is held.
    #[error("wrong digest: this is not what is held")]
    WrongDigest,
    /// It is nobody's whom the policy knows by this way.
    #[error("{0}")]
    Stranger(String),
    /// The rule does not name this reviewer, or the channel does not ask the rule's reviewers.
    #[error("the rule does not name this reviewer")]
    NotNamed,
    /// Whoever asks, launched the tree that asks, or logged in to do so, does not answer.
    #[error("self: the requester may not answer")]
    Requester,
    /// It is not sure enough who approves.
    #[error("this rule asks for an approval {}", .0.way())]
    Assurance(Assurance),
    /// The rule does not offer that much.
    #[error("this rule does not offer that scope; it offers: {0}")]
    Scope(String),
    /// So many approvals stand for more than one call already.
    #[error("too many grants are in force for this {}", .0.whose())]
    Granted(Crowd),
    /// Others must approve: this reviewer has done so, or those whom they could stand for have.
    #[error("this adds nothing to the approvals that are there: still needed: {0}")]
    NotNeeded(String),
    /// The hold was decided otherwise.
    #[error("already decided otherwise")]
    Conflict(Standing),
    /// The hold expired or was withdrawn.
    #[error("the hold is over")]
    Over(Standing),
    /// The decision could not be recorded, so it did not take effect: the hold is still pending.
    #[error("the decision could not be recorded; the hold is still pending")]
    NotRecorded,
}

/// A hold to test with.
#[cfg(test)]
pub mod sample {
    use super::*;
    use crate::claims::{Kind, Speaker};

    /// User id of the process, named `agent`.
    pub const REQUESTER: u32 = 1000;
    /// User id that launched the tree, named `laura`.
    pub const LAUNCHER: u32 = 1001;

    /// When it was asked.
    pub fn start() -> Timestamp {
        "2026-11-20T12:00:00Z".parse().expect("a time")
    }

    /// A connection that waits a minute for alice or bob of the group `security`.
    pub fn hold(id: HoldId) -> Hold {
        let request = request();
        Hold {
            id,
            digest: Digest::of(id, &request),
            deadline: start() + jiff::SignedDuration::from_mins(1),
            reviewers: vec![Group {
                name: "security".into(),
                approvals: 1,
                members: ["alice", "bob", "laura"].map(Into::into).into(),
            }],
            escalation: vec![],
            remind: None,
            assurance: Assurance::Basic,
            own: SelfAnswer::Refused,
            scopes: vec![],
            approved: vec![],
            on_deny: Decision::Kill,
            on_timeout: Decision::Fail,
            pause: Duration::from_mins(10),
            user: Some("agent".into()),
            launcher_name: Some("laura".into()),
            request,
            read: Vec::new(),
            claims: vec![
                claim("publish the release", Speaker::Launcher { user: "laura".into() }),
                claim("read the weather", Speaker::Process { pid: 100, exe: "/usr/bin/curl".into() }),
            ],
            context: Context {
                cwd: "/srv".into(),
                unit: Some("agent.service".into()),
                ancestry: vec![process(100), process(1)],
            },
        }
    }

    fn claim(text: &str, by: Speaker) -> Claim {
        Claim { kind: Kind::Intent, text: text.into(), at: start(), by }
    }

    fn process(pid: u32) -> Process {
        let argv = ["/usr/bin/curl", "https://192.0.2.1/"].map(Into::into).into();
        Process { pid, exe: "/usr/bin/curl".into(), argv, user: "agent".into() }
    }

    fn request() -> Request {
        Request {
            tree: "0000000000000001".into(),
            subject: "coding-agent".into(),
            rule: Some("customer data stays".into()),
            why: Some("it is theirs".into()),
            policy: "1234567812345678".into(),
            what: Operation::Connect {
                address: [192, 0, 2, 1].into(),
                port: 443,
                protocol: "tcp".into(),
                names: vec![],
            },
            pid: 100,
            tid: 101,
            started: 5,
            uid: REQUESTER,
            gid: REQUESTER,
            login: None,
            launcher: LAUNCHER,
            at: start(),
        }
    }
}

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
