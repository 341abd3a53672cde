//! `cargo xtask bench`: what holdpoint adds to each operation that it looks at, counted and not timed.
//!
//! QEMU runs the guest on one processor with `-icount shift=0`: its clock goes on by 1 ns with each instruction, so a
//! difference of two clock readings is a number of instructions, the same on every host.

pub mod operations;
mod rules;

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
    /// Compare policies of that many rules, of which what the benchmark does meets the last: --rules 10,10000
    #[arg(long, value_name = "COUNT", value_delimiter = ',', conflicts_with = "policy")]
    rules: Vec<usize>,
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
    if args.rules.is_empty() { costs(args) } else { rules::bench(args) }
}

/// What holdpoint costs who is governed, and who is not.
fn costs(args: &BenchArgs) -> Result<i32> {
    let without = Plan::new(args.kernel, Accel::Counting);
    let with = with_agent(args.kernel, args.policy.clone().unwrap_or_else(default_policy))?;
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
    if args.json {
        print_json(&rows)?
    } else {
        print(&rows, args)
    }
    Ok(0)
}

/// A machine with the agent, under the policy in that file.
fn with_agent(kernel: Kernel, policy: PathBuf) -> Result<Plan> {
    Ok(Plan {
        agent: true,
        programs: [(HOLDPOINT.into(), programs::holdpoint()?)].into(),
        files: BTreeMap::from([(POLICY.into(), policy)]),
        ..Plan::new(kernel, Accel::Counting)
    })
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

fn print_json(rows: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(rows).context("failed to write JSON")?);
    Ok(())
}

fn print(rows: &[Row], args: &BenchArgs) {
    println!("instructions, 8 directories deep, on {}", args.kernel);
    println!("{:<44} {:>9} {:>18} {:>18}", "", "without", "not governed", "governed, allowed");
    for row in rows {
        let cell = |count: i64| format!("{:+} {:>6.3}", count - row.without, count as f64 / row.without as f64);
        println!("{:<44} {:>9} {:>18} {:>18}", row.operation, row.without, cell(row.ungoverned), cell(row.governed));
    }
}
