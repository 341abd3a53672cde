//! Random sequences, compared with what must be true of any of them.

use std::collections::{HashMap, HashSet};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::*;

/// What the outside world has seen of one hold.
#[derive(Debug, Default)]
struct Seen {
    asked: u32,
    /// Word of the answers that were valid and in time.
    valid: HashSet<Decision>,
    /// Decisions that were handed to be recorded.
    recorded: Vec<Decision>,
    /// Decisions that the kernel was told, repetitions left out.
    decided: Vec<Decision>,
    gone: bool,
    passed: bool,
}

/// The daemon and the kernel, as far as the machine can tell.
struct World {
    holds: Holds,
    seen: HashMap<HoldId, Seen>,
    now: Timestamp,
    dice: StdRng,
}

impl World {
    fn step(&mut self) {
        self.now += SignedDuration::from_millis(self.dice.random_range(0..4_000));
        let id = HoldId(self.dice.random_range(0..6));
        let input = self.input(id);
        self.feed(input);
    }

    fn feed(&mut self, input: Input) {
        let tickets = usize::from(matches!(input, Input::Answered { .. }));
        let mut replies = 0;
        let mut effects = VecDeque::from(self.holds.on(self.now, input));
        while let Some(effect) = effects.pop_front() {
            replies += usize::from(matches!(effect, Effect::Reply { .. }));
            if let Some(answer) = self.carry_out(effect) {
                effects.extend(self.holds.on(self.now, answer));
            }
        }
        assert_eq!(replies, tickets, "each answer gets one reply");
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Ask(hold) => self.seen(hold.id).asked += 1,
            Effect::Record(Entry { event: Event::Decided(decided), .. }) => {
                if self.dice.random_bool(0.2) {
                    return Some(Input::RecordFailed(decided.hold));
                }
                self.seen(decided.hold).recorded.push(decided.decision);
                return Some(Input::Recorded(decided.hold));
            }
            Effect::Decide { hold, decision } => self.decided(hold, decision),
            _ => {}
        }
        None
    }

    fn decided(&mut self, id: HoldId, decision: Decision) {
        let late = self.now >= deadline();
        let seen = self.seen(id);
        if decision == Approve {
            assert!(seen.recorded.contains(&decision), "an approval is on record first");
            assert!(seen.valid.contains(&decision), "an approval comes from a valid answer");
            assert!(!late, "an approval is in time");
            assert!(!seen.gone, "a call that is gone is not approved");
        }
        if seen.decided.last() != Some(&decision) {
            seen.decided.push(decision);
        }
        let real = seen.decided.iter().filter(|decision| **decision != Withdraw).count();
        assert!(real <= 1, "one decision for one hold: {:?}", seen.decided);
        let after = seen.decided.iter().skip_while(|decision| **decision != Withdraw).count();
        assert!(after <= 1, "nothing follows a withdrawal: {:?}", seen.decided);
    }

    fn seen(&mut self, id: HoldId) -> &mut Seen {
        self.seen.entry(id).or_default()
    }

    fn input(&mut self, id: HoldId) -> Input {
        match self.dice.random_range(0..10) {
            0..3 => self.held(id),
            3..7 => self.answer(id),
            7 => Input::Tick,
            8 => self.withdrawal(id),
            _ => self.report(id),
        }
    }

    /// What the kernel was told stands there.
    fn held(&mut self, id: HoldId) -> Input {
        let kernel = self.seen(id).decided.last().copied();
        Input::Held { hold: Box::new(hold_of_its_own(id)), kernel, passed: false, recorded: None }
    }

    fn answer(&mut self, id: HoldId) -> Input {
        let word = *[Word::Approve, Word::Deny, Word::Kill, Word::Fail].choose(&mut self.dice).unwrap();
        let who = *["alice", "bob", "laura", "mallory"].choose(&mut self.dice).unwrap();
        let right = self.dice.random_bool(0.8);
        let digest = if right { hold_of_its_own(id).digest } else { Digest("00".into()) };
        if right && matches!(who, "alice" | "bob") && self.now < deadline() {
            self.seen(id).valid.insert(word.decision(Kill));
        }
        says(Answer { hold: id, digest, ..by_webhook(who, word) })
    }

    fn withdrawal(&mut self, id: HoldId) -> Input {
        use Withdrawal::{CallAbandoned, FatalSignal, PolicyChanged, ProcessDead};
        let reason = *[ProcessDead, CallAbandoned, FatalSignal, PolicyChanged].choose(&mut self.dice).unwrap();
        if self.holds.get(id).is_some() {
            self.seen(id).gone |= reason != Withdrawal::FatalSignal;
        }
        Input::Gone(id, reason)
    }

    /// The kernel reports only what it was told.
    fn report(&mut self, id: HoldId) -> Input {
        let seen = self.seen(id);
        match seen.decided.last() {
            Some(Approve) if !seen.passed => {
                seen.passed = true;
                Input::Passed(id)
            }
            Some(Approve) | None => Input::Left(id),
            Some(_) => Input::Refused(id),
        }
    }
}

#[test]
fn no_sequence_decides_twice_or_approves_without_a_valid_answer_in_time() {
    let (mut approved, mut asked) = (0, 0);
    for seed in 0..500 {
        let dice = StdRng::seed_from_u64(seed);
        let mut world = World { holds: Holds::default(), seen: HashMap::new(), now: start(), dice };
        (0..60).for_each(|_| world.step());
        world.now = deadline();
        world.feed(Input::Tick);
        assert_eq!(world.holds.pending().count(), 0, "nothing is pending after the deadline (seed {seed})");
        for seen in world.seen.values() {
            assert!(seen.asked <= 1, "one question for one hold (seed {seed})");
            approved += usize::from(seen.decided.contains(&Approve));
            asked += usize::from(seen.asked == 1);
        }
    }
    assert!(approved > 100 && asked > 2_000, "the sequences reach what they are about: {approved}, {asked}");
}
