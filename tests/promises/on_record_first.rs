//! Promise 10: on record first. A decision is on disk before it takes effect.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use holdpoint_tests::{
    Agent, Hold, Json, User,
    agent::RECORD,
    everything,
    process::{self, state},
    reviewer::{Reviewer, policy},
    shared, site, wait_for, wait_until,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal::SIGINT,
};

/// A process that is held when it empties a file by the rule, and the file.
#[test]
fn every_decision_is_one_line_with_the_answer_behind_it() {
    let agent = shared(&everything());
    for (rule, answer, decision, then) in [
        ("hold", "approve", "approve", "passed"),
        ("hold", "deny", "fail", "refused"),
        ("short", "", "fail", "refused"),
    ] {
        let (actor, hold, _) = agent.emptying(rule);
        if !answer.is_empty() {
            let reply = agent.say(User::REVIEWER, [answer, hold.id(), "--why", "because"]);
            assert!(reply.success(), "{reply:?}");
        }
        actor.end();
        agent.wait_recorded(then, |line| line["event"] == then && line["hold"] == hold.id());
        let lines: Vec<_> = agent.record().into_iter().filter(|line| line["hold"] == hold.id()).collect();
        let position = |event: &str| {
            let found: Vec<_> = (0..lines.len()).filter(|index| lines[*index]["event"] == event).collect();
            assert_eq!(found.len(), 1, "one line {event} in {lines:#?}");
            found[0]
        };
        assert!(position("held") < position("decided") && position("decided") < position(then));
        let decided = &lines[position("decided")];
        assert_eq!((&decided["digest"], &decided["decision"]), (&hold["digest"], &decision.into()));
        if answer.is_empty() {
            assert_eq!((&decided["state"], &decided["answer"]), (&"expired".into(), &Json::Null));
        } else {
            let answer = &decided["answer"];
            assert_eq!((&answer["who"], &answer["why"]), (&"reviewer".into(), &"because".into()));
            assert_eq!(answer["digest"], hold["digest"]);
        }
    }
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(RECORD).unwrap()) & 0o777;
    assert_eq!(mode, 0o600, "only root reads the record");
}

/// strace on a process, until dropped.
struct Trace {
    child: Child,
    file: PathBuf,
}

impl Trace {
    fn start(pid: u32) -> Self {
        let file = PathBuf::from(format!("/run/holdpoint-tests/trace-{}", site::fresh()));
        let errors = file.with_extension("errors");
        let child = Command::new("strace")
            .args(["-f", "-qq", "-s", "4096", "-e", "trace=fdatasync,fsync,bpf,write", "-o"])
            .arg(&file)
            .args(["-p", &pid.to_string()])
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .expect("start strace");
        let trace = Self { child, file };
        let threads = || fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|entry| entry.unwrap().path());
        let is_traced = |task: PathBuf| {
            let status = fs::read_to_string(task.join("status")).unwrap_or_default();
            status.contains(&format!("TracerPid:\t{}\n", trace.child.id()))
        };
        wait_until("strace sees all threads", || threads().all(is_traced));
        trace
    }

    /// What it saw, in order, once it is told to stop.
    fn end(mut self) -> Vec<String> {
        process::signal(self.child.id(), SIGINT);
        self.child.wait().unwrap();
        site::content(&self.file).lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_line_is_on_disk_before_the_kernel_is_told() {
    let agent = shared(&everything());
    let (actor, hold, _) = agent.emptying("hold");
    let trace = Trace::start(agent.pid());
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
    agent.wait_recorded("it passed", |line| line["event"] == "passed" && line["hold"] == hold.id());
    let calls = trace.end();
    let after = |from: usize, what: &dyn Fn(&str) -> bool| {
        let found = calls[from..].iter().position(|call| what(call));
        from + found.unwrap_or_else(|| panic!("not after call {from} of {calls:#?}"))
    };
    let written =
        after(0, &|call| call.contains("write(") && call.contains("\\\"decided\\\"") && call.contains(hold.id()));
    let synced = after(written, &|call| call.contains("fdatasync") && call.ends_with("= 0"));
    let told = after(0, &|call| call.contains("BPF_MAP_UPDATE_ELEM"));
    assert!(written < synced && synced < told, "written {written}, on disk {synced}, told {told}: {calls:#?}");
}

/// A file system of its own for the record, which can be filled. Unmounted when dropped.
struct SmallDisk;

/// Where it is.
const DISK: &str = "/var/lib/holdpoint";
/// A tmpfs gives space by whole pages.
const PAGE: u64 = 4096;

impl SmallDisk {
    fn mount() -> Self {
        fs::create_dir_all(DISK).unwrap();
        mount(Some("small"), DISK, Some("tmpfs"), MsFlags::empty(), Some("size=128k,mode=700")).expect("mount");
        Self
    }

    /// From now on the record cannot grow by a byte.
    fn fill(&self) {
        let length = || fs::metadata(RECORD).unwrap().len();
        let mut record = File::options().append(true).open(RECORD).unwrap();
        // The rest of the record's last page, with a line like others.
        let frame = "{\"event\":\"padding\",\"text\":\"\"}\n";
        let room = PAGE - length() % PAGE;
        let room = if room < frame.len() as u64 { room + PAGE } else { room };
        let text = "x".repeat(usize::try_from(room).unwrap() - frame.len());
        record.write_all(frame.replace("\"\"", &format!("\"{text}\"")).as_bytes()).expect("write");
        assert_eq!(length() % PAGE, 0);
        let mut filler = File::create(Path::new(DISK).join("filler")).unwrap();
        while filler.write_all(&[0; PAGE as usize]).is_ok() {}
    }

    /// There is room again.
    fn clear(&self) {
        fs::remove_file(Path::new(DISK).join("filler")).unwrap();
    }

    /// The lines that are JSON.
    fn lines(&self) -> Vec<Json> {
        site::content(RECORD).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits until nobody has anything more to write about this hold.
    fn wait_asked(&self, hold: &Hold) {
        wait_for("it is on record as asked", holdpoint_tests::LIMIT, || {
            self.lines().iter().any(|line| line["event"] == "asked" && line["hold"] == hold.id()).then_some(())
        });
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = umount2(DISK, MntFlags::MNT_DETACH);
        if !std::thread::panicking() {
            unmounted.expect("unmount");
        }
    }
}

#[test]
fn an_approval_that_cannot_be_recorded_has_no_effect_and_a_denial_has() {
    shared::end();
    let reviewer = Reviewer::start();
    let disk = SmallDisk::mount();
    let agent = Agent::builder(&policy()).config(reviewer.config()).start();
    let (actor, hold, file) = agent.emptying("hold");
    let (denied, other, untouched) = agent.emptying("hold");
    let (short, last, kept) = agent.emptying("hold-kill");
    for hold in [&hold, &other, &last] {
        disk.wait_asked(hold);
    }
    disk.fill();

    let response = reviewer.answer(&hold, "approve").send();
    assert_eq!(response.status, 503, "{response:?}");
    let reply = agent.say(User::REVIEWER, ["approve", hold.id()]);
    assert_eq!(reply.status.code(), Some(1), "{reply:?}");
    assert!(reply.stderr.contains("record") && reply.stderr.contains("help: "), "{reply:?}");
    assert_eq!(state(hold.pid()), Some('T'));
    assert_eq!(site::content(&file), "Ada\n");
    assert!(agent.holds().iter().any(|pending| pending.id() == hold.id()), "it is still open to an answer");

    reviewer.deny(&other);
    assert_eq!(denied.end().stdout, "open EPERM\n", "a denial does not wait for a disk");
    assert_eq!(site::content(&untouched), "Ada\n");
    agent.deny(&last);
    assert_eq!(short.end().signal(), Some(9));
    assert_eq!(site::content(&kept), "Ada\n");
    let problems = agent.status()["problems"].to_string();
    assert!(problems.contains("2 denials could not be recorded"), "{problems}");

    disk.clear();
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n", "with room it can be approved");
    assert_eq!(site::content(&file), "");
    wait_until("what was lost is counted", || {
        disk.lines().iter().any(|line| line["event"] == "lost" && line["count"] == 2)
    });
    let decided: Vec<_> = disk.lines().into_iter().filter(|line| line["event"] == "decided").collect();
    assert_eq!(decided.len(), 1, "{decided:#?}");
    assert_eq!(decided[0]["hold"], hold.id());
    drop(agent);
    drop(disk);
}

#[test]
fn silence_denies_also_where_that_cannot_be_recorded() {
    shared::end();
    let reviewer = Reviewer::start();
    let disk = SmallDisk::mount();
    let agent = Agent::builder(&policy()).config(reviewer.config()).start();
    let file = site::file("short", "Ada\n");
    let mut actor = agent.act(["line".to_owned(), format!("open {file} w+trunc")]);
    actor.pid();
    disk.fill();
    actor.go_on();
    assert_eq!(actor.end().stdout, "open EPERM\n");
    assert_eq!(site::content(&file), "Ada\n");
    disk.clear();
    let (actor, hold, _) = agent.emptying("short");
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\n");
    drop(agent);
    drop(disk);
}
