//! Address blocks and ports to rows of a longest-prefix table: each row counts all rules whose blocks hold
//! it, since only the narrowest row is looked up.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use holdpoint_common::tables::{ADDRESS_HEAD_BITS, AddressKey, NO_RULE, PORT_INTERVALS, Ports};

use super::{Tables, choice::Choices, limits};
use crate::policy::{Block, Policy, Rule, When, address::ByBlock, problem::Problem};

/// A rule with its blocks and ports.
type Numbered<'a> = (u32, &'a Rule, &'a [Block], &'a [RangeInclusive<u16>]);

/// Adds the policy's rules on connections.
pub fn compile(
    policy: &Policy,
    revision: u32,
    choices: &mut Choices<'_>,
    tables: &mut Tables,
    problems: &mut Vec<Problem>,
) {
    for subject in 0..policy.subjects.len() as u32 {
        let rules = Rules::of(policy, subject);
        for block in rules.rows() {
            if tables.addresses.len() > limits::ADDRESSES {
                return;
            }
            let key = AddressKey { revision, subject, address: block.octets() };
            match ports(&rules.accepting(block), block, choices) {
                Ok(ports) => _ = tables.addresses.insert((ADDRESS_HEAD_BITS + u32::from(block.bits()), key), ports),
                Err(problem) if problems.contains(&problem) => (),
                Err(problem) => problems.push(problem),
            }
        }
    }
}

/// One interval, one rule.
pub fn all_ports(rule: u32) -> Ports {
    let mut ports = Ports { length: 1, start: [0; PORT_INTERVALS], rule: [NO_RULE; PORT_INTERVALS] };
    ports.rule[0] = rule;
    ports
}

/// The rules of one subject, and their places among them by block.
struct Rules<'a> {
    all: Vec<Numbered<'a>>,
    by_block: ByBlock<usize>,
}

impl<'a> Rules<'a> {
    fn of(policy: &'a Policy, subject: u32) -> Self {
        let all = rules(policy, subject);
        let mut by_block = ByBlock::default();
        for (place, (_, _, to, _)) in all.iter().enumerate() {
            to.iter().for_each(|block| by_block.insert(*block, place));
        }
        Self { all, by_block }
    }

    /// The blocks that differ from what is around them.
    fn rows(&self) -> BTreeSet<Block> {
        let named = self.all.iter().flat_map(|(_, _, to, _)| to.iter().copied());
        let meant = [unspecified4(), unspecified6()].into_iter().filter(|block| !self.accepting(*block).is_empty());
        named.chain(meant).collect()
    }

    /// The rules that accept connections to all of `block`, in their order.
    ///
    /// Linux takes the unspecified address for this host: `0.0.0.0` is `127.0.0.1`, `::` is `::1` or, with an IPv4
    /// source, `127.0.0.1`. A rule on one of those counts for it too, unless it lets pass: with a source address
    /// bound, it is that address instead. One that lets pass counts only if it names those, too.
    fn accepting(&self, block: Block) -> Vec<&Numbered<'a>> {
        let around: Vec<BTreeSet<_>> =
            aliases(block).into_iter().map(|alias| self.by_block.around(alias).copied().collect()).collect();
        let lets_pass = |place: &usize| self.all[*place].1.lets_pass();
        let own = self.by_block.around(block).copied();
        let own = own.filter(|place| !lets_pass(place) || around.iter().all(|places| places.contains(place)));
        let by_alias = around.iter().flatten().copied().filter(|place| !lets_pass(place));
        let places: BTreeSet<_> = own.chain(by_alias).collect();
        places.into_iter().map(|place| &self.all[place]).collect()
    }
}

fn aliases(block: Block) -> Vec<Block> {
    let local4 = Block::only(Ipv4Addr::LOCALHOST.into());
    match block {
        _ if block == unspecified4() => vec![local4],
        _ if block == unspecified6() => vec![local4, Block::only(Ipv6Addr::LOCALHOST.into())],
        _ => Vec::new(),
    }
}

fn unspecified4() -> Block {
    Block::only(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

fn unspecified6() -> Block {
    Block::only(IpAddr::V6(Ipv6Addr::UNSPECIFIED))
}

fn rules(policy: &Policy, subject: u32) -> Vec<Numbered<'_>> {
    let concerned = (0..).zip(&policy.rules).filter(|(_, rule)| rule.subjects.contains(&subject));
    let connect = concerned.filter_map(|(index, rule)| match &rule.when {
        When::Connect { to, ports } => Some((index, rule, to.as_slice(), ports.as_slice())),
        _ => None,
    });
    connect.collect()
}

fn ports(rules: &[&Numbered<'_>], block: Block, choices: &mut Choices<'_>) -> Result<Ports, Problem> {
    let mut intervals: Vec<(u32, u32)> = Vec::new();
    for start in cuts(rules) {
        let accepting = rules.iter().filter(|(.., ports)| ports.iter().any(|range| holds(range, start)));
        let rule = choices.of(accepting.map(|(index, ..)| *index).collect());
        if intervals.last().is_none_or(|(_, last)| *last != rule) {
            intervals.push((start, rule));
        }
    }
    if intervals.len() > PORT_INTERVALS {
        return Err(too_many(rules, block, intervals.len()));
    }
    let mut ports = all_ports(NO_RULE);
    ports.length = intervals.len() as u32;
    for (slot, (start, rule)) in intervals.into_iter().enumerate() {
        (ports.start[slot], ports.rule[slot]) = (start, rule);
    }
    Ok(ports)
}

/// The ports at which another rule may begin to be the first.
fn cuts(rules: &[&Numbered<'_>]) -> BTreeSet<u32> {
    let ranges = rules.iter().flat_map(|(.., ports)| ports.iter());
    let edges = ranges.flat_map(|range| [u32::from(*range.start()), u32::from(*range.end()) + 1]);
    edges.filter(|edge| *edge <= u32::from(u16::MAX)).chain([0]).collect()
}

fn holds(range: &RangeInclusive<u16>, port: u32) -> bool {
    (u32::from(*range.start())..=u32::from(*range.end())).contains(&port)
}

fn too_many(rules: &[&Numbered<'_>], block: Block, count: usize) -> Problem {
    let (_, rule, ..) = rules.iter().max_by_key(|(.., ports)| ports.len()).expect("intervals come from rules");
    let message = format!("the rules on {block} cut its ports into {count} intervals, most by rule {:?}", rule.name);
    let remedy = format!("at most {PORT_INTERVALS}: write wider ranges of ports");
    Problem::new(rule.span.clone(), message, remedy)
}
