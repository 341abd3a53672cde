//! One agent for many tests: starting it takes seconds.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::{Agent, agent::pinned, everything};

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

impl DerefMut for Shared {
    fn deref_mut(&mut self) -> &mut Agent {
        self.0.as_mut().expect("there until the guard is gone")
    }
}

/// An agent under this policy and no channels: the one that runs, if it is such a one.
pub fn shared(policy: &str) -> Shared {
    obtain(policy, None)
}

/// Likewise with this `config.toml`.
pub fn shared_with(policy: &str, config: &str) -> Shared {
    obtain(policy, Some(config))
}

fn obtain(policy: &str, config: Option<&str>) -> Shared {
    let mut slot = lock();
    let fits = |agent: &Agent| agent.policy() == policy && agent.config().as_deref() == config && agent.runs();
    if !slot.as_ref().is_some_and(fits) {
        // Ended before the new one starts.
        slot.take();
        let builder = Agent::builder(policy);
        *slot = Some(config.map_or(builder.clone(), |config| builder.config(config)).launch());
    }
    Shared(slot)
}

/// Ends the shared agent, so that another one can be started.
pub fn end() {
    let agent = lock().take();
    drop(agent);
}

/// Likewise, and leaves the usual policy in force, which makes a subject of nobody.
#[track_caller]
pub fn calm() {
    drop(shared(&everything()));
    end();
}

/// Likewise, and takes off what agents have attached: attaching it again takes most of a start's time.
#[track_caller]
pub fn evict() {
    end();
    if !pinned().is_empty() {
        Agent::builder(&everything()).launch().detach();
    }
}

fn lock() -> MutexGuard<'static, Option<Agent>> {
    SLOT.clear_poison();
    SLOT.lock().unwrap_or_else(PoisonError::into_inner)
}
