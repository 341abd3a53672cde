//! Promise 9: holds outlive the agent. Held stays held, under the same id; decided stays decided.

use holdpoint_tests::{
    Agent, Ended, Hold, User, agent,
    agent::say,
    process::{self, lives, state},
    reviewer::{Asked, asked},
    site, ungoverned, wait_until,
};
use jiff::Timestamp;
use nix::sys::signal::Signal::SIGCONT;

fn deadline(hold: &Hold) -> Timestamp {
    hold.text("deadline").parse().expect("a time")
}

/// Nothing gets it past its hold while there is no agent.
#[track_caller]
fn check_held(hold: &Hold, file: &str) {
    for _ in 0..20 {
        process::signal(hold.pid(), SIGCONT);
        process::wait_stopped(hold.pid());
    }
    assert_eq!(site::content(file), "Ada\n");
}

/// The agent ends by `end` while something is held, and starts again.
fn survives(end: fn(&mut Agent)) {
    let Asked { mut agent, reviewer } = asked();
    let (actor, hold, file) = agent.emptying("hold");
    let question = reviewer.question(&hold);
    let (denied, other, untouched) = agent.emptying("hold");
    reviewer.question(&other);
    end(&mut agent);
    check_held(&hold, &file);
    agent.restart();
    wait_until("the question is asked again", || reviewer.questions(&hold).len() == 2);
    let again = &reviewer.questions(&hold)[1];
    assert_eq!(again.id, question.id, "the same message");
    for field in ["hold", "digest", "operation", "subject", "rule", "why", "callback_url", "process"] {
        assert_eq!(again.data()[field], question.data()[field], "{field}");
    }
    let found = agent.hold_of(&actor);
    assert_eq!((found.id(), found.digest()), (hold.id(), hold.digest()));
    // The kernel's deadline, on the calendar as each agent computes it.
    let moved = deadline(&found).duration_since(deadline(&hold)).as_secs_f64();
    assert!(moved.abs() < 1.0, "the deadline has moved by {moved} s");
    check_held(&hold, &file);
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(site::content(&file), "");
    reviewer.deny(&other);
    assert_eq!(denied.end().stdout, "open EPERM\n");
    assert_eq!(site::content(&untouched), "Ada\n");
}

#[test]
fn what_is_held_when_the_agent_is_killed_stays_held_and_is_asked_again_under_the_same_id() {
    survives(Agent::kill_9);
}

#[test]
fn what_is_held_when_the_agent_is_stopped_stays_held_and_is_asked_again_under_the_same_id() {
    survives(Agent::terminate);
}

/// The agent is killed right after `answer`.
fn answered_and_killed(answer: fn(&Agent, &Hold)) -> (Ended, String, String) {
    let mut agent = asked().agent;
    let (actor, hold, file) = agent.emptying("hold");
    answer(&agent, &hold);
    agent.kill_9();
    let ended = actor.end();
    let content = site::content(&file);
    // Nothing is left that the next agent would ask, or decide in another way.
    agent.restart();
    assert!(agent.holds().iter().all(|pending| pending.id() != hold.id()));
    let decided = agent.recorded("decided", &hold);
    assert_eq!(decided.len(), 1, "{decided:?}");
    (ended, content, decided[0]["decision"].to_string())
}

#[test]
fn what_is_decided_stays_decided() {
    let (ended, content, recorded) = answered_and_killed(|agent, hold| agent.approve(hold));
    assert_eq!((ended.stdout.as_str(), content.as_str(), recorded.as_str()), ("open ok\n", "", "\"approve\""));
    let (ended, content, recorded) = answered_and_killed(|agent, hold| agent.deny(hold));
    assert_eq!((ended.stdout.as_str(), content.as_str(), recorded.as_str()), ("open EPERM\n", "Ada\n", "\"fail\""));
    let (ended, content, recorded) = answered_and_killed(|agent, hold| agent.deny_kill(hold));
    assert_eq!((ended.signal(), content.as_str(), recorded.as_str()), (Some(9), "Ada\n", "\"kill\""));
}

#[test]
fn what_is_tried_while_there_is_no_agent_is_held_until_there_is_one() {
    let mut agent = asked().agent;
    let file = site::file("hold", "Ada\n");
    let mut actor = agent.act(["line".to_owned(), format!("open {file} w+trunc")]);
    let pid = actor.pid();
    agent.kill_9();
    actor.go_on();
    process::wait_stopped(pid);
    assert_eq!(site::content(&file), "Ada\n");
    agent.restart();
    let hold = agent.hold_of(&actor);
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(site::content(&file), "");
}

#[test]
fn a_deadline_that_passes_while_there_is_no_agent_lets_nothing_through() {
    let mut agent = asked().agent;
    let (actor, hold, file) = agent.emptying("short");
    agent.kill_9();
    wait_until("the deadline is over", || Timestamp::now() > deadline(&hold));
    check_held(&hold, &file);
    agent.restart();
    assert_eq!(actor.end().stdout, "open EPERM\n");
    assert_eq!(agent.recorded("decided", &hold)[0]["state"], "expired");
    assert_eq!(site::content(&file), "Ada\n");
}

#[test]
fn a_terminated_agent_leaves_the_enforcement_on() {
    let mut agent = asked().agent;
    let links = agent::links();
    agent.terminate();
    assert!(!agent::pinned().is_empty());
    assert_eq!(agent::links(), links, "all programs are still attached");
    agent.restart();
    let (actor, hold, _) = agent.emptying("hold");
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn detach_lets_nothing_through() {
    let agent = asked().agent;
    let (actor, _, file) = agent.emptying("hold");
    let (killed, _, other) = agent.emptying("hold-kill");
    let again = site::file("hold", "Ada\n");
    let script = "read -r word; until (: > \"$0\") 2>/dev/null; do sleep 0.1; done; echo done";
    let mut waiting = agent.spawn(User::AGENT, ["sh", "-c", script, &again]);
    waiting.pid();

    for user in [User::REVIEWER, User::AGENT] {
        let reply = say(user, ["detach"]);
        assert_eq!(reply.status.code(), Some(1), "only root detaches: {reply:?}");
    }
    assert_eq!(agent.holds().len(), 2, "and nothing was denied by that");
    let reply = say(User::ROOT, ["detach"]);
    assert!(reply.success(), "{reply:?}");

    assert!(agent::pinned().is_empty(), "{:?}", agent::pinned());
    assert_eq!(actor.end().stdout, "open EPERM\n");
    assert_eq!(site::content(&file), "Ada\n");
    assert_eq!(killed.end().signal(), Some(9));
    assert_eq!(site::content(&other), "Ada\n");
    // Nobody decides any more, so the same is possible again: the denials were the hold point's.
    wait_until("the agent has ended", || !agent.runs());
    // The kernel frees the programs a moment later (6.12: a second); until then they refuse.
    waiting.go_on();
    assert_eq!(waiting.end().stdout, "done\n");
    assert_eq!(site::content(&again), "");
    let new = ungoverned(User::AGENT, ["sh", "-c", "> \"$0\"", &file]).end();
    assert_eq!((new.code(), site::content(&file).as_str()), (Some(0), ""));
}

#[test]
fn a_governed_process_detaches_nothing() {
    let agent = asked().agent;
    let (actor, hold, file) = agent.emptying("hold");
    let root = agent.spawn(User::ROOT, [&*agent::holdpoint(), "detach"]).end();
    assert_eq!(root.code(), Some(1), "{root:?}");
    assert!(agent.runs() && lives(hold.pid()) && state(hold.pid()) == Some('T'));
    assert_eq!(site::content(&file), "Ada\n");
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
}
