//! `[[reviewer]]`.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use ssh_key::PublicKey;
use toml::{Spanned, de::DeValue};

use super::{Names, plain, tables};
use crate::{
    policy::{
        person::{self, Person},
        problem::{Flaw, Problem, Span},
        section::{self, Section},
    },
    quorum::Assurance,
};

/// Keys of the table.
pub const REVIEWER_KEYS: [&str; 7] = ["name", "user", "slack", "sso", "email", "integrations", "ssh"];

/// Longest name of a channel.
const CHANNEL_LIMIT: usize = 64;

/// Whose identities are known so far, and where they stand.
type Owners = HashMap<Identity, (String, Span)>;

/// What says who somebody is.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Identity {
    /// A user of this host.
    User(String),
    /// As an integration says.
    Called(String),
    /// A user of Slack.
    Slack(String),
    /// Somebody to a login provider.
    Sso(String),
    /// A key.
    Key(PublicKey),
}

impl Identity {
    fn words(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Called(_) => "name or e-mail address",
            Self::Slack(_) => "user of Slack",
            Self::Sso(_) => "subject of a login provider",
            Self::Key(_) => "key",
        }
    }
}

/// One section, as far as it could be read.
struct Read {
    name: Spanned<String>,
    identities: Vec<Spanned<Identity>>,
    person: Person,
}

/// All people of the policy who have such a section: members of groups.
pub fn read_all(top: &Section<'_>, names: &Names, problems: &mut Vec<Problem>) -> Vec<Person> {
    let sections = tables(top, "reviewer", problems).iter();
    let read: Vec<_> = sections
        .filter_map(|value| read(&Section::of("[[reviewer]]", value, &REVIEWER_KEYS, problems)?, problems))
        .collect();
    let mut sections = HashMap::new();
    for Read { name, .. } in &read {
        problems.extend(stranger(name, names));
        problems.extend(earlier(&mut sections, name).map(|place| again(name, place)));
    }
    let mut owners = members(names, |name| sections.contains_key(name));
    let mut people = Vec::new();
    for Read { identities, person, .. } in read {
        problems.extend(identities.iter().filter_map(|identity| of_another(&mut owners, identity, &person.name)));
        people.push(person);
    }
    people
}

/// What says who those are that have no section: the user of that name, and whoever is called so.
fn members(names: &Names, has_section: impl Fn(&String) -> bool) -> Owners {
    let members = names.members.iter().filter(|(name, _)| !has_section(name));
    let both = |(name, span): (&String, &Span)| {
        let owned = (name.clone(), span.clone());
        [Identity::User(name.clone()), called(name)].map(|identity| (identity, owned.clone()))
    };
    members.flat_map(both).collect()
}

fn read(section: &Section<'_>, problems: &mut Vec<Problem>) -> Option<Read> {
    let name = section.required("name", "add name = \"...\", as a group of [reviewers] has it", problems);
    let users = section.texts("user", problems, person::user).unwrap_or_default();
    let slack = section.texts("slack", problems, person::slack).unwrap_or_default();
    let sso = section.texts("sso", problems, person::sso).unwrap_or_default();
    let emails = section.texts("email", problems, person::email).unwrap_or_default();
    let keys = section.texts("ssh", problems, person::key).unwrap_or_default();
    let integrations = integrations(section, problems);
    if REVIEWER_KEYS[1..].iter().all(|key| section.entry(key).is_none()) {
        let remedy = "add user, slack, sso, email, integrations or ssh, or remove the section";
        problems.push(Problem::new(section.span.clone(), "[[reviewer]] does not say who that is", remedy));
    }
    let name = name?;
    let itself = [Spanned::new(name.span(), called(name.get_ref()))];
    let identities = itself
        .into_iter()
        .chain(each(&users, Identity::User))
        .chain(each(&slack, Identity::Slack))
        .chain(each(&sso, Identity::Sso))
        .chain(each(&emails, Identity::Called))
        .chain(each(&keys, Identity::Key))
        .collect();
    let person = Person {
        name: name.get_ref().clone(),
        users: plain(Some(users)),
        slack: plain(Some(slack)),
        sso: plain(Some(sso)),
        emails: plain(Some(emails)),
        integrations,
        keys: plain(Some(keys)),
    };
    Some(Read { name, identities, person })
}

/// As integrations can name who has this name, which can be an address.
fn called(name: &str) -> Identity {
    Identity::Called(person::email(name).unwrap_or_else(|_| name.to_owned()))
}

fn each<T: Clone>(values: &[Spanned<T>], identity: impl Fn(T) -> Identity) -> impl Iterator<Item = Spanned<Identity>> {
    values.iter().map(move |value| Spanned::new(value.span(), identity(value.get_ref().clone())))
}

/// Which channels may speak for the reviewer, and how sure that is.
fn integrations(section: &Section<'_>, problems: &mut Vec<Problem>) -> BTreeMap<String, Assurance> {
    let Some((_, value)) = section.entry("integrations") else { return BTreeMap::new() };
    let DeValue::Table(table) = value.get_ref() else {
        problems.push(section::wrong_type("integrations", "a table", value.get_ref(), value.span()));
        return BTreeMap::new();
    };
    if table.is_empty() {
        let remedy = "name a channel: { CHANNEL = \"basic\" }";
        problems.push(Problem::new(value.span(), "integrations is an empty table", remedy));
    }
    let known: Vec<_> = table.keys().map(|key| key.get_ref().as_ref()).collect();
    let entries = Section::new("integrations", value.span(), table, &known, problems).entries();
    entries
        .into_iter()
        .filter_map(|(channel, word)| integration(channel.get_ref(), &channel.span(), word, problems))
        .collect()
}

fn integration(
    channel: &str,
    span: &Span,
    word: &Spanned<DeValue<'_>>,
    problems: &mut Vec<Problem>,
) -> Option<(String, Assurance)> {
    let good = channel.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if !good || !(1..=CHANNEL_LIMIT).contains(&channel.len()) {
        let remedy = "the name of a [[channel]] of config.toml: letters, digits, - and _";
        problems.push(Problem::new(span.clone(), format!("{channel:?} is not a channel's name"), remedy));
        return None;
    }
    let read =
        section::text(channel, word).and_then(|text| assurance(text.get_ref()).map_err(|flaw| flaw.at(text.span())));
    read.map_err(|problem| problems.push(problem)).ok().map(|assurance| (channel.to_owned(), assurance))
}

/// How sure it can be what an integration says: it has nobody's signature.
fn assurance(text: &str) -> Result<Assurance, Flaw> {
    match super::reviewers::assurance(text) {
        Ok(found) if found < Assurance::High => Ok(found),
        Ok(_) => Err(Flaw::new("an integration's word is no signature", "one of: basic, medium")),
        Err(flaw) => Err(Flaw { remedy: "one of: basic, medium".to_owned(), ..flaw }),
    }
}

/// The problem that nobody asks this person. A group with a problem of its own is empty here, and may have the name.
fn stranger(name: &Spanned<String>, names: &Names) -> Option<Problem> {
    let mut groups = names.groups.values();
    let is_asked = groups.any(|members| members.is_empty() || members.contains(name.get_ref()));
    let message = format!("no group of reviewers has {:?}", name.get_ref());
    (!is_asked).then(|| Problem::new(name.span(), message, "add the name to a group of [reviewers], or remove this"))
}

/// The place of the same before this one, if there is one.
fn earlier(known: &mut HashMap<String, Span>, value: &Spanned<String>) -> Option<Span> {
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
    Problem::new(name.span(), message, "write all that is one person's in one section").against(earlier)
}

/// The problem that somebody else than `owner` is that already.
fn of_another(owners: &mut Owners, identity: &Spanned<Identity>, owner: &str) -> Option<Problem> {
    match owners.entry(identity.get_ref().clone()) {
        Entry::Vacant(new) => {
            new.insert((owner.to_owned(), identity.span()));
            None
        }
        Entry::Occupied(earlier) if earlier.get().0 == owner => None,
        Entry::Occupied(earlier) => {
            let message = format!("this is another reviewer's {} already", identity.get_ref().words());
            let problem = Problem::new(identity.span(), message, "it says who answers: remove one");
            Some(problem.against(earlier.get().1.clone()))
        }
    }
}
