//! Against a Slack of our own on loopback, written from Slack's documentation.

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::header,
    response::{IntoResponse as _, Response},
    routing::post,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use holdpoint_common::decision::Decision;
use jiff::SignedDuration;
use sha2::Sha256;
use std::{sync::atomic, time::Duration};
use tokio::net::TcpListener;

use super::*;
use crate::{
    approval::{Approval, callback::Callbacks},
    config::{Config, Listener},
    record::{Entry, Event},
    request::{End, Hold, Outcome, Refusal, Standing, Word, hexadecimal, sample},
    scope::Scope,
};

mod socket;

const HOLD: HoldId = HoldId(7);
const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// A call of one of Slack's methods.
struct Call {
    method: String,
    body: Value,
}

/// What Slack does with posts: waits, and then answers with this.
type Manner = fn(u32) -> Response;

#[derive(Clone)]
struct Server {
    calls: mpsc::Sender<Call>,
    manner: Manner,
    posts: Arc<atomic::AtomicU32>,
}

/// Slack, the agent's listener, and what comes to the agent's loop.
struct Desk {
    approval: Approval,
    url: String,
    calls: mpsc::Receiver<Call>,
    answers: mpsc::Receiver<Submission>,
    notes: mpsc::Receiver<Entry>,
}

fn taken(_: u32) -> Response {
    (StatusCode::OK, r#"{"ok":true,"channel":"C1","ts":"1503435956.000247"}"#).into_response()
}

async fn serve(router: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    address
}

async fn method(State(server): State<Server>, Path(method): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["authorization"], "Bearer xoxb-1");
    let posts = method == "chat.postMessage";
    server.calls.send(Call { method, body: serde_json::from_slice(&body).unwrap() }).await.unwrap();
    if posts { (server.manner)(server.posts.fetch_add(1, atomic::Ordering::SeqCst)) } else { taken(0) }
}

/// A channel by this Slack.
fn channel(api: &Url) -> Channel {
    let http = Http::new(api, None).unwrap();
    let ear = Ear::Signed(Signing::read(SECRET).unwrap());
    let way = Slack::new(api.clone(), http, "xoxb-1".into(), ear, "C1".into());
    Channel::to_security("team", "slack", Arc::new(way))
}

async fn desk(manner: Manner) -> Desk {
    let (calls_in, calls) = mpsc::channel(16);
    let server = Server { calls: calls_in, manner, posts: Arc::default() };
    let slack = serve(Router::new().route("/api/{method}", post(method)).with_state(server)).await;
    let api: Url = format!("http://{slack}/api").parse().unwrap();
    let channel = channel(&api);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}");
    let listens = Some(Listener { address, url: url.clone() });
    let config = Config { listener: listens, channels: vec![channel], ..Config::default() };
    let (submit, answers) = mpsc::channel(16);
    let (note, notes) = mpsc::channel(16);
    tokio::spawn(Callbacks::new(&config, submit.clone(), note.clone()).serve(listener));
    Desk { approval: Approval::new(&config, "host-1".into(), submit, note), url, calls, answers, notes }
}

async fn next<T>(channel: &mut mpsc::Receiver<T>) -> T {
    timeout(Duration::from_secs(20), channel.recv()).await.expect("in time").expect("not closed")
}

fn standing(state: End, decision: Decision) -> Standing {
    Standing { hold: HOLD, state, decision, by: Some("alice".into()) }
}

impl Desk {
    async fn asked(&mut self) -> Value {
        let hold = sample::hold(HOLD);
        self.approval.ask(hold.deadline - SignedDuration::from_mins(1), &hold);
        let call = next(&mut self.calls).await;
        assert_eq!(call.method, "chat.postMessage");
        call.body
    }

    async fn click(&self, click: Clicked) -> u16 {
        let body = click.body();
        let stamp = (Timestamp::now().as_second() - click.age).to_string();
        let mut mac = Hmac::<Sha256>::new_from_slice(click.secret.as_bytes()).unwrap();
        mac.update(format!("v0:{stamp}:{body}").as_bytes());
        self.send("/v1/slack/team", &stamp, &format!("v0={}", hexadecimal(&mac.finalize().into_bytes())), body).await
    }

    async fn send(&self, path: &str, stamp: &str, signature: &str, body: String) -> u16 {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let request = client.post(format!("{}{path}", self.url)).body(body);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.header("X-Slack-Request-Timestamp", stamp).header("X-Slack-Signature", signature);
        request.send().await.unwrap().status().as_u16()
    }

    /// Why the click is in the record as refused.
    async fn refused(&mut self) -> String {
        loop {
            match next(&mut self.notes).await.event {
                Event::RefusedAnswer { refusal, answer: None, from: Some(_), .. } => return refusal,
                Event::Asked { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A click as it should be, until something of it is changed.
#[derive(Clone)]
struct Clicked {
    secret: &'static str,
    age: i64,
    payload: Value,
}

impl Clicked {
    fn new(value: &str) -> Self {
        let payload = json!({
            "type": "block_actions",
            "api_app_id": "A1",
            "team": { "id": "T1", "domain": "example" },
            "user": { "id": "U1", "username": "alice", "team_id": "T1" },
            "container": { "type": "message", "message_ts": "1503435956.000247", "channel_id": "C1" },
            "response_url": "https://hooks.slack.com/actions/T1/1/x",
            "actions": [{ "type": "button", "action_id": "holdpoint_approve", "block_id": "x", "value": value }],
        });
        Self { secret: SECRET, age: 0, payload }
    }

    fn with(mut self, pointer: &str, value: &str) -> Self {
        *self.payload.pointer_mut(pointer).unwrap() = value.into();
        self
    }

    fn body(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).append_pair("payload", &self.payload.to_string()).finish()
    }
}

/// The value of the first button of a posted message.
fn button(body: &Value) -> String {
    let blocks = body["blocks"].as_array().unwrap();
    let actions = blocks.iter().find(|block| block["type"] == "actions").unwrap();
    actions["elements"][0]["value"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_click_is_an_answer_and_the_message_is_changed_in_place() {
    let mut desk = desk(taken).await;
    let posted = desk.asked().await;
    assert_eq!(posted["channel"], "C1");
    assert_eq!(desk.click(Clicked::new(&button(&posted))).await, 200);
    let Submission { answer, reply } = next(&mut desk.answers).await;
    let hold = sample::hold(HOLD);
    assert_eq!((answer.hold, &answer.digest, answer.word, &*answer.who), (HOLD, &hold.digest, Word::Approve, "T1/U1"));
    let proof = Proof::Slack { channel: "team".into(), user: "T1/U1".into(), asks: vec!["security".into()] };
    assert_eq!(answer.proof, proof);
    let standing = standing(End::Approved, Decision::Approve);
    reply.send(Ok(Outcome::Accepted(standing.clone()))).unwrap();
    desk.approval.tell(sample::start(), &hold, &standing);
    let Call { method, body } = next(&mut desk.calls).await;
    assert_eq!((&*method, &body["ts"], &body["channel"]), ("chat.update", &"1503435956.000247".into(), &"C1".into()));
    assert_eq!(body["blocks"][0]["text"]["text"], "Approved by alice");
    assert!(!body.to_string().contains("\"actions\""), "no button is left: {body}");
}

/// A hold that can be approved for longer.
fn wide() -> Hold {
    Hold { scopes: vec![Scope::Process, Scope::Tree, Scope::Time(1800)], ..sample::hold(HOLD) }
}

/// The list of a posted message, if there is one.
fn list(body: &Value) -> Option<&Value> {
    let elements = body["blocks"].as_array().unwrap().iter().flat_map(|block| block["elements"].as_array());
    elements.flatten().find(|element| element["type"] == "static_select")
}

#[tokio::test]
async fn what_is_chosen_is_an_approval_for_so_long() {
    let mut desk = desk(taken).await;
    let (hold, plain) = (wide(), blocks::message(&question(sample::hold(HOLD))));
    assert_eq!(list(&plain), None, "the rule offers nothing");
    desk.approval.ask(hold.deadline - SignedDuration::from_mins(1), &hold);
    let posted = next(&mut desk.calls).await.body;
    assert!(!button(&posted).contains("scope"), "a click is for once");
    let list = list(&posted).expect("a list");
    assert!(list["confirm"].is_object(), "Slack asks back: {list}");
    let options = list["options"].as_array().unwrap();
    for (option, scope) in options.iter().zip(&hold.scopes) {
        assert_eq!(option["text"]["text"], scope.words());
        assert_eq!(desk.click(chosen(option)).await, 200);
        let Submission { answer, reply } = next(&mut desk.answers).await;
        assert_eq!((answer.word, answer.scope, &answer.digest), (Word::Approve, *scope, &hold.digest));
        reply.send(Err(Refusal::Scope("once".into()))).unwrap();
        let told = next(&mut desk.calls).await.body["text"].to_string();
        assert!(told.contains("Your answer does not count"), "{told}");
    }
    assert_eq!(options.len(), hold.scopes.len());
}

/// The question about it.
fn question(hold: Hold) -> Message {
    let says = Says::Question { callback: None };
    Message { at: sample::start(), host: "host-1".into(), hold, says, review: None, test: false }
}

/// A choice from a list, as Slack sends it.
fn chosen(option: &Value) -> Clicked {
    let mut click = Clicked::new("");
    let action = json!({ "type": "static_select", "action_id": "holdpoint_approve_for", "selected_option": option });
    click.payload["actions"] = json!([action]);
    click
}

#[tokio::test]
async fn a_forged_choice_is_no_answer_or_what_it_says() {
    let mut desk = desk(taken).await;
    let message = blocks::message(&question(wide()));
    let good = chosen(&list(&message).unwrap()["options"][1]);
    let value = good.payload["actions"][0]["selected_option"]["value"].as_str().unwrap().to_owned();
    for bad in ["\"host\"", "\"25h\"", "\"0s\"", "7", "null"] {
        let bad = good.clone().with("/actions/0/selected_option/value", &value.replace("\"tree\"", bad));
        assert_eq!(desk.click(bad).await, 400);
        assert_eq!(desk.refused().await, "malformed: not our button");
    }
    // What the rule does not offer is for the state machine to refuse.
    let wider = good.with("/actions/0/selected_option/value", &value.replace("\"tree\"", "\"24h\""));
    assert_eq!(desk.click(wider).await, 200);
    assert_eq!(next(&mut desk.answers).await.answer.scope, Scope::Time(24 * 3600));
}

#[test]
fn what_is_over_is_forgotten_before_what_waits() {
    let api: Url = "http://127.0.0.1:9/api".parse().unwrap();
    let ear = Ear::Signed(Signing::read(SECRET).unwrap());
    let slack = Slack::new(api.clone(), Http::new(&api, None).unwrap(), "xoxb-1".into(), ear, "C1".into());
    let waits = slack.0.post(HoldId(0));
    for id in 1..=2 * POSTS as u64 {
        *slack.0.post(HoldId(id)).try_lock().unwrap() = Posted::Over;
    }
    assert!(Arc::ptr_eq(&waits, &slack.0.post(HoldId(0))));
    assert_eq!(slack.0.posts.lock().unwrap().len(), POSTS);
}

#[test]
fn what_needs_more_than_a_click_has_no_list() {
    let hold = Hold { assurance: crate::quorum::Assurance::High, ..wide() };
    assert_eq!(list(&blocks::message(&question(hold))), None);
    let mut over = question(wide());
    over.says = Says::Outcome(standing(End::Approved, Decision::Approve));
    assert_eq!(list(&blocks::message(&over)), None);
}

#[tokio::test]
async fn a_message_is_changed_when_the_hold_expires_or_is_withdrawn() {
    for (state, decision, head) in [
        (End::Expired, Decision::Fail, "Expired, nobody answered: the call fails with EPERM"),
        (End::Withdrawn, Decision::Withdraw, "Withdrawn: the call is gone"),
    ] {
        let mut desk = desk(taken).await;
        desk.asked().await;
        // At once: while the post may still be under way.
        desk.approval.tell(sample::start(), &sample::hold(HOLD), &standing(state, decision));
        let Call { method, body } = next(&mut desk.calls).await;
        assert_eq!((&*method, &body["blocks"][0]["text"]["text"]), ("chat.update", &head.into()));
    }
}

#[tokio::test]
async fn a_reminder_stands_in_the_thread_of_the_question_until_that_is_over() {
    let mut desk = desk(taken).await;
    let hold = sample::hold(HOLD);
    desk.approval.remind(sample::start(), &hold, 1);
    desk.asked().await;
    desk.approval.remind(sample::start(), &hold, 2);
    let Call { method, body } = next(&mut desk.calls).await;
    assert_eq!((&*method, &body["thread_ts"]), ("chat.postMessage", &"1503435956.000247".into()), "{body}");
    let text = "Approval still needed on host-1: hold 0000000000000007, 1 min 0 s left";
    assert_eq!((&body["text"], &body["reply_broadcast"]), (&text.into(), &true.into()));
    desk.approval.tell(sample::start(), &hold, &standing(End::Expired, Decision::Fail));
    assert_eq!(next(&mut desk.calls).await.method, "chat.update");
    desk.approval.remind(sample::start(), &hold, 3);
    assert!(timeout(Duration::from_millis(200), desk.calls.recv()).await.is_err(), "over");
}

#[tokio::test]
async fn a_test_keeps_its_buttons_until_they_have_been_clicked() {
    let (calls_in, mut calls) = mpsc::channel(16);
    let server = Server { calls: calls_in, manner: taken, posts: Arc::default() };
    let slack = serve(Router::new().route("/api/{method}", post(method)).with_state(server)).await;
    let channel = channel(&format!("http://{slack}/api").parse().unwrap());
    let (click, clicked) = tokio::sync::oneshot::channel::<()>();
    let tried = tokio::spawn(async move {
        let clicked = async { clicked.await.unwrap() };
        crate::approval::sample::try_out(&channel, "host-1", clicked).await
    });
    assert_eq!(next(&mut calls).await.method, "chat.postMessage");
    assert!(timeout(Duration::from_millis(500), calls.recv()).await.is_err());
    click.send(()).unwrap();
    assert_eq!(next(&mut calls).await.method, "chat.update");
    assert_eq!(tried.await.unwrap().outcome, Some(Ok(())));
}

/// The hold, which alice has approved while bob must.
fn counted() -> Hold {
    Hold { approved: vec!["alice".into()], ..sample::hold(HOLD) }
}

#[tokio::test]
async fn who_has_approved_is_shown_until_it_is_over() {
    let mut desk = desk(taken).await;
    desk.asked().await;
    desk.approval.counted(sample::start(), &counted(), "security");
    let Call { method, body } = next(&mut desk.calls).await;
    assert_eq!((&*method, &body["ts"]), ("chat.update", &"1503435956.000247".into()));
    assert_eq!(body["blocks"][0]["text"]["text"], "Approved by alice, still needed: security");
    assert!(button(&body).contains("approve") && body.to_string().contains("Still needed: security"), "{body}");
    desk.approval.tell(sample::start(), &counted(), &standing(End::Denied, Decision::Kill));
    assert!(!next(&mut desk.calls).await.body.to_string().contains("\"actions\""));
    desk.approval.counted(sample::start(), &counted(), "security");
    assert!(timeout(Duration::from_millis(500), desk.calls.recv()).await.is_err(), "it is over");
}

#[tokio::test]
async fn what_could_not_be_posted_yet_is_posted_with_who_has_approved() {
    let down: Manner = |count| if count == 0 { StatusCode::BAD_GATEWAY.into_response() } else { taken(0) };
    let mut desk = desk(down).await;
    desk.asked().await;
    desk.approval.counted(sample::start(), &counted(), "security");
    let Call { method, body } = next(&mut desk.calls).await;
    assert_eq!((&*method, body.to_string().contains("Approved by alice")), ("chat.postMessage", true));
    assert!(timeout(Duration::from_secs(2), desk.calls.recv()).await.is_err(), "once");
}

#[tokio::test]
async fn what_is_over_before_it_was_posted_is_not_posted() {
    let mut desk = desk(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()).await;
    desk.asked().await;
    desk.approval.tell(sample::start(), &sample::hold(HOLD), &standing(End::Denied, Decision::Kill));
    assert!(timeout(Duration::from_secs(2), desk.calls.recv()).await.is_err());
}

#[tokio::test]
async fn slack_is_left_alone_as_long_as_it_asks_and_errors_are_tried_again() {
    let busy: Manner = |count| match count {
        0 => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "2")]).into_response(),
        1 => (StatusCode::OK, r#"{"ok":false,"error":"internal_error"}"#).into_response(),
        _ => taken(0),
    };
    let mut desk = desk(busy).await;
    let began = std::time::Instant::now();
    desk.asked().await;
    next(&mut desk.calls).await;
    assert!(began.elapsed() >= Duration::from_secs(2));
    next(&mut desk.calls).await;
    assert_eq!(next(&mut desk.notes).await.event, Event::Asked { hold: HOLD, channel: "team".into(), attempts: 3 });
}

#[tokio::test]
async fn what_slack_says_against_it_is_in_the_record() {
    let mut desk = desk(|_| (StatusCode::OK, r#"{"ok":false,"error":"channel_not_found"}"#).into_response()).await;
    let hold = sample::hold(HOLD);
    // Time for two attempts: the second comes after a second at most, the third after a second and a half at least.
    desk.approval.ask(hold.deadline - SignedDuration::from_millis(1450), &hold);
    let Event::NotAsked { error, .. } = next(&mut desk.notes).await.event else { panic!("asked") };
    assert_eq!(error, "Slack says channel_not_found");
}

#[tokio::test]
async fn what_slack_has_not_signed_now_is_refused_and_recorded() {
    let mut desk = desk(taken).await;
    let good = Clicked::new(&button(&desk.asked().await));
    let another = "another-secret-that-nobody-knows";
    for (bad, why) in [
        (Clicked { secret: another, ..good.clone() }, "bad signature"),
        (Clicked { age: 302, ..good.clone() }, "old timestamp"),
        (Clicked { age: -302, ..good.clone() }, "old timestamp"),
    ] {
        assert_eq!(desk.click(bad).await, 401, "{why}");
        assert_eq!(desk.refused().await, why);
    }
    let stamp = Timestamp::now().as_second().to_string();
    for signature in ["", "v0=", "v0=zz", "v1=00"] {
        assert_eq!(desk.send("/v1/slack/team", &stamp, signature, good.body()).await, 401);
        assert_eq!(desk.refused().await, "a header of Slack's is missing or malformed");
    }
    assert!(desk.answers.try_recv().is_err());
}

#[tokio::test]
async fn a_click_that_is_sent_again_is_refused() {
    let mut desk = desk(taken).await;
    let body = Clicked::new(&button(&desk.asked().await)).body();
    let stamp = Timestamp::now().as_second().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("v0:{stamp}:{body}").as_bytes());
    let signature = format!("v0={}", hexadecimal(&mac.finalize().into_bytes()));
    assert_eq!(desk.send("/v1/slack/team", &stamp, &signature, body.clone()).await, 200);
    next(&mut desk.answers).await;
    assert_eq!(desk.send("/v1/slack/team", &stamp, &signature, body).await, 401);
    assert_eq!(desk.refused().await, "replayed");
    assert!(desk.answers.try_recv().is_err());
}

#[tokio::test]
async fn whoever_clicks_is_named_and_is_told_why_it_does_not_count() {
    let mut desk = desk(taken).await;
    let good = Clicked::new(&button(&desk.asked().await));
    for (bad, id) in [
        (good.clone().with("/user/id", "U2"), "T1/U2"),
        (good.clone().with("/user/team_id", "T2").with("/team/id", "T2"), "T2/U1"),
    ] {
        assert_eq!(desk.click(bad).await, 200, "Slack is answered");
        let Submission { answer, reply } = next(&mut desk.answers).await;
        assert_eq!(answer.who, id);
        reply.send(Err(Refusal::Stranger(format!("nobody is {id}")))).unwrap();
        let Call { method, body } = next(&mut desk.calls).await;
        assert_eq!((&*method, &body["user"]), ("chat.postEphemeral", &id[3..].into()));
        assert_eq!(body["text"], format!("Your answer does not count: nobody is {id}."));
    }
}

#[tokio::test]
async fn what_is_not_our_button_is_no_answer() {
    let mut desk = desk(taken).await;
    let good = Clicked::new(&button(&desk.asked().await));
    for bad in [
        good.clone().with("/actions/0/value", "approve"),
        good.clone().with("/actions/0/value", &button(&json!({ "blocks": [{ "type": "actions", "elements": [{ "value":
            good.payload["actions"][0]["value"].as_str().unwrap().replace("\"decision\"", "\"for\":1,\"decision\"") }] }] }))),
        good.clone().with("/container/channel_id", "C2"),
        good.clone().with("/user/id", "<!channel>"),
        good.clone().with("/actions", "none"),
    ] {
        assert_eq!(desk.click(bad).await, 400);
        desk.refused().await;
    }
    assert_eq!(desk.click(good.clone().with("/actions/0/action_id", "else")).await, 200, "somebody else's");
    assert_eq!(desk.click(good.with("/type", "view_submission")).await, 200);
    assert!(desk.answers.try_recv().is_err());
}

#[tokio::test]
async fn a_changed_button_reaches_the_state_machine_as_what_it_says() {
    let mut desk = desk(taken).await;
    let value = button(&desk.asked().await).replace(&sample::hold(HOLD).digest.0, &"0".repeat(64));
    assert_eq!(desk.click(Clicked::new(&value)).await, 200);
    let Submission { answer, reply } = next(&mut desk.answers).await;
    assert_eq!(answer.digest.0, "0".repeat(64));
    reply.send(Err(Refusal::WrongDigest)).unwrap();
    let told = next(&mut desk.calls).await;
    assert_eq!(told.method, "chat.postEphemeral");
    assert_eq!(told.body["text"], "Your answer does not count: wrong digest: this is not what is held.");
}

#[tokio::test]
async fn other_names_and_kinds_are_an_empty_404() {
    let desk = desk(taken).await;
    for path in ["/v1/slack/other", "/v1/teams/team", "/v1/slack"] {
        assert_eq!(desk.send(path, "1", "v0=", String::new()).await, 404, "{path}");
    }
}

#[test]
fn the_vector_of_slacks_documentation_is_verified() {
    let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
                channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
                response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let mut headers = HeaderMap::new();
    headers.insert("x-slack-request-timestamp", "1531420618".parse().unwrap());
    let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    headers.insert("x-slack-signature", signature.parse().unwrap());
    assert!(Signing::read(SECRET).unwrap().verify(&headers, body.as_bytes(), 1_531_420_618).is_ok());
}
