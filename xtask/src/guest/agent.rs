//! The holdpoint agent in the guest, watched as systemd would: ready when it says so, started again when it fails.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{PidfdFlags, pidfd_open};

/// Where the agent's output goes.
pub const LOG: &str = "/var/log/holdpoint-agent.log";

const NOTIFY_SOCKET: &str = "/run/holdpoint-notify";

/// Loading and attaching takes seconds under emulation; a minute means that it hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// As `RestartSec=` in the unit file.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts the agent and returns when it is ready.
pub fn start() -> Result<()> {
    let socket = UnixDatagram::bind(NOTIFY_SOCKET).with_context(|| format!("failed to bind {NOTIFY_SOCKET}"))?;
    let agent = spawn()?;
    let agent = await_ready(&socket, agent)
        .map_err(|error| anyhow!("the agent did not start: {error:#}; {LOG} ends with\n{}", log_tail()))?;
    thread::spawn(move || keep_running(agent, &socket));
    Ok(())
}

fn spawn() -> Result<Child> {
    let log = File::options().create(true).append(true).open(LOG).with_context(|| format!("failed to open {LOG}"))?;
    Command::new("/usr/bin/holdpoint")
        .arg("agent")
        .env("NOTIFY_SOCKET", NOTIFY_SOCKET)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("failed to start /usr/bin/holdpoint agent")
}

fn await_ready(socket: &UnixDatagram, mut agent: Child) -> Result<Child> {
    let pid = rustix::process::Pid::from_child(&agent);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("failed to open a pidfd")?;
    let deadline = Instant::now() + PATIENCE;
    let mut message = [0; 4096];
    loop {
        let left =
            PollTimeout::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN), PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, left).context("failed to wait for the agent")? == 0 {
            agent.kill().context("failed to kill the agent")?;
            bail!("it did not report READY=1 within {PATIENCE:?}");
        }
        if fds[0].any().unwrap_or(false) {
            let length = socket.recv(&mut message).context("failed to read the agent's notification")?;
            if message[..length].split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
                return Ok(agent);
            }
        } else if fds[1].any().unwrap_or(false) {
            bail!("it ended with {}", agent.wait().context("failed to wait for the agent")?);
        }
    }
}

/// `Restart=on-failure`: an agent that was killed comes back, one that was told to go does not.
fn keep_running(mut agent: Child, socket: &UnixDatagram) {
    loop {
        match agent.wait() {
            Ok(status) if status.success() => return,
            ended => eprintln!("holdpoint guest: the agent ended ({ended:?}), starting it again"),
        }
        thread::sleep(PAUSE);
        agent = match spawn().and_then(|agent| await_ready(socket, agent)) {
            Ok(agent) => agent,
            Err(error) => return eprintln!("holdpoint guest: the agent did not come back: {error:#}"),
        };
    }
}

fn log_tail() -> String {
    const LINES: usize = 40;
    let log = fs::read_to_string(LOG).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
