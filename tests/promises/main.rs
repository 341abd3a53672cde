//! The promises of Holdpoint, kept or broken: each test is named by what it shows, and shows its control.
//!
//! They run as root in the virtual machine, one after the other: `cargo xtask test --only promises`. A test without
//! `shared` starts an agent of its own.

mod a_denial_is_final;
mod exactly_this_operation;
mod nobody_leaves;
mod nothing_before_the_answer;
mod only_a_decision_resumes;
mod only_time_passes;
mod silence_denies;
mod two_holds_do_not_mix;
mod withdrawn;
mod zz_nothing_is_left_behind;
