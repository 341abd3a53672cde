//! Choices: which rule is the first that accepts, where that depends on more than the table is asked for.

use std::{collections::BTreeMap, mem, sync::Arc};

use holdpoint_common::tables::{CHAIN, CHAIN_LINKS, Link, Marks, NO_RULE, STARTERS, WORDS, Word, WordKey};

use super::{Tables, letters::Alphabet, words::Asking};
use crate::policy::{Policy, Rule, problem::Problem};

/// The rules that accept, for each slot of [`Marks`], while they are collected.
#[derive(Clone, Debug, Default)]
pub struct Row {
    slots: [Vec<u32>; Marks::SLOTS],
}

impl Row {
    /// Lets the rule at `index` accept what is asked for in some slots.
    pub fn note(&mut self, index: u32, accepts: impl Fn(usize) -> bool) {
        (0..Marks::SLOTS).filter(|slot| accepts(*slot)).for_each(|slot| self.slots[slot].push(index));
    }

    /// Lets `rule` accept everything, and no other rule anything.
    pub fn give(&mut self, rule: u32) {
        self.slots = std::array::from_fn(|_| vec![rule]);
    }

    /// Only the rules before the first that is `last`.
    pub fn until(mut self, last: impl Fn(u32) -> bool) -> Self {
        for slot in &mut self.slots {
            slot.sort_unstable();
            slot.truncate(slot.iter().position(|rule| last(*rule)).unwrap_or(slot.len()));
        }
        self
    }

    /// The slots that have a rule, a bit each.
    pub fn noted(&self) -> u32 {
        self.slots.iter().rev().fold(0, |noted, rules| noted << 1 | u32::from(!rules.is_empty()))
    }

    /// The rows of the table.
    pub fn marks(self, choices: &mut Choices<'_>) -> Marks {
        let mut marks = Marks::NONE;
        for (slot, rules) in self.slots.into_iter().enumerate() {
            marks.rule[slot] = if slot == Marks::EXEC { choices.of_exec(rules) } else { choices.of(rules) };
        }
        marks
    }

    /// Likewise, of rules that stand in the way: those that are too many for a choice count as one that always does.
    pub fn strict_marks(self, choices: &mut Choices<'_>) -> Marks {
        Marks { rule: self.slots.map(|rules| choices.of_strict(rules)) }
    }
}

/// A rule that may be the first that accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// Its index.
    pub rule: u32,
    /// See [`Link::more`].
    pub patterns: u64,
}

impl Candidate {
    /// The rule, if it takes no further arguments.
    fn alone(rule: u32) -> Self {
        Self { rule, patterns: 0 }
    }
}

/// The links and words of a revision's choices, each once.
pub struct Choices<'a> {
    policy: &'a Policy,
    revision: u32,
    alphabet: Arc<Alphabet>,
    links: Vec<Link>,
    known: BTreeMap<Link, u32>,
    words: BTreeMap<WordKey, Word>,
    /// The tables of words, by the rules in each: [`Link::rule`] and [`Link::more`].
    asking: BTreeMap<Vec<u32>, (u32, u64)>,
    next_table: u32,
    problems: Vec<Problem>,
}

impl<'a> Choices<'a> {
    /// Choices among the rules of `policy` and what starts its subjects, beside those that `tables` have; until they are
    /// given back, the tables have none.
    pub fn new(policy: &'a Policy, revision: u32, tables: &mut Tables) -> Self {
        let (links, words) = (mem::take(&mut tables.links), mem::take(&mut tables.words));
        Self {
            policy,
            revision,
            alphabet: Arc::clone(&tables.alphabet),
            known: links.iter().copied().zip(0..).collect(),
            links,
            next_table: words.last_key_value().map_or(0, |(key, _)| key.table + 1),
            words,
            asking: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    /// Gives all links and words to `tables`, and what is wrong with the policy that needs them.
    pub fn give_back(self, tables: &mut Tables) -> Vec<Problem> {
        (tables.links, tables.words) = (self.links, self.words);
        self.problems
    }

    /// The rules.
    pub fn rules(&self) -> &'a [Rule] {
        &self.policy.rules
    }

    /// The automaton of the policy's wildcards.
    pub fn alphabet(&self) -> Arc<Alphabet> {
        Arc::clone(&self.alphabet)
    }

    /// The choice of the first of these rules that accepts an exec.
    pub fn of_exec(&mut self, mut accepting: Vec<u32>) -> u32 {
        accepting.sort_unstable();
        accepting.dedup();
        // What comes after a rule that always accepts is never met.
        let certain = accepting.iter().position(|rule| self.is_certain(*rule));
        accepting.truncate(certain.map_or(accepting.len(), |certain| certain + 1));
        let (asking, others): (Vec<_>, Vec<_>) = accepting.into_iter().partition(|rule| self.asks(*rule));
        let next = self.of(others);
        if asking.is_empty() {
            return next;
        }
        match self.words(&asking, next) {
            Some(link) => self.link(link),
            None => self.of_strict(asking),
        }
    }

    /// The choice of the first of these rules that accepts what has no arguments.
    pub fn of(&mut self, accepting: Vec<u32>) -> u32 {
        self.of_candidates(accepting.into_iter().map(Candidate::alone).collect())
    }

    /// The choice of the first of these whose conditions hold.
    pub fn of_candidates(&mut self, accepting: Vec<Candidate>) -> u32 {
        let (depending, last) = self.split(accepting);
        if let Some(first) = depending.get(CHAIN_LINKS) {
            self.refuse(first.rule);
        }
        self.strict_chain(&depending, last)
    }

    /// The choice of the first of these rules whose conditions hold, whatever the arguments are; where they are too many, the
    /// first too many counts as if its conditions held.
    pub fn of_strict(&mut self, accepting: Vec<u32>) -> u32 {
        let (depending, last) = self.split(accepting.into_iter().map(Candidate::alone).collect());
        self.strict_chain(&depending, last)
    }

    /// The chain of these rules; of those that are too many, the first that does not let pass counts as if its conditions
    /// held.
    fn strict_chain(&mut self, depending: &[Candidate], last: u32) -> u32 {
        let (linked, more) = depending.split_at(depending.len().min(CHAIN_LINKS));
        let stands = |one: &&Candidate| self.policy.rule(one.rule).is_none_or(Rule::stands_in_the_way);
        let last = more.iter().find(stands).map_or(last, |one| one.rule);
        self.chain(linked, last)
    }

    /// Those that depend on circumstances, in order, and the first rule that does not.
    fn split(&self, mut accepting: Vec<Candidate>) -> (Vec<Candidate>, u32) {
        accepting.sort_unstable();
        accepting.dedup();
        let certain = accepting.iter().position(|one| !self.depends(*one));
        let last = certain.map_or(NO_RULE, |certain| accepting[certain].rule);
        accepting.truncate(certain.unwrap_or(accepting.len()));
        (accepting, last)
    }

    fn chain(&mut self, depending: &[Candidate], last: u32) -> u32 {
        let links = depending.iter().rev();
        links.fold(last, |next, one| self.link(Link { rule: one.rule, next, more: one.patterns }))
    }

    /// Whether the rule accepts whatever it is that its patterns do, under all circumstances.
    pub fn is_certain(&self, rule: u32) -> bool {
        !self.asks(rule) && !self.depends(Candidate::alone(rule))
    }

    /// Whether the rule asks for arguments.
    fn asks(&self, rule: u32) -> bool {
        self.policy.rule(rule).is_some_and(|rule| !rule.only.arguments.is_empty())
    }

    /// Whether it takes more for the rule to accept than what was looked up.
    fn depends(&self, one: Candidate) -> bool {
        // The canaries' rules are neither.
        let subject = one.rule.checked_sub(STARTERS).and_then(|index| self.policy.subjects.get(index as usize));
        one.patterns != 0
            || self.policy.rule(one.rule).is_some_and(|rule| !rule.only.is_unconditional())
            || subject.is_some_and(|subject| subject.has_conditions())
    }

    fn link(&mut self, link: Link) -> u32 {
        let links = &mut self.links;
        CHAIN
            | *self.known.entry(link).or_insert_with(|| {
                links.push(link);
                links.len() as u32 - 1
            })
    }

    /// The link to the table of words of these rules, which come before `next` where they are smaller. None if they ask for
    /// more than a table has bits for.
    fn words(&mut self, asking: &[u32], next: u32) -> Option<Link> {
        if let Some((rule, more)) = self.asking.get(asking) {
            return Some(Link { rule: *rule, next, more: *more });
        }
        let rules = Asking::new(&self.policy.rules, asking).map_err(|rule| self.refuse_patterns(rule)).ok()?;
        let (revision, table) = (self.revision, self.next_table);
        self.next_table += 1;
        let rows = rules.rows(self).into_iter();
        self.words.extend(rows.map(|(text, word)| (WordKey { revision, table, text }, word)));
        let more = rules.unreadable(self).into();
        self.asking.insert(asking.to_vec(), (WORDS | table, more));
        Some(Link { rule: WORDS | table, next, more })
    }

    fn refuse(&mut self, rule: u32) {
        let (name, span) = match self.policy.rule(rule) {
            Some(rule) => (&rule.name, &rule.span),
            None => {
                let subject = &self.policy.subjects[(rule - STARTERS) as usize];
                (&subject.name, &subject.span)
            }
        };
        let message = format!("{name:?} is one too many that may or may not apply to the same object");
        let remedy = format!(
            "at most {CHAIN_LINKS} with user, during, if_read, several args and the like: join some, or narrow their patterns"
        );
        self.note(Problem::new(span.clone(), message, remedy));
    }

    fn refuse_patterns(&mut self, rule: u32) {
        let rule = &self.policy.rules[rule as usize];
        let message = format!("rule {:?} asks for one argument too many beside its first", rule.name);
        let remedy = format!("at most {} different ones for the same program: use {{a,b}} or *", Word::PATTERNS);
        self.note(Problem::new(rule.span.clone(), message, remedy));
    }

    fn note(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
