//! Wildcards: in one name, over several, anywhere.

use super::*;

fn rules(patterns: &[&str]) -> Tables {
    let rules: Vec<_> = (0..)
        .zip(patterns)
        .map(|(index, pattern): (u32, _)| rule(&index.to_string(), &format!("open = {{ path = [\"{pattern}\"] }}")))
        .collect();
    tables(&rules.concat())
}

/// The pattern accepts these paths and not those.
fn assert_meets(pattern: &str, accepted: &[&str], others: &[&str]) {
    let tables = rules(&[pattern]);
    for path in accepted {
        assert_eq!(at(&tables, path, READ), Some(0), "{pattern} {path}");
    }
    for path in others {
        assert_eq!(at(&tables, path, READ), None, "{pattern} {path}");
    }
}

#[test]
fn a_star_stands_for_any_characters_of_a_name() {
    assert_meets(
        "/home/*/.ssh",
        &["/home/a/.ssh", "/home/.a/.ssh"],
        &["/home/.ssh", "/home/a/b/.ssh", "/home/a", "/home/a/.ssh/x"],
    );
    assert_meets("/k/id_*", &["/k/id_", "/k/id_rsa", "/k/id_a_b"], &["/k/id", "/k/xid_a", "/k/id_a/b"]);
    assert_meets("/k/*.p*m", &["/k/.pm", "/k/a.pem", "/k/a.p.pm.m"], &["/k/a.pemx", "/k/apem"]);
    assert_meets("/k/*", &["/k/a", "/k/.a"], &["/k", "/k/a/b"]);
    assert_meets(
        &format!("/k/{}*", "n".repeat(100)),
        &[&format!("/k/{}", "n".repeat(100)), &format!("/k/{}", "n".repeat(255))],
        &[&format!("/k/{}", "n".repeat(99))],
    );
}

#[test]
fn a_question_mark_stands_for_one_character() {
    assert_meets("/k/a?c", &["/k/abc", "/k/aéc", "/k/a€c", "/k/a\u{1f600}c"], &["/k/ac", "/k/abbc", "/k/aéec"]);
}

#[test]
fn braces_stand_for_one_of_several_texts() {
    assert_meets("/k/{a,b}{1,}.c", &["/k/a1.c", "/k/b.c", "/k/a.c"], &["/k/c1.c", "/k/ab.c", "/k/{a,b}.c"]);
}

#[test]
fn a_backslash_makes_a_sign_mean_itself() {
    assert_meets(r"/k/\\*\\{x", &["/k/*{x"], &["/k/a{x"]);
}

#[test]
fn two_stars_stand_for_any_number_of_names() {
    assert_meets("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z", "/a/z/z"], &["/z", "/a", "/a/z/y", "/b/a/z"]);
    assert_meets("/a/**/m/**/z", &["/a/m/z", "/a/x/m/y/z", "/a/m/m/z"], &["/a/z", "/a/z/m"]);
    assert_meets("/a/*/b/**", &["/a/x/b", "/a/x/b/c/d"], &["/a/b", "/a/x", "/a/x/y/b"]);
}

#[test]
fn a_pattern_of_several_names_may_begin_anywhere() {
    assert_meets(
        "**/.ssh/id_*",
        &["/.ssh/id_a", "/home/x/.ssh/id_b", "/.ssh/.ssh/id_c"],
        &["/ssh/id_a", "/.ssh/x/id_a", "/.ssh/id"],
    );
    assert_meets("**/.git/hooks/**", &["/.git/hooks", "/x/.git/hooks/a/b", "/.git/.git/hooks"], &["/.git", "/hooks/x"]);
    assert_meets("/**/*.pem", &["/a.pem", "/x/y/a.pem"], &["/a.pem/x"]);
    assert_meets("**/id_?", &["/id_a", "/x/id_b"], &["/id_", "/id_ab"]);
}

#[test]
fn the_first_rule_wins_among_names_and_wildcards() {
    let tables = rules(&["/k/a*a", "/k/a*", "/k/*b", "/k/**", "**/b*"]);
    let met = |path| at(&tables, path, READ);
    assert_eq!(["/k/aa", "/k/aba", "/k/ab"].map(met), [Some(0), Some(0), Some(1)]);
    assert_eq!(["/k/cb", "/k/c", "/b", "/a"].map(met), [Some(2), Some(3), Some(4), None]);
}

#[test]
fn what_wildcards_protect_is_not_moved_away() {
    let tables = rules(&["/home/*/.ssh/**", "**/.git/hooks/x"]);
    for path in ["/", "/home", "/home/a", "/home/a/.ssh", "/srv/.git", "/srv/.git/hooks"] {
        assert!(moved(&tables, 1, path, Class::OPENING).is_some(), "{path}");
    }
    for path in ["/srv", "/home/a/x", "/home/a/.sshx", "/srv/.git/x"] {
        assert_eq!(moved(&tables, 1, path, Class::OPENING), None, "{path}");
    }
}

#[test]
fn names_and_wildcards_of_one_directory_cost_no_more_states_than_they_need() {
    let names: Vec<_> = (0..200).map(|n| format!("/d/n{n}")).collect();
    let mut patterns: Vec<_> = names.iter().map(String::as_str).collect();
    patterns.extend(["/d/*1*", "/d/*2*", "/d/*3*"]);
    let tables = rules(&patterns);
    assert!(tables.edges.len() < 220, "{}", tables.edges.len());
    assert!(tables.alphabet.states.len() < 16, "{}", tables.alphabet.states.len());
    assert_eq!(at(&tables, "/d/x3", READ), Some(202));
}

#[test]
fn wildcards_that_tell_too_much_apart_are_refused() {
    let patterns: Vec<_> = (0..12).map(|n| format!("\"/d/*{0}?????{0}*\"", char::from(b'a' + n))).collect();
    let policy = policy(&format!("{HEAD}{}", rule("r", &format!("open = {{ path = [{}] }}", patterns.join(", ")))));
    let problems = compile(&policy, REVISION, &OneFileSystem, None).expect_err("too entangled");
    let said = policy.refused(problems).to_string();
    assert!(
        said.starts_with("web-1.toml:6:8: the wildcards of the policy, taken together, need more than 2048 states"),
        "{said}"
    );
}

#[test]
fn what_could_match_in_very_many_ways_is_judged_at_once() {
    let accepts =
        |pattern: &str, path: &str| crate::policy::Pattern::parse(pattern).unwrap()[0].accepts(Path::new(path));
    let signs = format!("/{}b", "a*".repeat(100));
    assert!(accepts(&signs, &format!("/{}b", "a".repeat(200))) && !accepts(&signs, &format!("/{}", "a".repeat(200))));
    let names = format!("/{}b", "**/a/".repeat(30));
    assert!(accepts(&names, &format!("{}/b", "/a".repeat(60))) && !accepts(&names, &"/a".repeat(60)));
}

#[test]
fn directories_of_which_all_is_meant_cost_a_state_each_and_not_one_for_each_set_of_them() {
    let patterns = |rule: usize| (0..20).map(move |n| format!("\"**/r{rule}n{n}/**\"")).collect::<Vec<_>>().join(", ");
    let rules: String =
        (0..20).map(|n| rule(&n.to_string(), &format!("open = {{ path = [{}] }}", patterns(n)))).collect();
    let tables = tables(&rules);
    assert!(tables.edges.len() < 20 * 20 * 20, "{}", tables.edges.len());
    let met = |path| at(&tables, path, READ);
    assert_eq!(["/r7n3/x", "/r7n3/r5n0/x", "/r5n0/a/r7n3/x", "/r7/x"].map(met), [Some(7), Some(5), Some(5), None]);
}

#[test]
fn a_rule_that_takes_only_some_of_what_is_below_leaves_the_rest_to_later_ones() {
    let rules = [
        rule("0", "open = { path = [\"**/a/**\"], access = [\"write\"] }"),
        rule("1", "open = { path = [\"**/b/**\"] }\nuser = [\"7\"]"),
        rule("2", "open = { path = [\"**/c/**\"], access = [\"read\"] }").replace("deny", "allow"),
        rule("3", "open = { path = [\"**/d/**\"] }"),
        rule("4", "open = { path = [\"**/e/f\"] }"),
    ];
    let tables = tables(&rules.concat());
    let met = |path, access| at(&tables, path, access);
    assert_eq!((met("/a/d/x", WRITE), met("/a/d/x", READ), met("/d/a/x", READ | WRITE)), (Some(0), Some(3), Some(0)));
    assert_eq!((met("/b/d/x", READ), met("/d/b/x", READ)), (Some(3), Some(3)));
    assert_eq!((met("/c/d/x", READ), met("/c/d/x", READ | WRITE), met("/d/c/x", WRITE)), (Some(2), Some(3), Some(3)));
    assert_eq!((met("/c/e/f", READ), met("/c/e/f", WRITE), met("/d/e/f", READ)), (Some(2), Some(4), Some(3)));
}
