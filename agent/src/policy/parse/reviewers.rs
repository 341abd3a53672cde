//! `[reviewers]`, the groups, and what a rule asks of them and leaves to them: `reviewers`, `assurance`, `self` and `scope`.

use std::collections::BTreeMap;

use toml::{Spanned, de::DeValue};

use super::{Names, plain, undefined, word};
use crate::{
    policy::{
        problem::{Flaw, Problem, Span},
        section::{self, Section},
    },
    quorum::{self, Assurance, Group, MOST, SelfAnswer},
    scope::Scope,
};

/// The groups of `[reviewers]` and their members.
pub fn groups(top: &Section<'_>, names: &mut Names, problems: &mut Vec<Problem>) -> BTreeMap<String, Vec<String>> {
    let Some((_, value)) = top.entry("reviewers") else { return BTreeMap::new() };
    let DeValue::Table(table) = value.get_ref() else {
        problems.push(section::wrong_type("reviewers", "a table", value.get_ref(), value.span()));
        return BTreeMap::new();
    };
    let known: Vec<_> = table.keys().map(|key| key.get_ref().as_ref()).collect();
    let section = Section::new("[reviewers]", value.span(), table, &known, problems);
    for (key, _) in section.entries() {
        let name = key.get_ref().to_string();
        if let Err(flaw) = word(&name) {
            problems.push(flaw.at(key.span()));
        }
        let members = section.texts(&name, problems, |member| Ok(member.to_owned()));
        for member in members.iter().flatten() {
            names.members.entry(member.get_ref().clone()).or_insert(member.span());
        }
        names.groups.insert(name, plain(members));
    }
    names.groups.clone()
}

/// Whom a rule that holds asks, and how many of them: `"security"`, or `{ security = 2, privacy = 1 }`.
pub fn asked(section: &Section<'_>, names: &Names, problems: &mut Vec<Problem>) -> Option<Vec<Group>> {
    let Some((_, value)) = section.entry("reviewers") else {
        let remedy = "a hold asks somebody: add reviewers = \"...\", a group of [reviewers]";
        problems.push(section.lacks("reviewers", remedy));
        return None;
    };
    let before = problems.len();
    let groups: Vec<_> = match value.get_ref() {
        DeValue::Table(table) => {
            let known: Vec<_> = table.keys().map(|key| key.get_ref().as_ref()).collect();
            let section = Section::new("reviewers", value.span(), table, &known, problems);
            let entries = section.entries().into_iter();
            entries.filter_map(|(key, count)| several(key.get_ref(), key.span(), count, names, problems)).collect()
        }
        _ => {
            let text = section.text("reviewers", problems)?;
            group(text.get_ref(), text.span(), 1, names, problems).into_iter().collect()
        }
    };
    if problems.len() == before {
        problems.extend(flaw(&groups).map(|flaw| flaw.at(value.span())));
    }
    (problems.len() == before).then_some(groups)
}

/// How sure it has to be who approves.
pub fn assurance(text: &str) -> Result<Assurance, Flaw> {
    let found = Assurance::ALL.into_iter().find(|assurance| assurance.word() == text);
    let words = Assurance::ALL.map(Assurance::word).join(", ");
    found.ok_or_else(|| Flaw::new(format!("unknown assurance {text:?}"), format!("one of: {words}")))
}

/// Whether the requester may answer.
pub fn own(text: &str) -> Result<SelfAnswer, Flaw> {
    let found = SelfAnswer::ALL.into_iter().find(|answer| answer.word() == text);
    let words = SelfAnswer::ALL.map(SelfAnswer::word).join(", ");
    found.ok_or_else(|| Flaw::new(format!("unknown self {text:?}"), format!("one of: {words}")))
}

/// What a rule lets an approval be for besides the one call: each once, and one time at most, which is the longest.
pub fn scopes(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<Vec<Scope>> {
    if section.entry("scope").is_none() {
        return Some(vec![]);
    }
    let before = problems.len();
    let read = section.texts("scope", problems, |text| match text.parse() {
        Ok(Scope::Once) => Err(Flaw::new("once is offered by every rule", "remove it")),
        Ok(scope) => Ok(scope),
        Err(_) => {
            Err(Flaw::new(format!("{text:?} is no scope"), "one of: process, tree, a time from \"1s\" to \"24h\""))
        }
    });
    let is_time = |scope: &&Spanned<Scope>| matches!(scope.get_ref(), Scope::Time(_));
    if let Some(second) = read.iter().flatten().filter(is_time).nth(1) {
        let remedy = "keep the longest: a reviewer may choose a shorter one";
        problems.push(Problem::new(second.span(), "a second time", remedy));
    }
    (problems.len() == before).then(|| plain(read))
}

fn several(
    name: &str,
    span: Span,
    count: &Spanned<DeValue<'_>>,
    names: &Names,
    problems: &mut Vec<Problem>,
) -> Option<Group> {
    let DeValue::Integer(number) = count.get_ref() else {
        problems.push(section::wrong_type(name, "an integer", count.get_ref(), count.span()));
        return None;
    };
    let number = u32::from_str_radix(number.as_str(), number.radix()).ok();
    let Some(approvals) = number.filter(|number| (1..=MOST).contains(number)) else {
        let remedy = format!("how many of {name} must approve: from 1 to {MOST}");
        problems.push(Problem::new(count.span(), "no such number of people can approve", remedy));
        return None;
    };
    group(name, span, approvals, names, problems)
}

fn group(name: &str, span: Span, approvals: u32, names: &Names, problems: &mut Vec<Problem>) -> Option<Group> {
    let Some(members) = names.groups.get(name) else {
        problems.push(undefined("group of reviewers", name, names.groups.keys()).at(span));
        return None;
    };
    Some(Group { name: name.to_owned(), approvals, members: members.clone() })
}

/// What keeps the groups from ever approving. That of a group whose members are not known is told already.
fn flaw(groups: &[Group]) -> Option<Flaw> {
    let all: u32 = groups.iter().map(|group| group.approvals).sum();
    if all == 0 {
        return Some(Flaw::new("reviewers is an empty table", "name a group, and how many of it must approve"));
    }
    if all > MOST {
        return Some(Flaw::new(format!("{all} people would have to approve"), format!("at most {MOST}")));
    }
    if groups.iter().any(|group| group.members.is_empty()) || quorum::can_be_met(groups) {
        return None;
    }
    let message = format!("there are too few people for {}", quorum::named(groups));
    Some(Flaw::new(message, "everybody counts once: ask for fewer, or add members to [reviewers]"))
}
