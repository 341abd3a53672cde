//! What the kernel does: seen by what becomes of a call, and by the record.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use holdpoint_tests::{Actor, Agent, Json, User, agent::Tail, control::Control};

use super::{
    Answer, Outcome, Round,
    request::{Request, Tree},
    world,
};

/// Within this time all requests of a policy are over.
const LIMIT: Duration = Duration::from_secs(120);

pub struct Kernel<'a> {
    agent: &'a Agent,
    control: Control,
    record: Tail,
}

impl<'a> Kernel<'a> {
    pub fn of(agent: &'a Agent) -> Self {
        Self { agent, control: Control::connect(), record: Tail::from_now() }
    }

    /// What becomes of each request of each tree, all made at the same time.
    pub fn outcomes(&mut self, round: &Round) -> Vec<Vec<Outcome>> {
        fs::write(self.agent.directory().join("policy.toml"), round.policy.text()).unwrap();
        assert!(self.control.reload(), "{}", self.agent.log());
        let start = |tree: &Tree| {
            let login = tree.login.map(world::number);
            self.agent.spawn_after_login(User::AGENT, login, tree.subject, tree.command())
        };
        let mut actors: Vec<_> = round.trees.iter().map(start).collect();
        self.deny_what_is_held(&mut actors);
        let mut told = self.told(actors.iter().map(Actor::pid).collect());
        let trees = round.trees.iter().zip(actors);
        trees.map(|(tree, actor)| outcomes(tree, &actor.end().stdout, &mut told)).collect()
    }

    /// Until all have ended.
    fn deny_what_is_held(&mut self, actors: &mut [Actor]) {
        let (begun, mut answered) = (Instant::now(), BTreeSet::new());
        while !actors.iter_mut().all(Actor::has_ended) {
            assert!(begun.elapsed() < LIMIT, "not over: {actors:#?}, held: {:#?}", self.control.holds());
            for hold in self.control.holds() {
                // Its question can come to be about others, too, that ask for the same.
                if answered.insert((hold.id().to_owned(), hold.digest().to_owned())) {
                    self.control.answer(&hold, "fail");
                }
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// What the record has of each process, up to the marks that the actors set.
    fn told(&mut self, mut marks: BTreeSet<u32>) -> BTreeMap<u32, Vec<Answer>> {
        let mut told = BTreeMap::<_, Vec<_>>::new();
        while !marks.is_empty() {
            let line = self.record.line();
            let Some(verdict) = verdict(&line) else { continue };
            let request = if verdict == "hold" { &line["request"] } else { &line };
            let rule = request["rule"].as_str();
            let pid = request["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a pid");
            if rule == Some("mark") {
                marks.remove(&pid);
                continue;
            }
            let answer = (verdict.to_owned(), rule.map(str::to_owned));
            let answers = told.entry(pid).or_default();
            // A file that another request has changed meanwhile is asked about again.
            if verdict != "hold" || answers.last() != Some(&answer) {
                answers.push(answer);
            }
        }
        told
    }
}

/// What the policy has said, as a line of the record has it.
fn verdict(line: &Json) -> Option<&'static str> {
    match line["event"].as_str()? {
        "audited" => Some("audit"),
        "denied" => Some("deny"),
        "killed" => Some("kill"),
        "held" => Some("hold"),
        "not-held" => Some("a hold that could not be"),
        _ => None,
    }
}

/// The outcomes of a tree's requests: by what its actor has printed, and by what is on record.
fn outcomes(tree: &Tree, printed: &str, told: &mut BTreeMap<u32, Vec<Answer>>) -> Vec<Outcome> {
    let pids: Vec<u32> = printed.lines().filter_map(|line| line.strip_prefix("apart ")?.parse().ok()).collect();
    assert_eq!(pids.len(), tree.requests.len(), "{printed}");
    let outcome = |(pid, request): (&u32, &Request)| Outcome {
        told: told.remove(pid).unwrap_or_default(),
        end: end(request, *pid, printed),
    };
    pids.iter().zip(&tree.requests).map(outcome).collect()
}

fn end(request: &Request, pid: u32, printed: &str) -> &'static str {
    let said: Vec<_> = printed.lines().filter_map(|line| line.strip_prefix(&format!("{pid} "))).collect();
    match said.as_slice() {
        ["killed 9"] => "killed",
        [call, _] if call.ends_with(" EPERM") => "EPERM",
        [_, _] => "passes",
        // What it executed says nothing.
        [_] if request.is_exec() => "passes",
        _ => "not known",
    }
}
