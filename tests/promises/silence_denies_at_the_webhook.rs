//! Promise 5: silence denies. A webhook that is down, fails, hangs or points elsewhere lets nothing through.

use std::{io::ErrorKind, net::TcpListener};

use holdpoint_tests::{
    Agent, Hold,
    process::state,
    reviewer::{Asked, Manner, Reviewer, asked, asked_under, policy},
    site,
};
use jiff::Timestamp;

/// Has a file emptied under a rule with a deadline soon; `meanwhile` is what the reviewer's side makes of it. It must be
/// denied at the deadline and not before, and the file untouched.
#[track_caller]
fn denied_at_the_deadline(agent: &Agent, meanwhile: impl FnOnce(&Hold)) -> Hold {
    let file = site::file("short", "Ada\n");
    let actor = agent.act([format!("open {file} w+trunc")]);
    let hold = agent.hold_of(&actor);
    meanwhile(&hold);
    let ended = actor.end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), "open EPERM\n"));
    assert_eq!(site::content(&file), "Ada\n");
    let decided = agent.recorded("decided", &hold);
    assert_eq!(decided.len(), 1);
    assert_eq!((&decided[0]["state"], &decided[0]["answer"]), (&"expired".into(), &serde_json::Value::Null));
    let time =
        |text: &serde_json::Value| text.as_str().and_then(|text| text.parse::<Timestamp>().ok()).expect("a time");
    assert!(time(&decided[0]["time"]) >= time(&hold["deadline"]), "not before the deadline: {decided:?}");
    hold
}

/// The control: under the same rule a good answer in time approves.
#[track_caller]
fn approved_by_a_good_one(agent: &Agent, reviewer: &Reviewer) {
    reviewer.comes_up();
    reviewer.behaves(Manner::Takes);
    let file = site::file("short", "Ada\n");
    let actor = agent.act([format!("open {file} w+trunc")]);
    let hold = agent.hold_of(&actor);
    reviewer.question(&hold);
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(site::content(&file), "");
    // Whatever it does from now on, it does to none of these messages.
    reviewer.ending(&hold);
}

/// The record says that nobody could be asked, and what was met.
#[track_caller]
fn check_not_asked(agent: &Agent, hold: &Hold, error: &str) {
    let line = agent.wait_recorded("not asked", |line| line["event"] == "not-asked" && line["hold"] == hold.id());
    assert!(line["error"].as_str().is_some_and(|text| text.contains(error)), "{line}");
    assert!(agent.recorded("asked", hold).is_empty());
}

#[test]
fn a_webhook_that_is_down_denies_at_the_deadline() {
    let Asked { agent, reviewer } = asked();
    reviewer.goes_down();
    let hold = denied_at_the_deadline(&agent, |_| {});
    check_not_asked(&agent, &hold, "refused");
    assert!(reviewer.questions(&hold).is_empty());
    approved_by_a_good_one(&agent, reviewer);
}

#[test]
fn a_webhook_that_fails_denies_at_the_deadline() {
    let Asked { agent, reviewer } = asked();
    reviewer.behaves(Manner::Status(500));
    let hold = denied_at_the_deadline(&agent, |hold| drop(reviewer.question(hold)));
    check_not_asked(&agent, &hold, "500");
    approved_by_a_good_one(&agent, reviewer);
}

#[test]
fn a_webhook_that_asks_for_more_time_than_there_is_denies_at_the_deadline() {
    // An agent of its own: it leaves the channel alone for longer than other tests wait.
    let Asked { agent, reviewer } = asked_under(&format!("# busy\n{}", policy()));
    approved_by_a_good_one(&agent, reviewer);
    reviewer.behaves(Manner::Later(600));
    let hold = denied_at_the_deadline(&agent, |hold| drop(reviewer.question(hold)));
    check_not_asked(&agent, &hold, "503");
    assert_eq!(reviewer.questions(&hold).len(), 1);
    let next = denied_at_the_deadline(&agent, |_| {});
    check_not_asked(&agent, &next, "left alone until after the deadline");
    assert!(reviewer.questions(&next).is_empty());
}

#[test]
fn a_webhook_that_hangs_denies_at_the_deadline() {
    let Asked { agent, reviewer } = asked();
    reviewer.behaves(Manner::Hangs);
    let hold = denied_at_the_deadline(&agent, |hold| drop(reviewer.question(hold)));
    assert!(agent.recorded("asked", &hold).is_empty());
    approved_by_a_good_one(&agent, reviewer);
}

#[test]
fn a_redirected_question_goes_nowhere() {
    let Asked { agent, reviewer } = asked();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    for status in [302, 307, 308] {
        reviewer.behaves(Manner::Redirects(status, elsewhere.local_addr().unwrap()));
        let hold = denied_at_the_deadline(&agent, |hold| drop(reviewer.question(hold)));
        check_not_asked(&agent, &hold, "redirects are not followed");
        let contacted = elsewhere.accept().err().map(|error| error.kind());
        assert_eq!(contacted, Some(ErrorKind::WouldBlock), "{status}: nobody has come to the other place");
    }
    approved_by_a_good_one(&agent, reviewer);
}

#[test]
fn a_wrong_signature_is_silence() {
    let Asked { agent, reviewer } = asked();
    let hold = denied_at_the_deadline(&agent, |hold| {
        assert_eq!(reviewer.answer(hold, "approve").forged().send().status, 401);
        assert_eq!(state(hold.pid()), Some('T'));
    });
    assert_eq!(reviewer.ending(&hold).data()["state"], "expired");
    approved_by_a_good_one(&agent, reviewer);
}
