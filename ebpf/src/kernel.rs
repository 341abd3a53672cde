//! Reading the running kernel: the offsets that the agent found in its BTF, and memory by address.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::task_struct,
    cty::c_void,
    helpers::{
        bpf_get_current_task, bpf_get_current_task_btf, bpf_loop, bpf_task_pt_regs, generated::bpf_probe_read_kernel,
    },
};
use holdpoint_common::{
    layout::{ABSENT, Layout, Symbols},
    matcher::{NO_LOGIN, Turn},
};

/// Written by the agent before loading; read-only afterwards, so its values are constants to the verifier.
#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout::from_offsets([0; Layout::FIELDS]);

/// Likewise: addresses of kernel variables.
#[unsafe(no_mangle)]
static SYMBOLS: Symbols = Symbols { page_offset_base: 0, five_levels: 0, init_net: 0 };

/// File types in `i_mode`, `include/uapi/linux/stat.h`.
pub mod kind {
    pub use holdpoint_common::tables::{KIND as MASK, SOCKET};

    pub const BLOCK: u32 = 0o060_000;
    pub const CHARACTER: u32 = 0o020_000;
    pub const LINK: u32 = 0o120_000;
    pub const DIRECTORY: u32 = 0o040_000;
    pub const REGULAR: u32 = 0o100_000;
}

/// The offset of a field, by its name in [`Layout`].
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::layout(core::mem::offset_of!(holdpoint_common::layout::Layout, $field))
    };
}
pub(crate) use offset;

/// The field at `position` bytes in [`LAYOUT`]. Volatile: the compiler must not believe the zeros above.
#[inline(always)]
pub fn layout(position: usize) -> u64 {
    // SAFETY: `offset!` gives positions of `u32` fields of this live static.
    u64::from(unsafe { (&raw const LAYOUT).byte_add(position).cast::<u32>().read_volatile() })
}

/// Addresses of kernel variables.
#[inline(always)]
pub fn symbols() -> Symbols {
    // SAFETY: the pointer is to a live static.
    unsafe { (&raw const SYMBOLS).read_volatile() }
}

/// What is stored at `base + offset` in kernel memory; zeros if that cannot be read. Every caller takes zeros for
/// the careful case, and the verifier has one way less to follow.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the source and fills the target in any case, on a fault with zeros
    // (kernel/trace/bpf_trace.c, `bpf_probe_read_kernel_common`); T is an integer or an array of them.
    unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, (base + offset) as *const c_void);
        value.assume_init()
    }
}

/// Address of the current thread's `task_struct`: the identity of a thread while it lives.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_task() }
}

/// User id as which the current thread has logged in, or [`NO_LOGIN`].
#[inline(always)]
pub fn login() -> u32 {
    told_by_audit(offset!(task_login))
}

/// Number of the session in which it has, or the same.
#[inline(always)]
pub fn session() -> u32 {
    told_by_audit(offset!(task_session))
}

#[inline(always)]
fn told_by_audit(offset: u64) -> u32 {
    if offset == u64::from(ABSENT) { NO_LOGIN } else { read(current(), offset) }
}

/// Address of the current thread's saved user registers.
#[inline(always)]
pub fn registers() -> u64 {
    // SAFETY: the helper gives the current task as the pointer that the second one asks for.
    unsafe {
        let task: *mut task_struct = bpf_get_current_task_btf();
        bpf_task_pt_regs(task) as u64
    }
}

/// Adds one to `counter`, atomically.
#[inline(always)]
pub fn increment(counter: *mut u64) {
    // SAFETY: the pointer is to a map's value. The compiled `core` for this target has no atomic types.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {one}", counter = in(reg) counter, one = in(reg) 1_u64)
    };
}

/// Sets these bits of `mask`, atomically.
#[inline(always)]
pub fn add_bits(mask: *mut u64, bits: u64) {
    // SAFETY: see `increment`.
    unsafe { core::arch::asm!("lock *(u64 *)({mask} + 0) |= {bits}", mask = in(reg) mask, bits = in(reg) bits) };
}

/// Takes one from `counter`, atomically.
#[inline(always)]
pub fn decrement(counter: *mut u64) {
    // SAFETY: see `increment`.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {less}", counter = in(reg) counter, less = in(reg) -1_i64)
    };
}

/// Runs at most `times` turns, verified once whatever their number (`bpf_loop`, 5.17 and later).
#[inline(always)]
pub fn repeat<T: Turn>(times: u32, turns: &mut T) {
    let turn: extern "C" fn(u64, *mut T) -> i64 = one_turn::<T>;
    // SAFETY: the helper calls `one_turn` with `turns`, which lives until it returns.
    unsafe { bpf_loop(times, turn as *mut c_void, (&raw mut *turns).cast(), 0) };
}

/// 0 goes on, 1 ends the loop.
extern "C" fn one_turn<T: Turn>(index: u64, turns: *mut T) -> i64 {
    // SAFETY: the pointer is the one that `repeat` was given.
    i64::from(!unsafe { (*turns).turn(index as u32) })
}

/// `value`, with everything that the compiler knows of it forgotten. A bound that the compiler finds needless and
/// drops is one that the verifier then misses.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: moves a register onto itself. (Without an instruction the line information would name one twice, which
    // the kernel refuses.)
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value) };
    value
}
