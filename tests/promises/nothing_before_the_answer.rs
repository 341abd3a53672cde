//! Promise 1: while a request is held it has had no effect.

use std::{
    cell::OnceCell,
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::Path,
};

use holdpoint_tests::{
    Agent, Hold, control, everything,
    listener::Listener,
    process::{image, wait_stopped},
    shared, site, wait_until,
};
use serde_json::json;

/// One operation that the policy holds, and what there is to see of it.
struct Operation<'a> {
    /// How the actor tries it.
    steps: Vec<String>,
    /// What the actor prints when it succeeds.
    success: &'a str,
    /// What the actor prints when it is refused.
    refusal: &'a str,
    /// Puts everything as it is before.
    reset: &'a dyn Fn(),
    /// Checks that nothing has happened.
    untouched: &'a dyn Fn(),
    /// Checks that it has happened, once.
    done: &'a dyn Fn(),
}

impl Operation<'_> {
    fn happens_only_after_approval(&self) {
        let agent = shared(&everything());
        let steps = || self.steps.iter().map(String::as_str).chain(["print alive"]);
        let expect = |line: &str| format!("{line}\nalive\n");

        (self.reset)();
        assert_eq!(control(steps()).stdout, expect(self.success), "the control");
        (self.done)();

        (self.reset)();
        let actor = agent.act(steps());
        let hold = agent.hold_of(&actor);
        (self.untouched)();
        agent.deny(&hold);
        assert_eq!(actor.end().stdout, expect(self.refusal), "denied");
        (self.untouched)();
        assert_eq!(agent.questions(hold.tree()), 1);

        (self.reset)();
        let actor = agent.act(steps());
        let hold = agent.hold_of(&actor);
        (self.untouched)();
        assert_eq!(actor.stdout(), "");
        agent.approve(&hold);
        assert_eq!(actor.end().stdout, expect(self.success), "approved");
        (self.done)();
        assert_eq!(agent.questions(hold.tree()), 1);
    }
}

#[test]
fn a_held_open_for_reading_gives_no_data() {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} r");
    let unread = |hold: &Hold| {
        let links: Vec<_> = fs::read_dir(format!("/proc/{}/fd", hold.pid())).unwrap().flatten().collect();
        let targets = links.iter().filter_map(|link| fs::read_link(link.path()).ok());
        assert!(!targets.into_iter().any(|target| target.as_os_str() == file.as_str()), "it has a descriptor");
    };
    assert_eq!(control([&open, "read"]).stdout, "open ok\nread Ada\n");

    let agent = shared(&everything());
    let actor = agent.act([&open, "read"]);
    let hold = agent.hold_of(&actor);
    assert_eq!((hold.text("operation"), hold.text("path"), &hold["access"]), ("open", &*file, &json!(["read"])));
    unread(&hold);
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    assert_eq!(agent.questions(hold.tree()), 1);

    let actor = agent.act([&open, "read"]);
    let hold = agent.hold_of(&actor);
    unread(&hold);
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
}

#[test]
fn a_held_open_with_o_trunc_leaves_the_file_whole() {
    let file = site::file("hold", "Ada\n");
    Operation {
        steps: vec![format!("open {file} w+trunc")],
        success: "open ok",
        refusal: "open EPERM",
        reset: &|| fs::write(&file, "Ada\n").unwrap(),
        untouched: &|| assert_eq!(site::content(&file), "Ada\n"),
        done: &|| assert_eq!(site::content(&file), ""),
    }
    .happens_only_after_approval();
}

#[test]
fn a_held_truncate_leaves_the_file_whole() {
    let file = site::file("hold", "Ada\n");
    Operation {
        steps: vec![format!("truncate {file} 1")],
        success: "truncate ok",
        refusal: "truncate EPERM",
        reset: &|| fs::write(&file, "Ada\n").unwrap(),
        untouched: &|| assert_eq!(site::content(&file), "Ada\n"),
        done: &|| assert_eq!(site::content(&file), "A"),
    }
    .happens_only_after_approval();
}

#[test]
fn a_held_open_with_o_creat_makes_no_file() {
    a_held_creation_makes_no_file("w+creat");
}

#[test]
fn a_held_open_with_o_creat_o_excl_o_trunc_makes_no_file_and_once_approved_does_not_meet_it() {
    a_held_creation_makes_no_file("rw+creat+excl+trunc");
}

fn a_held_creation_makes_no_file(how: &str) {
    let file = site::nothing("hold");
    Operation {
        steps: vec![format!("open {file} {how}")],
        success: "open ok",
        refusal: "open EPERM",
        reset: &|| drop(fs::remove_file(&file)),
        untouched: &|| assert!(!site::exists(&file)),
        done: &|| assert_eq!(site::content(&file), ""),
    }
    .happens_only_after_approval();
}

#[test]
fn a_held_tcp_connect_reaches_nobody_on_ipv4() {
    a_held_connect_reaches_nobody(&Listener::v4("hold"));
}

#[test]
fn a_held_tcp_connect_reaches_nobody_on_ipv6() {
    a_held_connect_reaches_nobody(&Listener::v6("hold"));
}

fn a_held_connect_reaches_nobody(listener: &Listener) {
    Operation {
        steps: vec![format!("connect {}", listener.target())],
        success: "connect ok",
        refusal: "connect EPERM",
        reset: &|| (),
        untouched: &|| assert!(listener.waiting().is_none()),
        done: &|| {
            drop(listener.accept());
            assert!(listener.waiting().is_none(), "one connection");
        },
    }
    .happens_only_after_approval();
}

#[test]
fn a_held_non_blocking_connect_reaches_nobody_on_ipv4() {
    a_held_non_blocking_connect_reaches_nobody(&Listener::v4("hold"));
}

#[test]
fn a_held_non_blocking_connect_reaches_nobody_on_ipv6() {
    a_held_non_blocking_connect_reaches_nobody(&Listener::v6("hold"));
}

fn a_held_non_blocking_connect_reaches_nobody(listener: &Listener) {
    let steps = [&format!("connect {} nonblock", listener.target()), "poll", "again"];
    // By the loopback interface it may be connected before the call returns, but does not say so.
    let success = "connect EINPROGRESS\npoll ok\nconnect ok\n";
    assert_eq!(control(steps).stdout, success);
    drop(listener.accept());

    let agent = shared(&everything());
    let actor = agent.act(steps);
    let hold = agent.hold_of(&actor);
    assert!(listener.waiting().is_none());
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, success);
    drop(listener.accept());
    assert_eq!(agent.questions(hold.tree()), 1, "connect() again, on a socket that is connecting, is no new request");

    let actor = agent.act([steps[0], "print alive"]);
    let hold = agent.hold_of(&actor);
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "connect EPERM\nalive\n");
    assert!(listener.waiting().is_none());
}

#[test]
fn a_held_execve_keeps_the_old_image() {
    let program = site::program("bin-hold", "/usr/bin/cat");
    a_held_exec_keeps_the_old_image(&program, &program);
}

#[test]
fn a_held_script_keeps_the_old_image() {
    let script = site::script("bin-hold", "#!/usr/bin/dash\necho script\nread line\n");
    a_held_exec_keeps_the_old_image(&script, "/usr/bin/dash");
}

#[test]
fn a_held_change_of_names_or_marks_changes_nothing() {
    let (inside, outside) = (site::directory("hold"), site::directory("free"));
    let state = || [&inside, &outside].map(|directory| listing(directory));
    let path = |directory: &Path, name: &str| directory.join(name).display().to_string();
    let [file, folder, other, taken, foreign] =
        [(&inside, "file"), (&inside, "folder"), (&inside, "other"), (&inside, "taken"), (&outside, "foreign")]
            .map(|(directory, name)| path(directory, name));
    let reset = || {
        for directory in [&inside, &outside] {
            fs::remove_dir_all(directory).unwrap();
            fs::create_dir(directory).unwrap();
            chown(directory, Some(site::AGENT), Some(site::AGENT)).unwrap();
        }
        fs::create_dir(&folder).unwrap();
        for file in [&file, &taken, &foreign] {
            fs::write(file, file).unwrap();
        }
        for file in [&file, &taken, &foreign, &folder] {
            chown(file, Some(site::AGENT), Some(0)).unwrap();
        }
    };
    let steps = [
        format!("rename {file} {other}"),
        format!("rename {file} {taken}"),
        format!("rename {foreign} {other}"),
        format!("rename {file} {foreign}"),
        format!("exchange {foreign} {file}"),
        format!("link {file} {other}"),
        format!("link {foreign} {other}"),
        format!("symlink {foreign} {other}"),
        format!("unlink {file}"),
        format!("rmdir {folder}"),
        format!("mkdir {other}"),
        format!("chmod {file}"),
        format!("chown {file}"),
        format!("utime {file}"),
    ];
    for step in steps {
        reset();
        let before = state();
        let after = OnceCell::new();
        let action = step.split(' ').next().unwrap();
        Operation {
            steps: vec![step.clone()],
            success: &format!("{action} ok"),
            refusal: &format!("{action} EPERM"),
            reset: &reset,
            untouched: &|| assert_eq!(state(), before, "{step}"),
            done: &|| {
                let now = state();
                assert_ne!(now, before, "{step}");
                assert_eq!(&now, after.get_or_init(|| now.clone()), "{step}: the same as without holdpoint");
            },
        }
        .happens_only_after_approval();
    }
}

/// What there is in `directory`: names, what they lead to, content, and marks.
fn listing(directory: &Path) -> Vec<String> {
    let shown = |path: &Path| {
        let metadata = path.symlink_metadata().unwrap();
        let content = fs::read_link(path).map(|target| target.display().to_string());
        let content = content.or_else(|_| fs::read_to_string(path)).unwrap_or_default();
        // Other than the time of writing, which `reset` does not set.
        let old = metadata.mtime() < 10;
        format!("{} {:o} {} {old} {content}", path.display(), metadata.mode(), metadata.gid())
    };
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| shown(&entry.unwrap().path())).collect();
    entries.sort();
    entries
}

/// `program` goes on until its input ends.
fn a_held_exec_keeps_the_old_image(program: &str, new: &str) {
    let steps = [&format!("exec {program}"), "print alive"];
    assert!(!control(steps).stdout.contains("alive"), "the control");

    let agent = shared(&everything());
    let actor = agent.act(steps);
    let hold = held_before_exec(&agent, &actor, program);
    agent.deny(&hold);
    assert_eq!(actor.end().stdout, "exec EPERM\nalive\n");

    let actor = agent.act(steps);
    let hold = held_before_exec(&agent, &actor, program);
    agent.approve(&hold);
    wait_until("the new image", || image(hold.pid()).as_os_str() == new);
    assert_eq!(agent.questions(hold.tree()), 1);
    assert!(!actor.end().stdout.contains("alive"));
}

fn held_before_exec(agent: &Agent, actor: &holdpoint_tests::Actor, program: &str) -> Hold {
    let hold = agent.hold_of(actor);
    assert_eq!((hold.text("operation"), hold.text("path"), hold.text("filename")), ("exec", program, program));
    assert_eq!(hold["argv"], json!([program]));
    wait_stopped(hold.pid());
    assert_eq!(image(hold.pid()).as_os_str(), site::actor());
    hold
}
