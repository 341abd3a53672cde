//! Many holds at once: all are asked, each is decided for itself, and what exceeds the limits is refused.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

use holdpoint_tests::{
    Actor, Agent, Json, User, process,
    reviewer::{Asked, asked_under, policy},
    site, wait_for,
};

/// Trees, and files that each has emptied at the same time: a thousand.
const TREES: usize = 50;
const FILES: usize = 20;
/// Holds of one tree that wait at most.
const OF_A_TREE: usize = 64;
/// An emulated machine starts a thousand processes.
const PATIENCE: Duration = Duration::from_mins(10);

/// The usual policy, and a rule with a deadline that nobody comes near.
fn patient() -> String {
    format!(
        "{}\n[[rule]]\nname = \"crowd\"\nopen = {{ path = [\"{}/crowd/**\"] }}\nthen = \"hold\"\nreviewers = \"people\"\n\
         timeout = \"1h\"\non_deny = \"fail\"\n",
        policy(),
        site::ROOT
    )
}

/// A tree that empties these files, each in a process of its own, and says of each what came of it.
fn emptying(agent: &Agent, files: &[String]) -> Actor {
    let each = r#"for file; do { true > "$file" && echo "$file ok" || echo "$file refused"; } 2>&- & done; wait"#;
    let words = ["sh", "-c", each, "sh"].into_iter().chain(files.iter().map(String::as_str));
    agent.spawn(User::AGENT, words)
}

fn files(count: usize) -> Vec<String> {
    (0..count).map(|_| site::file("crowd", "Ada\n")).collect()
}

/// How many holds wait; none if the agent has too much to do to say.
fn pending(agent: &Agent) -> Option<usize> {
    let status = agent.say(User::ROOT, ["status", "--json"]).stdout;
    serde_json::from_str::<Json>(&status).ok()?["pending_holds"].as_u64()?.try_into().ok()
}

/// Starts such a tree, and waits until all its processes are held.
fn held(agent: &Agent, files: &[String]) -> Actor {
    let actor = emptying(agent, files);
    let stopped = || actor.processes().into_iter().filter(|pid| process::state(*pid) == Some('T')).count();
    wait_for("all are stopped", PATIENCE, || (stopped() == files.len()).then_some(()));
    actor
}

/// The most memory that the agent has had, in KiB.
fn peak(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("the agent lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn a_thousand_holds_of_fifty_trees_are_all_asked_and_none_is_taken_for_another() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let (before, begun) = (peak(&agent), Instant::now());
    let trees: Vec<_> = (0..TREES).map(|_| files(FILES)).collect();
    let actors: Vec<_> = trees.iter().map(|files| held(&agent, files)).collect();
    let all = TREES * FILES;
    wait_for("a thousand holds", PATIENCE, || (pending(&agent) == Some(all)).then_some(()));
    let held = begun.elapsed();
    let holds: BTreeMap<_, _> = agent.holds().into_iter().map(|hold| (hold.text("path").to_owned(), hold)).collect();
    assert_eq!(holds.len(), all);
    assert!(holds.values().all(|hold| process::state(hold.pid()) == Some('T')));
    let asked = || {
        let messages = reviewer.messages();
        let ids = messages.iter().filter_map(|message| message.data()["hold"].as_str().map(str::to_owned));
        ids.collect::<HashSet<_>>()
    };
    wait_for("a thousand questions", PATIENCE, || {
        let asked = asked();
        holds.values().all(|hold| asked.contains(hold.id())).then_some(())
    });
    assert!(trees.iter().flatten().all(|file| site::content(file) == "Ada\n"), "nothing before the answer");

    // Every other file of every tree, in an order that has nothing to do with that in which they were asked.
    let approved: HashSet<_> = trees.iter().flatten().step_by(2).collect();
    let begun = Instant::now();
    for (path, hold) in &holds {
        if approved.contains(path) { reviewer.approve(hold) } else { reviewer.deny(hold) }
    }
    let decided = begun.elapsed();
    for (files, actor) in trees.iter().zip(actors) {
        let said = actor.end().stdout;
        let lines: HashSet<_> = said.lines().collect();
        for file in files {
            let (word, content) = if approved.contains(file) { ("ok", "") } else { ("refused", "Ada\n") };
            assert!(lines.contains(&*format!("{file} {word}")), "{file} {word}: {said}");
            assert_eq!(site::content(file), content, "{file}");
        }
    }
    let memory = peak(&agent);
    let figures =
        format!("held in {held:?}, decided in {decided:?}; peak memory {before} KiB before, {memory} KiB after");
    writeln!(std::io::stdout(), "a thousand holds: {figures}").expect("print");
    assert!(memory < before + 256 * 1024, "{figures}");
}

#[test]
fn a_tree_that_asks_too_much_is_refused_and_others_are_asked() {
    let Asked { agent, reviewer } = asked_under(&patient());
    let flood = files(OF_A_TREE + 6);
    let flooding = emptying(&agent, &flood);
    let refused = || flooding.stdout().lines().filter(|line| line.ends_with(" refused")).count();
    wait_for("what is too much is refused", PATIENCE, || (refused() == 6).then_some(()));
    assert_eq!(pending(&agent), Some(OF_A_TREE));
    let away = agent.record().into_iter().filter(|line| line["event"] == "turned-away" && line["crowd"] == "tree");
    let away: Vec<_> = away.filter_map(|line| line["hold"].as_str().map(str::to_owned)).collect();
    assert_eq!(away.len(), 6);
    for id in &away {
        assert_eq!(agent.recorded("decided", id)[0]["state"], "denied");
        let told = reviewer.messages().into_iter().any(|message| message.data()["hold"] == id.as_str());
        assert!(!told, "nobody is asked about it, or told of it");
    }

    let file = site::file("crowd", "Ada\n");
    let other = agent.act([format!("open {file} w+trunc")]);
    let hold = agent.hold_of(&other);
    reviewer.question(&hold);
    reviewer.approve(&hold);
    assert_eq!(other.end().stdout, "open ok\n", "the control, of another tree");

    let one = agent.holds().remove(0);
    agent.deny(&one);
    agent.wait_over(&one);
    assert!(flood.iter().all(|file| site::content(file) == "Ada\n"));
    drop(flooding);
    wait_for("all are withdrawn", PATIENCE, || (pending(&agent) == Some(0)).then_some(()));
}
