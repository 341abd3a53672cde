//! A reviewer's side: takes questions by webhook and answers by signed callbacks. Written from the specification
//! (Standard Webhooks 1.0.0) and not from the agent's code; it can misbehave in both directions.

use std::{
    collections::BTreeSet,
    fmt::{Display, Write as _},
    fs::{self, OpenOptions, Permissions},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    Hold, LIMIT, everything,
    http::Request,
    shared::{Shared, shared_with},
    site, wait_for,
};

/// How far the agent's clock may be from ours, in seconds: it is the same one, and the machine is slow.
const SKEW: i64 = 10;

/// What the reviewer's side does with a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// Takes it: 200.
    Takes,
    /// Takes it, and approves what it asks at once.
    Approves,
    /// Answers with this status and no more.
    Status(u16),
    /// 503, and asks to be left alone for so many seconds.
    Later(u32),
    /// Reads it and never answers.
    Hangs,
    /// Answers that the place is elsewhere, with this status.
    Redirects(u16, SocketAddr),
}

/// A message as it was received, its signature checked.
#[derive(Clone, Debug)]
pub struct Message {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, in seconds since 1970.
    pub timestamp: i64,
    /// When it arrived.
    pub arrived: Timestamp,
    /// The body's bytes.
    pub body: String,
    /// The body.
    pub json: Value,
}

impl Message {
    /// `data` of the body.
    pub fn data(&self) -> &Value {
        &self.json["data"]
    }
}

/// What the listener's thread and the test share.
#[derive(Debug)]
struct Desk {
    manner: Manner,
    /// Where the agent listens for answers.
    callbacks: SocketAddr,
    messages: Vec<Message>,
    /// What was wrong with messages: a test fails of it.
    flaws: Vec<String>,
}

/// The reviewer's side, on the loopback interface.
#[derive(Debug)]
pub struct Reviewer {
    secret: String,
    /// Of the channel `others`, whose reviewers no rule names.
    other_secret: String,
    directory: PathBuf,
    /// Where questions arrive.
    address: SocketAddr,
    /// Where the agent listens for answers.
    callbacks: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    server: Mutex<Option<Server>>,
}

impl Reviewer {
    /// One that takes every question.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        let directory =
            PathBuf::from(format!("/run/holdpoint-tests/reviewer-{}-{}", std::process::id(), site::fresh()));
        fs::create_dir_all(&directory).expect("create a directory");
        let (secret, other_secret) = (secret(), self::secret());
        for (name, secret) in [("secret", &secret), ("other", &other_secret)] {
            let file = directory.join(name);
            fs::write(&file, format!("{secret}\n")).expect("write the secret");
            fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("chmod");
        }
        let callbacks = free_address();
        let desk = Arc::new(Mutex::new(Desk { manner: Manner::Takes, callbacks, messages: vec![], flaws: vec![] }));
        let server = Server::start(free_address(), &secret, &desk);
        let address = server.address;
        Self { secret, other_secret, directory, address, callbacks, desk, server: Mutex::new(Some(server)) }
    }

    /// A `config.toml`: the agent's listener, the channel `tests` to this side for the reviewers `people`, and the
    /// channel `others` for those of that name.
    pub fn config(&self) -> String {
        let mut text = format!("[listener]\naddress = \"{}\"\n", self.callbacks);
        for (name, file, group) in [("tests", "secret", "people"), ("others", "other", "others")] {
            let file = self.directory.join(file);
            let _ = write!(
                text,
                "\n[[channel]]\nname = \"{name}\"\nkind = \"webhook\"\nurl = \"http://{}/questions\"\n\
                 secret_file = \"{}\"\nreviewers = [\"{group}\"]\n",
                self.address,
                file.display()
            );
        }
        text
    }

    /// Where the agent listens for answers.
    pub fn callbacks(&self) -> SocketAddr {
        self.callbacks
    }

    /// From now on it does this with messages.
    pub fn behaves(&self, manner: Manner) {
        self.desk().manner = manner;
    }

    /// From now on nobody listens.
    pub fn goes_down(&self) {
        lock(&self.server).take();
    }

    /// Listens again.
    pub fn comes_up(&self) {
        lock(&self.server).get_or_insert_with(|| Server::start(self.address, &self.secret, &self.desk));
    }

    // --- What it was told -----------------------------------------------------------------------------------

    /// All messages so far.
    ///
    /// # Panics
    /// If one was not as it must be.
    #[track_caller]
    pub fn messages(&self) -> Vec<Message> {
        let desk = self.desk();
        assert!(desk.flaws.is_empty(), "{:#?}", desk.flaws);
        desk.messages.clone()
    }

    /// Messages of this type about the hold.
    #[track_caller]
    pub fn told(&self, kind: &str, hold: &Hold) -> Vec<Message> {
        let mut messages = self.messages();
        messages.retain(|message| message.json["type"] == kind && message.data()["hold"] == hold.id());
        messages
    }

    /// Questions about the hold, repeated ones too.
    #[track_caller]
    pub fn questions(&self, hold: &Hold) -> Vec<Message> {
        self.told("holdpoint.request.created", hold)
    }

    /// Waits for the question about the hold.
    #[track_caller]
    pub fn question(&self, hold: &Hold) -> Message {
        wait_for("the question", LIMIT, || self.questions(hold).into_iter().next())
    }

    /// Waits to be told how the hold ended.
    #[track_caller]
    pub fn ending(&self, hold: &Hold) -> Message {
        wait_for("news of the end", LIMIT, || self.told("holdpoint.request.ended", hold).into_iter().next())
    }

    // --- What it answers ------------------------------------------------------------------------------------

    /// An answer to the hold's question, by `reviewer`: approve, deny, kill or fail.
    pub fn answer(&self, hold: &Hold, decision: &str) -> Callback {
        let other = self.other_secret.clone();
        Callback { other, ..Callback::new(self.callbacks, &self.secret, hold.id(), hold.digest(), decision) }
    }

    /// Approves.
    ///
    /// # Panics
    /// If that is not taken.
    #[track_caller]
    pub fn approve(&self, hold: &Hold) {
        self.taken(hold, "approve");
    }

    /// Denies; what that does is the rule's to say.
    ///
    /// # Panics
    /// If that is not taken.
    #[track_caller]
    pub fn deny(&self, hold: &Hold) {
        self.taken(hold, "deny");
    }

    #[track_caller]
    fn taken(&self, hold: &Hold, decision: &str) {
        let response = self.answer(hold, decision).send();
        assert_eq!(response.status, 200, "{response:?}");
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

impl Drop for Reviewer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

// --- Shared -------------------------------------------------------------------------------------------------

/// An agent that asks a reviewer: one for many tests, since starting one takes seconds.
pub struct Asked {
    /// It asks `people` under [`policy`].
    pub agent: Shared,
    /// The other side, which takes every question again.
    pub reviewer: &'static Reviewer,
}

/// The agent, and the side that it asks.
pub fn asked() -> Asked {
    asked_under(&policy())
}

/// Likewise under this policy, which has reviewers `people` and `others`.
pub fn asked_under(policy: &str) -> Asked {
    static REVIEWER: LazyLock<Reviewer> = LazyLock::new(Reviewer::start);
    REVIEWER.comes_up();
    let mut desk = REVIEWER.desk();
    desk.manner = Manner::Takes;
    desk.flaws.clear();
    drop(desk);
    Asked { agent: shared_with(policy, &REVIEWER.config()), reviewer: &REVIEWER }
}

/// [`everything`], and reviewers `others` whom no rule names.
pub fn policy() -> String {
    everything().replace("[reviewers]\n", "[reviewers]\nothers = [\"root\", \"reviewer\"]\n")
}

// --- Answers ------------------------------------------------------------------------------------------------

/// An answer before it is sent: as it should be, until something of it is changed.
#[derive(Clone, Debug)]
#[must_use]
pub struct Callback {
    address: SocketAddr,
    path: String,
    body: Value,
    secret: Option<String>,
    other: String,
    /// In seconds.
    age: i64,
}

/// What the agent says to an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The body, null if it is not JSON.
    pub json: Value,
}

impl Callback {
    fn new(address: SocketAddr, secret: &str, hold: &str, digest: &str, decision: &str) -> Self {
        Self {
            address,
            path: format!("/v1/holds/{hold}/answer"),
            body: json!({ "hold": hold, "digest": digest, "decision": decision, "who": "reviewer" }),
            secret: Some(secret.to_owned()),
            other: String::new(),
            age: 0,
        }
    }

    /// In this name.
    pub fn by(self, who: &str) -> Self {
        self.with("who", who)
    }

    /// With this reason.
    pub fn because(self, why: &str) -> Self {
        self.with("why", why)
    }

    /// About this digest.
    pub fn about(self, digest: &str) -> Self {
        self.with("digest", digest)
    }

    /// To this hold, in path and body.
    pub fn to_hold(self, id: &str) -> Self {
        Self { path: format!("/v1/holds/{id}/answer"), ..self.with("hold", id) }
    }

    /// To this hold in the path alone.
    pub fn at(self, path: impl Display) -> Self {
        Self { path: path.to_string(), ..self }
    }

    /// Signed so many seconds ago; negative: ahead of time.
    pub fn aged(self, age: i64) -> Self {
        Self { age, ..self }
    }

    /// Signed with a secret that nobody knows.
    pub fn forged(self) -> Self {
        Self { secret: Some(secret()), ..self }
    }

    /// Signed for the channel `others`.
    pub fn from_others(self) -> Self {
        Self { secret: Some(self.other.clone()), ..self }
    }

    /// Without the headers of a webhook.
    pub fn unsigned(self) -> Self {
        Self { secret: None, ..self }
    }

    /// With this field of the body.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body[name] = value.into();
        self
    }

    /// Sends it.
    ///
    /// # Panics
    /// If nobody takes it.
    #[track_caller]
    pub fn send(&self) -> Response {
        let body = self.body.to_string();
        self.send_with(&body, &body)
    }

    /// Signs the body that it should have and sends another one.
    ///
    /// # Panics
    /// If nobody takes it.
    #[track_caller]
    pub fn send_changed(&self, name: &str, value: impl Into<Value>) -> Response {
        let sent = self.clone().with(name, value).body.to_string();
        self.send_with(&self.body.to_string(), &sent)
    }

    #[track_caller]
    fn send_with(&self, signed: &str, sent: &str) -> Response {
        let timestamp = Timestamp::now().as_second() - self.age;
        let id = format!("answer-{}", site::fresh());
        let headers = self.secret.as_ref().map_or_else(String::new, |secret| {
            let signature = BASE64.encode(mac(secret, &id, timestamp, signed).finalize().into_bytes());
            format!("webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: v1,{signature}\r\n")
        });
        let (path, host, length) = (&self.path, self.address, sent.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n{headers}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = TcpStream::connect(self.address).expect("connect to the agent's listener");
        stream.set_read_timeout(Some(LIMIT)).expect("set_read_timeout");
        stream.write_all(format!("{head}{sent}").as_bytes()).expect("send an answer");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read the response");
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("not a response: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Response { status, json: serde_json::from_str(body).unwrap_or_default() }
    }
}

// --- The listener -------------------------------------------------------------------------------------------

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: SocketAddr, secret: &str, desk: &Arc<Mutex<Desk>>) -> Self {
        let listener = TcpListener::bind(address).expect("bind");
        let address = listener.local_addr().expect("an address");
        let ending = Arc::new(AtomicBool::new(false));
        let (ended, desk, secret) = (Arc::clone(&ending), Arc::clone(desk), secret.to_owned());
        let thread = thread::spawn(move || {
            // Connections that nobody answers: kept open.
            let mut hanging = vec![];
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let stream = stream.expect("accept");
                match attend(&stream, &secret, &desk) {
                    Ok(true) => hanging.push(stream),
                    Ok(false) => {}
                    Err(flaw) => lock(&desk).flaws.push(flaw),
                }
            }
        });
        Self { address, ending, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Takes one message and treats it as told; true if it is not answered.
fn attend(mut stream: &TcpStream, secret: &str, desk: &Mutex<Desk>) -> Result<bool, String> {
    let message = receive(stream, secret)?;
    let mut desk = lock(desk);
    desk.messages.push(message.clone());
    let (manner, callbacks) = (desk.manner, desk.callbacks);
    drop(desk);
    let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
    let response = match manner {
        Manner::Takes | Manner::Approves => format!("HTTP/1.1 200 OK\r\n{rest}"),
        Manner::Status(status) => format!("HTTP/1.1 {status} So\r\n{rest}"),
        Manner::Later(seconds) => format!("HTTP/1.1 503 Later\r\nRetry-After: {seconds}\r\n{rest}"),
        Manner::Redirects(status, to) => format!("HTTP/1.1 {status} Moved\r\nLocation: http://{to}/\r\n{rest}"),
        Manner::Hangs => return Ok(true),
    };
    // Whoever does not wait for it loses nothing.
    let _ = stream.write_all(response.as_bytes());
    if manner == Manner::Approves && message.json["type"] == "holdpoint.request.created" {
        approve(&message, callbacks, secret)?;
    }
    Ok(false)
}

fn approve(message: &Message, callbacks: SocketAddr, secret: &str) -> Result<(), String> {
    let text = |name: &str| message.data()[name].as_str().ok_or(format!("no {name}: {}", message.body));
    let response = Callback::new(callbacks, secret, text("hold")?, text("digest")?, "approve").send();
    if response.status == 200 { Ok(()) } else { Err(format!("the approval was not taken: {response:?}")) }
}

fn receive(stream: &TcpStream, secret: &str) -> Result<Message, String> {
    let Request { method, path, headers, body } = Request::read(stream)?;
    if (&*method, &*path) != ("POST", "/questions") {
        return Err(format!("not a POST to /questions: {method} {path}"));
    }
    let header = |name: &str| headers.get(name).cloned().ok_or(format!("no {name} in {headers:?}"));
    header("content-length")?;
    if header("content-type")? != "application/json" {
        return Err(format!("not JSON: {headers:?}"));
    }
    let (id, arrived) = (header("webhook-id")?, Timestamp::now());
    let timestamp: i64 = header("webhook-timestamp")?.parse().map_err(|error| format!("timestamp: {error}"))?;
    if arrived.as_second().abs_diff(timestamp) > SKEW.unsigned_abs() {
        return Err(format!("the timestamp {timestamp} is not that of now: {arrived}"));
    }
    let signatures = header("webhook-signature")?;
    let right = |signature: &str| {
        let bytes = signature.strip_prefix("v1,").and_then(|text| BASE64.decode(text).ok());
        bytes.is_some_and(|bytes| mac(secret, &id, timestamp, &body).verify_slice(&bytes).is_ok())
    };
    if !signatures.split(' ').any(right) {
        return Err(format!("a wrong signature: {headers:?} {body}"));
    }
    let json = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
    Ok(Message { id, timestamp, arrived, body, json })
}

// --- Small things -------------------------------------------------------------------------------------------

/// The signature of Standard Webhooks 1.0.0: HMAC-SHA256 over id, timestamp and body.
fn mac(secret: &str, id: &str, timestamp: i64, body: &str) -> Hmac<Sha256> {
    let key = BASE64.decode(secret.strip_prefix("whsec_").expect("whsec_")).expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("every length will do");
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    mac
}

/// What stands in `webhook-signature` of such a body, signed with that secret.
pub fn signature(secret: &str, id: &str, timestamp: i64, body: &str) -> String {
    format!("v1,{}", BASE64.encode(mac(secret, id, timestamp, body).finalize().into_bytes()))
}

/// A new secret.
fn secret() -> String {
    let mut bytes = [0; 32];
    let mut random = OpenOptions::new().read(true).open("/dev/urandom").expect("open /dev/urandom");
    random.read_exact(&mut bytes).expect("read /dev/urandom");
    format!("whsec_{}", BASE64.encode(bytes))
}

/// An address that nobody has now, and that is given out once.
fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let address = listener.local_addr().expect("an address");
        if lock(&GIVEN).insert(address.port()) {
            return address;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
