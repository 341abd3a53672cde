use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use holdpoint_common::decision::Decision;
use serde_json::{Value, json};
use tokio::{net::TcpListener, time::timeout};

use bytes::Bytes;

use super::{
    standard_webhooks::{ID, Received, SIGNATURE, Secret, TIMESTAMP, verify},
    webhook::Webhook,
    *,
};
use crate::{
    claims::{Claim, Kind, Speaker},
    ladder::Step,
    request::{Digest, End, Object, Operation, Process, Reading, Same, sample},
};

const HOLD: HoldId = HoldId(7);

/// How the reviewer's side meets one attempt.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Ok,
    Broken,
    Busy,
    Elsewhere,
    Hangs,
    Gone,
}

/// A message as it arrived.
#[derive(Debug)]
struct Message {
    id: String,
    data: Value,
    kind: String,
}

/// A reviewer's side on loopback, with a mood for each attempt; the last one stays.
struct Reviewer {
    url: String,
    messages: mpsc::Receiver<Message>,
}

#[derive(Clone)]
struct Side {
    moods: Arc<Mutex<VecDeque<Mood>>>,
    messages: mpsc::Sender<Message>,
}

fn secret() -> Secret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

async fn reviewer(moods: &[Mood]) -> Reviewer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (send, messages) = mpsc::channel(16);
    let side = Side { moods: Arc::new(Mutex::new(moods.iter().copied().collect())), messages: send };
    let router = Router::new().route("/hook", post(receive)).route("/elsewhere", post(receive)).with_state(side);
    let serve = Callback { router };
    tokio::spawn(serve.run(listener));
    Reviewer { url, messages }
}

/// A plain HTTP server: axum's own is behind a feature that the agent does not need.
struct Callback {
    router: Router,
}

impl Callback {
    async fn run(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(self.router.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    }
}

async fn receive(State(side): State<Side>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap();
    let received = Received { id: header(ID), timestamp: header(TIMESTAMP), signature: header(SIGNATURE) };
    verify(&secret(), received, &body, Timestamp::now().as_second()).expect("every attempt is signed");
    let value: Value = serde_json::from_slice(&body).unwrap();
    let (kind, data) = (value["type"].as_str().unwrap().to_owned(), value["data"].clone());
    side.messages.send(Message { id: header(ID).to_owned(), kind, data }).await.unwrap();
    let mood = {
        let mut moods = side.moods.lock().unwrap_or_else(PoisonError::into_inner);
        if moods.len() > 1 { moods.pop_front().unwrap() } else { moods[0] }
    };
    match mood {
        Mood::Ok => StatusCode::OK.into_response(),
        Mood::Broken => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Mood::Busy => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")]).into_response(),
        Mood::Elsewhere => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/elsewhere")]).into_response(),
        Mood::Gone => StatusCode::GONE.into_response(),
        Mood::Hangs => std::future::pending().await,
    }
}

fn approval(url: &str) -> (Approval, mpsc::Receiver<Entry>) {
    let way = Webhook::new(url.parse().unwrap(), secret(), None).unwrap();
    let channel = Channel::to_security("ops", "webhook", Arc::new(way));
    let (notes, lines) = mpsc::channel(16);
    let config = Config { listener: None, channels: vec![channel], ..Config::default() };
    (Approval::new(&config, "host-1".into(), mpsc::channel(1).0, notes), lines)
}

/// A hold with `seconds` left, and its now.
fn hold(seconds: i64) -> (Timestamp, Hold) {
    let hold = sample::hold(HOLD);
    (hold.deadline - SignedDuration::from_secs(seconds), hold)
}

async fn next<T>(channel: &mut mpsc::Receiver<T>) -> T {
    timeout(Duration::from_secs(20), channel.recv()).await.expect("in time").expect("not closed")
}

/// Asks a side with these moods; gives the line about it and how many attempts arrived.
async fn asked(moods: &[Mood], seconds: i64) -> (Event, usize) {
    let mut reviewer = reviewer(moods).await;
    let (mut approval, mut lines) = approval(&reviewer.url);
    let (now, hold) = hold(seconds);
    approval.ask(now, &hold);
    let line = next(&mut lines).await.event;
    let mut ids = vec![];
    while let Ok(message) = reviewer.messages.try_recv() {
        ids.push(message.id);
    }
    assert!(ids.iter().all(|id| id == "created-0000000000000007-ops"), "{ids:?}");
    (line, ids.len())
}

fn not_asked(event: &Event) -> &str {
    match event {
        Event::NotAsked { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_question_that_is_taken_is_asked_once() {
    let (line, arrived) = asked(&[Mood::Ok], 60).await;
    assert_eq!(line, Event::Asked { hold: HOLD, channel: "ops".into(), attempts: 1 });
    assert_eq!(arrived, 1);
}

#[tokio::test]
async fn a_broken_side_is_asked_again_under_the_same_id() {
    let (line, arrived) = asked(&[Mood::Broken, Mood::Ok], 60).await;
    assert_eq!(line, Event::Asked { hold: HOLD, channel: "ops".into(), attempts: 2 });
    assert_eq!(arrived, 2);
}

#[tokio::test]
async fn a_busy_side_is_left_alone_as_long_as_it_asks() {
    let began = Instant::now();
    asked(&[Mood::Busy, Mood::Ok], 60).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let (line, arrived) = asked(&[Mood::Elsewhere], 1).await;
    assert_eq!(not_asked(&line), "307 (redirects are not followed)");
    assert!(arrived <= 2);
}

#[tokio::test]
async fn a_side_that_hangs_is_given_up_at_the_deadline() {
    let began = Instant::now();
    let (line, arrived) = asked(&[Mood::Hangs], 1).await;
    assert_eq!((not_asked(&line), arrived), ("no answer in time", 1));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_side_that_is_down_is_not_an_answer() {
    let (mut approval, mut lines) = approval("http://127.0.0.1:9/token");
    let (now, hold) = hold(1);
    approval.ask(now, &hold);
    let event = next(&mut lines).await.event;
    assert!(not_asked(&event).contains("refused") && !not_asked(&event).contains("token"), "{event:?}");
}

#[tokio::test]
async fn a_side_that_wants_no_more_is_asked_once() {
    let (line, arrived) = asked(&[Mood::Gone], 60).await;
    assert_eq!((not_asked(&line), arrived), ("410: it wants no more", 1));
}

#[tokio::test]
async fn a_decision_ends_the_asking_and_is_told() {
    let mut reviewer = reviewer(&[Mood::Hangs, Mood::Ok]).await;
    let (mut approval, mut lines) = approval(&reviewer.url);
    let (now, hold) = hold(60);
    approval.ask(now, &hold);
    assert_eq!(next(&mut reviewer.messages).await.kind, "holdpoint.request.created");
    let standing = Standing { hold: HOLD, state: End::Denied, decision: Decision::Kill, by: Some("alice".into()) };
    approval.tell(now, &hold, &standing);
    let ended = next(&mut reviewer.messages).await;
    assert_eq!((ended.id.as_str(), ended.kind.as_str()), ("ended-0000000000000007-ops", "holdpoint.request.ended"));
    assert_eq!(
        (&ended.data["state"], &ended.data["decision"], &ended.data["by"]),
        (&"denied".into(), &"kill".into(), &"alice".into())
    );
    assert!(lines.try_recv().is_err(), "nothing more is heard of the question");
}

#[tokio::test]
async fn only_channels_of_the_holds_reviewers_are_asked() {
    let mut reviewer = reviewer(&[Mood::Ok]).await;
    let (mut approval, _lines) = approval(&reviewer.url);
    let (now, hold) = hold(60);
    let mut others = hold.clone();
    others.reviewers[0].name = "privacy".into();
    approval.ask(now, &others);
    approval.ask(now, &hold);
    assert_eq!(next(&mut reviewer.messages).await.data["reviewers"][0]["name"], "security");
    assert!(timeout(Duration::from_millis(200), reviewer.messages.recv()).await.is_err());
}

#[tokio::test]
async fn who_is_asked_later_is_asked_by_channels_that_have_not_asked() {
    let mut reviewer = reviewer(&[Mood::Ok]).await;
    let (mut approval, mut lines) = approval(&reviewer.url);
    let (now, mut hold) = hold(60);
    let security = hold.reviewers.clone();
    let step = Step { at: now, reviewers: security, asked: true };
    hold.escalation.push(step.clone());
    approval.escalate(now, &hold);
    hold.reviewers[0].name = "privacy".into();
    approval.escalate(now, &hold);
    assert_eq!(next(&mut reviewer.messages).await.data["escalation"], json!([step]));
    assert_eq!(next(&mut lines).await.event, Event::Asked { hold: HOLD, channel: "ops".into(), attempts: 1 });
    assert!(timeout(Duration::from_millis(200), reviewer.messages.recv()).await.is_err(), "once");
}

#[tokio::test]
async fn a_reminder_is_a_message_of_its_own() {
    let mut reviewer = reviewer(&[Mood::Ok]).await;
    let (mut approval, mut lines) = approval(&reviewer.url);
    let (now, hold) = hold(60);
    approval.remind(now, &hold, 2);
    let reminded = next(&mut reviewer.messages).await;
    let expected = ("reminded-2-0000000000000007-ops", "holdpoint.request.reminded");
    assert_eq!((reminded.id.as_str(), reminded.kind.as_str()), expected);
    assert_eq!(reminded.data["digest"], json!(hold.digest));
    assert!(lines.try_recv().is_err(), "that it was asked is on record already");
}

fn question(hold: &Hold) -> (usize, Value) {
    let review = Some("https://hp.example/h/0000000000000007");
    let urls = message::Urls { callback: Some("https://hp.example/v1/x"), review };
    let body = message::asking(message::CREATED, sample::start(), "host-1", hold, urls, false);
    (body.len(), serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_question_shows_everything_that_the_reviewer_needs() {
    let (_, question) = question(&sample::hold(HOLD));
    let expected = include_str!("samples/created.json");
    assert_eq!(question, serde_json::from_str::<Value>(expected).unwrap(), "{question:#}");
}

fn reading(path: &str) -> Reading {
    Reading {
        tree: "0000000000000001".into(),
        label: "customer-data".into(),
        lineage: false,
        path: path.into(),
        pid: 7,
        started: 1,
        exe: Some("/usr/bin/cat".into()),
        at: sample::start(),
    }
}

fn claim(text: &str) -> Claim {
    let by = Speaker::Process { pid: 7, exe: text.into() };
    Claim { kind: Kind::Prompt, text: text.into(), at: sample::start(), by }
}

#[test]
fn a_question_shows_what_was_read_before() {
    let carried = vec!["customer-data".to_owned(), "keys".to_owned()];
    let mut hold = Hold { carried, read: vec![reading("/srv/a b")], ..sample::hold(HOLD) };
    let (_, unasked) = question(&hold);
    assert_eq!(
        unasked["data"]["carried"],
        json!(["customer-data", "keys"]),
        "of one it is not known which file it was"
    );
    let says = Says::Question { callback: None };
    let message =
        channel::Message { at: sample::start(), host: "h".into(), hold: hold.clone(), says, review: None, test: false };
    let fact = |fact: &card::Fact| fact.label == "Has read" && fact.lines == ["customer-data, keys"];
    assert!(card::Card::whole(&message).facts.iter().any(fact));
    assert_eq!(unasked["data"]["summary"], "connect 192.0.2.1:443 (tcp)", "the rule does not ask for it");
    assert_eq!(unasked["data"]["read"][0]["path"], "/srv/a b");
    hold.if_read = vec!["customer-data".into()];
    let (_, question) = question(&hold);
    let said = "connect 192.0.2.1:443 (tcp), after reading customer-data: \"/srv/a b\" (process 7, /usr/bin/cat)";
    assert_eq!(question["data"]["summary"], said);
    assert_eq!(question["data"]["read"][0]["path"], "/srv/a b");
}

#[test]
fn a_long_question_is_shortened_honestly_context_first() {
    let mut hold = sample::hold(HOLD);
    let long = Process { pid: 5, exe: "/x".into(), argv: vec!["a".repeat(900); 40], user: "agent".into() };
    hold.context.ancestry = vec![long; 30];
    let (size, question) = question(&hold);
    assert!(size < 20_000);
    assert_eq!(question["data"]["cut"], true);
    assert_eq!(question["data"]["operation"]["address"], "192.0.2.1");
    assert_eq!(question["data"]["process"]["argv"][4], "…, 36 more");
    assert_eq!(question["data"]["ancestors_left_out"], 25);
}

#[test]
fn an_operation_is_shown_whole_whatever_there_is_beside_it_unless_it_is_too_long_itself() {
    let of = |length: usize| {
        let mut hold = sample::hold(HOLD);
        let object = Object { device: 1, inode: 2 };
        hold.request.what = Operation::Exec {
            path: "/bin/sh".into(),
            check: false,
            filename: "sh".into(),
            argv: vec!["sh".into(), "-c".into(), "\u{1}".repeat(length)],
            cut: false,
            masked: 0,
            object,
            directory: object,
            content: None,
        };
        let long =
            Process { pid: 5, exe: "\u{1}".repeat(4000), argv: vec!["\u{1}".repeat(4000); 40], user: "agent".into() };
        hold.context.ancestry = vec![long; 30];
        let (size, question) = question(&hold);
        assert!(size < 20_000, "{size}");
        let whole = question["data"]["operation"]["argv"][2] == "\u{1}".repeat(length);
        assert_eq!((&question["data"]["whole"], super::is_whole(&hold)), (&json!(whole), whole));
        assert_eq!(question["data"]["cut"], true);
        whole
    };
    // Six bytes each, of ten thousand.
    assert!(of(10) && of(1500));
    assert!(!of(1700) && !of(4000));
}

#[test]
fn the_longest_question_fits() {
    let mut hold = sample::hold(HOLD);
    let worst = "\u{1}".repeat(8_000);
    let process = Process { pid: 5, exe: worst.clone(), argv: vec![worst.clone(); 100], user: worst.clone() };
    hold.context.ancestry = vec![process; 100];
    hold.context.cwd = worst.clone();
    hold.context.unit = Some(worst.clone());
    hold.reviewers[0].members = vec![worst.clone(); 100];
    hold.reviewers = vec![hold.reviewers.remove(0); 16];
    hold.request.why = Some(worst.clone());
    hold.read = vec![Reading { exe: Some(worst.clone()), label: worst.clone(), ..reading(&worst) }; 100];
    hold.claims = vec![claim(&worst); 8];
    hold.carried = vec!["l".repeat(64); 64];
    hold.same = vec![Same { exe: worst.clone(), ..Same::from(&hold) }; 15];
    hold.request.rule = Some(worst.clone());
    hold.request.subject = worst.clone();
    let object = Object { device: 1, inode: 2 };
    let argv = vec![worst.clone(); 100];
    hold.request.what = Operation::Exec {
        path: worst.clone(),
        check: false,
        filename: worst,
        argv,
        cut: false,
        masked: 0,
        object,
        directory: object,
        content: None,
    };
    let (size, question) = question(&hold);
    assert!(size < 20_000, "{size}");
    assert_eq!(question["data"]["operation"]["argv"][6], "…, 94 more");
}

#[test]
fn a_question_that_lists_others_says_so_and_is_another_message() {
    let message = |hold| {
        let says = Says::Question { callback: None };
        channel::Message { at: sample::start(), host: "host-1".into(), hold, says, review: None, test: false }
    };
    let alone = message(sample::hold(HOLD));
    let mut several = sample::hold(HOLD);
    several.same = vec![Same { carried: vec!["secrets".into()], ..Same::from(&sample::hold(HoldId(8))) }];
    several.digest = Digest::of_all(&several.same);
    let several = message(several);
    assert_eq!(alone.id("ops"), "created-0000000000000007-ops");
    assert_ne!(several.id("ops"), alone.id("ops"));
    let body: Value = serde_json::from_slice(&several.body()).unwrap();
    let data = &body["data"];
    assert_eq!((&data["digest"], &data["same"][0]["hold"]), (&json!(several.hold.digest), &json!("0000000000000008")));
    let card = card::Card::whole(&several);
    let fact = |label| card.facts.iter().find(|fact| fact.label == label).map(|fact| fact.lines.concat());
    assert!(fact("Calls").is_some_and(|text| text.starts_with("2 calls of this tree ask for exactly this")));
    let same =
        "hold 0000000000000008 of process 100, until 2026-11-20 12:01:00 UTC, has read secrets, image /usr/bin/curl";
    assert_eq!(fact("Approved with it"), Some(same.into()));
}

#[test]
fn no_button_approves_a_call_that_is_not_in_the_list() {
    let listing = |others: u64, exe: &str| {
        let other =
            |id| Same { exe: exe.into(), carried: vec!["secrets".into()], ..Same::from(&sample::hold(HoldId(id))) };
        let hold = Hold { same: (0..others).map(|id| other(100 + id)).collect(), ..sample::hold(HOLD) };
        let says = Says::Question { callback: None };
        channel::Message { at: sample::start(), host: "host-1".into(), hold, says, review: None, test: false }
    };
    let approves = |message: &channel::Message| {
        let text = slack::blocks::message(message).to_string();
        assert!(text.contains("holdpoint_deny"), "{text}");
        text.contains("holdpoint_approve")
    };
    let usual = listing(15, "/opt/agents/release/node_modules/.bin/an-agent-of-the-usual-kind");
    assert!(approves(&usual));
    let body: Value = serde_json::from_slice(&usual.body()).unwrap();
    assert_eq!((body["data"]["same"].as_array().map(Vec::len), &body["data"]["cut"]), (Some(15), &json!(false)));
    assert!(!approves(&listing(63, "/usr/bin/curl")), "not all of them are shown");
    let long = listing(15, &"\u{202e}".repeat(4096));
    assert!(!approves(&long) && long.body().len() < 20_000);
}
