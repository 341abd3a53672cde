//! Each sequence of what can happen to requests that ask for the same, up to a length, in every order.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::*;

/// As many inputs follow the first question; what is in flight at the end comes in after them.
const LENGTH: usize = 5;

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Move {
    /// The next hold comes.
    Held,
    /// Alice answers the question that is open, or the last hold that came, alone.
    Answers(Word),
    Alone,
    /// The line that was handed out first is on disk, or not.
    Recorded,
    RecordFailed,
    /// The call that is asked about is gone.
    Gone,
    /// The deadline of what is asked about.
    Deadline,
    PolicyChanged,
}

const MOVES: [Move; 9] = [
    Move::Held,
    Move::Answers(Word::Approve),
    Move::Answers(Word::Fail),
    Move::Alone,
    Move::Recorded,
    Move::RecordFailed,
    Move::Gone,
    Move::Deadline,
    Move::PolicyChanged,
];

/// One order of events, as the outside world sees it.
struct Run {
    holds: Holds,
    now: Timestamp,
    last: u64,
    /// Lines that decide and are not on disk yet.
    writing: VecDeque<HoldId>,
    /// The questions that were asked: what they listed.
    listed: HashMap<Digest, BTreeSet<HoldId>>,
    /// What approvals of alice were taken as valid for.
    said: BTreeSet<HoldId>,
    /// Approved at last.
    approved: usize,
    denied: usize,
}

impl Run {
    fn new() -> Self {
        let (writing, listed, said) = Default::default();
        let holds = Holds::default();
        let mut run = Self { holds, now: start(), last: 0, writing, listed, said, approved: 0, denied: 0 };
        for _ in 0..3 {
            run.step(Move::Held);
        }
        run
    }

    /// False where that cannot happen now.
    fn step(&mut self, step: Move) -> bool {
        let asked = self.holds.pending().find(|hold| hold.behind.is_none()).cloned();
        let input = match (step, asked) {
            (Move::Held, _) if self.last == 5 => return false,
            (Move::Held, _) => {
                self.last += 1;
                let hold = of(self.last);
                self.listed.insert(hold.digest.clone(), [hold.id].into());
                input(hold)
            }
            (Move::Answers(word), Some(hold)) => self.alice(&hold, word),
            (Move::Alone, _) => self.alice(&of(self.last), Word::Approve),
            (Move::Recorded, _) => match self.writing.pop_front() {
                Some(id) => Input::Recorded(id),
                None => return false,
            },
            (Move::RecordFailed, _) => match self.writing.pop_front() {
                Some(id) => Input::RecordFailed(id),
                None => return false,
            },
            (Move::Gone, Some(hold)) => Input::Gone(hold.id, Withdrawal::CallAbandoned),
            (Move::Deadline, Some(hold)) => {
                self.now = hold.deadline;
                Input::Tick
            }
            (Move::PolicyChanged, _) => Input::PolicyChanged,
            (Move::Answers(_) | Move::Gone | Move::Deadline, None) => return false,
        };
        for effect in self.holds.on(self.now, input) {
            self.see(effect);
        }
        self.check();
        true
    }

    fn alice(&mut self, hold: &Hold, word: Word) -> Input {
        if word == Word::Approve {
            self.said.extend(&self.listed[&hold.digest]);
        }
        alice_of(hold, word)
    }

    fn see(&mut self, effect: Effect) {
        match effect {
            Effect::Record(entry) => self.writing.extend(entry.decides()),
            Effect::Ask(hold) => {
                let all = hold.same.iter().map(|same| same.hold).chain([hold.id]);
                self.listed.insert(hold.digest.clone(), all.collect());
            }
            Effect::Decide { hold, decision: Approve } => {
                assert!(self.said.contains(&hold), "alice has approved what listed it");
                assert!(self.now < of(hold.0).deadline, "in time");
                self.approved += 1;
            }
            Effect::Decide { decision: Fail, .. } => self.denied += 1,
            _ => {}
        }
    }

    /// What waits is asked about, or waits behind a question that is open, or is being decided.
    fn check(&self) {
        for hold in self.holds.pending() {
            let Some(first) = hold.behind else { continue };
            let open = self.holds.get(first).is_some_and(|first| first.behind.is_none());
            assert!(open && (self.holds.is_pending(first) || self.writing.contains(&first)), "{}: {first}", hold.id);
        }
        let questions = self.holds.pending().filter(|hold| hold.behind.is_none()).count();
        assert!(questions <= 1, "nobody is asked twice");
    }
}

/// One order of steps; false if it cannot happen. What is in flight after [`LENGTH`] of them comes in, and counts as an end.
fn play(steps: &[Move], ends: &mut BTreeMap<(usize, usize), usize>) -> bool {
    let mut run = Run::new();
    if !steps.iter().all(|step| run.step(*step)) {
        return false;
    }
    if steps.len() < LENGTH {
        return true;
    }
    while run.step(Move::Recorded) {}
    *ends.entry((run.approved, run.denied)).or_default() += 1;
    true
}

#[test]
fn in_no_order_is_anything_approved_that_was_not_listed_or_left_without_a_question() {
    let mut ends = BTreeMap::new();
    explore(&MOVES, LENGTH, &mut vec![], &mut |steps| play(steps, &mut ends));
    let several: usize = ends.iter().filter(|((approved, _), _)| *approved > 2).map(|(_, count)| count).sum();
    let refused: usize = ends.iter().filter(|((_, denied), _)| *denied > 2).map(|(_, count)| count).sum();
    assert!(several > 100 && refused > 100, "they are reached: {ends:?}");
}
