use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use jiff::Timestamp;

use super::*;
use crate::{
    request::{Answer, Caller, Entrance, Known, Proof, Word},
    scope::Scope,
};

const ID: HoldId = HoldId(0xfeed);

/// A path of its own for each test, gone at its end.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdpoint-record-{test}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn entry(event: Event) -> Entry {
    Entry { time: Timestamp::from_second(1_000).unwrap(), event }
}

fn approved() -> Entry {
    let digest = Digest("d1".into());
    let proof = Proof::Local(Caller { uid: 1000, login: None, name: "alice".into() });
    let (word, who) = (Word::Approve, "alice".into());
    let answer = Answer {
        hold: ID,
        digest: digest.clone(),
        word,
        scope: Scope::Once,
        who,
        why: None,
        proof,
        known: Box::default(),
    };
    let (state, decision) = (End::Approved, Decision::Approve);
    entry(Event::Decided(Box::new(Decided {
        hold: ID,
        digest,
        listed: vec![],
        operation_key: None,
        state,
        decision,
        approvals: vec![],
        answer: Some(answer),
        grant: None,
    })))
}

#[test]
fn a_line_names_event_hold_and_answer() {
    let place = Place::new("line");
    Record::open(&place.0).unwrap().append(&approved()).unwrap();
    assert_eq!(
        place.text(),
        concat!(
            r#"{"time":"1970-01-01T00:16:40Z","event":"decided","hold":"000000000000feed","digest":"d1","#,
            r#""state":"approved","decision":"approve","answer":{"hold":"000000000000feed","digest":"d1","#,
            r#""word":"approve","who":"alice","why":null,"proof":{"by":"local","uid":1000}}}"#,
            "\n"
        )
    );
}

#[test]
fn what_is_known_of_who_answers_is_on_record() {
    let mut approved = approved();
    let Event::Decided(decided) = &mut approved.event else { panic!("a decision") };
    let Some(answer) = &mut decided.answer else { panic!("an answer") };
    let caller = || Caller { uid: 0, login: Some(1000), name: "al".into() };
    let (claimed, users) = (Some("al".into()), vec!["al".into()]);
    *answer.known = Known { assurance: quorum::Assurance::Medium, claimed, users, uids: vec![], own: true };
    for (proof, said) in [
        (Proof::Local(caller()), r#"{"by":"local","uid":0,"login":1000}"#),
        (
            Proof::Page { user: "alice".into(), entrance: Some(Entrance::Local(caller())) },
            r#"{"by":"page","user":"alice","uid":0,"login":1000}"#,
        ),
        (Proof::Page { user: "alice".into(), entrance: None }, r#"{"by":"page","user":"alice"}"#),
    ] {
        let answer = Answer { proof, ..answer.clone() };
        let text = serde_json::to_string(&answer).unwrap();
        let known = r#""assurance":"medium","claimed":"al","self":true}"#;
        assert!(text.ends_with(&format!("\"proof\":{said},{known}")), "{text}");
    }
}

#[test]
fn a_signed_answer_is_on_record_with_its_signature() {
    let place = Place::new("signed");
    let mut approved = approved();
    let Event::Decided(decided) = &mut approved.event else { panic!("a decision") };
    let Some(answer) = &mut decided.answer else { panic!("an answer") };
    answer.proof = Proof::Signed { key: "SHA256:x".into(), signature: "-----BEGIN\n".into(), uid: 0 };
    Record::open(&place.0).unwrap().append(&approved).unwrap();
    let proof = r#""proof":{"by":"signed","key":"SHA256:x","signature":"-----BEGIN\n","uid":0}"#;
    assert!(place.text().contains(proof), "{}", place.text());
}

#[test]
fn only_root_reads_it_even_if_it_was_open_before() {
    let place = Place::new("mode");
    fs::write(&place.0, "").unwrap();
    fs::set_permissions(&place.0, fs::Permissions::from_mode(0o644)).unwrap();
    Record::open(&place.0).unwrap();
    assert_eq!(fs::metadata(&place.0).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_decision_is_found_after_a_restart() {
    let place = Place::new("restart");
    Record::open(&place.0).unwrap().append(&approved()).unwrap();
    let by = Some("alice".into());
    let digest = Digest("d1".into());
    let expected = Recorded { digest, state: End::Approved, decision: Decision::Approve, by };
    assert_eq!(Record::open(&place.0).unwrap().decided(ID), Some(&expected));
}

#[test]
fn a_decision_by_a_grant_names_it_and_who_gave_it() {
    let place = Place::new("grant");
    let mut decided = approved();
    let Event::Decided(used) = &mut decided.event else { panic!("a decision") };
    (used.answer, used.grant) = (None, Some(ByGrant { grant: HoldId(7), granted_by: "alice and bob".into() }));
    Record::open(&place.0).unwrap().append(&decided).unwrap();
    let by = r#""answer":null,"grant":"0000000000000007","granted_by":"alice and bob"}"#;
    assert!(place.text().contains(by), "{}", place.text());
    let found = Record::open(&place.0).unwrap().decided(ID).cloned();
    assert_eq!(found.and_then(|found| found.by).as_deref(), Some("alice and bob"));
}

#[test]
fn a_hold_that_is_over_is_not_found() {
    for over in [Event::Left { hold: ID }, Event::Refused { hold: ID }] {
        let place = Place::new("over");
        let mut record = Record::open(&place.0).unwrap();
        record.append(&approved()).unwrap();
        record.append(&entry(over)).unwrap();
        assert_eq!(Record::open(&place.0).unwrap().decided(ID), None);
    }
}

#[test]
fn a_torn_line_costs_only_itself() {
    let place = Place::new("torn");
    fs::write(&place.0, r#"{"time":"1970-01-01T00:16:40Z","event":"deci"#).unwrap();
    Record::open(&place.0).unwrap().append(&approved()).unwrap();
    let text = place.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(serde_json::from_str::<serde_json::Value>(lines[1]).is_ok());
    assert!(Record::open(&place.0).unwrap().decided(ID).is_some());
}

#[test]
fn a_full_disk_is_an_error() {
    let full = OpenOptions::new().append(true).open("/dev/full").unwrap();
    let mut record = Record { file: full, torn: false, decided: HashMap::new(), past: Past::default() };
    assert!(record.append(&approved()).is_err());
    assert!(record.torn);
}
