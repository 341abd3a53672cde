//! Masks: what is shown in the place of secrets in arguments, command lines and claims. Put on once, where the agent
//! describes a request; what is compared (digest, class) and what the kernel lets through is the plain text. Pure.
//!
//! A mask must be no place to hide in: nobody can approve what they have not seen. So a piece that is masked is one
//! word of what secrets are made of ([`is_secret`]), never a blank, a quote, what a shell acts upon, or a path;
//! whatever else stands where a secret should be is shown. What stands for a piece says so, and how long it is; its
//! sign [`SIGN`] is the agent's alone.

mod built_in;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{Hash, Hasher},
    ops::Range,
};

use regex::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};

pub use self::built_in::BuiltIn;
use crate::{
    claims::{Claim, Speaker},
    request::{Context, Operation, Request},
};

/// What begins the words in the place of a secret. In text of a subject it is escaped.
const SIGN: char = '‹';
/// Longest piece, in bytes. The tokens of large providers have up to 3 kB.
const LONGEST: usize = 4096;
/// What can be around a word of a shell's.
const QUOTES: [char; 2] = ['"', '\''];
/// Likewise, and what can be around a command.
const ENDS: [char; 8] = ['"', '\'', '`', ';', '&', '|', '(', ')'];
/// Length from which on what has slashes can be base64 and is not taken for a path.
const ENCODED: usize = 20;
/// How much memory a regular expression of a policy may take, in bytes, as it is compiled.
const COMPILED: usize = 1 << 18;

/// Words that can stand where a secret could, and are none.
const PLAIN: [&str; 12] =
    ["true", "false", "yes", "no", "on", "off", "none", "null", "bearer", "basic", "negotiate", "digest"];

/// What a policy says of masks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Said {
    /// Built-in masks that are off.
    pub off: Vec<BuiltIn>,
    /// Options: what follows is a secret.
    pub after: Vec<String>,
    /// Variables, with `*`: likewise what they are set to.
    pub variable: Vec<String>,
    /// How secrets look.
    pub text: Vec<Looks>,
}

/// A regular expression for secrets: what its groups match; without groups, what it matches.
#[derive(Clone, Debug)]
pub struct Looks(Regex);

/// All masks of a policy.
#[derive(Clone, Debug)]
pub struct Masks {
    /// What the policy says.
    pub said: Said,
    /// Within a word.
    looks: Vec<Looks>,
}

impl Looks {
    /// What `text` spells.
    ///
    /// # Errors
    /// It is no regular expression, or one that takes too much memory.
    pub fn parse(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text).size_limit(COMPILED).dfa_size_limit(COMPILED).build().map(Self)
    }

    /// Whether nothing at all looks so, too.
    pub fn is_everything(&self) -> bool {
        self.0.is_match("")
    }

    /// Whether all of `word` looks so.
    pub fn covers(&self, word: &str) -> bool {
        self.pieces(word).any(|piece| piece == (0..word.len()))
    }

    fn pieces<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        self.0.captures_iter(text).flat_map(|found| {
            let from = usize::from(found.len() > 1);
            let start = found.get(0).map_or(0, |whole| whole.start());
            let pieces = found.iter().skip(from).flatten().map(|piece| piece.range());
            pieces.filter(|piece| !is_run(text, start, piece)).collect::<Vec<_>>()
        })
    }
}

impl PartialEq for Looks {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Looks {}

impl Hash for Looks {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for Looks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Masks {
    /// Those that are built in and not off, and those that the policy has.
    pub fn new(said: Said) -> Self {
        let variables = said.variable.iter().flat_map(|name| built_in::variable(name));
        let looks = built_in::looks(&said.off).chain(said.text.iter().cloned()).chain(variables).collect();
        Self { said, looks }
    }

    /// The built-in ones that are on.
    pub fn built_in(&self) -> impl Iterator<Item = BuiltIn> {
        BuiltIn::ALL.into_iter().filter(|one| !self.said.off.contains(one))
    }

    /// Masks the arguments of a request, and escapes [`SIGN`] in its other texts.
    pub fn request(&self, request: &mut Request) {
        match &mut request.what {
            Operation::Exec { path, filename, argv, masked, .. } => {
                *masked = self.words(argv);
                [path, filename].into_iter().for_each(escape);
            }
            Operation::Open { path, .. } => escape(path),
            Operation::File { path, target, .. } => [path, target].into_iter().flatten().for_each(escape),
            Operation::Connect { names, .. } => names.iter_mut().for_each(escape),
            Operation::System { .. } => {}
        }
    }

    /// Masks the command lines of processes, likewise.
    pub fn context(&self, context: &mut Context) {
        escape(&mut context.cwd);
        context.unit.iter_mut().for_each(escape);
        for process in &mut context.ancestry {
            self.words(&mut process.argv);
            escape(&mut process.exe);
        }
    }

    /// Masks what is claimed.
    pub fn claims(&self, claims: &mut [Claim]) {
        for claim in claims {
            self.word(&mut claim.text, false);
            if let Speaker::Process { exe, .. } = &mut claim.by {
                escape(exe);
            }
        }
    }

    /// Masks the words of a command line, and says how many pieces that were. The first is the program's name, which
    /// whoever calls it chooses, and no option.
    pub fn words(&self, words: &mut [String]) -> usize {
        let (mut masked, mut follows) = (0, false);
        for (at, word) in words.iter_mut().enumerate() {
            let announced = std::mem::replace(&mut follows, at > 0 && self.announces(word));
            masked += self.word(word, announced);
        }
        masked
    }

    /// Masks a word, or text of many, and says how many pieces that were; `announced` if the one before says that it is a
    /// secret.
    fn word(&self, word: &mut String, announced: bool) -> usize {
        let mut pieces: Vec<_> = self.looks.iter().flat_map(|looks| looks.pieces(word)).collect();
        pieces.extend(self.after_options(word));
        pieces.extend(announced.then_some(0..word.len()));
        if self.built_in().any(|one| one == BuiltIn::Tokens) {
            pieces.extend(built_in::key_lines(word));
        }
        pieces.retain(|piece| is_secret(&word[piece.clone()]));
        if pieces.is_empty() && !word.contains(SIGN) {
            return 0;
        }
        let pieces = joined(pieces);
        *word = replaced(word, &pieces);
        pieces.len()
    }

    /// Whether a secret must follow.
    fn announces(&self, word: &str) -> bool {
        self.said.after.iter().any(|option| option == word)
            || self.built_in().any(|one| one == BuiltIn::Names) && built_in::announces(word)
    }

    /// What follows an option in text, as in what a shell is given: in the same word after `=`, or the next one of the
    /// same command.
    fn after_options<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut option = None;
        let is_one = !text.contains(char::is_whitespace);
        text.split_whitespace().filter_map(move |word| {
            let of = |part: &str| part.as_ptr() as usize - text.as_ptr() as usize;
            // A value may end a command, and not begin one.
            let value = word.trim_start_matches(QUOTES).trim_end_matches(ENDS);
            let value = of(value)..of(value) + value.len();
            let bare = word.trim_start_matches(ENDS);
            let announces = !is_one && self.announces(bare.trim_end_matches(QUOTES));
            let after = std::mem::replace(&mut option, announces.then_some(of(word)..of(word) + word.len()));
            let bare = bare.trim_end_matches(ENDS);
            let set = self.said.after.iter().find_map(|option| bare.strip_prefix(&**option)?.strip_prefix('='));
            match (set, after) {
                (Some(value), _) => Some(of(value)..of(value) + value.len()),
                (None, Some(option)) => {
                    let is_near = text[option.end..of(word)].bytes().all(|byte| b" \t".contains(&byte));
                    (is_near && !is_run(text, option.start, &value)).then_some(value)
                }
                (None, None) => None,
            }
        })
    }
}

/// Whether a shell can take the piece for a command, though what begins at `start` announces it: a blank is between them,
/// and that is, or ends, what a variable is set to or a file's name (`A="x --token" reboot`, `>token: reboot`). Quotes are
/// not followed, since that can be deceived. No command is long and looks random.
fn is_run(text: &str, start: usize, piece: &Range<usize>) -> bool {
    let is_apart = text[start..piece.start].trim_end_matches(QUOTES).ends_with(char::is_whitespace);
    is_apart
        && built_in::sets(&text[..piece.start])
        && !(piece.len() >= ENCODED && is_mixed(text[piece.clone()].as_bytes()))
}

/// Whether it can be a secret, and nothing that somebody must have seen. ASCII throughout.
fn is_secret(piece: &str) -> bool {
    let bytes = piece.as_bytes();
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=_.~!@%^,:?#*-".contains(byte);
    // Not an option, a command (as git's aliases have them), a file to be read (`@file`), a home, or a shell's comment.
    let begins = |byte: u8| !b"-!@~#".contains(&byte);
    (1..=LONGEST).contains(&bytes.len())
        && bytes.iter().all(good)
        && bytes.iter().any(u8::is_ascii_alphanumeric)
        && begins(bytes[0])
        && (!bytes.contains(&b'/') || is_base64(bytes))
        && !PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(piece))
}

/// Whether it is base64 of something random, and not a path.
fn is_base64(bytes: &[u8]) -> bool {
    bytes.len() >= ENCODED
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
        && is_mixed(bytes)
}

/// Whether there are upper and lower case and digits, as in what is random.
fn is_mixed(bytes: &[u8]) -> bool {
    let has = |kind: fn(&u8) -> bool| bytes.iter().any(kind);
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}

/// In order, those that overlap as one.
fn joined(mut pieces: Vec<Range<usize>>) -> Vec<Range<usize>> {
    pieces.sort_by_key(|piece| piece.start);
    let mut joined: Vec<Range<usize>> = Vec::new();
    for piece in pieces {
        match joined.last_mut() {
            Some(last) if piece.start < last.end => last.end = last.end.max(piece.end),
            _ => joined.push(piece),
        }
    }
    joined
}

fn replaced(text: &str, pieces: &[Range<usize>]) -> String {
    let (mut shown, mut from) = (String::new(), 0);
    for piece in pieces {
        shown += &escaped(&text[from..piece.start]);
        let plural = if piece.len() == 1 { "" } else { "s" };
        shown += &format!("{SIGN}masked: {} character{plural}›", piece.len());
        from = piece.end;
    }
    shown + &escaped(&text[from..])
}

fn escaped(text: &str) -> String {
    text.replace(SIGN, &SIGN.escape_unicode().to_string())
}

fn escape(text: &mut String) {
    if text.contains(SIGN) {
        *text = escaped(text);
    }
}
