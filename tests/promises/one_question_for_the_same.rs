//! What the processes of a tree ask in the same way at the same time is one question, and no approval reaches further than what
//! the question lists; a no is for all of it.

use std::fmt::Write as _;

use holdpoint_tests::{
    Actor, Agent, Hold, Json, User, control,
    reviewer::{Asked, Reviewer, asked_under, policy},
    site, wait_until,
};
use sha2::{Digest as _, Sha256};

/// Processes of the tree.
const COUNT: usize = 5;

/// The usual policy, and a rule with a deadline that nobody comes near.
fn patient() -> String {
    format!(
        "{}\n[[rule]]\nname = \"same\"\nopen = {{ path = [\"{}/same/**\"] }}\nthen = \"hold\"\nreviewers = \"people\"\n\
         timeout = \"1h\"\non_deny = \"fail\"\npause = \"0s\"\n",
        policy(),
        site::ROOT
    )
}

/// A step that opens a file, and the steps of processes that all do it at the same time.
fn steps() -> (String, Vec<String>) {
    let open = format!("open {} r", site::file("same", "Ada\n"));
    let steps = all_at_once(&open);
    (open, steps)
}

fn all_at_once(open: &str) -> Vec<String> {
    let each = ["fork", open, "end"].map(str::to_owned);
    std::iter::repeat_n(each, COUNT).flatten().chain(["gather".to_owned()]).collect()
}

/// Such a tree, all held: the hold that is asked about, and those that wait behind it.
#[track_caller]
fn held(agent: &Agent, steps: &[String]) -> (Actor, Hold, Vec<Hold>) {
    let actor = agent.act(steps);
    wait_until("all are held", || agent.holds_of(&actor).len() == COUNT);
    let (first, behind) = question(agent, &actor);
    assert_eq!(behind.len(), COUNT - 1, "{behind:?}");
    (actor, first, behind)
}

/// The one of the tree's holds that is asked about, and the others.
#[track_caller]
fn question(agent: &Agent, actor: &Actor) -> (Hold, Vec<Hold>) {
    let (mut asked, behind): (Vec<_>, Vec<_>) =
        agent.holds_of(actor).into_iter().partition(|hold| hold["behind"] == Json::Null);
    assert_eq!(asked.len(), 1, "one question: {asked:?}");
    let first = asked.remove(0);
    assert!(behind.iter().all(|hold| hold["behind"] == first.id()), "{behind:?}");
    (first, behind)
}

/// Waits until one question lists all others that are left of it.
#[track_caller]
fn gathered(agent: &Agent, actor: &Actor, others: usize) -> (Hold, Vec<Hold>) {
    wait_until("they are one question", || {
        agent.holds_of(actor).iter().any(|hold| hold["same"].as_array().is_some_and(|same| same.len() == others))
    });
    question(agent, actor)
}

/// The holds of the tree about which a message of this type came.
fn told(reviewer: &Reviewer, kind: &str, tree: &str) -> Vec<String> {
    let messages = reviewer.messages().into_iter();
    let asked = reviewer.messages().into_iter().filter(|message| message.data()["tree"] == tree);
    let of_tree: Vec<_> = asked.map(|message| message.data()["hold"].clone()).collect();
    let of_kind = messages.filter(|message| message.json["type"] == kind && of_tree.contains(&message.data()["hold"]));
    let mut ids: Vec<_> = of_kind.map(|message| message.data()["hold"].as_str().expect("an id").to_owned()).collect();
    ids.dedup();
    ids
}

const CREATED: &str = "holdpoint.request.created";

/// What is approved with a question about these, by the digests that are on record of each: as docs/channels.md has it.
fn digest_of_all(agent: &Agent, listed: &[&str]) -> String {
    let line = |id: &&str| format!("{id} {}\n", agent.recorded("held", id)[0]["digest"].as_str().expect("a digest"));
    let hash = Sha256::digest(listed.iter().map(line).collect::<String>());
    hash.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn one_is_asked_about_then_one_question_lists_the_others_and_another_tree_is_asked_by_itself() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let (open, steps) = steps();
    assert_eq!(control(&steps).stdout.matches("open ok").count(), COUNT, "the control");
    let (mut actor, first, behind) = held(&agent, &steps);
    reviewer.question(&first);
    let elsewhere = agent.act([&open]);
    let other = agent.hold_of(&elsewhere);
    assert_eq!(other["behind"], Json::Null);
    assert_eq!(reviewer.question(&other).data()["before"], Json::Null, "nobody has decided of it");
    assert_eq!(told(reviewer, CREATED, first.tree()), [first.id()]);
    for hold in &behind {
        let joined = &agent.recorded("joined", hold)[0];
        assert_eq!(joined["behind"], first.id(), "{joined}");
    }
    let listed = agent.say(User::REVIEWER, ["holds"]).stdout;
    assert_eq!(listed.matches("(behind ").count(), COUNT - 1, "{listed}");

    reviewer.approve(&first);
    wait_until("the first goes on", || actor.stdout().matches("open ok").count() == 1);
    let (all, others) = gathered(&agent, &actor, COUNT - 2);
    let asked = reviewer.question(&all);
    let same: Vec<_> = asked.data()["same"].as_array().expect("a list").iter().collect();
    let ids: Vec<_> = [all.id()].into_iter().chain(same.iter().filter_map(|same| same["hold"].as_str())).collect();
    assert_eq!((ids.len(), others.len()), (COUNT - 1, COUNT - 2));
    assert_eq!((asked.data()["digest"].as_str(), all.digest()), (Some(all.digest()), &*digest_of_all(&agent, &ids)));
    let gathered = &agent.recorded("gathered", &all)[0];
    assert_eq!((&gathered["digest"], gathered["listed"].as_array().map(Vec::len)), (&all["digest"], Some(COUNT - 1)));

    let alone = agent.recorded("held", &all)[0]["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(reviewer.answer(&all, "approve").about(&alone).send().status, 422, "that is not what is asked");
    let named = agent.say(User::REVIEWER, ["approve", all.id()]);
    assert!(!named.success() && named.stderr.contains("is for 4 calls") && named.stderr.contains("--all"), "{named:?}");
    let shown = agent.say(User::REVIEWER, ["show", all.id()]).stdout;
    assert_eq!(shown.matches("approved with it").count(), COUNT - 2, "{shown}");
    assert_eq!(actor.stdout().matches("open ok").count(), 1);

    reviewer.approve(&all);
    assert_eq!(actor.wait_end().stdout.matches("open ok").count(), COUNT);
    assert_eq!(agent.recorded("decided", &all)[0]["listed"], gathered["listed"], "also with what was decided");
    for id in ids {
        let decided = &agent.recorded("decided", id)[0];
        let by = (&decided["answer"]["hold"], &decided["answer"]["digest"], &decided["answer"]["who"]);
        assert_eq!(by, (&all["id"], &all["digest"], &"reviewer".into()), "{decided}");
        assert_eq!(decided["digest"], agent.recorded("held", id)[0]["digest"]);
    }
    assert_eq!(told(reviewer, CREATED, first.tree()), [first.id(), all.id()]);
    agent.still_held(&elsewhere, &other);
    reviewer.deny(&other);
    assert_eq!(elsewhere.end().stdout, "open EPERM\n");
}

#[test]
fn a_no_is_for_all_of_them_and_each_hears_why() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let (_, mut steps) = steps();
    steps.push(format!("exec {} why --json", holdpoint_tests::agent::holdpoint()));
    let (mut actor, first, behind) = held(&agent, &steps);
    reviewer.question(&first);
    assert_eq!(reviewer.answer(&first, "deny").because("not today").send().status, 200);
    let said = actor.wait_end();
    assert_eq!((said.stdout.matches("open EPERM").count(), said.stdout.matches("open ok").count()), (COUNT, 0));
    assert!(said.stdout.contains("not today"), "{said:?}");
    for hold in &behind {
        let decided = &agent.recorded("decided", hold)[0];
        assert_eq!((&decided["state"], &decided["answer"]["hold"]), (&"denied".into(), &first["id"]), "{decided}");
    }
    reviewer.ending(&first);
    assert_eq!(told(reviewer, CREATED, first.tree()), [first.id()]);
    assert_eq!(told(reviewer, "holdpoint.request.ended", first.tree()), [first.id()]);
}

#[test]
fn what_waits_behind_another_can_be_approved_alone_and_a_call_that_is_gone_leaves_a_question() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let (_, steps) = steps();
    let (mut actor, first, mut behind) = held(&agent, &steps);
    agent.approve(behind.remove(0));
    wait_until("it goes on", || actor.stdout().matches("open ok").count() == 1);
    assert_eq!(question(&agent, &actor).0.id(), first.id());
    holdpoint_tests::process::signal(first.pid(), nix::sys::signal::Signal::SIGKILL);
    let (all, _) = gathered(&agent, &actor, COUNT - 3);
    reviewer.question(&all);
    reviewer.approve(&all);
    assert_eq!(actor.wait_end().stdout.matches("open ok").count(), COUNT - 1);
}

#[test]
fn a_restarted_agent_carries_out_what_was_approved_and_asks_about_nothing_else() {
    let Asked { mut agent, reviewer } = asked_under(&patient());
    // Who opens it goes on once somebody opens it for writing: until then the call is let through, and not over.
    let fifo = site::fifo("same");
    let (mut actor, first, _) = held(&agent, &all_at_once(&format!("open {fifo} r")));
    reviewer.approve(&first);
    let (all, _) = gathered(&agent, &actor, COUNT - 2);
    agent.kill_9();
    agent.restart();
    wait_until("all are taken up", || agent.holds_of(&actor).len() == COUNT - 1);
    assert_eq!(reviewer.answer(&all, "approve").send().status, 422, "the question of before lists them no more");
    let (one, _) = question(&agent, &actor);
    reviewer.question(&one);

    reviewer.approve(&one);
    let (all, others) = gathered(&agent, &actor, COUNT - 3);
    reviewer.approve(&all);
    for hold in others.iter().chain([&first, &one, &all]) {
        agent.wait_recorded("it passed", |line| line["event"] == "passed" && line["hold"] == hold.id());
    }
    agent.kill_9();
    agent.restart();
    assert_eq!(agent.holds_of(&actor), []);
    assert_eq!(actor.stdout(), "");
    let writing = std::fs::OpenOptions::new().write(true).open(&fifo).expect("open it for writing");
    let said = actor.wait_end();
    assert_eq!(said.stdout.matches("open ok").count(), COUNT, "{said:?}");
    drop(writing);
}

#[test]
fn a_question_says_what_was_decided_of_the_same_before_also_by_a_restarted_agent() {
    let Asked { mut agent, reviewer } = asked_under(&patient());
    let (open, _) = steps();
    let (yes, no) = (agent.act([&open]), agent.act([&open]));
    reviewer.approve(&agent.hold_of(&yes));
    assert_eq!(yes.end().stdout, "open ok\n");
    let denied = agent.hold_of(&no);
    assert_eq!(reviewer.answer(&denied, "deny").because("not at night").send().status, 200);
    assert_eq!(no.end().stdout, "open EPERM\n");
    for restarted in [false, true] {
        if restarted {
            agent.kill_9();
            agent.restart();
        }
        let actor = agent.act([&open]);
        let hold = agent.hold_of(&actor);
        let asked = reviewer.question(&hold);
        let before = asked.data()["before"].as_array().expect("what was decided before");
        let last = (&before[0]["state"], &before[0]["times"], &before[0]["by"], &before[0]["why"], &before[0]["hold"]);
        let expected = (&"denied".into(), &1.into(), &"reviewer".into(), &"not at night".into(), &denied["id"]);
        assert_eq!((before.len(), last), (2, expected), "{before:?}");
        assert_eq!((&before[1]["state"], &before[1]["times"]), (&"approved".into(), &1.into()), "{before:?}");
        let shown = agent.say(User::ROOT, ["show", hold.id()]).stdout;
        assert!(shown.contains("before     denied once, by reviewer, "), "{shown}");
        assert!(
            shown.contains("): not at night\n") && shown.contains("before     approved once, by reviewer, "),
            "{shown}"
        );
    }
}
