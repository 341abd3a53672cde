//! Promise 4: only a reviewer answers. Here by webhook: what is asked, and whose signed callback counts.

use holdpoint_tests::{
    Actor, Agent, Hold, Json, User,
    agent::holdpoint,
    listener::Listener,
    process::{self, state},
    reviewer::{Asked, Callback, Manner, Response, Reviewer, asked},
    site, wait_for, wait_until,
};
use nix::sys::signal::Signal::SIGKILL;
use serde_json::json;

/// A process that is held when it opens a file by the rule, and the file.
fn opening(agent: &Agent, rule: &str) -> (Actor, Hold, String) {
    let file = site::file(rule, "Ada\n");
    let actor = agent.act([format!("open {file} r"), "read".to_owned()]);
    let hold = agent.hold_of(&actor);
    (actor, hold, file)
}

/// A program whose execution is held.
fn held_echo() -> String {
    let program = site::program("hold", "/bin/echo").replace("/srv/hp/hold/", "/srv/hp/bin-hold/");
    let directory = std::path::Path::new(&program).parent().expect("a directory");
    std::fs::create_dir_all(directory).unwrap();
    std::fs::copy("/bin/echo", &program).unwrap();
    program
}

/// What every question says, whatever is asked.
#[track_caller]
fn check_question(data: &Json, hold: &Hold, reviewer: &Reviewer, host: &str) {
    assert_eq!(data["hold"], hold.id());
    assert_eq!(data["digest"], hold.digest());
    assert_eq!(data["host"], host);
    assert_eq!(data["subject"], "tests");
    assert_eq!(data["tree"], hold.tree());
    assert_eq!(data["why"], "a test");
    let people = json!([{ "name": "people", "approvals": 1, "members": ["root", "reviewer"] }]);
    assert_eq!((&data["reviewers"], &data["assurance"]), (&people, &json!("basic")));
    assert_eq!(data["launcher"]["user"], "agent");
    assert_eq!(data["launcher"]["uid"], site::AGENT);
    assert_eq!(data["deadline"], hold["deadline"]);
    assert_eq!(data["cut"], false);
    let url = format!("http://{}/v1/holds/{}/answer", reviewer.callbacks(), hold.id());
    assert_eq!(data["callback_url"], url);

    let process = &data["process"];
    assert_eq!(process["pid"], hold.pid());
    assert_eq!(process["tid"], hold.tid());
    assert_eq!((process["uid"].as_u64(), process["user"].as_str()), (Some(site::AGENT.into()), Some("agent")));
    assert_eq!(process["exe"], site::actor());
    assert_eq!(process["argv"][0], site::actor());
    assert_eq!(process["cwd"], "/");
    let parent = &data["ancestry"][0];
    assert_eq!(parent["pid"], process::parent(hold.pid()), "the ancestry begins with the parent");
    assert_eq!((parent["exe"].as_str(), &parent["argv"][1]), (Some(&*holdpoint()), &"run".into()));
    assert_eq!(parent["user"], "agent");
}

fn serde_json_list(texts: &[&str]) -> Box<Json> {
    Box::new(texts.iter().copied().map(Json::from).collect())
}

fn host() -> String {
    site::content("/proc/sys/kernel/hostname").trim().to_owned()
}

#[test]
fn the_question_about_an_open_has_the_whole_context() {
    let Asked { agent, reviewer } = asked();
    let (actor, hold, file) = opening(&agent, "hold");
    let question = reviewer.question(&hold);
    let data = question.data();
    check_question(data, &hold, reviewer, &host());
    assert_eq!(data["rule"], "hold files");
    assert_eq!(data["summary"], format!("open {file} (read)"));
    let operation = &data["operation"];
    assert_eq!(operation["kind"], "open");
    assert_eq!(operation["path"], file);
    assert_eq!(operation["access"], *serde_json_list(&["read"]));
    assert_eq!(operation["owner"], "agent");
    assert_eq!(operation["size"], 4);
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    // Who waits for an answer is told that none is needed any more.
    let ended = reviewer.ending(&hold);
    let data = ended.data();
    assert_eq!(
        (&data["state"], &data["decision"], &data["by"]),
        (&"approved".into(), &"approve".into(), &"reviewer".into())
    );
    assert_eq!(reviewer.questions(&hold).len(), 1, "one question, taken at once");
}

#[test]
fn the_question_about_an_exec_has_the_file_the_arguments_and_the_directory() {
    let Asked { agent, reviewer } = asked();
    let program = held_echo();
    let actor = agent.act([format!("exec {program} two words")]);
    let hold = agent.hold_of(&actor);
    let question = reviewer.question(&hold);
    let data = question.data();
    check_question(data, &hold, reviewer, &host());
    assert_eq!(data["rule"], "hold programs");
    assert_eq!(data["operation"]["kind"], "exec");
    assert_eq!(data["operation"]["path"], program);
    assert_eq!(data["operation"]["argv"], *serde_json_list(&[&program, "two", "words"]));
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "two words\n");
}

#[test]
fn what_the_message_cannot_show_whole_is_not_approved_by_it() {
    let Asked { agent, reviewer } = asked();
    let program = held_echo();
    for (length, whole) in [(1000, true), (3000, false)] {
        // Six bytes in the message, each.
        let filler = "\u{1}".repeat(length);
        let actor = agent.act([format!("exec {program} {filler} end")]);
        let hold = agent.hold_of(&actor);
        let question = reviewer.question(&hold);
        let data = question.data();
        assert_eq!(data["whole"], whole);
        assert_eq!(data["operation"]["argv"][1] == filler, whole, "{data:#}");
        if whole {
            reviewer.approve(&hold);
        } else {
            let refused = reviewer.answer(&hold, "approve").send();
            assert_eq!(refused.status, 403, "{refused:?}");
            let line = agent.recorded("refused-answer", &hold).pop().expect("the refusal is on record");
            assert!(
                line["refusal"].as_str().is_some_and(|text| text.contains("too long to be approved there")),
                "{line}"
            );
            agent.still_held(&actor, &hold);
            agent.approve(&hold);
        }
        assert_eq!(actor.end().stdout, format!("{filler} end\n"));
    }
}

#[test]
fn the_question_about_a_connect_has_address_port_and_protocol() {
    let Asked { agent, reviewer } = asked();
    let listener = Listener::v4("hold");
    let actor = agent.act([format!("connect {}", listener.target())]);
    let hold = agent.hold_of(&actor);
    let question = reviewer.question(&hold);
    let data = question.data();
    check_question(data, &hold, reviewer, &host());
    assert_eq!(data["rule"], "hold ports");
    assert_eq!(data["operation"]["kind"], "connect");
    assert_eq!(data["operation"]["address"], "127.0.0.1");
    assert_eq!(data["operation"]["port"], listener.address().port());
    assert_eq!(data["operation"]["protocol"], "tcp");
    assert!(listener.waiting().is_none(), "held: nobody has connected");
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "connect ok\n");
    listener.accept();
}

#[test]
fn a_question_is_repeated_under_the_same_id_with_a_new_timestamp() {
    let Asked { agent, reviewer } = asked();
    reviewer.behaves(Manner::Status(500));
    let (actor, hold, _) = opening(&agent, "hold");
    let refused = wait_for("three attempts", holdpoint_tests::LIMIT, || {
        Some(reviewer.questions(&hold)).filter(|attempts| attempts.len() >= 3)
    });
    reviewer.behaves(Manner::Takes);
    let asked = agent.wait_recorded("it was asked", |line| line["event"] == "asked" && line["hold"] == hold.id());
    let attempts = reviewer.questions(&hold);
    assert_eq!(asked["attempts"], attempts.len());
    assert!(attempts.iter().all(|attempt| attempt.id == attempts[0].id && attempt.body == attempts[0].body));
    assert!(attempts.is_sorted_by_key(|attempt| attempt.timestamp));
    assert!(refused[2].timestamp > refused[0].timestamp, "signed anew each time");
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    assert_eq!(agent.questions(hold.tree()), 1);
}

#[test]
fn a_side_that_asks_to_be_left_alone_is_left_alone() {
    let Asked { agent, reviewer } = asked();
    reviewer.behaves(Manner::Later(3));
    let (actor, hold, _) = opening(&agent, "hold");
    reviewer.question(&hold);
    reviewer.behaves(Manner::Takes);
    agent.wait_recorded("it was asked", |line| line["event"] == "asked" && line["hold"] == hold.id());
    let attempts = reviewer.questions(&hold);
    assert_eq!(attempts.len(), 2);
    // Without the header the second attempt comes within a second.
    let pause = attempts[1].arrived.duration_since(attempts[0].arrived).as_secs_f64();
    assert!(pause > 2.5, "only {pause} s between the attempts");
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
}

#[test]
fn a_denial_by_callback_fails_the_call_or_kills_as_the_rule_says() {
    let Asked { agent, reviewer } = asked();
    let (actor, hold, _) = opening(&agent, "hold");
    let response = reviewer.answer(&hold, "deny").because("not today").send();
    assert_eq!((response.status, &response.json["state"]), (200, &"denied".into()));
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
    let decided = &agent.recorded("decided", &hold)[0];
    assert_eq!(decided["answer"]["who"], "reviewer");
    assert_eq!(decided["answer"]["why"], "not today");

    let (actor, hold, _) = opening(&agent, "hold-kill");
    reviewer.deny(&hold);
    let ended = actor.end();
    assert_eq!((ended.signal(), ended.stdout.as_str()), (Some(9), ""));
}

#[test]
fn an_answer_counts_once() {
    let Asked { agent, reviewer } = asked();
    let (actor, hold, _) = opening(&agent, "hold");
    let first = reviewer.answer(&hold, "approve").send();
    assert_eq!(first.status, 200);
    let same = reviewer.answer(&hold, "approve").send();
    assert_eq!(same, first, "the same answer gets the standing decision");
    let other = reviewer.answer(&hold, "deny").send();
    assert_eq!((other.status, &other.json), (409, &first.json), "another one is in conflict with it");
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");

    // Nor is anything left of it for the next hold of the same file.
    let (actor, hold, _) = opening(&agent, "hold");
    assert_eq!(reviewer.answer(&hold, "deny").send().status, 200);
    assert_eq!(reviewer.answer(&hold, "deny").send().status, 200);
    assert_eq!(reviewer.answer(&hold, "approve").send().status, 409);
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
    assert_eq!(agent.recorded("decided", &hold).len(), 1);
}

#[test]
fn an_answer_after_the_deadline_is_refused() {
    let Asked { agent, reviewer } = asked();
    let (actor, hold, _) = opening(&agent, "short");
    agent.wait_over(&hold);
    let response = reviewer.answer(&hold, "approve").send();
    assert_eq!((response.status, &response.json["state"]), (410, &"expired".into()));
    assert_eq!(actor.end().stdout, "open EPERM\nread EBADF\n");
    check_recorded(&agent, &hold, "the hold is over");

    let (actor, hold, _) = opening(&agent, "short");
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n", "in time it counts");
}

#[test]
fn an_answer_after_withdrawal_is_refused() {
    let Asked { agent, reviewer } = asked();
    let (actor, hold, _) = opening(&agent, "hold");
    actor.signal(SIGKILL);
    agent.wait_recorded("withdrawn", |line| line["event"] == "withdrawn" && line["hold"] == hold.id());
    let response = reviewer.answer(&hold, "approve").send();
    assert_eq!((response.status, &response.json["state"]), (410, &"withdrawn".into()));
    assert_eq!(reviewer.ending(&hold).data()["state"], "withdrawn");
    assert_eq!(actor.end().signal(), Some(9));
    assert!(agent.recorded("passed", &hold).is_empty());
}

/// Waits until a refused answer to the hold is recorded that says `refusal`.
#[track_caller]
fn check_recorded(agent: &Agent, hold: &Hold, refusal: &str) {
    agent.wait_recorded(format!("refused: {refusal}"), |line| {
        line["event"] == "refused-answer"
            && line["hold"] == hold.id()
            && line["refusal"].as_str().is_some_and(|text| text.contains(refusal))
    });
}

/// One answer that must not count: what is done to a good one, and what the agent says.
type Bad = (&'static str, fn(Callback, &str) -> Response, u16, &'static str);

const BAD: [Bad; 14] = [
    ("a forged signature", |good, _| good.forged().send(), 401, "bad signature"),
    ("no signature", |good, _| good.unsigned().send(), 401, "webhook header"),
    (
        "another decision than was signed",
        |good, _| good.with("decision", "deny").send_changed("decision", "approve"),
        401,
        "bad signature",
    ),
    ("an old timestamp", |good, _| good.aged(330).send(), 401, "old timestamp"),
    ("a timestamp of the future", |good, _| good.aged(-330).send(), 401, "old timestamp"),
    ("an unknown hold", |good, _| good.to_hold("00000000deadbeef").send(), 404, "unknown hold"),
    ("another hold in the path", |good, _| good.at("/v1/holds/00000000deadbeef/answer").send(), 400, "another hold"),
    ("a wrong digest", |good, _| good.about(&"0".repeat(64)).send(), 422, "digest"),
    ("another hold's digest", |good, other| good.about(other).send(), 422, "digest"),
    ("a person whom the rule does not name", |good, _| good.by("mallory").send(), 403, "reviewer"),
    ("a channel that does not ask for this rule", |good, _| good.from_others().send(), 403, "reviewer"),
    ("the user who asks", |good, _| good.by("agent").send(), 403, "requester"),
    ("a word that is no decision", |good, _| good.with("decision", "perhaps").send(), 400, "malformed"),
    ("a field that is not known", |good, _| good.with("for", "ever").send(), 400, "malformed"),
];

#[test]
fn an_answer_that_is_not_a_reviewers_has_no_effect() {
    let Asked { agent, reviewer } = asked();
    let (other_actor, other, _) = opening(&agent, "hold");
    let (actor, hold, _) = opening(&agent, "hold");
    for (what, send, status, refusal) in BAD {
        let before = agent.record().len();
        let response = send(reviewer.answer(&hold, "approve"), other.digest());
        assert_eq!(response.status, status, "{what}: {response:?}");
        wait_until(&format!("{what} is on record as {refusal:?}"), || {
            agent.record()[before..].iter().any(|line| {
                let text = line["refusal"].as_str().unwrap_or_default();
                line["event"] == "refused-answer" && text.contains(refusal)
            })
        });
        assert_eq!(state(hold.pid()), Some('T'), "{what} has no effect");
    }
    let pending: Vec<_> = agent.holds().iter().map(|hold| hold.id().to_owned()).collect();
    assert!(pending.contains(&hold.id().to_owned()) && pending.contains(&other.id().to_owned()), "{pending:?}");
    assert!(agent.recorded("decided", &hold).is_empty());
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
    reviewer.deny(&other);
    assert_eq!(other_actor.end().stdout, "open EPERM\nread EBADF\n");
}

#[test]
fn whoever_launched_the_tree_does_not_answer_for_it() {
    let Asked { agent, reviewer } = asked();
    let file = site::file("hold", "Ada\n");
    let actor = agent.spawn(User::REVIEWER, holdpoint_tests::actor::with_actor([format!("open {file} r")]));
    // The file is the agent's, so that the permission bits refuse it after holdpoint has not.
    std::os::unix::fs::chown(&file, Some(1001), None).unwrap();
    let hold = agent.hold_of(&actor);
    let response = reviewer.answer(&hold, "approve").send();
    assert_eq!(response.status, 403, "{response:?}");
    check_recorded(&agent, &hold, "requester");
    assert_eq!(state(hold.pid()), Some('T'));
    assert_eq!(reviewer.answer(&hold, "approve").by("root").send().status, 200, "another reviewer does");
    assert_eq!(actor.end().stdout, "open ok\n");
}
