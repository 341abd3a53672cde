//! A policy of several files: which of them are for a host, and the one tree that these make.

use std::collections::BTreeSet;

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    host::{Host, HostPattern, Hosts},
    parse::{plain, syntax, taken},
    problem::Problem,
    section::Section,
    source::Source,
};

/// A key that only the main file has.
const MODE: &str = "mode";
/// A key that only the others have.
const HOST: &str = "host";

/// One file.
pub struct Part<'a> {
    /// What it says, without [`HOST`]; the spans are those of the source.
    table: DeTable<'a>,
    /// The hosts that it is for.
    hosts: Hosts,
}

impl Part<'_> {
    /// Whether it is for `host`.
    pub fn is_for(&self, host: &Host) -> bool {
        self.hosts.has(host)
    }
}

/// All files of `source`, or what is wrong with them whatever the host.
pub fn read(source: &Source) -> Result<Vec<Part<'_>>, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut parts = Vec::new();
    for (begin, file) in source.begun() {
        let (tree, errors) = DeTable::parse_recoverable(&file.text);
        problems.extend(errors.iter().map(|error| syntax(error, begin)));
        parts.push(part(moved(tree.into_inner(), begin), parts.is_empty(), &mut problems));
    }
    if problems.is_empty() { Ok(parts) } else { Err(problems) }
}

fn part<'a>(mut table: DeTable<'a>, is_main: bool, problems: &mut Vec<Problem>) -> Part<'a> {
    let known: Vec<_> = table.keys().map(|key| key.get_ref().as_ref()).collect();
    let section = Section::new("a file", 0..0, &table, &known, problems);
    let (misplaced, message, remedy) = match is_main {
        true => (HOST, "the main file is for every host", "move what is for some to a file of its own beside it"),
        false => (MODE, "mode is for the main file only", "write it there: it is for the whole policy"),
    };
    problems.extend(section.entry(misplaced).map(|(span, _)| Problem::new(span, message, remedy)));
    let hosts = Hosts::new(plain(section.texts(HOST, problems, HostPattern::parse)));
    table.remove(HOST);
    Part { table, hosts }
}

/// One host for each choice of files that there is some host for, as far as the patterns show it; `first` is the first.
pub fn hosts(source: &Source, first: &Host) -> Vec<Host> {
    let parts = read(source).unwrap_or_default();
    let samples = parts.iter().flat_map(|part| part.hosts.samples());
    let all = [first.clone()].into_iter().chain(samples).chain([Host::named("")]);
    let mut choices = BTreeSet::new();
    let choice = |host: &Host| parts.iter().map(|part| part.is_for(host)).collect::<Vec<_>>();
    all.filter(|host| choices.insert(choice(host))).collect()
}

/// The tree of what is for `host`: the elements of lists one after the other, and the keys of all tables.
pub fn joined<'a>(parts: Vec<Part<'a>>, host: &Host, problems: &mut Vec<Problem>) -> DeTable<'a> {
    let mut whole = DeTable::new();
    for (key, value) in parts.into_iter().filter(|part| part.is_for(host)).flat_map(|part| part.table) {
        let name = key.get_ref().to_string();
        match whole.get_key_value(&*name).map(|(key, _)| key.span()) {
            None => _ = whole.insert(key, value),
            Some(earlier) => {
                let there = whole.get_mut(&*name).expect("it was found").get_mut();
                match (there, value.into_inner()) {
                    (DeValue::Array(there), DeValue::Array(more)) => more.into_iter().for_each(|one| there.push(one)),
                    (DeValue::Table(there), DeValue::Table(more)) => add_names(there, more, &name, problems),
                    _ => {
                        let message = format!("{name} is there already, and is something else");
                        problems.push(Problem::new(key.span(), message, "write it as it is there").against(earlier));
                    }
                }
            }
        }
    }
    whole
}

fn add_names<'a>(there: &mut DeTable<'a>, more: DeTable<'a>, what: &str, problems: &mut Vec<Problem>) {
    let one = match what {
        "reviewers" => "group",
        "labels" => "label",
        "lists" => "list",
        other => other,
    };
    for (key, value) in more {
        match there.get_key_value(&**key.get_ref()) {
            Some((earlier, _)) => problems.push(taken(one, key.get_ref(), key.span(), earlier.span())),
            None => _ = there.insert(key, value),
        }
    }
}

/// The same, `by` bytes further on.
fn moved(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    if by == 0 {
        return table;
    }
    let further = |span: std::ops::Range<usize>| span.start + by..span.end + by;
    let entries = table.into_iter().map(|(key, value)| {
        let span = further(key.span());
        (Spanned::new(span, key.into_inner()), moved_value(value, by))
    });
    entries.collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Array(list) => {
            DeValue::Array(list.into_iter().map(|one| moved_value(one, by)).collect::<DeArray<'_>>())
        }
        DeValue::Table(table) => DeValue::Table(moved(table, by)),
        other => other,
    };
    Spanned::new(span.start + by..span.end + by, value)
}
