//! One function per command of the control socket.

use std::{
    io::{self, Write as _},
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::{
    holds::{View, details, resolve, table},
    status::lines,
};
use crate::{
    request::{End, HoldId, Word, shown},
    sockets::{
        Declined, Reloaded,
        client::{Client, Failure},
        message::{ControlReply, ControlRequest, word},
    },
};

/// `holdpoint holds`
pub(super) fn holds(socket: &Path, json: bool) -> Result<(), Failure> {
    let holds = all(&mut Client::connect(socket)?)?;
    if json {
        return print(&pretty(&Value::Array(holds)));
    }
    let views = holds.iter().map(View::read).collect::<Result<Vec<_>, _>>()?;
    print(&table(&views, Timestamp::now()))
}

/// `holdpoint show`
pub(super) fn show(socket: &Path, id: &str, json: bool) -> Result<(), Failure> {
    let hold = one(&mut Client::connect(socket)?, id)?;
    if json {
        return print(&pretty(&hold));
    }
    print(&details(&View::read(&hold)?, Timestamp::now(), &TimeZone::system()))
}

/// `holdpoint approve`, `holdpoint deny`: what is shown is what is answered, by its digest.
pub(super) fn answer(socket: &Path, id: &str, said: Word, why: Option<String>) -> Result<(), Failure> {
    let mut client = Client::connect(socket)?;
    let hold = View::read(&one(&mut client, id)?)?;
    print(&format!("{}  {} by {}\n", shown(&hold.id), shown(&hold.sentence), hold.user()))?;
    let id: HoldId = hold.id.parse().map_err(Declined::new)?;
    let question = ControlRequest::Answer { id, digest: hold.digest, word: said, why };
    print(&format!("{}\n", answered(&mut client, &question)?))
}

/// What stands once the agent has taken an answer.
pub(super) fn answered(client: &mut Client, answer: &ControlRequest) -> Result<String, Failure> {
    match client.ask(answer)? {
        ControlReply::Answered { end, by, repeated } => Ok(stands(end, by.as_deref(), repeated)),
        other => Err(unexpected(other)),
    }
}

fn stands(end: End, by: Option<&str>, repeated: bool) -> String {
    let by = by.map(|by| format!(" by {}", shown(by))).unwrap_or_default();
    let before = if repeated { " already; this answer changed nothing" } else { "" };
    format!("{}{by}{before}", word(end))
}

/// `holdpoint status`: whether it enforces.
pub(super) fn status(socket: &Path, json: bool) -> Result<bool, Failure> {
    match Client::connect(socket)?.ask(&ControlRequest::Status)? {
        ControlReply::Status(status) => {
            let text = if json { pretty(&serde_json::json!(status)) } else { lines(&status) };
            print(&text)?;
            Ok(status.enforcing)
        }
        other => Err(unexpected(other)),
    }
}

/// `holdpoint policy reload`
pub(super) fn reload(socket: &Path, json: bool) -> Result<(), Failure> {
    match Client::connect(socket)?.patient()?.ask(&ControlRequest::Reload)? {
        ControlReply::Reloaded(reloaded) if json => print(&pretty(&serde_json::json!(reloaded))),
        ControlReply::Reloaded(Reloaded { policy, before }) if policy == before => {
            print(&format!("policy {policy} is in force, as before\n"))
        }
        ControlReply::Reloaded(Reloaded { policy, before }) => {
            print(&format!("policy {policy} is in force; before it was {before}\n"))
        }
        other => Err(unexpected(other)),
    }
}

/// `holdpoint detach`: each pending hold is denied and seen off first, which takes its time.
pub(super) fn detach(socket: &Path) -> Result<(), Failure> {
    match Client::connect(socket)?.patient()?.ask(&ControlRequest::Detach)? {
        ControlReply::Detached => print("detached: nothing is governed any more\n"),
        other => Err(unexpected(other)),
    }
}

/// All pending holds.
pub(super) fn all(client: &mut Client) -> Result<Vec<Value>, Failure> {
    match client.ask(&ControlRequest::Holds)? {
        ControlReply::Holds { holds } => Ok(holds),
        other => Err(unexpected(other)),
    }
}

/// The hold that `text` names. A whole id is asked for as it is, so that the agent says what became of it.
pub(super) fn one(client: &mut Client, text: &str) -> Result<Value, Failure> {
    let id = match text.to_ascii_lowercase().parse() {
        Ok(id) => id,
        Err(_) => resolve(text, &all(client)?)?,
    };
    match client.ask(&ControlRequest::Show { id })? {
        ControlReply::Hold { hold } => Ok(hold),
        other => Err(unexpected(other)),
    }
}

pub(crate) fn unexpected(reply: ControlReply) -> Failure {
    match reply {
        ControlReply::Refused(refusal) => refusal.into(),
        _ => Declined::new("the agent replied to something else").into(),
    }
}

/// JSON in ASCII: outside ASCII are the characters that command a terminal or reorder text, and only strings
/// have any.
pub(crate) fn pretty(value: &Value) -> String {
    let mut text = String::new();
    for c in format!("{value:#}\n").chars() {
        if c.is_ascii() && c != '\u{7f}' {
            text.push(c);
        } else {
            text.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

/// Not `print!`, which panics when the reader has gone (`holdpoint holds | head`).
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Declined::new(format!("cannot write the result: {error}")).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_answer_is_said_to_change_nothing() {
        assert_eq!(stands(End::Approved, Some("bob"), false), "approved by bob");
        assert_eq!(stands(End::Denied, Some("bob"), true), "denied by bob already; this answer changed nothing");
    }

    #[test]
    fn json_commands_no_terminal_and_stays_the_same_json() {
        let value = serde_json::json!({ "path": "\u{1b}[2J\u{9b}\u{7f}\u{202e}ü\u{1f600}\n" });
        let text = pretty(&value);
        assert!(text.chars().all(|c| matches!(c, ' '..='~' | '\n')), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_reply_to_something_else_is_a_failure_and_a_refusal_is_itself() {
        assert_eq!(unexpected(ControlReply::Detached).to_string(), "the agent replied to something else");
        assert_eq!(unexpected(ControlReply::Refused(Declined::new("late"))).to_string(), "late");
    }
}
