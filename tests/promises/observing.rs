//! A policy that observes holds nothing back, and says in the record what it would do.

use holdpoint_tests::{Agent, User, actor::with_actor, site, ungoverned};

/// A policy that denies reading a file and what has no path, and holds reading another.
fn policy(mode: &str, denied: &str, held: &str) -> String {
    format!(
        r#"{mode}
[[subject]]
name = "tests"

[reviewers]
people = ["reviewer", "root"]

[[rule]]
name = "denied"
open = {{ path = ["{denied}"], access = ["read"] }}
then = "deny"

[[rule]]
name = "held"
open = {{ path = ["{held}"], access = ["read"] }}
then = "hold"
reviewers = "people"
on_deny = "fail"
"#
    )
}

/// The end of a governed process that opens these files.
fn opened(agent: &Agent, user: User, files: &[&str]) -> String {
    agent.spawn(user, with_actor(files.iter().map(|file| format!("open {file} r")))).end().stdout
}

#[test]
fn what_would_be_held_or_denied_passes_and_is_on_record() {
    let (denied, held) = (site::file("observe-denied", "Ada\n"), site::file("observe-held", "Ada\n"));
    let namespace = ["unshare", "--user", "true"];
    assert!(ungoverned(User::AGENT, namespace).end().status.success(), "the control");
    let agent = Agent::start(&policy("", &denied, &held));
    assert_eq!(opened(&agent, User::AGENT, &[&denied]), "open EPERM\n");
    assert!(!agent.spawn(User::AGENT, namespace).end().status.success());
    let actor = agent.act([format!("open {held} r")]);
    let hold = agent.hold_of(&actor);

    let reply = agent.reload(&policy("mode = \"observe\"", &denied, &held));
    assert!(reply.success(), "{reply:?}");
    assert_eq!(actor.end().stdout, "open ok\n", "what waited goes on");
    agent.wait_over(&hold);
    assert_eq!(opened(&agent, User::AGENT, &[&denied, &held]), "open ok\nopen ok\n");
    assert!(agent.spawn(User::AGENT, namespace).end().status.success());
    for (rule, would) in [("denied", "deny"), ("held", "hold"), ("built in: what no rule names", "deny")] {
        let line = agent.wait_recorded(rule, |line| line["event"] == "audited" && line["rule"] == rule);
        assert_eq!(line["would"], would, "{line:#}");
    }
    let status = agent.status();
    assert_eq!(status["enforcing"], false, "{status:#}");
    assert!(status["problems"].to_string().contains("only observes"), "{status:#}");
    assert_eq!(opened(&agent, User::ROOT, &["/var/lib/holdpoint/record.jsonl"]), "open EPERM\n", "Holdpoint's own");

    let reply = agent.reload(&policy("mode = \"enforce\"", &denied, &held));
    assert!(reply.success(), "{reply:?}");
    let actor = agent.act([format!("open {held} r")]);
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(opened(&agent, User::AGENT, &[&denied]), "open EPERM\n");
}

#[test]
fn one_rule_that_observes_decides_nothing_and_is_on_record() {
    let (denied, held) = (site::file("observe-denied", "Ada\n"), site::file("observe-held", "Ada\n"));
    let observed = policy("", &denied, &held).replacen("then = \"deny\"", "then = \"deny\"\nmode = \"observe\"", 1);
    let agent = Agent::start(&observed);
    assert_eq!(opened(&agent, User::AGENT, &[&denied]), "open ok\n");
    let line = agent.wait_recorded("the rule", |line| line["event"] == "audited" && line["rule"] == "denied");
    assert_eq!((&line["would"], &line["path"]), (&"deny".into(), &denied.clone().into()), "{line:#}");
    assert_eq!(agent.status()["enforcing"], true, "all others are in force");
    let actor = agent.act([format!("open {held} r")]);
    agent.deny(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "open EPERM\n");

    let both = policy("", &held, &held).replacen("then = \"deny\"", "then = \"deny\"\nmode = \"observe\"", 1);
    assert!(agent.reload(&both).success());
    let actor = agent.act([format!("open {held} r")]);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold.text("rule"), "held", "the rule after it decides");
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
}
