//! Rules that every policy has: before its own, what no policy can allow; after them, what it must allow expressly.
//!
//! What has no path is in the kernel's hands: an operation on the host ([`holdpoint_common::system`]) that no rule names
//! is denied.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
};

use holdpoint_common::{request::Class, tables::CANARIES};

use super::{Block, Pattern, Policy, Rule, Then, When};

/// What a process can do to the host through files that stand for the kernel's own state, and to others through `/proc`.
const KERNEL: [&str; 7] = [
    "/sys/**",
    "/proc/sys/**",
    "/proc/sysrq-trigger",
    "/proc/bus/**",
    "/proc/irq/**",
    "**/oom_score_adj",
    "**/oom_adj",
];

/// The name of the rules on what belongs to Holdpoint.
const ITSELF: &str = "built in: Holdpoint itself";

/// The memory of the kernel.
const KERNEL_MEMORY: [&str; 1] = ["/proc/kcore"];

/// What belongs to Holdpoint on this host: no policy can give it to a subject.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Files and directories.
    pub paths: Vec<PathBuf>,
    /// Where answers are heard.
    pub listener: Option<SocketAddr>,
}

impl Policy {
    /// This policy with the rules that every policy has.
    #[must_use]
    pub fn with_built_in(mut self, own: &Own) -> Self {
        let own_subjects = (0..).zip(&self.subjects).map(|(index, _)| index);
        let subjects: Vec<u32> = own_subjects.chain(CANARIES).collect();
        let deny = |name: &str, why: &str, when: When| Rule {
            name: name.to_owned(),
            why: Some(why.to_owned()),
            subjects: subjects.clone(),
            when,
            then: Then::Deny,
            span: 0..0,
        };
        let paths = own.paths.iter().map(PathBuf::as_path).map(below).collect();
        let itself = deny(ITSELF, "a gate that the subject can change is none", open(paths, Class::OPENING));
        let listener = own.listener.map(|at| deny(ITSELF, "a subject does not answer for itself", connect(at)));
        let changes = open(spelled(&KERNEL), Class::OPENING & !Class::Read.bit());
        let memory = open(spelled(&KERNEL_MEMORY), Class::OPENING);
        let last = [
            deny("built in: the kernel's settings", "they act outside the tree", changes),
            deny("built in: the kernel's memory", "it holds everything", memory),
        ];
        let first = [itself].into_iter().chain(listener);
        self.rules = first.chain(self.rules).chain(last).collect();
        self
    }
}

fn open(paths: Vec<Pattern>, access: u32) -> When {
    When::Open { paths, access }
}

/// Connecting to a listener; to one on every address, by the loopback device's: others of this host are nobody's
/// secret, and what comes there is verified all the same.
fn connect(listener: SocketAddr) -> When {
    let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let to = if listener.ip().is_unspecified() { local.to_vec() } else { vec![listener.ip()] };
    When::Connect { to: to.into_iter().map(Block::only).collect(), ports: vec![listener.port()..=listener.port()] }
}

fn below(path: &Path) -> Pattern {
    Pattern::Below(path.to_owned())
}

fn spelled(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().map(|pattern| Pattern::parse(pattern).expect("a pattern of this file")).collect()
}
