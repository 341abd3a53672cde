//! What the record says of a policy: what its rules that audit have seen, and what others have kept back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use holdpoint_common::{
    request::{Action, Class},
    system::System,
    tables::{Verdict, protocol},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::{paths, programs::Given};
use crate::policy::{Pattern, What, replay, secrets, verdict_word};

/// Lines of the record that are named; of others their number is said.
const LINES: usize = 3;

/// Where something comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// How often.
    pub times: usize,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// The programs that asked, as far as the record has seen them executed.
    pub programs: BTreeSet<String>,
    /// The first lines of the record that say so.
    pub lines: BTreeSet<usize>,
}

impl Evidence {
    fn of(line: usize, at: Timestamp, program: Option<&String>) -> Self {
        let programs = program.cloned().into_iter().collect();
        Self { times: 1, first: at, last: at, programs, lines: BTreeSet::from([line]) }
    }

    /// Adds what comes from elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.times += other.times;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.programs.extend(other.programs.iter().cloned());
        self.lines.extend(&other.lines);
        while self.lines.len() > LINES {
            self.lines.pop_last();
        }
    }
}

/// One object and what was done to it: as much as a rule can tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// Access to a file: its path, a mask of [`Class`] bits.
    Open(String, u32),
    /// A program was executed: its path, what it was given.
    Exec(String, Given),
    /// A connection: address, port, one bit of [`protocol`].
    Connect(IpAddr, u16, u32),
    /// An operation on the host.
    System(System),
}

/// Operations, and where each comes from.
pub type Seen = BTreeMap<Piece, Evidence>;

/// An operation that a rule kept back, or would have if the policy did not only observe.
#[derive(Clone, Debug, Serialize)]
pub struct Kept {
    /// What the rule says.
    pub verdict: &'static str,
    /// Where that comes from.
    pub evidence: Evidence,
    /// How often a reviewer has approved it.
    pub approved: usize,
    /// These reviewers.
    pub by: BTreeSet<String>,
}

/// What is looked for in the record.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Of this subject alone.
    pub subject: Option<String>,
    /// From this moment on.
    pub since: Option<Timestamp>,
}

/// What a record says.
#[derive(Debug, Default)]
pub struct Observed {
    scope: Scope,
    /// What was audited, by rule and subject.
    pub audited: BTreeMap<(String, String), Seen>,
    /// What was kept back, by the rule's name (none: since no rule names it) and by what was asked.
    pub kept: BTreeMap<Option<String>, BTreeMap<String, Kept>>,
    /// What was audited and takes more to judge than a rule can say, by rule.
    pub untold: BTreeMap<String, BTreeMap<String, Evidence>>,
    /// Reports that did not get onto the record.
    pub lost: u64,
    /// What each process runs, by its id and start.
    programs: HashMap<(u64, u64), String>,
    /// What each hold is about.
    holds: HashMap<String, (Option<String>, String)>,
    again: HashSet<String>,
}

impl Observed {
    /// An empty one.
    pub fn new(scope: Scope) -> Self {
        Self { scope, ..Self::default() }
    }

    /// Takes the line with this number, see [`crate::record::entry::Event`].
    pub fn line(&mut self, number: usize, line: &Value) {
        match line["event"].as_str() {
            Some("audited") => self.audited(number, line),
            Some(event @ ("denied" | "killed" | "not-held")) => self.kept(number, line, refusal(event)),
            Some("held") => self.held(number, line),
            Some("decided") => self.decided(line),
            Some("lost") => self.lost += line["count"].as_u64().unwrap_or(0),
            _ => (),
        }
    }

    fn audited(&mut self, number: usize, request: &Value) {
        if let Some(would) = request["would"].as_str() {
            return self.kept(number, request, would_word(would));
        }
        let evidence = self.evidence(number, request);
        // From now on the process runs that.
        if let (Some("exec"), Some(path), Some(process), false) =
            (request["operation"].as_str(), request["path"].as_str(), process(request), request["check"] == true)
        {
            self.programs.insert(process, path.to_owned());
        }
        let (Some(evidence), Some(rule), Some(subject)) =
            (evidence, request["rule"].as_str(), request["subject"].as_str())
        else {
            return;
        };
        match pieces(request) {
            Some(pieces) => {
                let seen = self.audited.entry((rule.to_owned(), subject.to_owned())).or_default();
                pieces.into_iter().for_each(|piece| add(seen, piece, &evidence));
            }
            None => add(self.untold.entry(rule.to_owned()).or_default(), sentence(request), &evidence),
        }
    }

    fn held(&mut self, number: usize, line: &Value) {
        let Some(hold) = line["hold"].as_str() else { return };
        // After a restart of the agent a hold is recorded again.
        if self.again.insert(hold.to_owned()) {
            let request = &line["request"];
            self.holds.insert(hold.to_owned(), (rule(request), sentence(request)));
            self.kept(number, request, verdict_word(Verdict::Hold));
        }
    }

    fn kept(&mut self, number: usize, request: &Value, verdict: &'static str) {
        let Some(evidence) = self.evidence(number, request) else { return };
        let kept = self.kept.entry(rule(request)).or_default().entry(sentence(request));
        kept.and_modify(|kept| kept.evidence.add(&evidence)).or_insert_with(|| Kept {
            verdict,
            evidence,
            approved: 0,
            by: BTreeSet::new(),
        });
    }

    fn decided(&mut self, line: &Value) {
        let Some((rule, what)) = line["hold"].as_str().and_then(|hold| self.holds.get(hold)) else { return };
        let kept = self.kept.get_mut(rule).and_then(|kept| kept.get_mut(what));
        if let Some(kept) = kept.filter(|_| line["state"] == "approved") {
            kept.approved += 1;
            kept.by.extend(line["answer"]["who"].as_str().map(str::to_owned));
        }
    }

    /// Where a request comes from; none if it is not looked for.
    fn evidence(&self, number: usize, request: &Value) -> Option<Evidence> {
        let at: Timestamp = request["at"].as_str()?.parse().ok()?;
        let Scope { subject, since } = &self.scope;
        let wanted = since.is_none_or(|since| at >= since)
            && subject.as_ref().is_none_or(|subject| request["subject"] == subject.as_str());
        let program = process(request).and_then(|process| self.programs.get(&process));
        wanted.then(|| Evidence::of(number, at, program))
    }
}

/// Adds one more, and where it comes from.
pub fn add<K: Ord>(seen: &mut BTreeMap<K, Evidence>, key: K, evidence: &Evidence) {
    seen.entry(key).and_modify(|known| known.add(evidence)).or_insert_with(|| evidence.clone());
}

fn refusal(event: &str) -> &'static str {
    verdict_word(match event {
        "killed" => Verdict::Kill,
        "denied" => Verdict::Deny,
        _ => Verdict::Hold,
    })
}

/// What the rule would have said.
fn would_word(word: &str) -> &'static str {
    let known = [Verdict::Hold, Verdict::Kill].map(verdict_word);
    known.into_iter().find(|known| *known == word).unwrap_or(verdict_word(Verdict::Deny))
}

fn rule(request: &Value) -> Option<String> {
    request["rule"].as_str().map(str::to_owned)
}

fn process(request: &Value) -> Option<(u64, u64)> {
    Some((request["pid"].as_u64()?, request["started"].as_u64()?))
}

/// What was asked, in one line.
fn sentence(request: &Value) -> String {
    let word = |key: &str| request[key].as_str().unwrap_or_default();
    match (replay::what(request), word("operation")) {
        (Some(what), "exec" | "open" | "connect" | "system") => said(what),
        (None, "exec") => format!("exec {} …", word("path")),
        (_, "file") => format!("{} {} {}", word("action"), word("path"), word("target")).trim_end().to_owned(),
        (_, operation) => format!("{operation} {}", word("path")).trim_end().to_owned(),
    }
}

/// The same, without what looks like a secret.
pub fn said(mut what: What) -> String {
    if let What::File { args, .. } = &mut what {
        *args = secrets::masked(args);
    }
    what.to_string()
}

/// What a rule would have to name for the request to pass; none if no rule can, or not as narrow as it was asked.
fn pieces(request: &Value) -> Option<Vec<Piece>> {
    let path = |key: &str| request[key].as_str().filter(|path| can_be_told(path)).map(str::to_owned);
    match request["action"].as_str() {
        Some(action) if [Action::Rename, Action::Link].map(Action::word).contains(&action) => {
            // What has the new name already goes, or comes to the old one.
            let taken = if request["exchange"] == true { Class::OPENING } else { Class::REPLACING };
            Some(vec![Piece::Open(path("path")?, Class::OPENING), Piece::Open(path("target")?, taken)])
        }
        // A descriptor that comes from elsewhere, and what is mapped: the record does not have the access.
        Some(action) if [Action::Receive, Action::Map].map(Action::word).contains(&action) => None,
        _ if request["operation"] == "exec" => Some(vec![Piece::Exec(path("path")?, replay::arguments(request))]),
        _ => Some(vec![match replay::what(request)? {
            What::File { access: 0, .. } => return None,
            What::File { access, .. } => Piece::Open(path("path")?, access),
            What::Connect { to, port, protocol: number, names: _ } => Piece::Connect(to, port, protocol::bit(number)),
            What::Socket { .. } => Piece::Open(path("path")?, Class::TALKING),
            What::System(system) => Piece::System(system),
        }]),
    }
}

/// Whether the record has the path as it is, and a pattern can spell it out.
fn can_be_told(path: &str) -> bool {
    !path.contains('\u{fffd}') && Pattern::parse(&paths::spelled(path)).is_ok()
}
