//! Promise 8, from the other side: without any one of the hooks, an attack that was refused gets through. What is told as
//! refused is refused there, and nowhere else by chance.

use std::{collections::BTreeMap, fs, path::PathBuf};

use holdpoint_tests::{Agent, Json, User, everything};

/// Each program, and an attack that only its hook stands in the way of.
const NEEDED: [(&str, &str); 56] = [
    ("placed", "clone-into-cgroup"),
    ("exec", "execve"),
    ("interpreter", "execve-interpreter"),
    ("credentials", "set-uid"),
    ("open", "open"),
    ("create", "creat"),
    ("truncate", "truncate"),
    ("map", "mmap-exec"),
    ("protect", "mprotect-exec"),
    ("receive", "scm-rights"),
    ("link", "link-out"),
    ("rename", "rename-out"),
    ("unlink", "unlink"),
    ("rmdir", "rmdir"),
    ("mkdir", "mkdir"),
    ("symlink", "symlink-in"),
    ("chmod", "chmod"),
    ("chown", "chown"),
    ("set_attribute", "setxattr"),
    ("remove_attribute", "removexattr"),
    ("set_list", "set-acl"),
    ("remove_list", "remove-acl"),
    ("touch", "utimes"),
    ("touch_mapped", "utimes"),
    ("connect", "connect-v4"),
    ("send", "udp-sendto"),
    ("bind", "resolver-port"),
    ("listen", "listen"),
    ("connect_to_all", "sctp-connectx"),
    ("option", "source-route"),
    ("create_socket", "packet-socket"),
    ("deputy", "unix-stream"),
    ("datagram", "unix-datagram"),
    ("mount", "mount-over"),
    ("move_mount", "move-mount"),
    ("unmount", "umount"),
    ("pivot_root", "pivot-root"),
    ("change_root", "chroot"),
    ("namespace", "unshare-user"),
    ("trace", "ptrace-seize"),
    ("be_traced", "ptrace-traceme"),
    ("signal", "kill"),
    ("nice", "setpriority"),
    ("scheduler", "sched-setscheduler"),
    ("input_priority", "ioprio-set"),
    ("limits", "prlimit"),
    ("read_code", "finit-module"),
    ("load_code", "init-module"),
    ("bpf", "bpf-program"),
    ("perf", "perf-event"),
    ("capability", "sethostname"),
    ("ioctl", "tiocsti"),
    ("ioctl_compat", "tiocsti-32bit"),
    ("anonymous", "userfaultfd"),
    ("control", "sigio"),
    ("key", "key"),
];

/// Programs that refuse nothing, one without which nobody is governed at all, and one that no single attempt shows.
const BOOKKEEPING: [(&str, &str); 17] = [
    ("truncate_open", "is about what is open already: see a_rule_on_appending.rs"),
    ("enter", "makes the attacker governed: without it the attack says so and ends"),
    ("found_at_exec", "makes governed who ran before: see governed_for_good.rs"),
    ("running", "likewise"),
    ("inherit", "makes a new thread governed, and can refuse the fork: without it, the next does so"),
    ("named", "likewise, and notes the process id of a new thread"),
    ("forget", "removes threads that are gone"),
    ("interrupted", "tells the restart of a granted call from a new call: without it fewer calls pass"),
    ("delivered", "likewise"),
    ("executed", "tells which program a thread runs: without it more programs stay busy"),
    ("shutdown", "closes a race: see exactly_this_operation.rs for what it refuses"),
    ("created", "notes the tree's own sockets: without it fewer sends pass"),
    ("accepted", "likewise"),
    ("freed", "removes sockets that are gone"),
    ("query", "notes what a resolver is asked: without it no name is known, see a_rule_on_names.rs"),
    ("query6", "likewise"),
    ("answer", "likewise"),
];

#[test]
fn without_any_one_hook_an_attack_gets_through() {
    let mut agent = Agent::start(&everything());
    let attacks: BTreeMap<_, _> = NEEDED.into();
    let mut failures = Vec::new();
    for link in links() {
        let program = link.file_name().expect("a name").to_string_lossy().into_owned();
        if BOOKKEEPING.iter().any(|(name, _)| *name == program) {
            continue;
        }
        let Some(route) = attacks.get(program.as_str()) else {
            failures.push(format!("no attack shows that {program} is needed"));
            continue;
        };
        fs::remove_file(&link).expect("a link that can be unpinned");
        let status = agent.status();
        assert_eq!(status["enforcing"], false, "status tells: {status}");
        let found = attack(&agent, route);
        if found["verdict"] != "through" {
            failures.push(format!("without {program}: {found}"));
        }
        agent.restart();
        assert!(link.exists(), "a restarted agent attaches {program} again");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn without_the_program_that_governs_an_attack_says_that_nobody_is_governed() {
    let agent = Agent::start(&everything());
    let enter = links().into_iter().find(|link| link.ends_with("enter")).expect("a pin");
    fs::remove_file(enter).expect("a link that can be unpinned");
    let reply = agent.say(User::ROOT, ["attack", "--route", "open"]);
    assert!(!reply.success() && reply.stderr.contains("did not take the attacker as governed"), "{reply:?}");
}

/// The pins of all programs: one directory for each object that is attached, which is one.
fn links() -> Vec<PathBuf> {
    let entries = |directory: PathBuf| -> Vec<PathBuf> {
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut links: Vec<_> = entries("/sys/fs/bpf/holdpoint/links".into()).into_iter().flat_map(entries).collect();
    links.sort();
    assert!(links.len() > BOOKKEEPING.len(), "{links:?}");
    links
}

fn attack(agent: &Agent, route: &str) -> Json {
    let reply = agent.say(User::ROOT, ["attack", "--json", "--route", route]);
    let findings: Json = serde_json::from_str(&reply.stdout).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    findings["routes"][0].clone()
}
