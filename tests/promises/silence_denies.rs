//! Promise 5: no answer is a no.

use std::time::{Duration, Instant};

use holdpoint_tests::{Agent, LIMIT, User, control, everything, shared, site, wait_for};
use serde_json::json;

#[test]
fn a_time_out_denies_and_with_fail_the_process_lives() {
    let file = site::file("short", "Ada\n");
    let steps = [&format!("open {file} w+trunc"), "print alive"];
    let agent = shared(&everything());
    let actor = agent.act(steps);
    assert_eq!(actor.end().stdout, "open EPERM\nalive\n");
    assert_eq!(site::content(&file), "Ada\n");
    let id = expired(&agent, &file, "fail");
    let late = agent.say(User::REVIEWER, ["approve", &id]);
    assert!(!late.success(), "{late:?}");
    assert_eq!(control(steps).stdout, "open ok\nalive\n", "the control");
}

#[test]
fn a_time_out_denies_and_with_kill_the_process_dies() {
    let file = site::file("short-kill", "Ada\n");
    let agent = shared(&everything());
    let actor = agent.act(["fork", &format!("open {file} w+trunc"), "print survived", "end", "wait", "print parent"]);
    assert_eq!(actor.end().stdout, "wait killed 9\nparent\n");
    assert_eq!(site::content(&file), "Ada\n");
    expired(&agent, &file, "kill");
}

/// Checks that `path` was asked about once, and denied because nobody answered. From the record: under load the time may
/// be over before the test has seen the hold.
#[track_caller]
fn expired(agent: &Agent, path: &str, decision: &str) -> String {
    let record = agent.record();
    let held: Vec<_> =
        record.iter().filter(|line| line["event"] == "held" && line["request"]["path"] == path).collect();
    assert_eq!(held.len(), 1, "one question");
    let id = held[0]["hold"].as_str().expect("an id").to_owned();
    let decided = agent.recorded("decided", &id);
    assert_eq!(decided.len(), 1);
    assert_eq!((&decided[0]["state"], &decided[0]["decision"]), (&"expired".into(), &decision.into()));
    assert_eq!(decided[0]["answer"], json!(null));
    id
}

#[test]
fn before_the_deadline_silence_is_waited_for() {
    let file = site::file("short", "");
    let agent = shared(&everything());
    let before = Instant::now();
    let actor = agent.act([format!("open {file} r")]);
    assert_eq!(actor.end().stdout, "open EPERM\n");
    assert!(before.elapsed() >= Duration::from_secs(2), "{:?}", before.elapsed());
}

/// `PENDING_HOLDS` in common/src/pending.rs.
const MOST: usize = 1152;

/// Without an agent, which would turn most of them away before.
#[test]
fn a_full_table_of_holds_denies() {
    let file = site::file("hold", "Ada\n");
    let mut agent = shared(&everything());
    let more = 8;
    let mut actor = agent.act(["line".to_owned(), format!("crowd {} {file}", MOST + more)]);
    actor.pid();
    agent.kill_9();
    actor.go_on();
    let all = format!("crowd 0 opened {more} EPERM 0 other");
    let refused = || actor.stdout().lines().any(|line| line == all);
    wait_for("what there is no room for is refused", 8 * LIMIT, || refused().then_some(()));
    assert_eq!(actor.stdout().lines().count(), more, "nobody else has got anything");

    // There is room again when they are gone.
    drop(actor);
    agent.restart();
    let actor = agent.act([format!("open {file} r")]);
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "open ok\n");
    assert!(agent.status()["not_held"]["pending_full"].as_u64() >= u64::try_from(more).ok(), "{}", agent.status());
}
