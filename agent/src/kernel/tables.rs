//! Writing a compiled policy to the kernel's maps, beside the one in force.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{
        Array, HashMap, MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use holdpoint_common::{
    host::ResolverKey,
    tables::{
        AddressKey, Conditions, Consequence, EdgeKey, LETTERS, LINKS, Letters, Link, MemberKey, NameKey, Named,
        ObjectKey, Ports, RootKey, RuleKey, SCHEDULES, Schedule, State, SystemKey, Word, WordKey, at,
    },
};

use crate::policy::{self, Tables};

/// The policy's maps.
pub(super) struct Maps {
    pub roots: HashMap<MapData, RootKey, State>,
    pub edges: HashMap<MapData, EdgeKey, State>,
    pub letters: Array<MapData, Letters>,
    pub links: Array<MapData, Link>,
    pub words: HashMap<MapData, WordKey, Word>,
    pub conditions: HashMap<MapData, RuleKey, Conditions>,
    pub members: HashMap<MapData, MemberKey, u32>,
    pub host_names: HashMap<MapData, NameKey, u32>,
    pub resolvers: HashMap<MapData, ResolverKey, u32>,
    pub schedules: Array<MapData, Schedule>,
    pub names: HashMap<MapData, NameKey, Named>,
    pub addresses: LpmTrie<MapData, AddressKey, Ports>,
    pub rules: HashMap<MapData, RuleKey, Consequence>,
    pub starters: HashMap<MapData, RuleKey, u32>,
    pub system: HashMap<MapData, SystemKey, u32>,
    pub objects: HashMap<MapData, ObjectKey, Named>,
}

impl Maps {
    /// Writes every row. The kernel looks at none of them before the switches name their revision.
    pub fn write(&mut self, number: u32, tables: &Tables) -> Result<()> {
        write("roots", &mut self.roots, &tables.roots)?;
        write("edges", &mut self.edges, &tables.edges)?;
        set("wildcards", &mut self.letters, number, LETTERS, 0, &tables.alphabet.states)?;
        set("choices", &mut self.links, number, LINKS, 0, &tables.links)?;
        set("times", &mut self.schedules, number, SCHEDULES, 1, &tables.schedules)?;
        write("arguments", &mut self.words, &tables.words)?;
        write("conditions", &mut self.conditions, &tables.conditions)?;
        add("users", &mut self.members, &tables.members)?;
        add("names of hosts", &mut self.host_names, &tables.host_names)?;
        add("resolvers", &mut self.resolvers, &tables.resolvers)?;
        write("names", &mut self.names, &tables.names)?;
        write("rules", &mut self.rules, &tables.rules)?;
        write("subjects", &mut self.starters, &tables.starters)?;
        write("rules on the host", &mut self.system, &tables.system)?;
        self.write_objects(&tables.objects.rows)?;
        for ((bits, key), ports) in &tables.addresses {
            self.addresses.insert(&Key::new(*bits, *key), ports, 0).context("cannot write the policy's addresses")?;
        }
        Ok(())
    }

    /// Writes rows on files with several names.
    pub fn write_objects(&mut self, rows: &BTreeMap<ObjectKey, Named>) -> Result<()> {
        write("rules on files with several names", &mut self.objects, rows)
    }

    /// Removes every row of another revision than `number`.
    pub fn keep(&mut self, number: u32) -> Result<()> {
        remove(&mut self.roots, |key| key.revision != number)?;
        remove(&mut self.edges, |key| !policy::is_state_of(key.state, number))?;
        remove(&mut self.names, |key| key.revision != number)?;
        remove(&mut self.words, |key| key.revision != number)?;
        remove(&mut self.conditions, |key| key.revision != number)?;
        remove(&mut self.members, |key| key.revision != number)?;
        remove(&mut self.host_names, |key| key.revision != number)?;
        remove(&mut self.resolvers, |key| key.revision != number)?;
        remove(&mut self.starters, |key| key.revision != number)?;
        remove(&mut self.rules, |key| key.revision != number)?;
        remove(&mut self.system, |key| key.revision != number)?;
        remove(&mut self.objects, |key| key.revision != number)?;
        let keys: Vec<_> =
            self.addresses.keys().collect::<Result<_, _>>().context("cannot list the policy's addresses")?;
        for key in keys.iter().filter(|key| key.data().revision != number) {
            self.addresses.remove(key).context("cannot remove an old policy's address")?;
        }
        Ok(())
    }
}

fn write<K: Pod, V: Pod>(what: &str, map: &mut HashMap<MapData, K, V>, rows: &BTreeMap<K, V>) -> Result<()> {
    for (key, value) in rows {
        map.insert(key, value, 0).with_context(|| format!("cannot write the policy's {what}"))?;
    }
    Ok(())
}

/// Writes the members of a set.
fn add<K: Pod>(what: &str, map: &mut HashMap<MapData, K, u32>, keys: &BTreeSet<K>) -> Result<()> {
    for key in keys {
        map.insert(key, 1, 0).with_context(|| format!("cannot write the policy's {what}"))?;
    }
    Ok(())
}

/// Writes rows to the half of an array that belongs to revision `number`, from `first` on.
fn set<V: Pod>(what: &str, map: &mut Array<MapData, V>, number: u32, most: u32, first: u32, rows: &[V]) -> Result<()> {
    for (index, row) in (first..).zip(rows) {
        map.set(at(number, index, most), row, 0).with_context(|| format!("cannot write the policy's {what}"))?;
    }
    Ok(())
}

fn remove<K: Pod, V: Pod>(map: &mut HashMap<MapData, K, V>, old: impl Fn(&K) -> bool) -> Result<()> {
    let keys: Vec<K> = map.keys().collect::<Result<_, _>>().context("cannot list an old policy's rows")?;
    for key in keys.iter().filter(|key| old(key)) {
        map.remove(key).context("cannot remove an old policy's row")?;
    }
    Ok(())
}
