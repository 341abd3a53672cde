//! What data governed trees and processes have read: labels. They only grow, and go with the last thread.
//!
//! A label is carried by the whole tree, since what one process has read another one gets by a pipe or a file; or, where
//! the policy says so, by the process that has read and by what it forks from then on. A carrier that is not known
//! carries every label.

use aya_ebpf::bindings::BPF_NOEXIST;
use holdpoint_common::task::{Carrier, Task};

use crate::{
    kernel::{add_bits, current, decrement, increment},
    maps::{CARRIERS, SWITCHES},
    task::governed,
};

/// Counts one more thread of a tree and of a process. Where they are not known yet, they begin with these labels. False if
/// there is no room.
#[inline(always)]
pub fn join(tree: (u64, u64), process: (u64, u64)) -> bool {
    if join_carrier(tree.0, tree.1) == 0 {
        return false;
    }
    let joined = join_carrier(process.0, process.1) != 0;
    if !joined {
        leave_carrier(tree.0);
    }
    joined
}

/// One thread less of each.
#[inline(always)]
pub fn leave(tree: u64, process: u64) {
    leave_carrier(tree);
    leave_carrier(process);
}

/// The labels that a thread carries.
#[inline(always)]
pub fn carried(task: *mut Task) -> u64 {
    // SAFETY: these fields never change, and the entry is the current thread's own or its parent's.
    let (tree, process) = unsafe { ((*task).tree, (*task).process) };
    labels_of(tree) | labels_of(process)
}

/// The labels that a process, or a tree, carries by itself.
#[inline(always)]
pub fn labels_of(carrier: u64) -> u64 {
    // SAFETY: a field is read, whoever adds to it meanwhile.
    CARRIERS.get_ptr(carrier).map_or(u64::MAX, |carrier| unsafe { (*carrier).labels })
}

/// What `parent` carries, `child` carries too.
#[inline(always)]
pub fn pass_on(parent: u64, child: u64) {
    let labels = labels_of(parent);
    if parent != child && labels != 0 {
        add(child, labels);
    }
}

/// Which of `labels` the current thread does not carry yet.
#[inline(always)]
pub fn fresh(labels: u64) -> u64 {
    if labels == 0 { 0 } else { fresh_labels(labels) }
}

/// The current thread carries `labels` from now on.
#[inline(always)]
pub fn carry(labels: u64) {
    if labels != 0 {
        carry_labels(labels);
    }
}

/// Global, as what follows, so that the verifier looks at it once and the small stack is not its callers'.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn fresh_labels(labels: u64) -> u64 {
    let Some(task) = governed(current()) else { return labels };
    // SAFETY: the entry is the current thread's own.
    let (tree, process) = unsafe { ((*task).tree, (*task).process) };
    let lineage = lineage();
    labels & (lineage & !labels_of(process) | !lineage & !labels_of(tree))
}

/// See [`carry`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn carry_labels(labels: u64) -> u64 {
    let Some(task) = governed(current()) else { return 0 };
    // SAFETY: the entry is the current thread's own.
    let (tree, process) = unsafe { ((*task).tree, (*task).process) };
    add(tree, labels & !lineage());
    add(process, labels & lineage());
    labels
}

/// See [`join`]. 1 if there is room.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn join_carrier(carrier: u64, labels: u64) -> u64 {
    if CARRIERS.get_ptr(carrier).is_none() {
        // Who came first has made the entry.
        let _ = CARRIERS.insert(carrier, Carrier { labels, threads: 0 }, BPF_NOEXIST as u64);
    }
    let Some(entry) = CARRIERS.get_ptr_mut(carrier) else { return 0 };
    // SAFETY: the pointer is to a map's value.
    increment(unsafe { &raw mut (*entry).threads });
    1
}

/// See [`leave`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn leave_carrier(carrier: u64) -> u64 {
    let Some(entry) = CARRIERS.get_ptr_mut(carrier) else { return 0 };
    // SAFETY: the pointer is to a map's value.
    let left = unsafe {
        decrement(&raw mut (*entry).threads);
        (&raw const (*entry).threads).read_volatile()
    };
    if left == 0 {
        let _ = CARRIERS.remove(carrier);
    }
    left
}

#[inline(always)]
fn add(carrier: u64, labels: u64) {
    if let Some(entry) = CARRIERS.get_ptr_mut(carrier) {
        // SAFETY: the pointer is to a map's value.
        add_bits(unsafe { &raw mut (*entry).labels }, labels);
    }
}

#[inline(always)]
fn lineage() -> u64 {
    // An array's record always exists.
    SWITCHES.get(0).map_or(0, |switches| switches.lineage)
}
