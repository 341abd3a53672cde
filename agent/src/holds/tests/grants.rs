//! Approvals that stand for more than one call: what they cover, what ends them, and each sequence of what can happen, up to a
//! length, in every order.

use std::collections::VecDeque;

use super::*;
use crate::{
    holds::grants::Ending,
    quorum::{Assurance, Group},
    record::ByGrant,
};

/// As many inputs follow the first question; what is in flight at the end comes in after them.
const LENGTH: usize = 5;
/// The hold that asks for the same as [`ID`], of another process.
const OTHER: HoldId = HoldId(8);
/// Seconds for which alice may approve.
const TIME: u32 = 30;

fn offering(id: HoldId) -> Hold {
    let mut hold = hold(id);
    hold.scopes = vec![Scope::Process, Scope::Tree, Scope::Time(TIME)];
    hold.request.pid += u32::try_from(id.0 - ID.0).expect("small");
    hold.digest = Digest::of(id, &hold.request);
    hold
}

fn input(hold: Hold) -> Input {
    Input::Held { hold: Box::new(hold), kernel: None, passed: false, recorded: None }
}

fn approval(hold: &Hold, who: &str, scope: Scope) -> Answer {
    Answer { hold: hold.id, digest: hold.digest.clone(), scope, ..by_webhook(who, Word::Approve) }
}

/// A machine in which alice has approved the first of these holds for so long.
fn approved_for(scope: Scope) -> Holds {
    let mut holds = Holds::default();
    done(&mut holds, start(), input(offering(ID)));
    let effects = done(&mut holds, start(), says(approval(&offering(ID), "alice", scope)));
    assert_eq!(effects[0], decide(Approve));
    holds
}

fn revoked() -> Ending {
    Ending::Revoked { by: "bob".into(), why: None }
}

/// Whether this hold is decided at once, without a question; if not, somebody is asked, or about the same already.
#[track_caller]
fn is_covered(holds: &mut Holds, now: Timestamp, hold: Hold) -> bool {
    let id = hold.id;
    let effects = done(holds, now, input(hold));
    let asked = effects.iter().any(|effect| matches!(effect, Effect::Ask(_) | Effect::Join(_)));
    let decided = effects.contains(&Effect::Decide { hold: id, decision: Approve });
    assert_ne!(asked, decided, "{effects:?}");
    assert!(
        !decided || !effects.iter().any(|effect| matches!(effect, Effect::Tell { .. })),
        "nobody is told: {effects:?}"
    );
    decided
}

#[test]
fn who_has_read_more_since_is_asked_about_again() {
    let carrying = |id: HoldId, labels: &[&str]| Hold {
        carried: labels.iter().map(|label| (*label).to_owned()).collect(),
        ..offering(id)
    };
    let mut holds = Holds::default();
    done(&mut holds, start(), input(carrying(ID, &["a"])));
    done(&mut holds, start(), says(approval(&offering(ID), "alice", Scope::Tree)));
    for (id, labels, covered) in [(OTHER, &["a"][..], true), (HoldId(9), &[], true), (HoldId(10), &["a", "b"], false)] {
        assert_eq!(is_covered(&mut holds, start(), carrying(id, labels)), covered, "{labels:?}");
    }
}

#[test]
fn the_same_again_is_decided_on_record_first_and_nobody_is_asked() {
    let mut holds = approved_for(Scope::Tree);
    let effects = holds.on(start(), input(offering(OTHER)));
    let [Effect::Record(_), Effect::Record(Entry { event: Event::Decided(decided), .. })] = &effects[..] else {
        panic!("{effects:?}")
    };
    let by = ByGrant { grant: ID, granted_by: "alice".into() };
    assert_eq!((decided.hold, decided.decision, &decided.answer, &decided.grant), (OTHER, Approve, &None, &Some(by)));
    let effects = holds.on(start(), Input::Recorded(OTHER));
    assert!(
        matches!(&effects[..], [Effect::Decide { hold: OTHER, decision: Approve }, Effect::Grants(_)]),
        "{effects:?}"
    );
    let grant = holds.grants().next().expect("it stands");
    assert_eq!((grant.uses, grant.last_use, grant.until), (1, Some(start()), None));
    assert_eq!(holds.standing(OTHER).and_then(|standing| standing.by.as_deref()), Some("alice"));
}

#[test]
fn once_is_for_one_call_and_other_scopes_are_what_they_say() {
    let second = TIME.into();
    for (scope, same_process, other_process, later) in [
        (Scope::Once, false, false, false),
        (Scope::Process, true, false, true),
        (Scope::Tree, true, true, true),
        (Scope::Time(TIME), true, true, false),
    ] {
        let of_process = |pid| Hold { id: HoldId(9), ..Hold { request: offering(pid).request, ..offering(OTHER) } };
        assert_eq!(is_covered(&mut approved_for(scope), start(), of_process(ID)), same_process, "{scope}");
        assert_eq!(is_covered(&mut approved_for(scope), start(), of_process(OTHER)), other_process, "{scope}");
        let end = start() + SignedDuration::from_secs(second);
        assert_eq!(is_covered(&mut approved_for(scope), end, of_process(ID)), later, "{scope}, at its end");
    }
}

#[test]
fn another_tree_rule_or_user_is_asked_and_so_is_whom_the_rule_asks_otherwise_by_now() {
    let (of, tree) = (|| offering(OTHER), || "other".to_owned());
    let request = |change: &dyn Fn(&mut crate::request::Request)| {
        let mut hold = of();
        change(&mut hold.request);
        hold
    };
    let members = |who: &str| vec![Group { name: "security".into(), approvals: 1, members: vec![who.into()] }];
    let two = vec![Group { approvals: 2, ..of().reviewers[0].clone() }];
    for (what, hold) in [
        ("tree", request(&|request| request.tree = tree())),
        ("rule", request(&|request| request.rule = Some(tree()))),
        ("policy", request(&|request| request.policy = tree())),
        ("user", request(&|request| request.uid = 0)),
        ("not offered any more", Hold { scopes: vec![Scope::Process], ..of() }),
        ("no member any more", Hold { reviewers: members("bob"), ..of() }),
        ("two are needed", Hold { reviewers: two, ..of() }),
        ("not sure enough", Hold { assurance: Assurance::Medium, ..of() }),
        ("who asks is who approved", Hold { user: Some("alice".into()), ..of() }),
    ] {
        assert!(!is_covered(&mut approved_for(Scope::Tree), start(), hold), "{what}");
    }
    assert!(is_covered(&mut approved_for(Scope::Tree), start(), of()));
}

#[test]
fn what_waits_is_decided_when_the_grant_is_made_and_its_reviewers_are_told() {
    let mut holds = Holds::default();
    done(&mut holds, start(), input(offering(ID)));
    done(&mut holds, start(), input(offering(OTHER)));
    let effects = done(&mut holds, start(), says(approval(&offering(ID), "alice", Scope::Tree)));
    assert!(effects.contains(&Effect::Decide { hold: OTHER, decision: Approve }), "{effects:?}");
    let told = |effect: &&Effect| matches!(effect, Effect::Tell { hold, .. } if hold.id == OTHER);
    assert_eq!(effects.iter().filter(told).count(), 1);
    assert_eq!(holds.pending().count(), 0);
}

#[test]
fn what_the_rule_does_not_offer_is_refused_and_on_record() {
    let (mut plain, mut offered) = (Holds::default(), Holds::default());
    plain.on(start(), held());
    offered.on(start(), input(offering(ID)));
    for (holds, scope, words) in
        [(&mut plain, Scope::Tree, "once"), (&mut offered, Scope::Time(31), "once, process, tree, 30s")]
    {
        let answer =
            Answer { digest: holds.get(ID).expect("held").digest.clone(), ..approval(&offering(ID), "alice", scope) };
        let effects = holds.on(start(), says(answer));
        assert!(matches!(&effects[0], Effect::Record(Entry { event: Event::RefusedAnswer { .. }, .. })));
        assert_eq!(effects[1], reply(Err(Refusal::Scope(words.into()))));
        assert_eq!(holds.pending().count(), 1);
    }
}

#[test]
fn of_several_approvals_the_narrowest_counts() {
    let granted = |scopes: [Scope; 2]| {
        let mut holds = Holds::default();
        let mut hold = offering(ID);
        hold.reviewers[0].approvals = 2;
        done(&mut holds, start(), input(hold.clone()));
        for (who, scope) in ["alice", "bob"].into_iter().zip(scopes) {
            done(&mut holds, start(), says(approval(&hold, who, scope)));
        }
        assert!(holds.standing(ID).is_some_and(|standing| standing.decision == Approve));
        holds.grants().next().map(|grant| (grant.process.is_some(), grant.until.is_some(), grant.by.clone()))
    };
    let both = || "alice and bob".to_owned();
    assert_eq!(granted([Scope::Tree, Scope::Once]), None);
    assert_eq!(granted([Scope::Once, Scope::Tree]), None);
    assert_eq!(granted([Scope::Tree, Scope::Tree]), Some((false, false, both())));
    assert_eq!(granted([Scope::Tree, Scope::Time(5)]), Some((false, true, both())));
    assert_eq!(granted([Scope::Process, Scope::Time(5)]), Some((true, true, both())));
}

#[test]
fn a_no_makes_no_grant_whatever_scope_it_has() {
    let mut holds = Holds::default();
    done(&mut holds, start(), input(offering(ID)));
    done(&mut holds, start(), says(Answer { word: Word::Deny, ..approval(&offering(ID), "alice", Scope::Tree) }));
    assert_eq!(holds.grants().count(), 0);
    assert!(!is_covered(&mut holds, start(), offering(OTHER)));
}

#[test]
fn what_is_taken_back_is_asked_about_also_if_it_was_decided_and_has_not_passed() {
    let mut holds = approved_for(Scope::Tree);
    assert!(is_covered(&mut holds, start(), offering(OTHER)));
    let effects = done(&mut holds, start(), Input::GrantOver(ID, revoked()));
    assert!(effects.contains(&Effect::Decide { hold: OTHER, decision: Withdraw }), "{effects:?}");
    assert!(!is_covered(&mut holds, start(), offering(HoldId(9))));
    assert_eq!(done(&mut holds, start(), Input::GrantOver(ID, revoked())), [], "once");

    let mut holds = approved_for(Scope::Tree);
    assert!(is_covered(&mut holds, start(), offering(OTHER)));
    done(&mut holds, start(), Input::Passed(OTHER));
    let effects = done(&mut holds, start(), Input::GrantOver(ID, revoked()));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Decide { .. })), "it has passed: {effects:?}");
}

#[test]
fn under_another_policy_none_stands_and_what_waits_is_approved_once() {
    let mut holds = approved_for(Scope::Tree);
    let mut other = offering(OTHER);
    other.request.tree = "other".into();
    done(&mut holds, start(), input(other.clone()));
    done(&mut holds, start(), Input::PolicyChanged);
    assert_eq!(holds.grants().count(), 0);
    let effects = done(&mut holds, start(), says(approval(&other, "alice", Scope::Tree)));
    assert_eq!(effects, [reply(Err(Refusal::Scope("once".into())))]);
    assert!(!is_covered(&mut holds, start(), offering(HoldId(9))));
}

#[test]
fn no_more_are_made_than_there_is_room_for() {
    let mut holds = Holds::default();
    let port = |number: u16| {
        let mut hold = offering(HoldId(u64::from(number)));
        if let crate::request::Operation::Connect { port, .. } = &mut hold.request.what {
            *port = number;
        }
        hold.digest = Digest::of(hold.id, &hold.request);
        hold
    };
    for number in 100..164 {
        done(&mut holds, start(), input(port(number)));
        done(&mut holds, start(), says(approval(&port(number), "alice", Scope::Tree)));
    }
    assert_eq!(holds.grants().count(), 64);
    done(&mut holds, start(), input(port(164)));
    let refused = done(&mut holds, start(), says(approval(&port(164), "alice", Scope::Tree)));
    assert_eq!(refused, [reply(Err(Refusal::Granted("tree")))]);
    let once = done(&mut holds, start(), says(approval(&port(164), "alice", Scope::Once)));
    assert_eq!(once[0], Effect::Decide { hold: HoldId(164), decision: Approve });
}

#[test]
fn a_no_to_the_same_ends_the_grant() {
    let mut holds = approved_for(Scope::Process);
    assert!(!is_covered(&mut holds, start(), offering(OTHER)), "of another process");
    let no = Answer { word: Word::Fail, ..approval(&offering(OTHER), "bob", Scope::Once) };
    let effects = done(&mut holds, start(), says(no));
    assert!(effects.contains(&Effect::Grants(vec![])), "{effects:?}");
    let again = Hold { id: HoldId(9), ..offering(ID) };
    assert!(!is_covered(&mut holds, start(), again), "of the one process");
}

#[test]
fn who_is_asked_later_has_granted_nothing_that_is_used_before() {
    let later = |at: Timestamp| {
        let dave = vec![Group { name: "leads".into(), approvals: 1, members: vec!["dave".into()] }];
        vec![crate::ladder::Step { at, reviewers: dave, asked: false }]
    };
    let step = start() + SignedDuration::from_secs(20);
    let mut holds = Holds::default();
    holds.on(start(), input(Hold { escalation: later(step), ..offering(ID) }));
    let dave =
        Answer { proof: by_user(9, "dave", Word::Approve).proof, ..approval(&offering(ID), "dave", Scope::Tree) };
    assert_eq!(done(&mut holds, step, says(dave)).last(), Some(&holds.shown()));
    assert_eq!(holds.grants().count(), 1);

    let soon = step + SignedDuration::from_secs(20);
    assert!(!is_covered(&mut holds, step, Hold { escalation: later(soon), ..offering(OTHER) }), "security is asked");
    assert!(
        !holds.on(soon - SignedDuration::from_nanos(1), Input::Tick).iter().any(|it| matches!(it, Effect::Record(_)))
    );
    let effects = done(&mut holds, soon, Input::Tick);
    assert!(effects.contains(&Effect::Decide { hold: OTHER, decision: Approve }), "{effects:?}");
}

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// The second hold comes.
    Held,
    /// Alice approves the first one.
    Approves(Scope),
    /// Bob denies the second one.
    Denies,
    /// The line that was handed out first is on disk, or not.
    Recorded,
    RecordFailed,
    Revoked,
    /// The end of what was approved for a time.
    Time,
    PolicyChanged,
    Passed,
}

const STEPS: [Step; 10] = [
    Step::Held,
    Step::Approves(Scope::Tree),
    Step::Approves(Scope::Time(TIME)),
    Step::Denies,
    Step::Recorded,
    Step::RecordFailed,
    Step::Revoked,
    Step::Time,
    Step::PolicyChanged,
    Step::Passed,
];

/// One order of events, as the outside world sees it.
struct Run {
    holds: Holds,
    now: Timestamp,
    /// Lines that decide and are not on disk yet.
    writing: VecDeque<HoldId>,
    /// What alice's approval is for, until its line is on disk.
    said: Option<Scope>,
    /// A grant stands as far as the outside can tell; when it ends, if it does by itself.
    stands: Option<Option<Timestamp>>,
    /// The line that decides the second hold is on disk.
    on_disk: bool,
    asked: bool,
    decided: Vec<Decision>,
    passed: bool,
}

impl Run {
    fn new() -> Self {
        let mut holds = Holds::default();
        done(&mut holds, start(), input(offering(ID)));
        Self {
            holds,
            now: start(),
            writing: VecDeque::new(),
            said: None,
            stands: None,
            on_disk: false,
            asked: false,
            decided: vec![],
            passed: false,
        }
    }

    /// False where that cannot happen now.
    fn step(&mut self, step: Step) -> bool {
        let end = start() + SignedDuration::from_secs(TIME.into());
        let next = self.writing.front().copied();
        let input = match (step, next) {
            (Step::Recorded | Step::RecordFailed, None) => return false,
            (Step::Held, _) if self.holds.get(OTHER).is_some() => return false,
            (Step::Time, _) if self.now == end => return false,
            (Step::Passed, _) if self.decided.last() != Some(&Approve) || self.passed => return false,
            (Step::Held, _) => input(offering(OTHER)),
            (Step::Approves(scope), _) => {
                if !self.holds.is_pending(ID) {
                    return false;
                }
                // Refused after another policy was put in force: it says nothing then.
                self.said = self.holds.get(ID).filter(|hold| !hold.scopes.is_empty()).map(|_| scope);
                says(approval(&offering(ID), "alice", scope))
            }
            (Step::Denies, _) => says(Answer { word: Word::Fail, ..approval(&offering(OTHER), "bob", Scope::Once) }),
            (Step::Recorded, Some(id)) => {
                self.writing.pop_front();
                if id == ID
                    && let Some(scope) = self.said
                {
                    let time = SignedDuration::from_secs(TIME.into());
                    self.stands = Some(matches!(scope, Scope::Time(_)).then(|| self.now + time));
                }
                self.on_disk |= id == OTHER;
                Input::Recorded(id)
            }
            (Step::RecordFailed, Some(id)) => {
                self.writing.pop_front();
                Input::RecordFailed(id)
            }
            (Step::Revoked, _) => {
                self.stands = None;
                Input::GrantOver(ID, revoked())
            }
            (Step::Time, _) => {
                self.now = end;
                Input::Tick
            }
            (Step::PolicyChanged, _) => {
                (self.stands, self.said) = (None, None);
                Input::PolicyChanged
            }
            (Step::Passed, _) => {
                self.passed = true;
                Input::Passed(OTHER)
            }
        };
        let was_passing = self.decided.last() == Some(&Approve) && !self.passed;
        for effect in self.holds.on(self.now, input) {
            self.see(effect);
        }
        assert!(step != Step::Revoked || !was_passing || self.decided.last() == Some(&Withdraw), "taken back at once");
        true
    }

    fn see(&mut self, effect: Effect) {
        match effect {
            Effect::Record(entry) => self.writing.extend(entry.decides()),
            Effect::Ask(hold) | Effect::Join(hold) => self.asked |= hold.id == OTHER,
            Effect::Decide { hold: OTHER, decision } => {
                if decision == Approve {
                    let stands = self.stands.is_some_and(|until| until.is_none_or(|until| self.now < until));
                    assert!(stands, "nothing but a grant that stands approves it");
                    assert!(self.on_disk, "on record first");
                }
                self.decided.push(decision);
            }
            _ => {}
        }
    }
}

/// One order of steps; false if it cannot happen. What is in flight after [`LENGTH`] of them comes in, and counts as an end.
fn play(steps: &[Step], ends: &mut [usize; 4]) -> bool {
    let mut run = Run::new();
    if !steps.iter().all(|step| run.step(*step)) {
        return false;
    }
    if steps.len() < LENGTH {
        return true;
    }
    while run.step(Step::Recorded) {}
    let is_held = run.holds.get(OTHER).is_some();
    assert!(!is_held || run.asked || !run.decided.is_empty(), "it is asked about or decided: {steps:?}");
    match run.decided[..] {
        [Approve] => ends[0] += 1,
        [Approve, Withdraw] | [Withdraw] => ends[1] += 1,
        [Fail] => ends[2] += 1,
        [] => ends[3] += 1,
        _ => panic!("{steps:?}: {:?}", run.decided),
    }
    true
}

#[test]
fn in_no_order_does_anything_pass_by_a_grant_that_is_over_or_off_record() {
    let mut ends = [0; 4];
    explore(&STEPS, LENGTH, &mut vec![], &mut |steps| play(steps, &mut ends));
    assert!(ends.iter().all(|count| *count > 100), "all ends are reached: {ends:?}");
}
