//! `[[reviewer]]`: who is who.

use super::{
    refusals::{assert_said, said_of},
    *,
};
use crate::{
    policy::{Person, source::File},
    quorum::{Assurance, SelfAnswer},
};

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
            "web-1.toml:10:{}: this is another reviewer's key already (it says who answers: remove one)",
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
        "web-1.toml:9:8: a reviewer named \"alice\" is there already (write all that is one person's in one section)",
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
fn a_section_has_a_name_and_says_who_that_is() {
    assert_said(
        "[[reviewer]]\n[[reviewer]]\nname = \"alice\"\nssh = []\ngpg = []\n",
        "web-1.toml:5:1: [[reviewer]] has no name (add name = \"...\", as a group of [reviewers] has it)\n\
         web-1.toml:5:1: [[reviewer]] does not say who that is (add user, slack, sso, email, integrations or ssh, or remove the section)\n\
         web-1.toml:8:7: ssh is an empty list (fill it or remove it)\n\
         web-1.toml:9:1: [[reviewer]] has no key \"gpg\" (one of: name, user, slack, sso, email, integrations, ssh)",
    );
    assert_eq!(
        said_of(&format!("{HEAD}[reviewer]\nname = \"alice\"\n")),
        "web-1.toml:5:1: reviewer is one table (write [[reviewer]], also for one)"
    );
}

#[test]
fn a_person_is_all_that_the_section_says() {
    let section = "[[reviewer]]\nname = \"alice\"\nuser = [\"al\", \"alice\"]\nslack = [\"T1/U1\"]\n\
                   sso = [\"https://login.example 4|2\"]\nemail = [\"Al@B.Example\"]\nintegrations = { ops = \"basic\", sso = \"medium\" }\n";
    let people = policy(&format!("{HEAD}{section}")).people;
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let alice = Person {
        name: "alice".into(),
        users: texts(&["al", "alice"]),
        slack: texts(&["T1/U1"]),
        sso: texts(&["https://login.example 4|2"]),
        emails: texts(&["Al@b.example"]),
        integrations: [("ops".into(), Assurance::Basic), ("sso".into(), Assurance::Medium)].into(),
        keys: vec![],
    };
    assert_eq!(people, [alice]);
    assert!(people[0].logs_in("https://login.example", "4|2") && !people[0].logs_in("https://login.example", "4"));
    assert!(people[0].is_called("Al@B.EXAMPLE") && !people[0].is_called("al@b.example"));
}

#[test]
fn what_says_nothing_of_a_person_is_refused() {
    let section = |keys: &str| format!("[[reviewer]]\nname = \"alice\"\n{keys}\n");
    for (keys, said) in [
        ("user = [\"1000\"]", "7:9: \"1000\" is not a user's name (write what `id -un` prints for this user)"),
        ("user = [\"a b\"]", "7:9: \"a b\" is not a user's name (write what `id -un` prints for this user)"),
        (
            "slack = [\"U1\"]",
            "7:10: \"U1\" is not a team's and a user's id (write both as Slack has them: \"T0123ABCD/U0123ABCD\")",
        ),
        (
            "email = [\"alice\"]\nintegrations = { ops = \"basic\" }",
            "7:10: \"alice\" is not an e-mail address (write it as the integration gives it: a@b.example)",
        ),
        (
            "sso = [\"42\"]",
            "7:8: \"42\" is not an issuer and a subject (write both as the provider's ID tokens have them: \
             \"https://login.example 248289761001\")",
        ),
        (
            "sso = [\"https://login.example \"]",
            "7:8: \"https://login.example \" is not an issuer and a subject (write both as the provider's ID tokens have \
             them: \"https://login.example 248289761001\")",
        ),
        ("integrations = [\"ops\"]", "7:16: integrations is not a table but a list (write { key = value, ... })"),
        ("integrations = {}", "7:16: integrations is an empty table (name a channel: { CHANNEL = \"basic\" })"),
        (
            "integrations = { \"o p\" = \"basic\" }",
            "7:18: \"o p\" is not a channel's name (the name of a [[channel]] of config.toml: letters, digits, - and _)",
        ),
        ("integrations = { ops = \"high\" }", "7:24: an integration's word is no signature (one of: basic, medium)"),
        ("integrations = { ops = \"sure\" }", "7:24: unknown assurance \"sure\" (one of: basic, medium)"),
        ("integrations = { ops = 1 }", "7:24: ops is not text but an integer (write \"...\")"),
    ] {
        assert_said(&section(keys), &format!("web-1.toml:{said}"));
    }
}

#[test]
fn an_identity_is_one_persons() {
    let head = HEAD.replace("\"alice\"", "\"alice\", \"bob\", \"carol\"");
    let all = "integrations = { ops = \"basic\" }\n";
    let alice =
        format!("[[reviewer]]\nname = \"alice\"\nuser = [\"al\"]\nslack = [\"T1/U1\"]\nemail = [\"a@b\"]\n{all}");
    let bob = |keys: &str| format!("{head}{alice}[[reviewer]]\nname = \"bob\"\n{keys}\n{all}");
    let remedy = "(it says who answers: remove one)";
    for (keys, place, what) in [
        ("user = [\"al\"]", "13:9", "user"),
        ("slack = [\"T1/U1\"]", "13:10", "user of Slack"),
        ("email = [\"a@B\"]", "13:10", "name or e-mail address"),
        // carol has no section: the user of that name is her.
        ("user = [\"carol\"]", "13:9", "user"),
    ] {
        let said = said_of(&bob(keys));
        assert_eq!(said, format!("web-1.toml:{place}: this is another reviewer's {what} already {remedy}"));
        let shown = read(source(&bob(keys))).expect_err("refused").rendered(false);
        assert!(shown.contains("this one"), "both places: {shown}");
    }
    assert_eq!(policy(&bob("user = [\"bob\", \"alice\"]")).people.len(), 2, "a user can have another one's name");
}

#[test]
fn whether_the_requester_may_answer_is_said_by_the_rule() {
    let rule = |line: &str| {
        format!(
            "{HEAD}[[rule]]\nname = \"r\"\nopen = {{ path = [\"/x\"] }}\nthen = \"hold\"\nreviewers = \"security\"\n{line}\n"
        )
    };
    let own = |line| policy(&rule(line)).rules[0].terms().expect("it holds").own;
    assert_eq!(own(""), SelfAnswer::Refused);
    assert_eq!(own("self = \"refused\""), SelfAnswer::Refused);
    assert_eq!(own("self = \"allowed\""), SelfAnswer::Allowed);
    assert_eq!(said_of(&rule("self = true")), "web-1.toml:10:8: self is not text but a boolean (write \"...\")");
    assert_eq!(said_of(&rule("self = \"yes\"")), "web-1.toml:10:8: unknown self \"yes\" (one of: refused, allowed)");
    assert_eq!(
        said_of(&rule("self = \"allowed\"").replace("\"hold\"", "\"deny\"").replace("reviewers = \"security\"", "")),
        "web-1.toml:10:1: self is for holds only, and this rule says \"deny\" (remove self, or write then = \"hold\")"
    );
}
