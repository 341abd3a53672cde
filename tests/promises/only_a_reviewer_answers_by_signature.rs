//! Promise 4: only a reviewer answers. Here by a signature: it counts whoever passes it on, if it is by a key that the policy
//! has of a member, and of this decision on this hold.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::LazyLock,
};

use holdpoint_tests::{
    Actor, Agent, Hold, Json, LIMIT, Reply, User, control, everything,
    process::{state, wait_stopped},
    shared, site, wait_for, wait_until,
};

/// What signatures of decisions are for.
const NAMESPACE: &str = "decision@holdpoint";

/// A key for each: of alice, who is no user of this host, of `agent`, who asks, and of mallory, whom the policy does not know.
static KEYS: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = site::directory("allow");
    for name in ["alice", "agent", "mallory"] {
        let made = keygen(&["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &text(directory.join(name))], "");
        assert!(made, "a key for {name}");
    }
    directory
});

/// Whether `ssh-keygen` has done it.
fn keygen(words: &[&str], input: &str) -> bool {
    let mut program = Command::new("ssh-keygen");
    let mut running = program.args(words).stdin(Stdio::piped()).spawn().expect("ssh-keygen");
    // What it does not read it does not need.
    let _ = running.stdin.take().expect("a pipe").write_all(input.as_bytes());
    running.wait().expect("wait").success()
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}

fn key(name: &str) -> String {
    text(KEYS.join(name))
}

fn public(name: &str) -> String {
    site::content(format!("{}.pub", key(name))).trim().to_owned()
}

/// The usual policy, with alice and `agent` among the reviewers, and their keys.
fn policy() -> String {
    let members = everything().replace("\"reviewer\"]", "\"reviewer\", \"alice\", \"agent\"]");
    let person = |name| format!("\n[[reviewer]]\nname = \"{name}\"\nssh = [\"{}\"]\n", public(name));
    members + &person("alice") + &person("agent")
}

/// A process of this user's tree that is held when it opens the file.
fn opening(agent: &Agent, launcher: User) -> (Actor, Hold) {
    let file = site::file("hold", "Ada\n");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("chmod");
    let actor = agent.spawn(launcher, holdpoint_tests::actor::with_actor([format!("open {file} r")]));
    let hold = agent.hold_of(&actor);
    (actor, hold)
}

/// What is to be signed for this answer, as `holdpoint` prints it.
fn statement(agent: &Agent, verb: &str, hold: &Hold) -> String {
    let reply = agent.say(User::REVIEWER, [verb, hold.id(), "--statement"]);
    assert!(reply.success() && reply.stderr.contains(hold.text("path")), "what is signed is shown: {reply:?}");
    reply.stdout
}

/// A file with this person's signature of `statement`.
fn signature(name: &str, namespace: &str, statement: &str) -> String {
    let file = text(KEYS.join(format!("statement-{}", site::fresh())));
    fs::write(&file, statement).expect("write the statement");
    assert!(keygen(&["-q", "-Y", "sign", "-n", namespace, "-f", &key(name), &file], ""), "a signature by {name}");
    format!("{file}.sig")
}

/// Whether `ssh-keygen` takes the file's text for alice's signature of `statement`.
fn verifies(statement: &str, signature: &str) -> bool {
    let (allowed, file) = (text(KEYS.join("allowed_signers")), text(KEYS.join("recorded.sig")));
    fs::write(&allowed, format!("alice namespaces=\"{NAMESPACE}\" {}\n", public("alice")))
        .expect("write whose key it is");
    fs::write(&file, signature).expect("write the signature");
    keygen(&["-q", "-Y", "verify", "-f", &allowed, "-I", "alice", "-n", NAMESPACE, "-s", &file], statement)
}

#[track_caller]
fn check_refused(reply: &Reply, says: &str) {
    assert_eq!(reply.status.code(), Some(1), "{reply:?}");
    assert!(reply.stderr.contains(says) && reply.stderr.contains("help: "), "{says}: {reply:?}");
}

#[test]
fn a_signed_approval_lets_the_call_go_on_and_can_be_verified_from_the_record() {
    let agent = shared(&policy());
    let (actor, hold) = opening(&agent, User::AGENT);
    let opened = control([format!("open {} r", hold.text("path"))]);
    assert_eq!(opened.stdout, "open ok\n", "without Holdpoint");
    check_refused(
        &agent.say(User::REVIEWER, ["approve", hold.id(), "--sign"]),
        "no key /home/reviewer/.ssh/id_ed25519",
    );
    assert_eq!(state(hold.pid()), Some('T'));

    let reply = agent.say(User::ROOT, ["approve", hold.id(), "--sign", "--key", &key("alice"), "--why", "as agreed"]);
    assert!(reply.success() && reply.stdout.ends_with("approved by alice\n"), "{reply:?}");
    assert!(reply.stdout.contains(hold.text("path")), "what is signed is shown: {reply:?}");
    assert_eq!(actor.end().stdout, "open ok\n");

    let decided = &agent.recorded("decided", &hold)[0];
    let (answer, proof) = (&decided["answer"], &decided["answer"]["proof"]);
    let said = (&answer["who"], &answer["why"], &proof["by"], &proof["uid"]);
    assert_eq!(said, (&"alice".into(), &"as agreed".into(), &"signed".into(), &0.into()));
    assert!(proof["key"].as_str().is_some_and(|key| key.starts_with("SHA256:")), "{proof}");
    let field = |name: &str| answer[name].as_str().expect("text").to_owned();
    let of = |word: &str| format!("holdpoint {word}\nhold {}\ndigest {}\n", field("hold"), field("digest"));
    let signature = proof["signature"].as_str().expect("text");
    assert!(verifies(&of(&field("word")), signature), "{decided}");
    assert!(!verifies(&of("deny"), signature), "of this decision alone");
}

#[test]
fn a_signature_that_was_made_elsewhere_counts() {
    let agent = shared(&policy());
    let (actor, hold) = opening(&agent, User::AGENT);
    let denial = statement(&agent, "deny", &hold);
    assert_eq!(denial, format!("holdpoint deny\nhold {}\ndigest {}\n", hold.id(), hold.digest()));
    assert_eq!(state(hold.pid()), Some('T'), "printing it answers nothing");
    let file = signature("alice", NAMESPACE, &denial);
    let reply = agent.say(User::REVIEWER, ["deny", hold.id(), "--signature", &file, "--json"]);
    let json: Json = serde_json::from_str(&reply.stdout).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    assert_eq!((&json["hold"], &json["end"], &json["by"]), (&hold["id"], &"denied".into(), &"alice".into()));
    assert_eq!(actor.end().stdout, "open EPERM\n");
}

#[test]
fn how_far_an_approval_reaches_is_signed() {
    let usual = "reviewers = \"people\"";
    let agent = shared(&policy().replace(usual, &format!("{usual}\nscope = [\"tree\"]")));
    let (actor, hold) = opening(&agent, User::AGENT);
    let once = signature("alice", NAMESPACE, &statement(&agent, "approve", &hold));
    let wider = ["approve", hold.id(), "--scope", "tree"];
    check_refused(
        &agent.say(User::REVIEWER, [&wider[..], &["--signature", &once]].concat()),
        "not of this decision on this hold",
    );
    assert_eq!(state(hold.pid()), Some('T'));
    let reply = agent.say(User::REVIEWER, [&wider[..], &["--statement"]].concat());
    assert!(reply.stdout.ends_with("scope tree\n"), "{reply:?}");
    let signed = signature("alice", NAMESPACE, &reply.stdout);
    let reply = agent.say(User::REVIEWER, [&wider[..], &["--signature", &signed]].concat());
    assert!(reply.success() && reply.stdout.contains("approved by alice"), "{reply:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
    assert_eq!(agent.recorded("decided", &hold)[0]["answer"]["scope"], "tree");
    agent.wait_recorded("the grant", |line| line["event"] == "granted" && line["grant"] == hold.id());
}

#[test]
fn one_signature_proves_each_approval_of_a_question_that_lists_several() {
    let agent = shared(&policy());
    let open = format!("open {} r", site::file("hold", "Ada\n"));
    let mut actor = agent.act(["fork", &open, "end", "fork", &open, "end", "fork", &open, "end", "gather"]);
    wait_until("all are held", || agent.holds_of(&actor).len() == 3);
    let find = |wanted: &dyn Fn(&Hold) -> bool| agent.holds_of(&actor).into_iter().find(wanted);
    agent.approve(find(&|hold| hold["behind"] == Json::Null).expect("it is asked about"));
    let lists_one = |hold: &Hold| hold["same"].as_array().is_some_and(|same| same.len() == 1);
    let all = wait_for("one question about the others", LIMIT, || find(&lists_one));
    let alice = key("alice");
    let sign = ["approve", all.id(), "--sign", "--key", &alice];
    check_refused(&agent.say(User::ROOT, sign), "is for 2 calls");
    assert!(agent.say(User::ROOT, [&sign[..], &["--all"]].concat()).success());
    assert_eq!(actor.wait_end().stdout.matches("open ok").count(), 3);

    let listed = &agent.recorded("gathered", &all)[0]["listed"];
    for same in listed.as_array().expect("a list") {
        let (id, digest) = (same["hold"].as_str().expect("an id"), &same["digest"]);
        assert_eq!(
            (&agent.recorded("held", id)[0]["digest"], &agent.recorded("decided", id)[0]["digest"]),
            (digest, digest)
        );
        let answer = &agent.recorded("decided", id)[0]["answer"];
        let of = format!("holdpoint approve\nhold {}\ndigest {}\n", all.id(), all.digest());
        assert!(verifies(&of, answer["proof"]["signature"].as_str().expect("text")), "{answer}");
    }
}

#[test]
fn whoever_passes_a_signature_on_does_not_matter() {
    let agent = shared(&policy());
    let (actor, hold) = opening(&agent, User::REVIEWER);
    let file = signature("alice", NAMESPACE, &statement(&agent, "approve", &hold));
    check_refused(&agent.say(User::REVIEWER, ["approve", hold.id()]), "requester");
    let reply = agent.say(User::REVIEWER, ["approve", hold.id(), "--signature", &file]);
    assert!(reply.success() && reply.stdout.contains("approved by alice"), "{reply:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
}

#[test]
fn a_signature_of_anything_else_or_by_anybody_else_has_no_effect() {
    let agent = shared(&policy());
    let ((other_actor, other), (actor, hold)) = (opening(&agent, User::AGENT), opening(&agent, User::AGENT));
    let approval = statement(&agent, "approve", &hold);
    let of_other = statement(&agent, "approve", &other);
    let denial = statement(&agent, "deny", &hold);
    let others = [
        ("of another hold", "alice", NAMESPACE, &of_other, "not of this decision on this hold"),
        ("of another decision", "alice", NAMESPACE, &denial, "not of this decision on this hold"),
        ("for something else", "alice", "file", &approval, "the signature is for \"file\""),
        ("by a key that is nobody's", "mallory", NAMESPACE, &approval, "no reviewer in the policy has the key SHA256:"),
        ("by who asks", "agent", NAMESPACE, &approval, "requester"),
    ];
    for (count, (what, name, namespace, statement, says)) in (1..).zip(others) {
        let file = signature(name, namespace, statement);
        check_refused(&agent.say(User::REVIEWER, ["approve", hold.id(), "--signature", &file]), says);
        let refused = agent.recorded("refused-answer", &hold);
        assert_eq!(refused.len(), count, "{what} is on record: {refused:?}");
        assert!(refused[count - 1]["refusal"].as_str().is_some_and(|text| text.contains(says)), "{what}: {refused:?}");
        assert_eq!(state(hold.pid()), Some('T'), "{what} has no effect");
    }
    let broken = key("alice") + ".pub";
    check_refused(&agent.say(User::REVIEWER, ["approve", hold.id(), "--signature", &broken]), "not a signature of SSH");

    let file = signature("alice", NAMESPACE, &approval);
    assert!(agent.say(User::REVIEWER, ["approve", hold.id(), "--signature", &file]).success());
    assert_eq!(actor.end().stdout, "open ok\n");
    agent.deny(&other);
    assert_eq!(other_actor.end().stdout, "open EPERM\n");
}

#[test]
fn a_key_that_the_policy_has_no_longer_counts_no_longer() {
    let agent = shared(&policy());
    let (actor, hold) = opening(&agent, User::AGENT);
    let file = signature("alice", NAMESPACE, &statement(&agent, "approve", &hold));
    let approve = || agent.say(User::REVIEWER, ["approve", hold.id(), "--signature", &file]);
    let reloaded = agent.reload(&policy().replace(&public("alice"), &public("mallory")));
    assert!(reloaded.success(), "{reloaded:?}");
    check_refused(&approve(), "no reviewer in the policy has the key");
    wait_stopped(hold.pid());
    let reloaded = agent.reload(&policy());
    assert!(reloaded.success(), "{reloaded:?}");
    let reply = approve();
    assert!(reply.success(), "with the key again: {reply:?}");
    assert_eq!(actor.end().stdout, "open ok\n");
}
