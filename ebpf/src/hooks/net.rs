//! Sockets: connecting, sending, and which belong to whom.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::lsm, programs::LsmContext};
use holdpoint_common::{
    event::{Kind, Reason},
    host::DNS_PORT,
    matcher::Asker,
    pending::hook,
    request::{Action, Class, Operation},
    system::System,
    task::{Connection, Socket, Task},
};

use super::{
    dns, file,
    system::{asked, refused},
};
use crate::{
    gate::{EPERM, asker, at_once, at_once_there, gate, on_host, request},
    kernel::{add_bits, current, offset, read},
    labels,
    maps::{JUDGED, SOCKETS, SWITCHES},
    park::standing,
    report, task,
};

const AF_UNSPEC: u16 = 0;
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `sizeof(struct sockaddr_in6)`; 24 bytes without the scope are accepted too (RFC 2133).
const SOCKADDR_IN6: u32 = 28;
const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_UDP: u16 = 17;
const IPPROTO_UDPLITE: u16 = 136;
/// As much of it as `sk_protocol` holds: 262.
const IPPROTO_MPTCP: u16 = 262;
/// `include/linux/socket.h`.
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// `SS_CONNECTING`, `SS_CONNECTED`, `include/uapi/linux/net.h`.
const SS_CONNECTING: u32 = 2;
const SS_CONNECTED: u32 = 3;
/// `include/net/tcp_states.h`: also of a datagram socket that is connected.
const TCP_ESTABLISHED: u8 = 1;
const TCP_LISTEN: u8 = 10;
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
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let socket: u64 = ctx.arg(0);
    let given: u64 = ctx.arg(1);
    let length: u32 = ctx.arg(2);
    let family: u16 = read(given, 0);
    let sock: u64 = read(socket, offset!(socket_sk));
    let protocol: u16 = read(sock, offset!(sock_protocol));
    if family == AF_UNSPEC && protocol == IPPROTO_TCP {
        // Between the hook of another thread's connect, which found the socket connected, and its effect, this would
        // make of it a second connection that nobody was asked about.
        return asked(System::Socket, 0);
    }
    let Some(destination) = destination(given, family) else {
        // AF_UNIX is judged at the socket that it reaches; the other families were, when the socket was made.
        return 0;
    };
    if protocol == IPPROTO_TCP && goes_there_already(socket, sock, destination) {
        return 0;
    }
    fill(task, socket, protocol, family, destination);
    // The scope. What is after the given length is whatever the kernel's stack held.
    let scope = if family == AF_INET6 && length >= SOCKADDR_IN6 { read(given, 24) } else { 0 };
    // SAFETY: the entry is the current thread's own.
    unsafe { (*task).request.binding.flags = scope };
    judge(task, sock, hook::CONNECT)
}

/// `security_socket_sendmsg(sock, msg, size)`: to an address without connecting, or on a connection from elsewhere.
#[lsm(hook = "socket_sendmsg")]
pub fn send(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let socket: u64 = ctx.arg(0);
    let message: u64 = ctx.arg(1);
    let sock: u64 = read(socket, offset!(socket_sk));
    let family: u16 = read(sock, offset!(sock_family));
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    if dns::answers(sock) {
        return refused(System::Listen, DNS_PORT.into());
    }
    let protocol: u16 = read(sock, offset!(sock_protocol));
    let given: u64 = read(message, offset!(message_name));
    let flags: u32 = read(message, offset!(message_flags));
    if is_corked(sock, protocol) && labels::carried(task) != 0 {
        // It goes where the datagram that it is added to was meant to go, whatever name is given.
        return refused(System::Socket, u64::from(protocol));
    }
    // TCP looks at the name only to open a connection with the first data.
    let opens = flags & MSG_FASTOPEN != 0 && !is_connected(sock);
    let named = given != 0 && (!matches!(protocol, IPPROTO_TCP | IPPROTO_MPTCP) || opens);
    let said: u16 = read(given, 0);
    // IPv4 takes an unspecified family for its own (`udp_sendmsg`), IPv6 for no name at all (`udpv6_sendmsg`).
    let named = named && (said != AF_UNSPEC || family == AF_INET);
    let said = if said == AF_UNSPEC { AF_INET } else { said };
    let to = if named { destination(given, said) } else { unasked(task, sock) };
    let Some(to) = to else { return 0 };
    fill(task, socket, protocol, if named { said } else { family }, to);
    let length: u32 = read(message, offset!(message_name_length));
    let scope = if named && said == AF_INET6 && length >= SOCKADDR_IN6 { read(given, 24) } else { 0 };
    // SAFETY: the entry is the current thread's own.
    unsafe { (*task).request.binding.flags = scope };
    // What is sent to a name is judged each time.
    if named { gate(task, Operation::Connect, hook::SEND) } else { judge(task, sock, hook::SEND) }
}

/// What passes is not asked about again on that socket for that place, until the sender carries more.
#[inline(always)]
fn judge(task: *mut Task, sock: u64, at: u32) -> i32 {
    // Before: what is read meanwhile has not been judged.
    let carried = labels::carried(task);
    let answer = gate(task, Operation::Connect, at);
    if answer == 0 && carried != 0 {
        remember(task, sock, carried);
    }
    answer
}

/// A socket that is connected elsewhere stays so, whatever it was to be connected to: see [`unasked`].
#[inline(never)]
fn remember(task: *mut Task, sock: u64, carried: u64) {
    let Some(socket) = own_socket(task, sock) else { return };
    // SAFETY: the entries are the current thread's own.
    let (to, carried) = unsafe {
        let binding = &(*task).request.binding;
        let held = if (*task).granted != 0 { standing((*task).hold) } else { None };
        let shown = held.map_or(carried, |pending| carried & (*pending).carried);
        (Destination { address: canonical(binding.address), port: binding.port as u16 }, shown)
    };
    let connection = connection(task, socket, to);
    if let Some(judged) = JUDGED.get_ptr_mut(connection) {
        // SAFETY: the pointer is to a map's value.
        add_bits(judged, carried);
    } else {
        // Another thread may have been first. Then this is asked once more.
        let _ = JUDGED.insert(connection, carried, BPF_NOEXIST as u64);
    }
}

/// A descriptor of the socket at `socket` that this process has not made. The thread's workplace is noted, for the
/// asker's revision.
#[inline(always)]
pub fn receive(task: *mut Task, asker: Asker, socket: u64) -> i32 {
    let sock: u64 = read(socket, offset!(socket_sk));
    let family: u16 = read(sock, offset!(sock_family));
    if family != AF_INET && family != AF_INET6 {
        return 0;
    }
    let state: u8 = read(sock, offset!(sock_state));
    if state == TCP_LISTEN && !is_own(task, sock) {
        // Whom it accepts counts as the tree's own.
        on_host(task, System::Listen);
        return at_once_there(task, asker, Operation::System);
    }
    let Some(to) = elsewhere(task, sock) else { return 0 };
    fill(task, socket, read(sock, offset!(sock_protocol)), family, to);
    at_once_there(task, asker, Operation::Connect)
}

/// Where a connection leads that was not asked about: it is not the tree's own, or the sender has read labelled data since.
#[inline(always)]
fn unasked(task: *mut Task, sock: u64) -> Option<Destination> {
    if !is_connected(sock) {
        return None;
    }
    let to = peer(sock);
    let asked = own_socket(task, sock).is_some_and(|socket| {
        let carried = labels::carried(task);
        carried == 0 || carried & !judged(task, socket, to) == 0
    });
    if asked { None } else { Some(to) }
}

/// The labels that were judged for that place.
#[inline(always)]
fn judged(task: *mut Task, socket: Socket, to: Destination) -> u64 {
    // SAFETY: a number is read, whoever adds to it meanwhile.
    unsafe { JUDGED.get(connection(task, socket, to)).map_or(0, |judged| *judged) }
}

#[inline(always)]
fn connection(task: *mut Task, socket: Socket, to: Destination) -> Connection {
    let revision = asker(task).revision;
    Connection { socket: socket.id, address: to.address, port: u32::from(to.port), revision }
}

/// A connected socket that this tree has not made was not asked about when it connected.
#[inline(always)]
fn elsewhere(task: *mut Task, sock: u64) -> Option<Destination> {
    if !is_connected(sock) || is_own(task, sock) { None } else { Some(peer(sock)) }
}

#[inline(always)]
fn fill(task: *mut Task, socket: u64, protocol: u16, family: u16, to: Destination) {
    let request = request(task);
    request.binding.anchor = socket;
    request.binding.detail = u32::from(protocol);
    request.binding.address = to.address;
    request.binding.port = u32::from(to.port);
    request.binding.family = u32::from(family);
}

/// `security_socket_create(family, type, protocol, kern)`.
#[lsm(hook = "socket_create")]
pub fn create_socket(ctx: LsmContext) -> i32 {
    let (family, kind, protocol, kernel): (u32, u32, u32, u32) = (ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3));
    if kernel != 0 || is_ordinary(family, kind, protocol) {
        return 0;
    }
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let request = on_host(task, System::Socket);
    request.binding.family = family;
    request.binding.detail = protocol;
    at_once(task, Operation::System)
}

/// Sockets that the other hooks understand, or that reach nobody.
#[inline(always)]
fn is_ordinary(family: u32, kind: u32, protocol: u32) -> bool {
    const STREAM: u32 = 1;
    const DATAGRAM: u32 = 2;
    const UNIX: u32 = AF_UNIX as u32;
    const INET: u32 = AF_INET as u32;
    const INET6: u32 = AF_INET6 as u32;
    const AF_NETLINK: u32 = 16;
    match family {
        UNIX => true,
        // TCP, MPTCP; UDP, UDP-Lite, ICMP and ICMPv6 (`ping` without rights). Not SCTP, which has several addresses; and for
        // what does not fit the kernel looks for a module, with a helper outside the tree.
        INET | INET6 => match kind {
            STREAM => matches!(protocol, 0 | 6 | 262),
            DATAGRAM => matches!(protocol, 0 | 1 | 17 | 58 | 136),
            _ => false,
        },
        // Asking for routes and addresses; changing them takes a capability.
        AF_NETLINK => protocol == 0,
        _ => false,
    }
}

/// `security_socket_listen(sock, backlog)`.
#[lsm(hook = "socket_listen")]
pub fn listen(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let socket: u64 = ctx.arg(0);
    let sock: u64 = read(socket, offset!(socket_sk));
    let family: u16 = read(sock, offset!(sock_family));
    let (address4, address6): (u32, [u8; 16]) =
        (read(sock, offset!(sock_local_address4)), read(sock, offset!(sock_local_address6)));
    let is_local = match family {
        AF_INET => u32::from_be(address4) >> 24 == 127,
        AF_INET6 => u128::from_be_bytes(address6) == 1,
        // Of the others only UNIX sockets listen on this host alone.
        AF_UNIX => true,
        _ => false,
    };
    if is_local {
        return 0;
    }
    on_host(task, System::Listen).binding.family = u32::from(family);
    at_once(task, Operation::System)
}

/// `security_sctp_bind_connect(sk, optname, address, addrlen)`: several addresses at once, by a socket option.
#[lsm(hook = "sctp_bind_connect")]
pub fn connect_to_all(ctx: LsmContext) -> i32 {
    const BINDX_ADD: u32 = 100;
    const CONNECTX_OLD: u32 = 107;
    const CONNECTX: u32 = 110;
    const CONNECTX3: u32 = 111;
    let option: u32 = ctx.arg(1);
    if matches!(option, BINDX_ADD | CONNECTX_OLD | CONNECTX | CONNECTX3) {
        asked(System::Socket, u64::from(option))
    } else {
        0
    }
}

/// `security_socket_setsockopt(sock, level, optname)`: another way to the address that was asked about, by other hosts or
/// another interface, which then get what was meant for it.
#[lsm(hook = "socket_setsockopt")]
pub fn option(ctx: LsmContext) -> i32 {
    match (ctx.arg::<u32>(1), ctx.arg::<u32>(2)) {
        // `IP_OPTIONS`; `IPV6_RTHDR`, its older forms (RFC 3542, RFC 2292), and `IPV6_FLOWLABEL_MGR`, which takes one too.
        (0, 4) | (41, 57 | 5 | 6 | 32)
        // `SO_BINDTODEVICE`, `SO_MARK`, `SO_BINDTOIFINDEX`; `IP_TRANSPARENT`, `IP_UNICAST_IF`; IPv6's, and `IPV6_PKTINFO`.
        | (1, 25 | 36 | 62) | (0, 19 | 50) | (41, 50 | 75 | 76)
        // `IP_FREEBIND`, `IPV6_FREEBIND`: sending in another host's name.
        | (0, 15) | (41, 78) => asked(System::Socket, ctx.arg::<u32>(2).into()),
        _ => 0,
    }
}

/// `security_socket_shutdown(sock, how)`: what is only connecting would be free for another address, or to listen at any,
/// between the hook of another thread's call and its effect.
#[lsm(hook = "socket_shutdown")]
pub fn shutdown(ctx: LsmContext) -> i32 {
    if task::governed(current()).is_none() {
        return 0;
    }
    let state: u32 = read(ctx.arg(0), offset!(socket_state));
    if state == SS_CONNECTING { refused(System::Socket, 0) } else { 0 }
}

/// `security_socket_post_create(sock, family, type, protocol, kern)`: the socket belongs to the tree.
#[lsm(hook = "socket_post_create")]
pub fn created(ctx: LsmContext) -> i32 {
    let kernel: u32 = ctx.arg(4);
    if kernel != 0 {
        return 0;
    }
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let socket: u64 = ctx.arg(0);
    if own(task, read(socket, offset!(socket_sk))) { 0 } else { EPERM }
}

/// `security_sock_graft(sk, parent)`: an accepted connection, likewise.
#[lsm(hook = "sock_graft")]
pub fn accepted(ctx: LsmContext) -> i32 {
    if let Some(task) = task::governed(current()) {
        own(task, ctx.arg(0));
    }
    0
}

/// `security_sk_free(sk)`.
#[lsm(hook = "sk_free_security")]
pub fn freed(ctx: LsmContext) -> i32 {
    let sock: u64 = ctx.arg(0);
    let _ = SOCKETS.remove(sock);
    0
}

#[inline(always)]
fn own(task: *mut Task, sock: u64) -> bool {
    // SAFETY: the entry is the current thread's own.
    let socket = Socket { tree: unsafe { (*task).tree }, id: task::random() };
    let done = SOCKETS.insert(sock, socket, 0).is_ok();
    if !done {
        report::count(Reason::SocketsFull);
    }
    done
}

/// Whether the current thread's tree has made the socket.
#[inline(always)]
fn is_own(task: *mut Task, sock: u64) -> bool {
    own_socket(task, sock).is_some()
}

/// The socket, if the current thread's tree has made it.
#[inline(always)]
fn own_socket(task: *mut Task, sock: u64) -> Option<Socket> {
    // SAFETY: an entry of the map, and the current thread's own.
    unsafe { SOCKETS.get(sock).filter(|socket| socket.tree == (*task).tree).copied() }
}

/// `security_unix_stream_connect(sock, other, newsk)`.
#[lsm(hook = "unix_stream_connect")]
pub fn deputy(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    match reach(task, ctx.arg(1)) {
        Ok(()) => gate(task, Operation::File, hook::DEPUTY),
        Err(answer) => answer,
    }
}

/// `security_unix_may_send(sock, other)`: each datagram, connected or not.
#[lsm(hook = "unix_may_send")]
pub fn datagram(ctx: LsmContext) -> i32 {
    let Some(task) = task::governed(current()) else {
        return 0;
    };
    let other: u64 = ctx.arg(1);
    match reach(task, read(other, offset!(socket_sk))) {
        Ok(()) => at_once(task, Operation::File),
        Err(answer) => answer,
    }
}

/// A socket of another process: no governed process talks to the agent's control socket, each may talk to its tree
/// socket, and what the tree has made itself is its own. The answer, where there is nothing to judge.
#[inline(always)]
fn reach(task: *mut Task, other: u64) -> Result<(), i32> {
    if is_own(task, other) {
        return Err(0);
    }
    let Some(switches) = SWITCHES.get(0) else { return Err(EPERM) };
    let dentry: u64 = read(other, offset!(unix_path_dentry));
    // Without a path all of it is zero.
    let request = file::on_file(task, dentry, read(dentry, offset!(dentry_inode)));
    if dentry != 0 && request.binding.device == switches.control_device {
        if request.binding.inode == switches.control_inode {
            report::bell(Kind::ControlRefused, 0);
            return Err(EPERM);
        }
        if request.binding.inode == switches.tree_inode {
            return Err(0);
        }
    }
    request.system = System::Deputy as u32;
    request.binding.flags = Action::Connect as u32;
    request.binding.access = Class::TALKING;
    Ok(())
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
    let peer = peer(sock);
    peer.port != 0 && peer == Destination { address: canonical(destination.address), ..destination }
}

/// Whether the socket has another end. That of a datagram socket can have port 0, and `ping` has none.
#[inline(always)]
fn is_connected(sock: u64) -> bool {
    let port: u16 = read(sock, offset!(sock_remote_port));
    let state: u8 = read(sock, offset!(sock_state));
    port != 0 || state == TCP_ESTABLISHED
}

/// Whether a datagram is being put together on the socket (`MSG_MORE`, `UDP_CORK`), which has its destination.
#[inline(always)]
fn is_corked(sock: u64, protocol: u16) -> bool {
    matches!(protocol, IPPROTO_UDP | IPPROTO_UDPLITE) && read::<u32>(sock, offset!(udp_pending)) != 0
}

/// Where the socket is connected to; port 0 if nowhere.
#[inline(always)]
fn peer(sock: u64) -> Destination {
    let family: u16 = read(sock, offset!(sock_family));
    let address = match family {
        AF_INET => mapped(read(sock, offset!(sock_remote_address4))),
        _ => read(sock, offset!(sock_remote_address6)),
    };
    Destination { address, port: u16::from_be(read(sock, offset!(sock_remote_port))) }
}

/// An IPv4 address as IPv6.
#[inline(always)]
pub fn mapped(address: [u8; 4]) -> [u8; 16] {
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
