//! Where the current thread works: in which of the sets of directories that rules name (`cwd`).

use holdpoint_common::{
    matcher::{Asker, Tables as _},
    tables::{RootKey, UNKNOWN, WORKPLACES},
    task::Task,
};

use crate::{
    kernel::{current, offset, read},
    task::governed,
    walk::{self, Maps},
};

/// Notes it in the thread's entry. To be done before anything else is walked: all walks fill the same chain.
#[inline(always)]
pub fn note(task: *mut Task, revision: u32) {
    let workplaces = workplaces_of(u64::from(revision));
    // SAFETY: the entry is the current thread's own.
    unsafe { (*task).workplaces = workplaces };
}

/// The directory entry of the current thread's working directory.
#[inline(always)]
pub fn directory() -> u64 {
    let place: u64 = read(current(), offset!(task_place));
    read(place, offset!(place_directory))
}

/// Global, so that the verifier looks at it once and the small stack is not its callers'.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn workplaces_of(revision: u64) -> u64 {
    let Some(task) = governed(current()) else { return 0 };
    let asker = Asker { revision: revision as u32, subject: WORKPLACES };
    if unknown(task, asker).is_none() {
        return 0;
    }
    let walk = walk::from_dentry(task, directory());
    if walk.chain.whole && !(walk.folds && walk.is_named(asker)) {
        walk.labels(asker)
    } else {
        unknown(task, asker).unwrap_or(u64::MAX)
    }
}

/// The sets that a directory is in that cannot be told from others: those of all rules that stand in the way. None if no rule
/// asks where anybody works.
#[inline(always)]
fn unknown(task: *mut Task, asker: Asker) -> Option<u64> {
    let key = RootKey { revision: asker.revision, subject: asker.subject, device: UNKNOWN };
    Maps(task).root(&key).map(|root| root.labels)
}
