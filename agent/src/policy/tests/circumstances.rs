//! What a rule asks for beside what it is about: who, when, what kind of file.

use holdpoint_common::tables::WEEK;

use super::{refusals::assert_said_of_rule, *};
use crate::policy::only::{self, Times};

/// Index of the rule that subject 0 meets when it reads `/f` under these circumstances.
fn under(tables: &Tables, circumstances: Circumstances) -> Option<u32> {
    let asker = Asker { revision: REVISION, subject: 0 };
    let host = Evaluation::new(tables, circumstances);
    some(host.path_rule(asker, 1, &Walk::new("/f"), READ))
}

/// A rule on `/f` that also asks for `what`.
fn asking(name: &str, file: &str, what: &str) -> String {
    rule(name, &format!("open = {{ path = [\"/f\"]{file} }}\n{what}"))
}

#[test]
fn a_rule_for_some_users_leaves_others_to_the_next() {
    let tables =
        tables(&format!("{}{}", asking("0", "", "user = [\"7\", \"8\"]"), asking("1", "", "user = [\"8\", \"9\"]")));
    let met = |user| under(&tables, Circumstances { user, ..Circumstances::default() });
    assert_eq!([6, 7, 8, 9].map(met), [None, Some(0), Some(0), Some(1)]);
}

#[test]
fn a_rule_that_asks_for_nothing_ends_the_search() {
    let rules = [
        asking("0", "", "user = [\"7\"]"),
        asking("1", "", ""),
        rule("2", "open = { path = [\"**/f\"] }\nuser = [\"7\"]"),
    ];
    let tables = tables(&rules.concat());
    assert_eq!(under(&tables, Circumstances { user: 7, ..Circumstances::default() }), Some(0));
    assert_eq!(under(&tables, Circumstances::default()), Some(1));
}

#[test]
fn patterns_of_every_shape_count_in_the_order_of_the_file() {
    let rules = [
        rule("0", "open = { path = [\"/**\"] }\nuser = [\"1\", \"2\", \"3\"]"),
        rule("1", "open = { path = [\"**/f\"] }\nuser = [\"2\", \"4\"]"),
        rule("2", "open = { path = [\"/f\"] }\nuser = [\"3\", \"4\", \"5\"]"),
        rule("3", "open = { path = [\"/{e,f,g}\"] }\nuser = [\"5\", \"6\"]"),
    ];
    let tables = tables(&rules.concat());
    let met = |user| under(&tables, Circumstances { user, ..Circumstances::default() });
    assert_eq!([1, 2, 3, 4, 5, 6, 7].map(met), [Some(0), Some(0), Some(0), Some(1), Some(2), Some(3), None]);
}

#[test]
fn a_rule_asks_whose_a_file_is_and_of_what_kind() {
    let rules = [
        asking("0", ", owner = [\"0\"], mode = [\"setuid\", \"setgid\"]", ""),
        asking("1", ", mode = [\"world-writable\"]", ""),
    ];
    let tables = tables(&rules.concat());
    let met = |owner, mode| under(&tables, Circumstances { owner, mode, ..Circumstances::default() });
    assert_eq!(met(Some(0), 0o104_755), Some(0));
    assert_eq!(met(Some(0), 0o102_755), Some(0));
    assert_eq!(met(Some(1), 0o104_755), None);
    assert_eq!(met(Some(0), 0o100_666), Some(1));
    assert_eq!(met(None, 0), None, "what does not exist yet is nobody's");
}

#[test]
fn a_rule_for_some_groups_is_for_all_who_belong_to_one() {
    let tables = tables(&asking("0", "", "group = [\"7\", \"8\"]\nuser = [\"1\"]"));
    let met = |user, groups: &[u32]| {
        under(&tables, Circumstances { user, groups: groups.to_vec(), ..Circumstances::default() })
    };
    assert_eq!([met(1, &[7]), met(1, &[5, 6, 8, 9])], [Some(0); 2]);
    assert_eq!([met(1, &[]), met(1, &[5, 6]), met(2, &[7])], [None; 3]);
}

#[test]
fn a_rule_on_sockets_is_about_nothing_else() {
    let tables = tables(&rule("0", "connect = { unix = [\"/f\"] }"));
    let met = |mode| under(&tables, Circumstances { mode, ..Circumstances::default() });
    assert_eq!([0o140_777, 0o100_777, 0o040_777, 0o120_777, 0].map(met), [Some(0), None, None, None, None]);
}

#[test]
fn what_is_no_path_of_a_socket_is_refused() {
    assert_said_of_rule(
        "connect = { unix = [\"@agent\"] }\nthen = \"deny\"",
        "web-1.toml:7:21: \"@agent\" is an abstract name, which has no path (write system = [\"deputy\"]: sockets outside \
         the tree that no path rule accepts)",
    );
    assert_said_of_rule(
        "connect = { unix = [\"/run/a\"], port = [1] }\nthen = \"deny\"",
        "web-1.toml:7:32: connect has unix and port (write two rules: one with unix, one for addresses)",
    );
}

#[test]
fn a_connection_is_told_by_its_protocol() {
    let rules = [rule("0", "connect = { protocol = [\"udp\", \"other\"] }"), rule("1", "connect = { port = [53] }")];
    let tables = tables(&rules.concat());
    let asker = Asker { revision: REVISION, subject: 0 };
    let met = |protocol, port| {
        let host = Evaluation::new(&tables, Circumstances { protocol, ..Circumstances::default() });
        some(matcher::address_rule(&host, asker, &[0; 16], port))
    };
    assert_eq!(
        [(17, 53), (6, 53), (33, 1), (262, 53), (6, 1)].map(|(protocol, port)| met(protocol, port)),
        [Some(0), Some(1), Some(0), Some(1), None]
    );
}

/// How many minutes of the week the texts spell, and whether those of `inside` and none of `outside` are among them.
fn spelled(texts: &[&str], inside: &[u32], outside: &[u32]) -> usize {
    let schedule = only::during(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    assert!(inside.iter().all(|minute| schedule.has(*minute)), "{texts:?}");
    assert!(!outside.iter().any(|minute| schedule.has(*minute)), "{texts:?}");
    (0..WEEK).filter(|minute| schedule.has(*minute)).count()
}

#[test]
fn times_of_the_week_mean_what_they_say() {
    const DAY: u32 = 1440;
    let office = spelled(&["Mon-Fri 09:00-17:00"], &[540, 1019, 4 * DAY + 540], &[539, 1020, 5 * DAY + 540]);
    assert_eq!(office, 5 * 480);
    assert_eq!(spelled(&["not Mon-Fri 09:00-17:00"], &[539, 5 * DAY + 540], &[540]), WEEK as usize - 5 * 480);
    assert_eq!(spelled(&["Sat,Sun"], &[5 * DAY, WEEK - 1], &[0, 5 * DAY - 1]), 2 * DAY as usize);
    assert_eq!(spelled(&["22:00-06:00"], &[0, 359, 1320, WEEK - 1], &[360, 1319]), 7 * 480);
    assert_eq!(spelled(&["Sun 23:00-01:00"], &[WEEK - 60, WEEK - 1, 0, 59], &[60, WEEK - 61]), 120, "into Monday");
    assert_eq!(spelled(&["Fri-Mon"], &[0, 4 * DAY, WEEK - 1], &[DAY, 4 * DAY - 1]), 4 * DAY as usize);
    assert_eq!(spelled(&["00:00-24:00"], &[0, WEEK - 1], &[]), WEEK as usize);
    assert_eq!(spelled(&["Mon", "Tue 00:00-00:01"], &[0, DAY], &[DAY + 1]), DAY as usize + 1);
}

#[test]
fn what_is_no_time_is_refused() {
    for text in [
        "",
        "mon",
        "Mon-",
        "9:00-17:00",
        "09:00",
        "09:00-25:00",
        "24:00-24:00",
        "Mon  09:00-10:00",
        "09:00-09:00",
        "notMon",
    ] {
        assert!(Times::parse(text).is_err(), "{text:?}");
    }
    let remedy = "write days, times or both: \"Mon-Fri 09:00-17:00\", \"Sat,Sun\", \"22:00-06:00\", \"not Mon\"";
    assert_said_of_rule(
        "open = { path = [\"/f\"] }\nduring = [\"always\"]\nthen = \"deny\"",
        &format!("web-1.toml:8:11: \"always\" is not a time of the week ({remedy})"),
    );
}

#[test]
fn more_rules_than_a_choice_can_have_are_refused() {
    let depending = |count: usize| -> String {
        (0..count).map(|n| asking(&n.to_string(), "", &format!("user = [\"{n}\"]"))).collect()
    };
    let certain = asking("certain", "", "");
    let tables = tables(&format!("{}{certain}", depending(16)));
    assert_eq!(under(&tables, Circumstances { user: 15, ..Circumstances::default() }), Some(15));
    assert_eq!(under(&tables, Circumstances { user: 16, ..Circumstances::default() }), Some(16));
    let policy = policy(&format!("{HEAD}{}", depending(17)));
    let problems = compile(&policy, REVISION, &OneFileSystem, None).expect_err("too many");
    let said = policy.refused(problems).to_string();
    assert!(said.starts_with("web-1.toml:86:8: \"16\" is one too many that may or may not apply"), "{said}");
}

#[test]
fn a_path_that_is_not_known_meets_the_first_rules_and_then_any() {
    let rules: String =
        (0..20).map(|n| rule(&n.to_string(), &format!("open = {{ path = [\"/{n}\"] }}\nuser = [\"{n}\"]"))).collect();
    let tables = tables(&rules);
    let met = |user| {
        let host = Evaluation::new(&tables, Circumstances { user, ..Circumstances::default() });
        some(host.unknown_path_rule(Asker { revision: REVISION, subject: 0 }, READ))
    };
    assert_eq!([0, 15, 16, 19, 99].map(met), [Some(0), Some(15), Some(16), Some(16), Some(16)]);
}
