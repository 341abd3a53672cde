//! The canary: a process of the agent's own that is governed by a rule which denies, and tries each guarded action.
//! `loaded` is not `enforcing`: without `bpf` in the kernel's list of security modules, programs load, attach and
//! never fire. An action that is not refused is a hook that does not work.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, ErrorKind},
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::libc::EPERM;
use serde::{Deserialize, Serialize};

/// The file that exists and the one that must not come to.
const FILE: &str = "file";
const NEW: &str = "new";

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
        fs::create_dir_all(&site)
            .and_then(|()| fs::write(site.join(FILE), "canary\n"))
            .with_context(|| format!("cannot write to {}", site.display()))?;
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
    for finding in attempts(&directory(run_dir)) {
        if finding.refused || finding.instead.as_deref() != Some("it worked") {
            println!("{} does not work without holdpoint: {:?}", finding.hook, finding.instead);
            return ExitCode::FAILURE;
        }
    }
    let _ = fs::remove_file(directory(run_dir).join(NEW));
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

fn attempts(site: &Path) -> Vec<Finding> {
    let file = site.join(FILE);
    vec![
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
