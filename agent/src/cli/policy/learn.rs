//! `holdpoint policy learn`: from a record of what subjects did to a proposed policy.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::ExitCode,
};

use holdpoint_common::tables::Verdict;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Value, json};

use super::{Learning, Otherwise, Report, Trouble, said, unreadable};
use crate::policy::{
    self, Flaw, Host,
    learn::{
        Proposal, Terms,
        observed::{Observed, Scope},
        propose,
    },
};

/// Proposes a policy.
pub fn learn(learning: &Learning, json: bool) -> ExitCode {
    said(report(learning), json)
}

fn report(learning: &Learning) -> Result<Report, Trouble> {
    let since = learning.since.as_deref().map(moment).transpose()?;
    let policy = policy::load(&learning.policy, &Host::this())?;
    let observed = read(&learning.record, Scope { subject: learning.subject.clone(), since })?;
    let terms = Terms {
        subject: learning.subject.clone(),
        otherwise: match learning.otherwise {
            Otherwise::Hold => Verdict::Hold,
            Otherwise::Deny => Verdict::Deny,
        },
        reviewers: learning.reviewers.clone(),
    };
    let proposal = propose(&policy, &observed, &terms)?;
    let json = value(&proposal, &observed);
    let text = match &learning.output {
        None => proposal.text,
        Some(file) => {
            write(file, &proposal.text)?;
            format!(
                "{}: {} new rules; of {} accesses that were audited {} pass under it\n",
                file.display().to_string().escape_debug(),
                proposal.rules.len(),
                proposal.passes + proposal.stays,
                proposal.passes
            )
        }
    };
    Ok(Report { text, json, code: 0 })
}

fn value(proposal: &Proposal, observed: &Observed) -> Value {
    let kept = observed.kept.iter().flat_map(|(rule, kept)| {
        kept.iter().map(move |(what, kept)| json!({ "rule": rule, "request": what, "kept": kept }))
    });
    json!({
        "policy": proposal.text, "rules": proposal.rules, "kept": kept.collect::<Vec<_>>(), "untold": observed.untold,
        "passes": proposal.passes, "stays": proposal.stays, "lost": observed.lost,
    })
}

fn read(record: &Path, scope: Scope) -> Result<Observed, Trouble> {
    let file = File::open(record).map_err(|error| unreadable(record, &error))?;
    let mut observed = Observed::new(scope);
    let (mut good, mut torn) = (0, 0);
    for (number, line) in (1..).zip(BufReader::new(file).split(b'\n')) {
        let line = line.map_err(|error| unreadable(record, &error))?;
        match serde_json::from_slice::<Value>(&line) {
            Ok(line) => {
                good += 1;
                observed.line(number, &line);
            }
            // A torn line is no line of the record.
            Err(_) => torn += 1,
        }
    }
    if torn > good {
        let message = format!("{} is no record: {torn} of its lines are not JSON", record.display());
        return Err(Flaw::new(message, format!("name the agent's record: {}", super::RECORD)).into());
    }
    Ok(observed)
}

fn write(file: &Path, text: &str) -> Result<(), Flaw> {
    let written =
        OpenOptions::new().write(true).create_new(true).open(file).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let message = format!("cannot write the proposal to {}: {error}", file.display());
        Flaw::new(message, "name a new file in a directory that you may write: what is there is not replaced")
    })
}

/// The moment that `text` names.
fn moment(text: &str) -> Result<Timestamp, Flaw> {
    let unclear = |_| {
        let message = format!("{text:?} is not a moment");
        Flaw::new(message, "write \"2026-11-20\", \"2026-11-20 14:30\" or \"2026-11-20T14:30:00Z\"")
    };
    text.parse::<Timestamp>().or_else(|_| {
        let here = text.parse::<DateTime>().and_then(|time| time.to_zoned(TimeZone::system()));
        here.map(|time| time.timestamp()).map_err(unclear)
    })
}
