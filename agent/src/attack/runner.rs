//! One attempt: the attacker's process from its birth to its end, and what it reports.

use std::{
    io::{self, Read as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl::set_pdeathsig,
        signal::{Signal, killpg},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::{Pid, getppid},
};
use serde::{Deserialize, Serialize};

use super::{
    routes::{self, Route},
    scene::{Ground, Orders},
};
use crate::{
    cli::commands::unexpected,
    request::shown,
    sockets::{
        CONTROL, Declined,
        client::{Client, Failure},
        message::{ControlReply, ControlRequest},
    },
};

/// How long one attempt may take, under emulation too.
const LIMIT: Duration = Duration::from_secs(20);

/// The agent under which the attacks run.
pub struct Agent {
    socket: PathBuf,
    /// Its process.
    pub pid: i32,
    /// Its policy.
    pub policy: PathBuf,
}

impl Agent {
    /// The one that runs. What stands against its enforcing is told: that is what gets through then.
    pub fn that_runs(run_dir: &Path) -> Result<Self, Failure> {
        let socket = run_dir.join(CONTROL);
        let mut client = Client::connect(&socket)?;
        let ControlReply::Status(status) = said(client.ask(&ControlRequest::Status)?)? else {
            return Err(Declined::new("the agent replied to something else").into());
        };
        for problem in &status.problems {
            eprintln!("warning: {}", shown(problem));
        }
        let peer = getsockopt(&client.into_stream(), PeerCredentials).map_err(io::Error::from)?;
        Ok(Self { socket, pid: peer.pid(), policy: status.policy_file.into() })
    }

    /// Offers process `pid` to become governed at its next `execve(2)`, until the offer is dropped.
    fn offer(&self, pid: u32, trusted: bool) -> Result<Offer, Failure> {
        let mut client = Client::connect(&self.socket)?;
        match said(client.ask(&ControlRequest::Canary { pid, trusted })?)? {
            ControlReply::Offered => Ok(Offer { client, pid }),
            other => Err(unexpected(other)),
        }
    }
}

/// What the agent has offered a process.
struct Offer {
    client: Client,
    pid: u32,
}

impl Offer {
    /// Makes sure that it was taken: an attacker who is not governed shows nothing.
    fn taken(mut self) -> Result<(), Failure> {
        match said(self.client.ask(&ControlRequest::CanaryTaken { pid: self.pid })?)? {
            ControlReply::Taken { taken: true } => Ok(()),
            ControlReply::Taken { taken: false } => {
                Err(Declined::new("the kernel did not take the attacker as governed")
                    .remedy("holdpoint status says whether the agent enforces")
                    .into())
            }
            other => Err(unexpected(other)),
        }
    }
}

fn said(reply: ControlReply) -> Result<ControlReply, Failure> {
    match reply {
        ControlReply::Refused(refusal) => Err(refusal.into()),
        other => Ok(other),
    }
}

/// What an attacker says of its attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The call succeeded, and gave this.
    Done(String),
    /// It failed with this error.
    Failed {
        /// 0 if it is none of the kernel's.
        errno: i32,
        /// In words.
        text: String,
    },
    /// What the attempt needs could not be had, before it was governed.
    Unready(String),
    /// It became another program, which said this.
    Spoke(String),
    /// It ended without a word.
    Silent,
    /// It neither spoke nor ended.
    Hung,
}

impl Report {
    /// What the attacker knows.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Done(text) | Self::Spoke(text) => Some(text),
            _ => None,
        }
    }

    fn parse(line: &str) -> Self {
        match line.trim() {
            "" => Self::Silent,
            text => serde_json::from_str(text).unwrap_or_else(|_| Self::Spoke(text.to_owned())),
        }
    }

    fn from_result(result: io::Result<String>) -> Self {
        match result {
            Ok(text) => Self::Done(text),
            Err(error) => Self::Failed { errno: error.raw_os_error().unwrap_or(0), text: error.to_string() },
        }
    }

    /// Whether it is somebody's no, rather than a failure of another kind.
    fn is_refusal(&self, killed: bool) -> bool {
        match self {
            Self::Failed { errno, .. } => [Errno::EPERM, Errno::EACCES].contains(&Errno::from_raw(*errno)),
            Self::Silent => killed,
            _ => false,
        }
    }

    fn seen(&self) -> String {
        match self {
            Self::Done(_) | Self::Spoke(_) => "the call succeeded".to_owned(),
            Self::Failed { errno: 0, text } | Self::Unready(text) => text.clone(),
            Self::Failed { errno, .. } => format!("{:?}", Errno::from_raw(*errno)),
            Self::Silent => "it ended without a word".to_owned(),
            Self::Hung => format!("no end within {LIMIT:?}"),
        }
    }
}

/// What came of one attempt.
pub struct Try {
    /// There was the effect.
    pub reached: bool,
    /// The attacker was told no, or killed.
    pub refused: bool,
    /// It is stopped: held.
    pub stopped: bool,
    /// In words.
    pub seen: String,
}

/// Stages the scene and has one attacker try, governed if an agent is given.
pub fn try_out(agent: Option<&Agent>, ground: &Ground, route: &Route) -> Result<Try, Failure> {
    let mut scene = match (route.stage)(ground, route) {
        Ok(scene) => scene,
        Err(error) => {
            let seen = format!("the scene cannot be staged: {error}");
            return Ok(Try { reached: false, refused: false, stopped: false, seen });
        }
    };
    let mut attacker = Attacker::start(&ground.run_dir, &scene.orders)?;
    let pid = attacker.child.id();
    let offer = agent.map(|agent| agent.offer(pid, route.trusted)).transpose()?;
    drop(attacker.child.stdin.take());
    let report = attacker.report();
    if let (Some(offer), false) = (offer, matches!(report, Report::Unready(_))) {
        offer.taken()?;
    }
    let reached = scene.reached(pid, &report);
    let stopped = report == Report::Hung && attacker.is_stopped();
    let killed = attacker.end();
    let refused = report.is_refusal(killed);
    let seen = match (&report, reached) {
        (Report::Done(_) | Report::Spoke(_), false) => "the call succeeded, without its effect".to_owned(),
        (Report::Silent, _) if killed => "killed".to_owned(),
        (Report::Failed { .. } | Report::Silent | Report::Hung, true) => format!("the effect, and {}", report.seen()),
        _ => report.seen(),
    };
    Ok(Try { reached, refused, stopped, seen })
}

/// The attacker's process, in a group of its own with all that it starts.
struct Attacker {
    child: Child,
    output: ChildStdout,
    /// How it ended by itself, as far as is known.
    killed: bool,
}

impl Attacker {
    fn start(run_dir: &Path, orders: &Orders) -> io::Result<Self> {
        let mut child = own_step(run_dir, "attack-step", orders)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output, killed: false })
    }

    /// Its first line, or what its silence means.
    fn report(&mut self) -> Report {
        let end = Instant::now() + LIMIT;
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while !text.contains(&b'\n') {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Report::Hung,
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return Report::Silent,
            }
            match self.output.read(&mut chunk) {
                Ok(0) | Err(_) => {
                    self.learn_its_end();
                    break;
                }
                Ok(length) => text.extend_from_slice(&chunk[..length]),
            }
        }
        Report::parse(&String::from_utf8_lossy(&text))
    }

    /// It has closed its output: it is about to end.
    fn learn_its_end(&mut self) {
        use std::os::unix::process::ExitStatusExt as _;
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            if let Ok(Some(status)) = self.child.try_wait() {
                self.killed = status.signal() == Some(Signal::SIGKILL as i32);
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// Ends it and all that it has started; true if somebody had killed it before.
    fn end(mut self) -> bool {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.killed
    }
}

/// This program's next step: the same file, whatever has become of its name.
fn own_step(run_dir: &Path, step: &str, orders: &Orders) -> Command {
    let mut command = Command::new("/proc/self/exe");
    let orders = serde_json::to_string(orders).expect("plain data always serialises");
    command.arg0("holdpoint").arg("--run-dir").arg(run_dir).arg(step).arg(orders);
    command
}

/// The attacker, first half: gets ready while it is not governed, and executes itself, where it becomes so if that was
/// offered.
pub fn step(run_dir: &Path, orders: &str) -> ExitCode {
    let parent = getppid();
    let mut end = Vec::new();
    let waited = std::io::stdin().read_to_end(&mut end);
    let report = match waited.and_then(|_| get_ready(orders, parent)) {
        // This fails if it may not keep what it has.
        Ok(orders) => Report::from_result(Err(own_step(run_dir, "attack-governed", &orders).exec())),
        Err(error) => Report::Unready(format!("it could not get ready: {error}")),
    };
    say(&report);
    ExitCode::FAILURE
}

fn get_ready(orders: &str, parent: Pid) -> io::Result<Orders> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let mut orders: Orders = serde_json::from_str(orders)?;
    (routes::named(&orders.route)?.prepare)(&mut orders)?;
    Ok(orders)
}

/// The attacker, second half: tries, reports, and waits to be looked at and killed.
pub fn attempt(orders: &str) -> ExitCode {
    let tried = serde_json::from_str::<Orders>(orders).map_err(io::Error::from);
    say(&Report::from_result(tried.and_then(|orders| (routes::named(&orders.route)?.attempt)(&orders))));
    loop {
        thread::park();
    }
}

fn say(report: &Report) {
    println!("{}", serde_json::to_string(report).expect("plain data always serialises"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_was_said_by_another_program() {
        assert_eq!(Report::parse("abc\n"), Report::Spoke("abc".to_owned()));
        assert_eq!(Report::parse("\n"), Report::Silent);
        let report = Report::Failed { errno: 1, text: "no".to_owned() };
        assert_eq!(Report::parse(&serde_json::to_string(&report).unwrap()), report);
    }

    #[test]
    fn only_a_no_is_a_refusal() {
        let failed = |errno: Errno| Report::Failed { errno: errno as i32, text: String::new() };
        assert!(failed(Errno::EPERM).is_refusal(false) && failed(Errno::EACCES).is_refusal(false));
        assert!(!failed(Errno::ENOENT).is_refusal(false) && !Report::Hung.is_refusal(true));
        assert!(Report::Silent.is_refusal(true) && !Report::Silent.is_refusal(false));
    }
}
