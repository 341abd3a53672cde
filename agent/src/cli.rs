//! The command line: what can be said, and what comes of it as an exit code.
//!
//! 0 done, 1 refused or failed, 2 not understood, 3 no agent, or one that does not enforce (`status`).
//! `holdpoint run` is different: it gives what its command gives, see [`crate::run`].

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use self::{commands::Calls, signing::Signing};
use crate::{
    claims::{Kind, Said},
    policy::Host,
    request::Word,
    scope::Scope,
    sockets::{CONTROL, RUN_DIR, TREE, client::Failure},
};

pub mod annotate;
pub mod channel;
pub(crate) mod commands;
mod grants;
mod holds;
pub mod page;
pub mod policy;
mod signing;
mod status;
mod watch;

/// Holds what an AI agent's processes try to do until a person says yes.
#[derive(Debug, Parser)]
#[command(name = "holdpoint", version, max_term_width = 100)]
pub struct Cli {
    /// Directory of the agent's sockets: for tests.
    #[arg(long, global = true, hide = true, default_value = RUN_DIR)]
    pub run_dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do, by who does it.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the agent: attach to the kernel, ask reviewers, apply their answers
    ///
    /// Usually started by systemd. SIGTERM stops it and leaves enforcement on: what is held stays held.
    Agent(AgentArgs),
    /// Work with policy files
    #[command(subcommand)]
    Policy(PolicyVerb),
    /// Work with the ways to reviewers
    #[command(subcommand)]
    Channel(channel::ChannelVerb),
    /// Print a link that logs you in on the review page, once
    Page(page::PageArgs),
    /// Said to the agent by its control socket.
    #[command(flatten)]
    Control(ControlVerb),
    /// Starting a governed tree.
    #[command(flatten)]
    Run(RunVerb),
    /// Tell reviewers what the governed tree that this is called in is about
    ///
    /// They see it as a claim, with the process that makes it, apart from what the kernel saw and from what was said as the tree
    /// was launched. It takes the place of what the tree has said of the same kinds. A question that is asked already stays as
    /// it is. At most 4 KiB each.
    Annotate(annotate::AnnotateArgs),
    /// Say what waits, and what was refused and why, in the governed tree that this is called in
    ///
    /// Usable by everybody, and by governed processes; it changes nothing. Exits 1 if the caller is not governed.
    Why {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try every known way round, against a scratch object and under the running agent (root only)
    ///
    /// Each route is first shown to work ungoverned, then tried by a governed process. Exits 1 if any got through.
    Attack {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Try this route only; can be given more than once
        #[arg(long = "route", value_name = "NAME")]
        routes: Vec<String>,
    },
    /// An attacker before it is governed, if it is to be.
    #[command(hide = true)]
    AttackStep { orders: String },
    /// An attacker at its one attempt.
    #[command(hide = true)]
    AttackGoverned { orders: String },
    /// The agent's own step: the canary before it is governed.
    #[command(hide = true)]
    Canary,
    /// The agent's own step: the canary once it is governed.
    #[command(hide = true)]
    CanaryGoverned,
}

/// Where the agent's files are.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// Channels and listener
    #[arg(long, value_name = "FILE", default_value = "/etc/holdpoint/config.toml")]
    pub config: PathBuf,
    /// Who is governed, and what is held
    #[arg(long, value_name = "FILE", default_value = "/etc/holdpoint/policy.toml")]
    pub policy: PathBuf,
}

/// Work with policy files.
#[derive(Debug, Subcommand)]
pub enum PolicyVerb {
    /// Judge policy files by themselves: needs neither root nor an agent
    Check {
        /// Policy files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Judge for the host of this name; unless said, for this one and all that the policy tells from it
        #[arg(long, value_name = "NAME", value_parser = policy::host)]
        host_name: Option<Host>,
        /// Say also what this host lacks: users, files, and what its kernel cannot enforce
        #[arg(long)]
        host: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say which rule decides on an operation, and which came close
    Explain {
        /// The policy
        #[arg(long, value_name = "FILE", default_value = policy::POLICY)]
        policy: PathBuf,
        #[command(flatten)]
        who: Box<policy::Who>,
        /// Judge for the host of this name; unless said, for this one
        #[arg(long, value_name = "NAME", value_parser = policy::host)]
        host_name: Option<Host>,
        /// Follow this host's links and mounts
        #[arg(long)]
        host: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The operation
        #[command(subcommand)]
        operation: policy::Operation,
    },
    /// Ask a policy what its test file asks (NAME.test.toml beside NAME.toml); exits 1 if an answer is not the expected one
    Test {
        /// Policy files, or test files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// Ask of the host of this name; this one unless said here or by a case
        #[arg(long, value_name = "NAME", value_parser = policy::host)]
        host_name: Option<Host>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what another policy changes; exits 1 if it changes anything
    ///
    /// Both policies are asked what the test files beside them ask, and what is given here.
    Diff {
        /// The policy before
        old: PathBuf,
        /// The policy after
        new: PathBuf,
        /// A test file
        #[arg(long, value_name = "FILE")]
        cases: Option<PathBuf>,
        /// The agent's record: what was asked is asked again
        #[arg(long, value_name = "FILE")]
        record: Option<PathBuf>,
        /// Judge for the host of this name; unless said, for this one
        #[arg(long, value_name = "NAME", value_parser = policy::host)]
        host_name: Option<Host>,
        /// Follow this host's links and mounts
        #[arg(long)]
        host: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Propose a policy from what the agent has recorded of a run: what it did is allowed, the rest is held
    ///
    /// Each rule of the policy in force that audits is replaced by rules that allow what it has seen, and one that holds the
    /// rest. Where each comes from is said beside it. Begin with policies/observe-everything.toml.
    Learn {
        #[command(flatten)]
        learning: policy::Learning,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a policy as it is compiled for this host: with the rules that every policy has, and the tables it needs
    Show {
        /// The policy
        #[arg(value_name = "FILE", default_value = policy::POLICY)]
        file: PathBuf,
        /// Show it for the host of this name; unless said, for this one
        #[arg(long, value_name = "NAME", value_parser = policy::host)]
        host_name: Option<Host>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show words as reviewers would see them: what the policy masks in them
    ///
    /// Each is one argument of a command line, the program's name first. Without any, they are the lines of the standard
    /// input, which is where to give what is secret.
    Mask {
        /// The policy
        #[arg(long, value_name = "FILE", default_value = policy::POLICY)]
        policy: PathBuf,
        /// Mask for the host of this name; unless said, for this one
        #[arg(long, value_name = "NAME", value_parser = policy::host)]
        host_name: Option<Host>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// The words
        #[arg(last = true, value_name = "WORD")]
        words: Vec<String>,
    },
    /// Print a JSON Schema of policy files, for editors
    Schema,
    /// Have the agent read its policy anew and put it in force (root only); SIGHUP does the same
    ///
    /// The file is judged whole first: a bad one changes nothing. What is held stays held where the same rule holds it, and is
    /// judged anew where not.
    Reload {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Said to the agent by its control socket: root, and members of the group holdpoint.
#[derive(Debug, Subcommand)]
pub enum ControlVerb {
    /// List what is held now
    Holds {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch what is held on the terminal, and decide with keys
    ///
    /// `?` says which. Each decision is asked back, and counts as that of `approve` and `deny` does.
    Watch,
    /// Show everything about one hold
    Show {
        /// The hold's id, or its first digits (at least 4)
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List approvals that stand for more than one call
    Grants {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take such approvals back, at once
    ///
    /// What they let pass is asked about again from then on. It is on record that you did so.
    Revoke {
        /// The grant's id, or its first digits (at least 4)
        #[arg(required_unless_present_any = ["tree", "all"])]
        id: Option<String>,
        /// All of this tree
        #[arg(long, value_name = "TREE", conflicts_with = "id")]
        tree: Option<String>,
        /// All of this host
        #[arg(long, conflicts_with_all = ["id", "tree"])]
        all: bool,
        /// Your reason, for the record
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a held operation happen
    ///
    /// The answer is that of the reviewer who you are on this host, and counts if the rule asks that reviewer and you did not
    /// start the tree that asks, unless the rule allows that. A signed one is in the name of the reviewer whose key it is.
    Approve {
        /// The hold's id, or its first digits (at least 4)
        id: String,
        /// Let the very same pass again: in this process, in this tree until it ends, or for a time there (30m), as far as the
        /// rule offers that
        #[arg(long, value_name = "once|process|tree|TIME", default_value_t)]
        scope: Scope,
        /// Approve also the other holds that its question lists, since they ask for the same
        #[arg(long)]
        all: bool,
        /// Your reason, for the record
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        #[command(flatten)]
        signing: Signing,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Refuse a held operation
    ///
    /// What that does is said by the rule (`on_deny`), unless you say it.
    Deny {
        /// The hold's id, or its first digits (at least 4)
        id: String,
        /// Kill the process that asks
        #[arg(long, conflicts_with = "fail")]
        kill: bool,
        /// Let the call fail with EPERM; the process lives
        #[arg(long)]
        fail: bool,
        /// Your reason, for the record and for who is refused
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        #[command(flatten)]
        signing: Signing,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether the agent enforces; exits 0 only if it does, otherwise 3
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Deny everything that is held, stop enforcing, stop the agent (root only)
    Detach,
}

/// Starting a governed tree. All but the first are its own steps.
#[derive(Debug, Subcommand)]
pub enum RunVerb {
    /// Run a command governed, with everything that it starts
    ///
    /// Exits as the command does; 125 if it was not started, 126 if it cannot be executed, 127 if it is not found. What is said
    /// of it (intent, task, ticket, prompt) reviewers see as a claim of yours; what is not given here is taken from
    /// HOLDPOINT_INTENT, HOLDPOINT_TASK, HOLDPOINT_TICKET and HOLDPOINT_PROMPT. In a tree that is governed already it does not
    /// count: `holdpoint annotate` does.
    Run {
        /// Govern it as this subject of the policy
        #[arg(long, value_name = "NAME")]
        subject: Option<String>,
        #[command(flatten)]
        claiming: Claiming,
        /// Do not say what is held
        #[arg(long)]
        quiet: bool,
        /// The command and its arguments
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// The child before it is governed.
    #[command(hide = true)]
    RunEnrol {
        #[arg(long)]
        subject: Option<String>,
        #[command(flatten)]
        claiming: Claiming,
        #[command(flatten)]
        inherited: Inherited,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// The child once it is governed.
    #[command(hide = true)]
    RunGoverned {
        /// The connection to `tree`.
        #[arg(long)]
        agent: i32,
        /// The tree that was offered.
        #[arg(long)]
        tree: String,
        #[command(flatten)]
        inherited: Inherited,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

/// What is said of a governed tree.
#[derive(Debug, Args)]
pub struct Claiming {
    /// What is to come of it: reviewers see it as a claim
    #[arg(long, value_name = "TEXT")]
    intent: Option<String>,
    /// What was given to do, likewise
    #[arg(long, value_name = "TEXT")]
    task: Option<String>,
    /// Where that is kept track of, likewise
    #[arg(long, value_name = "TEXT")]
    ticket: Option<String>,
    /// The words in which it was given, likewise
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
}

impl Claiming {
    /// What is given, as it is.
    pub fn given(&self) -> impl Iterator<Item = (Kind, &String)> {
        let all = [&self.intent, &self.task, &self.ticket, &self.prompt];
        Kind::ALL.into_iter().zip(all).filter_map(|(kind, text)| Some((kind, text.as_ref()?)))
    }

    /// What is given, and of the rest what is said by `default`. An empty text says nothing.
    pub fn said(&self, default: Said) -> Said {
        let mut said = default;
        said.extend(self.given().map(|(kind, text)| (kind, text.clone())));
        said.retain(|_, text| !text.is_empty());
        said
    }
}

/// What `holdpoint run` hands down to its own steps.
#[derive(Clone, Debug, Args)]
pub struct Inherited {
    /// The process that waits for this one.
    #[arg(long)]
    pub parent: i32,
    /// A socket on which it is told the tree.
    #[arg(long)]
    pub report: i32,
    /// Signals that it blocked, to be unblocked again.
    #[arg(long, value_delimiter = ',')]
    pub unblock: Vec<i32>,
}

/// `holdpoint policy ...`
pub fn policy(run_dir: &Path, verb: &PolicyVerb) -> ExitCode {
    match verb {
        PolicyVerb::Check { files, host_name, host, json } => {
            crate::policy::check(files, host_name.as_ref(), *host, *json)
        }
        PolicyVerb::Explain { policy, who, host_name, host, json, operation } => {
            policy::explain(policy, who, operation, &policy::Asking::new(host_name, *host), *json)
        }
        PolicyVerb::Test { files, host_name, json } => {
            policy::test(files, &policy::Asking::new(host_name, false), *json)
        }
        PolicyVerb::Diff { old, new, cases, record, host_name, host, json } => {
            let asking = policy::Asking::new(host_name, *host);
            policy::diff(old, new, cases.as_deref(), record.as_deref(), &asking, *json)
        }
        PolicyVerb::Learn { learning, json } => policy::learn(learning, *json),
        PolicyVerb::Show { file, host_name, json } => policy::show(file, &policy::Asking::new(host_name, true), *json),
        PolicyVerb::Mask { policy, host_name, json, words } => {
            policy::mask(policy, words, &policy::Asking::new(host_name, false), *json)
        }
        PolicyVerb::Schema => policy::schema(),
        PolicyVerb::Reload { json } => reload(run_dir, *json),
    }
}

/// `holdpoint channel ...`
pub fn channel(run_dir: &Path, verb: &channel::ChannelVerb) -> ExitCode {
    let done = channel::channel(&run_dir.join(CONTROL), verb);
    done.map_or_else(|failure| failed(&failure), |()| ExitCode::SUCCESS)
}

/// `holdpoint page`
pub fn page(run_dir: &Path, args: &page::PageArgs) -> ExitCode {
    page::page(&run_dir.join(CONTROL), args).map_or_else(|failure| failed(&failure), |()| ExitCode::SUCCESS)
}

/// `holdpoint annotate`
pub fn annotate(run_dir: &Path, args: &annotate::AnnotateArgs) -> ExitCode {
    annotate::annotate(&run_dir.join(TREE), args).map_or_else(|failure| failed(&failure), |()| ExitCode::SUCCESS)
}

/// `holdpoint policy reload`
fn reload(run_dir: &Path, json: bool) -> ExitCode {
    commands::reload(&run_dir.join(CONTROL), json).map_or_else(|failure| failed(&failure), |()| ExitCode::SUCCESS)
}

/// Says something to the agent and prints what comes back.
pub fn control(run_dir: &Path, verb: &ControlVerb) -> ExitCode {
    let socket = run_dir.join(CONTROL);
    let done = match verb {
        ControlVerb::Holds { json } => commands::holds(&socket, *json),
        ControlVerb::Watch => return watch::watch(&socket),
        ControlVerb::Show { id, json } => commands::show(&socket, id, *json),
        ControlVerb::Grants { json } => grants::grants(&socket, *json),
        ControlVerb::Revoke { id, tree, all: _, why, json } => {
            grants::revoke(&socket, id.as_deref(), tree.as_deref(), why.clone(), *json)
        }
        ControlVerb::Approve { id, scope, all, why, signing, json } => {
            let calls = if *all { Calls::All } else { Calls::One };
            commands::answer(&socket, id, (Word::Approve, *scope), why.clone(), signing, calls, *json)
        }
        ControlVerb::Deny { id, kill, fail, why, signing, json } => {
            // A no is for all that ask for the same.
            let said = (denial(*kill, *fail), Scope::Once);
            commands::answer(&socket, id, said, why.clone(), signing, Calls::All, *json)
        }
        ControlVerb::Status { json } => return status_code(commands::status(&socket, *json)),
        ControlVerb::Detach => commands::detach(&socket),
    };
    done.map_or_else(|failure| failed(&failure), |()| ExitCode::SUCCESS)
}

fn denial(kill: bool, fail: bool) -> Word {
    match (kill, fail) {
        (true, _) => Word::Kill,
        (_, true) => Word::Fail,
        _ => Word::Deny,
    }
}

/// `attached` is not `enforcing`: only the latter is success.
fn status_code(enforcing: Result<bool, Failure>) -> ExitCode {
    match enforcing {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(failure) => failed(&failure),
    }
}

/// Prints cause and remedy.
pub fn failed(failure: &Failure) -> ExitCode {
    eprintln!("holdpoint: {failure}");
    if let Some(remedy) = failure.remedy() {
        eprintln!("  help: {remedy}");
    }
    ExitCode::from(code(failure))
}

fn code(failure: &Failure) -> u8 {
    match failure {
        Failure::NoAgent => 3,
        Failure::Refused(_) | Failure::Broken(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::sockets::Declined;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_agent_and_a_refusal_are_different_exit_codes() {
        assert_eq!(code(&Failure::NoAgent), 3);
        assert_eq!(code(&Failure::Refused(Declined::new("no"))), 1);
    }

    #[test]
    fn kill_and_fail_exclude_each_other() {
        let parse = |words: &[&str]| Cli::try_parse_from(words);
        assert!(parse(&["holdpoint", "deny", "3f9c", "--kill"]).is_ok());
        assert_eq!(parse(&["holdpoint", "deny", "3f9c", "--kill", "--fail"]).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn an_answer_is_signed_in_one_way_at_most() {
        let parse = |words: &str| Cli::try_parse_from(format!("holdpoint {words}").split(' '));
        let good = ["--sign", "--sign --key k", "--statement", "--signature -", "--signature s --why x --json"];
        for (words, verb) in good.iter().flat_map(|words| [(words, "approve 3f9c"), (words, "deny 3f9c --kill")]) {
            assert!(parse(&format!("{verb} {words}")).is_ok(), "{verb} {words}");
        }
        for bad in
            ["--sign --statement", "--sign --signature s", "--statement --signature s", "--key k", "--statement --json"]
        {
            assert!(parse(&format!("approve 3f9c {bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_given_goes_before_the_environment_and_empty_says_nothing() {
        let words = ["holdpoint", "run", "--intent", "release", "--ticket", "", "--", "ls"];
        let Verb::Run(RunVerb::Run { claiming, .. }) = Cli::try_parse_from(words).unwrap().verb else {
            panic!("a run")
        };
        let environment = [(Kind::Intent, "another"), (Kind::Ticket, "A-1"), (Kind::Prompt, "do it"), (Kind::Task, "")];
        let environment = environment.map(|(kind, text)| (kind, text.to_owned()));
        let said = claiming.said(environment.into());
        assert_eq!(said, [(Kind::Intent, "release".to_owned()), (Kind::Prompt, "do it".to_owned())].into());
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        let cli = Cli::try_parse_from(["holdpoint", "run", "--quiet", "--", "ls", "--subject", "x"]).unwrap();
        let Verb::Run(RunVerb::Run { subject: None, quiet: true, command, .. }) = cli.verb else {
            panic!("{:?}", cli.verb)
        };
        assert_eq!(command, ["ls", "--subject", "x"]);
        assert!(Cli::try_parse_from(["holdpoint", "run", "ls"]).is_err());
    }
}
