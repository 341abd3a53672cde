//! `holdpoint run`: starts a command governed and stays between it and the shell.
//!
//! ```text
//! shell ── run (waits, tells) ── run-enrol ─execve─ run-governed ─execve─ CMD
//!                                   │ Enrol           │ Confirm
//!                                   └────── tree ─────┘
//! ```
//!
//! It stays, since a held process is stopped: a shell that saw its own child stop would take the terminal back.
//! This parent waits without WUNTRACED and shares the command's process group, so that the shell sees one job
//! that runs, and Ctrl-Z by the person stops both.
//!
//! **Signals.** The command must start with exactly the caller's mask and dispositions. So dispositions are
//! never touched before the fork: what the parent wants to take (see [`signals`]) it *blocks* and reads from a
//! signalfd. The child inherits the mask, keeps what arrives pending, and unblocks just before `execve(CMD)`
//! what had not been blocked already, so nothing is lost. The one exception is SIGPIPE: Rust's start-up
//! replaces its disposition before our first line, so an ignored SIGPIPE is not known any more; the command
//! gets the default (`Command` sets it).
//!
//! **Death.** The command dies with this process (PR_SET_PDEATHSIG), as it would without it: who kills
//! `holdpoint run` means the command.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, AsRawFd as _},
        unix::{
            net::UnixStream,
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    path::Path,
    process::{self, Child, Command, ExitCode, ExitStatus},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::{
    cli::{Claiming, RunVerb},
    sockets::{TREE, client::Failure},
};

mod child;
mod signals;
mod tell;
mod watch;
mod why;

pub(crate) use self::why::why;

use signals::Signals;
use watch::Watch;

/// Exit code for "the command was not started", as env(1) and timeout(1) have it.
const NOT_STARTED: u8 = 125;
/// How long the end of a hold is waited for when the command has ended: after a denial the person is told why.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why the command was not started.
#[derive(Debug, PartialEq, Eq)]
struct Stop {
    code: u8,
    cause: String,
    help: Option<String>,
}

impl Stop {
    fn new(cause: impl Into<String>) -> Self {
        Self { code: NOT_STARTED, cause: cause.into(), help: None }
    }

    fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        let help = failure.remedy().map(str::to_owned);
        Self { help, ..Self::new(format!("not started: {failure}")) }
    }
}

/// Says which call failed.
fn failed<E: Into<io::Error>>(what: &str) -> impl FnOnce(E) -> Stop {
    move |error| Stop::new(format!("not started: {what}: {}", error.into()))
}

/// Runs one step. Returns unless it has become the command; must be called while this process has one thread.
pub fn main(run_dir: &Path, verb: RunVerb) -> ExitCode {
    let stop = match verb {
        RunVerb::Run { subject, claiming, quiet, command } => {
            match launch(run_dir, subject.as_deref(), &claiming, quiet, &command) {
                Ok(status) => return end_as(status),
                Err(stop) => stop,
            }
        }
        RunVerb::RunEnrol { subject, claiming, inherited, command } => {
            child::enrol(run_dir, subject, &claiming, &inherited, &command)
        }
        RunVerb::RunGoverned { agent, tree, inherited, command } => {
            child::governed(run_dir, agent, &tree, &inherited, &command)
        }
    };
    eprintln!("holdpoint: {}", stop.cause);
    if let Some(help) = stop.help {
        eprintln!("  help: {help}");
    }
    ExitCode::from(stop.code)
}

/// Starts the child and stays with it to the end.
fn launch(
    run_dir: &Path,
    subject: Option<&str>,
    claiming: &Claiming,
    quiet: bool,
    command: &[OsString],
) -> Result<ExitStatus, Stop> {
    let signals = Signals::take().map_err(failed("signalfd"))?;
    let (report, theirs) = UnixStream::pair().map_err(failed("socketpair"))?;
    keep_over_exec(&theirs).map_err(failed("fcntl"))?;
    let mut step = own_step(run_dir, "run-enrol");
    step.args(subject.map(|name| format!("--subject={name}")));
    step.args(claiming.given().map(|(kind, text)| format!("--{}={text}", kind.word())));
    step.arg(format!("--parent={}", process::id())).arg(format!("--report={}", theirs.as_raw_fd()));
    if !signals.added().is_empty() {
        step.arg(format!("--unblock={}", signals.added()));
    }
    let mut child = step.arg("--").args(command).spawn().map_err(failed("/proc/self/exe"))?;
    drop(theirs);
    signals::make_children_waitable().map_err(failed("sigaction"))?;
    let mut watch = if quiet { Watch::off() } else { Watch::new(run_dir.join(TREE), report) };
    let status = stay(&mut child, &signals, &mut watch).map_err(failed("waiting for the command"))?;
    last_words(&mut watch);
    Ok(status)
}

/// The next step of this program: the same file, whatever has become of its name.
fn own_step(run_dir: &Path, step: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("holdpoint").arg("--run-dir").arg(run_dir).arg(step);
    command
}

fn keep_over_exec(fd: impl AsFd) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
}

/// Hands signals down and tells of holds until the child has ended.
fn stay(child: &mut Child, signals: &Signals, watch: &mut Watch) -> io::Result<ExitStatus> {
    loop {
        wait(Some(signals), watch, watch.pause())?;
        signals.hand_down(child)?;
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        watch.step();
    }
}

/// The answer that ended the command may still be on its way.
fn last_words(watch: &mut Watch) {
    let end = Instant::now() + LAST_WORDS;
    watch.step();
    while watch.expects_an_end() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || wait(None, watch, Some(left)).is_err() {
            return;
        }
        watch.step();
    }
}

/// Until there is a signal or something from the agent, or until `limit`.
fn wait(signals: Option<&Signals>, watch: &Watch, limit: Option<Duration>) -> io::Result<()> {
    let sources = [signals.map(AsFd::as_fd), watch.source()];
    let mut polled: Vec<_> = sources.into_iter().flatten().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let limit = limit.map_or(PollTimeout::NONE, |limit| limit.try_into().unwrap_or(PollTimeout::MAX));
    match poll(&mut polled, limit) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends as the command ended, so that the shell sees the same.
fn end_as(status: ExitStatus) -> ExitCode {
    if let Some(number) = status.signal() {
        signals::die_by(number);
    }
    ExitCode::from(code(status))
}

/// The exit code; for a signal that this process could not die of, what a shell makes of it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(NOT_STARTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::Declined;

    #[test]
    fn the_commands_exit_code_is_ours() {
        assert_eq!([0, 7, 255].map(|value| code(ExitStatus::from_raw(value << 8))), [0, 7, 255]);
    }

    #[test]
    fn a_signal_counts_from_128_where_one_cannot_die_of_it() {
        assert_eq!(code(ExitStatus::from_raw(9)), 137);
        assert_eq!(code(ExitStatus::from_raw(64)), 192, "a real-time signal");
    }

    #[test]
    fn what_the_agent_says_is_passed_on_with_its_remedy() {
        let refusal = Declined::new("no subject \"x\"").remedy("see the policy");
        let stop = Stop::from(Failure::Refused(refusal));
        assert_eq!(stop, Stop::new("not started: no subject \"x\"").help("see the policy"));
        assert_eq!(Stop::from(Failure::NoAgent).help.as_deref(), Some("systemctl start holdpoint"));
    }
}
