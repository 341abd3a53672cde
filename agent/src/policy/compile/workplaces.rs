//! The sets of working directories that rules ask for (`cwd`), each once: a bit of the kernel's masks.

use holdpoint_common::tables::WORKPLACE_SETS;

use crate::policy::{
    Pattern, Policy, Rule,
    problem::{Problem, Span},
};

/// The sets of a policy; a set's place here is its bit.
pub struct Workplaces<'a>(Vec<Workplace<'a>>);

/// A set of working directories.
pub struct Workplace<'a> {
    /// They are those that one of these accepts.
    pub patterns: &'a [Pattern],
    /// Whether the rules that ask for it let pass: then a directory that cannot be told from others is not in it, and else it
    /// is.
    pub lets_pass: bool,
    /// The first of these rules.
    pub span: &'a Span,
}

impl<'a> Workplaces<'a> {
    /// Those of the policy; of too many, the first.
    pub fn of(policy: &'a Policy) -> Self {
        let mut sets: Vec<Workplace<'a>> = Vec::new();
        for rule in policy.rules.iter().filter(|rule| !rule.only.workplaces.is_empty()) {
            if sets.len() <= WORKPLACE_SETS && !sets.iter().any(|set| set.is_of(rule)) {
                sets.push(Workplace { patterns: &rule.only.workplaces, lets_pass: rule.lets_pass(), span: &rule.span });
            }
        }
        Self(sets)
    }

    /// What is wrong if there are too many.
    pub fn problem(&self) -> Option<Problem> {
        let message = format!("the policy asks for more than {WORKPLACE_SETS} different sets of working directories");
        let one_too_many = self.0.get(WORKPLACE_SETS)?;
        Some(Problem::new(one_too_many.span.clone(), message, "use the same cwd in several rules"))
    }

    /// The bit of what the rule asks for, as a mask; 0 if it asks for none.
    pub fn mask(&self, rule: &Rule) -> u64 {
        self.sets().find(|(_, set)| set.is_of(rule)).map_or(0, |(mask, _)| mask)
    }

    /// The sets, each with its bit as a mask.
    pub fn sets(&self) -> impl Iterator<Item = (u64, &Workplace<'a>)> {
        self.0.iter().take(WORKPLACE_SETS).enumerate().map(|(bit, set)| (1 << bit, set))
    }

    /// The mask of some of them.
    pub fn mask_of(&self, wanted: impl Fn(&Workplace<'a>) -> bool) -> u64 {
        self.sets().filter(|(_, set)| wanted(set)).fold(0, |mask, (bit, _)| mask | bit)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Workplace<'_> {
    fn is_of(&self, rule: &Rule) -> bool {
        self.patterns == rule.only.workplaces && self.lets_pass == rule.lets_pass()
    }
}
