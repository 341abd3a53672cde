//! `holdpoint policy ...`: the tools that need neither root nor an agent, as people and machines read them.
//!
//! 0: done, and as it should be; 1: a case fails, or there are differences; 2: something could not be read or understood.

mod diff;
mod explain;
mod learn;
mod mask;
mod show;
mod test;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use holdpoint_common::request::Class;
use serde_json::{Value, json};

pub use self::{diff::diff, explain::explain, learn::learn, mask::mask, show::show, test::test};
use super::commands::{pretty, print};
use crate::{
    policy::{self, Asked, Flaw, Host, Judge, LoadError, Mounts, Own, Refusal, Site, What},
    sockets::RUN_DIR,
};

/// Where the policy is unless something else is said.
pub const POLICY: &str = "/etc/holdpoint/policy.toml";

/// Where the agent's record is unless something else is said.
pub const RECORD: &str = "/var/lib/holdpoint/record.jsonl";

/// What to learn from, and what to make of it.
#[derive(Debug, Args)]
pub struct Learning {
    /// The policy that was in force: the proposal is made of it
    #[arg(long, value_name = "FILE", default_value = POLICY)]
    pub policy: PathBuf,
    /// The agent's record
    #[arg(long, value_name = "FILE", default_value = RECORD)]
    pub record: PathBuf,
    /// Learn from this subject alone; the rules of others stay as they are
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
    /// Learn from what was asked since then: "2026-11-20", "2026-11-20 14:30" in this host's time, or with a zone
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// What follows where nothing was seen
    #[arg(long, value_enum, default_value = "hold")]
    pub otherwise: Otherwise,
    /// The group that is asked; unless said, the policy's only one
    #[arg(long, value_name = "GROUP")]
    pub reviewers: Option<String>,
    /// Write the proposal to this file, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What follows where nothing was seen.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Otherwise {
    /// A person is asked
    Hold,
    /// It fails
    Deny,
}

/// Who asks, and when.
#[derive(Debug, Args)]
pub struct Who {
    /// The subject that asks
    #[arg(long, value_name = "NAME")]
    pub subject: String,
    /// The user that it runs as, by name or number
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The user as which it has logged in, by name or number
    #[arg(long, value_name = "USER")]
    pub login: Option<String>,
    /// A group that it belongs to, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group: Vec<String>,
    /// Its working directory
    #[arg(long, value_name = "DIRECTORY")]
    pub cwd: Option<String>,
    /// The moment, as in "Mon 14:30"; now unless said
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// A label whose data was read before
    #[arg(long, value_name = "LABEL")]
    pub if_read: Vec<String>,
}

/// What is asked for.
#[derive(Debug, Subcommand)]
pub enum Operation {
    /// Execute a file
    Exec {
        /// The file
        path: String,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Open a file; to read unless said
    Open {
        /// The file
        path: String,
        /// To read
        #[arg(long)]
        read: bool,
        /// To write anywhere
        #[arg(long)]
        write: bool,
        /// To write at its end
        #[arg(long)]
        append: bool,
        /// To bring it into being
        #[arg(long)]
        create: bool,
        /// To empty it
        #[arg(long)]
        truncate: bool,
        #[command(flatten)]
        kind: Kind,
    },
    /// Connect to an address, or to a socket with a path
    Connect {
        /// ADDRESS or ADDRESS:PORT (IPv6 in brackets), port 443 unless said; or /PATH
        to: String,
        /// tcp, udp, sctp, mptcp, or a number
        #[arg(long, default_value = "tcp")]
        protocol: String,
        /// A name by which the address was looked up
        #[arg(long, value_name = "HOST")]
        name: Vec<String>,
        #[command(flatten)]
        kind: Kind,
    },
    /// Do something to the host, such as `mount`
    System {
        /// A word of `system` in a policy
        word: String,
    },
}

/// What kind of file it is.
#[derive(Debug, Args)]
pub struct Kind {
    /// Who owns the file, or the socket, by name or number
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Its mode in octal
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
}

impl Kind {
    fn owner(&self) -> Result<Option<policy::User>, Flaw> {
        self.owner.as_deref().map(policy::User::parse).transpose()
    }

    fn mode(&self) -> Result<u32, Flaw> {
        Ok(self.mode.as_deref().map(policy::asked::mode).transpose()?.unwrap_or(0))
    }
}

/// The port that is meant where none is said.
const PORT: u16 = 443;

impl Operation {
    fn what(&self) -> Result<What, Flaw> {
        Ok(match self {
            Self::Exec { path, args } => {
                let path = policy::asked::path(path)?;
                What::File { path, access: Class::Exec.bit(), args: args.clone(), owner: None, mode: 0 }
            }
            Self::Open { path, read, write, append, create, truncate, kind } => {
                let said = [
                    (*read, Class::Read),
                    (*write, Class::Write),
                    (*append, Class::Append),
                    (*create, Class::Create),
                    (*truncate, Class::Truncate),
                ];
                let said = said.iter().filter(|(said, _)| *said).map(|(_, class)| class.bit());
                let access = policy::asked::access(said);
                What::File {
                    path: policy::asked::path(path)?,
                    access: if access == 0 { Class::Read.bit() } else { access },
                    args: Vec::new(),
                    owner: kind.owner()?,
                    mode: kind.mode()?,
                }
            }
            Self::Connect { to, kind, .. } if to.starts_with('/') => {
                What::Socket { path: policy::asked::path(to)?, owner: kind.owner()?, mode: kind.mode()? }
            }
            Self::Connect { to, protocol, name, .. } => {
                let (to, port) = policy::asked::destination(to)?;
                let names = name.iter().map(|name| policy::host_name::asked(name)).collect::<Result<_, _>>()?;
                let protocol = policy::asked::protocol(protocol)?;
                What::Connect { to, port: port.unwrap_or(PORT), protocol, names }
            }
            Self::System { word } => What::System(policy::asked::system(word)?),
        })
    }
}

impl Who {
    fn asks(&self, what: What) -> Result<Asked, Flaw> {
        let user = self.user.as_deref().map(policy::User::parse).transpose()?;
        let login = self.login.as_deref().map(policy::User::parse).transpose()?;
        let groups = self.group.iter().map(|group| policy::User::group(group)).collect::<Result<_, _>>()?;
        let cwd = self.cwd.as_deref().map(policy::asked::path).transpose()?;
        let at = self.at.as_deref().map(policy::asked::moment).transpose()?;
        Ok(Asked {
            subject: self.subject.clone(),
            user,
            login,
            groups,
            cwd,
            at: at.unwrap_or_else(policy::asked::now),
            read: self.if_read.clone(),
            what,
        })
    }
}

/// Why a tool could not do its work.
pub enum Trouble {
    /// A file.
    File(LoadError),
    /// What was said on the command line.
    Words(Flaw),
}

impl From<LoadError> for Trouble {
    fn from(error: LoadError) -> Self {
        Self::File(error)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::File(refusal.into())
    }
}

impl From<Flaw> for Trouble {
    fn from(flaw: Flaw) -> Self {
        Self::Words(flaw)
    }
}

impl Trouble {
    fn say(&self, json: bool) {
        let text = match self {
            Self::File(error) if json => pretty(&json!({ "problems": error.diagnostics() })),
            Self::Words(flaw) if json => {
                pretty(&json!({ "problems": [{ "message": flaw.message, "remedy": flaw.remedy }] }))
            }
            Self::File(error) => format!("{}\n", error.rendered(colour())),
            Self::Words(flaw) => format!("holdpoint: {}\n  help: {}\n", flaw.message, flaw.remedy),
        };
        // A closed output changes nothing about the outcome.
        let _ = if json { io::stdout().write_all(text.as_bytes()) } else { io::stderr().write_all(text.as_bytes()) };
    }
}

fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// What a tool found: for people, for machines, and its exit code.
struct Report {
    text: String,
    json: Value,
    code: u8,
}

/// Says what came of it.
fn said(report: Result<Report, Trouble>, json: bool) -> ExitCode {
    match report {
        Ok(report) => {
            let text = if json { pretty(&report.json) } else { report.text };
            match print(&text) {
                Ok(()) => ExitCode::from(report.code),
                Err(failure) => super::failed(&failure),
            }
        }
        Err(trouble) => {
            trouble.say(json);
            ExitCode::from(2)
        }
    }
}

/// `holdpoint policy schema`
pub fn schema() -> ExitCode {
    said(Ok(Report { text: pretty(&policy::schema()), json: Value::Null, code: 0 }), false)
}

/// The host of this name.
pub fn host(name: &str) -> Result<Host, std::convert::Infallible> {
    Ok(Host::named(name))
}

/// For which host a policy is asked.
pub struct Asking {
    /// The host by whose name its parts are chosen.
    pub host: Host,
    /// Whether this host's links, mounts and users count.
    pub here: bool,
}

impl Asking {
    /// For the host that is named, or else for this one.
    pub fn new(named: &Option<Host>, here: bool) -> Self {
        Self { host: named.clone().unwrap_or_else(Host::this), here }
    }

    /// The policy in `file`, to be asked.
    fn judge(&self, file: &Path) -> Result<Judge, Trouble> {
        let policy = policy::load(file, &self.host)?;
        let mut own = Own::customary();
        own.paths.push(RUN_DIR.into());
        if !self.here {
            return Ok(Judge::new(policy, &own, Site::Anywhere)?);
        }
        let unreadable = |error: &dyn std::fmt::Display| {
            Flaw::new(
                format!("cannot read what this host has mounted, or this process: {error}"),
                "is /proc mounted? leave out --host",
            )
        };
        own.paths.extend(std::fs::read_link("/proc/self/exe").ok());
        own.mapped = crate::daemon::mapped().map_err(|error| unreadable(&error))?;
        let mounts = Mounts::now().map_err(|error| unreadable(&error))?;
        Ok(Judge::new(policy, &own, Site::Here(mounts))?)
    }
}

fn unreadable(record: &Path, error: &io::Error) -> Trouble {
    let message = format!("cannot read the record {}: {error}", record.display());
    Flaw::new(message, "only root reads the agent's record: copy it, or use sudo").into()
}

/// `hold by "secrets need a person" (policy.toml:4)`
fn decided(judge: &Judge, answer: policy::Answer) -> String {
    let verdict = match policy::verdict_word(answer.verdict) {
        word if answer.would == answer.verdict => word.to_owned(),
        word => format!("{word} (observed: would {})", policy::verdict_word(answer.would)),
    };
    match answer.rule.and_then(|rule| judge.policy.rule(rule)) {
        Some(rule) => format!("{verdict} by {:?} ({})", rule.name, judge.place(rule)),
        None => format!("{verdict} by no rule"),
    }
}
