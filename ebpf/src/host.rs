//! The names of the address that a request is about: see `hooks/dns.rs` for how they are learned.

use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel};
use holdpoint_common::{
    host::{self, HostKey, Hosts, LONGEST},
    request::Operation,
    tables::{LITERAL_BYTES, NameKey},
};

use crate::{
    kernel::{current, opaque},
    maps::{HOST_NAMES, HOSTS},
    park,
    task::governed,
    walk::Maps,
};

impl Hosts for Maps {
    #[inline(always)]
    fn host(&self, slot: u32) -> u64 {
        // SAFETY: the entry is the current thread's own.
        let (tree, address) = unsafe { ((*self.0).tree, (*self.0).request.binding.address) };
        let Some(host) = HOSTS.get_ptr(HostKey { tree, address, slot, reserved: 0 }) else { return 0 };
        // SAFETY: the entry stays longer than any program runs.
        unsafe { if (*host).until > moment(self) { &raw const (*host).name as u64 } else { 0 } }
    }

    #[inline(always)]
    fn tail(&self, host: u64, from: u32, tail: &mut [u8; LITERAL_BYTES]) {
        let from = opaque(u64::from(from)) & (LONGEST as u64 - 1);
        // SAFETY: the target is a whole array; the helper checks the source.
        unsafe { bpf_probe_read_kernel(tail.as_mut_ptr().cast(), LITERAL_BYTES as u32, (host + from) as *const _) };
    }

    #[inline(always)]
    fn has_name(&self, key: &NameKey) -> bool {
        // SAFETY: rows of a revision in force are not changed.
        unsafe { HOST_NAMES.get(key) }.is_some()
    }
}

/// When the request was made: what was held waits longer than many a name lives, and meets the rule that has held it.
#[inline(always)]
fn moment(maps: &Maps) -> u64 {
    // SAFETY: the entries are the current thread's own; the helper has no arguments.
    unsafe {
        let held = park::standing((*maps.0).hold).map(|pending| &(*pending).facts);
        match held {
            Some(held)
                if held.operation == Operation::Connect as u32
                    && held.binding.address == (*maps.0).request.binding.address =>
            {
                held.at
            }
            _ => bpf_ktime_get_boot_ns(),
        }
    }
}

/// [`host::is_named`] for the current thread's request. Global, so that the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn is_named(revision: u64, set: u64) -> u64 {
    let Some(task) = governed(current()) else { return 0 };
    // SAFETY: the entry is the current thread's own.
    let scratch = unsafe { &mut (*task).scratch.name };
    host::is_named(&Maps(task), revision as u32, set as u32, scratch).into()
}
