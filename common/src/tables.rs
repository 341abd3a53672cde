//! The policy as the kernel reads it: what the agent compiles and the [`crate::matcher`] looks up.
//!
//! Path patterns form a deterministic automaton for each (revision, subject, file system), which reads a path name by
//! name. In each state stands, for each set of [`Class`]es, the *first* rule whose pattern accepts there, so the cost of
//! a look-up depends on the path and not on the number of rules. A name that no edge spells out is read letter by letter
//! by a second automaton, which says which wildcards match it: its class.
//!
//! Revisions are part of the keys: a new policy is written beside the one in force and switched over by one
//! store to [`crate::task::Switches::revision`].

use crate::request::Class;

/// "No rule": greater than every rule's index, so the smaller of two is the one that wins.
pub const NO_RULE: u32 = u32::MAX;

/// The pseudo subject whose "rules" are the executables that start a governed tree, under [`Class::Exec`], and
/// the control groups, on the pseudo device [`CGROUPS`]. Its rules are numbered from [`STARTERS`].
pub const ENROLMENT: u32 = u32::MAX;

/// The "rule" of [`ENROLMENT`] that starts the first subject of the policy; the next one starts the second.
pub const STARTERS: u32 = 1 << 30;

/// The subject of the start-up canary: each of its requests is denied. Its rules are compiled like any other's.
pub const CANARY: u32 = u32::MAX - 1;

/// Likewise, but it may rule the host ([`crate::system::System::Admin`]): the kernel asks that first about many
/// operations, and what comes after it would never be met.
pub const TRUSTED_CANARY: u32 = u32::MAX - 2;

/// Both.
pub const CANARIES: [u32; 2] = [CANARY, TRUSTED_CANARY];

/// The pseudo subject whose tables have no rules: what a directory is labelled with there are the sets of working directories
/// that it belongs to ([`Conditions::workplaces`]). It is there if the policy has any.
pub const WORKPLACES: u32 = u32::MAX - 3;

/// Most sets of working directories that a policy can have: the bits of a mask.
pub const WORKPLACE_SETS: usize = 64;

/// Pseudo device of the unified control group hierarchy: the trie of control group names.
pub const CGROUPS: u32 = u32::MAX;

/// Pseudo device of the row for paths that could not be walked to their root: the first rule on any path that does not
/// allow.
pub const UNKNOWN: u32 = u32::MAX - 1;

/// Pseudo device of the row for paths on file systems that the policy does not name: the rules that accept every path
/// (`/**`).
pub const ELSEWHERE: u32 = u32::MAX - 2;

/// Pseudo device of the automaton of patterns that may begin anywhere (`**/name`, `**/a/b`).
pub const ANYWHERE: u32 = u32::MAX - 3;

/// Pseudo device of whichever file system of a kind that the kernel makes itself (proc, sysfs, cgroup, ...), by its magic
/// number: what the policy says of this host's holds for every other instance. (Major numbers end at 511.)
#[inline(always)]
#[must_use]
pub const fn kind(magic: u32) -> u32 {
    0xfff0_0000 | magic & 0xf_ffff
}

/// Longest file name that a policy can spell out, with its NUL padding. A longer name equals none of these.
pub const LITERAL_BYTES: usize = 64;

/// Marks a choice ("the first rule that accepts", as a table has it) as the index of a [`Link`]: the first rule depends on
/// more than the table was asked for. Without it the choice is the rule's index, or [`NO_RULE`].
pub const CHAIN: u32 = 1 << 31;

/// Most links of one choice.
pub const CHAIN_LINKS: usize = 16;

/// Marks [`Link::rule`] as the number of a table of [`Word`]s: the first of the rules that ask for arguments, if it comes
/// before the rule of the next choice. Such a link stands first in its choice.
pub const WORDS: u32 = 1 << 31;

/// One rule of a choice: it accepts if its [`Conditions`] hold; if not, the next choice counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Link {
    /// The rule's index.
    pub rule: u32,
    /// A choice.
    pub next: u32,
    /// In the choice of a [`Word`]: what other arguments must have met, as [`Word::patterns`]. Of [`WORDS`]: the choice where
    /// the arguments cannot be read.
    pub more: u64,
}

/// Most labels that a policy can have, and that this host can know at a time: the bits of a mask.
pub const LABELS: usize = 64;

/// Key of what one argument means to the rules that ask for arguments, of those on one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct WordKey {
    /// Policy revision.
    pub revision: u32,
    /// The table's number.
    pub table: u32,
    /// The argument, padded with NULs, or a class ([`class_name`]).
    pub text: [u8; LITERAL_BYTES],
}

/// What an argument means to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Word {
    /// The choice of the rules that ask for it first.
    pub choice: u32,
    /// Always zero.
    pub reserved: u32,
    /// Which of the table's further patterns it meets: a bit each.
    pub patterns: u64,
}

impl Word {
    /// Most further patterns of one table.
    pub const PATTERNS: usize = 64;
}

/// What must hold for a rule to accept, beside what was looked up. Zero stands for "whatever it is".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Conditions {
    /// The asking process, or its tree, has read data with one of these labels.
    pub labels: u64,
    /// The working directory of who asks is in one of these sets: a mask.
    pub workplaces: u64,
    /// Number of a set of user ids: who asks is in it.
    pub users: u32,
    /// Number of a set of user ids: who owns the file is in it.
    pub owners: u32,
    /// The file has one of these bits of `i_mode`.
    pub modes: u32,
    /// The socket's protocol is one of these: a mask of [`protocol`] bits.
    pub protocols: u32,
    /// Number of a schedule, from 1: now is in it.
    pub schedule: u32,
    /// The file is of this type, as `i_mode` has it: [`SOCKET`].
    pub kind: u32,
    /// Number of a set of group ids: who asks belongs to one in it.
    pub groups: u32,
    /// Number of a set of host names, from 1: the destination has one of them.
    pub hosts: u32,
    /// 1 if the rule only observes: where all of this holds it is noted, and the next rule counts.
    pub observes: u32,
    /// Number of a set of user ids: who asks has logged in as one in it.
    pub logins: u32,
}

/// The bits of `i_mode` that are the type of a file, `include/uapi/linux/stat.h`.
pub const KIND: u32 = 0o170_000;

/// `S_IFSOCK`.
pub const SOCKET: u32 = 0o140_000;

/// Bits of [`Conditions::protocols`].
pub mod protocol {
    /// TCP.
    pub const TCP: u32 = 1;
    /// UDP.
    pub const UDP: u32 = 2;
    /// SCTP.
    pub const SCTP: u32 = 4;
    /// Multipath TCP (RFC 8684).
    pub const MPTCP: u32 = 8;
    /// Any other.
    pub const OTHER: u32 = 16;

    /// The bit of `IPPROTO_*`.
    #[inline(always)]
    #[must_use]
    pub const fn bit(number: u32) -> u32 {
        match number {
            6 => TCP,
            17 => UDP,
            132 => SCTP,
            262 => MPTCP,
            _ => OTHER,
        }
    }
}

/// Key of a member of a set of user or group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct MemberKey {
    /// Policy revision.
    pub revision: u32,
    /// The set's number, from 1.
    pub set: u32,
    /// The id, as the initial user namespace counts.
    pub id: u32,
}

/// Minutes of a week.
pub const WEEK: u32 = 7 * 24 * 60;

/// The minutes of a week that belong to a schedule, from Monday 00:00 in the host's time: a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Schedule {
    /// Bit `minute % 64` of word `minute / 64`.
    pub minutes: [u64; Self::WORDS],
}

impl Schedule {
    /// Words for a week, and more: a power of two, so that an index can be masked.
    pub const WORDS: usize = (WEEK.div_ceil(64) as usize).next_power_of_two();

    /// Whether `minute` of the week belongs to it.
    #[inline(always)]
    #[must_use]
    pub fn has(&self, minute: u32) -> bool {
        self.minutes[(minute as usize / 64) & (Self::WORDS - 1)] >> (minute % 64) & 1 != 0
    }
}

/// For each set of [`Class`]es that can be asked for, the choice of the rule that accepts one of them: a row, so that the
/// kernel decides with one load and no branch. Writing has degrees, of which each asks for those before it: appending, writing
/// anywhere, emptying. [`Class::Exec`] is never asked for with another; its slot is the empty set's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Marks {
    /// The choice by access mask, [`NO_RULE`] where none accepts.
    pub rule: [u32; Self::SLOTS],
}

impl Marks {
    /// The slot of [`Class::Exec`].
    pub const EXEC: usize = 0;

    /// Number of sets: reading or not, creating or not, and a degree of writing or none.
    pub const SLOTS: usize = 16;

    /// What the degrees of writing ask for.
    const DEGREES: [u32; 4] = [0, Class::Append.bit(), Class::WRITING, Class::TRUNCATING];

    /// No rule for any class.
    pub const NONE: Self = Self { rule: [NO_RULE; Self::SLOTS] };

    /// The slots of all masks, 4 bits each: of those without [`Class::Append`], and of those with it.
    const BY_ACCESS: [u64; 2] = [Self::slots_from(0), Self::slots_from(Class::Append.bit())];

    /// The slot of what asks for `access`, a mask of [`Class`] bits. Looked up, since the kernel's verifier does not know how
    /// large a number is that is put together of bits.
    #[inline(always)]
    #[must_use]
    pub fn slot(access: u32) -> usize {
        let [without, with] = Self::BY_ACCESS;
        let slots = if access & Class::Append.bit() == 0 { without } else { with };
        (slots >> (4 * (access & 0xf)) & 0xf) as usize
    }

    /// The slots of the 16 masks from `access` on.
    const fn slots_from(access: u32) -> u64 {
        let (mut slots, mut next) = (0, 16);
        while next > 0 {
            next -= 1;
            slots = slots << 4 | Self::slot_of(access | next);
        }
        slots
    }

    /// Of a degree of writing, those before it are part.
    const fn slot_of(access: u32) -> u64 {
        let degree = if access & Class::Truncate.bit() != 0 {
            3
        } else if access & Class::Write.bit() != 0 {
            2
        } else if access & Class::Append.bit() != 0 {
            1
        } else {
            0
        };
        (access & Class::Read.bit() | (access >> Class::Create as u32 & 1) << 1 | degree << 2) as u64
    }

    /// What the requests of a slot ask for: never a degree of writing without those before it.
    #[must_use]
    pub fn asked(slot: usize) -> u32 {
        let bit = |class: Class, place: usize| if slot >> place & 1 != 0 { class.bit() } else { 0 };
        bit(Class::Read, 0) | bit(Class::Create, 1) | Self::DEGREES[slot >> 2 & 3]
    }

    /// The choice for any class in `access`, a mask of [`Class`] bits.
    #[inline(always)]
    #[must_use]
    pub fn first(&self, access: u32) -> u32 {
        self.at(Self::slot(access))
    }

    /// The choice in a slot.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, slot: usize) -> u32 {
        self.rule[slot & (Self::SLOTS - 1)]
    }
}

/// What is known of a file by one of its names, or by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Named {
    /// Labels of its data.
    pub labels: u64,
    /// Rules that accept it.
    pub marks: Marks,
}

/// Where the automaton of one subject on one file system begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RootKey {
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
    /// `s_dev`, or a pseudo device.
    pub device: u32,
}

/// A step of the automaton. The ids of states are never shared by two revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct EdgeKey {
    /// The state one is in.
    pub state: u32,
    /// The file name, padded with NULs; a class ([`class_name`]); or [`OTHERWISE`].
    pub name: [u8; LITERAL_BYTES],
}

/// In place of a file name: every one that has no edge of its own, and whose class has none.
pub const OTHERWISE: [u8; LITERAL_BYTES] = [0; LITERAL_BYTES];

/// In place of a file name: all of that class which have no edge of their own. (No file name begins with a NUL.)
#[inline(always)]
#[must_use]
pub fn class_name(class: u32) -> [u8; LITERAL_BYTES] {
    let mut name = OTHERWISE;
    write_class(&mut name, class);
    name
}

/// [`class_name`], in place: the kernel's stack is too small for another.
#[inline(always)]
pub fn write_class(name: &mut [u8; LITERAL_BYTES], class: u32) {
    *name = OTHERWISE;
    let [first, second, third, fourth] = class.to_ne_bytes();
    (name[4], name[5], name[6], name[7]) = (first, second, third, fourth);
}

/// A state of the automaton.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// Labels of the data at the path that ends here.
    pub labels: u64,
    /// Labels of what is below it and would lose them if the directory moved away.
    pub labels_below: u64,
    /// The state's id.
    pub id: u32,
    /// What leads out of it other than names: [`State::CLASSES`], [`State::OTHERWISE`], [`State::LAST`].
    pub ways: u32,
    /// The first rule on anything below the path that ends here that does not let pass: moving the directory away would
    /// take what is below from under its rules. [`NO_RULE`] if there is none.
    pub below: u32,
    /// Always zero.
    pub reserved: u32,
    /// Rules that accept the path that ends here.
    pub marks: Marks,
}

impl Default for EdgeKey {
    fn default() -> Self {
        Self { state: 0, name: OTHERWISE }
    }
}

impl Default for WordKey {
    fn default() -> Self {
        Self { revision: 0, table: 0, text: OTHERWISE }
    }
}

impl State {
    /// Some edges are for classes of names.
    pub const CLASSES: u32 = 1;
    /// There is an edge for every other name.
    pub const OTHERWISE: u32 = 2;
    /// Whatever comes below, the state stays the same.
    pub const LAST: u32 = 4;
    /// In the start of [`ANYWHERE`]: patterns of several names begin there.
    pub const SEVERAL: u32 = 8;
}

/// Letters of a name, or of an argument, that the wildcards of one revision are compared with: a state of a deterministic automaton. State 0
/// matches nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Letters {
    /// The state after each byte.
    pub next: [u16; 256],
    /// The class of what ends here: 0 if no wildcard matches it.
    pub class: u32,
}

/// Most states of [`Letters`] of one revision.
pub const LETTERS: u32 = 2048;
/// Most [`Link`]s of one revision.
pub const LINKS: u32 = 16384;
/// Most [`Schedule`]s of one revision.
pub const SCHEDULES: u32 = 64;

/// Where number `index` of at most `most` of one revision stands in an array of the kernel's: those of one revision are in
/// the first half, of the next in the second.
#[inline(always)]
#[must_use]
pub const fn at(revision: u32, index: u32, most: u32) -> u32 {
    (revision & 1) * most + index % most
}

/// The state of [`Letters`] in which a file name begins.
pub const NAMES_BEGIN: u32 = 1;
/// Likewise, an argument.
pub const ARGUMENTS_BEGIN: u32 = 2;

/// A file name that is matched wherever it stands (`**/name`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct NameKey {
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
    /// The file name, padded with NULs, or a class ([`class_name`]).
    pub name: [u8; LITERAL_BYTES],
}

impl Default for NameKey {
    fn default() -> Self {
        Self { revision: 0, subject: 0, name: OTHERWISE }
    }
}

/// Data of a longest-prefix key: the first 64 bits are always matched whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct AddressKey {
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
    /// IPv6 address; IPv4 as IPv4-mapped.
    pub address: [u8; 16],
}

/// Bits of [`AddressKey`] before the address.
pub const ADDRESS_HEAD_BITS: u32 = 64;

/// Most port intervals that one address block can be cut into: a power of two.
pub const PORT_INTERVALS: usize = 32;

/// The rules for one address block: ports cut into intervals. A block's row already counts the rules of all
/// wider blocks, since only the longest prefix is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ports {
    /// Intervals in use, at least 1.
    pub length: u32,
    /// First port of each interval, ascending; `start[0]` is 0.
    pub start: [u32; PORT_INTERVALS],
    /// The choice of the rule that accepts the interval.
    pub rule: [u32; PORT_INTERVALS],
}

/// What policy says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Verdict {
    /// It happens.
    Allow = 1,
    /// It happens and is reported.
    Audit = 2,
    /// It is parked until there is a decision.
    Hold = 3,
    /// It fails with `EPERM`.
    Deny = 4,
    /// It fails and the process is killed.
    Kill = 5,
}

impl TryFrom<u32> for Verdict {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        match raw {
            1 => Ok(Self::Allow),
            2 => Ok(Self::Audit),
            3 => Ok(Self::Hold),
            4 => Ok(Self::Deny),
            5 => Ok(Self::Kill),
            other => Err(other),
        }
    }
}

/// Key of the first rule of a subject on one kind of operation on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct SystemKey {
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
    /// A [`crate::system::System`].
    pub system: u32,
}

/// A file that rules mean by one of its names, and that has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ObjectKey {
    /// Inode number.
    pub inode: u64,
    /// `s_dev` of its file system.
    pub device: u32,
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Key of a rule's consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RuleKey {
    /// Policy revision.
    pub revision: u32,
    /// Index of the rule in the policy.
    pub rule: u32,
}

/// What follows when a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Consequence {
    /// How long a hold waits, nanoseconds.
    pub patience: u64,
    /// The beginning of a digest of all that the rule says, with who is asked: the same in every revision in which it says
    /// the same.
    pub meaning: u64,
    /// A [`Verdict`]; anything else counts as [`Verdict::Deny`].
    pub verdict: u32,
    /// 1 if the rule accepts every path: then it is not asked about each library that a program maps.
    pub everything: u32,
}
