//! io_uring: operations that are no system calls of their own.

use std::{
    fs, io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use nix::libc;

use super::{Route, bare, content, done, network};
use crate::attack::{
    raw::{Entry, Ring, address, c, inet, owned, sys},
    scene::{Ground, Orders, Scene, inherit},
};

/// `IORING_OP_*` and `IOSQE_ASYNC`, `include/uapi/linux/io_uring.h`.
const CONNECT: u8 = 16;
const OPENAT: u8 = 18;
const RENAMEAT: u8 = 35;
const ASYNC: u8 = 1 << 4;

pub const ROUTES: &[Route] = &[
    Route::new("uring-setup", "io_uring_setup(2)", setup).on(bare),
    Route::new("uring-open", "IORING_OP_OPENAT, inline", open),
    Route::new("uring-open-async", "IORING_OP_OPENAT, by a worker (IOSQE_ASYNC)", open_async),
    Route::new("uring-open-polled", "IORING_OP_OPENAT, by the polling thread (SQPOLL)", open_polled),
    Route::new("uring-open-inherited", "IORING_OP_OPENAT on a ring from before", open_inherited).after(ring_before),
    Route::new("uring-open-outside", "IORING_OP_OPENAT on an outside process's polled ring", open_outside)
        .on(outside_ring),
    Route::new("uring-connect", "IORING_OP_CONNECT, inline", connect).on(network::tcp),
    Route::new("uring-connect-async", "IORING_OP_CONNECT, by a worker", connect_async).on(network::tcp),
    Route::new("uring-rename", "IORING_OP_RENAMEAT over a protected file", rename).on(super::files::content_changes),
];

fn setup(_: &Orders) -> io::Result<String> {
    done(Ring::new(0)?)
}

fn open_on(ring: &Ring, orders: &Orders, flags: u8) -> io::Result<String> {
    let path = c(orders.file())?;
    let entry =
        Entry { opcode: OPENAT, flags, fd: libc::AT_FDCWD, address: address(path.as_ptr()), ..Entry::default() };
    content(owned(ring.run(&entry)?)?)
}

fn open(orders: &Orders) -> io::Result<String> {
    open_on(&Ring::new(0)?, orders, 0)
}

fn open_async(orders: &Orders) -> io::Result<String> {
    open_on(&Ring::new(0)?, orders, ASYNC)
}

fn open_polled(orders: &Orders) -> io::Result<String> {
    open_on(&Ring::new(Ring::POLLED)?, orders, 0)
}

/// A ring that is kept over the `execve(2)`; where its parts are, in a file.
fn ring_before(orders: &mut Orders) -> io::Result<()> {
    let ring = Ring::new(0)?;
    inherit(ring.descriptor())?;
    orders.fd = ring.descriptor().as_raw_fd();
    write_parameters(&ring, orders)?;
    std::mem::forget(ring);
    Ok(())
}

fn write_parameters(ring: &Ring, orders: &Orders) -> io::Result<()> {
    let parameters = ring.parameters().map(|word| word.to_string()).join(" ");
    fs::write(parameters_of(orders), parameters)
}

fn parameters_of(orders: &Orders) -> PathBuf {
    orders.outside.join("ring")
}

/// A ring of this process's, whose own thread takes what the attacker puts in. The effect is that this process has the
/// file open.
fn outside_ring(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let ring = Ring::new(Ring::POLLED)?;
    scene.lend(ring.descriptor().try_clone()?)?;
    write_parameters(&ring, &scene.orders)?;
    let path = c(scene.orders.file())?;
    scene.orders.number = address(path.as_ptr());
    scene.keep((ring, path));
    let file = scene.orders.file();
    Ok(scene.seen(move |_| close_descriptor_of(&file).unwrap_or(false)))
}

/// Closes this process's descriptor of `file`; true if there is one.
fn close_descriptor_of(file: &Path) -> io::Result<bool> {
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target == file) {
            let number: i32 = entry.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
            drop(owned(number)?);
            return Ok(true);
        }
    }
    Ok(false)
}

fn open_outside(orders: &Orders) -> io::Result<String> {
    // The address of a path in the memory of who polls.
    let entry = Entry { opcode: OPENAT, fd: libc::AT_FDCWD, address: orders.number, ..Entry::default() };
    done(ring_again(orders)?.run(&entry)?)
}

fn ring_again(orders: &Orders) -> io::Result<Ring> {
    let text = fs::read_to_string(parameters_of(orders))?;
    let words: Vec<u32> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    let parameters = words.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    Ring::open(owned(orders.fd)?, parameters)
}

fn open_inherited(orders: &Orders) -> io::Result<String> {
    open_on(&ring_again(orders)?, orders, 0)
}

fn connect_on(orders: &Orders, flags: u8) -> io::Result<String> {
    let socket = network::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let to = inet([127, 0, 0, 1], orders.port);
    let (fd, offset) = (socket.as_raw_fd(), to.len() as u64);
    let entry = Entry { opcode: CONNECT, flags, fd, address: address(to.as_ptr()), offset, ..Entry::default() };
    Ring::new(0)?.run(&entry)?;
    done(sys!(libc::SYS_write, &socket, orders.marker.as_bytes(), orders.marker.len())?)
}

fn connect(orders: &Orders) -> io::Result<String> {
    connect_on(orders, 0)
}

fn connect_async(orders: &Orders) -> io::Result<String> {
    connect_on(orders, ASYNC)
}

fn rename(orders: &Orders) -> io::Result<String> {
    let replacement = orders.outside.join("replacement");
    fs::write(&replacement, "replaced")?;
    let (from, to) = (c(replacement)?, c(orders.file())?);
    let here = libc::AT_FDCWD;
    let entry = Entry {
        opcode: RENAMEAT,
        fd: here,
        address: address(from.as_ptr()),
        offset: address(to.as_ptr()),
        length: here.cast_unsigned(),
        ..Entry::default()
    };
    done(Ring::new(0)?.run(&entry)?)
}
