//! What the host and the guest say to each other about one command.
//!
//! Each session has a virtio-serial port of its own, a byte stream in both directions with flow control by the kernel. The
//! guest greets first: a port may still carry the end of an earlier session, so a client that reads anything but the greeting
//! hangs up and tries again, and nothing of one session can reach another.
//!
//! ```text
//! guest  Greeting ............ Stdout* Stderr* ......... Exit | Refused
//! host            Run  Stdin* StdinEnd  Resize*
//! ```
//!
//! A frame is one byte of kind, four bytes of length (little-endian), then the payload.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

/// Sent by the guest when a session begins; changes when the frames do.
pub const GREETING: &[u8] = b"holdpoint-session/1";

/// Number of sessions that can run at the same time: one virtio-serial port each.
pub const SESSIONS: usize = 8;

/// The name of the virtio-serial port of session `index`.
pub fn port_name(index: usize) -> String {
    format!("holdpoint.session.{index}")
}

/// How much of a stream is read and sent in one frame.
pub const CHUNK: usize = 32 * 1024;

/// More than any frame needs; a longer one means that the stream is not what we think it is.
const MAX_PAYLOAD: usize = 1024 * 1024;

const HEADER: usize = 5;

/// A command to run in the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Added to the guest's own small environment.
    pub env: BTreeMap<String, String>,
    /// Where to run it; the user's home directory if absent.
    pub cwd: Option<String>,
    /// Whom to run it as.
    pub user: String,
    /// Present if the command shall have a terminal of this size.
    pub terminal: Option<Size>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The guest is ready for one session.
    Greeting,
    /// Run this.
    Run(Run),
    /// Bytes for the command's standard input.
    Stdin(Vec<u8>),
    /// Nothing more will come on standard input.
    StdinEnd,
    /// The host's terminal has a new size.
    Resize(Size),
    /// Bytes of the command's standard output.
    Stdout(Vec<u8>),
    /// Bytes of the command's standard error.
    Stderr(Vec<u8>),
    /// The command ended with this status, 128+n if by signal n; all its output has been sent.
    Exit(i32),
    /// The command was not run, for this reason.
    Refused(String),
}

impl Frame {
    /// The bytes of this frame.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, payload) = match self {
            Self::Greeting => (1, GREETING.to_vec()),
            Self::Run(run) => (2, serde_json::to_vec(run).expect("strings and numbers are valid JSON")),
            Self::Stdin(bytes) => (3, bytes.clone()),
            Self::StdinEnd => (4, Vec::new()),
            Self::Resize(size) => (5, [size.rows.to_le_bytes(), size.columns.to_le_bytes()].concat()),
            Self::Stdout(bytes) => (6, bytes.clone()),
            Self::Stderr(bytes) => (7, bytes.clone()),
            Self::Exit(status) => (8, status.to_le_bytes().to_vec()),
            Self::Refused(reason) => (9, reason.clone().into_bytes()),
        };
        let length = u32::try_from(payload.len()).expect("a payload is shorter than MAX_PAYLOAD");
        [&[kind][..], &length.to_le_bytes(), &payload].concat()
    }

    /// The first frame of `bytes` and its length, or `None` if it has not arrived completely.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [kind, length @ ..] = *header;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            bail!("a frame of kind {kind} claims {length} bytes, the limit is {MAX_PAYLOAD}");
        }
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        Ok(Some((Self::from_payload(kind, payload)?, HEADER + length)))
    }

    fn from_payload(kind: u8, payload: &[u8]) -> Result<Self> {
        Ok(match kind {
            1 if payload == GREETING => Self::Greeting,
            1 => bail!("the greeting is {:?}, expected {:?}", payload.escape_ascii(), GREETING.escape_ascii()),
            2 => Self::Run(serde_json::from_slice(payload).context("failed to read a run frame")?),
            3 => Self::Stdin(payload.to_vec()),
            4 => Self::StdinEnd,
            5 => match *payload {
                [r0, r1, c0, c1] => {
                    Self::Resize(Size { rows: u16::from_le_bytes([r0, r1]), columns: u16::from_le_bytes([c0, c1]) })
                }
                _ => bail!("a resize frame has {} bytes, expected 4", payload.len()),
            },
            6 => Self::Stdout(payload.to_vec()),
            7 => Self::Stderr(payload.to_vec()),
            8 => Self::Exit(i32::from_le_bytes(payload.try_into().context("an exit frame does not have 4 bytes")?)),
            9 => Self::Refused(String::from_utf8_lossy(payload).into_owned()),
            other => bail!("unknown kind of frame {other}"),
        })
    }
}

/// Frames over a descriptor, without ever blocking: each side is one poll loop, so neither can wait for the other in a circle.
pub struct Link {
    fd: OwnedFd,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

impl Link {
    /// Takes a connected stream.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        set_nonblocking(&fd)?;
        Ok(Self { fd, inbox: Vec::new(), outbox: Vec::new() })
    }

    /// Queues a frame; `flush` sends it.
    pub fn queue(&mut self, frame: &Frame) {
        self.outbox.extend(frame.encode());
    }

    /// Whether all that was queued has been sent. Sources are read only then, which bounds what is buffered.
    pub fn is_idle(&self) -> bool {
        self.outbox.is_empty()
    }

    /// What to poll for: output if some is queued, input if `listening`.
    pub fn interest(&self, listening: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, listening);
        flags.set(PollFlags::POLLOUT, !self.is_idle());
        flags
    }

    /// Sends as much as the stream takes now.
    pub fn flush(&mut self) -> Result<()> {
        while !self.outbox.is_empty() {
            match nix::unistd::write(&self.fd, &self.outbox) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("failed to write to the session"),
            }
        }
        Ok(())
    }

    /// Reads what has arrived; false if the other side has hung up.
    pub fn receive(&mut self) -> Result<bool> {
        let mut chunk = [0; CHUNK];
        match nix::unistd::read(&self.fd, &mut chunk) {
            Ok(0) | Err(Errno::ECONNRESET) => Ok(false),
            Ok(read) => {
                self.inbox.extend(&chunk[..read]);
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(true),
            Err(errno) => Err(errno).context("failed to read from the session"),
        }
    }

    /// The next complete frame that has been received.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        let Some((frame, length)) = Frame::decode(&self.inbox)? else { return Ok(None) };
        self.inbox.drain(..length);
        Ok(Some(frame))
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes reads and writes of `fd` return instead of waiting.
pub fn set_nonblocking(fd: impl AsFd) -> Result<()> {
    let flags = fcntl(&fd, FcntlArg::F_GETFL).context("failed to read descriptor flags")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(&fd, FcntlArg::F_SETFL(flags)).context("failed to make a descriptor non-blocking")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_of_each() -> Vec<Frame> {
        let run = Run {
            argv: vec!["sh".into(), "-c".into(), "exit 7".into()],
            env: [("TERM".into(), "xterm".into())].into(),
            cwd: Some("/share".into()),
            user: "agent".into(),
            terminal: Some(Size { rows: 24, columns: 80 }),
        };
        vec![
            Frame::Greeting,
            Frame::Run(run),
            Frame::Stdin(b"\0\xff\n".to_vec()),
            Frame::StdinEnd,
            Frame::Resize(Size { rows: 300, columns: 1 }),
            Frame::Stdout(Vec::new()),
            Frame::Stderr(b"no".to_vec()),
            Frame::Exit(137),
            Frame::Refused("the agent is not ready".into()),
        ]
    }

    #[test]
    fn every_frame_comes_back_as_it_was_sent() {
        for frame in one_of_each() {
            let bytes = frame.encode();
            assert_eq!(Frame::decode(&bytes).unwrap(), Some((frame, bytes.len())));
        }
    }

    #[test]
    fn an_incomplete_frame_is_waited_for() {
        for frame in one_of_each() {
            let bytes = frame.encode();
            for cut in 0..bytes.len() {
                assert_eq!(Frame::decode(&bytes[..cut]).unwrap(), None);
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert!(Frame::decode(&[6, 0xff, 0xff, 0xff, 0xff]).is_err(), "longer than any frame");
        assert!(Frame::decode(&[99, 0, 0, 0, 0]).is_err(), "unknown kind");
        assert!(Frame::decode(b"\x01\x02\0\0\0hi").is_err(), "another greeting");
    }
}
