//! Subjects: a command that a user starts, governed or not.
//!
//! Each has a control group of its own, so that nothing of it outlives its test, whatever it forks.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use nix::sys::signal::Signal;

use crate::{process, site, wait_for, wait_until};

/// Control groups of the actors.
const GROUPS: &str = "/sys/fs/cgroup/holdpoint-tests";

/// A user by name, with the groups that it has.
#[derive(Clone, Copy, Debug)]
pub struct User(pub &'static str);

impl User {
    /// Who starts agents: unprivileged, answers nothing.
    pub const AGENT: Self = Self("agent");
    /// Who may answer, by the group `holdpoint`.
    pub const REVIEWER: Self = Self("reviewer");
    /// Who may do everything.
    pub const ROOT: Self = Self("root");

    /// `command`, run by this user.
    pub fn command<S: AsRef<OsStr>>(self, command: impl IntoIterator<Item = S>) -> Command {
        let mut words = command.into_iter();
        let mut result;
        if self.0 == "root" {
            result = Command::new(words.next().expect("a command"));
        } else {
            result = Command::new("setpriv");
            result.arg(format!("--reuid={}", self.0)).arg(format!("--regid={}", self.0)).args(["--init-groups", "--"]);
        }
        result.args(words).current_dir("/").env("HOME", format!("/home/{}", self.0));
        result
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ended {
    /// Its exit code; none if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }
}

/// A command that was started. Killed with all its descendants when dropped.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    group: PathBuf,
    directory: PathBuf,
}

impl Actor {
    /// Starts `launcher COMMAND` as `user`; the command is what announces its pid.
    pub(crate) fn start<S: AsRef<OsStr>>(user: User, launcher: &[&str], command: impl IntoIterator<Item = S>) -> Self {
        let name = format!("{}-{}", std::process::id(), site::fresh());
        let group = Path::new(GROUPS).join(&name);
        let directory = Path::new("/run/holdpoint-tests").join(name);
        fs::create_dir_all(&group).expect("make a control group");
        fs::create_dir_all(&directory).expect("make a directory");
        let pid = directory.join("pid");
        fs::write(&pid, "").expect("write");
        fs::set_permissions(&pid, fs::Permissions::from_mode(0o666)).expect("chmod");
        let file = |name| File::create(directory.join(name)).expect("create");

        let mut words: Vec<&OsStr> = launcher.iter().map(OsStr::new).collect();
        words.extend([OsStr::new(site::actor()), OsStr::new("announce"), pid.as_os_str()]);
        let inner = command.into_iter().collect::<Vec<_>>();
        words.extend(inner.iter().map(AsRef::as_ref));
        let by_user = user.command(words);
        let child = Command::new("sh")
            .args(["-c", "echo 0 >\"$0\" && exec \"$@\""])
            .arg(group.join("cgroup.procs"))
            .arg(by_user.get_program())
            .args(by_user.get_args())
            .envs(by_user.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("start sh");
        Self { child, group, directory }
    }

    /// The pid of the command itself.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        wait_for("the command announces itself", crate::LIMIT, || {
            let text = fs::read_to_string(self.directory.join("pid")).ok()?;
            text.strip_suffix('\n')?.parse().ok()
        })
    }

    /// The pid of what was started: `holdpoint run`, where the command is governed that way.
    pub fn launcher(&self) -> u32 {
        self.child.id()
    }

    /// All its processes.
    pub fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Whether one of its processes is stopped.
    pub fn is_stopped(&self) -> bool {
        self.processes().into_iter().any(|pid| process::state(pid) == Some('T'))
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        self.text("stdout")
    }

    /// What it has complained of so far.
    pub fn stderr(&self) -> String {
        self.text("stderr")
    }

    /// Waits until it has printed `line`.
    #[track_caller]
    pub fn wait_line(&self, line: &str) {
        let said = || self.stdout().lines().any(|said| said == line);
        wait_for(&format!("the line {line:?} from {self:?}"), crate::LIMIT, || said().then_some(()));
    }

    /// Sends the line that its step `line` waits for.
    ///
    /// # Panics
    /// If it has gone.
    pub fn go_on(&mut self) {
        self.child.stdin.as_mut().expect("a pipe").write_all(b"\n").expect("write to the actor");
    }

    /// Sends a signal to the command.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        process::signal(self.pid(), signal);
    }

    /// Freezes all its processes, whatever signals come, or lets them go on.
    #[track_caller]
    pub fn freeze(&self, frozen: bool) {
        let number = u8::from(frozen);
        fs::write(self.group.join("cgroup.freeze"), number.to_string()).expect("freeze");
        let events = || fs::read_to_string(self.group.join("cgroup.events")).expect("read its events");
        wait_until(&format!("frozen {number}"), || events().contains(&format!("frozen {number}")));
    }

    /// Waits until it is stopped, and checks that its launcher is not.
    #[track_caller]
    pub fn wait_stopped(&self) {
        process::wait_stopped(self.pid());
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        drop(self.child.stdin.take());
        self.wait_end()
    }

    /// Likewise, and leaves the input open.
    #[track_caller]
    pub fn wait_end(&mut self) -> Ended {
        let limit = 2 * crate::LIMIT;
        let mut status = None;
        let what = format!("the end of {self:?}");
        wait_for(&what, limit, || {
            status = self.child.try_wait().expect("wait");
            status.map(drop)
        });
        Ended { status: status.expect("it has ended"), stdout: self.stdout(), stderr: self.stderr() }
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join(name)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}\n  stdout: {:?}\n  stderr: {:?}", self.directory, self.stdout(), self.stderr());
        }
        let _ = fs::write(self.group.join("cgroup.kill"), "1");
        let _ = self.child.wait();
        // Not an error while panicking: one is enough.
        if !std::thread::panicking() {
            wait_until("the actor's processes are gone", || fs::remove_dir(&self.group).is_ok());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Starts a command that nothing governs.
pub fn ungoverned<S: AsRef<OsStr>>(user: User, command: impl IntoIterator<Item = S>) -> Actor {
    Actor::start(user, &[], command)
}

/// What `steps` do where holdpoint has no say: the control of every promise.
#[track_caller]
pub fn control<S: AsRef<OsStr>>(steps: impl IntoIterator<Item = S>) -> Ended {
    ungoverned(User::AGENT, with_actor(steps)).end()
}

/// The command of these steps: see `actor.c`.
pub fn with_actor<S: AsRef<OsStr>>(steps: impl IntoIterator<Item = S>) -> Vec<std::ffi::OsString> {
    let steps = steps.into_iter().map(|step| step.as_ref().to_owned());
    std::iter::once(site::actor().into()).chain(steps).collect()
}
