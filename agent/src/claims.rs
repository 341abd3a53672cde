//! What is claimed of each governed tree: by who launched it, and by its own processes. Nothing of it is verified, and nothing
//! follows from it: reviewers see it apart from what the kernel saw, each claim with who makes it.
//!
//! The claims of a tree are in a file of their own in the run directory, for the next agent: a tree that changes its claims has
//! those of no other written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, DirBuilder},
    mem::discriminant,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    kept::{read, write},
    request::{quoted, shown},
};

/// Longest text, in bytes.
const LONGEST: usize = 4096;
/// Most claims of a tree that are made within a [`MINUTE`]: each is a line of the record.
const CHANGES: usize = 32;
const MINUTE: SignedDuration = SignedDuration::from_mins(1);
/// Most trees of which something is claimed.
const TREES: usize = 1024;

/// What a claim is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// What is to come of it.
    Intent,
    /// What was given to do.
    Task,
    /// Where that is kept track of.
    Ticket,
    /// The words in which it was given.
    Prompt,
}

impl Kind {
    /// All kinds, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Intent, Self::Task, Self::Ticket, Self::Prompt];

    /// Its word on the command line, in records and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Task => "task",
            Self::Ticket => "ticket",
            Self::Prompt => "prompt",
        }
    }
}

/// What somebody says at one time.
pub type Said = BTreeMap<Kind, String>;

/// Who says it. This is a fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub enum Speaker {
    /// Who launched the tree, as it was launched.
    Launcher {
        /// User name, or the number where there is no name.
        user: String,
    },
    /// A process of the tree.
    Process {
        /// Process id in the initial PID namespace.
        pid: u32,
        /// The image that it ran, empty if it could not be read.
        exe: String,
    },
}

impl fmt::Display for Speaker {
    /// For people, and without anything that could forge a line: `laura, who launched it`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launcher { user } => write!(f, "{}, who launched it", shown(user)),
            Self::Process { pid, exe } if exe.is_empty() => write!(f, "process {pid}"),
            Self::Process { pid, exe } => write!(f, "process {pid}, {}", quoted(exe)),
        }
    }
}

/// Something that somebody says of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What it is about.
    pub kind: Kind,
    /// In their words.
    pub text: String,
    /// Since when.
    pub at: Timestamp,
    /// Who says so.
    #[serde(flatten)]
    pub by: Speaker,
}

impl Claim {
    /// For people: `intent, said by laura, who launched it: fix the build`. The text is as it was given, and last: whatever it
    /// imitates comes after who says it.
    pub fn sentence(&self) -> String {
        format!("{}, said by {}: {}", self.kind.word(), self.by, self.text)
    }

    /// Whether it takes the place of `other`: a tree does not speak for who launched it.
    fn replaces(&self, other: &Self) -> bool {
        self.kind == other.kind && discriminant(&self.by) == discriminant(&other.by)
    }
}

/// Why nothing was claimed.
#[derive(Debug, thiserror::Error)]
pub enum Unclaimed {
    /// Nobody would read it all.
    #[error("the {} is longer than {LONGEST} bytes", .0.word())]
    TooLong(Kind),
    /// It would fill the record.
    #[error("{CHANGES} claims of this tree were made within a minute")]
    TooOften,
    /// There is no room for the claims of another tree.
    #[error("there are {TREES} governed trees with claims already")]
    TooMany,
    /// The file could not be written.
    #[error("{0:#}")]
    NotKept(anyhow::Error),
}

impl Unclaimed {
    /// What helps.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::TooLong(_) => "say it in fewer words, or where it can be read",
            Self::TooOften => "try again in a minute: what was claimed before still stands",
            Self::TooMany => "claim nothing, or wait until others have ended",
            Self::NotKept(_) => "see journalctl --unit holdpoint",
        }
    }
}

/// The claims of all trees.
#[derive(Debug)]
pub struct Claims {
    directory: PathBuf,
    trees: BTreeMap<String, OfTree>,
}

/// The claims of one tree: of each kind one by who launched it, and one by its processes.
#[derive(Clone, Debug, Default)]
struct OfTree {
    claims: Vec<Claim>,
    /// Claims that were made since this moment.
    since: Timestamp,
    changes: usize,
}

impl Claims {
    /// Those that an agent before this one has kept.
    ///
    /// # Errors
    /// The directory cannot be made or read, or a file in it is not understood.
    pub fn open(run_dir: &Path) -> Result<Self> {
        let directory = run_dir.join("claims");
        // What people write into prompts is not for every user of the host.
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.with_context(|| format!("cannot create {}", directory.display()))?;
        let mut trees = BTreeMap::new();
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let file = entry?.path();
            if let (Some(tree), Some("json")) = (stem(&file), file.extension().and_then(|end| end.to_str())) {
                trees.insert(tree, OfTree { claims: read(&file)?, ..OfTree::default() });
            }
        }
        Ok(Self { directory, trees })
    }

    /// `by` says this of `tree`, from `at` on; gives the new claims. Each replaces that of its kind by the same side.
    ///
    /// # Errors
    /// See [`Unclaimed`]: then all is as before.
    pub fn say(&mut self, tree: &str, by: &Speaker, said: Said, at: Timestamp) -> Result<Vec<Claim>, Unclaimed> {
        if said.is_empty() {
            return Ok(Vec::new());
        }
        if let Some((kind, _)) = said.iter().find(|(_, text)| text.len() > LONGEST) {
            return Err(Unclaimed::TooLong(*kind));
        }
        if !self.knows(tree) && self.trees.len() >= TREES {
            return Err(Unclaimed::TooMany);
        }
        let mut of_tree = self.trees.get(tree).cloned().unwrap_or_default();
        of_tree.count(said.len(), at)?;
        let new: Vec<_> = said.into_iter().map(|(kind, text)| Claim { kind, text, at, by: by.clone() }).collect();
        of_tree.replace(&new);
        write(&self.file(tree), &of_tree.claims).map_err(Unclaimed::NotKept)?;
        self.trees.insert(tree.to_owned(), of_tree);
        Ok(new)
    }

    /// What is claimed of `tree`, without what was said after `at`.
    pub fn of(&self, tree: &str, at: Timestamp) -> Vec<Claim> {
        let claims = self.trees.get(tree).into_iter().flat_map(|of_tree| &of_tree.claims);
        claims.filter(|claim| claim.at <= at).cloned().collect()
    }

    /// Whether anything was claimed of `tree`.
    pub fn knows(&self, tree: &str) -> bool {
        self.trees.contains_key(tree)
    }

    /// Forgets the claims of trees that are not among `living`.
    pub fn forget_all_but(&mut self, living: &BTreeSet<String>) {
        let gone: Vec<_> = self.trees.keys().filter(|tree| !living.contains(*tree)).cloned().collect();
        for tree in gone {
            // One that stays is read by the next agent, and forgotten again.
            let _ = fs::remove_file(self.file(&tree));
            self.trees.remove(&tree);
        }
    }

    fn file(&self, tree: &str) -> PathBuf {
        self.directory.join(format!("{tree}.json"))
    }
}

impl OfTree {
    fn count(&mut self, changes: usize, now: Timestamp) -> Result<(), Unclaimed> {
        if now.duration_since(self.since) >= MINUTE {
            (self.since, self.changes) = (now, 0);
        }
        self.changes += changes;
        if self.changes > CHANGES { Err(Unclaimed::TooOften) } else { Ok(()) }
    }

    fn replace(&mut self, new: &[Claim]) {
        self.claims.retain(|old| !new.iter().any(|new| new.replaces(old)));
        self.claims.extend_from_slice(new);
        // Of each kind the launcher's first: what does not fit together is beside each other.
        self.claims.sort_by_key(|claim| (claim.kind, matches!(claim.by, Speaker::Process { .. })));
    }
}

fn stem(file: &Path) -> Option<String> {
    Some(file.file_stem()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::sample::start;

    const TREE: &str = "0000000000000001";

    /// A directory of its own for each test, gone at its end.
    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Self {
            Self(std::env::temp_dir().join(format!("holdpoint-claims-{test}-{}", std::process::id())))
        }

        fn claims(&self) -> Claims {
            Claims::open(&self.0).unwrap()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn launcher() -> Speaker {
        Speaker::Launcher { user: "laura".into() }
    }

    fn process() -> Speaker {
        Speaker::Process { pid: 7, exe: "/usr/bin/a b".into() }
    }

    fn said(kind: Kind, text: &str) -> Said {
        Said::from([(kind, text.to_owned())])
    }

    fn sentences(claims: &Claims) -> Vec<String> {
        claims.of(TREE, Timestamp::MAX).iter().map(Claim::sentence).collect()
    }

    #[test]
    fn a_tree_changes_what_it_says_and_never_what_its_launcher_said() {
        let place = Place::new("changes");
        let mut claims = place.claims();
        let mut say = |by, said| claims.say(TREE, &by, said, start()).unwrap();
        say(launcher(), Said::from([(Kind::Intent, "release".into()), (Kind::Ticket, "A-1".into())]));
        say(process(), said(Kind::Intent, "fix"));
        let new = say(process(), said(Kind::Intent, "said by laura, who launched it: fix"));
        assert_eq!(new.len(), 1);
        let expected = [
            "intent, said by laura, who launched it: release",
            "intent, said by process 7, \"/usr/bin/a b\": said by laura, who launched it: fix",
            "ticket, said by laura, who launched it: A-1",
        ];
        assert_eq!(sentences(&claims), expected);
        assert!(claims.of("0000000000000002", Timestamp::MAX).is_empty(), "another tree");
        assert_eq!(sentences(&place.claims()), expected, "after a restart");
    }

    #[test]
    fn what_is_said_later_is_not_among_what_was_said_then() {
        let place = Place::new("later");
        let mut claims = place.claims();
        let later = start() + MINUTE;
        claims.say(TREE, &launcher(), said(Kind::Task, "first"), start()).unwrap();
        claims.say(TREE, &process(), said(Kind::Task, "second"), later).unwrap();
        assert_eq!(claims.of(TREE, start()).len(), 1);
        assert_eq!(claims.of(TREE, later).len(), 2);
    }

    #[test]
    fn what_is_too_long_is_refused_whole() {
        let place = Place::new("long");
        let mut claims = place.claims();
        let both = |length| Said::from([(Kind::Intent, "short".to_owned()), (Kind::Prompt, "x".repeat(length))]);
        let refused = claims.say(TREE, &process(), both(LONGEST + 1), start()).unwrap_err();
        assert_eq!(refused.to_string(), "the prompt is longer than 4096 bytes");
        assert!(sentences(&claims).is_empty() && !claims.knows(TREE));
        claims.say(TREE, &process(), both(LONGEST), start()).unwrap();
        assert_eq!(sentences(&claims).len(), 2);
    }

    #[test]
    fn a_flood_is_refused_and_what_was_claimed_stands() {
        let place = Place::new("flood");
        let mut claims = place.claims();
        let mut say = |number: usize, at| claims.say(TREE, &process(), said(Kind::Task, &number.to_string()), at);
        (1..=CHANGES).for_each(|number| drop(say(number, start()).unwrap()));
        let refused = say(33, start() + SignedDuration::from_secs(59)).unwrap_err();
        assert_eq!(refused.to_string(), "32 claims of this tree were made within a minute");
        assert_eq!(sentences(&claims), ["task, said by process 7, \"/usr/bin/a b\": 32"]);
        claims.say(TREE, &process(), said(Kind::Task, "later"), start() + MINUTE).unwrap();
    }

    #[test]
    fn trees_that_have_ended_are_forgotten_and_make_room() {
        let place = Place::new("room");
        let mut claims = place.claims();
        let name = |number: usize| format!("{number:016x}");
        let say =
            |claims: &mut Claims, number| claims.say(&name(number), &launcher(), said(Kind::Intent, "x"), start());
        (0..TREES).for_each(|number| drop(say(&mut claims, number).unwrap()));
        let refused = say(&mut claims, TREES).unwrap_err();
        assert_eq!(refused.to_string(), "there are 1024 governed trees with claims already");
        claims.forget_all_but(&BTreeSet::from([name(0)]));
        say(&mut claims, TREES).unwrap();
        let kept = place.claims().trees.into_keys().collect::<Vec<_>>();
        assert_eq!(kept, [name(0), name(TREES)]);
    }

    #[test]
    fn nothing_said_leaves_no_trace() {
        let place = Place::new("nothing");
        let mut claims = place.claims();
        assert!(claims.say(TREE, &process(), Said::new(), start()).unwrap().is_empty());
        assert!(!claims.knows(TREE));
    }

    #[test]
    fn in_json_a_claim_is_one_object_with_who_makes_it() {
        let claim = Claim { kind: Kind::Ticket, text: "A-1".into(), at: start(), by: process() };
        let json = serde_json::to_value(&claim).unwrap();
        let expected = serde_json::json!({
            "kind": "ticket", "text": "A-1", "at": "2026-11-20T12:00:00Z", "by": "process", "pid": 7, "exe": "/usr/bin/a b"
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Claim>(json).unwrap(), claim);
        assert!(Kind::ALL.iter().all(|kind| serde_json::json!(kind) == kind.word()));
    }
}
