//! Server side of the socket for everyone. No authority comes from it: one can give up freedom and look at
//! one's own.

use std::time::Duration;

use tokio::{net::UnixListener, sync::mpsc};

use super::{
    Command, Declined, Enrolled, Watching, ask,
    connection::{Connection, accept},
    message::{Notice, TreeReply, TreeRequest, decode, tree_number, tree_text},
};
use crate::claims::Said;

/// Connections per user. Each running `holdpoint run` keeps one.
const CONNECTIONS: usize = 256;
/// How long a client may think between two lines.
const IDLE: Duration = Duration::from_secs(30);
/// The same between enrolment and confirmation. Longer, since the policy may hold what the freshly governed
/// process opens on its way there, and a reviewer takes time.
const ENROLLING: Duration = Duration::from_secs(3600);

/// Serves for ever; abort it to stop.
pub async fn serve(listener: UnixListener, daemon: mpsc::Sender<Command>) {
    accept(listener, CONNECTIONS, |connection| attend(connection, daemon.clone())).await;
}

async fn attend(connection: Connection, daemon: mpsc::Sender<Command>) {
    let from = connection.who;
    let mut client = Client { connection, daemon, offered: false };
    let end = client.converse().await;
    if let Err(refusal) = end {
        let _ = client.connection.say(&TreeReply::Refused(refusal)).await;
    }
    if client.offered {
        let _ = client.daemon.send(Command::Abandon { from }).await;
    }
}

struct Client {
    connection: Connection,
    daemon: mpsc::Sender<Command>,
    /// An enrolment is open: neither confirmed nor abandoned.
    offered: bool,
}

impl Client {
    /// Until the client closes, or is refused something: then the connection is of no more use.
    async fn converse(&mut self) -> Result<(), Declined> {
        loop {
            let limit = if self.offered { ENROLLING } else { IDLE };
            let Some(line) = self.connection.line(limit).await? else { return Ok(()) };
            let reply = match decode(&line)? {
                TreeRequest::Enrol { subject, said } => self.enrol(subject, said).await?,
                TreeRequest::Confirm => self.confirm().await?,
                TreeRequest::Mine => self.mine().await?,
                TreeRequest::Annotate { said } => self.annotate(said).await?,
                TreeRequest::Watch { tree } => return self.watch(tree_number(&tree)?).await,
            };
            if self.connection.say(&reply).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn enrol(&mut self, subject: Option<String>, said: Said) -> Result<TreeReply, Declined> {
        let from = self.connection.who;
        let enrolled = ask(&self.daemon, |reply| Command::Enrol { from, subject, said, reply }).await?;
        self.offered |= matches!(enrolled, Enrolled::Offered { .. });
        Ok(enrolled.into())
    }

    async fn confirm(&mut self) -> Result<TreeReply, Declined> {
        let from = self.connection.who;
        let taken = ask(&self.daemon, |reply| Command::Confirm { from, reply }).await?;
        self.offered &= !taken;
        Ok(TreeReply::Confirmed { taken })
    }

    async fn mine(&mut self) -> Result<TreeReply, Declined> {
        let from = self.connection.who;
        let mine = ask(&self.daemon, |reply| Command::Mine { from, reply }).await?;
        let held = mine.held.iter().map(Notice::held).collect();
        let (tree, subject) = mine.tree.map(|(tree, subject)| (tree_text(tree), subject)).unzip();
        Ok(TreeReply::Mine { tree, subject, held, denied: mine.denied })
    }

    async fn annotate(&mut self, said: Said) -> Result<TreeReply, Declined> {
        let from = self.connection.who;
        let claims = ask(&self.daemon, |reply| Command::Annotate { from, said, reply }).await?;
        Ok(TreeReply::Annotated { claims })
    }

    async fn watch(&mut self, tree: u64) -> Result<(), Declined> {
        let from = self.connection.who;
        let Watching { held, mut later } = ask(&self.daemon, |reply| Command::Watch { from, tree, reply }).await?;
        let mut next = TreeReply::Watching { held: held.iter().map(Notice::held).collect() };
        while self.connection.say(&next).await.is_ok() {
            next = tokio::select! {
                notice = later.recv() => match notice {
                    Some(notice) => TreeReply::Notice(notice),
                    None => break,
                },
                () = self.connection.closed() => break,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        os::unix::net::UnixStream,
        process,
    };

    use tokio::task::spawn_blocking;

    use super::*;
    use crate::{
        claims::Kind,
        request::{End, HoldId},
        sockets::{
            TREE,
            bind::{self, tests::Directory},
            message::encode,
        },
    };

    fn served(name: &str) -> (UnixStream, mpsc::Receiver<Command>) {
        let directory = Directory::new(name);
        let listener = bind::tree(&directory.0).unwrap().listen().unwrap();
        let (daemon, commands) = mpsc::channel(8);
        tokio::spawn(serve(listener, daemon));
        (UnixStream::connect(directory.0.join(TREE)).unwrap(), commands)
    }

    async fn say(stream: &UnixStream, request: TreeRequest) {
        let mut stream = stream.try_clone().unwrap();
        spawn_blocking(move || stream.write_all(&encode(&request))).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_enrolment_left_unconfirmed_is_abandoned() {
        let (stream, mut commands) = served("abandoned");
        say(&stream, TreeRequest::Enrol { subject: None, said: Said::new() }).await;
        let Some(Command::Enrol { from, reply, .. }) = commands.recv().await else { panic!("an enrolment") };
        assert_eq!(from.pid, process::id());
        reply.send(Ok(Enrolled::Offered { tree: 7 })).unwrap();
        drop(stream);
        assert!(matches!(commands.recv().await, Some(Command::Abandon { from: again }) if again == from));
    }

    #[tokio::test]
    async fn a_confirmed_enrolment_is_not_abandoned() {
        let (stream, mut commands) = served("confirmed");
        say(&stream, TreeRequest::Enrol { subject: None, said: Said::new() }).await;
        let Some(Command::Enrol { reply, .. }) = commands.recv().await else { panic!("an enrolment") };
        reply.send(Ok(Enrolled::Offered { tree: 7 })).unwrap();
        say(&stream, TreeRequest::Confirm).await;
        let Some(Command::Confirm { reply, .. }) = commands.recv().await else { panic!("a confirmation") };
        reply.send(Ok(true)).unwrap();
        say(&stream, TreeRequest::Mine).await;
        assert!(matches!(commands.recv().await, Some(Command::Mine { .. })));
        drop(stream);
        let quiet = tokio::time::timeout(Duration::from_millis(100), commands.recv()).await;
        assert!(quiet.is_err(), "nothing follows: {quiet:?}");
    }

    #[tokio::test]
    async fn the_longest_claims_fit_into_a_line_and_are_those_of_the_sender() {
        let (stream, mut commands) = served("claims");
        let said: Said = Kind::ALL.map(|kind| (kind, "\u{1}".repeat(4096))).into();
        say(&stream, TreeRequest::Annotate { said: said.clone() }).await;
        let Some(Command::Annotate { from, said: arrived, reply }) = commands.recv().await else { panic!("claims") };
        assert_eq!((from.pid, arrived), (process::id(), said));
        reply.send(Err(Declined::new("not governed"))).unwrap();
        let lines = spawn_blocking(move || BufReader::new(stream).lines().map(Result::unwrap).collect::<Vec<_>>());
        let replies: Vec<TreeReply> =
            lines.await.unwrap().iter().map(|line| decode(line.as_bytes()).unwrap()).collect();
        assert_eq!(replies, [TreeReply::Refused(Declined::new("not governed"))]);
    }

    #[tokio::test]
    async fn a_watch_streams_until_the_daemon_lets_go() {
        let (stream, mut commands) = served("watch");
        say(&stream, TreeRequest::Watch { tree: tree_text(7) }).await;
        let Some(Command::Watch { tree: 7, reply, .. }) = commands.recv().await else { panic!("a watch") };
        let (notices, later) = mpsc::channel(8);
        reply.send(Ok(Watching { held: vec![], later })).unwrap();
        let ended = Notice::Ended { id: HoldId(1), end: End::Expired, who: None, why: None, after: 0 };
        notices.send(ended.clone()).await.unwrap();
        drop(notices);
        let lines = spawn_blocking(move || BufReader::new(stream).lines().map(Result::unwrap).collect::<Vec<_>>());
        let lines = lines.await.unwrap();
        let replies: Vec<TreeReply> = lines.iter().map(|line| decode(line.as_bytes()).unwrap()).collect();
        assert_eq!(replies, [TreeReply::Watching { held: vec![] }, TreeReply::Notice(ended)]);
    }
}
