//! The wildcards of a policy as one automaton over the letters of a name, or of an argument: for each it says which of them match. The
//! names that the same wildcards match are a class.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_common::tables::{ARGUMENTS_BEGIN, Letters, NAMES_BEGIN};

use crate::policy::wildcard::{Sign, Wildcard, continuations, is_continuation};

/// What is left of one wildcard after some letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    wildcard: usize,
    /// Signs that are done with.
    done: usize,
    /// Bytes that are missing of the character that `?` has begun to match.
    missing: usize,
}

/// States that have their numbers: nothing matches any more, [`NAMES_BEGIN`], [`ARGUMENTS_BEGIN`].
const BEGINS: usize = 3;

const _: () = assert!(NAMES_BEGIN == 1 && ARGUMENTS_BEGIN == 2, "the order of the states that all begin with");

/// The automaton, and what its classes mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alphabet {
    /// The wildcards, each once.
    wildcards: Vec<Wildcard>,
    /// The states, from 0.
    pub states: Vec<Letters>,
    /// The wildcards of each class but 0, which has none.
    pub classes: BTreeMap<u32, BTreeSet<usize>>,
}

impl Alphabet {
    /// The automaton of these wildcards of names and of arguments, none of which is empty. None if it has more than `limit`
    /// states.
    pub fn new(names: BTreeSet<Wildcard>, arguments: BTreeSet<Wildcard>, limit: usize) -> Option<Self> {
        let mut alphabet = Self { wildcards: names.union(&arguments).cloned().collect(), ..Self::default() };
        if !alphabet.wildcards.is_empty() {
            let begins = [BTreeSet::new(), alphabet.begin(&names), alphabet.begin(&arguments)];
            alphabet.grow(begins, limit)?;
        }
        Some(alphabet)
    }

    /// The index of a wildcard.
    pub fn index(&self, wildcard: &Wildcard) -> usize {
        self.wildcards.binary_search(wildcard).expect("made of every wildcard of the policy")
    }

    /// The state in which these begin.
    fn begin(&self, wildcards: &BTreeSet<Wildcard>) -> BTreeSet<Rest> {
        self.closed(wildcards.iter().map(|one| Rest { wildcard: self.index(one), done: 0, missing: 0 }).collect())
    }

    /// Makes the states, of which the first are `begins`.
    fn grow(&mut self, begins: [BTreeSet<Rest>; BEGINS], limit: usize) -> Option<()> {
        let mut known: BTreeMap<_, _> = begins.iter().cloned().zip(0..).collect();
        let mut waiting = begins.to_vec();
        while self.states.len() < waiting.len() {
            let state = waiting[self.states.len()].clone();
            let mut letters = Letters { next: [0; 256], class: self.class(&state) };
            let mut alike = BTreeMap::new();
            for byte in 1..=u8::MAX {
                letters.next[usize::from(byte)] = *alike.entry(self.sort(byte)).or_insert_with(|| {
                    *known.entry(self.after(&state, byte)).or_insert_with_key(|next| {
                        waiting.push(next.clone());
                        waiting.len() as u16 - 1
                    })
                });
            }
            if waiting.len() > limit {
                return None;
            }
            self.states.push(letters);
        }
        Some(())
    }

    /// Bytes of one sort lead from each state to the same one: those that no wildcard spells out, by what they are in UTF-8.
    fn sort(&self, byte: u8) -> (Option<u8>, usize, bool) {
        let spelled = self.wildcards.iter().any(|wildcard| wildcard.signs().contains(&Sign::Byte(byte)));
        (spelled.then_some(byte), continuations(byte), is_continuation(byte))
    }

    /// With what follows without a further letter: `*` may match none.
    fn closed(&self, mut rests: BTreeSet<Rest>) -> BTreeSet<Rest> {
        let skipped = rests.iter().filter(|rest| rest.missing == 0 && self.sign(rest) == Some(Sign::Any));
        let skipped: Vec<_> = skipped.map(|rest| Rest { done: rest.done + 1, ..*rest }).collect();
        // Two `*` never follow each other, so once is enough.
        rests.extend(skipped);
        rests
    }

    fn after(&self, state: &BTreeSet<Rest>, byte: u8) -> BTreeSet<Rest> {
        self.closed(state.iter().filter_map(|rest| self.step(rest, byte)).collect())
    }

    fn step(&self, rest: &Rest, byte: u8) -> Option<Rest> {
        let next = Rest { done: rest.done + 1, ..*rest };
        match (rest.missing, self.sign(rest)?) {
            (0, Sign::Byte(known)) => (known == byte).then_some(next),
            (0, Sign::Any) => Some(*rest),
            (0, Sign::One) => match continuations(byte) {
                0 => Some(next),
                missing => Some(Rest { missing, ..*rest }),
            },
            (1, _) => is_continuation(byte).then_some(Rest { missing: 0, ..next }),
            (missing, _) => is_continuation(byte).then_some(Rest { missing: missing - 1, ..*rest }),
        }
    }

    fn sign(&self, rest: &Rest) -> Option<Sign> {
        self.wildcards[rest.wildcard].signs().get(rest.done).copied()
    }

    fn class(&mut self, state: &BTreeSet<Rest>) -> u32 {
        let over = state.iter().filter(|rest| rest.missing == 0 && self.sign(rest).is_none());
        let matched: BTreeSet<_> = over.map(|rest| rest.wildcard).collect();
        if matched.is_empty() {
            return 0;
        }
        let known = self.classes.iter().find(|(_, wildcards)| **wildcards == matched).map(|(class, _)| *class);
        known.unwrap_or_else(|| {
            let class = self.classes.len() as u32 + 1;
            self.classes.insert(class, matched);
            class
        })
    }
}
