//! The policy from its text to what the kernel's own matcher makes of it.

mod addresses;
mod arguments;
mod circumstances;
mod described;
mod format;
mod hosts;
mod labels;
mod large;
mod lists;
mod mount_points;
mod names;
mod parts;
mod people;
mod random;
mod reach;
mod refusals;
mod secrets;
mod tools;
mod verdicts;
mod wildcards;

use std::{ffi::OsStr, net::IpAddr, os::unix::ffi::OsStrExt, path::Path};

use holdpoint_common::{
    matcher::{self, Asker, Names},
    request::Class,
    tables::{LITERAL_BYTES, NO_RULE},
};

use super::{
    Host, Policy, Refusal, Source, Tables,
    address::Block,
    check::OneFileSystem,
    compile,
    evaluate::{Circumstances, Evaluation},
    parse,
};

const READ: u32 = Class::Read.bit();
const WRITE: u32 = Class::Write.bit();
const EXEC: u32 = Class::Exec.bit();

/// The revision that tests compile.
const REVISION: u32 = 7;

/// A subject and a group, in 4 lines.
const HEAD: &str = "[[subject]]\nname = \"agent\"\n[reviewers]\nsecurity = [\"alice\"]\n";

fn source(text: &str) -> Source {
    Source::one("web-1.toml", text)
}

/// The policy that it spells, for a host that no part is for.
fn read(source: Source) -> Result<Policy, Refusal> {
    parse(source, &Host::named(""))
}

fn policy(text: &str) -> Policy {
    read(source(text)).unwrap_or_else(|refusal| panic!("refused:\n{refusal}"))
}

/// A policy of [`HEAD`] and `rules`, compiled for a host with one file system.
fn tables(rules: &str) -> Tables {
    compile(&policy(&format!("{HEAD}{rules}")), REVISION, &OneFileSystem, None).expect("within the limits")
}

/// One rule of that name, which denies.
fn rule(name: &str, operation: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\n{operation}\nthen = \"deny\"\n")
}

/// A path as the kernel walks it.
struct Walk<'a>(Vec<&'a OsStr>);

impl<'a> Walk<'a> {
    fn new(path: &'a str) -> Self {
        Self(Path::new(path).iter().skip(1).collect())
    }
}

impl Names for Walk<'_> {
    fn depth(&self) -> usize {
        self.0.len()
    }

    fn kind(&self) -> u32 {
        holdpoint_common::tables::kind(0)
    }

    fn component(&self, level: usize, name: &mut [u8; LITERAL_BYTES]) -> bool {
        let bytes = self.0[level].as_bytes();
        *name = [0; LITERAL_BYTES];
        let fits = bytes.len() < LITERAL_BYTES;
        if fits {
            name[..bytes.len()].copy_from_slice(bytes);
        }
        fits
    }

    fn start(&self, level: usize) -> u64 {
        level as u64
    }

    fn letter(&self, start: u64, index: usize) -> u8 {
        self.0[start as usize].as_bytes().get(index).copied().unwrap_or(0)
    }
}

/// The tables, where no rule depends on circumstances.
fn plain(tables: &Tables) -> Evaluation<'_> {
    Evaluation::new(tables, Circumstances::default())
}

/// Index of the rule that subject 0 meets at `path`.
fn at(tables: &Tables, path: &str, access: u32) -> Option<u32> {
    at_of(tables, 0, 1, path, access)
}

fn at_of(tables: &Tables, subject: u32, device: u32, path: &str, access: u32) -> Option<u32> {
    let asker = Asker { revision: REVISION, subject };
    some(plain(tables).path_rule(asker, device, &Walk::new(path), access))
}

/// Index of the rule that subject 0 meets when it moves `path`, or something to it.
fn moved(tables: &Tables, device: u32, path: &str, access: u32) -> Option<u32> {
    let asker = Asker { revision: REVISION, subject: 0 };
    some(plain(tables).moved_rule(asker, device, &Walk::new(path), access))
}

/// Index of the rule that subject 0 meets where the path could not be walked.
fn lost(tables: &Tables, access: u32) -> Option<u32> {
    let asker = Asker { revision: REVISION, subject: 0 };
    some(matcher::unknown_path_rule(&plain(tables), asker, access, &mut 0))
}

/// Index of the rule that subject 0 meets when it connects there.
fn to(tables: &Tables, address: &str, port: u32) -> Option<u32> {
    let address: IpAddr = address.parse().expect("an address");
    let asker = Asker { revision: REVISION, subject: 0 };
    some(matcher::address_rule(&plain(tables), asker, &Block::only(address).octets(), port))
}

fn some(rule: u32) -> Option<u32> {
    (rule != NO_RULE).then_some(rule)
}
