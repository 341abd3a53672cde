//! The policy: what its file can say, as plain data. No I/O.
//!
//! ```text
//! files --load--> Source --parse(host)--> Policy --compile(revision, places)--> Tables --> kernel maps
//!                    `------------------- Refusal: every problem found, with line, column and remedy
//! ```
//!
//! Subjects and rules are numbered in the order of the file; those numbers are what the kernel tables and
//! its reports carry. The first rule that matches wins; what no rule matches is allowed.

mod address;
mod argument;
pub mod asked;
mod built_in;
pub mod cases;
mod check;
mod compile;
mod doubts;
mod evaluate;
mod here;
mod host;
pub mod host_name;
mod judge;
mod label;
pub mod learn;
mod lists;
mod load;
mod near;
mod only;
mod parse;
mod parts;
mod pattern;
mod person;
mod places;
mod problem;
mod reach;
pub mod replay;
mod schema;
mod secrets;
mod section;
mod source;
#[cfg(test)]
mod tests;
mod wildcard;

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use holdpoint_common::{
    decision::Decision,
    request::Class,
    system::System,
    tables::{CANARIES, Marks, Verdict},
    task::enrols,
};
use sha2::{Digest as _, Sha256};

pub use self::{
    address::Block,
    asked::{Asked, What},
    built_in::Own,
    cases::{Cases, test_file, verdict_word},
    check::check,
    compile::{Canaries, Objects, Tables, Usage, compile, is_state_of, links_of_canaries, links_of_rules, usage},
    host::Host,
    judge::{Answer, Judge, Site},
    label::Label,
    load::{LoadError, load, parts_directory},
    near::{Near, near},
    only::{Only, User},
    parse::parse,
    pattern::Pattern,
    person::{Person, is_slack_id},
    places::{Linked, Mounts, Place, Places},
    problem::{Flaw, Problem, Refusal, Span},
    schema::schema,
    source::Source,
};
use crate::{
    ladder::Escalation,
    mask::Masks,
    quorum::{Assurance, Group, SelfAnswer},
    scope::Scope,
};

/// A policy that was read whole and found good.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Where it came from; problems found later ([`compile()`]) are shown in it.
    pub source: Source,
    /// The host that it is for.
    pub host: Host,
    /// For each file of the source, whether it is for that host.
    pub here: Vec<bool>,
    /// Whether its rules hold, deny and kill nothing: what would be held, denied or killed passes, and is recorded.
    pub observes: bool,
    /// Whose answers say which host has which address; none if the policy leaves that to the host.
    pub resolvers: Option<Vec<IpAddr>>,
    /// What is not shown of what is asked.
    pub masks: Masks,
    /// Process trees that it governs.
    pub subjects: Vec<Subject>,
    /// Groups of reviewers and their members.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Reviewers of whom it says who they are; of others their name does.
    pub people: Vec<Person>,
    /// The labels, in the order of the file.
    pub labels: Vec<Label>,
    /// The rules, in order of precedence.
    pub rules: Vec<Rule>,
    /// What it has and does not use: no reason to refuse it.
    pub idle: Vec<Problem>,
    /// SHA-256 of its files, 64 hexadecimal digits.
    pub digest: String,
}

/// A governed process tree, and what starts one. Each can also be started by `holdpoint run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Files whose execution starts such a tree, as given to `execve(2)`.
    pub exe: Vec<PathBuf>,
    /// Control groups that are such a tree: each pattern goes on below what it names.
    pub cgroup: Vec<Pattern>,
    /// Only what these users start; whoever it is if there are none.
    pub users: Vec<User>,
    /// Only what members of these groups start; likewise.
    pub groups: Vec<User>,
    /// Only what one of these programs executes; whichever does if there are none.
    pub parent: Vec<PathBuf>,
    /// Its place in the source.
    pub span: Span,
}

impl Subject {
    /// Who must start it, and what must execute it.
    pub fn conditions(&self) -> (&[User], &[User], &[PathBuf]) {
        (&self.users, &self.groups, &self.parent)
    }

    /// Whether it takes more to be one than the program or the control group.
    pub fn has_conditions(&self) -> bool {
        self.conditions() != (&[], &[], &[])
    }

    /// The number by which the kernel knows the subject: made of its name, so that a governed tree keeps its
    /// subject whatever the order in the next policy.
    pub fn number(&self) -> u32 {
        let digest = Sha256::digest(&self.name);
        // Below the pseudo subjects of `holdpoint_common::tables`.
        u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 1
    }
}

/// One line of policy.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The reason for it, shown to whoever meets it.
    pub why: Option<String>,
    /// Indices of the subjects that it is for.
    pub subjects: Vec<u32>,
    /// What it matches.
    pub when: When,
    /// What else must hold.
    pub only: Only,
    /// What follows.
    pub then: Then,
    /// Its place in the source.
    pub span: Span,
}

/// Requests that a rule matches.
#[derive(Clone, Debug)]
pub enum When {
    /// Opening a file.
    Open {
        /// One of these.
        paths: Vec<Pattern>,
        /// A mask of [`Class`] bits: in at least one of these ways, or, for a rule that lets pass, in no other.
        access: u32,
    },
    /// Executing a file.
    Exec {
        /// One of these.
        paths: Vec<Pattern>,
    },
    /// Connecting a socket.
    Connect {
        /// To an address in one of these blocks.
        to: Vec<Block>,
        /// At a port in one of these ranges.
        ports: Vec<RangeInclusive<u16>>,
    },
    /// Doing something to the host.
    System {
        /// One of these.
        which: Vec<System>,
    },
}

/// What follows when a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// It happens.
    Allow,
    /// It happens and is reported.
    Audit,
    /// It is parked until somebody decides.
    Hold(Terms),
    /// It fails with `EPERM`.
    Deny,
    /// It fails and the process is killed.
    Kill,
}

/// The terms of a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The groups that are asked, and how many of each must approve.
    pub reviewers: Vec<Group>,
    /// Who else is asked after a while, in that order.
    pub escalate: Vec<Escalation>,
    /// How often those who are asked are reminded, if at all.
    pub remind: Option<Duration>,
    /// How sure it has to be who approves.
    pub assurance: Assurance,
    /// Whether the requester may answer.
    pub own: SelfAnswer,
    /// What an approval may be for besides the one call.
    pub scopes: Vec<Scope>,
    /// How long.
    pub timeout: Duration,
    /// What a denial does: [`Decision::Kill`] or [`Decision::Fail`].
    pub on_deny: Decision,
    /// What silence does, likewise.
    pub on_timeout: Decision,
    /// How long the same request of the tree is refused without a question after a reviewer's no.
    pub pause: Duration,
}

/// `holdpoint run` was not told which subject to start, and the policy does not have exactly one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy has {} subjects; choose one with --subject: {}", .0.len(), .0.join(", "))]
pub struct NoDefaultSubject(pub Vec<String>);

/// Hexadecimal digits of the digest that are shown as the policy's revision.
const REVISION_DIGITS: usize = 16;

impl Policy {
    /// The policy's revision as people see it: the beginning of the file's digest.
    pub fn revision(&self) -> &str {
        &self.digest[..REVISION_DIGITS]
    }

    /// What follows from a rule of this policy. What keeps Holdpoint's own files, and what canaries meet, is in force even
    /// where the policy observes.
    pub fn in_force(&self, rule: &Rule) -> Verdict {
        let of_canaries = || rule.subjects.iter().any(|one| CANARIES.contains(one));
        let is_seen_only = rule.only.observes || self.observes && !rule.lets_pass() && !of_canaries();
        if is_seen_only { Verdict::Audit } else { rule.verdict() }
    }

    /// Reviewers and the integrations that may speak for them and are none of these channels.
    pub fn missing_channels<'a>(&'a self, channels: &[&str]) -> Vec<(&'a str, &'a str)> {
        let named = |person: &'a Person| person.integrations.keys().map(|channel| (&*person.name, &**channel));
        self.people.iter().flat_map(named).filter(|(_, channel)| !channels.contains(channel)).collect()
    }

    /// The rule with this index, as the kernel reports it.
    pub fn rule(&self, index: u32) -> Option<&Rule> {
        self.rules.get(index as usize)
    }

    /// Whether a rule depends on where who asks works.
    pub fn asks_where(&self) -> bool {
        self.rules.iter().any(|rule| !rule.only.workplaces.is_empty())
    }

    /// The subject with this number, as the kernel reports it.
    pub fn subject(&self, number: u32) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.number() == number)
    }

    /// The subject with this name.
    pub fn subject_named(&self, name: &str) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.name == name)
    }

    /// What makes subjects of ungoverned processes: one of [`enrols`].
    pub fn enrols(&self) -> u32 {
        let any = |has: fn(&Subject) -> bool| self.subjects.iter().any(has);
        if any(|subject| !subject.parent.is_empty()) {
            enrols::BY_CALLER
        } else if any(|subject| !subject.exe.is_empty() || !subject.cgroup.is_empty()) {
            enrols::BY_PROGRAM
        } else {
            enrols::NOBODY
        }
    }

    /// The subject that `holdpoint run` starts unless told otherwise: the only one.
    pub fn default_subject(&self) -> Result<&Subject, NoDefaultSubject> {
        match self.subjects.as_slice() {
            [only] => Ok(only),
            _ => Err(NoDefaultSubject(self.subjects.iter().map(|subject| subject.name.clone()).collect())),
        }
    }

    /// The refusal of this policy for `problems` that came up after it was read.
    pub fn refused(&self, problems: Vec<Problem>) -> Refusal {
        Refusal::new(self.source.clone(), problems)
    }
}

impl Rule {
    /// What the rule says of a request that it matches.
    pub fn verdict(&self) -> Verdict {
        match self.then {
            Then::Allow => Verdict::Allow,
            Then::Audit => Verdict::Audit,
            Then::Hold(_) => Verdict::Hold,
            Then::Deny => Verdict::Deny,
            Then::Kill => Verdict::Kill,
        }
    }

    /// The terms of its holds, if it holds.
    pub fn terms(&self) -> Option<&Terms> {
        match &self.then {
            Then::Hold(terms) => Some(terms),
            _ => None,
        }
    }

    /// Whether a request that it matches happens without anybody being asked.
    pub fn lets_pass(&self) -> bool {
        matches!(self.then, Then::Allow | Then::Audit)
    }

    /// Whether it keeps a request that it matches from happening, or from happening at once.
    pub fn stands_in_the_way(&self) -> bool {
        !self.lets_pass() && !self.only.observes
    }

    /// Its path patterns with the access that they are for; none for a connect rule.
    pub fn paths(&self) -> (&[Pattern], u32) {
        match &self.when {
            When::Open { paths, access } => (paths, *access),
            When::Exec { paths } => (paths, Class::Exec.bit()),
            When::Connect { .. } | When::System { .. } => (&[], 0),
        }
    }

    /// Whether it accepts, of its paths, what is asked for in this slot of [`Marks`]. A rule that stands in the way accepts what
    /// asks for any of its classes; one that lets pass, only what asks for no other: a file that may be read is not thereby
    /// opened for writing.
    pub fn accepts(&self, slot: usize) -> bool {
        let (_, access) = self.paths();
        match Marks::asked(slot) {
            _ if slot == Marks::EXEC => access & Class::Exec.bit() != 0,
            asked if self.lets_pass() => asked & !access == 0,
            asked => asked & access != 0,
        }
    }
}

/// The classes in a mask.
pub fn classes(access: u32) -> impl Iterator<Item = Class> {
    Class::ALL.into_iter().filter(move |class| access & class.bit() != 0)
}

/// The words for a mask: who writes anywhere may append, which goes without saying.
pub fn access_words(access: u32) -> Vec<&'static str> {
    let writes = access & Class::Write.bit() != 0;
    classes(access).filter(|class| !(writes && *class == Class::Append)).map(Class::word).collect()
}
