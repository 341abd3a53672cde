//! The tests that need the protocols' own libraries, and the Python that has these.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::cache::artefact;
use crate::process::{output_of, run};
use crate::programs::{cargo, workspace};

/// Debian's, which its python3-venv belongs to.
const PYTHON: &str = "/usr/bin/python3";
/// Names the Python that has the libraries.
const PEERS: &str = "HOLDPOINT_PEERS";
/// How many tests need it. One that is not run is missed.
const TESTS: usize = 8;

/// Runs the tests, all of them if there is no filter among `arguments`.
pub fn test(arguments: &[String]) -> Result<()> {
    let python = libraries()?.join("bin/python");
    let output = cargo()
        // As the unit tests are built, so that nothing is built twice.
        .args(["test", "--workspace", "--exclude", "holdpoint-tests", "--bin", "holdpoint", "--", "--ignored"])
        // That is for the browser.
        .args(["--skip", "for_the_renderer"])
        .args(arguments)
        .env(PEERS, python)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    ensure!(output.status.success(), "the tests ended with {}", output.status);
    let passed = passed(&said);
    ensure!(!arguments.is_empty() || passed == TESTS, "{passed} tests passed instead of {TESTS}");
    Ok(())
}

/// How many tests have passed, by what they printed.
fn passed(said: &str) -> usize {
    said.lines().filter(|line| line.starts_with("test ") && line.ends_with(" ... ok")).count()
}

/// A virtual environment with what tests/peers/requirements.txt lists, from where pip is configured to look.
fn libraries() -> Result<PathBuf> {
    let path = workspace().join("tests/peers/requirements.txt");
    let requirements = fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let version = output_of(Command::new(PYTHON).arg("--version"))?;
    artefact("peers", (requirements, version), |directory| install(&path, directory))
}

/// Afterwards the directory is renamed: its Python finds itself, but its scripts, such as pip, do not.
fn install(requirements: &Path, directory: &Path) -> Result<()> {
    run(Command::new(PYTHON).args(["-m", "venv"]).arg(directory))?;
    run(Command::new(directory.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r"])
        .arg(requirements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passed_is_counted() {
        let said =
            "\nrunning 3 tests\ntest a::b ... ok\ntest c ... ignored\ntest d ... FAILED\n\ntest result: ok. 1 passed\n";
        assert_eq!(passed(said), 1);
    }
}
