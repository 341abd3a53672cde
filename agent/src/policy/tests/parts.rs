//! A policy of several files: they add up in their order, each for the hosts that it names, and what is wrong is shown in
//! the file where it stands.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use sha2::Digest as _;

use super::*;
use crate::policy::{LoadError, check, load, source::File};

/// The policy of [`HEAD`] with `main` after it, and these parts.
fn of_files(main: &str, parts: &[(&str, &str)]) -> Source {
    let main = Source::one("policy.toml", format!("{HEAD}{main}"));
    let parts = parts.iter().map(|(name, text)| File { name: format!("policy.d/{name}"), text: (*text).to_owned() });
    Source { files: main.files.into_iter().chain(parts).collect() }
}

/// What is said of these files on a host that no part is for.
#[track_caller]
fn assert_said_of_files(main: &str, parts: &[(&str, &str)], said: &str) {
    assert_eq!(read(of_files(main, parts)).expect_err("refused").to_string(), said);
}

fn names(policy: &Policy) -> Vec<&str> {
    policy.rules.iter().map(|rule| rule.name.as_str()).collect()
}

const CURL: &str = "exec = { path = [\"/usr/bin/curl\"] }";
const WGET: &str = "exec = { path = [\"/usr/bin/wget\"] }";

#[test]
fn rules_stand_in_the_order_of_the_files_and_share_their_names() {
    let part =
        format!("[labels]\nkeys = [\"/etc/keys/**\"]\n[lists]\ntools = [\"/usr/bin/wget\"]\n{}", rule("b", WGET));
    let later = "[[subject]]\nname = \"other\"\n[[rule]]\nname = \"c\"\nsubject = [\"other\"]\n\
                 open = { label = [\"keys\"] }\nthen = \"hold\"\nreviewers = \"security\"\n";
    let main = rule("a", CURL).replace("[\"/usr", "[\"$tools\", \"/usr");
    let part = part.replace("wget\"] }", "nc\"] }");
    let policy = read(of_files(&main, &[("10.toml", &part), ("20.toml", later)])).expect("good");
    assert_eq!(names(&policy), ["a", "b", "c"]);
    let places: Vec<_> = policy.rules.iter().map(|rule| policy.source.position(rule.span.start).to_string()).collect();
    assert_eq!(places, ["policy.toml:6:8", "policy.d/10.toml:6:8", "policy.d/20.toml:4:8"]);
    assert_eq!(policy.subjects.len(), 2);
    assert_eq!(policy.here, [true; 3]);
}

#[test]
fn a_part_is_for_the_hosts_that_it_names() {
    let part = |hosts: &str| format!("host = [{hosts}]\n{}", rule("b", WGET));
    let source = |hosts| of_files(&rule("a", CURL), &[("10.toml", &part(hosts))]);
    for (hosts, host, is_for) in [
        ("\"web-*\", \"not web-3\"", "web-1", true),
        ("\"web-*\", \"not web-3\"", "web-1.example.org", true),
        ("\"web-*\", \"not web-3\"", "WEB-2", true),
        ("\"web-*\", \"not web-3\"", "web-3", false),
        ("\"web-*\", \"not web-3\"", "web-3.example.org", false),
        ("\"web-*\", \"not web-3\"", "db-1", false),
        ("\"{db,web}-?.Example.org\"", "db-1.example.org", true),
        ("\"{db,web}-?.example.org\"", "db-1", false),
        ("\"not db-*\"", "web-1", true),
        ("\"not db-*\"", "db-1", false),
    ] {
        let policy = parse(source(hosts), &Host::named(host)).expect("good");
        assert_eq!(policy.here, [true, is_for], "{host} {hosts}");
        assert_eq!(names(&policy).contains(&"b"), is_for, "{host} {hosts}");
    }
}

#[test]
fn the_digest_is_of_all_files_whatever_the_host() {
    let part = format!("host = [\"web-*\"]\n{}", rule("b", WGET));
    let source = of_files("", &[("10.toml", &part)]);
    let sum = |text: &str| crate::request::hexadecimal(&sha2::Sha256::digest(text));
    let expected = sum(&format!("{}  policy.toml\n{}  policy.d/10.toml\n", sum(HEAD), sum(&part)));
    let digest = |host| parse(source.clone(), &Host::named(host)).expect("good").digest;
    assert_eq!((digest("web-1"), digest("db-1")), (expected.clone(), expected));
}

#[test]
fn names_are_given_once_in_all_files() {
    assert_said_of_files(
        &rule("r", CURL),
        &[("10.toml", &rule("r", WGET))],
        "policy.d/10.toml:2:8: a rule named \"r\" is there already, in policy.toml:6:8 (give it another name)",
    );
    assert_said_of_files(
        "",
        &[("10.toml", "[[subject]]\nname = \"agent\"\n")],
        "policy.d/10.toml:2:8: a subject named \"agent\" is there already, in policy.toml:2:8 (give it another name)",
    );
    assert_said_of_files(
        "",
        &[("10.toml", "[reviewers]\nsecurity = [\"bob\"]\n")],
        "policy.d/10.toml:2:1: a group named \"security\" is there already, in policy.toml:4:1 (give it another name)",
    );
    for (key, one) in [("labels", "label"), ("lists", "list")] {
        let text = format!("[{key}]\nkeys = [\"/k\"]\n");
        assert_said_of_files(
            &text,
            &[("10.toml", ""), ("20.toml", &text)],
            &format!(
                "policy.d/20.toml:2:1: a {one} named \"keys\" is there already, in policy.toml:6:1 (give it another name)"
            ),
        );
    }
}

#[test]
fn what_is_wrong_with_a_part_is_said_with_its_name() {
    for (part, said) in [
        ("mode = \"observe\"\n", "1:1: mode is for the main file only (write it there: it is for the whole policy)"),
        (
            "host = [\"web 1\"]\n",
            "1:9: \"web 1\" is no host (write its name, with *, ? and {a,b}: \"web-*\"; \"not web-3\" for the others)",
        ),
        ("host = \"web-1\"\n", "1:8: host is not a list but text (write [\"...\"], also for one)"),
        ("host = []\n", "1:8: host is an empty list (fill it or remove it)"),
        ("[[rule]\n", "1:8: unclosed array table, expected `]` (write it as TOML, see https://toml.io)"),
        (
            "[limits]\nx = 1\n",
            "1:2: a policy has no key \"limits\" (one of: mode, host, lists, subject, reviewers, reviewer, labels, dns, mask, rule)",
        ),
        (
            "labels = 5\n",
            "1:1: labels is there already, and is something else, in policy.toml:5:2 (write it as it is there)",
        ),
        (
            "[[rule]]\nname = \"r\"\nexec = { path = [\"curl\"] }\nthen = \"deny\"\n",
            "3:18: \"curl\" is not an absolute path (begin it with / or **/)",
        ),
    ] {
        let main = "[labels]\nkeys = [\"/k\"]\n";
        assert_said_of_files(main, &[("10.toml", part)], &format!("policy.d/10.toml:{said}"));
    }
    let source = Source::one("policy.toml", format!("host = [\"web-*\"]\n{HEAD}"));
    assert_eq!(
        read(source).expect_err("refused").to_string(),
        "policy.toml:1:1: the main file is for every host (move what is for some to a file of its own beside it)"
    );
}

#[test]
fn a_rule_of_a_part_that_the_main_file_takes_all_of_is_refused() {
    let files = of_files(&rule("a", CURL), &[("10.toml", &rule("b", CURL))]);
    let refusal = read(files).expect_err("refused");
    assert_eq!(
        refusal.to_string(),
        "policy.d/10.toml:2:8: rule \"b\" can never match: rule \"a\" takes all of it, in policy.toml:6:8 \
         (the first rule that matches wins: put the narrower rule first, or remove it)"
    );
    let shown = refusal.rendered(false);
    assert!(shown.contains("2 | name = \"b\"\n") && shown.contains("::: policy.toml:6:8\n"), "{shown}");
    assert!(shown.contains("6 | name = \"a\"\n") && shown.contains("this one"), "{shown}");
}

/// A directory of its own with `policy.toml`, which is [`HEAD`], and an empty `policy.d`; removed at the end.
struct Desk(PathBuf);

impl Desk {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("holdpoint-parts-{name}-{}", std::process::id()));
        fs::create_dir_all(directory.join("policy.d")).expect("a directory");
        let desk = Self(directory);
        desk.put("policy.toml", HEAD);
        desk
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), text).expect("a file");
    }

    fn load(&self) -> Result<Policy, LoadError> {
        load::load(&self.0.join("policy.toml"), &Host::named("web-1"))
    }

    /// What is said of the policy, without this directory.
    fn said(&self, said: &LoadError) -> String {
        said.to_string().replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn parts_are_read_in_the_order_of_their_names() {
    let desk = Desk::new("order");
    desk.put("policy.d/20.toml", rule("later", WGET));
    desk.put("policy.d/10.toml", rule("earlier", CURL));
    for none in ["10.toml~", ".hidden.toml", "10.test.toml", "README"] {
        desk.put(&format!("policy.d/{none}"), "neither TOML nor read");
    }
    assert_eq!(names(&desk.load().expect("good")), ["earlier", "later"]);
}

#[test]
fn what_is_no_readable_file_is_no_part() {
    let desk = Desk::new("unreadable");
    let said = || desk.said(&desk.load().expect_err("not good"));
    let part = desk.0.join("policy.d/10.toml");
    let irregular = "cannot read the policy policy.d/10.toml: a part of a policy is a regular file: put what is meant \
                     there, or remove it";
    symlink(desk.0.join("policy.toml"), &part).expect("a link");
    assert_eq!(said(), irregular);
    fs::remove_file(&part).expect("the link");
    fs::create_dir(&part).expect("a directory");
    assert_eq!(said(), irregular);
    fs::remove_dir(&part).expect("the directory");
    desk.put("policy.d/10.toml", b"[[rule]]\nname = \"\xff\"\n");
    assert_eq!(said(), "policy.d/10.toml:2:9: the file is not UTF-8 from here on (save it as UTF-8)");
    desk.put("policy.d/10.toml", "");
    desk.put("policy.d/20.toml", vec![b'#'; (4 << 20) - HEAD.len()]);
    assert!(said().starts_with("policy.d/20.toml:1:1: with this file the policy is larger than 4 MiB ("), "{}", said());
    fs::remove_dir_all(desk.0.join("policy.d")).expect("the directory");
    desk.put("policy.d", "");
    assert!(said().starts_with("cannot read the policy policy.d: "), "{}", said());
}

#[test]
fn check_judges_the_whole_for_every_host_that_it_tells_apart() {
    let desk = Desk::new("hosts");
    let judge = |file: &str, host: Option<&str>| {
        let file = load::main_file(&desk.0.join(file));
        check::judge(&file, host.map(Host::named).as_ref(), &OneFileSystem)
    };
    let bad = "host = [\"zz-web-*\"]\n[[rule]]\nname = \"r\"\nopen = { label = [\"keys\"] }\nthen = \"deny\"\n";
    desk.put("policy.d/10.toml", bad);
    let said = |file| judge(file, None).map_err(|error| desk.said(&error)).err().expect("refused");
    let expected = "policy.d/10.toml:4:19: no label is named \"keys\", on a host named \"zz-web-1\" (none is defined)";
    assert_eq!(said("policy.toml"), expected);
    assert_eq!(said("policy.d/10.toml"), expected, "a part is judged with its whole");
    assert!(judge("policy.toml", Some("zz-db")).is_ok(), "the other hosts");
    desk.put("policy.d/05.toml", "host = [\"zz-web-*\"]\n[labels]\nkeys = [\"$all\"]\n");
    desk.put("policy.d/01.toml", "[lists]\nall = [\"/k/**\"]\n");
    let good = judge("policy.toml", None).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(good.idle, [], "one host uses the list");
    desk.put("policy.d/02.toml", "host = [\"zz-web-7\"]\n[lists]\nall = [\"/k\"]\n");
    let expected = "policy.d/02.toml:3:1: a list named \"all\" is there already, on a host named \"zz-web-7\", in \
                    policy.d/01.toml:2:1 (give it another name)";
    assert_eq!(said("policy.toml").replace(&format!("{}/", desk.0.display()), ""), expected);
}
