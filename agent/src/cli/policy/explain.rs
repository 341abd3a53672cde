//! `holdpoint policy explain`: which rule decides, and which came close.

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};

use super::{Asking, Operation, Report, Trouble, Who, said};
use crate::{
    ladder::Escalation,
    policy::{Answer, Asked, Judge, Near, Rule, near, verdict_word},
    quorum::{self, Assurance, SelfAnswer},
    request::span_of,
    scope,
};

/// Says which rule of the policy in `file` decides.
pub fn explain(file: &Path, who: &Who, operation: &Operation, asking: &Asking, json: bool) -> ExitCode {
    said(report(file, who, operation, asking), json)
}

fn report(file: &Path, who: &Who, operation: &Operation, asking: &Asking) -> Result<Report, Trouble> {
    let asked = who.asks(operation.what()?)?;
    let judge = asking.judge(file)?;
    let answer = judge.ask(&asked)?;
    let near = near(&judge, &asked, answer);
    Ok(Report { text: text(&judge, &asked, answer, &near), json: value(&judge, &asked, answer, &near), code: 0 })
}

pub(super) fn text(judge: &Judge, asked: &Asked, answer: Answer, near: &[Near<'_>]) -> String {
    let mut text = format!("{}: {}\n", asked.what, super::decided(judge, answer));
    if let Some(rule) = answer.rule.and_then(|rule| judge.policy.rule(rule)) {
        text += &format!("  why        {}\n", rule.why.as_deref().unwrap_or("-"));
        if let Some(terms) = rule.terms() {
            text += &format!("  reviewers  {}\n", quorum::named(&terms.reviewers));
            for Escalation { after, reviewers } in &terms.escalate {
                text += &format!("  after      {}, too: {}\n", span_of(*after), quorum::named(reviewers));
            }
            if let Some(every) = terms.remind {
                text += &format!("  remind     every {}\n", span_of(every));
            }
            if terms.assurance > Assurance::Basic {
                text += &format!("  assurance  {}: {}\n", terms.assurance.word(), terms.assurance.way());
            }
            if terms.own == SelfAnswer::Allowed {
                text += "  self       allowed: the requester may answer\n";
            }
            if !terms.scopes.is_empty() {
                text += &format!("  scope      {}\n", scope::listed(&terms.scopes));
            }
        }
    }
    if !near.is_empty() {
        text += "came close:\n";
    }
    for Near { rule, differs } in near {
        text += &format!("  {:?} ({}): {}\n", rule.name, judge.place(rule), differs.join("; "));
    }
    text
}

fn value(judge: &Judge, asked: &Asked, answer: Answer, near: &[Near<'_>]) -> Value {
    let rule = answer.rule.and_then(|rule| judge.policy.rule(rule));
    let near: Vec<_> =
        near.iter().map(|near| json!({ "rule": named(judge, near.rule), "differs": near.differs })).collect();
    json!({
        "request": asked.what.to_string(),
        "verdict": verdict_word(answer.verdict),
        "would": verdict_word(answer.would),
        "rule": rule.map(|rule| named(judge, rule)),
        "near": near,
    })
}

fn named(judge: &Judge, rule: &Rule) -> Value {
    json!({ "name": rule.name, "why": rule.why, "at": judge.place(rule), "built_in": judge.is_built_in(rule) })
}
