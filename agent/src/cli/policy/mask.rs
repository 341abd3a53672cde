//! `holdpoint policy mask`: how words would be shown, so that masks can be tried.

use std::{
    io::{self, Read as _},
    path::Path,
    process::ExitCode,
};

use serde_json::json;

use super::{Asking, Report, Trouble, said};
use crate::{
    policy::{self, Flaw},
    request::shown,
};

/// Shows `words`, or without any the lines of the standard input, as reviewers would see them under the policy in
/// `file`.
pub fn mask(file: &Path, words: &[String], asking: &Asking, json: bool) -> ExitCode {
    said(report(file, words, asking), json)
}

fn report(file: &Path, words: &[String], asking: &Asking) -> Result<Report, Trouble> {
    let masks = policy::load(file, &asking.host)?.masks;
    let mut words = if words.is_empty() { lines()? } else { words.to_vec() };
    let masked = masks.words(&mut words);
    let text = words.iter().map(|word| shown(word) + "\n").collect();
    Ok(Report { text, json: json!({ "words": words, "masked": masked }), code: 0 })
}

fn lines() -> Result<Vec<String>, Trouble> {
    let mut text = String::new();
    match io::stdin().read_to_string(&mut text) {
        Ok(_) => Ok(text.lines().map(str::to_owned).collect()),
        Err(error) => Err(Flaw::new(format!("cannot read the standard input: {error}"), "give one word a line").into()),
    }
}
