//! The agent under test.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fmt::Display,
    fs::{self, File},
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom},
    mem,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{Actor, Hold, LIMIT, User, actor::with_actor, policy, process, shared, site, wait_for, wait_until};

/// Where the agent pins what outlives it.
pub const PINS: &str = "/sys/fs/bpf/holdpoint";
/// Where decisions are recorded.
pub const RECORD: &str = "/var/lib/holdpoint/record.jsonl";
/// Within this time a started agent enforces.
const READY: Duration = Duration::from_secs(180);
/// Lines of the agent's log that a failed test shows.
const LOG_LINES: usize = 40;

/// The program under test.
///
/// # Panics
/// Outside the virtual machine: these tests run as root, and leave traces.
pub fn holdpoint() -> String {
    env::var("HOLDPOINT").expect("these tests run in the virtual machine: cargo xtask test")
}

/// What an agent is started with.
#[derive(Clone, Debug)]
pub struct Builder {
    policy: String,
    config: Option<String>,
}

impl Builder {
    /// With this `config.toml`; without one, nobody is asked but by `holdpoint holds`.
    #[must_use]
    pub fn config(self, text: impl Into<String>) -> Self {
        Self { config: Some(text.into()), ..self }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// If it does not become ready; its log is shown.
    #[track_caller]
    pub fn start(self) -> Agent {
        shared::end();
        self.launch()
    }

    #[track_caller]
    pub(crate) fn launch(self) -> Agent {
        policy::make_directories();
        let directory =
            Path::new("/run/holdpoint-tests").join(format!("agent-{}-{}", std::process::id(), site::fresh()));
        fs::create_dir_all(&directory).expect("create a directory");
        fs::write(directory.join("policy.toml"), &self.policy).expect("write the policy");
        if let Some(config) = &self.config {
            fs::write(directory.join("config.toml"), config).expect("write the configuration");
        }
        let recorded = fs::metadata(RECORD).map_or(0, |metadata| metadata.len());
        let mut agent = Agent { child: None, directory, policy: self.policy, recorded };
        agent.run();
        agent
    }
}

/// What a command of the command line said.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Reply {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// An agent that enforces. Detached when dropped, and then nothing may be left of it.
#[derive(Debug)]
pub struct Agent {
    child: Option<Child>,
    directory: PathBuf,
    policy: String,
    /// Length of the record before it was started.
    recorded: u64,
}

impl Agent {
    /// An agent under this policy, without channels.
    #[track_caller]
    pub fn start(policy: &str) -> Self {
        Self::builder(policy).start()
    }

    /// What to start an agent with.
    pub fn builder(policy: &str) -> Builder {
        Builder { policy: policy.to_owned(), config: None }
    }

    /// The policy's text.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The configuration's text.
    pub fn config(&self) -> Option<String> {
        fs::read_to_string(self.directory.join("config.toml")).ok()
    }

    /// Its directory, with `policy.toml`, `config.toml` and `log`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether its process lives.
    pub fn runs(&self) -> bool {
        self.child.as_ref().is_some_and(|child| process::lives(child.id()))
    }

    /// Its process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    // --- Its life -------------------------------------------------------------------------------------------

    /// Starts it again, with the same policy and configuration, after [`Self::kill_9`] or [`Self::terminate`]; or anew.
    #[track_caller]
    pub fn restart(&mut self) {
        if self.runs() {
            self.terminate();
        }
        self.run();
    }

    /// Kills it by SIGKILL.
    #[track_caller]
    pub fn kill_9(&mut self) {
        self.stop(Signal::SIGKILL);
    }

    /// Stops it by SIGTERM: enforcement goes on.
    ///
    /// # Panics
    /// If it does not exit with 0.
    #[track_caller]
    pub fn terminate(&mut self) {
        let status = self.stop(Signal::SIGTERM);
        assert!(status.success(), "the agent ended with {status} after SIGTERM\n{}", self.last_words());
    }

    #[track_caller]
    fn stop(&mut self, signal: Signal) -> ExitStatus {
        process::signal(self.pid(), signal);
        self.wait_exit()
    }

    #[track_caller]
    fn wait_exit(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        wait_for("the agent's end", LIMIT, || child.try_wait().expect("wait"))
    }

    #[track_caller]
    fn run(&mut self) {
        let socket = self.directory.join("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).expect("bind the notify socket");
        notify.set_read_timeout(Some(Duration::from_millis(50))).expect("set_read_timeout");
        let log = File::options().create(true).append(true).open(self.directory.join("log")).expect("open the log");
        let child = Command::new(holdpoint())
            .arg("agent")
            .arg("--policy")
            .arg(self.directory.join("policy.toml"))
            .arg("--config")
            .arg(self.directory.join("config.toml"))
            .env("NOTIFY_SOCKET", &socket)
            .env("RUST_BACKTRACE", "1")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("dup"))
            .stderr(log)
            .spawn()
            .expect("start the agent");
        self.child = Some(child);
        let end = Instant::now() + READY;
        while !notified(&notify) {
            assert!(self.runs(), "the agent has ended\n{}", self.last_words());
            assert!(Instant::now() < end, "the agent is not ready after {READY:?}\n{}", self.last_words());
        }
    }

    /// Has it put another policy in force, by `holdpoint policy reload` of root. [`Self::policy`] stays that of its start.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn reload(&self, policy: &str) -> Reply {
        fs::write(self.directory.join("policy.toml"), policy).expect("write the policy");
        self.say(User::ROOT, ["policy", "reload", "--json"])
    }

    // --- Subjects -------------------------------------------------------------------------------------------

    /// Starts `command` governed, by `holdpoint run` of `user`.
    pub fn spawn<S: AsRef<OsStr>>(&self, user: User, command: impl IntoIterator<Item = S>) -> Actor {
        Actor::start(user, &[&holdpoint(), "run", "--quiet", "--"], command)
    }

    /// Likewise as this subject.
    pub fn spawn_as<S: AsRef<OsStr>>(&self, user: User, subject: &str, command: impl IntoIterator<Item = S>) -> Actor {
        Actor::start(user, &[&holdpoint(), "run", "--quiet", "--subject", subject, "--"], command)
    }

    /// Likewise, after this user has logged in, if one has.
    pub fn spawn_after_login<S: AsRef<OsStr>>(
        &self,
        user: User,
        login: Option<u32>,
        subject: &str,
        command: impl IntoIterator<Item = S>,
    ) -> Actor {
        let log_in = login.map_or_else(String::new, |login| format!("echo {login} >/proc/self/loginuid && "));
        let script = format!("{log_in}exec \"$0\" \"$@\"");
        let run = [&holdpoint(), "run", "--quiet", "--subject", subject, "--"];
        Actor::start(user, &[&["sh", "-c", &script][..], &run].concat(), command)
    }

    /// Has the user `agent` do `steps`, governed: see `actor.c`.
    pub fn act<S: AsRef<OsStr>>(&self, steps: impl IntoIterator<Item = S>) -> Actor {
        self.spawn(User::AGENT, with_actor(steps))
    }

    // --- Holds ----------------------------------------------------------------------------------------------

    /// All that is held now.
    ///
    /// # Panics
    /// If the agent does not say.
    #[track_caller]
    pub fn holds(&self) -> Vec<Hold> {
        let reply = self.say(User::ROOT, ["holds", "--json"]);
        assert!(reply.success(), "holdpoint holds: {reply:?}");
        let holds: Vec<Value> = serde_json::from_str(&reply.stdout).expect("a list in JSON");
        holds.into_iter().map(Hold).collect()
    }

    /// Waits for a hold that satisfies `wanted`.
    #[track_caller]
    pub fn wait_for_hold(&self, wanted: impl Fn(&Hold) -> bool) -> Hold {
        wait_for("a hold", LIMIT, || self.holds().into_iter().find(|hold| wanted(hold)))
    }

    /// Waits until nothing is held that satisfies `unwanted`.
    #[track_caller]
    pub fn wait_for_no_hold(&self, unwanted: impl Fn(&Hold) -> bool) {
        wait_until("no such hold", || !self.holds().iter().any(&unwanted));
    }

    /// What is held now of the actor's processes.
    #[track_caller]
    pub fn holds_of(&self, actor: &Actor) -> Vec<Hold> {
        let processes = actor.processes();
        self.holds().into_iter().filter(|hold| processes.contains(&hold.pid())).collect()
    }

    /// Waits until one of the actor's processes is held, and stopped.
    ///
    /// # Panics
    /// If two are.
    #[track_caller]
    pub fn hold_of(&self, actor: &Actor) -> Hold {
        let mut holds = wait_for(&format!("a hold of {actor:?}"), LIMIT, || {
            // Looking for a stopped process first is cheaper than asking the agent.
            let holds = if actor.is_stopped() { self.holds_of(actor) } else { vec![] };
            (!holds.is_empty()).then_some(holds)
        });
        assert_eq!(holds.len(), 1, "one hold, not {holds:#?}");
        let hold = holds.remove(0);
        process::wait_stopped(hold.pid());
        hold
    }

    /// Has a file emptied in the directory of a rule which holds that; gives the file, too. See [`Hold::check_waits`].
    #[track_caller]
    pub fn emptying(&self, rule: &str) -> (Actor, Hold, String) {
        let file = site::file(rule, "Ada\n");
        let actor = self.act([format!("open {file} w+trunc")]);
        let hold = self.hold_of(&actor);
        (actor, hold, file)
    }

    /// Checks that this, and nothing else of the actor, is held.
    #[track_caller]
    pub fn still_held(&self, actor: &Actor, hold: &Hold) {
        assert_eq!(self.holds_of(actor), std::slice::from_ref(hold));
    }

    /// Waits until a hold is over, whichever way.
    #[track_caller]
    pub fn wait_over(&self, hold: &Hold) {
        self.wait_for_no_hold(|pending| pending.id() == hold.id());
    }

    // --- Answers --------------------------------------------------------------------------------------------

    /// Approves, as `reviewer`.
    #[track_caller]
    pub fn approve(&self, id: impl AsRef<str>) {
        self.answered(["approve", id.as_ref()]);
    }

    /// Denies, as `reviewer`; what that does is the rule's to say.
    #[track_caller]
    pub fn deny(&self, id: impl AsRef<str>) {
        self.answered(["deny", id.as_ref()]);
    }

    /// Denies, so that the process is killed.
    #[track_caller]
    pub fn deny_kill(&self, id: impl AsRef<str>) {
        self.answered(["deny", "--kill", id.as_ref()]);
    }

    /// Denies, so that the call fails.
    #[track_caller]
    pub fn deny_fail(&self, id: impl AsRef<str>) {
        self.answered(["deny", "--fail", id.as_ref()]);
    }

    #[track_caller]
    fn answered<const N: usize>(&self, words: [&str; N]) {
        let reply = self.say(User::REVIEWER, words);
        assert!(reply.success(), "holdpoint {words:?}: {reply:?}");
    }

    /// Approves whatever the actor asks until it ends; gives how it ended and how often it asked.
    #[track_caller]
    pub fn approve_to_the_end(&self, mut actor: Actor) -> (crate::Ended, usize) {
        let (mut asked, mut approved) = (BTreeSet::new(), BTreeSet::new());
        wait_for(&format!("the end of {actor:?}, with each hold approved"), 4 * LIMIT, || {
            if actor.has_ended() {
                return Some(());
            }
            let holds = if actor.is_stopped() { self.holds_of(&actor) } else { vec![] };
            asked.extend(holds.iter().map(|hold| hold.id().to_owned()));
            // One at a time: others can be approved with it.
            if let Some(hold) = holds.iter().find(|hold| approved.insert(hold.id().to_owned())) {
                self.answered(["approve", hold.id(), "--all"]);
            }
            None
        });
        (actor.end(), asked.len())
    }

    // --- What it says ---------------------------------------------------------------------------------------

    /// A command of the command line, said by `user`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn say<S: AsRef<OsStr>>(&self, user: User, words: impl IntoIterator<Item = S>) -> Reply {
        say(user, words)
    }

    /// `holdpoint status`.
    ///
    /// # Panics
    /// If that is not JSON.
    #[track_caller]
    pub fn status(&self) -> Value {
        let reply = self.say(User::ROOT, ["status", "--json"]);
        serde_json::from_str(&reply.stdout).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
    }

    /// The record since this agent was first started.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn record(&self) -> Vec<Value> {
        let mut file = File::open(RECORD).expect("open the record");
        file.seek(SeekFrom::Start(self.recorded)).expect("seek");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("read the record");
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The record's lines `event` about this hold.
    pub fn recorded(&self, event: &str, id: impl AsRef<str>) -> Vec<Value> {
        let mut lines = self.record();
        lines.retain(|line| line["event"] == event && line["hold"] == id.as_ref());
        lines
    }

    /// Waits for a line of the record.
    #[track_caller]
    pub fn wait_recorded(&self, what: impl Display, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("in the record: {what}"), LIMIT, || self.record().into_iter().find(|line| wanted(line)))
    }

    /// How often this tree has been held: the ids of its holds, as recorded.
    pub fn questions(&self, tree: &str) -> usize {
        let record = self.record();
        let held = record.iter().filter(|line| line["event"] == "held" && line["request"]["tree"] == tree);
        held.filter_map(|line| line["hold"].as_str()).collect::<BTreeSet<_>>().len()
    }

    /// Takes off all that it has attached, and ends it.
    ///
    /// # Panics
    /// If something is left.
    #[track_caller]
    pub fn detach(&mut self) {
        let reply = self.say(User::ROOT, ["detach"]);
        assert!(reply.success(), "detach: {reply:?}");
        let status = self.wait_exit();
        assert!(status.success(), "the agent ended with {status} after detach\n{}", self.last_words());
        assert!(pinned().is_empty(), "left behind in {PINS}: {:?}", pinned());
        // The kernel frees them a moment later.
        wait_until("no BPF links on a host without holdpoint", || links() == 0);
    }

    /// Whether all trees have ended, which what a test has killed does in a moment.
    fn governs_nobody(&self) -> bool {
        (0..30).any(|_| {
            thread::sleep(Duration::from_millis(10));
            self.status()["governed_threads"] == 0
        })
    }

    /// The last lines of its log.
    fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        format!("--- the agent's log\n{}\n---", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    }
}

/// It ends, and what it has attached stays, for the next one to take over: attaching takes seconds. Not if somebody is
/// governed still, whom the next policy may not know.
impl Drop for Agent {
    fn drop(&mut self) {
        let panicking = thread::panicking();
        if panicking {
            eprintln!("{}", self.last_words());
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if self.runs() {
                if self.governs_nobody() { self.terminate() } else { self.detach() }
            }
        }));
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        match ended {
            Ok(()) => drop(fs::remove_dir_all(&self.directory)),
            Err(_) if panicking => (),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// The record from some moment on, line by line.
#[derive(Debug)]
pub struct Tail {
    file: BufReader<File>,
    /// What is there of the next line.
    begun: String,
}

impl Tail {
    /// From now on.
    ///
    /// # Panics
    /// If there is no record.
    pub fn from_now() -> Self {
        let mut file = File::open(RECORD).expect("open the record");
        file.seek(SeekFrom::End(0)).expect("seek");
        Self { file: BufReader::new(file), begun: String::new() }
    }

    /// The next line.
    #[track_caller]
    pub fn line(&mut self) -> Value {
        wait_until("another line of the record", || {
            self.file.read_line(&mut self.begun).expect("read the record");
            self.begun.ends_with('\n')
        });
        serde_json::from_str(&mem::take(&mut self.begun)).expect("a line of JSON")
    }
}

/// What is pinned now.
pub fn pinned() -> Vec<PathBuf> {
    let entries = fs::read_dir(PINS).into_iter().flatten();
    entries.map(|entry| entry.expect("read the pins").path()).collect()
}

/// Number of BPF links on this host.
///
/// # Panics
/// If they cannot be counted.
pub fn links() -> usize {
    let output = Command::new(site::actor()).arg("links").output().expect("start the actor");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
}

/// A command of the command line, said by `user`.
///
/// # Panics
/// If it cannot be started.
pub fn say<S: AsRef<OsStr>>(user: User, words: impl IntoIterator<Item = S>) -> Reply {
    let words = words.into_iter().map(|word| word.as_ref().to_owned());
    let command = std::iter::once(holdpoint().into()).chain(words);
    let output = user.command(command).stdin(Stdio::null()).output().expect("start holdpoint");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Reply { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Whether READY=1 has come.
fn notified(socket: &UnixDatagram) -> bool {
    let mut message = [0; 4096];
    match socket.recv(&mut message) {
        Ok(length) => String::from_utf8_lossy(&message[..length]).lines().any(|line| line == "READY=1"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {
            false
        }
        Err(error) => panic!("the notify socket: {error}"),
    }
}
