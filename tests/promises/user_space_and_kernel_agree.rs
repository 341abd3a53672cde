//! What the tools say of a policy is what the kernel does: `holdpoint policy test` and a governed process agree on random
//! policies and requests, on the verdict and on the rule.
//!
//! 2,000 pairs by default: 40 policies, each asked by two trees, which make 25 requests each. What a rule asks for (its
//! matchers) is counted where that rule decides, and has then held. The seed is printed, and another run repeats it:
//!
//! ```console
//! # HOLDPOINT_SEED=1234 cargo xtask test --only promises -- user_space_and_kernel_agree
//! ```

mod dice;
mod kernel;
mod policy;
mod request;
mod tools;
mod world;

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, Read as _, Write as _},
    time::Instant,
};

use holdpoint_tests::{Agent, resolver::Resolver};

use self::{
    dice::Dice,
    kernel::Kernel,
    policy::{MATCHERS, Policy, VERDICTS},
    request::{REQUESTS, Tree},
    world::{HOSTS, RESOLVER, World},
};

/// Policies that are asked.
const POLICIES: usize = 40;
/// Trees that ask each of them.
const TREES: usize = 2;
/// All pairs of a policy and a request.
const PAIRS: usize = POLICIES * TREES * REQUESTS;
/// In how many pairs each matcher decides, at least.
const OFTEN: usize = 50;

/// Pairs that differ, with their policies: so many are shown.
const SHOWN: usize = 5;
/// Draws of all of them, at most.
const DRAWS: usize = 5;

/// A policy, and who asks it for what.
struct Round {
    policy: Policy,
    trees: Vec<Tree>,
}

/// What is said of one question: the verdict, and the rule that decides.
type Answer = (String, Option<String>);

/// Likewise of all: by round, tree, request and question.
type Answers = BTreeMap<[usize; 4], Answer>;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    /// What is on record of it, in this order.
    told: Vec<Answer>,
    /// `passes`, `EPERM`, `killed`; or not known.
    end: &'static str,
}

#[test]
fn user_space_and_kernel_agree_on_random_policies_and_requests() {
    let seed = seed();
    show(&format!("HOLDPOINT_SEED={seed}"));
    let mut dice = Dice::new(seed);
    let world = World::random(&mut dice);
    let (mut rounds, answers) = drawn(&mut dice, &world);

    world.make();
    let _resolver = Resolver::of(RESOLVER, &HOSTS);
    let agent = Agent::start(&rounds[0].policy.text());
    let (begun, mut kernel) = (Instant::now(), Kernel::of(&agent));
    let seen: Vec<_> = rounds.iter().map(|round| kernel.outcomes(round)).collect();
    show(&format!("{PAIRS} pairs in {:?}", begun.elapsed()));
    let wrong = differences(&rounds, &answers, &seen);
    let first = wrong[..wrong.len().min(SHOWN)].join("\n");
    assert!(wrong.is_empty(), "HOLDPOINT_SEED={seed}: {} pairs differ, among them\n{first}", wrong.len());
    a_difference_is_seen(&mut rounds, &answers, &seen);
}

/// Policies and requests in which everything comes up often enough, as hardly a draw does not.
fn drawn(dice: &mut Dice, world: &World) -> (Vec<Round>, Answers) {
    for _ in 0..DRAWS {
        let mut rounds: Vec<_> = (0..POLICIES).map(|_| Round::random(dice, world)).collect();
        tools::keep_what_can_match(&mut rounds);
        let answers = tools::answers(&rounds);
        let tally = Tally::of(&rounds, &answers);
        show(&format!("{tally:?}"));
        if tally.is_enough() {
            return (rounds, answers);
        }
    }
    panic!("{DRAWS} draws, and something came up too seldom in each");
}

/// Random, unless one is said.
fn seed() -> u64 {
    if let Ok(said) = env::var("HOLDPOINT_SEED") {
        return said.parse().expect("HOLDPOINT_SEED is a number");
    }
    let mut bytes = [0; 8];
    File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut bytes)).expect("read /dev/urandom");
    u64::from_ne_bytes(bytes)
}

/// Prints a line whatever comes of the test.
fn show(text: &str) {
    writeln!(io::stdout(), "user space and kernel: {text}").expect("print");
}

impl Round {
    fn random(dice: &mut Dice, world: &World) -> Self {
        let policy = Policy::random(dice, world);
        let trees = (0..TREES).map(|_| Tree::random(dice, world, &policy)).collect();
        Self { policy, trees }
    }
}

/// All pairs: round, tree and request.
fn pairs(rounds: &[Round]) -> impl Iterator<Item = [usize; 3]> {
    let trees = (0..rounds.len()).flat_map(|round| (0..TREES).map(move |tree| (round, tree)));
    trees.flat_map(|(round, tree)| (0..REQUESTS).map(move |request| [round, tree, request]))
}

/// What user space says of each question of a pair that comes up: the next one only if the first lets pass.
fn said(answers: &Answers, [round, tree, request]: [usize; 3]) -> Vec<&Answer> {
    let mut said: Vec<&Answer> = Vec::new();
    for (_, answer) in answers.range([round, tree, request, 0]..[round, tree, request + 1, 0]) {
        if said.last().is_none_or(|(verdict, _)| lets_pass(verdict)) {
            said.push(answer);
        }
    }
    said
}

fn lets_pass(verdict: &str) -> bool {
    matches!(verdict, "allow" | "audit")
}

/// What must become of a pair if user space is right. What is held is denied.
fn expected(answers: &Answers, pair: [usize; 3]) -> Outcome {
    let said = said(answers, pair);
    let (last, _) = said.last().expect("a question");
    let end = match last.as_str() {
        verdict if lets_pass(verdict) => "passes",
        "kill" => "killed",
        _ => "EPERM",
    };
    Outcome { told: said.into_iter().filter(|(verdict, _)| verdict != "allow").cloned().collect(), end }
}

/// The pairs of which the kernel has made something else.
fn differences(rounds: &[Round], answers: &Answers, seen: &[Vec<Vec<Outcome>>]) -> Vec<String> {
    let differs = |pair: &[usize; 3]| expected(answers, *pair) != seen[pair[0]][pair[1]][pair[2]];
    let described = |pair: [usize; 3]| {
        let [round, tree, request] = pair;
        let (asks, policy) = (&rounds[round].trees[tree], rounds[round].policy.text());
        let (said, seen) = (expected(answers, pair), &seen[round][tree][request]);
        let who = format!("{} (customer data read: {})", asks.subject, asks.customer);
        format!("{who}: {}\n  user space: {said:?}\n  kernel: {seen:?}\n{policy}", asks.requests[request])
    };
    pairs(rounds).filter(differs).map(described).collect()
}

/// The control: were the policy that the tools are asked another one, be it in one word, the test would fail.
fn a_difference_is_seen(rounds: &mut [Round], answers: &Answers, seen: &[Vec<Vec<Outcome>>]) {
    let denies = |([round, ..], (verdict, rule)): (&[usize; 4], &Answer)| {
        rule.clone().filter(|_| verdict == "deny").map(|rule| (*round, rule))
    };
    let (round, name) = answers.iter().find_map(denies).expect("a rule that denies");
    let rule = rounds[round].policy.rules.iter_mut().find(|rule| rule.name == name).expect("it is there");
    rule.verdict = "kill";
    let wrong = differences(rounds, &tools::answers(rounds), seen);
    assert!(!wrong.is_empty(), "nobody notices that {name:?} of policy {round} kills");
}

/// How often the pairs of this run are what they should be.
#[derive(Debug, Default)]
struct Tally {
    verdicts: BTreeMap<String, usize>,
    /// Decided by a rule that is not the last of its policy.
    by_an_earlier_rule: usize,
    matchers: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn of(rounds: &[Round], answers: &Answers) -> Self {
        let mut tally = Self::default();
        for pair in pairs(rounds) {
            let policy = &rounds[pair[0]].policy;
            let (verdict, rule) = said(answers, pair).pop().expect("a question");
            *tally.verdicts.entry(verdict.clone()).or_default() += 1;
            let Some(rule) = rule.as_ref().map(|name| policy.rule(name)) else { continue };
            tally.by_an_earlier_rule += usize::from(policy.rules.last().is_some_and(|last| last.name != rule.name));
            for matcher in &rule.matchers {
                *tally.matchers.entry(matcher).or_default() += 1;
            }
        }
        tally
    }

    fn is_enough(&self) -> bool {
        let verdict = |verdict: &&str| self.verdicts.get(*verdict).is_some_and(|count| count * 10 >= PAIRS);
        let matcher = |matcher: &&str| self.matchers.get(matcher).is_some_and(|count| *count >= OFTEN);
        VERDICTS.iter().all(verdict) && MATCHERS.iter().all(matcher) && self.by_an_earlier_rule * 2 >= PAIRS
    }
}
