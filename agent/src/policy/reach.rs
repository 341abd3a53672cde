//! What can never take effect, since something earlier takes everything that it would match: refused,
//! because whoever wrote it believes otherwise. Judged by the spelling; where that cannot tell, nothing is
//! said (a link may lead a path out of the directory that seems to cover it).

use std::{collections::BTreeSet, ops::RangeInclusive};

use holdpoint_common::{request::Class, system::System};

use super::{Block, Pattern, Rule, Subject, When, classes, problem::Problem, problem::Source};

/// The rules that can never match, and the subjects' starters that can never start them.
pub fn problems(subjects: &[Subject], rules: &[Rule], source: &Source) -> Vec<Problem> {
    let starters = (0..subjects.len()).flat_map(|index| idle_starters(subjects, index));
    let idle = (0..rules.len()).filter_map(|index| idle_rule(rules, index, source));
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
    let takes_all = |earlier: &&Subject| earlier.users.is_empty() || earlier.users == subject.users;
    for earlier in subjects[..index].iter().filter(takes_all) {
        let exe = subject.exe.iter().filter(|path| earlier.exe.contains(path)).map(|path| path.display().to_string());
        let cgroup = subject.cgroup.iter().filter(|group| earlier.cgroup.iter().any(|wide| wide.covers(group)));
        problems.extend(exe.chain(cgroup.map(Pattern::to_string)).map(|what| problem(what, earlier)));
    }
    problems
}

fn idle_rule(rules: &[Rule], index: usize, source: &Source) -> Option<Problem> {
    let rule = &rules[index];
    let mut takers = BTreeSet::new();
    for &subject in &rule.subjects {
        for atom in atoms(&rule.when) {
            takers.insert(taker(&rules[..index], subject, &atom)?);
        }
    }
    let first = &rules[*takers.first()?];
    let named: Vec<_> = takers.iter().map(|taker| &rules[*taker]).map(|rule| located(rule, source)).collect();
    let message = format!("rule {:?} can never match: {} takes all of it", rule.name, named.join(" and "));
    let remedy = "the first rule that matches wins: put the narrower rule first, or remove it";
    Some(Problem::new(rule.span.clone(), message, remedy).against(first.span.clone()))
}

fn located(rule: &Rule, source: &Source) -> String {
    format!("rule {:?} in line {}", rule.name, source.position(rule.span.start).0)
}

/// The smallest parts of what a rule matches.
enum Atom<'a> {
    Path(&'a Pattern, Class),
    Connection(Block, &'a RangeInclusive<u16>),
    System(System),
}

fn atoms(when: &When) -> Vec<Atom<'_>> {
    match when {
        When::Open { paths, access } => paths.iter().flat_map(|path| by_class(path, *access)).collect(),
        When::Exec { paths } => paths.iter().flat_map(|path| by_class(path, Class::Exec.bit())).collect(),
        When::Connect { to, ports } => {
            to.iter().flat_map(|block| ports.iter().map(|range| Atom::Connection(*block, range))).collect()
        }
        When::System { which } => which.iter().map(|system| Atom::System(*system)).collect(),
    }
}

fn by_class(path: &Pattern, access: u32) -> impl Iterator<Item = Atom<'_>> {
    classes(access).map(move |class| Atom::Path(path, class))
}

/// The rule that takes all of `atom`.
fn taker(earlier: &[Rule], subject: u32, atom: &Atom<'_>) -> Option<usize> {
    earlier.iter().position(|rule| rule.subjects.contains(&subject) && takes(rule, atom))
}

fn takes(rule: &Rule, atom: &Atom<'_>) -> bool {
    if !rule.only.is_nothing() {
        return false;
    }
    match (&rule.when, atom) {
        (When::Connect { to, ports }, Atom::Connection(block, range)) => {
            to.iter().any(|wide| wide.contains(*block))
                && ports.iter().any(|wide| wide.start() <= range.start() && range.end() <= wide.end())
        }
        (When::System { which }, Atom::System(system)) => which.contains(system),
        (_, Atom::Path(path, class)) => {
            let (paths, access) = rule.paths();
            access & class.bit() != 0 && paths.iter().any(|wide| wide.covers(path))
        }
        _ => false,
    }
}
