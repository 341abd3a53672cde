//! A hold whose call is gone is withdrawn, and a late approval has no effect on anything.

use holdpoint_tests::{
    Agent, Hold, User,
    actor::with_actor,
    everything,
    process::{self, lives},
    shared, site, ungoverned,
};
use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGUSR1};

#[track_caller]
fn withdrawn(agent: &Agent, hold: &Hold) -> String {
    let line = agent.wait_recorded("it is withdrawn", |line| line["event"] == "withdrawn" && line["hold"] == hold.id());
    agent.wait_over(hold);
    line["reason"].as_str().expect("a reason").to_owned()
}

#[track_caller]
fn a_late_approval_is_refused(agent: &Agent, hold: &Hold) {
    let late = agent.say(User::REVIEWER, ["approve", hold.id()]);
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(late.stderr.contains("withdrawn"), "{late:?}");
    assert!(agent.recorded("decided", hold).is_empty());
    assert!(agent.recorded("passed", hold).is_empty());
}

#[test]
fn timeout_ends_a_held_command_as_it_would_any_other() {
    let fifo = site::fifo("deny");
    let timeout = |path: &str| {
        let command = with_actor([format!("open {path} w+trunc"), "print survived".to_owned()]);
        ["timeout", "-k", "1", "2"].map(Into::into).into_iter().chain(command).collect::<Vec<_>>()
    };
    let control = ungoverned(User::AGENT, timeout(&fifo)).end();
    assert_eq!((control.code(), control.stdout.as_str()), (Some(124), ""), "the control: it blocks");

    let file = site::file("hold", "Ada\n");
    let agent = shared(&everything());
    let actor = agent.spawn(User::AGENT, timeout(&file));
    let hold = agent.hold_of(&actor);
    assert_eq!(actor.end(), control);
    withdrawn(&agent, &hold);
    a_late_approval_is_refused(&agent, &hold);
    assert_eq!(site::content(&file), "Ada\n");
}

#[test]
fn killed_while_held_it_is_withdrawn() {
    let file = site::file("hold", "Ada\n");
    let agent = shared(&everything());
    let actor = agent.act(["fork", &format!("open {file} w+trunc"), "end", "wait"]);
    let hold = agent.hold_of(&actor);
    process::signal(hold.pid(), SIGKILL);
    assert_eq!(actor.end().stdout, "wait killed 9\n");
    assert!(!lives(hold.pid()));
    withdrawn(&agent, &hold);
    a_late_approval_is_refused(&agent, &hold);
    assert_eq!(site::content(&file), "Ada\n");
}

#[test]
fn a_handler_that_jumps_out_of_the_call_withdraws_it() {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} w+trunc");
    let agent = shared(&everything());
    // The `line` is answered by a read, which needs no decision: the agent sees that the thread is elsewhere.
    let mut actor = agent.act(["handler 10 jump", &open, "line", &open, "print alive"]);
    let hold = agent.hold_of(&actor);
    actor.signal(SIGUSR1);
    actor.signal(SIGCONT);
    actor.wait_line("jumped");
    assert_eq!(withdrawn(&agent, &hold), "call-abandoned");
    a_late_approval_is_refused(&agent, &hold);
    assert_eq!(site::content(&file), "Ada\n");

    // The same call again is a new question: nothing of the old one is left.
    actor.go_on();
    let second = agent.hold_of(&actor);
    assert_ne!(hold.id(), second.id());
    a_late_approval_is_refused(&agent, &hold);
    assert_eq!(site::content(&file), "Ada\n");
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "handled 10\njumped\nopen EPERM\nalive\n");
    assert_eq!(site::content(&file), "Ada\n");
    assert_eq!(agent.questions(hold.tree()), 2);
}

#[test]
fn a_handler_that_jumps_to_another_held_call_leaves_nothing_behind() {
    let old = site::file("hold", "Ada\n");
    let new = site::file("hold", "Bob\n");
    let agent = shared(&everything());
    let actor = agent.act(["handler 10 jump", &format!("open {old} w+trunc"), &format!("open {new} r")]);
    let hold = agent.hold_of(&actor);
    actor.signal(SIGUSR1);
    actor.signal(SIGCONT);
    let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    assert_eq!(second.text("path"), new);
    agent.wait_over(&hold);
    let late = agent.say(User::REVIEWER, ["approve", hold.id()]);
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    agent.approve(&second);
    assert_eq!(actor.end().stdout, "handled 10\njumped\nopen ok\n");
    assert_eq!(site::content(&old), "Ada\n");
}
