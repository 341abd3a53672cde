//! Promise 2: an approved operation behaves exactly as without holdpoint, but by the clock.

use std::{fs, io::Write as _, path::Path, thread};

use holdpoint_tests::{
    Actor, Agent, Hold, User, actor::with_actor, control, everything, listener::Listener, process::state, shared, site,
    ungoverned, wait_until,
};
use nix::sys::signal::Signal::SIGUSR1;

#[test]
fn opening_the_same_file_twice_is_two_questions() {
    let file = site::file("hold", "Ada\n");
    let open = format!("open {file} r");
    assert_eq!(control([&open, &open]).stdout, "open ok\nopen ok\n", "the control");
    let agent = shared(&everything());
    let actor = agent.act([&open, &open]);
    let first = agent.hold_of(&actor);
    agent.approve(&first);
    actor.wait_line("open ok");
    let second = agent.hold_of(&actor);
    assert_ne!(first.id(), second.id());
    assert_eq!(actor.stdout(), "open ok\n", "the second is not covered by the first");
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "open ok\nopen EPERM\n");
    assert_eq!(agent.questions(first.tree()), 2);
}

/// Approves the actor's call and waits until it sleeps in it.
fn approved_and_sleeping(agent: &Agent, actor: &Actor) -> Hold {
    let hold = agent.hold_of(actor);
    agent.approve(&hold);
    agent.wait_recorded("it passed", |line| line["event"] == "passed" && line["hold"] == hold.id());
    wait_until("the call sleeps", || state(hold.pid()) == Some('S'));
    hold
}

fn write_to(fifo: &str) {
    fs::File::options().write(true).open(fifo).unwrap().write_all(b"Ada\n").unwrap();
}

#[test]
fn a_fifo_open_that_a_signal_restarts_is_one_question() {
    let fifo = site::fifo("hold");
    let steps = ["handler 10 restart", &format!("open {fifo} r"), "read"];
    let success = "handled 10\nopen ok\nread Ada\n";

    let actor = ungoverned(User::AGENT, with_actor(steps));
    wait_until("the open sleeps", || sleeps_in_open(&actor));
    interrupted_then_written(actor, &fifo, success);

    let agent = shared(&everything());
    let actor = agent.act(steps);
    let hold = approved_and_sleeping(&agent, &actor);
    interrupted_then_written(actor, &fifo, success);
    assert_eq!(agent.questions(hold.tree()), 1);
}

fn sleeps_in_open(actor: &Actor) -> bool {
    sleeps_in(actor, &["2", "257"])
}

fn sleeps_in_connect(actor: &Actor) -> bool {
    sleeps_in(actor, &["42"])
}

/// Whether the actor sleeps in a system call with one of these numbers.
fn sleeps_in(actor: &Actor, numbers: &[&str]) -> bool {
    let call = fs::read_to_string(format!("/proc/{}/syscall", actor.pid())).unwrap_or_default();
    state(actor.pid()) == Some('S') && call.split(' ').next().is_some_and(|number| numbers.contains(&number))
}

fn interrupted_then_written(actor: Actor, fifo: &str, success: &str) {
    actor.signal(SIGUSR1);
    actor.wait_line("handled 10");
    wait_until("it sleeps again", || sleeps_in_open(&actor));
    write_to(fifo);
    assert_eq!(actor.end().stdout, success);
}

#[test]
fn a_fifo_open_that_a_signal_interrupts_returns_eintr_and_the_next_is_a_new_question() {
    let fifo = site::fifo("hold");
    let open = format!("open {fifo} r");
    let agent = shared(&everything());
    let actor = agent.act(["handler 10 plain", &open, &open, "read"]);
    let hold = approved_and_sleeping(&agent, &actor);
    actor.signal(SIGUSR1);
    actor.wait_line("open EINTR");
    let second = agent.hold_of(&actor);
    assert_ne!(hold.id(), second.id());
    agent.approve(&second);
    write_to(&fifo);
    assert_eq!(actor.end().stdout, "handled 10\nopen EINTR\nopen ok\nread Ada\n");
    assert_eq!(agent.questions(hold.tree()), 2);
}

#[test]
fn a_blocking_connect_that_a_signal_restarts_is_one_question() {
    let listener = Listener::v4("hold");
    let full = listener.fill();
    let steps = ["handler 10 restart", &format!("connect {}", listener.target())];

    let actor = ungoverned(User::AGENT, with_actor(steps));
    wait_until("the connect sleeps", || sleeps_in_connect(&actor));
    interrupted_then_accepted(actor, &listener);

    let agent = shared(&everything());
    let actor = agent.act(steps);
    let hold = approved_and_sleeping(&agent, &actor);
    interrupted_then_accepted(actor, &listener);
    assert_eq!(agent.questions(hold.tree()), 1);
    drop(full);
}

fn interrupted_then_accepted(actor: Actor, listener: &Listener) {
    actor.signal(SIGUSR1);
    actor.wait_line("handled 10");
    wait_until("it sleeps again", || sleeps_in_connect(&actor));
    assert_eq!(actor.stdout(), "handled 10\n");
    drop(listener.accept());
    assert_eq!(actor.end().stdout, "handled 10\nconnect ok\n");
}

#[test]
fn a_blocking_connect_that_a_signal_interrupts_returns_eintr_and_goes_on_without_a_question() {
    let listener = Listener::v4("hold");
    let full = listener.fill();
    let connect = format!("connect {}", listener.target());
    let agent = shared(&everything());
    let actor = agent.act(["handler 10 plain", &connect, "again", &connect]);
    let hold = approved_and_sleeping(&agent, &actor);
    actor.signal(SIGUSR1);
    actor.wait_line("connect EINTR");
    drop(listener.accept());
    actor.wait_line("connect ok");
    // Another socket is another connection.
    let second = agent.hold_of(&actor);
    assert_ne!(hold.id(), second.id());
    agent.deny(&second);
    assert_eq!(actor.end().stdout, "handled 10\nconnect EINTR\nconnect ok\nconnect EPERM\n");
    assert_eq!(agent.questions(hold.tree()), 2);
    drop(full);
}

/// Runs `command` without holdpoint, then held and approved: it prints the same and ends the same.
#[track_caller]
fn goes_on_as_if_nothing_had_been(command: &[&str], questions: usize) {
    let control = ungoverned(User::AGENT, command).end();
    assert!(control.status.success(), "the control: {control:?}");
    let agent = shared(&everything());
    let (ended, asked) = agent.approve_to_the_end(agent.spawn(User::AGENT, command));
    assert_eq!(ended, control);
    assert_eq!(asked, questions);
}

#[test]
fn a_python_program_with_threads_goes_on() {
    let files: Vec<_> = (0..3).map(|index| site::file("hold", &format!("customer {index}\n"))).collect();
    let program = r#"
import sys, threading, queue
seen, ticks, over = queue.Queue(), [0], threading.Event()
def read(path):
    with open(path) as file:
        seen.put(file.read().strip())
def tick():
    while not over.wait(0.01):
        ticks[0] += 1
clock = threading.Thread(target=tick)
clock.start()
readers = [threading.Thread(target=read, args=(path,)) for path in sys.argv[1:]]
for reader in readers: reader.start()
for reader in readers: reader.join()
over.set()
clock.join()
print(sorted(seen.queue), seen.qsize())
"#;
    goes_on_as_if_nothing_had_been(&["python3", "-c", program, &files[0], &files[1], &files[2]], 3);
}

#[test]
fn bash_goes_on() {
    let file = site::file("hold", "Ada\nBob\n");
    let program = site::program("bin-hold", "/usr/bin/tr");
    let script = format!(
        "set -e; while read -r name; do echo \"<$name>\"; done < {file} | {program} a-z A-Z; \
         x=$({program} A-Z a-z <<< HELLO); echo $x; ({program} a b < /dev/null; exit 3) || echo $?; wait; jobs"
    );
    goes_on_as_if_nothing_had_been(&["bash", "-c", &script], 4);
}

#[test]
fn curl_goes_on() {
    let address = Listener::v4("hold").serve("Ada\n");
    let url = format!("http://{address}/customers");
    goes_on_as_if_nothing_had_been(&["curl", "--silent", "--show-error", "--fail", &url], 1);
}

#[test]
fn git_goes_on() {
    let directory = site::directory("git");
    let repository = directory.join("origin");
    let copy = directory.join("copy");
    let (repository, copy) = (repository.to_str().unwrap(), copy.to_str().unwrap());
    let make = format!(
        "git init -q -b main {repository} && cd {repository} && echo Ada >customers && git add . && \
         git -c user.name=a -c user.email=a@b commit -q -m 'all customers'"
    );
    let made = ungoverned(User::AGENT, ["sh", "-c", &make]).end();
    assert!(made.status.success(), "{made:?}");
    // git starts it by fork and exec and talks to it by pipes.
    let helper = site::script("bin-hold", "#!/bin/sh\nexec git-upload-pack \"$@\"\n");
    let clone = format!(
        "rm -rf {copy} && git clone -q --no-local -u {helper} {repository} {copy} && \
         git -C {copy} log --format=%s && cat {copy}/customers"
    );
    goes_on_as_if_nothing_had_been(&["sh", "-c", &clone], 1);
}

#[test]
fn a_posix_spawn_parent_goes_on() {
    let program = site::program("bin-hold", "/usr/bin/echo");
    goes_on_as_if_nothing_had_been(&[site::actor(), &format!("spawn {program} spawned"), "print parent"], 1);
    assert!(Path::new(&program).exists());
    goes_on_as_if_nothing_had_been(&[site::actor(), &format!("vfork {program} spawned"), "print parent"], 1);
    let program = format!(
        "import subprocess; p = subprocess.run(['{program}', 'spawned'], capture_output=True); \
         print(p.returncode, p.stdout)"
    );
    goes_on_as_if_nothing_had_been(&["python3", "-c", &program], 1);
}

#[test]
fn a_server_sees_one_connection_of_an_approved_client() {
    let listener = Listener::v4("hold");
    let target = listener.address();
    let command = [
        "python3",
        "-c",
        &format!(
            "
import socket
s = socket.create_connection(('{}', {}), timeout=60)
print(s.recv(100))
",
            target.ip(),
            target.port()
        ),
    ];
    let agent = shared(&everything());
    let actor = agent.spawn(User::AGENT, command);
    let hold = agent.hold_of(&actor);
    agent.approve(&hold);
    let mut stream = listener.accept();
    stream.write_all(b"Ada").unwrap();
    drop(stream);
    assert_eq!(actor.end().stdout, "b'Ada'\n");
    assert!(listener.waiting().is_none());
    // Without holdpoint it is the same.
    let client = thread::spawn(move || {
        ungoverned(User::AGENT, ["nc", "-N", &target.ip().to_string(), &target.port().to_string()]).end()
    });
    drop(listener.accept());
    assert!(client.join().unwrap().status.success());
    assert_eq!(control(["print control"]).stdout, "control\n");
}
