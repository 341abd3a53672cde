//! `cargo xtask vm`: one command in a fresh virtual machine, or in one that runs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::accel::Accel;
use crate::kernel::Kernel;
use crate::machine::{Machine, Plan, join};
use crate::programs;
use crate::protocol::Run;
use crate::session::{Signals, run_here};
use crate::{progress, setup};

/// Where holdpoint is installed in the guest, as by its package.
pub const HOLDPOINT: &str = "/usr/bin/holdpoint";
/// Where its policy is.
pub const POLICY: &str = "/etc/holdpoint/policy.toml";
/// Where its configuration is.
pub const CONFIG: &str = "/etc/holdpoint/config.toml";

/// The arguments of `vm`.
#[derive(Args)]
pub struct VmArgs {
    /// Kernel to boot
    #[arg(long, value_enum, default_value = "debian-12")]
    kernel: Kernel,
    /// Policy of the agent [default: policies/default.toml]
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Configuration of the agent (channels, listener)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory to have, read-write, at /share
    #[arg(long, value_name = "DIR")]
    share: Option<PathBuf>,
    /// Install holdpoint but do not start its agent
    #[arg(long)]
    no_agent: bool,
    /// Further kernel parameters
    #[arg(long, value_name = "PARAMETERS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Run the command in a machine that runs already (the only one, or the one given by --name)
    #[arg(long, conflicts_with_all = ["kernel", "policy", "config", "share", "no_agent", "append"])]
    join: bool,
    /// Name of the machine, for --join from another terminal [default: the process id]
    #[arg(long)]
    name: Option<String>,
    /// User to run the command as
    #[arg(long, default_value = "root")]
    user: String,
    /// Working directory of the command [default: the user's home]
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Command to run, with its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command; its status.
pub fn vm(args: VmArgs) -> Result<i32> {
    let run = Run { argv: args.command.clone(), user: args.user.clone(), cwd: args.cwd.clone(), ..Run::default() };
    if args.join {
        let signals = Signals::take_over()?;
        return run_here(join(args.name.as_deref(), &signals)?, run, &signals);
    }
    setup::ensure()?;
    let plan = plan(args)?;
    plan.fetch()?;
    progress(&format!("booting {}", plan.kernel));
    let signals = Signals::take_over()?;
    Machine::boot(&plan, &signals)?.run_here(run, &signals)
}

/// The policy of machines that are given no other.
pub fn default_policy() -> PathBuf {
    programs::workspace().join("policies/default.toml")
}

fn plan(args: VmArgs) -> Result<Plan> {
    let mut files = BTreeMap::new();
    let policy = args.policy.unwrap_or_else(default_policy);
    if policy.exists() {
        files.insert(POLICY.into(), policy);
    } else if !args.no_agent {
        bail!("there is no policy {}; name another with --policy", policy.display());
    }
    if let Some(config) = args.config {
        files.insert(CONFIG.into(), config);
    }
    Ok(Plan {
        kernel: args.kernel,
        accel: Accel::best()?,
        append: args.append,
        name: args.name,
        share: args.share,
        agent: !args.no_agent,
        programs: [(HOLDPOINT.into(), programs::holdpoint().context("failed to build holdpoint")?)].into(),
        files,
    })
}
