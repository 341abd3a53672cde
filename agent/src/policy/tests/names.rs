//! Rules that ask for the name by which a destination was looked up.

use super::{refusals::assert_said_of_rule, *};

/// Index of the rule that subject 0 meets at `10.0.0.1` and this port, which it has looked up by these names.
fn known_as(tables: &Tables, names: &[&str], port: u32) -> Option<u32> {
    let hosts = names.iter().map(|name| (*name).to_owned()).collect();
    let host = Evaluation::new(tables, Circumstances { hosts, ..Circumstances::default() });
    let asker = Asker { revision: REVISION, subject: 0 };
    some(matcher::address_rule(&host, asker, &Block::only([10, 0, 0, 1].into()).octets(), port))
}

#[test]
fn a_name_is_one_of_a_rule_or_below_one() {
    let rules = [
        rule("0", "connect = { name = [\"api.Github.com\", \"*.amazonaws.com\"], port = [443] }"),
        rule("1", "connect = { to = [\"10.0.0.0/8\"], name = [\"*.internal\"] }"),
        rule("2", "connect = { to = [\"192.168.0.0/16\"], name = [\"*.test\"] }"),
    ];
    let tables = tables(&rules.concat());
    for (names, met) in [
        (&["api.github.com"][..], Some(0)),
        (&["s3.eu-west-1.amazonaws.com"], Some(0)),
        (&["other.test", "s3.amazonaws.com"], Some(0)),
        (&["db.internal"], Some(1)),
        (&["amazonaws.com"], None),
        (&["xamazonaws.com"], None),
        (&["github.com"], None),
        (&["www.api.github.com"], None),
        (&["api.github.com.evil.test"], None),
        (&["a.test"], None),
        (&[], None),
    ] {
        assert_eq!(known_as(&tables, names, 443), met, "{names:?}");
    }
    assert_eq!(known_as(&tables, &["api.github.com"], 80), None);
    let long = format!("{}.amazonaws.com", ["label"; 30].join("."));
    assert_eq!(known_as(&tables, &[&long], 443), Some(0), "longer than a pattern can be");
}

#[test]
fn what_matches_for_people_matches_in_the_kernel() {
    for pattern in ["a.b", "*.b", "*.a.b"] {
        let tables = tables(&rule("0", &format!("connect = {{ name = [\"{pattern}\"] }}")));
        let read = crate::policy::host_name::HostName::parse(pattern).expect("a pattern");
        for name in ["b", "a.b", "c.a.b", "xa.b", "a.b.c", ".b"] {
            assert_eq!(known_as(&tables, &[name], 1).is_some(), read.matches(name), "{pattern} {name}");
        }
    }
}

#[test]
fn what_is_no_host_name_is_refused() {
    for (name, flaw) in [
        ("10.0.0.1", "\"10.0.0.1\" is an address (write it in to)"),
        (
            "*",
            "\"*\" is not a host name (write it as in \"api.github.com\", or \"*.github.com\" for all below it; names in \
             other scripts in their xn-- form)",
        ),
    ] {
        let line = format!("connect = {{ name = [\"{name}\"] }}\nthen = \"deny\"");
        assert_said_of_rule(&line, &format!("web-1.toml:7:21: {flaw}"));
    }
}

#[test]
fn resolvers_are_those_that_the_policy_names() {
    let known = |dns: &str| policy(&format!("{dns}{HEAD}")).resolvers;
    assert_eq!(known(""), None);
    let named: Vec<IpAddr> = vec!["127.0.0.53".parse().unwrap(), "fd00::1".parse().unwrap()];
    assert_eq!(known("dns = { resolvers = [\"127.0.0.53\", \"fd00::1\"] }\n"), Some(named));
    for bad in ["{}", "{ resolvers = [] }", "{ resolvers = [\"dns.example\"] }", "{ resolvers = [\"1.1.1.1:53\"] }"] {
        assert!(read(source(&format!("dns = {bad}\n{HEAD}"))).is_err(), "{bad}");
    }
}
