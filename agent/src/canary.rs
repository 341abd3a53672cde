//! The canary: a process of the agent's own that is governed by a rule which denies, and tries each guarded action.
//! `loaded` is not `enforcing`: without `bpf` in the kernel's list of security modules, programs load, attach and
//! never fire. An action that is not refused is a hook that does not work.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, ErrorKind},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixListener, UnixStream},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    libc::EPERM,
    sys::signal::Signal,
};
use serde::{Deserialize, Serialize};

/// The file that exists and the one that must not come to.
const FILE: &str = "file";
const NEW: &str = "new";
/// The name of a file that a canary may read and not execute, wherever it is.
pub const PROGRAM: &str = "holdpoint-canary-program";
/// What names are changed of, and to what.
const NAMED: &str = "named";
const GONE: &str = "gone";
const LINK: &str = "link";
const MOVED: &str = "moved";
const DIRECTORY: &str = "directory";
const NEW_DIRECTORY: &str = "new-directory";
/// Sockets.
const STREAM: &str = "stream";
const DATAGRAM: &str = "datagram";
/// A symbolic link, made and removed.
const SYMLINK: &str = "symlink";

/// Each hook, by the kernel's name, and whether its action was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The hook.
    pub hook: String,
    /// Whether the kernel refused the action with `EPERM`.
    pub refused: bool,
    /// What it did instead.
    pub instead: Option<String>,
}

/// The canary process before it is governed.
pub struct Canary {
    child: Child,
}

/// The directory that the canary tries, below the agent's run directory.
pub fn directory(run_dir: &Path) -> PathBuf {
    run_dir.join("canary")
}

impl Canary {
    /// Starts the process; it waits to be released.
    pub fn start(run_dir: &Path) -> Result<Self> {
        let site = directory(run_dir);
        fs::create_dir_all(&site).with_context(|| format!("cannot create {}", site.display()))?;
        let child = Command::new("/proc/self/exe")
            .arg("--run-dir")
            .arg(run_dir)
            .arg("canary")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the canary")?;
        Ok(Self { child })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it become governed and try; gives what it found. Fails if an action did not work before it was governed:
    /// then its refusal proves nothing.
    pub fn release(mut self) -> Result<Vec<Finding>> {
        drop(self.child.stdin.take());
        let output = self.child.wait_with_output().context("cannot wait for the canary")?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("the canary failed ({}): {}", output.status, text.trim());
        }
        serde_json::from_str(text.trim()).with_context(|| format!("the canary's findings make no sense: {text:?}"))
    }
}

/// The process, first half: tries each action ungoverned, then waits for its end of input and executes itself again,
/// which is where it becomes governed.
pub fn main(run_dir: &Path) -> ExitCode {
    let deputies = lay_out(&directory(run_dir)).and_then(|()| Deputies::bind(&directory(run_dir)));
    let Ok(_deputies) = deputies.inspect_err(|error| println!("cannot prepare the canary: {error}")) else {
        return ExitCode::FAILURE;
    };
    for finding in attempts(&directory(run_dir)) {
        if finding.refused || finding.instead.as_deref() != Some("it worked") {
            println!("{} does not work without holdpoint: {:?}", finding.hook, finding.instead);
            return ExitCode::FAILURE;
        }
    }
    if let Err(error) = lay_out(&directory(run_dir)) {
        println!("cannot prepare the canary: {error}");
        return ExitCode::FAILURE;
    }
    let mut line = String::new();
    let _ = std::io::stdin().lock().read_line(&mut line);
    let error = Command::new("/proc/self/exe").arg("--run-dir").arg(run_dir).arg("canary-governed").exec();
    println!("cannot execute itself: {error}");
    ExitCode::FAILURE
}

/// The process, second half: tries each action governed and prints what it found.
pub fn governed(run_dir: &Path) -> ExitCode {
    match serde_json::to_string(&attempts(&directory(run_dir))) {
        Ok(findings) => {
            println!("{findings}");
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Everything in its place, before each half.
fn lay_out(site: &Path) -> std::io::Result<()> {
    for name in [NEW, LINK, MOVED, SYMLINK] {
        remove(fs::remove_file(site.join(name)))?;
    }
    for name in [DIRECTORY, NEW_DIRECTORY] {
        remove(fs::remove_dir(site.join(name)))?;
    }
    for name in [FILE, NAMED, GONE] {
        fs::write(site.join(name), "canary\n")?;
    }
    fs::create_dir(site.join(DIRECTORY))
}

/// What is not there is removed already.
fn remove(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Sockets that were there before the canary was governed: to it, another process's.
struct Deputies {
    _stream: UnixListener,
    _datagram: UnixDatagram,
}

impl Deputies {
    /// They outlive the canary's exec.
    fn bind(site: &Path) -> std::io::Result<Self> {
        for name in [STREAM, DATAGRAM] {
            remove(fs::remove_file(site.join(name)))?;
        }
        let stream = UnixListener::bind(site.join(STREAM))?;
        let datagram = UnixDatagram::bind(site.join(DATAGRAM))?;
        fcntl(&stream, FcntlArg::F_SETFD(FdFlag::empty()))?;
        fcntl(&datagram, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(Self { _stream: stream, _datagram: datagram })
    }
}

fn attempts(site: &Path) -> Vec<Finding> {
    let file = site.join(FILE);
    let named = site.join(NAMED);
    let path = |name: &str| site.join(name);
    let owner = Some(nix::unistd::geteuid().as_raw());
    vec![
        finding("path_link", fs::hard_link(&named, path(LINK))),
        finding("path_chmod", fs::set_permissions(&named, fs::Permissions::from_mode(0o600))),
        finding("path_chown", std::os::unix::fs::chown(&named, owner, None)),
        finding("path_rename", fs::rename(&named, path(MOVED))),
        finding("path_symlink", std::os::unix::fs::symlink("nowhere", path(SYMLINK))),
        finding("path_unlink", fs::remove_file(path(GONE))),
        finding("path_mkdir", fs::create_dir(path(NEW_DIRECTORY))),
        finding("path_rmdir", fs::remove_dir(path(DIRECTORY))),
        finding("unix_stream_connect", UnixStream::connect(path(STREAM)).map(drop)),
        finding("unix_may_send", UnixDatagram::unbound().and_then(|it| it.send_to(b"x", path(DATAGRAM))).map(drop)),
        finding("socket_sendmsg", UdpSocket::bind("127.0.0.1:0").and_then(send_to_itself)),
        finding("task_kill", signal_parent()),
        finding("capable", set_host_name()),
        finding("file_open", File::open(&file).map(drop)),
        finding("path_mknod", OpenOptions::new().write(true).create_new(true).open(site.join(NEW)).map(drop)),
        finding("path_truncate", nix::unistd::truncate(&file, 1).map_err(Into::into)),
        finding("socket_connect", connect()),
        finding("bprm_creds_for_exec", exec()),
    ]
}

fn finding(hook: &str, result: std::io::Result<()>) -> Finding {
    let (refused, instead) = match result {
        Err(error) if error.raw_os_error() == Some(EPERM) => (true, None),
        Err(error) => (false, Some(error.to_string())),
        Ok(()) => (false, Some("it worked".to_owned())),
    };
    Finding { hook: hook.to_owned(), refused, instead }
}

fn send_to_itself(socket: UdpSocket) -> std::io::Result<()> {
    socket.send_to(b"x", socket.local_addr()?).map(drop)
}

/// With a signal that does nothing.
fn signal_parent() -> std::io::Result<()> {
    nix::sys::signal::kill(nix::unistd::getppid(), Signal::SIGURG).map_err(Into::into)
}

/// To what it is.
fn set_host_name() -> std::io::Result<()> {
    nix::unistd::sethostname(nix::unistd::gethostname()?).map_err(Into::into)
}

/// To a port of its own: the connection needs nobody else.
fn connect() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    TcpStream::connect(listener.local_addr()?).map(drop)
}

/// Of this very program, which answers `--version` and does nothing.
fn exec() -> std::io::Result<()> {
    let status = Command::new("/proc/self/exe").arg("--version").stdout(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(ErrorKind::Other.into()) }
}
