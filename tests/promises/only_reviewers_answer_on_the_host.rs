//! Promise 4: only a reviewer answers. Here on the host: who may use the control socket, and whose word counts.

use std::{fs, path::Path};

use holdpoint_tests::{
    Actor, Agent, Hold, Reply, User,
    actor::with_actor,
    agent::{holdpoint, say},
    everything,
    policy::with_containers,
    process::state,
    shared, site, ungoverned,
};

/// A process that is held when it opens a file.
fn opening(agent: &Agent, user: User) -> (Actor, Hold) {
    let file = site::file("hold", "Ada\n");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let actor = agent.spawn(user, with_actor([format!("open {file} r")]));
    let hold = agent.hold_of(&actor);
    (actor, hold)
}

#[track_caller]
fn check_refused(reply: &Reply, says: &str) {
    assert_eq!(reply.status.code(), Some(1), "{reply:?}");
    assert!(reply.stderr.contains(says) && reply.stderr.contains("help: "), "{reply:?}");
}

#[test]
fn only_root_and_the_group_use_the_control_socket() {
    let agent = shared(&everything());
    let (actor, hold) = opening(&agent, User::AGENT);
    for words in [vec!["holds"], vec!["status"], vec!["show", hold.id()], vec!["approve", hold.id()], vec!["detach"]] {
        check_refused(&agent.say(User::AGENT, &words), "only root and members of the group holdpoint");
    }
    assert_eq!(state(hold.pid()), Some('T'));
    for user in [User::ROOT, User::REVIEWER] {
        let reply = agent.say(user, ["holds"]);
        assert!(reply.success() && reply.stdout.contains(hold.id()), "{reply:?}");
    }
    let socket = fs::metadata("/run/holdpoint/control").unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&socket) & 0o777, 0o660);
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
}

/// Prints what the kernel says to a connect() to the control socket by `path`.
fn connecting(path: &str) -> [String; 3] {
    let script = format!(
        "import errno, socket\ns = socket.socket(socket.AF_UNIX)\ntry:\n  s.connect('{path}')\n  print('connected')\n\
         except OSError as e:\n  print(errno.errorcode[e.errno])"
    );
    ["python3".to_owned(), "-c".to_owned(), script]
}

#[test]
fn a_governed_process_is_refused_by_the_kernel_root_or_not() {
    let agent = shared(&with_containers());
    let control = "/run/holdpoint/control";
    let of_agent = format!("/proc/{}/root{control}", agent.pid());
    let of_self = format!("/proc/self/root{control}");
    for (user, paths) in [(User::ROOT, vec![control, &of_self, &of_agent]), (User::REVIEWER, vec![control, &of_self])] {
        for path in paths {
            let free = ungoverned(user, connecting(path)).end();
            assert_eq!(free.stdout, "connected\n", "{user:?} {path}: {free:?}");
            let governed = agent.spawn(user, connecting(path)).end();
            // Its way through the agent's own process ends before.
            let expected = if path == of_agent { "EACCES\n" } else { "EPERM\n" };
            assert_eq!(governed.stdout, expected, "{user:?} {path}: {governed:?}");
        }
    }
    let link = "/run/holdpoint-tests/control";
    let _ = fs::remove_file(link);
    fs::hard_link(control, link).or_else(|_| std::os::unix::fs::symlink(control, link)).unwrap();
    let governed = agent.spawn(User::ROOT, connecting(link)).end();
    assert_eq!(governed.stdout, "EPERM\n", "by another name: {governed:?}");
    fs::remove_file(link).unwrap();
    let apart = "unshare --mount --pid --fork \"$@\"";
    let [python, flag, script] = connecting(control);
    let governed = agent.spawn(User::ROOT, ["sh", "-c", apart, "sh", &python, &flag, &script]).end();
    assert_eq!(governed.stdout, "EPERM\n", "in other namespaces: {governed:?}");
}

#[test]
fn a_governed_root_shell_says_nothing_to_the_agent() {
    let agent = shared(&everything());
    let (actor, hold) = opening(&agent, User::AGENT);
    let program = holdpoint();
    for words in [vec!["holds"], vec!["show", hold.id()], vec!["approve", hold.id()], vec!["deny", hold.id()]] {
        let script = format!("{program} {}", words.join(" "));
        let ended = agent.spawn(User::ROOT, ["bash", "-c", &script]).end();
        assert_eq!(ended.code(), Some(1), "{words:?}: {ended:?}");
        assert!(
            ended.stderr.contains("a governed process has no say here") && ended.stderr.contains("help: "),
            "{ended:?}"
        );
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(state(hold.pid()), Some('T'));
    let free = ungoverned(User::ROOT, ["bash", "-c", &format!("{program} approve {}", hold.id())]).end();
    assert_eq!(free.code(), Some(0), "the same shell outside: {free:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn whoever_launched_the_tree_does_not_answer_for_it() {
    let agent = shared(&everything());
    for (launcher, other) in [(User::REVIEWER, User::ROOT), (User::ROOT, User::REVIEWER)] {
        let (actor, hold) = opening(&agent, launcher);
        for words in [["approve", hold.id()], ["deny", hold.id()]] {
            check_refused(&agent.say(launcher, words), "requester");
        }
        assert_eq!(state(hold.pid()), Some('T'));
        assert_eq!(agent.recorded("refused-answer", &hold).len(), 2);
        let reply = agent.say(other, ["approve", hold.id(), "--why", "I know it"]);
        assert!(reply.success() && reply.stdout.contains(&format!("approved by {}", other.0)), "{reply:?}");
        assert_eq!(actor.end().stdout, "open ok\n");
        let decided = &agent.recorded("decided", &hold)[0];
        assert_eq!((&decided["answer"]["who"], &decided["answer"]["why"]), (&other.0.into(), &"I know it".into()));
    }
}

#[test]
fn an_answer_on_the_host_counts_once() {
    let agent = shared(&everything());
    let (actor, hold) = opening(&agent, User::AGENT);
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "open EPERM\n");
    for words in [["approve", hold.id()], ["deny", hold.id()]] {
        let reply = agent.say(User::REVIEWER, words);
        assert_eq!(reply.status.code(), Some(1), "{reply:?}");
    }
    assert_eq!(agent.recorded("decided", &hold).len(), 1);
}

#[test]
fn a_hold_is_shown_with_its_context_and_named_by_its_first_digits() {
    let agent = shared(&everything());
    let ((one, hold), (two, other)) = (opening(&agent, User::AGENT), opening(&agent, User::AGENT));
    let both = agent.holds();
    assert_eq!(both.len(), 2);
    let found = both.iter().find(|found| found.id() == hold.id()).expect("the first one");
    for (field, value) in [("subject", "tests"), ("user", "agent"), ("rule", "hold files"), ("why", "a test")] {
        assert_eq!(found[field], value);
    }
    assert_eq!(found["context"]["ancestry"][0]["pid"], hold.pid());

    let shared_digits = hold.id().chars().zip(other.id().chars()).take_while(|(a, b)| a == b).count();
    let unique = &hold.id()[..(shared_digits + 1).max(4)];
    let reply = agent.say(User::REVIEWER, ["show", unique]);
    assert!(reply.success(), "{reply:?}");
    for part in [hold.id(), hold.digest(), hold.text("path"), "a test", "hold files", "agent"] {
        assert!(reply.stdout.contains(part), "no {part} in {}", reply.stdout);
    }
    let json = agent.say(User::REVIEWER, ["show", "--json", hold.id()]);
    let json: holdpoint_tests::Json = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["id"], &json["digest"]), (&hold["id"], &hold["digest"]));
    if shared_digits >= 4 {
        check_refused(&agent.say(User::REVIEWER, ["approve", &hold.id()[..shared_digits]]), "is the beginning of");
    }
    check_refused(&agent.say(User::REVIEWER, ["approve", "00000000deadbeef"]), "no hold");
    check_refused(&agent.say(User::REVIEWER, ["approve", "dead0"]), "no hold begins with");
    check_refused(&agent.say(User::REVIEWER, ["approve", &hold.id()[..3]]), "does not name a hold");
    assert_eq!(agent.holds().len(), 2, "none of these had an effect");

    let approved = agent.say(User::REVIEWER, ["approve", unique]);
    assert!(approved.success(), "{approved:?}");
    assert_eq!(one.end().stdout, "open ok\n");
    assert_eq!(agent.holds().len(), 1, "the other one is not meant by it");
    agent.deny(&other);
    assert_eq!(two.end().stdout, "open EPERM\n");
}

#[test]
fn without_an_agent_nothing_is_run_and_every_command_says_so() {
    shared::end();
    for words in [vec!["status"], vec!["holds"], vec!["approve", "0123456789abcdef"], vec!["detach"]] {
        let reply = say(User::ROOT, &words);
        assert_eq!(reply.status.code(), Some(3), "{words:?}: {reply:?}");
        assert!(reply.stderr.contains("the agent is not running") && reply.stderr.contains("help: "), "{reply:?}");
    }
    check_not_run(&[], "the agent is not running");

    let agent = shared(&everything());
    let reply = agent.say(User::ROOT, ["status"]);
    assert_eq!(reply.status.code(), Some(0), "{reply:?}");
    assert!(reply.stdout.starts_with("enforcing\n"), "{reply:?}");
}

#[test]
fn an_unknown_subject_is_refused_and_nothing_is_run() {
    let agent = shared(&everything());
    check_not_run(&["--subject", "nobody"], "the policy has no subject \"nobody\"");
    let ended = agent.spawn_as(User::AGENT, "tests", ["echo", "run"]).end();
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), "run\n"));
}

/// `holdpoint run` with these options exits with 125 and `says` why; the command is not started.
#[track_caller]
fn check_not_run(options: &[&str], says: &str) {
    let trace = site::nothing("allow");
    let mut words = vec!["run"];
    words.extend(options);
    words.extend(["--", "touch", &trace]);
    let reply = say(User::AGENT, words);
    assert_eq!(reply.status.code(), Some(125), "{reply:?}");
    assert!(reply.stderr.contains(says) && reply.stderr.contains("help: "), "{reply:?}");
    assert!(!Path::new(&trace).exists(), "nothing was run");
    let control = User::AGENT.command(["touch", &trace]).status().unwrap();
    assert!(control.success() && Path::new(&trace).exists());
}

#[test]
fn another_subject_is_refused_inside_a_governed_tree() {
    let agent = shared(&format!("{}\n[[subject]]\nname = \"second\"\n", everything()));
    let program = holdpoint();
    let inside = |subject: &str| {
        let script = format!("{program} run --quiet --subject {subject} -- echo run");
        agent.spawn_as(User::AGENT, "tests", ["sh", "-c", &script]).end()
    };
    let other = inside("second");
    assert_eq!((other.code(), other.stdout.as_str()), (Some(125), ""), "{other:?}");
    assert!(other.stderr.contains("tests"), "{other:?}");
    let same = inside("tests");
    assert_eq!((same.code(), same.stdout.as_str()), (Some(0), "run\n"), "{same:?}");
    let outside = agent.spawn_as(User::AGENT, "second", ["echo", "run"]).end();
    assert_eq!((outside.code(), outside.stdout.as_str()), (Some(0), "run\n"), "{outside:?}");
}

#[test]
fn policy_check_needs_no_root_and_names_line_and_column() {
    let directory = site::directory("allow");
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().expect("UTF-8").to_owned()
    };
    let good = file("good.toml", &everything());
    let bad = file(
        "bad.toml",
        "[[subject]]\nname = \"x\"\n\n[[rule]]\nname = \"r\"\nopne = { path = [\"/x\"] }\nthen = \"deny\"\n",
    );
    let check = |files: &[&str]| {
        let reply = say(User::AGENT, [&["policy", "check"], files].concat());
        (reply.status.code(), reply.stdout, reply.stderr)
    };
    let (code, stdout, _) = check(&[&good]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains(&format!("{good}: ok, 1 subject, 21 rules")), "{stdout}");
    let (code, _, stderr) = check(&[&good, &bad]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains(&format!("{bad}:6:1")) && stderr.contains("help: "), "{stderr}");
    assert!(stderr.contains("opne"), "{stderr}");
    assert_eq!(check(&["/nonexistent.toml"]).0, Some(2));
}
