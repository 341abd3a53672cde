use Decision::{Approve, Fail, Kill, Withdraw};
use jiff::ToSpan as _;

use super::*;
use crate::quorum::{Assurance, SelfAnswer};
use crate::request::{
    Caller, Digest, Entrance, Known, Login, Proof, Withdrawal, Word,
    sample::{LAUNCHER, REQUESTER, hold, hold_of_its_own, start},
};
use crate::scope::Scope;

mod grants;
mod ladder;
mod model;
mod quorum;
mod same;

const ID: HoldId = HoldId(7);
const TICKET: Ticket = Ticket(1);

fn deadline() -> Timestamp {
    hold(ID).deadline
}

fn held() -> Input {
    Input::Held { hold: Box::new(hold(ID)), kernel: None, passed: false, recorded: None }
}

/// As it is judged: by whom it is said to be.
fn by(who: &str, word: Word, assurance: Assurance, proof: Proof) -> Answer {
    let known = Box::new(Known { assurance, ..Known::default() });
    Answer { hold: ID, digest: hold(ID).digest, word, scope: Scope::Once, who: who.into(), why: None, proof, known }
}

fn by_webhook(who: &str, word: Word) -> Answer {
    let proof = Proof::Webhook { channel: "ops".into(), asks: vec!["security".into()] };
    by(who, word, Assurance::Basic, proof)
}

fn caller(uid: u32, login: Option<u32>) -> Caller {
    Caller { uid, login, name: String::new() }
}

fn by_user(uid: u32, who: &str, word: Word) -> Answer {
    by(who, word, Assurance::Medium, Proof::Local(caller(uid, None)))
}

/// An approval by `sudo` of who has logged in.
fn by_login(login: u32, who: &str) -> Answer {
    by(who, Word::Approve, Assurance::Medium, Proof::Local(caller(0, Some(login))))
}

/// An approval.
fn by_page(user: &str, uid: Option<u32>) -> Answer {
    let caller = uid.map(|uid| caller(uid, None));
    by(user, Word::Approve, Assurance::Medium, Proof::Page { user: user.into(), entrance: caller.map(Entrance::Local) })
}

/// An approval that was signed by `who`, and passed on by `uid`.
fn by_key(who: &str, uid: u32) -> Answer {
    let proof = Proof::Signed { key: "SHA256:x".into(), signature: "-----BEGIN".into(), uid };
    by(who, Word::Approve, Assurance::High, proof)
}

/// The same, by somebody who is this user of the host, too.
fn who_is(user: &str, answer: Answer) -> Answer {
    Answer { known: Box::new(Known { users: vec![user.into()], ..*answer.known }), ..answer }
}

fn says(answer: Answer) -> Input {
    Input::Answered { answer, ticket: TICKET }
}

fn alice(word: Word) -> Input {
    says(by_webhook("alice", word))
}

fn standing(state: End, decision: Decision, by: Option<&str>) -> Standing {
    Standing { hold: ID, state, decision, by: by.map(Into::into) }
}

fn approved() -> Standing {
    standing(End::Approved, Approve, Some("alice"))
}

/// A machine with one pending hold.
fn asked() -> Holds {
    let mut holds = Holds::default();
    holds.on(start(), held());
    holds
}

/// The same, approved by alice and on record.
fn after_approval() -> Holds {
    let mut holds = asked();
    holds.on(start(), alice(Word::Approve));
    holds.on(start(), Input::Recorded(ID));
    holds
}

/// What the daemon would do with `input` if the record can be written: everything but `Record`.
fn done(holds: &mut Holds, now: Timestamp, input: Input) -> Vec<Effect> {
    let mut all = vec![];
    for effect in holds.on(now, input) {
        match effect {
            Effect::Record(entry) => {
                all.extend(entry.decides().into_iter().flat_map(|id| done(holds, now, Input::Recorded(id))));
            }
            other => all.push(other),
        }
    }
    all
}

fn decide(decision: Decision) -> Effect {
    Effect::Decide { hold: ID, decision }
}

fn told(standing: Standing) -> Effect {
    Effect::Tell { hold: Box::new(hold(ID)), standing }
}

fn reply(result: Result<Outcome, Refusal>) -> Effect {
    Effect::Reply { ticket: TICKET, result }
}

/// A reviewer who is the requester, by a user that is called otherwise here.
#[test]
fn the_requester_is_known_by_the_number_of_a_user_too() {
    for uid in [REQUESTER, LAUNCHER] {
        let mut answer = by_webhook("alice", Word::Approve);
        answer.known.uids = vec![uid];
        assert_eq!(done(&mut asked(), start(), says(answer)), [reply(Err(Refusal::Requester))]);
    }
}

/// Tries all orders of so many of these `steps` by `play`, which says whether one can happen: what begins with one that cannot
/// is not tried.
fn explore<S: Copy>(steps: &[S], length: usize, order: &mut Vec<S>, play: &mut impl FnMut(&[S]) -> bool) {
    if !play(order) || order.len() == length {
        return;
    }
    for step in steps {
        order.push(*step);
        explore(steps, length, order, play);
        order.pop();
    }
}

#[test]
fn a_new_hold_is_recorded_and_asked() {
    let effects = Holds::default().on(start(), held());
    assert!(matches!(&effects[..], [Effect::Record(_), Effect::Ask(asked)] if **asked == hold(ID)));
}

#[test]
fn nothing_follows_from_an_approval_before_it_is_on_record() {
    let mut holds = asked();
    let effects = holds.on(start(), alice(Word::Approve));
    assert!(matches!(&effects[..], [Effect::Record(entry)] if entry.decides() == Some(ID)));
    let expected = [decide(Approve), reply(Ok(Outcome::Accepted(approved()))), told(approved())];
    assert_eq!(holds.on(start(), Input::Recorded(ID)), expected);
}

#[test]
fn a_denial_does_what_the_rule_says_unless_the_reviewer_says_how() {
    for (word, decision) in [(Word::Deny, Kill), (Word::Kill, Kill), (Word::Fail, Fail)] {
        let denied = standing(End::Denied, decision, Some("alice"));
        let effects = done(&mut asked(), start(), alice(word));
        assert_eq!(effects, [decide(decision), reply(Ok(Outcome::Accepted(denied.clone()))), told(denied)]);
    }
}

#[test]
fn silence_denies_at_the_deadline() {
    let mut holds = asked();
    assert_eq!(holds.pending().count(), 1);
    assert_eq!(done(&mut holds, deadline() - 1.nanosecond(), Input::Tick), []);
    let expired = standing(End::Expired, Fail, None);
    assert_eq!(done(&mut holds, deadline(), Input::Tick), [decide(Fail), told(expired)]);
    assert_eq!(holds.pending().count(), 0);
}

#[test]
fn late_is_late_even_if_the_tick_has_not_come() {
    let expired = standing(End::Expired, Fail, None);
    let effects = done(&mut asked(), deadline(), alice(Word::Approve));
    assert_eq!(effects, [decide(Fail), told(expired.clone()), reply(Err(Refusal::Over(expired)))]);
}

#[test]
fn an_approval_that_is_recorded_after_the_deadline_is_late() {
    let mut holds = asked();
    holds.on(start(), alice(Word::Approve));
    let expired = standing(End::Expired, Fail, None);
    let effects = holds.on(deadline(), Input::Recorded(ID));
    assert!(matches!(&effects[0], Effect::Record(entry) if entry.decides() == Some(ID)));
    assert_eq!(effects[1..], [reply(Err(Refusal::Over(expired.clone())))]);
    assert_eq!(holds.on(deadline(), Input::Recorded(ID)), [decide(Fail), told(expired)]);
}

#[test]
fn the_same_answer_again_gets_the_standing_decision_and_does_nothing() {
    let mut holds = after_approval();
    let again = [reply(Ok(Outcome::Again(approved())))];
    assert_eq!(holds.on(start(), alice(Word::Approve)), again);
    assert_eq!(holds.on(start(), says(by_webhook("bob", Word::Approve))), again);
}

#[test]
fn a_different_answer_is_a_conflict_and_does_nothing() {
    let effects = done(&mut after_approval(), start(), alice(Word::Deny));
    assert_eq!(effects, [reply(Err(Refusal::Conflict(approved())))]);
}

#[test]
fn answers_that_do_not_count_are_recorded_and_change_nothing() {
    let other_digest = Answer { digest: Digest("00".into()), ..by_webhook("alice", Word::Approve) };
    let other_hold = Answer { hold: HoldId(8), ..by_webhook("alice", Word::Approve) };
    let elsewhere = Proof::Webhook { channel: "privacy".into(), asks: vec!["privacy".into()] };
    for (answer, refusal) in [
        (other_digest, Refusal::WrongDigest),
        (other_hold, Refusal::UnknownHold),
        (Answer { proof: elsewhere, ..by_webhook("alice", Word::Approve) }, Refusal::NotNamed),
        (by_webhook("mallory", Word::Approve), Refusal::NotNamed),
        (by_webhook("laura", Word::Approve), Refusal::Requester),
        (by_user(LAUNCHER, "alice", Word::Approve), Refusal::Requester),
        (by_user(REQUESTER, "alice", Word::Deny), Refusal::Requester),
        (by_page("mallory", None), Refusal::NotNamed),
        (by_page("laura", None), Refusal::Requester),
        (by_page("alice", Some(LAUNCHER)), Refusal::Requester),
        (by_key("mallory", 0), Refusal::NotNamed),
        (by_key("laura", 0), Refusal::Requester),
        (Answer { digest: Digest("00".into()), ..by_key("alice", 0) }, Refusal::WrongDigest),
        (by_login(LAUNCHER, "alice"), Refusal::Requester),
        (by_login(REQUESTER, "bob"), Refusal::Requester),
        (who_is("laura", by_webhook("alice", Word::Approve)), Refusal::Requester),
        (who_is("agent", by_key("bob", 0)), Refusal::Requester),
    ] {
        let mut holds = asked();
        let effects = holds.on(start(), says(answer));
        assert!(matches!(&effects[0], Effect::Record(Entry { event: Event::RefusedAnswer { .. }, .. })));
        assert_eq!(effects[1..], [reply(Err(refusal))]);
        assert_eq!(holds.pending().count(), 1);
    }
}

#[test]
fn whoever_passes_a_signed_answer_on_does_not_matter() {
    for uid in [0, REQUESTER, LAUNCHER] {
        assert_eq!(done(&mut asked(), start(), says(by_key("alice", uid)))[0], decide(Approve), "{uid}");
    }
}

#[test]
fn who_has_become_root_to_ask_does_not_answer() {
    let login = Login { uid: 1002, user: Some("alice".into()), session: 3 };
    let mut asks = hold(ID);
    (asks.request.uid, asks.request.launcher, asks.user, asks.launcher_name) = (0, 0, None, None);
    asks.request.login = Some(login);
    let answered = |answer: Answer| {
        let mut holds = Holds::default();
        holds.on(start(), Input::Held { hold: Box::new(asks.clone()), kernel: None, passed: false, recorded: None });
        done(&mut holds, start(), says(answer))
    };
    for answer in [by_webhook("alice", Word::Approve), by_user(1002, "bob", Word::Approve)] {
        assert_eq!(answered(answer)[..], [reply(Err(Refusal::Requester))]);
    }
    assert_eq!(answered(by_webhook("bob", Word::Approve))[0], decide(Approve));
}

#[test]
fn a_local_reviewer_who_is_named_and_did_not_ask_is_heard() {
    let accepted = done(&mut asked(), start(), says(by_user(0, "alice", Word::Approve)));
    assert_eq!(accepted[0], decide(Approve));
}

#[test]
fn an_approval_that_cannot_be_recorded_leaves_the_hold_pending() {
    let mut holds = asked();
    holds.on(start(), alice(Word::Approve));
    assert_eq!(holds.on(start(), Input::RecordFailed(ID)), [reply(Err(Refusal::NotRecorded))]);
    assert_eq!(done(&mut holds, deadline(), Input::Tick)[0], decide(Fail));
}

#[test]
fn a_denial_that_cannot_be_recorded_is_carried_out_counted_and_said() {
    let mut holds = asked();
    holds.on(start(), alice(Word::Deny));
    assert_eq!(holds.on(start(), Input::RecordFailed(ID))[0], decide(Kill));
    assert_eq!(holds.unrecorded(), 1);
    let lost = holds.on(start(), Input::Recorded(ID));
    assert!(matches!(lost[..], [Effect::Record(Entry { event: Event::Lost { count: 1, .. }, .. })]));
}

#[test]
fn a_dead_process_withdraws_its_hold() {
    let withdrawn = standing(End::Withdrawn, Withdraw, None);
    let effects = done(&mut asked(), start(), Input::Gone(ID, Withdrawal::ProcessDead));
    assert_eq!(effects, [told(withdrawn), Effect::Forget(ID)]);
}

#[test]
fn a_waiting_fatal_signal_is_let_do_its_work() {
    let withdrawn = standing(End::Withdrawn, Withdraw, None);
    let mut holds = asked();
    let effects = done(&mut holds, start(), Input::Gone(ID, Withdrawal::FatalSignal));
    assert_eq!(effects, [decide(Withdraw), told(withdrawn)]);
    assert_eq!(done(&mut holds, start(), Input::Gone(ID, Withdrawal::ProcessDead)), [Effect::Forget(ID)]);
}

#[test]
fn an_approval_after_the_withdrawal_has_no_effect() {
    let mut holds = asked();
    holds.on(start(), Input::Left(ID));
    let over = Refusal::Over(standing(End::Withdrawn, Withdraw, None));
    assert_eq!(done(&mut holds, start(), alice(Word::Approve)), [reply(Err(over))]);
}

#[test]
fn an_approval_that_was_not_used_is_withdrawn_with_its_call() {
    let mut holds = after_approval();
    let effects = done(&mut holds, start(), Input::Gone(ID, Withdrawal::CallAbandoned));
    assert_eq!(effects, [decide(Withdraw), told(standing(End::Withdrawn, Withdraw, None))]);
}

#[test]
fn an_approval_that_was_used_stands() {
    let mut holds = after_approval();
    done(&mut holds, start(), Input::Passed(ID));
    assert_eq!(done(&mut holds, start(), Input::Left(ID)), [Effect::Forget(ID)]);
    assert_eq!(holds.standing(ID), Some(&approved()));
    let late = deadline() + 1.minute();
    assert_eq!(done(&mut holds, late, alice(Word::Approve)), [reply(Ok(Outcome::Again(approved())))]);
    assert_eq!(done(&mut holds, late, alice(Word::Deny)), [reply(Err(Refusal::Conflict(approved())))]);
}

#[test]
fn a_decision_that_did_not_reach_the_kernel_is_repeated() {
    assert_eq!(done(&mut after_approval(), start(), held()), [decide(Approve), told(approved())]);
    let expired = standing(End::Expired, Fail, None);
    assert_eq!(done(&mut after_approval(), deadline(), held()), [decide(Fail), told(expired)]);
}

#[test]
fn a_hold_that_is_seen_twice_is_asked_once() {
    assert_eq!(asked().on(start(), held()), []);
}

#[test]
fn a_decision_that_stands_in_the_kernel_is_not_made_again() {
    let mut holds = Holds::default();
    let standing = Input::Held { hold: Box::new(hold(ID)), kernel: Some(Approve), passed: false, recorded: None };
    assert_eq!(done(&mut holds, start(), standing), [Effect::Wake(ID)]);
    assert_eq!(done(&mut holds, deadline(), Input::Tick), []);
}

#[test]
fn a_call_that_was_let_through_before_a_restart_is_not_withdrawn_when_it_is_over() {
    let mut holds = Holds::default();
    let through = || Input::Held { hold: Box::new(hold(ID)), kernel: Some(Approve), passed: true, recorded: None };
    assert_eq!(done(&mut holds, start(), through()), []);
    assert_eq!(holds.on(start(), through()), [], "said once");
    assert_eq!(holds.on(start(), Input::Gone(ID, Withdrawal::ProcessDead)), [Effect::Forget(ID)]);
    assert_eq!(holds.standing(ID), Some(&standing(End::Approved, Approve, None)));
}

fn recorded(digest: Digest, decision: Decision) -> Input {
    let by = Some("alice".into());
    let recorded = Recorded { digest, state: end(decision), decision, by };
    Input::Held { hold: Box::new(hold(ID)), kernel: None, passed: false, recorded: Some(recorded) }
}

#[test]
fn a_recorded_decision_is_carried_out_after_a_restart_and_never_asked_again() {
    let effects = done(&mut Holds::default(), start(), recorded(hold(ID).digest, Approve));
    assert_eq!(effects, [decide(Approve), told(approved())]);
}

#[test]
fn a_recorded_approval_is_not_carried_out_after_the_deadline() {
    let effects = done(&mut Holds::default(), deadline(), recorded(hold(ID).digest, Approve));
    assert_eq!(effects, [decide(Fail), told(standing(End::Expired, Fail, None))]);
}

#[test]
fn a_recorded_approval_of_something_else_is_none() {
    let effects = done(&mut Holds::default(), start(), recorded(Digest("00".into()), Approve));
    assert_eq!(effects, [Effect::Ask(Box::new(hold(ID)))]);
}

#[test]
fn a_hold_that_comes_after_its_deadline_is_denied_unasked() {
    let effects = done(&mut Holds::default(), deadline(), held());
    assert_eq!(effects, [decide(Fail), told(standing(End::Expired, Fail, None))]);
}

#[test]
fn closing_denies_what_is_pending_and_what_still_comes() {
    let denied = || told(standing(End::Denied, Kill, None));
    assert_eq!(done(&mut asked(), start(), Input::Close), [decide(Kill), denied()]);
    let mut closed = Holds::default();
    closed.on(start(), Input::Close);
    assert_eq!(done(&mut closed, start(), held()), [decide(Kill), denied()]);
}

#[test]
fn a_hold_that_ended_an_hour_ago_is_unknown() {
    let mut holds = asked();
    holds.on(start(), Input::Gone(ID, Withdrawal::ProcessDead));
    let much_later = start() + 2.hours();
    assert_eq!(done(&mut holds, much_later, alice(Word::Approve)), [reply(Err(Refusal::UnknownHold))]);
}

#[test]
fn where_the_rule_allows_it_the_requester_answers_and_the_record_says_so() {
    let asked = |members: &[&str]| {
        let mut hold = Hold { own: SelfAnswer::Allowed, ..hold(ID) };
        hold.reviewers[0].members = members.iter().map(|name| (*name).to_owned()).collect();
        let mut holds = Holds::default();
        holds.on(start(), Input::Held { hold: Box::new(hold), kernel: None, passed: false, recorded: None });
        holds
    };
    for (answer, own) in [
        (by_webhook("laura", Word::Approve), true),
        (by_user(LAUNCHER, "alice", Word::Deny), true),
        (who_is("laura", by_webhook("alice", Word::Approve)), true),
        (by_webhook("alice", Word::Approve), false),
    ] {
        let effects = asked(&["alice", "laura"]).on(start(), says(answer));
        let [Effect::Record(entry)] = &effects[..] else { panic!("{effects:?}") };
        let said = serde_json::to_value(entry).unwrap();
        assert_eq!(said["answer"].get("self"), own.then_some(&true.into()), "{said}");
    }
    let unnamed = asked(&["alice"]).on(start(), says(by_webhook("laura", Word::Approve)));
    assert_eq!(unnamed[1], reply(Err(Refusal::NotNamed)), "only who is named");
}
