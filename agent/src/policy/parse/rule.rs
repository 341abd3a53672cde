//! One `[[rule]]`.

use std::{ops::RangeInclusive, time::Duration};

use holdpoint_common::{
    decision::Decision,
    request::{CLASSES, Class},
    system::System,
};
use toml::{Spanned, de::DeValue};

use super::{Names, escalation, plain, reviewers, undefined};
use crate::policy::{
    Only, Rule, Terms, Then, When,
    address::{self, Block},
    argument::{self, Argument},
    host_name::HostName,
    only::{self, Times, User},
    pattern::Pattern,
    problem::{Flaw, Problem, Span},
    section::{self, Section, read_each},
};
use crate::request::seconds;

pub const RULE_KEYS: [&str; 25] = [
    "name",
    "subject",
    "open",
    "exec",
    "connect",
    "system",
    "user",
    "group",
    "login",
    "cwd",
    "during",
    "if_read",
    "then",
    "mode",
    "reviewers",
    "escalate",
    "remind",
    "assurance",
    "self",
    "scope",
    "why",
    "timeout",
    "on_deny",
    "on_timeout",
    "pause",
];
const OPERATIONS: [&str; 4] = ["open", "exec", "connect", "system"];
const ONE_OPERATION: &str = "exactly one of: open = { path = [..] }, exec = { path = [..] }, connect = { to = [..] }, \
                             system = [..]";
const VERDICTS: &str = "one of: allow, audit, hold, deny, kill";

/// Keys of the operations' tables.
pub const OPEN_KEYS: [&str; 5] = ["path", "label", "access", "owner", "mode"];
pub const EXEC_KEYS: [&str; 5] = ["path", "label", "args", "owner", "mode"];
pub const CONNECT_KEYS: [&str; 6] = ["to", "not", "name", "port", "protocol", "unix"];

/// Keys that only a hold can have.
const HOLD_KEYS: [&str; 10] =
    ["reviewers", "escalate", "remind", "assurance", "self", "scope", "timeout", "on_deny", "on_timeout", "pause"];

/// Ways of opening that `access` can name.
const ACCESS: [Class; CLASSES - 1] = [Class::Read, Class::Write, Class::Append, Class::Create, Class::Truncate];

const PATIENCE: Duration = Duration::from_mins(5);
const PATIENCE_LIMITS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const PAUSE: Duration = Duration::from_mins(10);
const PAUSE_LIMITS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);

/// The rule in `value`; none if something is wrong with it that leaves nothing to go on with.
pub fn read(value: &Spanned<DeValue<'_>>, names: &Names, problems: &mut Vec<Problem>) -> Option<Rule> {
    let section = Section::of("[[rule]]", value, &RULE_KEYS, problems)?;
    let name = section.required("name", "add name = \"...\"", problems);
    let why = section.text("why", problems).map(Spanned::into_inner);
    let subjects = subjects(&section, names, problems);
    let mut only = Only::default();
    let when = when(&section, names, &mut only, problems);
    let complete = circumstances(&section, names, &mut only, problems);
    let then = then(&section, names, problems);
    only.observes = mode(&section, then.as_ref(), problems);
    let name = name?;
    let span = name.span();
    refuse_hold(when.as_ref(), then.as_ref(), &span, problems);
    complete?;
    Some(Rule { name: name.into_inner(), why, subjects, when: when?, only, then: then?, span })
}

fn subjects(section: &Section<'_>, names: &Names, problems: &mut Vec<Problem>) -> Vec<u32> {
    let every = (0..).zip(&names.subjects).map(|(index, _)| index).collect();
    if section.entry("subject").is_none() {
        return every;
    }
    let named = section.texts("subject", problems, |name| {
        let found = (0..).zip(&names.subjects).find(|(_, subject)| subject.as_deref() == Some(name));
        found.map(|(index, _)| index).ok_or_else(|| undefined("subject", name, names.subjects.iter().flatten()))
    });
    plain(named)
}

/// The name of a label, if it is one.
fn label(name: &str, names: &Names) -> Result<String, Flaw> {
    match names.labels.iter().any(|label| label.name == name) {
        true => Ok(name.to_owned()),
        false => Err(undefined("label", name, names.labels.iter().map(|label| &label.name))),
    }
}

/// What must hold for each kind of operation: who, where, when, after what.
fn circumstances(section: &Section<'_>, names: &Names, only: &mut Only, problems: &mut Vec<Problem>) -> Option<()> {
    only.users = some(section, "user", problems, User::parse)?;
    only.groups = some(section, "group", problems, User::group)?;
    only.logins = some(section, "login", problems, User::parse)?;
    only.workplaces = some(section, "cwd", problems, Pattern::parse)?.concat();
    let during = some(section, "during", problems, |text| Times::parse(text).map(|_| text.to_owned()))?;
    only.during = (!during.is_empty()).then(|| only::during(&during));
    only.labels = some(section, "if_read", problems, |name| label(name, names))?;
    Some(())
}

/// What must hold for the file: whose it is, what kind.
fn file(section: &Section<'_>, only: &mut Only, problems: &mut Vec<Problem>) -> Option<()> {
    only.owners = some(section, "owner", problems, User::parse)?;
    only.modes = some(section, "mode", problems, only::mode)?.into_iter().fold(0, |mask, bits| mask | bits);
    Some(())
}

/// What `read` makes of an optional list of texts; nothing if it is not there, none if it is bad.
fn some<T: Clone + Eq + std::hash::Hash>(
    section: &Section<'_>,
    key: &str,
    problems: &mut Vec<Problem>,
    read: impl Fn(&str) -> Result<T, Flaw>,
) -> Option<Vec<T>> {
    match section.entry(key) {
        None => Some(Vec::new()),
        Some(_) => section.texts(key, problems, read).map(|values| plain(Some(values))),
    }
}

fn when(section: &Section<'_>, names: &Names, only: &mut Only, problems: &mut Vec<Problem>) -> Option<When> {
    let present: Vec<_> = OPERATIONS.iter().filter_map(|key| Some((*key, section.entry(key)?))).collect();
    match present.as_slice() {
        [("open", (_, value))] => open(value, names, only, problems),
        [("exec", (_, value))] => exec(value, names, only, problems),
        [("system", _)] => system(section, problems),
        [(_, (_, value))] => connect(value, only, problems),
        [] => {
            problems.push(Problem::new(section.span.clone(), "[[rule]] has no operation", ONE_OPERATION));
            None
        }
        [_, (key, (span, _)), ..] => {
            problems.push(Problem::new(span.clone(), format!("{key} is a second operation"), ONE_OPERATION));
            None
        }
    }
}

fn open(value: &Spanned<DeValue<'_>>, names: &Names, only: &mut Only, problems: &mut Vec<Problem>) -> Option<When> {
    let section = Section::of("open", value, &OPEN_KEYS, problems)?;
    let complete = file(&section, only, problems);
    let paths = paths(&section, names, problems);
    let access = match section.entry("access") {
        None => Some(Class::OPENING),
        Some(_) => {
            section.texts("access", problems, access).map(|bits| bits.iter().fold(0, |mask, bit| mask | bit.get_ref()))
        }
    };
    complete?;
    Some(When::Open { paths: paths?, access: access? })
}

/// The bits of the access that `text` names: who writes may append.
pub fn access(text: &str) -> Result<u32, Flaw> {
    match ACCESS.iter().find(|class| class.word() == text) {
        Some(Class::Write) => Ok(Class::WRITING),
        Some(class) => Ok(class.bit()),
        None => Err(Flaw::new(format!("unknown access {text:?}"), "one of: read, write, append, create, truncate")),
    }
}

fn exec(value: &Spanned<DeValue<'_>>, names: &Names, only: &mut Only, problems: &mut Vec<Problem>) -> Option<When> {
    let section = Section::of("exec", value, &EXEC_KEYS, problems)?;
    let complete = file(&section, only, problems);
    let arguments = arguments(&section, problems);
    let paths = paths(&section, names, problems);
    complete?;
    only.arguments = arguments?;
    Some(When::Exec { paths: paths? })
}

/// What some of its arguments must be like.
fn arguments(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<Vec<Argument>> {
    let arguments = some(section, "args", problems, Argument::parse)?;
    let count = arguments.len();
    if let Some((span, _)) = section.entry("args").filter(|_| count > argument::PATTERNS) {
        let remedy =
            format!("at most {}, each of which must match: {{a,b}} and * match one of several", argument::PATTERNS);
        problems.push(Problem::new(span, format!("args has {count} patterns"), remedy));
        return None;
    }
    Some(arguments)
}

fn system(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<When> {
    let which = section.texts("system", problems, operation)?;
    Some(When::System { which: plain(Some(which)) })
}

/// The operation on the host that `text` names.
pub fn operation(text: &str) -> Result<System, Flaw> {
    let found = System::ALL.into_iter().find(|system| system.word() == text);
    let words = System::ALL.map(System::word).join(", ");
    found.ok_or_else(|| Flaw::new(format!("unknown system operation {text:?}"), format!("one of: {words}")))
}

/// What the kernel must answer at once cannot wait for a reviewer.
fn refuse_hold(when: Option<&When>, then: Option<&Then>, span: &Span, problems: &mut Vec<Problem>) {
    let (Some(When::System { which }), Some(Then::Hold(_))) = (when, then) else { return };
    let hasty: Vec<_> = which.iter().filter(|system| !system.can_be_held()).map(|system| system.word()).collect();
    if !hasty.is_empty() {
        let message = format!("{} cannot be held: the kernel wants the answer at once", hasty.join(", "));
        problems.push(Problem::new(span.clone(), message, "write then = \"allow\", \"audit\", \"deny\" or \"kill\""));
    }
}

/// The files that the operation is on: by their paths, or those of labels.
fn paths(section: &Section<'_>, names: &Names, problems: &mut Vec<Problem>) -> Option<Vec<Pattern>> {
    match (section.entry("path"), section.entry("label")) {
        (None, None) => problems.push(section.lacks("path", "add path = [\"/dir/**\"]; [\"/**\"] is everything")),
        (Some(_), Some((span, _))) => {
            let message = format!("{} has path and label", section.what);
            problems.push(Problem::new(span, message, "keep one: a label stands for its own paths"));
        }
        (None, Some(_)) => {
            let named = section.texts("label", problems, |name| label(name, names))?;
            let labels = names.labels.iter().filter(|label| named.iter().any(|name| *name.get_ref() == label.name));
            return Some(labels.flat_map(|label| label.patterns.clone()).collect());
        }
        (Some(_), None) => {}
    }
    let patterns = section.texts("path", problems, Pattern::parse)?;
    Some(patterns.into_iter().flat_map(Spanned::into_inner).collect())
}

fn connect(value: &Spanned<DeValue<'_>>, only: &mut Only, problems: &mut Vec<Problem>) -> Option<When> {
    let section = Section::of("connect", value, &CONNECT_KEYS, problems)?;
    if section.entry("unix").is_some() {
        return unix(&section, only, problems);
    }
    let protocols = some(&section, "protocol", problems, only::protocol);
    let hosts = some(&section, "name", problems, HostName::parse);
    let to = match section.entry("to") {
        None => Some(vec![Block::ANY]),
        Some(_) => section.texts("to", problems, Block::parse).map(|to| plain(Some(to)).concat()),
    };
    let to = excepted(&section, to, problems);
    let ports = match section.entry("port") {
        None => Some(vec![0..=u16::MAX]),
        Some(_) => ports(&section, problems),
    };
    only.hosts = hosts?;
    only.protocols = protocols?.into_iter().fold(0, |mask, bit| mask | bit);
    Some(When::Connect { to: to?, ports: ports? })
}

/// Sockets with a path: who connects to one reads and writes it.
fn unix(section: &Section<'_>, only: &mut Only, problems: &mut Vec<Problem>) -> Option<When> {
    let others: Vec<_> =
        ["to", "not", "port", "protocol"].iter().filter_map(|key| Some((*key, section.entry(key)?))).collect();
    for (key, (span, _)) in &others {
        let remedy = "write two rules: one with unix, one for addresses";
        problems.push(Problem::new(span.clone(), format!("connect has unix and {key}"), remedy));
    }
    let paths = section.texts("unix", problems, socket)?;
    if !others.is_empty() {
        return None;
    }
    only.socket = true;
    let paths = paths.into_iter().flat_map(Spanned::into_inner).collect();
    Some(When::Open { paths, access: Class::TALKING })
}

/// The sockets whose path is like `text`.
fn socket(text: &str) -> Result<Vec<Pattern>, Flaw> {
    match text.starts_with('@') {
        true => Err(Flaw::new(
            format!("{text:?} is an abstract name, which has no path"),
            "write system = [\"deputy\"]: sockets outside the tree that no path rule accepts",
        )),
        false => Pattern::parse(text),
    }
}

/// Without what `not` names.
fn excepted(section: &Section<'_>, to: Option<Vec<Block>>, problems: &mut Vec<Problem>) -> Option<Vec<Block>> {
    let Some((span, _)) = section.entry("not") else { return to };
    let not = section.texts("not", problems, Block::parse)?;
    let left = address::without(to?, &plain(Some(not)).concat());
    if left.is_empty() {
        problems.push(Problem::new(span, "not takes all that to names", "name less in it"));
        return None;
    }
    Some(left)
}

fn ports(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<Vec<RangeInclusive<u16>>> {
    let elements = section.list("port", problems)?;
    let ports = read_each("port", elements, problems, |value| match value.get_ref() {
        DeValue::Integer(number) if number.radix() == 10 => {
            address::ports(number.as_str()).map_err(|flaw| flaw.at(value.span()))
        }
        _ => address::ports(section::text("port", value)?.get_ref()).map_err(|flaw| flaw.at(value.span())),
    });
    Some(plain(Some(ports?)))
}

fn then(section: &Section<'_>, names: &Names, problems: &mut Vec<Problem>) -> Option<Then> {
    let verdict = section.required("then", &format!("add then = \"...\", {VERDICTS}"), problems)?;
    let then = match verdict.get_ref().as_str() {
        "allow" => Then::Allow,
        "audit" => Then::Audit,
        "hold" => return terms(section, names, problems).map(Then::Hold),
        "deny" => Then::Deny,
        "kill" => Then::Kill,
        other => {
            problems.push(Problem::new(verdict.span(), format!("unknown verdict {other:?}"), VERDICTS));
            return None;
        }
    };
    for (key, (span, _)) in HOLD_KEYS.iter().filter_map(|key| Some((key, section.entry(key)?))) {
        let message = format!("{key} is for holds only, and this rule says {:?}", verdict.get_ref());
        problems.push(Problem::new(span, message, format!("remove {key}, or write then = \"hold\"")));
    }
    Some(then)
}

/// Whether it only observes.
fn mode(section: &Section<'_>, then: Option<&Then>, problems: &mut Vec<Problem>) -> bool {
    let observes = super::observes(section, problems);
    if let (true, Some(Then::Allow | Then::Audit), Some((span, _))) = (observes, then, section.entry("mode")) {
        let remedy = "remove mode, or write what the rule is to do one day: then = \"hold\", \"deny\" or \"kill\"";
        problems.push(Problem::new(span, "the rule lets pass already: there is nothing to observe", remedy));
    }
    observes
}

fn terms(section: &Section<'_>, names: &Names, problems: &mut Vec<Problem>) -> Option<Terms> {
    let reviewers = reviewers::asked(section, names, problems);
    let assurance = optional(section, "assurance", problems, reviewers::assurance);
    let own = optional(section, "self", problems, reviewers::own);
    let scopes = reviewers::scopes(section, problems);
    let timeout = optional(section, "timeout", problems, |text| duration(text, &PATIENCE_LIMITS));
    // Where it is bad, that is told, and nothing is too long for it.
    let patience = timeout.map_or(Duration::MAX, |timeout| timeout.unwrap_or(PATIENCE));
    let escalate = escalation::read(section, names, patience, problems);
    let remind = optional(section, "remind", problems, |text| escalation::remind(text, patience));
    let on_deny = optional(section, "on_deny", problems, refusal);
    let on_timeout = optional(section, "on_timeout", problems, refusal);
    let pause = optional(section, "pause", problems, |text| duration(text, &PAUSE_LIMITS));
    let on_deny = on_deny?.unwrap_or(Decision::Kill);
    Some(Terms {
        reviewers: reviewers?,
        assurance: assurance?.unwrap_or_default(),
        own: own?.unwrap_or_default(),
        escalate: escalate?,
        remind: remind?,
        timeout: timeout?.unwrap_or(PATIENCE),
        scopes: scopes?,
        on_deny,
        on_timeout: on_timeout?.unwrap_or(on_deny),
        pause: pause?.unwrap_or(PAUSE),
    })
}

/// What `read` makes of an optional text: `Some(None)` if it is not there, none if it is bad.
fn optional<T>(
    section: &Section<'_>,
    key: &str,
    problems: &mut Vec<Problem>,
    read: impl Fn(&str) -> Result<T, Flaw>,
) -> Option<Option<T>> {
    if section.entry(key).is_none() {
        return Some(None);
    }
    let text = section.text(key, problems)?;
    let span: Span = text.span();
    read(text.get_ref()).map(Some).map_err(|flaw| problems.push(flaw.at(span))).ok()
}

/// The span of time that `text` spells, such as `90s`, within `limits`.
pub fn duration(text: &str, limits: &RangeInclusive<Duration>) -> Result<Duration, Flaw> {
    let least = limits.start().as_secs();
    let remedy = format!("write a number and s, m or h, from \"{least}s\" to \"24h\"");
    match seconds(text).map(Duration::from_secs) {
        None => Err(Flaw::new(format!("{text:?} is not a duration"), remedy)),
        Some(duration) if limits.contains(&duration) => Ok(duration),
        Some(_) => Err(Flaw::new(format!("{text:?} is out of bounds"), remedy)),
    }
}

fn refusal(text: &str) -> Result<Decision, Flaw> {
    match text {
        "kill" => Ok(Decision::Kill),
        "fail" => Ok(Decision::Fail),
        other => Err(Flaw::new(format!("unknown consequence {other:?}"), "one of: kill, fail")),
    }
}
