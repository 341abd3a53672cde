//! Rules that came close to deciding a request: they are about its object, and something else was otherwise. This looks at
//! the rules, for people; what decides is said by [`super::judge`].

use std::path::Path;

use holdpoint_common::{system::System, tables::protocol};

use super::{
    Rule, When, access_words,
    address::Block,
    argument::Argument,
    asked::{Asked, What},
    host_name::HostName,
    judge::{Answer, Judge},
    only::{self, Only, User},
};

/// Most rules that are named.
const SHOWN: usize = 5;

/// A rule that came close, and what kept it from deciding.
pub struct Near<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What is otherwise.
    pub differs: Vec<String>,
}

/// The first rules, in the order of the policy, that are about what was asked for and did not decide.
pub fn near<'a>(judge: &'a Judge, asked: &Asked, answer: Answer) -> Vec<Near<'a>> {
    let subject = judge.subject(&asked.subject).ok();
    let others = (0..).zip(&judge.policy.rules).filter(|(index, _)| Some(*index) != answer.rule);
    let about = others.filter(|(_, rule)| is_about(judge, rule, &asked.what));
    let near = about.map(|(index, rule)| {
        let mut differs = Vec::new();
        if !subject.is_some_and(|subject| rule.subjects.contains(&subject)) {
            differs.push("it is for other subjects".to_owned());
        }
        differs.extend(object(rule, &asked.what));
        differs.extend(circumstances(judge, rule, asked));
        if differs.is_empty() && answer.rule.is_some_and(|decides| index > decides) {
            differs.push("it comes later".to_owned());
        }
        Near { rule, differs }
    });
    near.filter(|near| !near.differs.is_empty()).take(SHOWN).collect()
}

fn is_about(judge: &Judge, rule: &Rule, what: &What) -> bool {
    match (&rule.when, what) {
        (When::Open { paths, .. }, _) if !what.is_exec() => {
            what.file().is_some_and(|(path, _)| accept(judge, paths, path))
        }
        (When::Exec { paths, .. }, What::File { path, .. }) if what.is_exec() => accept(judge, paths, path),
        (When::Connect { to, .. }, What::Connect { to: asked, .. }) => {
            to.iter().any(|block| block.contains(Block::only(*asked)))
        }
        (When::System { which }, What::System(system)) => which.contains(system),
        (When::System { which }, What::Socket { .. }) => which.contains(&System::Deputy),
        _ => false,
    }
}

fn accept(judge: &Judge, patterns: &[super::Pattern], path: &Path) -> bool {
    let real = judge.real(path);
    patterns.iter().any(|pattern| pattern.accepts(path) || pattern.accepts(&real))
}

/// What of the object is otherwise.
fn object(rule: &Rule, what: &What) -> Option<String> {
    match (&rule.when, what) {
        (When::Open { access, .. }, _) => differing(*access, what.file()?.1, rule.lets_pass()),
        (When::Connect { ports, .. }, What::Connect { port, .. }) => {
            (!ports.iter().any(|range| range.contains(port))).then(|| format!("it is about other ports than {port}"))
        }
        _ => None,
    }
}

fn differing(access: u32, asked: u32, lets_pass: bool) -> Option<String> {
    let more = asked & !access;
    let words = |access| access_words(access).join(", ");
    match lets_pass {
        true if more == 0 => None,
        true => Some(format!("it lets pass {} only; asked for is {} too", words(access), words(more))),
        false if access & asked != 0 => None,
        false => Some(format!("it is about {}; asked for is {}", words(access), words(asked))),
    }
}

/// What else is otherwise.
fn circumstances(judge: &Judge, rule: &Rule, asked: &Asked) -> Vec<String> {
    let only = &rule.only;
    let mut differs = Vec::new();
    if !is_one(judge, &only.users, asked.user.as_ref()) {
        differs.push(format!("it is for {}; who asks is {}", named(&only.users), person(asked.user.as_ref())));
    }
    if !is_one(judge, &only.logins, asked.login.as_ref()) {
        let login = asked.login.as_ref().map_or("nobody has".to_owned(), |login| format!("{login} has"));
        differs.push(format!("it is for who has logged in as {}; {login}", named(&only.logins)));
    }
    if !belongs(judge, &only.groups, &asked.groups) {
        let said = if asked.groups.is_empty() { "none that is said".to_owned() } else { named(&asked.groups) };
        differs.push(format!("it is for members of {}; who asks is in: {said}", named(&only.groups)));
    }
    let works_there = |cwd: &Path| accept(judge, &only.workplaces, cwd);
    if !only.workplaces.is_empty() && !asked.cwd.as_deref().is_some_and(works_there) {
        let wanted: Vec<_> = only.workplaces.iter().map(super::Pattern::to_string).collect();
        let cwd = asked.cwd.as_ref().map_or("is not said".to_owned(), |cwd| format!("is {}", cwd.display()));
        differs.push(format!("it is for who works in {}; the working directory {cwd}", wanted.join(", ")));
    }
    if only.during.is_some_and(|times| !times.has(asked.at)) {
        differs.push(format!("its time does not include {}", only::shown_moment(asked.at)));
    }
    if !only.labels.is_empty() && !only.labels.iter().any(|label| asked.read.contains(label)) {
        differs.push(format!("it is for who has read {}", only.labels.join(" or ")));
    }
    match &asked.what {
        What::File { args, owner, mode, .. } => {
            if only.socket {
                differs.push("it is about connecting to sockets".to_owned());
            }
            let lacks = |argument: &&Argument| !args.iter().any(|word| argument.matches(word));
            let lacking: Vec<_> = only.arguments.iter().filter(lacks).map(|argument| argument.text.as_str()).collect();
            if !lacking.is_empty() {
                differs.push(format!("no argument is {}", lacking.join(", and none ")));
            }
            differs.extend(kind_differs(judge, only, owner.as_ref(), *mode));
        }
        What::Connect { protocol, names, .. } => {
            if !only.hosts.is_empty() && !only.hosts.iter().any(|host| names.iter().any(|name| host.matches(name))) {
                let hosts: Vec<_> = only.hosts.iter().map(HostName::to_string).collect();
                differs.push(format!("it is for {}; looked up was {}", hosts.join(", "), looked_up(names)));
            }
            if only.protocols != 0 && only.protocols & protocol::bit(*protocol) == 0 {
                let words = only::protocol_words(only.protocols).join(", ");
                differs.push(format!(
                    "it is about {words}; the protocol is {}",
                    only::protocol_words(protocol::bit(*protocol)).concat()
                ));
            }
        }
        What::Socket { owner, mode, .. } => differs.extend(kind_differs(judge, only, owner.as_ref(), *mode)),
        What::System(_) => (),
    }
    differs
}

/// How a file differs from those that a rule is about.
fn kind_differs(judge: &Judge, only: &Only, owner: Option<&User>, mode: u32) -> impl Iterator<Item = String> {
    let of_another = !is_one(judge, &only.owners, owner);
    let owner =
        of_another.then(|| format!("it is for files of {}; the owner is {}", named(&only.owners), person(owner)));
    let of_another_kind = only.modes != 0 && only.modes & mode == 0;
    let words = || only::mode_words(only.modes).join(", ");
    let mode = of_another_kind.then(|| format!("it is for files that are {}; the mode is {mode:04o}", words()));
    owner.into_iter().chain(mode)
}

/// Whether it is one of these users, or any will do.
fn is_one(judge: &Judge, users: &[User], user: Option<&User>) -> bool {
    let number = user.and_then(|user| judge.user(user).ok());
    users.is_empty() || users.iter().any(|known| judge.user(known).ok().is_some_and(|known| Some(known) == number))
}

/// Whether one of the groups of who asks is among those that are wanted.
fn belongs(judge: &Judge, wanted: &[User], groups: &[User]) -> bool {
    let numbers = |groups: &[User]| -> Vec<u32> { groups.iter().filter_map(|group| judge.group(group).ok()).collect() };
    let own = numbers(groups);
    wanted.is_empty() || numbers(wanted).iter().any(|group| own.contains(group))
}

fn looked_up(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn named(users: &[User]) -> String {
    users.iter().map(User::to_string).collect::<Vec<_>>().join(", ")
}

fn person(user: Option<&User>) -> String {
    user.map_or_else(|| "not said".to_owned(), User::to_string)
}
