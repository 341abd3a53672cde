//! What reviewers are sent: `holdpoint.request.created`, `holdpoint.request.reminded` and `holdpoint.request.ended`.
//!
//! A message stays below 20 kB. What does not fit is shortened, says so where it was cut, and sets
//! `data.cut`. The operation is cut only where it is too long by itself ([`is_whole`], `data.whole`), whatever there is beside
//! it: then nobody approves it by what this message shows. The digest is over the whole request, and `holdpoint show ID` on the
//! host shows it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::request::{Hold, Operation, Process, Standing};

/// Size of a message, in bytes, that every receiver takes.
const LONGEST: usize = 20_000;
/// Size of what an answer is about, in bytes of JSON, up to which it is shown whole: with the least of everything else it fits.
const WHOLE: usize = 10_000;
/// Characters of the sentence that there is always room for.
const SUMMARY: usize = 80;

/// The type of a question that is asked for the first time.
pub(super) const CREATED: &str = "holdpoint.request.created";
/// Of one that is asked again, since nobody has decided.
pub(super) const REMINDED: &str = "holdpoint.request.reminded";

/// Where the reader can go.
#[derive(Clone, Copy, Default)]
pub(super) struct Urls<'a> {
    /// With a signed answer.
    pub callback: Option<&'a str>,
    /// To the page of the hold.
    pub review: Option<&'a str>,
}

/// How much is shown.
#[derive(Clone, Copy)]
struct Room {
    /// Of the operation, the calls that it is of, and the rule, where these are not shown whole: characters of a text, elements
    /// of a list.
    operation: (usize, usize),
    /// Of the sentence, the process and its ancestry.
    context: (usize, usize),
    /// How many ancestors.
    ancestors: usize,
}

/// From everything to what always fits: a character takes at most 6 bytes in JSON.
const ROOMS: [Room; 5] = [
    Room { operation: (usize::MAX, usize::MAX), context: (usize::MAX, usize::MAX), ancestors: usize::MAX },
    Room { operation: (usize::MAX, usize::MAX), context: (200, 16), ancestors: 16 },
    Room { operation: (4_000, 256), context: (80, 4), ancestors: 4 },
    Room { operation: (500, 16), context: (80, 2), ancestors: 2 },
    Room { operation: (60, 6), context: (20, 1), ancestors: 1 },
];

/// The question: everything that a reviewer needs to decide. `kind` is [`CREATED`] or [`REMINDED`].
pub(super) fn asking(kind: &str, now: Timestamp, host: &str, hold: &Hold, urls: Urls<'_>, test: bool) -> Vec<u8> {
    let mut body = vec![];
    for room in ROOMS {
        let question = question(host, hold, urls, room);
        body = envelope(kind, now, marked(question, test));
        if body.len() < LONGEST {
            break;
        }
    }
    body
}

/// Whether its questions show all that an approval is about.
pub fn is_whole(hold: &Hold) -> bool {
    what(hold).to_string().len() <= WHOLE
}

/// What an approval is about.
fn what(hold: &Hold) -> Value {
    let request = &hold.request;
    let mut what = json!({
        "operation": operation(&request.what),
        "subject": request.subject,
        "rule": request.rule,
        "why": request.why,
    });
    if !hold.carried.is_empty() {
        what["carried"] = json!(hold.carried);
    }
    if !hold.same.is_empty() {
        what["same"] = json!(hold.same);
    }
    what
}

/// The end of the matter: how, and by whom.
pub(super) fn ended(now: Timestamp, host: &str, hold: &Hold, standing: &Standing, test: bool) -> Vec<u8> {
    let mut summary = json!(hold.sentence());
    shorten(&mut summary, (500, 0));
    let data = json!({
        "hold": hold.id,
        "digest": hold.digest,
        "host": host,
        "summary": summary,
        "state": standing.state,
        "decision": crate::request::word(standing.decision),
        "by": standing.by,
    });
    envelope("holdpoint.request.ended", now, marked(data, test))
}

/// The data, saying so if it is a test: nothing is held.
fn marked(mut data: Value, test: bool) -> Value {
    if test {
        data["test"] = true.into();
    }
    data
}

fn envelope(kind: &str, now: Timestamp, data: Value) -> Vec<u8> {
    json!({ "type": kind, "timestamp": now, "data": data }).to_string().into_bytes()
}

fn question(host: &str, hold: &Hold, urls: Urls<'_>, room: Room) -> Value {
    let request = &hold.request;
    let (mut what, whole) = (what(hold), is_whole(hold));
    let mut context = json!({
        "reviewers": hold.reviewers,
        "process": process(hold),
        "ancestry": hold.context.ancestry.iter().skip(1).take(room.ancestors).collect::<Vec<_>>(),
    });
    if !hold.scopes.is_empty() {
        context["scopes"] = json!(hold.scopes);
    }
    if !hold.read.is_empty() {
        context["read"] = json!(hold.read);
    }
    if !hold.escalation.is_empty() {
        context["escalation"] = json!(hold.escalation);
    }
    if !hold.before.is_empty() {
        context["before"] = json!(hold.before);
    }
    if !hold.claims.is_empty() {
        context["claims"] = json!(hold.claims);
    }
    let mut summary = json!(hold.sentence());
    let mut cut = shorten(&mut summary, (room.context.0.max(SUMMARY), 0));
    cut |= shorten(&mut context, room.context);
    cut |= !whole && shorten(&mut what, room.operation);
    let ancestors = hold.context.ancestry.len().saturating_sub(1);
    cut |= ancestors > room.ancestors;
    let mut data = json!({
        "hold": hold.id,
        "digest": hold.digest,
        "host": host,
        "tree": request.tree,
        "policy": request.policy,
        "assurance": hold.assurance,
        "launcher": { "uid": request.launcher, "user": hold.launcher_name },
        "ancestors_left_out": ancestors.saturating_sub(room.ancestors),
        "asked_at": request.at,
        "deadline": hold.deadline,
        "callback_url": urls.callback,
        "self": hold.own,
        "summary": summary,
        "cut": cut,
        "whole": whole,
    });
    if let Some(review) = urls.review {
        data["review_url"] = json!(review);
    }
    for part in [what, context] {
        let (Value::Object(data), Value::Object(part)) = (&mut data, part) else { continue };
        data.extend(part);
    }
    data
}

/// The operation with its objects; which operation it is stands in `kind`.
fn operation(what: &Operation) -> Value {
    let mut value = json!(what);
    if let Some(fields) = value.as_object_mut()
        && let Some(kind) = fields.remove("operation")
    {
        fields.insert("kind".into(), kind);
    }
    value
}

fn process(hold: &Hold) -> Value {
    let Process { exe, argv, .. } = hold.context.ancestry.first().cloned().unwrap_or_default();
    let request = &hold.request;
    json!({
        "pid": request.pid,
        "tid": request.tid,
        "uid": request.uid,
        "gid": request.gid,
        "user": hold.user,
        "login": request.login,
        "exe": exe,
        "argv": argv,
        "cwd": hold.context.cwd,
        "unit": hold.context.unit,
    })
}

/// Shortens every text and every list in `value`; says in their place how much is missing. Whether it did.
fn shorten(value: &mut Value, (characters, elements): (usize, usize)) -> bool {
    match value {
        Value::String(text) => {
            let all = text.chars().count();
            if all > characters {
                let shown: String = text.chars().take(characters).collect();
                *text = format!("{shown}…, {} more characters", all - characters);
            }
            all > characters
        }
        Value::Array(list) => {
            let more = list.len().saturating_sub(elements);
            list.truncate(elements);
            let cut = list.iter_mut().fold(false, |cut, it| cut | shorten(it, (characters, elements)));
            if more > 0 {
                list.push(format!("…, {more} more").into());
            }
            cut || more > 0
        }
        Value::Object(fields) => fields.values_mut().fold(false, |cut, it| cut | shorten(it, (characters, elements))),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
