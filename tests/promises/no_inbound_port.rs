//! Promises 4 and 5 on a host that nothing can connect to: clicks come by a WebSocket that the agent opens, and answers are
//! fetched.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::LazyLock,
};

use holdpoint_tests::{
    Hold, everything,
    relay::Relay,
    shared::{Shared, shared_with},
    site,
    slack::{APP_TOKEN, Slack, TOKEN},
    wait_until,
};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const DIRECTORY: &str = "/run/holdpoint-tests/no-inbound-port";

/// An agent without a listener, and the other sides of its channels.
struct Host {
    agent: Shared,
    slack: &'static Slack,
    relay: &'static Relay,
}

fn host() -> Host {
    static SLACK: LazyLock<Slack> = LazyLock::new(Slack::start);
    static RELAY: LazyLock<Relay> = LazyLock::new(|| Relay::new(SECRET));
    fs::create_dir_all(DIRECTORY).unwrap();
    for (name, secret) in [("token", TOKEN), ("app", APP_TOKEN), ("relay", SECRET)] {
        let file = Path::new(DIRECTORY).join(name);
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
    let channel =
        |name: &str, keys: &str| format!("[[channel]]\nname = \"{name}\"\nreviewers = [\"people\"]\n{keys}\n");
    let tokens = format!("token_file = \"{DIRECTORY}/token\"\napp_token_file = \"{DIRECTORY}/app\"\n{}", SLACK.keys());
    let relay = format!("secret_file = \"{DIRECTORY}/relay\"\n{}", RELAY.keys());
    let config = format!("{}{}", channel("team", &tokens), channel("relay", &relay));
    let rule = format!(
        "\n[[rule]]\nname = \"chosen\"\nopen = {{ path = [\"{}/chosen/**\"] }}\nthen = \"hold\"\nreviewers = \"people\"\n\
         scope = [\"tree\", \"30m\"]\ntimeout = \"3m\"\non_deny = \"fail\"\n",
        site::ROOT
    );
    let person = "\n[[reviewer]]\nname = \"reviewer\"\nuser = [\"reviewer\"]\nslack = [\"T1/U1\"]\n\
                  integrations = { relay = \"basic\" }\n";
    Host { agent: shared_with(&format!("{}{rule}{person}", everything()), &config), slack: &SLACK, relay: &RELAY }
}

impl Host {
    #[track_caller]
    fn wait_refused(&self, hold: &Hold, why: &str) {
        let refused = |line: &serde_json::Value| line["event"] == "refused-answer" && line["hold"] == hold.id();
        let line = self.agent.wait_recorded("a refused answer", refused);
        assert_eq!(line["refusal"], why);
    }
}

#[test]
fn a_click_comes_by_the_socket_that_the_agent_opened() {
    let host = host();
    let (actor, hold, file) = host.agent.emptying("hold");
    let question = host.slack.question(&hold);

    host.slack.click("U2", &question, "Approve");
    host.wait_refused(&hold, "no reviewer in the policy is Slack's user T1/U2");
    let told = host.slack.call("chat.postEphemeral", |told| told["user"] == "U2");
    assert_eq!(told["text"], "Your answer does not count: no reviewer in the policy is Slack's user T1/U2.");
    hold.check_waits(&file);

    host.slack.click("U1", &question, "Approve");
    assert_eq!((&*actor.end().stdout, &*site::content(&file)), ("open ok\n", ""));
    assert_eq!(host.slack.ending(&hold), "Approved by reviewer");

    let (actor, hold, file) = host.agent.emptying("hold");
    host.slack.click("U1", &host.slack.question(&hold), "Deny");
    assert_eq!((&*actor.end().stdout, &*site::content(&file)), ("open EPERM\n", "Ada\n"));
}

#[test]
fn what_is_chosen_in_slack_is_approved_for_so_long_and_no_longer_than_the_rule_offers() {
    let host = host();
    let open = format!("open {} r", site::file("chosen", "Ada\n"));
    let mut actor = host.agent.act([&*open, "line", &open]);
    let hold = host.agent.hold_of(&actor);
    let question = host.slack.question(&hold);
    host.slack.choose("U2", &question, "this tree until it ends");
    host.wait_refused(&hold, "no reviewer in the policy is Slack's user T1/U2");
    let wider = serde_json::from_str(&question.to_string().replace(r#"\"tree\""#, r#"\"24h\""#)).expect("JSON");
    host.slack.choose("U1", &wider, "this tree until it ends");
    let forged = |line: &serde_json::Value| line["hold"] == hold.id() && line["answer"]["scope"] == "24h";
    assert_eq!(host.agent.wait_recorded("a forged choice", forged)["event"], "refused-answer");
    host.agent.still_held(&actor, &hold);

    host.slack.choose("U1", &question, "this tree until it ends");
    wait_until("it has opened it", || actor.stdout() == "open ok\n");
    assert_eq!(host.agent.recorded("decided", &hold)[0]["answer"]["scope"], "tree");
    actor.go_on();
    assert_eq!(actor.end().stdout, "open ok\nopen ok\n", "the same again is not asked about");
}

#[test]
fn an_answer_is_fetched() {
    let host = host();
    for (decision, said, left) in [("approve", "open ok\n", ""), ("deny", "open EPERM\n", "Ada\n")] {
        let (actor, hold, file) = host.agent.emptying("hold");
        assert_eq!(host.relay.question(&hold)["callback_url"], serde_json::Value::Null);
        host.relay.is_asked(&hold, 2);
        hold.check_waits(&file);
        host.relay.answers(&hold, decision);
        assert_eq!((&*actor.end().stdout, &*site::content(&file)), (said, left), "{decision}");
        let decided = host.agent.recorded("decided", &hold);
        assert_eq!(decided[0]["answer"]["who"], "reviewer", "{decided:?}");
    }
}

#[test]
fn an_answer_with_a_wrong_signature_is_silence() {
    let host = host();
    let (actor, hold, file) = host.agent.emptying("hold");
    host.relay.forges(&hold, "approve");
    host.wait_refused(&hold, "bad signature");
    host.relay.is_asked(&hold, 1);
    hold.check_waits(&file);
    assert_eq!(host.agent.recorded("refused-answer", &hold).len(), 1, "not once for each look");
    host.relay.answers(&hold, "approve");
    assert_eq!(actor.end().stdout, "open ok\n", "the control");

    let (actor, hold, file) = host.agent.emptying("short");
    host.relay.forges(&hold, "approve");
    assert_eq!((&*actor.end().stdout, &*site::content(&file)), ("open EPERM\n", "Ada\n"));
    assert_eq!(host.agent.recorded("decided", &hold)[0]["state"], "expired");
}

#[test]
fn a_side_that_is_down_at_first_is_asked_again() {
    let host = host();
    let mut held = None;
    host.relay.is_down(|| held = Some(host.agent.emptying("hold")));
    let (actor, hold, file) = held.expect("it was held meanwhile");
    hold.check_waits(&file);
    host.relay.answers(&hold, "approve");
    assert_eq!((&*actor.end().stdout, &*site::content(&file)), ("open ok\n", ""));
    let asked =
        |line: &serde_json::Value| line["event"] == "asked" && line["channel"] == "relay" && line["hold"] == hold.id();
    let asked = host.agent.wait_recorded("the question", asked);
    assert!(asked["attempts"].as_u64() > Some(1), "{asked}");
}
