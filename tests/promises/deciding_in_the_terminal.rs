//! Promise 4: only a reviewer answers. Here by a key, in `holdpoint watch`.

use holdpoint_tests::{
    Actor, Agent, Hold, User,
    actor::with_actor,
    agent::{holdpoint, say},
    control, everything,
    process::{self, state},
    shared, site,
    terminal::Terminal,
};
use nix::sys::signal::Signal;

/// A process of this user that is held as it opens a file.
fn opening(agent: &Agent, user: User) -> (Actor, Hold) {
    let file = site::file("hold", "Ada Lovelace\n");
    let actor = agent.spawn(user, with_actor([format!("open {file} r")]));
    let hold = agent.hold_of(&actor);
    (actor, hold)
}

/// The user watches, on a terminal of its own, and sees this.
#[track_caller]
fn watching(user: User, sees: &str) -> Terminal {
    let terminal = Terminal::bash(user);
    terminal.types(&format!("{} watch; echo \"it ended with $?\"", holdpoint()));
    terminal.wait_seen(sees);
    terminal
}

/// What is shown of a hold in its line of the list.
fn short(hold: &Hold) -> &str {
    &hold.id()[..8]
}

/// Selects the only hold, and is asked back.
#[track_caller]
fn ask(terminal: &Terminal, hold: &Hold, key: &str) {
    terminal.wait_seen(short(hold));
    terminal.presses("j");
    terminal.wait_seen(&format!("> {}", short(hold)));
    terminal.presses(key);
    terminal.wait_seen("y: yes");
    for part in [hold.digest(), hold.text("sentence")] {
        // Over the ends of lines.
        let seen = terminal.screen().contents().split_whitespace().collect::<String>();
        assert!(seen.contains(&part.split_whitespace().collect::<String>()), "{part} in {seen}");
    }
    assert_eq!(state(hold.pid()), Some('T'), "asked back, it is still held");
}

#[test]
fn what_is_held_is_approved_and_denied_with_a_key() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada Lovelace\n");
    assert_eq!(control([format!("open {file} r")]).stdout, "open ok\n");
    let terminal = watching(User::REVIEWER, "Nothing is held.");

    let (actor, hold) = opening(&agent, User::AGENT);
    ask(&terminal, &hold, "a");
    terminal.presses("y");
    assert_eq!(actor.end().stdout, "open ok\n");
    terminal.wait_seen(&format!("{}… approved by reviewer", short(&hold)));
    let decided = agent.recorded("decided", &hold);
    assert_eq!((decided.len(), &decided[0]["answer"]["who"]), (1, &"reviewer".into()));

    let (actor, hold) = opening(&agent, User::AGENT);
    ask(&terminal, &hold, "d");
    terminal.presses("rnot today\r");
    terminal.wait_seen("reason       not today");
    terminal.presses("y");
    assert_eq!(actor.end().stdout, "open EPERM\n");
    terminal.wait_seen(&format!("{}… denied by reviewer", short(&hold)));
    assert_eq!(agent.recorded("decided", &hold)[0]["answer"]["why"], "not today");

    let (actor, hold) = opening(&agent, User::AGENT);
    ask(&terminal, &hold, "K");
    terminal.presses("y");
    assert_eq!(actor.end().signal(), Some(Signal::SIGKILL as i32));
}

#[test]
fn a_key_that_comes_late_decides_nothing() {
    let agent = shared(&everything());
    let (actor, hold) = opening(&agent, User::AGENT);
    let terminal = watching(User::REVIEWER, short(&hold));
    ask(&terminal, &hold, "a");
    let (other_actor, other) = opening(&agent, User::AGENT);
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "open EPERM\n");
    terminal.wait_seen(&format!("{}… denied by reviewer", short(&hold)));
    terminal.wait_seen("Nothing was decided");
    terminal.presses("y\ry");
    terminal.wait_seen("1 held");
    terminal.presses("ay\r?");
    terminal.wait_seen("Ctrl-C");
    assert_eq!(state(other.pid()), Some('T'));
    assert!(agent.recorded("decided", &other).is_empty());
    agent.approve(&other);
    assert_eq!(other_actor.end().stdout, "open ok\n");
}

#[test]
fn the_requester_decides_nothing() {
    let agent = shared(&everything());
    let (actor, hold) = opening(&agent, User::AGENT);
    let terminal = watching(User::AGENT, "it ended with 1");
    terminal.wait("only root and members of the group holdpoint may do this");
    drop(terminal);
    let terminal = Terminal::bash(User::REVIEWER);
    let program = holdpoint();
    terminal.types(&format!("{program} run --quiet -- {program} watch; echo \"it ended with $?\""));
    terminal.wait("it ended with 1\r\n");
    terminal.wait("a governed process has no say here");
    drop(terminal);
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "open EPERM\n");

    let (actor, hold) = opening(&agent, User::REVIEWER);
    let terminal = watching(User::REVIEWER, short(&hold));
    ask(&terminal, &hold, "a");
    terminal.presses("y");
    terminal.wait_seen("the requester may not answer");
    assert_eq!(state(hold.pid()), Some('T'));
    let reply = agent.say(User::ROOT, ["deny", hold.id()]);
    assert!(reply.success(), "{reply:?}");
    assert_eq!(actor.end().stdout, "open EPERM\n");
}

#[test]
fn the_terminal_is_given_back_as_it_was() {
    let _agent = shared(&everything());
    let terminal = Terminal::bash(User::REVIEWER);
    let before = terminal.modes();
    let ends = [None, Some(Signal::SIGTERM), Some(Signal::SIGINT), Some(Signal::SIGHUP)];
    for (number, end) in ends.into_iter().enumerate() {
        terminal.types(&format!("{} watch; echo \"{number}: it ended with $?\"", holdpoint()));
        terminal.wait_seen("Nothing is held.");
        assert!(terminal.screen().alternate_screen() && terminal.modes() != before, "it is taken");
        match end {
            // It is the one process of its group.
            Some(signal) => process::signal(terminal.foreground().unsigned_abs(), signal),
            None => terminal.presses("q"),
        }
        terminal.wait(&format!("{number}: it ended with 0\r\n"));
        terminal.wait_prompt();
        let screen = terminal.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert_eq!(terminal.modes(), before);
        terminal.check_reading();
    }
}

#[test]
fn an_agent_that_is_away_is_said_so() {
    let mut agent = shared(&everything());
    let (actor, hold) = opening(&agent, User::AGENT);
    let terminal = watching(User::REVIEWER, short(&hold));
    agent.terminate();
    terminal.wait_seen("the agent is not running");
    assert!(!terminal.screen().contents().contains(hold.text("path")), "nothing is shown as if it were known");
    agent.restart();
    terminal.wait_seen(short(&hold));
    ask(&terminal, &hold, "a");
    terminal.presses("y");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn without_a_terminal_it_is_not_understood() {
    let _agent = shared(&everything());
    let reply = say(User::REVIEWER, ["watch"]);
    assert_eq!(reply.status.code(), Some(2), "{reply:?}");
    assert!(reply.stderr.contains("watch needs a terminal") && reply.stderr.contains("help: "), "{reply:?}");
}
