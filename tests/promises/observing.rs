//! A policy that observes holds nothing back, and says in the record what it would do.

use holdpoint_tests::{Agent, Json, User, actor::with_actor, site, ungoverned};
use serde_json::json;

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

/// A policy with these rules on programs, each for one and with what follows.
fn on_programs(rules: &[(&str, &str)]) -> String {
    let rules = rules.iter().map(|(program, then)| {
        format!("\n[[rule]]\nname = \"{program}\"\nexec = {{ path = [\"{program}\"] }}\nthen = {then}\n")
    });
    let head = "[[subject]]\nname = \"tests\"\n\n[reviewers]\npeople = [\"reviewer\"]\n";
    head.to_owned() + &rules.collect::<String>()
}

#[test]
fn what_a_program_was_given_is_on_record_whatever_became_of_it() {
    let [seen, refused] = ["observe-seen", "observe-refused"].map(|place| site::program(place, "/usr/bin/echo"));
    let interpreter = site::program("observe-interpreter", "/usr/bin/dash");
    let script = site::script("observe-script", &format!("#!{interpreter}\necho \"$@\"\n"));
    let said = |program: &str| ungoverned(User::AGENT, [program, "a b", "", "c"]).end().stdout;
    assert_eq!([&*seen, &*refused, &*script].map(said), ["a b  c\n"; 3], "the control");

    let held = "\"hold\"\nreviewers = \"people\"";
    let rules = [(&*seen, "\"audit\""), (&*refused, "\"deny\""), (&*interpreter, held)];
    let agent = Agent::start(&on_programs(&rules));
    let ran = |program: &str, given: &[&str]| agent.spawn(User::AGENT, [&[program], given].concat()).end().stdout;
    let recorded = |event: &str, program: &str| -> Json {
        agent.wait_recorded(program, |line| line["event"] == event && line["path"] == program)
    };
    assert_eq!(ran(&seen, &["a b", "", "c"]), "a b  c\n");
    let line = recorded("audited", &seen);
    assert_eq!((&line["argv"], &line["filename"]), (&json!([seen, "a b", "", "c"]), &json!(seen)), "{line:#}");
    assert!(line["cut"].is_null(), "all of it: {line:#}");
    assert_eq!(ran(&refused, &["a b"]), "exec EPERM\n");
    assert_eq!(recorded("denied", &refused)["argv"], json!([refused, "a b"]));
    assert_eq!(ran(&script, &["a b"]), "exec EPERM\n");
    assert_eq!(recorded("not-held", &interpreter)["argv"], json!([interpreter, script, "a b"]), "as a script has it");

    let long = "x".repeat(20_000);
    assert_eq!(ran(&seen, &["-n", &long, "end"]), format!("{long} end"), "what is not kept does not fail");
    let line = agent.wait_recorded("the long one", |line| line["argv"][1] == "-n");
    let kept = line["argv"][2].as_str().unwrap();
    assert!(line["cut"] == true && kept.len() > 8000 && long.starts_with(kept), "{line:#}");
}
