//! Promise 13: a bad policy changes nothing. It is refused whole, with file, line and remedy; the running one stays.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

use holdpoint_tests::{
    Agent, agent,
    agent::{Reply, holdpoint},
    everything,
    process::{self, state},
    shared, site, wait_for, wait_until,
};

const BAD: &str = "\
[[subject]]
name = \"tests\"

[[rule]]
name = \"r\"
open = { path = [\"/srv/hp/hold/**\"] }
then = \"perhaps\"
";

/// Starts an agent that should refuse, and waits until it has ended.
#[track_caller]
fn refused(policy: &str, config: &str) -> Reply {
    let directory = Path::new("/run/holdpoint-tests").join(format!("bad-{}", site::fresh()));
    fs::create_dir_all(&directory).unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let mut child = Command::new(holdpoint())
        .arg("agent")
        .arg("--policy")
        .arg(file("policy.toml", policy))
        .arg("--config")
        .arg(file("config.toml", config))
        .stdin(Stdio::null())
        .stdout(fs::File::create(directory.join("stdout")).unwrap())
        .stderr(fs::File::create(directory.join("stderr")).unwrap())
        .spawn()
        .expect("start an agent");
    let said = |name: &str| fs::read_to_string(directory.join(name)).unwrap();
    let mut status = None;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_for("the agent refuses to start", holdpoint_tests::LIMIT, || child.try_wait().expect("wait"))
    }));
    if let Ok(ended) = ended {
        status = Some(ended);
    }
    let _ = child.kill();
    let reply = Reply {
        status: status.unwrap_or_else(|| panic!("it runs: {} {}", said("stdout"), said("stderr"))),
        stdout: said("stdout"),
        stderr: said("stderr"),
    };
    assert!(reply.status.code().is_some_and(|code| code != 0), "{reply:?}");
    reply
}

/// Checks that all of this is said.
#[track_caller]
fn check_says(reply: &Reply, parts: &[&str]) {
    let text = format!("{}{}", reply.stdout, reply.stderr);
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn an_agent_does_not_start_with_a_bad_policy() {
    shared::evict();
    let links = agent::links();
    check_says(&refused(BAD, ""), &["policy.toml:7:8", "perhaps", "(one of: allow, "]);
    let unknown = BAD.replace("perhaps", "deny").replace("open =", "opne =");
    check_says(&refused(&unknown, ""), &["policy.toml:6:1", "opne", "("]);
    check_says(&refused("[[subject]\n", ""), &["policy.toml:1:", "("]);
    let both = BAD.replace("name = \"r\"", "name = \"r\"\nwhom = 1");
    check_says(&refused(&both, ""), &["policy.toml:6:1", "policy.toml:8:8"]);
    assert!(agent::pinned().is_empty(), "{:?}", agent::pinned());
    assert_eq!(agent::links(), links, "nothing is attached");
    // The same machine and the same program with a good one.
    let agent = shared(&everything());
    assert!(agent::links() > links);
    assert_eq!(agent.status()["enforcing"], true);
}

#[test]
fn a_policy_that_the_tables_cannot_take_attaches_nothing() {
    shared::evict();
    let links = agent::links();
    let rule = |number| {
        format!(
            "\n[[rule]]\nname = \"r{number}\"\nopen = {{ path = [\"/srv/x{number}\"] }}\nthen = \"deny\"\nwhy = \"w\"\n"
        )
    };
    let many = format!("[[subject]]\nname = \"tests\"\n{}", (0..16_500).map(rule).collect::<String>());
    check_says(&refused(&many, ""), &["policy.toml:", "more than 16384 rules"]);
    let left = agent::pinned();
    // It goes whether or not that is the expected result.
    shared::evict();
    assert!(left.is_empty(), "left behind by an agent that did not start: {left:?}");
    // The kernel frees them a moment later.
    wait_until("nothing is attached", || agent::links() == links);
}

#[test]
fn an_agent_does_not_start_with_a_bad_configuration() {
    shared::evict();
    let links = agent::links();
    let policy = everything();
    let secret = "/run/holdpoint-tests/open-secret";
    fs::create_dir_all("/run/holdpoint-tests").unwrap();
    fs::write(secret, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    fs::set_permissions(secret, fs::Permissions::from_mode(0o644)).unwrap();
    let channel = |url: &str| {
        format!(
            "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"{secret}\"\n\
             reviewers = [\"people\"]\n"
        )
    };
    let open = refused(&policy, &channel("https://127.0.0.1:9"));
    check_says(&open, &["config.toml:5:15", "0644", "(chmod 0600 "]);
    assert!(!format!("{open:?}").contains("MfKQ9r8GKYqr"), "a secret is never shown");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
    check_says(&refused(&policy, &channel("http://192.0.2.1/")), &["config.toml:4:7", "(an https URL, "]);
    check_says(&refused(&policy, "[listner]\naddress = \"127.0.0.1:1\"\n"), &["config.toml:1:", "listner", "(see "]);
    fs::remove_file(secret).unwrap();
    assert!(agent::pinned().is_empty(), "{:?}", agent::pinned());
    assert_eq!(agent::links(), links, "nothing is attached");
}

#[test]
fn a_restart_with_a_bad_policy_leaves_everything_as_it_was() {
    let mut agent = shared(&everything());
    let file = site::file("hold", "Ada\n");
    let late = site::file("hold", "Ada\n");
    let actor = agent.act([format!("open {file} w+trunc")]);
    let mut waiting = agent.act(["line".to_owned(), format!("open {late} w+trunc")]);
    let hold = agent.hold_of(&actor);
    waiting.pid();

    // While an agent runs, another one changes nothing either.
    check_says(&refused(BAD, ""), &["policy.toml:7:8"]);
    assert_eq!(agent.status()["enforcing"], true);

    let links = agent::links();
    agent.terminate();
    check_says(&refused(BAD, ""), &["policy.toml:7:8"]);
    assert_eq!(agent::links(), links, "what was attached stays attached");
    assert_eq!(state(hold.pid()), Some('T'), "held stays held");
    waiting.go_on();
    process::wait_stopped(waiting.pid());
    assert_eq!((site::content(&file), site::content(&late)), ("Ada\n".to_owned(), "Ada\n".to_owned()));

    agent.restart();
    let other = agent.hold_of(&waiting);
    assert_eq!(agent.hold_of(&actor).digest(), hold.digest());
    agent.approve(&hold);
    agent.deny(&other);
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(waiting.end().stdout, "open EPERM\n");
}

#[test]
fn a_policy_without_the_subject_of_a_living_tree_is_refused() {
    let mut agent = shared(&everything());
    let file = site::file("hold", "Ada\n");
    let mut waiting = agent.act(["line".to_owned(), format!("open {file} w+trunc")]);
    waiting.pid();
    agent.terminate();
    let renamed = everything().replace("name = \"tests\"", "name = \"others\"");
    check_says(&refused(&renamed, ""), &["does not name the subject of", "keep that subject"]);
    waiting.go_on();
    process::wait_stopped(waiting.pid());
    assert_eq!(site::content(&file), "Ada\n");
    agent.restart();
    let hold = agent.hold_of(&waiting);
    assert_eq!(hold["subject"], "tests");
    agent.approve(&hold);
    assert_eq!(waiting.end().stdout, "open ok\n");

    // Once the tree has ended, such a policy is as good as any other.
    drop(agent);
    let agent = Agent::start(&renamed);
    assert_eq!(agent.status()["enforcing"], true);
}
