//! `holdpoint policy check FILE…`: judges files alone. Needs neither root nor a capable kernel.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{
    Host, Linked, LoadError, Place, Places, Policy, Problem, Refusal, Source, compile, doubts, here, load, parse,
    parts, problem::Severity, secrets,
};

/// Exit code if a policy is refused.
const REFUSED: u8 = 1;
/// Exit code if a file could not be read, or none was named.
const UNREADABLE: u8 = 2;

/// Judges `files` and says so: good ones on the standard output, problems on the standard error, as JSON
/// everything on the standard output, one object a line. 0: all good; 1: one is refused; 2: one cannot be read.
///
/// Each is judged for the host that is named, or else for this one and all others that its parts tell from it. With
/// `here`, what this host lacks is said too; what looks like a secret, and what nobody can approve, always. Those are warnings.
pub fn check(files: &[PathBuf], named: Option<&Host>, here: bool, json: bool) -> ExitCode {
    let outcomes = files.iter().map(|file| {
        let file = load::main_file(file);
        let outcome = if here { here::judge(&file, named) } else { judge(&file, named, &OneFileSystem) };
        // A closed output changes nothing about the judgement.
        let _ = if json { say_json(&outcome) } else { say(&outcome) };
        let _ = outcome.as_ref().map_or(Ok(()), |good| warn(&warnings(good, here), json));
        code(&outcome)
    });
    ExitCode::from(outcomes.max().unwrap_or(UNREADABLE))
}

/// A policy that is good on each host for which it was judged.
pub struct Good {
    /// For the first of these hosts.
    pub policy: Policy,
    /// What it has and uses on none of them.
    pub idle: Vec<Problem>,
}

/// The policy in `file`, if it could be loaded on some host with these places, and for others on one with one file
/// system.
pub fn judge(file: &Path, named: Option<&Host>, places: &dyn Places) -> Result<Good, LoadError> {
    let source = load::whole(file)?;
    let hosts = named.map_or_else(|| parts::hosts(&source, &Host::this()), |host| vec![host.clone()]);
    let mut good: Option<Good> = None;
    let mut problems: Vec<(Problem, Option<&Host>)> = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let is_first = index == 0;
        match (on(&source, host, if is_first { places } else { &OneFileSystem }), &mut good) {
            (Ok(policy), None) => good = Some(Good { idle: policy.idle.clone(), policy }),
            (Ok(policy), Some(good)) => good.idle.retain(|problem| policy.idle.contains(problem)),
            (Err(refusal), _) => {
                let new = |problem: &Problem| problems.iter().all(|(known, _)| known != problem);
                let more: Vec<_> = refusal.problems.into_iter().filter(new).collect();
                problems.extend(more.into_iter().map(|problem| (problem, (!is_first).then_some(host))));
            }
        }
    }
    match good {
        Some(good) if problems.is_empty() => Ok(good),
        _ => Err(Refusal::new(source, problems.into_iter().map(of_host).collect()).into()),
    }
}

/// A problem, with the host that has it if not all have.
fn of_host((problem, host): (Problem, Option<&Host>)) -> Problem {
    match host {
        Some(host) => Problem { message: format!("{}, on a host named {:?}", problem.message, host.name()), ..problem },
        None => problem,
    }
}

fn on(source: &Source, host: &Host, places: &dyn Places) -> Result<Policy, Refusal> {
    let policy = parse(source.clone(), host)?;
    match compile(&policy, 1, places, None) {
        Ok(_) => Ok(policy),
        Err(problems) => Err(policy.refused(problems)),
    }
}

/// What is not wrong with the policy, but should be known.
fn warnings(good: &Good, here: bool) -> Refusal {
    let mut found = secrets::found(&good.policy.source);
    found.extend(good.idle.iter().cloned());
    found.extend(doubts::found(&good.policy));
    if here {
        found.extend(here::lacks(&good.policy));
    }
    good.policy.refused(found)
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

fn code(outcome: &Result<Good, LoadError>) -> u8 {
    match outcome {
        Ok(_) => 0,
        Err(LoadError::Refused(_)) => REFUSED,
        Err(LoadError::Unreadable { .. }) => UNREADABLE,
    }
}

fn say(outcome: &Result<Good, LoadError>) -> io::Result<()> {
    match outcome {
        Ok(Good { policy, .. }) => {
            let (subjects, rules) = (count(policy.subjects.len(), "subject"), count(policy.rules.len(), "rule"));
            let files = match policy.source.files.len() {
                1 => String::new(),
                files => format!("{files} files, "),
            };
            let file = policy.source.name().escape_debug();
            writeln!(io::stdout(), "{file}: ok, {files}{subjects}, {rules}, revision {}", policy.revision())
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
struct Said<'a> {
    file: &'a str,
    files: Vec<&'a str>,
    host: &'a Host,
    subjects: usize,
    rules: usize,
    revision: &'a str,
}

fn say_json(outcome: &Result<Good, LoadError>) -> io::Result<()> {
    match outcome {
        Ok(Good { policy, .. }) => line(&Said {
            file: policy.source.name(),
            files: policy.source.files.iter().map(|file| file.name.as_str()).collect(),
            host: &policy.host,
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

    /// Likewise.
    fn group(&self, name: &str) -> Option<u32> {
        self.user(name)
    }

    fn linked(&self, _: &Path, _: bool) -> Linked {
        Linked::default()
    }
}
