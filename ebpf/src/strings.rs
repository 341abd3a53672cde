//! What an exec was given: file name, arguments. Read from the kernel's own copy, the one that will be executed:
//! nobody but the kernel can write it, whoever shares the caller's memory.
//!
//! At `bprm_creds_for_exec` the strings lie in `bprm->mm`, from `bprm->p` upwards: the arguments, then the
//! environment, then the file name (`fs/exec.c`, `do_execveat_common`). No address space is switched to yet, so
//! the page tables are walked here and the pages read through the kernel's direct map (x86-64).

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str};
use holdpoint_common::{
    matcher::{Place, Turn},
    pending::{ARGUMENT_BYTES, FILENAME_BYTES, Pending, Strings},
    request::{PATH_BYTES, Path},
};

use crate::kernel::{offset, opaque, read, repeat, symbols};

const PAGE: u64 = 4096;
/// Bits of an entry that are the physical address (`PTE_PFN_MASK`).
const FRAME: u64 = 0x000f_ffff_ffff_f000;
/// `_PAGE_PRESENT`, `_PAGE_PSE`.
const PRESENT: u64 = 1;
const HUGE: u64 = 0x80;

/// Fills in `strings`, as far as they can be read. False if something cannot be read whole or does not fit.
#[inline(never)]
pub fn write(strings: *mut Strings, bprm: u64) -> bool {
    write_filename(strings, bprm) & write_arguments(strings, bprm)
}

/// Whether `bprm` gives what the hold was made for. What cannot be read is not the same.
#[inline(never)]
pub fn same(pending: *mut Pending, bprm: u64) -> bool {
    // SAFETY: the entry is the current thread's own.
    unsafe {
        let again = &raw mut (*pending).again;
        if !write(again, bprm) {
            return false;
        }
        let held = &raw const (*pending).strings;
        (*held).argc == (*again).argc
            && (*held).length == (*again).length
            && (*held).filename_length == (*again).filename_length
            && equal::<{ FILENAME_BYTES / 8 }>(
                (&raw const (*held).filename).cast(),
                (&raw const (*again).filename).cast(),
                (*held).filename_length,
            )
            && equal::<{ ARGUMENT_BYTES / 8 }>(
                (&raw const (*held).arguments).cast(),
                (&raw const (*again).arguments).cast(),
                (*held).length,
            )
    }
}

/// One of the paths of a hold.
#[derive(Clone, Copy)]
pub enum Which {
    /// [`holdpoint_common::request::Facts::path`].
    Path,
    /// [`holdpoint_common::request::Facts::target`].
    Target,
}

/// Whether the directory entry at `entry` has the name that the path begins with.
#[inline(always)]
pub fn is_entry(pending: *mut Pending, which: Which, entry: u64) -> bool {
    is_text(pending, which, read(entry, offset!(dentry_name)))
}

/// Whether the string at `text` in kernel memory is the first one in the path.
#[inline(always)]
pub fn is_text(pending: *mut Pending, which: Which, text: u64) -> bool {
    // SAFETY: only addresses within the record are made.
    let held = unsafe {
        match which {
            Which::Path => &raw const (*pending).facts.path.bytes,
            Which::Target => &raw const (*pending).facts.target.bytes,
        }
    };
    begins(held, pending, text)
}

#[inline(never)]
fn begins(held: *const [u8; PATH_BYTES], pending: *mut Pending, text: u64) -> bool {
    // SAFETY: the entry is the current thread's own, and the scratch is longer than a path; the helper checks the source.
    unsafe {
        let scratch = &raw mut (*pending).again.filename;
        let length = bpf_probe_read_kernel_str(scratch.cast(), PATH_BYTES as u32, text as *const _);
        // What fills the array may have been cut.
        length > 0
            && length < PATH_BYTES as i64
            && equal::<{ PATH_BYTES / 8 }>(held.cast(), scratch.cast_const().cast(), length as u32)
    }
}

/// Writes the string at `text` in kernel memory to `path`.
#[inline(always)]
pub fn write_text(path: *mut Path, text: u64) {
    // SAFETY: the target is a whole array in a record that only this thread writes; the helper checks the source.
    unsafe {
        let length = bpf_probe_read_kernel_str((&raw mut (*path).bytes).cast(), PATH_BYTES as u32, text as *const _);
        let whole = length > 0 && length < PATH_BYTES as i64;
        (*path).length = if whole { length as u32 } else { 0 };
        (*path).cut = u32::from(!whole);
    }
}

#[inline(always)]
fn write_filename(strings: *mut Strings, bprm: u64) -> bool {
    let name: u64 = read(bprm, offset!(bprm_filename));
    // SAFETY: the target is a whole array in a record that only this thread writes.
    unsafe {
        let length =
            bpf_probe_read_kernel_str((&raw mut (*strings).filename).cast(), FILENAME_BYTES as u32, name as *const _);
        (*strings).filename_length = length as u32;
        length > 0 && length < FILENAME_BYTES as i64
    }
}

#[inline(always)]
fn write_arguments(strings: *mut Strings, bprm: u64) -> bool {
    let argc: u32 = read(bprm, offset!(bprm_argc));
    let start: u64 = read(bprm, offset!(bprm_p));
    let mm: u64 = read(bprm, offset!(bprm_mm));
    let copied = copy_pages(strings, mm, start);
    let count = counted(strings, argc, copied);
    // SAFETY: a record that only this thread writes.
    unsafe {
        (*strings).argc = argc;
        (*strings).length = count.length;
    }
    count.seen == argc && argc != 0
}

/// Number of arguments, and where they are.
#[inline(always)]
pub fn arguments(bprm: u64, place: &mut Place) -> u32 {
    place.start = read(bprm, offset!(bprm_p));
    read(bprm, offset!(bprm_argc))
}

/// Byte `index` of the arguments; none if it cannot be read. The page tables are walked where a page begins.
#[inline(always)]
pub fn argument(bprm: u64, place: &mut Place, index: u32) -> Option<u8> {
    let address = place.start + u64::from(index);
    let within = address & (PAGE - 1);
    if index == 0 || within == 0 {
        place.page = direct(read(bprm, offset!(bprm_mm)), address - within)?;
    }
    let mut byte = 0_u8;
    // SAFETY: the target is one byte; the helper checks the source.
    let error = unsafe { bpf_probe_read_kernel((&raw mut byte).cast(), 1, (place.page + within) as *const _) };
    if error == 0 { Some(byte) } else { None }
}

/// Copies up to three pages from `start`; gives the number of bytes.
#[inline(always)]
fn copy_pages(strings: *mut Strings, mm: u64, start: u64) -> u32 {
    let within = start & (PAGE - 1);
    let first = PAGE - within;
    // SAFETY: the pages' targets end at 1, 2 and 3 pages of an array of three; the helper checks the sources.
    unsafe {
        let target = (&raw mut (*strings).arguments).cast::<u8>();
        let Some(page) = direct(mm, start - within) else { return 0 };
        let size = opaque(first) & (2 * PAGE - 1);
        if size > PAGE || bpf_probe_read_kernel(target.cast(), size as u32, (page + within) as *const _) != 0 {
            return 0;
        }
        let at = opaque(first) & (2 * PAGE - 1);
        if at > PAGE {
            return 0;
        }
        let target = target.add(at as usize);
        let Some(page) = direct(mm, start - within + PAGE) else { return first as u32 };
        if bpf_probe_read_kernel(target.cast(), PAGE as u32, page as *const _) != 0 {
            return first as u32;
        }
        let Some(page) = direct(mm, start - within + 2 * PAGE) else { return (first + PAGE) as u32 };
        let target = target.add(PAGE as usize);
        if bpf_probe_read_kernel(target.cast(), PAGE as u32, page as *const _) != 0 {
            return (first + PAGE) as u32;
        }
    }
    (first + 2 * PAGE) as u32
}

/// The first `argc` strings, as far as they are within `copied` bytes.
#[inline(always)]
fn counted(strings: *const Strings, argc: u32, copied: u32) -> Count {
    let mut count = Count { strings, argc, copied, seen: 0, length: 0 };
    repeat(ARGUMENT_BYTES as u32, &mut count);
    count
}

/// Counting strings by their ends.
struct Count {
    strings: *const Strings,
    argc: u32,
    copied: u32,
    seen: u32,
    length: u32,
}

impl Turn for Count {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        if index >= self.copied || index >= ARGUMENT_BYTES as u32 || self.seen >= self.argc {
            return false;
        }
        let at = opaque(u64::from(index)) as usize;
        if at >= ARGUMENT_BYTES {
            return false;
        }
        // SAFETY: the index is below the array's length.
        if unsafe { (*self.strings).arguments[at] } == 0 {
            self.seen += 1;
        }
        self.length = index + 1;
        true
    }
}

/// Whether the first `length` bytes are equal; `WORDS` is the size of both arrays in words.
#[inline(always)]
fn equal<const WORDS: usize>(one: *const [u64; WORDS], other: *const [u64; WORDS], length: u32) -> bool {
    let mut comparison = Comparison { one, other, length, equal: true };
    repeat(WORDS as u32, &mut comparison);
    comparison.equal
}

/// Comparing word by word. The arrays are 8-aligned in their records.
struct Comparison<const WORDS: usize> {
    one: *const [u64; WORDS],
    other: *const [u64; WORDS],
    length: u32,
    equal: bool,
}

impl<const WORDS: usize> Turn for Comparison<WORDS> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        let done = index * 8;
        let word = opaque(u64::from(index)) as usize;
        if done >= self.length || word >= WORDS {
            return false;
        }
        // SAFETY: the word lies inside both arrays.
        let mut difference = unsafe { (*self.one)[word] ^ (*self.other)[word] };
        let left = self.length - done;
        if left < 8 {
            // Only the bytes in use count: the low ones, on this little-endian machine.
            difference <<= 64 - 8 * left;
        }
        self.equal = difference == 0;
        self.equal
    }
}

/// Where the kernel's direct map shows the page at `address` of `mm`.
#[inline(always)]
fn direct(mm: u64, address: u64) -> Option<u64> {
    let symbols = symbols();
    let base: u64 = read(symbols.page_offset_base, 0);
    let five_levels: u32 = read(symbols.five_levels, 0);
    let mut table: u64 = read(mm, offset!(mm_pgd));
    if five_levels != 0 {
        table = step(table, address, 48, base)?;
    }
    table = step(table, address, 39, base)?;
    table = step(table, address, 30, base)?;
    table = step(table, address, 21, base)?;
    step(table, address, 12, base)
}

/// One level down the page tables. The strings' temporary stack has no huge pages (`vma_is_temporary_stack`).
#[inline(always)]
fn step(table: u64, address: u64, shift: u64, base: u64) -> Option<u64> {
    let entry: u64 = read(table, (address >> shift & 511) * 8);
    if entry & PRESENT == 0 || (shift != 12 && entry & HUGE != 0) {
        return None;
    }
    Some(base + (entry & FRAME))
}
