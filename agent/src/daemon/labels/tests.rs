use std::fs;

use jiff::Timestamp;

use super::*;
use crate::{
    policy::{self, Host, Source},
    request::{Context, Process},
};

/// A directory of its own for each test, gone at its end.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("holdpoint-labels-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn policy(labels: &[String]) -> Policy {
    let labels: String = labels.iter().map(|name| format!("{name} = [\"/{name}\"]\n")).collect();
    let text = format!("[[subject]]\nname = \"a\"\n[labels]\n{labels}");
    policy::parse(Source::one("policy.toml", text), &Host::named("")).unwrap()
}

fn named(names: &[&str]) -> Policy {
    policy(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
}

fn bits(policy: &Policy) -> Vec<u32> {
    policy.labels.iter().map(|label| label.bit).collect()
}

#[test]
fn a_label_keeps_its_bit_in_every_policy_and_after_a_restart() {
    let place = Place::new("bits");
    let mut known = Bits::open(&place.0).unwrap();
    let mut first = named(&["a", "b"]);
    known.assign(&mut first).unwrap();
    assert_eq!(bits(&first), [0, 1]);
    let mut next = named(&["c", "b"]);
    Bits::open(&place.0).unwrap().assign(&mut next).unwrap();
    assert_eq!(bits(&next), [2, 1]);
}

#[test]
fn a_bit_is_given_anew_once_nobody_carries_it() {
    let place = Place::new("anew");
    let mut known = Bits::open(&place.0).unwrap();
    known.assign(&mut named(&["a", "b"])).unwrap();
    known.forget(&named(&["b"]), 1).unwrap();
    assert_eq!(known.names(3).collect::<Vec<_>>(), ["a", "b"], "a is carried");
    known.forget(&named(&["b"]), 0).unwrap();
    assert_eq!(known.names(3).collect::<Vec<_>>(), ["b"]);
    let mut next = named(&["c"]);
    known.assign(&mut next).unwrap();
    assert_eq!(bits(&next), [0]);
}

#[test]
fn more_labels_than_there_are_bits_are_refused_by_name() {
    let place = Place::new("many");
    let mut known = Bits::open(&place.0).unwrap();
    let many: Vec<_> = (0..64).map(|number| format!("l{number}")).collect();
    known.assign(&mut policy(&many)).unwrap();
    let said = known.assign(&mut named(&["one-more"])).unwrap_err().to_string();
    assert!(said.starts_with("no room for the label \"one-more\": this host knows 64 labels"), "{said}");
    assert!(known.names(u64::MAX).all(|name| name != "one-more"));
}

fn texts(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn reading(label: &str, pid: u32, lineage: bool) -> Reading {
    let (tree, path) = ("t".to_owned(), format!("/{label}/{pid}"));
    Reading { tree, label: label.into(), lineage, path, pid, started: 1, exe: None, at: Timestamp::UNIX_EPOCH }
}

#[test]
fn the_first_reading_is_shown_and_each_process_s_own_where_labels_go_by_lineage() {
    let place = Place::new("readings");
    let mut known = Readings::open(&place.0).unwrap();
    let governed = BTreeSet::from(["t".to_owned()]);
    let mut first = |reading: &Reading| known.note(reading, &governed).unwrap();
    assert!(first(&reading("tree", 1, false)) && !first(&reading("tree", 2, false)));
    assert!(first(&reading("line", 1, true)) && first(&reading("line", 2, true)) && !first(&reading("line", 2, true)));
    let known = Readings::open(&place.0).unwrap();
    let shown = |carried: &[&str], first: &[&str], ancestors: &[u32]| -> Vec<String> {
        let [carried, first] = [carried, first].map(texts);
        let ancestry = ancestors.iter().map(|pid| Process { pid: *pid, ..Process::default() }).collect();
        let context = Context { ancestry, ..Context::default() };
        known.of("t", &carried, &first, &context).into_iter().map(|reading| reading.path).collect()
    };
    let both = ["line", "tree"];
    assert_eq!(shown(&both, &[], &[9, 2]), ["/tree/1", "/line/2"], "whatever the rule asks for");
    assert_eq!(shown(&both, &["line"], &[9, 2]), ["/line/2", "/tree/1"], "what it asks for is first");
    assert_eq!(shown(&both, &["line"], &[9]), ["/line/2", "/line/1", "/tree/1"], "who has read is gone");
    assert_eq!(shown(&["line"], &[], &[9]), ["/line/2", "/line/1"], "likewise");
    assert_eq!(shown(&["tree"], &["line"], &[9, 2]), ["/tree/1"], "an ancestor has read it since it forked");
    assert!(shown(&[], &both, &[9, 2]).is_empty(), "nothing is carried");
    assert!(known.of("u", &texts(&both), &[], &Context::default()).is_empty(), "of another tree");
}

#[test]
fn of_readings_that_may_be_anybody_s_the_latest_are_shown() {
    let place = Place::new("others");
    let mut known = Readings::open(&place.0).unwrap();
    let governed = BTreeSet::from(["t".to_owned()]);
    for pid in 1..=40 {
        assert!(known.note(&reading("line", pid, true), &governed).unwrap());
    }
    let shown = known.of("t", &texts(&["line"]), &[], &Context::default());
    assert_eq!((shown.len(), &*shown[0].path, &*shown[OTHERS - 1].path), (OTHERS, "/line/40", "/line/25"));
}
