//! The last test by its name, since the agent that the others share ends with nobody but the test program itself.

use holdpoint_tests::{agent, shared};

#[test]
fn after_detach_nothing_is_pinned_or_attached() {
    // Dropping an agent checks this; here it is done for the last one.
    shared::evict();
    assert!(agent::pinned().is_empty(), "{:?}", agent::pinned());
    assert_eq!(agent::links(), 0, "BPF links on a host without holdpoint");
}
