//! `holdpoint run` between a shell and a command, with a fake agent behind the socket `tree`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::{
            net::{UnixListener, UnixStream},
            process::ExitStatusExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};

const HOLDPOINT: &str = env!("CARGO_BIN_EXE_holdpoint");
const TREE: &str = "00000000000000aa";
const ENROLLED: &str = r#"{"reply":"enrolled","tree":"00000000000000aa"}"#;
const TAKEN: &str = r#"{"reply":"confirmed","taken":true}"#;
const NOTHING_HELD: &str = r#"{"reply":"watching","held":[]}"#;

/// What the fake agent replies.
#[derive(Clone, Copy)]
struct Script {
    enrol: &'static str,
    confirm: &'static str,
    watch: &'static [&'static str],
}

const WILLING: Script = Script { enrol: ENROLLED, confirm: TAKEN, watch: &[NOTHING_HELD] };

/// A fake agent in a directory of its own, removed at the end.
struct Agent(PathBuf);

impl Agent {
    fn new(name: &str, script: Script) -> Self {
        let agent = Self::absent(name);
        let listener = UnixListener::bind(agent.0.join("tree")).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || serve(stream.unwrap(), script));
            }
        });
        agent
    }

    fn absent(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("holdpoint-run-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// With every signal as it is for a fresh shell: what started the tests may ignore some.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("env");
        command
            .args(["--default-signal", HOLDPOINT, "--run-dir"])
            .arg(&self.0)
            .arg("run")
            .args(words)
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn serve(stream: UnixStream, script: Script) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let request: serde_json::Value = serde_json::from_str(&line).unwrap();
        let replies = match request["body"]["ask"].as_str().unwrap() {
            "enrol" => &[script.enrol],
            "confirm" => &[script.confirm],
            _ => {
                assert_eq!(request["body"]["tree"], TREE);
                script.watch
            }
        };
        for reply in replies {
            let _ = writeln!(writer, r#"{{"version":1,"body":{reply}}}"#);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_command_runs_and_its_exit_code_is_the_result() {
    let output = Agent::new("code", WILLING).run(&["--", "sh", "-c", "echo \"$0\"; exit 7", "an argument"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(7), "an argument\n".to_owned()));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn nothing_runs_without_an_agent() {
    let output = Agent::absent("absent").run(&["--", "echo", "ran"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), String::new()));
    assert!(text(&output.stderr).contains("systemctl start holdpoint"), "{}", text(&output.stderr));
}

#[test]
fn nothing_runs_unless_the_kernel_took_it() {
    let refused = r#"{"reply":"refused","cause":"no subject \"x\"","remedy":null}"#;
    let not_taken = Script { confirm: r#"{"reply":"confirmed","taken":false}"#, ..WILLING };
    for (name, script) in [("untaken", not_taken), ("refused", Script { enrol: refused, ..WILLING })] {
        let output = Agent::new(name, script).run(&["--", "echo", "ran"]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(125), String::new()), "{name}");
    }
}

#[test]
fn what_cannot_be_executed_has_the_exit_code_of_a_shell() {
    let agent = Agent::new("exec", WILLING);
    assert_eq!(agent.run(&["--", "/nowhere/to/be/found"]).status.code(), Some(127));
    assert_eq!(agent.run(&["--", "/etc/passwd"]).status.code(), Some(126));
}

#[test]
fn a_governed_tree_keeps_its_subject() {
    let script = Script { enrol: r#"{"reply":"already_governed","subject":"ci"}"#, ..WILLING };
    let agent = Agent::new("already", script);
    assert_eq!(agent.run(&["--", "true"]).status.code(), Some(0));
    assert_eq!(agent.run(&["--subject", "ci", "--", "true"]).status.code(), Some(0));
    assert_eq!(agent.run(&["--subject", "other", "--", "true"]).status.code(), Some(125));
}

#[test]
fn what_is_claimed_goes_with_the_enrolment() {
    let agent = Agent::absent("claims");
    let listener = UnixListener::bind(agent.0.join("tree")).unwrap();
    let asked = thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(listener.accept().unwrap().0).read_line(&mut line).unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    });
    let mut command = agent.command(&["--intent", "release", "--task", "", "--", "true"]);
    for (name, text) in [("INTENT", "another"), ("TASK", "another"), ("TICKET", "A-1")] {
        command.env(format!("HOLDPOINT_{name}"), text);
    }
    // Nobody replies.
    assert_eq!(command.output().unwrap().status.code(), Some(125));
    let expected = serde_json::json!({ "intent": "release", "ticket": "A-1" });
    assert_eq!(asked.join().unwrap()["body"]["said"], expected);
}

#[test]
fn who_waits_sees_the_signal_that_ended_the_command() {
    let agent = Agent::new("signal", WILLING);
    for signal in [Signal::SIGTERM, Signal::SIGKILL, Signal::SIGINT, Signal::SIGPIPE, Signal::SIGSEGV] {
        let output = agent.run(&["--", "sh", "-c", &format!("kill -{} $$", signal as i32)]);
        assert_eq!(output.status.signal(), Some(signal as i32), "{signal}: {:?}", output.status);
        assert!(!output.status.core_dumped());
    }
}

/// The control is the same command without `holdpoint run`.
#[test]
fn the_command_has_the_callers_signal_mask_and_dispositions() {
    let agent = Agent::new("mask", WILLING);
    let run = format!("{HOLDPOINT} --run-dir {} run --", agent.0.display());
    for blocked in [&[][..], &[Signal::SIGTERM, Signal::SIGALRM, Signal::SIGCHLD]] {
        // For this thread, and so for what it starts.
        blocked.iter().copied().collect::<SigSet>().thread_block().unwrap();
        for trap in ["true", "trap '' INT", "trap '' HUP TERM USR1 TTOU", "trap '' CHLD"] {
            let (governed, control) = (signal_state(trap, &run), signal_state(trap, ""));
            assert_eq!(governed, control, "{trap}");
            assert_eq!(control.lines().count(), 3, "{control}");
        }
    }
}

fn signal_state(trap: &str, prefix: &str) -> String {
    let script = format!("{trap}; exec {prefix} grep -E '^Sig(Blk|Ign|Cgt):' /proc/self/status");
    text(&Command::new("bash").args(["-c", &script]).output().unwrap().stdout)
}

#[test]
fn the_exit_code_is_known_even_if_the_caller_ignores_children() {
    let agent = Agent::new("chld", WILLING);
    let script = format!("trap '' CHLD; exec {HOLDPOINT} --run-dir {} run -- sh -c 'exit 7'", agent.0.display());
    assert_eq!(Command::new("bash").args(["-c", &script]).status().unwrap().code(), Some(7));
}

#[test]
fn a_signal_to_run_reaches_the_command() {
    let agent = Agent::new("forward", WILLING);
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let script = "trap 'exit 9' TERM INT HUP; echo ready; while :; do sleep 0.05; done";
        let mut child = agent.command(&["--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9), "{signal}");
    }
}

#[test]
fn the_command_dies_with_run() {
    let agent = Agent::new("death", WILLING);
    let mut child =
        agent.command(&["--", "sh", "-c", "echo $$; exec sleep 60"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let limit = Instant::now() + Duration::from_secs(10);
    while alive(pid.trim()) {
        assert!(Instant::now() < limit, "{pid} lives on");
        thread::sleep(Duration::from_millis(10));
    }
}

fn state(pid: &str) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn alive(pid: &str) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// What a held process looks like from outside: stopped. Its parent must not look so.
#[test]
fn run_goes_on_waiting_while_the_command_is_stopped() {
    let agent = Agent::new("stopped", WILLING);
    let script = "echo $$; kill -STOP $$; exit 5";
    let mut child = agent.command(&["--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let limit = Instant::now() + Duration::from_secs(10);
    while state(pid.trim()) != Some('T') {
        assert!(Instant::now() < limit, "{pid} is not stopped");
        thread::sleep(Duration::from_millis(10));
    }
    thread::sleep(Duration::from_millis(50));
    assert_eq!(state(&child.id().to_string()), Some('S'));
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGCONT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn a_connection_with_authority_is_not_inherited() {
    let agent = Agent::new("authority", WILLING);
    let control = agent.0.join("control");
    let listener = UnixListener::bind(&control).unwrap();
    let (with, without) = (UnixStream::connect(&control).unwrap(), UnixStream::connect(agent.0.join("tree")).unwrap());
    for stream in [&with, &without] {
        fcntl(stream, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    }
    let output = agent.run(&["--", "ls", "/proc/self/fd"]);
    let open: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert!(!open.contains(&with.as_raw_fd().to_string()), "{open:?}");
    assert!(open.contains(&without.as_raw_fd().to_string()), "the control: {open:?}");
    drop(listener);
}

#[test]
fn what_is_held_is_said_in_one_line_and_how_it_ended_too() {
    let held = r#"{"reply":"watching","held":[{"what":"held","id":"3f9c12ab00000000","sentence":"open /srv/x (read)","since":"2026-05-01T12:01:05Z","reviewers":"security"}]}"#;
    let ended = r#"{"reply":"notice","what":"ended","id":"3f9c12ab00000000","end":"denied","who":"bob","why":"not today","after":4000}"#;
    let watch: &'static [&'static str] = Box::leak(Box::new([held, ended]));
    let agent = Agent::new("told", Script { watch, ..WILLING });
    let said = text(&agent.command(&["--", "sleep", "0.5"]).env("TZ", "UTC").output().unwrap().stderr);
    let lines = "holdpoint: held 3f9c12ab… open /srv/x (read) since 12:01:05, asking security\n\
                 holdpoint: 3f9c12ab… denied by bob: not today\n";
    assert_eq!(said, lines);
    assert_eq!(text(&agent.run(&["--quiet", "--", "sleep", "0.5"]).stderr), "");
}

#[test]
fn an_agent_that_goes_away_is_mentioned_once() {
    let agent = Agent::absent("away");
    let listener = UnixListener::bind(agent.0.join("tree")).unwrap();
    let path = agent.0.join("tree");
    thread::spawn(move || away_after_confirmation(&listener, &path));
    let output = agent.run(&["--", "sleep", "1.5"]);
    assert_eq!(text(&output.stderr), "holdpoint: the agent is away; what is held stays held\n");
    assert!(output.status.success());
}

fn away_after_confirmation(listener: &UnixListener, path: &Path) {
    let (first, _) = listener.accept().unwrap();
    serve(first, WILLING);
    fs::remove_file(path).unwrap();
}
