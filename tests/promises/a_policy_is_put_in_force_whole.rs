//! Promise 13, while the agent runs: another policy is put in force in one step or not at all, and what is held meets it.

use std::{fs, os::unix::fs::chown, time::Instant};

use holdpoint_tests::{
    Actor, Agent, Hold, Json, LIMIT, User,
    actor::with_actor,
    agent::{Reply, holdpoint},
    control::Control,
    process, shared,
    shared::Shared,
    site, ungoverned, wait_for, wait_until,
};
use nix::sys::signal::Signal::{SIGCONT, SIGHUP};

const HEAD: &str = "[[subject]]\nname = \"tests\"\n\n[reviewers]\npeople = [\"root\", \"reviewer\"]\n";

/// A rule on opening `path`.
fn rule(name: &str, path: &str, then: &str) -> String {
    format!("\n[[rule]]\nname = \"{name}\"\nopen = {{ path = [\"{path}\"] }}\nthen = {then}\n")
}

fn denying(path: &str) -> String {
    rule(&format!("not {path}"), path, "\"deny\"")
}

fn holding(path: &str) -> String {
    rule("held", path, "\"hold\"\nreviewers = \"people\"\non_deny = \"fail\"")
}

fn policy(rules: &[String]) -> String {
    format!("{HEAD}{}", rules.concat())
}

/// An agent of these tests' own, with this policy in force.
#[track_caller]
fn agent(rules: &[String]) -> Shared {
    let agent = shared(HEAD);
    reloaded(&agent, rules);
    agent
}

#[track_caller]
fn reloaded(agent: &Agent, rules: &[String]) {
    let before = agent.status()["policy_revision"].clone();
    let reply = agent.reload(&policy(rules));
    assert!(reply.success(), "{reply:?}");
    let said: Json = serde_json::from_str(&reply.stdout).unwrap();
    assert_eq!((&said["before"], &said["policy"]), (&before, &agent.status()["policy_revision"]));
    let changed = |line: &Json| line["event"] == "policy-changed" && line["policy"] == said["policy"];
    let line = agent.record().into_iter().rfind(changed).expect("the change is in the record");
    assert_eq!((&line["before"], &line["by"]), (&before, &Json::from(0)));
}

/// Checks that nothing has changed, and that it was said why.
#[track_caller]
fn changes_nothing(agent: &Agent, put: impl FnOnce(&Agent) -> Reply, parts: &[&str]) {
    let revision = agent.status()["policy_revision"].clone();
    let reply = put(agent);
    assert_eq!(reply.status.code(), Some(1), "{reply:?}");
    for part in parts {
        assert!(reply.stderr.contains(part), "{part}: {reply:?}");
    }
    assert_eq!(agent.status()["policy_revision"], revision);
}

#[test]
fn another_policy_holds_from_one_moment_to_the_next_and_a_bad_one_changes_nothing() {
    let file = site::file("free", "Ada\n");
    let open = [format!("open {file} r")];
    let agent = agent(&[]);
    assert_eq!(agent.act(&open).end().stdout, "open ok\n", "the control");
    reloaded(&agent, &[denying(&file)]);
    assert_eq!(agent.act(&open).end().stdout, "open EPERM\n");
    let status = agent.say(User::ROOT, ["status"]).stdout;
    let revision = agent.status()["policy_revision"].as_str().unwrap().to_owned();
    assert!(status.contains(&format!("policy.toml, revision {revision}\n")), "{status}");

    let bad = policy(&[rule("denied", &file, "\"perhaps\"")]);
    changes_nothing(&agent, |agent| agent.reload(&bad), &["policy.toml:10:8", "unknown verdict", "stays in force"]);
    let many: Vec<_> = (0..16_500).map(|number| denying(&format!("/srv/hp/many-{number}"))).collect();
    changes_nothing(&agent, |agent| agent.reload(&policy(&many)), &["policy.toml:", "more than 16384 rules"]);
    assert_eq!(agent.act(&open).end().stdout, "open EPERM\n");
}

#[test]
fn sighup_does_the_same() {
    let agent = agent(&[]);
    let file = agent.directory().join("policy.toml");
    let revision = agent.status()["policy_revision"].clone();
    fs::write(&file, "[[subject]\n").unwrap();
    process::signal(agent.pid(), SIGHUP);
    wait_until("the error is logged", || agent.log().contains("ERROR") && agent.log().contains("policy.toml:1:"));
    assert_eq!(agent.status()["policy_revision"], revision);

    fs::write(&file, policy(&[denying("/srv/hp/by-signal")])).unwrap();
    process::signal(agent.pid(), SIGHUP);
    let line = agent.wait_recorded("by a signal", |line| line["event"] == "policy-changed" && line["by"].is_null());
    assert_eq!((&line["before"], &line["policy"]), (&revision, &agent.status()["policy_revision"]));
}

#[test]
fn only_root_outside_puts_a_policy_in_force() {
    let agent = agent(&[]);
    let reload = ["policy", "reload"];
    changes_nothing(&agent, |agent| agent.say(User::REVIEWER, reload), &["only root"]);
    let inside = agent.spawn(User::ROOT, [&*holdpoint(), "policy", "reload"]).end();
    assert_eq!(inside.code(), Some(1), "{inside:?}");
}

#[test]
fn a_subject_that_is_governed_cannot_be_forgotten() {
    let agent = agent(&[]);
    let mut actor = agent.act(["print begun", "line"]);
    actor.wait_line("begun");
    let others = policy(&[]).replace("tests", "others");
    changes_nothing(&agent, |agent| agent.reload(&others), &["keep that subject", "stays in force"]);
    actor.go_on();
    actor.end();
    wait_until("nobody is governed", || agent.status()["governed_threads"] == 0);
    assert!(agent.reload(&others).success());
    assert!(agent.reload(&policy(&[])).success());
}

/// A process that opens `file` is held by [`holding`].
#[track_caller]
fn held(agent: &Agent, file: &str) -> (Actor, Hold) {
    let actor = agent.act([format!("open {file} r"), "read".to_owned()]);
    let hold = agent.hold_of(&actor);
    (actor, hold)
}

#[track_caller]
fn is_withdrawn(agent: &Agent, hold: &Hold, reason: &str) {
    let line = agent.wait_recorded("it is withdrawn", |line| line["event"] == "withdrawn" && line["hold"] == hold.id());
    assert_eq!(line["reason"], reason);
    agent.wait_over(hold);
    assert!(agent.recorded("passed", hold).is_empty());
}

#[test]
fn what_is_held_goes_on_where_the_new_policy_allows_it() {
    let file = site::file("free", "Ada\n");
    let agent = agent(&[holding(&file)]);
    let (actor, hold) = held(&agent, &file);
    reloaded(&agent, &[]);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    is_withdrawn(&agent, &hold, "policy-changed");
    assert!(agent.recorded("decided", &hold).is_empty(), "nobody has decided");
}

#[test]
fn what_two_threads_wait_for_goes_on_where_the_new_policy_allows_it() {
    let [one, other] = ["Ada\n", "Grace\n"].map(|content| site::file("free", content));
    let agent = agent(&[holding(&one), holding(&other).replace("held", "held too")]);
    let opens = [&one, &other].map(|file| format!("thread open {file} r"));
    let actor = agent.act(opens.iter().map(String::as_str).chain(["join"]));
    // The first stops both threads: a foreign SIGCONT lets the second come to its call.
    wait_for("two holds", LIMIT, || {
        let holds = agent.holds_of(&actor);
        holds.first().filter(|_| holds.len() == 1).inspect(|hold| process::signal(hold.pid(), SIGCONT));
        (holds.len() == 2).then_some(())
    });
    reloaded(&agent, &[]);
    let said = actor.end().stdout;
    assert_eq!(said.matches("open ok").count(), 2, "{said}");
}

#[test]
fn what_is_held_fails_where_the_new_policy_denies_it() {
    let file = site::file("free", "Ada\n");
    let agent = agent(&[holding(&file)]);
    let (actor, hold) = held(&agent, &file);
    reloaded(&agent, &[denying(&file)]);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
    is_withdrawn(&agent, &hold, "policy-changed");
    agent.wait_recorded("it was denied", |line| line["event"] == "denied" && line["tree"] == hold.tree());
}

#[test]
fn what_is_held_waits_on_where_the_same_rule_holds_it() {
    let file = site::file("free", "Ada\n");
    let agent = agent(&[holding(&file)]);
    let (actor, hold) = held(&agent, &file);
    for change in 0..3 {
        reloaded(&agent, &[denying(&format!("/srv/hp/other-{change}")), holding(&file)]);
    }
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    assert_eq!(agent.questions(hold.tree()), 1);
}

#[test]
fn what_is_held_is_asked_about_anew_where_the_rule_says_something_else() {
    let file = site::file("free", "Ada\n");
    let agent = agent(&[holding(&file)]);
    for other in [
        holding(&file).replace("\"held\"", "\"held otherwise\""),
        holding(&file).replace("on_deny", "timeout = \"2m\"\non_deny"),
        holding(&file).replace("then", "why = \"because\"\nthen"),
    ] {
        reloaded(&agent, &[holding(&file)]);
        let (actor, hold) = held(&agent, &file);
        reloaded(&agent, std::slice::from_ref(&other));
        let second = agent.wait_for_hold(|second| second.tree() == hold.tree() && second.id() != hold.id());
        is_withdrawn(&agent, &hold, "policy-changed");
        assert_eq!(agent.say(User::REVIEWER, ["approve", hold.id()]).status.code(), Some(1));
        agent.still_held(&actor, &second);
        agent.approve(&second);
        assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    }
}

/// Has a hold decided under one policy, and met only under another.
#[track_caller]
fn decided_too_early(agent: &Agent, file: &str, word: &str, rules: &[String]) -> (Actor, Hold) {
    let (actor, hold) = held(agent, file);
    actor.freeze(true);
    assert!(agent.say(User::REVIEWER, [word, hold.id()]).success());
    reloaded(agent, rules);
    actor.freeze(false);
    (actor, hold)
}

fn approved_too_early(agent: &Agent, file: &str, rules: &[String]) -> (Actor, Hold) {
    decided_too_early(agent, file, "approve", rules)
}

#[test]
fn an_approval_counts_as_long_as_the_same_rule_asks() {
    let file = site::file("free", "Ada\n");
    let agent = agent(&[holding(&file)]);
    let (actor, hold) = approved_too_early(&agent, &file, &[denying("/srv/hp/other"), holding(&file)]);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    agent.wait_recorded("it has passed", |line| line["event"] == "passed" && line["hold"] == hold.id());

    let (actor, hold) = approved_too_early(&agent, &file, &[holding(&file).replace("\"held\"", "\"held otherwise\"")]);
    let second = agent.hold_of(&actor);
    assert_ne!(second.id(), hold.id());
    is_withdrawn(&agent, &hold, "call-abandoned");
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");

    reloaded(&agent, &[holding(&file)]);
    let (actor, hold) = approved_too_early(&agent, &file, &[denying(&file)]);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
    is_withdrawn(&agent, &hold, "call-abandoned");
}

#[test]
fn a_denial_stands_even_if_the_new_policy_allows() {
    let file = site::file("free", "Ada\n");
    let agent = agent(&[holding(&file)]);
    let (actor, hold) = decided_too_early(&agent, &file, "deny", &[]);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
    agent.wait_recorded("it was refused", |line| line["event"] == "refused" && line["hold"] == hold.id());
}

#[test]
fn after_a_restart_what_is_held_meets_the_policy_that_is_there() {
    let file = site::file("free", "Ada\n");
    let mut agent = agent(&[holding(&file)]);
    let (actor, hold) = held(&agent, &file);
    agent.terminate();
    fs::write(agent.directory().join("policy.toml"), policy(&[])).unwrap();
    agent.restart();
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    is_withdrawn(&agent, &hold, "policy-changed");
}

#[test]
fn in_a_storm_of_changes_nothing_is_judged_by_neither_policy_or_by_half_of_each() {
    const CHANGES: u32 = 200;
    const WORKERS: u32 = 4;
    let place = site::directory("free");
    let files = ["free", "denied", "one", "other"].map(|name| place.join(name).display().to_string());
    let make = || {
        for file in &files {
            fs::write(file, "Ada\n").unwrap();
            chown(file, Some(site::AGENT), Some(site::AGENT)).unwrap();
        }
    };
    make();
    let [free, denied, one, other] = &files;
    // Each has one rule on what both deny, at another place, and denies one end of the rename: half of each denies neither.
    let filler = |number| denying(&format!("/srv/hp/filler-{number}/a/b/c/**"));
    let first: Vec<_> = [denying(one), denying(denied)].into_iter().chain((0..10).map(filler)).collect();
    let second: Vec<_> = (10..30).map(filler).chain([denying(other), rule("last", denied, "\"deny\"")]).collect();
    let policies = [first, second].map(|rules| policy(&rules));
    // Of its own, since nobody likes to read that record again.
    let agent = Agent::start(&policies[0]);

    let steps = [format!("hammer {free} {denied} {one} {other}")];
    let control = ungoverned(User::AGENT, with_actor(&steps));
    control.wait_line("begun");
    wait_until("the control: it renames", || !site::exists(one));
    drop(control);
    make();

    let workers: Vec<_> = (0..WORKERS).map(|_| agent.act(&steps)).collect();
    workers.iter().for_each(|worker| worker.wait_line("begun"));
    let begun = Instant::now();
    let mut control = Control::connect();
    for change in 1..=CHANGES {
        fs::write(agent.directory().join("policy.toml"), &policies[change as usize % 2]).unwrap();
        assert!(control.reload(), "{}", agent.log());
    }
    let lasted = begun.elapsed();
    let mut all = 0;
    for mut worker in workers {
        worker.go_on();
        let said = worker.end().stdout;
        let counted = |what: &str| -> u32 {
            let mut words = said.split_whitespace().skip_while(|word| *word != what).skip(1);
            words.next().and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {what}: {said}"))
        };
        assert_eq!(counted("wrong"), 0, "{said}");
        // Both ends are treated alike only if the policy was changed between the two.
        assert!(counted("even") <= CHANGES, "{said}");
        assert!(counted("opened") > 0 && counted("refused") > 0, "both policies have ruled: {said}");
        all += counted("judged");
    }
    eprintln!("{all} operations were judged during {CHANGES} changes of the policy in {lasted:?}");
    assert!(all > 10 * CHANGES, "too few: {all}");
}
