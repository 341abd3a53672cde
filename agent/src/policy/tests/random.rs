//! Random policies and requests: the tables and a loop over the rules must agree.

use std::{fmt::Write, net::IpAddr, ops::RangeInclusive};

use holdpoint_common::tables::Marks;

use super::*;
use crate::policy::{Rule, When};

/// A small generator that gives the same numbers each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len())]
    }

    fn some(&mut self, most: usize, from: &[&str]) -> Vec<String> {
        let mut picked: Vec<_> = (0..=self.roll(most)).map(|_| format!("\"{}\"", self.pick(from))).collect();
        picked.sort();
        picked.dedup();
        picked
    }

    fn path(&mut self) -> String {
        (0..=self.roll(4)).map(|_| format!("/{}", self.pick(&["a", "b", "c"]))).collect()
    }

    fn pattern(&mut self) -> String {
        match self.roll(8) {
            0 => "/**".to_owned(),
            1 | 2 => format!("**/{}", self.pick(&["a", "b", "c"])),
            3..=5 => format!("{}/**", self.path()),
            _ => self.path(),
        }
    }

    fn paths(&mut self) -> String {
        let patterns: Vec<_> = (0..=self.roll(2)).map(|_| self.pattern()).collect();
        let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
        self.some(2, &patterns).join(", ")
    }

    fn operation(&mut self) -> String {
        match self.roll(5) {
            0 | 1 => {
                let access = self.some(3, &["read", "write", "append", "create", "truncate"]).join(", ");
                format!("open = {{ path = [{}], access = [{access}] }}", self.paths())
            }
            2 => format!("exec = {{ path = [{}] }}", self.paths()),
            _ => {
                let to = self.some(2, &BLOCKS).join(", ");
                format!("connect = {{ to = [{to}], port = [{}] }}", self.some(2, &PORTS).join(", "))
            }
        }
    }
}

const BLOCKS: [&str; 12] = [
    "any",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3",
    "127.0.0.0/8",
    "127.0.0.1",
    "0.0.0.0",
    "::1",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2000::/3",
];
const PORTS: [&str; 7] = ["0-65535", "1-1023", "80", "443", "400-500", "8000-8999", "1024-65535"];
const ADDRESSES: [&str; 12] = [
    "10.0.0.1",
    "10.1.0.1",
    "10.1.2.3",
    "127.0.0.1",
    "127.1.1.1",
    "0.0.0.0",
    "::",
    "::1",
    "2001:db8::5",
    "2001:db8:1::5",
    "3000::1",
    "192.0.2.7",
];
const PORT_SAMPLES: [u32; 12] = [0, 1, 79, 80, 81, 443, 450, 1023, 1024, 8500, 9000, 65535];

/// A policy with two subjects; rules that can never match are left out.
fn random_policy(dice: &mut Dice) -> Policy {
    let mut text = "[[subject]]\nname = \"0\"\n[[subject]]\nname = \"1\"\n".to_owned();
    for index in 0..=dice.roll(9) {
        let subjects = dice.some(1, &["0", "1"]).join(", ");
        let verdict = dice.pick(&["allow", "audit", "deny", "kill"]);
        let operation = dice.operation();
        let mut longer = text.clone();
        writeln!(longer, "[[rule]]\nname = \"{index}\"\nsubject = [{subjects}]\n{operation}\nthen = \"{verdict}\"")
            .expect("a string");
        match read(source(&longer)) {
            Ok(_) => text = longer,
            Err(refusal) => assert!(refusal.to_string().contains("can never match"), "{longer}\n{refusal}"),
        }
    }
    policy(&text)
}

/// What the documentation says, word by word.
fn expected(policy: &Policy, subject: u32, accepts: impl Fn(&Rule) -> bool) -> Option<u32> {
    let index = policy.rules.iter().position(|rule| rule.subjects.contains(&subject) && accepts(rule))?;
    Some(index as u32)
}

fn accepts_path(rule: &Rule, path: &str, access: u32) -> bool {
    let (patterns, asked) = rule.paths();
    let path = Path::new(path);
    let covers = if rule.lets_pass() { access & !asked == 0 } else { asked & access != 0 };
    covers && patterns.iter().any(|pattern| pattern.accepts(path))
}

fn accepts_connection(rule: &Rule, address: IpAddr, port: u32) -> bool {
    let When::Connect { to, ports } = &rule.when else { return false };
    let others: &[&str] = match address.to_string().as_str() {
        "0.0.0.0" => &["127.0.0.1"],
        "::" => &["::1", "127.0.0.1"],
        _ => &[],
    };
    let meant = others.iter().map(|text| text.parse().expect("an address")).chain([address]);
    let in_range = |range: &RangeInclusive<u16>| (u32::from(*range.start())..=u32::from(*range.end())).contains(&port);
    let mut blocks = meant.map(Block::only);
    let is_named = |one| to.iter().any(|block| block.contains(one));
    let named = if rule.lets_pass() { blocks.all(is_named) } else { blocks.any(is_named) };
    named && ports.iter().any(in_range)
}

#[test]
fn tables_and_rules_agree_on_random_policies() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..400 {
        let policy = random_policy(&mut dice);
        let tables = compile(&policy, REVISION, &OneFileSystem, None).expect("within the limits");
        for subject in 0..2 {
            agree_on_paths(&policy, &tables, subject, &mut dice);
            agree_on_addresses(&policy, &tables, subject);
        }
    }
}

fn agree_on_paths(policy: &Policy, tables: &Tables, subject: u32, dice: &mut Dice) {
    for _ in 0..60 {
        // An exec is asked for alone, the classes of opening in any mixture that there is.
        let path = dice.path();
        let access = match dice.roll(Marks::SLOTS) {
            Marks::EXEC => EXEC,
            slot => Marks::asked(slot),
        };
        let found = at_of(tables, subject, 1, &path, access);
        let expected = expected(policy, subject, |rule| accepts_path(rule, &path, access));
        assert_eq!(found, expected, "subject {subject}, {path}, access {access:#b}\n{}", policy.source.files[0].text);
    }
}

fn agree_on_addresses(policy: &Policy, tables: &Tables, subject: u32) {
    let asker = Asker { revision: REVISION, subject };
    for address in ADDRESSES.map(|text| text.parse::<IpAddr>().expect("an address")) {
        for port in PORT_SAMPLES {
            let found = some(matcher::address_rule(&plain(tables), asker, &Block::only(address).octets(), port));
            let expected = expected(policy, subject, |rule| accepts_connection(rule, address, port));
            assert_eq!(found, expected, "subject {subject}, {address} port {port}\n{}", policy.source.files[0].text);
        }
    }
}
