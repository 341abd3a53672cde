//! Promise 8, against Holdpoint itself: root inside a governed tree does not switch it off. Each attempt fails, changes
//! nothing, and is in the record.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt as _, path::Path};

use holdpoint_tests::{Agent, Json, User, agent::holdpoint, everything, shared, site};

/// What is tried, as a shell command. `$agent` is the agent's process, `$directory` its configuration, `$program` its file.
const ATTEMPTS: [(&str, &str); 34] = [
    // Its process.
    ("terminated", "kill -TERM $agent"),
    ("killed", "kill -KILL $agent"),
    ("stopped", "kill -STOP $agent"),
    ("traced", "timeout 20 strace -qq -o /dev/null -p $agent"),
    ("its memory read", "head -c 1 /proc/$agent/mem"),
    ("its environment read", "cat /proc/$agent/environ"),
    ("its descriptors taken", "cat /proc/$agent/fd/3"),
    ("offered to the killer of processes", "echo 1000 >/proc/$agent/oom_score_adj"),
    ("given less time", "renice -n 19 -p $agent"),
    ("given another scheduler", "chrt --batch --pid 0 $agent"),
    ("given fewer processors", "taskset --pid 1 $agent"),
    ("given slower input and output", "ionice -c 3 -p $agent"),
    ("given other limits", "prlimit --nofile=3:3 --pid $agent"),
    ("its launcher killed", "kill -KILL $PPID"),
    ("its launcher stopped", "kill -STOP $PPID"),
    // Its control group.
    ("moved", "echo $agent >/sys/fs/cgroup/cgroup.procs"),
    ("put into a group", "mkdir /sys/fs/cgroup/holdpoint-evil"),
    // Pins, and where they are.
    ("its pin removed", "rm /sys/fs/bpf/holdpoint/links/*/open"),
    ("its maps removed", "rm -r /sys/fs/bpf/holdpoint/maps-*"),
    ("its pins moved", "mv /sys/fs/bpf/holdpoint /sys/fs/bpf/elsewhere"),
    ("its pins unmounted", "umount /sys/fs/bpf"),
    ("its pins covered", "mount -t tmpfs none /sys/fs/bpf"),
    // Files.
    ("its policy changed", "echo >>$directory/policy.toml"),
    ("its policy removed", "rm $directory/policy.toml"),
    ("its policy replaced", "cp /etc/passwd $directory/new && mv $directory/new $directory/policy.toml"),
    ("its policy for all to write", "chmod 666 $directory/policy.toml"),
    ("its configuration made", "echo >/etc/holdpoint/config.toml"),
    ("its record changed", "echo >>/var/lib/holdpoint/record.jsonl"),
    ("its record removed", "rm -r /var/lib/holdpoint"),
    ("its record elsewhere", "mv /var/lib/holdpoint /var/lib/elsewhere"),
    ("its program moved", "mv $program /usr/bin/elsewhere"),
    ("its program not executable", "chmod 644 $program"),
    // Sockets.
    ("its socket removed", "rm /run/holdpoint/control"),
    ("its socket moved", "mv /run/holdpoint /run/elsewhere"),
];

#[test]
fn root_in_the_tree_changes_nothing_and_each_attempt_is_on_record() {
    fs::create_dir_all("/etc/holdpoint").unwrap();
    let agent = shared(&everything());
    let pid = agent.pid();
    let settings = format!(
        "agent={pid} directory={} program={}; cd /; exec 2>&1; ",
        agent.directory().display(),
        fs::canonicalize(holdpoint()).unwrap().display()
    );
    let attempted = |attempt: &str| {
        let actor = agent.spawn(User::ROOT, ["bash", "-c", &format!("{settings}{attempt}; exit $?")]);
        let shell = actor.pid();
        let enrolled = |line: &Json| line["event"] == "enrolled" && line["pid"] == shell;
        (actor.end(), agent.wait_recorded("the tree", enrolled)["tree"].clone())
    };
    let (idle, quiet) = attempted("true");
    assert_eq!(idle.code(), Some(0), "the control: a shell that tries nothing: {idle:?}");
    // Only now: the first actor has made a control group of the tests' own.
    let before = state(&agent);
    let mut failures = Vec::new();
    for (what, attempt) in ATTEMPTS {
        let (ended, tree) = attempted(attempt);
        if ended.code() == Some(0) {
            failures.push(format!("{what}: it was done: {ended:?}"));
        }
        let refused = |line: &Json| line["event"] == "denied" && line["tree"] == tree;
        agent.wait_recorded(format!("{what}: {ended:?}"), refused);
        let now = state(&agent);
        if now != before {
            failures.push(format!("{what}: {before:?} has become {now:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
    let record = agent.record();
    assert!(
        !record.iter().any(|line| line["event"] == "denied" && line["tree"] == quiet),
        "who tries nothing: {record:#?}"
    );
    assert!(agent.status()["enforcing"] == true && agent.pid() == pid);
}

/// All of it that the attempts are about.
fn state(agent: &Agent) -> BTreeMap<String, String> {
    let process = Path::new("/proc").join(agent.pid().to_string());
    let of = |name: &str| fs::read_to_string(process.join(name)).unwrap_or_default();
    let status = of("status");
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let mut state: BTreeMap<_, _> =
        ["TracerPid:", "Cpus_allowed:"].into_iter().map(|name| (name.to_owned(), line(name))).collect();
    state.insert("stopped".to_owned(), line("State:").contains("stop").to_string());
    // Priority, nice value and scheduler: fields 18, 19 and 41 of proc(5).
    let stat = of("stat");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    state.insert("scheduling".to_owned(), [15, 16, 38].map(|field| fields[field]).join(" "));
    for name in ["limits", "cgroup", "oom_score_adj"] {
        state.insert(name.to_owned(), of(name));
    }
    state.insert("policy".to_owned(), site::content(agent.directory().join("policy.toml")));
    let program = fs::metadata(holdpoint()).unwrap();
    state.insert("program".to_owned(), format!("{} {:o} {}", program.ino(), program.mode(), program.ctime()));
    let places = ["/sys/fs/bpf/holdpoint", "/run/holdpoint", "/var/lib/holdpoint", "/etc/holdpoint", "/sys/fs/cgroup"];
    for place in places {
        let mut names: Vec<_> =
            fs::read_dir(place).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        state.insert(place.to_owned(), names.join(" "));
    }
    state
}
