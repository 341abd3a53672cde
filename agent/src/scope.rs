//! How far an approval reaches: what a rule offers, and what a reviewer chooses of that.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::request::{seconds, span};

/// Longest time that an approval may stand for, in seconds.
pub const LONGEST: u32 = 24 * 3600;

/// What an approval is for: the one operation that was shown, or the same again as well. Nothing reaches beyond the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The operation that was shown, once.
    #[default]
    Once,
    /// The same operations of the same process, in all its threads, whatever it executes.
    Process,
    /// Those of all processes of the tree, until it ends.
    Tree,
    /// Likewise, for so many seconds.
    Time(u32),
}

impl Scope {
    /// Whether it is the one operation alone.
    pub fn is_once(&self) -> bool {
        *self == Self::Once
    }

    /// Whether a rule that offers these leaves a reviewer this choice. Once is always one, and so is a shorter time.
    pub fn is_offered(self, offered: &[Self]) -> bool {
        let covers = |offer: &Self| match (self, offer) {
            (Self::Time(time), Self::Time(most)) => time <= *most,
            _ => self == *offer,
        };
        self.is_once() || offered.iter().any(covers)
    }

    /// For people, after "approved for".
    pub fn words(self) -> String {
        match self {
            Self::Once => "this once".to_owned(),
            Self::Process => "this process".to_owned(),
            Self::Tree => "this tree until it ends".to_owned(),
            Self::Time(time) => format!("this tree for {}", span(time.into())),
        }
    }
}

/// Some scopes, as they are written: `once, tree, 30m`.
pub fn listed(offered: &[Scope]) -> String {
    let texts: Vec<_> = [Scope::Once].iter().chain(offered).map(Scope::to_string).collect();
    texts.join(", ")
}

/// As it is written; a time in its largest whole unit. Signed, so it never changes.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Once => f.write_str("once"),
            Self::Process => f.write_str("process"),
            Self::Tree => f.write_str("tree"),
            Self::Time(time) if time % 3600 == 0 => write!(f, "{}h", time / 3600),
            Self::Time(time) if time % 60 == 0 => write!(f, "{}m", time / 60),
            Self::Time(time) => write!(f, "{time}s"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time = |text| seconds(text).and_then(|time| u32::try_from(time).ok());
        match text {
            "once" => Ok(Self::Once),
            "process" => Ok(Self::Process),
            "tree" => Ok(Self::Tree),
            _ => match time(text).filter(|time| (1..=LONGEST).contains(time)) {
                Some(time) => Ok(Self::Time(time)),
                None => Err(format!("{text:?} is no scope: once, process, tree, or a time from \"1s\" to \"24h\"")),
            },
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_written_in_one_way() {
        for text in ["once", "process", "tree", "90s", "30m", "24h"] {
            assert_eq!(text.parse::<Scope>().map(|scope| scope.to_string()), Ok(text.to_owned()));
        }
        assert_eq!("60m".parse::<Scope>().map(|scope| scope.to_string()), Ok("1h".to_owned()));
        for bad in ["", "Tree", "host", "0s", "25h", "1441m", "30", "-1m", "99999999999999999999h", "always"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_offered_but_what_is_named_and_less_time() {
        let offered = [Scope::Tree, Scope::Time(1800)];
        for scope in [Scope::Once, Scope::Tree, Scope::Time(1), Scope::Time(1800)] {
            assert!(scope.is_offered(&offered), "{scope}");
        }
        for scope in [Scope::Process, Scope::Time(1801)] {
            assert!(!scope.is_offered(&offered), "{scope}");
        }
        assert!(Scope::Once.is_offered(&[]) && !Scope::Tree.is_offered(&[]));
        assert_eq!(listed(&offered), "once, tree, 30m");
    }
}
