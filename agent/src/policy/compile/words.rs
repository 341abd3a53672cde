//! What each argument of an exec means to the rules that ask for arguments, of those on one object: a table of words.
//!
//! A rule stands in the choice of the pattern that it asks for first, so that the cost of a look-up depends on the
//! arguments and not on the number of rules. What it asks for beside that has a bit in the table.

use std::collections::BTreeSet;

use holdpoint_common::tables::{LITERAL_BYTES, NO_RULE, Word, class_name};

use super::{
    choice::{Candidate, Choices},
    paths::padded,
};
use crate::policy::{Rule, argument::Argument};

/// The rules of one table.
pub struct Asking<'a> {
    rules: Vec<(u32, &'a Rule)>,
    /// What rules ask for beside their first, by the bit that it has.
    further: Vec<&'a Argument>,
}

impl<'a> Asking<'a> {
    /// The table of these rules, of all that `rules` has. Fails with the rule that asks for more than has a bit.
    pub fn new(rules: &'a [Rule], asking: &[u32]) -> Result<Self, u32> {
        let rules: Vec<_> = asking.iter().map(|index| (*index, &rules[*index as usize])).collect();
        let mut table = Self { rules: Vec::new(), further: Vec::new() };
        for &(index, rule) in &rules {
            for argument in further(rule) {
                if !table.further.contains(&argument) {
                    table.further.push(argument);
                }
            }
            if table.further.len() > Word::PATTERNS {
                return Err(index);
            }
        }
        Ok(Self { rules, ..table })
    }

    /// The rows.
    pub fn rows(&self, choices: &mut Choices<'_>) -> Vec<([u8; LITERAL_BYTES], Word)> {
        let all = || self.rules.iter().flat_map(|(_, rule)| &rule.only.arguments);
        let spelled: BTreeSet<_> = all().flat_map(|argument| &argument.plain).collect();
        let alphabet = choices.alphabet();
        let mut rows = Vec::new();
        for text in spelled {
            rows.push((padded(text.as_ref()), self.word(choices, |argument| argument.matches(text))));
        }
        let is_in = |argument: &Argument, class: &BTreeSet<usize>| {
            argument.like.iter().any(|wildcard| class.contains(&alphabet.index(wildcard)))
        };
        for (class, wildcards) in &alphabet.classes {
            rows.push((class_name(*class), self.word(choices, |argument| is_in(argument, wildcards))));
        }
        rows.retain(|(_, word)| word.choice != NO_RULE || word.patterns != 0);
        rows
    }

    /// What an argument means that matches these patterns.
    fn word(&self, choices: &mut Choices<'_>, matches: impl Fn(&Argument) -> bool) -> Word {
        let met = self.rules.iter().filter(|(_, rule)| matches(first(rule)));
        let met = met.map(|(index, rule)| Candidate { rule: *index, patterns: self.patterns(rule) }).collect();
        let patterns = self.bits(|argument| matches(argument));
        Word { choice: choices.of_candidates(met), reserved: 0, patterns }
    }

    /// The choice where the arguments cannot be read: that meets each rule that does not let pass, and no other.
    pub fn unreadable(&self, choices: &mut Choices<'_>) -> u32 {
        let stern = self.rules.iter().filter(|(_, rule)| !rule.lets_pass());
        choices.of_strict(stern.map(|(index, _)| *index).collect())
    }

    /// The bits of what a rule asks for beside its first.
    fn patterns(&self, rule: &Rule) -> u64 {
        self.bits(|argument| further(rule).any(|asked| asked == argument))
    }

    fn bits(&self, are: impl Fn(&Argument) -> bool) -> u64 {
        (0..).zip(&self.further).filter(|(_, argument)| are(argument)).fold(0, |bits, (bit, _)| bits | 1 << bit)
    }
}

/// What a rule asks for first: a text in full, where it has one, since fewer rules have the same.
fn first(rule: &Rule) -> &Argument {
    let arguments = &rule.only.arguments;
    arguments.iter().find(|argument| argument.like.is_empty()).unwrap_or(&arguments[0])
}

fn further(rule: &Rule) -> impl Iterator<Item = &Argument> {
    rule.only.arguments.iter().filter(|argument| *argument != first(rule))
}
