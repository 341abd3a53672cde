//! Promises 3 and 4 where a rule lets a reviewer approve more than the one call (`scope`): the very same again passes, in that
//! tree only, on record each time; everything else is asked about, and so is all of it once the approval was taken back.

use holdpoint_tests::{
    Actor, Agent, Hold, User,
    agent::holdpoint,
    control, everything,
    process::state,
    reviewer::{Asked, asked_under, policy},
    shared, site,
    terminal::Terminal,
    wait_until,
};
use serde_json::Value;

/// A rule on files below `longer` and programs below `bin-longer`.
fn rule() -> String {
    let one = |name: &str, operation: &str, directory: &str| {
        format!(
            "\n[[rule]]\nname = \"{name}\"\n{operation} = {{ path = [\"{}/{directory}/**\"] }}\nthen = \"hold\"\n\
             reviewers = \"people\"\nscope = [\"process\", \"tree\", \"30m\"]\ntimeout = \"3m\"\non_deny = \"fail\"\n\
             pause = \"0s\"\n",
            site::ROOT
        )
    };
    one("longer files", "open", "longer") + &one("longer programs", "exec", "bin-longer")
}

fn longer() -> String {
    everything() + &rule()
}

/// A file of the rule's, and a step that opens it.
fn file() -> (String, String) {
    let file = site::file("longer", "Ada\n");
    let step = format!("open {file} r");
    (file, step)
}

/// Approves for so long, as `reviewer`.
#[track_caller]
fn approve(agent: &Agent, hold: &Hold, scope: &str) {
    let reply = agent.say(User::REVIEWER, ["approve", hold.id(), "--scope", scope]);
    assert!(reply.success(), "{reply:?}");
}

/// What was decided by the grant, as recorded.
fn uses(agent: &Agent, grant: &Hold) -> Vec<Value> {
    let mut lines = agent.record();
    lines.retain(|line| line["event"] == "decided" && line["grant"] == grant.id());
    lines
}

/// The grant of this hold as `holdpoint grants` lists it.
fn listed(agent: &Agent, grant: &Hold) -> Option<Value> {
    let reply = agent.say(User::ROOT, ["grants", "--json"]);
    assert!(reply.success(), "{reply:?}");
    let grants: Vec<Value> = serde_json::from_str(&reply.stdout).expect("a list in JSON");
    grants.into_iter().find(|listed| listed["grant"] == grant.id())
}

/// Why it is over, as recorded.
#[track_caller]
fn ended(agent: &Agent, grant: &Hold) -> Value {
    agent.wait_recorded("the grant's end", |line| line["event"] == "grant-ended" && line["grant"] == grant.id())
}

/// The actor goes on, and is held: nobody has answered this one before.
#[track_caller]
fn asked_anew(agent: &Agent, actor: &mut Actor, what: &str) -> Hold {
    actor.go_on();
    let hold = agent.hold_of(actor);
    assert_eq!(state(hold.pid()), Some('T'), "{what}");
    hold
}

/// The actor goes on, and has opened `times` files by then, without being held.
#[track_caller]
fn passes(actor: &mut Actor, times: usize) {
    actor.go_on();
    wait_until("it has opened it", || actor.stdout().matches("open ok").count() == times);
}

#[test]
fn once_is_asked_about_each_time() {
    let agent = shared(&longer());
    let (_, open) = file();
    assert_eq!(control([&open, &open]).stdout, "open ok\nopen ok\n");
    let mut actor = agent.act([&*open, "line", &open]);
    let hold = agent.hold_of(&actor);
    agent.approve(&hold);
    let again = asked_anew(&agent, &mut actor, "the same again");
    assert_ne!(hold.id(), again.id());
    assert_eq!(listed(&agent, &hold), None);
    agent.deny(&again);
    assert_eq!(actor.end().stdout, "open ok\nopen EPERM\n");
}

#[test]
fn what_is_approved_for_a_tree_passes_there_again_and_nothing_else_does() {
    let agent = shared(&longer());
    let ((path, open), (_, other)) = (file(), file());
    let steps =
        [&*open, "line", "fork", &open, "end", "wait", "line", &open, "line", &other, "line", &open, "line", &open];
    let mut actor = agent.act(steps);
    let hold = agent.hold_of(&actor);
    assert_eq!(hold["scopes"].as_array().map(Vec::len), Some(3), "{}", hold.0);
    approve(&agent, &hold, "tree");
    passes(&mut actor, 2);
    passes(&mut actor, 3);
    let used = uses(&agent, &hold);
    assert_eq!(used.len(), 2, "{used:?}");
    for line in &used {
        let decided = (&line["state"], &line["granted_by"], &line["answer"]);
        assert_eq!(decided, (&"approved".into(), &"reviewer".into(), &Value::Null), "{line}");
        let id = line["hold"].as_str().expect("an id");
        assert_eq!(agent.recorded("held", id).len(), 1, "each is held and described");
        agent.wait_recorded("it passed", |line| line["event"] == "passed" && line["hold"] == id);
    }
    let grant = listed(&agent, &hold).expect("it is listed");
    assert_eq!((&grant["uses"], &grant["by"], &grant["until"]), (&2.into(), &"reviewer".into(), &Value::Null));
    let shown = agent.say(User::ROOT, ["grants"]).stdout;
    assert!(shown.contains(&format!("open {path} (read)")) && shown.contains("until      the tree ends"), "{shown}");

    let another = asked_anew(&agent, &mut actor, "another file");
    agent.deny(&another);
    wait_until("the denial is met", || actor.stdout().contains("open EPERM"));
    let elsewhere = agent.act([&open]);
    let hold_elsewhere = agent.hold_of(&elsewhere);
    agent.deny(&hold_elsewhere);
    assert_eq!(elsewhere.end().stdout, "open EPERM\n", "another tree");
    passes(&mut actor, 4);

    std::fs::write(&path, "Grace\n").expect("write");
    let changed = asked_anew(&agent, &mut actor, "another content");
    agent.deny(&changed);
    assert_eq!(actor.end().stdout, "open ok\nopen ok\nwait exited 0\nopen ok\nopen EPERM\nopen ok\nopen EPERM\n");
    assert_eq!(ended(&agent, &hold)["reason"], "gone", "with its tree");
    assert_eq!(listed(&agent, &hold), None);
}

#[test]
fn what_waits_and_asks_for_the_same_is_decided_with_it() {
    let agent = shared(&longer());
    let (_, open) = file();
    let mut actor = agent.act(["fork", &open, "end", "fork", &open, "end", "gather"]);
    wait_until("both are held", || agent.holds_of(&actor).len() == 2);
    let first = agent.holds_of(&actor).remove(0);
    approve(&agent, &first, "30m");
    let said = actor.wait_end().stdout;
    assert_eq!(said.matches("open ok").count(), 2, "{said}");
    assert_eq!(uses(&agent, &first).len(), 1);
}

#[test]
fn other_arguments_are_another_operation() {
    let agent = shared(&longer());
    let program = site::program("bin-longer", "/usr/bin/true");
    let (one, two) = (format!("spawn {program} one"), format!("spawn {program} two"));
    let mut actor = agent.act([&*one, "line", &one, "print again", "line", &two]);
    let hold = agent.hold_of(&actor);
    approve(&agent, &hold, "tree");
    actor.go_on();
    wait_until("the same passes", || actor.stdout().contains("again"));
    assert_eq!(uses(&agent, &hold).len(), 1);
    let other = asked_anew(&agent, &mut actor, "other arguments");
    agent.deny(&other);
    actor.end();
}

#[test]
fn what_is_approved_for_a_process_does_not_cover_its_child() {
    let agent = shared(&longer());
    let (_, open) = file();
    let mut actor = agent.act([&*open, "line", &open, "line", "fork", &open, "end", "wait"]);
    let hold = agent.hold_of(&actor);
    approve(&agent, &hold, "process");
    passes(&mut actor, 2);
    assert_eq!(uses(&agent, &hold).len(), 1);
    let of_child = asked_anew(&agent, &mut actor, "another process");
    assert_ne!(of_child.pid(), hold.pid());
    agent.deny(&of_child);
    assert!(actor.end().stdout.contains("open EPERM"));
    let ended = ended(&agent, &hold);
    assert_eq!((&ended["reason"], &ended["by"]), (&"denied".into(), &"reviewer".into()), "a no to the same ends it");
}

#[test]
fn what_was_taken_back_is_asked_about_again() {
    let agent = shared(&longer());
    let (_, open) = file();
    let mut actor = agent.act([&*open, "line", &open, "line", &open]);
    let hold = agent.hold_of(&actor);
    approve(&agent, &hold, "tree");
    passes(&mut actor, 2);

    let inside = agent.spawn(User::REVIEWER, [&*holdpoint(), "revoke", "--all"]).end();
    assert_eq!(inside.code(), Some(1), "a governed process has no say: {inside:?}");
    let stranger = agent.say(User::AGENT, ["revoke", "--all"]);
    assert!(!stranger.success(), "{stranger:?}");
    assert!(listed(&agent, &hold).is_some());
    let unknown = agent.say(User::ROOT, ["revoke", "ffffffffffffffff"]);
    assert!(unknown.stderr.contains("no grant begins with"), "{unknown:?}");

    let revoked = agent.say(User::REVIEWER, ["revoke", &hold.id()[..8], "--why", "enough"]);
    assert!(revoked.success() && revoked.stdout.contains(hold.id()), "{revoked:?}");
    let line = ended(&agent, &hold);
    let said = (&line["reason"], &line["by"], &line["why"]);
    assert_eq!(said, (&"revoked".into(), &"reviewer".into(), &"enough".into()));
    let again = asked_anew(&agent, &mut actor, "after it was taken back");
    agent.deny(&again);
    assert_eq!(actor.end().stdout, "open ok\nopen ok\nopen EPERM\n");
    assert!(!agent.say(User::ROOT, ["revoke", "--all"]).success(), "there is none");
}

#[test]
fn what_the_rule_does_not_offer_decides_nothing() {
    let agent = shared(&longer());
    let plain = format!("open {} r", site::file("hold", "Ada\n"));
    for (open, scope, offered) in [(plain, "tree", "once\n"), (file().1, "31m", "once, process, tree, 30m\n")] {
        let actor = agent.act([&open]);
        let hold = agent.hold_of(&actor);
        let refused = agent.say(User::REVIEWER, ["approve", hold.id(), "--scope", scope]);
        assert!(!refused.success() && refused.stderr.contains(&format!("it offers: {offered}")), "{refused:?}");
        assert_eq!(agent.recorded("refused-answer", &hold)[0]["answer"]["scope"], scope);
        agent.still_held(&actor, &hold);
        agent.approve(&hold);
        assert_eq!(actor.end().stdout, "open ok\n");
        assert_eq!(listed(&agent, &hold), None);
    }
}

#[test]
fn a_webhook_approves_for_a_time_which_ends() {
    let Asked { agent, reviewer } = asked_under(&(policy() + &rule()));
    let (_, open) = file();
    let mut actor = agent.act([&*open, "line", &open]);
    let hold = agent.hold_of(&actor);
    let question = reviewer.question(&hold);
    assert_eq!(question.data()["scopes"], hold["scopes"]);
    let response = reviewer.answer(&hold, "approve").with("scope", "forever").send();
    assert_eq!(response.status, 400, "{response:?}");
    let response = reviewer.answer(&hold, "approve").with("scope", "2h").send();
    assert_eq!(response.status, 403, "{response:?}");
    agent.still_held(&actor, &hold);
    assert_eq!(reviewer.answer(&hold, "approve").with("scope", "1s").send().status, 200);
    assert_eq!(ended(&agent, &hold)["reason"], "time");
    let again = asked_anew(&agent, &mut actor, "after its time");
    reviewer.question(&again);
    agent.deny(&again);
    assert_eq!(actor.end().stdout, "open ok\nopen EPERM\n");
}

#[test]
fn a_key_chooses_for_how_long() {
    let agent = shared(&longer());
    let (_, open) = file();
    let mut actor = agent.act([&*open, "line", &open]);
    let hold = agent.hold_of(&actor);
    let terminal = Terminal::bash(User::REVIEWER);
    terminal.types(&format!("{} watch", holdpoint()));
    terminal.wait_seen(&hold.id()[..8]);
    terminal.presses("j");
    terminal.wait_seen(&format!("> {}", &hold.id()[..8]));
    terminal.presses("a");
    terminal.wait_seen("s: how long");
    terminal.presses("ss");
    terminal.wait_seen("approve for this tree until it ends: ");
    agent.still_held(&actor, &hold);
    terminal.presses("y");
    wait_until("it has opened it", || actor.stdout() == "open ok\n");
    assert_eq!(agent.recorded("decided", &hold)[0]["answer"]["scope"], "tree");
    passes(&mut actor, 2);
    actor.end();
}

#[test]
fn it_ends_with_the_policy_and_with_the_agent() {
    let mut agent = shared(&longer());
    let (_, open) = file();
    let mut actor = agent.act([&*open, "line", &open, "line", &open, "line", &open]);
    let hold = agent.hold_of(&actor);
    approve(&agent, &hold, "tree");
    passes(&mut actor, 2);
    assert!(agent.reload(&longer()).success());
    assert_eq!(ended(&agent, &hold)["reason"], "policy-changed");
    let again = asked_anew(&agent, &mut actor, "under the policy that was put in force");
    approve(&agent, &again, "tree");
    wait_until("it has opened it", || actor.stdout().matches("open ok").count() == 3);
    agent.kill_9();
    agent.restart();
    assert_eq!(listed(&agent, &again), None);
    let anew = asked_anew(&agent, &mut actor, "by another agent");
    agent.deny(&anew);
    assert_eq!(actor.end().stdout, "open ok\nopen ok\nopen ok\nopen EPERM\n");
}
