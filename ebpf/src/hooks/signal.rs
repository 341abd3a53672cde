//! How the end of a granted call is told from its restart: see the top of [`crate::gate`].

use aya_ebpf::{
    macros::{btf_tracepoint, fentry},
    programs::{BtfTracePointContext, FEntryContext},
};
use holdpoint_common::pending::Pending;

use crate::{
    kernel::{current, offset, read, registers},
    park, syscall, task,
};

const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
/// `SIG_DFL` and `SIG_IGN` are 0 and 1.
const HANDLERS_FROM: u64 = 2;
const SA_RESTART: u64 = 0x1000_0000;

/// `arch_do_signal_or_restart(regs)`, x86: every interrupted call comes through here, and nothing else does. Not
/// a tracepoint on signals: a stop of the whole group, a freezer or a tracer interrupts without delivering one.
#[fentry(function = "arch_do_signal_or_restart")]
pub fn interrupted(ctx: FEntryContext) -> u32 {
    let Some(pending) = held() else { return 0 };
    let traced: u32 = read(current(), offset!(task_ptrace));
    let regs: u64 = ctx.arg(0);
    let result: i64 = read(regs, offset!(regs_ax));
    // SAFETY: the entry is the current thread's own.
    let held_call = unsafe { (*pending).facts.syscall };
    // Another call's interruption says nothing of the granted one, which has then returned.
    if held_call == syscall::number()
        && traced == 0
        && matches!(result, ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK)
    {
        // SAFETY: the entry is the current thread's own.
        unsafe { (*pending).interrupted = 1 };
    }
    0
}

/// `signal_deliver(sig, info, ka)`: a handler of the program is about to run; some results then become EINTR.
#[btf_tracepoint(function = "signal_deliver")]
pub fn delivered(ctx: BtfTracePointContext) -> i32 {
    let Some(pending) = held() else { return 0 };
    let action: u64 = ctx.arg(2);
    let handler: u64 = read(action, offset!(action_handler));
    if handler < HANDLERS_FROM {
        return 0;
    }
    let flags: u64 = read(action, offset!(action_flags));
    let result: i64 = read(registers(), offset!(regs_ax));
    let ends = match result {
        ERESTARTSYS => flags & SA_RESTART == 0,
        ERESTARTNOHAND | ERESTART_RESTARTBLOCK => true,
        _ => false,
    };
    // SAFETY: the entry is the current thread's own.
    unsafe {
        (*pending).handlers += 1;
        if ends {
            (*pending).interrupted = 0;
        }
    }
    0
}

/// The hold of the current thread.
#[inline(always)]
fn held() -> Option<*mut Pending> {
    let task = task::governed(current())?;
    // SAFETY: the entry is the current thread's own.
    park::standing(unsafe { (*task).hold })
}
