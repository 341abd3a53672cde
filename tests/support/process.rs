//! Processes as `/proc` shows them.

use std::{fs, path::PathBuf};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait_until;

/// The state letter of a process; none once it is gone.
pub fn state(pid: u32) -> Option<char> {
    letter(&format!("/proc/{pid}/stat"))
}

/// The state letter of one thread.
pub fn thread_state(pid: u32, tid: u32) -> Option<char> {
    letter(&format!("/proc/{pid}/task/{tid}/stat"))
}

fn letter(stat: &str) -> Option<char> {
    // The name in parentheses may contain anything.
    fs::read_to_string(stat).ok()?.rsplit(") ").next()?.chars().next()
}

/// Whether the process lives: zombies do not.
pub fn lives(pid: u32) -> bool {
    state(pid).is_some_and(|letter| !matches!(letter, 'Z' | 'X'))
}

/// Waits until the process is stopped.
#[track_caller]
pub fn wait_stopped(pid: u32) {
    wait_until(&format!("process {pid} is stopped"), || state(pid) == Some('T'));
}

/// The image that it runs.
///
/// # Panics
/// If it is gone.
pub fn image(pid: u32) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_else(|error| panic!("/proc/{pid}/exe: {error}"))
}

/// Its parent.
///
/// # Panics
/// If it is gone.
pub fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|error| panic!("{pid}: {error}"));
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.and_then(|number| number.trim().parse().ok()).expect("a PPid")
}

/// Sends a signal, as root and from outside the tree.
///
/// # Panics
/// If it cannot be sent.
#[track_caller]
pub fn signal(pid: u32, signal: Signal) {
    let target = Pid::from_raw(pid.try_into().expect("a pid"));
    kill(target, signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
}
