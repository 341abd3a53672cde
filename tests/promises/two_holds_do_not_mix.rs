//! Two holds at the same time: each answer is for its own.

use std::fs;

use holdpoint_tests::{
    Actor, Agent, Hold, LIMIT, control, everything,
    listener::Listener,
    process::{self, thread_state},
    shared, site, wait_for, wait_until,
};
use nix::sys::signal::Signal::SIGCONT;

/// Waits until two threads of the actor are held. The first stops them all, before the second has come to its own call:
/// a foreign SIGCONT lets it.
#[track_caller]
fn both_held(agent: &Agent, actor: &Actor) -> [Hold; 2] {
    let holds = wait_for("two holds", LIMIT, || {
        let holds = agent.holds_of(actor);
        if holds.len() < 2 && !holds.is_empty() {
            process::signal(holds[0].pid(), SIGCONT);
        }
        <[Hold; 2]>::try_from(holds).ok()
    });
    actor.wait_stopped();
    assert_eq!(holds[0].pid(), holds[1].pid());
    assert_ne!(holds[0].tid(), holds[1].tid());
    holds
}

/// Two threads that each create a file, both held. Holds in the order of the files.
struct Pair {
    actor: Actor,
    files: [String; 2],
    holds: [Hold; 2],
}

impl Pair {
    #[track_caller]
    fn held(agent: &Agent) -> Self {
        let files = [site::nothing("hold"), site::nothing("hold")];
        let steps = Self::steps(&files);
        let actor = agent.act(&steps);
        let mut holds = both_held(agent, &actor);
        if holds[0]["path"] != files[0].as_str() {
            holds.swap(0, 1);
        }
        assert_eq!([holds[0].text("path"), holds[1].text("path")], files.each_ref().map(String::as_str));
        Self { actor, files, holds }
    }

    fn steps(files: &[String; 2]) -> [String; 4] {
        let create = |file: &String| format!("thread open {file} w+creat+excl");
        [create(&files[0]), create(&files[1]), "join".to_owned(), "print over".to_owned()]
    }

    /// Ends as the threads' lines say, in whichever order they come.
    #[track_caller]
    fn ends(self, agent: &Agent, lines: [&str; 2]) {
        let ended = self.actor.end();
        let mut said: Vec<_> = ended.stdout.lines().collect();
        assert_eq!(said.pop(), Some("over"), "{ended:?}");
        said.sort_unstable();
        assert_eq!(said, lines);
        assert_eq!(agent.questions(self.holds[0].tree()), 2);
    }
}

#[test]
fn of_two_threads_the_first_is_approved_first() {
    approved_one_after_the_other([0, 1]);
}

#[test]
fn of_two_threads_the_second_is_approved_first() {
    approved_one_after_the_other([1, 0]);
}

#[track_caller]
fn approved_one_after_the_other([first, second]: [usize; 2]) {
    let files = [site::nothing("hold"), site::nothing("hold")];
    let mut said: Vec<_> = control(Pair::steps(&files)).stdout.lines().map(str::to_owned).collect();
    said.sort_unstable();
    assert_eq!(said, ["1 open ok", "2 open ok", "over"], "the control");

    let agent = shared(&everything());
    let pair = Pair::held(&agent);
    agent.approve(&pair.holds[first]);
    wait_until("the approved call has its effect", || site::exists(&pair.files[first]));
    assert!(!site::exists(&pair.files[second]));
    wait_until("the other stays held", || {
        thread_state(pair.holds[second].pid(), pair.holds[second].tid()) == Some('T')
    });
    agent.still_held(&pair.actor, &pair.holds[second]);
    assert!(!site::exists(&pair.files[second]));
    agent.approve(&pair.holds[second]);
    pair.ends(&agent, ["1 open ok", "2 open ok"]);
}

#[test]
fn of_two_threads_one_is_denied_and_then_the_other_approved() {
    let agent = shared(&everything());
    let pair = Pair::held(&agent);
    agent.deny(&pair.holds[0]);
    agent.wait_recorded("the refusal", |line| line["event"] == "refused" && line["hold"] == pair.holds[0].id());
    agent.still_held(&pair.actor, &pair.holds[1]);
    agent.approve(&pair.holds[1]);
    let [denied, approved] = pair.files.clone();
    pair.ends(&agent, ["1 open EPERM", "2 open ok"]);
    assert_eq!((site::exists(denied), site::exists(approved)), (false, true));
}

#[test]
fn of_two_threads_one_is_approved_and_then_the_other_denied() {
    let agent = shared(&everything());
    let pair = Pair::held(&agent);
    agent.approve(&pair.holds[0]);
    agent.deny(&pair.holds[1]);
    let [approved, denied] = pair.files.clone();
    pair.ends(&agent, ["1 open ok", "2 open EPERM"]);
    assert_eq!((site::exists(approved), site::exists(denied)), (true, false));
}

#[test]
fn with_one_thread_approved_and_the_other_held_the_process_does_not_spin() {
    let agent = shared(&everything());
    let pair = Pair::held(&agent);
    agent.approve(&pair.holds[0]);
    wait_until("the approved call has its effect", || site::exists(&pair.files[0]));
    pair.actor.wait_stopped();
    let before = processor_time(pair.actor.pid());
    // A span of work, not a state that is waited for: twenty times the agent looks, and the process has every chance.
    for _ in 0..20 {
        assert_eq!(agent.holds_of(&pair.actor).len(), 1);
    }
    let spent = processor_time(pair.actor.pid()) - before;
    assert!(spent <= 10, "{spent} hundredths of a second");
    agent.approve(&pair.holds[1]);
    pair.ends(&agent, ["1 open ok", "2 open ok"]);
}

/// In hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    // utime and stime are fields 14 and 15; the state is the third.
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn an_approved_connect_that_blocks_and_a_held_thread_do_not_mix() {
    let listener = Listener::v4("hold");
    let full = listener.fill();
    let file = site::nothing("hold");
    let steps = [&format!("thread connect {}", listener.target()), &format!("thread open {file} w+creat+excl"), "join"];
    let agent = shared(&everything());
    let actor = agent.act(steps);
    let [mut connect, mut open] = both_held(&agent, &actor);
    if connect["operation"] != "connect" {
        std::mem::swap(&mut connect, &mut open);
    }
    agent.approve(&connect);
    agent.wait_recorded("the connect has begun", |line| line["event"] == "passed" && line["hold"] == connect.id());
    wait_until("the other is held again", || thread_state(open.pid(), open.tid()) == Some('T'));
    agent.still_held(&actor, &open);
    assert!(!site::exists(&file));
    agent.approve(&open);
    actor.wait_line("2 open ok");
    drop(listener.accept());
    actor.wait_line("1 connect ok");
    assert_eq!(actor.end().stdout, "2 open ok\n1 connect ok\n");
    assert_eq!(agent.questions(connect.tree()), 2);
    drop((listener.accept(), full));
}

#[test]
fn two_processes_of_a_tree_do_not_mix() {
    let files = [site::nothing("hold"), site::nothing("hold")];
    let create = |file: &String| format!("open {file} w+creat+excl");
    let steps = ["fork", &create(&files[0]), "end", "fork", &create(&files[1]), "end", "wait", "wait"];
    let agent = shared(&everything());
    let actor = agent.act(steps);
    let mut holds = wait_for("two holds", LIMIT, || <[Hold; 2]>::try_from(agent.holds_of(&actor)).ok());
    if holds[0]["path"] != files[0].as_str() {
        holds.swap(0, 1);
    }
    assert_ne!(holds[0].pid(), holds[1].pid());
    agent.approve(&holds[1]);
    actor.wait_line("wait exited 0");
    assert!(site::exists(&files[1]) && !site::exists(&files[0]));
    agent.still_held(&actor, &holds[0]);
    assert_eq!(process::state(holds[0].pid()), Some('T'));
    agent.deny(&holds[0]);
    assert_eq!(actor.end().stdout, "open ok\nwait exited 0\nopen EPERM\nwait exited 0\n");
    assert!(!site::exists(&files[0]));
    assert_eq!(agent.questions(holds[0].tree()), 2);
}
