//! `cargo xtask bench`: what holdpoint adds to each operation that it looks at, counted and not timed.
//!
//! QEMU runs the guest on one processor with `-icount shift=0`: its clock goes on by 1 ns with each instruction, so a
//! difference of two clock readings is a number of instructions, the same on every host.

pub mod operations;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::accel::Accel;
use crate::guest::XTASK;
use crate::kernel::Kernel;
use crate::machine::{Machine, Plan};
use crate::protocol::Run;
use crate::session::{Signals, Streams};
use crate::vm::{HOLDPOINT, POLICY, default_policy};
use crate::{programs, progress, setup};

/// Instructions of each operation, by its name.
type Counts = BTreeMap<String, i64>;

/// The arguments of `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// Kernel to boot
    #[arg(long, value_enum, default_value = "debian-12")]
    kernel: Kernel,
    /// Policy of the agent; it must allow what the benchmark does [default: policies/default.toml]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A policy of that many rules in its place, of which what the benchmark does meets the last
    #[arg(long, value_name = "COUNT", conflicts_with = "policy")]
    rules: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The cost of one operation, in instructions.
#[derive(Debug, Serialize)]
struct Row {
    operation: String,
    without: i64,
    ungoverned: i64,
    governed: i64,
}

/// Measures and prints.
pub fn bench(args: &BenchArgs) -> Result<i32> {
    setup::ensure()?;
    let policy = match (args.rules, &args.policy) {
        (Some(count), _) => written(count)?,
        (None, Some(file)) => file.clone(),
        (None, None) => default_policy(),
    };
    let without = Plan::new(args.kernel, Accel::Counting);
    let with = Plan {
        agent: true,
        programs: [(HOLDPOINT.into(), programs::holdpoint()?)].into(),
        files: BTreeMap::from([(POLICY.into(), policy.clone())]),
        ..Plan::new(args.kernel, Accel::Counting)
    };
    let governed = [HOLDPOINT, "run", "--", XTASK, "guest-count"];
    let ungoverned = &governed[3..];

    progress("counting without holdpoint");
    without.fetch()?;
    let signals = Signals::take_over()?;
    let baseline = count(&mut Machine::boot(&without, &signals)?, ungoverned, &signals)?;
    progress("counting with the agent running");
    let mut machine = Machine::boot(&with, &signals)?;
    let with_agent = count(&mut machine, ungoverned, &signals)?;
    let governed = count(&mut machine, &governed, &signals)?;
    let rows: Vec<_> = baseline
        .into_iter()
        .map(|(operation, without)| {
            let (ungoverned, governed) = (with_agent[&operation], governed[&operation]);
            Row { operation, without, ungoverned, governed }
        })
        .collect();
    if args.rules.is_some() {
        std::fs::remove_file(&policy).with_context(|| format!("failed to remove {}", policy.display()))?;
    }
    print(&rows, args)?;
    Ok(0)
}

/// A file with a policy of `count` rules.
fn written(count: usize) -> Result<PathBuf> {
    let file = std::env::temp_dir().join(format!("holdpoint-bench-{}.toml", std::process::id()));
    std::fs::write(&file, policy_of(count)).with_context(|| format!("failed to write {}", file.display()))?;
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

fn count(machine: &mut Machine, argv: &[&str], signals: &Signals) -> Result<Counts> {
    let argv: Vec<_> = argv.iter().map(|&word| word.to_owned()).collect();
    let run = Run { argv, user: "root".to_owned(), ..Run::default() };
    let mut output = Vec::new();
    let streams = Streams { stdin: None, stdout: &mut output, stderr: &mut std::io::stderr() };
    let status = machine.run(&run, streams, signals)?;
    ensure!(status == 0, "`{}` ended with status {status} in the guest", run.argv.join(" "));
    let text = String::from_utf8_lossy(&output);
    serde_json::from_str(text.trim()).with_context(|| format!("the guest printed {text:?} instead of numbers"))
}

fn print(rows: &[Row], args: &BenchArgs) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(rows).context("failed to write JSON")?);
        return Ok(());
    }
    println!("instructions, 8 directories deep, on {}", args.kernel);
    println!("{:<44} {:>9} {:>18} {:>18}", "", "without", "not governed", "governed, allowed");
    for row in rows {
        let cell = |count: i64| format!("{:+} {:>6.3}", count - row.without, count as f64 / row.without as f64);
        println!("{:<44} {:>9} {:>18} {:>18}", row.operation, row.without, cell(row.ungoverned), cell(row.governed));
    }
    Ok(())
}
