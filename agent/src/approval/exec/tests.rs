use tokio::{sync::mpsc, time::Instant};

use super::*;
use crate::{
    approval::{Approval, Submission, lane::OF_A_TREE},
    config::Config,
    record::{Entry, Event},
    request::{End, HoldId, Outcome, Refusal, Standing, Word, sample},
};
use holdpoint_common::decision::Decision;

const HOLD: HoldId = HoldId(7);

/// The channel `ask` with a shell's script.
fn channel(script: &str, patience: Duration) -> Channel {
    let arguments = ["-c", script].map(Into::into).into();
    let way = Exec::new("/bin/sh".into(), arguments, patience);
    Channel::to_security("ask", "exec", Arc::new(way))
}

/// An agent with that channel: what it records, and the answers that reach its state machine.
struct Desk {
    approval: Approval,
    lines: mpsc::Receiver<Entry>,
    answers: mpsc::Receiver<Submission>,
}

fn desk(script: &str, patience: Duration) -> Desk {
    let (notes, lines) = mpsc::channel(16);
    let (submit, answers) = mpsc::channel(16);
    let config = Config { channels: vec![channel(script, patience)], ..Config::default() };
    Desk { approval: Approval::new(&config, "host-1".into(), submit, notes), lines, answers }
}

impl Desk {
    /// Asks about a hold with that many seconds left; gives the line about it.
    async fn ask(&mut self, seconds: i64) -> Event {
        let hold = sample::hold(HOLD);
        self.approval.ask(hold.deadline - SignedDuration::from_secs(seconds), &hold);
        timeout(Duration::from_secs(30), self.lines.recv()).await.expect("in time").expect("not closed").event
    }
}

fn answer(word: &str, digest: &str) -> String {
    format!(r#"{{"hold":"{HOLD}","digest":"{digest}","decision":"{word}","who":"alice","why":"fine"}}"#)
}

fn error(event: Event) -> String {
    match event {
        Event::NotAsked { error, .. } => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_it_prints_is_an_answer_of_its_channel() {
    let digest = sample::hold(HOLD).digest.0;
    let script = format!("grep -q '\"type\":\"holdpoint.request.created\"' && echo '{}'", answer("approve", &digest));
    let mut desk = desk(&script, Duration::MAX);
    assert_eq!(desk.ask(60).await, Event::Asked { hold: HOLD, channel: "ask".into(), attempts: 1 });
    let Submission { answer, reply } = desk.answers.recv().await.unwrap();
    let proof = Proof::Exec { channel: "ask".into(), asks: vec!["security".into()] };
    assert_eq!((answer.hold, answer.word, answer.who.as_str(), answer.proof), (HOLD, Word::Approve, "alice", proof));
    let standing = Standing { hold: HOLD, state: End::Approved, decision: Decision::Approve, by: None };
    let _: Result<(), Result<Outcome, Refusal>> = reply.send(Ok(Outcome::Accepted(standing)));
}

#[tokio::test]
async fn it_need_not_print_nor_read() {
    for script in ["cat > /dev/null", "exit 0", "echo; echo complaint >&2"] {
        let mut desk = desk(script, Duration::MAX);
        assert_eq!(desk.ask(60).await, Event::Asked { hold: HOLD, channel: "ask".into(), attempts: 1 }, "{script}");
        assert!(desk.answers.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_failure_is_not_asked_and_the_record_has_its_first_line() {
    for (script, expected) in [
        ("printf 'no\\033[2Jdesk\\nmore' >&2; exit 3", "no\\u{1b}[2Jdesk"),
        ("exit 3", "exit status 3"),
        ("kill -9 $$", "ended by signal 9"),
        ("head -c 70000 /dev/zero", "it printed more than 65536 bytes"),
    ] {
        assert_eq!(error(desk(script, Duration::MAX).ask(1).await), expected, "{script}");
    }
}

#[tokio::test]
async fn a_failure_is_tried_again() {
    let mark = std::env::temp_dir().join(format!("holdpoint-exec-{}", std::process::id()));
    let script = format!("test -e {0} && rm {0} && exit 0; touch {0}; exit 1", mark.display());
    let event = desk(&script, Duration::MAX).ask(60).await;
    assert_eq!(event, Event::Asked { hold: HOLD, channel: "ask".into(), attempts: 2 });
}

#[tokio::test]
async fn what_is_no_answer_to_this_hold_is_none_and_not_asked_for_again() {
    let other = answer("approve", "00").replace(&HOLD.to_string(), &HoldId(8).to_string());
    for printed in ["yes", "{}", &answer("maybe", "00"), &other, &format!("{0} {0}", answer("deny", "00"))] {
        let mut desk = desk(&format!("echo '{printed}'"), Duration::MAX);
        let error = error(desk.ask(60).await);
        assert!(error.starts_with("what it printed is no answer: malformed"), "{error}");
        assert!(desk.answers.try_recv().is_err());
    }
}

#[tokio::test]
async fn it_is_ended_when_its_time_is_over_with_all_that_it_started() {
    let began = Instant::now();
    let mark = std::env::temp_dir().join(format!("holdpoint-exec-child-{}", std::process::id()));
    let script = format!("sleep 100 & echo $! > {}; wait", mark.display());
    let error = error(desk(&script, Duration::from_secs(1)).ask(2).await);
    assert_eq!(error, "no answer in time");
    assert!(began.elapsed() < Duration::from_secs(10));
    let child = std::fs::read_to_string(&mark).unwrap();
    let _ = std::fs::remove_file(&mark);
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    let ended = async {
        // Whoever it belongs to now may not have fetched it yet.
        while !state().is_empty() && !state().contains(") Z ") {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), ended).await.expect("what it started has ended");
}

#[tokio::test]
async fn what_it_leaves_running_does_not_keep_the_answer() {
    let began = Instant::now();
    let event = desk("sleep 20 & exit 0", Duration::MAX).ask(60).await;
    assert!(matches!(event, Event::Asked { .. }) && began.elapsed() < Duration::from_secs(10), "{event:?}");
}

#[tokio::test]
async fn a_decision_ends_it_and_it_is_told_the_outcome() {
    let place = std::env::temp_dir().join(format!("holdpoint-exec-told-{}", std::process::id()));
    let script =
        format!("read line; case $line in *created*) sleep 100;; *) echo \"$line\" > {};; esac", place.display());
    let mut desk = desk(&script, Duration::MAX);
    let hold = sample::hold(HOLD);
    desk.approval.ask(sample::start(), &hold);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let standing = Standing { hold: HOLD, state: End::Expired, decision: Decision::Fail, by: None };
    desk.approval.tell(sample::start(), &hold, &standing);
    let told = async {
        loop {
            match std::fs::read_to_string(&place) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let told = timeout(Duration::from_secs(20), told).await.expect("in time");
    let _ = std::fs::remove_file(&place);
    assert!(told.contains(r#""state":"expired""#), "{told}");
    assert!(desk.lines.try_recv().is_err(), "nothing more is heard of the question");
}

#[tokio::test]
async fn a_tree_whose_programs_wait_for_reviewers_delays_no_other_tree() {
    let place = std::env::temp_dir().join(format!("holdpoint-exec-many-{}", std::process::id()));
    std::fs::create_dir(&place).unwrap();
    let script = format!("cd {}; : > $$; until test -e go; do sleep 0.1; done", place.display());
    let mut desk = desk(&script, Duration::from_secs(60));
    let mut ask = |tree: &str, ids: std::ops::Range<u64>| {
        for id in ids {
            let mut hold = sample::hold(HoldId(id));
            hold.request.tree = tree.into();
            desk.approval.ask(sample::start(), &hold);
        }
    };
    let started = || std::fs::read_dir(&place).unwrap().count();
    let grown = async |count| {
        let grown = async {
            while started() < count {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(Duration::from_secs(30), grown).await.expect("as many as there is room for");
        sleep(Duration::from_millis(300)).await;
        assert_eq!(started(), count, "and no more");
    };
    ask("0000000000000001", 1..21);
    grown(OF_A_TREE).await;
    ask("0000000000000002", 21..22);
    grown(OF_A_TREE + 1).await;
    std::fs::write(place.join("go"), "").unwrap();
    for _ in 0..21 {
        let line = timeout(Duration::from_secs(30), desk.lines.recv()).await.expect("in time").expect("not closed");
        assert!(matches!(line.event, Event::Asked { attempts: 1, .. }), "{line:?}");
    }
    assert_eq!(started(), 22, "the others have run, too");
    std::fs::remove_dir_all(&place).unwrap();
}

#[tokio::test]
async fn it_gets_no_environment() {
    let printed = Exec::new("/usr/bin/env".into(), vec![], Duration::MAX);
    assert_eq!(printed.run(Bytes::new()).await.unwrap(), b"");
}
