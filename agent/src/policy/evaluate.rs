//! A policy asked outside the kernel, by the very matcher that the kernel runs.

use std::cell::Cell;

use holdpoint_common::{
    host::{self, Hosts},
    matcher::{self, Asker, Names, Place, Scratch, Words},
    request::Class,
    system::System,
    tables::{
        ADDRESS_HEAD_BITS, AddressKey, Conditions, Consequence, EdgeKey, LITERAL_BYTES, Letters, Link, MemberKey,
        NO_RULE, NameKey, Named, OTHERWISE, ObjectKey, Ports, RootKey, RuleKey, Schedule, State, SystemKey, WORKPLACES,
        Word, WordKey,
    },
};

use super::Tables;

/// Tables, and the circumstances under which they are asked.
#[derive(Clone, Debug)]
pub struct Evaluation<'a> {
    /// The tables of one revision.
    pub tables: &'a Tables,
    /// The circumstances.
    pub circumstances: Circumstances,
    /// The first rule that only observes and would have decided, or [`NO_RULE`].
    pub noted: Cell<u32>,
}

/// See [`matcher::Context`].
#[derive(Clone, Debug, Default)]
pub struct Circumstances {
    /// User id of who asks.
    pub user: u32,
    /// User id as which who asks has logged in, or [`matcher::NO_LOGIN`].
    pub login: u32,
    /// Group ids of who asks.
    pub groups: Vec<u32>,
    /// Labels of the data that the asking process, or its tree, has read: a mask.
    pub labels: u64,
    /// The sets of working directories that the one of who asks is in: a mask.
    pub workplaces: u64,
    /// The minute of the week in the host's time.
    pub minute: u32,
    /// User id of who owns the file; none if there is no file yet.
    pub owner: Option<u32>,
    /// `i_mode` of the file, 0 if there is none yet.
    pub mode: u32,
    /// `IPPROTO_*` of the socket.
    pub protocol: u32,
    /// The names by which the destination was looked up.
    pub hosts: Vec<String>,
    /// What a program is given, from its name on, each with a NUL; without the last NUL they cannot be read whole. Empty if
    /// they are not known.
    pub arguments: Vec<u8>,
}

impl<'a> Evaluation<'a> {
    /// One request of these tables.
    pub fn new(tables: &'a Tables, circumstances: Circumstances) -> Self {
        Self { tables, circumstances, noted: Cell::new(NO_RULE) }
    }

    /// The first rule that accepts `access` to the path `names` on `device`.
    pub fn path_rule(&self, asker: Asker, device: u32, names: &impl Names, access: u32) -> u32 {
        matcher::path_rules(self, asker, device, names, access, &mut Scratch::default()).0
    }

    /// The rule for a path of more names than are walked.
    pub fn unknown_path_rule(&self, asker: Asker, access: u32) -> u32 {
        matcher::unknown_path_rule(self, asker, access, &mut 0)
    }

    /// The first rule that accepts a connection there.
    pub fn address_rule(&self, asker: Asker, address: &[u8; 16], port: u16) -> u32 {
        matcher::address_rule(self, asker, address, port.into())
    }

    /// The first rule on an operation on the host.
    pub fn system_rule(&self, asker: Asker, system: System) -> u32 {
        matcher::system_rule(self, asker, system as u32)
    }

    /// The stricter of what the path met and of what the file meets by its other names.
    pub fn with_object(&self, asker: Asker, rule: u32, device: u32, inode: u64, access: u32) -> u32 {
        let choice = matcher::by_object(self, asker, device, inode, access, &mut 0);
        let exec = access & Class::Exec.bit() != 0;
        matcher::stricter(self, asker, rule, matcher::first_of(self, asker, [choice], exec))
    }

    /// See [`matcher::or_noted`].
    pub fn or_noted(&self, asker: Asker, rule: u32, on_host: bool) -> u32 {
        matcher::or_noted(self, asker, self.noted.get(), rule, on_host)
    }

    /// The sets of working directories that the directory is in, a mask. None: a path of more names than are walked.
    pub fn workplaces(&self, revision: u32, place: Option<(u32, &impl Names)>) -> u64 {
        let asker = Asker { revision, subject: WORKPLACES };
        match place {
            Some((device, names)) => self.labels(asker, device, names).0,
            None => {
                let mut labels = 0;
                matcher::unknown_path_rule(self, asker, 0, &mut labels);
                labels
            }
        }
    }

    /// Labels of the data at the path, and of what is below it and would lose them if it moved.
    pub fn labels(&self, asker: Asker, device: u32, names: &impl Names) -> (u64, u64) {
        let mut scratch = Scratch::default();
        matcher::path_rules(self, asker, device, names, 0, &mut scratch);
        (scratch.labels, scratch.labels_below)
    }

    /// The rule for `access` to the path and, in whatever way, to all that is below it.
    #[cfg(test)]
    pub fn moved_rule(&self, asker: Asker, device: u32, names: &impl Names, access: u32) -> u32 {
        let (rule, below) = matcher::path_rules(self, asker, device, names, access, &mut Scratch::default());
        matcher::stricter(self, asker, rule, below)
    }
}

impl matcher::Tables for Evaluation<'_> {
    fn root(&self, key: &RootKey) -> Option<&State> {
        self.tables.roots.get(key)
    }

    fn edge(&self, key: &EdgeKey) -> Option<&State> {
        self.tables.edges.get(key)
    }

    fn letters(&self, _: u32, state: u32) -> Option<&Letters> {
        self.tables.alphabet.states.get(state as usize)
    }

    fn name(&self, key: &NameKey) -> Option<&Named> {
        self.tables.names.get(key)
    }

    fn system(&self, key: &SystemKey) -> Option<&u32> {
        self.tables.system.get(key)
    }

    fn object(&self, key: &ObjectKey) -> Option<&Named> {
        self.tables.objects.rows.get(key)
    }

    fn consequence(&self, key: &RuleKey) -> Option<&Consequence> {
        self.tables.rules.get(key)
    }

    fn link(&self, _: u32, index: u32) -> Option<&Link> {
        self.tables.links.get(index as usize)
    }

    fn conditions(&self, key: &RuleKey) -> Option<&Conditions> {
        self.tables.conditions.get(key)
    }

    fn has_member(&self, key: &MemberKey) -> bool {
        self.tables.members.contains(key)
    }

    fn is_named(&self, revision: u32, set: u32) -> bool {
        host::is_named(self, revision, set, &mut NameKey::default())
    }

    fn first_of_chain(&self, revision: u32, choice: u32) -> u32 {
        matcher::first_of_chain(self, revision, choice)
    }

    fn word(&self, key: &WordKey) -> Option<&Word> {
        self.tables.words.get(key)
    }

    fn first_of_words(&self, revision: u32, table: u32) -> Option<u32> {
        matcher::first_of_words(self, revision, table, &mut Words::default())
    }

    fn schedule(&self, _: u32, number: u32) -> Option<&Schedule> {
        self.tables.schedules.get(number as usize - 1)
    }

    fn address(&self, key: &AddressKey) -> Option<&Ports> {
        let address = u128::from_be_bytes(key.address);
        (0..=128).rev().find_map(|bits| {
            let kept = address & !u128::MAX.checked_shr(bits).unwrap_or(0);
            self.tables.addresses.get(&(ADDRESS_HEAD_BITS + bits, AddressKey { address: kept.to_be_bytes(), ..*key }))
        })
    }
}

impl Hosts for Evaluation<'_> {
    /// The slot's number, from 1.
    fn host(&self, slot: u32) -> u64 {
        if self.circumstances.hosts.len() > slot as usize { u64::from(slot) + 1 } else { 0 }
    }

    fn tail(&self, host: u64, from: u32, tail: &mut [u8; LITERAL_BYTES]) {
        let name = self.circumstances.hosts.get(host as usize - 1).map_or(&[][..], |name| name.as_bytes());
        let left = name.get(from as usize..).unwrap_or_default();
        let length = left.len().min(LITERAL_BYTES);
        *tail = OTHERWISE;
        tail[..length].copy_from_slice(&left[..length]);
    }

    fn has_name(&self, key: &NameKey) -> bool {
        self.tables.host_names.contains(key)
    }
}

impl matcher::Context for Evaluation<'_> {
    fn user(&self) -> u32 {
        self.circumstances.user
    }

    fn login(&self) -> u32 {
        self.circumstances.login
    }

    fn group(&self, index: u32) -> Option<u32> {
        self.circumstances.groups.get(index as usize).copied()
    }

    fn labels(&self) -> u64 {
        self.circumstances.labels
    }

    fn workplaces(&self) -> u64 {
        self.circumstances.workplaces
    }

    fn minute(&self) -> u32 {
        self.circumstances.minute
    }

    fn owner(&self) -> Option<u32> {
        self.circumstances.owner
    }

    fn mode(&self) -> u32 {
        self.circumstances.mode
    }

    fn protocol(&self) -> u32 {
        self.circumstances.protocol
    }

    fn note(&self, rule: u32) -> bool {
        self.noted.set(rule.min(self.noted.get()));
        true
    }

    fn arguments(&self, _: &mut Place) -> u32 {
        self.circumstances.arguments.split_inclusive(|byte| *byte == 0).count() as u32
    }

    fn argument(&self, _: &mut Place, index: u32) -> Option<u8> {
        self.circumstances.arguments.get(index as usize).copied()
    }
}
