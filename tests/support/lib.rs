//! What the promise tests share. They run as root inside the virtual machine, one after the other, against the built
//! program: they know its command line and nothing inside.
//!
//! ```
//! let agent = shared(&everything());                       // one agent for tests that want the same policy
//! let file = site::file("hold", "Ada\n");
//! let actor = agent.act([format!("open {file} r"), "read".into()]);
//! let hold = agent.hold_of(&actor);                        // waits until it is held
//! agent.approve(&hold);
//! assert_eq!(actor.end().stdout, "open ok\nread Ada\n");
//! ```

pub mod actor;
pub mod agent;
pub mod control;
pub mod hold;
pub mod http;
pub mod listener;
pub mod policy;
pub mod process;
pub mod provider;
pub mod relay;
pub mod resolver;
pub mod reviewer;
pub mod shared;
pub mod site;
pub mod slack;
pub mod terminal;
mod wait;

pub use self::{
    actor::{Actor, Ended, User, control, ungoverned},
    agent::{Agent, Builder, Reply},
    hold::Hold,
    policy::everything,
    shared::shared,
    wait::{LIMIT, wait_for, wait_until},
};

/// The parsed JSON that the program prints and records.
pub use serde_json::Value as Json;
