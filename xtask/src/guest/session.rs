//! One session in the guest: a command, its streams, and the port they share.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, User, read, write};
use rustix::process::{PidfdFlags, pidfd_open};

use super::{PATH, shell_status};
use crate::protocol::{CHUNK, Frame, Link, Run, Size, set_nonblocking};

/// What a shell reads as "end of input" on a terminal: Ctrl-D.
const END_OF_TRANSMISSION: u8 = 4;

/// The largest pipe there is without privilege, so no output of an ended command is longer; a process that it left behind may
/// write for ever.
const LAST_WORDS: usize = 1024 * 1024;

/// How long a client may take to hang up after the end of its command.
const GOODBYE: u16 = 2000;

/// Serves one session after the other on `port`, for ever.
pub fn serve(port: &Path, refusal: Option<&str>) {
    loop {
        if let Err(error) = serve_one(port, refusal) {
            eprintln!("holdpoint guest: {}: {error:#}", port.display());
            thread::sleep(Duration::from_secs(1));
        }
    }
}

fn serve_one(port: &Path, refusal: Option<&str>) -> Result<()> {
    let mut device = OpenOptions::new().read(true).write(true).open(port).context("failed to open the port")?;
    // A blocking write waits until a client has connected; poll() cannot, it reports a hang-up until then.
    device.write_all(&Frame::Greeting.encode()).context("failed to greet")?;
    let mut link = Link::new(device.into())?;
    let Some(run) = await_run(&mut link)? else { return Ok(()) };
    let farewell = match refusal {
        Some(reason) => Some(Frame::Refused(reason.to_owned())),
        None => match Process::start(&run) {
            Ok(process) => converse(&mut link, process)?.map(Frame::Exit),
            Err(error) => Some(Frame::Refused(format!("{error:#}"))),
        },
    };
    farewell.map_or(Ok(()), |frame| say_goodbye(&mut link, &frame))
}

/// The command that the client wants, or `None` if it hung up before it said so.
fn await_run(link: &mut Link) -> Result<Option<Run>> {
    loop {
        if let Some(Frame::Run(run)) = link.next_frame()? {
            return Ok(Some(run));
        }
        poll(&mut [PollFd::new(link.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)
            .context("failed to poll the port")?;
        if !link.receive()? {
            return Ok(None);
        }
    }
}

/// Sends the last frame and waits until the client has gone, so that the next one is not mistaken for it.
fn say_goodbye(link: &mut Link, frame: &Frame) -> Result<()> {
    link.queue(frame);
    loop {
        link.flush()?;
        let timeout = if link.is_idle() { PollTimeout::from(GOODBYE) } else { PollTimeout::NONE };
        let mut fds = [PollFd::new(link.as_fd(), link.interest(false))];
        let ready = poll(&mut fds, timeout).context("failed to poll the port")?;
        if ready == 0 || hung_up(&fds[0]) {
            return Ok(());
        }
    }
}

/// Carries bytes until the command has ended; its status, or `None` if the client went away and the command was killed.
fn converse(link: &mut Link, mut process: Process) -> Result<Option<i32>> {
    loop {
        match await_events(link, &process)? {
            Events { client_gone: true, .. } => {
                process.kill();
                return Ok(None);
            }
            events => {
                process.feed()?;
                if events.message && !link.receive()? {
                    process.kill();
                    return Ok(None);
                }
                while let Some(frame) = link.next_frame()? {
                    process.take(frame)?;
                }
                if events.output {
                    process.collect(link, CHUNK)?;
                }
                link.flush()?;
                if events.ended {
                    process.collect(link, LAST_WORDS)?;
                    return Ok(Some(process.status()?));
                }
            }
        }
    }
}

struct Events {
    client_gone: bool,
    message: bool,
    output: bool,
    ended: bool,
}

fn await_events(link: &Link, process: &Process) -> Result<Events> {
    // No new input while the command has not taken the last, no new output while the client has not: both are bounded.
    let mut fds = vec![
        PollFd::new(link.as_fd(), link.interest(process.unread.is_empty())),
        PollFd::new(process.pidfd.as_fd(), PollFlags::POLLIN),
    ];
    if let Some(stdin) = process.stdin.as_ref().filter(|_| !process.unread.is_empty()) {
        fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
    }
    let outputs = fds.len();
    if link.is_idle() {
        let open = [&process.stdout, &process.stderr];
        fds.extend(open.into_iter().flatten().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno).context("failed to poll a session"),
    }
    Ok(Events {
        client_gone: hung_up(&fds[0]),
        message: has(&fds[0], PollFlags::POLLIN),
        ended: has(&fds[1], PollFlags::POLLIN),
        output: fds[outputs..].iter().any(|fd| fd.any().unwrap_or(false)),
    })
}

fn has(fd: &PollFd<'_>, flag: PollFlags) -> bool {
    fd.revents().is_some_and(|events| events.contains(flag))
}

fn hung_up(fd: &PollFd<'_>) -> bool {
    has(fd, PollFlags::POLLHUP)
}

/// The command and our ends of its streams.
struct Process {
    child: Child,
    pidfd: OwnedFd,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
    /// Input that the command has not taken yet.
    unread: Vec<u8>,
    /// No more input will come.
    input_ended: bool,
}

impl Process {
    fn start(run: &Run) -> Result<Self> {
        let mut command = command(run)?;
        let (child, stdin, stdout, stderr) = match run.terminal {
            Some(size) => start_on_terminal(&mut command, size)?,
            None => start_on_pipes(&mut command)?,
        };
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context("failed to open a pidfd")?;
        for fd in [&stdin, &stdout, &stderr].into_iter().flatten() {
            set_nonblocking(fd)?;
        }
        let terminal = run.terminal.is_some();
        Ok(Self { child, pidfd, stdin, stdout, stderr, terminal, unread: Vec::new(), input_ended: false })
    }

    /// Acts on a frame from the host.
    fn take(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::Stdin(bytes) => self.unread.extend(bytes),
            Frame::StdinEnd if self.terminal => self.unread.push(END_OF_TRANSMISSION),
            Frame::StdinEnd => self.input_ended = true,
            Frame::Resize(size) => self.resize(size)?,
            _ => {}
        }
        self.feed()
    }

    /// Gives the command as much of its input as it takes now.
    fn feed(&mut self) -> Result<()> {
        while let Some(stdin) = &self.stdin
            && !self.unread.is_empty()
        {
            match write(stdin, &self.unread) {
                Ok(taken) => drop(self.unread.drain(..taken)),
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EPIPE | Errno::EIO) => self.stdin = None,
                Err(errno) => return Err(errno).context("failed to write to a command"),
            }
        }
        self.unread.clear();
        if self.input_ended {
            self.stdin = None;
        }
        Ok(())
    }

    /// Queues up to `limit` bytes of each output stream.
    fn collect(&mut self, link: &mut Link, limit: usize) -> Result<()> {
        forward(&mut self.stdout, limit, |bytes| link.queue(&Frame::Stdout(bytes)))?;
        forward(&mut self.stderr, limit, |bytes| link.queue(&Frame::Stderr(bytes)))
    }

    /// The kernel tells the foreground processes of the terminal by SIGWINCH.
    fn resize(&self, size: Size) -> Result<()> {
        let Some(master) = self.stdin.as_ref().filter(|_| self.terminal) else { return Ok(()) };
        let size = rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(master, size).context("failed to resize a terminal")
    }

    /// Kills the command's process group; dropping the terminal hangs up the rest of its session.
    fn kill(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        // The group exists only once `setsid` has run; either call may find nobody, which is what is wanted.
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = kill(pid, Signal::SIGKILL);
        let _ = self.child.wait();
    }

    fn status(&mut self) -> Result<i32> {
        Ok(shell_status(self.child.wait().context("failed to wait for a command")?))
    }
}

/// Reads up to `limit` bytes of what is there; forgets the stream when it has ended.
fn forward(stream: &mut Option<OwnedFd>, limit: usize, mut send: impl FnMut(Vec<u8>)) -> Result<()> {
    let mut chunk = [0; CHUNK];
    let mut total = 0;
    while let Some(fd) = stream
        && total < limit
    {
        match read(&fd, &mut chunk) {
            // EIO: nobody has the terminal open any more.
            Ok(0) | Err(Errno::EIO) => *stream = None,
            Ok(length) => {
                total += length;
                send(chunk[..length].to_vec());
            }
            Err(Errno::EAGAIN) => break,
            Err(errno) => return Err(errno).context("failed to read from a command"),
        }
    }
    Ok(())
}

/// `setsid` and `setpriv` become the command: they exec it, with the process id that was spawned.
fn command(run: &Run) -> Result<Command> {
    let user = User::from_name(&run.user)
        .with_context(|| format!("failed to look up user {}", run.user))?
        .with_context(|| format!("the guest has no user {}", run.user))?;
    let mut command = Command::new("setsid");
    if run.terminal.is_some() {
        command.arg("--ctty");
    }
    if !user.uid.is_root() {
        command.args(["setpriv", "--reuid", &run.user, "--regid", &user.gid.to_string(), "--init-groups", "--"]);
    }
    command.args(&run.argv).current_dir(run.cwd.as_deref().map_or(user.dir.as_path(), Path::new)).env_clear();
    command.env("PATH", PATH);
    command.env("HOME", &user.dir).env("USER", &run.user).env("LOGNAME", &run.user).env("LANG", "C.UTF-8");
    command.envs(&run.env);
    Ok(command)
}

type Started = (Child, Option<OwnedFd>, Option<OwnedFd>, Option<OwnedFd>);

fn start_on_pipes(command: &mut Command) -> Result<Started> {
    let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
    let stdin = child.stdin.take().map(OwnedFd::from);
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    Ok((child, stdin, stdout, stderr))
}

fn start_on_terminal(command: &mut Command, size: Size) -> Result<Started> {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).context("failed to open a terminal")?;
    // Only the command's copies of the slave may stay open: their closing is the end of the output.
    command.stdin(terminal.slave.try_clone()?).stdout(terminal.slave.try_clone()?).stderr(terminal.slave);
    let child = spawn(command)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let output = terminal.master.try_clone()?;
    Ok((child, Some(terminal.master), Some(output), None))
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().map_err(|error| match (error.kind(), command.get_current_dir()) {
        (ErrorKind::NotFound, Some(directory)) if !directory.is_dir() => {
            anyhow::anyhow!("there is no directory {}", directory.display())
        }
        _ => anyhow::Error::new(error).context("failed to start setsid"),
    })
}
