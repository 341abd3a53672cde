//! From a policy to the tables that the kernel looks up. Pure: it asks [`Places`] where paths live.

mod addresses;
mod automaton;
mod choice;
mod conditions;
mod letters;
mod objects;
mod paths;
mod words;
mod workplaces;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use holdpoint_common::{
    host::ResolverKey,
    system::System,
    tables::{
        ADDRESS_HEAD_BITS, AddressKey, CANARIES, Conditions, Consequence, EdgeKey, Link, Marks, MemberKey, NameKey,
        Named, Ports, RootKey, RuleKey, STARTERS, Schedule, State, SystemKey, TRUSTED_CANARY, Verdict, Word, WordKey,
    },
};

use sha2::{Digest as _, Sha256};

pub use self::{
    automaton::is_state_of,
    objects::{Objects, links_of_rules},
};
use self::{choice::Choices, letters::Alphabet, workplaces::Workplaces};
use super::{
    Block, Pattern, Place, Places, Policy, Rule, When,
    problem::{Problem, Span},
};

/// Most rows of each table that one revision can have. The kernel's maps must hold twice as many: the revision
/// in force and the one that is about to be.
pub mod limits {
    /// Subjects.
    pub const SUBJECTS: usize = 64;
    /// Rules; the canaries' are two more.
    pub const RULES: usize = 16_384;
    /// Starts of automata: one for each subject and each file system that its rules name.
    pub const ROOTS: usize = 8192;
    /// Steps in automata.
    pub const EDGES: usize = 65_536;
    /// States in which wildcards are compared with the letters of a name or an argument.
    pub const LETTERS: usize = holdpoint_common::tables::LETTERS as usize;
    /// Rules that depend on circumstances, for each object that they are about.
    pub const LINKS: usize = holdpoint_common::tables::LINKS as usize;
    /// Arguments in rules, for each set of rules that are about the same program.
    pub const WORDS: usize = 16_384;
    /// Users and groups in rules.
    pub const MEMBERS: usize = 4096;
    /// Names of hosts in rules.
    pub const HOST_NAMES: usize = 16_384;
    /// Resolvers.
    pub const RESOLVERS: usize = 64;
    /// Times of the week, and one more.
    pub const SCHEDULES: usize = holdpoint_common::tables::SCHEDULES as usize;
    /// `**/name` patterns, for each subject.
    pub const NAMES: usize = 4096;
    /// Files that rules mean by one name and that have others: rows, one for each subject. What is more is left out.
    pub const OBJECTS: usize = 4096;
    /// Address blocks, for each subject; the canaries' are two more.
    pub const ADDRESSES: usize = 16_384;
}

/// A compiled policy: what is written to the kernel's maps, row by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Starts of automata.
    pub roots: BTreeMap<RootKey, State>,
    /// Steps in them.
    pub edges: BTreeMap<EdgeKey, State>,
    /// The automaton that finds the class of a name or an argument.
    pub alphabet: Arc<Alphabet>,
    /// Links of choices.
    pub links: Vec<Link>,
    /// Arguments in rules.
    pub words: BTreeMap<WordKey, Word>,
    /// Conditions of the rules that have some.
    pub conditions: BTreeMap<RuleKey, Conditions>,
    /// Sets of users and of groups.
    pub members: BTreeSet<MemberKey>,
    /// Sets of names of hosts; a set's number stands for the key's subject.
    pub host_names: BTreeSet<NameKey>,
    /// Whose answers are believed about them.
    pub resolvers: BTreeSet<ResolverKey>,
    /// Times of the week, from number 1.
    pub schedules: Vec<Schedule>,
    /// Rules on file names, and labels.
    pub names: BTreeMap<NameKey, Named>,
    /// Rules on addresses, by length of the key's prefix in bits ([`ADDRESS_HEAD_BITS`] included).
    pub addresses: BTreeMap<(u32, AddressKey), Ports>,
    /// Rules on operations on the host. What has none is denied.
    pub system: BTreeMap<SystemKey, u32>,
    /// Rules on files with several names.
    pub objects: Objects,
    /// The numbers of the subjects that are started.
    pub starters: BTreeMap<RuleKey, u32>,
    /// What follows from each rule. The last two are the canaries'.
    pub rules: BTreeMap<RuleKey, Consequence>,
}

/// What the canaries are denied, to show that denying works.
#[derive(Clone, Copy, Debug)]
pub struct Canaries<'a> {
    /// Directories and files, with all that is in them.
    pub sites: &'a [&'a Path],
    /// The name of programs.
    pub program: &'a str,
}

/// The tables of `policy` as revision number `revision`; its paths live where `places` says. Those of [`links_of_rules`]
/// are not in it: they take a walk through the directories of the policy.
pub fn compile(
    policy: &Policy,
    revision: u32,
    places: &dyn Places,
    canaries: Option<&Canaries<'_>>,
) -> Result<Tables, Vec<Problem>> {
    let mut problems = too_many(policy);
    if !problems.is_empty() {
        return Err(problems);
    }
    let starters = (STARTERS..).zip(&policy.subjects);
    let starters = starters.map(|(rule, subject)| (RuleKey { revision, rule }, subject.number())).collect();
    let mut tables = Tables { rules: consequences(policy, revision), starters, ..Tables::default() };
    let workplaces = Workplaces::of(policy);
    problems.extend(workplaces.problem());
    problems.extend(paths::compile(policy, revision, places, &workplaces, canaries, &mut tables));
    problems.extend(conditions::compile(policy, revision, places, &workplaces, &mut tables));
    tables.resolvers = resolvers(policy, revision);
    let mut choices = Choices::new(policy, revision, &mut tables);
    addresses::compile(policy, revision, &mut choices, &mut tables, &mut problems);
    tables.system = system(policy, revision, &mut choices);
    problems.extend(choices.give_back(&mut tables));
    if canaries.is_some() {
        add_canaries(policy, revision, &mut tables);
    }
    problems.extend(overfull(&tables));
    if problems.is_empty() { Ok(tables) } else { Err(problems) }
}

fn resolvers(policy: &Policy, revision: u32) -> BTreeSet<ResolverKey> {
    let named = policy.resolvers.iter().flatten();
    named.map(|address| ResolverKey { revision, address: Block::only(*address).octets() }).collect()
}

/// The first rule of each subject on each operation on the host.
fn system(policy: &Policy, revision: u32, choices: &mut Choices<'_>) -> BTreeMap<SystemKey, u32> {
    let mut rows: BTreeMap<_, Vec<u32>> = BTreeMap::new();
    for (index, rule) in (0..).zip(&policy.rules) {
        let When::System { which } = &rule.when else { continue };
        for subject in &rule.subjects {
            for system in which {
                rows.entry(SystemKey { revision, subject: *subject, system: *system as u32 }).or_default().push(index);
            }
        }
    }
    rows.into_iter().map(|(key, rules)| (key, choices.of(rules))).collect()
}

/// Index of the rule by which the canaries' requests are denied: the one after the policy's own. The next one allows.
fn canary_rule(policy: &Policy) -> u32 {
    policy.rules.len().try_into().expect("fewer rules than limits::RULES")
}

/// Denies the canaries every connection. One of them may rule the host, for what the kernel asks that about before
/// anything else.
fn add_canaries(policy: &Policy, revision: u32, tables: &mut Tables) {
    let denied = canary_rule(policy);
    let system = SystemKey { revision, subject: TRUSTED_CANARY, system: System::Admin as u32 };
    tables.system.insert(system, denied + 1);
    for subject in CANARIES {
        let key = AddressKey { revision, subject, address: [0; 16] };
        tables.addresses.insert((ADDRESS_HEAD_BITS, key), addresses::all_ports(denied));
    }
}

/// The rows of the canaries for files in `site` that have other names.
pub fn links_of_canaries(policy: &Policy, revision: u32, places: &dyn Places, site: &Path) -> Objects {
    let mut objects = Objects::default();
    let linked = places.linked(site, true);
    let mut rows = BTreeMap::<_, u32>::new();
    for subject in CANARIES {
        objects.add(&linked, revision, subject, &mut rows, |rule| *rule = canary_rule(policy));
    }
    let named = |rule| Named { labels: 0, marks: Marks { rule: [rule; Marks::SLOTS] } };
    objects.rows = rows.into_iter().map(|(key, rule)| (key, named(rule))).collect();
    objects
}

fn consequences(policy: &Policy, revision: u32) -> BTreeMap<RuleKey, Consequence> {
    let canaries = [Verdict::Deny, Verdict::Allow];
    let canaries =
        canaries.map(|verdict| Consequence { patience: 0, meaning: 0, verdict: verdict as u32, everything: 0 });
    let all = policy.rules.iter().map(|rule| consequence(policy, rule)).chain(canaries);
    (0..).zip(all).map(|(rule, consequence)| (RuleKey { revision, rule }, consequence)).collect()
}

fn consequence(policy: &Policy, rule: &Rule) -> Consequence {
    let patience = rule.terms().map_or(0, |terms| terms.timeout.as_nanos().try_into().unwrap_or(u64::MAX));
    let everything = rule.paths().0.iter().any(Pattern::is_everything);
    let meaning = meaning(policy, rule);
    Consequence { patience, meaning, verdict: policy.in_force(rule) as u32, everything: everything.into() }
}

/// See [`Consequence::meaning`]. Whom the rule is for is left out: who meets it knows.
fn meaning(policy: &Policy, rule: &Rule) -> u64 {
    let Rule { name, why, when, only, then, subjects: _, span: _ } = rule;
    let digest = Sha256::digest(format!("{:?}", (name, why, when, only, then, policy.observes)));
    u64::from_be_bytes(digest[..8].try_into().expect("longer"))
}

fn too_many(policy: &Policy) -> Vec<Problem> {
    let subject =
        policy.subjects.get(limits::SUBJECTS).map(|subject| full(&subject.span, "subjects", limits::SUBJECTS));
    let rule = policy.rules.get(limits::RULES).map(|rule| full(&rule.span, "rules", limits::RULES));
    subject.into_iter().chain(rule).collect()
}

/// How much of a table a policy needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What its rows stand for.
    pub what: &'static str,
    /// Its rows.
    pub rows: usize,
    /// The most that there can be.
    pub limit: usize,
    /// The bytes of keys and values.
    pub bytes: usize,
}

/// How much of each table the policy needs.
pub fn usage(tables: &Tables, subjects: usize) -> Vec<Usage> {
    let of = |what, rows, limit, size| Usage { what, rows, limit, bytes: rows * size };
    fn pair<K, V>(_: &BTreeMap<K, V>) -> usize {
        size_of::<K>() + size_of::<V>()
    }
    fn one<V>(_: &[V]) -> usize {
        size_of::<V>()
    }
    vec![
        of("subjects", subjects, limits::SUBJECTS, 0),
        of("rules", tables.rules.len(), limits::RULES + CANARIES.len(), pair(&tables.rules)),
        of("pairs of subject and file system", tables.roots.len(), limits::ROOTS, pair(&tables.roots)),
        of("steps of paths", tables.edges.len(), limits::EDGES, pair(&tables.edges)),
        of("file names", tables.names.len(), limits::NAMES, pair(&tables.names)),
        of("states of wildcards", tables.alphabet.states.len(), limits::LETTERS, one(&tables.alphabet.states)),
        of("rules that depend on circumstances", tables.links.len(), limits::LINKS, one(&tables.links)),
        of("arguments of rules", tables.words.len(), limits::WORDS, pair(&tables.words)),
        of("users and groups in rules", tables.members.len(), limits::MEMBERS, size_of::<MemberKey>()),
        of("names of hosts in rules", tables.host_names.len(), limits::HOST_NAMES, size_of::<NameKey>()),
        of("resolvers", tables.resolvers.len(), limits::RESOLVERS, size_of::<ResolverKey>()),
        of("times of the week", tables.schedules.len(), limits::SCHEDULES - 1, one(&tables.schedules)),
        of("address blocks", tables.addresses.len(), limits::ADDRESSES, pair(&tables.addresses)),
        of("files with several names", tables.objects.rows.len(), limits::OBJECTS, pair(&tables.objects.rows)),
    ]
}

fn overfull(tables: &Tables) -> Vec<Problem> {
    let counts = [
        ("pairs of subject and file system", tables.roots.len(), limits::ROOTS),
        ("steps of paths", tables.edges.len(), limits::EDGES),
        ("file names", tables.names.len(), limits::NAMES),
        ("rules that depend on circumstances", tables.links.len(), limits::LINKS),
        ("arguments of rules", tables.words.len(), limits::WORDS),
        ("users and groups in rules", tables.members.len(), limits::MEMBERS),
        ("names of hosts in rules", tables.host_names.len(), limits::HOST_NAMES),
        ("resolvers", tables.resolvers.len(), limits::RESOLVERS),
        ("address blocks", tables.addresses.len(), limits::ADDRESSES),
    ];
    let over = counts.into_iter().filter(|(_, count, limit)| count > limit);
    over.map(|(what, _, limit)| full(&(0..0), what, limit)).collect()
}

fn full(span: &Span, what: &str, limit: usize) -> Problem {
    let remedy = "write wider patterns, and rules for those subjects only that need them";
    Problem::new(span.clone(), format!("the policy needs more than {limit} {what}"), remedy)
}

impl Tables {
    /// Whether there is more of something than the kernel's tables can hold: there is no sense in going on.
    fn is_overfull(&self) -> bool {
        !overfull(self).is_empty()
    }

    /// The same tables with subjects by their numbers ([`super::Subject::number`]) in place of their indices: as the
    /// kernel knows them.
    #[must_use]
    pub fn numbered(self, policy: &Policy) -> Self {
        let numbered = |subject: &mut u32| {
            if let Some(known) = policy.subjects.get(*subject as usize) {
                *subject = known.number();
            }
        };
        Self {
            roots: rekeyed(self.roots, |key| numbered(&mut key.subject)),
            names: rekeyed(self.names, |key| numbered(&mut key.subject)),
            addresses: rekeyed(self.addresses, |(_, key)| numbered(&mut key.subject)),
            system: rekeyed(self.system, |key| numbered(&mut key.subject)),
            objects: Objects { rows: rekeyed(self.objects.rows, |key| numbered(&mut key.subject)), ..self.objects },
            ..self
        }
    }
}

fn rekeyed<K: Ord, V>(rows: BTreeMap<K, V>, change: impl Fn(&mut K)) -> BTreeMap<K, V> {
    let rows = rows.into_iter().map(|(mut key, row)| {
        change(&mut key);
        (key, row)
    });
    rows.collect()
}

/// A path within a file system, for messages.
fn shown(place: &Place) -> String {
    place.components.iter().map(|name| format!("/{}", name.display())).collect()
}
