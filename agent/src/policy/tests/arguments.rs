//! What a rule asks of the arguments of an exec.

use std::iter;

use super::{refusals::assert_said_of_rule, *};

/// Index of the rule that subject 0 meets when it executes `/bin/git` with these arguments.
fn given(tables: &Tables, arguments: &[&str]) -> Option<u32> {
    let all = iter::once("git").chain(arguments.iter().copied());
    under(tables, all.flat_map(|text| text.bytes().chain([0])).collect())
}

/// Likewise, with these bytes for its name and arguments.
fn under(tables: &Tables, arguments: Vec<u8>) -> Option<u32> {
    let asker = Asker { revision: REVISION, subject: 0 };
    let circumstances = Circumstances { arguments, user: 5, ..Circumstances::default() };
    some(Evaluation::new(tables, circumstances).path_rule(asker, 1, &Walk::new("/bin/git"), EXEC))
}

/// A rule on executing `/bin/git` with `args`.
fn asking(name: &str, args: &str) -> String {
    rule(name, &format!("exec = {{ path = [\"/bin/git\"], args = [{args}] }}"))
}

#[test]
fn a_rule_asks_for_an_argument_wherever_it_stands() {
    let tables = tables(&asking("0", "\"push\""));
    for arguments in [&["push"][..], &["-C", "/srv", "push", "--force"], &["", "push"], &["push", "push"]] {
        assert_eq!(given(&tables, arguments), Some(0), "{arguments:?}");
    }
    for arguments in [&[][..], &["pull"], &["pushed"], &["pus"], &["", ""], &["push "]] {
        assert_eq!(given(&tables, arguments), None, "{arguments:?}");
    }
    assert_eq!(under(&tables, b"push\0status\0".to_vec()), None, "the name that the program is given is no argument");
}

#[test]
fn each_of_several_patterns_matches_some_argument_in_any_order() {
    let rules = [asking("0", "\"s3\", \"cp\", \"--*\""), asking("1", "\"s3\", \"rm\""), asking("2", "\"--*\", \"cp\"")];
    let tables = tables(&rules.concat());
    assert_eq!(given(&tables, &["s3", "cp", "--recursive"]), Some(0));
    assert_eq!(given(&tables, &["--recursive", "cp", "a", "s3"]), Some(0));
    assert_eq!(given(&tables, &["s3", "cp"]), None);
    assert_eq!(given(&tables, &["rm", "s3", "cp"]), Some(1));
    assert_eq!(given(&tables, &["cp", "--"]), Some(2));
    assert_eq!(given(&tables, &["--cp"]), None);
}

#[test]
fn one_argument_can_match_several_patterns() {
    let tables = tables(&asking("0", "\"a*\", \"*b\", \"{ab,x}\""));
    assert_eq!(given(&tables, &["ab"]), Some(0));
    assert_eq!(given(&tables, &["x", "ax", "xb"]), Some(0));
    assert_eq!(given(&tables, &["x", "ax"]), None);
}

#[test]
fn wildcards_and_choices_mean_what_they_say() {
    let long = format!("--file={}", "x".repeat(300));
    for (pattern, matching, other) in [
        ("{push,fetch}", &["push", "fetch"][..], &["{push,fetch}", "pull"][..]),
        ("--force*", &["--force", "--force-with-lease"], &["-force", "a--force"]),
        ("*/etc/*", &["/etc/passwd", "x/etc/"], &["/etc"]),
        ("{--f*,-f}", &["-f", "--f", long.as_str()], &["-ff"]),
        ("a?c", &["abc", "aéc"], &["ac", "abbc"]),
        ("\\\\*", &["*"], &["a", ""]),
        ("*", &["", "a", long.as_str()], &[]),
        ("{,a}", &["", "a"], &["b"]),
        ("{a/b,c}", &["a/b", "c"], &["a"]),
    ] {
        let tables = tables(&asking("0", &format!("\"{pattern}\"")));
        for text in matching {
            assert_eq!(given(&tables, &[text]), Some(0), "{pattern} {text}");
        }
        for text in other {
            assert_eq!(given(&tables, &[text]), None, "{pattern} {text}");
        }
    }
}

#[test]
fn a_wildcard_of_names_does_not_match_arguments_nor_the_other_way_round() {
    let rules = [rule("0", "exec = { path = [\"/bin/g*\"], args = [\"x*\"] }"), asking("1", "\"*y\"")];
    let tables = tables(&rules.concat());
    assert_eq!(given(&tables, &["g"]), None);
    assert_eq!(given(&tables, &["x"]), Some(0));
    assert_eq!(given(&tables, &["y"]), Some(1));
    assert_eq!(given(&tables, &["xy"]), Some(0));
}

#[test]
fn the_order_of_the_file_counts_with_and_without_arguments() {
    let rules = [
        asking("0", "\"a\""),
        rule("1", "exec = { path = [\"/**\"], args = [\"b\"] }"),
        rule("2", "exec = { path = [\"**/git\"] }\nuser = [\"6\"]"),
        rule("3", "exec = { path = [\"**/git\"], args = [\"c\"] }\nuser = [\"5\"]"),
        rule("4", "exec = { path = [\"/bin/**\"], args = [\"d\"] }\nuser = [\"6\"]"),
        rule("5", "exec = { path = [\"/bin/**\"] }"),
        asking("6", "\"e\"").replace("/bin/git\"", "/bin/git\", \"/usr/bin/git\""),
    ];
    let tables = tables(&rules.concat());
    let met = |arguments: &[&str]| given(&tables, arguments);
    assert_eq!([met(&["c", "b", "a"]), met(&["c", "b"]), met(&["c"])], [Some(0), Some(1), Some(3)]);
    assert_eq!([met(&["d"]), met(&["e"]), met(&[])], [Some(5); 3]);
}

#[test]
fn what_cannot_be_read_meets_each_rule_that_does_not_let_pass() {
    let passing = asking("0", "\"a\"").replace("deny", "allow");
    let tables = tables(&[passing, asking("1", "\"b\""), rule("2", "exec = { path = [\"/**\"] }")].concat());
    let long = |length: usize| [&b"git\0"[..], &vec![b'x'; length], b"\0a\0"].concat();
    assert_eq!(given(&tables, &["a"]), Some(0));
    assert_eq!(given(&tables, &["x"]), Some(2));
    assert_eq!(under(&tables, b"git\0a\0b".to_vec()), Some(1), "the end is missing");
    assert_eq!(under(&tables, Vec::new()), Some(1), "a mapping, say");
    let space = matcher::ARGUMENT_SPACE as usize;
    assert_eq!(under(&tables, long(space - 7)), Some(0));
    assert_eq!(under(&tables, long(space - 6)), Some(1));
}

#[test]
fn rules_that_also_ask_who_asks_are_taken_to_hold_where_nothing_can_be_read() {
    let asks = |n: usize| asking(&n.to_string(), &format!("\"{n}\"")) + "user = [\"6\"]\n";
    let tables = tables(&(0..40).map(asks).collect::<String>());
    assert_eq!(given(&tables, &["3"]), None);
    assert_eq!(under(&tables, Vec::new()), Some(16), "one too many for a chain");
}

#[test]
fn a_thousand_rules_on_one_program_need_a_row_each() {
    let rules: String = (0..1000).map(|n| asking(&n.to_string(), &format!("\"word{n}\""))).collect();
    let tables = tables(&rules);
    assert_eq!((tables.words.len(), tables.links.len()), (1000, 1));
    assert_eq!(given(&tables, &["x", "word999", "word512"]), Some(512));
    assert_eq!(given(&tables, &["word1000"]), None);
}

#[test]
fn a_rule_with_arguments_leaves_the_rest_to_the_next() {
    let rules = [asking("0", "\"a\""), asking("1", "\"b\""), rule("2", "exec = { path = [\"/bin/git\"] }")];
    policy(&format!("{HEAD}{}", rules.concat()));
}

#[test]
fn too_many_patterns_and_too_long_ones_are_refused() {
    let with = |args: &str| format!("exec = {{ path = [\"/bin/git\"], args = [{args}] }}\nthen = \"deny\"");
    let nine: Vec<_> = (0..9).map(|n| format!("\"{n}\"")).collect();
    assert_said_of_rule(
        &with(&nine.join(", ")),
        "web-1.toml:7:31: args has 9 patterns (at most 8, each of which must match: {a,b} and * match one of several)",
    );
    let long = "x".repeat(64);
    assert_said_of_rule(
        &with(&format!("\"{long}\"")),
        &format!("web-1.toml:7:39: {long:?} has 64 bytes (at most 63: write * for a part of it)"),
    );
    assert_said_of_rule(&with("\"a\", \"a\""), "web-1.toml:7:44: args has this twice (remove one)");
    assert_said_of_rule(&with(""), "web-1.toml:7:38: args is an empty list (fill it or remove it)");
    assert_said_of_rule(
        "open = { path = [\"/f\"], args = [\"a\"] }\nthen = \"deny\"",
        "web-1.toml:7:25: open has no key \"args\" (one of: path, label, access, owner, mode)",
    );
}

/// What is said of these rules when they are compiled.
fn said(rules: &str) -> String {
    let policy = policy(&format!("{HEAD}{rules}"));
    let problems = compile(&policy, REVISION, &OneFileSystem, None).expect_err("too many");
    policy.refused(problems).to_string()
}

#[test]
fn more_than_a_table_has_bits_for_is_refused() {
    let further = |count: usize| -> String {
        (0..count).map(|n| asking(&n.to_string(), &format!("\"f{n}\", \"x{n}\""))).collect()
    };
    let tables = tables(&further(64));
    assert_eq!(given(&tables, &["x63", "f63"]), Some(63));
    assert_eq!(given(&tables, &["x62", "f63"]), None);
    assert_eq!(
        said(&further(65)),
        "web-1.toml:262:8: rule \"64\" asks for one argument too many beside its first \
         (at most 64 different ones for the same program: use {a,b} or *)"
    );
}

#[test]
fn more_rules_with_the_same_first_argument_than_a_choice_can_have_are_refused() {
    let same = |count: usize| -> String {
        (0..count).map(|n| asking(&n.to_string(), &format!("\"push\", \"x{n}\""))).collect()
    };
    let tables = tables(&same(16));
    assert_eq!(given(&tables, &["x15", "push"]), Some(15));
    let said = said(&same(17));
    assert!(said.starts_with("web-1.toml:70:8: \"16\" is one too many that may or may not apply"), "{said}");
}
