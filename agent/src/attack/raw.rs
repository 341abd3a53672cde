//! System calls that no crate wraps safely, for which the attacks exist: other entries to the kernel, and records with
//! pointers in them. The only unsafe code of the attacks.
#![expect(unsafe_code, reason = "the attacks are system calls as an attacker makes them, not as libraries wrap them")]

use std::{
    arch::asm,
    ffi::{CStr, CString, c_long, c_void},
    io::{self, Error},
    marker::PhantomData,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    ptr,
    sync::atomic::{AtomicU32, Ordering, fence},
};

use nix::libc;

/// One argument of a system call: a number, or the address of memory that is borrowed until the call has returned.
#[derive(Clone, Copy)]
pub struct Arg<'a>(c_long, PhantomData<&'a [u8]>);

macro_rules! number {
    ($($type:ty),*) => { $(
        impl From<$type> for Arg<'_> {
            fn from(value: $type) -> Self {
                Self(value as c_long, PhantomData)
            }
        }
    )* };
}
number!(i32, u32, i64, u64, usize);

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(text: &'a CStr) -> Self {
        Self(address(text.as_ptr()) as c_long, PhantomData)
    }
}

impl<'a> From<&'a CString> for Arg<'a> {
    fn from(text: &'a CString) -> Self {
        text.as_c_str().into()
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(address(bytes.as_ptr()) as c_long, PhantomData)
    }
}

impl<'a> From<&'a Vec<u8>> for Arg<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Self(address(bytes.as_mut_ptr()) as c_long, PhantomData)
    }
}

impl<'a> From<&'a mut Vec<u8>> for Arg<'a> {
    fn from(bytes: &'a mut Vec<u8>) -> Self {
        bytes.as_mut_slice().into()
    }
}

impl<'a> From<&'a OwnedFd> for Arg<'a> {
    fn from(fd: &'a OwnedFd) -> Self {
        Self(fd.as_raw_fd().into(), PhantomData)
    }
}

/// The number of an address, for the kernel.
pub fn address<T>(place: *const T) -> u64 {
    place.expose_provenance() as u64
}

/// Makes the system call `number`. Records that hold addresses must outlive it, and sizes said must be true: callers
/// keep both in their own few lines.
pub fn call<const N: usize>(number: c_long, given: [Arg<'_>; N]) -> io::Result<i64> {
    const { assert!(N <= 6, "no system call has more") };
    let mut all = [0; 6];
    for (slot, arg) in all.iter_mut().zip(given) {
        *slot = arg.0;
    }
    // SAFETY: addresses are of memory that is borrowed until here, writable where the call writes; numbers are harmless.
    let result = unsafe { libc::syscall(number, all[0], all[1], all[2], all[3], all[4], all[5]) };
    if result == -1 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// `call(number, [arguments])`, each argument of what type it is.
macro_rules! sys {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::attack::raw::call($number, [$($crate::attack::raw::Arg::from($argument)),*])
    };
}
pub(super) use sys;

/// A descriptor that a call has just given, or that this process was started with for this very purpose.
pub fn owned(fd: impl TryInto<RawFd>) -> io::Result<OwnedFd> {
    let fd = fd.try_into().map_err(|_| Error::from_raw_os_error(libc::EBADF))?;
    if fd < 0 {
        return Err(Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: not negative; a fresh result or an inheritance has no other owner in this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A path for the kernel.
pub fn c(path: impl AsRef<Path>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_bytes())?)
}

/// A record of 64-bit words, as the kernel lays it out.
pub fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// An Internet address for the kernel: `sockaddr_in`.
pub fn inet(address: [u8; 4], port: u16) -> Vec<u8> {
    let family = libc::AF_INET as u16;
    [&family.to_ne_bytes()[..], &port.to_be_bytes(), &address, &[0; 8]].concat()
}

/// Likewise `sockaddr_in6`.
pub fn inet6(address: [u8; 16], port: u16) -> Vec<u8> {
    let family = libc::AF_INET6 as u16;
    [&family.to_ne_bytes()[..], &port.to_be_bytes(), &[0; 4], &address, &[0; 4]].concat()
}

/// `struct msghdr` for one piece of `data` to `name`; `iovec` is filled in and belongs to it.
pub fn message(name: &[u8], data: &[u8], iovec: &mut Vec<u8>) -> Vec<u8> {
    *iovec = words(&[address(data.as_ptr()), data.len() as u64]);
    words(&[address(name.as_ptr()), name.len() as u64, address(iovec.as_ptr()), 1, 0, 0, 0])
}

/// Memory of its own, gone when dropped.
pub struct Mapping {
    start: *mut c_void,
    length: usize,
}

impl Mapping {
    /// Maps `length` bytes of `fd` from `offset`, or of nothing.
    pub fn new(fd: Option<BorrowedFd<'_>>, length: usize, offset: i64, how: i32, flags: i32) -> io::Result<Self> {
        let fd = fd.map_or(-1, |fd| fd.as_raw_fd());
        // SAFETY: without MAP_FIXED the kernel chooses a place where nothing is.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, how, flags, fd, offset) };
        if start == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(Self { start, length }) }
    }

    /// Changes what may be done with it.
    pub fn protect(&self, how: i32) -> io::Result<()> {
        // SAFETY: its own pages; no reference into them is ever handed out.
        let result = unsafe { libc::mprotect(self.start, self.length, how) };
        if result == 0 { Ok(()) } else { Err(Error::last_os_error()) }
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.length, "within the mapping");
        // SAFETY: within the mapping.
        unsafe { self.start.byte_add(offset).cast() }
    }

    fn put(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.length, "within the mapping");
        // SAFETY: within the mapping, which is writable wherever this is called, and not part of any Rust object.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(offset), bytes.len()) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: within the mapping, aligned by the kernel's layout, shared with the kernel by atomic access only.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: its own pages, which nobody refers to any more.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

/// Memory where a 32-bit program can have it, and calls as it makes them.
pub struct Low {
    memory: Mapping,
    used: usize,
}

impl Low {
    /// One page.
    pub fn new() -> io::Result<Self> {
        let how = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        Ok(Self { memory: Mapping::new(None, 4096, 0, how, flags)?, used: 0 })
    }

    /// Puts something there, and gives its address.
    pub fn put(&mut self, bytes: &[u8]) -> u32 {
        self.memory.put(self.used, bytes);
        let place = self.memory.start.addr() + self.used;
        self.used += bytes.len().next_multiple_of(8);
        u32::try_from(place).expect("MAP_32BIT is below 2 GiB")
    }

    /// Makes the call `number` of the 32-bit table. Addresses among the arguments are of what was [`Self::put`].
    pub fn call(&self, number: i32, [first, second, third]: [u32; 3]) -> io::Result<i32> {
        let result: i32;
        // SAFETY: the 32-bit entry keeps all registers but eax and, on some kernels, r8 to r11; rbx, which LLVM keeps
        // for itself, is put back. The kernel touches the page, which lives as long as `self`, and nothing else.
        unsafe {
            asm!(
                "mov {kept}, rbx",
                "mov ebx, {first:e}",
                "int 0x80",
                "mov rbx, {kept}",
                kept = out(reg) _,
                first = in(reg) first,
                inlateout("eax") number => result,
                in("ecx") second,
                in("edx") third,
                in("esi") 0,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            );
        }
        if (-4095..0).contains(&result) { Err(Error::from_raw_os_error(-result)) } else { Ok(result) }
    }
}

/// One operation for io_uring.
#[derive(Default)]
pub struct Entry {
    /// `IORING_OP_*`.
    pub opcode: u8,
    /// `IOSQE_*`.
    pub flags: u8,
    /// On which descriptor.
    pub fd: RawFd,
    /// Address of its memory.
    pub address: u64,
    /// Second address, or a length: `off`.
    pub offset: u64,
    /// `len`.
    pub length: u32,
    /// `open_flags` and their like.
    pub special: u32,
}

/// An io_uring: its descriptor and its memory.
pub struct Ring {
    fd: OwnedFd,
    queues: Mapping,
    entries: Mapping,
    parameters: [u32; 30],
}

impl Ring {
    /// `IORING_SETUP_SQPOLL`: a kernel thread takes entries by itself.
    pub const POLLED: u32 = 2;
    const WAKE: u32 = 2;
    const GET: u32 = 1;
    /// `IORING_OFF_SQES`.
    const ENTRIES_AT: i64 = 0x1000_0000;

    /// Sets a ring up.
    pub fn new(flags: u32) -> io::Result<Self> {
        let mut parameters = [0_u32; 30];
        parameters[2] = flags;
        let mut bytes: Vec<u8> = parameters.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let fd = owned(sys!(libc::SYS_io_uring_setup, 4, &mut bytes)?)?;
        for (word, bytes) in parameters.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        }
        Self::open(fd, parameters)
    }

    /// The ring behind an inherited descriptor, made with [`Ring::parameters`].
    pub fn open(fd: OwnedFd, parameters: [u32; 30]) -> io::Result<Self> {
        let how = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let [sq_array, cq_entries] = [parameters[16], parameters[25]].map(|offset| offset as usize);
        let length = (sq_array + 4 * parameters[0] as usize).max(cq_entries + 16 * parameters[1] as usize);
        let queues = Mapping::new(Some(fd.as_fd()), length, 0, how, flags)?;
        let entries = Mapping::new(Some(fd.as_fd()), 64 * parameters[0] as usize, Self::ENTRIES_AT, how, flags)?;
        Ok(Self { fd, queues, entries, parameters })
    }

    /// What the kernel said of it: sizes and offsets.
    pub fn parameters(&self) -> [u32; 30] {
        self.parameters
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    /// Submits one operation and waits for its result.
    pub fn run(&self, entry: &Entry) -> io::Result<i32> {
        let p = |index: usize| self.parameters[index] as usize;
        let tail = self.queues.word(p(11));
        let place = tail.load(Ordering::Acquire) & self.queues.word(p(12)).load(Ordering::Relaxed);
        let mut bytes = vec![entry.opcode, entry.flags, 0, 0];
        bytes.extend(entry.fd.to_ne_bytes());
        bytes.extend(words(&[entry.offset, entry.address]));
        bytes.extend([entry.length.to_ne_bytes(), entry.special.to_ne_bytes()].concat());
        bytes.resize(64, 0);
        self.entries.put(64 * place as usize, &bytes);
        self.queues.word(p(16) + 4 * place as usize).store(place, Ordering::Relaxed);
        tail.fetch_add(1, Ordering::Release);
        fence(Ordering::SeqCst);
        let wake = if self.parameters[2] & Self::POLLED == 0 { 0 } else { Self::WAKE };
        sys!(libc::SYS_io_uring_enter, &self.fd, 1, 1, Self::GET | wake, 0, 0)?;
        self.result()
    }

    fn result(&self) -> io::Result<i32> {
        let p = |index: usize| self.parameters[index] as usize;
        let head = self.queues.word(p(20));
        let at = head.load(Ordering::Acquire) & self.queues.word(p(22)).load(Ordering::Relaxed);
        if head.load(Ordering::Relaxed) == self.queues.word(p(21)).load(Ordering::Acquire) {
            return Err(Error::from_raw_os_error(libc::EAGAIN));
        }
        let result = self.queues.word(p(25) + 16 * at as usize + 8).load(Ordering::Relaxed).cast_signed();
        head.fetch_add(1, Ordering::Release);
        if result < 0 { Err(Error::from_raw_os_error(-result)) } else { Ok(result) }
    }
}
