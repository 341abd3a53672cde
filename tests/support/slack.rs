//! A Slack for apps in Socket Mode, written from Slack's documentation: it takes messages, and sends the clicks of its users by
//! the WebSocket that the agent has opened.

use std::{
    collections::VecDeque,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::{
    Hold, LIMIT,
    http::{Request, Response, serve},
    site, wait_for,
};

/// What the channel's files have in them.
pub const TOKEN: &str = "xoxb-1-2-3";
/// Likewise.
pub const APP_TOKEN: &str = "xapp-1-2-3";
/// The conversation.
const CONVERSATION: &str = "C0123";
/// How often a connection looks for what is to be sent.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Desk {
    /// Methods and their arguments.
    calls: Vec<(String, Value)>,
    /// What goes to the agent by the next connection that looks.
    clicks: VecDeque<Value>,
    acknowledged: Vec<String>,
    /// What was wrong with calls: a test fails of it.
    flaws: Vec<String>,
}

/// Slack, on the loopback interface.
#[derive(Debug)]
pub struct Slack {
    api: String,
    desk: Arc<Mutex<Desk>>,
}

impl Slack {
    /// One with nobody connected.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let sockets = TcpListener::bind("127.0.0.1:0").expect("bind");
        let socket = format!("ws://{}/link?ticket=1", sockets.local_addr().expect("an address"));
        let shared = Arc::clone(&desk);
        thread::spawn(move || {
            for stream in sockets.incoming().flatten() {
                let desk = Arc::clone(&shared);
                thread::spawn(move || connection(stream, &desk));
            }
        });
        let shared = Arc::clone(&desk);
        let api = format!("http://{}/api", serve(move |request| Some(called(&shared, &socket, &request))));
        Self { api, desk }
    }

    /// The keys of a channel to this Slack, but for its name, secrets and reviewers.
    pub fn keys(&self) -> String {
        format!("kind = \"slack\"\nchannel = \"{CONVERSATION}\"\napi = \"{}\"\n", self.api)
    }

    /// Waits for a call of this method that satisfies `wanted`.
    ///
    /// # Panics
    /// If a call was not as it must be.
    #[track_caller]
    pub fn call(&self, method: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for(&format!("a call of {method}"), LIMIT, || {
            let desk = self.desk();
            assert!(desk.flaws.is_empty(), "{:#?}", desk.flaws);
            let found = desk.calls.iter().find(|(called, arguments)| called == method && wanted(arguments));
            found.map(|(_, arguments)| arguments.clone())
        })
    }

    /// Waits for the message about the hold, as it was posted, with its `ts`.
    #[track_caller]
    pub fn question(&self, hold: &Hold) -> Value {
        self.call("chat.postMessage", |message| message["text"].to_string().contains(hold.id()))
    }

    /// Waits until the message about the hold has been changed, and gives its first line.
    #[track_caller]
    pub fn ending(&self, hold: &Hold) -> String {
        let about = |message: &Value| message["text"].to_string().contains(hold.id());
        let message = self.call("chat.update", about);
        message["blocks"][0]["text"]["text"].as_str().expect("a header").to_owned()
    }

    /// `user` clicks the button with that text in the posted `question`, and the agent acknowledges it.
    #[track_caller]
    pub fn click(&self, user: &str, question: &Value, button: &str) {
        let button = elements(question).iter().find(|it| it["text"]["text"] == button).expect("the button");
        let action = json!({ "type": "button", "action_id": button["action_id"], "value": button["value"] });
        self.act(user, question, action);
    }

    /// `user` chooses what says `text` from the list in the posted `question`, and means it; likewise.
    #[track_caller]
    pub fn choose(&self, user: &str, question: &Value, text: &str) {
        let list = elements(question).iter().find(|it| it["type"] == "static_select").expect("a list");
        let options = list["options"].as_array().expect("options");
        let option = options.iter().find(|it| it["text"]["text"] == text).expect("the option");
        let action = json!({ "type": "static_select", "action_id": list["action_id"], "selected_option": option });
        self.act(user, question, action);
    }

    #[track_caller]
    fn act(&self, user: &str, question: &Value, mut action: Value) {
        let (id, stamp) = (format!("envelope-{}", site::fresh()), format!("1503435957.{:06}", site::fresh()));
        action["action_ts"] = stamp.into();
        let payload = json!({
            "type": "block_actions",
            "user": { "id": user, "username": "someone", "team_id": "T1" },
            "team": { "id": "T1", "domain": "example" },
            "api_app_id": "A1",
            "container": { "type": "message", "message_ts": question["ts"], "channel_id": CONVERSATION },
            "response_url": "https://hooks.slack.com/actions/T1/1/x",
            "actions": [action],
        });
        let envelope = json!({ "type": "interactive", "envelope_id": id, "payload": payload });
        self.desk().clicks.push_back(envelope);
        wait_for("an acknowledgement", LIMIT, || self.desk().acknowledged.contains(&id).then_some(()));
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        lock(&self.desk)
    }
}

/// What can be clicked in a message.
#[track_caller]
fn elements(message: &Value) -> &[Value] {
    let blocks = message["blocks"].as_array().expect("blocks");
    let actions = blocks.iter().find(|block| block["type"] == "actions").expect("something to click");
    actions["elements"].as_array().expect("elements")
}

/// A method was called. What is posted gets an identity of its own, and no other can be changed.
fn called(desk: &Mutex<Desk>, socket: &str, request: &Request) -> Response {
    let method = request.path.trim_start_matches("/api/").to_owned();
    let opens = method == "apps.connections.open";
    let expected = format!("Bearer {}", if opens { APP_TOKEN } else { TOKEN });
    let mut desk = lock(desk);
    if request.headers.get("authorization") != Some(&expected) {
        desk.flaws.push(format!("another token: {request:?}"));
    }
    let mut arguments = request.json();
    let ts = match method.as_str() {
        "chat.postMessage" => json!(format!("1503435956.{:06}", desk.calls.len())),
        _ => arguments["ts"].clone(),
    };
    if method == "chat.update" && !desk.calls.iter().any(|(_, posted)| posted["ts"] == ts) {
        desk.flaws.push(format!("nothing was posted as {ts}"));
    }
    let reply = match opens {
        true => json!({ "ok": true, "url": socket }),
        false => json!({ "ok": true, "channel": CONVERSATION, "ts": ts }),
    };
    arguments["ts"] = ts;
    desk.calls.push((method, arguments));
    Response { status: 200, headers: vec![("Content-Type", "application/json".into())], body: reply.to_string() }
}

/// Sends the clicks and hears that they have come, until the other side is gone.
fn connection(stream: TcpStream, desk: &Mutex<Desk>) {
    let Ok(mut socket) = tungstenite::accept(stream) else { return };
    let _ = socket.get_ref().set_read_timeout(Some(LOOK));
    let hello = json!({ "type": "hello", "num_connections": 1, "connection_info": { "app_id": "A1" } });
    let mut going = socket.send(Message::text(hello.to_string())).is_ok();
    while going {
        let click = lock(desk).clicks.pop_front();
        let sent = click.is_none_or(|click| socket.send(Message::text(click.to_string())).is_ok());
        going = sent && hears(&mut socket, desk);
    }
}

/// What has come, if anything; whether the connection lives.
fn hears(socket: &mut WebSocket<TcpStream>, desk: &Mutex<Desk>) -> bool {
    match socket.read() {
        Ok(Message::Text(text)) => {
            let json: Value = serde_json::from_str(&text).unwrap_or_default();
            lock(desk).acknowledged.extend(json["envelope_id"].as_str().map(str::to_owned));
            true
        }
        Ok(_) => true,
        Err(tungstenite::Error::Io(error)) => {
            matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
        }
        Err(_) => false,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
