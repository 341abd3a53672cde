//! Promise 6: no signal and no tracer gets a held process past its hold.

use holdpoint_tests::{control, everything, process, shared, site};
use nix::sys::signal::Signal::{SIGCONT, SIGUSR1};

#[test]
fn ten_thousand_sigconts_from_outside_neither_pass_nor_ask_again() {
    storm(&[]);
}

#[test]
fn ten_thousand_sigconts_that_are_handled_neither_pass_nor_ask_again() {
    storm(&["handler 18 restart"]);
}

#[test]
fn no_sigcont_of_a_peer_reaches_a_process_of_which_a_thread_is_held() {
    let file = site::file("hold", "Ada\n");
    let agent = shared(&everything());
    let open = format!("thread open {file} r");
    let mut actor = agent.act(["fork", "line", "storm 1000", "end", &open, "join", "wait"]);
    let hold = agent.hold_of(&actor);
    actor.go_on();
    actor.wait_line("storm over: 0");
    agent.approve(&hold);
    actor.wait_line("1 open ok");
    actor.end();
}

#[test]
fn no_sigcont_of_a_peer_reaches_a_held_process() {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} r");
    let steps = ["fork", "line", "storm 1000", "end", &open];
    let agent = shared(&everything());
    let mut actor = agent.act(steps.iter().copied().chain(["fork", "storm 3", "end", "wait", "wait"]));
    let hold = agent.hold_of(&actor);
    actor.go_on();
    actor.wait_line("storm over: 0");
    agent.still_held(&actor, &hold);
    agent.wait_recorded("a refusal", |entry| {
        entry["event"] == "denied" && entry["tree"] == hold.tree() && entry["system"] == "signal"
    });
    agent.approve(&hold);
    actor.wait_line("open ok");
    // The control: who is not held can be sent it.
    actor.wait_line("storm over: 3");
}

#[test]
fn a_tracer_that_suppresses_each_stop_gets_nothing_and_is_refused_in_the_end() {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} w+trunc");
    let urged = format!("urge {open}");
    assert_eq!(control([&urged]).stdout, "open ok\nurged seldom\n", "the control");
    std::fs::write(&file, "Ada\n").unwrap();
    let agent = shared(&everything());
    let before = restless(&agent.status());
    let actor = agent.act([&urged]);
    assert_eq!(actor.end().stdout, "open EPERM\nurged often\n");
    assert_eq!(site::content(&file), "Ada\n");
    assert_eq!(restless(&agent.status()), before + 1, "it is counted");
}

fn restless(status: &holdpoint_tests::Json) -> u64 {
    status["not_held"]["restless"].as_u64().expect("a count")
}

fn storm(before: &[&str]) {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} w+trunc");
    assert_eq!(control([&open]).stdout, "open ok\n", "the control");
    std::fs::write(&file, "Ada\n").unwrap();

    let agent = shared(&everything());
    let actor = agent.act(before.iter().copied().chain([open.as_str()]));
    let hold = agent.hold_of(&actor);
    for _ in 0..10_000 {
        process::signal(hold.pid(), SIGCONT);
    }
    process::wait_stopped(hold.pid());
    assert_eq!(site::content(&file), "Ada\n");
    assert!(!actor.stdout().contains("open"));
    agent.still_held(&actor, &hold);
    assert_eq!(agent.questions(hold.tree()), 1);
    assert_eq!(actor.stdout().contains("handled 18"), !before.is_empty(), "handlers run");
    agent.approve(&hold);
    actor.wait_line("open ok");
    assert_eq!(site::content(&file), "");
    assert_eq!(agent.questions(hold.tree()), 1);
    drop(actor);
}

#[test]
fn a_handled_signal_from_outside_does_not_pass() {
    let file = site::nothing("hold");
    let agent = shared(&everything());
    let actor = agent.act(["handler 10 plain", &format!("open {file} w+creat+excl")]);
    let hold = agent.hold_of(&actor);
    actor.signal(SIGUSR1);
    actor.signal(SIGCONT);
    actor.wait_line("handled 10");
    process::wait_stopped(hold.pid());
    assert!(!site::exists(&file));
    agent.still_held(&actor, &hold);
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "handled 10\nopen ok\n", "no EINTR");
    assert_eq!(agent.questions(hold.tree()), 1);
}
