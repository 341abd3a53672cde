//! Wildcards within one name, or one argument: `*` for any characters, `?` for one, `{a,b}` for one of several texts, and
//! `\` before a character that means itself.

use std::{collections::BTreeSet, fmt};

use super::problem::Flaw;

/// What means something else than itself.
pub const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// Most texts that the braces of one pattern can stand for.
const CHOICES: usize = 64;

/// A text with `*` or `?` in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wildcard(Vec<Sign>);

/// One sign of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sign {
    /// This byte.
    Byte(u8),
    /// One character, of however many bytes in UTF-8; a byte that begins none counts as one.
    One,
    /// Any number of characters.
    Any,
}

impl Wildcard {
    /// Its signs.
    pub fn signs(&self) -> &[Sign] {
        &self.0
    }

    /// Whether it matches every text.
    pub fn is_everything(&self) -> bool {
        self.0 == [Sign::Any]
    }

    /// Whether it matches this text.
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut ends = BTreeSet::from([0]);
        for sign in &self.0 {
            ends = match sign {
                Sign::Any => ends.first().into_iter().flat_map(|first| *first..=text.len()).collect(),
                sign => ends.iter().filter_map(|end| Some(end + sign.taken(&text[*end..])?)).collect(),
            };
        }
        ends.contains(&text.len())
    }
}

impl Sign {
    /// How many bytes of this text it takes, if it matches there. `*` is not asked.
    fn taken(self, text: &[u8]) -> Option<usize> {
        let first = *text.first()?;
        match self {
            Self::Byte(byte) => (byte == first).then_some(1),
            Self::One => {
                let more = text.get(1..=continuations(first))?;
                more.iter().all(|byte| is_continuation(*byte)).then_some(1 + more.len())
            }
            Self::Any => None,
        }
    }
}

/// Bytes that follow `first` in one character of UTF-8 (RFC 3629).
pub const fn continuations(first: u8) -> usize {
    match first {
        0xc2..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf4 => 3,
        _ => 0,
    }
}

/// Whether the byte goes on with a character of UTF-8.
pub const fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.iter().map(|sign| match sign {
            Sign::Byte(byte) => *byte,
            Sign::One => b'?',
            Sign::Any => b'*',
        });
        f.write_str(&String::from_utf8_lossy(&bytes.collect::<Vec<_>>()))
    }
}

/// What `text`, part of the pattern `whole`, spells: a plain text, or else a wildcard.
pub fn parse(text: &str, whole: &str) -> Result<Result<String, Wildcard>, Flaw> {
    let mut signs = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let meant = match character {
            '*' if signs.last() == Some(&Sign::Any) => continue,
            '*' => Some(Sign::Any),
            '?' => Some(Sign::One),
            '[' | ']' => return Err(unknown_sign(whole, character)),
            _ => None,
        };
        let character = if character == '\\' { characters.next().ok_or_else(|| ends_early(whole))? } else { character };
        match meant {
            Some(sign) => signs.push(sign),
            None => signs.extend(character.encode_utf8(&mut [0; 4]).bytes().map(Sign::Byte)),
        }
    }
    let plain: Option<Vec<u8>> =
        signs.iter().map(|sign| if let Sign::Byte(byte) = sign { Some(*byte) } else { None }).collect();
    Ok(match plain {
        Some(plain) => Ok(String::from_utf8(plain).expect("made of characters")),
        None => Err(Wildcard(signs)),
    })
}

/// The texts that `text` stands for: one for each choice of what is in its braces.
pub fn expanded(text: &str) -> Result<Vec<String>, Flaw> {
    let Some(open) = position(text, '{') else {
        return match position(text, '}') {
            Some(_) => Err(unbalanced(text)),
            None => Ok(vec![text.to_owned()]),
        };
    };
    let (before, inside) = (&text[..open], &text[open + 1..]);
    let close = position(inside, '}').ok_or_else(|| unbalanced(text))?;
    let (choices, after) = (&inside[..close], &inside[close + 1..]);
    if position(before, '}').is_some() || position(choices, '{').is_some() {
        return Err(unbalanced(text));
    }
    let mut spelled = Vec::new();
    for rest in expanded(after)? {
        for choice in split(choices) {
            spelled.push(format!("{before}{choice}{rest}"));
        }
    }
    match spelled.len() {
        0..=CHOICES => Ok(spelled),
        count => Err(Flaw::new(
            format!("the braces of {text:?} stand for {count} patterns"),
            format!("at most {CHOICES}: use *, or write several"),
        )),
    }
}

/// Where `sign` first stands without a `\` before it.
fn position(text: &str, sign: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, character)| {
        let found = character == sign && !escaped;
        escaped = character == '\\' && !escaped;
        found.then_some(at)
    })
}

/// The parts of a text between commas.
fn split(text: &str) -> Vec<&str> {
    match position(text, ',') {
        None => vec![text],
        Some(comma) => [vec![&text[..comma]], split(&text[comma + 1..])].concat(),
    }
}

fn unbalanced(text: &str) -> Flaw {
    Flaw::new(
        format!("the braces of {text:?} do not pair up"),
        "write {a,b}, one level deep; \\\\{ and \\\\} for the characters",
    )
}

fn unknown_sign(whole: &str, sign: char) -> Flaw {
    Flaw::new(
        format!("{whole:?} is a pattern of an unknown shape"),
        format!("wildcards are *, ?, {{a,b}} and **; write \\\\{sign} for the character"),
    )
}

fn ends_early(whole: &str) -> Flaw {
    Flaw::new(format!("{whole:?} ends in a \\"), "write \\\\\\\\ for the character")
}
