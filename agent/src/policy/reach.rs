//! What can never take effect, since something earlier takes everything that it would match: refused,
//! because whoever wrote it believes otherwise. Judged by the spelling; where that cannot tell, nothing is
//! said (a link may lead a path out of the directory that seems to cover it).

use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
};

use holdpoint_common::{system::System, tables::Marks};

use super::{Block, Pattern, Rule, Subject, When, address::ByBlock, pattern::Part, problem::Problem, source::Source};

/// The rules that can never match, and the subjects' starters that can never start them.
pub fn problems(subjects: &[Subject], rules: &[Rule], source: &Source) -> Vec<Problem> {
    let starters = (0..subjects.len()).flat_map(|index| idle_starters(subjects, index));
    let mut earlier = Earlier { rules, ..Earlier::default() };
    let idle = (0..rules.len()).filter_map(|index| {
        let problem = idle_rule(&earlier, index, source);
        earlier.add(index);
        problem
    });
    starters.chain(idle).collect()
}

fn idle_starters(subjects: &[Subject], index: usize) -> Vec<Problem> {
    let subject = &subjects[index];
    let problem = |what: String, earlier: &Subject| {
        let message = format!("{what} starts the subject {:?} already", earlier.name);
        Problem::new(subject.span.clone(), message, "the first subject wins: remove one, or put the narrower one first")
            .against(earlier.span.clone())
    };
    let mut problems = Vec::new();
    let takes_all = |earlier: &&Subject| !earlier.has_conditions() || earlier.conditions() == subject.conditions();
    for earlier in subjects[..index].iter().filter(takes_all) {
        let exe = subject.exe.iter().filter(|path| earlier.exe.contains(path)).map(|path| path.display().to_string());
        let cgroup = subject.cgroup.iter().filter(|group| earlier.cgroup.iter().any(|wide| wide.covers(group)));
        problems.extend(exe.chain(cgroup.map(Pattern::to_string)).map(|what| problem(what, earlier)));
    }
    problems
}

fn idle_rule(earlier: &Earlier<'_>, index: usize, source: &Source) -> Option<Problem> {
    let rules = earlier.rules;
    let rule = &rules[index];
    let mut takers = BTreeSet::new();
    let atoms = atoms(rule);
    if atoms.is_empty() {
        let message = format!("rule {:?} can never match: whoever asks for that asks for more", rule.name);
        return Some(Problem::new(rule.span.clone(), message, "who truncates writes, too: add \"write\" to access"));
    }
    for &subject in &rule.subjects {
        for atom in &atoms {
            takers.insert(earlier.taker(subject, atom)?);
        }
    }
    let first = &rules[*takers.first()?];
    let named: Vec<_> = takers.iter().map(|taker| located(&rules[*taker], rule, source)).collect();
    let message = format!("rule {:?} can never match: {} takes all of it", rule.name, named.join(" and "));
    let remedy = "the first rule that matches wins: put the narrower rule first, or remove it";
    Some(Problem::new(rule.span.clone(), message, remedy).against(first.span.clone()))
}

/// Its name, with its line if `other` stands in the same file.
fn located(rule: &Rule, other: &Rule, source: &Source) -> String {
    let place = source.position(rule.span.start);
    match place.file == source.position(other.span.start).file {
        true => format!("rule {:?} in line {}", rule.name, place.line),
        false => format!("rule {:?}", rule.name),
    }
}

/// The smallest parts of what a rule matches.
enum Atom<'a> {
    /// A path, and what is asked for there: a slot of [`Marks`].
    Path(&'a Pattern, usize),
    Connection(Block, &'a RangeInclusive<u16>),
    System(System),
}

fn atoms(rule: &Rule) -> Vec<Atom<'_>> {
    match &rule.when {
        When::Open { paths, .. } | When::Exec { paths } => {
            let slots = || (0..Marks::SLOTS).filter(|slot| rule.accepts(*slot));
            paths.iter().flat_map(|path| slots().map(move |slot| Atom::Path(path, slot))).collect()
        }
        When::Connect { to, ports } => {
            to.iter().flat_map(|block| ports.iter().map(|range| Atom::Connection(*block, range))).collect()
        }
        When::System { which } => which.iter().map(|system| Atom::System(*system)).collect(),
    }
}

/// Whether a pattern may begin anywhere, and the names that it begins with.
type Beginning<'a> = (bool, &'a [Part]);

/// The rules before one that ask for nothing but their object, found by it.
#[derive(Default)]
struct Earlier<'a> {
    rules: &'a [Rule],
    paths: HashMap<Beginning<'a>, Vec<(usize, &'a Pattern)>>,
    connections: ByBlock<usize>,
    system: Vec<usize>,
}

impl<'a> Earlier<'a> {
    fn add(&mut self, index: usize) {
        let rule = &self.rules[index];
        if !rule.only.is_nothing() {
            return;
        }
        match &rule.when {
            When::Connect { to, .. } => to.iter().for_each(|block| self.connections.insert(*block, index)),
            When::System { .. } => self.system.push(index),
            When::Open { paths, .. } | When::Exec { paths } => {
                for pattern in paths {
                    let key = (pattern.anywhere, &pattern.parts[..names(&pattern.parts)]);
                    self.paths.entry(key).or_default().push((index, pattern));
                }
            }
        }
    }

    /// The rule that takes all of `atom`.
    fn taker(&self, subject: u32, atom: &Atom<'_>) -> Option<usize> {
        let is_for = |index: &usize| self.rules[*index].subjects.contains(&subject);
        match atom {
            Atom::Connection(block, range) => {
                let around = self.connections.around(*block).copied();
                around.filter(is_for).filter(|index| has_ports(&self.rules[*index], range)).min()
            }
            Atom::System(system) => {
                let named = |index: &usize| matches!(&self.rules[*index].when, When::System { which } if which.contains(system));
                self.system.iter().copied().filter(is_for).find(named)
            }
            Atom::Path(path, slot) => {
                let accepts = |index: usize| self.rules[index].accepts(*slot);
                let taken = |(index, wide): &(usize, &Pattern)| is_for(index) && accepts(*index) && wide.covers(path);
                self.beginning_like(path).filter(taken).map(|(index, _)| index).min()
            }
        }
    }

    /// The patterns that begin with names that `path` has in their place: only these can cover it.
    fn beginning_like(&self, path: &'a Pattern) -> impl Iterator<Item = (usize, &'a Pattern)> {
        let parts = path.parts.as_slice();
        let starts = if path.anywhere { parts.len() } else { 0 };
        let beginnings = (0..=starts).flat_map(move |start| {
            (0..=names(&parts[start..])).map(move |count| (path.anywhere, &parts[start..start + count]))
        });
        // `/**` covers what begins anywhere, too.
        let everything = path.anywhere.then_some((false, &parts[..0]));
        beginnings.chain(everything).filter_map(|key| self.paths.get(&key)).flatten().copied()
    }
}

/// How many names the parts begin with.
fn names(parts: &[Part]) -> usize {
    parts.iter().take_while(|part| matches!(part, Part::Name(_))).count()
}

fn has_ports(rule: &Rule, range: &RangeInclusive<u16>) -> bool {
    let When::Connect { ports, .. } = &rule.when else { return false };
    ports.iter().any(|wide| wide.start() <= range.start() && range.end() <= wide.end())
}
