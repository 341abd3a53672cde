//! Against `ssh-keygen` itself, which signs here and verifies what was taken.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::*;
use crate::policy::{Host, Source, parse};

const ID: HoldId = HoldId(7);

/// A directory with keys: of alice and bob, who are in the policy, and of mallory, who is not. Gone at the end.
pub struct Desk(PathBuf);

impl Desk {
    /// Each test has its own.
    pub fn new(test: &str) -> Self {
        let desk = Self(std::env::temp_dir().join(format!("holdpoint-signature-{test}-{}", std::process::id())));
        let _ = fs::remove_dir_all(&desk.0);
        fs::create_dir(&desk.0).unwrap();
        for (name, kind) in [("alice", "ed25519"), ("bob", "ecdsa"), ("mallory", "ed25519")] {
            let file = desk.text(name);
            let made = desk.keygen(&["-q", "-t", kind, "-N", "", "-C", name, "-f", &file], "");
            assert!(made.status.success(), "{made:?}");
        }
        desk
    }

    /// A file in it; a person's private key has the person's name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    fn public(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap().trim().to_owned()
    }

    fn keygen(&self, words: &[&str], input: &str) -> Output {
        let mut program = Command::new("ssh-keygen");
        program.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = program.spawn().expect("ssh-keygen must be there: install openssh-client");
        running.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        running.wait_with_output().unwrap()
    }

    fn signed_for(&self, namespace: &str, name: &str, statement: &str) -> String {
        let made = self.keygen(&["-q", "-Y", "sign", "-n", namespace, "-f", &self.text(name)], statement);
        assert!(made.status.success(), "{made:?}");
        String::from_utf8(made.stdout).unwrap()
    }

    fn signed(&self, name: &str, statement: &str) -> String {
        self.signed_for(NAMESPACE, name, statement)
    }

    /// Whether `ssh-keygen` takes it for a signature of `statement` by this person.
    pub fn verifies(&self, name: &str, statement: &str, signature: &str) -> bool {
        let (allowed, file) = (self.text("allowed_signers"), self.text("signature"));
        fs::write(&allowed, format!("{name} namespaces=\"{NAMESPACE}\" {}\n", self.public(name))).unwrap();
        fs::write(&file, signature).unwrap();
        let words = ["-Y", "verify", "-f", &allowed, "-I", name, "-n", NAMESPACE, "-s", &file];
        self.keygen(&words, statement).status.success()
    }

    /// The people of a policy that has the keys of alice and bob.
    fn people(&self) -> Vec<Person> {
        let person = |name| format!("[[reviewer]]\nname = \"{name}\"\nssh = [\"{}\"]\n", self.public(name));
        let groups = "[[subject]]\nname = \"s\"\n[reviewers]\nall = [\"alice\", \"bob\"]\n";
        let text = format!("{groups}{}{}", person("alice"), person("bob"));
        let policy = parse(Source::one("policy.toml", text), &Host::named(""));
        policy.unwrap_or_else(|refusal| panic!("{refusal}")).people
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn digest() -> Digest {
    Digest("6486".into())
}

fn approval() -> String {
    statement(ID, &digest(), Word::Approve, Scope::Once)
}

#[test]
fn a_statement_has_the_decision_the_hold_and_what_is_held() {
    assert_eq!(approval(), "holdpoint approve\nhold 0000000000000007\ndigest 6486\n");
    let wider = statement(ID, &digest(), Word::Approve, Scope::Time(1800));
    assert_eq!(wider, format!("{}scope 30m\n", approval()));
    let words = [Word::Deny, Word::Kill, Word::Fail].map(|word| statement(ID, &digest(), word, Scope::Once));
    let firsts = words.iter().map(|statement| statement.lines().next().unwrap()).collect::<Vec<_>>();
    assert_eq!(firsts, ["holdpoint deny", "holdpoint kill", "holdpoint fail"]);
}

#[test]
fn a_signature_by_ssh_keygen_is_that_of_the_keys_owner() {
    let desk = Desk::new("owner");
    for name in ["alice", "bob"] {
        let signed = verify(&desk.people(), &approval(), &desk.signed(name, &approval())).unwrap();
        assert_eq!(signed.who, name);
        let listed = desk.keygen(&["-l", "-f", &desk.text(name)], "");
        assert!(String::from_utf8(listed.stdout).unwrap().contains(&format!(" {} {name} ", signed.key)));
    }
}

#[test]
fn a_signature_of_another_decision_is_refused_here_and_by_ssh_keygen() {
    let desk = Desk::new("other");
    let others = [
        statement(HoldId(8), &digest(), Word::Approve, Scope::Once),
        statement(ID, &Digest("6487".into()), Word::Approve, Scope::Once),
        statement(ID, &digest(), Word::Deny, Scope::Once),
        statement(ID, &digest(), Word::Approve, Scope::Tree),
        format!("{}\n", approval()),
        approval().trim_end().to_owned(),
    ];
    for (name, other) in ["alice", "bob"].into_iter().flat_map(|name| others.iter().map(move |other| (name, other))) {
        let signature = desk.signed(name, other);
        assert_eq!(verify(&desk.people(), &approval(), &signature), Err(BadSignature::OtherStatement), "{other}");
        assert!(!desk.verifies(name, &approval(), &signature), "{other}");
        assert!(desk.verifies(name, other, &signature), "{other}");
    }
}

#[test]
fn a_signature_for_something_else_than_decisions_is_refused() {
    let desk = Desk::new("namespace");
    let signature = desk.signed_for("file", "alice", &approval());
    let refused = verify(&desk.people(), &approval(), &signature).unwrap_err();
    assert_eq!(refused.to_string(), "the signature is for \"file\", not for \"decision@holdpoint\"");
    assert!(!desk.verifies("alice", &approval(), &signature));
}

#[test]
fn a_signature_by_a_key_that_the_policy_does_not_have_is_refused_with_the_key() {
    let desk = Desk::new("stranger");
    let signature = desk.signed("mallory", &approval());
    let Err(BadSignature::UnknownKey(key)) = verify(&desk.people(), &approval(), &signature) else { panic!("refused") };
    let listed = desk.keygen(&["-l", "-f", &desk.text("mallory")], "");
    assert!(String::from_utf8(listed.stdout).unwrap().contains(&key), "{key}");
    assert!(!desk.verifies("alice", &approval(), &signature));
}

#[test]
fn what_is_not_a_whole_signature_is_refused() {
    let desk = Desk::new("truncated");
    let (people, signature) = (desk.people(), desk.signed("alice", &approval()));
    let refused = |text: &str| assert_eq!(verify(&people, &approval(), text), Err(BadSignature::Unreadable), "{text}");
    (0..signature.trim_end().len()).for_each(|end| refused(&signature[..end]));
    refused(&"\n".repeat(LIMIT + 1));
    refused(&format!("{signature}{}", "\n".repeat(LIMIT)));
    refused(&fs::read_to_string(desk.path("alice")).unwrap());
    refused(&desk.public("alice"));
}

#[test]
fn a_signature_with_any_character_changed_is_refused_or_kept_without_the_change() {
    let desk = Desk::new("changed");
    let (people, signature) = (desk.people(), desk.signed("alice", &approval()));
    let body = signature.find('\n').unwrap()..signature.rfind("\n-----END").unwrap();
    for at in body.filter(|at| signature.as_bytes()[*at] != b'\n') {
        let other = if &signature[at..=at] == "A" { "B" } else { "A" };
        let changed = format!("{}{other}{}", &signature[..at], &signature[at + 1..]);
        // Not every length in it is looked at; what is kept has the right ones.
        let kept = verify(&people, &approval(), &changed).map(|signed| signed.signature);
        assert!(kept.is_err() || kept == Ok(signature.clone()), "{changed}");
    }
}

#[test]
fn what_is_taken_is_kept_as_ssh_keygen_takes_it() {
    let desk = Desk::new("kept");
    for name in ["alice", "bob"] {
        let signature = desk.signed(name, &approval());
        for text in [signature.clone(), format!("mine:\n{signature}\n\n"), signature.replace('\n', "\r\n")] {
            let signed = verify(&desk.people(), &approval(), &text).unwrap();
            assert_eq!(signed.signature, signature, "{text:?}");
        }
        assert!(desk.verifies(name, &approval(), &signature));
    }
}

#[test]
fn what_ssh_keygen_would_not_verify_is_not_taken() {
    let desk = Desk::new("reserved");
    let signature = desk.signed("alice", &approval());
    let body: String = signature.lines().filter(|line| !line.starts_with('-')).collect();
    let mut bytes = BASE64.decode(body).unwrap();
    let name = NAMESPACE.as_bytes();
    let end = bytes.windows(name.len()).position(|part| part == name).unwrap() + name.len();
    bytes.splice(end..end + 4, [0, 0, 0, 1, b'x']);
    let body = BASE64.encode(bytes).into_bytes();
    let lines: Vec<_> = body.chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let reserved = format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n"));
    assert!(SshSig::from_pem(&reserved).is_ok_and(|signature| signature.reserved() == b"x"));
    assert_eq!(verify(&desk.people(), &approval(), &reserved), Err(BadSignature::Unreadable));
}
