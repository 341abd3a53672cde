//! The review page: what is held, each hold in full, and buttons to answer. Served as plain HTTP, for a proxy that speaks
//! TLS; works without JavaScript, but for live updates.
//!
//! ```text
//! `holdpoint page` -- control socket --> Links -- one link --> browser -- POST /r --> Sessions -- cookie --> browser
//! a message of a channel that one reads ----^                                        ^-- Sso <-- GET /sso/done -- browser
//! the agent's loop -- what is held ----> Board -- GET / and /h/ID ----------------------------------------> browser
//! the agent's loop <-- Submission ------------------------------------ POST /h/ID: token, digest, word ---- browser
//! ```
//!
//! Who has come by a link is its reviewer; what an answer from here is worth is for the state machine to say.

mod board;
mod events;
mod guard;
mod links;
mod roll;
mod routes;
pub mod sample;
mod sessions;
pub mod sso;
mod view;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot, watch},
};

pub use self::roll::Roll;
use self::{
    board::{Board, Past},
    guard::Place,
    links::Links,
    sessions::{Session, Sessions},
    sso::Sso,
};
use crate::{
    approval::{Submission, review::Invites},
    config::Listener,
    holds::grants::Grant,
    record::Entry,
    request::{Caller, Entrance, Hold, HoldId, Standing},
    web::{self, Refused},
};

/// Streams of updates at a time: pages are always served.
const STREAMS: usize = 64;

/// For whom a link is, and a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reviewer {
    /// As the policy names reviewers.
    pub user: String,
    /// By what that is known; none where root had a link made for somebody else.
    pub entrance: Option<Entrance>,
}

impl Reviewer {
    /// For whom a link is that `caller` asks for, who is the reviewer `own` if the policy knows one. None if that is nobody, or
    /// somebody else and it is not root who asks.
    pub fn asked_by(caller: Caller, own: Option<String>, named: Option<String>) -> Option<Self> {
        match (own, named) {
            (own, Some(user)) if own.as_ref() != Some(&user) => {
                (caller.uid == 0).then_some(Self { user, entrance: None })
            }
            (own, _) => own.map(|user| Self { user, entrance: Some(Entrance::Local(caller)) }),
        }
    }
}

/// A reviewer takes a grant back.
#[derive(Debug)]
pub struct Revocation {
    /// Which.
    pub grant: HoldId,
    /// The reviewer's name.
    pub by: String,
    /// Told when it is over.
    pub done: oneshot::Sender<()>,
}

/// The page.
pub struct Page {
    host: String,
    url: String,
    /// Path of the URL, which a proxy may or may not take away.
    prefix: String,
    place: Place,
    /// Another way in, if there is one.
    sso: Option<Arc<Sso>>,
    board: watch::Sender<Board>,
    doors: Mutex<Doors>,
    streams: Arc<Semaphore>,
    answers: mpsc::Sender<Submission>,
    revocations: mpsc::Sender<Revocation>,
    refused: Refused,
    notes: mpsc::Sender<Entry>,
}

/// How one comes in. Nothing is awaited while they are locked.
struct Doors {
    roll: Roll,
    links: Links,
    sessions: Sessions,
}

impl Page {
    /// The page that browsers find at the URL of `listener`, on the host of this name. Answers go to `answers`, what takes a grant
    /// back to `revocations`; what is refused before it is either goes to `notes`, to be recorded.
    pub fn new(
        listener: &Listener,
        host: String,
        answers: mpsc::Sender<Submission>,
        revocations: mpsc::Sender<Revocation>,
        notes: mpsc::Sender<Entry>,
    ) -> Self {
        Self::with_links(listener, host, answers, revocations, notes, links::LIFETIME)
    }

    /// The same, with links that are good for `lifetime`.
    fn with_links(
        listener: &Listener,
        host: String,
        answers: mpsc::Sender<Submission>,
        revocations: mpsc::Sender<Revocation>,
        notes: mpsc::Sender<Entry>,
        lifetime: SignedDuration,
    ) -> Self {
        Self {
            host,
            url: listener.url.clone(),
            prefix: listener.prefix(),
            place: Place::of(&listener.url),
            sso: None,
            board: watch::Sender::default(),
            doors: Mutex::new(Doors {
                roll: Roll::default(),
                links: Links::new(lifetime),
                sessions: Sessions::default(),
            }),
            streams: Arc::new(Semaphore::new(STREAMS)),
            answers,
            revocations,
            refused: Refused::new(notes.clone()),
            notes,
        }
    }

    /// The same, where one can log in by `sso`, too.
    pub fn with_login(self, sso: Option<Arc<Sso>>) -> Self {
        Self { sso, ..self }
    }

    /// Serves `listener` until the task is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        web::serve(listener, routes::router(self)).await;
    }

    /// From now on these are the reviewers. Sessions and links of who is none any more end, and so do their streams.
    pub fn enrol(&self, roll: Roll) {
        let mut doors = self.doors();
        doors.links.keep(|reviewer| roll.has(reviewer));
        doors.sessions.keep(|reviewer| roll.has(reviewer));
        doors.roll = roll;
        drop(doors);
        // Whoever watches looks at the session again.
        self.board.send_modify(|_| {});
    }

    /// Whether that is a reviewer's name, and the entrance leads to it.
    pub fn knows(&self, reviewer: &Reviewer) -> bool {
        self.doors().roll.has(reviewer)
    }

    /// A link for `reviewer`, good once and for some minutes; none if too many others have not been used.
    pub fn link(&self, reviewer: Reviewer) -> Option<String> {
        let link = self.doors().links.issue(Timestamp::now(), reviewer)?;
        Some(format!("{}/r?{}", self.url, link.query()))
    }

    /// Shows that somebody is asked about `hold`.
    pub fn asked(&self, hold: &Hold) {
        self.board.send_modify(|board| board.asked(hold));
    }

    /// Shows who has approved `hold` so far, and who is asked by now.
    pub fn changed(&self, hold: &Hold) {
        self.board.send_modify(|board| board.changed(hold));
    }

    /// Shows how `hold` ended; `why` are the words of the reviewer whose answer counted.
    pub fn ended(&self, at: Timestamp, hold: &Hold, standing: &Standing, why: Option<String>) {
        let past = Past { hold: hold.clone(), standing: standing.clone(), why, at };
        self.doors().links.over(hold.id);
        self.board.send_modify(|board| board.ended(past));
    }

    /// Shows no more of what nobody is asked about after all.
    pub fn forget(&self, hold: HoldId) {
        self.doors().links.over(hold);
        self.board.send_modify(|board| board.forget(hold));
    }

    /// Shows these grants, which are all.
    pub fn granted(&self, grants: Vec<Arc<Grant>>) {
        self.board.send_modify(|board| board.grants = grants);
    }

    /// What is held now.
    fn board(&self) -> Board {
        self.board.borrow().clone()
    }

    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, cookie: &str) -> Option<Session> {
        self.doors().sessions.get(Timestamp::now(), cookie).cloned()
    }
}

impl Invites for Page {
    fn invite(&self, hold: &Hold, channel: &str, reader: &str) -> Option<String> {
        let entrance = Some(Entrance::Message { channel: channel.to_owned() });
        let reviewer = Reviewer { user: reader.to_owned(), entrance };
        let mut doors = self.doors();
        let link = doors.roll.has(&reviewer).then(|| doors.links.invite(reviewer, hold.id, hold.deadline))?;
        Some(format!("{}/r?{}", self.url, link.query()))
    }
}

#[cfg(test)]
mod tests;
