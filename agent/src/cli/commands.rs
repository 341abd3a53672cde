//! One function per command of the control socket.

use std::{
    io::{self, Write as _},
    path::Path,
};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::{
    holds::{View, details, resolve, table},
    signing::Signing,
    status::lines,
};
use crate::{
    request::{End, HoldId, Word, shown},
    scope::Scope,
    signature,
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

/// Which calls an answer may be for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// One: whoever names a hold is not to decide others by that.
    One,
    /// All that the question is about.
    All,
}

/// `holdpoint approve`, `holdpoint deny`: what is shown is what is answered, by its digest.
pub(super) fn answer(
    socket: &Path,
    id: &str,
    (said, scope): (Word, Scope),
    why: Option<String>,
    signing: &Signing,
    calls: Calls,
    json: bool,
) -> Result<(), Failure> {
    let hold = View::read(&one(&mut Client::connect(socket)?, id)?)?;
    let line = format!("{}  {} by {}\n", shown(&hold.id), hold.line(), hold.user());
    if json || signing.statement {
        eprint!("{line}")
    } else {
        print(&line)?
    }
    if calls == Calls::One {
        hold.is_one_call()?;
    }
    let id: HoldId = hold.id.parse().map_err(Declined::new)?;
    let statement = signature::statement(id, &hold.digest, said, scope);
    if signing.statement {
        return print(&statement);
    }
    let signature = signing.of(&statement)?;
    let question = ControlRequest::Answer { id, digest: hold.digest, word: said, scope, why, signature };
    // Another connection: the agent does not wait until somebody has found a passphrase.
    let reply = answered(&mut Client::connect(socket)?, &question)?;
    let text = if json { pretty(&reply.value(id)) } else { format!("{}\n", reply.sentence()) };
    print(&text)
}

/// What came of an answer that the agent has taken.
pub(super) enum Taken {
    /// It decides, or repeats what was decided.
    Stands { end: End, by: Option<String>, repeated: bool },
    /// It counts, and these must approve, too.
    Counts { missing: String },
}

/// What comes of `answer`.
pub(super) fn answered(client: &mut Client, answer: &ControlRequest) -> Result<Taken, Failure> {
    match client.ask(answer)? {
        ControlReply::Answered { end, by, repeated } => Ok(Taken::Stands { end, by, repeated }),
        ControlReply::Counted { missing } => Ok(Taken::Counts { missing }),
        other => Err(unexpected(other)),
    }
}

impl Taken {
    /// In words.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Counts { missing } => format!("it counts; still needed: {}", shown(missing)),
            Self::Stands { end, by, repeated } => {
                let by = by.as_ref().map(|by| format!(" by {}", shown(by))).unwrap_or_default();
                let before = if *repeated { " already; this answer changed nothing" } else { "" };
                format!("{}{by}{before}", word(*end))
            }
        }
    }

    fn value(&self, hold: HoldId) -> Value {
        match self {
            Self::Counts { missing } => serde_json::json!({ "hold": hold, "end": null, "missing": missing }),
            Self::Stands { end, by, repeated } => {
                serde_json::json!({ "hold": hold, "end": end, "by": by, "repeated": repeated })
            }
        }
    }
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
        let stands = |end, repeated| Taken::Stands { end, by: Some("bob".into()), repeated }.sentence();
        assert_eq!(stands(End::Approved, false), "approved by bob");
        assert_eq!(stands(End::Denied, true), "denied by bob already; this answer changed nothing");
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
