//! `cargo xtask bench`: what holdpoint adds to opening a file, counted and not timed.
//!
//! QEMU runs the guest on one processor with `-icount shift=0`: its clock goes on by 1 ns with each instruction, so a
//! difference of two clock readings is a number of instructions, the same on every host.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::accel::Accel;
use crate::guest::XTASK;
use crate::kernel::Kernel;
use crate::machine::{Machine, Plan};
use crate::protocol::Run;
use crate::session::{Signals, Streams};
use crate::vm::{HOLDPOINT, POLICY, default_policy};
use crate::{programs, progress, setup};

/// Eight directories deep: what it costs to judge a path grows with its depth.
const FILE: &str = "/srv/a/b/c/d/e/f/g/file";
const ITERATIONS: i64 = 10_000;
const WARM_UP: i64 = 1_000;

/// The arguments of `bench`.
#[derive(Args)]
pub struct BenchArgs {
    /// Kernel to boot
    #[arg(long, value_enum, default_value = "debian-12")]
    kernel: Kernel,
    /// Policy of the agent; it must allow the benchmark to open its file [default: policies/default.toml]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The cost of open+close in one situation.
#[derive(Debug, Serialize)]
struct Row {
    situation: &'static str,
    instructions: i64,
    /// To the first situation.
    ratio: f64,
}

/// Measures and prints.
pub fn bench(args: &BenchArgs) -> Result<i32> {
    setup::ensure()?;
    let policy = args.policy.clone().unwrap_or_else(default_policy);
    let without = Plan::new(args.kernel, Accel::Counting);
    let with = Plan {
        agent: true,
        programs: [(HOLDPOINT.into(), programs::holdpoint()?)].into(),
        files: BTreeMap::from([(POLICY.into(), policy)]),
        ..Plan::new(args.kernel, Accel::Counting)
    };
    let governed = [HOLDPOINT, "run", "--", XTASK, "guest-open-close"];
    let ungoverned = &governed[3..];

    progress("counting without holdpoint");
    without.fetch()?;
    let signals = Signals::take_over()?;
    let baseline = count(&mut Machine::boot(&without, &signals)?, ungoverned, &signals)?;
    progress("counting with the agent running");
    let mut machine = Machine::boot(&with, &signals)?;
    let rows = [
        ("without holdpoint", baseline),
        ("agent running, not governed", count(&mut machine, ungoverned, &signals)?),
        ("governed and allowed", count(&mut machine, &governed, &signals)?),
    ]
    .map(|(situation, instructions)| Row { situation, instructions, ratio: instructions as f64 / baseline as f64 });
    print(&rows, args)?;
    Ok(0)
}

fn count(machine: &mut Machine, argv: &[&str], signals: &Signals) -> Result<i64> {
    let argv: Vec<_> = argv.iter().map(|&word| word.to_owned()).collect();
    let run = Run { argv, user: "root".to_owned(), ..Run::default() };
    let mut output = Vec::new();
    let streams = Streams { stdin: None, stdout: &mut output, stderr: &mut std::io::stderr() };
    let status = machine.run(&run, streams, signals)?;
    ensure!(status == 0, "`{}` ended with status {status} in the guest", run.argv.join(" "));
    let text = String::from_utf8_lossy(&output);
    text.trim().parse().with_context(|| format!("the guest printed {text:?} instead of a number"))
}

fn print(rows: &[Row], args: &BenchArgs) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(rows).context("failed to write JSON")?);
        return Ok(());
    }
    println!("open+close of a regular file 8 directories deep, on {}", args.kernel);
    println!("{:<28} {:>12} {:>7} {:>7}", "", "instructions", "added", "ratio");
    for row in rows {
        let added = row.instructions - rows[0].instructions;
        println!("{:<28} {:>12} {added:>+7} {:>7.3}", row.situation, row.instructions, row.ratio);
    }
    Ok(())
}

/// In the guest: prints the instructions of one open+close, as the mean of the best of some rounds. Others than the best were
/// interrupted more often.
pub fn open_close() -> Result<()> {
    const ROUNDS: usize = 5;
    let directory = FILE.rsplit_once('/').map_or("/", |(directory, _)| directory);
    fs::create_dir_all(directory).with_context(|| format!("failed to create {directory}"))?;
    fs::write(FILE, "").with_context(|| format!("failed to create {FILE}"))?;
    open_and_close(WARM_UP)?;
    let mut best = i64::MAX;
    for _ in 0..ROUNDS {
        let start = now()?;
        open_and_close(ITERATIONS)?;
        best = best.min(now()? - start);
    }
    println!("{}", best / ITERATIONS);
    Ok(())
}

fn open_and_close(times: i64) -> Result<()> {
    for _ in 0..times {
        drop(File::open(FILE).with_context(|| format!("failed to open {FILE}"))?);
    }
    Ok(())
}

fn now() -> Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("failed to read the clock")?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
