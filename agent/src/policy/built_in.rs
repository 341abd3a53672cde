//! Rules that every policy has: before its own, what no policy can allow; after them, what it must allow expressly.
//!
//! What has no path is in the kernel's hands: an operation on the host ([`holdpoint_common::system`]) that no rule names
//! is denied.

use std::{net::SocketAddr, path::PathBuf};

use holdpoint_common::{request::Class, system, tables::CANARIES};

use super::{Block, Only, Pattern, Policy, Rule, Then, When};

/// What a process can do to the host through files that stand for the kernel's own state, and to others through `/proc`.
const KERNEL: [&str; 9] = [
    "/sys/**",
    "/proc/sys/**",
    "/proc/sysrq-trigger",
    "/proc/bus/**",
    "/proc/irq/**",
    "**/oom_score_adj",
    "**/oom_adj",
    "**/autogroup",
    // Whom rules take for logged in; who has not logged in could say anybody.
    "**/loginuid",
];

/// The name of the rules on what belongs to Holdpoint.
const ITSELF: &str = "built in: Holdpoint itself";

/// The memory of the kernel.
const KERNEL_MEMORY: [&str; 1] = ["/proc/kcore"];

/// What tells the dynamic linker and the C library of programs outside every tree, Holdpoint's among them, which
/// libraries to load. The libraries themselves: [`Own::mapped`].
const LOADED: [&str; 6] = [
    "/etc/ld.so.preload",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d/**",
    "/etc/nsswitch.conf",
    // What an executable names as its interpreter: a link to the linker, which is among the libraries.
    "/usr/lib64/ld-linux-x86-64.so.2",
];

/// Programs that the kernel starts by itself, with all their privileges, and what tells them and udev what to do.
const HELPERS: [&str; 8] = [
    "/etc/modprobe.d/**",
    "/run/modprobe.d/**",
    "/usr/lib/modprobe.d/**",
    "/usr/bin/kmod",
    "/usr/sbin/modprobe",
    "/etc/udev/**",
    "/usr/lib/udev/**",
    "/run/udev/rules.d/**",
];

/// What belongs to Holdpoint on this host: no policy can give it to a subject.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Files and directories.
    pub paths: Vec<PathBuf>,
    /// Files that say what the agent does with answers, and who gives them: programs that ask, authorities. They can be
    /// read and executed, not changed.
    pub trusted: Vec<PathBuf>,
    /// Files whose code runs in the agent: its program and libraries. Others use the libraries too, so a policy can let
    /// them be changed.
    pub mapped: Vec<PathBuf>,
    /// Where answers are heard.
    pub listeners: Vec<SocketAddr>,
}

/// Files and directories that are Holdpoint's wherever it is installed: also those from which systemd starts it.
const CUSTOMARY: [&str; 13] = [
    "/var/lib/holdpoint",
    "/sys/fs/bpf/holdpoint",
    "/etc/holdpoint",
    "/etc/systemd/system/holdpoint.service",
    "/etc/systemd/system/holdpoint.service.d",
    "/run/systemd/system/holdpoint.service.d",
    "/usr/lib/systemd/system/holdpoint.service",
    "/usr/lib/systemd/system/holdpoint.service.d",
    // Where systemd takes credentials from, and where it shows Holdpoint its own.
    "/etc/credstore",
    "/etc/credstore.encrypted",
    "/run/credstore",
    "/run/credstore.encrypted",
    "/run/credentials/holdpoint.service",
];

impl Own {
    /// What is Holdpoint's on every host, beside its sockets, its program and what a host's configuration names.
    pub fn customary() -> Self {
        Self { paths: CUSTOMARY.map(PathBuf::from).to_vec(), ..Self::default() }
    }
}

impl Policy {
    /// This policy with the rules that every policy has.
    #[must_use]
    pub fn with_built_in(mut self, own: &Own) -> Self {
        let own_subjects: Vec<u32> = (0..).zip(&self.subjects).map(|(index, _)| index).collect();
        let subjects = [own_subjects.as_slice(), &CANARIES].concat();
        let deny = |name: &str, why: &str, when: When| Rule {
            name: name.to_owned(),
            why: Some(why.to_owned()),
            subjects: subjects.clone(),
            when,
            only: Only::default(),
            then: Then::Deny,
            span: 0..0,
        };
        let paths = own.paths.iter().map(|path| Pattern::below(path)).collect();
        let itself = deny(ITSELF, "a gate that the subject can change is none", open(paths, Class::OPENING));
        let why = "who changes what asks, answers for itself";
        let trusted = own.trusted.iter().map(|path| Pattern::exact(path)).collect();
        let trusted = (!own.trusted.is_empty()).then(|| deny(ITSELF, why, open(trusted, Class::REPLACING)));
        let listeners =
            own.listeners.iter().map(|at| deny(ITSELF, "a subject does not answer for itself", connect(*at)));
        let changes = open(spelled(&KERNEL), Class::REPLACING);
        let mapped = own.mapped.iter().map(|path| Pattern::exact(path));
        let code = open(mapped.chain(spelled(&LOADED)).chain(spelled(&HELPERS)).collect(), Class::REPLACING);
        let memory = open(spelled(&KERNEL_MEMORY), Class::OPENING);
        let last = [
            deny("built in: the kernel's settings", "they act outside the tree", changes),
            deny(
                "built in: what others run as root",
                "it acts outside the tree, in Holdpoint and for the kernel",
                code,
            ),
            deny("built in: the kernel's memory", "it holds everything", memory),
        ];
        let first = [itself].into_iter().chain(trusted).chain(listeners);
        let rest = When::System { which: system::System::ALL.to_vec() };
        let unnamed = deny("built in: what no rule names", "without a file or an address it is denied", rest);
        let for_subjects = |rule: Rule| Rule { subjects: own_subjects.clone(), ..rule };
        // Where the policy observes, its subjects have their own: what canaries meet stays in force.
        let observed: Vec<_> = match self.observes {
            true => last.iter().cloned().chain([unnamed]).map(for_subjects).collect(),
            false => Vec::new(),
        };
        self.rules = first.chain(self.rules).chain(observed).chain(last).collect();
        self
    }
}

fn open(paths: Vec<Pattern>, access: u32) -> When {
    When::Open { paths, access }
}

/// Connecting to a listener. One on every address answers at each that this host has or will have, so its port is
/// closed everywhere.
fn connect(listener: SocketAddr) -> When {
    let to = if listener.ip().is_unspecified() { Block::ANY } else { Block::only(listener.ip()) };
    When::Connect { to: vec![to], ports: vec![listener.port()..=listener.port()] }
}

fn spelled(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().flat_map(|pattern| Pattern::parse(pattern).expect("a pattern of this file")).collect()
}
