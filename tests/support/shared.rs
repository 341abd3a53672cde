//! One agent for many tests: starting it takes seconds.

use std::{
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::Agent;

/// A machine has one agent at most.
static SLOT: Mutex<Option<Agent>> = Mutex::new(None);

/// The agent that other tests with the same policy use too. Kept until a test wants another one.
pub struct Shared(MutexGuard<'static, Option<Agent>>);

impl Deref for Shared {
    type Target = Agent;

    fn deref(&self) -> &Agent {
        self.0.as_ref().expect("there until the guard is gone")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if thread::panicking() {
            // Nobody knows what state it is in. Dropped while panicking, it says what it has logged.
            self.0.take();
        }
    }
}

/// An agent under this policy and no channels: the one that runs, if it is such a one.
pub fn shared(policy: &str) -> Shared {
    let mut slot = lock();
    if slot.as_ref().is_none_or(|agent| agent.policy() != policy || !agent.runs()) {
        // Detached before the new one starts.
        slot.take();
        *slot = Some(Agent::builder(policy).launch());
    }
    Shared(slot)
}

/// Ends the shared agent, so that another one can be started.
pub fn evict() {
    let agent = lock().take();
    drop(agent);
}

fn lock() -> MutexGuard<'static, Option<Agent>> {
    SLOT.clear_poison();
    SLOT.lock().unwrap_or_else(PoisonError::into_inner)
}
