//! A reviewer's side that nothing is sent from: it takes questions by webhook, and has its answers fetched.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde_json::json;

use crate::{
    Hold, LIMIT,
    http::{Request, Response, serve},
    reviewer::signature,
    site, wait_for,
};

#[derive(Debug, Default)]
struct Desk {
    /// Whether it answers nothing.
    down: bool,
    /// Requests that met that.
    unanswered: usize,
    /// Bodies of the questions.
    questions: Vec<serde_json::Value>,
    /// By the hold's id: what is answered, and with what it is signed.
    answers: BTreeMap<String, (String, String)>,
    /// How often each answer was looked for.
    looks: BTreeMap<String, usize>,
}

/// The relay, on the loopback interface.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    secret: String,
    desk: Arc<Mutex<Desk>>,
}

impl Relay {
    /// One with this secret (`whsec_...`).
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn new(secret: &str) -> Self {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let shared = Arc::clone(&desk);
        Self { address: serve(move |request| answer(&shared, &request)), secret: secret.into(), desk }
    }

    /// Every connection ends without an answer until `meanwhile` is over, and at least one has.
    #[track_caller]
    pub fn is_down(&self, meanwhile: impl FnOnce()) {
        *self.desk() = Desk { down: true, ..Desk::default() };
        meanwhile();
        wait_for("somebody who finds it down", LIMIT, || (self.desk().unanswered > 0).then_some(()));
        self.desk().down = false;
    }

    /// The keys of a channel to this side, but for its name, secret and reviewers.
    pub fn keys(&self) -> String {
        let at = self.address;
        format!(
            "kind = \"webhook\"\nurl = \"http://{at}/questions\"\ndecision_url = \"http://{at}/answers/{{hold}}\"\n"
        )
    }

    /// Waits for the question about the hold, and gives its data.
    #[track_caller]
    pub fn question(&self, hold: &Hold) -> serde_json::Value {
        let about = |question: &&serde_json::Value| {
            question["type"] == "holdpoint.request.created" && question["data"]["hold"] == hold.id()
        };
        wait_for("the question", LIMIT, || self.desk().questions.iter().find(about).map(|it| it["data"].clone()))
    }

    /// From now on there is this answer to the hold's question, by `reviewer`.
    pub fn answers(&self, hold: &Hold, decision: &str) {
        self.signs(hold, decision, &self.secret);
    }

    /// Likewise, signed with a secret that is not the channel's.
    pub fn forges(&self, hold: &Hold, decision: &str) {
        self.signs(hold, decision, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }

    fn signs(&self, hold: &Hold, decision: &str, secret: &str) {
        let answer = json!({ "hold": hold.id(), "digest": hold.digest(), "decision": decision, "who": "reviewer" });
        self.desk().answers.insert(hold.id().to_owned(), (answer.to_string(), secret.to_owned()));
    }

    /// Waits until the answer was looked for so many times more.
    #[track_caller]
    pub fn is_asked(&self, hold: &Hold, times: usize) {
        let looks = || self.desk().looks.get(hold.id()).copied().unwrap_or_default();
        let before = looks();
        wait_for("somebody who looks for the answer", LIMIT, || (looks() >= before + times).then_some(()));
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

fn answer(desk: &Mutex<Desk>, request: &Request) -> Option<Response> {
    let mut desk = lock(desk);
    if desk.down {
        desk.unanswered += 1;
        return None;
    }
    let Some(hold) = request.path.strip_prefix("/answers/").filter(|_| request.method == "GET") else {
        desk.questions.push(request.json());
        return Some(Response::of(200));
    };
    *desk.looks.entry(hold.to_owned()).or_default() += 1;
    let Some((body, secret)) = desk.answers.get(hold).cloned() else { return Some(Response::of(204)) };
    let (id, timestamp) = (format!("answer-{}", site::fresh()), Timestamp::now().as_second());
    let signature = signature(&secret, &id, timestamp, &body);
    let headers =
        vec![("webhook-id", id), ("webhook-timestamp", timestamp.to_string()), ("webhook-signature", signature)];
    Some(Response { status: 200, headers, body })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
