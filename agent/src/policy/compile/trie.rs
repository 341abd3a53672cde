//! The tries of one revision while they grow.
//!
//! Node ids are unique among the revisions that a kernel can hold at once: the revision's number, modulo
//! 4096, in the upper 12 bits, a counter in the lower 20. So two revisions share none unless 4096 or a
//! multiple lies between them; the agent keeps two, one after the other. The counter cannot overflow: there
//! are fewer nodes than [`super::limits`] allows roots and edges, and growth stops there.

use holdpoint_common::tables::{EdgeKey, LITERAL_BYTES, Marks, NO_RULE, NameKey, Node, RootKey};

use super::{Tables, limits};

/// Bits of a node id that count within a revision.
const COUNTER_BITS: u32 = 20;

const _: () = assert!(limits::ROOTS + limits::EDGES < 1 << COUNTER_BITS, "one past each limit must still be counted");

/// Whether the node with this id is one of revision number `revision`, or of one 4096 before or after it.
pub fn is_node_of(id: u32, revision: u32) -> bool {
    id >> COUNTER_BITS == revision << COUNTER_BITS >> COUNTER_BITS
}

/// Tables that get path patterns.
pub struct Trie<'a> {
    revision: u32,
    tables: &'a mut Tables,
}

impl<'a> Trie<'a> {
    /// The tries of `tables`.
    pub fn new(revision: u32, tables: &'a mut Tables) -> Self {
        Self { revision, tables }
    }

    /// The start of a subject's trie on a device.
    pub fn root(&mut self, subject: u32, device: u32) -> &mut Node {
        let fresh = self.fresh();
        let key = RootKey { revision: self.revision, subject, device };
        self.tables.roots.entry(key).or_insert(fresh)
    }

    /// The node of a path on a device.
    pub fn node(&mut self, subject: u32, device: u32, path: &[[u8; LITERAL_BYTES]]) -> &mut Node {
        let Some((leaf, directories)) = path.split_last() else {
            return self.root(subject, device);
        };
        let mut node = self.root(subject, device).id;
        for name in directories {
            node = self.step(node, name).id;
        }
        self.step(node, leaf)
    }

    /// The marks of a file name.
    pub fn name(&mut self, subject: u32, name: [u8; LITERAL_BYTES]) -> &mut Marks {
        self.tables.names.entry(NameKey { revision: self.revision, subject, name }).or_insert(Marks::NONE)
    }

    /// Whether a table is over its limit: there is no sense in going on.
    pub fn is_overfull(&self) -> bool {
        self.tables.roots.len() > limits::ROOTS
            || self.tables.edges.len() > limits::EDGES
            || self.tables.names.len() > limits::NAMES
    }

    fn step(&mut self, node: u32, name: &[u8; LITERAL_BYTES]) -> &mut Node {
        let fresh = self.fresh();
        self.tables.edges.entry(EdgeKey { node, name: *name }).or_insert(fresh)
    }

    fn fresh(&self) -> Node {
        let count = u32::try_from(self.tables.roots.len() + self.tables.edges.len()).unwrap_or(u32::MAX);
        let id = self.revision << COUNTER_BITS | count & ((1 << COUNTER_BITS) - 1);
        Node { id, below: NO_RULE, exact: Marks::NONE, subtree: Marks::NONE }
    }
}
