//! What the page shows: a picture of the holds, which the agent's loop changes and requests for the page read.

use std::{
    collections::{VecDeque, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
    sync::Arc,
};

use jiff::Timestamp;

use crate::{
    holds::grants::Grant,
    quorum,
    request::{Hold, HoldId, Standing},
    sockets::message::word,
};

/// How many holds that are over are shown.
const PAST: usize = 50;

/// The holds, pending and past. Cheap to copy, so that nobody who reads it keeps the loop waiting.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// In the order in which they were asked.
    pending: Vec<Arc<Hold>>,
    /// Newest first.
    past: VecDeque<Arc<Past>>,
    /// Those in force.
    pub(super) grants: Vec<Arc<Grant>>,
}

/// A hold that is over.
#[derive(Debug)]
pub struct Past {
    /// The hold.
    pub hold: Hold,
    /// How it ended.
    pub standing: Standing,
    /// In the words of the reviewer whose answer counted.
    pub why: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// A hold on the board.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// It waits for an answer.
    Pending(&'a Hold),
    /// It does not.
    Past(&'a Past),
}

impl Board {
    /// Somebody is asked about `hold`.
    pub fn asked(&mut self, hold: &Hold) {
        self.forget(hold.id);
        self.pending.push(Arc::new(hold.clone()));
    }

    /// Somebody has approved it, and others must; or others are asked, too.
    pub fn changed(&mut self, hold: &Hold) {
        let place = self.pending.iter_mut().find(|pending| pending.id == hold.id);
        place.into_iter().for_each(|place| *place = Arc::new(hold.clone()));
    }

    /// It is over. Said again, the last word counts: an approved hold can still be withdrawn.
    pub fn ended(&mut self, past: Past) {
        self.forget(past.hold.id);
        self.past.push_front(Arc::new(past));
        self.past.truncate(PAST);
    }

    /// Nobody is asked about it any more, and there is nothing to tell.
    pub fn forget(&mut self, id: HoldId) {
        self.pending.retain(|hold| hold.id != id);
        self.past.retain(|past| past.hold.id != id);
    }

    /// Whether the hold waits for an answer.
    pub fn waits(&self, id: HoldId) -> bool {
        self.pending.iter().any(|hold| hold.id == id)
    }

    /// What `user` is asked about, oldest first.
    pub fn pending(&self, user: &str) -> impl Iterator<Item = &Hold> {
        self.pending.iter().map(|hold| &**hold).filter(move |hold| hold.asks(user))
    }

    /// What `user` was asked about, newest first.
    pub fn past(&self, user: &str) -> impl Iterator<Item = &Past> {
        self.past.iter().map(|past| &**past).filter(move |past| past.hold.asks(user))
    }

    /// What `user` may take back: what somebody has approved whom the rule names beside `user`, or `user`.
    pub fn grants(&self, user: &str) -> impl Iterator<Item = &Grant> {
        let asks = move |grant: &&Grant| quorum::asks(&grant.reviewers, user);
        self.grants.iter().map(|grant| &**grant).filter(asks)
    }

    /// The hold, if `user` is or was asked about it.
    pub fn find(&self, user: &str, id: HoldId) -> Option<Seen<'_>> {
        let pending = self.pending(user).find(|hold| hold.id == id).map(Seen::Pending);
        pending.or_else(|| self.past(user).find(|past| past.hold.id == id).map(Seen::Past))
    }

    /// Another text whenever `user` would see something else: of one hold, or of the list.
    pub fn state(&self, user: &str, of: Option<HoldId>) -> String {
        match of.map(|id| self.find(user, id)) {
            Some(Some(Seen::Pending(hold))) => pending(hold),
            Some(Some(Seen::Past(past))) => word(past.standing.state).to_owned(),
            Some(None) => "gone".to_owned(),
            None => self.fingerprint(user),
        }
    }

    fn fingerprint(&self, user: &str) -> String {
        let mut hasher = DefaultHasher::new();
        self.pending(user).for_each(|hold| (hold.id, pending(hold)).hash(&mut hasher));
        self.grants(user).for_each(|grant| ("grant", grant.id).hash(&mut hasher));
        self.past(user).for_each(|past| (past.hold.id, word(past.standing.state)).hash(&mut hasher));
        format!("{:016x}", hasher.finish())
    }
}

/// The state of a hold that waits; another one with each approval that counts, with others who are asked, and with other holds
/// that the question is about.
pub fn pending(hold: &Hold) -> String {
    let behind = hold.behind.map_or_else(String::new, |first| first.to_string());
    match (hold.approved.len(), hold.asked().count(), hold.same.is_empty() && behind.is_empty()) {
        (0, 1, true) => "pending".to_owned(),
        (approved, asked, true) => format!("pending-{approved}-{asked}"),
        (approved, asked, false) => format!("pending-{approved}-{asked}-{}-{behind}", hold.digest.0),
    }
}

#[cfg(test)]
mod tests {
    use holdpoint_common::decision::Decision;

    use super::*;
    use crate::request::{End, sample};

    fn past(id: u64, state: End) -> Past {
        let standing = Standing { hold: HoldId(id), state, decision: Decision::Approve, by: None };
        Past { hold: sample::hold(HoldId(id)), standing, why: None, at: sample::start() }
    }

    #[test]
    fn only_members_of_the_group_see_a_hold() {
        let mut board = Board::default();
        board.asked(&sample::hold(HoldId(1)));
        board.ended(past(2, End::Approved));
        for (user, seen) in [("alice", 1), ("bob", 1), ("mallory", 0), ("agent", 0), ("", 0)] {
            assert_eq!((board.pending(user).count(), board.past(user).count()), (seen, seen), "{user}");
            assert_eq!(board.find(user, HoldId(1)).is_some(), seen == 1);
        }
        assert_eq!(board.state("mallory", None), Board::default().state("mallory", None), "nor that there is one");
    }

    #[test]
    fn a_hold_is_pending_or_past_and_its_last_end_counts() {
        let mut board = Board::default();
        board.asked(&sample::hold(HoldId(1)));
        let before = board.state("alice", None);
        assert_eq!((board.waits(HoldId(1)), board.state("alice", Some(HoldId(1)))), (true, "pending".into()));
        board.ended(past(1, End::Approved));
        board.ended(past(1, End::Withdrawn));
        assert_eq!((board.pending("alice").count(), board.past("alice").count()), (0, 1));
        assert_eq!(board.state("alice", Some(HoldId(1))), "withdrawn");
        assert_ne!(board.state("alice", None), before);
    }

    #[test]
    fn what_a_question_is_about_besides_is_something_else_to_see() {
        let (mut board, hold) = (Board::default(), sample::hold(HoldId(1)));
        let mut states = vec![];
        let same = vec![crate::request::Same::from(&sample::hold(HoldId(2)))];
        for hold in [hold.clone(), Hold { behind: Some(HoldId(2)), ..hold.clone() }, Hold { same, ..hold }] {
            board.asked(&hold);
            states.extend([board.state("alice", Some(hold.id)), board.state("alice", None)]);
        }
        let different: std::collections::BTreeSet<_> = states.iter().collect();
        assert_eq!(different.len(), states.len(), "{states:?}");
    }

    #[test]
    fn what_nobody_is_asked_about_after_all_is_not_shown() {
        let mut board = Board::default();
        board.asked(&Hold { behind: Some(HoldId(2)), ..sample::hold(HoldId(1)) });
        board.forget(HoldId(1));
        assert!(board.find("alice", HoldId(1)).is_none() && !board.waits(HoldId(1)));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut board = Board::default();
        (0..60).for_each(|id| board.ended(past(id, End::Denied)));
        assert_eq!((board.past("alice").count(), board.find("alice", HoldId(9)).is_some()), (50, false));
        assert_eq!(board.past("alice").next().map(|past| past.hold.id), Some(HoldId(59)));
    }
}
