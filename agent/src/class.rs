//! When two requests ask for the same: what a grant is for besides the call that was shown. Pure.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::request::{Hold, Operation, Request, hashed, without};

/// What differs between two calls that ask for the same. Everything else counts: a field that is new counts, too, and then
/// there is one question more.
///
/// - `pid`, `tid`, `started`: which process and thread of the tree asks. Who that is as a user and a login counts.
/// - `at`: when.
/// - `size` (not that in `content`, which counts): of a file that is neither read nor emptied, so that who may append to it may
///   do so again.
const INCIDENTAL: [&str; 5] = ["pid", "tid", "started", "at", "size"];

/// SHA-256 over the canonical description of a request without what is [`INCIDENTAL`], in hexadecimal. The same in one tree,
/// under one policy only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Class(String);

impl Class {
    /// That of `request`. None if its description does not say all that the kernel binds an approval to: then two that look
    /// alike may be about different things.
    pub fn of(request: &Request) -> Option<Self> {
        let fields = without(request, &INCIDENTAL);
        is_all_told(&request.what, &fields).then(|| Self(hashed(fields)))
    }
}

/// Whether these `fields` of a description of `what`, or of the request for it, leave no doubt: two that look alike are the same.
pub fn is_all_told(what: &Operation, fields: &Value) -> bool {
    is_told_whole(what) && !is_unclear(fields)
}

/// Whether the operation is described by all that it is: of what has no inode yet, the directory is not; of names, neither; of
/// an address that is good on one interface only, the interface is not.
fn is_told_whole(what: &Operation) -> bool {
    match what {
        Operation::Exec { .. } => true,
        Operation::Open { object, .. } => object.inode != 0,
        Operation::Connect { address: IpAddr::V6(address), .. } => {
            !address.is_unicast_link_local() && !address.is_multicast()
        }
        Operation::Connect { .. } => true,
        Operation::File { .. } | Operation::System { .. } => false,
    }
}

/// Whether some text is not all there, or not as the bytes are.
fn is_unclear(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(char::REPLACEMENT_CHARACTER) || text.starts_with('…'),
        Value::Array(list) => list.iter().any(is_unclear),
        Value::Object(fields) => fields.values().any(is_unclear),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Hold {
    /// What other requests are the same as this one: [`Class::of`] what was asked, with its secrets. What has no class has none
    /// by what is shown of it either, since no mask covers what is unclear. None where the rule asks what was read before: of each
    /// label the first file alone is known, and what else was read is what the question is about.
    pub fn class(&self) -> Option<Class> {
        let class = || self.class.clone().or_else(|| Class::of(&self.request));
        if self.if_read.is_empty() { class() } else { None }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;

    use super::*;
    use crate::request::{Content, HoldId, Login, Object, sample};

    fn request() -> Request {
        sample::hold(HoldId(7)).request
    }

    fn doing(what: Operation) -> Request {
        Request { what, ..request() }
    }

    fn content(size: u64) -> Option<Content> {
        Some(Content { size, modified: "m".into(), changed: "c".into(), version: 1 })
    }

    fn open(path: &str, inode: u64, content: Option<Content>, size: u64) -> Request {
        doing(Operation::Open {
            path: path.into(),
            access: vec!["read"],
            flags: 0,
            object: Object { device: 1, inode },
            content,
            length: None,
            owner: None,
            mode: None,
            size: Some(size),
        })
    }

    fn exec(argv: &[&str], directory: u64) -> Request {
        doing(Operation::Exec {
            path: "/bin/x".into(),
            check: false,
            filename: "x".into(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            cut: false,
            masked: 0,
            object: Object { device: 1, inode: 2 },
            directory: Object { device: 1, inode: directory },
            content: content(1),
        })
    }

    #[test]
    fn another_process_that_asks_for_the_same_later_is_of_the_class() {
        let later = request().at + 1.hour();
        let other = Request { pid: 7, tid: 8, started: 9, at: later, ..request() };
        assert!(Class::of(&request()).is_some());
        assert_eq!(Class::of(&request()), Class::of(&other));
        assert_eq!(Class::of(&open("/a", 1, None, 5)), Class::of(&open("/a", 1, None, 6)), "it was appended to");
    }

    #[test]
    fn whoever_asks_otherwise_is_not() {
        let login = Login { uid: 1, user: None, session: 2 };
        let name = || "other".to_owned();
        let others = [
            Request { tree: name(), ..request() },
            Request { subject: name(), ..request() },
            Request { rule: Some(name()), ..request() },
            Request { policy: name(), ..request() },
            Request { uid: 0, ..request() },
            Request { gid: 0, ..request() },
            Request { launcher: 0, ..request() },
            Request { login: Some(login.clone()), ..request() },
            Request { login: Some(Login { session: 3, ..login }), ..request() },
        ];
        let mut classes: Vec<_> = others.iter().chain([&request()]).map(Class::of).collect();
        let count = classes.len();
        classes.sort();
        classes.dedup();
        assert_eq!(classes.len(), count);
    }

    #[test]
    fn another_object_or_content_or_argument_or_place_is_not() {
        let file = Class::of(&open("/a", 1, content(5), 5));
        for other in
            [open("/b", 1, content(5), 5), open("/a", 2, content(5), 5), open("/a", 1, content(6), 6), exec(&["x"], 1)]
        {
            assert_ne!(Class::of(&other), file);
        }
        let program = Class::of(&exec(&["x", "1"], 1));
        for other in [exec(&["x", "2"], 1), exec(&["x"], 1), exec(&["x", "1", ""], 1), exec(&["x", "1"], 2)] {
            assert_ne!(Class::of(&other), program);
        }
    }

    #[test]
    fn where_the_rule_asks_what_was_read_there_is_no_class() {
        let hold = sample::hold(HoldId(7));
        assert!(hold.class().is_some());
        assert_eq!(Hold { if_read: vec!["data".into()], ..hold }.class(), None);
    }

    #[test]
    fn what_is_not_told_whole_has_no_class() {
        let connect = |address: &str| {
            let (address, protocol) = (address.parse().unwrap(), "tcp".into());
            doing(Operation::Connect { address, port: 1, protocol, names: vec![] })
        };
        for address in ["192.0.2.1", "2001:db8::1", "::1"] {
            assert!(Class::of(&connect(address)).is_some(), "{address}");
        }
        for other in [
            connect("fe80::1"),
            connect("ff02::1"),
            open("/new", 0, None, 0),
            open("…/deep", 1, None, 0),
            open("/a\u{fffd}", 1, None, 0),
            exec(&["x", "\u{fffd}"], 1),
            doing(Operation::System { system: "signal", detail: 0, process: Some(7) }),
            doing(Operation::File {
                action: "connect to",
                path: Some("/run/docker.sock".into()),
                target: None,
                exchange: false,
                replaces: false,
                mode: None,
                owner: None,
                group: None,
                object: Object { device: 1, inode: 2 },
                kind: Some("socket"),
                content: None,
                target_content: None,
            }),
        ] {
            assert_eq!(Class::of(&other), None, "{other:?}");
        }
    }
}
