//! Promise 7: every descendant stays governed; and promise 12: others notice nothing.

use std::{fs, path::Path};

use holdpoint_tests::{
    Agent, Json, User,
    actor::with_actor,
    agent::holdpoint,
    control, everything,
    listener::Listener,
    policy::{under, with_containers},
    process::{parent, signal, wait_stopped},
    shared,
    site::{self, ROOT},
    ungoverned, wait_until,
};
use nix::sys::signal::Signal::SIGKILL;

/// A tree that is governed by what it executes, and one by its control group.
const GROUP: &str = "/holdpoint-tests-governed";

fn policy() -> String {
    under(&format!(
        r#"
[[subject]]
name = "by-program"
exe = ["{ROOT}/governed/program", "{ROOT}/governed/script"]

[[subject]]
name = "by-group"
cgroup = ["{GROUP}"]
"#
    ))
}

/// What the policy names must be there when it is loaded.
fn governing() -> impl std::ops::Deref<Target = Agent> {
    let directory = Path::new(ROOT).join("governed");
    fs::create_dir_all(&directory).unwrap();
    if !site::exists(directory.join("program")) {
        fs::copy(site::actor(), directory.join("program")).unwrap();
        let script = site::script("governed", &format!("#!/bin/sh\nexec {} \"$@\"\n", site::actor()));
        fs::rename(script, directory.join("script")).unwrap();
    }
    fs::create_dir_all(format!("/sys/fs/cgroup{GROUP}")).unwrap();
    shared(&policy())
}

#[test]
fn children_are_held_after_double_fork_and_setsid() {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} r");
    let steps = ["daemon", "sleep 200", &open, "read", "end", "print parent"];
    let mut daemon = ungoverned(User::AGENT, with_actor(steps));
    assert_eq!(daemon.wait_end().stdout.lines().next(), Some("parent"));
    daemon.wait_line("read Ada");

    let agent = shared(&everything());
    let mut actor = agent.act(steps);
    // Its parent and its launcher are gone before it asks.
    assert_eq!(actor.wait_end().code(), Some(0));
    let hold = agent.wait_for_hold(|hold| hold["path"] == file);
    wait_stopped(hold.pid());
    assert_eq!(parent(hold.pid()), 1, "nobody's child");
    assert_eq!((hold.text("subject"), hold.text("user")), ("tests", "agent"));
    assert_eq!(actor.stdout(), "parent\n");
    agent.approve(&hold);
    actor.wait_line("read Ada");
}

#[test]
fn children_are_held_in_other_namespaces() {
    let file = site::file("hold", "Ada\n");
    let agent = shared(&with_containers());
    let command = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--", "cat", &file];
    let actor = agent.spawn(User::AGENT, command);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold.text("path"), file);
    agent.deny(&hold);
    let ended = actor.end();
    assert_eq!((ended.stdout.as_str(), ended.code()), ("", Some(1)), "{ended:?}");
}

#[test]
fn root_inside_the_tree_is_held_too() {
    let file = site::file("hold", "Ada\n");
    let agent = shared(&everything());
    let actor = agent.spawn(User::ROOT, ["setpriv", "--reuid=reviewer", "--clear-groups", "cat", &file]);
    let hold = agent.hold_of(&actor);
    // It has become a reviewer's process; who launched it, root, may not answer, nor may who asks.
    for user in [User::ROOT, User::REVIEWER] {
        assert!(!agent.say(user, ["approve", hold.id()]).success(), "{user:?}");
    }
    agent.still_held(&actor, &hold);
    signal(hold.pid(), SIGKILL);
    assert_eq!(actor.end().stdout, "");
}

#[test]
fn a_program_that_the_policy_names_is_governed_whoever_starts_it() {
    let file = site::file("hold", "Ada\n");
    let agent = governing();
    let program = format!("{ROOT}/governed/program");
    let open = format!("open {file} r");
    let actor = ungoverned(User::AGENT, [&program, &open, "read"]);
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("subject"), hold.pid()), ("by-program", actor.pid()));
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    assert_eq!(control([&open]).stdout, "open ok\n", "another program is not");
}

#[test]
fn a_script_that_the_policy_names_is_governed_with_what_it_starts() {
    let file = site::file("hold", "Ada\n");
    let agent = governing();
    let open = format!("open {file} r");
    let other = site::script("free", &format!("#!/bin/sh\nexec {} \"$@\"\n", site::actor()));
    assert_eq!(ungoverned(User::AGENT, [&other, &open]).end().stdout, "open ok\n", "another script is not");
    let actor = ungoverned(User::AGENT, [&format!("{ROOT}/governed/script"), &open, "read"]);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold.text("subject"), "by-program");
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
}

#[test]
fn a_control_group_that_the_policy_names_is_governed_with_what_is_below() {
    let file = site::file("hold", "Ada\n");
    let agent = governing();
    let group = format!("/sys/fs/cgroup{GROUP}");
    fs::create_dir_all(format!("{group}/below")).unwrap();
    for group in [group.clone(), format!("{group}/below")] {
        let enter = format!("echo $$ >{group}/cgroup.procs; exec \"$0\" \"$@\"");
        let command = with_actor([format!("open {file} r"), "read".to_owned()]);
        let words = ["sh", "-c", &enter].map(Into::into).into_iter().chain(command);
        let actor = ungoverned(User::ROOT, words);
        let hold = agent.wait_for_hold(|hold| hold["path"] == file);
        assert_eq!((hold.text("subject"), hold.pid()), ("by-group", actor.pid()));
        agent.say(User::REVIEWER, ["approve", hold.id()]);
        assert_eq!(actor.end().stdout, "open ok\nread Ada\n", "{group}");
    }
    assert_eq!(control([format!("open {file} r")]).stdout, "open ok\n", "who is in another group is not");
    fs::remove_dir(format!("{group}/below")).unwrap();
}

#[test]
fn a_nested_holdpoint_run_keeps_its_subject() {
    let file = site::file("hold", "Ada\n");
    let agent = governing();
    let run = holdpoint();
    let inner = with_actor([format!("open {file} r")]);
    let nested = |options: &[&str]| {
        let words = [&run, "run", "--quiet"].into_iter().chain(options.iter().copied()).chain(["--"]);
        words.map(Into::into).chain(inner.clone()).collect::<Vec<std::ffi::OsString>>()
    };

    let actor = agent.spawn_as(User::AGENT, "by-program", nested(&[]));
    let hold = agent.hold_of(&actor);
    assert_eq!(hold.text("subject"), "by-program");
    let enrolled = agent.wait_recorded("the tree", |line| line["event"] == "enrolled" && line["tree"] == hold.tree());
    assert_eq!(enrolled["subject"], "by-program");
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");

    let ended = agent.spawn_as(User::AGENT, "by-program", nested(&["--subject", "by-group"])).end();
    assert_eq!((ended.stdout.as_str(), ended.code()), ("", Some(125)), "{ended:?}");
    assert!(ended.stderr.contains("by-program"), "it says why: {ended:?}");
}

#[test]
fn an_ungoverned_process_notices_nothing() {
    let agent = shared(&everything());
    let enrolled = |line: &Json| line["event"] != "enrolled";
    let before = agent.record().iter().filter(|line| enrolled(line)).count();
    let file = site::file("kill", "Ada\n");
    let new = site::nothing("deny");
    let program = site::program("bin-kill", "/usr/bin/echo");
    let listener = Listener::v4("kill");
    let steps = [
        format!("open {file} r"),
        "read".to_owned(),
        format!("open {new} w+creat+excl"),
        format!("open {file} w+trunc"),
        format!("connect {}", listener.target()),
        "poll".to_owned(),
        format!("spawn {program} ran"),
    ];
    let expected = "open ok\nread Ada\nopen ok\nopen ok\nconnect ok\npoll ok\nspawn ok\nran\nwait exited 0\n";
    assert_eq!(sorted(&control(&steps).stdout), sorted(expected));
    assert_eq!(agent.record().iter().filter(|line| enrolled(line)).count(), before, "nothing is on record");
    // The same, governed, does not get past the first step.
    assert_eq!(agent.act(&steps).end().stdout, "");
    wait_until("it is on record", || {
        agent.record().iter().any(|line| line["event"] == "killed" && line["path"] == file)
    });
}

/// The lines of a parent and of its child may come in either order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}
