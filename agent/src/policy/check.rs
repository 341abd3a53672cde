//! `holdpoint policy check FILE…`: judges files alone. Needs neither root nor a capable kernel.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Linked, LoadError, Place, Places, Policy, Refusal, compile, here, load, problem::Severity, secrets};

/// Exit code if a policy is refused.
const REFUSED: u8 = 1;
/// Exit code if a file could not be read, or none was named.
const UNREADABLE: u8 = 2;

/// Judges `files` and says so: good ones on the standard output, problems on the standard error, as JSON
/// everything on the standard output, one object a line. 0: all good; 1: one is refused; 2: one cannot be read.
///
/// With `host`, what this host lacks is said too; what looks like a secret, always. Those are warnings.
pub fn check(files: &[PathBuf], host: bool, json: bool) -> ExitCode {
    let outcomes = files.iter().map(|file| {
        let outcome = if host { here::judge(file) } else { judge(file) };
        let warnings = outcome.as_ref().ok().map(|policy| warnings(policy, host));
        // A closed output changes nothing about the judgement.
        let _ = if json { say_json(file, &outcome) } else { say(file, &outcome) };
        let _ = warnings.map_or(Ok(()), |warnings| warn(&warnings, json));
        code(&outcome)
    });
    ExitCode::from(outcomes.max().unwrap_or(UNREADABLE))
}

/// The policy in `file`, if it could be loaded on some host.
pub fn judge(file: &Path) -> Result<Policy, LoadError> {
    let policy = load(file)?;
    match compile(&policy, 1, &OneFileSystem, None) {
        Ok(_) => Ok(policy),
        Err(problems) => Err(policy.refused(problems).into()),
    }
}

/// What is not wrong with the policy, but should be known.
fn warnings(policy: &Policy, host: bool) -> Refusal {
    let mut found = secrets::found(&policy.source);
    if host {
        found.extend(here::lacks(policy));
    }
    policy.refused(found)
}

fn warn(warnings: &Refusal, json: bool) -> io::Result<()> {
    match json {
        true => warnings.diagnostics_as(Severity::Warning).iter().try_for_each(line),
        false if warnings.problems.is_empty() => Ok(()),
        false => writeln!(io::stderr(), "{}\n", warnings.rendered_as(Severity::Warning, colour())),
    }
}

fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn code(outcome: &Result<Policy, LoadError>) -> u8 {
    match outcome {
        Ok(_) => 0,
        Err(LoadError::Refused(_)) => REFUSED,
        Err(LoadError::Unreadable { .. }) => UNREADABLE,
    }
}

fn say(file: &Path, outcome: &Result<Policy, LoadError>) -> io::Result<()> {
    match outcome {
        Ok(policy) => {
            let (subjects, rules) = (count(policy.subjects.len(), "subject"), count(policy.rules.len(), "rule"));
            let file = file.display().to_string();
            writeln!(io::stdout(), "{}: ok, {subjects}, {rules}, revision {}", file.escape_debug(), policy.revision())
        }
        Err(error) => {
            writeln!(io::stderr(), "{}\n", error.rendered(colour()))
        }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// A good policy for machines.
#[derive(Serialize)]
struct Good<'a> {
    file: String,
    subjects: usize,
    rules: usize,
    revision: &'a str,
}

fn say_json(file: &Path, outcome: &Result<Policy, LoadError>) -> io::Result<()> {
    match outcome {
        Ok(policy) => line(&Good {
            file: file.display().to_string(),
            subjects: policy.subjects.len(),
            rules: policy.rules.len(),
            revision: policy.revision(),
        }),
        Err(error) => error.diagnostics().iter().try_for_each(line),
    }
}

fn line(value: &impl Serialize) -> io::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(value)?)
}

/// A host with one file system and no links: what a policy is judged on where no host is at hand.
pub struct OneFileSystem;

impl Places for OneFileSystem {
    fn resolve(&self, path: &Path) -> Vec<Place> {
        vec![Place { device: 1, components: path.iter().skip(1).map(Into::into).collect() }]
    }

    fn below(&self, path: &Path) -> Vec<Place> {
        self.resolve(path)
    }

    fn mounted(&self, _: &Path) -> Vec<(Vec<OsString>, Place)> {
        Vec::new()
    }

    fn mount_points(&self, _: &Path, _: bool) -> Vec<Place> {
        Vec::new()
    }

    /// Each name is some user's, and no two are the same one's.
    fn user(&self, name: &str) -> Option<u32> {
        let digest = Sha256::digest(name);
        let imagined = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) | 1 << 31;
        Some(if name == "root" { 0 } else { imagined })
    }

    fn linked(&self, _: &Path, _: bool) -> Linked {
        Linked::default()
    }
}
