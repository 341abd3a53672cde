//! `[[reviewer]]`.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    hash::Hash,
};

use ssh_key::PublicKey;
use toml::Spanned;

use super::{plain, tables};
use crate::policy::{
    person::{self, Person},
    problem::{Problem, Span},
    section::Section,
};

/// Keys of the table.
pub const REVIEWER_KEYS: [&str; 2] = ["name", "ssh"];

/// The members of each group of reviewers.
type Groups = BTreeMap<String, Vec<String>>;

/// All people of the policy, each of whom is a member of one of `groups`.
pub fn read_all(top: &Section<'_>, groups: &Groups, problems: &mut Vec<Problem>) -> Vec<Person> {
    let mut people = Vec::new();
    let (mut names, mut keys) = (HashMap::new(), HashMap::new());
    for value in tables(top, "reviewer", problems) {
        let Some(section) = Section::of("[[reviewer]]", value, &REVIEWER_KEYS, problems) else { continue };
        let (name, own) = read(&section, problems);
        let Some(name) = name else { continue };
        problems.extend(stranger(&name, groups));
        problems.extend(earlier(&mut names, &name).map(|place| again(&name, place)));
        problems.extend(own.iter().filter_map(|key| Some(of_another(key, earlier(&mut keys, key)?))));
        people.push(Person { name: name.into_inner(), keys: plain(Some(own)) });
    }
    people
}

fn read(section: &Section<'_>, problems: &mut Vec<Problem>) -> (Option<Spanned<String>>, Vec<Spanned<PublicKey>>) {
    let name = section.required("name", "add name = \"...\", as a group of [reviewers] has it", problems);
    if section.entry("ssh").is_none() {
        problems.push(section.lacks("ssh", "add ssh = [\"ssh-ed25519 AAAA...\"]"));
    }
    (name, section.texts("ssh", problems, person::key).unwrap_or_default())
}

/// The problem that nobody asks this person. A group with a problem of its own is empty here, and may have the name.
fn stranger(name: &Spanned<String>, groups: &Groups) -> Option<Problem> {
    let is_asked = groups.values().any(|members| members.is_empty() || members.contains(name.get_ref()));
    let message = format!("no group of reviewers has {:?}", name.get_ref());
    (!is_asked).then(|| Problem::new(name.span(), message, "add the name to a group of [reviewers], or remove this"))
}

/// The place of the same before this one, if there is one.
fn earlier<T: Clone + Eq + Hash>(known: &mut HashMap<T, Span>, value: &Spanned<T>) -> Option<Span> {
    match known.entry(value.get_ref().clone()) {
        Entry::Occupied(earlier) => Some(earlier.get().clone()),
        Entry::Vacant(new) => {
            new.insert(value.span());
            None
        }
    }
}

fn again(name: &Spanned<String>, earlier: Span) -> Problem {
    let message = format!("a reviewer named {:?} is there already", name.get_ref());
    Problem::new(name.span(), message, "write all keys of one person in one list").against(earlier)
}

fn of_another(key: &Spanned<PublicKey>, earlier: Span) -> Problem {
    let remedy = "a key answers in one name: remove one";
    Problem::new(key.span(), "this is another reviewer's key already", remedy).against(earlier)
}
