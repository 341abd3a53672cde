//! What a good policy says, as the daemon reads it.

use std::{path::Path, time::Duration};

use holdpoint_common::{decision::Decision, tables::Verdict};

use super::*;
use crate::{
    policy::{NoDefaultSubject, check},
    quorum::{self, Assurance, Group},
    scope::Scope,
};

fn judge(file: &Path) -> Result<Policy, crate::policy::LoadError> {
    check::judge(file, None, &OneFileSystem).map(|good| good.policy)
}

const WHOLE: &str = r#"
[[subject]]
name = "coding-agent"
exe = ["/usr/bin/claude"]
cgroup = ["/system.slice/agent.service"]
[[subject]]
name = "pipeline"
[reviewers]
security = ["alice", "bob"]
leads = ["dave"]
[[rule]]
name = "customer data needs a person"
subject = ["coding-agent"]
open = { path = ["/srv/exports/**"], access = ["read"] }
then = "hold"
reviewers = "security"
why = "people's data"
timeout = "90s"
on_deny = "fail"
[[rule]]
name = "out"
connect = { to = ["10.0.0.0/8", "::1", "any"], port = [443, "8000-8999"] }
then = "hold"
reviewers = "security"
on_timeout = "fail"
escalate = [{ after = "2m", reviewers = "leads" }, { after = "4m", reviewers = { security = 2, leads = 1 } }]
remind = "30s"
[[rule]]
name = "curl"
exec = { path = ["/usr/bin/curl"] }
then = "audit"
"#;

#[test]
fn a_hold_has_the_terms_that_the_policy_gives_it() {
    let policy = policy(WHOLE);
    let rule = policy.rule(0).expect("the first rule");
    let terms = rule.terms().expect("the terms of a hold");
    assert_eq!(rule.why.as_deref(), Some("people's data"));
    assert_eq!(terms.timeout, Duration::from_secs(90));
    assert_eq!((terms.on_deny, terms.on_timeout), (Decision::Fail, Decision::Fail));
    let members = ["alice", "bob"].map(Into::into).into();
    assert_eq!(terms.reviewers, [Group { name: "security".into(), approvals: 1, members }]);
    assert_eq!((terms.assurance, &terms.scopes[..]), (Assurance::Basic, &[][..]));
}

#[test]
fn a_rule_offers_the_scopes_that_it_names() {
    let offering = WHOLE.replace("then = \"hold\"", "then = \"hold\"\nscope = [\"tree\", \"60m\"]");
    let policy = policy(&offering);
    let terms = policy.rule(0).and_then(crate::policy::Rule::terms).expect("the terms of a hold");
    assert_eq!(terms.scopes, [Scope::Tree, Scope::Time(3600)]);
}

#[test]
fn a_hold_waits_five_minutes_and_kills_unless_told_otherwise() {
    let policy = policy(WHOLE);
    let terms = policy.rule(1).and_then(crate::policy::Rule::terms).expect("the terms of a hold");
    assert_eq!(terms.timeout, Duration::from_mins(5));
    assert_eq!((terms.on_deny, terms.on_timeout), (Decision::Kill, Decision::Fail));
    let steps: Vec<_> =
        terms.escalate.iter().map(|step| (step.after.as_secs(), quorum::brief(&step.reviewers))).collect();
    assert_eq!(steps, [(120, "leads".into()), (240, "2 of security and leads".into())]);
    assert_eq!(terms.remind, Some(Duration::from_secs(30)));
}

#[test]
fn a_rule_is_for_the_subjects_it_names_or_for_all() {
    let policy = policy(WHOLE);
    assert_eq!(policy.rules[0].subjects, [0]);
    assert_eq!(policy.rules[2].subjects, [0, 1]);
    assert_eq!(policy.rules[2].verdict(), Verdict::Audit);
    assert!(policy.rule(3).is_none());
}

#[test]
fn the_default_subject_is_the_only_one() {
    let both = policy(WHOLE);
    assert_eq!(both.subject_named("pipeline"), Some(&both.subjects[1]));
    assert_eq!(both.subject(both.subjects[1].number()), Some(&both.subjects[1]));
    assert_eq!(both.subject_named("other"), None);
    let error = both.default_subject().expect_err("there are two");
    assert_eq!(error, NoDefaultSubject(vec!["coding-agent".to_owned(), "pipeline".to_owned()]));
    assert_eq!(error.to_string(), "the policy has 2 subjects; choose one with --subject: coding-agent, pipeline");
    let one = policy(HEAD);
    assert_eq!(one.default_subject(), Ok(&one.subjects[0]));
}

#[test]
fn the_revision_is_the_beginning_of_the_files_digest() {
    let policy = policy(HEAD);
    assert_eq!(policy.digest, crate::request::hexadecimal(&<sha2::Sha256 as sha2::Digest>::digest(HEAD)));
    assert_eq!(policy.revision(), &policy.digest[..16]);
}

#[test]
fn the_shipped_policies_are_good_and_say_why() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../policies"));
    for name in ["default.toml", "demo.toml"] {
        let policy = judge(&folder.join(name)).unwrap_or_else(|error| panic!("{}", error.rendered(false)));
        let silent: Vec<_> = policy.rules.iter().filter(|rule| rule.why.is_none()).map(|rule| &rule.name).collect();
        assert!(silent.is_empty(), "{name}: {silent:?}");
        assert_eq!(policy.default_subject(), Ok(&policy.subjects[0]), "{name}");
    }
}

#[test]
fn check_tells_good_refused_and_unreadable_apart() {
    let folder = std::env::temp_dir().join(format!("holdpoint-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let [good, bad, large, missing] = ["good", "bad", "large", "missing"].map(|name| folder.join(name));
    std::fs::write(&good, HEAD).expect("a file");
    std::fs::write(&bad, b"[[subject]]\nname = \"\xff\"\n").expect("a file");
    std::fs::write(&large, vec![b'#'; (4 << 20) + 1]).expect("a file");
    let exit = |files: &[&std::path::PathBuf]| {
        check(&files.iter().map(|file| (*file).clone()).collect::<Vec<_>>(), None, false, true)
    };
    assert_eq!(exit(&[&good]), 0.into());
    assert_eq!(exit(&[&bad, &good]), 1.into());
    assert_eq!(exit(&[&missing, &bad]), 2.into());
    assert_eq!(exit(&[]), 2.into());
    let said = |file| judge(file).expect_err("not good").to_string();
    assert!(said(&bad).ends_with("bad:2:9: the file is not UTF-8 from here on (save it as UTF-8)"), "{}", said(&bad));
    assert!(said(&large).contains("large:1:1: the file is larger than 4 MiB"), "{}", said(&large));
    assert!(said(&missing).contains("cannot read the policy"), "{}", said(&missing));
    std::fs::remove_dir_all(folder).expect("the folder");
}
