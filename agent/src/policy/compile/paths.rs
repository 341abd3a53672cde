//! Path patterns to automata: rules on files, and what starts a governed tree.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
};

use holdpoint_common::tables::{
    ANYWHERE, CANARIES, CGROUPS, ELSEWHERE, ENROLMENT, LITERAL_BYTES, Marks, NO_RULE, NameKey, Named, RootKey,
    STARTERS, State, UNKNOWN, WORKPLACES, class_name,
};

use super::{
    Canaries, Tables,
    automaton::{self, Effect, Ids, Line},
    choice::{Choices, Row},
    letters::Alphabet,
    limits, shown,
    workplaces::Workplaces,
};
use crate::policy::{
    Pattern, Place, Places, Policy, Rule,
    pattern::{NAME_LIMIT, Part, can_be_spelled},
    problem::{Problem, Span},
    wildcard::Wildcard,
};

/// The lines of each automaton, by subject and device.
type Lines = BTreeMap<(u32, u32), Vec<Line>>;

/// Adds the policy's rules on paths, its labels, and the canaries'.
pub fn compile(
    policy: &Policy,
    revision: u32,
    places: &dyn Places,
    workplaces: &Workplaces<'_>,
    canaries: Option<&Canaries<'_>>,
    tables: &mut Tables,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut lines = of_rules(policy, places, &mut problems);
    add_labels(policy, places, &mut lines, &mut problems);
    add_workplaces(workplaces, places, &mut lines, &mut problems);
    for ((subject, device), starters) in of_starters(policy, places, &mut problems) {
        lines.insert((subject, device), starters);
    }
    if let Some(canaries) = canaries {
        add_sites(policy, places, canaries, &mut lines);
    }
    let Some(alphabet) = Alphabet::new(wildcards(&lines), of_arguments(policy), limits::LETTERS) else {
        problems.push(too_entangled(policy));
        return problems;
    };
    let alphabet = Arc::new(alphabet);
    tables.alphabet = Arc::clone(&alphabet);
    let mut ids = Ids::new(revision);
    let mut choices = Choices::new(policy, revision, tables);
    for ((subject, device), lines) in &lines {
        let (names, lines): (Vec<_>, Vec<_>) =
            lines.iter().cloned().partition(|line| line.anywhere && line.parts.len() == 2);
        let (mut root, edges) = automaton::build(&lines, &alphabet, &mut ids, &mut choices);
        if *device == ANYWHERE {
            root.ways |= if lines.is_empty() { 0 } else { State::SEVERAL };
            root.ways |= add_names(*subject, revision, &names, &alphabet, &mut choices, tables);
        }
        tables.roots.insert(RootKey { revision, subject: *subject, device: *device }, root);
        tables.edges.extend(edges);
        if tables.is_overfull() {
            break;
        }
    }
    let subjects = (0..policy.subjects.len() as u32).map(|subject| (subject, None));
    let canaries =
        canaries.into_iter().flat_map(|_| CANARIES.map(|subject| (subject, Some(policy.rules.len() as u32))));
    for (subject, canary) in subjects.chain(canaries) {
        note_unknown(policy, revision, subject, canary, &mut ids, &mut choices, tables);
    }
    note_unknown_workplaces(workplaces, revision, &mut ids, tables);
    problems.extend(choices.give_back(tables));
    problems
}

fn of_rules(policy: &Policy, places: &dyn Places, problems: &mut Vec<Problem>) -> Lines {
    let mut lines = Lines::new();
    for (index, rule) in (0..).zip(&policy.rules) {
        for pattern in rule.paths().0 {
            for (device, parts, effect) in placed_of_rule(rule, pattern, places, problems) {
                for subject in &rule.subjects {
                    let line = Line { parts: parts.clone(), anywhere: device == ANYWHERE, rule: index, effect };
                    lines.entry((*subject, device)).or_default().push(line);
                }
            }
        }
    }
    lines
}

/// A label is for every subject, whose rules it may concern.
fn add_labels(policy: &Policy, places: &dyn Places, lines: &mut Lines, problems: &mut Vec<Problem>) {
    for label in &policy.labels {
        for (device, parts) in
            label.patterns.iter().flat_map(|pattern| placed(false, pattern, &label.span, places, problems))
        {
            for subject in 0..policy.subjects.len() as u32 {
                let effect = Effect::Labels(label.mask());
                let line = Line { parts: parts.clone(), anywhere: device == ANYWHERE, rule: NO_RULE, effect };
                lines.entry((subject, device)).or_default().push(line);
            }
        }
    }
}

/// The working directories that rules ask for, as labels that a subject of their own has.
fn add_workplaces(workplaces: &Workplaces<'_>, places: &dyn Places, lines: &mut Lines, problems: &mut Vec<Problem>) {
    for (mask, set) in workplaces.sets() {
        let placed = set.patterns.iter().flat_map(|pattern| placed(set.lets_pass, pattern, set.span, places, problems));
        for (device, parts) in placed {
            let line = Line { parts, anywhere: device == ANYWHERE, rule: NO_RULE, effect: Effect::Labels(mask) };
            lines.entry((WORKPLACES, device)).or_default().push(line);
        }
    }
}

/// A rule's pattern as it is spelled on each file system that it leads to, and what keeps the mounts there in place.
fn placed_of_rule(
    rule: &Rule,
    pattern: &Pattern,
    places: &dyn Places,
    problems: &mut Vec<Problem>,
) -> Vec<(u32, Vec<Part>, Effect)> {
    let placed = placed(rule.lets_pass(), pattern, &rule.span, places, problems);
    let mut kept = Vec::new();
    if let Some((path, rest)) = pattern.beginning()
        && rule.stands_in_the_way()
        && !pattern.is_everything()
    {
        // What is mounted goes, and every rule on it, when what it is mounted over is removed or replaced (from another
        // mount namespace, that works), or moves away along with a directory above it. A rule that stands in the way of
        // what is mounted stands in the way of that. One on everything does so wherever the files are.
        kept = places.mount_points(&path, !rest.is_empty());
    }
    let placed = placed.into_iter().map(|(device, parts)| (device, parts, Effect::Accepts));
    let kept = kept.into_iter().map(|point| {
        // As for `reachable`: too much is held, never too little.
        let rest = if can_be_spelled(&point.components) { Vec::new() } else { vec![Part::Any] };
        let point = cut(point);
        (point.device, spelled(&point, rest), Effect::Keeps)
    });
    placed.chain(kept).collect()
}

/// A pattern as it is spelled on each file system that it leads to.
fn placed(
    lets_pass: bool,
    pattern: &Pattern,
    span: &Span,
    places: &dyn Places,
    problems: &mut Vec<Problem>,
) -> Vec<(u32, Vec<Part>)> {
    let Some((path, rest)) = pattern.beginning() else {
        let parts = [Part::Any].into_iter().chain(pattern.parts.iter().cloned()).collect();
        return vec![(ANYWHERE, parts)];
    };
    let placed = match rest {
        [] => spellable(places.resolve(&path), &path, span, problems)
            .into_iter()
            .map(|place| (place, Vec::new()))
            .collect(),
        [Part::Any] => {
            let below = reachable(places.below(&path), lets_pass);
            let below = if pattern.is_everything() { whole(&below) } else { below };
            below.into_iter().map(|place| (place, vec![Part::Any])).collect()
        }
        rest => like(lets_pass, &path, rest, places),
    };
    placed.into_iter().map(|(place, rest)| (place.device, spelled(&place, rest))).collect()
}

/// Where the directory `path` lives, with what a pattern goes on with there; and where the file systems live that are
/// mounted below, with what is left of the pattern at each.
fn like(lets_pass: bool, path: &Path, rest: &[Part], places: &dyn Places) -> Vec<(Place, Vec<Part>)> {
    let here = places.resolve(path).into_iter().map(|place| (place, rest.to_vec()));
    let mounted = places
        .mounted(path)
        .into_iter()
        .flat_map(|(names, place)| left(rest, &names).into_iter().map(move |rest| (place.clone(), rest.to_vec())));
    let all = here.chain(mounted).filter(|(place, _)| !lets_pass || can_be_spelled(&place.components));
    let all = all.map(
        |(place, rest)| if can_be_spelled(&place.components) { (place, rest) } else { (cut(place), vec![Part::Any]) },
    );
    all.collect()
}

/// What can be left of a pattern once it has accepted these names.
fn left<'a>(parts: &'a [Part], names: &[OsString]) -> BTreeSet<&'a [Part]> {
    let mut left = BTreeSet::from([parts]);
    for name in names {
        let next = left.iter().flat_map(|parts| after(parts, name.as_bytes()));
        left = next.collect();
    }
    left
}

/// What can be left of them after one name.
fn after<'a>(parts: &'a [Part], name: &[u8]) -> Vec<&'a [Part]> {
    match parts.split_first() {
        // It goes on, or has come to its end before this name.
        Some((Part::Any, rest)) => [vec![parts], after(rest, name)].concat(),
        Some((part, rest)) if part.accepts(name) => vec![rest],
        _ => Vec::new(),
    }
}

/// The pseudo subject whose rules are the starters of governed trees.
fn of_starters(policy: &Policy, places: &dyn Places, problems: &mut Vec<Problem>) -> Lines {
    let mut lines = Lines::new();
    for (index, subject) in (STARTERS..).zip(&policy.subjects) {
        let mut add = |device, parts, rule, effect| {
            let line = Line { parts, anywhere: false, rule, effect };
            lines.entry((ENROLMENT, device)).or_default().push(line);
        };
        // What can start a subject has the label of its number in the policy.
        let parent = Effect::Labels(1 << (index - STARTERS));
        let starters = subject.exe.iter().map(|path| (path, index, Effect::Starts));
        for (path, rule, effect) in starters.chain(subject.parent.iter().map(|path| (path, NO_RULE, parent))) {
            for place in spellable(places.resolve(path), path, &subject.span, problems) {
                add(place.device, spelled(&place, Vec::new()), rule, effect);
            }
        }
        for pattern in &subject.cgroup {
            let begin = pattern.anywhere.then_some(Part::Any);
            let parts = begin.into_iter().chain(pattern.parts.iter().cloned()).collect();
            add(CGROUPS, parts, index, Effect::Starts);
        }
    }
    lines
}

/// Denies the canaries every access to their sites and all that is in them, and programs of their name. These lines come
/// last, so that nothing changes what they say.
fn add_sites(policy: &Policy, places: &dyn Places, canaries: &Canaries<'_>, lines: &mut Lines) {
    let rule = policy.rules.len() as u32;
    for subject in CANARIES {
        let placed = canaries.sites.iter().flat_map(|site| places.resolve(site));
        for place in placed.filter(|place| can_be_spelled(&place.components)) {
            let line = Line { parts: spelled(&place, vec![Part::Any]), anywhere: false, rule, effect: Effect::Denies };
            lines.entry((subject, place.device)).or_default().push(line);
        }
        let parts = vec![Part::Any, Part::Name(canaries.program.into())];
        let line = Line { parts, anywhere: true, rule, effect: Effect::DeniesExec };
        lines.entry((subject, ANYWHERE)).or_default().push(line);
    }
}

fn wildcards(lines: &Lines) -> BTreeSet<Wildcard> {
    let parts = lines.values().flatten().flat_map(|line| &line.parts);
    parts.filter_map(|part| if let Part::Like(wildcard) = part { Some(wildcard.clone()) } else { None }).collect()
}

fn of_arguments(policy: &Policy) -> BTreeSet<Wildcard> {
    policy.rules.iter().flat_map(|rule| &rule.only.arguments).flat_map(|argument| argument.like.clone()).collect()
}

fn too_entangled(policy: &Policy) -> Problem {
    let is_like = |pattern: &Pattern| pattern.parts.iter().any(|part| matches!(part, Part::Like(_)));
    let has_like = |rule: &Rule| rule.only.arguments.iter().any(|argument| !argument.like.is_empty());
    let rule = policy.rules.iter().rfind(|rule| rule.paths().0.iter().any(is_like) || has_like(rule));
    let message = format!("the wildcards of the policy, taken together, need more than {} states", limits::LETTERS);
    let remedy = "use fewer names with several * in them, or name a directory above";
    Problem::new(rule.map_or(0..0, |rule| rule.span.clone()), message, remedy)
}

/// Adds the rows of patterns that are one name, wherever it stands. Says what leads to them.
fn add_names(
    subject: u32,
    revision: u32,
    lines: &[Line],
    alphabet: &Alphabet,
    choices: &mut Choices<'_>,
    tables: &mut Tables,
) -> u32 {
    let name_of = |line: &Line| line.parts[1].clone();
    let mut add = |name, accepts: &dyn Fn(&Part) -> bool| {
        let mut row = Row::default();
        lines.iter().filter(|line| accepts(&line.parts[1])).for_each(|line| line.note(choices.rules(), &mut row));
        let labels = lines.iter().filter(|line| accepts(&line.parts[1])).fold(0, |mask, line| mask | line.labels());
        let marks = row.marks(choices);
        if marks != Marks::NONE || labels != 0 {
            tables.names.insert(NameKey { revision, subject, name }, Named { labels, marks });
        }
    };
    let names: BTreeSet<_> = lines.iter().map(name_of).collect();
    for part in &names {
        if let Part::Name(name) = part {
            add(padded(name), &|part| part.accepts(name.as_bytes()));
        }
    }
    let is_in = |part: &Part, class: &BTreeSet<usize>| matches!(part, Part::Like(wildcard) if class.contains(&alphabet.index(wildcard)));
    for (class, wildcards) in &alphabet.classes {
        add(class_name(*class), &|part| is_in(part, wildcards));
    }
    if names.iter().any(|part| matches!(part, Part::Like(_))) { State::CLASSES } else { 0 }
}

/// The places that the tables can spell out; the others are problems.
fn spellable(places: Vec<Place>, path: &Path, span: &Span, problems: &mut Vec<Problem>) -> Vec<Place> {
    let (good, bad): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| can_be_spelled(&place.components));
    for place in bad {
        let message =
            format!("{} is {} in its file system, which cannot be spelled out", path.display(), shown(&place));
        let remedy = format!("name a directory above it: components of at most {NAME_LIMIT} bytes");
        problems.push(Problem::new(span.clone(), message, remedy));
    }
    good
}

/// The places of a directory and of what is mounted below it. Where one cannot be spelled out (a container's
/// mount under a name of 64 digits), a rule that lets pass leaves it out, and any other takes the nearest
/// directory above that can: too much is held, never too little.
fn reachable(places: Vec<Place>, lets_pass: bool) -> Vec<Place> {
    let spellable = |place: &Place| !lets_pass || can_be_spelled(&place.components);
    places.into_iter().filter(spellable).map(cut).collect()
}

fn cut(mut place: Place) -> Place {
    while !can_be_spelled(&place.components) {
        place.components.pop();
    }
    place
}

/// The whole of each file system that is there with a part.
fn whole(places: &[Place]) -> Vec<Place> {
    let devices: BTreeSet<_> = places.iter().map(|place| place.device).collect();
    devices.into_iter().map(|device| Place { device, components: Vec::new() }).collect()
}

/// The place's names, and what comes after them.
fn spelled(place: &Place, rest: Vec<Part>) -> Vec<Part> {
    let names = place.components.iter().cloned().map(Part::Name);
    names.chain(rest).collect()
}

pub fn padded(name: &OsStr) -> [u8; LITERAL_BYTES] {
    let mut padded = [0; LITERAL_BYTES];
    padded[..name.len()].copy_from_slice(name.as_bytes());
    padded
}

/// The rows for what no automaton leads to. A path that could not be walked meets the first rule that might have accepted it
/// and does not let pass; a file on a file system that is mounted nowhere here (a memfd, another mount namespace's) meets
/// the first rule on `/**`. Likewise the one may have any label, and the other has those of `/**`.
fn note_unknown(
    policy: &Policy,
    revision: u32,
    subject: u32,
    canary: Option<u32>,
    ids: &mut Ids,
    choices: &mut Choices<'_>,
    tables: &mut Tables,
) {
    let mut possible = Row::default();
    let mut certain = Row::default();
    for (index, rule) in (0..).zip(&policy.rules).filter(|(_, rule)| rule.subjects.contains(&subject)) {
        if everything(rule) {
            certain.note(index, |slot| rule.accepts(slot));
        }
        if everything(rule) && rule.only.is_nothing() || !rule.lets_pass() {
            possible.note(index, |slot| rule.accepts(slot));
        }
    }
    let mut possible = possible.until(|index| passes(policy, index));
    if let Some(rule) = canary {
        possible.note(rule, |slot| slot == Marks::EXEC);
        certain.note(rule, |slot| slot == Marks::EXEC);
    }
    let (any, every) = match canary {
        Some(_) => (0, 0),
        None => (policy.mask_of(|_| true), policy.mask_of(|label| label.patterns.iter().any(Pattern::is_everything))),
    };
    let (possible, certain) = (possible.strict_marks(choices), certain.marks(choices));
    for (device, marks, labels) in [(UNKNOWN, possible, any), (ELSEWHERE, certain, every)] {
        if marks != Marks::NONE || labels != 0 {
            tables.roots.insert(RootKey { revision, subject, device }, alone(ids, marks, labels));
        }
    }
}

/// Likewise, for working directories. That the first row is there says that the policy asks for some.
fn note_unknown_workplaces(workplaces: &Workplaces<'_>, revision: u32, ids: &mut Ids, tables: &mut Tables) {
    if workplaces.is_empty() {
        return;
    }
    let possible = workplaces.mask_of(|set| !set.lets_pass);
    let certain = workplaces.mask_of(|set| set.patterns.iter().any(Pattern::is_everything));
    for (device, labels) in [(UNKNOWN, possible), (ELSEWHERE, certain)] {
        let state = alone(ids, Marks::NONE, labels);
        tables.roots.insert(RootKey { revision, subject: WORKPLACES, device }, state);
    }
}

/// A state that nothing leads out of.
fn alone(ids: &mut Ids, marks: Marks, labels: u64) -> State {
    let (id, ways) = (ids.next(), State::LAST);
    State { labels, labels_below: 0, id, ways, below: NO_RULE, reserved: 0, marks }
}

fn everything(rule: &Rule) -> bool {
    rule.paths().0.iter().any(Pattern::is_everything)
}

fn passes(policy: &Policy, index: u32) -> bool {
    policy.rule(index).is_some_and(Rule::lets_pass)
}
