//! Choices: which rule is the first that accepts, where that depends on more than the table is asked for.

use std::collections::BTreeMap;

use holdpoint_common::{
    request::Class,
    tables::{CHAIN, CHAIN_LINKS, Link, Marks, NO_RULE, STARTERS},
};

use crate::policy::{Policy, Rule, problem::Problem};

/// The rules that accept, for each slot of [`Marks`], while they are collected.
#[derive(Clone, Debug, Default)]
pub struct Row {
    slots: [Vec<u32>; Marks::SLOTS],
}

impl Row {
    /// Lets `rule` accept what asks for `class`, alone or with others.
    pub fn note(&mut self, class: Class, rule: u32) {
        Marks::slots(class).for_each(|slot| self.slots[slot].push(rule));
    }

    /// Lets `rule` accept what asks for nothing but classes in `access`.
    pub fn note_only(&mut self, access: u32, rule: u32) {
        Marks::slots_only(access).for_each(|slot| self.slots[slot].push(rule));
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

    /// The rows of the table.
    pub fn marks(self, choices: &mut Choices<'_>) -> Marks {
        Marks { rule: self.slots.map(|rules| choices.of(rules)) }
    }

    /// Likewise, of rules that stand in the way: those that are too many for a choice count as one that always does.
    pub fn strict_marks(self, choices: &mut Choices<'_>) -> Marks {
        Marks { rule: self.slots.map(|rules| choices.of_strict(rules)) }
    }
}

/// The links of a revision's choices, each once.
pub struct Choices<'a> {
    policy: &'a Policy,
    links: Vec<Link>,
    known: BTreeMap<Link, u32>,
    problems: Vec<Problem>,
}

impl<'a> Choices<'a> {
    /// Choices among the rules of `policy` and what starts its subjects, beside those that `links` are of.
    pub fn new(policy: &'a Policy, links: Vec<Link>) -> Self {
        let known = links.iter().copied().zip(0..).collect();
        Self { policy, links, known, problems: Vec::new() }
    }

    /// The rules.
    pub fn rules(&self) -> &'a [Rule] {
        &self.policy.rules
    }

    /// All links, and what is wrong with the policy that needs them.
    pub fn into_parts(self) -> (Vec<Link>, Vec<Problem>) {
        (self.links, self.problems)
    }

    /// The choice of the first of these rules whose conditions hold.
    pub fn of(&mut self, accepting: Vec<u32>) -> u32 {
        let (depending, last) = self.split(accepting);
        if let Some(first) = depending.get(CHAIN_LINKS) {
            self.refuse(*first);
            return NO_RULE;
        }
        self.chain(&depending, last)
    }

    /// Likewise; where they are too many, the first too many counts as if its conditions held.
    fn of_strict(&mut self, accepting: Vec<u32>) -> u32 {
        let (depending, last) = self.split(accepting);
        match depending.get(CHAIN_LINKS) {
            Some(first) => self.chain(&depending[..CHAIN_LINKS], *first),
            None => self.chain(&depending, last),
        }
    }

    /// The rules that depend on circumstances, in order, and the first that does not.
    fn split(&self, mut accepting: Vec<u32>) -> (Vec<u32>, u32) {
        accepting.sort_unstable();
        accepting.dedup();
        let certain = accepting.iter().position(|rule| !self.depends(*rule));
        let last = certain.map_or(NO_RULE, |certain| accepting[certain]);
        accepting.truncate(certain.unwrap_or(accepting.len()));
        (accepting, last)
    }

    fn chain(&mut self, depending: &[u32], last: u32) -> u32 {
        depending.iter().rev().fold(last, |next, rule| self.link(Link { rule: *rule, next }))
    }

    /// Whether it takes more than its patterns for the rule to accept.
    fn depends(&self, rule: u32) -> bool {
        // The canaries' rules are neither.
        let subject = rule.checked_sub(STARTERS).and_then(|index| self.policy.subjects.get(index as usize));
        self.policy.rule(rule).is_some_and(|rule| !rule.only.is_nothing())
            || subject.is_some_and(|subject| !subject.users.is_empty())
    }

    fn link(&mut self, link: Link) -> u32 {
        let links = &mut self.links;
        CHAIN
            | *self.known.entry(link).or_insert_with(|| {
                links.push(link);
                links.len() as u32 - 1
            })
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
            "at most {CHAIN_LINKS} with user, during, if_read and the like: join some, or narrow their patterns"
        );
        let problem = Problem::new(span.clone(), message, remedy);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}
