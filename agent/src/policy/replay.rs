//! Requests from the agent's record, to be asked again of another policy.

use std::{collections::BTreeMap, net::IpAddr};

use holdpoint_common::request::{Action, Class};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use super::{
    asked::{self, Asked, What},
    only::User,
    parse::rule,
};

/// A line of the record.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Somebody asked for this.
    Asks(Box<Asked>),
    /// Somebody asked for something that takes more to judge than the record has: two names (rename, link), or none; or
    /// arguments of which it has not all, or not all that was in them.
    CannotBeAsked,
    /// It is about something else.
    SomethingElse,
}

/// The record, line by line.
#[derive(Default)]
pub struct Replay {
    /// The labels that each tree carries. Which of its processes has one for itself is not told apart.
    labels: BTreeMap<String, Vec<String>>,
}

impl Replay {
    /// What the next line says, see [`crate::record::entry::Event`].
    pub fn line(&mut self, line: &Value) -> Line {
        let request = match line["event"].as_str() {
            Some("held") => &line["request"],
            Some("audited" | "denied" | "killed" | "not-held") => line,
            Some("labelled") => {
                self.labelled(line);
                return Line::SomethingElse;
            }
            _ => return Line::SomethingElse,
        };
        let cwd = line["cwd"].as_str().and_then(|cwd| asked::path(cwd).ok());
        match self.asked(request) {
            Some(asked) => Line::Asks(Box::new(Asked { cwd, ..asked })),
            None => Line::CannotBeAsked,
        }
    }

    fn labelled(&mut self, reading: &Value) {
        if let (Some(tree), Some(label)) = (reading["tree"].as_str(), reading["label"].as_str()) {
            self.labels.entry(tree.to_owned()).or_default().push(label.to_owned());
        }
    }

    fn asked(&self, request: &Value) -> Option<Asked> {
        let labels = request["tree"].as_str().and_then(|tree| self.labels.get(tree));
        Some(Asked { read: labels.cloned().unwrap_or_default(), ..asked(request)? })
    }
}

fn asked(request: &Value) -> Option<Asked> {
    let number = |key: &str| request[key].as_u64().and_then(|number| u32::try_from(number).ok());
    let at: Timestamp = request["at"].as_str()?.parse().ok()?;
    Some(Asked {
        subject: request["subject"].as_str()?.to_owned(),
        user: Some(User::Number(number("uid")?)),
        login: request["login"]["uid"].as_u64().and_then(|uid| uid.try_into().ok()).map(User::Number),
        groups: number("gid").map(User::Number).into_iter().collect(),
        cwd: None,
        at: asked::minute(&at.to_zoned(TimeZone::system())),
        read: Vec::new(),
        what: what(request)?,
    })
}

/// What was asked for; none if it takes more to judge than the record has.
pub fn what(request: &Value) -> Option<What> {
    let word = |key: &str| request[key].as_str();
    match word("operation")? {
        "exec" if request.get("masked").is_some() => None,
        "exec" => file(request, Class::Exec.bit(), arguments(request)?),
        "open" => {
            let bits = request["access"].as_array()?.iter().map(|word| rule::access(word.as_str()?).ok());
            file(request, asked::access(bits.collect::<Option<Vec<_>>>()?.into_iter()), Vec::new())
        }
        "file" if request["action"] == "connect" => {
            Some(What::Socket { path: asked::path(word("path")?).ok()?, owner: None, mode: 0 })
        }
        "file" => file(request, access_of(word("action")?)?, Vec::new()),
        "connect" => Some(What::Connect {
            to: word("address")?.parse::<IpAddr>().ok()?,
            port: request["port"].as_u64()?.try_into().ok()?,
            protocol: asked::protocol(word("protocol")?).ok()?,
            names: names(request),
        }),
        "system" => Some(What::System(rule::operation(word("system")?).ok()?)),
        _ => None,
    }
}

fn names(request: &Value) -> Vec<String> {
    request["names"].as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// The arguments of an exec, without the name that the program was given, as the record has them: secrets may be masked. None if
/// it does not have them all.
pub fn arguments(request: &Value) -> Option<Vec<String>> {
    let argv = request["argv"].as_array().filter(|argv| !argv.is_empty() && request["cut"] != true)?;
    argv.iter().skip(1).map(|word| word.as_str().map(str::to_owned)).collect()
}

fn file(request: &Value, access: u32, args: Vec<String>) -> Option<What> {
    let mode = if request["operation"] == "open" { request["mode"].as_u64() } else { None };
    Some(What::File {
        path: asked::path(request["path"].as_str()?).ok()?,
        access,
        args,
        owner: request["owner"].as_str().filter(|_| mode.is_some()).and_then(|owner| User::parse(owner).ok()),
        mode: mode.unwrap_or(0).try_into().ok()?,
    })
}

/// The access that something done to one name asks for.
fn access_of(action: &str) -> Option<u32> {
    let action = Action::ALL.into_iter().find(|known| known.word() == action)?;
    match action {
        // A connection is no access to a file.
        Action::Link | Action::Rename | Action::Connect => None,
        Action::Unlink | Action::Rmdir | Action::Mkdir | Action::Symlink => Some(Class::REPLACING),
        Action::Overwrite => Some(Class::WRITING),
        Action::Chmod | Action::Chown | Action::Xattr | Action::Receive | Action::Map | Action::Times => {
            Some(Class::OPENING)
        }
    }
}
