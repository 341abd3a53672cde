//! Building the programs that go into the virtual machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::run;

/// Names a finished `holdpoint` to be used instead of building one.
pub const HOLDPOINT_BIN: &str = "HOLDPOINT_BIN";

/// The top of the source tree.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// `cargo`, the one that runs us, in the workspace. Programs that it installs are found even if PATH does not have their
/// directory.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).env("PATH", path_with_cargo_bin());
    command
}

/// PATH, with cargo's own directory at the end if it is not in it.
pub fn path_with_cargo_bin() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    let Some(bin) = home.map(|home| home.join("bin")) else { return path };
    let mut directories: Vec<_> = std::env::split_paths(&path).collect();
    if directories.contains(&bin) {
        return path;
    }
    directories.push(bin);
    std::env::join_paths(directories).unwrap_or(path)
}

/// The `holdpoint` program: the one that `HOLDPOINT_BIN` names, or else built.
pub fn holdpoint() -> Result<PathBuf> {
    match std::env::var_os(HOLDPOINT_BIN) {
        Some(path) => Ok(path.into()),
        None => build(&["build", "--package", "holdpoint", "--bin", "holdpoint"], "holdpoint"),
    }
}

/// The test program of the promises.
pub fn promises() -> Result<PathBuf> {
    build(&["test", "--package", "holdpoint-tests", "--test", "promises", "--no-run"], "promises")
}

/// Runs cargo and finds the executable `name` among what it says it has made.
fn build(arguments: &[&str], name: &str) -> Result<PathBuf> {
    let output = cargo()
        .args(arguments)
        .args(["--quiet", "--message-format=json-render-diagnostics"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    ensure!(output.status.success(), "`cargo {}` failed", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok())
        .filter(|message| message.target.name == name)
        .find_map(|message| message.executable)
        .with_context(|| format!("`cargo {}` made no program {name}", arguments.join(" ")))
}

/// The part of cargo's message "compiler-artifact" that matters here.
#[derive(Deserialize)]
struct Message {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Copies a program without its debugging symbols, which are most of its size: the guest reads it slowly.
pub fn copy_stripped(program: &Path, target: &Path) -> Result<()> {
    run(Command::new("strip").arg("--strip-debug").arg("-o").arg(target).arg(program))?;
    let mode = fs::metadata(program).with_context(|| format!("failed to read {}", program.display()))?.permissions();
    fs::set_permissions(target, mode).with_context(|| format!("failed to make {} executable", target.display()))
}
