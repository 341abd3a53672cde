//! What both sides of Holdpoint share: the contract between kernel and agent, and the matcher that
//! both run. Pure and `no_std`; it knows neither maps nor files.
//!
//! Everything that crosses the border is a `#[repr(C)]` record of integers and fixed arrays, with its
//! size asserted at compile time ([`pod`]). Integers become enums only after a check.

#![no_std]

pub mod decision;
pub mod event;
pub mod host;
pub mod layout;
pub mod matcher;
pub mod pending;
pub mod pod;
pub mod request;
pub mod system;
pub mod tables;
pub mod task;

/// Version of every record in this crate. It is part of the pin directory's name check: an agent that
/// finds pinned maps of another version refuses to adopt them.
pub const CONTRACT: u32 = 11;
