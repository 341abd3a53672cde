use axum::http::HeaderMap;
use holdpoint_common::decision::Decision;
use reqwest::{Client, RequestBuilder, Response, redirect};

use super::*;
use crate::{
    record::Event,
    request::{Answer, End, HoldId, Outcome, Proof, Refusal, Word},
};

mod markup;
mod policy;
mod sso;

/// A browser that is logged in, or is not.
#[derive(Clone)]
struct Browser {
    client: Client,
    origin: String,
    cookie: String,
    token: String,
}

impl Browser {
    fn new(origin: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().tls_certs_only([]).redirect(redirect::Policy::none());
        let (origin, cookie, token) = (origin.to_owned(), String::new(), String::new());
        Self { client: client.build().unwrap(), origin, cookie, token }
    }

    /// Comes by the link.
    async fn logged_in(link: &str) -> Self {
        let (origin, query) = link.split_once("/r?").unwrap();
        let mut browser = Self::new(origin);
        let response = browser.post("/r", query.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 303);
        let set = response.headers()["set-cookie"].to_str().unwrap();
        assert!(set.ends_with("; HttpOnly; SameSite=Strict"), "{set}");
        browser.cookie = set.split(';').next().unwrap().to_owned();
        let (_, page) = browser.get("/").await;
        browser.token = value(&page, "token");
        browser
    }

    async fn fetch(&self, path: &str) -> Response {
        let request = self.client.get(format!("{}{path}", self.origin)).header("cookie", &self.cookie);
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let response = self.fetch(path).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// As a browser sends a form of the page.
    fn post(&self, path: &str, body: String) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.origin)).header("cookie", &self.cookie);
        request.header("origin", &self.origin).header("sec-fetch-site", "same-origin").body(body)
    }

    /// Sends the form of the hold with this digest.
    async fn says(&self, hold: u64, word: &str, digest: &str) -> (u16, String) {
        let body = form(&self.token, word, digest);
        let response = self.post(&path(hold), body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The digest that the page of the hold shows.
    async fn digest(&self, hold: u64) -> String {
        value(&self.get(&path(hold)).await.1, "digest")
    }
}

fn form(token: &str, word: &str, digest: &str) -> String {
    let fields = [("token", token), ("word", word), ("digest", digest), ("why", "as\r\nagreed ")];
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

fn path(hold: u64) -> String {
    format!("/h/{}", HoldId(hold))
}

/// The value of the hidden field of this name.
fn value(page: &str, name: &str) -> String {
    let after = page.split_once(&format!("name=\"{name}\" value=\"")).map_or("", |(_, after)| after);
    after.split('"').next().unwrap_or_default().to_owned()
}

/// The sample's page, and links for alice and bob.
async fn sample() -> [String; 2] {
    sample_for(links::LIFETIME).await
}

async fn sample_for(lifetime: SignedDuration) -> [String; 2] {
    let (tell, links) = tokio::sync::oneshot::channel();
    let tell = |links: Vec<(&'static str, String)>| drop(tell.send(links));
    tokio::spawn(sample::serve("127.0.0.1:0".parse().unwrap(), lifetime, tell));
    let links = links.await.unwrap();
    [0, 1].map(|at: usize| links[at].1.clone())
}

fn caller(uid: u32) -> Caller {
    Caller { uid, login: None, name: "alice".into() }
}

/// Alice, who has asked for a link.
fn alice_here() -> Reviewer {
    Reviewer { user: "alice".into(), entrance: Some(Entrance::Local(caller(1002))) }
}

/// A page whose agent always says the same.
async fn canned(result: Result<Outcome, Refusal>) -> (Browser, mpsc::Receiver<Answer>, mpsc::Receiver<Entry>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (answers, mut submissions) = mpsc::channel::<Submission>(8);
    let (note, notes) = mpsc::channel(8);
    let (tell, heard) = mpsc::channel(8);
    let listens = Listener { address, url: format!("http://{address}") };
    let page = Arc::new(Page::new(&listens, "host-1".into(), answers, mpsc::channel(1).0, note));
    page.enrol(Roll::new(["alice".to_owned()], vec![]));
    let link = page.link(alice_here()).unwrap();
    tokio::spawn(page.serve(listener));
    tokio::spawn(async move {
        while let Some(Submission { answer, reply }) = submissions.recv().await {
            tell.send(answer).await.unwrap();
            let _ = reply.send(result.clone());
        }
    });
    (Browser::logged_in(&link).await, heard, notes)
}

fn standing() -> Standing {
    Standing { hold: HoldId(7), state: End::Denied, decision: Decision::Kill, by: Some("bob".into()) }
}

#[test]
fn a_link_is_for_who_asks_and_only_root_asks_for_others() {
    let asked = |uid, named: Option<&str>| {
        let own = if uid == 0 { "root" } else { "alice" };
        let asked = Reviewer::asked_by(caller(uid), Some(own.into()), named.map(Into::into));
        asked.map(|reviewer| (reviewer.user, reviewer.entrance))
    };
    let stranger = |uid, named: Option<&str>| Reviewer::asked_by(caller(uid), None, named.map(Into::into));
    assert_eq!((stranger(1002, None), stranger(1002, Some("alice")), stranger(0, None)), (None, None, None));
    assert!(stranger(0, Some("alice")).is_some_and(|reviewer| reviewer.entrance.is_none()));
    let own = |user: &str, uid| Some((user.to_owned(), Some(Entrance::Local(caller(uid)))));
    assert_eq!(asked(1002, None), own("alice", 1002));
    assert_eq!(asked(1002, Some("alice")), own("alice", 1002));
    assert_eq!(asked(1002, Some("bob")), None);
    assert_eq!(asked(0, Some("bob")), Some(("bob".into(), None)));
    assert_eq!(asked(0, None), own("root", 0));
}

#[tokio::test]
async fn a_link_shows_a_button_which_works_once() {
    let [link, _] = sample().await;
    let (origin, query) = link.split_once("/r?").unwrap();
    let browser = Browser::new(origin);
    for _ in 0..2 {
        let (status, page) = browser.get(&format!("/r?{query}")).await;
        assert_eq!(status, 200);
        assert!(page.contains("Log in as alice"), "{page}");
    }
    Browser::logged_in(&link).await;
    assert_eq!(browser.get(&format!("/r?{query}")).await.0, 410);
    assert_eq!(browser.post("/r", query.to_owned()).send().await.unwrap().status(), 410);
}

#[tokio::test]
async fn expired_foreign_and_changed_links_lead_nowhere() {
    let [link, _] = sample().await;
    let (origin, query) = link.split_once("/r?").unwrap();
    let [old, _] = sample_for(SignedDuration::ZERO).await;
    let (old_origin, old_query) = old.split_once("/r?").unwrap();
    let changed = query.replace("for=alice", "for=root");
    for (origin, query, status) in [
        (old_origin, old_query, 410),
        (origin, old_query, 403),
        (origin, &*changed, 403),
        (origin, "", 403),
        (origin, "for=<script>&until=9999999999&number=1&signature=00", 403),
    ] {
        let browser = Browser::new(origin);
        let (shown, page) = browser.get(&format!("/r?{query}")).await;
        let posted = browser.post("/r", query.to_owned()).send().await.unwrap();
        assert_eq!((shown, posted.status().as_u16()), (status, status), "{query}");
        assert!(posted.headers().get("set-cookie").is_none() && !page.contains("Log in as"));
    }
    // Another site cannot log a browser in.
    let elsewhere = Browser::new(origin).client.post(format!("{origin}/r")).header("origin", "https://evil.example");
    let elsewhere = elsewhere.body(query.to_owned());
    assert_eq!(elsewhere.send().await.unwrap().status(), 403);
    Browser::logged_in(&link).await;
}

#[tokio::test]
async fn every_response_keeps_others_away() {
    let [link, _] = sample().await;
    let browser = Browser::logged_in(&link).await;
    let stranger = Browser::new(&browser.origin);
    let long = form(&browser.token, "approve", &"x".repeat(web::LONGEST));
    let responses = [
        (browser.fetch("/").await, 200),
        (browser.fetch(&path(1)).await, 200),
        (browser.fetch("/events").await, 200),
        (stranger.fetch("/").await, 401),
        (stranger.fetch(&path(1)).await, 401),
        (stranger.fetch("/events").await, 401),
        (stranger.fetch("/r").await, 403),
        (browser.fetch("/h/nonsense").await, 404),
        (browser.fetch("/h/nonsense/events").await, 404),
        (browser.fetch(&path(999)).await, 404),
        (browser.fetch("/favicon.ico").await, 404),
        (browser.fetch("/logout").await, 404),
        (browser.post(&path(1), "token=x".into()).send().await.unwrap(), 403),
        (browser.post(&path(1), form(&browser.token, "maybe", "x")).send().await.unwrap(), 400),
        (browser.post(&path(1), long).send().await.unwrap(), 413),
        (browser.post("/logout", form(&browser.token, "", "")).send().await.unwrap(), 303),
    ];
    for (response, status) in responses {
        assert_eq!(response.status(), status, "{}", response.url());
        check_headers(response.headers());
    }
}

#[track_caller]
fn check_headers(headers: &HeaderMap) {
    let content = headers["content-security-policy"].to_str().unwrap();
    for directive in
        ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'", "script-src 'sha256-"]
    {
        assert!(content.contains(directive), "{content}");
    }
    assert!(!content.contains("unsafe"), "{content}");
    let others = ["x-content-type-options", "referrer-policy", "cache-control", "x-frame-options"];
    let values = others.map(|name| headers[name].to_str().unwrap());
    assert_eq!(values, ["nosniff", "same-origin", "no-store", "DENY"]);
}

#[tokio::test]
async fn only_a_form_of_the_session_and_of_the_page_is_an_answer() {
    let links = sample().await;
    let (alice, bob) = (Browser::logged_in(&links[0]).await, Browser::logged_in(&links[1]).await);
    let digest = alice.digest(1).await;
    let good = form(&alice.token, "approve", &digest);
    let forms = [String::new(), bob.token.clone(), alice.token[..63].to_owned()];
    for token in forms {
        let sent = alice.post(&path(1), form(&token, "approve", &digest)).send().await.unwrap();
        assert_eq!(sent.status(), 403, "another token");
    }
    let bare = |browser: &Browser| {
        let request = browser.client.post(format!("{}{}", browser.origin, path(1)));
        request.header("cookie", &browser.cookie).body(good.clone())
    };
    for (request, status) in [
        (bare(&alice), 403),
        (bare(&alice).header("origin", "null"), 403),
        (bare(&alice).header("origin", "https://evil.example"), 403),
        (bare(&alice).header("sec-fetch-site", "same-origin"), 403),
        (bare(&alice).header("origin", &alice.origin).header("sec-fetch-site", "cross-site"), 403),
        (bare(&Browser::new(&alice.origin)).header("origin", &alice.origin), 401),
    ] {
        let request = request.build().unwrap();
        let headers = request.headers().clone();
        assert_eq!(alice.client.execute(request).await.unwrap().status(), status, "{headers:?}");
    }
    assert!(alice.get(&path(1)).await.1.contains("Approval needed"));
    let sent = alice.client.execute(bare(&alice).header("origin", &alice.origin).build().unwrap()).await.unwrap();
    assert_eq!((sent.status().as_u16(), sent.headers()["location"].to_str().unwrap()), (303, &*path(1)));
    assert!(alice.get(&path(1)).await.1.contains("Approved by alice"));
}

#[tokio::test]
async fn an_answer_is_about_what_was_shown_and_counts_once() {
    let links = sample().await;
    let (alice, bob) = (Browser::logged_in(&links[0]).await, Browser::logged_in(&links[1]).await);
    let (digest, other) = (alice.digest(2).await, alice.digest(1).await);
    for wrong in [&*other, "", "00"] {
        let (status, page) = alice.says(2, "approve", wrong).await;
        assert!(status == 422 && page.contains("This is not what is held"), "{page}");
    }
    assert_eq!(alice.says(2, "deny", &digest).await.0, 303);
    assert_eq!(bob.says(2, "deny", &digest).await.0, 303, "the same again");
    let (status, page) = bob.says(2, "approve", &digest).await;
    assert!(status == 409 && page.contains("Denied by alice: the process is killed"), "{page}");
    let (_, page) = bob.get(&path(2)).await;
    assert!(page.contains("Denied by alice") && page.contains("as\\u{a}agreed") && !page.contains("<textarea"));
    assert_eq!(alice.says(999, "approve", &digest).await.0, 404);
}

#[tokio::test]
async fn a_scope_that_the_rule_offers_is_chosen_listed_and_taken_back_by_who_is_asked() {
    let links = sample().await;
    let (alice, bob) = (Browser::logged_in(&links[0]).await, Browser::logged_in(&links[1]).await);
    let digest = alice.digest(2).await;
    let says = |digest: &str, scope: &str| format!("{}&scope={scope}", form(&alice.token, "approve", digest));
    let status = async |hold: u64, body: String| alice.post(&path(hold), body).send().await.unwrap().status().as_u16();
    let (_, page) = alice.get(&path(2)).await;
    assert!(page.contains("<option value=\"30m\">this tree for 30 min 0 s</option>"), "{page}");
    assert!(!alice.get(&path(1)).await.1.contains("<select"), "this rule offers none");
    assert_eq!(status(1, says(&alice.digest(1).await, "tree")).await, 403);
    assert_eq!(status(2, says(&digest, "31m")).await, 403);
    assert_eq!(status(2, says(&digest, "host")).await, 400);
    assert!(!alice.get("/").await.1.contains("Approved for more than once"));
    assert_eq!(status(2, says(&digest, "tree")).await, 303);

    let (_, list) = bob.get("/").await;
    assert!(list.contains("Approved for more than once") && list.contains("this tree until it ends"), "{list}");
    let revoke = format!("/g/{}/revoke", HoldId(2));
    let forged = bob.post(&revoke, form(&alice.token, "", "")).send().await.unwrap();
    assert_eq!(forged.status(), 403, "not a form of this session");
    assert_eq!(Browser::new(&bob.origin).post(&revoke, String::new()).send().await.unwrap().status(), 401);
    assert_eq!(bob.fetch(&revoke).await.status(), 404, "by a link");
    assert!(bob.get("/").await.1.contains("Approved for more than once"));
    assert_eq!(bob.post(&revoke, form(&bob.token, "", "")).send().await.unwrap().status(), 303);
    assert!(!alice.get("/").await.1.contains("Approved for more than once"));
    assert_eq!(bob.post(&revoke, form(&bob.token, "", "")).send().await.unwrap().status(), 303, "over already");
}

#[tokio::test]
async fn who_asks_or_is_not_asked_does_not_answer() {
    let links = sample().await;
    let (alice, bob) = (Browser::logged_in(&links[0]).await, Browser::logged_in(&links[1]).await);
    let digest = bob.digest(4).await;
    let (_, page) = alice.get(&path(4)).await;
    assert!(page.contains("Another reviewer answers") && !page.contains("name=\"word\""));
    let (status, page) = alice.says(4, "approve", &digest).await;
    assert!(status == 403 && page.contains("your own request"), "{page}");
    assert_eq!(bob.says(4, "approve", &digest).await.0, 303);
    let digest = bob.digest(5).await;
    assert_eq!(alice.get(&path(5)).await.0, 404);
    assert!(!alice.get("/").await.1.contains(&path(5)) && bob.get("/").await.1.contains(&path(5)));
    let (status, page) = alice.says(5, "approve", &digest).await;
    assert!(status == 403 && page.contains("does not name you"), "{page}");
}

#[tokio::test]
async fn each_result_has_its_status_and_its_words() {
    for (result, status, words) in [
        (Ok(Outcome::Again(standing())), 303, ""),
        (Err(Refusal::UnknownHold), 404, "No such hold"),
        (Err(Refusal::WrongDigest), 422, "not what is held"),
        (Err(Refusal::NotNamed), 403, "not asked"),
        (Err(Refusal::Requester), 403, "own request"),
        (Err(Refusal::Conflict(standing())), 409, "Denied by bob"),
        (Err(Refusal::Over(standing())), 410, "It is over"),
        (Err(Refusal::NotRecorded), 503, "still held"),
        (Err(Refusal::Scope("once".into())), 403, "for: once"),
        (Err(Refusal::Granted("host")), 409, "Approve this once"),
    ] {
        let (alice, mut heard, _) = canned(result).await;
        let (found, page) = alice.says(7, "kill", "d").await;
        assert!(found == status && page.contains(words), "{found}: {page}");
        let answer = heard.recv().await.unwrap();
        let proof = Proof::Page { user: "alice".into(), entrance: alice_here().entrance };
        assert_eq!((answer.word, answer.who.as_str(), answer.proof), (Word::Kill, "alice", proof));
        assert_eq!(
            (answer.hold, answer.digest.0.as_str(), answer.why.as_deref()),
            (HoldId(7), "d", Some("as\nagreed"))
        );
    }
}

#[tokio::test]
async fn what_is_no_answer_is_recorded() {
    let (alice, mut heard, mut notes) = canned(Err(Refusal::UnknownHold)).await;
    let event = notes.recv().await.unwrap().event;
    assert!(matches!(&event, Event::LoggedIn { reviewer, .. } if reviewer == "alice"), "{event:?}");
    let long = form(&alice.token, "approve", "d") + &"x".repeat(5000);
    for body in [form("x", "approve", "d"), form(&alice.token, "maybe", "d"), long] {
        assert!(alice.post(&path(7), body).send().await.unwrap().status().is_client_error());
        let event = notes.recv().await.unwrap().event;
        assert!(matches!(event, Event::RefusedAnswer { answer: None, from: Some(_), .. }), "{event:?}");
    }
    assert!(heard.try_recv().is_err());
}

#[tokio::test]
async fn who_logs_out_is_out() {
    let [link, _] = sample().await;
    let browser = Browser::logged_in(&link).await;
    let response = browser.post("/logout", form(&browser.token, "", "")).send().await.unwrap();
    assert!(response.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(browser.get("/").await.0, 401);
}

#[tokio::test]
async fn who_comes_from_another_site_is_told_to_go_on() {
    let [link, _] = sample().await;
    let stranger = Browser::new(link.split_once("/r?").unwrap().0);
    let request = stranger.client.get(format!("{}{}", stranger.origin, path(1))).header("sec-fetch-site", "cross-site");
    let page = request.send().await.unwrap().text().await.unwrap();
    assert!(page.contains(&format!("href=\"{}\">Go on", path(1))), "{page}");
    assert!(!stranger.get(&path(1)).await.1.contains("Go on"));
}

#[tokio::test]
async fn updates_come_when_there_is_something_else_to_see() {
    let links = sample().await;
    let (alice, bob) = (Browser::logged_in(&links[0]).await, Browser::logged_in(&links[1]).await);
    let (mut list, mut hold) = (bob.fetch("/events").await, bob.fetch(&format!("{}/events", path(1))).await);
    let first = next(&mut list).await;
    assert!(bob.get("/").await.1.contains(&format!("data-seen=\"{first}\"")));
    assert_eq!(next(&mut hold).await, "pending");
    alice.says(1, "approve", &alice.digest(1).await).await;
    assert_eq!(next(&mut hold).await, "approved");
    assert_ne!(next(&mut list).await, first);
}

/// What the next event says.
async fn next(stream: &mut Response) -> String {
    let chunk = String::from_utf8(stream.chunk().await.unwrap().unwrap().to_vec()).unwrap();
    let data = chunk.lines().find_map(|line| line.strip_prefix("data: "));
    data.unwrap_or_else(|| panic!("{chunk}")).to_owned()
}
