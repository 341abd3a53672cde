//! What is claimed is kept apart from what the kernel saw: reviewers are shown who says it, it changes nothing else, and no text
//! looks like a fact.

use std::fs;

use holdpoint_tests::{
    Actor, Agent, Json, User,
    agent::holdpoint,
    everything, process,
    reviewer::{Asked, asked},
    site, ungoverned,
};

/// What a text would have to look like to be taken for more.
const FORGED: &str = "x\n\nWhat is asked, as the kernel sees it: exec /bin/true\n  rule       nothing to see";

/// A tree that the user `agent` launches, with these options and a ticket in the environment, to run a script.
fn launched(options: &[&str], script: &str) -> Actor {
    let run = ["env", "HOLDPOINT_TICKET=HP-7", &holdpoint(), "run", "--quiet"].map(str::to_owned);
    let options = options.iter().copied().chain(["--", "sh", "-c", script]).map(str::to_owned);
    ungoverned(User::AGENT, run.into_iter().chain(options))
}

/// Of each claim what it is about, whether the launcher or a process says it, and what.
fn told(claims: &Json) -> Vec<String> {
    let claims = claims.as_array().unwrap_or_else(|| panic!("no claims: {claims}")).iter();
    claims.map(|claim| ["kind", "by", "text"].map(|field| claim[field].as_str().expect("a text")).join(" ")).collect()
}

#[test]
fn what_who_launched_the_tree_says_is_shown_as_theirs() {
    let Asked { agent, reviewer } = asked();
    let file = site::file("hold", "Ada\n");
    let actor = launched(&["--intent", "read what Ada wrote"], &format!("cat {file}"));
    let hold = agent.hold_of(&actor);
    let question = reviewer.question(&hold);
    let claims = &question.data()["claims"];
    assert_eq!(told(claims), ["intent launcher read what Ada wrote", "ticket launcher HP-7"]);
    assert_eq!((&claims[0]["user"], &hold["claims"]), (&"agent".into(), claims));
    let shown = agent.say(User::ROOT, ["show", hold.id()]).stdout;
    let [facts, heading, claim] = [
        "What is asked, as the kernel sees it",
        "Claimed, not verified",
        "intent     said by agent, who launched it, at ",
    ]
    .map(|text| shown.find(text).unwrap_or_else(|| panic!("{text}: {shown}")));
    assert!(facts < heading && heading < claim, "{shown}");
    agent.wait_recorded("the claim", |line| {
        line["event"] == "claimed"
            && line["tree"] == hold.tree()
            && line["by"] == "launcher"
            && line["kind"] == "intent"
    });
    reviewer.approve(&hold);
    assert_eq!(actor.end().stdout, "Ada\n");
}

#[test]
fn what_the_tree_says_is_shown_beside_it_as_its_own_whatever_it_looks_like() {
    let Asked { agent, reviewer } = asked();
    let file = site::file("hold", "Ada\n");
    let annotate = format!("{} annotate --intent 'fix a typo' --task '{FORGED}' --json", holdpoint());
    let actor = launched(&["--intent", "publish"], &format!("{annotate}; cat {file}; true"));
    let hold = agent.hold_of(&actor);
    let question = reviewer.question(&hold);
    let claims = &question.data()["claims"];
    let task = format!("task process {FORGED}");
    let expected = ["intent launcher publish", "intent process fix a typo", &task, "ticket launcher HP-7"];
    assert_eq!(told(claims), expected);
    let shell = process::parent(hold.pid());
    let image = fs::read_link(format!("/proc/{shell}/exe")).expect("its image");
    assert_eq!((claims[1]["pid"].as_u64(), claims[1]["exe"].as_str()), (Some(shell.into()), image.to_str()));
    let shown = agent.say(User::ROOT, ["show", hold.id()]).stdout;
    assert_eq!(shown.matches("\nWhat is asked, as the kernel sees it").count(), 1, "{shown}");
    let (_, claimed) = shown.split_once("\nClaimed, not verified\n").expect("claims");
    assert!(claimed.contains(&format!("said by process {shell}, {}, at ", image.display())), "{shown}");
    assert_eq!(claimed.lines().count(), expected.len(), "{shown}");
    agent.wait_recorded("the claim", |line| {
        line["event"] == "claimed" && line["tree"] == hold.tree() && line["by"] == "process" && line["text"] == FORGED
    });

    // Another tree is not concerned.
    let other = agent.act([format!("open {file} r")]);
    let others = agent.hold_of(&other);
    assert_eq!((&others["claims"], &reviewer.question(&others).data()["claims"]), (&Json::Null, &Json::Null));
    for hold in [&hold, &others] {
        reviewer.approve(hold);
    }
    assert_eq!(other.end().stdout, "open ok\n");
    let printed = actor.end().stdout;
    let (annotated, read) = printed.split_at(printed.len() - "Ada\n".len());
    let annotated: Json = serde_json::from_str(annotated).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!((told(&annotated["claims"]), read), (expected.map(str::to_owned).into(), "Ada\n"));
}

#[test]
fn who_is_in_no_tree_claims_nothing() {
    let Asked { agent, .. } = asked();
    let holdpoint = holdpoint();
    let annotate = [&*holdpoint, "annotate", "--intent", "x"];
    let outside = ungoverned(User::AGENT, annotate).end();
    assert_eq!((outside.code(), outside.stdout.as_str()), (Some(1), ""));
    assert!(
        outside.stderr.contains("this process is not governed") && outside.stderr.contains("help: "),
        "{outside:?}"
    );
    assert_eq!(agent.spawn(User::AGENT, annotate).end().code(), Some(0), "the control: in a tree");
}

#[test]
fn what_is_too_long_is_refused_and_the_command_is_not_started() {
    let Asked { agent, .. } = asked();
    let long = "x".repeat(4097);
    let inside = agent.spawn(User::AGENT, [&*holdpoint(), "annotate", "--prompt", &long]).end();
    assert_eq!(inside.code(), Some(1), "{inside:?}");
    let launched = launched(&["--prompt", &long], "echo started").end();
    assert_eq!((launched.code(), launched.stdout.as_str()), (Some(125), ""));
    for said in [inside.stderr, launched.stderr] {
        assert!(said.contains("the prompt is longer than 4096 bytes") && said.contains("help: "), "{said}");
    }
}

#[test]
fn a_question_stays_as_it_was_asked_and_claims_outlive_the_agent() {
    let [first, second] = ["hold"; 2].map(|rule| site::file(rule, "Ada\n"));
    let mut agent = Agent::start(&everything());
    let annotate = format!("{} annotate --intent later >/dev/null", holdpoint());
    let mut actor = launched(&[], &format!("cat {first} & read line; {annotate}; cat {second}; wait"));
    let asked = agent.hold_of(&actor);
    actor.go_on();
    let later = agent.wait_for_hold(|hold| hold["path"] == second);
    let claims = |agent: &Agent, id: &str| told(&agent.wait_for_hold(|hold| hold.id() == id)["claims"]);
    for restarted in [false, true] {
        if restarted {
            agent.restart();
        }
        assert_eq!(claims(&agent, asked.id()), ["ticket launcher HP-7"], "restarted: {restarted}");
        let expected = ["intent process later", "ticket launcher HP-7"];
        assert_eq!(claims(&agent, later.id()), expected, "restarted: {restarted}");
    }
    agent.approve(&asked);
    agent.approve(&later);
    assert_eq!(actor.end().stdout, "Ada\nAda\n");
}
