//! The policy that most promises are shown with: one directory, and one range of ports, for each thing that a policy can
//! say of an operation. One policy for many tests, since starting an agent takes seconds.

use std::{fmt::Write as _, fs, path::Path};

use crate::site::{ROOT, fresh};

/// A word for what the policy says: the name of a directory below `/srv/hp`, of programs below `bin-`, and of a range of
/// ports.
const RULES: [(&str, &str); 7] = [
    ("hold", "then = \"hold\"\nreviewers = \"people\"\ntimeout = \"3m\"\non_deny = \"fail\""),
    ("hold-kill", "then = \"hold\"\nreviewers = \"people\"\ntimeout = \"3m\""),
    ("short", "then = \"hold\"\nreviewers = \"people\"\ntimeout = \"4s\"\non_deny = \"fail\""),
    (
        "short-kill",
        "then = \"hold\"\nreviewers = \"people\"\ntimeout = \"4s\"\non_deny = \"fail\"\non_timeout = \"kill\"",
    ),
    ("deny", "then = \"deny\""),
    ("kill", "then = \"kill\""),
    ("audit", "then = \"audit\""),
];

/// The first port of the first rule; each has a hundred.
const PORTS: u16 = 20_000;
/// Ports of one rule.
const RANGE: u16 = 100;

/// The policy, with the subject `tests`. Files of rule `x` are below `/srv/hp/x`, programs below `/srv/hp/bin-x`, and
/// [`port`] gives ports. Reviewers: `root` and `reviewer`.
pub fn everything() -> String {
    under("[[subject]]\nname = \"tests\"\n")
}

/// The rules of [`everything`], for these subjects.
pub fn under(subjects: &str) -> String {
    let mut text = format!("{subjects}\n[reviewers]\npeople = [\"root\", \"reviewer\"]\n");
    for (index, (rule, then)) in RULES.iter().enumerate() {
        let first = first_port(index);
        let last = first + RANGE - 1;
        let operations = [
            ("files", format!("open = {{ path = [\"{ROOT}/{rule}/**\"] }}")),
            ("programs", format!("exec = {{ path = [\"{ROOT}/bin-{rule}/**\"] }}")),
            ("ports", format!("connect = {{ port = [\"{first}-{last}\"] }}")),
        ];
        for (what, operation) in operations {
            let _ = writeln!(text, "\n[[rule]]\nname = \"{rule} {what}\"\n{operation}\nwhy = \"a test\"\n{then}");
        }
    }
    text
}

/// [`everything`], and what containers are made with allowed.
pub fn with_containers() -> String {
    allowing(r#""namespace", "mount", "admin""#)
}

/// [`everything`], and these operations on the host allowed.
pub fn allowing(system: &str) -> String {
    format!("{}\n[[rule]]\nname = \"the host\"\nsystem = [{system}]\nthen = \"allow\"\n", everything())
}

/// The directories that [`everything`] names, so that the policy finds them.
pub fn make_directories() {
    for (rule, _) in RULES {
        for directory in [rule.to_owned(), format!("bin-{rule}")] {
            fs::create_dir_all(Path::new(ROOT).join(directory)).expect("create a directory");
        }
    }
}

/// A port that [`everything`] treats by `rule`.
///
/// # Panics
/// If there is no such rule.
pub fn port(rule: &str) -> u16 {
    let index = RULES.iter().position(|(name, _)| *name == rule).expect("a rule");
    let offset = u16::try_from(fresh() % u32::from(RANGE)).expect("below the range");
    first_port(index) + offset
}

fn first_port(index: usize) -> u16 {
    PORTS + RANGE * u16::try_from(index).expect("few rules")
}
