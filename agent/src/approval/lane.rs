//! Where attempts wait: for one of the turns of their tree, then for one of their channel, and until the channel is not left
//! alone any more.
//!
//! What is first come is first served, but of each tree so few are in the channel's queue or have a turn that no tree, with
//! any number of questions, keeps another one's waiting for longer than these few take.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until, timeout_at},
};

use super::channel::{Message, Says};

/// Attempts of one tree at a time.
pub(super) const OF_A_TREE: usize = 4;

/// Longest time for which a channel as a whole is left alone. What asks for more is asked again by the next message.
pub(super) const LONGEST_REST: Duration = Duration::from_secs(600);

/// The lanes of one channel: those who ask apart from those who say how it ended, which do not wait for them. What one is
/// told of leaving the channel alone counts for all.
#[derive(Debug)]
pub(super) struct Lanes {
    questions: Turns,
    outcomes: Turns,
    rest: Arc<Rest>,
}

impl Lanes {
    /// Each with so many turns at a time.
    pub(super) fn new(turns: usize) -> Self {
        Self { questions: Turns::new(turns), outcomes: Turns::new(turns), rest: Arc::default() }
    }

    /// Where the attempts to send this wait.
    pub(super) fn of(&self, message: &Message) -> Lane {
        let turns = match message.says {
            Says::Question { .. } | Says::Reminder { .. } => &self.questions,
            Says::Counted { .. } | Says::Outcome(_) => &self.outcomes,
        };
        turns.of(&message.hold.request.tree, &self.rest)
    }
}

/// Turns of one channel.
#[derive(Debug)]
struct Turns {
    all: Arc<Semaphore>,
    /// Those of each tree that has something to say. A std mutex: nothing is awaited while it is held.
    trees: Mutex<HashMap<String, Weak<Semaphore>>>,
}

impl Turns {
    fn new(turns: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(turns)), trees: Mutex::default() }
    }

    fn of(&self, tree: &str, rest: &Arc<Rest>) -> Lane {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        trees.retain(|_, turns| turns.strong_count() > 0);
        let of_tree = trees.get(tree).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turns = Arc::new(Semaphore::new(OF_A_TREE));
            trees.insert(tree.to_owned(), Arc::downgrade(&turns));
            turns
        });
        Lane { of_tree, of_channel: Arc::clone(&self.all), rest: Arc::clone(rest) }
    }
}

/// Where the attempts of one tree wait on one channel.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    of_tree: Arc<Semaphore>,
    of_channel: Arc<Semaphore>,
    rest: Arc<Rest>,
}

/// The right to make an attempt, until it is dropped.
pub(super) struct Turn<'a> {
    _of_tree: SemaphorePermit<'a>,
    _of_channel: SemaphorePermit<'a>,
}

impl Lane {
    /// A turn before `end`, or why there is none.
    pub(super) async fn turn(&self, end: Instant) -> Result<Turn<'_>, &'static str> {
        loop {
            // In this order: who waits for the tree's is not in the way of other trees. Never closed.
            let both = async { Some((self.of_tree.acquire().await.ok()?, self.of_channel.acquire().await.ok()?)) };
            let Ok(Some((_of_tree, _of_channel))) = timeout_at(end, both).await else {
                return Err("there was no turn before the deadline");
            };
            let Some(until) = self.rest.until() else { return Ok(Turn { _of_tree, _of_channel }) };
            drop((_of_tree, _of_channel));
            if until >= end {
                return Err("the channel wants to be left alone until after the deadline");
            }
            sleep_until(until).await;
        }
    }

    /// The channel is left alone so long at least, by all who try.
    pub(super) fn rest(&self, pause: Duration) {
        self.rest.extend(pause);
    }
}

/// How long a channel is left alone: the other side has asked for that.
#[derive(Debug, Default)]
struct Rest(Mutex<Option<Instant>>);

impl Rest {
    /// When it may be tried again, if that is not now.
    fn until(&self) -> Option<Instant> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until.filter(|until| *until > Instant::now())
    }

    /// It is left alone so long at least.
    fn extend(&self, pause: Duration) {
        let until = Instant::now() + pause.min(LONGEST_REST);
        let mut rest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *rest = rest.max(Some(until));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::RefCell;

    use futures_util::future::join_all;

    use super::*;
    use crate::request::{End, HoldId, Standing, sample};
    use holdpoint_common::decision::Decision;

    const HOUR: Duration = Duration::from_secs(3600);

    /// One that shares nothing, with so many turns.
    pub(in crate::approval) fn lane(turns: usize) -> Lane {
        Turns::new(turns).of("0000000000000001", &Arc::default())
    }

    fn question(tree: usize) -> Message {
        let mut hold = sample::hold(HoldId(7));
        hold.request.tree = format!("{tree:016x}");
        Message {
            at: sample::start(),
            host: "h".into(),
            hold,
            says: Says::Question { callback: None },
            review: None,
            test: false,
        }
    }

    /// Of so many attempts of each tree, in the order of the list and each of a minute: when they had their turns, in
    /// minutes.
    async fn turns(lanes: &Lanes, trees: &[(usize, usize)]) -> Vec<(usize, u64)> {
        let (began, turns) = (Instant::now(), RefCell::new(vec![]));
        let attempts = trees.iter().flat_map(|(tree, count)| vec![*tree; *count]).map(async |tree| {
            let lane = lanes.of(&question(tree));
            let _turn = lane.turn(began + 100 * HOUR).await.unwrap_or_else(|why| panic!("{why}"));
            turns.borrow_mut().push((tree, began.elapsed().as_secs() / 60));
            tokio::time::sleep(Duration::from_secs(60)).await;
        });
        join_all(attempts).await;
        turns.into_inner()
    }

    fn of(tree: usize, turns: &[(usize, u64)]) -> Vec<u64> {
        turns.iter().filter(|turn| turn.0 == tree).map(|turn| turn.1).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_tree_has_so_many_turns_and_others_do_not_wait_for_it() {
        let turns = turns(&Lanes::new(16), &[(1, 64), (2, 1), (3, 2)]).await;
        assert_eq!(of(1, &turns), (0..64).map(|number| number / 4).collect::<Vec<_>>());
        assert_eq!((of(2, &turns), of(3, &turns)), (vec![0], vec![0, 0]));
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_full_channel_another_tree_waits_for_what_is_before_it_of_each_and_no_longer() {
        let trees: Vec<_> = (1..=8).map(|tree| (tree, 64)).chain([(9, 1)]).collect();
        let turns = turns(&Lanes::new(16), &trees).await;
        // Four of each of eight trees: sixteen now, sixteen in a minute.
        assert_eq!(of(9, &turns), [2]);
        for tree in 1..=8 {
            assert!(of(tree, &turns)[0] <= 1 && of(tree, &turns).len() == 64, "{turns:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn outcomes_do_not_wait_for_questions() {
        let lanes = Lanes::new(4);
        let lane = lanes.of(&question(1));
        let end = Instant::now() + HOUR;
        let asking = join_all((0..4).map(|_| lane.turn(end))).await;
        assert!(asking.iter().all(Result::is_ok));
        let standing = Standing { hold: HoldId(7), state: End::Expired, decision: Decision::Fail, by: None };
        let told = lanes.of(&Message { says: Says::Outcome(standing), ..question(1) });
        let began = Instant::now();
        assert!(told.turn(end).await.is_ok() && began.elapsed() == Duration::ZERO);
        let why = lane.turn(end).await.err();
        assert_eq!((why, Instant::now()), (Some("there was no turn before the deadline"), end));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_rest_the_trees_are_heard_in_turn_too() {
        let lanes = Lanes::new(1);
        lanes.rest.extend(Duration::from_secs(60));
        let turns = turns(&lanes, &[(1, 64), (2, 1)]).await;
        let other = of(2, &turns)[0];
        assert!((1..=5).contains(&other), "{other}");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_of_a_tree_that_has_no_more_to_say() {
        let turns = Turns::new(1);
        let rest = Arc::default();
        let kept = turns.of("1", &rest);
        for tree in 2..1000 {
            let _ = turns.of(&tree.to_string(), &rest);
        }
        let known = turns.trees.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(known, 2);
        assert!(Arc::ptr_eq(&kept.of_tree, &turns.of("1", &rest).of_tree), "it is the same tree's");
    }
}
