//! The host's side of a session: finds a free port of a running machine, and carries one command's streams.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::protocol::{CHUNK, Frame, Link, Run, SESSIONS, Size};

/// How long a machine that runs may take to greet on a free port; it may still be noticing that the last client has left.
const GREETING_PATIENCE: Duration = Duration::from_secs(3);

/// How long a client waits for a free port.
const JOIN_PATIENCE: Duration = Duration::from_secs(30);

/// We were asked to stop while something ran in a machine.
#[derive(Debug)]
pub struct Interrupted(pub Signal);

impl Display for Interrupted {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by {}", self.0)
    }
}

impl Error for Interrupted {}

/// QEMU closed the connection: it ended, by itself or because the guest did.
#[derive(Debug)]
pub struct MachineGone;

impl Display for MachineGone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the virtual machine ended")
    }
}

impl Error for MachineGone {}

/// Signals as a descriptor, so that one poll sees them with everything else.
///
/// Made as late as possible: until then the signals kill us and what we have started, which is right while something is built.
/// Commands that are spawned get an empty one (`std::process` sees to it).
pub struct Signals(SignalFd);

impl Signals {
    /// Takes over the signals that end a command or resize its terminal.
    pub fn take_over() -> Result<Self> {
        let set =
            SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGWINCH]);
        set.thread_block().context("failed to block signals")?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("failed to open a signalfd")
            .map(Self)
    }

    /// No signals at all, for a session that ends with its machine.
    pub fn none() -> Result<Self> {
        SignalFd::with_flags(&SigSet::empty(), SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .context("failed to open a signalfd")
            .map(Self)
    }

    /// Fails if we have been asked to stop.
    pub fn check(&self) -> Result<()> {
        while let Some(signal) = self.next()? {
            if signal != Signal::SIGWINCH {
                return Err(Interrupted(signal).into());
            }
        }
        Ok(())
    }

    /// A signal that has arrived.
    fn next(&self) -> Result<Option<Signal>> {
        let Some(info) = self.0.read_signal().context("failed to read a signal")? else { return Ok(None) };
        let number = i32::try_from(info.ssi_signo).context("not a signal number")?;
        Signal::try_from(number).context("not a signal").map(Some)
    }
}

/// What a command's streams are joined to.
pub struct Streams<'a> {
    /// Where its standard input comes from; none means that it is empty.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Where its standard output goes.
    pub stdout: &'a mut dyn Write,
    /// Where its standard error goes.
    pub stderr: &'a mut dyn Write,
}

/// Runs a command with this process's own streams, on a terminal if they are one.
pub fn run_here(port: Port, mut run: Run, signals: &Signals) -> Result<i32> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let _raw = if stdin.is_terminal() && stdout.is_terminal() {
        run.terminal = Some(terminal_size(stdout.as_fd())?);
        if let Ok(terminal) = std::env::var("TERM") {
            run.env.entry("TERM".into()).or_insert(terminal);
        }
        Some(RawTerminal::enter()?)
    } else {
        None
    };
    let streams =
        Streams { stdin: Some(stdin.as_fd()), stdout: &mut stdout.lock(), stderr: &mut std::io::stderr().lock() };
    run_with(port, &run, streams, signals)
}

/// Runs a command and returns its status as a shell would: the exit code, or 128+n if signal n ended it.
pub fn run_with(mut port: Port, run: &Run, mut streams: Streams<'_>, signals: &Signals) -> Result<i32> {
    let link = &mut port.link;
    link.queue(&Frame::Run(run.clone()));
    if streams.stdin.is_none() {
        link.queue(&Frame::StdinEnd);
    }
    loop {
        link.flush()?;
        let events = await_events(link, streams.stdin, signals)?;
        if events.signal
            && let Some(signal) = signals.next()?
        {
            match (signal, run.terminal) {
                (Signal::SIGWINCH, Some(_)) => link.queue(&Frame::Resize(terminal_size(std::io::stdout().as_fd())?)),
                (Signal::SIGWINCH, None) => {}
                (signal, _) => return Err(Interrupted(signal).into()),
            }
        }
        if events.input {
            send_input(link, &mut streams.stdin)?;
        }
        if events.message && !link.receive()? {
            return Err(MachineGone.into());
        }
        while let Some(frame) = link.next_frame()? {
            match frame {
                Frame::Stdout(bytes) => write_out(streams.stdout, &bytes)?,
                Frame::Stderr(bytes) => write_out(streams.stderr, &bytes)?,
                Frame::Exit(status) => return Ok(status),
                Frame::Refused(reason) => bail!("{reason}"),
                other => bail!("the guest sent {other:?} in a session"),
            }
        }
    }
}

struct Events {
    signal: bool,
    input: bool,
    message: bool,
}

fn await_events(link: &Link, stdin: Option<BorrowedFd<'_>>, signals: &Signals) -> Result<Events> {
    let mut fds =
        vec![PollFd::new(link.as_fd(), link.interest(true)), PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)];
    // Input is read only when the last has been sent, so that a command that does not read holds its writer back.
    if let Some(stdin) = stdin.filter(|_| link.is_idle()) {
        fds.push(PollFd::new(stdin, PollFlags::POLLIN));
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("failed to poll a session"),
    }
    let happened = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
    let message = fds[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP));
    Ok(Events { message, signal: happened(1), input: happened(2) })
}

fn send_input(link: &mut Link, stdin: &mut Option<BorrowedFd<'_>>) -> Result<()> {
    let Some(fd) = *stdin else { return Ok(()) };
    let mut chunk = [0; CHUNK];
    match nix::unistd::read(fd, &mut chunk) {
        Ok(0) | Err(Errno::EIO) => {
            link.queue(&Frame::StdinEnd);
            *stdin = None;
        }
        Ok(length) => link.queue(&Frame::Stdin(chunk[..length].to_vec())),
        Err(Errno::EINTR | Errno::EAGAIN) => {}
        Err(errno) => return Err(errno).context("failed to read standard input"),
    }
    Ok(())
}

fn write_out(stream: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).and_then(|()| stream.flush()).context("failed to write the command's output")
}

fn terminal_size(terminal: BorrowedFd<'_>) -> Result<Size> {
    let size = rustix::termios::tcgetwinsize(terminal).context("failed to read the size of the terminal")?;
    Ok(Size { rows: size.ws_row, columns: size.ws_col })
}

/// The terminal of standard input in raw mode: every key goes to the guest. Dropping it brings the old mode back.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("failed to read the mode of the terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&stdin, SetArg::TCSADRAIN, &raw).context("failed to set the terminal to raw mode")?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// The socket of session `index` in a machine's run directory.
pub fn socket(directory: &Path, index: usize) -> PathBuf {
    directory.join(format!("session-{index}"))
}

/// A port of a machine that the guest has greeted on. A lock keeps other clients away until it is dropped.
pub struct Port {
    link: Link,
    _lock: Flock<File>,
}

impl Port {
    /// Waits for the first greeting of a machine that boots.
    pub fn of_booting(directory: &Path, patience: Duration, signals: &Signals) -> Result<Self> {
        Self::greeted(directory, 0, patience, signals)?
            .with_context(|| format!("the guest was not ready for commands within {patience:?}"))
    }

    /// Takes a free port of a running machine.
    pub fn of_running(directory: &Path, signals: &Signals) -> Result<Self> {
        let deadline = Instant::now() + JOIN_PATIENCE;
        while Instant::now() < deadline {
            for index in 0..SESSIONS {
                if let Some(port) = Self::greeted(directory, index, GREETING_PATIENCE, signals)? {
                    return Ok(port);
                }
            }
        }
        bail!("none of the {SESSIONS} sessions of the machine became free within {JOIN_PATIENCE:?}; end one of them")
    }

    /// `None` if the port is taken, or no proper greeting comes: the guest has not noticed yet that the last client left.
    fn greeted(directory: &Path, index: usize, patience: Duration, signals: &Signals) -> Result<Option<Self>> {
        let path = directory.join(format!("session-{index}.lock"));
        let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        let path = socket(directory, index);
        let stream = UnixStream::connect(&path).with_context(|| format!("failed to connect to {}", path.display()))?;
        let mut link = Link::new(stream.into())?;
        let deadline = Instant::now() + patience;
        loop {
            match link.next_frame() {
                Ok(Some(Frame::Greeting)) => return Ok(Some(Self { link, _lock: lock })),
                Ok(Some(_)) | Err(_) => return Ok(None),
                Ok(None) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut fds =
                [PollFd::new(link.as_fd(), PollFlags::POLLIN), PollFd::new(signals.0.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX))
                .context("failed to await a greeting")?;
            let (message, signal) = (fds[0].any().unwrap_or(false), fds[1].any().unwrap_or(false));
            if signal {
                signals.check()?;
            }
            if message && !link.receive()? {
                return Err(MachineGone.into());
            }
        }
    }
}
