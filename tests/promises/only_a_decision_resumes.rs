//! Promise 6: no signal gets a held process past its hold.

use holdpoint_tests::{control, everything, process, shared, site};
use nix::sys::signal::Signal::{SIGCONT, SIGUSR1};

#[test]
fn ten_thousand_sigconts_from_a_sibling_neither_pass_nor_ask_again() {
    storm(&[]);
}

#[test]
fn ten_thousand_sigconts_that_are_handled_neither_pass_nor_ask_again() {
    storm(&["handler 18 restart"]);
}

fn storm(before: &[&str]) {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} w+trunc");
    assert_eq!(control([&open]).stdout, "open ok\n", "the control");
    std::fs::write(&file, "Ada\n").unwrap();

    // The child waits for a line, then sends the signals to its parent.
    let steps = before.iter().copied().chain(["fork", "line", "storm 10000", "end", &open]);
    let agent = shared(&everything());
    let mut actor = agent.act(steps);
    let hold = agent.hold_of(&actor);
    actor.go_on();
    actor.wait_line("storm over");
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
