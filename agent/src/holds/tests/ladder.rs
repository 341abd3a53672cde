//! Nobody decides, and others are asked; and who is asked is reminded.

use super::*;
use crate::{ladder::Step, quorum::Group};

fn group(name: &str, approvals: u32, members: &[&str]) -> Group {
    Group { name: name.into(), approvals, members: members.iter().map(|name| (*name).into()).collect() }
}

/// When the leads are asked.
fn later() -> Timestamp {
    start() + 60.seconds()
}

/// Two of security are asked, and one of `leads` after a minute.
fn of_leads(leads: Group) -> Hold {
    let step = Step { at: later(), reviewers: vec![leads], asked: false };
    let reviewers = vec![group("security", 2, &["alice", "bob", "carol"])];
    let deadline = start() + 300.seconds();
    Hold { reviewers, escalation: vec![step], remind: Some(Duration::from_secs(40)), deadline, ..hold(ID) }
}

fn asked_at(now: Timestamp, hold: Hold) -> (Holds, Vec<Effect>) {
    let mut holds = Holds::default();
    let effects = holds.on(now, Input::Held { hold: Box::new(hold), kernel: None, passed: false, recorded: None });
    (holds, effects)
}

fn leads() -> Group {
    group("leads", 1, &["dave"])
}

fn by_dave(word: Word) -> Answer {
    by_user(9, "dave", word)
}

/// Who is asked by these effects, in words.
fn escalated(effects: &[Effect]) -> Vec<String> {
    let asked = |effect: &Effect| match effect {
        Effect::Escalate(hold) => Some(hold.asked_briefly()),
        _ => None,
    };
    effects.iter().filter_map(asked).collect()
}

fn reminders(effects: &[Effect]) -> Vec<u32> {
    let number = |effect: &Effect| match effect {
        Effect::Remind { number, .. } => Some(*number),
        _ => None,
    };
    effects.iter().filter_map(number).collect()
}

#[test]
fn the_next_are_asked_once_when_their_time_has_come() {
    let (mut holds, effects) = asked_at(start(), of_leads(leads()));
    assert_eq!(escalated(&effects), [""; 0]);
    assert_eq!(escalated(&holds.on(later() - 1.nanosecond(), Input::Tick)), [""; 0]);
    let effects = holds.on(later(), Input::Tick);
    assert!(matches!(&effects[0], Effect::Record(Entry { event: Event::Escalated { .. }, .. })), "{effects:?}");
    assert_eq!(escalated(&effects), ["2 of security, or leads"]);
    assert_eq!(escalated(&holds.on(later() + 1.second(), Input::Tick)), [""; 0]);
    assert_eq!(done(&mut holds, later(), says(by_dave(Word::Approve)))[0], decide(Approve));
}

#[test]
fn who_is_asked_later_says_nothing_before_and_need_not_wait_for_a_tick() {
    for word in [Word::Approve, Word::Deny] {
        let (mut holds, _) = asked_at(start(), of_leads(leads()));
        let early = done(&mut holds, later() - 1.nanosecond(), says(by_dave(word)));
        assert_eq!(early, [reply(Err(Refusal::NotNamed))]);
        let effects = done(&mut holds, later(), says(by_dave(word)));
        assert_eq!(escalated(&effects).len(), 1);
        assert!(effects.contains(&decide(word.decision(of_leads(leads()).on_deny))), "{effects:?}");
    }
}

#[test]
fn who_was_asked_before_stays_asked_and_the_first_no_decides() {
    let (mut holds, _) = asked_at(start(), of_leads(leads()));
    holds.on(later(), Input::Tick);
    let counted = holds.on(later(), alice(Word::Approve));
    assert!(counted.contains(&reply(Ok(Outcome::Counted("security, or leads".into())))), "{counted:?}");
    assert_eq!(done(&mut holds, later(), says(by_webhook("bob", Word::Approve)))[0], decide(Approve));
    let (mut holds, _) = asked_at(start(), of_leads(leads()));
    holds.on(later(), Input::Tick);
    assert_eq!(done(&mut holds, later(), alice(Word::Fail))[0], decide(Fail));
}

#[test]
fn nobody_counts_for_those_who_are_asked_later_without_being_one_of_them() {
    let (mut holds, _) = asked_at(start(), of_leads(group("leads", 2, &["dave", "erin"])));
    holds.on(later(), Input::Tick);
    holds.on(later(), alice(Word::Approve));
    let counted = holds.on(later(), says(by_dave(Word::Approve)));
    assert!(counted.contains(&reply(Ok(Outcome::Counted("security, or leads".into())))), "{counted:?}");
    assert_eq!(holds.pending().count(), 1, "one of two of each");
}

#[test]
fn who_has_approved_counts_for_fewer_who_are_asked_later() {
    let (mut holds, _) = asked_at(start(), of_leads(group("security", 1, &["alice", "bob", "carol"])));
    holds.on(start(), alice(Word::Approve));
    let effects = done(&mut holds, later(), Input::Tick);
    assert!(effects.contains(&decide(Approve)), "{effects:?}");
    assert_eq!(holds.standing(ID), Some(&approved()));
}

#[test]
fn who_has_approved_still_does_if_that_could_not_be_recorded() {
    let (mut holds, _) = asked_at(start(), of_leads(group("security", 1, &["alice", "bob", "carol"])));
    holds.on(start(), alice(Word::Approve));
    let decides = |effects: &[Effect]| {
        let of = |effect: &Effect| matches!(effect, Effect::Record(entry) if entry.decides().is_some());
        effects.iter().any(of)
    };
    assert!(decides(&holds.on(later(), Input::Tick)));
    assert_eq!(holds.on(later(), Input::RecordFailed(ID)), []);
    assert!(decides(&holds.on(later(), Input::Tick)), "it is tried again");
    assert_eq!(holds.on(later(), Input::Recorded(ID))[0], decide(Approve));
    assert_eq!(holds.standing(ID), Some(&approved()));
}

#[test]
fn who_is_asked_now_is_not_reminded_at_once() {
    let (mut holds, _) = asked_at(start(), Hold { remind: Some(Duration::from_secs(60)), ..of_leads(leads()) });
    let effects = holds.on(later(), Input::Tick);
    assert_eq!((escalated(&effects).len(), reminders(&effects)), (1, vec![]));
    assert_eq!(reminders(&holds.on(later() + 60.seconds(), Input::Tick)), [2]);
}

#[test]
fn a_hold_that_is_seen_late_asks_all_whose_time_has_come() {
    let (_, effects) = asked_at(later(), of_leads(leads()));
    assert!(matches!(&effects[1], Effect::Ask(_)), "{effects:?}");
    assert_eq!(escalated(&effects), ["2 of security, or leads"]);
}

#[test]
fn a_hold_that_is_decided_asks_nobody_else_and_reminds_nobody() {
    let (mut holds, _) = asked_at(start(), of_leads(leads()));
    done(&mut holds, start(), alice(Word::Deny));
    assert_eq!(holds.on(later(), Input::Tick), []);
}

#[test]
fn reminders_come_at_their_times_and_keep_their_numbers_over_a_restart() {
    let (mut holds, _) = asked_at(start(), of_leads(leads()));
    let at = |seconds: i64| start() + seconds.seconds();
    assert_eq!(reminders(&holds.on(at(39), Input::Tick)), [0; 0]);
    assert_eq!(reminders(&holds.on(at(40), Input::Tick)), [1]);
    assert_eq!(reminders(&holds.on(at(41), Input::Tick)), [0; 0]);
    holds.on(later(), Input::Tick);
    assert_eq!(reminders(&holds.on(at(165), Input::Tick)), [4], "not one for each that was missed");
    let (mut holds, _) = asked_at(at(125), of_leads(leads()));
    assert_eq!(reminders(&holds.on(at(126), Input::Tick)), [0; 0]);
    assert_eq!(reminders(&holds.on(at(160), Input::Tick)), [4]);
}
