//! Promise 8: every route to the same effect is held or refused. The routes, each with its control and its look at the
//! effect, are those of `holdpoint attack`.

use holdpoint_tests::{Json, User, everything, shared, site};

/// Routes there must be at least.
const ROUTES: usize = 60;

/// Routes that show nothing on a kernel of this release, and why. Any other is a failure.
const NOT_APPLICABLE: [(&str, &[&str]); 2] = [
    // Debian leaves the x32 ABI off, unless the kernel is booted with syscall.x32=y.
    ("6.1.", &["open-x32"]),
    ("6.12.", &["open-x32"]),
];

#[test]
fn every_known_route_is_held_or_refused() {
    let agent = shared(&everything());
    let reply = agent.say(User::ROOT, ["attack", "--json"]);
    let findings: Json = serde_json::from_str(&reply.stdout).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    let routes = findings["routes"].as_array().expect("a list");
    assert!(routes.len() >= ROUTES, "{} routes", routes.len());
    let of = |verdict: &str| -> Vec<&Json> { routes.iter().filter(|row| row["verdict"] == verdict).collect() };

    let inapplicable = of("not-applicable");
    let listed = not_applicable_here();
    let unlisted: Vec<_> = inapplicable.iter().filter(|row| !listed.iter().any(|name| row["route"] == *name)).collect();
    assert!(unlisted.is_empty(), "not on the list of this kernel: {unlisted:#?}");

    let through = of("through");
    assert!(through.is_empty(), "{} of {} got through: {through:#?}", through.len(), routes.len());
    assert_eq!(of("held").len() + of("refused").len() + inapplicable.len(), routes.len());
    assert!(reply.success(), "nothing got through: {reply:?}");
}

#[test]
fn nothing_is_left_of_the_attacks() {
    let agent = shared(&everything());
    agent.say(User::ROOT, ["attack", "--json", "--route", "execve", "--route", "cgroup-kill", "--route", "pin-unlink"]);
    for directory in ["/run", "/run/holdpoint/canary", "/var/tmp", "/sys/fs/cgroup", "/sys/fs/bpf/holdpoint"] {
        let entries = std::fs::read_dir(directory).expect("a directory").flatten();
        let left: Vec<_> = entries.filter(|entry| entry.file_name().to_string_lossy().contains("attack")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert_eq!(agent.status()["enforcing"], true);
}

#[test]
fn who_may_not_attack_is_told_so() {
    let agent = shared(&everything());
    let reply = agent.say(User::AGENT, ["attack"]);
    assert!(!reply.success() && reply.stderr.contains("only root"), "{reply:?}");
    let governed = agent.spawn(User::ROOT, [holdpoint_tests::agent::holdpoint().as_str(), "attack"]).end();
    assert!(
        governed.code() == Some(1) && governed.stderr.contains("a governed process has no say here"),
        "{governed:?}"
    );
}

fn not_applicable_here() -> &'static [&'static str] {
    let release = site::content("/proc/sys/kernel/osrelease");
    let found = NOT_APPLICABLE.iter().find(|(kernel, _)| release.starts_with(kernel));
    found.unwrap_or_else(|| panic!("{release}: what is not applicable there has to be found out")).1
}
