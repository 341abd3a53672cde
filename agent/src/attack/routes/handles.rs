//! Descriptors and memory that somebody outside has.

use std::{
    fs::{self, File},
    io::{self, IoSlice, IoSliceMut, Seek as _},
    os::fd::AsRawFd as _,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg,
            socketpair,
        },
        uio::{RemoteIoVec, pread, process_vm_readv, process_vm_writev, pwrite},
    },
    unistd::Pid,
};

use super::{Route, content, done};
use crate::attack::{
    raw::{address, owned, sys},
    scene::{Ground, Orders, Scene},
};

pub const ROUTES: &[Route] = &[
    Route::new("inherited-read", "read(2) of a descriptor from before", inherited).on(lent),
    Route::new("scm-rights", "a descriptor received by SCM_RIGHTS", scm_rights).on(sent),
    Route::new("pidfd-getfd", "pidfd_getfd(2) of an outside process's descriptor", pidfd_getfd).on(held_outside),
    Route::new("proc-fd", "open(2) by /proc/PID/fd of an outside process", proc_fd).on(held_outside),
    Route::new("proc-root", "open(2) by /proc/PID/root of an outside process", proc_root).on(held_outside),
    Route::new("proc-mem-read", "read(2) of /proc/PID/mem", proc_mem).on(memory),
    Route::new("proc-mem-write", "write(2) to /proc/PID/mem", proc_mem_write).on(memory_changes),
    Route::new("process-vm-readv", "process_vm_readv(2)", vm_read).on(memory),
    Route::new("process-vm-writev", "process_vm_writev(2)", vm_write).on(memory_changes),
    Route::new("proc-environ", "read(2) of /proc/PID/environ", environment).on(told_by_environment),
];

/// The attacker has the file open from before.
fn lent(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    scene.lend(File::open(scene.orders.file())?.into())?;
    Ok(scene)
}

/// A message with the descriptor waits for the attacker.
fn sent(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let (mine, theirs) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let file = File::open(scene.orders.file())?;
    let (data, fds) = ([IoSlice::new(b"x")], [file.as_raw_fd()]);
    sendmsg::<()>(mine.as_raw_fd(), &data, &[ControlMessage::ScmRights(&fds)], MsgFlags::empty(), None)?;
    scene.lend(theirs)?;
    scene.keep(mine);
    Ok(scene)
}

/// This process, which is outside, has it open.
fn held_outside(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let file = File::open(scene.orders.file())?;
    scene.orders.fd = file.as_raw_fd();
    scene.orders.pid = process::id().cast_signed();
    scene.keep(file);
    Ok(scene)
}

/// This process has the secret in its memory.
fn memory(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let secret: Box<[u8]> = scene.secret.as_bytes().into();
    scene.orders.pid = process::id().cast_signed();
    scene.orders.number = address(secret.as_ptr());
    scene.keep(secret);
    Ok(scene)
}

/// The effect is that a word of this process's memory is another one.
fn memory_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    // Never freed, since the attacker has its address; a word for each attempt.
    let word: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1)));
    scene.orders.pid = process::id().cast_signed();
    scene.orders.number = address(word.as_ptr());
    Ok(scene.changed(move || word.load(Ordering::SeqCst)))
}

/// An outside process has the secret in its environment.
fn told_by_environment(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    scene.victim()?;
    Ok(scene)
}

fn inherited(orders: &Orders) -> io::Result<String> {
    let mut file = File::from(owned(orders.fd)?);
    // The place in it is shared with who opened it.
    file.rewind()?;
    io::read_to_string(file)
}

fn scm_rights(orders: &Orders) -> io::Result<String> {
    let socket = owned(orders.fd)?;
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut room = nix::cmsg_space!(i32);
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut room), MsgFlags::empty())?;
    // A refusal drops the descriptor and lets the message arrive without it, cut short.
    let messages = message.cmsgs().map_err(|_| Errno::EPERM)?;
    let mut received = messages.filter_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    content(owned(received.next().ok_or(Errno::EPERM)?)?)
}

fn pidfd_getfd(orders: &Orders) -> io::Result<String> {
    let pidfd = owned(sys!(libc::SYS_pidfd_open, orders.pid, 0)?)?;
    content(owned(sys!(libc::SYS_pidfd_getfd, &pidfd, orders.fd, 0)?)?)
}

fn proc_fd(orders: &Orders) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{}/fd/{}", orders.pid, orders.fd))
}

fn proc_root(orders: &Orders) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{}/root{}", orders.pid, orders.file().display()))
}

/// As many bytes as the secret has.
fn buffer() -> [u8; 32] {
    [0; 32]
}

fn proc_mem(orders: &Orders) -> io::Result<String> {
    let memory = File::open(format!("/proc/{}/mem", orders.pid))?;
    let mut bytes = buffer();
    pread(&memory, &mut bytes, orders.number.cast_signed())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn proc_mem_write(orders: &Orders) -> io::Result<String> {
    let memory = File::options().write(true).open(format!("/proc/{}/mem", orders.pid))?;
    done(pwrite(&memory, &7_u64.to_ne_bytes(), orders.number.cast_signed())?)
}

fn remote(orders: &Orders, len: usize) -> io::Result<[RemoteIoVec; 1]> {
    let base = usize::try_from(orders.number).map_err(|_| Errno::EFAULT)?;
    Ok([RemoteIoVec { base, len }])
}

fn vm_read(orders: &Orders) -> io::Result<String> {
    let mut bytes = buffer();
    let remote = remote(orders, bytes.len())?;
    process_vm_readv(Pid::from_raw(orders.pid), &mut [IoSliceMut::new(&mut bytes)], &remote)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn vm_write(orders: &Orders) -> io::Result<String> {
    let bytes = 7_u64.to_ne_bytes();
    let remote = remote(orders, bytes.len())?;
    done(process_vm_writev(Pid::from_raw(orders.pid), &[IoSlice::new(&bytes)], &remote)?)
}

fn environment(orders: &Orders) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{}/environ", orders.pid))
}
