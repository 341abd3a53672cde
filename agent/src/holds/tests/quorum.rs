//! Several must approve: each sequence of what can happen, up to a length, in every order.

use std::collections::BTreeSet;

use super::*;
use crate::quorum::{Assurance, Group};

/// As many inputs follow the question; what is in flight at the end comes in after them.
const LENGTH: usize = 5;

/// One that two of alice, bob and carol must approve.
fn of_two() -> Hold {
    let members = ["alice", "bob", "carol"].map(Into::into).into();
    Hold { reviewers: vec![Group { name: "security".into(), approvals: 2, members }], ..hold(ID) }
}

fn asked_of_two() -> Holds {
    let mut holds = Holds::default();
    holds.on(start(), Input::Held { hold: Box::new(of_two()), kernel: None, passed: false, recorded: None });
    holds
}

fn replied(effects: &[Effect]) -> Vec<&Result<Outcome, Refusal>> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::Reply { result, .. } = effect { Some(result) } else { None })
        .collect()
}

#[test]
fn the_second_approval_decides_and_both_are_on_record() {
    let mut holds = asked_of_two();
    let first = holds.on(start(), alice(Word::Approve));
    assert!(matches!(&first[0], Effect::Record(Entry { event: Event::Counted { .. }, .. })), "{first:?}");
    assert!(
        matches!(&first[1], Effect::Counted { hold, missing } if hold.approved == ["alice"] && missing == "security")
    );
    assert_eq!(replied(&first), [&Ok(Outcome::Counted("security".into()))]);
    assert_eq!(holds.pending().count(), 1);
    let second = holds.on(start(), says(by_webhook("bob", Word::Approve)));
    let [Effect::Record(Entry { event: Event::Decided(decided), .. })] = &second[..] else { panic!("{second:?}") };
    let names: Vec<_> = decided.approvals.iter().chain(&decided.answer).map(|answer| answer.who.as_str()).collect();
    assert_eq!(names, ["alice", "bob"]);
    let both = standing(End::Approved, Approve, Some("alice and bob"));
    let effects = holds.on(start(), Input::Recorded(ID));
    assert_eq!(effects[..2], [decide(Approve), reply(Ok(Outcome::Accepted(both)))]);
}

#[test]
fn nobody_counts_twice_whatever_the_way() {
    let mut holds = asked_of_two();
    holds.on(start(), alice(Word::Approve));
    for again in [by_webhook("alice", Word::Approve), by_page("alice", None), by_user(7, "alice", Word::Approve)] {
        let effects = holds.on(start(), says(again));
        assert!(matches!(&effects[0], Effect::Record(Entry { event: Event::RefusedAnswer { .. }, .. })));
        assert_eq!(replied(&effects), [&Err(Refusal::NotNeeded("security".into()))]);
    }
    assert_eq!(holds.pending().count(), 1);
}

#[test]
fn the_first_no_decides_also_of_who_has_approved() {
    for who in ["alice", "bob"] {
        let mut holds = asked_of_two();
        holds.on(start(), alice(Word::Approve));
        let effects = done(&mut holds, start(), says(by_webhook(who, Word::Fail)));
        let denied = standing(End::Denied, Fail, Some(who));
        assert_eq!(effects[..2], [decide(Fail), reply(Ok(Outcome::Accepted(denied)))]);
    }
}

#[test]
fn silence_of_the_second_denies() {
    let mut holds = asked_of_two();
    holds.on(start(), alice(Word::Approve));
    assert_eq!(done(&mut holds, deadline(), Input::Tick)[0], decide(Fail));
}

#[test]
fn under_another_policy_all_approve_anew() {
    let mut holds = asked_of_two();
    holds.on(start(), alice(Word::Approve));
    assert_eq!(
        holds.on(start(), Input::PolicyChanged),
        [
            Effect::Counted { hold: Box::new(of_two()), missing: "2 of security".into() },
            Effect::Ask(Box::new(of_two()))
        ]
    );
    assert_eq!(holds.on(start(), Input::PolicyChanged), []);
    let bob = holds.on(start(), says(by_webhook("bob", Word::Approve)));
    assert_eq!(replied(&bob), [&Ok(Outcome::Counted("security".into()))]);
    assert!(matches!(holds.on(start(), alice(Word::Approve))[..], [Effect::Record(_)]), "alice may again");
}

#[test]
fn a_yes_must_be_sure_enough_and_a_no_need_not() {
    let asking = |assurance| {
        let mut holds = Holds::default();
        let hold = Box::new(Hold { assurance, ..hold(ID) });
        holds.on(start(), Input::Held { hold, kernel: None, passed: false, recorded: None });
        holds
    };
    for (assurance, answer, taken) in [
        (Assurance::Basic, by_webhook("alice", Word::Approve), true),
        (Assurance::Medium, by_webhook("alice", Word::Approve), false),
        (Assurance::Medium, by_page("alice", None), true),
        (Assurance::Medium, by_user(7, "alice", Word::Approve), true),
        (Assurance::High, by_page("alice", None), false),
        (Assurance::High, by_user(7, "alice", Word::Approve), false),
        (Assurance::High, by_webhook("alice", Word::Deny), true),
    ] {
        let effects = done(&mut asking(assurance), start(), says(answer.clone()));
        let refused = reply(Err(Refusal::Assurance(assurance)));
        assert_eq!(!effects.contains(&refused), taken, "{assurance:?}: {answer:?}: {effects:?}");
    }
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Says(&'static str, Word),
    Recorded,
    RecordFailed,
    Deadline,
    Gone,
}

const STEPS: [Step; 8] = [
    Step::Says("alice", Word::Approve),
    Step::Says("bob", Word::Approve),
    Step::Says("carol", Word::Approve),
    Step::Says("bob", Word::Deny),
    Step::Recorded,
    Step::RecordFailed,
    Step::Deadline,
    Step::Gone,
];

/// One order of events, as the outside world sees it.
struct Run {
    holds: Holds,
    now: Timestamp,
    tickets: u64,
    answered: BTreeSet<u64>,
    /// Lines that decide and are not on disk yet.
    writing: usize,
    /// Who has said yes in time, whether or not it counted.
    yes: BTreeSet<&'static str>,
    /// Who were told that their no counts.
    denied: bool,
    decisions: Vec<Decision>,
}

impl Run {
    fn new() -> Self {
        Self {
            holds: asked_of_two(),
            now: start(),
            tickets: 0,
            answered: BTreeSet::new(),
            writing: 0,
            yes: BTreeSet::new(),
            denied: false,
            decisions: vec![],
        }
    }

    /// False where that cannot happen now.
    fn step(&mut self, step: Step) -> bool {
        let input = match step {
            Step::Recorded | Step::RecordFailed if self.writing == 0 => return false,
            Step::Deadline if self.now == deadline() => return false,
            Step::Says(who, word) => {
                self.tickets += 1;
                if word == Word::Approve && self.now < deadline() {
                    self.yes.insert(who);
                }
                Input::Answered { answer: by_webhook(who, word), ticket: Ticket(self.tickets) }
            }
            Step::Recorded => {
                self.writing -= 1;
                Input::Recorded(ID)
            }
            Step::RecordFailed => {
                self.writing -= 1;
                Input::RecordFailed(ID)
            }
            Step::Deadline => {
                self.now = deadline();
                Input::Tick
            }
            Step::Gone => Input::Gone(ID, Withdrawal::CallAbandoned),
        };
        for effect in self.holds.on(self.now, input) {
            self.see(effect);
        }
        true
    }

    fn see(&mut self, effect: Effect) {
        match effect {
            Effect::Record(entry) => self.writing += usize::from(entry.decides().is_some()),
            Effect::Reply { ticket, result } => {
                assert!(self.answered.insert(ticket.0), "one reply to each answer");
                self.denied |= matches!(result, Ok(Outcome::Accepted(Standing { state: End::Denied, .. })));
            }
            Effect::Decide { decision: Withdraw, .. } => {}
            Effect::Decide { decision, .. } => {
                assert!(decision != Approve || self.yes.len() > 1, "two people have approved: {:?}", self.yes);
                assert!(decision != Approve || self.now < deadline(), "in time");
                assert!(decision != Approve || !self.denied, "nobody was told that a no counts");
                self.decisions.push(decision);
            }
            _ => {}
        }
    }
}

/// One order of steps; false if it cannot happen. What is in flight after [`LENGTH`] of them comes in, and counts as an end.
fn play(steps: &[Step], ends: &mut [usize; 3]) -> bool {
    let mut run = Run::new();
    if !steps.iter().all(|step| run.step(*step)) {
        return false;
    }
    if steps.len() < LENGTH {
        return true;
    }
    while run.step(Step::Recorded) {}
    assert_eq!(run.answered.len() as u64, run.tickets, "each answer has got its reply: {steps:?}");
    assert!(run.decisions.len() <= 1, "{steps:?}: {:?}", run.decisions);
    match run.decisions[..] {
        [Approve] => ends[0] += 1,
        [_] => ends[1] += 1,
        _ => ends[2] += 1,
    }
    true
}

#[test]
fn in_no_order_do_fewer_than_two_approve_or_does_a_no_that_counts_get_lost() {
    let mut ends = [0; 3];
    explore(&STEPS, LENGTH, &mut vec![], &mut |steps| play(steps, &mut ends));
    assert!(ends.iter().all(|count| *count > 100), "all ends are reached: {ends:?}");
}
