//! The plain data that flows through the agent: what was asked, [`operation`] and [`digest`] of it; in [`same`], what stands in
//! one question; in [`answer`], what came back and what was decided.
//! No I/O, no clock.

mod answer;
mod digest;
mod operation;
mod same;
mod text;

use std::{fmt, str::FromStr, time::Duration};

use holdpoint_common::decision::Decision;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use self::{
    answer::{
        Account, Answer, Caller, End, Entrance, Known, Outcome, Proof, Refusal, Standing, Withdrawal, Word,
        decision_word, word,
    },
    digest::{Digest, hashed, without},
    operation::{Content, Object, Operation},
    same::Same,
    text::{hexadecimal, quoted, seconds, shown, span, span_of},
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

/// Serde asks by reference.
pub fn is_false(flag: &bool) -> bool {
    !flag
}

/// Likewise.
pub fn is_zero(count: &usize) -> bool {
    *count == 0
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
    /// The process, its parent, and so on up to pid 1: at most [`crate::process::GENERATIONS`].
    pub ancestry: Vec<Process>,
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
    /// The labels that who asks carried then, of data that was read before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<String>,
    /// What that data was, as far as it is known, whatever the rule asks for.
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
}
