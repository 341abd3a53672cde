//! Connecting sockets.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use holdpoint_common::{
    event::Kind,
    pending::hook,
    request::{Binding, Operation},
};

use crate::{
    gate::{EPERM, Request, gate},
    kernel::{current, offset, read},
    maps::SWITCHES,
    report, task,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `sizeof(struct sockaddr_in6)`; 24 bytes without the scope are accepted too (RFC 2133).
const SOCKADDR_IN6: u32 = 28;
const IPPROTO_TCP: u16 = 6;
/// `SS_CONNECTING`, `SS_CONNECTED`, `include/uapi/linux/net.h`.
const SS_CONNECTING: u32 = 2;
const SS_CONNECTED: u32 = 3;
/// ::ffff:0:0/96, RFC 4291, 2.5.5.2.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// Where a socket goes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Destination {
    address: [u8; 16],
    port: u16,
}

/// `security_socket_connect(sock, address, addrlen)`: `address` is the kernel's own copy.
#[lsm(hook = "socket_connect")]
pub fn connect(ctx: LsmContext) -> i32 {
    if task::governed(current()).is_none() {
        return 0;
    }
    let socket: u64 = ctx.arg(0);
    let given: u64 = ctx.arg(1);
    let length: u32 = ctx.arg(2);
    let family: u16 = read(given, 0);
    let Some(destination) = destination(given, family) else {
        // AF_UNSPEC ends an association; other families are not judged yet (README, limits).
        return 0;
    };
    let sock: u64 = read(socket, offset!(socket_sk));
    let protocol: u16 = read(sock, offset!(sock_protocol));
    if protocol == IPPROTO_TCP && goes_there_already(socket, sock, destination) {
        return 0;
    }
    gate(&Request {
        operation: Operation::Connect,
        hook: hook::CONNECT,
        binding: Binding {
            inode: 0,
            anchor: socket,
            device: 0,
            access: 0,
            // The scope. What is after the given length is whatever the kernel's stack held.
            flags: if family == AF_INET6 && length >= SOCKADDR_IN6 { read(given, 24) } else { 0 },
            protocol: u32::from(protocol),
            address: destination.address,
            port: u32::from(destination.port),
            family: u32::from(family),
        },
        dentry: 0,
        inode: 0,
        bprm: 0,
        created: false,
    })
}

/// `security_unix_stream_connect(sock, other, newsk)`: no governed process talks to the agent's control socket.
#[lsm(hook = "unix_stream_connect")]
pub fn reach_control(ctx: LsmContext) -> i32 {
    if task::governed(current()).is_none() {
        return 0;
    }
    let other: u64 = ctx.arg(1);
    let Some(switches) = SWITCHES.get(0) else { return EPERM };
    let dentry: u64 = read(other, offset!(unix_path_dentry));
    if dentry == 0 || switches.control_inode == 0 {
        return 0;
    }
    let inode: u64 = read(dentry, offset!(dentry_inode));
    let superblock: u64 = read(dentry, offset!(dentry_super));
    let number: u64 = read(inode, offset!(inode_number));
    let device: u32 = read(superblock, offset!(super_device));
    if number == switches.control_inode && device == switches.control_device {
        report::bell(Kind::ControlRefused, 0);
        return EPERM;
    }
    0
}

/// The Internet address and port in a `sockaddr`.
#[inline(always)]
fn destination(given: u64, family: u16) -> Option<Destination> {
    let port = u16::from_be(read(given, 2));
    let address = match family {
        AF_INET => mapped(read(given, 4)),
        AF_INET6 => read(given, 8),
        _ => return None,
    };
    Some(Destination { address, port })
}

/// Whether the stream socket is connecting or connected to just that place: `connect()` then starts nothing.
#[inline(always)]
fn goes_there_already(socket: u64, sock: u64, destination: Destination) -> bool {
    let state: u32 = read(socket, offset!(socket_state));
    if state != SS_CONNECTING && state != SS_CONNECTED {
        return false;
    }
    let family: u16 = read(sock, offset!(sock_family));
    let address = match family {
        AF_INET => mapped(read(sock, offset!(sock_remote_address4))),
        _ => read(sock, offset!(sock_remote_address6)),
    };
    let port = u16::from_be(read(sock, offset!(sock_remote_port)));
    port != 0 && Destination { address, port } == Destination { address: canonical(destination.address), ..destination }
}

#[inline(always)]
fn mapped(address: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..12].copy_from_slice(&MAPPED);
    bytes[12..].copy_from_slice(&address);
    bytes
}

/// The unspecified address connects to this host, and the socket then shows the loopback address.
#[inline(always)]
fn canonical(address: [u8; 16]) -> [u8; 16] {
    let bytes = u128::from_be_bytes(address);
    if bytes == 0 {
        1_u128.to_be_bytes()
    } else if bytes == u128::from_be_bytes(mapped([0; 4])) {
        mapped([127, 0, 0, 1])
    } else {
        address
    }
}
