//! Against a reviewer's side of our own on loopback.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use holdpoint_common::decision::Decision;
use jiff::SignedDuration;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
};

use super::*;
use crate::{
    approval::{Approval, Submission, webhook::Webhook},
    config::Config,
    request::{End, Standing, sample},
};

const HOLD: HoldId = HoldId(7);

/// What one look finds.
#[derive(Clone)]
enum Reply {
    Status(u16),
    /// An answer of that reviewer.
    Says(&'static str, Signed),
    /// The same about another hold.
    Elsewhere,
}

#[derive(Clone, Copy)]
enum Signed {
    Well,
    Long,
    Wrong,
    Not,
}

#[derive(Clone)]
struct Side {
    /// In their order; then there is none.
    replies: Arc<Mutex<VecDeque<Reply>>>,
    /// Method of what has come.
    met: mpsc::Sender<&'static str>,
}

/// The side, and what comes to the agent's loop.
struct Desk {
    approval: Approval,
    met: mpsc::Receiver<&'static str>,
    answers: mpsc::Receiver<Submission>,
    notes: mpsc::Receiver<Entry>,
}

fn secret() -> Secret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

async fn asked(State(side): State<Side>, body: bytes::Bytes) {
    let question: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(question["data"]["callback_url"], serde_json::Value::Null);
    side.met.send("POST").await.unwrap();
}

async fn looked(State(side): State<Side>, Path(hold): Path<String>, headers: HeaderMap) -> Response {
    let received = Received::of(&headers).unwrap();
    assert_eq!((received.id, &headers["prefer"]), ("poll-0000000000000007-ops", &"wait=30".parse().unwrap()));
    verify(&secret(), received, b"", Timestamp::now().as_second()).expect("every look is signed");
    let reply = side.replies.lock().unwrap().pop_front().unwrap_or(Reply::Status(204));
    side.met.send("GET").await.unwrap();
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::Says(who, signed) => says(&hold, who, signed),
        Reply::Elsewhere => says("0000000000000008", "alice", Signed::Well),
    }
}

fn says(hold: &str, who: &str, signed: Signed) -> Response {
    let digest = sample::hold(HOLD).digest;
    let body = json!({ "hold": hold, "digest": digest, "decision": "approve", "who": who }).to_string();
    let now = Timestamp::now().as_second();
    let headers = match signed {
        Signed::Well => sign(&secret(), "msg_1", now, body.as_bytes()),
        Signed::Long => sign(&secret(), "msg_1", now - 400, body.as_bytes()),
        Signed::Wrong => sign(&Secret::from_bytes([7; 32]), "msg_1", now, body.as_bytes()),
        Signed::Not => return body.into_response(),
    };
    (axum::response::AppendHeaders(headers), body).into_response()
}

/// A desk that was asked about the hold.
async fn desk(replies: &[Reply]) -> Desk {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    let (met_in, met) = mpsc::channel(64);
    let side = Side { replies: Arc::new(Mutex::new(replies.iter().cloned().collect())), met: met_in };
    let router = Router::new().route("/hook", post(asked)).route("/answers/{hold}", get(looked)).with_state(side);
    tokio::spawn(web::serve(listener, router));
    let url: Url = format!("{at}/hook").parse().unwrap();
    let raw = Spanned::new(0..0, format!("{at}/answers/{{hold}}"));
    let decisions = Decisions::read(&raw, &url).unwrap_or_else(|_| panic!("it is the same place"));
    let way = Arc::new(Webhook::new(url, secret(), None).unwrap().answering(decisions));
    let channel = Channel::to_security("ops", "webhook", way);
    let config = Config { channels: vec![channel], ..Config::default() };
    let (submit, answers) = mpsc::channel(16);
    let (note, notes) = mpsc::channel(16);
    let mut approval = Approval::new(&config, "host-1".into(), submit, note);
    let hold = sample::hold(HOLD);
    approval.ask(hold.deadline - SignedDuration::from_mins(1), &hold);
    let mut desk = Desk { approval, met, answers, notes };
    assert_eq!(next(&mut desk.met).await, "POST");
    assert!(matches!(next(&mut desk.notes).await.event, Event::Asked { attempts: 1, .. }));
    desk
}

async fn next<T>(channel: &mut mpsc::Receiver<T>) -> T {
    timeout(Duration::from_secs(20), channel.recv()).await.expect("in time").expect("not closed")
}

fn approved() -> Standing {
    Standing { hold: HOLD, state: End::Approved, decision: Decision::Approve, by: Some("alice".into()) }
}

impl Desk {
    async fn answered(&mut self) -> (String, oneshot::Sender<Result<Outcome, Refusal>>) {
        let Submission { answer, reply } = next(&mut self.answers).await;
        let proof = Proof::Webhook { channel: "ops".into(), asks: vec!["security".into()] };
        assert_eq!((answer.hold, &answer.proof), (HOLD, &proof));
        (answer.who, reply)
    }

    /// Nobody looks any more.
    async fn is_left_alone(&mut self) {
        while self.met.try_recv().is_ok() {}
        assert!(timeout(Duration::from_secs(3), self.met.recv()).await.is_err());
    }
}

#[tokio::test]
async fn an_answer_is_looked_for_until_one_decides() {
    let (alice, bob) = (Reply::Says("alice", Signed::Well), Reply::Says("bob", Signed::Well));
    let mut desk = desk(&[Reply::Status(202), Reply::Status(304), alice.clone(), alice, bob]).await;
    let (who, reply) = desk.answered().await;
    assert_eq!(who, "alice");
    reply.send(Ok(Outcome::Counted("security".into()))).unwrap();
    let (who, reply) = desk.answered().await;
    assert_eq!(who, "bob", "the same again is nothing new");
    reply.send(Ok(Outcome::Accepted(approved()))).unwrap();
    desk.is_left_alone().await;
    assert!(desk.notes.try_recv().is_err());
}

#[tokio::test]
async fn what_is_not_signed_now_and_for_this_hold_is_refused_and_on_record_once() {
    let wrong = Reply::Says("alice", Signed::Wrong);
    let (long, not) = (Reply::Says("alice", Signed::Long), Reply::Says("alice", Signed::Not));
    let mut desk = desk(&[wrong.clone(), wrong, long, not, Reply::Elsewhere]).await;
    for why in [
        "bad signature",
        "old timestamp",
        "a webhook header is missing or malformed",
        "malformed: another hold than is asked about",
    ] {
        let Event::RefusedAnswer { refusal, hold, .. } = next(&mut desk.notes).await.event else { panic!("{why}") };
        assert_eq!((&*refusal, hold), (why, Some(HOLD)));
    }
    assert!(desk.answers.try_recv().is_err());
}

#[tokio::test]
async fn a_side_that_fails_is_on_record_once_and_looked_at_again() {
    let answer = Reply::Says("alice", Signed::Well);
    let mut desk = desk(&[Reply::Status(500), Reply::Status(307), answer]).await;
    let Event::NotAsked { error, .. } = next(&mut desk.notes).await.event else { panic!("no line") };
    assert_eq!(error, "no answer could be fetched: 500");
    assert_eq!(desk.answered().await.0, "alice");
    assert!(desk.notes.try_recv().is_err());
}

#[tokio::test]
async fn a_side_that_has_forgotten_the_question_is_asked_again() {
    let mut desk = desk(&[Reply::Status(404), Reply::Says("alice", Signed::Well)]).await;
    assert_eq!((next(&mut desk.met).await, next(&mut desk.met).await), ("GET", "POST"));
    let Event::NotAsked { error, .. } = next(&mut desk.notes).await.event else { panic!("no line") };
    assert_eq!(error, "404 at its decision_url");
    assert_eq!(desk.answered().await.0, "alice");
}

#[tokio::test]
async fn nobody_looks_once_the_hold_is_over() {
    let mut desk = desk(&[]).await;
    assert_eq!((next(&mut desk.met).await, next(&mut desk.met).await), ("GET", "GET"));
    let (hold, now) = (sample::hold(HOLD), sample::start());
    desk.approval.tell(now, &hold, &Standing { state: End::Expired, by: None, ..approved() });
    // A look that was under way, and the outcome.
    tokio::time::sleep(Duration::from_secs(1)).await;
    desk.is_left_alone().await;
}
