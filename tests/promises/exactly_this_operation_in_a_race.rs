//! Promise 3, against a process that changes what is held while it is asked about and while it goes on: a thousand approvals
//! of each kind of operation, and none that let something else happen.
//!
//! Every question that shows A is approved and every one that shows B is denied, so a B that happened had the approval of
//! an A. That the races are lost without the comparison, which is their control, is shown by
//!
//! ```console
//! # HOLDPOINT_EBPF_FEATURES=broken-grant cargo xtask test --only promises -- in_a_race
//! ```
//!
//! There a grant is good for whatever its thread does next, and every one of these tests must fail.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    thread::sleep,
    time::{Duration, Instant},
};

use holdpoint_tests::{
    Hold, User,
    control::Control,
    everything,
    listener::Listener,
    shared,
    site::{self, racer},
    ungoverned,
};
use jiff::Timestamp;

/// A race that is not over by then hangs.
const LIMIT: Duration = Duration::from_secs(600);

/// Approvals in each race: `cargo xtask test --rounds`.
fn rounds() -> usize {
    std::env::var("HOLDPOINT_ROUNDS").expect("how many rounds").parse().expect("a number")
}

/// The usual policy, without a pause after a no: A and B of one name are one request to it.
fn policy() -> String {
    everything().replace("then = \"hold\"", "then = \"hold\"\npause = \"0s\"")
}

/// What came of a race.
#[derive(Debug, Default)]
struct Score {
    /// Calls that were shown to be A and were approved.
    approved: usize,
    /// Calls that were shown to be B and were denied.
    denied: usize,
    /// What happened.
    done: String,
}

impl Score {
    fn happened(&self, what: &str) -> usize {
        self.done.lines().filter(|line| *line == what).count()
    }

    /// Nothing happened that was not approved, and no approval counted twice.
    #[track_caller]
    fn check(&self, race: &str) {
        let (done, wrong) = (self.happened("A"), self.happened("B"));
        println!("{race}: {} approved, {} denied, {done} done as shown, {wrong} otherwise", self.approved, self.denied);
        assert_eq!(wrong, 0, "done with the approval of something else");
        assert!(done <= self.approved, "an approval counted twice");
        assert!(done > 0, "what is not changed goes on");
    }

    /// Likewise, and the race was one: some approvals met something else.
    #[track_caller]
    fn check_raced(&self, race: &str) {
        self.check(race);
        assert!(self.happened("A") < self.approved && self.denied > 0, "nothing was changed in time: {race}");
    }
}

/// Answers what `racer` asks by what `shown` says of each question, until so many were approved.
#[track_caller]
fn run(race: &str, words: &[&str], shown: impl Fn(&Hold) -> char) -> Score {
    let agent = shared(&policy());
    let mut control = Control::connect();
    let mut score = Score::default();
    let mut answered = BTreeSet::new();
    let began = Instant::now();
    let mut actor = agent.spawn(User::AGENT, [&[racer(), race], words].concat());
    let mut ending = false;
    while !actor.has_ended() {
        assert!(began.elapsed() < LIMIT, "{race} hangs: {score:?}, held: {:#?}", control.holds());
        let holds = control.holds();
        for hold in &holds {
            // Its question can come to be about others, too, that ask for the same.
            if !answered.insert((hold.id().to_owned(), hold.digest().to_owned())) {
                continue;
            }
            let (word, count) = match shown(hold) {
                'A' => ("approve", &mut score.approved),
                _ => ("fail", &mut score.denied),
            };
            let calls = 1 + hold["same"].as_array().map_or(0, Vec::len);
            *count += if control.answer(hold, word) { calls } else { 0 };
            if answered.len().is_multiple_of(100) {
                println!("{race}: {} approved, {} denied after {:?}", score.approved, score.denied, began.elapsed());
            }
        }
        if score.approved >= rounds() && !ending {
            actor.go_on();
            ending = true;
        }
        if holds.is_empty() {
            sleep(Duration::from_millis(1));
        }
    }
    score.done = actor.end().stdout;
    println!("{race}: {:?}", began.elapsed());
    score
}

/// The last character of a text.
fn last(text: &str) -> char {
    text.trim_end().chars().next_back().unwrap_or_default()
}

#[test]
fn of_a_path_in_memory() {
    let path = format!("{}-A", site::nothing("hold"));
    let other = format!("{}B", &path[..path.len() - 1]);
    for path in [&path, &other] {
        fs::write(path, last(path).to_string()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    run("open", &[&path], |hold| last(hold.text("path"))).check_raced("path");
}

#[test]
fn of_an_argument_in_memory() {
    let program = site::program("bin-hold", racer());
    let shown = |hold: &Hold| last(hold["argv"][1].as_str().unwrap());
    run("argument", &[&program], shown).check_raced("argument");
}

#[test]
fn of_the_program_behind_a_name() {
    let (program, other) = (site::program("bin-hold", racer()), site::program("bin-hold", racer()));
    write_other_mark(&other);
    let inode = fs::metadata(&program).unwrap().ino();
    // Nobody in the governed tree could rename it.
    let _racing = ungoverned(User::ROOT, [racer(), "exchange", &program, &other]);
    let shown = |hold: &Hold| if hold["object"]["inode"] == inode { 'A' } else { 'B' };
    run("program", &[&program], shown).check_raced("program");
}

/// Makes the copy of `racer` at `path` say that its mark is B.
fn write_other_mark(path: &str) {
    const MARK: &[u8] = b"the mark is A";
    let mut program = fs::read(path).unwrap();
    let at = program.windows(MARK.len()).position(|bytes| bytes == MARK).expect("the mark");
    program[at + MARK.len() - 1] = b'B';
    fs::write(path, program).unwrap();
}

#[test]
fn of_the_content_of_a_script() {
    let script = site::script("bin-hold", "#!/bin/sh\necho A");
    let score = run("script", &[&script], |hold| content(hold, &script));
    score.check("script");
    let busy = score.done.lines().find_map(|line| line.strip_prefix("busy ")?.parse::<u32>().ok());
    println!("script: {busy:?} attempts to write it while it was busy");
    assert!(busy > Some(0), "nobody tried to write it in time");
}

/// The last letter of the script, if the script is in the state that the question shows.
fn content(hold: &Hold, script: &str) -> char {
    let is_shown = || {
        let found = fs::metadata(script).unwrap();
        let moment =
            |seconds, fraction: i64| Timestamp::new(seconds, fraction.try_into().unwrap()).unwrap().to_string();
        let shown = &hold["content"];
        shown["size"] == found.size()
            && shown["modified"] == moment(found.mtime(), found.mtime_nsec())
            && shown["changed"] == moment(found.ctime(), found.ctime_nsec())
    };
    let before = is_shown();
    let text = fs::read_to_string(script).unwrap();
    if before && is_shown() { last(&text) } else { 'B' }
}

#[test]
fn of_an_address_in_memory() {
    let listeners = [Listener::v4("hold"), Listener::v4("hold")];
    let [one, other] = [0, 1].map(|index: usize| listeners[index].address().port());
    let shown = |hold: &Hold| {
        listeners.iter().for_each(|listener| while listener.waiting().is_some() {});
        if hold["port"] == one { 'A' } else { 'B' }
    };
    run("connect", &[&one.to_string(), &other.to_string()], shown).check_raced("address");
}
