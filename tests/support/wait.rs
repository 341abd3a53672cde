//! Waiting for a state, with a limit.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take that should happen soon. An emulated machine is slow, and what never happens fails anyway.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(15);

/// What `look` finds, once it finds something.
///
/// # Panics
/// If that takes longer than `limit`.
#[track_caller]
pub fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        sleep(PAUSE);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// If that takes longer than [`LIMIT`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, LIMIT, || condition().then_some(()));
}
