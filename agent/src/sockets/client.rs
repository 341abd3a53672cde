//! Client side of both sockets: blocking, one question at a time.

use std::{
    io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Declined,
    message::{decode, encode},
};

/// Longest reply that is read: a full pending map with the longest arguments is below.
const REPLY_BYTES: u64 = 64 * 1024 * 1024;
/// The agent answers from memory; later than this it is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nobody listens.
    #[error("the agent is not running")]
    NoAgent,
    /// It says no, or one may not even ask.
    #[error("{}", .0.cause)]
    Refused(#[from] Declined),
    /// It did not answer, or not sensibly.
    #[error("the agent does not answer: {0}")]
    Broken(#[from] io::Error),
}

impl Failure {
    /// What the person can do.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::NoAgent => Some("systemctl start holdpoint"),
            Self::Refused(refusal) => refusal.remedy.as_deref(),
            Self::Broken(_) => Some("see journalctl --unit holdpoint"),
        }
    }
}

/// A connection to the agent.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).map_err(unreachable)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Lets the agent take its time: for what waits for others.
    pub fn patient(self) -> Result<Self, Failure> {
        self.stream.get_ref().set_read_timeout(None)?;
        Ok(self)
    }

    /// Asks, and waits for the reply. `R` has its own way to say no.
    pub fn ask<Q: Serialize, R: DeserializeOwned>(&mut self, question: &Q) -> Result<R, Failure> {
        self.stream.get_mut().write_all(&encode(question))?;
        let mut line = Vec::new();
        (&mut self.stream).take(REPLY_BYTES).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(Failure::Broken(ErrorKind::UnexpectedEof.into()));
        }
        Ok(decode(&line)?)
    }

    /// The connection itself, for what comes after the last reply.
    pub fn into_stream(self) -> UnixStream {
        self.stream.into_inner()
    }
}

/// Says what a refused connection means.
fn unreachable(error: io::Error) -> Failure {
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::EACCES) => Declined::new("only root and members of the group holdpoint may do this")
            .remedy("sudo, or be a member")
            .into(),
        Some(nix::errno::Errno::EPERM) => {
            Declined::new("a governed process has no say here").remedy("use a shell outside the governed tree").into()
        }
        Some(nix::errno::Errno::ENOENT | nix::errno::Errno::ECONNREFUSED) => Failure::NoAgent,
        _ => Failure::Broken(error),
    }
}
