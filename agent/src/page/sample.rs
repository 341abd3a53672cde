//! The page with holds that nobody holds: to look at, and to try a browser on. They are judged as real ones are.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::interval,
};

use super::{Page, Reviewer, Revocation, Roll};
use crate::{
    approval::{Submission, sample},
    claims::Speaker,
    config::Listener,
    holds::{Effect, Holds, Input, Ticket, grants::Ending},
    identity,
    request::{Digest, Hold, HoldId, Operation, Outcome, Refusal},
    scope::Scope,
};

/// What somebody could try who chooses what is shown.
const HOSTILE: [&str; 7] = [
    "<script>document.title='owned'</script>",
    "\"><img src=x onerror=document.title='owned'>",
    "</code></dd><a href=\"https://evil.example\">approve here</a>",
    "javascript:alert(1) https://evil.example/approve",
    "invoice\u{202e}fdp.exe\u{202c}",
    "line\nRule: everything is fine\nApproved by alice",
    "wide                                                              Rule: fine",
];

/// The agent's part: the state machine, without kernel and record.
struct Stage {
    page: Arc<Page>,
    holds: Holds,
    /// Who waits for what came of the answer that is being judged, and its words.
    waiting: Option<oneshot::Sender<Result<Outcome, Refusal>>>,
    words: Option<String>,
}

/// Serves it at `address` until the task is dropped. `tell` is called once, with a link for each reviewer, by name; each is
/// good for `lifetime`.
///
/// # Errors
/// Nothing can be served there.
pub async fn serve(
    address: SocketAddr,
    lifetime: SignedDuration,
    tell: impl FnOnce(Vec<(&'static str, String)>),
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let (answers_in, mut answers) = mpsc::channel(16);
    // There is no record: what would be in it is dropped.
    let (notes, _) = mpsc::channel(1);
    let (revocations_in, mut revocations) = mpsc::channel(16);
    let listens = Listener { address, url: format!("http://{address}") };
    let page = Arc::new(Page::with_links(&listens, "sample".into(), answers_in, revocations_in, notes, lifetime));
    page.enrol(Roll::new(["alice", "bob"].map(str::to_owned), vec![]));
    let link = |user: &'static str| {
        page.link(Reviewer { user: user.into(), entrance: None }).map(|link| (user, link)).expect("there is room")
    };
    let links = ["alice", "bob"].map(link).to_vec();
    tokio::spawn(Arc::clone(&page).serve(listener));
    let mut stage = Stage { page, holds: Holds::default(), waiting: None, words: None };
    for hold in holds(Timestamp::now()) {
        stage.input(Input::Held { hold: Box::new(hold), kernel: None, passed: false, recorded: None });
    }
    tell(links);
    let mut clock = interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            Some(submission) = answers.recv() => stage.submitted(submission),
            Some(Revocation { grant, by, done }) = revocations.recv() => {
                stage.input(Input::GrantOver(grant, Ending::Revoked { by, why: None }));
                let _ = done.send(());
            }
            _ = clock.tick() => stage.input(Input::Tick),
        }
    }
}

impl Stage {
    fn submitted(&mut self, Submission { mut answer, reply }: Submission) {
        (self.waiting, self.words) = (Some(reply), answer.why.clone());
        match identity::identify(&[], &mut answer) {
            Ok(()) => self.input(Input::Answered { answer, ticket: Ticket(0) }),
            Err(refusal) => self.carry_out(Effect::Reply { ticket: Ticket(0), result: Err(refusal) }),
        }
        (self.waiting, self.words) = (None, None);
    }

    fn input(&mut self, input: Input) {
        for effect in self.holds.on(Timestamp::now(), input) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask(hold) | Effect::Join(hold) => self.page.asked(&hold),
            Effect::Counted { hold, .. } | Effect::Escalate(hold) => self.page.changed(&hold),
            Effect::Grants(grants) => self.page.granted(grants),
            Effect::Record(entry) => entry.decides().into_iter().for_each(|hold| self.input(Input::Recorded(hold))),
            Effect::Reply { result, .. } => drop(self.waiting.take().map(|reply| reply.send(result))),
            Effect::Tell { hold, standing } => {
                self.page.ended(Timestamp::now(), &hold, &standing, self.words.take());
            }
            // There is no kernel, and no channel.
            Effect::Decide { .. } | Effect::Wake(_) | Effect::Forget(_) => {}
            Effect::TellTree { .. } | Effect::Remind { .. } => {}
        }
    }
}

/// Some that are likely, one that alice asks for herself, one that only bob is asked about, and one for each hostile text.
fn holds(at: Timestamp) -> Vec<Hold> {
    let file = "/srv/customers/2026/contracts.db".to_owned();
    let object = crate::request::Object { device: 1, inode: 2 };
    let open = Operation::Open {
        path: file,
        access: vec!["read"],
        flags: 0,
        object,
        content: None,
        length: None,
        owner: Some("postgres".into()),
        mode: Some(0o600),
        size: Some(1_482_752),
    };
    let connect = Operation::Connect {
        address: [192, 0, 2, 80].into(),
        port: 443,
        protocol: "tcp".into(),
        names: vec!["paste.example".into()],
    };
    let likely = [None, Some(open), Some(connect)];
    let mut holds: Vec<_> = (1..).zip(likely).map(|(id, what)| hold(id, at, what)).collect();
    holds.push(Hold { launcher_name: Some("alice".into()), ..hold(4, at, None) });
    holds[1].scopes = vec![Scope::Process, Scope::Tree, Scope::Time(1800)];
    let mut other = hold(5, at, None);
    other.reviewers[0].members = vec!["bob".into()];
    holds.push(other);
    holds.extend((6..).zip(HOSTILE).map(|(id, text)| hostile(id, at, text)));
    holds
}

fn hold(id: u64, at: Timestamp, what: Option<Operation>) -> Hold {
    let mut hold = sample::hold(HoldId(id), at + SignedDuration::from_millis(id.cast_signed()));
    // One of them offers something.
    hold.scopes.clear();
    hold.request.what = what.unwrap_or(hold.request.what);
    // Each is a question of its own.
    hold.request.tree = HoldId(id).to_string();
    hold.deadline = at + SignedDuration::from_mins(30);
    hold.digest = Digest::of(hold.id, &hold.request);
    hold
}

/// A hold in which everything that a subject can choose is `text`.
fn hostile(id: u64, at: Timestamp, text: &str) -> Hold {
    let mut hold = hold(id, at, None);
    let text = || text.to_owned();
    if let Operation::Exec { path, filename, argv, .. } = &mut hold.request.what {
        (*path, *filename, *argv) = (text(), text(), vec![text(), text()]);
    }
    hold.context.cwd = text();
    hold.context.unit = Some(text());
    for process in &mut hold.context.ancestry {
        (process.exe, process.argv) = (text(), vec![text()]);
    }
    for claim in &mut hold.claims {
        claim.text = text();
        if let Speaker::Process { exe, .. } = &mut claim.by {
            *exe = text();
        }
    }
    hold.digest = Digest::of(hold.id, &hold.request);
    hold
}
