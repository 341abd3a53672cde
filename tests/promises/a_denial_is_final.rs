//! A denied operation has never happened; who asked lives or dies as the rule says, and nobody else.

use holdpoint_tests::{
    Agent, Json, User,
    agent::holdpoint,
    control, everything,
    listener::Listener,
    process::{lives, parent},
    shared, site, ungoverned,
};
use serde_json::json;

#[test]
fn denied_with_fail_the_call_gets_eperm_and_the_process_lives() {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} w+trunc");
    let agent = shared(&everything());
    let actor = agent.act([&open, "print alive", "quit 5"]);
    agent.deny(agent.hold_of(&actor));
    let ended = actor.end();
    assert_eq!((ended.stdout.as_str(), ended.code()), ("open EPERM\nalive\n", Some(5)));
    assert_eq!(site::content(&file), "Ada\n");
    assert_eq!(control([&open, "quit 5"]).stdout, "open ok\n", "the control");
    assert_eq!(site::content(&file), "");
}

#[test]
fn denied_with_kill_the_process_dies_by_sigkill_and_no_other() {
    let file = site::file("hold-kill", "Ada\n");
    let steps = [
        "fork",
        "line",
        "print sibling",
        "quit 4",
        "end",
        "fork",
        &format!("open {file} w+trunc"),
        "print survived",
        "end",
        "wait",
        "print parent",
        "wait",
    ];
    let agent = shared(&everything());
    let mut actor = agent.act(steps);
    let hold = agent.hold_of(&actor);
    assert_eq!(parent(hold.pid()), actor.pid(), "the child is held, not the parent");
    agent.deny(&hold);
    actor.wait_line("parent");
    assert!(!lives(hold.pid()));
    actor.go_on();
    assert_eq!(actor.end().stdout, "wait killed 9\nparent\nsibling\nwait exited 4\n");
    assert_eq!(site::content(&file), "Ada\n");
    assert_eq!(agent.questions(hold.tree()), 1);
}

#[test]
fn a_vfork_parent_sees_that_its_child_was_killed() {
    let program = site::program("bin-hold-kill", "/usr/bin/echo");
    for start in ["vfork", "spawn"] {
        let agent = shared(&everything());
        let actor = agent.act([&format!("{start} {program} ran"), "print parent"]);
        agent.deny(agent.hold_of(&actor));
        let ended = actor.end();
        assert!(ended.stdout.ends_with("wait killed 9\nparent\n"), "{start}: {ended:?}");
        assert!(!ended.stdout.contains("ran"));
    }
    assert!(control([format!("vfork {program} ran")]).stdout.starts_with("ran\nwait exited 0\n"), "the control");
}

#[test]
fn a_posix_spawn_parent_is_told_eperm_when_its_childs_exec_fails() {
    let program = site::program("bin-hold", "/usr/bin/echo");
    let agent = shared(&everything());
    let actor = agent.act([&format!("spawn {program} ran"), "print parent"]);
    agent.deny(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "spawn EPERM\nparent\n");
}

#[test]
fn a_denied_connection_was_never_made() {
    let listener = Listener::v4("hold-kill");
    let connect = format!("connect {}", listener.target());
    let agent = shared(&everything());
    let actor = agent.act([&connect, "print survived"]);
    agent.deny(agent.hold_of(&actor));
    let ended = actor.end();
    assert_eq!((ended.stdout.as_str(), ended.signal().or(ended.code())), ("", Some(9)));
    assert!(listener.waiting().is_none());
    assert_eq!(control([&connect]).stdout, "connect ok\n");
    drop(listener.accept());
}

#[test]
fn the_reviewer_chooses_between_kill_and_fail() {
    let lenient = site::file("hold", "");
    let strict = site::file("hold-kill", "");
    let agent = shared(&everything());
    let actor = agent.act([format!("open {lenient} r")]);
    agent.deny_kill(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "");
    let actor = agent.act([format!("open {strict} r")]);
    agent.deny_fail(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "open EPERM\n");
}

#[test]
fn the_verdict_deny_is_eperm_at_once_and_without_a_question() {
    let file = site::file("deny", "Ada\n");
    let new = site::nothing("deny");
    let program = site::program("bin-deny", "/usr/bin/echo");
    let listener = Listener::v4("deny");
    let steps = [
        format!("open {file} r"),
        format!("open {file} w+trunc"),
        format!("truncate {file} 1"),
        format!("open {new} w+creat"),
        format!("connect {}", listener.target()),
        format!("exec {program} ran"),
    ];
    let agent = shared(&everything());
    let actor = agent.act(&steps);
    let pid = actor.pid();
    let refused = "open EPERM\nopen EPERM\ntruncate EPERM\nopen EPERM\nconnect EPERM\nexec EPERM\n";
    assert_eq!(actor.end().stdout, refused);
    assert_eq!((site::content(&file).as_str(), site::exists(&new)), ("Ada\n", false));
    assert!(listener.waiting().is_none());
    let denied = agent.wait_recorded("the last denial", |line| line["event"] == "denied" && line["path"] == program);
    assert_eq!((denied["pid"].as_u64(), denied["rule"].as_str()), (Some(pid.into()), Some("deny programs")));
    let record = agent.record();
    let of_pid = |event: &str| record.iter().filter(|line| line["event"] == event && line["pid"] == pid).count();
    assert_eq!(of_pid("denied"), 6);
    assert_eq!(agent.questions(denied["tree"].as_str().unwrap()), 0);
    let success = "open ok\nopen ok\ntruncate ok\nopen ok\nconnect ok\nran\n";
    assert_eq!(control(&steps).stdout, success, "the control");
}

#[test]
fn the_verdict_kill_kills() {
    let file = site::file("kill", "Ada\n");
    let agent = shared(&everything());
    let actor = agent.act(["fork", &format!("open {file} w+trunc"), "print survived", "end", "wait", "print parent"]);
    assert_eq!(actor.end().stdout, "wait killed 9\nparent\n");
    assert_eq!(site::content(&file), "Ada\n");
    let killed = agent.wait_recorded("the kill", |line| line["event"] == "killed" && line["path"] == file);
    assert_eq!(agent.questions(killed["tree"].as_str().unwrap()), 0);
}

#[test]
fn the_verdict_audit_lets_pass_and_is_on_record() {
    let file = site::file("audit", "Ada\n");
    let listener = Listener::v6("audit");
    let program = site::program("bin-audit", "/usr/bin/echo");
    let steps = [
        format!("open {file} r"),
        "read".to_owned(),
        format!("connect {}", listener.target()),
        format!("exec {program} ran"),
    ];
    let agent = shared(&everything());
    let actor = agent.spawn(User::AGENT, holdpoint_tests::actor::with_actor(&steps));
    let pid = actor.pid();
    assert_eq!(actor.end().stdout, "open ok\nread Ada\nconnect ok\nran\n");
    let audited = |key: &str, value: &str| {
        agent.wait_recorded(format!("{key} {value}"), |line| {
            line["event"] == "audited" && line["pid"] == pid && line[key] == value
        })
    };
    assert_eq!(audited("path", &file)["access"], json!(["read"]));
    assert_eq!(audited("address", "::1")["port"], listener.address().port());
    assert_eq!(audited("path", &program)["rule"], "audit programs");
}

#[test]
fn the_same_again_is_refused_without_a_question_for_that_tree_only() {
    let file = site::file("hold", "Ada\n");
    let [open, write] = ["r", "w"].map(|way| format!("open {file} {way}"));
    let mut agent = Agent::start(&everything());
    let mut actor =
        agent.act([&open, &open, "fork", &open, "end", "wait", "line", &open, "line", &write, "print alive"]);
    let hold = agent.hold_of(&actor);
    agent.deny(&hold);
    actor.wait_line("wait exited 0");
    let again = agent.wait_recorded("the same again", |line| line["event"] == "denied" && line["again"] == true);
    assert_eq!(
        (&again["path"], &again["rule"], &again["tree"]),
        (&json!(file), &json!("hold files"), &json!(hold.tree()))
    );

    let other = agent.act([&open]);
    agent.approve(agent.hold_of(&other));
    assert_eq!(other.end().stdout, "open ok\n", "another tree is asked about");

    agent.restart();
    actor.go_on();
    actor.go_on();
    agent.approve(agent.hold_of(&actor));
    let ended = actor.end();
    let refused = "open EPERM\nopen EPERM\nopen EPERM\nwait exited 0\nopen EPERM\nopen ok\nalive\n";
    assert_eq!(ended.stdout, refused, "writing is another request");
}

#[test]
fn what_is_executed_again_is_the_same_with_the_same_arguments() {
    let program = site::program("bin-hold", "/usr/bin/echo");
    let agent = shared(&everything());
    let script = format!("{program} a; {program} a; {program} a; {program} a b");
    let actor = ungoverned(User::AGENT, [&holdpoint(), "run", "--", "sh", "-c", &script]);
    agent.deny(agent.hold_of(&actor));
    let hold = agent.hold_of(&actor);
    assert_eq!(hold["argv"], json!([program, "a", "b"]));
    agent.approve(&hold);
    let ended = actor.end();
    assert_eq!(ended.stdout, "a b\n");
    let told = ended.stderr.matches("The same is refused without a question until").count();
    assert_eq!(told, 1, "who launched it is told, and not in a loop: {}", ended.stderr);
}

#[test]
fn what_connects_again_is_the_same_by_another_socket() {
    let listener = Listener::v4("hold");
    let agent = shared(&everything());
    let connect = format!("connect {}", listener.target());
    let actor = agent.act([&connect, &connect, "print alive"]);
    agent.deny(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "connect EPERM\nconnect EPERM\nalive\n");
    assert!(listener.waiting().is_none());
}

#[test]
fn when_the_pause_is_over_somebody_is_asked_again() {
    let [file, at_once] = ["paused", "asked"].map(|name| site::file(name, "Ada\n"));
    let rule = |file: &str, pause: &str| {
        let then = "then = \"hold\"\nreviewers = \"people\"\non_deny = \"fail\"";
        format!("[[rule]]\nname = \"{pause}\"\nopen = {{ path = [\"{file}\"] }}\n{then}\npause = \"{pause}\"\n")
    };
    let head = "[[subject]]\nname = \"tests\"\n[reviewers]\npeople = [\"root\", \"reviewer\"]\n";
    let agent = Agent::start(&[head, &rule(&file, "3s"), &rule(&at_once, "0s")].concat());
    let until_it_works = |file: &str| agent.spawn(User::AGENT, ["sh", "-c", "until cat $0; do :; done", file]);

    let actor = until_it_works(&file);
    agent.deny(agent.hold_of(&actor));
    agent.wait_recorded("the same again", |line| line["event"] == "denied" && line["again"] == true);
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "Ada\n");

    let actor = until_it_works(&at_once);
    agent.deny(agent.hold_of(&actor));
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "Ada\n");
    let again = |line: &serde_json::Value| line["again"] == true && line["path"] == at_once;
    assert!(!agent.record().iter().any(again), "without a pause each is asked about");
}

#[test]
fn who_is_refused_hears_why_and_nobody_else_does() {
    let [key, data] = ["why-key", "why-data"].map(|name| site::file(name, "Ada\n"));
    let agent = shared(&format!(
        "[[subject]]\nname = \"why\"\n[reviewers]\npeople = [\"reviewer\"]\n
        [[rule]]\nname = \"keys stay\"\nopen = {{ path = [\"{key}\"] }}\nthen = \"deny\"\nwhy = \"no program needs them\"\n
        [[rule]]\nname = \"data\"\nopen = {{ path = [\"{data}\"] }}\nthen = \"hold\"\nreviewers = \"people\"\non_deny = \"fail\"\n"
    ));
    let holdpoint = holdpoint();
    let script = format!("cat {key} {data}; cat {key}; {holdpoint} why --json; {holdpoint} why >&2");
    let run = [&*holdpoint, "run", "--subject", "why", "--", "sh", "-c", &script];
    let actor = ungoverned(User::AGENT, run);
    let hold = agent.hold_of(&actor);
    let denied = agent.say(User::REVIEWER, ["deny", hold.id(), "--why", "not today"]);
    assert!(denied.status.success(), "{denied:?}");
    let ended = actor.end();

    let said: Json = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!((&said["tree"], &said["subject"]), (&json!(hold.tree()), &json!("why")));
    let refused: Vec<_> = said["denied"].as_array().expect("a list").iter().collect();
    let names: Vec<_> = refused.iter().map(|refusal| (&refusal["rule"], &refusal["by"]["by"])).collect();
    let [policy, reviewer] = ["policy", "reviewer"].map(|by| json!(by));
    assert_eq!(names, [(&json!("keys stay"), &policy), (&json!("data"), &reviewer), (&json!("keys stay"), &policy)]);
    assert_eq!((&refused[0]["why"], &refused[0]["until"]), (&json!("no program needs them"), &json!(null)));
    assert_eq!((&refused[1]["why"], &refused[1]["by"]["who"]), (&json!("not today"), &json!("reviewer")));
    assert!(refused[1]["until"].is_string(), "{said}");
    for line in ["denied by policy, rule \"keys stay\"", "denied by reviewer, a reviewer, rule \"data\""] {
        assert!(ended.stderr.contains(line), "{line}: {}", ended.stderr);
    }
    let told = ended.stderr.split("holdpoint: ").filter(|line| line.contains("denied by policy")).count();
    assert!(told >= 2, "who launched it is told, too: {}", ended.stderr);

    let other = agent.spawn_as(User::AGENT, "why", [&*holdpoint, "why"]).end();
    assert_eq!((other.stdout.as_str(), other.code()), ("nothing waits, and nothing was refused\n", Some(0)));
    assert_eq!(ungoverned(User::AGENT, [&*holdpoint, "why"]).end().code(), Some(1), "the control: not governed");
}
