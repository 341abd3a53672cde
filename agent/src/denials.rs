//! What was refused to each governed tree, and why: kept in memory for `holdpoint why`, and said in one way to everybody whom
//! it concerns. The record has all of it; this is the end of it that a tree may see of itself.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    holds::Crowd,
    request::{End, Hold, Request, Standing},
};

/// Most refusals that are kept of a tree; further ones push out the first.
const OF_A_TREE: usize = 32;
/// Longest sentence that is kept, in characters: an exec can have thousands.
const SENTENCE: usize = 1000;
/// Most trees of which some are kept; the one that was refused nothing for longest goes first.
const TREES: usize = 1024;

/// Something that was refused to a governed process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// When, for the last time.
    pub at: Timestamp,
    /// How many times in a row.
    pub times: u64,
    /// [`crate::request::Operation::sentence`].
    pub operation: String,
    /// Who asked, the last time.
    pub pid: u32,
    /// Who refused it.
    pub by: By,
    /// The rule, where one decided.
    pub rule: Option<String>,
    /// The rule's reason, or the reviewer's words.
    pub why: Option<String>,
    /// Before this moment the same is refused without a question. None: that is not known ([`By::Earlier`]); or it is asked
    /// about again; or it is final while this policy is in force ([`By::Policy`]).
    pub until: Option<Timestamp>,
}

/// Who refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum By {
    /// The policy, without asking anybody.
    Policy,
    /// A reviewer.
    Reviewer {
        /// Their name.
        who: String,
    },
    /// Whoever has refused the same before; who it was is not known any more.
    Earlier,
    /// Nobody answered in time.
    Silence,
    /// Nobody: too many requests wait for an answer already.
    Crowd {
        /// Whose.
        of: Crowd,
    },
    /// The kernel: it should have been held, and could not be.
    Kernel {
        /// [`holdpoint_common::event::Reason::word`].
        reason: String,
    },
}

impl Denial {
    /// What a reviewer, or silence, has refused. Nothing if that is not how the hold ended.
    pub fn of_hold(hold: &Hold, standing: &Standing, now: Timestamp, words: Option<String>) -> Option<Self> {
        let by = match (standing.state, &standing.by) {
            (End::Denied, Some(who)) => By::Reviewer { who: who.clone() },
            (End::Expired, _) => By::Silence,
            _ => return None,
        };
        let pauses = matches!(by, By::Reviewer { .. }) && !hold.pause.is_zero();
        let until = pauses.then(|| now.saturating_add(hold.pause).unwrap_or(Timestamp::MAX));
        Some(Self { at: now, why: words, by, until, ..Self::of_request(&hold.request) })
    }

    /// What should have been held, and could not be.
    pub fn not_held(request: &Request, reason: &str) -> Self {
        Self { by: By::Kernel { reason: reason.to_owned() }, ..Self::of_request(request) }
    }

    /// What nobody was asked about.
    pub fn of_crowd(hold: &Hold, crowd: Crowd, now: Timestamp) -> Self {
        let until = Some(now.saturating_add(Crowd::PAUSE).unwrap_or(Timestamp::MAX));
        Self { at: now, by: By::Crowd { of: crowd }, until, ..Self::of_request(&hold.request) }
    }

    /// What was refused at once, by the policy.
    pub fn of_request(request: &Request) -> Self {
        Self {
            at: request.at,
            times: 1,
            operation: sentence(request),
            pid: request.pid,
            by: By::Policy,
            rule: request.rule.clone(),
            why: request.why.clone(),
            until: None,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.operation, &self.by, &self.rule) == (&other.operation, &other.by, &other.rule)
    }
}

/// The refusals of all trees.
#[derive(Debug, Default)]
pub struct Denials {
    trees: BTreeMap<String, VecDeque<Denial>>,
}

impl Denials {
    /// Keeps it, and says how many times in a row the tree was refused just that.
    pub fn keep(&mut self, tree: &str, denial: Denial) -> u64 {
        if !self.trees.contains_key(tree) && self.trees.len() >= TREES {
            self.forget_the_oldest();
        }
        let denials = self.trees.entry(tree.to_owned()).or_default();
        if let Some(last) = denials.back_mut().filter(|last| last.is_like(&denial)) {
            *last = Denial { times: last.times + 1, ..denial };
            return last.times;
        }
        if denials.len() >= OF_A_TREE {
            denials.pop_front();
        }
        denials.push_back(denial);
        1
    }

    /// The refusal without a question of what was refused before: that one, as it is known; of several that which lasts longest.
    pub fn again(&self, request: &Request) -> Denial {
        let operation = sentence(request);
        let lasts = |denial: &&Denial| denial.until > Some(request.at) && denial.operation == operation;
        let of_tree = self.trees.get(&request.tree).into_iter().flatten();
        match of_tree.filter(lasts).max_by_key(|denial| denial.until) {
            Some(first) => Denial { at: request.at, pid: request.pid, times: 1, ..first.clone() },
            // The agent was restarted since, or much else was refused.
            None => Denial { by: By::Earlier, why: None, ..Denial::of_request(request) },
        }
    }

    /// Those of a tree, the first one first.
    pub fn of(&self, tree: &str) -> Vec<Denial> {
        self.trees.get(tree).into_iter().flatten().cloned().collect()
    }

    fn forget_the_oldest(&mut self) {
        let last = |denials: &VecDeque<Denial>| denials.back().map(|denial| denial.at);
        let oldest = self.trees.iter().min_by_key(|(_, denials)| last(denials)).map(|(tree, _)| tree.clone());
        oldest.and_then(|tree| self.trees.remove(&tree));
    }
}

/// What was refused, as people say it.
fn sentence(request: &Request) -> String {
    let sentence = request.what.sentence();
    match sentence.char_indices().nth(SENTENCE) {
        Some((end, _)) => format!("{} … (the record has all of it)", &sentence[..end]),
        None => sentence,
    }
}

#[cfg(test)]
mod tests {
    use holdpoint_common::decision::Decision;

    use super::*;
    use crate::request::{HoldId, Operation, sample};

    const TREE: &str = "0000000000000001";

    fn ended(state: End, by: Option<&str>) -> Option<Denial> {
        let hold = sample::hold(HoldId(7));
        let standing = Standing { hold: hold.id, state, decision: Decision::Fail, by: by.map(Into::into) };
        Denial::of_hold(&hold, &standing, sample::start(), Some("not today".into()))
    }

    #[test]
    fn a_no_is_final_for_the_rules_pause_and_silence_is_not() {
        let denied = ended(End::Denied, Some("bob")).expect("a refusal");
        assert_eq!(denied.by, By::Reviewer { who: "bob".into() });
        assert_eq!(denied.until, Some(sample::start() + jiff::SignedDuration::from_mins(10)));
        assert_eq!(denied.why.as_deref(), Some("not today"));
        let expired = ended(End::Expired, None).expect("a refusal");
        assert_eq!((expired.by, expired.until), (By::Silence, None));
        let mut hold = sample::hold(HoldId(7));
        hold.pause = std::time::Duration::ZERO;
        let standing = Standing { hold: hold.id, state: End::Denied, decision: Decision::Fail, by: Some("bob".into()) };
        let asked_again = Denial::of_hold(&hold, &standing, sample::start(), None).expect("a refusal");
        assert_eq!(asked_again.until, None, "the rule has no pause");
        assert_eq!(ended(End::Approved, Some("bob")), None);
        assert_eq!(ended(End::Withdrawn, None), None);
    }

    #[test]
    fn the_same_again_is_counted_and_its_end_is_known() {
        let mut denials = Denials::default();
        let request = sample::hold(HoldId(7)).request;
        assert_eq!(denials.keep(TREE, ended(End::Denied, Some("bob")).expect("a refusal")), 1);
        let again = denials.again(&request);
        assert_eq!(denials.keep(TREE, again), 2);
        let kept = denials.of(TREE);
        assert_eq!((kept.len(), kept[0].times), (1, 2));
        assert_eq!(kept[0].until, Some(sample::start() + jiff::SignedDuration::from_mins(10)));
    }

    #[test]
    fn a_refusal_that_is_over_is_not_why_the_same_is_refused_again() {
        let mut denials = Denials::default();
        let hold = sample::hold(HoldId(7));
        let later = |seconds| {
            let at = sample::start() + jiff::SignedDuration::from_secs(seconds);
            Request { at, tree: TREE.into(), ..hold.request.clone() }
        };
        denials.keep(TREE, ended(End::Denied, Some("bob")).expect("a refusal"));
        let by = |denials: &Denials, seconds| denials.again(&later(seconds)).by;
        assert_eq!(by(&denials, 599), By::Reviewer { who: "bob".into() });
        assert_eq!(by(&denials, 600), By::Earlier);
        let crowd = |seconds| Denial::of_crowd(&hold, Crowd::Tree, later(seconds).at);
        denials.keep(TREE, crowd(30));
        assert_eq!(by(&denials, 30), By::Reviewer { who: "bob".into() }, "that lasts longer");
        denials.keep(TREE, crowd(700));
        assert_eq!(by(&denials, 700), By::Crowd { of: Crowd::Tree });
        assert_eq!(by(&denials, 701), By::Earlier);
    }

    #[test]
    fn a_no_that_is_forgotten_is_not_called_the_policys() {
        let again = Denials::default().again(&sample::hold(HoldId(7)).request);
        assert_eq!((again.by, again.until, again.why), (By::Earlier, None, None));
    }

    #[test]
    fn a_long_operation_is_cut() {
        let mut request = sample::hold(HoldId(7)).request;
        let names = vec!["n".repeat(4000)];
        request.what = Operation::Connect { address: [192, 0, 2, 1].into(), port: 443, protocol: "tcp".into(), names };
        let operation = Denial::of_request(&request).operation;
        assert!(
            operation.chars().count() < SENTENCE + 40 && operation.ends_with("(the record has all of it)"),
            "{operation}"
        );
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let mut denials = Denials::default();
        let request = sample::hold(HoldId(7)).request;
        for number in 0..100 {
            denials.keep(TREE, Denial { operation: number.to_string(), ..Denial::of_request(&request) });
        }
        let kept = denials.of(TREE);
        assert_eq!((kept.len(), &*kept[0].operation), (OF_A_TREE, "68"));
        for tree in 0..2 * TREES {
            let at = sample::start() + jiff::SignedDuration::from_secs(1 + i64::try_from(tree).expect("small"));
            denials.keep(&format!("{tree:016x}"), Denial { at, ..Denial::of_request(&request) });
        }
        assert_eq!(denials.trees.len(), TREES);
        assert!(denials.of(&format!("{:016x}", TREES - 1)).is_empty());
    }
}
