//! `holdpoint grants` and `holdpoint revoke`: approvals that stand for more than one call.

use std::path::Path;

use jiff::{Timestamp, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    commands::{pretty, print, unexpected},
    holds::{field, moment_text, named},
};
use crate::{
    holds::grants::OneProcess,
    request::{HoldId, shown, span},
    sockets::{
        Declined, Which,
        client::{Client, Failure},
        message::{ControlReply, ControlRequest, tree_number, tree_text},
    },
};

/// What the client reads of a grant.
#[derive(Debug, Deserialize)]
struct View {
    grant: HoldId,
    what: String,
    tree: String,
    subject: String,
    rule: Option<String>,
    process: Option<OneProcess>,
    by: String,
    since: Timestamp,
    until: Option<Timestamp>,
    uses: u64,
    last_use: Option<Timestamp>,
}

/// `holdpoint grants`
pub(super) fn grants(socket: &Path, json: bool) -> Result<(), Failure> {
    let grants = all(&mut Client::connect(socket)?)?;
    if json {
        return print(&pretty(&Value::Array(grants)));
    }
    let read = |grant: &Value| {
        View::deserialize(grant)
            .map_err(|error| Declined::new(format!("the agent sent a grant that is not one: {error}")))
    };
    let views = grants.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    print(&listed(&views, Timestamp::now(), &TimeZone::system()))
}

/// `holdpoint revoke`: the grant that `id` begins, those of a tree, or all.
pub(super) fn revoke(
    socket: &Path,
    id: Option<&str>,
    tree: Option<&str>,
    why: Option<String>,
    json: bool,
) -> Result<(), Failure> {
    let mut client = Client::connect(socket)?;
    let which = match (id, tree) {
        (Some(id), _) => {
            let grants = all(&mut client)?;
            let ids = grants.iter().filter_map(|grant| grant["grant"].as_str());
            Which::One(named(id, ids, "grant")?)
        }
        (None, Some(tree)) => Which::Tree(tree_text(tree_number(&tree.to_ascii_lowercase())?)),
        (None, None) => Which::All,
    };
    match client.ask(&ControlRequest::Revoke { which, why })? {
        ControlReply::Revoked { grants } if json => print(&pretty(&json!({ "revoked": grants }))),
        ControlReply::Revoked { grants } => print(&format!("revoked: {}\n", grants.join(", "))),
        other => Err(unexpected(other)),
    }
}

fn all(client: &mut Client) -> Result<Vec<Value>, Failure> {
    match client.ask(&ControlRequest::Grants)? {
        ControlReply::Grants { grants } => Ok(grants),
        other => Err(unexpected(other)),
    }
}

/// All of each: a sentence, and what it means.
fn listed(grants: &[View], now: Timestamp, zone: &TimeZone) -> String {
    if grants.is_empty() {
        return "no approval stands for more than once\n".to_owned();
    }
    grants.iter().map(|grant| details(grant, now, zone)).collect::<Vec<_>>().join("\n")
}

fn details(grant: &View, now: Timestamp, zone: &TimeZone) -> String {
    let process = grant.process.map_or_else(|| "the whole tree".to_owned(), |it| format!("process {} alone", it.pid));
    let until = match grant.until {
        Some(until) => format!("{} (in {})", moment_text(until, zone), span(until.duration_since(now).as_secs())),
        None if grant.process.is_some() => "the process ends".to_owned(),
        None => "the tree ends".to_owned(),
    };
    let used = grant.last_use.map_or_else(
        || "never".to_owned(),
        |last| format!("{} times, the last one at {}", grant.uses, moment_text(last, zone)),
    );
    [
        format!("{}  {}\n", grant.grant, shown(&grant.what)),
        field("subject", &format!("{} (tree {})", shown(&grant.subject), shown(&grant.tree))),
        field("for", &process),
        field("rule", &shown(grant.rule.as_deref().unwrap_or("-"))),
        field("approved", &format!("by {}, at {}", shown(&grant.by), moment_text(grant.since, zone))),
        field("until", &until),
        field("used", &used),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(what: &str) -> View {
        let since = Timestamp::UNIX_EPOCH;
        View {
            grant: HoldId(7),
            what: what.into(),
            tree: "00000000000000aa".into(),
            subject: "coding-agent".into(),
            rule: Some("secrets".into()),
            process: None,
            by: "alice".into(),
            since,
            until: None,
            uses: 2,
            last_use: Some(since),
        }
    }

    #[test]
    fn a_grant_says_what_for_whom_by_whom_and_how_long() {
        let now = Timestamp::UNIX_EPOCH;
        let text = listed(&[view("open /srv/x (read)")], now, &TimeZone::UTC);
        assert_eq!(
            text,
            "0000000000000007  open /srv/x (read)\n  \
             subject    coding-agent (tree 00000000000000aa)\n  \
             for        the whole tree\n  \
             rule       secrets\n  \
             approved   by alice, at 1970-01-01 00:00:00 +00:00\n  \
             until      the tree ends\n  \
             used       2 times, the last one at 1970-01-01 00:00:00 +00:00\n"
        );
        assert_eq!(listed(&[], now, &TimeZone::UTC), "no approval stands for more than once\n");
    }

    #[test]
    fn a_subject_cannot_forge_a_line() {
        let text = listed(&[view("open /x\nno approval\u{1b}[2J")], Timestamp::UNIX_EPOCH, &TimeZone::UTC);
        assert!(!text.contains('\u{1b}') && !text.lines().any(|line| line.starts_with("no approval")), "{text}");
    }
}
