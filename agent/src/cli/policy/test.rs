//! `holdpoint policy test`: whether the policy says what its test file expects.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{Asking, Report, Trouble, decided, said};
use crate::policy::{self, Answer, Cases, Judge, Refusal, cases::Case, verdict_word};

/// Judges the cases of each file: of a test file, or of the one beside a policy.
pub fn test(files: &[PathBuf], asking: &Asking, json: bool) -> ExitCode {
    said(report(files, asking), json)
}

fn report(files: &[PathBuf], asking: &Asking) -> Result<Report, Trouble> {
    let (mut text, mut values, mut count, mut failed) = (String::new(), Vec::new(), 0, 0);
    for file in files {
        let outcomes = outcomes(&policy::test_file(file), asking)?;
        let width = outcomes.iter().map(|outcome| outcome.case.chars().count()).max().unwrap_or(0);
        count += outcomes.len();
        failed += outcomes.iter().filter(|outcome| !outcome.good).count();
        text.extend(outcomes.iter().map(|outcome| outcome.line(width)));
        values.extend(outcomes.iter().map(Outcome::value));
    }
    text += &format!("{count} case{}, {failed} failed\n", if count == 1 { "" } else { "s" });
    Ok(Report { text, json: Value::Array(values), code: u8::from(failed != 0) })
}

/// What became of one case.
struct Outcome {
    file: String,
    case: String,
    good: bool,
    expected: String,
    came: String,
}

fn outcomes(file: &Path, asking: &Asking) -> Result<Vec<Outcome>, Trouble> {
    let Cases { source, policy, cases } = policy::cases::read(file)?;
    let mut judges = BTreeMap::new();
    for host in cases.iter().map(|case| case.host.as_ref().unwrap_or(&asking.host)) {
        if !judges.contains_key(host) {
            judges.insert(host, Asking { host: host.clone(), ..*asking }.judge(&policy)?);
        }
    }
    let judge = |case: &Case| &judges[case.host.as_ref().unwrap_or(&asking.host)];
    let answers: Vec<_> =
        cases.iter().map(|case| judge(case).ask(&case.asked).map_err(|flaw| flaw.at(case.span.clone()))).collect();
    let problems: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err().cloned()).collect();
    if !problems.is_empty() {
        return Err(Refusal::new(source, problems).into());
    }
    Ok(cases
        .iter()
        .zip(answers.into_iter().flatten())
        .map(|(case, answer)| outcome(source.name(), judge(case), case, answer))
        .collect())
}

fn outcome(file: &str, judge: &Judge, case: &Case, answer: Answer) -> Outcome {
    let decides = answer.rule.and_then(|rule| judge.policy.rule(rule)).map(|rule| rule.name.as_str());
    let by_right_rule = case.rule.as_deref().is_none_or(|rule| decides == Some(rule));
    let rule = case.rule.as_ref().map_or_else(String::new, |rule| format!(" by {rule:?}"));
    Outcome {
        file: file.to_owned(),
        case: case.name.clone(),
        good: answer.would == case.expect && by_right_rule,
        expected: format!("{}{rule}", verdict_word(case.expect)),
        came: decided(judge, answer),
    }
}

impl Outcome {
    fn line(&self, width: usize) -> String {
        let Self { case, came, expected, .. } = self;
        match self.good {
            true => format!("ok      {case:<width$}  {came}\n"),
            false => format!("FAILED  {case:<width$}  expected {expected}, came {came}\n"),
        }
    }

    fn value(&self) -> Value {
        let Self { file, case, good, expected, came } = self;
        json!({ "file": file, "case": case, "ok": good, "expected": expected, "came": came })
    }
}
