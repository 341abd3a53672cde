//! Test files: requests, and what the policy should say of them. `NAME.test.toml` stands beside `NAME.toml`.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use holdpoint_common::{request::Class, tables::Verdict};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Host, LoadError, Refusal, Source,
    asked::{self, Asked, NOON, What},
    host_name, load,
    only::{self, User},
    parse::{plain, rule, syntax, tables},
    problem::{Flaw, Problem, Span},
    section::{Section, wrong_type},
};

const TOP_KEYS: [&str; 3] = ["policy", "host", "case"];
const CASE_KEYS: [&str; 15] = [
    "name", "host", "subject", "open", "exec", "connect", "system", "user", "login", "group", "cwd", "at", "if_read",
    "expect", "rule",
];
const OPERATIONS: [&str; 4] = ["open", "exec", "connect", "system"];
const ONE_OPERATION: &str = "exactly one of: open = { path = \"...\" }, exec = { path = \"...\" }, \
                             connect = { to = \"...\", port = 443 }, system = \"...\"";
const EXPECT: &str = "one of: allow, audit, hold, deny, kill";

/// How the file of tests beside a policy ends.
pub const ENDING: &str = ".test.toml";

/// What a test file says.
#[derive(Debug)]
pub struct Cases {
    /// The file.
    pub source: Source,
    /// The policy that it is about.
    pub policy: PathBuf,
    /// What is asked.
    pub cases: Vec<Case>,
}

/// One question, and the right answer.
#[derive(Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The host that is asked about, if that is said.
    pub host: Option<Host>,
    /// The request.
    pub asked: Asked,
    /// What should follow.
    pub expect: Verdict,
    /// The rule that should decide, if that is said.
    pub rule: Option<String>,
    /// Its place in the source.
    pub span: Span,
}

/// The test file of a policy, or the file itself if it is one.
pub fn test_file(file: &Path) -> PathBuf {
    match file.to_string_lossy() {
        name if name.ends_with(ENDING) => file.to_owned(),
        name => PathBuf::from(format!("{}{ENDING}", name.strip_suffix(".toml").unwrap_or(&name))),
    }
}

/// The cases in `file`.
pub fn read(file: &Path) -> Result<Cases, LoadError> {
    Ok(parse(load::one(file)?)?)
}

/// The cases that `source` spells.
pub fn parse(source: Source) -> Result<Cases, Refusal> {
    let mut problems = Vec::new();
    match cases(&source, &mut problems) {
        Some((policy, cases)) if problems.is_empty() => Ok(Cases { source, policy, cases }),
        _ => Err(Refusal::new(source, problems)),
    }
}

fn cases(source: &Source, problems: &mut Vec<Problem>) -> Option<(PathBuf, Vec<Case>)> {
    let file = source.files.first()?;
    let (tree, errors) = DeTable::parse_recoverable(&file.text);
    problems.extend(errors.iter().map(|error| syntax(error, 0)));
    if !problems.is_empty() {
        return None;
    }
    let top = Section::new("a test file", 0..0, tree.get_ref(), &TOP_KEYS, problems);
    if top.entry("case").is_none() {
        problems.push(Problem::new(0..0, "the file has no case", "add [[case]] with a name"));
    }
    let policy = top.text("policy", problems).map(Spanned::into_inner);
    let host = host(&top, problems);
    let cases =
        tables(&top, "case", problems).iter().filter_map(|value| case(value, host.as_ref(), problems)).collect();
    Some((beside(&file.name, policy), cases))
}

/// The policy that the test file names, or that has its name.
fn beside(file: &str, policy: Option<String>) -> PathBuf {
    match policy {
        Some(policy) => Path::new(file).parent().unwrap_or(Path::new("")).join(policy),
        None => PathBuf::from(format!("{}.toml", file.strip_suffix(ENDING).unwrap_or(file))),
    }
}

/// The host that a table names.
fn host(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<Host> {
    section.text("host", problems).map(|name| Host::named(name.get_ref()))
}

/// `everywhere` is the host that all cases are about unless they say another.
fn case(value: &Spanned<DeValue<'_>>, everywhere: Option<&Host>, problems: &mut Vec<Problem>) -> Option<Case> {
    let section = Section::of("[[case]]", value, &CASE_KEYS, problems)?;
    let name = section.required("name", "add name = \"...\"", problems);
    let subject = section.required("subject", "add subject = \"...\", a subject of the policy", problems);
    let host = host(&section, problems).or_else(|| everywhere.cloned());
    let user = read_text(&section, "user", problems, User::parse);
    let login = read_text(&section, "login", problems, User::parse);
    let groups = match section.entry("group") {
        None => Vec::new(),
        Some(_) => plain(section.texts("group", problems, User::group)),
    };
    let cwd = read_text(&section, "cwd", problems, asked::path);
    let at = read_text(&section, "at", problems, only::moment);
    let read = match section.entry("if_read") {
        None => Vec::new(),
        Some(_) => plain(section.texts("if_read", problems, |label| Ok(label.to_owned()))),
    };
    let rule = section.text("rule", problems).map(Spanned::into_inner);
    let what = what(&section, problems);
    if section.entry("expect").is_none() {
        problems.push(section.lacks("expect", &format!("add expect = \"...\", {EXPECT}")));
    }
    let expect = read_text(&section, "expect", problems, verdict);
    let name = name?;
    let asked =
        Asked { subject: subject?.into_inner(), user, login, groups, cwd, at: at.unwrap_or(NOON), read, what: what? };
    Some(Case { span: name.span(), name: name.into_inner(), host, asked, expect: expect?, rule })
}

fn what(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<What> {
    let present: Vec<_> = OPERATIONS.iter().filter_map(|key| Some((*key, section.entry(key)?))).collect();
    match present.as_slice() {
        [("open", (_, value))] => open(value, problems),
        [("exec", (_, value))] => exec(value, problems),
        [("connect", (_, value))] => connect(value, problems),
        [_] => read_text(section, "system", problems, rule::operation).map(What::System),
        [] => {
            problems.push(Problem::new(section.span.clone(), "[[case]] has no operation", ONE_OPERATION));
            None
        }
        [_, (key, (span, _)), ..] => {
            problems.push(Problem::new(span.clone(), format!("{key} is a second operation"), ONE_OPERATION));
            None
        }
    }
}

fn open(value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Option<What> {
    let section = Section::of("open", value, &["path", "access", "owner", "mode"], problems)?;
    let access = match section.entry("access") {
        None => Class::Read.bit(),
        Some(_) => asked::access(section.texts("access", problems, rule::access)?.iter().map(|bits| *bits.get_ref())),
    };
    file(&section, access, Vec::new(), problems)
}

fn exec(value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Option<What> {
    let section = Section::of("exec", value, &["path", "args", "owner", "mode"], problems)?;
    let args = match section.entry("args") {
        None => Vec::new(),
        Some((_, list)) => texts(list, problems)?,
    };
    file(&section, Class::Exec.bit(), args, problems)
}

/// Arguments: other than in the lists of a policy, one may stand there twice.
fn texts(list: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Option<Vec<String>> {
    let read = super::section::elements("args", list).and_then(|elements| {
        elements.iter().map(|element| super::section::text("args", element).map(Spanned::into_inner)).collect()
    });
    read.map_err(|problem| problems.push(problem)).ok()
}

fn file(section: &Section<'_>, access: u32, args: Vec<String>, problems: &mut Vec<Problem>) -> Option<What> {
    if section.entry("path").is_none() {
        problems.push(section.lacks("path", "add path = \"/...\", one file"));
    }
    let path = read_text(section, "path", problems, asked::path);
    let (owner, mode) = kind(section, problems);
    Some(What::File { path: path?, access, args, owner, mode })
}

/// Whose file it is, and its mode; 0 if that is not said.
fn kind(section: &Section<'_>, problems: &mut Vec<Problem>) -> (Option<User>, u32) {
    let owner = read_text(section, "owner", problems, User::parse);
    (owner, read_text(section, "mode", problems, asked::mode).unwrap_or(0))
}

fn connect(value: &Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Option<What> {
    let section =
        Section::of("connect", value, &["to", "port", "protocol", "name", "unix", "owner", "mode"], problems)?;
    if section.entry("unix").is_some() {
        return socket(&section, problems);
    }
    for (key, (span, _)) in ["owner", "mode"].iter().filter_map(|key| Some((key, section.entry(key)?))) {
        problems.push(Problem::new(span, format!("{key} is of a socket that has a path"), "write it beside unix"));
    }
    if section.entry("to").is_none() {
        problems.push(section.lacks("to", "add to = \"10.0.0.1\", one address"));
    }
    let to: Option<IpAddr> = read_text(&section, "to", problems, asked::address);
    let port = port(&section, problems);
    let names = read_text(&section, "name", problems, host_name::asked).into_iter().collect();
    let protocol = match section.entry("protocol") {
        None => asked::protocol("tcp").ok(),
        Some(_) => read_text(&section, "protocol", problems, asked::protocol),
    };
    Some(What::Connect { to: to?, port: port?, protocol: protocol?, names })
}

fn socket(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<What> {
    for (key, (span, _)) in ["to", "port", "protocol"].iter().filter_map(|key| Some((key, section.entry(key)?))) {
        problems.push(Problem::new(span, format!("connect has unix and {key}"), "write two cases"));
    }
    let path = read_text(section, "unix", problems, asked::path);
    let (owner, mode) = kind(section, problems);
    Some(What::Socket { path: path?, owner, mode })
}

fn port(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<u16> {
    let Some((_, value)) = section.entry("port") else {
        problems.push(section.lacks("port", "add port = 443"));
        return None;
    };
    let DeValue::Integer(number) = value.get_ref() else {
        problems.push(wrong_type("port", "an integer", value.get_ref(), value.span()));
        return None;
    };
    let port = number.as_str().parse().ok().filter(|_| number.radix() == 10);
    if port.is_none() {
        problems.push(Problem::new(value.span(), "this is not a port", "write a number from 0 to 65535"));
    }
    port
}

/// What `read` makes of an optional text; none if it is not there, or bad.
fn read_text<T>(
    section: &Section<'_>,
    key: &str,
    problems: &mut Vec<Problem>,
    read: impl Fn(&str) -> Result<T, Flaw>,
) -> Option<T> {
    let text = section.text(key, problems)?;
    read(text.get_ref()).map_err(|flaw| problems.push(flaw.at(text.span()))).ok()
}

fn verdict(text: &str) -> Result<Verdict, Flaw> {
    let found = VERDICTS.iter().find(|verdict| verdict_word(**verdict) == text);
    found.copied().ok_or_else(|| Flaw::new(format!("unknown verdict {text:?}"), EXPECT))
}

const VERDICTS: [Verdict; 5] = [Verdict::Allow, Verdict::Audit, Verdict::Hold, Verdict::Deny, Verdict::Kill];

/// The word for a verdict, as a policy writes it.
pub const fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Audit => "audit",
        Verdict::Hold => "hold",
        Verdict::Deny => "deny",
        Verdict::Kill => "kill",
    }
}
