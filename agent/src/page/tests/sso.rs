//! Logging in by a provider, which is a server of our own.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::OpenOptionsExt as _,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time;

use super::*;
use crate::{approval::peers::Peer, config, page::sso::forge::Key, policy::Person, request::Account};

/// What the provider replies, and what it was told.
#[derive(Default)]
struct Desk {
    metadata: Value,
    keys: Vec<Value>,
    keys_asked: usize,
    token: Value,
    forms: Vec<(String, HashMap<String, String>)>,
}

type Shared = Arc<Mutex<Desk>>;

fn lock(desk: &Shared) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap()
}

async fn metadata(State(desk): State<Shared>) -> (StatusCode, Json<Value>) {
    let said = lock(&desk).metadata.clone();
    (if said.is_null() { StatusCode::BAD_GATEWAY } else { StatusCode::OK }, Json(said))
}

async fn keys(State(desk): State<Shared>) -> Json<Value> {
    let mut desk = lock(&desk);
    desk.keys_asked += 1;
    Json(json!({ "keys": desk.keys }))
}

async fn token(State(desk): State<Shared>, headers: HeaderMap, body: String) -> Json<Value> {
    let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut desk = lock(&desk);
    desk.forms.push((authorization, form_urlencoded::parse(body.as_bytes()).into_owned().collect()));
    Json(json!({ "access_token": "x", "token_type": "Bearer", "id_token": desk.token }))
}

/// The page and the provider.
struct Place {
    browser: Browser,
    page: Arc<Page>,
    notes: mpsc::Receiver<Entry>,
    desk: Shared,
    issuer: String,
    key: Key,
}

/// A login that has begun.
struct Begun {
    cookie: String,
    asked: HashMap<String, String>,
}

impl Place {
    async fn new(keys_of_config: &str) -> Self {
        let desk = Shared::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let key = Key::new("one");
        let metadata_of = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize?tenant=1"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
        });
        *lock(&desk) = Desk { metadata: metadata_of, keys: vec![key.public()], ..Desk::default() };
        let router = Router::new()
            .route("/.well-known/openid-configuration", routing::get(metadata))
            .route("/keys", routing::get(keys))
            .route("/token", routing::post(token))
            .with_state(Arc::clone(&desk));
        tokio::spawn(web::serve(listener, router));
        let (browser, page, notes) = page_with(&issuer, "hold point", keys_of_config).await;
        Self { browser, page, notes, desk, issuer, key }
    }

    async fn begin(&self, query: &str) -> Begun {
        let response = self.browser.fetch(&format!("/sso{query}")).await;
        assert_eq!(response.status(), 303);
        check_headers(response.headers());
        let set = response.headers()["set-cookie"].to_str().unwrap();
        assert!(set.starts_with("holdpoint-sso=") && set.ends_with("; Max-Age=600; HttpOnly; SameSite=Lax"), "{set}");
        let to = Url::parse(response.headers()["location"].to_str().unwrap()).unwrap();
        assert!(to.as_str().starts_with(&format!("{}/authorize?tenant=1&", self.issuer)), "{to}");
        Begun { cookie: set.split(';').next().unwrap().to_owned(), asked: to.query_pairs().into_owned().collect() }
    }

    fn claims(&self, begun: &Begun) -> Value {
        let now = Timestamp::now().as_second();
        let (issuer, nonce) = (&self.issuer, &begun.asked["nonce"]);
        json!({ "iss": issuer, "sub": "42", "aud": "hold point", "exp": now + 300, "iat": now, "nonce": nonce })
    }

    /// Comes back with this query. The provider has this token for the code.
    async fn back(&self, cookie: &str, query: &str, token: impl Into<Value>) -> Response {
        lock(&self.desk).token = token.into();
        let request = self.browser.client.get(format!("{}/sso/done?{query}", self.browser.origin));
        request.header("cookie", cookie).header("sec-fetch-site", "cross-site").send().await.unwrap()
    }

    /// Comes back as the provider has it.
    async fn comes_back(&self, begun: &Begun, token: impl Into<Value>) -> Response {
        self.back(&begun.cookie, &format!("code=c&state={}", begun.asked["state"]), token).await
    }

    /// The last line of the record about a refusal.
    fn refusal(&mut self) -> String {
        let mut last = String::new();
        while let Ok(Entry { event: Event::RefusedAnswer { refusal, .. }, .. }) = self.notes.try_recv() {
            last = refusal;
        }
        last
    }
}

/// The page where one logs in by this provider. alice is 42 there, and bob has an address.
async fn page_with(issuer: &str, client: &str, more: &str) -> (Browser, Arc<Page>, mpsc::Receiver<Entry>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let text =
        format!("[page]\naddress = \"{address}\"\n[page.sso]\nissuer = \"{issuer}\"\nclient_id = \"{client}\"\n{more}");
    let config = configured(&text);
    let (note, notes) = mpsc::channel(64);
    let listens = config.page.unwrap();
    let page = Page::new(&listens, "host-1".into(), mpsc::channel(1).0, mpsc::channel(1).0, note);
    let page = Arc::new(page.with_login(config.sso));
    let alice = Person { name: "alice".into(), sso: vec![format!("{issuer} 42")], ..Person::default() };
    let bob = Person { name: "bob".into(), emails: vec!["b@corp.example".into()], ..Person::default() };
    page.enrol(Roll::new(["alice", "bob"].map(str::to_owned), vec![alice, bob]));
    tokio::spawn(Arc::clone(&page).serve(listener));
    (Browser::new(&format!("http://{address}")), page, notes)
}

/// The configuration, with the client's secret.
fn configured(text: &str) -> config::Config {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("holdpoint-sso-{}-{number}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let secret = directory.join("secret");
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(&secret);
    std::io::Write::write_all(&mut written.unwrap(), b"s3cr+t\n").unwrap();
    let file = directory.join("config.toml");
    let of_secret = format!("client_secret_file = \"{}\"\n", secret.display());
    fs::write(&file, format!("{text}{of_secret}")).unwrap();
    let (config, secrets) = config::load(&file, None).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(secrets, [secret], "no subject may have it");
    assert!(!format!("{config:?}").contains("s3cr"), "{config:?}");
    config
}

/// The cookies that a response sets.
fn cookies(response: &Response) -> Vec<String> {
    let all = response.headers().get_all("set-cookie").iter();
    all.map(|set| set.to_str().unwrap().split(';').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn whom_the_policy_has_by_the_providers_subject_gets_in() {
    let mut place = Place::new("").await;
    let (status, page) = place.browser.get(&path(7)).await;
    let link = format!("/sso?hold={}", HoldId(7));
    assert!(status == 401 && page.contains(&format!("href=\"{link}\">Log in with SSO")), "{page}");
    let begun = place.begin(&link[4..]).await;
    let asked = |name: &str| begun.asked[name].as_str();
    assert_eq!((asked("response_type"), asked("scope"), asked("client_id")), ("code", "openid", "hold point"));
    assert_eq!(asked("code_challenge_method"), "S256");
    assert_eq!(asked("redirect_uri"), format!("{}/sso/done", place.browser.origin));

    let response = place.comes_back(&begun, place.key.signs(&place.claims(&begun))).await;
    assert_eq!(response.status(), 200);
    check_headers(response.headers());
    let [session, forgotten]: [String; 2] = cookies(&response).try_into().unwrap();
    assert_eq!(forgotten, "holdpoint-sso=");
    let page = response.text().await.unwrap();
    assert!(page.contains(&format!("http-equiv=\"refresh\" content=\"0;url={}\"", path(7))), "{page}");
    let (authorization, form) = lock(&place.desk).forms.pop().unwrap();
    let said = |name: &str| form[name].as_str();
    assert_eq!((said("grant_type"), said("code")), ("authorization_code", "c"));
    assert_eq!(said("redirect_uri"), asked("redirect_uri"));
    assert_eq!(URL_SAFE_NO_PAD.encode(Sha256::digest(said("code_verifier"))), asked("code_challenge"));
    assert_eq!(authorization, "Basic aG9sZCtwb2ludDpzM2NyJTJCdA==", "both encoded first");

    let alice = Browser { cookie: session, ..place.browser.clone() };
    let (status, page) = alice.get("/").await;
    assert!(status == 200 && page.contains("alice"), "{page}");
    let event = place.notes.recv().await.unwrap().event;
    let subject = Account { issuer: place.issuer.clone(), subject: "42".into(), email: None };
    let entrance = Some(Entrance::Sso(Box::new(subject)));
    assert!(
        matches!(&event, Event::LoggedIn { reviewer, entrance: found, .. } if reviewer == "alice" && *found == entrance)
    );

    let again = place.comes_back(&begun, place.key.signs(&place.claims(&begun))).await;
    assert_eq!((again.status().as_u16(), cookies(&again)), (403, vec!["holdpoint-sso=".to_owned()]), "replayed");
    assert_eq!(place.refusal(), "a login by SSO: this browser has begun no such login, or it is over");

    let other = Person { name: "alice".into(), sso: vec![format!("{} 43", place.issuer)], ..Person::default() };
    place.page.enrol(Roll::new(["alice".to_owned()], vec![other]));
    assert_eq!(alice.get("/").await.0, 401, "the subject is not alice any more");
}

#[tokio::test]
async fn what_does_not_come_from_the_provider_to_this_browser_lets_nobody_in() {
    let mut place = Place::new("").await;
    let foreign = place.begin("").await;
    let (other, stranger) = (Key::new("one"), Key::new("two"));
    let claims = |place: &Place, begun: &Begun, name: &str, value: Value| {
        let mut claims = place.claims(begun);
        claims[name] = value;
        place.key.signs(&claims)
    };
    for (query, token, why) in [
        ("code=c&state=STATE", "nonce", "not believed: it is of another login"),
        ("code=c&state=STATE", "aud", "not believed: it is for another client"),
        ("code=c&state=STATE", "iss", "not believed: it is another issuer's"),
        ("code=c&state=STATE", "exp", "not believed: its time is over"),
        ("code=c&state=STATE", "other", "not believed: its signature is not the provider's"),
        ("code=c&state=STATE", "stranger", "not believed: the provider has no such key"),
        ("code=c&state=STATE", "nothing", "its token for the code: no ID token"),
        ("code=c&state=STATE&iss=https%3A%2F%2Fevil.example", "good", "the answer is another issuer's"),
        ("error=access_denied&state=STATE", "good", "the provider says access_denied"),
        ("state=STATE", "good", "there is no code"),
        ("code=c&code=d&state=STATE", "good", "a field comes twice"),
        ("code=c&state=x", "good", "this browser has begun no such login"),
        ("code=c", "good", "this browser has begun no such login"),
        ("code=c&state=FOREIGN", "good", "this browser has begun no such login"),
        ("code=c&state=STATE&iss=ISSUER", "good", ""),
    ] {
        let begun = place.begin("").await;
        let good = place.claims(&begun);
        let token: Value = match token {
            "nonce" => claims(&place, &begun, "nonce", json!(foreign.asked["nonce"])).into(),
            "aud" => claims(&place, &begun, "aud", json!("other")).into(),
            "iss" => claims(&place, &begun, "iss", json!("https://other.example")).into(),
            "exp" => claims(&place, &begun, "exp", json!(1)).into(),
            "other" => other.signs(&good).into(),
            "stranger" => stranger.signs(&good).into(),
            "nothing" => Value::Null,
            _ => place.key.signs(&good).into(),
        };
        let issuer: String = form_urlencoded::byte_serialize(place.issuer.as_bytes()).collect();
        let query = query.replace("FOREIGN", &foreign.asked["state"]).replace("STATE", &begun.asked["state"]);
        let response = place.back(&begun.cookie, &query.replace("ISSUER", &issuer), token).await;
        if why.is_empty() {
            assert_eq!((response.status().as_u16(), cookies(&response).len()), (200, 2), "the control");
            continue;
        }
        assert_eq!(
            (response.status().as_u16(), cookies(&response)),
            (403, vec!["holdpoint-sso=".to_owned()]),
            "{query}"
        );
        let refusal = place.refusal();
        assert!(refusal.contains(why), "{query}: {refusal}");
    }
    // Somebody else's login, in a browser that has begun none, or another one.
    for cookie in ["", "holdpoint-sso=x", "holdpoint=x"] {
        let begun = place.begin("").await;
        let query = format!("code=c&state={}", begun.asked["state"]);
        assert_eq!(place.back(cookie, &query, place.key.signs(&place.claims(&begun))).await.status(), 403);
    }
}

#[tokio::test]
async fn a_subject_or_address_that_the_policy_does_not_have_is_nobody() {
    for (email, claimed, verified, subject, found) in [
        (false, "b@corp.example", json!(true), "7", None),
        (true, "b@corp.example", json!(true), "7", Some("bob")),
        (true, "b@Corp.example", json!(true), "7", Some("bob")),
        (true, "b@corp.example", json!(false), "7", None),
        (true, "b@corp.example", json!("true"), "7", None),
        (true, "x@corp.example", json!(true), "7", None),
        (true, "b@corp.example", json!(true), "42", Some("alice")),
        (true, "alice", json!(true), "alice", None),
    ] {
        let mut place = Place::new(if email { "email = true\n" } else { "" }).await;
        let begun = place.begin("").await;
        assert_eq!(begun.asked["scope"], if email { "openid email" } else { "openid" });
        let mut claims = place.claims(&begun);
        (claims["sub"], claims["email"], claims["email_verified"]) = (json!(subject), json!(claimed), verified.clone());
        let response = place.comes_back(&begun, place.key.signs(&claims)).await;
        let about = format!("{email} {claimed} {verified} {subject}");
        match found {
            Some(user) => {
                let cookie = cookies(&response).swap_remove(0);
                let browser = Browser { cookie, ..place.browser.clone() };
                assert!(browser.get("/").await.1.contains(&format!(">{user}<")), "{about}");
            }
            None => {
                assert_eq!((response.status().as_u16(), cookies(&response).len()), (403, 1), "{about}");
                let refusal = place.refusal();
                assert!(
                    refusal.starts_with(&format!("a login by SSO: no reviewer in the policy is {subject}")),
                    "{refusal}"
                );
            }
        }
    }
}

#[tokio::test]
async fn keys_change_and_are_asked_for_again_but_not_all_the_time() {
    let place = Place::new("").await;
    let status = async |key: &Key| {
        let begun = place.begin("").await;
        place.comes_back(&begun, key.signs(&place.claims(&begun))).await.status().as_u16()
    };
    let next = Key::new("two");
    assert_eq!(status(&place.key).await, 200);
    lock(&place.desk).keys = vec![next.public()];
    assert_eq!((status(&next).await, lock(&place.desk).keys_asked), (403, 1), "it was asked just now");
    time::pause();
    time::advance(Duration::from_secs(21)).await;
    time::resume();
    assert_eq!((status(&next).await, lock(&place.desk).keys_asked), (200, 2));
    assert_eq!((status(&place.key).await, lock(&place.desk).keys_asked), (403, 2), "it has taken that one back");
}

#[tokio::test]
async fn without_the_provider_the_other_ways_in_still_work() {
    let place = Place::new("").await;
    let good = lock(&place.desk).metadata.clone();
    let with = |name: &str, value: &str| {
        let mut metadata = good.clone();
        metadata[name] = json!(value);
        metadata
    };
    for bad in [
        Value::Null,
        json!({}),
        with("issuer", "http://127.0.0.1:1"),
        with("token_endpoint", "http://login.example/token"),
        with("token_endpoint", "https://login.example/token"),
        with("jwks_uri", "http://169.254.169.254/keys"),
        with("authorization_endpoint", "javascript:alert(1)"),
    ] {
        lock(&place.desk).metadata = bad.clone();
        let (status, page) = place.browser.get("/sso").await;
        assert!(status == 502 && page.contains("Nobody can log in by SSO now"), "{bad}: {page}");
        lock(&place.desk).metadata = good.clone();
        assert_eq!(place.browser.get("/sso").await.0, 502, "it is left alone for a while");
        time::pause();
        time::advance(Duration::from_secs(21)).await;
        time::resume();
    }
    Browser::logged_in(&place.page.link(Reviewer { user: "bob".into(), entrance: None }).unwrap()).await;
    place.begin("").await;
}

#[tokio::test]
async fn a_login_leads_to_a_hold_or_to_the_list_and_nowhere_else() {
    let place = Place::new("").await;
    for query in ["", "?hold=", "?hold=//evil.example", "?to=https://evil.example", "?hold=https://evil.example/"] {
        let begun = place.begin(query).await;
        let page = place.comes_back(&begun, place.key.signs(&place.claims(&begun))).await.text().await.unwrap();
        assert!(page.contains("content=\"0;url=/\"") && !page.contains("evil"), "{page}");
    }
}

#[tokio::test]
async fn there_is_no_such_login_unless_configured() {
    let (browser, ..) = canned(Err(Refusal::UnknownHold)).await;
    let stranger = Browser::new(&browser.origin);
    assert!(!stranger.get("/").await.1.contains("SSO"));
    assert_eq!((stranger.get("/sso").await.0, stranger.get("/sso/done?code=c").await.0), (404, 404));
}

#[tokio::test]
#[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
async fn an_independent_provider_logs_people_in() {
    let mut provider = Peer::start("login_provider.py");
    let issuer = provider.says().await;
    // Authlib takes a client's name as it stands in the header: without what has to be encoded there.
    let (browser, _, mut notes) = page_with(&issuer, "holdpoint", "email = true\n").await;
    for (subject, found) in [("42", Some("alice")), ("7", Some("bob")), ("mallory@corp.example", None)] {
        let begun = browser.fetch("/sso").await;
        let cookie = cookies(&begun).swap_remove(0);
        let there = begun.headers()["location"].to_str().unwrap();
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("sub", subject).finish();
        let request = browser.client.post(there).header("content-type", "application/x-www-form-urlencoded").body(body);
        let sent_back = request.send().await.unwrap();
        assert_eq!(sent_back.status(), 302, "{}", sent_back.text().await.unwrap());
        let back = sent_back.headers()["location"].to_str().unwrap().to_owned();
        let come = async || browser.client.get(&back).header("cookie", &cookie).send().await.unwrap();
        let came = come().await;
        match found {
            Some(user) => {
                assert_eq!(came.status(), 200, "{:?}", notes.try_recv());
                let session = Browser { cookie: cookies(&came).swap_remove(0), ..browser.clone() };
                assert!(session.get("/").await.1.contains(&format!(">{user}<")));
                let event = notes.recv().await.unwrap().event;
                assert!(matches!(&event, Event::LoggedIn { reviewer, .. } if reviewer == user), "{event:?}");
            }
            None => {
                let event = notes.recv().await.unwrap().event;
                let is_unknown =
                    |refusal: &String| refusal.contains("no reviewer in the policy is mallory@corp.example");
                assert!(
                    matches!(&event, Event::RefusedAnswer { refusal, .. } if is_unknown(refusal)),
                    "known to the provider, and to nobody here: {event:?}"
                );
            }
        }
        assert_eq!(come().await.status(), 403, "once");
        assert!(matches!(notes.recv().await.unwrap().event, Event::RefusedAnswer { .. }));
    }
    provider.ends_well().await;
}
