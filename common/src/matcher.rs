//! The matcher: from a request to the first rule that accepts it. Pure, and compiled for both sides, so
//! that what `explain` says is what the kernel does.

use crate::tables::{
    AddressKey, Consequence, EdgeKey, LITERAL_BYTES, Marks, NO_RULE, NameKey, Node, ObjectKey, PORT_INTERVALS, Ports,
    RootKey, RuleKey, SystemKey, UNKNOWN, Verdict,
};

/// Most directory levels that are walked. A deeper path counts as unknown ([`UNKNOWN`]): must hold.
pub const DEPTH: usize = 64;

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

    /// Start of a trie.
    fn root(&self, key: &RootKey) -> Option<&Node>;
    /// A step in it.
    fn edge(&self, key: &EdgeKey) -> Option<&Node>;
    /// Rules on a file name wherever it stands.
    fn name(&self, key: &NameKey) -> Option<&Marks>;
    /// The first rule on an operation on the host.
    fn system(&self, key: &SystemKey) -> Option<&u32>;
    /// Rules on a file with several names, by any of them.
    fn object(&self, key: &ObjectKey) -> Option<&Marks>;
    /// Rules on the narrowest address block that holds the address.
    fn address(&self, key: &AddressKey) -> Option<&Ports>;
    /// What follows from a rule.
    fn consequence(&self, key: &RuleKey) -> Option<&Consequence>;
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
}

/// Who asks: the part of every key that is the same for all look-ups of one request.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Policy revision.
    pub revision: u32,
    /// Subject index.
    pub subject: u32,
}

/// The first rule that accepts `access` to the path `names` on `device`.
#[inline(always)]
pub fn path_rule(tables: &impl Tables, asker: Asker, device: u32, names: &impl Names, access: u32) -> u32 {
    let (trie, _) = trie_rules(tables, asker, device, names, access);
    trie.min(name_rule(tables, asker, names, access))
}

/// The rule for `access` to the path `names` on `device` and, in whatever way, to all that is below it: what moves there,
/// or from there, takes that along.
#[inline(always)]
pub fn moved_rule(tables: &impl Tables, asker: Asker, device: u32, names: &impl Names, access: u32) -> u32 {
    let (trie, below) = trie_rules(tables, asker, device, names, access);
    stricter(tables, asker, trie.min(name_rule(tables, asker, names, access)), below)
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

/// The first rule that stands in the way of `access` to a file by another of its names than the one that was given.
#[inline(always)]
pub fn object_rule(tables: &impl Tables, asker: Asker, device: u32, inode: u64, access: u32) -> u32 {
    let key = ObjectKey { inode, device, revision: asker.revision, subject: asker.subject, reserved: 0 };
    tables.object(&key).map_or(NO_RULE, |marks| marks.first(access))
}

/// The first rule on an operation on the host.
#[inline(always)]
pub fn system_rule(tables: &impl Tables, asker: Asker, system: u32) -> u32 {
    let key = SystemKey { revision: asker.revision, subject: asker.subject, system };
    tables.system(&key).copied().unwrap_or(NO_RULE)
}

/// The rule for a path that could not be walked: the first that could have accepted it and does not allow.
#[inline(always)]
pub fn unknown_path_rule(tables: &impl Tables, asker: Asker, access: u32) -> u32 {
    let key = RootKey { revision: asker.revision, subject: asker.subject, device: UNKNOWN };
    tables.root(&key).map_or(NO_RULE, |root| root.subtree.first(access))
}

/// The first rule that accepts a connection to `address` and `port`.
#[inline(always)]
pub fn address_rule(tables: &impl Tables, asker: Asker, address: &[u8; 16], port: u32) -> u32 {
    let key = AddressKey { revision: asker.revision, subject: asker.subject, address: *address };
    tables.address(&key).map_or(NO_RULE, |ports| port_rule(tables, ports, port))
}

#[inline(always)]
fn port_rule(tables: &impl Tables, ports: &Ports, port: u32) -> u32 {
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

#[inline(always)]
fn trie_rules(tables: &impl Tables, asker: Asker, device: u32, names: &impl Names, access: u32) -> (u32, u32) {
    let key = RootKey { revision: asker.revision, subject: asker.subject, device };
    let Some(root) = tables.root(&key).or_else(|| tables.root(&RootKey { device: names.kind(), ..key })) else {
        // A file system that no policy path leads to: only patterns that accept every path can apply.
        let key = RootKey { device: UNKNOWN, ..key };
        return (tables.root(&key).map_or(NO_RULE, |root| root.exact.first(access)), NO_RULE);
    };
    let depth = names.depth();
    let mut descent = Descent {
        tables,
        names,
        depth: depth as u32,
        access,
        first: root.subtree.first(access),
        below: NO_RULE,
        edge: EdgeKey { node: root.id, name: [0; LITERAL_BYTES] },
    };
    if depth == 0 {
        return (descent.first.min(root.exact.first(access)), root.below);
    }
    tables.repeat(DEPTH as u32, &mut descent);
    (descent.first, descent.below)
}

/// The way down a trie along a path.
struct Descent<'a, T, N> {
    tables: &'a T,
    names: &'a N,
    depth: u32,
    access: u32,
    first: u32,
    below: u32,
    edge: EdgeKey,
}

impl<T: Tables, N: Names> Turn for Descent<'_, T, N> {
    #[inline(always)]
    fn turn(&mut self, level: u32) -> bool {
        if level >= self.depth || !self.names.component(level as usize, &mut self.edge.name) {
            return false;
        }
        let Some(node) = self.tables.edge(&self.edge) else {
            return false;
        };
        self.first = self.first.min(node.subtree.first(self.access));
        if level + 1 == self.depth {
            self.first = self.first.min(node.exact.first(self.access));
            self.below = node.below;
        }
        self.edge.node = node.id;
        true
    }
}

#[inline(always)]
fn name_rule(tables: &impl Tables, asker: Asker, names: &impl Names, access: u32) -> u32 {
    let depth = names.depth();
    if depth == 0 {
        return NO_RULE;
    }
    let mut key = NameKey { revision: asker.revision, subject: asker.subject, name: [0; LITERAL_BYTES] };
    if !names.component(depth - 1, &mut key.name) {
        return NO_RULE;
    }
    tables.name(&key).map_or(NO_RULE, |marks| marks.first(access))
}
