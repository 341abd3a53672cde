//! The programs that were seen, and what they were given: what a rule on a program with subcommands can be narrowed to,
//! and what whoever reads a proposal is shown of the rest.

use std::collections::{BTreeMap, BTreeSet};

use holdpoint_common::request::Class;

use super::{
    observed::{Evidence, add},
    paths::{Learned, spelled},
    sum,
};
use crate::{
    policy::{Pattern, secrets},
    request::quoted,
};

/// Programs of which the first argument says what they do. Those that are held even if they were seen are not among them:
/// see [`super::sensitive`].
const WITH_SUBCOMMANDS: &[&str] = &[
    "ansible-galaxy",
    "apt",
    "apt-cache",
    "apt-get",
    "argocd",
    "aws",
    "az",
    "brew",
    "bundle",
    "bun",
    "cargo",
    "conda",
    "deno",
    "dnf",
    "doctl",
    "dotnet",
    "flatpak",
    "flux",
    "gcloud",
    "gem",
    "gh",
    "git",
    "glab",
    "go",
    "gsutil",
    "helm",
    "hg",
    "nix",
    "nomad",
    "npm",
    "pip",
    "pip3",
    "pipx",
    "pnpm",
    "poetry",
    "pulumi",
    "rustup",
    "snap",
    "svn",
    "terraform",
    "tofu",
    "uv",
    "vault",
    "yarn",
    "yum",
    "zypper",
];

/// From how many subcommands on a program is allowed as a whole.
const MANY: usize = 9;

/// Longest word that a rule can ask for in full.
const LONGEST: usize = 63;

/// How many of the arguments that were seen are listed, and how long each may be, in characters.
const LISTED: usize = 4;
const WIDTH: usize = 100;

/// What a program was given; none if the record does not have it whole.
pub type Given = Option<Vec<String>>;

/// A program that was seen.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Its path.
    pub path: &'a str,
    /// What it was given, and where that comes from.
    pub given: Vec<(&'a Given, &'a Evidence)>,
}

impl Program<'_> {
    /// As a pattern, with where it comes from.
    pub fn learned(&self) -> Option<Learned> {
        Some(Learned {
            text: spelled(self.path),
            pattern: Pattern::exact(self.path.as_ref()),
            access: Class::Exec.bit(),
            files: 1,
            evidence: sum(self.given.iter().map(|(_, evidence)| *evidence))?,
        })
    }

    /// Its subcommands, if the record has few of them and no arguments that begin otherwise.
    pub fn subcommands(&self) -> Option<BTreeMap<&str, Evidence>> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        if !WITH_SUBCOMMANDS.contains(&name) {
            return None;
        }
        let mut found = BTreeMap::new();
        for (given, evidence) in &self.given {
            if let Some(arguments) = given {
                add(&mut found, arguments.first().map(String::as_str).filter(|word| is_subcommand(word))?, evidence);
            }
        }
        (1..MANY).contains(&found.len()).then_some(found)
    }

    /// What it was given, as comments of a proposal: what begins with `first`, if that is said.
    pub fn shown(&self, first: Option<&str>) -> Vec<String> {
        let begins = |given: &Given| {
            first.is_none_or(|first| given.as_ref().and_then(|words| words.first()).is_some_and(|word| word == first))
        };
        let lines: BTreeSet<_> =
            self.given.iter().filter(|(given, _)| begins(given)).map(|(given, _)| line(given)).collect();
        let more = lines.len().saturating_sub(LISTED);
        let more = (more > 0).then(|| format!("… {more} more"));
        lines.into_iter().take(LISTED).chain(more).collect()
    }
}

/// Lower-case letters, digits and `-`, as no option, path or name of a file with an ending is written.
fn is_subcommand(word: &str) -> bool {
    let of_word = |sign: u8| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == b'-';
    !word.is_empty()
        && word.len() <= LONGEST
        && !word.starts_with('-')
        && word.bytes().all(of_word)
        && !secrets::is_secret(word)
}

/// What a program was given, in a line, without what looks like a secret.
fn line(given: &Given) -> String {
    match given.as_deref() {
        None => "(arguments that the record does not have whole)".to_owned(),
        Some([]) => "(no arguments)".to_owned(),
        Some(words) => {
            let words: Vec<_> = secrets::masked(words).iter().map(|word| quoted(word)).collect();
            shortened(&words.join(" "))
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Given {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn evidence() -> Evidence {
        let at = "2026-11-20T12:00:00Z".parse().expect("a time");
        Evidence { times: 1, first: at, last: at, programs: BTreeSet::new(), lines: BTreeSet::new() }
    }

    fn subcommands(path: &str, all: &[Given]) -> Option<Vec<String>> {
        let evidence = evidence();
        let program = Program { path, given: all.iter().map(|given| (given, &evidence)).collect() };
        program.subcommands().map(|found| found.into_keys().map(str::to_owned).collect())
    }

    #[test]
    fn few_subcommands_and_nothing_else_are_what_a_program_is_narrowed_to() {
        let git = "/usr/bin/git";
        let seen = [given(&["status"]), given(&["log", "-1"]), given(&["status", "--short"])];
        assert_eq!(subcommands(git, &seen), Some(vec!["log".to_owned(), "status".to_owned()]));
        assert_eq!(subcommands("/usr/bin/sort", &seen), None, "it has none");
        for other in [&["-C", "/srv", "status"][..], &["/srv"], &[".", "x"], &["Status"], &["a.txt"], &[]] {
            assert_eq!(subcommands(git, &[given(&["status"]), given(other)]), None, "{other:?}");
        }
        let many: Vec<_> = (0..MANY).map(|number| given(&[&format!("do-{number}")])).collect();
        assert_eq!(subcommands(git, &many), None);
        assert_eq!(subcommands(git, &many[1..]).map(|found| found.len()), Some(MANY - 1));
        assert_eq!(subcommands(git, &[None]), None);
        assert_eq!(subcommands(git, &[None, given(&["status"])]), Some(vec!["status".to_owned()]), "never wider");
    }

    #[test]
    fn of_many_arguments_some_are_shown_and_of_secrets_none() {
        let evidence = evidence();
        let all = [
            given(&["--token", "hunter2", "a b\n"]),
            given(&["--token", "hunter3", "a b\n"]),
            given(&[]),
            None,
            given(&[&"x".repeat(2 * WIDTH)]),
            given(&["z1"]),
            given(&["z2"]),
        ];
        let program = Program { path: "/x", given: all.iter().map(|given| (given, &evidence)).collect() };
        let shown = program.shown(None);
        assert_eq!(
            shown[..3],
            ["(arguments that the record does not have whole)", "(no arguments)", "--token *** \"a b\\u{a}\""]
        );
        assert_eq!(shown[3].chars().count(), WIDTH + 1);
        assert_eq!(shown[4..], ["… 2 more"]);
        assert_eq!(program.shown(Some("z1")), ["z1"]);
    }
}
