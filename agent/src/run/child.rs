//! The child of `holdpoint run`, before and after the `execve(2)` at which the kernel takes the enrolment.
//!
//! Whatever goes wrong ends it: nothing is ever started ungoverned.

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    fs,
    io::{self, ErrorKind},
    os::{
        fd::{AsRawFd as _, RawFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use nix::{
    errno::Errno,
    sys::{
        prctl::set_pdeathsig,
        signal::Signal,
        socket::{MsgFlags, UnixAddr, getpeername, recv, send},
    },
    unistd::{close, getppid},
};

use super::{Stop, failed, keep_over_exec, own_step, signals};
use crate::{
    claims::{Kind, Said},
    cli::{Claiming, Inherited},
    request::shown,
    sockets::{
        CONTROL, TREE,
        client::{Client, Failure},
        message::{TreeReply, TreeRequest, decode, encode},
    },
};

/// Longest reply to a confirmation.
const REPLY_BYTES: usize = 4096;

/// First step: asks to be governed, and executes itself so that it becomes so.
pub(super) fn enrol(
    run_dir: &Path,
    subject: Option<String>,
    claiming: &Claiming,
    inherited: &Inherited,
    command: &[OsString],
) -> Stop {
    let said = claiming.said(environment());
    try_enrol(run_dir, subject, said, inherited, command).map_or_else(|stop| stop, |never| match never {})
}

/// Second step: makes sure that it is governed, and becomes the command.
pub(super) fn governed(run_dir: &Path, agent: RawFd, tree: &str, inherited: &Inherited, command: &[OsString]) -> Stop {
    try_governed(run_dir, agent, tree, inherited, command).map_or_else(|stop| stop, |never| match never {})
}

fn try_enrol(
    run_dir: &Path,
    subject: Option<String>,
    said: Said,
    inherited: &Inherited,
    command: &[OsString],
) -> Result<Infallible, Stop> {
    die_with(inherited.parent)?;
    let mut agent = Client::connect(&run_dir.join(TREE))?;
    let tree = match agent.ask(&TreeRequest::Enrol { subject: subject.clone(), said })? {
        TreeReply::Enrolled { tree } => tree,
        TreeReply::AlreadyGoverned { subject: own } => {
            stays(&own, subject.as_deref())?;
            return become_command(run_dir, inherited, command);
        }
        other => return Err(unexpected(other)),
    };
    let agent = agent.into_stream();
    keep_over_exec(&agent).map_err(failed("fcntl"))?;
    let mut step = own_step(run_dir, "run-governed");
    step.arg(format!("--agent={}", agent.as_raw_fd())).arg(format!("--tree={tree}"));
    step.arg(format!("--parent={}", inherited.parent)).arg(format!("--report={}", inherited.report));
    if !inherited.unblock.is_empty() {
        let numbers: Vec<_> = inherited.unblock.iter().map(ToString::to_string).collect();
        step.arg(format!("--unblock={}", numbers.join(",")));
    }
    Err(failed("/proc/self/exe")(step.arg("--").args(command).exec()))
}

fn try_governed(
    run_dir: &Path,
    agent: RawFd,
    tree: &str,
    inherited: &Inherited,
    command: &[OsString],
) -> Result<Infallible, Stop> {
    match confirm(agent)? {
        TreeReply::Confirmed { taken: true } => {}
        TreeReply::Confirmed { taken: false } => {
            let stop = Stop::new("not started: the kernel did not take this process as governed");
            return Err(stop.help("holdpoint status says whether the agent enforces"));
        }
        other => return Err(unexpected(other)),
    }
    let _ = close(agent);
    // Who waits for it may have gone, or may not want to know (--quiet).
    let _ = send(inherited.report, format!("{tree}\n").as_bytes(), MsgFlags::MSG_NOSIGNAL);
    become_command(run_dir, inherited, command)
}

/// What the environment says of the tree: `HOLDPOINT_INTENT` and so on. Read in this step, since arguments are for all users
/// of the host to read.
fn environment() -> Said {
    let variable = |kind: Kind| env::var_os(format!("HOLDPOINT_{}", kind.word().to_uppercase()));
    let text = |kind| Some((kind, variable(kind)?.to_string_lossy().into_owned()));
    Kind::ALL.into_iter().filter_map(text).collect()
}

/// `holdpoint run` is not what the person sees as a process: who kills it means the command.
fn die_with(parent: i32) -> Result<(), Stop> {
    set_pdeathsig(Signal::SIGKILL).map_err(failed("prctl"))?;
    if getppid().as_raw() == parent { Ok(()) } else { Err(Stop::new("not started: holdpoint run has ended")) }
}

/// A governed process keeps its subject.
fn stays(own: &str, wanted: Option<&str>) -> Result<(), Stop> {
    match wanted {
        Some(wanted) if wanted != own => {
            let (own, wanted) = (shown(own), shown(wanted));
            let stop =
                Stop::new(format!("not started: already governed as \"{own}\", which cannot become \"{wanted}\""));
            Err(stop.help(format!("leave out --subject, or say --subject {own}")))
        }
        _ => Ok(()),
    }
}

/// Asks on the connection that came over the `execve(2)`: it is only a number here, and safe code cannot make
/// a stream of a number. The time limit set on it in the first step still counts.
fn confirm(agent: RawFd) -> Result<TreeReply, Failure> {
    let question = encode(&TreeRequest::Confirm);
    if send(agent, &question, MsgFlags::MSG_NOSIGNAL).map_err(io::Error::from)? != question.len() {
        return Err(Failure::Broken(ErrorKind::WriteZero.into()));
    }
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut chunk = [0; 512];
        let length = recv(agent, &mut chunk, MsgFlags::empty()).map_err(io::Error::from)?;
        line.extend_from_slice(&chunk[..length]);
        if length == 0 || line.len() > REPLY_BYTES {
            return Err(Failure::Broken(ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(decode(&line)?)
}

fn unexpected(reply: TreeReply) -> Stop {
    match reply {
        TreeReply::Refused(refusal) => Failure::from(refusal).into(),
        _ => Stop::new("not started: the agent replied to something else"),
    }
}

/// Puts everything back as the caller had it and becomes the command.
fn become_command(run_dir: &Path, inherited: &Inherited, command: &[OsString]) -> Result<Infallible, Stop> {
    let _ = close(inherited.report);
    shed_authority(&run_dir.join(CONTROL))?;
    signals::unblock(&inherited.unblock).map_err(failed("sigprocmask"))?;
    let (program, arguments) = command.split_first().ok_or_else(|| Stop::new("not started: no command"))?;
    let error = Command::new(program).args(arguments).exec();
    Err(cannot_execute(&program.to_string_lossy(), &error))
}

/// Closes inherited connections to the socket with authority: the kernel refuses a governed process a new one.
fn shed_authority(control: &Path) -> Result<(), Stop> {
    let entries = fs::read_dir("/proc/self/fd").map_err(failed("/proc/self/fd"))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let names: Vec<_> = names.collect::<Result<_, _>>().map_err(failed("/proc/self/fd"))?;
    for fd in names.iter().filter_map(|name| name.to_str()?.parse::<RawFd>().ok()) {
        let peer = getpeername::<UnixAddr>(fd);
        if !peer.is_ok_and(|peer| peer.path() == Some(control)) {
            continue;
        }
        if fd <= 2 {
            let stop = Stop::new("not started: a standard stream is a connection to the agent's control socket");
            return Err(stop.help("redirect it"));
        }
        close(fd).map_err(failed("close"))?;
    }
    Ok(())
}

/// Exit codes as shells have them.
fn cannot_execute(program: &str, error: &io::Error) -> Stop {
    let code = if error.kind() == ErrorKind::NotFound { 127 } else { 126 };
    let stop = Stop { code, ..Stop::new(format!("cannot execute {}: {error}", shown(program))) };
    if error.raw_os_error() == Some(Errno::EPERM as i32) {
        return stop.help("this may be a denial by holdpoint itself: the command was governed already");
    }
    stop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let code = |errno: Errno| cannot_execute("x", &errno.into()).code;
        assert_eq!([Errno::ENOENT, Errno::EACCES, Errno::ENOEXEC, Errno::EPERM].map(code), [127, 126, 126, 126]);
    }

    #[test]
    fn a_denial_is_named_as_a_possibility() {
        assert!(cannot_execute("x", &Errno::EPERM.into()).help.unwrap().contains("denial by holdpoint"));
        assert_eq!(cannot_execute("x", &Errno::EACCES.into()).help, None);
    }

    #[test]
    fn a_governed_process_keeps_its_subject() {
        assert!(stays("ci", None).is_ok() && stays("ci", Some("ci")).is_ok());
        assert_eq!(stays("ci", Some("other")).unwrap_err().code, 125);
    }
}
