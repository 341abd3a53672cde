//! Server side of the socket with authority. Who may say what is decided by the daemon.

use std::time::Duration;

use nix::unistd::{Uid, User};
use serde_json::json;
use tokio::{net::UnixListener, sync::mpsc, task::spawn_blocking};

use super::{
    Command, Declined, Peer, Written, ask,
    connection::{Connection, accept},
    message::{ControlReply, ControlRequest, decode, view},
};
use crate::{
    process,
    request::{Answer, Caller, Hold, HoldId, Proof},
};

/// Connections per user. Each command is one, and short.
const CONNECTIONS: usize = 32;
/// Processes offered on one connection.
const OFFERS: usize = 32;
/// How long a client may think between two lines; commands do not think.
const IDLE: Duration = Duration::from_secs(30);

/// Serves for ever; abort it to stop.
pub async fn serve(listener: UnixListener, daemon: mpsc::Sender<Command>) {
    accept(listener, CONNECTIONS, |connection| attend(connection, daemon.clone())).await;
}

async fn attend(mut connection: Connection, daemon: mpsc::Sender<Command>) {
    let mut offered = Vec::new();
    converse(&mut connection, &daemon, &mut offered).await;
    // The number of a process that has died untaken may be somebody else's tomorrow.
    for pid in offered {
        let _ = daemon.send(Command::EndCanary { pid, reply: None }).await;
    }
}

/// Until the client closes or breaks the rules. `offered` is filled with the processes offered on the way.
async fn converse(connection: &mut Connection, daemon: &mpsc::Sender<Command>, offered: &mut Vec<u32>) {
    loop {
        let request = match connection.line(IDLE).await {
            Ok(Some(line)) => decode(&line),
            Ok(None) => return,
            Err(error) => Err(error.into()),
        };
        let broken = request.is_err();
        let mut written = None;
        let reply = match request {
            Ok(ControlRequest::Canary { pid, trusted }) if offered.len() < OFFERS => {
                offered.push(pid);
                answered(ControlRequest::Canary { pid, trusted }, connection.who, daemon, &mut written).await
            }
            Ok(ControlRequest::Canary { .. }) => Err(Declined::new("too many offers on one connection")),
            Ok(request) => answered(request, connection.who, daemon, &mut written).await,
            Err(refusal) => Err(refusal),
        };
        let said = connection.say(&reply.unwrap_or_else(ControlReply::Refused)).await;
        drop(written);
        if broken || said.is_err() {
            return;
        }
    }
}

/// `written` is filled where the daemon waits for its answer to be written.
async fn answered(
    request: ControlRequest,
    from: Peer,
    daemon: &mpsc::Sender<Command>,
    written: &mut Option<Written>,
) -> Result<ControlReply, Declined> {
    Ok(match request {
        ControlRequest::Holds => {
            let holds: Vec<Hold> = ask(daemon, |reply| Command::Holds { from, reply }).await?;
            ControlReply::Holds { holds: holds.iter().map(view).collect() }
        }
        ControlRequest::Show { id } => {
            let hold = ask(daemon, |reply| Command::Show { from, id, reply }).await?;
            ControlReply::Hold { hold: view(&hold) }
        }
        ControlRequest::Preview { id, channel } => {
            ControlReply::Preview(ask(daemon, |reply| Command::Preview { from, id, channel, reply }).await?)
        }
        ControlRequest::Answer { id, digest, word, scope, why, signature } => {
            let caller = caller(from).await?;
            let (who, known) = (caller.name.clone(), Box::default());
            let answer = Answer { hold: id, digest, word, scope, who, why, proof: Proof::Local(caller), known };
            ask(daemon, |reply| Command::Answer { from, answer, signature, reply }).await?.into()
        }
        ControlRequest::Grants => {
            let grants = ask(daemon, |reply| Command::Grants { from, reply }).await?;
            ControlReply::Grants { grants: grants.iter().map(|grant| json!(**grant)).collect() }
        }
        ControlRequest::Revoke { which, why } => {
            let caller = caller(from).await?;
            let ids = ask(daemon, |reply| Command::Revoke { from, caller, which, why, reply }).await?;
            ControlReply::Revoked { grants: ids.iter().map(HoldId::to_string).collect() }
        }
        ControlRequest::Page { reviewer } => {
            let caller = caller(from).await?;
            let (link, reviewer) = ask(daemon, |reply| Command::Page { from, caller, reviewer, reply }).await?;
            ControlReply::Page { link, reviewer }
        }
        ControlRequest::Status => ControlReply::Status(ask(daemon, |reply| Command::Status { from, reply }).await?),
        ControlRequest::Reload => ControlReply::Reloaded(ask(daemon, |reply| Command::Reload { from, reply }).await?),
        ControlRequest::Detach => {
            *written = Some(ask(daemon, |reply| Command::Detach { from, reply }).await?);
            ControlReply::Detached
        }
        ControlRequest::Canary { pid, trusted } => {
            ask(daemon, |reply| Command::Canary { from, pid, trusted, reply }).await?;
            ControlReply::Offered
        }
        ControlRequest::CanaryTaken { pid } => {
            let taken = ask(daemon, |reply| Command::EndCanary { pid, reply: Some(reply) }).await?;
            ControlReply::Taken { taken }
        }
    })
}

/// Who is at the other end: the user that this process is, and as whom there was a login. Of root the latter is asked for by
/// name: it is who has become root.
async fn caller(Peer { pid, uid, .. }: Peer) -> Result<Caller, Declined> {
    let login = process::login(pid, uid).map_err(|error| {
        let cause = format!("it cannot be told who has logged in as process {pid}: {error}");
        Declined::new(cause).remedy("the process that asks stays until it is answered: try again")
    })?;
    let name = user_name(if uid == 0 { login.unwrap_or(uid) } else { uid }).await;
    Ok(Caller { uid, login: login.filter(|login| *login != uid), name })
}

/// The user's name; a user without one is `#` and the number, which no reviewer's name can be mistaken for.
/// Looked up apart, since it may ask a directory service.
async fn user_name(uid: u32) -> String {
    let found = spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
    match found {
        Ok(Ok(Some(user))) => user.name,
        _ => format!("#{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        os::{fd::OwnedFd, unix::net::UnixStream},
        process,
    };

    use super::*;
    use crate::{
        request::{Digest, Word},
        scope::Scope,
        sockets::{
            CONTROL, Declined,
            bind::{self, tests::Directory},
            client::{Client, Failure},
            message::encode,
        },
    };

    /// A server whose daemon takes commands from the test.
    fn served(name: &str) -> (Directory, mpsc::Receiver<Command>) {
        let directory = Directory::new(name);
        let listener = bind::control(&directory.0).unwrap().listen().unwrap();
        let (daemon, commands) = mpsc::channel(8);
        tokio::spawn(serve(listener, daemon));
        (directory, commands)
    }

    fn answer() -> ControlRequest {
        let (digest, signature) = (Digest("d".into()), Some("-----BEGIN".into()));
        let (word, scope) = (Word::Approve, Scope::Once);
        ControlRequest::Answer { id: HoldId(7), digest, word, scope, why: None, signature }
    }

    #[tokio::test]
    async fn an_answer_is_in_the_name_of_its_sender() {
        let (directory, mut commands) = served("sender");
        let path = directory.0.join(CONTROL);
        let client = spawn_blocking(move || Client::connect(&path)?.ask::<_, ControlReply>(&answer()));
        let Some(Command::Answer { from, answer, signature, reply }) = commands.recv().await else {
            panic!("an answer")
        };
        let uid = Uid::effective().as_raw();
        let caller = answer.proof.caller().expect("a user of this host");
        assert_eq!((from.pid, from.uid, caller.uid), (process::id(), uid, uid));
        let named = if uid == 0 { caller.login.unwrap_or(uid) } else { uid };
        assert_eq!(answer.who, User::from_uid(Uid::from_raw(named)).unwrap().unwrap().name);
        assert_eq!(signature.as_deref(), Some("-----BEGIN"), "whose that is, is the daemon's to say");
        reply.send(Err(Declined::new("not you"))).unwrap();
        assert_eq!(client.await.unwrap().unwrap(), ControlReply::Refused(Declined::new("not you")));
    }

    #[tokio::test]
    async fn a_link_is_asked_for_by_the_name_of_the_sender() {
        let (directory, mut commands) = served("page");
        let path = directory.0.join(CONTROL);
        let question = ControlRequest::Page { reviewer: None };
        let client = spawn_blocking(move || Client::connect(&path)?.ask::<_, ControlReply>(&question));
        let Some(Command::Page { from, caller, reviewer: None, reply }) = commands.recv().await else {
            panic!("a page")
        };
        assert_eq!(from.uid, Uid::effective().as_raw());
        let own = caller.name;
        let named = if caller.uid == 0 { caller.login.unwrap_or(0) } else { caller.uid };
        assert_eq!(own, User::from_uid(Uid::from_raw(named)).unwrap().unwrap().name);
        reply.send(Ok(("http://x".into(), own.clone()))).unwrap();
        let expected = ControlReply::Page { link: "http://x".into(), reviewer: own };
        assert_eq!(client.await.unwrap().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_line_of_another_process_is_refused() {
        let (directory, mut commands) = served("stranger");
        let stream = UnixStream::connect(directory.0.join(CONTROL)).unwrap();
        let replies = BufReader::new(stream.try_clone().unwrap());
        let mut other = process::Command::new("cat");
        other.stdin(process::Stdio::piped()).stdout(OwnedFd::from(stream));
        let reply = spawn_blocking(move || {
            let mut other = other.spawn().unwrap();
            other.stdin.take().unwrap().write_all(&encode(&answer())).unwrap();
            other.wait().unwrap();
            replies.lines().next().unwrap().unwrap()
        });
        assert!(reply.await.unwrap().contains("not sent by the process that connected"));
        assert!(commands.try_recv().is_err(), "the daemon never hears of it");
    }

    #[tokio::test]
    async fn a_malformed_line_ends_the_connection() {
        let (directory, _commands) = served("malformed");
        let mut stream = UnixStream::connect(directory.0.join(CONTROL)).unwrap();
        stream.write_all(b"hello\n").unwrap();
        let lines = spawn_blocking(move || BufReader::new(stream).lines().map(Result::unwrap).collect::<Vec<_>>());
        let lines = lines.await.unwrap();
        assert!(lines.len() == 1 && lines[0].contains("malformed line"), "{lines:?}");
    }

    #[tokio::test]
    async fn an_offer_to_a_child_ends_with_the_connection() {
        let (directory, mut commands) = served("offer");
        let mut stream = UnixStream::connect(directory.0.join(CONTROL)).unwrap();
        stream.write_all(&encode(&ControlRequest::Canary { pid: 7, trusted: false })).unwrap();
        let Some(Command::Canary { from, pid: 7, trusted: false, reply }) = commands.recv().await else {
            panic!("an offer")
        };
        assert_eq!(from.pid, process::id());
        reply.send(Ok(())).unwrap();
        drop(stream);
        assert!(matches!(commands.recv().await, Some(Command::EndCanary { pid: 7, reply: None })));
    }

    #[tokio::test]
    async fn a_daemon_that_is_gone_is_said_so() {
        let (directory, commands) = served("gone");
        drop(commands);
        let path = directory.0.join(CONTROL);
        let reply = spawn_blocking(move || Client::connect(&path)?.ask::<_, ControlReply>(&ControlRequest::Status));
        let ControlReply::Refused(declined) = reply.await.unwrap().unwrap() else { panic!("a refusal") };
        assert_eq!(declined.cause, "the agent is stopping");
        let nobody = Client::connect(&directory.0.join("nobody"));
        assert!(matches!(nobody.err(), Some(Failure::NoAgent)));
    }
}
