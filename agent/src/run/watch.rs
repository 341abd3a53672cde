//! What `holdpoint run` knows of its tree's holds: a stream from the agent, begun anew when it breaks.
//!
//! ```text
//! Expecting -- the child says its tree --> Down -- connected --> Up
//!     └-- the child says nothing --> Off    ^------ broken -------┘
//! ```

use std::{
    collections::BTreeSet,
    io::{self, ErrorKind, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::tz::TimeZone;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::tell::{sentence, short, tell};
use crate::{
    request::HoldId,
    sockets::{
        Notice,
        message::{TreeReply, TreeRequest, decode, encode},
    },
};

/// Back-off between attempts to reach the agent: doubles from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// More than this without a line's end is not from our agent.
const LINE_BYTES: usize = 64 * 1024 * 1024;

/// So many refusals without a question are said: a program that tries everything is not to fill the terminal.
const DENIED: usize = 20;

/// The stream, and what it has told.
pub(super) struct Watch {
    socket: PathBuf,
    link: Link,
    buffer: Vec<u8>,
    tree: String,
    known: BTreeSet<HoldId>,
    pause: Duration,
    said_away: bool,
    /// Refusals without a question that it has told.
    denied: usize,
}

enum Link {
    Expecting(UnixStream),
    Up(UnixStream),
    Down { again: Instant },
    Off,
}

impl Watch {
    /// Begins when the child says on `report` which tree it is.
    pub(super) fn new(socket: PathBuf, report: UnixStream) -> Self {
        let usable = report.set_nonblocking(true).is_ok();
        let link = if usable { Link::Expecting(report) } else { Link::Off };
        Self { socket, link, ..Self::off() }
    }

    /// Nothing to watch.
    pub(super) fn off() -> Self {
        Self {
            socket: PathBuf::new(),
            link: Link::Off,
            buffer: Vec::new(),
            tree: String::new(),
            known: BTreeSet::new(),
            pause: PAUSES.0,
            said_away: false,
            denied: 0,
        }
    }

    /// What to poll.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        match &self.link {
            Link::Expecting(stream) | Link::Up(stream) => Some(stream.as_fd()),
            Link::Down { .. } | Link::Off => None,
        }
    }

    /// How long there is nothing to do but for [`Self::source`].
    pub(super) fn pause(&self) -> Option<Duration> {
        match self.link {
            Link::Down { again } => Some(again.saturating_duration_since(Instant::now())),
            _ => None,
        }
    }

    /// Whether the agent can still say how a hold ended.
    pub(super) fn expects_an_end(&self) -> bool {
        !self.known.is_empty() && matches!(self.link, Link::Up(_))
    }

    /// Does what can be done without waiting.
    pub(super) fn step(&mut self) {
        if matches!(self.link, Link::Down { again } if again <= Instant::now()) {
            self.reconnect();
        }
        let expecting = matches!(self.link, Link::Expecting(_));
        let open = self.fill();
        while let Some(line) = self.next_line() {
            self.on_line(&line);
        }
        match self.link {
            Link::Up(_) if !open && !expecting => self.lost(),
            Link::Expecting(_) if !open => self.link = Link::Off,
            _ => {}
        }
    }

    fn reconnect(&mut self) {
        self.buffer.clear();
        match begin(&self.socket, &self.tree) {
            Ok(stream) => self.link = Link::Up(stream),
            Err(_) => {
                self.say_away();
                self.lost();
            }
        }
    }

    /// Reads what is there; false when there will be no more.
    fn fill(&mut self) -> bool {
        let (Link::Expecting(stream) | Link::Up(stream)) = &mut self.link else { return true };
        let mut chunk = [0; 4096];
        while self.buffer.len() < LINE_BYTES {
            match stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(length) => self.buffer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        false
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        Some(self.buffer.drain(..=end).collect())
    }

    fn on_line(&mut self, line: &[u8]) {
        match self.link {
            Link::Expecting(_) => {
                self.tree = String::from_utf8_lossy(line).trim_end().to_owned();
                self.reconnect();
            }
            Link::Up(_) => match decode(line) {
                Ok(TreeReply::Watching { held }) => self.on_state(&held),
                Ok(TreeReply::Notice(notice)) => self.on_notice(&notice),
                _ => self.lost(),
            },
            Link::Down { .. } | Link::Off => {}
        }
    }

    /// What is held now; what was and is not any more has ended unseen.
    fn on_state(&mut self, held: &[Notice]) {
        self.pause = PAUSES.0;
        let now: BTreeSet<_> = held.iter().filter_map(held_id).collect();
        for id in self.known.difference(&now) {
            tell(&format!("{} ended while the agent was away", short(*id)));
        }
        self.known.retain(|id| now.contains(id));
        for notice in held {
            self.on_notice(notice);
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        let news = match notice {
            Notice::Held { id, .. } => self.known.insert(*id),
            Notice::Ended { id, .. } => self.known.remove(id),
            // A reviewer's no is always told: nothing that is tried before takes its place.
            Notice::Denied(denial) if denial.until.is_some() => true,
            Notice::Denied(_) => {
                self.denied += 1;
                if self.denied == DENIED + 1 {
                    tell("more is denied: the record says what, and so does `holdpoint why` inside the tree");
                }
                self.denied <= DENIED
            }
        };
        if news {
            tell(&sentence(notice, &TimeZone::system()));
        }
    }

    /// Said once in the life of a command: the next time is the same news.
    fn say_away(&mut self) {
        if !self.said_away {
            self.said_away = true;
            tell("the agent is away; what is held stays held");
        }
    }

    fn lost(&mut self) {
        self.link = Link::Down { again: Instant::now() + self.pause };
        self.pause = PAUSES.1.min(self.pause * 2);
    }
}

fn held_id(notice: &Notice) -> Option<HoldId> {
    match notice {
        Notice::Held { id, .. } => Some(*id),
        Notice::Ended { .. } | Notice::Denied(_) => None,
    }
}

/// Connects without ever waiting, since the child must be waited for: a full queue is an error too.
fn begin(path: &Path, tree: &str) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let mut stream = UnixStream::from(socket);
    stream.write_all(&encode(&TreeRequest::Watch { tree: tree.to_owned() }))?;
    Ok(stream)
}
