//! Trying again: exponential back-off with jitter, what `Retry-After` asks for, and never past the limit.

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until, timeout};

use super::lane::Lane;
use crate::request::Answer;

/// Pauses before each attempt, in seconds; the last one repeats.
const PAUSES: [u64; 7] = [0, 1, 2, 4, 8, 15, 30];

/// Longest time for one attempt: what Standard Webhooks gives a receiver.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// No hold waits longer than this; a longer `Retry-After` means never.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 3600);

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    /// Time for all attempts together.
    pub time: Duration,
    /// Most attempts.
    pub attempts: u32,
}

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The other side took the message.
    Delivered,
    /// It took the message and answers it at once.
    Answered(Box<Answer>),
    /// It will not take it, however often it is tried.
    Gone {
        /// What happened.
        error: String,
    },
    /// It may take it later.
    Failed {
        /// What happened.
        error: String,
        /// How long it wants to be left alone.
        pause: Option<Duration>,
    },
}

impl Attempt {
    /// It may be taken later, whenever that is.
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self::Failed { error: error.into(), pause: None }
    }
}

/// The message got through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    /// How many attempts that took.
    pub attempts: u32,
    /// What came back at once.
    pub answer: Option<Box<Answer>>,
}

/// The message did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// How many attempts were made.
    pub attempts: u32,
    /// What the last one met.
    pub error: String,
}

/// Attempts until the message is delivered, refused for good, or `limit` is reached. One may take `patience`, from when it has
/// a turn in its `lane`. Who waits there, or is not let in for all the time, has made no attempt.
pub(super) async fn deliver<F, A>(
    limit: Limit,
    patience: Duration,
    lane: &Lane,
    mut attempt: F,
) -> Result<Delivered, Failure>
where
    F: FnMut() -> A,
    A: Future<Output = Attempt>,
{
    let end = Instant::now() + limit.time;
    let mut failure = Failure { attempts: 0, error: "there was no time to ask".into() };
    let mut asked_for = Duration::ZERO;
    while failure.attempts < limit.attempts {
        let next = Instant::now() + pause(failure.attempts).max(asked_for);
        if next >= end {
            break;
        }
        sleep_until(next).await;
        let _turn = match lane.turn(end).await {
            Ok(turn) => turn,
            Err(why) if failure.attempts == 0 => return Err(Failure { error: why.into(), ..failure }),
            Err(_) => break,
        };
        failure.attempts += 1;
        let left = end - Instant::now();
        let late = match failure.attempts {
            // What the limit itself cuts short says less than what was met before.
            2.. if left < patience => failure.error.clone(),
            _ => "no answer in time".into(),
        };
        match timeout(patience.min(left), attempt()).await.unwrap_or_else(|_| Attempt::failed(late)) {
            Attempt::Delivered => return Ok(Delivered { attempts: failure.attempts, answer: None }),
            Attempt::Answered(answer) => {
                return Ok(Delivered { attempts: failure.attempts, answer: Some(answer) });
            }
            Attempt::Gone { error } => return Err(Failure { error, ..failure }),
            Attempt::Failed { error, pause } => {
                tracing::debug!(attempts = failure.attempts, error, "not delivered");
                failure.error = error;
                asked_for = pause.unwrap_or_default();
                lane.rest(asked_for);
            }
        }
    }
    Err(failure)
}

/// The pause after `attempts` attempts: between half of what the table says and all of it, so that those who
/// failed together do not come back together.
pub(super) fn pause(attempts: u32) -> Duration {
    let index = usize::try_from(attempts).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    Duration::from_secs(PAUSES[index]).mul_f64(rand::random_range(0.5..=1.0))
}

/// The time that a `Retry-After` header asks for: seconds, or a date to wait for.
pub(super) fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = header.trim().parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_PAUSE));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header.trim()).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default().min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::approval::lane::tests::lane;

    const MINUTE: Limit = Limit { time: Duration::from_secs(60), attempts: u32::MAX };

    /// Delivers to a side that answers with `attempts`, the last one again and again. Gives the result and
    /// when each attempt was made, in seconds.
    async fn played(limit: Limit, attempts: &[Attempt]) -> (Result<Delivered, Failure>, Vec<f64>) {
        let (began, times) = (Instant::now(), RefCell::new(vec![]));
        let lane = lane(1);
        let result = deliver(limit, PATIENCE, &lane, || {
            let mut times = times.borrow_mut();
            times.push(began.elapsed().as_secs_f64());
            let answer = attempts[(times.len() - 1).min(attempts.len() - 1)].clone();
            async { answer }
        });
        let result = result.await;
        (result, times.into_inner())
    }

    fn delivered(attempts: u32) -> Result<Delivered, Failure> {
        Ok(Delivered { attempts, answer: None })
    }

    fn failed(pause: Option<u64>) -> Attempt {
        Attempt::Failed { error: "500".into(), pause: pause.map(Duration::from_secs) }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_taken_is_sent_once_and_at_once() {
        assert_eq!(played(MINUTE, &[Attempt::Delivered]).await, (delivered(1), vec![0.0]));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end_with_the_limit() {
        let (result, times) = played(MINUTE, &[failed(None)]).await;
        assert_eq!(result.unwrap_err().error, "500");
        let pauses = times.windows(2).map(|pair| pair[1] - pair[0]);
        for (pause, most) in pauses.zip([1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0, 30.0]) {
            assert!(pause >= most / 2.0 - 0.01 && pause <= most + 0.01, "{pause} for {most}");
        }
        assert!(times.last().is_some_and(|last| *last < 60.0) && times.len() >= 6);
    }

    #[tokio::test(start_paused = true)]
    async fn the_other_side_is_left_alone_as_long_as_it_asks() {
        let (result, times) = played(MINUTE, &[failed(Some(20)), Attempt::Delivered]).await;
        assert_eq!(result, delivered(2));
        assert!((20.0..20.1).contains(&times[1]), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_time_after_the_deadline() {
        let began = Instant::now();
        assert!(played(MINUTE, &[failed(Some(600))]).await.0.is_err());
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_hangs_costs_fifteen_seconds_or_what_is_left() {
        let began = Instant::now();
        let limit = Limit { time: Duration::from_secs(20), ..MINUTE };
        let failure = deliver(limit, PATIENCE, &lane(1), std::future::pending::<Attempt>).await.unwrap_err();
        assert_eq!(failure.attempts, 2);
        assert!((19.9..20.1).contains(&began.elapsed().as_secs_f64()));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_the_limit_cuts_short_hides_nothing_that_was_met() {
        let mut first = true;
        let limit = Limit { time: Duration::from_secs(5), ..MINUTE };
        let refused_then_silent = || {
            let refused = std::mem::take(&mut first);
            async move { if refused { Attempt::failed("refused") } else { std::future::pending().await } }
        };
        let failure = deliver(limit, PATIENCE, &lane(1), refused_then_silent).await.unwrap_err();
        assert_eq!(failure, Failure { attempts: 2, error: "refused".into() });
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_turn_has_not_begun_to_take_time() {
        let lane = lane(2);
        let busy = Cell::new(0);
        let slow = || async {
            busy.set(busy.get() + 1);
            assert!(busy.get() <= 2);
            tokio::time::sleep(PATIENCE / 2).await;
            busy.set(busy.get() - 1);
            Attempt::Delivered
        };
        let all = (0..8).map(|_| deliver(MINUTE, PATIENCE, &lane, slow));
        assert_eq!(futures_util::future::join_all(all).await, vec![delivered(1); 8]);
    }

    /// When each of three messages on one channel gets through, in seconds, if the first attempt of all is answered so.
    async fn arrivals(first: Attempt, seconds: u64) -> Vec<Option<f64>> {
        let (lane, began, first) = (lane(1), Instant::now(), Cell::new(Some(first)));
        let attempt = || {
            let answer = first.take().unwrap_or(Attempt::Delivered);
            async { answer }
        };
        let limit = Limit { time: Duration::from_secs(seconds), ..MINUTE };
        let all = (0..3).map(async |_| {
            let delivered = deliver(limit, PATIENCE, &lane, attempt).await;
            delivered.ok().map(|_| began.elapsed().as_secs_f64())
        });
        futures_util::future::join_all(all).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_to_be_left_alone_is_left_alone_by_the_whole_channel() {
        for arrived in arrivals(failed(Some(20)), 60).await {
            assert!(arrived.is_some_and(|at| (20.0..20.1).contains(&at)), "{arrived:?}");
        }
        assert_eq!(arrivals(failed(Some(90)), 60).await, [None; 3], "past the deadline");
        let error = arrivals(failed(None), 60).await;
        assert!(error.iter().flatten().all(|at| *at < 1.1), "a failure is nobody else's: {error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_shuts_a_channel_for_long() {
        let [refused, others @ ..] = &arrivals(failed(Some(365 * 24 * 3600)), 3600).await[..] else { panic!("three") };
        assert_eq!(*refused, None);
        assert!(others.iter().all(|at| at.is_some_and(|at| (600.0..600.1).contains(&at))), "{others:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_side_that_wants_no_more_is_left_alone() {
        let (result, times) = played(MINUTE, &[Attempt::Gone { error: "410".into() }]).await;
        assert_eq!((result.is_err(), times.len()), (true, 1));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2015-10-21T07:27:00Z".parse().unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:20:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}
