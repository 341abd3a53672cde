//! `holdpoint policy diff`: what another policy changes, in its rules and for what is known to be asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{Asking, Report, Trouble, decided, said, unreadable};
use crate::policy::{
    self, Asked, Host, Judge, Policy, Rule,
    cases::Case,
    replay::{Line, Replay},
    verdict_word,
};

/// Most changed operations that are shown to people.
const SHOWN: usize = 20;

/// Says what is otherwise under the policy in `new`.
pub fn diff(
    old: &Path,
    new: &Path,
    cases: Option<&Path>,
    record: Option<&Path>,
    asking: &Asking,
    json: bool,
) -> ExitCode {
    said(report(old, new, cases, record, asking), json)
}

fn report(
    old: &Path,
    new: &Path,
    cases: Option<&Path>,
    record: Option<&Path>,
    asking: &Asking,
) -> Result<Report, Trouble> {
    let policies = [policy::load(old, &asking.host)?, policy::load(new, &asking.host)?];
    let rules = Rules::of(&policies[0], &policies[1]);
    let mut asked = Known::new(asking.host.clone(), policies.iter().any(Policy::asks_where));
    let beside = [old, new].map(policy::test_file).into_iter().filter(|file| file.exists());
    for file in beside.chain(cases.map(PathBuf::from)) {
        policy::cases::read(&file)?.cases.into_iter().for_each(|case| asked.add_case(case));
    }
    if let Some(record) = record {
        asked.read(record)?;
    }
    let mut judges = BTreeMap::new();
    for host in asked.hosts() {
        let asking = Asking { host: host.clone(), ..*asking };
        judges.insert(host, (asking.judge(old)?, asking.judge(new)?));
    }
    let changes = asked.judged(&judges);
    let same = rules.is_nothing() && changes.changed.is_empty();
    Ok(Report {
        text: rules.text() + &changes.text(),
        json: json!({ "rules": rules.value(), "operations": changes.value() }),
        code: u8::from(!same),
    })
}

/// What became of the rules, by name.
struct Rules {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
    reordered: bool,
    /// Whether other things are masked.
    masks: bool,
}

impl Rules {
    fn of(before: &Policy, after: &Policy) -> Self {
        let by_name = |policy: &Policy| {
            policy.rules.iter().map(|rule| (rule.name.clone(), spelled(policy, rule))).collect::<HashMap<_, _>>()
        };
        let (old, new) = (by_name(before), by_name(after));
        let names = |policy: &Policy, keep: &dyn Fn(&String) -> bool| -> Vec<String> {
            policy.rules.iter().map(|rule| rule.name.clone()).filter(keep).collect()
        };
        let in_both = |name: &String| old.contains_key(name) && new.contains_key(name);
        Self {
            added: names(after, &|name| !old.contains_key(name)),
            removed: names(before, &|name| !new.contains_key(name)),
            changed: names(after, &|name| in_both(name) && old[name] != new[name]),
            reordered: names(before, &in_both) != names(after, &in_both),
            masks: before.masks.said != after.masks.said,
        }
    }

    fn is_nothing(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && !self.reordered && !self.masks
    }

    fn text(&self) -> String {
        let lines =
            |what: &str, names: &[String]| names.iter().map(|name| format!("{what}  {name:?}\n")).collect::<String>();
        let order = if self.reordered { "the rules stand in another order\n" } else { "" };
        let masks = if self.masks { "other things are masked\n" } else { "" };
        let none = if self.is_nothing() { "the rules are the same\n" } else { "" };
        [
            &*lines("added  ", &self.added),
            &*lines("removed", &self.removed),
            &*lines("changed", &self.changed),
            order,
            masks,
            none,
        ]
        .concat()
    }

    fn value(&self) -> Value {
        let Self { added, removed, changed, reordered, masks } = self;
        json!({ "added": added, "removed": removed, "changed": changed, "reordered": reordered, "masks": masks })
    }
}

/// All that a rule says, whatever the numbers of its subjects and its place.
fn spelled(policy: &Policy, rule: &Rule) -> String {
    let Rule { name: _, why, subjects, when, only, then, span: _ } = rule;
    let subjects: Vec<_> =
        subjects.iter().filter_map(|index| policy.subjects.get(*index as usize)).map(|subject| &subject.name).collect();
    format!("{:?}", (why, subjects, when, only, then))
}

/// What is known to be asked: by test files, and by the record.
struct Known {
    /// The host that is meant where none is said.
    host: Host,
    /// Whether it matters where who asks works.
    asks_where: bool,
    asked: Vec<(Question, usize)>,
    places: HashMap<String, usize>,
    /// Lines of the record that cannot be asked again.
    left_out: usize,
}

/// A request on a host.
#[derive(Debug)]
struct Question {
    host: Host,
    asked: Asked,
}

impl Known {
    fn new(host: Host, asks_where: bool) -> Self {
        Self { host, asks_where, asked: Vec::new(), places: HashMap::new(), left_out: 0 }
    }

    /// Adds what a test file asks: once, whoever else asks it.
    fn add_case(&mut self, case: Case) {
        let host = case.host.unwrap_or_else(|| self.host.clone());
        let (_, count) = self.entry(Question { host, asked: case.asked });
        *count = (*count).max(1);
    }

    fn add(&mut self, asked: Asked) {
        let host = self.host.clone();
        self.entry(Question { host, asked }).1 += 1;
    }

    fn entry(&mut self, question: Question) -> &mut (Question, usize) {
        let next = self.asked.len();
        let place = *self.places.entry(format!("{question:?}")).or_insert(next);
        if place == next {
            self.asked.push((question, 0));
        }
        &mut self.asked[place]
    }

    /// The hosts that are asked about.
    fn hosts(&self) -> BTreeSet<Host> {
        self.asked.iter().map(|(question, _)| question.host.clone()).collect()
    }

    fn read(&mut self, record: &Path) -> Result<(), Trouble> {
        let unreadable = |error| unreadable(record, &error);
        let mut replay = Replay::default();
        let mut seen = std::collections::HashSet::new();
        for line in BufReader::new(File::open(record).map_err(unreadable)?).split(b'\n') {
            // A torn line is no line of the record.
            let Ok(line) = serde_json::from_slice::<Value>(&line.map_err(unreadable)?) else { continue };
            // After a restart of the agent a hold is recorded again.
            if line["hold"].as_str().is_some_and(|hold| line["event"] == "held" && !seen.insert(hold.to_owned())) {
                continue;
            }
            match replay.line(&line) {
                Line::Asks(asked) if asked.cwd.is_none() && self.asks_where => self.left_out += 1,
                Line::Asks(asked) => self.add(*asked),
                Line::CannotBeAsked => self.left_out += 1,
                Line::SomethingElse => (),
            }
        }
        Ok(())
    }

    /// What changes from the first of each host's judges to the second.
    fn judged(self, judges: &BTreeMap<Host, (Judge, Judge)>) -> Changes {
        let mut changes = Changes { judged: 0, left_out: self.left_out, changed: Vec::new() };
        for (Question { host, asked }, count) in self.asked {
            let (before, after) = &judges[&host];
            let (Ok(old), Ok(new)) = (before.ask(&known_to(before, &asked)), after.ask(&known_to(after, &asked)))
            else {
                changes.left_out += count;
                continue;
            };
            changes.judged += count;
            if old.verdict != new.verdict {
                changes.changed.push(Change {
                    what: format!("{}: {}", asked.subject, asked.what),
                    count,
                    before: decided(before, old),
                    after: decided(after, new),
                    now: verdict_word(new.verdict),
                });
            }
        }
        changes
    }
}

/// The same, without the labels that the policy has no rule on.
fn known_to(judge: &Judge, asked: &Asked) -> Asked {
    let mut asked = asked.clone();
    asked.read.retain(|name| judge.policy.labels.iter().any(|label| label.name == *name));
    asked
}

struct Changes {
    judged: usize,
    left_out: usize,
    changed: Vec<Change>,
}

struct Change {
    what: String,
    count: usize,
    before: String,
    after: String,
    now: &'static str,
}

impl Changes {
    fn text(&self) -> String {
        let mut text = String::new();
        for Change { what, before, after, .. } in self.changed.iter().take(SHOWN) {
            text += &format!("{what}\n  before  {before}\n  after   {after}\n");
        }
        if self.changed.len() > SHOWN {
            text += &format!("and {} more\n", self.changed.len() - SHOWN);
        }
        for (now, count) in self.sums() {
            text += &format!("{count} operation{} would now {}\n", if count == 1 { "" } else { "s" }, become_of(now));
        }
        text += &format!("{} judged under both", self.judged);
        if self.left_out != 0 {
            text += &format!(", {} could not be", self.left_out);
        }
        text + "\n"
    }

    fn sums(&self) -> BTreeMap<&'static str, usize> {
        let mut sums = BTreeMap::new();
        self.changed.iter().for_each(|change| *sums.entry(change.now).or_default() += change.count);
        sums
    }

    fn value(&self) -> Value {
        let changed: Vec<_> = self.changed.iter().map(|Change { what, count, before, after, .. }| {
            json!({ "request": what, "count": count, "before": before, "after": after })
        }).collect();
        json!({ "judged": self.judged, "left_out": self.left_out, "now": self.sums(), "changed": changed })
    }
}

fn become_of(verdict: &str) -> &'static str {
    match verdict {
        "allow" => "be allowed",
        "audit" => "be allowed on record",
        "hold" => "be held",
        "deny" => "be denied",
        _ => "be denied and their processes killed",
    }
}
