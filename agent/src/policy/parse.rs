//! From the text of a policy to [`Policy`]. Pure; reports every problem it finds: first what keeps its files from being
//! one, then what is wrong with that.

pub mod dns;
pub mod escalation;
pub mod label;
pub mod mask;
pub mod person;
mod reviewers;
pub mod rule;

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    net::IpAddr,
    path::PathBuf,
};

use sha2::{Digest, Sha256};
use toml::{Spanned, de::DeValue};

use super::{
    Label, Person, Policy, Rule, Subject,
    host::Host,
    lists,
    only::User,
    parts,
    pattern::{Pattern, absolute},
    problem::{Flaw, Problem, Refusal, Span},
    reach,
    section::Section,
    source::{File, Source},
};
use crate::{mask::Masks, request::hexadecimal};

pub const TOP_KEYS: [&str; 10] =
    ["mode", "host", "lists", "subject", "reviewers", "reviewer", "labels", "dns", "mask", "rule"];
pub const SUBJECT_KEYS: [&str; 8] = ["name", "exe", "parent", "cgroup", "unit", "container", "user", "group"];

/// Where container engines put containers: docker, podman, nerdctl, containerd's and CRI-O's with the systemd driver;
/// docker's, podman's and the kubelet's with cgroupfs.
const CONTAINERS: [&str; 8] = [
    "**/docker-ID.scope",
    "**/libpod-ID.scope",
    "**/nerdctl-ID.scope",
    "**/cri-containerd-ID.scope",
    "**/crio-ID.scope",
    "/docker/ID",
    "/libpod_parent/libpod-ID",
    "/kubepods/**/ID",
];
/// Hexadecimal digits of a container's id. By their number it is told from what is beside it: `libpod-conmon-ID.scope`.
const ID_DIGITS: usize = 64;

/// Longest name of a subject or of a group.
const WORD_LIMIT: usize = 64;

/// What rules can refer to.
#[derive(Default)]
pub struct Names {
    /// Names of the subjects, in the order of the file. A bad subject keeps its place.
    subjects: Vec<Option<String>>,
    /// The groups of reviewers and their members; of bad ones none.
    groups: BTreeMap<String, Vec<String>>,
    /// Where each member is named first.
    members: HashMap<String, Span>,
    /// The labels, also bad ones.
    labels: Vec<Label>,
}

/// The policy that `source` spells for `host`.
pub fn parse(source: Source, host: &Host) -> Result<Policy, Refusal> {
    match read(&source, host) {
        Ok(read) => {
            let Read { here, observes, resolvers, masks, subjects, groups, people, labels, rules, idle } = read;
            let (host, digest) = (host.clone(), digest(&source));
            Ok(Policy {
                source,
                host,
                here,
                observes,
                resolvers,
                masks,
                subjects,
                groups,
                people,
                labels,
                rules,
                idle,
                digest,
            })
        }
        Err(problems) => Err(Refusal::new(source, problems)),
    }
}

/// SHA-256 of a policy that is one file; of several, that of the lines which `sha256sum` prints of them.
fn digest(source: &Source) -> String {
    let sum = |text: &str| hexadecimal(&Sha256::digest(text));
    let directory = source.name().rsplit_once('/').map_or(0, |(directory, _)| directory.len() + 1);
    let line = |file: &File| format!("{}  {}\n", sum(&file.text), &file.name[directory..]);
    match source.files.as_slice() {
        [one] => sum(&one.text),
        files => sum(&files.iter().map(line).collect::<String>()),
    }
}

/// What a source says for a host.
struct Read {
    here: Vec<bool>,
    observes: bool,
    resolvers: Option<Vec<IpAddr>>,
    masks: Masks,
    subjects: Vec<Subject>,
    groups: BTreeMap<String, Vec<String>>,
    people: Vec<Person>,
    labels: Vec<Label>,
    rules: Vec<Rule>,
    idle: Vec<Problem>,
}

fn read(source: &Source, host: &Host) -> Result<Read, Vec<Problem>> {
    let parts = parts::read(source)?;
    let here = parts.iter().map(|part| part.is_for(host)).collect();
    let mut problems = Vec::new();
    let mut whole = parts::joined(parts, host, &mut problems);
    let uses = lists::put(&mut whole, source.end(), &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let top = Section::new("a policy", 0..0, &whole, &TOP_KEYS, &mut problems);
    let mut names = Names::default();
    let observes = observes(&top, &mut problems);
    let resolvers = dns::read(&top, &mut problems);
    let masks = mask::read_all(&top, &mut problems);
    let subjects = subjects(&top, &mut names, &mut problems);
    let groups = reviewers::groups(&top, &mut names, &mut problems);
    let people = person::read_all(&top, &names, &mut problems);
    names.labels = label::read_all(&top, &mut problems);
    let rules = rules(&top, &names, &mut problems);
    if problems.is_empty() {
        problems.extend(reach::problems(&subjects, &rules, source));
    }
    match problems.is_empty() {
        true => {
            let (labels, idle) = (names.labels, uses.idle);
            Ok(Read { here, observes, resolvers, masks, subjects, groups, people, labels, rules, idle })
        }
        false => Err(uses.located(problems)),
    }
}

/// Whether the policy, or the rule, is to be seen at work before it is in force.
pub fn observes(top: &Section<'_>, problems: &mut Vec<Problem>) -> bool {
    let Some(mode) = top.text("mode", problems) else { return false };
    match mode.get_ref().as_str() {
        "enforce" => false,
        "observe" => true,
        other => {
            problems.push(Problem::new(mode.span(), format!("unknown mode {other:?}"), "one of: enforce, observe"));
            false
        }
    }
}

/// What is wrong with the TOML of a file that begins at `begin`.
pub fn syntax(error: &toml::de::Error, begin: usize) -> Problem {
    let remedy = "write it as TOML, see https://toml.io";
    let span = error.span().unwrap_or(0..0);
    Problem::new(span.start + begin..span.end + begin, error.message().to_owned(), remedy)
}

fn subjects(top: &Section<'_>, names: &mut Names, problems: &mut Vec<Problem>) -> Vec<Subject> {
    let mut subjects: Vec<Subject> = Vec::new();
    if top.entry("subject").is_none() {
        problems.push(Problem::new(0..0, "the policy has no subject", "add [[subject]] with a name"));
    }
    for value in tables(top, "subject", problems) {
        let Some(section) = Section::of("[[subject]]", value, &SUBJECT_KEYS, problems) else { continue };
        let subject = subject(&section, problems);
        names.subjects.push(subject.as_ref().map(|subject| subject.name.clone()));
        let Some(subject) = subject else { continue };
        if let Some(earlier) = subjects.iter().find(|earlier| earlier.name == subject.name) {
            problems.push(taken("subject", &subject.name, subject.span.clone(), earlier.span.clone()));
        }
        subjects.push(subject);
    }
    subjects
}

fn subject(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<Subject> {
    let name = section.required("name", "add name = \"...\"", problems);
    let exe = section.texts("exe", problems, |path| absolute(path, path));
    let cgroup = section.texts("cgroup", problems, control_group);
    let unit = section.texts("unit", problems, unit);
    let container = section.texts("container", problems, container);
    let users = plain(section.texts("user", problems, User::parse));
    let groups = plain(section.texts("group", problems, User::group));
    let parent = parent(section, problems);
    let name = name?;
    let span = name.span();
    if let Err(flaw) = word(name.get_ref()) {
        problems.push(flaw.at(span.clone()));
    }
    let (exe, mut cgroup) = (plain(exe), [plain(cgroup), plain(unit), plain(container)].concat().concat());
    if exe.is_empty() && cgroup.is_empty() && !(users.is_empty() && groups.is_empty()) {
        cgroup = vec![Pattern::everything()];
    }
    Some(Subject { name: name.into_inner(), exe, cgroup, users, groups, parent, span })
}

/// The programs that must execute it: of what is told by its control group, nobody executes anything.
fn parent(section: &Section<'_>, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let parent = plain(section.texts("parent", problems, |path| absolute(path, path)));
    if let Some((span, _)) = section.entry("parent") {
        if section.entry("exe").is_none() {
            problems.push(Problem::new(span, "parent says by what exe is executed", "add exe = [\"...\"]"));
        } else if ["cgroup", "unit", "container"].iter().any(|key| section.entry(key).is_some()) {
            let remedy = "write two subjects: one with exe and parent, one with cgroup, unit or container";
            problems.push(Problem::new(span, "parent goes with exe alone", remedy));
        }
    }
    parent
}

/// The control groups that `text` names, with all below them.
fn control_group(text: &str) -> Result<Vec<Pattern>, Flaw> {
    match text {
        "/" | "/**" => Err(Flaw::new(
            format!("{text:?} is the control group of every process"),
            "name the group of a service or a session, or a user",
        )),
        text => Ok(Pattern::parse(text)?.into_iter().map(Pattern::with_all_below).collect()),
    }
}

/// The control groups of a unit of systemd, wherever it has put them.
fn unit(text: &str) -> Result<Vec<Pattern>, Flaw> {
    match text.rsplit_once('.') {
        Some((_, "service" | "scope" | "slice")) if !text.contains('/') => control_group(&format!("**/{text}")),
        _ => Err(Flaw::new(
            format!("{text:?} is not a unit with processes of its own"),
            "name a service, a scope or a slice in full: \"agent.service\"",
        )),
    }
}

/// The control groups of containers whose id begins so, wherever their engine has put them.
fn container(text: &str) -> Result<Vec<Pattern>, Flaw> {
    let beginning = text.strip_suffix('*').filter(|beginning| beginning.bytes().all(|digit| digit.is_ascii_hexdigit()));
    let id = match beginning {
        Some("") => "?".repeat(ID_DIGITS),
        Some(_) => text.to_owned(),
        None => {
            let remedy = "write \"*\" for every container, or the beginning of an id and *: \"3f2a9c41d0e7*\"";
            return Err(Flaw::new(format!("{text:?} is not the beginning of a container's id"), remedy));
        }
    };
    let groups = CONTAINERS.iter().map(|layout| control_group(&layout.replace("ID", &id)));
    groups.collect::<Result<Vec<_>, _>>().map(|groups| groups.concat())
}

fn rules(top: &Section<'_>, names: &Names, problems: &mut Vec<Problem>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut known: HashMap<String, Span> = HashMap::new();
    for value in tables(top, "rule", problems) {
        let Some(rule) = rule::read(value, names, problems) else { continue };
        match known.entry(rule.name.clone()) {
            Entry::Occupied(earlier) => {
                problems.push(taken("rule", &rule.name, rule.span.clone(), earlier.get().clone()));
            }
            Entry::Vacant(new) => _ = new.insert(rule.span.clone()),
        }
        rules.push(rule);
    }
    rules
}

/// The tables of `[[key]]`.
pub fn tables<'a>(top: &Section<'a>, key: &str, problems: &mut Vec<Problem>) -> &'a [Spanned<DeValue<'a>>] {
    match top.entry(key) {
        Some((_, value)) if value.get_ref().is_table() => {
            let remedy = format!("write [[{key}]], also for one");
            problems.push(Problem::new(value.span(), format!("{key} is one table"), remedy));
            &[]
        }
        _ => top.list(key, problems).unwrap_or(&[]),
    }
}

/// Whether the text can be a name that others refer to.
pub fn word(text: &str) -> Result<(), Flaw> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.chars().all(good) && (1..=WORD_LIMIT).contains(&text.len()) {
        true => Ok(()),
        false => Err(Flaw::new(
            format!("{text:?} is not a name"),
            format!("letters, digits, - _ and . only, at most {WORD_LIMIT}"),
        )),
    }
}

/// The problem that a name is there already.
pub fn taken(what: &str, name: &str, span: Span, earlier: Span) -> Problem {
    Problem::new(span, format!("a {what} named {name:?} is there already"), "give it another name").against(earlier)
}

/// The flaw that nothing of that kind has the name.
pub fn undefined<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Flaw {
    let known: Vec<_> = known.map(String::as_str).collect();
    let remedy = match known.is_empty() {
        true => "none is defined".to_owned(),
        false => format!("define it, or one of: {}", known.join(", ")),
    };
    Flaw::new(format!("no {what} is named {name:?}"), remedy)
}

pub fn plain<T>(values: Option<Vec<Spanned<T>>>) -> Vec<T> {
    values.into_iter().flatten().map(Spanned::into_inner).collect()
}
