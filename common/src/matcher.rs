//! The matcher: from a request to the first rule that accepts it. Pure, and compiled for both sides, so
//! that what `explain` says is what the kernel does.

use crate::{
    request::{Class, NAME_BYTES},
    tables::{
        ANYWHERE, ARGUMENTS_BEGIN, AddressKey, CHAIN, CHAIN_LINKS, Conditions, Consequence, ELSEWHERE, EdgeKey, KIND,
        LITERAL_BYTES, Letters, Link, Marks, MemberKey, NAMES_BEGIN, NO_RULE, NameKey, Named, OTHERWISE, ObjectKey,
        PORT_INTERVALS, Ports, RootKey, RuleKey, Schedule, State, SystemKey, UNKNOWN, Verdict, WORDS, Word, WordKey,
        protocol, write_class,
    },
};

/// Most directory levels that are walked. A deeper path counts as unknown ([`UNKNOWN`]): must hold.
pub const DEPTH: usize = 64;

/// Most bytes of arguments, NULs included, that are looked at: what xargs(1) makes of them at most. More count as
/// unreadable.
pub const ARGUMENT_SPACE: u32 = 128 * 1024;

/// What is no login: that of services, and of who was there before anybody logged in (`AUDIT_UID_UNSET`).
pub const NO_LOGIN: u32 = u32::MAX;

/// Most groups that a process can have: its own, and `NGROUPS_MAX`.
const GROUPS: u32 = 1 + 65_536;

/// One turn of a loop, with what the loop carries in `self`.
pub trait Turn {
    /// Turn number `index`, from 0; false ends the loop.
    fn turn(&mut self, index: u32) -> bool;
}

/// Where the tables are: BPF maps in the kernel, ordinary maps in user space.
pub trait Tables {
    /// Runs at most `times` turns. The kernel's verifier would otherwise look at each turn of each loop anew.
    #[inline(always)]
    fn repeat(&self, times: u32, turns: &mut impl Turn) {
        for index in 0..times {
            if !turns.turn(index) {
                break;
            }
        }
    }

    /// Start of an automaton.
    fn root(&self, key: &RootKey) -> Option<&State>;
    /// A step in it.
    fn edge(&self, key: &EdgeKey) -> Option<&State>;
    /// A state in which the letters of a name lead to its class.
    fn letters(&self, revision: u32, state: u32) -> Option<&Letters>;
    /// Rules on a file name wherever it stands.
    fn name(&self, key: &NameKey) -> Option<&Named>;
    /// The first rule on an operation on the host.
    fn system(&self, key: &SystemKey) -> Option<&u32>;
    /// Rules on a file with several names, by any of them.
    fn object(&self, key: &ObjectKey) -> Option<&Named>;
    /// Rules on the narrowest address block that holds the address.
    fn address(&self, key: &AddressKey) -> Option<&Ports>;
    /// What follows from a rule.
    fn consequence(&self, key: &RuleKey) -> Option<&Consequence>;
    /// A link of a choice.
    fn link(&self, revision: u32, index: u32) -> Option<&Link>;
    /// The conditions of a rule that has some.
    fn conditions(&self, key: &RuleKey) -> Option<&Conditions>;
    /// Whether a user is in a set.
    fn has_member(&self, key: &MemberKey) -> bool;
    /// Whether the destination has a name of a set: [`crate::host::is_named`], wherever that is done.
    fn is_named(&self, revision: u32, set: u32) -> bool;
    /// A schedule.
    fn schedule(&self, revision: u32, number: u32) -> Option<&Schedule>;
    /// What an argument means.
    fn word(&self, key: &WordKey) -> Option<&Word>;
    /// [`first_of_chain`], wherever that is done.
    fn first_of_chain(&self, revision: u32, choice: u32) -> u32;
    /// [`first_of_words`], wherever that is done.
    fn first_of_words(&self, revision: u32, table: u32) -> Option<u32>;
}

/// The circumstances of a request, each looked at only where a rule depends on it.
pub trait Context {
    /// User id of who asks.
    fn user(&self) -> u32;
    /// Group `index` of who asks: the real group id is the first, the supplementary ones follow; none after the last.
    fn group(&self, index: u32) -> Option<u32>;
    /// User id as which who asks has logged in, [`NO_LOGIN`] if nobody has: whoever it has become since.
    fn login(&self) -> u32;
    /// Labels of the data that the asking process, or its tree, has read: a mask.
    fn labels(&self) -> u64;
    /// The sets of working directories that the one of who asks is in: a mask.
    fn workplaces(&self) -> u64;
    /// Now, as the minute of the week in the host's time.
    fn minute(&self) -> u32;
    /// User id of who owns the file; none if there is no file yet.
    fn owner(&self) -> Option<u32>;
    /// `i_mode` of the file, 0 if there is none yet.
    fn mode(&self) -> u32;
    /// `IPPROTO_*` of the socket.
    fn protocol(&self) -> u32;
    /// Number of arguments of the exec, the name that it gives the program included, and where they are; 0 if they are not
    /// known.
    fn arguments(&self, place: &mut Place) -> u32;
    /// Notes that `rule` would decide if it did not only observe; true.
    fn note(&self, rule: u32) -> bool;
    /// Byte `index` of the arguments, each of which ends in a NUL; none if it cannot be read. Asked for from the first on.
    fn argument(&self, place: &mut Place, index: u32) -> Option<u8>;
}

/// Where the arguments are, as the context that reads them has it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Place {
    /// Address of the first.
    pub start: u64,
    /// Where the page is that is being read.
    pub page: u64,
}

/// A path from the root of its file system down.
pub trait Names {
    /// Number of components, at most [`DEPTH`]; 0 is the root itself.
    fn depth(&self) -> usize;
    /// The file system's [`crate::tables::kind`].
    fn kind(&self) -> u32;
    /// Writes component `level` (0 is the one below the root) into `name`, padded with NULs. False if it is
    /// longer than [`LITERAL_BYTES`] - 1 or cannot be read.
    fn component(&self, level: usize, name: &mut [u8; LITERAL_BYTES]) -> bool;
    /// Where component `level` begins, for [`Names::letter`].
    fn start(&self, level: usize) -> u64;
    /// Byte `index` of the component that begins at `start`; 0 where it ends, and where it cannot be read.
    fn letter(&self, start: u64, index: usize) -> u8;
}

/// Scratch of one look-up: the kernel's stack is too small for it, and of what is not on the stack the verifier does not
/// follow each value.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Scratch {
    /// Labels of all that was looked up since this was last cleared.
    pub labels: u64,
    /// Likewise, of what is below.
    pub labels_below: u64,
    /// [`State::labels`] of the state that was reached.
    pub here: u64,
    /// [`State::labels_below`] there.
    pub under: u64,
    /// The step of the automaton that is looked up; its state is the one that was reached.
    pub edge: EdgeKey,
    /// The name that is looked up.
    pub name: NameKey,
    /// [`State::ways`] of the state that was reached.
    pub ways: u32,
    /// The choice there.
    pub first: u32,
    /// [`State::below`] there.
    pub below: u32,
    /// The state of [`Letters`] that was reached.
    pub letters: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Who asks: the part of every key that is the same for all look-ups of one request.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
}

/// The first rule that accepts `access` to the path `names` on `device`, and the first that stands in the way of anything
/// below: what moves there, or from there, takes that along, and needs the [`stricter`] of both. The labels of both are
/// noted in `scratch`.
#[inline(always)]
pub fn path_rules(
    tables: &(impl Tables + Context),
    asker: Asker,
    device: u32,
    names: &impl Names,
    access: u32,
    scratch: &mut Scratch,
) -> (u32, u32) {
    let exec = access & Class::Exec.bit() != 0;
    let (choice, below) = from_root(tables, asker, device, names, access, scratch);
    let (other, other_below) = from_anywhere(tables, asker, names, access, scratch);
    let by_name = by_name(tables, asker, names, access, scratch);
    (first_of(tables, asker, [choice, other, by_name], exec), below.min(other_below))
}

/// The rule that is told: what passes is told under the rule that only observes (`noted`), where that would have decided it
/// otherwise. What no rule accepts passes, but for an operation on the host.
#[inline(always)]
pub fn or_noted(tables: &impl Tables, asker: Asker, noted: u32, rule: u32, on_host: bool) -> u32 {
    if noted >= rule {
        return rule;
    }
    let passes = match tables.consequence(&RuleKey { revision: asker.revision, rule }) {
        Some(consequence) => consequence.verdict <= Verdict::Audit as u32,
        None => rule == NO_RULE && !on_host,
    };
    if passes { noted } else { rule }
}

/// The first rule of some choices: of an `exec`, rules on its arguments are among them.
#[inline(always)]
pub fn first_of<const N: usize>(tables: &(impl Tables + Context), asker: Asker, choices: [u32; N], exec: bool) -> u32 {
    let mut rule = NO_RULE;
    for choice in choices {
        rule = rule.min(if exec { first_of_exec(tables, asker, choice) } else { first(tables, asker, choice) });
    }
    rule
}

#[inline(always)]
fn first_of_exec(tables: &(impl Tables + Context), asker: Asker, choice: u32) -> u32 {
    if is_rule(choice) {
        return choice;
    }
    if let Some(link) = tables.link(asker.revision, choice & !CHAIN)
        && link.rule & WORDS != 0
        && let Some(rule) = tables.first_of_words(asker.revision, link.rule & !WORDS)
    {
        return rule.min(first(tables, asker, link.next));
    }
    tables.first_of_chain(asker.revision, choice)
}

/// The rule of a choice: the first whose conditions hold; of what is executed with arguments, where these are not known.
#[inline(always)]
fn first(tables: &(impl Tables + Context), asker: Asker, choice: u32) -> u32 {
    if is_rule(choice) { choice } else { tables.first_of_chain(asker.revision, choice) }
}

/// The rule of a choice that is a chain.
#[inline(always)]
pub fn first_of_chain(tables: &(impl Tables + Context), revision: u32, choice: u32) -> u32 {
    let (words, rest) = match tables.link(revision, choice & !CHAIN) {
        Some(link) if link.rule & WORDS != 0 => (link.more as u32, link.next),
        _ => (NO_RULE, choice),
    };
    along(tables, revision, words, 0).min(along(tables, revision, rest, 0))
}

/// The rule at which the way along a chain ends, where the arguments have met `patterns`.
#[inline(always)]
fn along(tables: &(impl Tables + Context), revision: u32, choice: u32, patterns: u64) -> u32 {
    let mut search = Search { tables, patterns, revision, choice };
    tables.repeat(CHAIN_LINKS as u32, &mut search);
    search.choice
}

/// Whether a choice is a rule, or none.
#[inline(always)]
fn is_rule(choice: u32) -> bool {
    choice & CHAIN == 0 || choice == NO_RULE
}

/// The way along a chain. It ends at a choice that is a rule, or none.
struct Search<'a, T> {
    tables: &'a T,
    patterns: u64,
    revision: u32,
    choice: u32,
}

impl<T: Tables + Context> Turn for Search<'_, T> {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> bool {
        if is_rule(self.choice) {
            return false;
        }
        let Some(link) = self.tables.link(self.revision, self.choice & !CHAIN) else {
            // It stays a chain, which has no consequence: refused.
            return false;
        };
        let key = RuleKey { revision: self.revision, rule: link.rule };
        let holds = link.more & !self.patterns == 0 && hold(self.tables, &key);
        self.choice = if holds { link.rule } else { link.next };
        true
    }
}

/// Scratch of one look through the arguments of an exec.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Words {
    /// Where they are.
    pub place: Place,
    /// The patterns that were met so far.
    pub patterns: u64,
    /// The argument that is read.
    pub key: WordKey,
    /// Bytes of it.
    pub length: u32,
    /// The state of [`Letters`] that it has reached.
    pub letters: u32,
    /// Number of arguments.
    pub count: u32,
    /// How many of them are left.
    pub left: u32,
    /// The turn in which the first byte was read.
    pub begun: u32,
    /// 1 if some choice depends on what other arguments meet.
    pub depends: u32,
    /// 1 while they are read for the second time: what they meet is known.
    pub again: u32,
    /// The first rule so far.
    pub first: u32,
}

/// The first rule of a table of words; none if the arguments cannot be read whole.
#[inline(always)]
pub fn first_of_words(tables: &(impl Tables + Context), revision: u32, table: u32, words: &mut Words) -> Option<u32> {
    words.key.table = table;
    words.key.revision = revision;
    (words.begun, words.depends, words.again, words.patterns, words.first) = (0, 0, 0, 0, NO_RULE);
    words.count = tables.arguments(&mut words.place);
    words.left = words.count;
    words.next();
    let mut listening = Listening { tables, words };
    tables.repeat(2 * ARGUMENT_SPACE + 1, &mut listening);
    let words = listening.words;
    (words.count != 0 && words.left == 0).then_some(words.first)
}

impl Words {
    /// Makes ready for the next argument.
    #[inline(always)]
    fn next(&mut self) {
        self.key.text = OTHERWISE;
        (self.length, self.letters) = (0, ARGUMENTS_BEGIN);
    }

    /// Whether something is left to read, from `turn` on if it is for the second time.
    #[inline(always)]
    fn is_left(&mut self, turn: u32) -> bool {
        if self.left == 0 && self.depends != 0 && self.again == 0 {
            (self.again, self.begun, self.left) = (1, turn, self.count);
        }
        self.left != 0 && turn - self.begun < ARGUMENT_SPACE
    }
}

/// The way through the arguments, byte by byte: once, or twice if a rule asks for several.
struct Listening<'a, T> {
    tables: &'a T,
    words: &'a mut Words,
}

impl<T: Tables + Context> Turn for Listening<'_, T> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        let at = &mut *self.words;
        if !at.is_left(index) {
            return false;
        }
        match self.tables.argument(&mut at.place, index - at.begun) {
            None => return false,
            Some(0) => self.end(),
            Some(byte) => self.letter(byte),
        }
        true
    }
}

impl<T: Tables + Context> Listening<'_, T> {
    /// A byte of an argument. One that is longer than the key equals none in the table: its last byte there is no NUL.
    #[inline(always)]
    fn letter(&mut self, byte: u8) {
        let at = &mut *self.words;
        if let Some(slot) = at.key.text.get_mut(at.length as usize) {
            *slot = byte;
        }
        at.length += 1;
        let letters = self.tables.letters(at.key.revision, at.letters);
        at.letters = letters.map_or(0, |letters| u32::from(letters.next[byte as usize]));
    }

    /// The end of an argument. The first is the name that the program is given.
    #[inline(always)]
    fn end(&mut self) {
        let is_name = self.words.left == self.words.count;
        self.words.left -= 1;
        if !is_name {
            self.judge();
        }
        self.words.next();
    }

    #[inline(always)]
    fn judge(&mut self) {
        let at = &mut *self.words;
        let revision = at.key.revision;
        let mut word = self.tables.word(&at.key);
        let class = self.tables.letters(revision, at.letters).map_or(0, |letters| letters.class);
        if word.is_none() && class != 0 {
            write_class(&mut at.key.text, class);
            word = self.tables.word(&at.key);
        }
        let Some(word) = word else { return };
        at.patterns |= word.patterns;
        if is_rule(word.choice) {
            at.first = at.first.min(word.choice);
        } else if at.again == 0 {
            at.depends = 1;
        } else {
            at.first = at.first.min(along(self.tables, revision, word.choice, at.patterns));
        }
    }
}

/// Whether the conditions of the rule hold.
#[inline(always)]
fn hold<T: Tables + Context>(tables: &T, key: &RuleKey) -> bool {
    let Some(asked) = tables.conditions(key) else { return true };
    let is_member = |set, id| tables.has_member(&MemberKey { revision: key.revision, set, id });
    (asked.labels == 0 || asked.labels & tables.labels() != 0)
        && (asked.workplaces == 0 || asked.workplaces & tables.workplaces() != 0)
        && (asked.users == 0 || is_member(asked.users, tables.user()))
        && (asked.logins == 0 || is_member(asked.logins, tables.login()))
        && (asked.groups == 0 || belongs(tables, key.revision, asked.groups))
        && (asked.owners == 0 || tables.owner().is_some_and(|owner| is_member(asked.owners, owner)))
        && (asked.modes == 0 || asked.modes & tables.mode() != 0)
        && (asked.kind == 0 || asked.kind == tables.mode() & KIND)
        && (asked.protocols == 0 || asked.protocols & protocol::bit(tables.protocol()) != 0)
        && (asked.hosts == 0 || tables.is_named(key.revision, asked.hosts))
        && (asked.schedule == 0 || is_now(tables, key.revision, asked.schedule))
        && !(asked.observes != 0 && tables.note(key.rule))
}

/// Whether who asks belongs to a group of the set.
#[inline(always)]
fn belongs<T: Tables + Context>(tables: &T, revision: u32, set: u32) -> bool {
    let mut groups = Groups { tables, key: MemberKey { revision, set, id: 0 }, found: false };
    tables.repeat(GROUPS, &mut groups);
    groups.found
}

/// The way through the groups of who asks, until one is in the set.
struct Groups<'a, T> {
    tables: &'a T,
    key: MemberKey,
    found: bool,
}

impl<T: Tables + Context> Turn for Groups<'_, T> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        let Some(id) = self.tables.group(index) else { return false };
        self.key.id = id;
        self.found = self.tables.has_member(&self.key);
        !self.found
    }
}

#[inline(always)]
fn is_now(tables: &(impl Tables + Context), revision: u32, schedule: u32) -> bool {
    tables.schedule(revision, schedule).is_some_and(|schedule| schedule.has(tables.minute()))
}

/// The rule for a request on two objects, of which each has met its own. The order of the file says nothing of that: a
/// rule that allows what is done to one does not allow what is done to the other.
#[inline(always)]
pub fn stricter(tables: &impl Tables, asker: Asker, one: u32, other: u32) -> u32 {
    let (of_one, of_other) = (severity(tables, asker, one), severity(tables, asker, other));
    if of_one == of_other {
        one.min(other)
    } else if of_one > of_other {
        one
    } else {
        other
    }
}

/// The number of the rule's [`Verdict`], 0 for no rule.
#[inline(always)]
fn severity(tables: &impl Tables, asker: Asker, rule: u32) -> u32 {
    if rule == NO_RULE {
        return 0;
    }
    let key = RuleKey { revision: asker.revision, rule };
    tables.consequence(&key).map_or(Verdict::Deny as u32, |consequence| consequence.verdict)
}

/// The choice of what stands in the way of `access` to a file by another of its names than the one that was given. What
/// labels it has by that name are noted in `labels`.
#[inline(always)]
pub fn by_object(tables: &impl Tables, asker: Asker, device: u32, inode: u64, access: u32, labels: &mut u64) -> u32 {
    let key = ObjectKey { inode, device, revision: asker.revision, subject: asker.subject, reserved: 0 };
    let Some(object) = tables.object(&key) else { return NO_RULE };
    *labels |= object.labels;
    object.marks.first(access)
}

/// The first rule on an operation on the host.
#[inline(always)]
pub fn system_rule(tables: &(impl Tables + Context), asker: Asker, system: u32) -> u32 {
    let key = SystemKey { revision: asker.revision, subject: asker.subject, system };
    first(tables, asker, tables.system(&key).copied().unwrap_or(NO_RULE))
}

/// The rule for a path that could not be walked: the first that could have accepted it and does not allow. It is taken to
/// have every label; noted in `labels`.
#[inline(always)]
pub fn unknown_path_rule(tables: &(impl Tables + Context), asker: Asker, access: u32, labels: &mut u64) -> u32 {
    let key = RootKey { revision: asker.revision, subject: asker.subject, device: UNKNOWN };
    let Some(root) = tables.root(&key) else { return NO_RULE };
    *labels |= root.labels;
    first(tables, asker, root.marks.first(access))
}

/// The first rule that accepts a connection to `address` and `port`.
#[inline(always)]
pub fn address_rule(tables: &(impl Tables + Context), asker: Asker, address: &[u8; 16], port: u32) -> u32 {
    let key = AddressKey { revision: asker.revision, subject: asker.subject, address: *address };
    first(tables, asker, tables.address(&key).map_or(NO_RULE, |ports| port_rule(tables, ports, port)))
}

#[inline(always)]
fn port_rule(tables: &(impl Tables + Context), ports: &Ports, port: u32) -> u32 {
    let mut scan = Scan { ports, port, first: NO_RULE };
    tables.repeat(PORT_INTERVALS as u32, &mut scan);
    scan.first
}

/// The search for the interval that holds a port.
struct Scan<'a> {
    ports: &'a Ports,
    port: u32,
    first: u32,
}

impl Turn for Scan<'_> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        let slot = index as usize & (PORT_INTERVALS - 1);
        if index >= self.ports.length || self.ports.start[slot] > self.port {
            return false;
        }
        self.first = self.ports.rule[slot];
        true
    }
}

/// [`path_rules`] of patterns that begin at a file system's root: the choice, and the rule on what is below.
#[inline(always)]
pub fn from_root(
    tables: &impl Tables,
    asker: Asker,
    device: u32,
    names: &impl Names,
    access: u32,
    scratch: &mut Scratch,
) -> (u32, u32) {
    let mut key = RootKey { revision: asker.revision, subject: asker.subject, device };
    let mut root = tables.root(&key);
    if root.is_none() {
        key.device = names.kind();
        root = tables.root(&key);
    }
    let Some(root) = root else {
        // A file system that no policy path leads to.
        key.device = ELSEWHERE;
        let Some(root) = tables.root(&key) else { return (NO_RULE, NO_RULE) };
        scratch.labels |= root.labels;
        return (root.marks.first(access), NO_RULE);
    };
    descend(tables, asker.revision, root, names, access, scratch)
}

/// Where patterns start that begin anywhere, if the subject has any: they are about names, which a root has not.
#[inline(always)]
fn anywhere<'a>(tables: &'a impl Tables, asker: Asker, names: &impl Names) -> Option<&'a State> {
    let key = RootKey { revision: asker.revision, subject: asker.subject, device: ANYWHERE };
    tables.root(&key).filter(|_| names.depth() != 0)
}

/// Likewise, of patterns that begin anywhere, of several names.
#[inline(always)]
pub fn from_anywhere(
    tables: &impl Tables,
    asker: Asker,
    names: &impl Names,
    access: u32,
    scratch: &mut Scratch,
) -> (u32, u32) {
    let Some(root) = anywhere(tables, asker, names).filter(|root| root.ways & State::SEVERAL != 0) else {
        return (NO_RULE, NO_RULE);
    };
    descend(tables, asker.revision, root, names, access, scratch)
}

/// The choice of rules whose pattern is one name, wherever it stands.
#[inline(always)]
pub fn by_name(tables: &impl Tables, asker: Asker, names: &impl Names, access: u32, scratch: &mut Scratch) -> u32 {
    let Some(root) = anywhere(tables, asker, names) else { return NO_RULE };
    let (ways, last) = (root.ways, names.depth() - 1);
    let key = &mut scratch.name;
    (key.revision, key.subject) = (asker.revision, asker.subject);
    let mut named = if names.component(last, &mut key.name) { tables.name(key) } else { None };
    if named.is_none() && ways & State::CLASSES != 0 {
        write_class(&mut key.name, class(tables, asker.revision, names, last, &mut scratch.letters));
        named = tables.name(key);
    }
    let Some(named) = named else { return NO_RULE };
    scratch.labels |= named.labels;
    named.marks.first(access)
}

#[inline(always)]
fn descend(
    tables: &impl Tables,
    revision: u32,
    root: &State,
    names: &impl Names,
    access: u32,
    scratch: &mut Scratch,
) -> (u32, u32) {
    let slot = Marks::slot(access);
    scratch.enter(root, slot);
    let mut descent = Descent { tables, names, revision, slot, scratch };
    tables.repeat(DEPTH as u32, &mut descent);
    scratch.labels |= scratch.here;
    scratch.labels_below |= scratch.under;
    (scratch.first, scratch.below)
}

impl Scratch {
    #[inline(always)]
    fn enter(&mut self, state: &State, slot: usize) {
        self.edge.state = state.id;
        (self.ways, self.first, self.below) = (state.ways, state.marks.at(slot), state.below);
        (self.here, self.under) = (state.labels, state.labels_below);
    }
}

/// The way through an automaton along a path.
struct Descent<'a, T, N> {
    tables: &'a T,
    names: &'a N,
    revision: u32,
    /// The slot of [`Marks`] that is asked for.
    slot: usize,
    scratch: &'a mut Scratch,
}

impl<T: Tables, N: Names> Turn for Descent<'_, T, N> {
    #[inline(always)]
    fn turn(&mut self, level: u32) -> bool {
        if level as usize >= self.names.depth() || self.scratch.ways & State::LAST != 0 {
            return false;
        }
        let next = self.step(level).or_else(|| self.otherwise(level));
        let at = &mut *self.scratch;
        match next {
            Some(state) => at.enter(state, self.slot),
            None => {
                (at.first, at.below) = (NO_RULE, NO_RULE);
                (at.here, at.under) = (0, 0);
            }
        }
        next.is_some()
    }
}

impl<'a, T: Tables, N: Names> Descent<'a, T, N> {
    /// Where the name at `level`, or its class, leads from here.
    #[inline(always)]
    fn step(&mut self, level: u32) -> Option<&'a State> {
        let at = &mut *self.scratch;
        let spelled = self.names.component(level as usize, &mut at.edge.name);
        let next = if spelled { self.tables.edge(&at.edge) } else { None };
        if next.is_some() || at.ways & State::CLASSES == 0 {
            return next;
        }
        let class = class(self.tables, self.revision, self.names, level as usize, &mut at.letters);
        if class == 0 {
            return None;
        }
        write_class(&mut at.edge.name, class);
        self.tables.edge(&at.edge)
    }

    /// Where a name leads that is none of the state's own.
    #[inline(always)]
    fn otherwise(&mut self, level: u32) -> Option<&'a State> {
        let at = &mut *self.scratch;
        if at.ways & State::OTHERWISE == 0 {
            return None;
        }
        at.edge.name = OTHERWISE;
        let other = self.tables.edge(&at.edge)?;
        if other.id == at.edge.state || other.ways & State::LAST != 0 {
            return Some(other);
        }
        (at.edge.state, at.ways) = (other.id, other.ways);
        self.step(level).or(Some(other))
    }
}

/// The class of the name at `level`.
#[inline(always)]
fn class(tables: &impl Tables, revision: u32, names: &impl Names, level: usize, state: &mut u32) -> u32 {
    *state = NAMES_BEGIN;
    let mut reading = Reading { tables, names, start: names.start(level), state, revision };
    tables.repeat(NAME_BYTES as u32, &mut reading);
    tables.letters(revision, *reading.state).map_or(0, |letters| letters.class)
}

/// The way through the letters of a name.
struct Reading<'a, T, N> {
    tables: &'a T,
    names: &'a N,
    start: u64,
    state: &'a mut u32,
    revision: u32,
}

impl<T: Tables, N: Names> Turn for Reading<'_, T, N> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        let letter = self.names.letter(self.start, index as usize);
        if letter == 0 || *self.state == 0 {
            return false;
        }
        let letters = self.tables.letters(self.revision, *self.state);
        *self.state = letters.map_or(0, |letters| u32::from(letters.next[letter as usize]));
        true
    }
}
