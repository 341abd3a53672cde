//! Running other programs, with errors that name them.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a command whose output is of interest only if it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("failed to start {}", shown(command)))?;
    check(command, &output)
}

/// Runs a command and shows its output as it comes.
pub fn run_visibly(command: &mut Command) -> Result<()> {
    let status =
        command.stdin(Stdio::null()).status().with_context(|| format!("failed to start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// The standard output of a command that succeeds.
pub fn output_of(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("failed to start {}", shown(command)))?;
    check(command, &output)?;
    String::from_utf8(output.stdout).with_context(|| format!("the output of {} is not UTF-8", shown(command)))
}

fn check(command: &Command, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    bail!("{} ended with {}:\n{}", shown(command), output.status, String::from_utf8_lossy(&said).trim_end());
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    format!("`{}`", words.join(" "))
}
