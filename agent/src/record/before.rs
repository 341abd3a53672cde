//! What reviewers have decided of the same before, on this host, as far as the record goes back: shown beside a question, and
//! nothing more. It decides nothing.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Line;
use crate::{
    class::is_all_told,
    request::{End, HoldId, Request, hashed, without},
};

/// Most operations of which it is known. Of a further one, that is forgotten which was decided longest ago.
const OPERATIONS: usize = 4096;
/// Most characters of somebody's words.
const WORDS: usize = 300;

/// What does not count, besides what is no part of the operation: how long a file is that may be appended to, and what names
/// an address had.
const INCIDENTAL: [&str; 2] = ["size", "names"];

/// Which operations are the same as to what was decided before: wider than [`crate::class::Class`], so that it can be told in
/// another tree, under another policy and rule, after another login. The operation with all its objects and the state of their
/// content, the user that it runs as, and the subject's name: SHA-256 over these, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationKey(String);

impl OperationKey {
    /// That of `request` as it is shown: it stands in the record, and no secret can be guessed by it. So two secrets of one
    /// length behind a mask are the same here (not in [`crate::class::Class`]), and another mask makes it another operation. None
    /// where the description does not say all that it is, so nothing of what is about one process.
    pub fn of(request: &Request) -> Option<Self> {
        let fields = without(&request.what, &INCIDENTAL);
        is_all_told(&request.what, &fields).then(|| Self(hashed((&request.subject, request.uid, fields))))
    }
}

/// What reviewers have said to it: how often one thing, and when for the last time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// [`End::Approved`] or [`End::Denied`].
    pub state: End,
    /// Of how many calls.
    pub times: u64,
    /// Who, the last time: [`crate::quorum::joined`].
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Which hold that was.
    pub hold: HoldId,
    /// In the words of who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What is known of each operation: at most one of each end.
#[derive(Debug, Default)]
pub(super) struct Past(HashMap<OperationKey, Vec<Before>>);

impl Past {
    /// What was decided of it, the latest first.
    pub(super) fn of(&self, key: &OperationKey) -> Vec<Before> {
        self.0.get(key).cloned().unwrap_or_default()
    }

    /// Takes a line of the record: a decision, if it is a reviewer's.
    pub(super) fn note(&mut self, line: &Line) {
        let (Some(key), Some(at), Some(answer)) = (&line.operation_key, line.time, &line.answer) else { return };
        if line.event != "decided" {
            return;
        }
        let Some(state @ (End::Approved | End::Denied)) = line.state else { return };
        let why = answer.why.as_ref().map(|why| why.chars().take(WORDS).collect());
        if !self.0.contains_key(key) && self.0.len() >= OPERATIONS {
            self.forget_the_oldest();
        }
        let known = self.0.entry(key.clone()).or_default();
        let same = known.iter().position(|before| before.state == state).map(|place| known.remove(place));
        let times = same.map_or(0, |before| before.times) + 1;
        known.insert(0, Before { state, times, by: line.by().unwrap_or_default(), at, hold: line.hold, why });
    }

    fn forget_the_oldest(&mut self) {
        let oldest =
            self.0.iter().min_by_key(|(_, known)| known.first().map(|last| last.at)).map(|(key, _)| key.clone());
        oldest.map(|key| self.0.remove(&key));
    }
}

impl Before {
    /// For people: `approved 3 times, last by alice, 2026-11-22 14:03:11 UTC (hold 3f9c...): as agreed`. What is said is as it was said.
    pub fn sentence(&self, moment: impl Fn(Timestamp) -> String) -> String {
        let word = if self.state == End::Approved { "approved" } else { "denied" };
        let often = if self.times == 1 { "once,".to_owned() } else { format!("{} times, last", self.times) };
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        format!("{word} {often} by {}, {} (hold {}){why}", self.by, moment(self.at), self.hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Object, Operation, sample};

    const FIRST: HoldId = HoldId(1);

    fn line(hold: u64, key: &str, second: i64, rest: &str) -> Line {
        let time = Timestamp::from_second(second).unwrap();
        let text = format!(
            r#"{{"event":"decided","time":"{time}","hold":"{}","operation_key":"{key}","digest":"d",{rest}}}"#,
            HoldId(hold)
        );
        serde_json::from_str(&text).unwrap()
    }

    fn approved(hold: u64, key: &str, second: i64) -> Line {
        line(hold, key, second, r#""state":"approved","approvals":[{"who":"alice"}],"answer":{"who":"bob"}"#)
    }

    fn sentences(past: &Past, key: &str) -> Vec<String> {
        past.of(&OperationKey(key.into())).iter().map(|before| before.sentence(|at| at.to_string())).collect()
    }

    #[test]
    fn how_often_it_was_approved_and_denied_and_when_for_the_last_time() {
        let mut past = Past::default();
        past.note(&approved(1, "a", 1));
        past.note(&approved(2, "a", 2));
        past.note(&line(3, "a", 3, r#""state":"denied","answer":{"who":"carol","why":"not at night"}"#));
        for nobody in [r#""state":"expired","answer":null"#, r#""state":"approved","answer":null,"granted_by":"alice""#]
        {
            past.note(&line(4, "a", 4, nobody));
        }
        assert_eq!(
            sentences(&past, "a"),
            [
                "denied once, by carol, 1970-01-01T00:00:03Z (hold 0000000000000003): not at night",
                "approved 2 times, last by alice and bob, 1970-01-01T00:00:02Z (hold 0000000000000002)",
            ]
        );
        assert_eq!(sentences(&past, "b"), [""; 0]);
    }

    #[test]
    fn the_oldest_are_forgotten_and_words_are_no_longer_than_that() {
        let mut past = Past::default();
        for number in 0..=OPERATIONS {
            past.note(&approved(1, &number.to_string(), i64::try_from(number).unwrap()));
        }
        assert_eq!((past.0.len(), sentences(&past, "0").len(), sentences(&past, "1").len()), (OPERATIONS, 0, 1));
        let words = "x".repeat(WORDS + 1);
        past.note(&line(2, "1", 2, &format!(r#""state":"denied","answer":{{"who":"a","why":"{words}"}}"#)));
        assert_eq!(past.of(&OperationKey("1".into()))[0].why.as_ref().map(String::len), Some(WORDS));
    }

    #[test]
    fn another_tree_or_night_is_the_same_and_another_user_subject_or_object_is_not() {
        let request = || sample::hold(FIRST).request;
        let elsewhere = Request {
            tree: "other".into(),
            policy: "other".into(),
            rule: None,
            pid: 7,
            started: 8,
            launcher: 9,
            ..request()
        };
        assert_eq!(OperationKey::of(&elsewhere), OperationKey::of(&request()));
        let of = |what| OperationKey::of(&Request { what, ..request() });
        let open = |inode, size| Operation::Open {
            path: "/a".into(),
            access: vec!["write"],
            flags: 0,
            object: Object { device: 1, inode },
            content: None,
            length: None,
            owner: None,
            mode: None,
            size: Some(size),
        };
        assert_eq!(of(open(1, 5)), of(open(1, 6)), "it was appended to");
        assert_ne!(of(open(1, 5)), of(open(2, 5)));
        for other in [Request { uid: 0, ..request() }, Request { subject: "other".into(), ..request() }] {
            assert_ne!(OperationKey::of(&other), OperationKey::of(&request()));
        }
        let name = |path: &str| {
            let Operation::Open { access, flags, object, .. } = open(1, 5) else { unreachable!() };
            let (path, content, length, owner, mode, size) = (path.into(), None, None, None, None, None);
            of(Operation::Open { path, access, flags, object, content, length, owner, mode, size })
        };
        assert!(name("/a").is_some());
        for unclear in ["…/a", "/a\u{fffd}"] {
            assert_eq!(name(unclear), None, "{unclear}: another one may look like it");
        }
        assert_eq!(of(Operation::System { system: "signal", detail: 0, process: Some(7) }), None);
    }
}
