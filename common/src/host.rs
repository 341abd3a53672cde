//! Host names: what the kernel learns from answers of DNS, and how a rule asks for it.
//!
//! ```text
//! query  --> QUERIES: the question, by socket, resolver, port and id   (ebpf/src/hooks/dns.rs)
//! answer --> the same question is there: HOSTS: (tree, address) -> name, until the record's lifetime is over
//! connect --> a rule that asks for names: is one of the address's names in the rule's set? -> HOST_NAMES
//! ```
//!
//! A name is kept as text, in lower case and without the last dot: `api.github.com`. A pattern of a rule is such a name,
//! or the end of one from a dot on: `.github.com` stands for `*.github.com`.

use crate::{
    matcher::{Tables, Turn},
    tables::{LITERAL_BYTES, NameKey},
};

/// Bytes for the longest name (RFC 1035 allows 253), and NULs for whoever reads [`LITERAL_BYTES`] from any place in it.
pub const HOST_BYTES: usize = LONGEST + LITERAL_BYTES;

/// Most bytes of a name, with what makes it an array's length: a power of two.
pub const LONGEST: usize = 256;

/// Most names of one address that are known to one tree at a time.
pub const HOST_SLOTS: u32 = 8;

/// The port of resolvers.
pub const DNS_PORT: u16 = 53;

/// A resolver that the policy names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ResolverKey {
    /// Policy revision.
    pub revision: u32,
    /// IPv6 address; IPv4 as IPv4-mapped.
    pub address: [u8; 16],
}

/// A question that a governed process has asked and that is not answered yet: all of it must come back with the answer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Question {
    /// Address of the kernel's socket.
    pub sock: u64,
    /// Who is asked.
    pub resolver: [u8; 16],
    /// The query's id.
    pub id: u32,
    /// The port from which it is asked.
    pub port: u32,
    /// Type and class of what is asked for.
    pub kind: u32,
    /// Always zero.
    pub reserved: u32,
    /// The name that is asked for. [`Host::until`] is zero.
    pub host: Host,
}

/// Whose address it is, as one tree knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HostKey {
    /// The governed tree.
    pub tree: u64,
    /// IPv6 address; IPv4 as IPv4-mapped.
    pub address: [u8; 16],
    /// Which of the address's names: below [`HOST_SLOTS`].
    pub slot: u32,
    /// Always zero.
    pub reserved: u32,
}

/// A name of an address. Written once but for `until`, and removed by the agent long after that, so that no program has
/// another's name before its eyes all of a sudden.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Host {
    /// The end of its lifetime, nanoseconds of `CLOCK_BOOTTIME`.
    pub until: u64,
    /// The name, padded with NULs.
    pub name: [u8; HOST_BYTES],
}

/// A message of DNS while it is read. Scratch: the kernel's stack is too small, and of what is not on the stack the
/// verifier does not follow each value.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Message {
    /// What it asks, or answers.
    pub question: Question,
    /// Address of the next byte to read.
    pub at: u64,
    /// Address of the first byte after the message.
    pub end: u64,
    /// Bytes left of the label that is read.
    pub left: u32,
    /// Bytes of the name so far.
    pub length: u32,
    /// 1 once the name was read to its end.
    pub whole: u32,
    /// Records left to read.
    pub records: u32,
    /// The shortest lifetime of a record so far, in seconds.
    pub lifetime: u32,
    /// Always zero.
    pub reserved: u32,
}

/// The names of the destination that a request is about.
pub trait Hosts {
    /// Where the name in this slot is, for [`Hosts::tail`]; 0 if there is none, or its lifetime is over.
    fn host(&self, slot: u32) -> u64;
    /// Writes what the name has from byte `from` on, at most [`LONGEST`], into `tail`, padded with NULs or cut.
    fn tail(&self, host: u64, from: u32, tail: &mut [u8; LITERAL_BYTES]);
    /// Whether the pattern is in a set that rules ask for. The set's number, from 1, stands for the key's subject.
    fn has_name(&self, key: &NameKey) -> bool;
}

/// Whether one of the destination's names is in a set. `key` is scratch.
#[inline(always)]
pub fn is_named(tables: &(impl Tables + Hosts), revision: u32, set: u32, key: &mut NameKey) -> bool {
    (key.revision, key.subject) = (revision, set);
    // Not by `repeat`, one in the other: that would take too much of the kernel's stack.
    for slot in 0..HOST_SLOTS {
        let host = tables.host(slot);
        let mut ends = Ends { tables, key, host, found: false };
        if host != 0 {
            tables.repeat(LONGEST as u32, &mut ends);
        }
        if ends.found {
            return true;
        }
    }
    false
}

/// The way through the bytes of a name: all of it is compared, and what is left from each dot on.
struct Ends<'a, T> {
    tables: &'a T,
    key: &'a mut NameKey,
    host: u64,
    found: bool,
}

impl<T: Tables + Hosts> Turn for Ends<'_, T> {
    #[inline(always)]
    fn turn(&mut self, from: u32) -> bool {
        self.tables.tail(self.host, from, &mut self.key.name);
        let (first, last) = (self.key.name[0], self.key.name[LITERAL_BYTES - 1]);
        // What fills the key may have been cut.
        if last == 0 && (from == 0 || first == b'.') {
            self.found = self.tables.has_name(self.key);
        }
        first != 0 && !self.found
    }
}
