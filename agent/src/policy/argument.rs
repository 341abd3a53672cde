//! What a rule says of the arguments of an exec.

use holdpoint_common::tables::LITERAL_BYTES;

use super::{
    problem::Flaw,
    wildcard::{self, Wildcard},
};

/// Longest argument that a pattern can spell out. A wildcard matches longer ones.
const SPELLED_LIMIT: usize = LITERAL_BYTES - 1;

/// Most patterns of one rule.
pub const PATTERNS: usize = 8;

/// A pattern that one of the arguments must match: it is one of these texts, or like one of those.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Argument {
    /// As it was written.
    pub text: String,
    /// Texts in full.
    pub plain: Vec<String>,
    /// Texts with wildcards.
    pub like: Vec<Wildcard>,
}

impl Argument {
    /// The pattern that `text` spells.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let mut argument = Self { text: text.to_owned(), ..Self::default() };
        for spelling in wildcard::expanded(text)? {
            match wildcard::parse(&spelling, text)? {
                Ok(plain) if plain.len() > SPELLED_LIMIT => {
                    let message = format!("{text:?} has {} bytes", plain.len());
                    return Err(Flaw::new(message, format!("at most {SPELLED_LIMIT}: write * for a part of it")));
                }
                Ok(plain) => argument.plain.push(plain),
                Err(like) => argument.like.push(like),
            }
        }
        Ok(argument)
    }

    /// Whether it matches this argument.
    pub fn matches(&self, text: &str) -> bool {
        self.plain.iter().any(|plain| plain == text) || self.like.iter().any(|like| like.matches(text.as_bytes()))
    }
}
