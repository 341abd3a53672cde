//! Socket Mode against a Slack of our own on loopback.

use std::collections::VecDeque;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{self, protocol::Role},
};

use super::*;
use crate::approval::{channel::Desk as Heard, slack::socket::Connection};

type Socket = WebSocketStream<TcpStream>;

/// Slack, with nobody connected at first.
struct Office {
    approval: Approval,
    sockets: mpsc::Receiver<Socket>,
    calls: mpsc::Receiver<Call>,
    answers: mpsc::Receiver<Submission>,
    notes: mpsc::Receiver<Entry>,
}

#[derive(Clone)]
struct Methods {
    socket: String,
    calls: mpsc::Sender<Call>,
    /// What is said to who wants to connect, before they may.
    refusals: Arc<Mutex<VecDeque<&'static str>>>,
}

async fn called(State(server): State<Methods>, Path(method): Path<String>, headers: HeaderMap, body: Bytes) -> String {
    if method != "apps.connections.open" {
        assert_eq!(headers["authorization"], "Bearer xoxb-1");
        server.calls.send(Call { method, body: serde_json::from_slice(&body).unwrap() }).await.unwrap();
        return json!({ "ok": true, "ts": "1503435956.000247" }).to_string();
    }
    assert_eq!(headers["authorization"], "Bearer xapp-1");
    match server.refusals.lock().unwrap().pop_front() {
        Some(error) => json!({ "ok": false, "error": error }).to_string(),
        None => json!({ "ok": true, "url": server.socket }).to_string(),
    }
}

/// A channel by this Slack.
fn channel(api: &Url) -> (Arc<Workspace>, Channel) {
    let ear = Ear::Socket(Arc::new(Opener::new(api, "xapp-1".into()).unwrap()));
    let way = Slack::new(api.clone(), Http::new(api, None).unwrap(), "xoxb-1".into(), ear, "C1".into());
    (Arc::clone(&way.0), Channel::to_security("team", "slack", Arc::new(way)))
}

async fn office(refusals: &[&'static str]) -> Office {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = format!("ws://{}/link/?ticket=1", listener.local_addr().unwrap());
    let (sockets_in, sockets) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            sockets_in.send(accept_async(stream).await.unwrap()).await.unwrap();
        }
    });
    let (calls_in, calls) = mpsc::channel(16);
    let refusals = Arc::new(Mutex::new(refusals.iter().copied().collect()));
    let methods = Methods { socket, calls: calls_in, refusals };
    let api = serve(Router::new().route("/api/{method}", post(called)).with_state(methods)).await;
    let api: Url = format!("http://{api}/api").parse().unwrap();
    let (_, channel) = channel(&api);
    let config = Config { channels: vec![channel], ..Config::default() };
    let (submit, answers) = mpsc::channel(16);
    let (note, notes) = mpsc::channel(16);
    let approval = Approval::new(&config, "host-1".into(), submit, note);
    approval.listen();
    Office { approval, sockets, calls, answers, notes }
}

async fn send(socket: &mut Socket, what: Value) {
    socket.send(tungstenite::Message::text(what.to_string())).await.unwrap();
}

/// What comes by the socket, but for pings.
async fn heard(socket: &mut Socket) -> tungstenite::Message {
    loop {
        match timeout(Duration::from_secs(3), socket.next()).await.expect("in time").unwrap().unwrap() {
            tungstenite::Message::Ping(_) => {}
            message => return message,
        }
    }
}

/// A click, which is acknowledged before anybody has looked at the answer.
async fn click(socket: &mut Socket, payload: &Value) {
    let id = rand::random::<u64>().to_string();
    send(socket, json!({ "type": "interactive", "envelope_id": id, "payload": payload })).await;
    let acknowledged = heard(socket).await.into_text().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&acknowledged).unwrap(), json!({ "envelope_id": id }));
}

impl Office {
    /// The next connection.
    async fn connection(&mut self) -> Socket {
        let mut socket = next(&mut self.sockets).await;
        send(&mut socket, json!({ "type": "hello", "num_connections": 1 })).await;
        socket
    }

    /// The payload of a click on the question's first button.
    async fn asked(&mut self) -> Clicked {
        let hold = sample::hold(HOLD);
        self.approval.ask(hold.deadline - SignedDuration::from_mins(1), &hold);
        Clicked::new(&button(&next(&mut self.calls).await.body))
    }

    async fn refused(&mut self) -> String {
        loop {
            match next(&mut self.notes).await.event {
                Event::RefusedAnswer { refusal, answer: None, from: None, .. } => return refusal,
                Event::Asked { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_click_is_acknowledged_at_once_and_counts_once() {
    let mut office = office(&[]).await;
    let mut socket = office.connection().await;
    let payload = office.asked().await.payload;
    click(&mut socket, &payload).await;
    click(&mut socket, &payload).await;
    assert_eq!(office.refused().await, "replayed");
    let answer = next(&mut office.answers).await.answer;
    assert_eq!((answer.word, &*answer.who), (Word::Approve, "T1/U1"), "who that is says the policy");
    let proof = Proof::Slack { channel: "team".into(), user: "T1/U1".into(), asks: vec!["security".into()] };
    assert_eq!(answer.proof, proof);
    assert!(office.answers.try_recv().is_err());
}

#[tokio::test]
async fn what_is_no_good_click_is_acknowledged_and_refused() {
    let mut office = office(&[]).await;
    let mut socket = office.connection().await;
    let good = office.asked().await;
    for (bad, why) in [
        (good.clone().with("/container/channel_id", "C2"), "clicked in another conversation"),
        (good.clone().with("/actions/0/value", "approve"), "malformed: not our button"),
        (good.clone().with("/actions", "none"), "malformed: not an interaction"),
    ] {
        click(&mut socket, &bad.payload).await;
        assert_eq!(office.refused().await, why);
    }
    for nothing in [json!({ "type": "events_api", "payload": {} }), json!([]), json!({ "type": "interactive" })] {
        send(&mut socket, nothing).await;
    }
    click(&mut socket, &good.payload).await;
    next(&mut office.answers).await;
}

#[tokio::test]
async fn the_next_connection_is_there_before_the_old_one_ends() {
    let mut office = office(&[]).await;
    let mut old = office.connection().await;
    let payload = office.asked().await.payload;
    send(&mut old, json!({ "type": "disconnect", "reason": "refresh_requested" })).await;
    let mut new = office.connection().await;
    click(&mut old, &payload).await;
    next(&mut office.answers).await;
    click(&mut new, &payload).await;
    assert_eq!(office.refused().await, "replayed", "by both: once");
    drop(old);
    let another = Clicked { payload, ..Clicked::new("") }.with("/response_url", "another");
    click(&mut new, &another.payload).await;
    next(&mut office.answers).await;
}

#[tokio::test]
async fn a_connection_that_ends_is_opened_anew() {
    let mut office = office(&[]).await;
    drop(office.connection().await);
    let mut socket = office.connection().await;
    socket.send(tungstenite::Message::Ping("7".into())).await.unwrap();
    assert_eq!(heard(&mut socket).await, tungstenite::Message::Pong("7".into()));
    let payload = office.asked().await.payload;
    click(&mut socket, &payload).await;
    next(&mut office.answers).await;
}

#[tokio::test]
async fn a_refused_token_is_tried_again() {
    let mut office = office(&["invalid_auth", "internal_error"]).await;
    let mut socket = office.connection().await;
    let payload = office.asked().await.payload;
    click(&mut socket, &payload).await;
    next(&mut office.answers).await;
}

/// A connection of which the other end is given, and why another one is needed once it is.
fn connection() -> (WebSocketStream<tokio::io::DuplexStream>, tokio::sync::oneshot::Receiver<String>) {
    let api: Url = "http://127.0.0.1:9/api".parse().unwrap();
    let (workspace, channel) = channel(&api);
    let (answers, notes) = (mpsc::channel(1).0, mpsc::channel(1).0);
    let desk = Heard { answers, refused: Arc::new(web::Refused::new(notes.clone())), notes };
    let (ours, theirs) = tokio::io::duplex(4096);
    let (leaves, leaving) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let socket = WebSocketStream::from_raw_socket(ours, Role::Client, None).await;
        Connection { socket, workspace, channel, desk }.hear(leaves).await;
    });
    let theirs = WebSocketStream::from_raw_socket(theirs, Role::Server, None);
    (futures_util::FutureExt::now_or_never(theirs).expect("nothing to wait for"), leaving)
}

#[tokio::test(start_paused = true)]
async fn who_falls_silent_is_given_up_and_who_answers_is_not() {
    let (_theirs, leaving) = connection();
    let began = tokio::time::Instant::now();
    assert_eq!(leaving.await.unwrap(), "it had fallen silent");
    assert_eq!(began.elapsed().as_secs(), 40);
    let (mut theirs, mut leaving) = connection();
    let answers = timeout(Duration::from_secs(600), async { while theirs.next().await.is_some() {} });
    assert!(answers.await.is_err(), "pings are answered");
    assert!(leaving.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn an_ending_connection_is_heard_for_a_while_only() {
    let (mut theirs, leaving) = connection();
    let warning = json!({ "type": "disconnect", "reason": "warning" });
    theirs.send(tungstenite::Message::text(warning.to_string())).await.unwrap();
    assert_eq!(leaving.await.unwrap(), "Slack said warning");
    let began = tokio::time::Instant::now();
    while theirs.next().await.is_some_and(|message| message.is_ok()) {}
    assert_eq!(began.elapsed().as_secs(), 30);
}
