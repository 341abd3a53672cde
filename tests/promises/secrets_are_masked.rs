//! Secrets in arguments, command lines and claims are shown to nobody and written nowhere, while the program gets them
//! as they are; and nothing else can hide in their place.

use std::process::Command;

use holdpoint_tests::{
    Actor, Agent, Hold, Json, User,
    agent::holdpoint,
    everything,
    reviewer::{Reviewer, policy},
    site, ungoverned,
};

const PASSWORD: &str = "hunter2-of-the-database";
/// Of the tree's first process.
const OF_ANCESTOR: &str = "ghp_a1B2c3D4e5F6g7H8a1B2c3D4e5F6g7H8a1B2";
/// In what who launched the tree says of it.
const OF_CLAIM: &str = "xoxb-123456789012-a1B2c3D4e5F6";

/// A program under this rule, which prints its arguments.
fn echo(rule: &str) -> String {
    site::program(&format!("bin-{rule}"), "/usr/bin/echo")
}

/// A tree that the user `agent` launches to run a script.
fn launched(script: &str) -> Actor {
    let task = format!("HOLDPOINT_TASK=publish by {OF_CLAIM}");
    let holdpoint = holdpoint();
    ungoverned(
        User::AGENT,
        ["env", &task, &holdpoint, "run", "--quiet", "--", "sh", "-c", script, "agent", "--api-key", OF_ANCESTOR],
    )
}

/// The words of an exec as they are shown.
fn words(of: &Json) -> Vec<&str> {
    of["argv"]
        .as_array()
        .unwrap_or_else(|| panic!("no words: {of}"))
        .iter()
        .skip(1)
        .map(|word| word.as_str().expect("a text"))
        .collect()
}

#[track_caller]
fn check_masked(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what}");
    for secret in [PASSWORD, OF_ANCESTOR, OF_CLAIM] {
        assert!(!text.contains(secret), "{what} has {secret}: {text}");
    }
}

/// All that is on record, as text.
fn record(agent: &Agent) -> String {
    agent.record().iter().map(|line| format!("{line}\n")).collect()
}

/// What the page shows to the reviewer.
fn page(agent: &Agent, hold: &Hold) -> String {
    let curl = |words: &[&str]| {
        let output =
            Command::new("curl").args(["--silent", "--show-error", "--include"]).args(words).output().expect("curl");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let link = agent.say(User::REVIEWER, ["page"]).stdout;
    let (page, fields) = link.trim().split_once("/r?").expect("a link");
    let origin = format!("Origin: {page}");
    let door = curl(&["--header", &origin, "--data", fields, &format!("{page}/r")]);
    let cookie = door.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap_or_else(|| panic!("{door}"));
    let cookie = format!("Cookie: {}", cookie.split(';').next().expect("its name and value"));
    ["/".to_owned(), format!("/h/{}", hold.id())]
        .map(|path| curl(&["--header", &cookie, &format!("{page}{path}")]))
        .concat()
}

#[test]
fn secrets_are_shown_nowhere_and_the_program_gets_them() {
    let reviewer = Reviewer::start();
    let agent = Agent::builder(&policy()).config(reviewer.config() + "\n[page]\n").start();
    let program = echo("hold");
    let script = format!("{program} --password {PASSWORD} --verbose; true");
    let actor = launched(&script);
    let hold = agent.hold_of(&actor);
    let question = reviewer.question(&hold);
    let masked = format!("‹masked: {} characters›", PASSWORD.len());
    assert_eq!(words(&question.data()["operation"]), ["--password", &masked, "--verbose"]);
    assert_eq!((&question.data()["operation"]["masked"], &hold["masked"]), (&1.into(), &1.into()));
    let asked = page(&agent, &hold);
    assert!(asked.contains("1 piece of the arguments, by the policy"), "{asked}");
    check_masked("the page", &asked);
    let whole = agent.say(User::ROOT, ["show", hold.id()]).stdout;
    assert!(whole.contains("--api-key ‹masked: 40 characters›"), "the command line of an ancestor: {whole}");
    assert!(whole.contains("publish by ‹masked: 30 characters›"), "what is claimed: {whole}");
    for words in [&["show", hold.id()][..], &["show", hold.id(), "--json"], &["holds"], &["holds", "--json"]] {
        check_masked(&words.join(" "), &agent.say(User::ROOT, words).stdout);
    }
    let held = agent.wait_recorded("the hold", |line| line["event"] == "held" && line["hold"] == hold.id());
    assert_eq!((&held["request"]["masked"], &held["digest"]), (&1.into(), &hold.digest().into()));

    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, format!("--password {PASSWORD} --verbose\n"));
    check_masked("a question", &question.body);
    check_masked("the end", &reviewer.ending(&hold).body);
    check_masked("the record", &record(&agent));
    check_masked("the log", &agent.log());
}

#[test]
fn what_is_audited_or_refused_is_on_record_without_them() {
    let agent = Agent::start(&everything());
    let [audited, denied] = ["audit", "deny"].map(echo);
    let why = format!("{} why", holdpoint());
    let ended =
        launched(&format!("{audited} --password {PASSWORD}; {denied} --password {PASSWORD} 2>/dev/null; {why}")).end();
    let (printed, why) = ended.stdout.split_once('\n').expect("lines");
    assert_eq!(printed, format!("--password {PASSWORD}"), "the control: it is what the program was given");
    assert!(why.contains(&denied), "{why}");
    check_masked("holdpoint why", why);
    for (event, program) in [("audited", audited), ("denied", denied)] {
        let line = agent.wait_recorded(event, |line| line["event"] == event && line["path"] == program);
        assert_eq!((line["masked"].as_u64(), words(&line)[0]), (Some(1), "--password"));
    }
    check_masked("the record", &record(&agent));
}

#[test]
fn two_secrets_that_look_the_same_are_two() {
    let scope = format!(
        "\n[[rule]]\nname = \"longer programs\"\nexec = {{ path = [\"{}/bin-longer/**\"] }}\nthen = \"hold\"\n\
         reviewers = \"people\"\nscope = [\"tree\"]\ntimeout = \"3m\"\non_deny = \"fail\"\n",
        site::ROOT
    );
    let agent = Agent::start(&(everything() + &scope));
    let program = echo("longer");
    let script = format!("{program} --password aaaa; {program} --password aaaa; {program} --password bbbb");
    let actor = agent.spawn(User::AGENT, ["sh", "-c", &script]);
    let first = agent.hold_of(&actor);
    let reply = agent.say(User::REVIEWER, ["approve", first.id(), "--scope", "tree"]);
    assert!(reply.success(), "{reply:?}");
    let other = agent.wait_for_hold(|hold| hold.id() != first.id());
    assert_eq!(words(&other.0), words(&first.0), "they look the same");
    assert_eq!(actor.stdout(), "--password aaaa\n".repeat(2), "the same again has passed");
    agent.approve(&other);
    assert_eq!(actor.end().stdout, "--password aaaa\n".repeat(2) + "--password bbbb\n");
}

#[test]
fn nothing_hides_in_the_place_of_a_secret_nor_looks_like_a_mask() {
    let agent = Agent::start(&everything());
    let program = echo("hold");
    let tries =
        ["--password", "rm -rf /srv", "--token", "$(reboot)", "--secret", "/usr/bin/wipe", "‹masked: 7 characters›"];
    let actor = agent.spawn(User::AGENT, [&[&*program][..], &tries].concat());
    let hold = agent.hold_of(&actor);
    let mut expected = tries;
    expected[6] = "\\u{2039}masked: 7 characters›";
    assert_eq!((words(&hold.0), &hold["masked"]), (expected.to_vec(), &Json::Null));
    agent.deny(&hold);
    actor.end();
}

#[test]
fn a_policy_has_its_own_masks_from_its_reload_on() {
    let agent = Agent::start(&everything());
    let program = echo("hold");
    let shown = |given: [&str; 2]| {
        let actor = agent.spawn(User::AGENT, [&*program, given[0], given[1]]);
        let hold = agent.hold_of(&actor);
        agent.approve(&hold);
        assert_eq!(actor.end().stdout, given.join(" ") + "\n", "the program gets them");
        words(&hold.0).join(" ")
    };
    let given = ["pin-1234", "--token=abc"];
    assert_eq!(shown(given), "pin-1234 --token=‹masked: 3 characters›");
    let masking = |text: &str| format!("{}\n[[mask]]\ntext = ['{text}']\noff = [\"names\"]\n", everything());
    let refused = agent.reload(&masking(".+"));
    assert!(!refused.success() && refused.stderr.contains("this also hides"), "{refused:?}");
    assert_eq!(shown(given), "pin-1234 --token=‹masked: 3 characters›", "a bad policy changes nothing");
    let reload = agent.reload(&masking(r"pin-(\d+)"));
    assert!(reload.success(), "{reload:?}");
    assert_eq!(shown(given), "pin-‹masked: 4 characters› --token=abc");
}
