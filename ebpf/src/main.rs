//! The kernel side of Holdpoint: it holds what the policy says, before it happens.
//!
//! A request flows one way: [`hooks`] read the arguments of one guarded action, [`gate`] chooses the rule,
//! [`decide`] does what that says, [`park`] is the only way to hold it. [`task`] knows who is governed, [`maps`] who writes and who
//! reads each map. No program sleeps, and all take their arguments as the `security_*` functions do, so that
//! the same source can be attached as LSM or as fmod_ret programs.

#![no_std]
#![no_main]
#![expect(unstable_features, reason = "inline assembly for BPF is not stable yet")]
#![feature(asm_experimental_arch)]

mod decide;
mod facts;
mod gate;
mod hooks;
mod host;
mod kernel;
mod labels;
mod maps;
mod park;
mod program;
mod refused;
mod report;
mod running;
mod strings;
mod syscall;
mod task;
mod walk;
mod workplace;

/// Some helpers are for GPL programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier proves that nothing gets here.
    loop {}
}
