//! Answers by the thousand, and more: the lines that `holdpoint holds`, `holdpoint approve` and `holdpoint policy reload` send,
//! on one connection. A process of the command line for each would take hours.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
};

use serde_json::{Value, json};

use crate::Hold;

/// Where the agent listens for them.
const SOCKET: &str = "/run/holdpoint/control";

/// A reviewer on the host: root.
#[derive(Debug)]
pub struct Control {
    stream: BufReader<UnixStream>,
}

impl Control {
    /// Connects.
    ///
    /// # Panics
    /// If there is no agent.
    pub fn connect() -> Self {
        Self { stream: BufReader::new(UnixStream::connect(SOCKET).expect("connect to the agent")) }
    }

    /// All that is held now.
    pub fn holds(&mut self) -> Vec<Hold> {
        let reply = self.ask(&json!({ "ask": "holds" }));
        let holds = reply["holds"].as_array().unwrap_or_else(|| panic!("no holds: {reply}"));
        holds.iter().cloned().map(Hold).collect()
    }

    /// Says `word` about what the hold shows; false if that came too late.
    pub fn answer(&mut self, hold: &Hold, word: &str) -> bool {
        let (id, digest) = (hold.id(), hold.digest());
        let reply = self.ask(&json!({ "ask": "answer", "id": id, "digest": digest, "word": word, "why": null }));
        reply["reply"] == "answered"
    }

    /// Has the policy read anew; true if it is in force.
    pub fn reload(&mut self) -> bool {
        self.ask(&json!({ "ask": "reload" }))["reply"] == "reloaded"
    }

    fn ask(&mut self, body: &Value) -> Value {
        let line = format!("{}\n", json!({ "version": 1, "body": body }));
        self.stream.get_mut().write_all(line.as_bytes()).expect("ask the agent");
        let mut reply = String::new();
        self.stream.read_line(&mut reply).expect("hear the agent");
        let mut reply: Value = serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
        reply["body"].take()
    }
}
