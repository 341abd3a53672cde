//! `holdpoint why`: what waits and what was refused in the tree that it is called in. Written to be understood by a language
//! model, too: what is final, what is not, and that another way to the same end is no way.

use std::{io::Write as _, path::Path, process::ExitCode};

use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use crate::{
    denials::{By, Denial},
    request::shown,
    sockets::{
        Declined, Notice, TREE,
        client::{Client, Failure},
        message::{TreeReply, TreeRequest},
    },
};

/// What it all means, once.
const MEANING: &str = "These were refused on purpose, by the policy of this host or by a person. They are not errors to be \
                       worked around: do not try for the same effect in another way. Tell whoever gave you the task what was \
                       refused, and go on with what does not need it.";

/// Asks the agent, and says it; 1 if the caller is not governed, 3 if there is no agent.
pub(crate) fn why(run_dir: &Path, as_json: bool) -> ExitCode {
    match ask(&run_dir.join(TREE)) {
        Ok(mine) => say(&mine, as_json),
        Err(failure) => {
            eprintln!("holdpoint: {failure}");
            if let Some(remedy) = failure.remedy() {
                eprintln!("  {remedy}");
            }
            ExitCode::from(if matches!(failure, Failure::NoAgent) { 3 } else { 1 })
        }
    }
}

/// What the agent says of the caller's own tree.
struct Mine {
    tree: Option<String>,
    subject: Option<String>,
    held: Vec<Notice>,
    denied: Vec<Denial>,
}

fn ask(socket: &Path) -> Result<Mine, Failure> {
    match Client::connect(socket)?.ask(&TreeRequest::Mine)? {
        TreeReply::Mine { tree, subject, held, denied } => Ok(Mine { tree, subject, held, denied }),
        TreeReply::Refused(refusal) => Err(refusal.into()),
        _ => Err(Declined::new("the agent replied to another question").into()),
    }
}

fn say(mine: &Mine, as_json: bool) -> ExitCode {
    let Mine { tree, subject, held, denied } = mine;
    let text = if as_json {
        let meaning = (!denied.is_empty()).then_some(MEANING);
        let all = json!({ "tree": tree, "subject": subject, "held": held, "denied": denied, "meaning": meaning });
        format!("{all:#}\n")
    } else if tree.is_none() {
        "this process is not governed: Holdpoint has refused it nothing\n".to_owned()
    } else {
        lines(held, denied, &TimeZone::system())
    };
    // Nobody reads it: nothing is lost.
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::from(u8::from(tree.is_none()))
}

fn lines(held: &[Notice], denied: &[Denial], zone: &TimeZone) -> String {
    if held.is_empty() && denied.is_empty() {
        return "nothing waits, and nothing was refused\n".to_owned();
    }
    let waiting = held.iter().map(|notice| format!("waiting: {}\n", super::tell::sentence(notice, zone)));
    let refused = denied.iter().map(|denial| format!("{}\n", sentence(denial, zone)));
    let meaning = (!denied.is_empty()).then(|| format!("\n{MEANING}\n"));
    waiting.chain(refused).chain(meaning).collect()
}

/// One line of a refusal.
pub(super) fn sentence(denial: &Denial, zone: &TimeZone) -> String {
    let Denial { at, times, operation, by, rule, why, until, .. } = denial;
    let clock = |moment: &Timestamp| moment.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string();
    let whom = match by {
        By::Policy => "by policy".to_owned(),
        By::Reviewer { who } => format!("by {}, a reviewer", shown(who)),
        By::Earlier => "since the same was denied before".to_owned(),
        By::Silence => "since no reviewer answered in time".to_owned(),
        By::Crowd { of } => format!("since {}", of.words()),
        By::Kernel { reason } => format!("since nobody could be asked ({})", shown(reason)),
    };
    let rule = rule.as_ref().map_or_else(String::new, |rule| format!(", rule \"{}\"", shown(rule)));
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {}", shown(why)));
    let often = if *times > 1 { format!(" ({times} times)") } else { String::new() };
    let then = match (by, until) {
        (By::Crowd { .. }, _) => "Try later: then it may be asked about.".to_owned(),
        (_, Some(until)) => format!("The same is refused without a question until {}.", clock(until)),
        (By::Policy, None) => "That is final.".to_owned(),
        (By::Earlier, None) => "Nobody is asked again for now.".to_owned(),
        (By::Silence | By::Reviewer { .. }, None) => "The same again is asked about again.".to_owned(),
        (By::Kernel { .. }, None) => "The same again may be refused again.".to_owned(),
    };
    format!("{} denied{often} {whom}{rule}: {}{why}. {then}", clock(at), shown(operation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::holds::Crowd;

    fn denial(by: By, until: Option<&str>) -> Denial {
        Denial {
            at: "2026-05-01T12:01:05Z".parse().expect("a time"),
            times: 1,
            operation: "open /srv/x (read)".into(),
            pid: 7,
            by,
            rule: Some("customer data".into()),
            why: Some("not\ntoday".into()),
            until: until.map(|until| until.parse().expect("a time")),
        }
    }

    #[test]
    fn it_says_who_why_and_what_comes_then() {
        let said = |denial: &Denial| sentence(denial, &TimeZone::UTC);
        let bob = denial(By::Reviewer { who: "bob".into() }, Some("2026-05-01T12:11:05Z"));
        assert_eq!(
            said(&bob),
            "12:01:05 denied by bob, a reviewer, rule \"customer data\": open /srv/x (read): not\\u{a}today. The same is \
             refused without a question until 12:11:05."
        );
        let policy = Denial { times: 3, why: None, ..denial(By::Policy, None) };
        assert_eq!(
            said(&policy),
            "12:01:05 denied (3 times) by policy, rule \"customer data\": open /srv/x (read). That is final."
        );
        let ends = |by, end| said(&Denial { why: None, ..denial(by, None) }).ends_with(end);
        assert!(ends(By::Silence, "open /srv/x (read). The same again is asked about again."));
        let crowd = "since 64 requests of this tree wait for an answer, rule \"customer data\": open /srv/x (read). Try \
                     later: then it may be asked about.";
        assert!(ends(By::Crowd { of: Crowd::Tree }, crowd));
        assert!(ends(By::Earlier, "open /srv/x (read). Nobody is asked again for now."));
        assert!(ends(By::Kernel { reason: "x".into() }, "open /srv/x (read). The same again may be refused again."));
    }

    #[test]
    fn what_it_means_is_said_once_and_only_if_something_was_refused() {
        assert_eq!(lines(&[], &[], &TimeZone::UTC), "nothing waits, and nothing was refused\n");
        let text = lines(&[], &[denial(By::Policy, None), denial(By::Silence, None)], &TimeZone::UTC);
        assert_eq!(text.matches("do not try for the same effect in another way").count(), 1);
    }
}
