//! Which rule a request meets, as the kernel's own matcher says.

use holdpoint_common::system::System;
use holdpoint_common::tables::{CANARY, CGROUPS, ELSEWHERE, ENROLMENT, Marks, RootKey, RuleKey};

use std::path::Path;

use super::*;
use crate::policy::{Canaries, Own, Subject};

/// A policy with a rule for each operation, named and numbered in order.
fn rules(operations: &[&str]) -> Tables {
    let rules: Vec<_> =
        operations.iter().enumerate().map(|(index, operation)| rule(&index.to_string(), operation)).collect();
    tables(&rules.concat())
}

#[test]
fn what_no_rule_matches_meets_none() {
    let tables = rules(&["open = { path = [\"/etc/shadow\"] }"]);
    assert_eq!(at(&tables, "/etc/shadow", READ), Some(0));
    for path in ["/", "/etc", "/etc/shadow/x", "/etc/shadow2", "/x/etc/shadow"] {
        assert_eq!(at(&tables, path, READ), None, "{path}");
    }
    assert_eq!(to(&tables, "192.0.2.1", 443), None);
}

#[test]
fn a_directory_is_matched_with_all_below_it() {
    let tables = rules(&["open = { path = [\"/srv/x/**\"] }"]);
    for path in ["/srv/x", "/srv/x/a", "/srv/x/a/b/c"] {
        assert_eq!(at(&tables, path, READ), Some(0), "{path}");
    }
    assert_eq!(at(&tables, "/srv/xy", READ), None);
    assert_eq!(at(&tables, "/srv", READ), None);
}

#[test]
fn everything_is_matched_with_the_root() {
    let tables = rules(&["open = { path = [\"/**\"] }"]);
    assert_eq!(at(&tables, "/", READ), Some(0));
    assert_eq!(at(&tables, "/a/b", READ), Some(0));
}

#[test]
fn a_name_is_matched_wherever_it_stands() {
    let tables = rules(&["open = { path = [\"**/.env\"] }"]);
    assert_eq!(at(&tables, "/.env", READ), Some(0));
    assert_eq!(at(&tables, "/home/a/.env", READ), Some(0));
    assert_eq!(at_of(&tables, 0, 99, "/.env", READ), Some(0), "on any file system");
    assert_eq!(at(&tables, "/.env/x", READ), None);
}

#[test]
fn the_first_rule_wins_whatever_its_shape() {
    let [exact, below, name] = ["\"/srv/a/key\"", "\"/srv/**\"", "\"**/key\""];
    for order in [[exact, below, name], [exact, name, below], [name, exact, below]] {
        let open: Vec<_> = order.iter().map(|path| format!("open = {{ path = [{path}] }}")).collect();
        let tables = rules(&open.iter().map(String::as_str).collect::<Vec<_>>());
        let index = |path| order.iter().position(|other| *other == path).map(|index| index as u32);
        assert_eq!(at(&tables, "/srv/a/key", READ), Some(0));
        assert_eq!(at(&tables, "/srv/a/x", READ), index(below));
        assert_eq!(at(&tables, "/home/key", READ), index(name));
        assert_eq!(at(&tables, "/srv/b/key", READ), index(below).min(index(name)));
    }
}

#[test]
fn a_narrow_rule_before_a_wide_one_makes_an_exception() {
    let tables = rules(&["open = { path = [\"/srv/public/**\"] }", "open = { path = [\"/srv/**\"] }"]);
    assert_eq!(at(&tables, "/srv/public/x", READ), Some(0));
    assert_eq!(at(&tables, "/srv/private", READ), Some(1));
}

#[test]
fn access_is_matched_by_its_kind() {
    let tables = rules(&[
        "open = { path = [\"/srv/**\"], access = [\"write\", \"truncate\"] }",
        "open = { path = [\"/srv/**\"] }",
        "exec = { path = [\"/srv/**\"] }",
    ]);
    assert_eq!(at(&tables, "/srv/x", READ), Some(1));
    assert_eq!(at(&tables, "/srv/x", WRITE), Some(0));
    assert_eq!(at(&tables, "/srv/x", READ | WRITE), Some(0), "any kind that is asked for counts");
    assert_eq!(at(&tables, "/srv/x", Class::Create.bit()), Some(1));
    assert_eq!(at(&tables, "/srv/x", EXEC), Some(2));
}

#[test]
fn who_appends_asks_for_less_than_who_writes() {
    let append = Class::Append.bit();
    assert!((0..Marks::SLOTS).all(|slot| Marks::slot(Marks::asked(slot)) == slot));
    let allowed =
        ["open = { path = [\"/log\"], access = [\"append\"] }", "open = { path = [\"/data\"], access = [\"write\"] }"];
    let allowed: String =
        (0..).zip(allowed).map(|(n, what)| rule(&format!("{n}"), what).replace("deny", "allow")).collect();
    let tables = tables(&format!("{allowed}{}", rule("2", "open = { path = [\"/**\"] }")));
    assert_eq!(at(&tables, "/log", append), Some(0));
    assert_eq!(at(&tables, "/log", Class::WRITING), Some(2), "who may append may not write elsewhere");
    assert_eq!(at(&tables, "/log", append | READ), Some(2));
    assert_eq!([append, Class::WRITING].map(|access| at(&tables, "/data", access)), [Some(1); 2]);
    assert_eq!(at(&tables, "/data", Class::TRUNCATING), Some(2));

    let tables = rules(&[
        "open = { path = [\"/log\"], access = [\"append\"] }",
        "open = { path = [\"/data\"], access = [\"write\"] }",
        "open = { path = [\"/kept\"], access = [\"truncate\"] }",
    ]);
    let all = [append, Class::WRITING, Class::TRUNCATING];
    assert_eq!(all.map(|access| at(&tables, "/log", access)), [Some(0); 3], "who writes anywhere can append");
    assert_eq!(all.map(|access| at(&tables, "/data", access)), [Some(1); 3]);
    assert_eq!(all.map(|access| at(&tables, "/kept", access)), [None, None, Some(2)]);
}

#[test]
fn the_longest_name_and_the_deepest_path_are_matched() {
    let (name, path) = ("n".repeat(63), "/d".repeat(64));
    let tables = rules(&[&format!("open = {{ path = [\"**/{name}\", \"{path}\"] }}")]);
    assert_eq!(at(&tables, &format!("/x/{name}"), READ), Some(0));
    assert_eq!(at(&tables, &format!("/x/{name}n"), READ), None);
    assert_eq!(at(&tables, &path, READ), Some(0));
}

#[test]
fn a_name_that_is_too_long_ends_the_walk_but_not_the_rule_above_it() {
    let tables = rules(&["open = { path = [\"/srv/**\"] }"]);
    assert_eq!(at(&tables, &format!("/srv/{}/x", "n".repeat(200)), READ), Some(0));
}

#[test]
fn subjects_meet_their_own_rules_only() {
    let second = "[[subject]]\nname = \"other\"\n";
    let tables = tables(&format!(
        "{second}{}{}{}",
        rule("0", "subject = [\"other\"]\nopen = { path = [\"/srv/**\", \"**/k\"] }"),
        rule("1", "subject = [\"agent\"]\nopen = { path = [\"/srv/a\"] }"),
        rule("2", "open = { path = [\"/srv/**\"] }\n").replace("/srv/**", "/srv/**\", \"/opt/**"),
    ));
    assert_eq!(at_of(&tables, 0, 1, "/srv/a", READ), Some(1));
    assert_eq!(at_of(&tables, 1, 1, "/srv/a", READ), Some(0));
    assert_eq!(at_of(&tables, 0, 1, "/x/k", READ), None);
    assert_eq!(at_of(&tables, 1, 1, "/x/k", READ), Some(0));
    assert_eq!(at_of(&tables, 0, 1, "/opt/x", READ), Some(2));
    assert_eq!(at_of(&tables, 1, 1, "/opt/x", READ), Some(2));
}

#[test]
fn a_path_that_could_not_be_walked_meets_the_first_rule_that_may_concern_it() {
    let tables = tables(&format!(
        "{}{}{}",
        rule("0", "open = { path = [\"/srv/public/**\"] }").replace("deny", "allow"),
        rule("1", "open = { path = [\"/srv/**\"], access = [\"write\"] }"),
        rule("2", "open = { path = [\"**/key\"] }"),
    ));
    assert_eq!(lost(&tables, READ), Some(2));
    assert_eq!(lost(&tables, WRITE), Some(1));
    assert_eq!(lost(&tables, EXEC), None);
}

#[test]
fn a_path_that_could_not_be_walked_passes_where_everything_passes_first() {
    let allow = rule("0", "open = { path = [\"/**\"], access = [\"read\"] }").replace("deny", "allow");
    let tables = tables(&format!("{allow}{}", rule("1", "open = { path = [\"/srv/**\"] }")));
    assert_eq!(lost(&tables, READ), None);
    assert_eq!(lost(&tables, WRITE), Some(1));
}

#[test]
fn what_is_on_no_mounted_file_system_meets_the_first_rule_on_everything() {
    let tables = rules(&["open = { path = [\"/srv/**\"] }", "open = { path = [\"/**\"], access = [\"read\"] }"]);
    let elsewhere = tables.roots[&RootKey { revision: REVISION, subject: 0, device: ELSEWHERE }];
    assert_eq!(some(elsewhere.marks.first(READ)), Some(1));
    assert_eq!(some(elsewhere.marks.first(WRITE)), None);
}

#[test]
fn the_narrowest_block_counts_the_rules_of_all_wider_ones() {
    let tables = rules(&[
        "connect = { to = [\"10.1.0.0/16\"], port = [22] }",
        "connect = { to = [\"10.0.0.0/8\"], port = [443] }",
        "connect = { to = [\"10.1.2.3\"] }",
        "connect = { port = [\"0-1023\"] }",
    ]);
    assert_eq!(to(&tables, "10.1.2.3", 22), Some(0));
    assert_eq!(to(&tables, "10.1.2.3", 443), Some(1));
    assert_eq!(to(&tables, "10.1.2.3", 5000), Some(2));
    assert_eq!(to(&tables, "10.1.9.9", 5000), None);
    assert_eq!(to(&tables, "10.1.9.9", 80), Some(3));
    assert_eq!(to(&tables, "10.9.9.9", 22), Some(3));
    assert_eq!(to(&tables, "2001:db8::1", 1023), Some(3));
    assert_eq!(to(&tables, "2001:db8::1", 1024), None);
}

#[test]
fn ports_are_matched_at_their_edges() {
    let tables = rules(&["connect = { port = [443, \"8000-8999\", 65535, 0] }"]);
    for (port, matched) in [(0, true), (1, false), (442, false), (443, true), (444, false), (7999, false), (8000, true)]
    {
        assert_eq!(to(&tables, "192.0.2.1", port).is_some(), matched, "{port}");
    }
    for (port, matched) in [(8999, true), (9000, false), (65534, false), (65535, true)] {
        assert_eq!(to(&tables, "192.0.2.1", port).is_some(), matched, "{port}");
    }
}

#[test]
fn an_ipv4_address_is_the_same_in_either_spelling() {
    let tables = rules(&["connect = { to = [\"::ffff:10.0.0.0/104\", \"127.0.0.1\", \"::1\"] }"]);
    assert_eq!(to(&tables, "10.9.9.9", 1), Some(0));
    assert_eq!(to(&tables, "::ffff:127.0.0.1", 1), Some(0));
    assert_eq!(to(&tables, "::1", 1), Some(0));
    assert_eq!(to(&tables, "::2", 1), None);
    assert_eq!(to(&tables, "11.0.0.0", 1), None);
}

#[test]
fn the_unspecified_address_is_this_host_for_rules_that_stop() {
    let stopped = rules(&["connect = { to = [\"127.0.0.0/8\"], port = [5432] }"]);
    for address in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        assert_eq!(to(&stopped, address, 5432), Some(0), "{address}");
        assert_eq!(to(&stopped, address, 80), None, "{address}");
    }
    let allow = rule("0", "connect = { to = [\"127.0.0.0/8\", \"::1\"] }").replace("deny", "allow");
    let allowed = tables(&format!("{allow}{}", rule("1", "connect = {}")));
    assert_eq!(to(&allowed, "127.0.0.1", 80), Some(0));
    assert_eq!(to(&allowed, "0.0.0.0", 80), Some(1));
    assert_eq!(to(&allowed, "::", 80), Some(1));
}

#[test]
fn what_starts_a_tree_leads_to_its_subject() {
    let text = "[[subject]]\nname = \"a\"\nexe = [\"/usr/bin/a\"]\n[[subject]]\nname = \"b\"\nexe = [\"/usr/bin/b\"]\ncgroup = [\"/s/b.service\"]\n";
    let tables = compile(&policy(text), REVISION, &OneFileSystem, None).expect("within the limits");
    let started = |device, path| {
        let rule = at_of(&tables, ENROLMENT, device, path, EXEC)?;
        tables.starters.get(&RuleKey { revision: REVISION, rule }).copied()
    };
    assert_eq!(started(1, "/usr/bin/a"), Some(number("a")));
    assert_eq!(started(1, "/usr/bin/b"), Some(number("b")));
    assert_eq!(started(1, "/usr/bin"), None);
    assert_eq!(started(CGROUPS, "/s/b.service"), Some(number("b")));
    assert_eq!(started(CGROUPS, "/s/b.service/child"), Some(number("b")));
    assert_eq!(started(CGROUPS, "/s"), None);
}

#[test]
fn a_container_is_found_wherever_its_engine_has_put_it() {
    let started = |ids: &str, path: &str| {
        let text = format!("[[subject]]\nname = \"a\"\ncontainer = [{ids}]\n");
        let tables = compile(&policy(&text), REVISION, &OneFileSystem, None).expect("within the limits");
        at_of(&tables, ENROLMENT, CGROUPS, path, EXEC).is_some()
    };
    let id = "3f2a9c41d0e7".repeat(6)[..64].to_owned();
    let pod = "kubepods-burstable-pod0c1d_2e3f.slice";
    for group in [
        format!("/system.slice/docker-{id}.scope"),
        format!("/docker/{id}"),
        format!("/machine.slice/libpod-{id}.scope/container"),
        format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope"),
        format!("/libpod_parent/libpod-{id}"),
        format!("/user.slice/user-1000.slice/user@1000.service/user.slice/nerdctl-{id}.scope"),
        format!("/kubepods.slice/kubepods-burstable.slice/{pod}/cri-containerd-{id}.scope"),
        format!("/kubepods.slice/kubepods-burstable.slice/{pod}/crio-{id}.scope/init.scope"),
        format!("/kubepods/burstable/pod0c1d-2e3f/{id}"),
    ] {
        assert!(started("\"*\"", &group), "{group}");
        assert!(started("\"3f2a9c41d0e7*\"", &group), "{group}");
        assert!(!started("\"3f2a9c41d0e8*\"", &group), "{group}");
    }
    for group in [
        format!("/machine.slice/libpod-conmon-{id}.scope"),
        "/system.slice/docker.service".to_owned(),
        "/docker".to_owned(),
        "/kubepods/burstable/pod0c1d-2e3f".to_owned(),
    ] {
        assert!(!started("\"*\"", &group), "{group}");
    }
}

#[test]
fn who_starts_a_subject_can_be_asked_for() {
    let text = "[[subject]]\nname = \"a\"\nexe = [\"/bin/a\"]\nparent = [\"/bin/sshd\", \"/bin/su\"]\nuser = [\"7\"]\n\
                [[subject]]\nname = \"b\"\nexe = [\"/bin/a\"]\nparent = [\"/bin/su\"]\ngroup = [\"8\", \"9\"]\n\
                [[subject]]\nname = \"c\"\nexe = [\"/bin/a\"]\n";
    let tables = compile(&policy(text), REVISION, &OneFileSystem, None).expect("within the limits");
    let asker = Asker { revision: REVISION, subject: ENROLMENT };
    let started = |parent: &str, user, groups: &[u32]| {
        let callers = plain(&tables).labels(asker, 1, &Walk::new(parent)).0;
        let circumstances =
            Circumstances { user, groups: groups.to_vec(), labels: callers, ..Circumstances::default() };
        let host = Evaluation::new(&tables, circumstances);
        tables.starters[&RuleKey { revision: REVISION, rule: host.path_rule(asker, 1, &Walk::new("/bin/a"), EXEC) }]
    };
    assert_eq!(started("/bin/sshd", 7, &[]), number("a"));
    assert_eq!(started("/bin/su", 7, &[8]), number("a"));
    assert_eq!(started("/bin/su", 6, &[1, 9]), number("b"));
    assert_eq!(started("/bin/su", 6, &[1]), number("c"));
    assert_eq!(started("/bin/sshd", 6, &[8]), number("c"));
    assert_eq!(started("/bin/bash", 7, &[8]), number("c"));
}

#[test]
fn the_canary_is_denied_its_sites_and_every_connection() {
    let policy = policy(&format!("{HEAD}{}", rule("0", "open = { path = [\"/a\"] }").replace("deny", "allow")));
    let canaries = Canaries { sites: &[Path::new("/run/canary")], program: "program" };
    let tables = compile(&policy, REVISION, &OneFileSystem, Some(&canaries)).expect("within the limits");
    let asker = Asker { revision: REVISION, subject: CANARY };
    assert_eq!(
        tables.rules[&RuleKey { revision: REVISION, rule: 1 }].verdict,
        holdpoint_common::tables::Verdict::Deny as u32
    );
    for class in Class::ALL {
        assert_eq!(at_of(&tables, CANARY, 1, "/run/canary/x", class.bit()), Some(1));
        assert_eq!(at_of(&tables, CANARY, 1, "/lib/x", class.bit()), None);
        let denied = (class == Class::Exec).then_some(1);
        assert_eq!(at_of(&tables, CANARY, 1, "/lib/program", class.bit()), denied, "it may be read");
    }
    for address in ["192.0.2.1", "2001:db8::1", "127.0.0.1", "0.0.0.0"] {
        let address = Block::only(address.parse().expect("an address")).octets();
        assert_eq!(matcher::address_rule(&plain(&tables), asker, &address, 8080), 1);
    }
}

/// The kernel's number of the subject of that name.
fn number(name: &str) -> u32 {
    Subject {
        name: name.to_owned(),
        exe: Vec::new(),
        cgroup: Vec::new(),
        users: Vec::new(),
        groups: Vec::new(),
        parent: Vec::new(),
        span: 0..0,
    }
    .number()
}

#[test]
fn consequences_are_those_of_the_policy() {
    let hold = "[[rule]]\nname = \"h\"\nexec = { path = [\"/a\"] }\nthen = \"hold\"\nreviewers = \"security\"\ntimeout = \"2s\"\non_timeout = \"fail\"\n";
    let tables = tables(&format!("{hold}{}", rule("k", "exec = { path = [\"/b\"] }").replace("deny", "kill")));
    let consequence = |rule| tables.rules[&RuleKey { revision: REVISION, rule }];
    assert_eq!((consequence(0).patience, consequence(0).verdict), (2_000_000_000, 3));
    assert_eq!((consequence(1).patience, consequence(1).verdict), (0, 5));
}

#[test]
fn node_ids_of_neighbouring_revisions_are_disjoint_and_each_is_used_once() {
    let policy = policy(&format!("{HEAD}{}", rule("0", "open = { path = [\"/a/b/**\", \"/a/c\"] }")));
    let ids = |revision| {
        let tables = compile(&policy, revision, &OneFileSystem, None).expect("within the limits");
        let ids: Vec<_> = tables.roots.values().chain(tables.edges.values()).map(|node| node.id).collect();
        ids
    };
    for revision in [1, 2, 4095, 4096, u32::MAX - 1] {
        let mut all = [ids(revision), ids(revision + 1)].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}

#[test]
fn what_is_above_a_rule_is_not_moved_away() {
    let tables = rules(&["open = { path = [\"/srv/a/**\", \"/opt/x/key\"], access = [\"read\"] }"]);
    for path in ["/", "/srv", "/srv/a", "/srv/a/b", "/opt", "/opt/x", "/opt/x/key"] {
        assert_eq!(moved(&tables, 1, path, Class::OPENING), Some(0), "{path}");
    }
    for path in ["/srv/b", "/opt/y", "/opt/x/other", "/home"] {
        assert_eq!(moved(&tables, 1, path, Class::OPENING), None, "{path}");
    }
    let allowed = tables_of("open = { path = [\"/srv/a/**\"] }\nthen = \"allow\"");
    assert_eq!(moved(&allowed, 1, "/srv", Class::OPENING), None, "a rule that lets pass protects nothing");
}

fn tables_of(rule: &str) -> Tables {
    tables(&format!("[[rule]]\nname = \"r\"\n{rule}\n"))
}

#[test]
fn the_first_rule_on_an_operation_on_the_host_wins() {
    let tables = rules(&["system = [\"mount\"]", "system = [\"mount\", \"bpf\"]"]);
    let met = |system: System| {
        some(matcher::system_rule(&plain(&tables), Asker { revision: REVISION, subject: 0 }, system as u32))
    };
    assert_eq!((met(System::Mount), met(System::Bpf), met(System::Signal)), (Some(0), Some(1), None));
}

#[test]
fn holdpoint_comes_before_every_rule_and_the_kernel_after() {
    let rule = "[[rule]]\nname = \"r\"\nopen = { path = [\"/etc/**\", \"/sys/kernel/x\"] }\nthen = \"allow\"\n";
    let own = Own { paths: vec!["/etc/holdpoint".into()], ..Own::default() };
    let policy = policy(&format!("{HEAD}{rule}")).with_built_in(&own);
    let tables = compile(&policy, REVISION, &OneFileSystem, None).expect("within the limits");
    let name = |path| at(&tables, path, WRITE).and_then(|index| policy.rule(index)).map(|rule| rule.name.as_str());
    assert_eq!(name("/etc/holdpoint/policy.toml"), Some("built in: Holdpoint itself"));
    assert_eq!(name("/etc/passwd"), Some("r"));
    assert_eq!(name("/sys/kernel/x"), Some("r"));
    assert_eq!(name("/sys/kernel/y"), Some("built in: the kernel's settings"));
    assert_eq!(name("/home/x"), None);
}

#[test]
fn what_others_run_as_root_can_be_read_and_is_changed_only_if_a_rule_says_so() {
    let own = Own { mapped: vec!["/no-such/libc.so.6".into()], ..Own::default() };
    let rule = "[[rule]]\nname = \"r\"\nopen = { path = [\"/etc/udev/mine\"] }\nthen = \"allow\"\n";
    let policy = policy(&format!("{HEAD}{rule}")).with_built_in(&own);
    let tables = compile(&policy, REVISION, &OneFileSystem, None).expect("within the limits");
    let name = |path, access| at(&tables, path, access).and_then(|index| policy.rule(index)).map(|rule| &*rule.name);
    for path in ["/no-such/libc.so.6", "/etc/ld.so.preload", "/etc/modprobe.d/x.conf", "/etc/udev/theirs"] {
        for access in [WRITE, Class::Create.bit(), Class::Truncate.bit()] {
            assert_eq!(name(path, access), Some("built in: what others run as root"), "{path}");
        }
        assert_eq!((name(path, READ), name(path, EXEC)), (None, None), "{path}");
    }
    assert_eq!(name("/etc/udev/mine", WRITE), Some("r"));
    assert_eq!(name("/proc/1/autogroup", WRITE), Some("built in: the kernel's settings"));
}

#[test]
fn what_asks_for_holdpoint_is_changed_by_no_policy() {
    let own = Own { trusted: vec!["/no-such/ask.sh".into()], ..Own::default() };
    let rule = "[[rule]]\nname = \"r\"\nopen = { path = [\"/no-such/**\"] }\nthen = \"allow\"\n";
    let policy = policy(&format!("{HEAD}{rule}")).with_built_in(&own);
    let tables = compile(&policy, REVISION, &OneFileSystem, None).expect("within the limits");
    let name = |path, access| at(&tables, path, access).and_then(|index| policy.rule(index)).map(|rule| &*rule.name);
    for access in [WRITE, Class::Create.bit(), Class::Truncate.bit()] {
        assert_eq!(name("/no-such/ask.sh", access), Some("built in: Holdpoint itself"));
    }
    assert_eq!((name("/no-such/ask.sh", READ), name("/no-such/else", WRITE)), (Some("r"), Some("r")));
}

#[test]
fn the_listener_is_closed_where_it_answers() {
    let closed = |listener: &str, address| {
        let own = Own { listeners: vec![listener.parse().expect("an address and a port")], ..Own::default() };
        let tables =
            compile(&policy(HEAD).with_built_in(&own), REVISION, &OneFileSystem, None).expect("within the limits");
        assert_eq!(to(&tables, address, 8701), None);
        to(&tables, address, 8700).is_some()
    };
    assert!(closed("192.0.2.1:8700", "192.0.2.1") && !closed("192.0.2.1:8700", "192.0.2.2"));
    for everywhere in ["0.0.0.0:8700", "[::]:8700"] {
        assert!(closed(everywhere, "192.0.2.2") && closed(everywhere, "::1") && closed(everywhere, "127.0.0.1"));
    }
}

#[test]
fn a_rule_means_the_same_wherever_it_stands_and_something_else_if_a_word_of_it_changes() {
    let rule = "[[rule]]\nname = \"held\"\nopen = { path = [\"/a\"] }\nthen = \"hold\"\nreviewers = \"security\"\n";
    let meanings = |text: &str| {
        let tables = compile(&policy(text), REVISION, &OneFileSystem, None).expect("within the limits");
        tables.rules.into_values().map(|consequence| consequence.meaning).collect::<Vec<_>>()
    };
    let all = format!("{HEAD}{rule}");
    let meaning = meanings(&all)[0];
    assert_ne!(meaning, 0);
    let before = "[[rule]]\nname = \"first\"\nopen = { path = [\"/b\"] }\nthen = \"deny\"\n";
    assert_eq!(meanings(&format!("# Moved.\n{HEAD}{before}{rule}"))[1], meaning);
    for (of, to) in [
        ("\"held\"", "\"held otherwise\""),
        ("\"/a\"", "\"/a\", \"/b\""),
        ("then", "why = \"because\"\nthen"),
        ("then", "timeout = \"2m\"\nthen"),
        ("then", "on_deny = \"fail\"\nthen"),
        ("[\"alice\"]", "[\"alice\", \"bob\"]"),
    ] {
        assert_ne!(meanings(&all.replacen(of, to, 1))[0], meaning, "{of} {to}");
    }
}
