//! `[[reviewer]]`: whose keys are whose.

use super::{
    refusals::{assert_said, said_of},
    *,
};
use crate::policy::source::File;

const ALICE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIl5TV74XP/dk14Bxt4im/p74e57elKx0LEpTS2juNet";
const BOB: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBM6RMj2zuej48xCLHuyyOpZLXrIqGgUrfhKy6HsyJ8jck084tsu1NSSk88DZLoW0PLCkigOOUxYKFlaaRnN+u7Y=";
const P384: &str = "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBKNrQ9SUAw+e5Z3d/dfmwMHbHlK7Qw2ea55yhmICwIaqf4t+LtSvrX5+tH44dKf806ap/J4i2hk1r1cTyBExqxNHdHWDNEHi9bk0Ul+nmxuIJoDtUEBcI4ynafDqaT2L6g==";
const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQDLTc+RuiPbi8sBlRr4iX6dEgzCbkILeEhbW0OpEAfjrYtVPPetDqZzmCqHWwxEwg5JWTccwFq2KGQPrav83NQqs6Yd/8m/UDLmwxDiu2e/uR4eZClXWV4K1IZvrTWL+ZK2A5xdSfq6OYkHXw5QbxwurkmYKEixui6/Enb8gX+8Kyh4PdERrAgGAksjmAi4efFecrwu/7pQm50y+47pHUvcQ7byIcC26EcYYowwa9a91BqhzKKEmV/TX9JR4bg7/jrbJgkUh5rfhw1C79ZBwBSXi/EsL4ioPf9vPQK7IbgXHaBibowMUU328X7xdzbXxt9eXhyKxUGw2Rj77Q1YNZrv";

/// A section; in a policy after [`HEAD`] it begins in line 5.
fn person(name: &str, keys: &[&str]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| format!("{key:?}")).collect();
    format!("[[reviewer]]\nname = \"{name}\"\nssh = [{}]\n", keys.join(", "))
}

#[test]
fn keys_are_read_as_authorized_keys_has_them_and_are_the_same_under_any_comment() {
    let keys = [&format!("{ALICE} alice@desk of 2026"), BOB];
    let people = policy(&format!("{HEAD}{}", person("alice", &keys))).people;
    assert_eq!(people.len(), 1);
    let spelled: Vec<_> = people[0].keys.iter().map(|key| key.to_openssh().expect("a key")).collect();
    assert_eq!((people[0].name.as_str(), spelled.as_slice()), ("alice", &[ALICE.to_owned(), BOB.to_owned()][..]));
    assert_eq!(policy(HEAD).people, []);
}

#[test]
fn people_add_up_over_files_and_lists_stand_for_keys() {
    let part = format!("[reviewers]\nmore = [\"bob\"]\n[lists]\nbobs = [{BOB:?}]\n{}", person("bob", &["$bobs"]));
    let mut files = source(&format!("{HEAD}{}", person("alice", &[ALICE])));
    files.files.push(File { name: "policy.d/10.toml".into(), text: part });
    let people = read(files).expect("good").people;
    let names: Vec<_> = people.iter().map(|person| (person.name.as_str(), person.keys.len())).collect();
    assert_eq!(names, [("alice", 1), ("bob", 1)]);
}

#[test]
fn what_is_no_key_is_refused() {
    let remedy = "write what a file such as ~/.ssh/id_ed25519.pub has: \"ssh-ed25519 AAAA...\"";
    let cut = &ALICE[..ALICE.len() - 4];
    let with_options = format!("restrict,command=\\\"x\\\" {ALICE}");
    for key in ["~/.ssh/id_ed25519.pub", "ssh-ed25519", cut, &with_options, &ALICE.replace("ssh-ed25519", "ssh-rsa")] {
        assert_said(
            &format!("[[reviewer]]\nname = \"alice\"\nssh = [\"{key}\"]\n"),
            &format!("web-1.toml:7:8: this is not a public key of SSH ({remedy})"),
        );
    }
}

#[test]
fn a_key_of_a_kind_that_is_not_taken_is_refused_with_those_that_are() {
    for (key, kind) in [(RSA, "ssh-rsa"), (P384, "ecdsa-sha2-nistp384")] {
        assert_said(
            &person("alice", &[ALICE, key]),
            &format!(
                "web-1.toml:7:{}: keys of the kind \"{kind}\" are not taken \
                 (one of: ssh-ed25519, ecdsa-sha2-nistp256; `ssh-keygen -t ed25519` makes one)",
                ALICE.len() + 12
            ),
        );
    }
}

#[test]
fn a_key_is_one_persons_and_written_once() {
    assert_said(
        &person("alice", &[ALICE, &format!("{ALICE} again")]),
        &format!("web-1.toml:7:{}: ssh has this twice (remove one)", ALICE.len() + 12),
    );
    let head = HEAD.replace("\"alice\"", "\"alice\", \"bob\"");
    let text = format!("{head}{}{}", person("alice", &[ALICE]), person("bob", &[BOB, ALICE]));
    assert_eq!(
        said_of(&text),
        format!(
            "web-1.toml:10:{}: this is another reviewer's key already (a key answers in one name: remove one)",
            BOB.len() + 12
        )
    );
    let shown = read(source(&text)).expect_err("refused").rendered(false);
    assert!(shown.contains("7 ") && shown.contains("this one"), "{shown}");
}

#[test]
fn a_person_has_one_section() {
    assert_said(
        &(person("alice", &[ALICE]) + &person("alice", &[BOB])),
        "web-1.toml:9:8: a reviewer named \"alice\" is there already (write all keys of one person in one list)",
    );
}

#[test]
fn a_reviewer_whom_nobody_asks_is_refused() {
    assert_said(
        &person("carol", &[ALICE]),
        "web-1.toml:6:8: no group of reviewers has \"carol\" (add the name to a group of [reviewers], or remove this)",
    );
    assert_eq!(
        said_of(&format!("[[subject]]\nname = \"a\"\n[reviewers]\nx = [\"b\", 1]\n{}", person("c", &[ALICE]))),
        "web-1.toml:4:11: x is not text but an integer (write \"...\")",
        "it could be the one that cannot be read"
    );
}

#[test]
fn a_section_has_a_name_and_keys() {
    assert_said(
        "[[reviewer]]\n[[reviewer]]\nname = \"alice\"\nssh = []\ngpg = []\n",
        "web-1.toml:5:1: [[reviewer]] has no name (add name = \"...\", as a group of [reviewers] has it)\n\
         web-1.toml:5:1: [[reviewer]] has no ssh (add ssh = [\"ssh-ed25519 AAAA...\"])\n\
         web-1.toml:8:7: ssh is an empty list (fill it or remove it)\n\
         web-1.toml:9:1: [[reviewer]] has no key \"gpg\" (one of: name, ssh)",
    );
    assert_eq!(
        said_of(&format!("{HEAD}[reviewer]\nname = \"alice\"\n")),
        "web-1.toml:5:1: reviewer is one table (write [[reviewer]], also for one)"
    );
}
