//! Secrets that somebody has left in a policy, which many may read. A warning: what looks like one may be none.

use std::collections::BTreeSet;

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

/// What stands for a secret that is not shown.
const MASK: &str = "***";
/// Words in the names of options, variables and headers whose values are secrets, beside [`WORDS`].
const NAMES: [&str; 7] = ["authorization", "bearer", "cookie", "credential", "passphrase", "private_key", "access_key"];

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

/// Whether a word looks like one.
pub fn is_secret(word: &str) -> bool {
    masked_word(word) != word
}

/// Arguments of a program, with what looks like a secret masked. What looks like nothing of the kind is shown, whatever it
/// is.
pub fn masked(arguments: &[String]) -> Vec<String> {
    let mut is_value = false;
    let masked = arguments.iter().map(|argument| {
        let hidden = std::mem::replace(&mut is_value, argument.starts_with('-') && ends_with_name(argument));
        if hidden { MASK.to_owned() } else { masked_word(argument) }
    });
    masked.collect()
}

/// Whether a value must follow: the name of a secret is there, and nothing after it.
fn ends_with_name(argument: &str) -> bool {
    after_name(argument).is_some_and(|rest| !argument[rest..].contains(is_separator))
}

fn masked_word(word: &str) -> String {
    let mut text = word.to_owned();
    if let Some(key) = text.find(TOKENS[0].0) {
        text.replace_range(key.., MASK);
    }
    if let Some(name) = after_name(&text)
        && let Some(separator) = text[name..].find(is_separator).filter(|at| name + at + 1 < text.len())
    {
        text.replace_range(name + separator + 1.., MASK);
    }
    if let Some((from, to)) = user_of_address(&text) {
        text.replace_range(from..to, MASK);
    }
    while let Some((at, length, _)) = in_line(&text) {
        text.replace_range(at..at + length, MASK);
    }
    let is_in_word = |sign: char| sign.is_ascii() && is_of_secret(sign as u8) && sign != '/';
    let words: BTreeSet<_> = text.split(|sign| !is_in_word(sign)).map(str::to_owned).collect();
    let random = words.iter().filter(|word| word.len() >= LONG && is_random(word.as_bytes()));
    random.fold(text.clone(), |text, word| text.replace(word, MASK))
}

/// Where the first name of a secret in a text ends.
fn after_name(text: &str) -> Option<usize> {
    let plain = text.to_ascii_lowercase().replace('-', "_");
    WORDS.iter().chain(&NAMES).filter_map(|name| plain.find(name).map(|at| at + name.len())).min()
}

/// What stands between a name and its value.
fn is_separator(sign: char) -> bool {
    matches!(sign, '=' | ':') || sign.is_ascii_whitespace()
}

/// Where `user:password` stands in an address with one.
fn user_of_address(text: &str) -> Option<(usize, usize)> {
    let from = text.find("://")? + 3;
    let end = text[from..].find('/').map_or(text.len(), |at| from + at);
    let to = from + text[from..end].rfind('@')?;
    text[from..to].contains(':').then_some((from, to))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked_and_nothing_else() {
        let random = format!("ghp_{}", "a1B2".repeat(9));
        for (given, shown) in [
            (&["--password", "x", "y"][..], &["--password", "***", "y"][..]),
            (&["--api-key=x", "-v"], &["--api-key=***", "-v"]),
            (&["PGPASSWORD=x"], &["PGPASSWORD=***"]),
            (&["-H", "Authorization: Bearer x"], &["-H", "Authorization:***"]),
            (&["-c", "export TOKEN=x; run"], &["-c", "export TOKEN=***"]),
            (&["https://a:b@example.com/x"], &["https://***@example.com/x"]),
            (&["https://example.com/?token=x"], &["https://example.com/?token=***"]),
            (&["-----BEGIN RSA PRIVATE KEY-----\nx"], &["***"]),
            (&[&format!("{random}!")], &["***!"]),
            (&[&"a1B2".repeat(9)], &["***"]),
            (&["get", "secret", "name"], &["get", "secret", "name"]),
            (
                &["-C", "/srv/x86_64-linux-gnu/a.so", "--token-ring"],
                &["-C", "/srv/x86_64-linux-gnu/a.so", "--token-ring"],
            ),
            (&["git@github.com:a/b.git", "ssh://git@host/x"], &["git@github.com:a/b.git", "ssh://git@host/x"]),
        ] {
            let given: Vec<_> = given.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(masked(&given), shown);
        }
    }
}
