//! Holdpoint: action-level approvals for AI agents, in the operating system.

mod approval;
mod attack;
mod canary;
mod claims;
mod class;
mod cli;
mod config;
mod daemon;
mod denials;
mod holds;
mod identity;
mod kept;
mod kernel;
mod ladder;
mod mask;
mod page;
mod policy;
mod process;
mod quorum;
mod record;
mod request;
mod run;
mod scope;
mod signature;
mod sockets;
mod user;
mod web;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use cli::{Cli, Verb};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.verb {
        Verb::Agent(args) => {
            log();
            daemon::main(&cli.run_dir, &args)
        }
        Verb::Policy(verb) => cli::policy(&cli.run_dir, &verb),
        Verb::Channel(verb) => cli::channel(&cli.run_dir, &verb),
        Verb::Page(args) => cli::page(&cli.run_dir, &args),
        Verb::Control(verb) => cli::control(&cli.run_dir, &verb),
        Verb::Run(verb) => run::main(&cli.run_dir, verb),
        Verb::Annotate(args) => cli::annotate(&cli.run_dir, &args),
        Verb::Why { json } => run::why(&cli.run_dir, json),
        Verb::Canary => canary::main(&cli.run_dir),
        Verb::CanaryGoverned => canary::governed(&cli.run_dir),
        Verb::Attack { json, routes } => attack::main(&cli.run_dir, json, &routes),
        Verb::AttackStep { orders } => attack::step(&cli.run_dir, &orders),
        Verb::AttackGoverned { orders } => attack::attempt(&orders),
    }
}

/// To standard error, which systemd takes to the journal; `RUST_LOG` chooses what.
fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
