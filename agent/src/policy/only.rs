//! What a rule asks for beside what it is about: who, when, what kind of file.

use std::fmt;

use holdpoint_common::tables::{Schedule, WEEK, protocol};

use super::{argument::Argument, host_name::HostName, pattern::Pattern, problem::Flaw};

/// A rule applies only where all of this holds; what is empty asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only {
    /// The asking process, or its tree, has read data with one of these labels.
    pub labels: Vec<String>,
    /// Who asks is one of these.
    pub users: Vec<User>,
    /// Who asks has logged in as one of these.
    pub logins: Vec<User>,
    /// Who asks belongs to one of these groups.
    pub groups: Vec<User>,
    /// Who owns the file is one of these.
    pub owners: Vec<User>,
    /// The file has one of these bits of `i_mode`.
    pub modes: u32,
    /// The file is a socket.
    pub socket: bool,
    /// The socket has one of these protocols: bits of [`protocol`].
    pub protocols: u32,
    /// The destination was looked up by one of these names.
    pub hosts: Vec<HostName>,
    /// Who asks works in a directory that one of these accepts.
    pub workplaces: Vec<Pattern>,
    /// It is one of these minutes of the week.
    pub during: Option<Schedule>,
    /// Each of these matches one of the arguments.
    pub arguments: Vec<Argument>,
    /// And even then the next rule counts: what this one would do is only noted.
    pub observes: bool,
}

impl Only {
    /// Whether it asks for nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it asks for nothing but arguments.
    pub fn is_unconditional(&self) -> bool {
        Self { arguments: Vec::new(), ..self.clone() }.is_nothing()
    }
}

/// A user of the host, or a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum User {
    /// By name.
    Name(String),
    /// By number.
    Number(u32),
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl User {
    /// The user that `text` names.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        Self::spelled(text).ok_or_else(|| Flaw::new(format!("{text:?} is not a user"), "write a user's name or number"))
    }

    /// The group that `text` names.
    pub fn group(text: &str) -> Result<Self, Flaw> {
        Self::spelled(text)
            .ok_or_else(|| Flaw::new(format!("{text:?} is not a group"), "write a group's name or number"))
    }

    fn spelled(text: &str) -> Option<Self> {
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || "-_.@$".contains(c);
        text.chars().all(good).then(|| Self::Name(text.to_owned()))
    }
}

/// What `mode` can ask for, with the bits of `i_mode`.
const MODES: [(&str, u32); 5] =
    [("setuid", 0o4000), ("setgid", 0o2000), ("executable", 0o111), ("world-readable", 0o4), ("world-writable", 0o2)];

/// The bits of `i_mode` that `text` names.
pub fn mode(text: &str) -> Result<u32, Flaw> {
    named("mode", &MODES, text)
}

/// What `protocol` can ask for.
const PROTOCOLS: [(&str, u32); 5] = [
    ("tcp", protocol::TCP),
    ("udp", protocol::UDP),
    ("sctp", protocol::SCTP),
    ("mptcp", protocol::MPTCP),
    ("other", protocol::OTHER),
];

/// The bit of the protocol that `text` names.
pub fn protocol(text: &str) -> Result<u32, Flaw> {
    named("protocol", &PROTOCOLS, text)
}

fn named(what: &str, known: &[(&str, u32)], text: &str) -> Result<u32, Flaw> {
    let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
    let found = known.iter().find(|(word, _)| *word == text).map(|(_, bits)| *bits);
    found.ok_or_else(|| Flaw::new(format!("unknown {what} {text:?}"), format!("one of: {}", words.join(", "))))
}

/// The days of the week, as a policy writes them; the first is that of minute 0.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

const DAY: u32 = 24 * 60;

/// The minutes of the week that the texts together spell: `Mon-Fri 09:00-17:00`, `Sat,Sun`, `22:00-06:00`, each with
/// `not ` before it if the others are meant.
pub fn during(texts: &[String]) -> Schedule {
    let mut minutes = [0; Schedule::WORDS];
    for text in texts {
        let times = Times::parse(text).expect("each was looked at before");
        for minute in (0..WEEK).filter(|minute| times.has(*minute)) {
            minutes[minute as usize / 64] |= 1 << (minute % 64);
        }
    }
    Schedule { minutes }
}

/// Some minutes of each of some days, or all others. A range that ends before it begins ends on the next day.
#[derive(Clone, Debug)]
pub struct Times {
    others: bool,
    days: Vec<u32>,
    from: u32,
    length: u32,
}

impl Times {
    fn has(&self, minute: u32) -> bool {
        self.days.iter().any(|day| (minute + WEEK - day * DAY + WEEK - self.from) % WEEK < self.length) != self.others
    }

    /// The times that `text` spells.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let not_times = || {
            let remedy =
                "write days, times or both: \"Mon-Fri 09:00-17:00\", \"Sat,Sun\", \"22:00-06:00\", \"not Mon\"";
            Flaw::new(format!("{text:?} is not a time of the week"), remedy)
        };
        let plain = text.strip_prefix("not ").unwrap_or(text);
        let (spelled_days, spelled_hours) = match plain.split_once(' ') {
            Some((days, hours)) => (Some(days), Some(hours)),
            None if plain.contains(':') => (None, Some(plain)),
            None => (Some(plain), None),
        };
        let days = spelled_days.map_or_else(|| Some((0..7).collect()), days).ok_or_else(not_times)?;
        let (from, length) = spelled_hours.map_or(Some((0, DAY)), hours).ok_or_else(not_times)?;
        Ok(Self { others: plain != text, days, from, length })
    }
}

/// The minute of the week that `text` names: `Mon 14:30`.
pub fn moment(text: &str) -> Result<u32, Flaw> {
    let spelled = text.split_once(' ').and_then(|(spelled, hour)| Some(day(spelled)? * DAY + minute(hour)?));
    let known = spelled.filter(|minute| *minute < WEEK);
    known.ok_or_else(|| {
        Flaw::new(format!("{text:?} is not a moment of the week"), "write a day and a time: \"Mon 14:30\"")
    })
}

/// The minute of the week as [`moment`] reads it.
pub fn shown_moment(minute: u32) -> String {
    let (day, of_day) = (minute / DAY % 7, minute % DAY);
    format!("{} {:02}:{:02}", DAYS[day as usize], of_day / 60, of_day % 60)
}

/// The words for the bits of `mode` that a rule asks for.
pub fn mode_words(bits: u32) -> Vec<&'static str> {
    MODES.iter().filter(|(_, word)| bits & word == *word).map(|(word, _)| *word).collect()
}

/// The words for the protocols in a mask.
pub fn protocol_words(bits: u32) -> Vec<&'static str> {
    PROTOCOLS.iter().filter(|(_, bit)| bits & bit != 0).map(|(word, _)| *word).collect()
}

/// Every word that `mode` knows.
pub fn all_modes() -> Vec<&'static str> {
    MODES.map(|(word, _)| word).to_vec()
}

/// Every word that `protocol` knows.
pub fn all_protocols() -> Vec<&'static str> {
    PROTOCOLS.map(|(word, _)| word).to_vec()
}

fn days(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        all.extend((0..=(last + 7 - first) % 7).map(|step| (first + step) % 7));
    }
    Some(all)
}

fn day(text: &str) -> Option<u32> {
    DAYS.iter().position(|day| *day == text).map(|index| index as u32)
}

/// First minute and number of minutes.
fn hours(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minute(from)?, minute(to)?);
    (from < DAY && from != to).then(|| (from, (to + DAY - from - 1) % DAY + 1))
}

fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| if text.len() == 2 { text.parse::<u32>().ok() } else { None };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}
