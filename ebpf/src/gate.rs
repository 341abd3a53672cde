//! THE choice: which rule a request of a governed thread meets. What becomes of it then is for [`crate::decide`] to say.
//!
//! How the end of a granted call is seen, and what that costs
//! ---------------------------------------------------------
//! A grant is good for one system call of one thread, but no hook fires when a call returns, and a program on
//! `sys_exit` would tax every call of every process (about 110 instructions). What is seen instead:
//!
//! * A call passes each of its hooks once. (It can meet a hook again after waiting for a lease or a delegation, which
//!   asks again.) A hook that is met a second time is either the kernel's own restart of the interrupted call, or a
//!   new call.
//! * Only opening is restarted after its hook with nothing done: a FIFO waits for its other end. It is the restart only
//!   if the thread went through `arch_do_signal_or_restart` with a restart code in its result since then
//!   (`hooks::signal::interrupted`), the handler that ran, if any, does not turn the code into EINTR
//!   (`hooks::signal::delivered`), and no tracer can have written it. Both fire on signals only: nothing is added to a
//!   system call's path. Anything else ends the grant and is judged as a new request.
//! * A `connect()` on a socket that is already connecting to that address has no new effect and passes.
//! * A file system may open more within the call: overlayfs opens what is behind a file, and copies it. That is judged
//!   like any open, under its own path; where the approved rule holds it too, the approval covers it.
//! * An approved call that fails before it reaches its hook (the file is gone, say) leaves a grant that nobody has
//!   used. It ends with the thread's next governed request, unless a signal handler may be running on top of the
//!   held call; with the thread; when the agent sees the thread elsewhere; and at the hold's deadline. Until then the
//!   only call that it lets through is the very one that was approved, once.
//!
//! The cost is one look-up of the governed threads per delivered signal and per interrupted call.

use holdpoint_common::{
    matcher::{self, Asker, address_rule, by_object, first_of, stricter, system_rule, unknown_path_rule},
    pending::hook,
    request::{Binding, Class, Operation, Request},
    system::{NO_SYSTEM, System},
    tables::NO_RULE,
    task::{Met, Task},
};

use crate::{
    decide::{Target, decide, decide_at_once},
    kernel::{offset, opaque, read},
    maps::SWITCHES,
    walk::{self, Chain, Maps, Walk},
    workplace,
};

/// `-EPERM`.
pub const EPERM: i32 = -1;

/// The current thread's request, empty, to be filled by a hook. `task` is the thread's entry.
#[inline(always)]
pub fn request(task: *mut Task) -> &'static mut Request {
    // SAFETY: the entry is the current thread's own, and stays while it is in a program.
    let (request, scratch) = unsafe {
        (*task).noted = NO_RULE;
        (&mut (*task).request, &mut (*task).scratch)
    };
    (scratch.labels, scratch.labels_below) = (0, 0);
    *request = Request {
        binding: Binding {
            inode: 0,
            anchor: 0,
            target: 0,
            target_anchor: 0,
            device: 0,
            access: 0,
            flags: 0,
            detail: 0,
            user: 0,
            group: 0,
            address: [0; 16],
            port: 0,
            family: 0,
        },
        dentry: 0,
        inode: 0,
        bprm: 0,
        system: NO_SYSTEM,
        created: 0,
        implied: 0,
        covered: 0,
        quiet: 0,
        at: 0,
        makes: 0,
        reserved: 0,
    };
    request
}

/// Likewise, for an operation on the host.
#[inline(always)]
pub fn on_host(task: *mut Task, system: System) -> &'static mut Request {
    let request = request(task);
    request.system = system as u32;
    request.binding.flags = system as u32;
    request
}

/// Decides the request of the current thread, met at `at`, a [`hook`]: 0 if it passes, else the error that the hook
/// returns.
#[inline(always)]
pub fn gate(task: *mut Task, operation: Operation, at: u32) -> i32 {
    let request = read_back(task);
    let asker = asker(task);
    workplace::note(task, asker.revision);
    let walk = walk(operation, request, task);
    let rule = first_rule(operation, request, &walk, asker, false);
    let rule = or_noted(task, asker, request, rule);
    decide(task, met(&walk, asker, rule, at), operation, Target::None)
}

/// Likewise, of an operation on a file's name or on what is kept beside it. What `moves` takes along all that is below.
#[inline(always)]
pub fn gate_name(task: *mut Task, moves: bool, target: Target, replaces: u32) -> i32 {
    let asker = asker(task);
    workplace::note(task, asker.revision);
    // First, since both walks fill the same chain.
    let of_target = match target {
        Target::Entry(entry) => rule_of_target(task, asker, entry, replaces),
        Target::None | Target::Text(_) => NO_RULE,
    };
    let request = read_back(task);
    let walk = walk(Operation::File, request, task);
    let rule = first_rule(Operation::File, request, &walk, asker, moves);
    let rule = or_noted(task, asker, request, stricter(&Maps(task), asker, rule, of_target));
    decide(task, met(&walk, asker, rule, hook::NAME), Operation::File, target)
}

/// The first rule on what gets another file, and all that is below it, in its place.
#[inline(always)]
fn rule_of_target(task: *mut Task, asker: Asker, entry: u64, access: u32) -> u32 {
    let access = opaque(u64::from(access)) as u32;
    let walk = walk::from_dentry(task, entry);
    let there: u64 = read(entry, offset!(dentry_inode));
    // SAFETY: the entry is the current thread's own.
    let own = unsafe { (*task).request.inode };
    if there != 0 {
        // What is replaced is whose and what it is; where there is nothing, what comes there.
        // SAFETY: likewise.
        unsafe { (*task).request.inode = there };
    }
    let rule = or_unknown(walk.moved_rule(asker, access), &walk, asker, access);
    // SAFETY: likewise.
    unsafe { (*task).request.inode = own };
    if access & Class::Read.bit() == 0 {
        // It goes, and nobody gets to read it.
        (walk.scratch().labels, walk.scratch().labels_below) = (0, 0);
    }
    rule
}

/// See [`matcher::or_noted`].
#[inline(always)]
fn or_noted(task: *mut Task, asker: Asker, request: &Request, rule: u32) -> u32 {
    // SAFETY: the entry is the current thread's own.
    let noted = unsafe { (*task).noted };
    matcher::or_noted(&Maps(task), asker, noted, rule, request.system != NO_SYSTEM)
}

/// Likewise, where nothing can be held: what a rule would hold is refused.
#[inline(always)]
pub fn at_once(task: *mut Task, operation: Operation) -> i32 {
    let asker = asker(task);
    workplace::note(task, asker.revision);
    at_once_there(task, asker, operation)
}

/// Likewise, where [`workplace::note`] was called already, for this revision.
#[inline(always)]
pub fn at_once_there(task: *mut Task, asker: Asker, operation: Operation) -> i32 {
    let request = read_back(task);
    let walk = walk(operation, request, task);
    let rule = first_rule(operation, request, &walk, asker, false);
    let rule = or_noted(task, asker, request, rule);
    decide_at_once(task, met(&walk, asker, rule, hook::AT_ONCE), operation)
}

/// Refuses an operation on the host whatever the policy says.
#[inline(always)]
pub fn never(task: *mut Task) -> i32 {
    let nowhere = walk::nowhere(task);
    decide_at_once(task, met(&nowhere, asker(task), NO_RULE, hook::AT_ONCE), Operation::System)
}

#[inline(always)]
fn met(walk: &Walk, asker: Asker, rule: u32, at: u32) -> Met {
    let Chain { depth, whole, .. } = walk.chain;
    Met { target: 0, depth, whole: whole.into(), at, revision: asker.revision, rule }
}

/// The request as it stands in the thread's entry: the compiler must not carry on what it knows of it.
#[inline(always)]
pub fn read_back(task: *mut Task) -> &'static Request {
    // SAFETY: as for `request`; the address is that of the entry's field.
    unsafe { &*(opaque(&raw const (*task).request as u64) as *const Request) }
}

/// Who asks, under the policy in force.
#[inline(always)]
pub fn asker(task: *mut Task) -> Asker {
    // An array's record always exists; no table has revision 0.
    let revision = SWITCHES.get(0).map_or(0, |switches| switches.revision);
    // SAFETY: the entry is the current thread's own.
    Asker { revision, subject: unsafe { (*task).subject } }
}

#[inline(always)]
fn walk(operation: Operation, request: &Request, task: *mut Task) -> Walk {
    match operation {
        Operation::Connect | Operation::System => walk::nowhere(task),
        Operation::Exec | Operation::Open | Operation::File => walk::from_dentry(task, request.dentry),
    }
}

/// The first rule that accepts the request; where it counts as an operation on the host and no other does, on that. What
/// `moves` takes along all that is below it.
#[inline(always)]
fn first_rule(operation: Operation, request: &Request, walk: &Walk, asker: Asker, moves: bool) -> u32 {
    let rule = match operation {
        Operation::Connect => {
            address_rule(&Maps(walk.chain.task), asker, &request.binding.address, request.binding.port)
        }
        Operation::Exec | Operation::Open | Operation::File => rule_on_path(operation, request, walk, asker, moves),
        Operation::System => NO_RULE,
    };
    if rule == NO_RULE && request.system != NO_SYSTEM {
        system_rule(&Maps(walk.chain.task), asker, request.system)
    } else {
        rule
    }
}

#[inline(always)]
fn rule_on_path(operation: Operation, request: &Request, walk: &Walk, asker: Asker, moves: bool) -> u32 {
    if request.dentry == 0 || walk.nameless && operation != Operation::Exec {
        // Pipes, sockets, memory: brought along, received, mapped, or opened again through /proc, they have no path that a
        // rule could mean. What is executed from such a place (memfd) must not escape the rules on exec.
        return NO_RULE;
    }
    let access = request.binding.access;
    let exec = operation == Operation::Exec;
    let known = if moves { walk.moved_rule(asker, access) } else { walk.rule(asker, access, exec) };
    // Whatever its count of names is now: one of them may just have been taken away.
    let labels = &mut walk.scratch().labels;
    let of_object = by_object(&Maps(walk.chain.task), asker, walk.device, request.binding.inode, access, labels);
    let of_object = first_of(&Maps(walk.chain.task), asker, [of_object], exec);
    or_unknown(stricter(&Maps(walk.chain.task), asker, known, of_object), walk, asker, access)
}

/// A path that could not be walked is taken for any, and so is one on a file system that the policy names and that takes
/// names in other spellings.
#[inline(always)]
fn or_unknown(known: u32, walk: &Walk, asker: Asker, access: u32) -> u32 {
    if walk.chain.whole && !(walk.folds && walk.is_named(asker)) {
        known
    } else {
        unknown_path_rule(&Maps(walk.chain.task), asker, access, &mut walk.scratch().labels)
    }
}
