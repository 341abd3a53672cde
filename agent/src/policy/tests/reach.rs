//! Rules that can never match, and policies that the kernel's tables cannot hold, are refused.

use super::{
    refusals::{assert_said, assert_said_of_rule},
    *,
};

#[test]
fn a_rule_that_can_never_match_is_refused() {
    let remedy = "the first rule that matches wins: put the narrower rule first, or remove it";
    for (first, second) in [
        ("open = { path = [\"/srv/**\"] }", "open = { path = [\"/srv/**\"], access = [\"read\"] }"),
        ("open = { path = [\"/srv/**\"] }", "open = { path = [\"/srv/a\", \"/srv/b/**\", \"/srv\"] }"),
        ("open = { path = [\"/**\"] }", "open = { path = [\"**/.env\"] }"),
        ("exec = { path = [\"**/curl\"] }", "exec = { path = [\"**/curl\"] }"),
        (
            "connect = { to = [\"10.0.0.0/8\"], port = [\"0-99\"] }",
            "connect = { to = [\"10.1.0.0/16\", \"::ffff:10.2.3.4\"], port = [80] }",
        ),
        ("connect = {}", "connect = { to = [\"any\"] }"),
        // Who writes anywhere asks for appending, too.
        (
            "open = { path = [\"/srv/**\"], access = [\"append\"] }",
            "open = { path = [\"/srv/**\"], access = [\"write\", \"truncate\"] }",
        ),
    ] {
        let said = format!(
            "web-1.toml:10:8: rule \"second\" can never match: rule \"first\" in line 6 takes all of it ({remedy})"
        );
        assert_said(&format!("{}{}", rule("first", first), rule("second", second)), &said);
    }
}

#[test]
fn a_rule_that_lets_pass_what_nobody_asks_for_alone_is_refused() {
    assert_said_of_rule(
        "open = { path = [\"/srv/**\"], access = [\"truncate\"] }\nthen = \"allow\"",
        "web-1.toml:6:8: rule \"r\" can never match: whoever asks for that asks for more \
         (who truncates writes, too: add \"write\" to access)",
    );
}

#[test]
fn a_rule_that_several_make_idle_names_them_all() {
    let rules = [
        rule("a", "open = { path = [\"/a/**\"] }"),
        rule("b", "open = { path = [\"/b/**\"] }"),
        rule("c", "open = { path = [\"/b/x\", \"/a/x\"] }"),
    ];
    assert_said(
        &rules.concat(),
        "web-1.toml:14:8: rule \"c\" can never match: rule \"a\" in line 6 and rule \"b\" in line 10 takes all of it \
         (the first rule that matches wins: put the narrower rule first, or remove it)",
    );
}

#[test]
fn a_rule_that_can_still_match_something_stays() {
    for (first, second) in [
        ("open = { path = [\"/srv/a/**\"] }", "open = { path = [\"/srv/**\"] }"),
        ("open = { path = [\"/srv/**\"], access = [\"read\"] }", "open = { path = [\"/srv/**\"] }"),
        ("open = { path = [\"/srv/**\"] }", "exec = { path = [\"/srv/**\"] }"),
        ("open = { path = [\"/srv/**\"] }", "open = { path = [\"/srvx\", \"/srv/a\"] }"),
        ("connect = { port = [80] }", "connect = { port = [\"80-81\"] }"),
        ("connect = { to = [\"10.0.0.0/8\"] }", "connect = {}"),
    ] {
        policy(&format!("{HEAD}{}{}", rule("first", first), rule("second", second)));
    }
    // What may be appended to is not thereby written, which asks for appending, too.
    let [allowed, rest] = ["allow", "deny"].map(|then| {
        format!(
            "[[rule]]\nname = \"{then}\"\nopen = {{ path = [\"/srv/**\"], access = [\"append\"] }}\nthen = \"{then}\"\n"
        )
    });
    policy(&format!("{HEAD}{allowed}{rest}"));
}

#[test]
fn a_rule_for_another_subject_makes_nothing_idle() {
    let second = "[[subject]]\nname = \"other\"\n";
    let narrow = rule("first", "subject = [\"agent\"]\nexec = { path = [\"/**\"] }");
    policy(&format!("{HEAD}{second}{narrow}{}", rule("second", "subject = [\"other\"]\nexec = { path = [\"/**\"] }")));
    policy(&format!("{HEAD}{second}{narrow}{}", rule("second", "exec = { path = [\"/**\"] }")));
}

#[test]
fn ports_cut_into_too_many_intervals_are_refused() {
    let ports: Vec<_> = (0..16).map(|port| (2 * port + 1).to_string()).collect();
    let line = format!("connect = {{ to = [\"10.0.0.0/8\"], port = [{}] }}\nthen = \"deny\"", ports.join(", "));
    assert_said_of_rule(
        &line,
        "web-1.toml:6:8: the rules on 10.0.0.0/8 cut its ports into 33 intervals, most by rule \"r\" (at most 32: write wider ranges of ports)",
    );
}

#[test]
fn too_much_for_the_kernels_tables_is_refused() {
    let names: Vec<_> = (0..5000).map(|n| format!("\"**/n{n}\"")).collect();
    let line = format!("exec = {{ path = [{}] }}\nthen = \"deny\"", names.join(", "));
    let remedy = "write wider patterns, and rules for those subjects only that need them";
    assert_said_of_rule(&line, &format!("web-1.toml:1:1: the policy needs more than 4096 file names ({remedy})"));
    let rules: String =
        (0..16_385).map(|n| rule(&format!("r{n}"), &format!("exec = {{ path = [\"/{n}\"] }}"))).collect();
    assert_said(&rules, &format!("web-1.toml:65542:8: the policy needs more than 16384 rules ({remedy})"));
}
