//! Promise 4 where the rule asks for more than one answer, or for a surer one: `reviewers = { people = 2 }`, `assurance`.

use holdpoint_tests::{
    User,
    reviewer::{Asked, asked_under, policy},
    site,
};
use serde_json::json;

/// The usual policy, and two rules of its own.
fn demanding() -> String {
    let rule = |name: &str, terms: &str| {
        format!(
            "\n[[rule]]\nname = \"{name}\"\nopen = {{ path = [\"{}/{name}/**\"] }}\nthen = \"hold\"\n\
             timeout = \"3m\"\non_deny = \"fail\"\n{terms}\n",
            site::ROOT
        )
    };
    let two = rule("two", "reviewers = { people = 2 }");
    let sure = rule("sure", "reviewers = \"people\"\nassurance = \"medium\"");
    format!("{}{two}{sure}", policy())
}

#[test]
fn what_two_must_approve_waits_for_the_second() {
    let Asked { agent, reviewer } = asked_under(&demanding());
    let (actor, hold, file) = agent.emptying("two");
    let asked = reviewer.question(&hold);
    assert_eq!(asked.data()["reviewers"][0]["approvals"], 2);
    let response = reviewer.answer(&hold, "approve").send();
    assert_eq!((response.status, &response.json["state"]), (202, &"pending".into()), "{response:?}");
    agent.wait_recorded("the first", |line| line["event"] == "counted" && line["hold"] == hold.id());
    hold.check_waits(&file);

    assert_eq!(reviewer.answer(&hold, "approve").send().status, 409, "the same person again");
    let again = agent.say(User::REVIEWER, ["approve", hold.id()]);
    assert!(!again.success() && again.stderr.contains("still needed: people"), "by another way: {again:?}");
    assert_eq!(agent.recorded("refused-answer", &hold).len(), 2);
    hold.check_waits(&file);

    let shown = agent.say(User::ROOT, ["show", hold.id()]).stdout;
    assert!(shown.contains("2 of people (root, reviewer)") && shown.contains("approved   reviewer"), "{shown}");
    let second = agent.say(User::ROOT, ["approve", hold.id()]);
    assert!(second.success() && second.stdout.contains("approved by reviewer and root"), "{second:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(site::content(&file), "");
    let decided = &agent.recorded("decided", &hold)[0];
    let who = (&decided["approvals"][0]["who"], &decided["answer"]["who"]);
    assert_eq!(who, (&json!("reviewer"), &json!("root")), "{decided}");
}

#[test]
fn the_first_no_counts_though_somebody_has_approved() {
    let Asked { agent, reviewer } = asked_under(&demanding());
    let (actor, hold, file) = agent.emptying("two");
    reviewer.question(&hold);
    assert_eq!(reviewer.answer(&hold, "approve").send().status, 202);
    let denied = agent.say(User::ROOT, ["deny", hold.id()]);
    assert!(denied.success() && denied.stdout.contains("denied by root"), "{denied:?}");
    assert_eq!(actor.end().stdout, "open EPERM\n");
    assert_eq!(site::content(&file), "Ada\n");
}

#[test]
fn an_approval_that_waits_for_another_does_not_outlive_the_agent() {
    let Asked { mut agent, reviewer } = asked_under(&demanding());
    let (actor, hold, file) = agent.emptying("two");
    reviewer.question(&hold);
    assert_eq!(reviewer.answer(&hold, "approve").send().status, 202);
    agent.kill_9();
    agent.restart();
    hold.check_waits(&file);
    let first = agent.say(User::ROOT, ["approve", hold.id()]);
    assert!(first.success() && first.stdout.contains("still needed: people"), "{first:?}");
    hold.check_waits(&file);
    let second = agent.say(User::REVIEWER, ["approve", hold.id()]);
    assert!(second.success() && second.stdout.contains("approved by root and reviewer"), "{second:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn what_a_channel_says_does_not_approve_where_the_rule_asks_for_more() {
    let Asked { agent, reviewer } = asked_under(&demanding());
    let (actor, hold, file) = agent.emptying("sure");
    reviewer.question(&hold);
    let response = reviewer.answer(&hold, "approve").send();
    assert_eq!(response.status, 403, "{response:?}");
    assert_eq!(agent.recorded("refused-answer", &hold).len(), 1);
    hold.check_waits(&file);
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");

    let (actor, hold, file) = agent.emptying("sure");
    reviewer.question(&hold);
    reviewer.deny(&hold);
    assert_eq!(actor.end().stdout, "open EPERM\n", "a no needs no more than a name");
    assert_eq!(site::content(&file), "Ada\n");
}
