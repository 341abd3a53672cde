//! Promise 3: an approval holds for one operation of one process, on the very objects that the reviewer was shown.

use std::{fs, io::Write as _};

use holdpoint_tests::{
    Actor, Agent, Hold, User, control, everything,
    policy::{self, allowing},
    process::image,
    shared, site, wait_until,
};
use nix::sys::signal::Signal::SIGCONT;
use serde_json::json;

/// Approves `hold`; the call, which is about something else by now, is held again, under another id.
#[track_caller]
fn approved_and_asked_again(agent: &Agent, actor: &Actor, hold: &Hold) -> Hold {
    agent.approve(hold);
    let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    assert_ne!(second.digest(), hold.digest());
    assert!(agent.recorded("passed", hold).is_empty(), "nothing has passed");
    assert!(!actor.stdout().contains("ok"));
    second
}

#[test]
fn another_file_at_the_same_path_is_another_question() {
    let file = site::file("hold", "shown\n");
    let other = site::file("hold", "other\n");
    let steps = [&format!("open {file} r"), "read"];
    assert_eq!(control(steps).stdout, "open ok\nread shown\n", "the control");
    let agent = shared(&everything());
    let actor = agent.act(steps);
    let hold = agent.hold_of(&actor);
    fs::rename(&other, &file).unwrap();
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!(hold["path"], second["path"]);
    assert_ne!(hold["object"], second["object"]);
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
    assert_eq!(agent.questions(hold.tree()), 2);
}

#[test]
fn a_path_that_is_rewritten_in_memory_is_another_question() {
    let shown = site::file("hold", "shown\n");
    let other = site::file("hold", "other\n");
    let agent = shared(&everything());
    let mut actor = agent.act([&format!("swap-open {shown} {other}"), "read"]);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold.text("path"), shown);
    actor.go_on();
    actor.wait_line("swapped");
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!(second.text("path"), other);
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "swapped\nopen EPERM\nread EBADF\n");
}

#[test]
fn a_path_that_is_rewritten_in_memory_to_one_that_nobody_holds_passes_without_the_approval() {
    let shown = site::file("hold", "shown\n");
    let free = site::file("audit", "free\n");
    let agent = shared(&everything());
    let mut actor = agent.act([&format!("swap-open {shown} {free}"), "read", &format!("open {shown} r")]);
    let hold = agent.hold_of(&actor);
    actor.go_on();
    actor.wait_line("swapped");
    agent.approve(&hold);
    actor.wait_line("read free");
    // The approval was for something that was not done: it is over.
    let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "swapped\nopen ok\nread free\nopen EPERM\n");
}

#[test]
fn another_file_to_be_renamed_or_replaced_is_another_question() {
    let agent = shared(&everything());
    for what in ["source", "target"] {
        let (file, target) = (site::file("free", "shown\n"), site::file("hold", "old\n"));
        let other = site::file("free", "other\n");
        let actor = agent.act([format!("rename {file} {target}")]);
        let hold = agent.hold_of(&actor);
        assert_eq!(
            (hold.text("action"), hold.text("path"), hold.text("target"), &hold["replaces"]),
            ("rename", &*file, &*target, &json!(true))
        );
        fs::rename(&other, if what == "source" { &file } else { &target }).unwrap();
        let second = approved_and_asked_again(&agent, &actor, &hold);
        agent.approve(&second);
        assert_eq!(actor.end().stdout, "rename ok\n");
        assert_eq!(site::content(&target), if what == "source" { "other\n" } else { "shown\n" });
    }
}

#[test]
fn a_file_that_changes_before_it_comes_is_another_question() {
    let agent = shared(&everything());
    for (action, target) in [("rename", site::nothing("hold")), ("exchange", site::file("hold", "old\n"))] {
        for incoming_first in [true, false] {
            let file = site::file("free", "shown\n");
            if action == "rename" && !incoming_first {
                continue;
            }
            let (one, other) = if incoming_first { (&file, &target) } else { (&target, &file) };
            let actor = agent.act([format!("{action} {one} {other}")]);
            let hold = agent.hold_of(&actor);
            fs::write(&file, "something else\n").unwrap();
            let second = approved_and_asked_again(&agent, &actor, &hold);
            agent.deny(&second);
            assert_eq!(actor.end().stdout, format!("{action} EPERM\n"));
            assert_eq!(site::content(&file), "something else\n");
        }
    }
}

#[test]
fn the_same_datagram_after_a_send_that_was_interrupted_is_another_question() {
    let agent = shared(&everything());
    let send = format!("send 127.0.0.1 {}", policy::port("hold"));
    let steps = ["handler 14 jump", &send, "stall", &send];
    let stalled = "send ok\nhandled 14\njumped\n";
    assert_eq!(control(steps).stdout, format!("{stalled}send ok\n"), "the control");
    let actor = agent.act(steps);
    let hold = agent.hold_of(&actor);
    agent.approve(&hold);
    actor.wait_line("jumped");
    let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    agent.deny(&second);
    assert_eq!(actor.end().stdout, format!("{stalled}send EPERM\n"));
}

#[test]
fn a_call_that_a_tracer_has_executed_again_is_another_question() {
    let file = site::file("hold", "Ada\n");
    let agent = shared(&everything());
    let steps = [format!("redo open {file} r")];
    assert_eq!(control(&steps).stdout, "open ok\nredone once\n", "the control");
    let actor = agent.act(&steps);
    let hold = agent.wait_for_hold(|hold| hold["path"] == file);
    agent.approve(&hold);
    let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "open EPERM\nredone once\n");
}

#[test]
fn how_short_a_file_becomes_is_part_of_the_question() {
    let file = site::file("hold", "Ada\n");
    let agent = shared(&everything());
    let actor = agent.act([format!("truncate {file} 2")]);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold["length"], 2);
    let told = agent.say(User::REVIEWER, ["show", hold.id()]);
    assert!(told.stdout.contains(&format!("truncate {file} to 2 bytes")), "{told:?}");
    agent.approve(&hold);
    assert_eq!((actor.end().stdout.as_str(), site::content(&file).as_str()), ("truncate ok\n", "Ad"));
}

#[test]
fn a_script_stays_busy_while_it_runs_whatever_it_tries_to_execute() {
    let unfit = site::script("free", "#!/nowhere\n");
    let text = format!("#!/usr/bin/bash\nshopt -s execfail\nexec {unfit}\necho failed\nread line\n");
    let script = site::script("bin-hold", &text);
    let write = [format!("open {script} w")];
    let agent = shared(&everything());
    assert_eq!(agent.act(&write).end().stdout, "open ok\n", "the control");
    let mut actor = agent.act([format!("exec {script}")]);
    agent.approve(agent.hold_of(&actor));
    actor.wait_line("failed");
    assert_eq!(agent.act(&write).end().stdout, "open ETXTBSY\n");
    actor.go_on();
    actor.end();
    wait_until("it is not busy any more", || agent.act(&write).end().stdout == "open ok\n");
}

#[test]
fn a_link_whose_text_is_rewritten_in_memory_is_another_question() {
    let path = site::nothing("hold");
    let agent = shared(&everything());
    let mut actor = agent.act([format!("swap-symlink {path} harmless harmful")]);
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("action"), hold.text("path"), hold.text("target")), ("symlink", &*path, "harmless"));
    actor.go_on();
    actor.wait_line("swapped");
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!(second.text("target"), "harmful");
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "swapped\nsymlink EPERM\n");
    assert!(!site::exists(&path));
}

#[test]
fn what_is_asked_of_a_name_says_what_becomes_of_it() {
    let agent = shared(&everything());
    let file = site::file("hold", "Ada\n");
    let said = |step: String| {
        let actor = agent.act([step]);
        let hold = agent.hold_of(&actor);
        let told = agent.say(User::REVIEWER, ["show", hold.id()]);
        agent.deny(&hold);
        (hold, told.stdout)
    };
    let (hold, told) = said(format!("chmod {file}"));
    assert_eq!(hold["mode"], json!(0o640));
    assert!(told.contains(&format!("chmod {file} (mode 0640)")), "{told}");
    let (hold, told) = said(format!("chown {file}"));
    assert_eq!((&hold["owner"], &hold["group"]), (&json!(null), &json!("agent")));
    assert!(told.contains(&format!("chown {file} (group agent)")), "{told}");
    let (_, told) = said(format!("exchange {file} {}", site::file("free", "Bob\n")));
    assert!(told.contains(&format!("rename {file} in exchange for ")), "{told}");
}

#[test]
fn another_program_at_the_same_path_is_another_question() {
    let program = site::program("bin-hold", "/usr/bin/echo");
    let other = site::program("bin-hold", "/usr/bin/printenv");
    let agent = shared(&everything());
    let actor = agent.act([format!("exec {program} shown")]);
    let hold = agent.hold_of(&actor);
    fs::rename(&other, &program).unwrap();
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!(image(hold.pid()).as_os_str(), site::actor());
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "exec EPERM\n");
}

#[test]
fn a_program_that_is_rewritten_in_memory_is_another_question() {
    let shown = site::program("bin-hold", "/usr/bin/true");
    let other = site::program("bin-hold", "/usr/bin/false");
    let agent = shared(&everything());
    let mut actor = agent.act([format!("swap-exec {shown} {other}")]);
    let hold = agent.hold_of(&actor);
    actor.go_on();
    actor.wait_line("swapped");
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!((second.text("path"), second.text("filename")), (&*other, &*other));
    assert_eq!(image(hold.pid()).as_os_str(), site::actor());
    agent.approve(&second);
    assert_eq!(actor.end().code(), Some(1), "the one that was approved in the end has run");
}

#[test]
fn a_working_directory_that_somebody_else_changes_is_another_question() {
    let program = site::program("bin-hold", "/usr/bin/true");
    let there = site::directory("free").display().to_string();
    let agent = shared(&everything());
    let mut actor = agent.act([format!("wander {there}"), format!("exec {program}")]);
    let hold = agent.hold_of(&actor);
    assert_ne!(hold["context"]["cwd"], there);
    actor.go_on();
    actor.wait_line("wandered");
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!(second["context"]["cwd"], there);
    assert_eq!(image(hold.pid()).as_os_str(), site::actor());
    agent.approve(&second);
    assert_eq!(actor.end().code(), Some(0));
}

#[test]
fn an_argument_that_is_rewritten_in_memory_is_another_question() {
    let program = site::program("bin-hold", "/usr/bin/echo");
    let agent = shared(&everything());
    let mut actor = agent.act([format!("swap-argument {program} harmless harmful")]);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold["argv"], json!([program, "harmless"]));
    actor.go_on();
    actor.wait_line("swapped");
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!(second["argv"], json!([program, "harmful"]));
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "swapped\nexec EPERM\n");
}

#[test]
fn a_changed_call_is_asked_about_before_the_answer_too() {
    let shown = site::file("hold", "shown\n");
    let other = site::file("hold", "other\n");
    let agent = shared(&everything());
    let mut actor = agent.act([&format!("swap-open {shown} {other}"), "read"]);
    let hold = agent.hold_of(&actor);
    actor.go_on();
    actor.wait_line("swapped");
    actor.signal(SIGCONT);
    let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    assert_eq!(second.text("path"), other);
    agent.wait_over(&hold);
    let late = agent.say(User::REVIEWER, ["approve", hold.id()]);
    assert!(!late.success(), "{late:?}");
    agent.approve(&second);
    assert_eq!(actor.end().stdout, "swapped\nopen ok\nread other\n");
}

#[test]
fn a_creation_elsewhere_is_another_question() {
    let shown = site::nothing("hold");
    let other = site::nothing("hold");
    let moved = format!("{shown}-moved");
    let directory = |path: &str| path.rsplit_once('/').unwrap().0.to_owned();
    let agent = shared(&everything());
    let actor = agent.act([format!("open {shown} w+creat+excl")]);
    let hold = agent.hold_of(&actor);
    // The directory at the same path is another one now.
    fs::rename(directory(&shown), directory(&moved).replace("/hold/", "/hold/moved-")).unwrap();
    fs::rename(directory(&other), directory(&shown)).unwrap();
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert!(!site::exists(&shown));
    agent.approve(&second);
    assert_eq!(actor.end().stdout, "open ok\n");
    assert!(site::exists(&shown));
}

#[test]
fn a_script_that_is_rewritten_in_place_is_another_question() {
    let script = site::script("bin-hold", "#!/bin/sh\necho shown\n");
    let agent = shared(&everything());
    let actor = agent.act([format!("exec {script}")]);
    let hold = agent.hold_of(&actor);
    rewrite(&script, "#!/bin/sh\necho other\n");
    let second = approved_and_asked_again(&agent, &actor, &hold);
    assert_eq!((&hold["path"], &hold["object"]), (&second["path"], &second["object"]));
    assert_ne!(hold["content"], second["content"]);
    agent.approve(&second);
    assert_eq!(actor.end().stdout, "other\n", "the one that was approved in the end has run");
}

/// Writes into the file that is there.
fn rewrite(path: &str, content: &str) {
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
}

#[test]
fn a_file_that_is_rewritten_before_it_is_read_or_emptied_is_another_question() {
    for (how, outcome) in [("r", "shown\n"), ("w+trunc", "")] {
        let file = site::file("hold", "shown\n");
        let agent = shared(&everything());
        let actor = agent.act([format!("open {file} {how}")]);
        let hold = agent.hold_of(&actor);
        rewrite(&file, "other\n");
        let second = approved_and_asked_again(&agent, &actor, &hold);
        assert_ne!(hold["content"], second["content"]);
        rewrite(&file, "shown\n");
        let third = approved_and_asked_again(&agent, &actor, &second);
        agent.approve(&third);
        assert_eq!(actor.end().stdout, "open ok\n");
        assert_eq!(site::content(&file), outcome);
    }
}

#[test]
fn a_file_that_others_write_meanwhile_is_the_same_to_who_writes_it_too() {
    let file = site::file("hold", "shown\n");
    let agent = shared(&everything());
    let actor = agent.act([format!("open {file} w")]);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold["content"], json!(null));
    rewrite(&file, "other\n");
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(agent.questions(hold.tree()), 1);
}

#[test]
fn a_file_that_is_only_looked_at_meanwhile_is_the_same() {
    let file = site::file("hold", "shown\n");
    let agent = shared(&everything());
    let actor = agent.act([&format!("open {file} r"), "read"]);
    let hold = agent.hold_of(&actor);
    assert_eq!(site::content(&file), "shown\n");
    assert_eq!(fs::metadata(&file).unwrap().len(), 6);
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread shown\n");
    assert_eq!(agent.questions(hold.tree()), 1);
}

#[test]
fn a_program_is_busy_for_governed_processes_while_its_exec_is_held() {
    let script = site::script("bin-hold", "#!/bin/sh\necho shown; read line\n");
    let steps = [format!("open {script} w"), format!("truncate {script} 5")];
    let agent = shared(&everything());
    let mut actor = agent.act([format!("exec {script}")]);
    let hold = agent.hold_of(&actor);
    assert_eq!(agent.act(&steps).end().stdout, "open ETXTBSY\ntruncate ETXTBSY\n", "held");
    agent.approve(&hold);
    actor.wait_line("shown");
    assert_eq!(agent.act(&steps).end().stdout, "open ETXTBSY\ntruncate ETXTBSY\n", "running");
    actor.go_on();
    assert_eq!(actor.end().code(), Some(0));
    assert_eq!(agent.act(&steps).end().stdout, "open ok\ntruncate ok\n", "over");
}

fn restart_under(agent: &mut Agent, policy: &str) {
    fs::write(agent.directory().join("policy.toml"), policy).unwrap();
    agent.restart();
}

#[test]
fn under_a_rule_that_says_something_else_it_is_another_question() {
    let file = site::file("hold", "shown\n");
    let mut agent = Agent::start(&everything());
    let open = format!("open {file} r");
    let actor = agent.act([&open, "read", "close", &open, "read"]);
    let hold = agent.hold_of(&actor);
    restart_under(&mut agent, &format!("{}\n# Another text, the same rules.\n", everything()));
    let kept = agent.hold_of(&actor);
    assert_eq!((kept.id(), kept.digest()), (hold.id(), hold.digest()));
    agent.approve(&hold);
    let hold = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    assert_eq!(actor.stdout(), "open ok\nread shown\n", "the same rule still asks");

    restart_under(&mut agent, &everything().replace("a test", "another test"));
    let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
    assert_ne!((second.digest(), &second["policy"]), (hold.digest(), &hold["policy"]));
    assert_eq!(agent.say(User::REVIEWER, ["approve", hold.id()]).status.code(), Some(1));
    agent.approve(&second);
    assert_eq!(actor.end().stdout, "open ok\nread shown\n".repeat(2));
}

#[test]
fn through_io_uring_what_would_be_held_is_refused() {
    let file = site::file("hold", "Ada\n");
    let free = site::file("free", "Ada\n");
    let steps = [&format!("uring {file}"), &format!("uring {file} async"), &format!("uring {free}")];
    assert_eq!(control(steps).stdout, "uring ok\nuring ok\nuring ok\n", "the control");
    assert_eq!(shared(&everything()).act(&steps[..1]).end().stdout, "uring-setup EPERM\n", "unless it is allowed");
    let agent = shared(&allowing("\"io_uring\""));
    let actor = agent.act(steps);
    let pid = actor.pid();
    assert_eq!(actor.end().stdout, "uring EPERM\nuring EPERM\nuring ok\n");
    wait_until("both refusals are on record", || {
        let record = agent.record();
        record.iter().filter(|line| line["event"] == "not-held" && line["pid"] == pid).count() == 2
    });
    let refused = agent.wait_recorded("why", |line| line["event"] == "not-held" && line["pid"] == pid);
    assert_eq!((&refused["reason"], &refused["path"]), (&"no_restart".into(), &file.as_str().into()));
}
