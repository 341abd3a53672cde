//! Development tasks of holdpoint: `cargo xtask demo`, `vm`, `test`, `bench`.
//!
//! ```text
//! setup      what the host must have            apt, kernel, image, modules, initramfs, cache   what machines are made of
//! programs   what cargo builds for the guest    accel, machine      QEMU and its run directory
//! page       the review page in a browser
//! protocol   the frames of a session            session             the host's end      guest/   the guest's end, process 1
//! ```

mod accel;
mod apt;
mod bench;
mod cache;
mod demo;
mod guest;
mod image;
mod initramfs;
mod kernel;
mod machine;
mod modules;
mod page;
mod peers;
mod process;
mod programs;
mod protocol;
mod session;
mod setup;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use session::Interrupted;

/// Development tasks of holdpoint
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Task {
    /// Tell the story of holdpoint with real processes in a virtual machine
    Demo(demo::DemoArgs),
    /// Run a command in a virtual machine that has holdpoint, and exit with its status
    Vm(vm::VmArgs),
    /// Run lints, unit tests, tests against the protocols' libraries, and the promises in virtual machines
    Test(test::TestArgs),
    /// Count the instructions that holdpoint adds to each operation
    Bench(bench::BenchArgs),
    /// Process 1 of the virtual machine
    #[command(hide = true)]
    Guest,
    /// The server of sessions in the virtual machine
    #[command(hide = true)]
    GuestServe,
    /// The measured part of `bench`
    #[command(hide = true)]
    GuestCount {
        /// What is measured in place of the operations
        #[arg(trailing_var_arg = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    match perform(Task::parse()) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => match error.downcast_ref::<Interrupted>() {
            Some(Interrupted(signal)) => ExitCode::from(128 + u8::try_from(*signal as i32).unwrap_or_default()),
            None => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
    }
}

fn perform(task: Task) -> Result<i32> {
    match task {
        Task::Demo(args) => demo::demo(&args),
        Task::Vm(args) => vm::vm(args),
        Task::Test(args) => test::test(&args),
        Task::Bench(args) => bench::bench(&args),
        Task::Guest => guest::init().map(|()| 0),
        Task::GuestServe => guest::serve().map(|()| 0),
        Task::GuestCount { command } => bench::operations::count(&command).map(|()| 0),
    }
}

/// Tells the person at the terminal what takes the time.
fn progress(what: &str) {
    eprintln!("xtask: {what}");
}
