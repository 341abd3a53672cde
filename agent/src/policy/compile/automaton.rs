//! The automaton of one subject's path patterns on one file system, in states of the kernel's table.
//!
//! A state is the set of places in patterns that a path has led to so far (subset construction). Names that stand in a
//! pattern have edges of their own; others go by the class of their letters, or otherwise. Below a directory all of which a
//! rule accepts, later rules on the same access decide nothing, so their places are left out: without that, each set of
//! `**/name/**` that a path can have met would be a state. And where some places stay whatever name comes (`**`), the edges
//! that these have in any case are those of one state, which [`OTHERWISE`] leads to, and not repeated in each.
//!
//! State ids are unique among the revisions that a kernel can hold at once: the revision's number, modulo 4096, in the
//! upper 12 bits, a counter in the lower 20. So two revisions share none unless 4096 or a multiple lies between them; the
//! agent keeps two, one after the other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    rc::Rc,
};

use holdpoint_common::{
    request::Class,
    tables::{EdgeKey, LITERAL_BYTES, Marks, NO_RULE, OTHERWISE, State, class_name},
};

use super::{
    choice::{Choices, Row},
    letters::Alphabet,
    limits,
};
use crate::policy::{Rule, pattern::Part};

/// Bits of a state id that count within a revision.
const COUNTER_BITS: u32 = 20;

const _: () = assert!(limits::ROOTS + limits::EDGES < 1 << COUNTER_BITS, "one past each limit must still be counted");

/// Whether the state with this id is one of revision number `revision`, or of one 4096 before or after it.
pub fn is_state_of(id: u32, revision: u32) -> bool {
    id >> COUNTER_BITS == revision << COUNTER_BITS >> COUNTER_BITS
}

/// One pattern from the root of a file system on, and what it does where it ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Name by name.
    pub parts: Vec<Part>,
    /// Whether the first of them stands for the directories in which a pattern may begin anywhere.
    pub anywhere: bool,
    /// Index of the rule; [`NO_RULE`] where it is none.
    pub rule: u32,
    /// What follows there.
    pub effect: Effect,
}

/// What follows where a pattern ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// It accepts what it says.
    Accepts,
    /// It keeps in place what is there, and all above.
    Keeps,
    /// The data there has the labels of this mask.
    Labels(u64),
    /// It starts a subject: a rule of [`holdpoint_common::tables::ENROLMENT`].
    Starts,
    /// It denies every access: a canary's.
    Denies,
    /// It denies execution: likewise.
    DeniesExec,
}

/// Lines that are one to the automaton: of the same pattern, by rules with conditions that have no other line.
struct Group<'a> {
    /// The first of them.
    line: &'a Line,
    /// Their rules, in order.
    rules: Vec<u32>,
    /// What they decide.
    reach: Reach,
    /// The first of the rules because of which the directories above must stay where they are.
    keeps_above: Option<u32>,
}

/// A place in a pattern: the group, and how many of its parts are done with.
type Place = (u32, u16);

/// Gives ids to states.
pub struct Ids {
    revision: u32,
    used: u32,
}

impl Ids {
    /// The ids of a revision.
    pub fn new(revision: u32) -> Self {
        Self { revision, used: 0 }
    }

    /// One that has not been given yet.
    pub fn next(&mut self) -> u32 {
        let id = self.revision << COUNTER_BITS | self.used & ((1 << COUNTER_BITS) - 1);
        self.used += 1;
        id
    }
}

/// The start and the steps of the automaton of `lines`. Growth stops where there are more than the kernel's table can hold.
pub fn build(
    lines: &[Line],
    alphabet: &Alphabet,
    ids: &mut Ids,
    choices: &mut Choices<'_>,
) -> (State, BTreeMap<EdgeKey, State>) {
    let groups = grouped(lines, choices);
    let (known, chosen, edges, waiting) = (HashMap::new(), HashMap::new(), BTreeMap::new(), Vec::new());
    let mut growing = Growing { groups: &groups, choices, alphabet, ids, known, chosen, edges, waiting };
    let begin = growing.closed((0..groups.len() as u32).map(|group| (group, 0)).collect());
    let root = growing.state(begin);
    while let Some((state, places)) = growing.waiting.pop() {
        if growing.edges.len() > limits::EDGES {
            break;
        }
        growing.leave(state, &places);
    }
    (root, growing.edges)
}

/// Thousands of rules on the arguments of any program would otherwise be thousands of places in each state.
fn grouped<'a>(lines: &'a [Line], choices: &Choices<'_>) -> Vec<Group<'a>> {
    let rules = choices.rules();
    let mut lines_of = HashMap::new();
    lines.iter().for_each(|line| *lines_of.entry(line.rule).or_insert(0) += 1);
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut known = HashMap::new();
    for line in lines {
        let reach = Reach::of(line, choices);
        let joins = line.effect == Effect::Accepts && !reach.certain && lines_of[&line.rule] == 1;
        let new = groups.len();
        let at = if joins { *known.entry((&line.parts, line.anywhere, reach.slots)).or_insert(new) } else { new };
        if at == new {
            groups.push(Group { line, rules: Vec::new(), reach, keeps_above: None });
        }
        let group = &mut groups[at];
        group.rules.push(line.rule);
        group.keeps_above = group.keeps_above.or(line.keeps_above(rules).then_some(line.rule));
    }
    Reach::find_takers(&mut groups);
    groups
}

struct Growing<'a, 'r> {
    groups: &'a [Group<'a>],
    choices: &'a mut Choices<'r>,
    alphabet: &'a Alphabet,
    ids: &'a mut Ids,
    known: HashMap<Rc<[Place]>, State>,
    /// The choices among groups that end at the same place: of an exec or not, of rules that keep what is there or not.
    chosen: HashMap<(bool, bool, Vec<u32>), u32>,
    edges: BTreeMap<EdgeKey, State>,
    waiting: Vec<(State, Rc<[Place]>)>,
}

impl<'a> Growing<'a, '_> {
    fn group(&self, place: Place) -> &'a Group<'a> {
        let groups: &'a [Group<'a>] = self.groups;
        &groups[place.0 as usize]
    }

    fn part(&self, place: Place) -> Option<&'a Part> {
        self.group(place).line.parts.get(usize::from(place.1))
    }

    /// With what follows without a further name: `**` may stand for none. Sorted, each once.
    fn closed(&self, mut places: Vec<Place>) -> Rc<[Place]> {
        let mut at = 0;
        while let Some(&place) = places.get(at) {
            if self.part(place) == Some(&Part::Any) {
                places.push((place.0, place.1 + 1));
            }
            at += 1;
        }
        let taking: BTreeSet<_> =
            places.iter().filter(|place| self.takes_all(**place)).map(|place| self.group(*place).reach).collect();
        if !taking.is_empty() {
            // Of very many rules with conditions, each takes only from itself.
            let wide: Vec<_> = taking.iter().copied().filter(Reach::takes_from_others).collect();
            places = places.into_iter().filter_map(|place| self.kept(place, &taking, &wide)).collect();
        }
        places.sort_unstable();
        places.dedup();
        places.into()
    }

    /// The place, or one that is as good; none if it decides nothing any more, here and below, since rules that come first
    /// are `taking` all.
    fn kept(&self, place: Place, taking: &BTreeSet<Reach>, wide: &[Reach]) -> Option<Place> {
        let reach = self.group(place).reach;
        let takes_all = self.takes_all(place);
        let of_rule = || taking.range(Reach { taker: None, ..reach }..).take_while(|taker| taker.rule == reach.rule);
        let takes = |taker: &Reach| taker.takes_from(&reach) && !(takes_all && *taker == reach);
        let is_idle = wide.iter().any(takes) || of_rule().any(takes);
        match reach.taker {
            _ if is_idle => None,
            Some(same) if takes_all => Some((same, self.length(same) + place.1 - self.length(place.0))),
            _ => Some(place),
        }
    }

    /// Whether all that is below is accepted.
    fn takes_all(&self, place: Place) -> bool {
        place.1 + 1 >= self.length(place.0) && self.group(place).reach.taker.is_some()
    }

    fn length(&self, group: u32) -> u16 {
        self.groups[group as usize].line.parts.len() as u16
    }

    /// The state of these places, new or known.
    fn state(&mut self, places: Rc<[Place]>) -> State {
        if let Some(known) = self.known.get(&places) {
            return *known;
        }
        let state = self.made(&places);
        self.known.insert(Rc::clone(&places), state);
        if state.ways & State::LAST == 0 {
            self.waiting.push((state, places));
        }
        state
    }

    fn made(&mut self, places: &Rc<[Place]>) -> State {
        let staying = self.staying(places);
        let ways = if self.closed(staying.clone()) == *places && !self.has_names(places) {
            State::LAST
        } else {
            let classes = if places.iter().any(|place| matches!(self.part(*place), Some(Part::Like(_)))) {
                State::CLASSES
            } else {
                0
            };
            classes | if staying.is_empty() { 0 } else { State::OTHERWISE }
        };
        let (labels, labels_below) = self.labels(places);
        let (id, below, marks) = (self.ids.next(), self.below(places), self.marks(places));
        State { labels, labels_below, id, ways, below, reserved: 0, marks }
    }

    fn has_names(&self, places: &[Place]) -> bool {
        places.iter().any(|place| matches!(self.part(*place), Some(Part::Name(_) | Part::Like(_))))
    }

    /// The places that stay whatever name comes.
    fn staying(&self, places: &[Place]) -> Vec<Place> {
        places.iter().copied().filter(|place| self.part(*place) == Some(&Part::Any)).collect()
    }

    /// Adds the edges out of a state: where some places stay whatever name comes, only those that the others add to what leads
    /// out of the state of these alone.
    fn leave(&mut self, state: State, places: &[Place]) {
        let staying = self.staying(places);
        let otherwise = self.closed(staying.clone());
        let steps = self.steps(places);
        let adds = |step: &Step<'a>| *otherwise == *places || otherwise.binary_search(&step.from).is_err();
        let own: Vec<_> = steps.iter().filter(|step| adds(step)).collect();
        let mut ways: Vec<([u8; LITERAL_BYTES], Vec<Place>)> = Vec::new();
        let names: BTreeSet<_> = steps.iter().filter_map(Step::name).collect();
        for name in names.into_iter().filter(|name| own.iter().any(|step| step.part.accepts(name.as_bytes()))) {
            let next = steps.iter().filter(|step| step.part.accepts(name.as_bytes()));
            ways.push((super::paths::padded(name), next.map(Step::to).collect()));
        }
        for (class, wildcards) in &self.alphabet.classes {
            let is_in = |step: &&Step<'a>| step.like.is_some_and(|like| wildcards.contains(&like));
            if own.iter().any(&is_in) {
                ways.push((class_name(*class), steps.iter().filter(is_in).map(Step::to).collect()));
            }
        }
        if !staying.is_empty() {
            ways.push((OTHERWISE, Vec::new()));
        }
        for (name, next) in ways {
            let places = self.closed(staying.iter().copied().chain(next).collect());
            let next = self.state(places);
            self.edges.insert(EdgeKey { state: state.id, name }, next);
        }
    }

    /// What leads on from these places with one name.
    fn steps(&self, places: &[Place]) -> Vec<Step<'a>> {
        let steps = places.iter().filter_map(|&from| {
            let part = self.part(from)?;
            let like = if let Part::Like(wildcard) = part { Some(self.alphabet.index(wildcard)) } else { None };
            (*part != Part::Any).then_some(Step { from, part, like })
        });
        steps.collect()
    }

    fn marks(&mut self, places: &[Place]) -> Marks {
        let ended = places.iter().filter(|place| self.part(**place).is_none());
        let ended: Vec<_> = ended.map(|place| (place.0, self.group(*place))).collect();
        if let Some((_, denying)) = ended.iter().find(|(_, group)| group.line.effect == Effect::Denies) {
            return Marks { rule: [denying.line.rule; Marks::SLOTS] };
        }
        // Of all that is below a mount, much can meet in the directory that it covers.
        let keeps = ended.iter().any(|(_, group)| group.line.effect == Effect::Keeps);
        let of_slot = |slot: usize| {
            let of_it = ended.iter().filter(|(_, group)| group.reach.slots >> slot & 1 != 0);
            self.choice(slot == Marks::EXEC, keeps, of_it.map(|(index, _)| *index).collect())
        };
        Marks { rule: std::array::from_fn(of_slot) }
    }

    /// The choice among the rules of these groups.
    fn choice(&mut self, exec: bool, keeps: bool, groups: Vec<u32>) -> u32 {
        let key = (exec, keeps, groups);
        if let Some(known) = self.chosen.get(&key) {
            return *known;
        }
        let rules = key.2.iter().flat_map(|group| &self.groups[*group as usize].rules).copied().collect();
        let choice = match (exec, keeps) {
            (_, true) => self.choices.of_strict(rules),
            (true, false) => self.choices.of_exec(rules),
            (false, false) => self.choices.of(rules),
        };
        self.chosen.insert(key, choice);
        choice
    }

    /// The labels of what is here, and of what is below and would not have them if the directory moved.
    fn labels(&self, places: &[Place]) -> (u64, u64) {
        let (mut here, mut below) = (0, 0);
        for place in places {
            let line = self.group(*place).line;
            let Effect::Labels(mask) = line.effect else { continue };
            match self.part(*place) {
                None => here |= mask,
                Some(part) if line.has_begun(place.1) && *part != Part::Any => below |= mask,
                Some(_) => {}
            }
        }
        (here, below)
    }

    /// The first rule that stands in the way of something below which it would not be if the directory moved.
    fn below(&self, places: &[Place]) -> u32 {
        let begun = places.iter().filter_map(|place| {
            let group = self.group(*place);
            let open = group.line.has_begun(place.1) && self.part(*place).is_some_and(|part| *part != Part::Any);
            group.keeps_above.filter(|_| open)
        });
        let here = places.iter().filter(|place| self.part(**place).is_none()).filter_map(|place| {
            let line = self.group(*place).line;
            (line.effect == Effect::Keeps).then_some(line.rule)
        });
        begun.chain(here).min().unwrap_or(NO_RULE)
    }
}

/// A name, or names, by which a pattern goes on.
struct Step<'a> {
    from: Place,
    part: &'a Part,
    /// The index of the wildcard, if it is one.
    like: Option<usize>,
}

impl<'a> Step<'a> {
    fn name(&self) -> Option<&'a OsStr> {
        if let Part::Name(name) = self.part { Some(name) } else { None }
    }

    fn to(&self) -> Place {
        (self.from.0, self.from.1 + 1)
    }
}

/// What a group decides where its pattern ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reach {
    /// The first rule.
    rule: u32,
    effect: Effect,
    /// The slots of [`Marks`] in which its rules are.
    slots: u32,
    /// Whether the rule accepts whatever the circumstances are.
    certain: bool,
    /// The first of the groups that decide the same, if the pattern ends in `**`, as its does.
    taker: Option<u32>,
}

impl Reach {
    fn find_takers(groups: &mut [Group<'_>]) {
        let mut takers = BTreeMap::new();
        for (index, group) in (0..).zip(groups) {
            let takes_all = group.line.parts.last() == Some(&Part::Any);
            group.reach.taker = takes_all.then(|| *takers.entry(group.reach).or_insert(index));
        }
    }

    fn of(line: &Line, choices: &Choices<'_>) -> Self {
        let mut row = Row::default();
        line.note(choices.rules(), &mut row);
        let (effect, rule) = (line.effect, line.rule);
        Self { rule, effect, slots: row.noted(), certain: choices.is_certain(rule), taker: None }
    }

    /// Whether later rules can have nothing left.
    fn takes_from_others(&self) -> bool {
        self.certain || matches!(self.effect, Effect::Labels(_))
    }

    /// Whether nothing is left for `other` to decide where this one accepts all.
    fn takes_from(&self, other: &Self) -> bool {
        let comes_first = self.rule == other.rule || self.certain && self.rule < other.rule;
        match (self.effect, other.effect) {
            (Effect::Labels(all), Effect::Labels(some)) => some & !all == 0,
            (Effect::Accepts, Effect::Accepts) | (Effect::Starts, Effect::Starts) => {
                comes_first && other.slots & !self.slots == 0
            }
            _ => false,
        }
    }
}

impl Line {
    /// Notes what follows where the pattern ends.
    pub fn note(&self, rules: &[Rule], row: &mut Row) {
        match self.effect {
            Effect::Accepts => row.note(self.rule, |slot| rules[self.rule as usize].accepts(slot)),
            Effect::Keeps => row.note(self.rule, |slot| Marks::asked(slot) & Class::REPLACING != 0),
            Effect::Starts | Effect::DeniesExec => row.note(self.rule, |slot| slot == Marks::EXEC),
            Effect::Denies => row.give(self.rule),
            Effect::Labels(_) => {}
        }
    }

    /// Its labels.
    pub fn labels(&self) -> u64 {
        if let Effect::Labels(mask) = self.effect { mask } else { 0 }
    }

    /// Whether a name of the pattern itself is among the first `done` of its parts, or none is needed.
    fn has_begun(&self, done: u16) -> bool {
        !self.anywhere || done > 1
    }

    /// Whether the directories above must stay where they are.
    fn keeps_above(&self, rules: &[Rule]) -> bool {
        match self.effect {
            Effect::Accepts => rules[self.rule as usize].stands_in_the_way(),
            Effect::Keeps => true,
            Effect::Labels(_) | Effect::Starts | Effect::Denies | Effect::DeniesExec => false,
        }
    }
}
