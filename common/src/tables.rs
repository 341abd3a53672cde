//! The policy as the kernel reads it: what the agent compiles and the [`crate::matcher`] looks up.
//!
//! Path patterns form a trie for each (revision, subject, file system): a node is a directory entry, an edge
//! is a file name. At each node stands, for each [`Class`], the *first* rule whose pattern accepts there, so
//! the cost of a look-up depends on the depth of the path and not on the number of rules.
//!
//! Revisions are part of the keys: a new policy is written beside the one in force and switched over by one
//! store to [`crate::task::Switches::revision`].

use crate::request::Class;

/// "No rule": greater than every rule's index, so the smaller of two is the one that wins.
pub const NO_RULE: u32 = u32::MAX;

/// The pseudo subject whose "rules" are the executables that start a governed tree, under [`Class::Exec`], and
/// the control groups, on the pseudo device [`CGROUPS`]. Its rule index is the subject that they start.
pub const ENROLMENT: u32 = u32::MAX;

/// The subject of the start-up canary: each of its requests is denied. Its rules are compiled like any other's.
pub const CANARY: u32 = u32::MAX - 1;

/// Likewise, but it may rule the host ([`crate::system::System::Admin`]): the kernel asks that first about many
/// operations, and what comes after it would never be met.
pub const TRUSTED_CANARY: u32 = u32::MAX - 2;

/// Both.
pub const CANARIES: [u32; 2] = [CANARY, TRUSTED_CANARY];

/// Pseudo device of the unified control group hierarchy: the trie of control group names.
pub const CGROUPS: u32 = u32::MAX;

/// Pseudo device of the row for what is not on a file system that the policy knows. Its `subtree` marks: the first
/// rule on any path that does not allow, for paths that could not be walked to their root. Its `exact` marks:
/// the rules that accept every path (`/**`), for paths on file systems that the policy does not name.
pub const UNKNOWN: u32 = u32::MAX - 1;

/// Pseudo device of whichever file system of a kind that the kernel makes itself (proc, sysfs, cgroup, ...), by its magic
/// number: what the policy says of this host's holds for every other instance. (Major numbers end at 511.)
#[inline(always)]
#[must_use]
pub const fn kind(magic: u32) -> u32 {
    0xfff0_0000 | magic & 0xf_ffff
}

/// Longest file name that a policy can spell out, with its NUL padding. A longer name equals none of these.
pub const LITERAL_BYTES: usize = 64;

/// For each set of [`Class`]es, the first rule that accepts one of them: a row by access mask, so that the kernel
/// decides with one load and no branch. [`Class::Exec`] is never asked for with another; its slot is the empty set's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Marks {
    /// Rule index by access mask, [`NO_RULE`] where none accepts.
    pub rule: [u32; Self::SLOTS],
}

impl Marks {
    /// Number of sets: those of the four classes of opening.
    pub const SLOTS: usize = 1 << Class::Exec as usize;

    /// No rule for any class.
    pub const NONE: Self = Self { rule: [NO_RULE; Self::SLOTS] };

    /// The first rule for any class in `access`, a mask of [`Class`] bits.
    #[inline(always)]
    #[must_use]
    pub fn first(&self, access: u32) -> u32 {
        self.rule[access as usize & (Self::SLOTS - 1)]
    }

    /// Lets `rule` accept what asks for nothing but classes in `access`, unless an earlier one does.
    pub fn note_only(&mut self, access: u32, rule: u32) {
        for (asked, slot) in self.rule.iter_mut().enumerate() {
            if asked != 0 && asked as u32 & !access == 0 {
                *slot = rule.min(*slot);
            }
        }
    }

    /// Lets `rule` accept `class` unless an earlier one does.
    pub fn note(&mut self, class: Class, rule: u32) {
        for (access, slot) in self.rule.iter_mut().enumerate() {
            let accepts = if class == Class::Exec { access == 0 } else { access & class.bit() as usize != 0 };
            if accepts {
                *slot = rule.min(*slot);
            }
        }
    }
}

/// Where the trie of one subject on one file system begins.
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

/// A step in the trie. Node ids are never shared by two revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct EdgeKey {
    /// The node one stands on.
    pub node: u32,
    /// The file name, padded with NULs.
    pub name: [u8; LITERAL_BYTES],
}

/// A node of the trie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Node {
    /// The node's id.
    pub id: u32,
    /// The first rule on anything below the path that ends here that does not let pass: moving the directory away would
    /// take what is below from under its rules. [`NO_RULE`] if there is none.
    pub below: u32,
    /// Rules that accept the path that ends here.
    pub exact: Marks,
    /// Rules that accept every path that comes through or ends here.
    pub subtree: Marks,
}

/// A file name that is matched wherever it stands (`**/name`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct NameKey {
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
    /// The file name, padded with NULs.
    pub name: [u8; LITERAL_BYTES],
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
    /// First rule that accepts the interval, or [`NO_RULE`].
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
    /// A [`Verdict`]; anything else counts as [`Verdict::Deny`].
    pub verdict: u32,
    /// 1 if the rule accepts every path: then it is not asked about each library that a program maps.
    pub everything: u32,
}
