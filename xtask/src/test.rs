//! `cargo xtask test`: everything that must hold, with all failures at the end and not only the first.
//!
//! A kernel that cannot be fetched and a machine that does not boot are failures: nothing is skipped silently.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::accel::Accel;
use crate::kernel::Kernel;
use crate::machine::{Machine, Plan};
use crate::process::run_visibly;
use crate::programs::{self, cargo};
use crate::protocol::Run;
use crate::session::{Interrupted, Signals, Streams};
use crate::vm::HOLDPOINT;
use crate::{page, peers, progress, setup};

/// Where the promises are installed in the guest.
const PROMISES: &str = "/usr/libexec/holdpoint/promises";

/// Repeats what a test has made of chance, by the number that it has printed.
const SEED: &str = "HOLDPOINT_SEED";

/// Promises that take minutes under emulation and say no more on a second kernel: each is left to one, where that one is
/// tested in the same run.
const ONCE: [(&str, Kernel); 3] = [
    // Of user space: what agents, shells and package managers do under a policy.
    ("learning::", Kernel::Debian13),
    ("ready_policies::", Kernel::Debian12),
    // Of the agent alone.
    ("many_holds_at_once::a_thousand_holds_of_fifty_trees", Kernel::Debian13),
];

/// After so many seconds the promises are hanging.
const LIMIT: &str = "3600";

/// The arguments of `test`.
#[derive(Args)]
pub struct TestArgs {
    /// Kernels to keep the promises on [default: all]
    #[arg(long, value_enum)]
    kernel: Vec<Kernel>,
    /// Run only this part
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Approvals in each race; 1000 take a quarter of an hour
    #[arg(long, default_value_t = 50)]
    rounds: u32,
    /// Arguments for the test programs, such as a filter
    #[arg(last = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting and clippy
    Lint,
    /// Tests that need no virtual machine
    Unit,
    /// Channels, against the libraries of their protocols
    Peers,
    /// The review page, in a browser
    Page,
    /// The promises, in a virtual machine for each kernel
    Promises,
}

/// Runs the tests; 0 if all passed.
pub fn test(args: &TestArgs) -> Result<i32> {
    setup::ensure()?;
    let mut report = Report { results: Vec::new() };
    let wanted = |part| args.only.is_none_or(|only| only == part);
    if wanted(Part::Lint) {
        lint(&mut report)?;
    }
    if wanted(Part::Unit) {
        unit(&mut report, &args.arguments)?;
    }
    if wanted(Part::Peers) {
        report.step("peers", || peers::test(&args.arguments))?;
    }
    if wanted(Part::Page) {
        review_page(&mut report)?;
    }
    if wanted(Part::Promises) {
        promises(&mut report, args)?;
    }
    Ok(report.summary())
}

fn lint(report: &mut Report) -> Result<()> {
    setup::ensure_lints()?;
    report.step("format", || run_visibly(cargo().args(["fmt", "--all", "--check"])))?;
    report.step("format of ebpf", || {
        run_visibly(cargo().args(["fmt", "--check"]).current_dir(programs::workspace().join("ebpf")))
    })?;
    report.step("clippy", || {
        run_visibly(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })
}

fn unit(report: &mut Report, arguments: &[String]) -> Result<()> {
    report.step("unit tests", || {
        run_visibly(cargo().args(["test", "--workspace", "--exclude", "holdpoint-tests", "--"]).args(arguments))
    })
}

fn review_page(report: &mut Report) -> Result<()> {
    report.step("a browser", setup::ensure_browser)?;
    let mut program = None;
    report.step("building holdpoint for the browser", || {
        program = Some(programs::holdpoint()?);
        Ok(())
    })?;
    report.step("the review page in a browser", || {
        page::try_out(program.as_deref().context("not run: the build failed")?)
    })
}

fn promises(report: &mut Report, args: &TestArgs) -> Result<()> {
    let mut programs = BTreeMap::new();
    report.step("building holdpoint and its promises", || {
        programs.insert(HOLDPOINT.into(), programs::holdpoint()?);
        programs.insert(PROMISES.into(), programs::promises()?);
        Ok(())
    })?;
    let kernels = if args.kernel.is_empty() { &Kernel::ALL[..] } else { &args.kernel };
    for &kernel in kernels {
        report.step(&format!("fetching {kernel}"), || Plan::new(kernel, Accel::best()?).fetch())?;
    }
    let signals = Signals::take_over()?;
    let (programs, signals) = (&programs, &signals);
    let steps = kernels.iter().map(|&kernel| {
        let perform = move || {
            ensure!(programs.contains_key(&PathBuf::from(PROMISES)), "not run: the build failed");
            keep_promises(kernel, programs, &left_to_others(kernel, kernels), args, signals).inspect_err(pass_on)
        };
        (format!("promises on {kernel}"), perform)
    });
    report.together(steps.collect())
}

/// The promises that `kernel` leaves to others of these `kernels`; said, since a run of this kernel alone would keep them.
fn left_to_others(kernel: Kernel, kernels: &[Kernel]) -> Vec<&'static str> {
    let others = ONCE.iter().filter(|(_, keeper)| *keeper != kernel && kernels.contains(keeper));
    others
        .inspect(|(promise, keeper)| progress(&format!("{kernel} leaves {promise} to {keeper}")))
        .map(|(promise, _)| *promise)
        .collect()
}

/// What interrupts one machine is meant for all of them, and only one has read it.
fn pass_on(error: &anyhow::Error) {
    if let Some(Interrupted(signal)) = error.downcast_ref() {
        // Fails for no signal that exists.
        let _ = kill(Pid::this(), *signal);
    }
}

/// One machine for all; the tests start agents of their own.
fn keep_promises(
    kernel: Kernel,
    programs: &BTreeMap<PathBuf, PathBuf>,
    left: &[&str],
    args: &TestArgs,
    signals: &Signals,
) -> Result<()> {
    let name = Some(format!("promises-{kernel}-{}", std::process::id()));
    let plan = Plan { programs: programs.clone(), name, ..Plan::new(kernel, Accel::best()?) };
    let mut machine = Machine::boot(&plan, signals)?;
    let argv = ["timeout", "--kill-after=10", LIMIT, PROMISES, "--test-threads=1"].into_iter();
    let argv = argv.chain(left.iter().flat_map(|promise| ["--skip", promise])).map(str::to_owned);
    let run = Run {
        argv: argv.chain(args.arguments.iter().cloned()).collect(),
        env: [("HOLDPOINT", HOLDPOINT.to_owned()), ("HOLDPOINT_ROUNDS", args.rounds.to_string())]
            .into_iter()
            .chain(std::env::var(SEED).ok().map(|seed| (SEED, seed)))
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        user: "root".to_owned(),
        ..Run::default()
    };
    let (mut stdout, mut stderr) = (Tagged::new(kernel), Tagged::new(kernel));
    let streams = Streams { stdin: None, stdout: &mut stdout, stderr: &mut stderr };
    let status = machine.run(&run, streams, signals)?;
    ensure!(status != 124, "the promises were still running after {LIMIT} seconds");
    ensure!(status == 0, "the promises ended with status {status}");
    Ok(())
}

/// Standard output, whole lines at a time, each with the kernel that it is about.
struct Tagged {
    tag: String,
    line: Vec<u8>,
}

impl Tagged {
    fn new(kernel: Kernel) -> Self {
        Self { tag: format!("{kernel} | "), line: Vec::new() }
    }
}

impl Write for Tagged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            io::stdout().lock().write_all(&[self.tag.as_bytes(), &line].concat())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

impl Drop for Tagged {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            // What a machine said last before it ended; there is nobody to tell if that cannot be written.
            let _ = self.write(b"\n");
        }
    }
}

/// What has been run, and how it went.
struct Report {
    results: Vec<Step>,
}

/// A step's name and result.
type Step = (String, Result<()>);

impl Report {
    /// Runs one step. Its failure is kept for the summary; only an interruption ends the tests.
    fn step(&mut self, name: &str, perform: impl FnOnce() -> Result<()>) -> Result<()> {
        self.keep(attempt(name.to_owned(), perform))
    }

    /// Runs steps at the same time: a virtual machine keeps no more than one processor of the host busy.
    fn together(&mut self, steps: Vec<(String, impl FnOnce() -> Result<()> + Send)>) -> Result<()> {
        let results: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> =
                steps.into_iter().map(|(name, perform)| scope.spawn(move || attempt(name, perform))).collect();
            running.into_iter().map(ScopedJoinHandle::join).collect()
        });
        for result in results {
            self.keep(result.unwrap_or_else(|panic| resume_unwind(panic)))?;
        }
        Ok(())
    }

    fn keep(&mut self, (name, result): Step) -> Result<()> {
        if result.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
            return result;
        }
        self.results.push((name, result));
        Ok(())
    }

    /// One line for each step; 1 if any failed.
    fn summary(&self) -> i32 {
        println!();
        for (name, result) in &self.results {
            match result {
                Ok(()) => println!("ok      {name}"),
                Err(error) => println!("FAILED  {name}: {error:#}"),
            }
        }
        let failures = self.results.iter().filter(|(_, result)| result.is_err()).count();
        println!("\n{} steps, {failures} failed", self.results.len());
        i32::from(failures > 0)
    }
}

fn attempt(name: String, perform: impl FnOnce() -> Result<()>) -> Step {
    progress(&name);
    let start = Instant::now();
    let result = perform();
    match &result {
        Ok(()) => progress(&format!("{name}: ok ({:.0?})", start.elapsed())),
        Err(error) => progress(&format!("{name}: FAILED: {error:#}")),
    }
    (name, result)
}
