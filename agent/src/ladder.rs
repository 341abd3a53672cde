//! Whom a hold asks as time goes by: some groups at once, others where these have not decided after a while. Whoever is asked
//! stays asked, and the first groups of which enough people have approved decide.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::quorum::{self, Group};

/// Most steps of a rule.
pub const STEPS: usize = 8;

/// Groups that a rule has asked after a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// How long after the question.
    pub after: Duration,
    /// Who is asked then.
    pub reviewers: Vec<Group>,
}

/// The same of one hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// When they are asked.
    pub at: Timestamp,
    /// Who.
    pub reviewers: Vec<Group>,
    /// Whether they have been.
    pub asked: bool,
}

impl Escalation {
    /// The step of a hold that was asked about at that moment.
    pub fn of(&self, asked: Timestamp) -> Step {
        let after = SignedDuration::try_from(self.after).unwrap_or(SignedDuration::MAX);
        let at = asked.saturating_add(after).unwrap_or(Timestamp::MAX);
        Step { at, reviewers: self.reviewers.clone(), asked: false }
    }
}

/// The groups that are asked by now: those of `first`, and of the steps whose time has come. Those of one element decide
/// together.
pub fn asked<'a>(first: &'a [Group], steps: &'a [Step]) -> impl Iterator<Item = &'a [Group]> {
    [first].into_iter().chain(steps.iter().filter(|step| step.asked).map(|step| &step.reviewers[..]))
}

/// Who is asked by now, in words: `2 of security, or leads`.
pub fn brief(first: &[Group], steps: &[Step]) -> String {
    asked(first, steps).map(quorum::brief).collect::<Vec<_>>().join(", or ")
}

/// Who is asked and when, a line each, with the members; `moment` spells the time of those who are asked later.
pub fn named(first: &[Group], steps: &[Step], moment: impl Fn(Timestamp) -> String) -> Vec<String> {
    let step = |step: &Step| {
        let since = if step.asked { "since" } else { "from" };
        format!("or, {since} {}: {}", moment(step.at), quorum::named(&step.reviewers))
    };
    [quorum::named(first)].into_iter().chain(steps.iter().map(step)).collect()
}
