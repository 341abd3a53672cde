//! Promise 4: a reviewer is one person by whatever identity, and the requester is a person, too. Here by webhook, in Slack and on
//! the host, `[[reviewer]]` saying who is who; and `self = "allowed"`, where the rule says otherwise.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
    sync::LazyLock,
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use holdpoint_tests::{
    Actor, Agent, Hold, Json, User,
    actor::with_actor,
    agent::holdpoint,
    everything,
    process::state,
    reviewer::Reviewer,
    shared::{Shared, shared_with},
    site,
};
use jiff::Timestamp;
use serde_json::json;
use sha2::Sha256;

/// User id of `reviewer`, who is alice.
const ALICE: u32 = 1001;
/// What Slack signs clicks with.
const SIGNING: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// Where the page is unless the configuration says otherwise.
const PAGE: &str = "http://127.0.0.1:8701";

static REVIEWER: LazyLock<Reviewer> = LazyLock::new(Reviewer::start);

/// alice is the user `reviewer`, and agnes `agent`; root has no section. The webhook `tests` says surely who alice is.
fn policy() -> String {
    let person = |name: &str, user: &str, slack: &str, assurance: &str| {
        format!(
            "\n[[reviewer]]\nname = \"{name}\"\nuser = [\"{user}\"]\nslack = [\"T1/{slack}\"]\n\
             email = [\"{name}@corp.example\"]\nintegrations = {{ tests = \"{assurance}\" }}\n"
        )
    };
    let rule = |name: &str, terms: &str| {
        format!(
            "\n[[rule]]\nname = \"{name}\"\nopen = {{ path = [\"{}/{name}/**\"] }}\nthen = \"hold\"\n\
             timeout = \"3m\"\non_deny = \"fail\"\n{terms}\n",
            site::ROOT
        )
    };
    [
        everything().replace("[\"root\", \"reviewer\"]", "[\"root\", \"alice\", \"agnes\"]"),
        person("alice", "reviewer", "U1", "medium"),
        person("agnes", "agent", "U2", "basic"),
        rule("two", "reviewers = { people = 2 }"),
        rule("sure", "reviewers = \"people\"\nassurance = \"medium\""),
        rule("own", "reviewers = \"people\"\nself = \"allowed\""),
    ]
    .concat()
}

/// The webhooks of [`REVIEWER`], a channel of Slack that reaches nobody, and the page.
fn agent() -> Shared {
    let directory = "/run/holdpoint-tests/slack";
    fs::create_dir_all(directory).expect("create a directory");
    for (name, text) in [("token", "xoxb-1"), ("signing", SIGNING)] {
        let file = format!("{directory}/{name}");
        fs::write(&file, text).expect("write a secret");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    let slack = format!(
        "\n[page]\n\n[[channel]]\nname = \"team\"\nkind = \"slack\"\nchannel = \"C1\"\ntoken_file = \"{directory}/token\"\n\
         secret_file = \"{directory}/signing\"\napi = \"http://127.0.0.1:9/api\"\nreviewers = [\"people\"]\n"
    );
    shared_with(&policy(), &format!("{}{slack}", REVIEWER.config()))
}

/// A process of this user's tree that is held when it opens a file by the rule.
fn opening(agent: &Agent, launcher: User, rule: &str) -> (Actor, Hold) {
    held(agent, rule, |open| agent.spawn(launcher, with_actor([open])))
}

fn held(agent: &Agent, rule: &str, start: impl FnOnce(&str) -> Actor) -> (Actor, Hold) {
    let file = site::file(rule, "Ada\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).expect("chmod");
    let actor = start(&format!("open {file} r"));
    let hold = agent.hold_of(&actor);
    (actor, hold)
}

/// An approval by a click of this user of Slack.
fn click(user: &str, hold: &Hold) {
    let value = json!({ "hold": hold.id(), "digest": hold.digest(), "decision": "approve" }).to_string();
    let payload = json!({
        "type": "block_actions",
        "team": { "id": "T1" },
        "user": { "id": user, "team_id": "T1" },
        "container": { "channel_id": "C1" },
        "actions": [{ "action_id": "holdpoint_approve", "value": value }],
    });
    let body = format!("payload={}", encoded(&payload.to_string()));
    let stamp = Timestamp::now().as_second();
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING.as_bytes()).expect("every length will do");
    mac.update(format!("v0:{stamp}:{body}").as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let headers = [format!("X-Slack-Request-Timestamp: {stamp}"), format!("X-Slack-Signature: v0={signature}")];
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--data", &body]);
    headers.iter().for_each(|header| _ = curl.args(["--header", header]));
    let sent = curl.arg(format!("http://{}/v1/slack/team", REVIEWER.callbacks())).output().expect("curl");
    assert!(sent.status.success(), "Slack is answered: {sent:?}");
}

/// As a form has it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What `holdpoint` says to `user` after there was this login: as by `sudo`, or `sudo -u`.
fn say_after_login(login: u32, user: User, words: &[&str]) -> Output {
    let by_user = user.command([&[&*holdpoint()], words].concat());
    let script = format!("echo {login} >/proc/self/loginuid && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(by_user.get_program()).args(by_user.get_args());
    command.output().expect("start sh")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until so many answers to the hold were refused, checks why the last one was, and that nothing came of it.
#[track_caller]
fn check_refused(agent: &Agent, hold: &Hold, count: usize, says: &str) -> Json {
    let what = format!("refusal {count}: {says}");
    let refused = || agent.recorded("refused-answer", hold);
    holdpoint_tests::wait_until(&what, || refused().len() >= count);
    let lines = refused();
    assert_eq!(lines.len(), count, "{lines:?}");
    let last = lines[count - 1].clone();
    assert!(last["refusal"].as_str().is_some_and(|text| text.contains(says)), "{what}: {last}");
    assert_eq!(state(hold.pid()), Some('T'), "{what} has no effect");
    last
}

#[test]
fn whoever_approves_is_one_person_by_every_identity() {
    let agent = agent();
    let (actor, hold) = opening(&agent, User::AGENT, "two");
    let first = REVIEWER.answer(&hold, "approve").by("alice@CORP.example").send();
    assert_eq!((first.status, &first.json["state"]), (202, &"pending".into()), "{first:?}");
    let counted = agent.wait_recorded("the first", |line| line["event"] == "counted" && line["hold"] == hold.id());
    let known = (&counted["answer"]["who"], &counted["answer"]["claimed"], &counted["answer"]["assurance"]);
    assert_eq!(known, (&json!("alice"), &json!("alice@CORP.example"), &json!("medium")), "{counted}");

    assert_eq!(REVIEWER.answer(&hold, "approve").by("alice").send().status, 409, "by name");
    check_refused(&agent, &hold, 1, "still needed: people");
    click("U1", &hold);
    let slack = check_refused(&agent, &hold, 2, "still needed: people");
    assert_eq!((&slack["answer"]["who"], &slack["answer"]["claimed"]), (&json!("alice"), &json!("T1/U1")), "{slack}");
    assert!(!agent.say(User::REVIEWER, ["approve", hold.id()]).success());
    check_refused(&agent, &hold, 3, "still needed: people");
    let sudo = say_after_login(ALICE, User::ROOT, &["approve", hold.id()]);
    assert!(!sudo.status.success(), "an administrator, too: {sudo:?}");
    check_refused(&agent, &hold, 4, "still needed: people");

    let second = agent.say(User::ROOT, ["approve", hold.id()]);
    assert!(second.success() && second.stdout.contains("approved by alice and root"), "{second:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn who_launched_the_tree_does_not_answer_by_another_identity() {
    let agent = agent();
    let (actor, hold) = opening(&agent, User::AGENT, "hold");
    for (count, who) in [(1, "agnes"), (2, "agnes@corp.example")] {
        assert_eq!(REVIEWER.answer(&hold, "approve").by(who).send().status, 403, "{who}");
        let line = check_refused(&agent, &hold, count, "requester");
        assert_eq!((&line["answer"]["who"], &line["answer"]["self"]), (&json!("agnes"), &json!(true)), "{line}");
    }
    click("U2", &hold);
    check_refused(&agent, &hold, 3, "requester");
    let sudo = say_after_login(site::AGENT, User::ROOT, &["approve", hold.id()]);
    assert!(!sudo.status.success(), "an administrator, too: {sudo:?}");
    let line = check_refused(&agent, &hold, 4, "requester");
    assert_eq!(line["answer"]["proof"], json!({ "by": "local", "uid": 0, "login": site::AGENT }), "{line}");

    click("U1", &hold);
    assert_eq!(actor.end().stdout, "open ok\n", "another person does");
    let decided = &agent.recorded("decided", &hold)[0];
    assert_eq!((&decided["answer"]["who"], &decided["answer"]["self"]), (&json!("alice"), &Json::Null), "{decided}");
}

#[test]
fn nor_does_as_whom_it_runs_or_who_had_logged_in() {
    let agent = agent();
    let runs = |open: &str| {
        let as_alice = ["setpriv", "--reuid=reviewer", "--regid=reviewer", "--clear-groups", "--"].map(OsString::from);
        let command: Vec<_> = as_alice.into_iter().chain(with_actor([open])).collect();
        agent.spawn(User::ROOT, command)
    };
    let logged_in = |open: &str| agent.spawn_after_login(User::ROOT, Some(ALICE), "tests", with_actor([open]));
    let starts: [&dyn Fn(&str) -> Actor; 2] = [&runs, &logged_in];
    for start in starts {
        let (actor, hold) = held(&agent, "hold", start);
        assert_eq!(REVIEWER.answer(&hold, "approve").by("alice").send().status, 403);
        check_refused(&agent, &hold, 1, "requester");
        click("U1", &hold);
        check_refused(&agent, &hold, 2, "requester");
        assert!(!agent.say(User::REVIEWER, ["approve", hold.id()]).success());
        check_refused(&agent, &hold, 3, "requester");
        assert!(!agent.say(User::ROOT, ["approve", hold.id()]).success(), "root has launched it");
        check_refused(&agent, &hold, 4, "requester");
        click("U2", &hold);
        assert_eq!(actor.end().stdout, "open ok\n", "another person does");
    }
}

#[test]
fn only_who_is_listed_counts_and_only_by_an_integration_that_may_say_so() {
    let agent = agent();
    let (actor, hold) = opening(&agent, User::ROOT, "sure");
    let unbound = REVIEWER.answer(&hold, "approve").from_others();
    assert_eq!(unbound.clone().by("alice").send().status, 403);
    check_refused(&agent, &hold, 1, "the channel \"others\" may not speak for alice");
    assert_eq!(unbound.by("alice@corp.example").send().status, 403);
    check_refused(&agent, &hold, 2, "the channel \"others\" may not speak for alice");
    click("U9", &hold);
    let stranger = check_refused(&agent, &hold, 3, "no reviewer in the policy is Slack's user T1/U9");
    assert_eq!(stranger["answer"]["proof"]["user"], "T1/U9", "what was claimed: {stranger}");
    // The name of alice's user is nobody's name.
    assert_eq!(REVIEWER.answer(&hold, "approve").by("reviewer").send().status, 403);
    check_refused(&agent, &hold, 4, "does not name");
    assert_eq!(REVIEWER.answer(&hold, "approve").by("agnes").send().status, 403, "bound, and not surely enough");
    check_refused(&agent, &hold, 5, "asks for an approval");
    click("U1", &hold);
    check_refused(&agent, &hold, 6, "asks for an approval");
    assert_eq!(REVIEWER.answer(&hold, "approve").by("alice").send().status, 200);
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn on_the_host_root_is_who_has_logged_in_and_nobody_else_is_two() {
    let agent = agent();
    let (actor, hold) = opening(&agent, User::AGENT, "hold");
    // agnes by `sudo -u reviewer`, or the user `reviewer` who says so of itself: nobody can tell.
    let become_alice = say_after_login(site::AGENT, User::REVIEWER, &["approve", hold.id()]);
    assert!(!become_alice.status.success(), "{become_alice:?}");
    let line = check_refused(&agent, &hold, 1, "it can be either");
    assert_eq!(line["answer"]["proof"], json!({ "by": "local", "uid": ALICE, "login": site::AGENT }), "{line}");
    let link = say_after_login(site::AGENT, User::REVIEWER, &["page"]);
    assert!(!link.status.success() && text(&link.stderr).contains("it can be either"), "{link:?}");
    let script = format!("echo 0 >/proc/self/loginuid; exec {} approve {}", holdpoint(), hold.id());
    let lies = User::REVIEWER.command(["sh", "-c", &script]).output().expect("start sh");
    assert!(!lies.status.success(), "{lies:?}");
    check_refused(&agent, &hold, 2, "it can be either");

    let link = say_after_login(ALICE, User::ROOT, &["page"]);
    assert!(text(&link.stdout).contains("/r?for=alice&"), "{link:?}");
    let sudo = say_after_login(ALICE, User::ROOT, &["approve", hold.id()]);
    assert!(sudo.status.success() && text(&sudo.stdout).contains("approved by alice"), "{sudo:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
    let proof = &agent.recorded("decided", &hold)[0]["answer"]["proof"];
    assert_eq!(*proof, json!({ "by": "local", "uid": 0, "login": ALICE }));
}

#[test]
fn what_a_governed_process_tries_is_on_record() {
    let agent = agent();
    let (actor, hold) = opening(&agent, User::AGENT, "hold");
    let before = agent.record().len();
    let governed = agent.spawn(User::REVIEWER, [&*holdpoint(), "approve", hold.id()]).end();
    assert_eq!(governed.code(), Some(1), "{governed:?}");
    agent.wait_recorded("the control socket", |line| {
        line["event"] == "refused-answer" && line["refusal"].as_str().is_some_and(|text| text.contains("is governed"))
    });
    let visits = ["curl", "--silent", "--show-error", PAGE];
    assert!(!agent.spawn(User::REVIEWER, visits).end().status.success());
    holdpoint_tests::wait_until("the page is on record", || {
        agent.record()[before..].iter().any(|line| line["event"] == "denied" && line["port"] == 8701)
    });
    assert_eq!(state(hold.pid()), Some('T'));
    assert!(agent.say(User::REVIEWER, ["approve", hold.id()]).success(), "the same outside");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn where_the_rule_allows_it_the_requester_answers_and_the_record_says_so() {
    let agent = agent();
    let (actor, hold) = opening(&agent, User::REVIEWER, "own");
    assert_eq!(REVIEWER.question(&hold).data()["self"], "allowed");
    let shown = agent.say(User::REVIEWER, ["show", hold.id()]).stdout;
    assert!(shown.contains("requester  may answer: the rule says so"), "{shown}");
    let inside = agent.spawn(User::REVIEWER, [&*holdpoint(), "approve", hold.id()]).end();
    assert_eq!((inside.code(), state(hold.pid())), (Some(1), Some('T')), "no governed process: {inside:?}");
    let nobody = agent.say(User::AGENT, ["approve", hold.id()]);
    assert!(!nobody.success(), "{nobody:?}");
    assert!(agent.say(User::REVIEWER, ["approve", hold.id()]).success());
    assert_eq!(actor.end().stdout, "open ok\n");
    let decided = &agent.recorded("decided", &hold)[0];
    assert_eq!((&decided["answer"]["who"], &decided["answer"]["self"]), (&json!("alice"), &json!(true)), "{decided}");
    assert_eq!(agent.recorded("held", &hold)[0]["self"], "allowed");

    let (actor, hold) = opening(&agent, User::REVIEWER, "own");
    assert!(agent.say(User::ROOT, ["approve", hold.id()]).success(), "others do, as ever");
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(agent.recorded("decided", &hold)[0]["answer"]["self"], Json::Null);

    let (actor, hold) = opening(&agent, User::REVIEWER, "hold");
    assert!(!agent.say(User::REVIEWER, ["approve", hold.id()]).success(), "no other rule does");
    check_refused(&agent, &hold, 1, "requester");
    agent.say(User::ROOT, ["deny", hold.id()]);
    assert_eq!(actor.end().stdout, "open EPERM\n");
}
