//! A no is final: what a reviewer has refused is refused again without a question, until the rule's pause is over. Looked
//! at only where something would be held.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use holdpoint_common::{
    matcher::Turn,
    pending::{ARGUMENT_BYTES, Pending, Refused},
    request::{Operation, PATH_BYTES},
};

use crate::{
    kernel::{opaque, repeat},
    maps::REFUSED,
};

/// An odd number with about as many ones as zeros (2^64 divided by the golden ratio).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether the request of this hold, which is written but not ready, was refused by a reviewer, and its pause is not over.
/// Its fingerprint is in place afterwards.
#[inline(always)]
pub fn stands(pending: *mut Pending) -> bool {
    // SAFETY: the entry is the current thread's own; the helper has no arguments.
    unsafe {
        (*pending).fingerprint = fingerprint(pending);
        let key = Refused { tree: (*pending).facts.tree, fingerprint: (*pending).fingerprint };
        REFUSED.get(key).is_some_and(|until| bpf_ktime_get_boot_ns() < *until)
    }
}

/// See [`Refused::fingerprint`]. Of the open flags, of the stamps and of inode numbers nothing is in it: other flags, a touch
/// or a copy in its place do not make another request. Another working directory does, of an exec.
#[inline(never)]
fn fingerprint(pending: *mut Pending) -> u64 {
    // SAFETY: the entry is the current thread's own, and of the arrays no more is read than they have.
    unsafe {
        let facts = &(*pending).facts;
        let binding = &facts.binding;
        let opens = facts.operation == Operation::Open as u32 || facts.operation == Operation::Connect as u32;
        let what = if opens { 0 } else { binding.flags };
        let executes = facts.operation == Operation::Exec as u32;
        let directory = if executes { binding.target } else { 0 };
        let mut hash = mix(facts.meaning, pair(facts.operation, binding.access));
        hash = mix(hash, pair(what, binding.detail));
        hash = mix(hash, pair(binding.user, binding.group));
        hash = mix(hash, pair(binding.port, 0));
        hash = mix(hash, directory);
        let [high, low] = [&binding.address[..8], &binding.address[8..]];
        hash = mix(hash, (high.as_ptr().cast::<u64>()).read_unaligned());
        hash = mix(hash, (low.as_ptr().cast::<u64>()).read_unaligned());
        hash = mix_all::<{ PATH_BYTES / 8 }>(hash, (&raw const facts.path.bytes).cast(), facts.path.length);
        hash = mix_all::<{ PATH_BYTES / 8 }>(hash, (&raw const facts.target.bytes).cast(), facts.target.length);
        let strings = &raw const (*pending).strings;
        mix_all::<{ ARGUMENT_BYTES / 8 }>(hash, (&raw const (*strings).arguments).cast(), (*strings).length)
    }
}

#[inline(always)]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[inline(always)]
fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(FACTOR);
    mixed ^ mixed >> 32
}

/// Mixes the first `length` bytes of an array in, and how many they are.
#[inline(always)]
fn mix_all<const WORDS: usize>(hash: u64, words: *const [u64; WORDS], length: u32) -> u64 {
    let mut mixing = Mixing { words, length, hash: mix(hash, u64::from(length)) };
    repeat(WORDS as u32, &mut mixing);
    mixing.hash
}

/// Mixing word by word. The arrays are 8-aligned in their records.
struct Mixing<const WORDS: usize> {
    words: *const [u64; WORDS],
    length: u32,
    hash: u64,
}

impl<const WORDS: usize> Turn for Mixing<WORDS> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        let done = index * 8;
        let word = opaque(u64::from(index)) as usize;
        if done >= self.length || word >= WORDS {
            return false;
        }
        // SAFETY: the word lies inside the array.
        let mut bytes = unsafe { (*self.words)[word] };
        let left = self.length - done;
        if left < 8 {
            // Only the bytes in use count: the low ones, on this little-endian machine.
            bytes <<= 64 - 8 * left;
        }
        self.hash = mix(self.hash, bytes);
        true
    }
}
