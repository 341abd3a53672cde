//! Hosts: what the parts of a policy that are for some of them only are chosen by.

use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use super::{argument::Argument, problem::Flaw};

/// What precedes a pattern for hosts that are not meant.
const NOT: &str = "not ";

/// What stands for `*` and `?` in the names of hosts that a pattern is tried on.
const FILLINGS: [&str; 3] = ["1", "x", "other"];

/// A host, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Host(String);

/// The hosts that a part is for.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    these: Vec<Argument>,
    others: Vec<Argument>,
}

impl Host {
    /// This one, by the name that its kernel has for it.
    pub fn this() -> Self {
        Self::named(&uname().map(|name| name.nodename().to_string_lossy().into_owned()).unwrap_or_default())
    }

    /// The host of this name; upper and lower case are the same.
    pub fn named(name: &str) -> Self {
        Self(name.to_ascii_lowercase())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Whether one of the patterns matches its name, in full or up to the first dot.
    fn is_like(&self, patterns: &[Argument]) -> bool {
        let short = self.0.split('.').next().unwrap_or_default();
        patterns.iter().any(|pattern| pattern.matches(&self.0) || pattern.matches(short))
    }
}

/// One element of `host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPattern {
    is_meant: bool,
    pattern: Argument,
}

impl HostPattern {
    /// The pattern that `text` spells.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let plain = text.strip_prefix(NOT).unwrap_or(text);
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.*?{,}".contains(c);
        if plain.is_empty() || !plain.chars().all(good) {
            let remedy = "write its name, with *, ? and {a,b}: \"web-*\"; \"not web-3\" for the others";
            return Err(Flaw::new(format!("{text:?} is no host"), remedy));
        }
        Ok(Self { is_meant: plain == text, pattern: Argument::parse(&plain.to_ascii_lowercase())? })
    }
}

impl Hosts {
    /// The hosts that the patterns together mean.
    pub fn new(patterns: Vec<HostPattern>) -> Self {
        let (these, others): (Vec<_>, Vec<_>) = patterns.into_iter().partition(|pattern| pattern.is_meant);
        let plain = |patterns: Vec<HostPattern>| patterns.into_iter().map(|pattern| pattern.pattern).collect();
        Self { these: plain(these), others: plain(others) }
    }

    /// Whether `host` is one of them; all are if none is named.
    pub fn has(&self, host: &Host) -> bool {
        (self.these.is_empty() || host.is_like(&self.these)) && !host.is_like(&self.others)
    }

    /// Names for some hosts that the patterns tell from others.
    pub fn samples(&self) -> impl Iterator<Item = Host> {
        self.these.iter().chain(&self.others).flat_map(|pattern| {
            let plain = pattern.plain.iter().map(|name| Host::named(name));
            let like = pattern.like.iter().flat_map(|like| {
                FILLINGS.map(|filling| Host::named(&like.to_string().replace('*', filling).replace('?', "x")))
            });
            plain.chain(like)
        })
    }
}
