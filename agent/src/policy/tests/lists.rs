//! Lists by name stand for their elements, wherever they are used; what is wrong with these is said where they stand.

use super::{
    refusals::{assert_said, said_of},
    *,
};

/// `[lists]` with these lines, the first of which is line 6, and one rule, whose operation comes 3 lines after the last.
fn with_lists(lists: &str, operation: &str) -> String {
    format!("[lists]\n{lists}{}", rule("r", operation))
}

#[test]
fn a_list_stands_for_its_elements() {
    for (lists, used, spelled) in [
        (
            "internal = [\"10.0.0.0/8\", \"fd00::/8\"]\n",
            "connect = { to = [\"$internal\", \"192.168.0.1\"] }",
            "connect = { to = [\"10.0.0.0/8\", \"fd00::/8\", \"192.168.0.1\"] }",
        ),
        (
            "web = [80, \"443-444\"]\nhosts = [\"::1\"]\n",
            "connect = { to = [\"$hosts\"], port = [\"$web\", 22] }",
            "connect = { to = [\"::1\"], port = [80, \"443-444\", 22] }",
        ),
        (
            "keys = [\"**/id_rsa\", \"/etc/{a,b}\"]\nways = [\"read\", \"write\"]\n",
            "open = { path = [\"$keys\"], access = [\"$ways\"] }",
            "open = { path = [\"**/id_rsa\", \"/etc/{a,b}\"], access = [\"read\", \"write\"] }",
        ),
    ] {
        let [used, spelled] =
            [with_lists(lists, used), rule("r", spelled)].map(|text| policy(&format!("{HEAD}{text}")));
        let matched = |policy: &Policy| format!("{:?} {:?}", policy.rules[0].when, policy.rules[0].only);
        assert_eq!(matched(&used), matched(&spelled));
        assert_eq!(used.idle, []);
    }
}

#[test]
fn lists_are_for_every_table() {
    let policy = policy(
        "[lists]\npeople = [\"alice\", \"bob\"]\nkeys = [\"/etc/keys/**\"]\nagents = [\"/usr/bin/a\"]\n\
         [[subject]]\nname = \"agent\"\nexe = [\"$agents\"]\n[reviewers]\nsecurity = [\"$people\"]\n[labels]\n\
         keys = { path = [\"$keys\"] }\nsame = [\"$keys\"]\n",
    );
    assert_eq!(policy.subjects[0].exe, [Path::new("/usr/bin/a")]);
    assert_eq!(policy.groups["security"], ["alice", "bob"]);
    assert_eq!(policy.labels[0].patterns, policy.labels[1].patterns);
}

#[test]
fn a_list_that_nothing_uses_is_known() {
    let policy = policy(&format!("{HEAD}[lists]\nforgotten = [\"/a\"]\n"));
    let said = policy.refused(policy.idle.clone()).to_string();
    let expected =
        "web-1.toml:6:1: nothing uses the list \"forgotten\" (write \"$forgotten\" where it is meant, or remove it)";
    assert_eq!(said, expected);
}

#[test]
fn an_unknown_list_is_refused() {
    assert_said(
        &with_lists("internal = [\"10.0.0.0/8\"]\n", "connect = { to = [\"$intern\"] }"),
        "web-1.toml:9:19: no list is named \"intern\" (define it, or one of: internal)",
    );
    assert_said(&rule("r", "open = { path = [\"$a\"] }"), "web-1.toml:7:18: no list is named \"a\" (none is defined)");
}

#[test]
fn a_bad_element_is_shown_in_its_list_with_its_first_use() {
    let twice = format!(
        "{}{}",
        with_lists("people = [\"alice\"]\n", "open = { path = [\"$people\"] }"),
        rule("s", "exec = { path = [\"$people\"] }")
    );
    assert_said(
        &twice,
        "web-1.toml:6:11: \"alice\" is not an absolute path, used in web-1.toml:9:18 (begin it with / or **/)",
    );
    let refusal = read(source(&format!("{HEAD}{twice}"))).expect_err("refused").rendered(false);
    assert!(refusal.contains("6 | people = [\"alice\"]\n") && refusal.contains("used here"), "{refusal}");
}

#[test]
fn what_a_list_brings_a_second_time_is_refused() {
    assert_said(
        &with_lists("internal = [\"10.0.0.0/8\"]\n", "connect = { to = [\"10.0.0.0/8\", \"$internal\"] }"),
        "web-1.toml:6:13: to has this twice, used in web-1.toml:9:33 (remove one)",
    );
}

#[test]
fn bad_lists_are_refused() {
    for (lists, said) in [
        ("a = []", "web-1.toml:6:5: a is an empty list (fill it or remove it)"),
        ("a = \"/x\"", "web-1.toml:6:5: a is not a list but text (write [\"...\"], also for one)"),
        ("a = [true]", "web-1.toml:6:6: a is not text but a boolean (write \"...\")"),
        ("a = [\"\"]", "web-1.toml:6:6: a is empty (write something or remove it)"),
        ("\"a b\" = [\"/x\"]", "web-1.toml:6:1: \"a b\" is not a name (letters, digits, - _ and . only, at most 64)"),
        (
            "a = [\"/x\"]\nb = [\"$a\"]",
            "web-1.toml:7:6: a list holds no other list (write its elements, or name both where they are used)",
        ),
    ] {
        assert_said(&format!("[lists]\n{lists}\n"), said);
    }
    assert_eq!(
        said_of(&format!("lists = 5\n{HEAD}")),
        "web-1.toml:1:9: lists is not a table but an integer (write { key = value, ... })"
    );
}
