//! A policy of ten thousand rules.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use super::*;
use crate::policy::compile::limits;

/// Rules of each kind.
const COUNT: u32 = 2500;
/// Long for a test build on a busy machine, and short for anything that is quadratic.
const PATIENCE: Duration = Duration::from_secs(60);

/// Exact files, directories, programs and addresses in turn.
fn large() -> String {
    let mut text = HEAD.to_owned();
    for n in 0..COUNT {
        let (team, project) = (n / 100, n % 100);
        let operations = [
            format!("open = {{ path = [\"/srv/teams/{team}/projects/{project}/key\"], access = [\"read\"] }}"),
            format!("open = {{ path = [\"/home/{n}/private/**\"] }}"),
            format!("exec = {{ path = [\"/opt/tools/{team}/{project}/bin/tool\"] }}"),
            format!("connect = {{ to = [\"10.{team}.{project}.0/24\"], port = [443, \"8000-8999\"] }}"),
        ];
        for (kind, operation) in operations.iter().enumerate() {
            let _ = write!(text, "[[rule]]\nname = \"{n}.{kind}\"\n{operation}\nthen = \"deny\"\n");
        }
    }
    text
}

#[test]
fn ten_thousand_rules_are_read_and_compiled_in_moments() {
    let begin = Instant::now();
    let policy = policy(&large());
    let parsed = begin.elapsed();
    let tables = compile(&policy, REVISION, &OneFileSystem, None).expect("within the limits");
    println!("{} rules: parsed in {parsed:?}, with compiling {:?}", policy.rules.len(), begin.elapsed());
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(policy.rules.len(), 10_000);
    assert_eq!(at(&tables, "/srv/teams/24/projects/99/key", READ), Some(9_996));
    assert_eq!(at(&tables, "/home/2499/private/a/b", WRITE), Some(9_997));
    assert_eq!(at(&tables, "/opt/tools/24/99/bin/tool", EXEC), Some(9_998));
    assert_eq!(to(&tables, "10.24.99.7", 8000), Some(9_999));
    assert_eq!((to(&tables, "10.24.99.7", 80), at(&tables, "/srv/teams/24/projects/99", READ)), (None, None));
}

#[test]
fn ten_thousand_paths_that_share_nothing_fit() {
    let paths: String = (0..10_000).fold(String::new(), |mut text, n| {
        let _ = write!(text, "\"/{n}/b{n}/c{n}/d{n}/e{n}/f{n}\", ");
        text
    });
    let tables = tables(&rule("0", &format!("open = {{ path = [{paths}] }}")));
    assert!(tables.edges.len() <= limits::EDGES);
    assert_eq!(at(&tables, "/9999/b9999/c9999/d9999/e9999/f9999", READ), Some(0));
}

#[test]
fn as_many_rules_and_addresses_as_the_tables_hold() {
    let many = |count: usize| {
        (0..count).map(|n| rule(&n.to_string(), &format!("connect = {{ to = [\"10.{}.{}.1\"] }}", n / 256, n % 256)))
    };
    let text = format!("{HEAD}{}", many(limits::RULES).collect::<String>());
    compile(&policy(&text), REVISION, &OneFileSystem, None).expect("as many as fit");
    let text = format!("{HEAD}{}", many(limits::RULES + 1).collect::<String>());
    assert!(compile(&policy(&text), REVISION, &OneFileSystem, None).is_err());
}
