//! What the number of rules costs: the same operations under policies of more and more rules, of which each meets the last.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{BenchArgs, Counts, count, print_json};
use crate::guest::XTASK;
use crate::machine::Machine;
use crate::progress;
use crate::session::Signals;
use crate::vm::HOLDPOINT;

/// What the agent does to put the policy in force once more.
const RELOAD: [&str; 3] = [HOLDPOINT, "policy", "reload"];

/// One operation of a governed process, in instructions by the number of rules.
#[derive(Debug, Serialize)]
struct Row {
    operation: String,
    by_rules: BTreeMap<usize, i64>,
}

/// Measures under each of the policies, and prints.
pub fn bench(args: &BenchArgs) -> Result<i32> {
    let signals = Signals::take_over()?;
    let mut rows: BTreeMap<String, BTreeMap<usize, i64>> = BTreeMap::new();
    for &rules in &args.rules {
        progress(&format!("counting with {rules} rules"));
        for (operation, instructions) in counted(args, rules, &signals)? {
            rows.entry(operation).or_default().insert(rules, instructions);
        }
    }
    let rows: Vec<_> = rows.into_iter().map(|(operation, by_rules)| Row { operation, by_rules }).collect();
    if args.json {
        print_json(&rows)?
    } else {
        print(&rows, args)
    }
    Ok(0)
}

/// What a governed process counts under so many rules, and what it takes to put them in force.
fn counted(args: &BenchArgs, rules: usize, signals: &Signals) -> Result<Counts> {
    let policy = written(rules)?;
    let plan = super::with_agent(args.kernel, policy.clone())?;
    plan.fetch()?;
    let mut machine = Machine::boot(&plan, signals)?;
    let mut counts = count(&mut machine, &[HOLDPOINT, "run", "--", XTASK, "guest-count"], signals)?;
    counts.extend(count(&mut machine, &[&[XTASK, "guest-count"], &RELOAD[..]].concat(), signals)?);
    std::fs::remove_file(&policy).with_context(|| format!("failed to remove {}", policy.display()))?;
    Ok(counts)
}

/// A file with a policy of so many rules.
fn written(rules: usize) -> Result<PathBuf> {
    let file = std::env::temp_dir().join(format!("holdpoint-bench-{}-{rules}.toml", std::process::id()));
    std::fs::write(&file, policy_of(rules)).with_context(|| format!("failed to write {}", file.display()))?;
    Ok(file)
}

/// Rules on paths, arguments and addresses in turn, none of which the benchmark meets, before three that it does.
fn policy_of(count: usize) -> String {
    let mut text = "[[subject]]\nname = \"bench\"\n".to_owned();
    let mut rule = |name: &str, operation: &str, then: &str| {
        text += &format!("[[rule]]\nname = \"{name}\"\n{operation}\nthen = \"{then}\"\n");
    };
    for n in 0..count.saturating_sub(3) {
        let (high, low) = (n / 256, n % 256);
        let operation = match n % 3 {
            0 => format!("open = {{ path = [\"/srv/teams/{high}/projects/{low}/key\"] }}"),
            1 => format!("exec = {{ path = [\"/**\"], args = [\"word{n}\"] }}"),
            _ => format!("connect = {{ to = [\"10.{high}.{low}.0/24\"], port = [443, \"8000-8999\"] }}"),
        };
        rule(&n.to_string(), &operation, "deny");
    }
    rule("the last on opening", "open = { path = [\"/**\"] }", "allow");
    rule("the last on executing", "exec = { path = [\"/**\"] }", "allow");
    rule("the last on connecting", "connect = {}", "allow");
    text
}

fn print(rows: &[Row], args: &BenchArgs) {
    println!("instructions, governed and allowed by the last rule, 8 directories deep, on {}", args.kernel);
    let heads: String = args.rules.iter().map(|rules| format!(" {:>12}", format!("{rules} rules"))).collect();
    println!("{:<44}{heads} {:>8}", "", "ratio");
    for row in rows {
        let cells: String = row.by_rules.values().map(|count| format!(" {count:>12}")).collect();
        let (first, last) = (row.by_rules.values().next(), row.by_rules.values().next_back());
        let ratio = last.zip(first).map_or(1.0, |(last, first)| *last as f64 / *first as f64);
        println!("{:<44}{cells} {ratio:>8.3}", row.operation);
    }
}
