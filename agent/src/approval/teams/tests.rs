use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use holdpoint_common::decision::Decision;
use jiff::SignedDuration;
use std::time::Duration;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

use super::*;
use crate::approval::channel::Says;
use crate::{
    approval::Approval,
    config::Config,
    record::Event,
    request::{End, HoldId, Standing, sample},
};

const HOLD: HoldId = HoldId(7);

async fn take(State(messages): State<mpsc::Sender<Value>>, body: Bytes) -> StatusCode {
    messages.send(serde_json::from_slice(&body).unwrap()).await.unwrap();
    StatusCode::ACCEPTED
}

/// A workflow on loopback, and the cards that it got.
async fn workflow() -> (Url, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/workflows/x?sig=secret", listener.local_addr().unwrap()).parse().unwrap();
    let (send, messages) = mpsc::channel(16);
    let router = Router::new().route("/workflows/x", post(take)).with_state(send);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    (url, messages)
}

async fn next<T>(channel: &mut mpsc::Receiver<T>) -> T {
    timeout(Duration::from_secs(20), channel.recv()).await.expect("in time").expect("not closed")
}

#[tokio::test]
async fn a_card_asks_and_another_says_how_it_ended() {
    let (url, mut messages) = workflow().await;
    let review = Some("https://review.example/r/".parse().unwrap());
    let way = Teams { http: Http::new(&url, None).unwrap(), url, review };
    assert!(!format!("{way:?}").contains("secret"));
    let channel = Channel::to_security("office", "teams", Arc::new(way));
    let (note, mut notes) = mpsc::channel(16);
    let config = Config { channels: vec![channel], ..Config::default() };
    let mut approval = Approval::new(&config, "host-1".into(), mpsc::channel(1).0, note);
    let hold = sample::hold(HOLD);
    approval.ask(hold.deadline - SignedDuration::from_mins(1), &hold);
    let asked = next(&mut messages).await;
    assert_eq!(asked["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
    let card = &asked["attachments"][0]["content"];
    assert_eq!((&card["type"], &card["version"]), (&"AdaptiveCard".into(), &"1.4".into()));
    assert_eq!(card["body"][0]["inlines"][0]["text"], "Approval needed");
    assert_eq!(card["body"][1]["inlines"][0]["text"], "connect 192.0.2.1:443 (tcp)");
    assert_eq!(card["actions"][0]["url"], "https://review.example/r/0000000000000007");
    assert_eq!(next(&mut notes).await.event, Event::Asked { hold: HOLD, channel: "office".into(), attempts: 1 });
    let by = Some("alice".into());
    approval.tell(sample::start(), &hold, &Standing { hold: HOLD, state: End::Denied, decision: Decision::Kill, by });
    let told = next(&mut messages).await;
    let card = &told["attachments"][0]["content"];
    assert_eq!(card["body"][0]["inlines"][0]["text"], "Denied by alice: the process is killed");
    assert_eq!(card["actions"], json!([]));
}

#[test]
fn there_is_no_button_without_a_page() {
    let hold = sample::hold(HOLD);
    let says = Says::Question { callback: None };
    let message = Message { at: sample::start(), host: "host-1".into(), hold, says, review: None, test: false };
    assert_eq!(body(&message, None)["attachments"][0]["content"]["actions"], json!([]));
}
