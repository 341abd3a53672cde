//! A policy is refused whole, with line, column and remedy for everything that is wrong with it.

use super::*;

/// What is said of `text`, a line for each problem.
pub fn said_of(text: &str) -> String {
    match read(source(text)) {
        Err(refusal) => refusal.to_string(),
        Ok(policy) => match compile(&policy, REVISION, &OneFileSystem, None) {
            Err(problems) => policy.refused(problems).to_string(),
            Ok(_) => panic!("not refused:\n{text}"),
        },
    }
}

/// Asserts what is said of [`HEAD`] and `text`, which begins in line 5.
#[track_caller]
pub fn assert_said(text: &str, said: &str) {
    assert_eq!(said_of(&format!("{HEAD}{text}")), said);
}

/// Asserts what is said of a rule with these lines, the first of which is line 7.
#[track_caller]
pub fn assert_said_of_rule(lines: &str, said: &str) {
    assert_said(&format!("[[rule]]\nname = \"r\"\n{lines}\n"), said);
}

const EXEC_CURL: &str = "exec = { path = [\"/usr/bin/curl\"] }";

#[test]
fn an_unknown_verdict_is_refused() {
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nthen = \"ask\""),
        "web-1.toml:8:8: unknown verdict \"ask\" (one of: allow, audit, hold, deny, kill)",
    );
}

#[test]
fn people_see_the_line_and_the_place() {
    let refusal =
        read(source(&format!("{HEAD}[[rule]]\nname = \"r\"\n{EXEC_CURL}\nthen = \"ask\"\n"))).expect_err("refused");
    let shown = "web-1.toml:8:8: unknown verdict \"ask\"\n  |\n8 | then = \"ask\"\n  |        ^^^^^\n  |\n  = help: one of: allow, audit, hold, deny, kill";
    assert_eq!(refusal.rendered(false), shown);
}

#[test]
fn machines_get_the_same() {
    let refusal = read(source("[[subject]]\nname = \"a b\"\n")).expect_err("refused");
    let json = serde_json::to_value(refusal.diagnostics()).expect("plain data");
    let expected = serde_json::json!([{
        "severity": "error", "file": "web-1.toml", "line": 2, "column": 8, "message": "\"a b\" is not a name",
        "remedy": "letters, digits, - _ and . only, at most 64",
    }]);
    assert_eq!(json, expected);
}

#[test]
fn all_problems_are_said_in_the_order_of_the_file() {
    assert_said(
        "[[rule]]\nname = \"r\"\nopen = { path = [\"etc\", \"/a[b]\"], acces = [\"read\"] }\nthen = \"hold\"\nreviewers = \"nobody\"\ntimeout = \"5\"\n",
        "web-1.toml:7:18: \"etc\" is not an absolute path (begin it with / or **/)\n\
         web-1.toml:7:25: \"/a[b]\" is a pattern of an unknown shape (wildcards are *, ?, {a,b} and **; write \\\\[ for the character)\n\
         web-1.toml:7:35: open has no key \"acces\" (one of: path, label, access, owner, mode)\n\
         web-1.toml:9:13: no group of reviewers is named \"nobody\" (define it, or one of: security)\n\
         web-1.toml:10:11: \"5\" is not a duration (write a number and s, m or h, from \"1s\" to \"24h\")",
    );
}

#[test]
fn columns_count_characters_not_bytes() {
    assert_said_of_rule(
        "exec = { path = [\"/größe\", \"x\"] }\nthen = \"deny\"",
        "web-1.toml:7:28: \"x\" is not an absolute path (begin it with / or **/)",
    );
}

#[test]
fn what_is_not_toml_is_refused() {
    assert_said(
        "[[rule]\n",
        "web-1.toml:5:8: unclosed array table, expected `]` (write it as TOML, see https://toml.io)",
    );
}

#[test]
fn a_key_given_twice_is_refused() {
    assert_said_of_rule("name = \"s\"", "web-1.toml:7:1: duplicate key (write it as TOML, see https://toml.io)");
}

#[test]
fn unknown_keys_are_refused_at_the_top_in_subjects_and_in_rules() {
    assert_said(
        "[limits]\nx = 1\n",
        "web-1.toml:5:2: a policy has no key \"limits\" (one of: mode, host, lists, subject, reviewers, reviewer, labels, dns, mask, rule)",
    );
    assert_said(
        "[[subject]]\nname = \"b\"\npod = \"x\"\n",
        "web-1.toml:7:1: [[subject]] has no key \"pod\" (one of: name, exe, parent, cgroup, unit, container, user, group)",
    );
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nthen = \"deny\"\nquorum = 2"),
        "web-1.toml:9:1: [[rule]] has no key \"quorum\" (one of: name, subject, open, exec, connect, system, user, group, login, cwd, during, if_read, then, mode, reviewers, escalate, remind, assurance, self, scope, why, timeout, on_deny, on_timeout, pause)",
    );
}

#[test]
fn a_policy_without_a_subject_is_refused() {
    assert_eq!(said_of(""), "web-1.toml:1:1: the policy has no subject (add [[subject]] with a name)");
}

#[test]
fn a_subject_without_a_name_is_refused() {
    assert_said("[[subject]]\n", "web-1.toml:5:1: [[subject]] has no name (add name = \"...\")");
}

#[test]
fn one_table_where_a_list_of_tables_belongs_is_refused() {
    assert_eq!(
        said_of("[subject]\nname = \"a\"\n"),
        "web-1.toml:1:1: subject is one table (write [[subject]], also for one)"
    );
}

#[test]
fn duplicate_names_are_refused() {
    assert_said(
        "[[subject]]\nname = \"agent\"\n",
        "web-1.toml:6:8: a subject named \"agent\" is there already (give it another name)",
    );
    assert_said(
        &format!("{}{}", rule("r", EXEC_CURL), rule("r", "exec = { path = [\"/usr/bin/wget\"] }")),
        "web-1.toml:10:8: a rule named \"r\" is there already (give it another name)",
    );
}

#[test]
fn the_same_element_twice_is_refused() {
    assert_said_of_rule(
        "exec = { path = [\"/a\", \"/b\", \"/a\"] }\nthen = \"deny\"",
        "web-1.toml:7:30: path has this twice (remove one)",
    );
}

#[test]
fn empty_lists_and_groups_are_refused() {
    assert_said_of_rule(
        "exec = { path = [] }\nthen = \"deny\"",
        "web-1.toml:7:17: path is an empty list (fill it or remove it)",
    );
    assert_eq!(
        said_of("[[subject]]\nname = \"a\"\nexe = []\n[reviewers]\nnobody = []\n"),
        "web-1.toml:3:7: exe is an empty list (fill it or remove it)\n\
         web-1.toml:5:10: nobody is an empty list (fill it or remove it)",
    );
}

#[test]
fn undefined_subjects_are_refused() {
    assert_said_of_rule(
        &format!("subject = [\"agnet\"]\n{EXEC_CURL}\nthen = \"deny\""),
        "web-1.toml:7:12: no subject is named \"agnet\" (define it, or one of: agent)",
    );
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    assert_said_of_rule(
        "exec = { path = \"/usr/bin/curl\" }\nthen = 5",
        "web-1.toml:7:17: path is not a list but text (write [\"...\"], also for one)\n\
         web-1.toml:8:8: then is not text but an integer (write \"...\")",
    );
    assert_said_of_rule(
        "exec = \"/usr/bin/curl\"\nthen = \"deny\"",
        "web-1.toml:7:8: exec is not a table but text (write { key = value, ... })",
    );
    assert_eq!(
        said_of("reviewers = 1\n[[subject]]\nname = \"a\"\n"),
        "web-1.toml:1:13: reviewers is not a table but an integer (write { key = value, ... })",
    );
}

#[test]
fn control_characters_are_refused() {
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nwhy = \"a\\u001b[2J\"\nthen = \"deny\""),
        "web-1.toml:8:7: why has a control character (write it in one line of plain text)",
    );
}

#[test]
fn a_rule_has_exactly_one_operation() {
    let remedy =
        "exactly one of: open = { path = [..] }, exec = { path = [..] }, connect = { to = [..] }, system = [..]";
    assert_said_of_rule("then = \"deny\"", &format!("web-1.toml:5:1: [[rule]] has no operation ({remedy})"));
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nconnect = {{}}\nthen = \"deny\""),
        &format!("web-1.toml:8:1: connect is a second operation ({remedy})"),
    );
}

#[test]
fn a_rule_without_a_verdict_or_a_path_is_refused() {
    assert_said_of_rule(
        "exec = {}",
        "web-1.toml:5:1: [[rule]] has no then (add then = \"...\", one of: allow, audit, hold, deny, kill)\n\
         web-1.toml:7:8: exec has no path (add path = [\"/dir/**\"]; [\"/**\"] is everything)",
    );
}

#[test]
fn unknown_access_is_refused() {
    assert_said_of_rule(
        "open = { path = [\"/a\"], access = [\"exec\"] }\nthen = \"deny\"",
        "web-1.toml:7:35: unknown access \"exec\" (one of: read, write, append, create, truncate)",
    );
}

#[test]
fn a_hold_without_reviewers_is_refused() {
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nthen = \"hold\""),
        "web-1.toml:5:1: [[rule]] has no reviewers (a hold asks somebody: add reviewers = \"...\", a group of [reviewers])",
    );
}

#[test]
fn reviewers_who_can_never_approve_are_refused() {
    let refused = |reviewers: &str, said: &str| {
        let lines = format!("{EXEC_CURL}\nthen = \"hold\"\nreviewers = {reviewers}");
        assert_said_of_rule(&lines, &format!("web-1.toml:{said}"));
    };
    let remedy = "(everybody counts once: ask for fewer, or add members to [reviewers])";
    refused("{ security = 2 }", &format!("9:13: there are too few people for 2 of security (alice) {remedy}"));
    refused(
        "{ security = 0 }",
        "9:26: no such number of people can approve (how many of security must approve: from 1 to 16)",
    );
    refused("{ security = \"two\" }", "9:26: security is not an integer but text (write a number)");
    refused("{ privacy = 1 }", "9:15: no group of reviewers is named \"privacy\" (define it, or one of: security)");
    refused("{}", "9:13: reviewers is an empty table (name a group, and how many of it must approve)");
    refused("3", "9:13: reviewers is not text but an integer (write \"...\")");
}

#[test]
fn one_person_does_not_stand_for_two_groups() {
    assert_eq!(
        said_of(
            "[[subject]]\nname = \"a\"\n[reviewers]\nsecurity = [\"alice\"]\nprivacy = [\"alice\"]\n[[rule]]\nname = \"r\"\n\
             exec = { path = [\"/usr/bin/curl\"] }\nthen = \"hold\"\nreviewers = { security = 1, privacy = 1 }\n"
        ),
        "web-1.toml:10:13: there are too few people for security (alice) and privacy (alice) \
         (everybody counts once: ask for fewer, or add members to [reviewers])"
    );
}

#[test]
fn scopes_are_known_ones_each_once_with_one_time() {
    for (scope, said) in [
        ("[\"host\"]", "10:10: \"host\" is no scope (one of: process, tree, a time from \"1s\" to \"24h\")"),
        ("[\"tree\", \"25h\"]", "10:18: \"25h\" is no scope (one of: process, tree, a time from \"1s\" to \"24h\")"),
        ("[\"0s\"]", "10:10: \"0s\" is no scope (one of: process, tree, a time from \"1s\" to \"24h\")"),
        ("[\"once\"]", "10:10: once is offered by every rule (remove it)"),
        ("[\"5m\", \"1h\"]", "10:16: a second time (keep the longest: a reviewer may choose a shorter one)"),
    ] {
        assert_said_of_rule(
            &format!("{EXEC_CURL}\nthen = \"hold\"\nreviewers = \"security\"\nscope = {scope}"),
            &format!("web-1.toml:{said}"),
        );
    }
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nthen = \"deny\"\nscope = [\"tree\"]"),
        "web-1.toml:9:1: scope is for holds only, and this rule says \"deny\" (remove scope, or write then = \"hold\")",
    );
}

#[test]
fn an_unknown_assurance_is_refused() {
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nthen = \"hold\"\nreviewers = \"security\"\nassurance = \"sure\""),
        "web-1.toml:10:13: unknown assurance \"sure\" (one of: basic, medium, high)",
    );
}

#[test]
fn the_terms_of_a_hold_are_refused_elsewhere() {
    assert_said_of_rule(
        &format!("{EXEC_CURL}\nthen = \"deny\"\ntimeout = \"5m\"\nreviewers = \"security\""),
        "web-1.toml:9:1: timeout is for holds only, and this rule says \"deny\" (remove timeout, or write then = \"hold\")\n\
         web-1.toml:10:1: reviewers is for holds only, and this rule says \"deny\" (remove reviewers, or write then = \"hold\")",
    );
}

#[test]
fn bad_terms_of_a_hold_are_refused() {
    for (key, value, flaw) in [
        ("timeout", "0s", "\"0s\" is out of bounds (write a number and s, m or h, from \"1s\" to \"24h\")"),
        ("timeout", "25h", "\"25h\" is out of bounds (write a number and s, m or h, from \"1s\" to \"24h\")"),
        (
            "timeout",
            "99999999999999999999h",
            "\"99999999999999999999h\" is out of bounds (write a number and s, m or h, from \"1s\" to \"24h\")",
        ),
        ("timeout", "-1s", "\"-1s\" is not a duration (write a number and s, m or h, from \"1s\" to \"24h\")"),
        ("timeout", "5ä", "\"5ä\" is not a duration (write a number and s, m or h, from \"1s\" to \"24h\")"),
        ("remind", "9s", "\"9s\" is out of bounds (write a number and s, m or h, from \"10s\" to \"24h\")"),
        ("remind", "5m", "the hold is over by then: its timeout is 5 min 0 s (write less, or a longer timeout)"),
        ("on_deny", "approve", "unknown consequence \"approve\" (one of: kill, fail)"),
        ("on_timeout", "allow", "unknown consequence \"allow\" (one of: kill, fail)"),
    ] {
        let column = key.len() + 4;
        let lines = format!("{EXEC_CURL}\nthen = \"hold\"\nreviewers = \"security\"\n{key} = \"{value}\"");
        assert_said_of_rule(&lines, &format!("web-1.toml:10:{column}: {flaw}"));
    }
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let step = |after: &str, reviewers: &str| format!("{{ after = \"{after}\", reviewers = {reviewers} }}");
    let one = step("1m", "\"security\"");
    for (steps, flaw) in [
        (
            step("5m", "\"security\""),
            "23: the hold is over by then: its timeout is 5 min 0 s (write less, or a longer timeout)",
        ),
        (
            step("0s", "\"security\""),
            "23: \"0s\" is out of bounds (write a number and s, m or h, from \"1s\" to \"24h\")",
        ),
        (
            format!("{one}, {one}"),
            "65: this step is not later than the one before it \
             (write the steps in their order; those of one time are one: { a = 1, b = 1 })",
        ),
        (
            step("1m", "{ security = 3 }"),
            "41: there are too few people for 3 of security (alice) \
             (everybody counts once: ask for fewer, or add members to [reviewers])",
        ),
        (
            "{ after = \"1m\" }".to_owned(),
            "13: escalate has no reviewers (a hold asks somebody: add reviewers = \"...\", a group of [reviewers])",
        ),
        (
            "{ reviewers = \"security\" }".to_owned(),
            "13: escalate has no after (add after = \"5m\": how long nobody has decided)",
        ),
        ("\"security\"".to_owned(), "13: escalate is not a table but text (write { key = value, ... })"),
    ] {
        let lines = format!("{EXEC_CURL}\nthen = \"hold\"\nreviewers = \"security\"\nescalate = [{steps}]");
        assert_said_of_rule(&lines, &format!("web-1.toml:10:{flaw}"));
    }
}

#[test]
fn paths_that_the_kernel_could_not_meet_are_refused() {
    let long = "x".repeat(64);
    let deep = "/d".repeat(65);
    let slashes = "write one / between names and none at the end; /dir/** is the directory and all below it";
    for (path, flaw) in [
        ("etc/shadow", "\"etc/shadow\" is not an absolute path (begin it with / or **/)".to_owned()),
        ("~/.ssh/**", "\"~/.ssh/**\" is not an absolute path (begin it with / or **/)".to_owned()),
        ("/", "\"/\" is the root directory alone (write \"/**\" for everything)".to_owned()),
        ("/etc/", format!("\"/etc/\" has an empty component ({slashes})")),
        ("/etc//shadow", format!("\"/etc//shadow\" has an empty component ({slashes})")),
        ("//**", format!("\"//**\" has an empty component ({slashes})")),
        ("/etc/../root", "\"/etc/../root\" has a component \"..\" (write the path without it)".to_owned()),
        ("/./root", "\"/./root\" has a component \".\" (write the path without it)".to_owned()),
        (
            "/etc/[ab]",
            "\"/etc/[ab]\" is a pattern of an unknown shape (wildcards are *, ?, {a,b} and **; write \\\\[ for the character)"
                .to_owned(),
        ),
        (
            "/etc/a**",
            "\"/etc/a**\" has ** within a name (write ** as a whole name, as in \"/dir/**/name\", or one *)".to_owned(),
        ),
        ("/etc/{a,b", "the braces of \"/etc/{a,b\" do not pair up (write {a,b}, one level deep; \\\\{ and \\\\} for the characters)".to_owned()),
        ("**/**", "\"**/**\" names nothing (write \"/**\" for everything)".to_owned()),
        ("**", "\"**\" is not an absolute path (begin it with / or **/)".to_owned()),
        ("**/", format!("\"**/\" has an empty component ({slashes})")),
        ("**/..", "\"**/..\" has a component \"..\" (write the path without it)".to_owned()),
        (
            &format!("/{long}"),
            format!("\"/{long}\" has a component of 64 bytes (name the directory that holds it: at most 63 bytes)"),
        ),
        (&deep, format!("\"{deep}\" has 65 components (name a directory above it: at most 64 components)")),
    ] {
        assert_said_of_rule(
            &format!("exec = {{ path = [\"{path}\"] }}\nthen = \"deny\""),
            &format!("web-1.toml:7:18: {flaw}"),
        );
    }
}

#[test]
fn what_starts_a_subject_is_an_exact_path() {
    assert_eq!(
        said_of("[[subject]]\nname = \"a\"\nexe = [\"/usr/bin/**\"]\ncgroup = [\"agent.service\", \"/\"]\n"),
        "web-1.toml:3:8: \"/usr/bin/**\" has a wildcard (write one path in full: this is no pattern)\n\
         web-1.toml:4:11: \"agent.service\" is not an absolute path (begin it with / or **/)\n\
         web-1.toml:4:28: \"/\" is the control group of every process (name the group of a service or a session, or a user)",
    );
}

#[test]
fn what_starts_a_subject_already_is_refused_for_another() {
    assert_eq!(
        said_of(
            "[[subject]]\nname = \"a\"\nexe = [\"/x\"]\ncgroup = [\"/s\"]\n[[subject]]\nname = \"b\"\nexe = [\"/x\"]\ncgroup = [\"/s/t\"]\n"
        ),
        "web-1.toml:6:8: /x starts the subject \"a\" already (the first subject wins: remove one, or put the narrower one first)\n\
         web-1.toml:6:8: /s/t starts the subject \"a\" already (the first subject wins: remove one, or put the narrower one first)",
    );
}

#[test]
fn addresses_that_say_something_else_than_they_seem_are_refused() {
    let unknown = "write an address, a block such as \"10.0.0.0/8\" or \"fd00::/8\", any, public, private, link-local, \
                   loopback or multicast; a host name goes in name";
    let all = "write \"any\" for every address, or \"2000::/3\" for global IPv6";
    for (address, flaw) in [
        ("example.com", format!("\"example.com\" is not an address ({unknown})")),
        ("10.0.0.0/33", format!("\"10.0.0.0/33\" is not an address ({unknown})")),
        ("fe80::1%eth0", format!("\"fe80::1%eth0\" is not an address ({unknown})")),
        (
            "10.1.0.0/8",
            "\"10.1.0.0/8\" has address bits set after its prefix (write \"10.0.0.0/8\" for the block, \"10.1.0.0\" for the address)".to_owned(),
        ),
        ("::/0", format!("\"::/0\" holds every IPv4 address too, as ::ffff:0:0/96 ({all})")),
        ("::/64", format!("\"::/64\" holds every IPv4 address too, as ::ffff:0:0/96 ({all})")),
    ] {
        let line = format!("connect = {{ to = [\"{address}\"] }}\nthen = \"deny\"");
        assert_said_of_rule(&line, &format!("web-1.toml:7:19: {flaw}"));
    }
}

#[test]
fn bad_ports_are_refused() {
    let remedy = "write a number from 0 to 65535, or a range such as \"8000-8999\"";
    for (port, flaw) in [
        ("65536", format!("\"65536\" is not a port ({remedy})")),
        ("-1", format!("\"-1\" is not a port ({remedy})")),
        ("\"http\"", format!("\"http\" is not a port ({remedy})")),
        ("\"80-\"", format!("\"80-\" is not a port ({remedy})")),
        ("\"90-80\"", "port range \"90-80\" runs backwards (write the lower port first)".to_owned()),
        ("1.5", "port is not text but a float (write \"...\")".to_owned()),
    ] {
        let line = format!("connect = {{ port = [{port}] }}\nthen = \"deny\"");
        assert_said_of_rule(&line, &format!("web-1.toml:7:21: {flaw}"));
    }
}

#[test]
fn what_must_be_answered_at_once_is_not_held() {
    assert_said_of_rule(
        "system = [\"trace\", \"device\"]\nthen = \"hold\"\nreviewers = \"security\"",
        "web-1.toml:6:8: trace cannot be held: the kernel wants the answer at once (write then = \"allow\", \"audit\", \
         \"deny\" or \"kill\")",
    );
}

#[test]
fn an_unknown_operation_on_the_host_is_refused() {
    assert_said_of_rule(
        "system = [\"mounts\"]\nthen = \"deny\"",
        "web-1.toml:7:11: unknown system operation \"mounts\" (one of: mount, namespace, trace, signal, schedule, module, \
         bpf, perf, admin, socket, deputy, terminal, device, userfaultfd, listen, keys, io_uring, privilege)",
    );
}
