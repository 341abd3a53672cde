//! Several requests of a tree that ask for the same: one question at a time, and no approval reaches further than what it lists.

mod orders;

use super::*;
use crate::{
    ladder::Step,
    quorum::Group,
    request::{Object, Operation, Request, Same},
};

/// A hold that asks for what all others ask for, each in a process of its own and with a second more than the one before.
fn of(id: u64) -> Hold {
    let mut hold = hold(HoldId(id));
    hold.request.pid += u32::try_from(id).expect("small");
    hold.deadline += SignedDuration::from_secs(id.cast_signed());
    hold.digest = Digest::of(hold.id, &hold.request);
    hold
}

fn input(hold: Hold) -> Input {
    Input::Held { hold: Box::new(hold), kernel: None, passed: false, recorded: None }
}

fn answer(who: &str, hold: &Hold, word: Word) -> Answer {
    Answer { hold: hold.id, digest: hold.digest.clone(), ..by_webhook(who, word) }
}

fn alice_of(hold: &Hold, word: Word) -> Input {
    says(answer("alice", hold, word))
}

/// Who is asked about, with those that are listed.
fn asked(effects: &[Effect]) -> Vec<(u64, Vec<u64>)> {
    let one = |effect: &Effect| match effect {
        Effect::Ask(hold) => Some((hold.id.0, hold.same.iter().map(|same| same.hold.0).collect())),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn decided(effects: &[Effect]) -> Vec<(u64, Decision)> {
    let one = |effect: &Effect| match effect {
        Effect::Decide { hold, decision } => Some((hold.0, *decision)),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn told(effects: &[Effect]) -> Vec<u64> {
    let one = |effect: &Effect| match effect {
        Effect::Tell { hold, .. } => Some(hold.id.0),
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

/// The first of these is asked about, three wait behind it.
fn four_of(change: impl Fn(Hold) -> Hold) -> Holds {
    let mut holds = Holds::default();
    assert_eq!(asked(&done(&mut holds, start(), input(change(of(1))))), [(1, vec![])]);
    for id in 2..=4 {
        let effects = done(&mut holds, start(), input(change(of(id))));
        assert!(matches!(&effects[..], [Effect::Join(hold)] if hold.behind == Some(HoldId(1))), "{effects:?}");
    }
    holds
}

fn four() -> Holds {
    four_of(|hold| hold)
}

/// The question that is open.
#[track_caller]
fn question(holds: &Holds) -> Hold {
    let mut asked = holds.pending().filter(|hold| hold.behind.is_none());
    let hold = asked.next().expect("a question").clone();
    assert!(asked.next().is_none(), "one at a time");
    hold
}

#[test]
fn an_approval_is_for_the_one_that_was_shown_and_one_question_lists_the_others() {
    let mut holds = four();
    let effects = done(&mut holds, start(), alice_of(&of(1), Word::Approve));
    assert_eq!((decided(&effects), asked(&effects)), (vec![(1, Approve)], vec![(4, vec![2, 3])]));
    let all = question(&holds);
    let same = [2, 3].map(|id| Same::from(&of(id)));
    let listed: Vec<_> = [Same::from(&of(4))].into_iter().chain(same.clone()).collect();
    assert_eq!((&all.digest, &all.same[..], all.alone()), (&Digest::of_all(&listed), &same[..], of(4).digest));

    let alone = done(&mut holds, start(), alice_of(&of(4), Word::Approve));
    assert_eq!(alone, [reply(Err(Refusal::WrongDigest))], "that is not the question any more");
    let late = done(&mut holds, start(), input(of(5)));
    assert!(matches!(&late[..], [Effect::Join(hold)] if hold.behind == Some(HoldId(4))), "{late:?}");
    let effects = done(&mut holds, start(), alice_of(&all, Word::Approve));
    assert_eq!(decided(&effects), [(4, Approve), (2, Approve), (3, Approve)]);
    assert_eq!(asked(&effects), [(5, vec![])], "it was not listed");
    assert_eq!(question(&holds).digest, of(5).digest);
}

#[test]
fn each_is_decided_on_record_by_itself_with_the_answer_to_the_question() {
    let mut holds = four();
    done(&mut holds, start(), alice_of(&of(1), Word::Approve));
    let all = question(&holds);
    let effects = holds.on(start(), alice_of(&all, Word::Approve));
    let [Effect::Record(Entry { event: Event::Decided(line), .. })] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(Digest::of_all(&line.listed), all.digest, "it says what was approved, by itself");
    let effects = holds.on(start(), Input::Recorded(HoldId(4)));
    assert_eq!(decided(&effects), [(4, Approve)], "nothing of the others yet");
    let lines = effects.iter().filter_map(|effect| match effect {
        Effect::Record(Entry { event: Event::Decided(decided), .. }) => Some((**decided).clone()),
        _ => None,
    });
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.iter().map(|line| (line.hold.0, line.listed.len())).collect::<Vec<_>>(), [(2, 0), (3, 0)]);
    for line in lines {
        let by = line.answer.expect("an answer");
        assert_eq!((line.digest, by.hold, by.digest), (of(line.hold.0).digest, HoldId(4), all.digest.clone()));
        assert_eq!(decided(&holds.on(start(), Input::Recorded(line.hold))), [(line.hold.0, Approve)]);
    }
}

#[test]
fn what_is_listed_is_on_record_before_it_is_asked() {
    let mut holds = four();
    holds.on(start(), alice_of(&of(1), Word::Approve));
    let effects = holds.on(start(), Input::Recorded(HoldId(1)));
    let is_ask = |effect: &Effect| matches!(effect, Effect::Ask(_));
    let place = effects.iter().position(is_ask).expect("a question");
    let Effect::Record(Entry { event: Event::Gathered { hold, digest, listed }, .. }) = &effects[place - 1] else {
        panic!("{effects:?}")
    };
    assert_eq!((hold.0, digest), (4, &Digest::of_all(listed)));
    assert_eq!(
        listed.iter().map(|same| (same.hold.0, &same.digest)).collect::<Vec<_>>(),
        [(4, &of(4).digest), (2, &of(2).digest), (3, &of(3).digest)]
    );
}

#[test]
fn a_no_is_for_all_that_ask_for_the_same() {
    let mut holds = four();
    let effects = done(&mut holds, start(), alice_of(&of(1), Word::Fail));
    assert_eq!(decided(&effects), [(1, Fail), (2, Fail), (3, Fail), (4, Fail)]);
    assert_eq!((asked(&effects), told(&effects)), (vec![], vec![1, 2, 3, 4]));
    let pauses: Vec<_> = (1..=4).map(|id| holds.pause(HoldId(id))).collect();
    assert_eq!(pauses, [Some(of(1).pause); 4]);

    let mut holds = four();
    done(&mut holds, start(), alice_of(&of(1), Word::Approve));
    done(&mut holds, start(), input(of(5)));
    let all = question(&holds);
    let effects = done(&mut holds, start(), alice_of(&all, Word::Kill));
    assert_eq!(decided(&effects), [(4, Kill), (2, Kill), (3, Kill), (5, Kill)], "listed or not");
}

#[test]
fn silence_is_for_each_in_its_time_and_one_question_follows() {
    let mut holds = four();
    let effects = done(&mut holds, of(1).deadline, Input::Tick);
    assert_eq!((decided(&effects), asked(&effects)), (vec![(1, Fail)], vec![(4, vec![2, 3])]));
    let effects = done(&mut holds, of(2).deadline, Input::Tick);
    assert_eq!((decided(&effects), asked(&effects)), (vec![(2, Fail)], vec![]));
    let all = question(&holds);
    let effects = done(&mut holds, of(3).deadline, alice_of(&all, Word::Approve));
    assert_eq!(decided(&effects), [(4, Approve), (3, Fail)], "the one is over, the other late");
}

#[test]
fn a_call_that_is_gone_leaves_one_question_about_the_others() {
    let mut holds = four();
    let effects = done(&mut holds, start(), Input::Gone(HoldId(1), Withdrawal::ProcessDead));
    assert_eq!(asked(&effects), [(4, vec![2, 3])]);
    assert_eq!(asked(&done(&mut holds, start(), Input::Gone(HoldId(2), Withdrawal::ProcessDead))), []);
    let all = question(&holds);
    let effects = done(&mut holds, start(), alice_of(&all, Word::Approve));
    assert_eq!(decided(&effects), [(4, Approve), (3, Approve)]);
}

#[test]
fn one_that_waits_behind_another_can_be_answered_alone() {
    for (word, decision) in [(Word::Approve, Approve), (Word::Fail, Fail)] {
        let mut holds = four();
        assert_eq!(decided(&done(&mut holds, start(), alice_of(&of(3), word))), [(3, decision)]);
        assert_eq!((question(&holds).id, holds.pending().count()), (HoldId(1), 3));
    }
}

#[test]
fn what_could_not_be_recorded_is_asked_about_again() {
    let mut holds = four();
    done(&mut holds, start(), alice_of(&of(1), Word::Approve));
    let all = question(&holds);
    holds.on(start(), alice_of(&all, Word::Approve));
    holds.on(start(), Input::Recorded(HoldId(4)));
    let effects = holds.on(start(), Input::RecordFailed(HoldId(2)));
    assert_eq!((decided(&effects), asked(&effects)), (vec![], vec![(2, vec![])]));
    let effects = holds.on(start(), Input::RecordFailed(HoldId(3)));
    assert!(matches!(&effects[..], [Effect::Record(_), Effect::Join(hold)] if hold.id == HoldId(3)), "{effects:?}");

    let mut holds = four();
    holds.on(start(), alice_of(&of(3), Word::Approve));
    let effects = holds.on(start(), Input::RecordFailed(HoldId(3)));
    assert_eq!(effects, [reply(Err(Refusal::NotRecorded))], "it still waits behind the first");
}

#[test]
fn several_must_approve_what_is_listed_and_who_has_approved_one_alone_does_so_again() {
    let of_two = |mut hold: Hold| {
        hold.reviewers[0].approvals = 2;
        hold
    };
    let mut holds = four_of(of_two);
    // Alice approves one alone that is listed later.
    done(&mut holds, start(), alice_of(&of(4), Word::Approve));
    for who in ["alice", "bob"] {
        done(&mut holds, start(), says(answer(who, &of(1), Word::Approve)));
    }
    let all = question(&holds);
    assert_eq!((all.id, all.same.len(), &all.approved[..]), (HoldId(4), 2, &[][..]));
    assert_eq!(decided(&done(&mut holds, start(), says(answer("bob", &all, Word::Approve)))), []);
    let effects = done(&mut holds, start(), alice_of(&all, Word::Approve));
    assert_eq!(decided(&effects), [(4, Approve), (2, Approve), (3, Approve)]);
    let by: Vec<_> = (2..=4).filter_map(|id| holds.standing(HoldId(id))?.by.clone()).collect();
    assert_eq!(by, ["bob and alice"; 3]);
}

#[test]
fn an_approval_for_longer_decides_what_waits() {
    let mut holds = four_of(|hold| Hold { scopes: vec![Scope::Process, Scope::Tree], ..hold });
    let approval = |scope| says(Answer { scope, ..answer("alice", &of(1), Word::Approve) });
    let effects = done(&mut holds, start(), approval(Scope::Tree));
    assert_eq!(decided(&effects), [(1, Approve), (2, Approve), (3, Approve), (4, Approve)]);
    assert_eq!((asked(&effects), told(&effects)), (vec![], vec![1, 2, 3, 4]));
    assert_eq!(holds.grants().next().map(|grant| grant.uses), Some(3));

    let mut holds = four_of(|hold| Hold { scopes: vec![Scope::Process, Scope::Tree], ..hold });
    let effects = done(&mut holds, start(), approval(Scope::Process));
    assert_eq!((decided(&effects), asked(&effects)), (vec![(1, Approve)], vec![(4, vec![2, 3])]), "other processes");
    let all = answer("alice", &question(&holds), Word::Approve);
    done(&mut holds, start(), says(Answer { scope: Scope::Process, ..all }));
    assert_eq!(holds.grants().count(), 2, "one for the process of each question, none for those that were listed");
}

#[test]
fn under_another_policy_the_question_stays_and_no_approval_that_is_under_way_reaches_others() {
    let mut holds = four();
    assert_eq!(done(&mut holds, start(), Input::PolicyChanged), []);
    done(&mut holds, start(), alice_of(&of(1), Word::Approve));
    let all = question(&holds);
    holds.on(start(), alice_of(&all, Word::Approve));
    holds.on(start(), Input::PolicyChanged);
    let effects = holds.on(start(), Input::Recorded(HoldId(4)));
    assert_eq!((decided(&effects), asked(&effects)), (vec![(4, Approve)], vec![(3, vec![2])]));
    let mut newer = of(9);
    newer.request.policy = "another".into();
    assert_eq!(asked(&done(&mut holds, start(), input(newer))), [(9, vec![])], "it is another request");
}

#[test]
fn who_is_asked_later_may_answer_what_waits_and_is_asked_and_reminded_once() {
    let leads = Group { name: "leads".into(), approvals: 1, members: vec!["dave".into()] };
    let later = start() + 30.seconds();
    let mut holds = four_of(|hold| {
        let step = Step { at: later, reviewers: vec![leads.clone()], asked: false };
        Hold { escalation: vec![step], remind: Some(Duration::from_secs(20)), ..hold }
    });
    let reminded = |effects: &[Effect]| {
        let id = |effect: &Effect| if let Effect::Remind { hold, .. } = effect { Some(hold.id.0) } else { None };
        effects.iter().filter_map(id).collect::<Vec<_>>()
    };
    assert_eq!(reminded(&done(&mut holds, start() + 20.seconds(), Input::Tick)), [1]);
    let by_dave =
        |hold: &Hold| Answer { proof: by_user(9, "dave", Word::Approve).proof, ..answer("dave", hold, Word::Approve) };
    assert_eq!(decided(&done(&mut holds, later, says(by_dave(&of(2))))), [(2, Approve)], "alone");
    let effects = done(&mut holds, later, alice_of(&of(1), Word::Approve));
    assert_eq!((asked(&effects), reminded(&effects)), (vec![(4, vec![3])], vec![]));
    let soon = later + 5.seconds();
    assert_eq!(reminded(&done(&mut holds, soon, Input::Tick)), [0; 0]);
    assert_eq!(reminded(&done(&mut holds, start() + 40.seconds(), Input::Tick)), [4]);
    let all = question(&holds);
    let effects = done(&mut holds, soon, says(by_dave(&all)));
    assert_eq!(decided(&effects), [(4, Approve), (3, Approve)]);
}

#[test]
fn another_tree_or_operation_or_one_that_cannot_be_told_is_a_question_of_its_own() {
    let mut holds = four();
    let with = |id, change: &dyn Fn(&mut Request)| {
        let mut hold = of(id);
        change(&mut hold.request);
        input(hold)
    };
    let unclear = Operation::File {
        action: "connect to",
        path: None,
        target: None,
        exchange: false,
        replaces: false,
        mode: None,
        owner: None,
        group: None,
        object: Object { device: 1, inode: 2 },
        kind: None,
        content: None,
        target_content: None,
    };
    for other in [
        with(9, &|request| request.tree = "other".into()),
        with(10, &|request| request.uid = 0),
        input(hold_of_its_own(HoldId(11))),
        with(12, &|request| request.what = unclear.clone()),
        with(13, &|request| request.what = unclear.clone()),
    ] {
        assert_eq!(asked(&done(&mut holds, start(), other)).len(), 1);
    }
}

#[test]
fn no_more_wait_behind_a_question_than_may_wait() {
    let mut holds = Holds::default();
    for id in 1..=64 {
        done(&mut holds, start(), input(of(id)));
    }
    let effects = done(&mut holds, start(), input(of(65)));
    assert!(
        matches!(&effects[..], [Effect::Decide { .. }, Effect::TellTree { crowd: Some(Crowd::Tree), .. }]),
        "{effects:?}"
    );
}

#[test]
fn a_question_lists_no_more_than_channels_show_and_the_next_one_lists_the_rest() {
    let mut holds = Holds::default();
    for id in 1..=64 {
        done(&mut holds, start(), input(of(id)));
    }
    let effects = holds.on(start(), alice_of(&of(1), Word::Approve));
    assert_eq!(effects.len(), 1, "{effects:?}");
    let effects = holds.on(start(), Input::Recorded(HoldId(1)));
    let joined = effects.iter().filter_map(|effect| match effect {
        Effect::Record(Entry { event: Event::Joined { hold, behind: HoldId(64) }, .. }) => Some(hold.0),
        _ => None,
    });
    assert_eq!(joined.collect::<Vec<_>>(), (17..=63).collect::<Vec<_>>(), "on record, since they were not listed");
    assert_eq!(asked(&effects), [(64, (2..=16).collect())], "those with the least time left");
    assert!(holds.pending().all(|hold| hold.id == HoldId(64) || hold.behind == Some(HoldId(64))));

    let (all, mut approved) = (question(&holds), 1);
    let effects = done(&mut holds, start(), alice_of(&all, Word::Approve));
    approved += decided(&effects).len();
    assert_eq!((approved, asked(&effects)), (17, vec![(63, (17..=31).collect())]));
    let all = question(&holds);
    let effects = done(&mut holds, start(), alice_of(&all, Word::Fail));
    assert_eq!(decided(&effects).len(), 47, "a no is for all, listed or not");
    assert_eq!(holds.pending().count(), 0);
}

#[test]
fn without_room_for_a_question_all_that_wait_are_turned_away_at_once() {
    let mut holds = Holds::default();
    // The pace of a tree, but for one question.
    for id in 100..227 {
        assert_eq!(asked(&done(&mut holds, start(), input(hold_of_its_own(HoldId(id))))).len(), 1, "{id}");
        done(&mut holds, start(), Input::Gone(HoldId(id), Withdrawal::ProcessDead));
    }
    for id in 1..=4 {
        done(&mut holds, start(), input(of(id)));
    }
    let effects = holds.on(start(), Input::Gone(HoldId(1), Withdrawal::ProcessDead));
    let lines = effects.iter().filter_map(|effect| match effect {
        Effect::Record(Entry { event, .. }) => Some(event),
        _ => None,
    });
    let (mut away, mut decided) = (vec![], vec![]);
    for line in lines {
        match line {
            Event::TurnedAway { hold, crowd: Crowd::TreePace } => away.push(hold.0),
            Event::Decided(line) => decided.push(line.hold.0),
            Event::Withdrawn { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((away, decided), (vec![2, 3, 4], vec![2, 3, 4]));
    assert_eq!((asked(&effects), holds.pending().count()), (vec![], 0));
    for id in 2..=4 {
        let effects = holds.on(start(), Input::Recorded(HoldId(id)));
        let [Effect::Decide { decision: Fail, .. }, Effect::TellTree { crowd, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(*crowd, Some(Crowd::TreePace));
    }
}

#[test]
fn a_restarted_agent_carries_out_what_is_on_record_of_each_and_asks_about_the_others() {
    let recorded = |id: u64, digest: Digest| {
        let (state, decision, by) = (End::Approved, Approve, Some("alice".into()));
        let recorded = Some(Recorded { digest, state, decision, by });
        Input::Held { hold: Box::new(of(id)), kernel: None, passed: false, recorded }
    };
    let mut holds = Holds::default();
    assert_eq!(decided(&done(&mut holds, start(), recorded(4, of(4).digest))), [(4, Approve)]);
    assert_eq!(decided(&done(&mut holds, start(), recorded(2, of(2).digest))), [(2, Approve)]);
    let effects = done(&mut holds, start(), recorded(3, Digest::of_all(&[Same::from(&of(4)), Same::from(&of(3))])));
    assert_eq!((decided(&effects), asked(&effects)), (vec![], vec![(3, vec![])]), "that was not about it alone");
}

#[test]
fn a_grant_that_comes_to_nothing_is_no_news_for_who_was_not_asked() {
    let offering = |id| Hold { scopes: vec![Scope::Tree], ..of(id) };
    let mut holds = Holds::default();
    done(&mut holds, start(), input(offering(1)));
    done(&mut holds, start(), says(Answer { scope: Scope::Tree, ..answer("alice", &of(1), Word::Approve) }));
    holds.on(start(), input(offering(2)));
    let effects = holds.on(of(2).deadline, Input::Recorded(HoldId(2)));
    assert!(matches!(&effects[..], [Effect::Record(_)]), "it is late: {effects:?}");
    let effects = holds.on(of(2).deadline, Input::Recorded(HoldId(2)));
    assert!(matches!(&effects[..], [Effect::Decide { .. }, Effect::TellTree { crowd: None, .. }]), "{effects:?}");
}
