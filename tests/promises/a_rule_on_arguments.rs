//! Promise 8, by the arguments of an exec: the kernel goes by them as the policy says, and what it cannot tell it takes for
//! the worse.

use holdpoint_tests::{Actor, Agent, User, ungoverned};

/// Rules on the arguments of two programs.
const POLICY: &str = r#"
[[subject]]
name = "tests"

[reviewers]
people = ["reviewer", "root"]

[[rule]]
name = "no pushing"
exec = { path = ["/usr/bin/echo", "/usr/bin/true"], args = ["{push,send-*}"] }
then = "deny"

[[rule]]
name = "copying needs a person"
exec = { path = ["**/echo"], args = ["s3", "cp", "--*"] }
then = "hold"
reviewers = "people"
on_deny = "fail"

[[rule]]
name = "asking for the version"
exec = { path = ["/usr/bin/printf"], args = ["--version"] }
then = "allow"
"#;

/// A Python program that executes another, given first, with a name and arguments, which stand for the others.
const EXECUTE: &str = "
import errno, os, sys
try:
    os.execv(sys.argv[1], eval(sys.argv[2]))
except OSError as error:
    print(errno.errorcode[error.errno])
";

fn command<'a>(program: &'a str, arguments: &'a str) -> [&'a str; 5] {
    ["python3", "-c", EXECUTE, program, arguments]
}

/// Each of `arguments` (Python) with what the governed program prints, and what it prints ungoverned.
fn compare(agent: &Agent, program: &str, arguments: &str) -> (String, String) {
    let end = |actor: Actor| actor.end().stdout;
    let governed = end(agent.spawn(User::AGENT, command(program, arguments)));
    (governed, end(ungoverned(User::AGENT, command(program, arguments))))
}

#[test]
fn a_rule_on_arguments_denies_the_exec_that_has_them_and_no_other() {
    let agent = Agent::start(POLICY);
    for (arguments, printed) in [
        ("['echo', 'push']", "push\n"),
        (
            "['echo', '-C', '/srv', 'x' * 300, 'push', '--force']",
            &format!("-C /srv {} push --force\n", "x".repeat(300)),
        ),
        ("['echo', '', 'send-mail']", " send-mail\n"),
        // Across pages.
        ("['echo', '-n'] + ['pus'] * 2000 + ['push']", &format!("{}push", "pus ".repeat(2000))),
    ] {
        assert_eq!(
            compare(&agent, "/usr/bin/echo", arguments),
            ("EPERM\n".to_owned(), printed.to_owned()),
            "{arguments}"
        );
    }
    for (arguments, printed) in [
        ("['echo', 'pull']", "pull\n"),
        ("['push', 'pushed', 'send']", "pushed send\n"),
        ("['echo', '-n'] + ['pus'] * 2000", &"pus ".repeat(2000)[..7999]),
    ] {
        let printed = printed.to_owned();
        assert_eq!(compare(&agent, "/usr/bin/echo", arguments), (printed.clone(), printed), "{arguments}");
    }
}

#[test]
fn a_rule_on_several_arguments_holds_the_exec_that_has_them_all() {
    let agent = Agent::start(POLICY);
    let arguments = "['echo', '--quiet', 'cp', 'a', 's3']";
    let actor = agent.spawn(User::AGENT, command("/usr/bin/echo", arguments));
    let hold = agent.hold_of(&actor);
    assert_eq!(hold.text("rule"), "copying needs a person");
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "EPERM\n");
    let actor = agent.spawn(User::AGENT, command("/usr/bin/echo", arguments));
    agent.approve(agent.hold_of(&actor));
    assert_eq!(actor.end().stdout, "--quiet cp a s3\n");
    let printed = "cp s3\n".to_owned();
    assert_eq!(compare(&agent, "/usr/bin/echo", "['echo', 'cp', 's3']"), (printed.clone(), printed));
}

#[test]
fn arguments_that_cannot_be_told_are_taken_for_those_of_the_rule() {
    let agent = Agent::start(POLICY);
    // More than the kernel's side reads; the second is just less.
    let long = "['true'] + ['x' * 65536] * 2";
    assert_eq!(compare(&agent, "/usr/bin/true", long), ("EPERM\n".to_owned(), String::new()));
    let shorter = "['true'] + ['x' * 65530, 'x' * 65534]";
    assert_eq!(compare(&agent, "/usr/bin/true", shorter), (String::new(), String::new()));
    // A loader of the caller's own maps the program, with arguments that only it knows.
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/usr/bin/echo", "pull"];
    assert_eq!(ungoverned(User::AGENT, loader).end().stdout, "pull\n", "the control");
    let ended = agent.spawn(User::AGENT, loader).end();
    assert_eq!((ended.stdout.as_str(), ended.status.success()), ("", false), "{ended:?}");
    // A rule that lets pass is taken for one that does not apply, and nothing else stands in the way here.
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/usr/bin/printf", "pull"];
    assert_eq!(agent.spawn(User::AGENT, loader).end().stdout, "pull");
}
