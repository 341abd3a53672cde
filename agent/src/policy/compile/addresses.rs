//! Address blocks and ports to rows of a longest-prefix table: each row counts all rules whose blocks hold
//! it, since only the narrowest row is looked up.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use holdpoint_common::tables::{ADDRESS_HEAD_BITS, AddressKey, NO_RULE, PORT_INTERVALS, Ports};

use super::{Tables, choice::Choices, limits};
use crate::policy::{Block, Policy, Rule, When, problem::Problem};

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
        let rules = rules(policy, subject);
        for block in rows(&rules) {
            if tables.addresses.len() > limits::ADDRESSES {
                return;
            }
            let key = AddressKey { revision, subject, address: block.octets() };
            match ports(&rules, block, choices) {
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

/// Whether `rule`, which is about `to`, accepts connections to all of `block`.
///
/// Linux takes the unspecified address for this host: `0.0.0.0` is `127.0.0.1`, `::` is `::1` or, with an IPv4
/// source, `127.0.0.1`. A rule on one of those counts for it too, unless it lets pass: with a source address
/// bound, it is that address instead.
pub fn accepts(rule: &Rule, to: &[Block], block: Block) -> bool {
    let named = |block: Block| to.iter().any(|wide| wide.contains(block));
    named(block) || !rule.lets_pass() && aliases(block).into_iter().any(named)
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

/// The blocks that differ from what is around them.
fn rows(rules: &[Numbered<'_>]) -> BTreeSet<Block> {
    let mut rows: BTreeSet<_> = rules.iter().flat_map(|(_, _, to, _)| to.iter().copied()).collect();
    for block in [unspecified4(), unspecified6()] {
        if rules.iter().any(|(_, rule, to, _)| accepts(rule, to, block)) {
            rows.insert(block);
        }
    }
    rows
}

fn ports(rules: &[Numbered<'_>], block: Block, choices: &mut Choices<'_>) -> Result<Ports, Problem> {
    let rules: Vec<_> = rules.iter().filter(|(_, rule, to, _)| accepts(rule, to, block)).collect();
    let mut intervals: Vec<(u32, u32)> = Vec::new();
    for start in cuts(&rules) {
        let accepting = rules.iter().filter(|(.., ports)| ports.iter().any(|range| holds(range, start)));
        let rule = choices.of(accepting.map(|(index, ..)| *index).collect());
        if intervals.last().is_none_or(|(_, last)| *last != rule) {
            intervals.push((start, rule));
        }
    }
    if intervals.len() > PORT_INTERVALS {
        return Err(too_many(&rules, block, intervals.len()));
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
