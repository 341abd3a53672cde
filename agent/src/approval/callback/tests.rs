use super::*;
use crate::{
    approval::{
        standard_webhooks::{SIGNATURE, Secret, TIMESTAMP, sign},
        webhook::Webhook,
    },
    config::Listener,
    record::Event,
    request::{Answer, End, HoldId, Standing, Word, sample},
    web::LONGEST,
};
use holdpoint_common::decision::Decision;

const ID: HoldId = HoldId(7);

fn secret() -> Secret {
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()
}

fn other_secret() -> Secret {
    "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".parse().unwrap()
}

fn standing() -> Standing {
    Standing { hold: ID, state: End::Approved, decision: Decision::Approve, by: Some("alice".into()) }
}

/// A listener, and the daemon behind it which always says the same.
struct Desk {
    url: String,
    notes: mpsc::Receiver<Entry>,
    heard: mpsc::Receiver<Answer>,
}

async fn desk(result: Result<Outcome, Refusal>) -> Desk {
    let way = Webhook::new("http://127.0.0.1:9".parse().unwrap(), secret(), None).unwrap();
    let channel = Channel::to_security("ops", "webhook", Arc::new(way));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap());
    let address = listener.local_addr().unwrap();
    let config =
        Config { listener: Some(Listener { address, url: url.clone() }), channels: vec![channel], ..Config::default() };
    let (answers, mut submissions) = mpsc::channel::<Submission>(8);
    let (note, notes) = mpsc::channel(8);
    let (tell, heard) = mpsc::channel(8);
    tokio::spawn(Callbacks::new(&config, answers, note).serve(listener));
    tokio::spawn(async move {
        while let Some(Submission { answer, reply }) = submissions.recv().await {
            tell.send(answer).await.unwrap();
            let _ = reply.send(result.clone());
        }
    });
    Desk { url, notes, heard }
}

impl Desk {
    async fn post(&self, path: &str, signed: [(&str, String); 3], body: Vec<u8>) -> (u16, String) {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let mut request = client.post(format!("{}{path}", self.url));
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn answers(&self, body: &str) -> (u16, String) {
        self.post(&path(), signed(&secret(), 0, body), body.into()).await
    }
}

fn signed(secret: &Secret, age: i64, body: &str) -> [(&'static str, String); 3] {
    sign(secret, "msg_1", Timestamp::now().as_second() - age, body.as_bytes())
}

fn path() -> String {
    format!("/v1/holds/{ID}/answer")
}

fn body() -> String {
    let digest = sample::hold(ID).digest;
    json!({ "hold": ID, "digest": digest, "decision": "approve", "who": "alice", "why": "ok" }).to_string()
}

#[tokio::test]
async fn a_signed_answer_is_handed_on_with_its_proof() {
    let mut desk = desk(Ok(Outcome::Accepted(standing()))).await;
    let (status, text) = desk.answers(&body()).await;
    assert_eq!(status, 200);
    assert_eq!(text, r#"{"hold":"0000000000000007","state":"approved","decision":"approve","by":"alice"}"#);
    let answer = desk.heard.recv().await.unwrap();
    let proof = Proof::Webhook { channel: "ops".into(), asks: vec!["security".into()] };
    assert_eq!((answer.word, answer.who.as_str(), answer.proof), (Word::Approve, "alice", proof));
}

#[tokio::test]
async fn each_result_has_its_status() {
    for (result, status) in [
        (Ok(Outcome::Again(standing())), 200),
        (Err(Refusal::UnknownHold), 404),
        (Err(Refusal::WrongDigest), 422),
        (Err(Refusal::NotNamed), 403),
        (Err(Refusal::Requester), 403),
        (Err(Refusal::Conflict(standing())), 409),
        (Err(Refusal::Over(standing())), 410),
        (Err(Refusal::NotRecorded), 503),
    ] {
        let (found, text) = desk(result).await.answers(&body()).await;
        assert_eq!(found, status);
        assert_eq!(text.contains(r#""state":"approved""#), [200, 409, 410].contains(&status), "{text}");
    }
}

#[tokio::test]
async fn what_is_not_an_answer_is_refused_and_recorded() {
    let body = body();
    let huge = "x".repeat(LONGEST + 1);
    let elsewhere = "/v1/holds/0000000000000008/answer".to_owned();
    let nowhere = "/v1/holds/nonsense/answer".to_owned();
    let unsigned = [(ID_HEADER, String::new()), (TIMESTAMP, String::new()), (SIGNATURE, String::new())];
    for (path, headers, body, status) in [
        (path(), signed(&other_secret(), 0, &body), body.as_str(), 401),
        (path(), signed(&secret(), 301, &body), &body, 401),
        (path(), signed(&secret(), -302, &body), &body, 401),
        (path(), unsigned, &body, 401),
        (path(), signed(&secret(), 0, "{}"), "{}", 400),
        (elsewhere, signed(&secret(), 0, &body), &body, 400),
        (nowhere, signed(&secret(), 0, &body), &body, 404),
        (path(), signed(&secret(), 0, &huge), &huge, 413),
    ] {
        let mut desk = desk(Ok(Outcome::Accepted(standing()))).await;
        assert_eq!(desk.post(&path, headers, body.into()).await.0, status);
        let entry = desk.notes.recv().await.unwrap();
        assert!(matches!(entry.event, Event::RefusedAnswer { answer: None, from: Some(_), .. }));
        assert!(desk.heard.try_recv().is_err());
    }
}

const ID_HEADER: &str = crate::approval::standard_webhooks::ID;

#[tokio::test]
async fn an_answer_must_name_a_reviewer_and_say_nothing_else() {
    let desk = desk(Ok(Outcome::Accepted(standing()))).await;
    for (old, new) in [("\"alice\"", "\"\""), ("\"approve\"", "\"maybe\""), ("\"why\"", "\"because\"")] {
        assert_eq!(desk.answers(&body().replace(old, new)).await.0, 400, "{new}");
    }
}

#[tokio::test]
async fn everything_else_is_an_empty_404() {
    let desk = desk(Err(Refusal::UnknownHold)).await;
    for path in [path(), "/".into(), "/v1/holds".into()] {
        let response = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
        let response = response.get(format!("{}{path}", desk.url)).send().await.unwrap();
        assert_eq!(response.status(), 404);
        assert_eq!(response.text().await.unwrap(), "");
    }
}

#[tokio::test]
async fn the_path_works_with_and_without_the_prefix_of_the_url() {
    let mut desk = desk(Ok(Outcome::Accepted(standing()))).await;
    desk.url = desk.url.replace("/base", "");
    assert_eq!(desk.answers(&body()).await.0, 200);
}
