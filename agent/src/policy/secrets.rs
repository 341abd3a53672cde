//! Secrets that somebody has left in a policy, which many may read. A warning: what looks like one may be none.

use super::{problem::Problem, source::Source};

/// How tokens begin that are known by their beginning, what they are, and how many characters follow at least.
const TOKENS: [(&str, &str, usize); 11] = [
    ("-----BEGIN ", "a private key or certificate", 4),
    ("AKIA", "an access key of AWS", 16),
    ("ghp_", "a token of GitHub", 20),
    ("gho_", "a token of GitHub", 20),
    ("ghs_", "a token of GitHub", 20),
    ("github_pat_", "a token of GitHub", 20),
    ("glpat-", "a token of GitLab", 16),
    ("xoxb-", "a token of Slack", 10),
    ("xoxp-", "a token of Slack", 10),
    ("sk-", "a key of a model's API", 20),
    ("whsec_", "a secret of a webhook", 16),
];
/// Words after which a long text without spaces is taken for a secret.
const WORDS: [&str; 6] = ["token", "secret", "password", "passwd", "apikey", "api_key"];
/// Length from which on it is.
const LONG: usize = 24;

const REMEDY: &str = "remove it, and change it where it is used: a policy is read by many. Secrets of channels stand in \
                      files of their own, see config.toml";

/// What looks like a secret.
pub fn found(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (mut begin, file) in source.begun() {
        for line in file.text.split_inclusive('\n') {
            if let Some((at, length, what)) = in_line(line) {
                let span = begin + at..begin + at + length;
                problems.push(Problem::new(span, format!("this looks like {what}"), REMEDY));
            }
            begin += line.len();
        }
    }
    problems
}

/// Where the first one in a line stands, how long it is, and what it is.
fn in_line(line: &str) -> Option<(usize, usize, &'static str)> {
    let known = TOKENS.iter().filter_map(|(start, what, least)| {
        let starts = line.match_indices(start).map(|(at, _)| at);
        let mut found = starts.filter(|at| !line[..*at].ends_with(|c: char| c.is_ascii_alphanumeric()));
        found.find_map(|at| {
            let length = line[at + start.len()..].bytes().take_while(|byte| is_of_secret(*byte)).count();
            (length >= *least).then_some((at, start.len() + length, *what))
        })
    });
    known.min().or_else(|| after_word(line))
}

/// A long text that looks random after a word such as `password =`.
fn after_word(line: &str) -> Option<(usize, usize, &'static str)> {
    let lower = line.to_ascii_lowercase();
    let word = WORDS.iter().filter_map(|word| lower.find(word).map(|at| at + word.len())).min()?;
    let mut at = word;
    while at < line.len() {
        let length = line.as_bytes()[at..].iter().take_while(|byte| is_of_secret(**byte)).count();
        let text = &line.as_bytes()[at..at + length];
        if length >= LONG && is_random(text) && !text.starts_with(b"/") {
            return Some((at, length, "a secret"));
        }
        at += length.max(1);
    }
    None
}

/// Whether it has what base64 or hexadecimal digits of something random have.
fn is_random(text: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| text.iter().any(kind);
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    has(u8::is_ascii_digit) && (mixed || text.iter().all(u8::is_ascii_hexdigit))
}

/// Characters of base64, and what tokens have beside them.
fn is_of_secret(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte)
}
