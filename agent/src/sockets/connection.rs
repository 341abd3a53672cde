//! One connection: lines in, lines out, within limits of size, time and number, each line by a known sender.

use std::{
    collections::HashMap,
    io::{self, IoSliceMut},
    os::fd::AsRawFd as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    cmsg_space,
    sys::socket::{ControlMessageOwned, MsgFlags, UnixCredentials, recvmsg},
};
use serde::Serialize;
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};

use super::{Declined, Peer, message::encode};

/// Longest line from a client. The longest of all has four claims of 4 KiB, of which JSON can make six times as much.
const LINE_BYTES: usize = 128 * 1024;
/// How long a client may take to read what it asked for.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Pause after a failed `accept(2)`: it fails for lack of descriptors, which only time cures.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a connection ends, other than by the client's wish.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("a line is longer than {LINE_BYTES} bytes")]
    TooLong,
    #[error("no complete line in time")]
    Idle,
    #[error("the last line has no end")]
    Unfinished,
    /// Also when the sender is hidden, or descriptors were sent along (which this side never takes).
    #[error("the line was not sent by the process that connected")]
    Stranger,
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A client, known by its process.
pub(super) struct Connection {
    stream: UnixStream,
    /// Who connected, and, being checked byte by byte, who writes.
    pub(super) who: Peer,
    buffer: Vec<u8>,
    _place: Place,
}

impl Connection {
    /// The next line without its end, none when the client has closed.
    ///
    /// Cancelling loses no bytes: they stay in the buffer.
    pub(super) async fn line(&mut self, limit: Duration) -> Result<Option<Vec<u8>>, LineError> {
        timeout(limit, self.next_line()).await.unwrap_or(Err(LineError::Idle))
    }

    async fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        loop {
            if let Some(line) = split(&mut self.buffer)? {
                return Ok(Some(line));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(LineError::Unfinished) };
            }
        }
    }

    /// Returns when the client has closed or has broken the rule that it says nothing more.
    pub(super) async fn closed(&mut self) {
        let _ = self.fill().await;
    }

    /// Takes more bytes and looks at who sent them: a descriptor can be handed to another process, and a
    /// program can be made to write to one (the standard error of a set-uid program).
    ///
    /// A process with CAP_SYS_ADMIN can claim another's credentials (unix(7)); the kernel side keeps governed
    /// processes, root or not, from having such a connection at all.
    async fn fill(&mut self) -> Result<usize, LineError> {
        let mut chunk = [0; 4096];
        loop {
            self.stream.readable().await?;
            let received = self.stream.try_io(Interest::READABLE, || receive(&self.stream, &mut chunk));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
                Ok((0, _)) => return Ok(0),
                Ok((length, Some((pid, uid)))) if (pid, uid) == (self.who.pid, self.who.uid) => {
                    self.buffer.extend_from_slice(&chunk[..length]);
                    return Ok(length);
                }
                Ok(_) => return Err(LineError::Stranger),
            }
        }
    }

    /// Says one line.
    pub(super) async fn say<T: Serialize>(&mut self, body: &T) -> io::Result<()> {
        let line = encode(body);
        timeout(WRITE_LIMIT, self.stream.write_all(&line)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl From<LineError> for Declined {
    fn from(error: LineError) -> Self {
        Self::new(error.to_string())
    }
}

/// Bytes, and the process and user that sent them. The kernel never merges bytes of two senders in one call.
///
/// There is room for the credentials and nothing else, so descriptors sent along are dropped by the kernel,
/// and reported: then there is no sender.
fn receive(stream: &UnixStream, chunk: &mut [u8]) -> io::Result<(usize, Option<(u32, u32)>)> {
    let mut room = cmsg_space!(UnixCredentials);
    let mut into = [IoSliceMut::new(chunk)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut into, Some(&mut room), flags)?;
    let sender = message.cmsgs().ok().and_then(|mut all| all.find_map(credentials));
    Ok((message.bytes, sender))
}

fn credentials(message: ControlMessageOwned) -> Option<(u32, u32)> {
    match message {
        ControlMessageOwned::ScmCredentials(found) => Some((u32::try_from(found.pid()).ok()?, found.uid())),
        _ => None,
    }
}

/// Takes the first line out of the buffer.
fn split(buffer: &mut Vec<u8>) -> Result<Option<Vec<u8>>, LineError> {
    let end = buffer.iter().position(|byte| *byte == b'\n');
    if end.unwrap_or(buffer.len()) > LINE_BYTES {
        return Err(LineError::TooLong);
    }
    Ok(end.map(|end| {
        let mut line: Vec<u8> = buffer.drain(..=end).collect();
        line.pop();
        line
    }))
}

/// Accepts for ever, at most `limit` connections per user at a time; who comes on top is closed at once.
pub(super) async fn accept<F, Attend>(listener: UnixListener, limit: usize, attend: Attend)
where
    F: Future<Output = ()> + Send + 'static,
    Attend: Fn(Connection) -> F,
{
    let places = Arc::new(Places { limit, taken: Mutex::default() });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Some(connection) = admit(stream, &places) {
            tokio::spawn(attend(connection));
        }
    }
}

/// Whom the kernel cannot name in our namespace (pid 0) is nobody to talk to.
fn admit(stream: UnixStream, places: &Arc<Places>) -> Option<Connection> {
    let peer = stream.peer_cred().ok()?;
    let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0)?;
    let who = Peer { pid, uid: peer.uid(), gid: peer.gid() };
    let place = Places::take(places, who.uid)?;
    Some(Connection { stream, who, buffer: Vec::new(), _place: place })
}

/// How many connections each user has.
struct Places {
    limit: usize,
    taken: Mutex<HashMap<u32, usize>>,
}

/// One of them, given back when dropped.
struct Place {
    places: Arc<Places>,
    uid: u32,
}

impl Places {
    fn take(places: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(uid).or_default();
        if *count >= places.limit {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(places), uid })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_one_by_one() {
        let mut buffer = b"one\ntwo\nthr".to_vec();
        assert_eq!(split(&mut buffer).unwrap().unwrap(), b"one");
        assert_eq!(split(&mut buffer).unwrap().unwrap(), b"two");
        assert!(split(&mut buffer).unwrap().is_none());
        assert_eq!(buffer, b"thr");
    }

    #[test]
    fn a_line_has_a_longest_length_ended_or_not() {
        let mut fits = vec![b'x'; LINE_BYTES];
        fits.push(b'\n');
        assert_eq!(split(&mut fits).unwrap().unwrap().len(), LINE_BYTES);
        for end in [&b"\n"[..], b""] {
            let mut long = [&[b'x'; LINE_BYTES + 1], end].concat();
            assert!(matches!(split(&mut long), Err(LineError::TooLong)));
        }
    }

    #[test]
    fn places_are_counted_per_user_and_given_back() {
        let places = Arc::new(Places { limit: 2, taken: Mutex::default() });
        let first = Places::take(&places, 1000).unwrap();
        let _second = Places::take(&places, 1000).unwrap();
        assert!(Places::take(&places, 1000).is_none());
        assert!(Places::take(&places, 1001).is_some(), "another user is not concerned");
        drop(first);
        assert!(Places::take(&places, 1000).is_some());
    }
}
