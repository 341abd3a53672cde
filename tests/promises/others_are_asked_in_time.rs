//! Promises 4 and 5 while nobody decides: `escalate` asks others, too, `remind` says so again, and silence still denies.

use holdpoint_tests::{
    LIMIT, User,
    reviewer::{Asked, asked_under, policy},
    site, wait_for,
};
use serde_json::json;

/// The usual policy, a group `desk` that no channel asks, and rules that ask it first and then `people`.
fn patient() -> String {
    let rule = |name: &str, terms: &str| {
        format!(
            "\n[[rule]]\nname = \"{name}\"\nopen = {{ path = [\"{}/{name}/**\"] }}\nthen = \"hold\"\n\
             on_deny = \"fail\"\n{terms}\n",
            site::ROOT
        )
    };
    let ladder = |after: &str, timeout: &str| {
        let escalate = format!("escalate = [{{ after = \"{after}\", reviewers = \"people\" }}]");
        format!("reviewers = \"desk\"\n{escalate}\ntimeout = \"{timeout}\"")
    };
    let later = rule("later", &ladder("20s", "3m"));
    let silent = rule("silent", &ladder("2s", "8s"));
    let again = rule("again", "reviewers = \"people\"\nremind = \"10s\"\ntimeout = \"3m\"");
    let groups = policy().replace("[reviewers]\n", "[reviewers]\ndesk = [\"reviewer\"]\n");
    format!("{groups}{later}{silent}{again}")
}

#[test]
fn who_is_asked_later_answers_from_then_on_and_not_before() {
    for (word, ended, content) in [("approve", "open ok\n", ""), ("deny", "open EPERM\n", "Ada\n")] {
        let Asked { agent, reviewer } = asked_under(&patient());
        let (actor, hold, file) = agent.emptying("later");
        let early = agent.say(User::ROOT, [word, hold.id()]);
        assert!(!early.success() && early.stderr.contains("does not name this reviewer"), "{early:?}");
        assert!(reviewer.questions(&hold).is_empty(), "no channel asks the desk");

        let asked = reviewer.question(&hold);
        assert_eq!(asked.data()["escalation"][0]["asked"], true, "{asked:?}");
        let escalated = &agent.recorded("escalated", &hold)[0];
        assert_eq!(escalated["reviewers"][0]["name"], "people", "{escalated}");
        hold.check_waits(&file);
        let shown = agent.say(User::ROOT, ["show", hold.id()]).stdout;
        assert!(shown.contains("desk (reviewer)") && shown.contains("people (root, reviewer)"), "{shown}");

        let answer = agent.say(User::ROOT, [word, hold.id()]);
        assert!(answer.success(), "{answer:?}");
        assert_eq!(actor.end().stdout, ended);
        assert_eq!(site::content(&file), content);
        assert_eq!(reviewer.questions(&hold).len(), 1, "asked once");
    }
}

#[test]
fn who_was_asked_first_stays_asked() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let (actor, hold, file) = agent.emptying("later");
    reviewer.question(&hold);
    hold.check_waits(&file);
    let answer = agent.say(User::REVIEWER, ["approve", hold.id()]);
    assert!(answer.success(), "{answer:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn an_agent_that_was_restarted_asks_all_whose_time_has_come() {
    let Asked { mut agent, reviewer } = asked_under(&patient());
    let (actor, hold, file) = agent.emptying("later");
    reviewer.question(&hold);
    agent.kill_9();
    agent.restart();
    hold.check_waits(&file);
    wait_for("the question again", LIMIT, || (reviewer.questions(&hold).len() > 1).then_some(()));
    let answer = agent.say(User::ROOT, ["approve", hold.id()]);
    assert!(answer.success(), "{answer:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn silence_of_all_denies() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let file = site::file("silent", "Ada\n");
    let actor = agent.act([format!("open {file} w+trunc")]);
    let hold = agent.hold_of(&actor);
    assert_eq!(actor.end().stdout, "open EPERM\n");
    assert_eq!(site::content(&file), "Ada\n");
    assert_eq!(agent.recorded("escalated", &hold).len(), 1);
    let decided = &agent.recorded("decided", &hold)[0];
    assert_eq!((&decided["state"], &decided["answer"]), (&json!("expired"), &json!(null)), "{decided}");
    assert_eq!(reviewer.ending(&hold).data()["state"], "expired");
}

#[test]
fn who_is_asked_is_reminded_until_it_is_decided() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let (actor, hold, file) = agent.emptying("again");
    reviewer.question(&hold);
    let reminded = || reviewer.told("holdpoint.request.reminded", &hold);
    let first = wait_for("a reminder", LIMIT, || reminded().into_iter().next());
    assert_eq!(first.data()["digest"], hold.digest());
    wait_for("another reminder", LIMIT, || (reminded().len() > 1).then_some(()));
    let ids: Vec<_> = reminded().into_iter().map(|message| message.id).collect();
    assert_ne!(ids[0], ids[1], "each is a message of its own");
    hold.check_waits(&file);
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
    reviewer.ending(&hold);
}
