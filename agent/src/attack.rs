//! `holdpoint attack`: every known way round, tried under the running agent.
//!
//! ```text
//! attack (ungoverned) ── step ─execve─ attempt        first ungoverned: does the route reach its effect here at all?
//!    │  stages the scene   │              │           then governed as the canary, which everything is denied
//!    │  looks at the effect│              └ one call of one route, and its result
//!    └──── control socket ─┴ offers to govern the second one's `step` at its execve
//! ```
//!
//! What counts is the *effect*, which this process looks at from outside where it can: was the secret read, is the file
//! another one, did the listener hear something, was the victim touched. The errno is told beside it.
//!
//! Every attempt is harmless if it gets through: scratch files, listeners and victims of its own, namespaces of its own
//! where it would change the host, and values that are set to what they are.

mod raw;
mod routes;
mod runner;
mod scene;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    process::ExitCode,
};

use nix::{
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Uid,
};
use serde::Serialize;

pub use self::runner::{attempt, step};
use self::{
    routes::Route,
    runner::{Agent, Try},
    scene::Ground,
};
use crate::{
    cli::{
        commands::{pretty, print},
        failed,
    },
    sockets::{Declined, client::Failure},
};

/// Exit code of what a signal ended, less the signal's number.
const SIGNALLED: u8 = 128;

/// What came of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Verdict {
    /// The attacker was stopped and waits for a reviewer.
    Held,
    /// The call failed with a refusal, or the attacker was killed, and there was no effect.
    Refused,
    /// There was the effect.
    Through,
    /// This route shows nothing here.
    NotApplicable,
}

impl Verdict {
    /// Judges the attempt `governed` by what the same did ungoverned, and says what was seen.
    fn of(ungoverned: &Try, governed: &Try) -> (Self, String) {
        if !ungoverned.reached {
            return (Self::NotApplicable, format!("ungoverned: {}", ungoverned.seen));
        }
        let verdict = match governed {
            Try { reached: true, .. } => Self::Through,
            Try { stopped: true, .. } => Self::Held,
            Try { refused: true, .. } => Self::Refused,
            // Nothing got through, but not since somebody said no: then it is not known what was tried.
            _ => return (Self::NotApplicable, format!("governed: {}", governed.seen)),
        };
        (verdict, governed.seen.clone())
    }

    fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Refused => "refused",
            Self::Through => "THROUGH",
            Self::NotApplicable => "not applicable",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    route: &'static str,
    mechanism: &'static str,
    expected: Verdict,
    seen: String,
    verdict: Verdict,
}

/// All of it, as `--json` prints it.
#[derive(Serialize)]
struct Findings {
    routes: Vec<Row>,
}

/// Tries the routes of these names, or all.
pub fn main(run_dir: &Path, json: bool, names: &[String]) -> ExitCode {
    match run(run_dir, json, names) {
        Ok(code) => code,
        Err(failure) => failed(&failure),
    }
}

fn run(run_dir: &Path, json: bool, names: &[String]) -> Result<ExitCode, Failure> {
    let routes = chosen(names)?;
    if !Uid::effective().is_root() {
        return Err(Declined::new("only root can stage the attacks").remedy("sudo holdpoint attack").into());
    }
    let agent = Agent::that_runs(run_dir)?;
    let interrupts = Interrupts::take()?;
    let ground = Ground::new(run_dir, &agent)?;
    let mut findings = Findings { routes: Vec::new() };
    let widths = Widths::of(&routes);
    if !json {
        print(&widths.head())?;
    }
    for (number, route) in (1..).zip(&routes) {
        if let Some(signal) = interrupts.next() {
            return Ok(ExitCode::from(SIGNALLED.wrapping_add(signal)));
        }
        tell(&format!("{number}/{} {}", routes.len(), route.name));
        let row = tried(&agent, &ground, route)?;
        tell("");
        if !json {
            print(&widths.line(&row))?;
        }
        findings.routes.push(row);
    }
    if json {
        print(&pretty(&serde_json::json!(findings)))?;
    } else {
        print(&summary(&findings.routes))?;
    }
    let through = findings.routes.iter().any(|row| row.verdict == Verdict::Through);
    Ok(if through { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Route>, Failure> {
    let all = routes::all();
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|route| route.name == name.as_str())) {
        let known: Vec<_> = all.iter().map(|route| route.name).collect();
        let remedy = format!("one of: {}", known.join(", "));
        return Err(Declined::new(format!("there is no route \"{unknown}\"")).remedy(remedy).into());
    }
    Ok(all.into_iter().filter(|route| names.is_empty() || names.iter().any(|name| name == route.name)).collect())
}

fn tried(agent: &Agent, ground: &Ground, route: &'static Route) -> Result<Row, Failure> {
    let ungoverned = runner::try_out(None, ground, route)?;
    let (verdict, seen) = if ungoverned.reached {
        Verdict::of(&ungoverned, &runner::try_out(Some(agent), ground, route)?)
    } else {
        Verdict::of(&ungoverned, &ungoverned)
    };
    Ok(Row { route: route.name, mechanism: route.mechanism, expected: Verdict::Refused, seen, verdict })
}

/// Says on a terminal what is going on; overwritten by what comes next.
fn tell(what: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{what}").and_then(|()| stderr.flush());
    }
}

fn summary(rows: &[Row]) -> String {
    let count = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    format!(
        "\n{} routes: {} held, {} refused, {} through, {} not applicable\n",
        rows.len(),
        count(Verdict::Held),
        count(Verdict::Refused),
        count(Verdict::Through),
        count(Verdict::NotApplicable),
    )
}

/// Columns as wide as their widest entry; the last, what was seen, is as long as it is.
struct Widths {
    route: usize,
    mechanism: usize,
}

impl Widths {
    fn of(routes: &[&Route]) -> Self {
        let widest = |text: fn(&Route) -> &str| routes.iter().map(|route| text(route).len()).max().unwrap_or(0);
        Self { route: widest(|route| route.name).max(5), mechanism: widest(|route| route.mechanism).max(9) }
    }

    fn head(&self) -> String {
        self.cells("ROUTE", "MECHANISM", "EXPECTED", "VERDICT", "SEEN")
    }

    fn line(&self, row: &Row) -> String {
        self.cells(row.route, row.mechanism, row.expected.word(), row.verdict.word(), &row.seen)
    }

    fn cells(&self, route: &str, mechanism: &str, expected: &str, verdict: &str, seen: &str) -> String {
        let (name, text) = (self.route, self.mechanism);
        format!("{route:name$}  {mechanism:text$}  {expected:8}  {verdict:14}  {seen}\n")
    }
}

/// Signals that ask to stop, kept until the scene is cleared.
struct Interrupts(SignalFd);

impl Interrupts {
    fn take() -> Result<Self, Failure> {
        let set = SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]);
        set.thread_block().map_err(io::Error::from)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&set, flags).map_err(io::Error::from)?))
    }

    fn next(&self) -> Option<u8> {
        self.0.read_signal().ok().flatten().and_then(|info| u8::try_from(info.ssi_signo).ok())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn tried(reached: bool, refused: bool, stopped: bool) -> Try {
        Try { reached, refused, stopped, seen: "EPERM".to_owned() }
    }

    fn row(verdict: Verdict) -> Row {
        Row { route: "open", mechanism: "open(2)", expected: Verdict::Refused, seen: "EPERM".to_owned(), verdict }
    }

    #[test]
    fn there_are_enough_routes_and_each_has_its_own_name_and_mechanism() {
        let all = routes::all();
        assert!(all.len() >= 60, "{}", all.len());
        let names: BTreeSet<_> = all.iter().map(|route| route.name).collect();
        let mechanisms: BTreeSet<_> = all.iter().map(|route| route.mechanism).collect();
        assert_eq!((names.len(), mechanisms.len()), (all.len(), all.len()));
        assert!(names.iter().all(|name| name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))));
    }

    #[test]
    fn the_effect_outweighs_what_the_call_returned() {
        let works = tried(true, false, false);
        assert_eq!(Verdict::of(&works, &tried(true, true, true)).0, Verdict::Through);
        assert_eq!(Verdict::of(&works, &tried(false, true, true)).0, Verdict::Held);
        assert_eq!(Verdict::of(&works, &tried(false, true, false)).0, Verdict::Refused);
    }

    #[test]
    fn a_failure_that_nobody_willed_proves_nothing() {
        let (verdict, seen) = Verdict::of(&tried(true, false, false), &tried(false, false, false));
        assert_eq!((verdict, seen.as_str()), (Verdict::NotApplicable, "governed: EPERM"));
        let (verdict, seen) = Verdict::of(&tried(false, true, false), &tried(false, true, false));
        assert_eq!((verdict, seen.as_str()), (Verdict::NotApplicable, "ungoverned: EPERM"));
    }

    #[test]
    fn the_json_says_verdicts_as_documented() {
        let findings = Findings { routes: vec![row(Verdict::NotApplicable)] };
        let expected = serde_json::json!({"routes": [{
            "route": "open", "mechanism": "open(2)", "expected": "refused", "seen": "EPERM",
            "verdict": "not-applicable",
        }]});
        assert_eq!(serde_json::json!(findings), expected);
    }

    #[test]
    fn the_table_has_its_columns_one_below_the_other() {
        let widths = Widths { route: 6, mechanism: 9 };
        assert_eq!(widths.head(), "ROUTE   MECHANISM  EXPECTED  VERDICT         SEEN\n");
        assert_eq!(widths.line(&row(Verdict::Through)), "open    open(2)    refused   THROUGH         EPERM\n");
        let rows = [row(Verdict::Held), row(Verdict::Through)];
        assert_eq!(summary(&rows), "\n2 routes: 1 held, 0 refused, 1 through, 0 not applicable\n");
    }

    #[test]
    fn an_unknown_route_is_answered_with_those_there_are() {
        let failure = chosen(&["teleport".to_owned()]).err().expect("a refusal");
        assert_eq!(failure.to_string(), "there is no route \"teleport\"");
        assert!(failure.remedy().is_some_and(|remedy| remedy.contains("execve")));
        assert_eq!(chosen(&["execve".to_owned()]).map(|routes| routes.len()).ok(), Some(1));
    }
}
