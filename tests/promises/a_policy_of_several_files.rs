//! Promise 13, for a policy of several files: its parts are in force with it, on the hosts that they name, and go with
//! it; a bad one changes nothing, and no subject adds one.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use holdpoint_tests::{Agent, User, shared, shared::Shared, site, ungoverned};

const MAIN: &str = "[[subject]]\nname = \"tests\"\n\n[reviewers]\npeople = [\"root\", \"reviewer\"]\n";

/// The directory of parts of an agent's policy, which goes at the end.
struct Parts(PathBuf);

impl Parts {
    fn of(agent: &Agent) -> Self {
        let directory = agent.directory().join("policy.d");
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An agent with this policy and no parts.
fn agent() -> Shared {
    let agent = shared(MAIN);
    assert!(agent.reload(MAIN).success(), "{}", agent.log());
    agent
}

/// A part for these hosts with a rule on opening `path`.
fn part(hosts: &str, path: &str, then: &str) -> String {
    format!("host = [\"{hosts}\"]\n\n[[rule]]\nname = \"{path}\"\nopen = {{ path = [\"{path}\"] }}\nthen = {then}\n")
}

fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}

/// What a governed process says that opens the file.
fn opened(agent: &Agent, file: &str) -> String {
    agent.act([format!("open {file} r")]).end().stdout
}

#[track_caller]
fn reloaded(agent: &Agent) {
    let reply = agent.reload(MAIN);
    assert!(reply.success(), "{reply:?}");
}

#[test]
fn a_part_is_in_force_on_the_hosts_that_it_names_and_goes_with_a_reload() {
    let file = site::file("free", "Ada\n");
    let agent = agent();
    let parts = Parts::of(&agent);
    assert_eq!(opened(&agent, &file), "open ok\n", "the control");
    let before = agent.status()["policy_revision"].clone();

    parts.put("10.toml", &part(&host(), &file, "\"deny\""));
    reloaded(&agent);
    assert_eq!(opened(&agent, &file), "open EPERM\n");
    let status = agent.status();
    assert_ne!(status["policy_revision"], before, "the revision is of all files");
    assert_eq!(status["host"], host());

    parts.put("10.toml", &part(&format!("not {}", host()), &file, "\"deny\""));
    reloaded(&agent);
    assert_eq!(opened(&agent, &file), "open ok\n", "it is for other hosts");

    parts.put("10.toml", &part("*", &file, "\"deny\""));
    reloaded(&agent);
    assert_eq!(opened(&agent, &file), "open EPERM\n");
    drop(parts);
    reloaded(&agent);
    assert_eq!(opened(&agent, &file), "open ok\n", "it is gone");
}

#[test]
fn a_bad_part_changes_nothing() {
    let file = site::file("free", "Ada\n");
    let agent = agent();
    let parts = Parts::of(&agent);
    parts.put("10.toml", &part("*", &file, "\"deny\""));
    reloaded(&agent);
    let revision = agent.status()["policy_revision"].clone();
    let unchanged = |said: &str| {
        let reply = agent.reload(MAIN);
        assert_eq!(reply.status.code(), Some(1), "{reply:?}");
        assert!(reply.stderr.contains(said) && reply.stderr.contains("stays in force"), "{said}: {reply:?}");
        assert_eq!(agent.status()["policy_revision"], revision);
    };
    parts.put("20.toml", &part("*", &file, "\"perhaps\""));
    unchanged("policy.d/20.toml:6:8: unknown verdict");
    parts.put("20.toml", &part("*", &file, "\"deny\""));
    unchanged("policy.d/20.toml:4:8: a rule named");
    parts.put("20.toml", "[[rule]\n");
    unchanged("policy.d/20.toml:1:8: unclosed");
    fs::remove_file(parts.0.join("20.toml")).unwrap();
    symlink("/etc/hostname", parts.0.join("20.toml")).unwrap();
    unchanged("policy.d/20.toml: a part of a policy is a regular file");
    assert_eq!(opened(&agent, &file), "open EPERM\n");
}

#[test]
fn no_subject_adds_or_changes_a_part() {
    let agent = agent();
    let directory = agent.directory().join("policy.d").display().to_string();
    let fails = |what: &str| {
        let ended = agent.spawn(User::ROOT, ["sh", "-c", what]).end();
        assert_ne!(ended.code(), Some(0), "{what}: {ended:?}");
    };
    let make = format!("mkdir {directory}");
    fails(&make);
    assert!(!Path::new(&directory).exists());
    assert_eq!(ungoverned(User::ROOT, ["sh", "-c", &make]).end().code(), Some(0), "the control");
    let parts = Parts::of(&agent);
    parts.put("10.toml", "");
    let attempts =
        ["echo >{}/20.toml", "echo >>{}/10.toml", "rm {}/10.toml", "mv {} {}-away", "ln {}/10.toml {}/30.toml"];
    let attempts = attempts.map(|attempt| attempt.replace("{}", &directory));
    attempts.iter().for_each(|attempt| fails(attempt));
    let names: Vec<_> = fs::read_dir(&parts.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["10.toml"]);
    assert_eq!(fs::read_to_string(parts.0.join("10.toml")).unwrap(), "");
    let written = ungoverned(User::ROOT, ["sh", "-c", &attempts[0]]).end();
    assert_eq!(written.code(), Some(0), "the control: {written:?}");
}

#[test]
fn what_a_part_holds_outlives_the_agent() {
    let file = site::file("free", "Ada\n");
    let mut agent = agent();
    let parts = Parts::of(&agent);
    let then = "\"hold\"\nreviewers = \"people\"\non_deny = \"fail\"";
    parts.put("10.toml", &part(&host(), &file, then));
    reloaded(&agent);
    let actor = agent.act([format!("open {file} r"), "read".to_owned()]);
    let hold = agent.hold_of(&actor);
    agent.terminate();
    agent.restart();
    let found = agent.hold_of(&actor);
    assert_eq!((found.id(), found.digest()), (hold.id(), hold.digest()));
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
}
