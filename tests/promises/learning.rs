//! `holdpoint policy learn`: of what a run was seen to do comes a policy under which it runs again, and which holds what
//! it did not do.

use std::{fs, net::TcpListener};

use holdpoint_tests::{Actor, Agent, User, agent::holdpoint, site, ungoverned};
use serde_json::json;

/// What keeps an operation back.
const KEPT_BACK: [&str; 4] = ["held", "denied", "killed", "not-held"];

/// Starts a governed command. Its launcher is announced, not the command, which would write that to a file of each run.
fn governed(command: &[&str]) -> Actor {
    ungoverned(User::AGENT, [&[holdpoint().as_str(), "run", "--quiet", "--"], command].concat())
}

/// The policy that is proposed after what the agent has recorded.
fn proposed(agent: &Agent) -> String {
    let record = site::file("learn-record", "");
    fs::write(&record, agent.record().iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let learned = site::nothing("learned");
    let policy = agent.directory().join("policy.toml").display().to_string();
    let words = ["policy", "learn", "--policy", &policy, "--record", &record, "--output", &learned];
    let reply = agent.say(User::ROOT, words);
    assert!(reply.success(), "{reply:?}");
    site::content(&learned)
}

#[test]
fn what_was_learned_from_a_run_lets_it_run_again_and_holds_what_it_did_not_do() {
    let place = site::directory("learn").display().to_string();
    fs::write(format!("{place}/in.csv"), "2\n1\n").unwrap();
    let other = site::file("learn-other", "Ada\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let job = site::script(
        "learn-job",
        &format!(
            "#!/bin/sh\ncd {place} && sort in.csv >/tmp/job.$$ && cat /tmp/job.$$ >out.csv && mv out.csv done.csv && \
             rm /tmp/job.$$ && {} 'connect 127.0.0.1 {}' && cat done.csv \"$@\"\n",
            site::actor(),
            listener.local_addr().unwrap().port()
        ),
    );
    let control = ungoverned(User::AGENT, [&job]).end();
    assert_eq!((control.code(), control.stdout.as_str()), (Some(0), "connect ok\n1\n2\n"), "the control");
    let control_of_other = ungoverned(User::AGENT, [&job, &other]).end();
    assert_eq!(control_of_other.stdout, "connect ok\n1\n2\nAda\n", "the control");

    let agent = Agent::start(include_str!("../../policies/observe-everything.toml"));
    assert_eq!(governed(&[&job]).end(), control);
    let done = format!("{place}/done.csv");
    agent.wait_recorded("the last that it does", |line| line["path"] == *done && line["operation"] == "open");
    let learned = proposed(&agent);
    assert!(!learned.contains("Ada") && learned.contains("\"/tmp/job.*\""), "{learned}");

    let reply = agent.reload(&learned);
    assert!(reply.success(), "{reply:?}\n{learned}");
    let before = agent.record().len();
    // What it should not ask is approved, too, to be said below.
    let (ended, _) = agent.approve_to_the_end(governed(&[&job]));
    let record = agent.record().split_off(before);
    let kept = record.iter().filter(|line| KEPT_BACK.contains(&line["event"].as_str().unwrap()));
    assert_eq!(kept.collect::<Vec<_>>(), Vec::<&holdpoint_tests::Json>::new(), "{learned}");
    assert_eq!(ended, control);

    let actor = governed(&[&job, &other]);
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("rule"), hold.text("path")), ("files: the rest", other.as_str()));
    agent.approve(&hold);
    assert_eq!(actor.end(), control_of_other, "approved");
    let actor = governed(&[&job, &other]);
    agent.deny(agent.hold_of(&actor));
    let ended = actor.end();
    assert!(ended.code() == Some(1) && ended.stdout == control.stdout, "denied: {ended:?}");
}

#[test]
fn of_a_program_with_subcommands_those_that_were_seen_pass() {
    let git = site::directory("learn-tool").join("git").display().to_string();
    fs::copy("/usr/bin/echo", &git).unwrap();
    let ran = |words: &[&str]| governed(&[&[&*git], words].concat());
    let said = |words: &[&str]| ungoverned(User::AGENT, [&[&*git], words].concat()).end().stdout;
    assert_eq!([said(&["status", "-s"]), said(&["push"])], ["status -s\n", "push\n"], "the control");

    let agent = Agent::start(include_str!("../../policies/observe-everything.toml"));
    assert_eq!(ran(&["status", "-s"]).end().stdout, "status -s\n");
    let line = agent.wait_recorded("what it was given", |line| line["event"] == "audited" && line["path"] == git);
    assert_eq!(line["argv"], json!([git, "status", "-s"]), "{line:#}");
    let learned = proposed(&agent);
    assert!(learned.contains(&format!("exec = {{ path = [\"{git}\"], args = [\"status\"] }}")), "{learned}");

    let reply = agent.reload(&learned);
    assert!(reply.success(), "{reply:?}\n{learned}");
    assert_eq!(ran(&["status"]).end().stdout, "status\n", "{learned}");
    let actor = ran(&["push"]);
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("rule"), &hold["argv"]), ("programs: the rest", &json!([git, "push"])));
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "");
    let actor = ran(&["push"]);
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "push\n", "approved");
}
