//! From the files that were seen to patterns, hardly wider: what changes from run to run (process ids, random parts of
//! temporary names) becomes `*`, and many files of one directory `dir/**`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::observed::Evidence;
use crate::policy::{Pattern, wildcard::SPECIAL};

/// From how many names in one directory on it is taken whole.
const MANY: usize = 8;

/// Directories of which one file says nothing about another: never taken whole. Nor are those directly below the root,
/// and what is directly below `/home`.
const NEVER: [&str; 17] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/share",
    "/var/backups",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/opt",
    "/var/spool",
    "/var/tmp",
    "/dev/shm",
    "/run/user",
    "/run/systemd",
];

/// Where everybody's temporary files are.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// How many random characters `mkstemp(3)` puts at the end of a name.
const RANDOM: usize = 6;

/// A pattern, the access that it is for, and what it was made of.
#[derive(Clone, Debug)]
pub struct Learned {
    /// As a policy writes it.
    pub text: String,
    /// The same, understood.
    pub pattern: Pattern,
    /// A mask of [`holdpoint_common::request::Class`] bits.
    pub access: u32,
    /// How many paths were seen that it accepts.
    pub files: usize,
    /// Where it comes from.
    pub evidence: Evidence,
}

/// A path as a pattern that accepts nothing else.
pub fn spelled(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for sign in path.chars() {
        if SPECIAL.contains(&sign) {
            text.push('\\');
        }
        text.push(sign);
    }
    text
}

/// Patterns for the files that were seen, each with its access; none is wider than what one of `within` accepts.
pub fn patterns(seen: &[(&str, u32, &Evidence)], within: &[Pattern]) -> Vec<Learned> {
    let mut by_path: BTreeMap<&str, (u32, Evidence)> = BTreeMap::new();
    for (path, access, evidence) in seen {
        let add = |known: &mut (u32, Evidence)| {
            known.0 |= access;
            known.1.add(evidence);
        };
        by_path.entry(path).and_modify(add).or_insert_with(|| (*access, (*evidence).clone()));
    }
    let mut by_access: BTreeMap<u32, BTreeMap<String, (usize, Evidence)>> = BTreeMap::new();
    for (path, (access, evidence)) in by_path {
        let text = Some(without_chance(path)).filter(|text| is_within(text, within)).unwrap_or_else(|| spelled(path));
        merge(by_access.entry(access).or_default(), text, (1, evidence));
    }
    let learned = by_access.into_iter().flat_map(|(access, mut texts)| {
        take_whole_directories(&mut texts, within);
        texts.into_iter().filter_map(move |(text, (files, evidence))| {
            let pattern = parsed(&text)?;
            Some(Learned { text, pattern, access, files, evidence })
        })
    });
    without_covered(learned.collect())
}

fn merge(texts: &mut BTreeMap<String, (usize, Evidence)>, text: String, (files, evidence): (usize, Evidence)) {
    match texts.get_mut(&text) {
        Some(known) => {
            known.0 += files;
            known.1.add(&evidence);
        }
        None => _ = texts.insert(text, (files, evidence)),
    }
}

/// The one pattern that the text spells.
fn parsed(text: &str) -> Option<Pattern> {
    Pattern::parse(text).ok()?.pop()
}

/// Whether the rule that saw it accepts all of it, so that nothing is taken from the rules behind that.
fn is_within(text: &str, within: &[Pattern]) -> bool {
    parsed(text).is_some_and(|pattern| within.iter().any(|wide| wide.covers(&pattern)))
}

/// Puts `dir/**` where there are many names in `dir`, from the deepest directory up.
fn take_whole_directories(texts: &mut BTreeMap<String, (usize, Evidence)>, within: &[Pattern]) {
    let mut directories: BTreeSet<(usize, String)> = BTreeSet::new();
    for text in texts.keys() {
        let above = Path::new(text).ancestors().skip(1).filter_map(Path::to_str);
        directories.extend(above.map(|directory| (directory.matches('/').count(), directory.to_owned())));
    }
    for (_, directory) in directories.iter().rev() {
        let whole = format!("{directory}/**");
        if !may_be_whole(directory) || !is_within(&whole, within) {
            continue;
        }
        let below = format!("{directory}/");
        let from_here = texts.range(below.clone()..).map(|(text, _)| text);
        let inside: Vec<_> = from_here.take_while(|text| text.starts_with(&below)).cloned().collect();
        let names: BTreeSet<_> =
            inside.iter().filter_map(|text| Path::new(text).strip_prefix(directory).ok()?.iter().next()).collect();
        if names.len() >= MANY {
            for text in &inside {
                let taken = texts.remove(text).expect("one of its keys");
                merge(texts, whole.clone(), taken);
            }
        }
    }
}

fn may_be_whole(directory: &str) -> bool {
    let names: Vec<_> = directory.split('/').skip(1).collect();
    let deep = match names.as_slice() {
        ["home", _] => false,
        ["proc" | "sys" | "dev" | "boot", ..] => false,
        names => names.len() >= 2,
    };
    deep && !NEVER.contains(&directory)
}

/// Leaves out what a wider one with the same access, or more, accepts too.
fn without_covered(learned: Vec<Learned>) -> Vec<Learned> {
    let (mut wide, narrow): (Vec<_>, Vec<_>) = learned.into_iter().partition(|one| !one.pattern.is_exact());
    let mut kept = Vec::new();
    for one in narrow {
        let covers = |wide: &&mut Learned| one.access & !wide.access == 0 && wide.pattern.covers(&one.pattern);
        match wide.iter_mut().find(covers) {
            Some(wide) => {
                wide.files += one.files;
                wide.evidence.add(&one.evidence);
            }
            None => kept.push(one),
        }
    }
    kept.extend(without_narrower(wide));
    kept.sort_by(|one, other| one.text.cmp(&other.text));
    kept
}

/// Likewise, among patterns with wildcards.
fn without_narrower(learned: Vec<Learned>) -> Vec<Learned> {
    let covers = |wide: &Learned, narrow: &Learned| {
        wide.text != narrow.text && narrow.access & !wide.access == 0 && wide.pattern.covers(&narrow.pattern)
    };
    let is_needed = |narrow: &&Learned| !learned.iter().any(|wide| covers(wide, narrow));
    learned.iter().filter(is_needed).cloned().collect()
}

/// The path with `*` for what is another one in the next run.
fn without_chance(path: &str) -> String {
    let names: Vec<_> = path.split('/').collect();
    let temporary = TEMPORARY.iter().any(|directory| Path::new(path).starts_with(directory));
    let changed = names.iter().enumerate().map(|(level, name)| match (names.as_slice(), level) {
        (["", "proc", ..], 2) | (["", "proc", _, "task", ..], 4) | (["", "dev", "pts", _], 3) if is_number(name) => {
            "*".to_owned()
        }
        _ => name_without_chance(name, temporary),
    });
    changed.collect::<Vec<_>>().join("/")
}

fn is_number(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit())
}

/// A name with `*` for its random part, if it has one that can be told.
fn name_without_chance(name: &str, temporary: bool) -> String {
    let is_of_word = |sign: char| sign.is_ascii_alphanumeric();
    let words: Vec<_> = name.split(|sign| !is_of_word(sign)).filter(|word| !word.is_empty()).collect();
    let Some((word, kept)) = words.iter().find_map(|word| Some((*word, fixed_beginning(word, name, temporary)?)))
    else {
        return spelled(name);
    };
    let at = name.find(word).unwrap_or(0);
    format!("{}{kept}*{}", spelled(&name[..at]), spelled(&name[at + word.len()..]))
}

/// How a random word of `name` begins each time; none if it does not look random. Outside the directories for temporary
/// files only what nobody would write by hand counts.
fn fixed_beginning<'a>(word: &'a str, name: &str, temporary: bool) -> Option<&'a str> {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hexadecimal = word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hexadecimal && word.len() >= 16 && digits > 0 {
        return Some("");
    }
    if temporary && is_number(word) && word.len() >= 3 {
        return Some("");
    }
    let (changes, long) = (changes(word), word.len() >= RANDOM);
    // `mktemp(1)`: `tmp.` and ten random characters.
    let made = name.starts_with("tmp") && (temporary || name.starts_with("tmp.") && word.len() == 10);
    if !long || !made && (changes < 3 || !temporary && (digits == 0 || word.len() == RANDOM)) {
        return None;
    }
    if word.len() == RANDOM || !name.starts_with(word) {
        return Some("");
    }
    Some(if word.starts_with("tmp") { "tmp" } else { &word[..word.len() - RANDOM] })
}

/// How often a word goes from small letters to capitals or digits, or back.
fn changes(word: &str) -> usize {
    let kind = |byte: &u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase());
    word.as_bytes().windows(2).filter(|pair| kind(&pair[0]) != kind(&pair[1])).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(line: usize) -> Evidence {
        let at = "2026-11-20T12:00:00Z".parse().expect("a time");
        Evidence { times: 1, first: at, last: at, programs: BTreeSet::new(), lines: BTreeSet::from([line]) }
    }

    fn of(files: &[(&str, u32)], within: &str) -> Vec<String> {
        let evidence = evidence(1);
        let seen: Vec<_> = files.iter().map(|(path, access)| (*path, *access, &evidence)).collect();
        let learned = patterns(&seen, &Pattern::parse(within).expect("a pattern"));
        learned.iter().map(|learned| format!("{} {}", learned.text, learned.access)).collect()
    }

    fn many(directory: &str) -> Vec<String> {
        (0..MANY).map(|number| format!("{directory}/file{number}")).collect()
    }

    fn whole(directory: &str, within: &str) -> Vec<String> {
        let files = many(directory);
        of(&files.iter().map(|file| (file.as_str(), 1)).collect::<Vec<_>>(), within)
    }

    #[test]
    fn what_changes_from_run_to_run_is_left_open_and_nothing_else() {
        for (path, text) in [
            ("/tmp/tmp.aB3dE6gH9k", "/tmp/tmp.*"),
            ("/tmp/sortkQz81B", "/tmp/sort*"),
            ("/tmp/app.12345.sock", "/tmp/app.*.sock"),
            ("/srv/work/sedkQz81B", "/srv/work/sed*"),
            ("/srv/git/objects/1a/0123456789abcdef0123456789abcdef012345", "/srv/git/objects/1a/*"),
            ("/proc/4711/status", "/proc/*/status"),
            ("/proc/1/task/17/comm", "/proc/*/task/*/comm"),
            ("/dev/pts/3", "/dev/pts/*"),
            ("/srv/work/MyFileName.csv", "/srv/work/MyFileName.csv"),
            ("/srv/work/out-20261120.csv", "/srv/work/out-20261120.csv"),
            ("/tmp/report.csv", "/tmp/report.csv"),
            ("/srv/a[1]*", "/srv/a\\[1\\]\\*"),
        ] {
            assert_eq!(without_chance(path), text);
        }
    }

    #[test]
    fn many_files_of_a_directory_are_the_directory_unless_it_is_everybodys() {
        assert_eq!(whole("/srv/work", "/**"), ["/srv/work/** 1"]);
        assert_eq!(whole("/home/a/project", "/**"), ["/home/a/project/** 1"]);
        for directory in ["/etc", "/home/a", "/root", "/tmp", "/var/lib", "/usr/lib", "/proc/sys", "/dev/x"] {
            assert_eq!(whole(directory, "/**").len(), MANY, "{directory}");
        }
        assert_eq!(whole("/srv/work", "/srv/work/file*").len(), MANY, "never wider than the rule that saw it");
    }

    #[test]
    fn access_that_was_not_seen_is_not_learned() {
        let mut files: Vec<_> = many("/srv/work");
        files.push("/srv/work/out".to_owned());
        let mut files: Vec<_> = files.iter().map(|file| (file.as_str(), 1)).collect();
        files.last_mut().expect("one").1 = 3;
        assert_eq!(of(&files, "/**"), ["/srv/work/** 1", "/srv/work/out 3"]);
        assert_eq!(of(&[("/srv/a", 1), ("/srv/a", 2)], "/**"), ["/srv/a 3"]);
    }
}
