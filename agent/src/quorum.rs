//! How many of whom must approve, and how sure it has to be who that is.

use serde::{Deserialize, Serialize};

/// Most approvals that one hold can ask for, of all groups together.
pub const MOST: u32 = 16;

/// A group of reviewers that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How many of its members must approve. Each is another person, and counts for no other group.
    pub approvals: u32,
    /// Who belongs to it.
    pub members: Vec<String>,
}

/// How sure it is that an answer comes from its reviewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assurance {
    /// Another system says so: a chat, a webhook, a program.
    #[default]
    Basic,
    /// The reviewer has logged in here: on the review page, or on the host.
    Medium,
    /// The reviewer's key has signed what is approved.
    High,
}

impl Assurance {
    /// All, the least first.
    pub const ALL: [Self; 3] = [Self::Basic, Self::Medium, Self::High];

    /// Its word in policies and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// Serde asks by reference.
    pub fn is_basic(&self) -> bool {
        *self == Self::Basic
    }

    /// How one approves, so that it is sure enough.
    pub fn way(self) -> &'static str {
        match self {
            Self::Basic => "on any channel",
            Self::Medium => "on the review page, or by `holdpoint approve`",
            Self::High => "by `holdpoint approve --sign`",
        }
    }
}

/// Whether who asks may answer: runs it, launched it, or had logged in to do so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelfAnswer {
    /// Never.
    #[default]
    Refused,
    /// Like others, and the record says so.
    Allowed,
}

impl SelfAnswer {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Refused, Self::Allowed];

    /// Its word in policies and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Allowed => "allowed",
        }
    }

    /// Serde asks by reference.
    pub fn is_refused(&self) -> bool {
        *self == Self::Refused
    }
}

/// Somebody who approves.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    /// The reviewer.
    pub who: &'a str,
    /// The groups that the way here asks; all where it is nobody's channel.
    pub asks: Option<&'a [String]>,
}

impl Voice<'_> {
    /// Whether it can count for that group.
    pub fn counts_for(&self, group: &Group) -> bool {
        let is_asked = self.asks.is_none_or(|asks| asks.contains(&group.name));
        is_asked && group.members.iter().any(|member| member == self.who)
    }
}

/// How many of which groups are still missing once all `voices` have approved. One for whom there is no room, however those
/// before it move, is left out.
pub fn missing(groups: &[Group], voices: &[Voice<'_>]) -> Vec<(String, u32)> {
    let mut seats: Vec<_> =
        groups.iter().flat_map(|group| (0..group.approvals).map(move |_| Seat { group, taken: None })).collect();
    for voice in 0..voices.len() {
        seat(&mut seats, voices, voice, &mut vec![]);
    }
    let empty = |group: &Group| seats.iter().filter(|seat| seat.group == group && seat.taken.is_none()).count();
    let short = groups.iter().map(|group| (group.name.clone(), u32::try_from(empty(group)).unwrap_or(u32::MAX)));
    short.filter(|(_, count)| *count > 0).collect()
}

/// Whether somebody of that name belongs to one of them.
pub fn asks(groups: &[Group], who: &str) -> bool {
    groups.iter().any(|group| group.members.iter().any(|member| member == who))
}

/// Whether there are people enough, each counted once.
pub fn can_be_met(groups: &[Group]) -> bool {
    let mut people: Vec<_> = groups.iter().flat_map(|group| &group.members).collect();
    people.sort();
    people.dedup();
    let all: Vec<_> = people.into_iter().map(|who| Voice { who, asks: None }).collect();
    missing(groups, &all).is_empty()
}

/// Who is asked, in words, with the members.
pub fn named(groups: &[Group]) -> String {
    let one = |group: &Group| format!("{} ({})", phrase([(&group.name, group.approvals)]), group.members.join(", "));
    joined(groups.iter().map(one))
}

/// Likewise without them.
pub fn brief(groups: &[Group]) -> String {
    phrase(groups.iter().map(|group| (&group.name, group.approvals)))
}

/// The groups in words: `security`, `2 of security and privacy`.
pub fn phrase<'a>(groups: impl IntoIterator<Item = (&'a String, u32)>) -> String {
    let one = |(group, count): (&'a String, u32)| match count {
        1 => group.clone(),
        _ => format!("{count} of {group}"),
    };
    joined(groups.into_iter().map(one))
}

/// `a and b`.
pub fn joined(texts: impl IntoIterator<Item = String>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(" and ")
}

/// One of the approvals that are asked for.
struct Seat<'a> {
    group: &'a Group,
    /// Index of who has given it.
    taken: Option<usize>,
}

/// Finds a seat for `voice`, for which others may have to change theirs: somebody of both groups stands for the one that
/// nobody else is of. (An augmenting path in a bipartite graph.)
fn seat(seats: &mut [Seat<'_>], voices: &[Voice<'_>], voice: usize, tried: &mut Vec<usize>) -> bool {
    for index in 0..seats.len() {
        if tried.contains(&index) || !voices[voice].counts_for(seats[index].group) {
            continue;
        }
        tried.push(index);
        let free = match seats[index].taken {
            None => true,
            Some(other) => seat(seats, voices, other, tried),
        };
        if free {
            seats[index].taken = Some(voice);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, approvals: u32, members: &[&str]) -> Group {
        Group { name: name.into(), approvals, members: members.iter().map(|name| (*name).into()).collect() }
    }

    fn left(groups: &[Group], who: &[&str]) -> String {
        let voices: Vec<_> = who.iter().map(|who| Voice { who, asks: None }).collect();
        phrase(missing(groups, &voices).iter().map(|(group, count)| (group, *count)))
    }

    #[test]
    fn two_of_a_group_are_two_people() {
        let two = [group("security", 2, &["alice", "bob", "carol"])];
        assert_eq!(left(&two, &[]), "2 of security");
        assert_eq!(left(&two, &["bob"]), "security");
        assert_eq!(left(&two, &["mallory", "bob"]), "security");
        assert_eq!(left(&two, &["bob", "alice"]), "");
        assert_eq!(left(&two, &["bob", "alice", "carol"]), "");
    }

    #[test]
    fn who_is_of_both_groups_stands_for_the_one_that_needs_it_and_for_one_only() {
        let both = [group("security", 1, &["alice", "bob"]), group("privacy", 1, &["alice", "carol"])];
        assert_eq!(left(&both, &["alice"]), "privacy");
        assert_eq!(left(&both, &["alice", "bob"]), "", "alice moves over to privacy");
        assert_eq!(left(&both, &["alice", "carol"]), "");
        assert_eq!(left(&both, &["carol"]), "security");
        assert_eq!(left(&both, &["bob", "bob", "carol"]), "", "who adds nothing is in nobody's way");
    }

    #[test]
    fn a_channel_speaks_for_the_groups_that_it_asks() {
        let both = [group("security", 1, &["alice"]), group("privacy", 1, &["alice"])];
        let privacy = ["privacy".to_owned()];
        let voice = Voice { who: "alice", asks: Some(&privacy) };
        assert_eq!(missing(&both, &[voice]), [("security".into(), 1)]);
        assert_eq!(missing(&both[..1], &[voice]), [("security".into(), 1)]);
    }

    #[test]
    fn there_must_be_people_enough() {
        assert!(can_be_met(&[group("security", 2, &["alice", "bob"])]));
        assert!(!can_be_met(&[group("security", 2, &["alice"])]));
        assert!(can_be_met(&[group("a", 1, &["alice"]), group("b", 1, &["alice", "bob"])]));
        assert!(!can_be_met(&[group("a", 1, &["alice"]), group("b", 1, &["alice"])]));
    }

    /// Against all ways of giving people to groups.
    #[test]
    fn no_choice_of_people_is_missed() {
        let names = ["a", "b", "c", "d"];
        for masks in 0_u32..4096 {
            let members = |group: u32| {
                (0..4).filter(move |bit| masks >> (group * 4 + bit) & 1 == 1).map(|bit| names[bit as usize])
            };
            let groups: Vec<_> =
                (0..3).map(|index| group(&index.to_string(), 1, &members(index).collect::<Vec<_>>())).collect();
            let found = members(0).any(|x| members(1).any(|y| members(2).any(|z| x != y && y != z && x != z)));
            assert_eq!(can_be_met(&groups), found, "{groups:?}");
        }
    }
}
