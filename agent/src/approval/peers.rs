//! Channels and the protocols' own libraries: scripts of `tests/peers` read what is sent, click and answer.
//!
//! `cargo xtask test --only peers` installs the libraries and runs these tests, which the others leave out.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::{
    callback::Callbacks,
    hostile::{hostile, longest, messages},
    slack, teams, *,
};
use crate::{
    config,
    holds::{Effect, Holds, Input, Ticket},
    identity,
    policy::Person,
    quorum::Assurance,
    request::{End, sample},
    scope::Scope,
};

const HOLD: HoldId = HoldId(7);
/// Time for a script to do all that it does.
const PATIENCE: Duration = Duration::from_secs(120);

/// A script of `tests/peers`, under way.
pub(crate) struct Peer {
    script: Child,
    hears: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts it with the Python that has the libraries.
    pub(crate) fn start(script: &str) -> Self {
        let python = std::env::var_os("HOLDPOINT_PEERS")
            .expect("HOLDPOINT_PEERS names no Python with the peers' libraries: use cargo xtask test --only peers");
        let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/peers")).join(script);
        let started = Command::new(python)
            .args(["-E", "-B"])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut script = started.expect("HOLDPOINT_PEERS can be run");
        let (hears, says) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        Self { script, hears, says: BufReader::new(says).lines() }
    }

    /// Tells it something.
    pub(crate) async fn tell(&mut self, what: &Value) {
        self.hears.write_all(format!("{what}\n").as_bytes()).await.expect("it reads to the end");
    }

    /// What it says next.
    pub(crate) async fn says(&mut self) -> String {
        timeout(PATIENCE, self.says.next_line()).await.expect("in time").unwrap().expect("it says something")
    }

    /// There is nothing more to tell, and it finds everything as it must be.
    pub(crate) async fn ends_well(self) {
        let Self { mut script, hears, says } = self;
        drop(hears);
        let status = timeout(PATIENCE, script.wait()).await.expect("in time").unwrap();
        drop(says);
        assert!(status.success(), "what it found is above: {status}");
    }
}

/// Shows `script` what `body` makes of each message about a hostile text.
async fn shown_to(script: &str, body: impl Fn(&channel::Message) -> Value) {
    let mut peer = Peer::start(script);
    let plain: Vec<_> = messages("plain").iter().map(&body).collect();
    let about = hostile().into_iter().map(|text| (text.clone(), messages(&text)));
    for (text, messages) in about.chain(longest()) {
        for (message, plain) in messages.iter().zip(&plain) {
            peer.tell(&json!({ "text": text, "plain": plain, "sent": body(message) })).await;
        }
    }
    peer.ends_well().await;
}

#[tokio::test]
#[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
async fn slack_sdk_reads_every_message_as_text() {
    shown_to("slack_messages.py", slack::blocks::message).await;
}

#[tokio::test]
#[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
async fn a_library_of_adaptive_cards_reads_every_card_as_text() {
    let page = "https://review.example/holds".parse().unwrap();
    shown_to("teams_cards.py", |message| teams::body(message, Some(&page))).await;
}

/// Whom the policy would know: alice, by her user of Slack and as the webhook names her.
fn people() -> Vec<Person> {
    let integrations = [("ops".to_owned(), Assurance::Basic)].into();
    vec![Person { name: "alice".into(), slack: vec!["T1/U1".into()], integrations, ..Person::default() }]
}

/// The agent without a kernel: a configuration, its channels and listener, and the loop between them.
struct Agent {
    approval: Approval,
    holds: Holds,
    answers: mpsc::Receiver<Submission>,
    record: mpsc::Receiver<Entry>,
    listener: String,
}

/// A directory for a configuration and its secrets, gone at the end of the test.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdpoint-peers-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A file that nobody else can read, with the directory's path for `@` in it.
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.write_all(content.replace('@', &self.0.display().to_string()).as_bytes()).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Agent {
    /// With this channel besides a listener of its own; `peer`, which is its other side, says where it is.
    async fn start(place: &Place, peer: &mut Peer, channel: &str) -> Self {
        let channel = channel.replace("URL", &peer.says().await);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let file = place.file("config.toml", &format!("[listener]\naddress = \"{address}\"\n\n{channel}"));
        let (config, _) = config::load(&file, None).unwrap();
        let (submit, answers) = mpsc::channel(16);
        let (note, record) = mpsc::channel(64);
        tokio::spawn(Callbacks::new(&config, submit.clone(), note.clone()).serve(listener));
        let approval = Approval::new(&config, "host-1".into(), submit, note);
        approval.listen();
        Self { approval, holds: Holds::default(), answers, record, listener: format!("http://{address}") }
    }

    /// Holds the sample's connection until `peer` has done what it does.
    async fn hold(&mut self, peer: Peer) {
        let scopes = vec![Scope::Process, Scope::Tree, Scope::Time(1800)];
        let hold = Box::new(Hold { scopes, ..sample::hold(HOLD) });
        self.on(Input::Held { hold, kernel: None, passed: false, recorded: None }, None);
        let mut ended = Box::pin(peer.ends_well());
        loop {
            tokio::select! {
                () = &mut ended => return,
                submission = self.answers.recv() => {
                    let Submission { mut answer, reply } = submission.expect("not closed");
                    match identity::identify(&people(), &mut answer) {
                        Ok(()) => self.on(Input::Answered { answer, ticket: Ticket(1) }, Some(reply)),
                        Err(refusal) => reply.send(Err(refusal)).unwrap(),
                    }
                }
            }
        }
    }

    /// As the agent's loop does, on a host where every line of the record gets to the disk.
    fn on(&mut self, input: Input, mut reply: Option<oneshot::Sender<Result<Outcome, Refusal>>>) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.holds.on(sample::start(), input) {
                match effect {
                    Effect::Ask(hold) => self.approval.ask(sample::start(), &hold),
                    Effect::Tell { hold, standing } => self.approval.tell(sample::start(), &hold, &standing),
                    Effect::Record(entry) => inputs.extend(entry.decides().map(Input::Recorded)),
                    Effect::Reply { result, .. } => reply.take().unwrap().send(result).unwrap(),
                    _ => {}
                }
            }
        }
    }

    /// Alice has approved, and what was refused before it was an answer is on record.
    fn check(&mut self, refusals: &[&str]) {
        let standing = self.holds.standing(HOLD).expect("decided");
        assert_eq!((standing.state, standing.by.as_deref()), (End::Approved, Some("alice")));
        let mut found = vec![];
        while let Ok(Entry { event, .. }) = self.record.try_recv() {
            match event {
                Event::RefusedAnswer { refusal, .. } => found.push(refusal),
                Event::Asked { attempts: 1, .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(found, refusals);
    }
}

#[tokio::test]
#[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
async fn what_slack_sdk_signs_is_a_click_once_and_in_time() {
    const TOKEN: &str = "xoxb-1";
    const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
    let place = Place::new("slack");
    place.file("token", TOKEN);
    place.file("secret", SECRET);
    let mut peer = Peer::start("slack_workspace.py");
    let channel = r#"
        [[channel]]
        name = "team"
        kind = "slack"
        channel = "C1"
        token_file = "@/token"
        secret_file = "@/secret"
        api = "URL/api"
        reviewers = ["security"]
    "#;
    let mut agent = Agent::start(&place, &mut peer, channel).await;
    let listener = format!("{}/v1/slack/team", agent.listener);
    peer.tell(&json!({ "listener": listener, "token": TOKEN, "secret": SECRET })).await;
    agent.hold(peer).await;
    agent.check(&[
        "bad signature",
        "old timestamp",
        "old timestamp",
        "bad signature",
        "clicked in another conversation",
        "malformed: not our button",
        "malformed: not our button",
        "malformed: not our button",
        "replayed",
    ]);
}

#[tokio::test]
#[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
async fn what_slack_sdk_sends_by_a_socket_is_a_click_once_and_is_acknowledged() {
    const TOKEN: &str = "xoxb-1";
    const APP_TOKEN: &str = "xapp-1";
    let place = Place::new("socket");
    place.file("token", TOKEN);
    place.file("app", APP_TOKEN);
    let mut peer = Peer::start("slack_socket.py");
    let channel = r#"
        [[channel]]
        name = "team"
        kind = "slack"
        channel = "C1"
        token_file = "@/token"
        app_token_file = "@/app"
        api = "URL/api"
        reviewers = ["security"]
    "#;
    let mut agent = Agent::start(&place, &mut peer, channel).await;
    peer.tell(&json!({ "token": TOKEN, "app_token": APP_TOKEN })).await;
    assert_eq!(peer.says().await, "connected");
    agent.hold(peer).await;
    agent.check(&[
        "clicked in another conversation",
        "malformed: not our button",
        "malformed: not our button",
        "replayed",
        "replayed",
    ]);
}

#[tokio::test]
#[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
async fn the_library_of_standard_webhooks_verifies_and_answers() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let place = Place::new("webhook");
    place.file("secret", SECRET);
    let mut peer = Peer::start("webhook_reviewer.py");
    let channel = r#"
        [[channel]]
        name = "ops"
        kind = "webhook"
        url = "URL/hook"
        secret_file = "@/secret"
        reviewers = ["security"]
    "#;
    let mut agent = Agent::start(&place, &mut peer, channel).await;
    peer.tell(&json!({ "secret": SECRET })).await;
    agent.hold(peer).await;
    agent.check(&["bad signature", "bad signature", "old timestamp", "old timestamp"]);
}

#[tokio::test]
#[ignore = "needs the peers' libraries: cargo xtask test --only peers"]
async fn the_library_of_standard_webhooks_verifies_who_looks_for_answers_and_signs_them() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let place = Place::new("relay");
    place.file("secret", SECRET);
    let mut peer = Peer::start("webhook_relay.py");
    let channel = r#"
        [[channel]]
        name = "ops"
        kind = "webhook"
        url = "URL/hook"
        decision_url = "URL/decisions/{hold}"
        secret_file = "@/secret"
        reviewers = ["security"]
    "#;
    let mut agent = Agent::start(&place, &mut peer, channel).await;
    peer.tell(&json!({ "secret": SECRET })).await;
    agent.hold(peer).await;
    agent.check(&[
        "a webhook header is missing or malformed",
        "bad signature",
        "old timestamp",
        "malformed: another hold than is asked about",
    ]);
}
