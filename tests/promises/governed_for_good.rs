//! Promise 7, in time: what runs already when the policy makes a subject of it is governed from then on, with what it has
//! brought forth; and what is governed stays so.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::Command,
};

use holdpoint_tests::{
    Actor, Agent, Json, User,
    actor::with_actor,
    control,
    policy::{allowing, under},
    shared,
    site::{self, ROOT},
    ungoverned, wait_for, wait_until,
};

/// A control group that the policy governs.
const GROUP: &str = "/holdpoint-tests-early";

/// Governs a program, a shell and a control group, and knows one more subject.
fn policy() -> String {
    under(&format!(
        r#"
[[subject]]
name = "early"
exe = ["{ROOT}/early/program", "{ROOT}/early/shell"]
cgroup = ["{GROUP}"]

[[subject]]
name = "other"
"#
    ))
}

/// [`policy`] before anybody thought of those programs.
fn policy_of_nobody() -> String {
    let governing = |line: &&str| !line.starts_with("exe =") && !line.starts_with("cgroup =");
    policy().lines().filter(governing).collect::<Vec<_>>().join("\n")
}

/// A host without Holdpoint, with what the policy names; gives the program.
fn without_holdpoint() -> String {
    shared::evict();
    let program = programs();
    // After an agent was detached, its programs can be at work for a moment more.
    let open = format!("open {} r", site::file("hold", "Ada\n"));
    wait_until("nobody governs it", || ungoverned(User::AGENT, [&program, &open]).end().stdout == "open ok\n");
    program
}

/// A host without an agent, where a policy is in force that makes subjects of nobody, and with what ours names.
fn before() -> String {
    shared::calm();
    programs()
}

fn programs() -> String {
    let directory = Path::new(ROOT).join("early");
    fs::create_dir_all(&directory).unwrap();
    for (name, original) in [("program", site::actor()), ("shell", "/bin/sh")] {
        let file = directory.join(name);
        if !file.exists() {
            fs::copy(original, file).unwrap();
        }
    }
    fs::create_dir_all(group()).unwrap();
    format!("{ROOT}/early/program")
}

fn group() -> String {
    format!("/sys/fs/cgroup{GROUP}")
}

/// Opens the file and reads it, as often as told, and waits for a line in between.
fn opens(file: &str, times: usize) -> Vec<String> {
    let once = [format!("open {file} r"), "read".to_owned(), "close".to_owned()];
    vec![once; times].join(&"line".to_owned())
}

/// The record's lines on processes that ran already.
fn found(agent: &Agent) -> Vec<Json> {
    let mut lines = agent.record();
    lines.retain(|line| line["event"] == "enrolled" && line["already_running"] == true);
    lines
}

/// Waits until it is on record that process `pid` was found, and checks that it is so once.
#[track_caller]
fn found_once(agent: &Agent, pid: u32) -> Json {
    let line = agent.wait_recorded(format!("{pid} ran already"), |line| {
        line["event"] == "enrolled" && line["already_running"] == true && line["pid"] == pid
    });
    assert_eq!(found(agent).iter().filter(|line| line["pid"] == pid).count(), 1);
    line
}

/// A program of which the policy makes no subject does the same, and nobody is asked.
#[track_caller]
fn another_goes_on(file: &str) {
    let ended = control([format!("open {file} r"), "read".to_owned()]);
    assert_eq!(ended.stdout, "open ok\nread Ada\n", "no subject of the policy");
}

/// The actor's next two attempts are held: approved, the first goes on; denied, the second fails.
#[track_caller]
fn held_from_now_on(agent: &Agent, actor: &mut Actor, file: &str) {
    let before = actor.stdout();
    actor.go_on();
    let hold = agent.wait_for_hold(|hold| hold["path"] == file);
    assert_eq!((hold.text("subject"), hold.pid()), ("early", actor.pid()));
    assert_eq!(actor.stdout(), before, "nothing before the answer");
    agent.approve(&hold);
    wait_until("it has gone on", || actor.stdout() == format!("{before}open ok\nread Ada\n"));
    actor.go_on();
    let hold = agent.wait_for_hold(|second| second["path"] == file && second.id() != hold.id());
    agent.deny(&hold);
    assert_eq!(actor.wait_end().stdout, format!("{before}open ok\nread Ada\nopen EPERM\nread EBADF\n"));
}

#[test]
fn who_ran_before_the_agent_is_governed_by_program_or_group() {
    let program = without_holdpoint();
    let file = site::file("hold", "Ada\n");
    let steps = opens(&file, 3);
    let words = std::iter::once(&program).chain(&steps);
    let mut by_program = ungoverned(User::AGENT, words);
    let enter = format!("echo $$ >{}/cgroup.procs; exec \"$0\" \"$@\"", group());
    let words = ["sh", "-c", &enter].map(Into::into).into_iter().chain(with_actor(&steps));
    let mut by_group = ungoverned(User::ROOT, words);
    let mut bystander = ungoverned(User::AGENT, with_actor(opens(&file, 2)));
    for actor in [&by_program, &by_group, &bystander] {
        wait_until("the control: it reads", || actor.stdout() == "open ok\nread Ada\n");
    }

    let agent = Agent::start(&policy());
    let line = found_once(&agent, by_program.pid());
    assert_eq!((&line["subject"], &line["launcher"]), (&"early".into(), &site::AGENT.into()));
    let line = found_once(&agent, by_group.pid());
    assert_eq!((&line["subject"], &line["launcher"]), (&"early".into(), &0.into()));
    assert_eq!(found(&agent).len(), 2, "nobody else");
    assert_eq!(agent.status()["governed_threads"], 2);
    assert!(agent.log().contains("found already running: governed from now on processes=2"), "{}", agent.log());
    bystander.go_on();
    assert_eq!(bystander.wait_end().stdout, "open ok\nread Ada\n".repeat(2), "no subject of the policy");
    held_from_now_on(&agent, &mut by_program, &file);
    held_from_now_on(&agent, &mut by_group, &file);
}

#[test]
fn threads_and_descendants_from_before_are_of_the_tree() {
    let program = before();
    let files = [site::file("hold", "Ada\n"), site::file("hold", "Ada\n")];
    let go = format!("{}-go", site::nothing("free"));
    let in_thread = format!("thread after {go} open {} r", files[0]);
    let threads = ungoverned(User::AGENT, [&program, &in_thread, "print begun", "join"]);
    // A governed shell that waits for a child which executes something that no subject is.
    let shell = format!("{ROOT}/early/shell");
    let child = [&shell, "-c", "\"$0\" \"$@\"; true", site::actor(), "print begun", "line"];
    let open = format!("open {} r", files[1]);
    let mut family = ungoverned(User::AGENT, child.into_iter().chain([open.as_str()]));
    let mut bystander = ungoverned(User::AGENT, with_actor(["print begun", "line", &open]));
    for actor in [&threads, &family, &bystander] {
        actor.wait_line("begun");
    }

    let agent = Agent::start(&policy());
    let parent = found_once(&agent, family.pid());
    assert_eq!(found(&agent).len(), 3, "one of two threads, the shell, its child: {:#?}", found(&agent));
    assert_eq!(agent.status()["governed_threads"], 4);
    bystander.go_on();
    assert_eq!(bystander.end().stdout, "begun\nopen ok\n", "no subject of the policy");
    family.go_on();
    let hold = agent.hold_of(&family);
    assert_ne!(hold.pid(), family.pid());
    assert_eq!((hold.text("tree"), hold.text("subject")), (parent["tree"].as_str().unwrap(), "early"));
    assert_eq!(found_once(&agent, hold.pid())["tree"], parent["tree"]);
    agent.deny(&hold);
    assert_eq!(family.end().stdout, "begun\nopen EPERM\n");

    fs::write(&go, "").unwrap();
    let hold = agent.hold_of(&threads);
    assert_eq!(hold.pid(), threads.pid());
    assert_ne!(hold.tid(), hold.pid());
    assert_eq!(hold["tree"], found_once(&agent, threads.pid())["tree"]);
    agent.approve(&hold);
    assert_eq!(threads.end().stdout, "begun\n1 open ok\n");
}

#[test]
fn a_new_policy_governs_what_runs_and_lets_nobody_go() {
    let program = before();
    let file = site::file("hold", "Ada\n");
    let mut agent = Agent::start(&policy_of_nobody());
    let mut actors: Vec<_> =
        (0..2).map(|_| ungoverned(User::AGENT, std::iter::once(&program).chain(&opens(&file, 3)))).collect();
    for actor in &actors {
        wait_until("the control: nobody governs it", || actor.stdout() == "open ok\nread Ada\n");
    }
    let reload = |agent: &mut Agent, policy: &str| {
        fs::write(agent.directory().join("policy.toml"), policy).unwrap();
        agent.restart();
    };
    reload(&mut agent, &policy());
    for actor in &actors {
        assert_eq!(found_once(&agent, actor.pid())["subject"], "early");
    }
    another_goes_on(&file);
    held_from_now_on(&agent, &mut actors.remove(0), &file);
    // The policy knows the subject still, but nothing that would start it.
    reload(&mut agent, &policy_of_nobody());
    held_from_now_on(&agent, &mut actors.remove(0), &file);
}

/// Lines of processes go on while the agent starts: each makes the next one and ends. A single look at the host, without
/// looking at who forks, loses a line whose youngest is born behind its back and whose parent has ended when it comes
/// there. And one that looks at who forks and is not repeated leaves who came into the group behind its back.
#[test]
fn no_fork_slips_through_while_the_agent_starts() {
    let program = without_holdpoint();
    let file = site::file("deny", "Ada\n");
    let steps = [&program, &format!("generations 3 {file}"), "print begun", "line", "harvest"];
    let counts = |line: &str| -> Vec<u32> { line.split(' ').filter_map(|word| word.parse().ok()).collect() };
    let harvest = |mut actor: Actor| {
        actor.go_on();
        let said = actor.wait_end().stdout;
        counts(said.lines().last().unwrap_or_default())
    };
    let free = ungoverned(User::AGENT, steps);
    free.wait_line("begun");
    let [_, opened, 0] = harvest(free)[..] else { panic!("the control: all can open it") };
    assert!(opened >= 3);

    let storm = ungoverned(User::AGENT, steps);
    storm.wait_line("begun");
    let agent = Agent::start(&policy());
    found_once(&agent, storm.pid());
    let [born, 0, refused] = harvest(storm)[..] else { panic!("somebody has slipped through") };
    assert!(born > 200 && refused >= 3, "{born} born, {refused} refused");
    assert!(found(&agent).len() >= 4, "who began it and a process of each line: {:#?}", found(&agent));
}

/// The control groups of `pid` in the unified hierarchy.
fn group_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = text.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    format!("/sys/fs/cgroup{path}")
}

fn enter(group: &str, pid: u32) {
    fs::write(format!("{group}/cgroup.procs"), pid.to_string()).unwrap();
}

#[test]
fn who_enters_a_group_stays_governed_and_the_agent_and_process_1_never_are() {
    before();
    let file = site::file("hold", "Ada\n");
    let agent = Agent::start(&policy());
    let mut actor = ungoverned(User::AGENT, with_actor(opens(&file, 3)));
    wait_until("the control: nobody governs it", || actor.stdout() == "open ok\nread Ada\n");
    let homes = [actor.pid(), agent.pid(), 1].map(|pid| (pid, group_of(pid)));
    for (pid, _) in &homes {
        enter(&group(), *pid);
    }
    // A change of the mounts puts the policy in force anew, which finds who is in the group by now.
    let mount = site::directory("free");
    assert!(Command::new("mount").args(["-t", "tmpfs", "early"]).arg(&mount).status().unwrap().success());
    let line = found_once(&agent, actor.pid());
    assert!(Command::new("umount").arg(&mount).status().unwrap().success());
    for (pid, home) in &homes {
        enter(home, *pid);
    }
    wait_for("both mounts are followed", holdpoint_tests::LIMIT, || {
        (agent.log().matches("the policy was compiled again").count() >= 2).then_some(())
    });
    assert_eq!(found(&agent), [line], "neither the agent nor process 1");
    assert_eq!(agent.status()["governed_threads"], 1);
    another_goes_on(&file);
    // It is in the group no more.
    held_from_now_on(&agent, &mut actor, &file);
}

#[test]
fn a_set_user_id_program_is_held_too() {
    let file = site::file("hold", "Ada\n");
    chown(&file, Some(0), Some(0)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let steps = opens(&file, 1);
    assert_eq!(control(&steps).stdout, "open EACCES\nread EBADF\n", "the user alone may not");
    let program = site::program("free", site::actor());
    chown(&program, Some(0), Some(0)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    let command = || std::iter::once(&program).chain(&steps);
    assert_eq!(ungoverned(User::AGENT, command()).end().stdout, "open ok\nread Ada\n", "the control");

    let agent = shared(&allowing("\"privilege\""));
    for (answer, expected) in [("approve", "open ok\nread Ada\n"), ("deny", "open EPERM\nread EBADF\n")] {
        let actor = agent.spawn(User::AGENT, command());
        let hold = agent.hold_of(&actor);
        assert_eq!((hold.text("user"), hold.text("path")), ("agent", &*file));
        assert!(agent.say(User::REVIEWER, [answer, hold.id()]).success());
        assert_eq!(actor.end().stdout, expected);
    }
}
