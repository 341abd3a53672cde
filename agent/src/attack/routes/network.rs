//! Reaching somebody outside by a socket. Listeners are this command's own, on the loopback device; what would change the
//! network happens in one of the attacker's own.

use std::{
    fs,
    io::{self, Read as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
};

use nix::{
    libc,
    sys::stat::{Mode, SFlag, makedev, mknod},
};

use super::{Route, bare, done, own_network};
use crate::attack::{
    raw::{Low, inet, inet6, message, owned, sys, words},
    scene::{Ground, Orders, Scene},
};

/// `include/uapi/linux/`: what `libc` does not name.
const SCTP_CONNECTX: i32 = 110;
const TUNSETIFF: u64 = 0x4004_54ca;
const SIOCSIFADDR: u64 = 0x8916;
/// An Ethernet protocol for experiments (IEEE 802).
const EXPERIMENT: u16 = 0x88b5;
/// An address for documentation (RFC 5737), for interfaces of the attacker's own.
const EXAMPLE: [u8; 4] = [192, 0, 2, 1];
const LOCAL: [u8; 4] = [127, 0, 0, 1];
/// Where no resolver of a host is.
const DNS: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 53, 53, 53), 53);
const LOOPBACK_INDEX: u32 = 1;
const TUN: &str = "/dev/net/tun";
/// The name of an interface of the attacker's own.
const INTERFACE: &str = "attack0";

pub const ROUTES: &[Route] = &[
    // TCP.
    Route::new("connect-v4", "connect(2), TCP on IPv4, to a service on this host", connect_v4).on(tcp),
    Route::new("connect-v6", "connect(2), TCP on IPv6", connect_v6).on(tcp6),
    Route::new("connect-mapped", "connect(2) to an IPv4 address mapped to IPv6", connect_mapped).on(tcp),
    Route::new("connect-nonblocking", "connect(2) of a non-blocking socket", connect_nonblocking).on(tcp),
    Route::new("connect-32bit", "connect(2) by the 32-bit entry, int 0x80", connect_32bit).on(tcp),
    Route::new("fast-open", "sendto(2) MSG_FASTOPEN", fast_open).on(tcp),
    Route::new("fast-open-connect", "write(2) after TCP_FASTOPEN_CONNECT", fast_open_connect).on(tcp),
    Route::new("reconnect", "connect(2) AF_UNSPEC, then to an address, of a socket from before", reconnect)
        .on(with_socket),
    Route::new("mptcp", "connect(2), MPTCP", mptcp).on(tcp),
    Route::new("listen", "bind(2), listen(2): who is outside connects", listen).on(free_port),
    Route::new("resolver-port", "bind(2) to UDP port 53: who is there answers for a resolver", resolver_port).on(dns),
    // A connection from before.
    Route::new("inherited-write", "write(2) to a connection from before", inherited_write).on(connected),
    Route::new("inherited-sendfile", "sendfile(2) to a connection from before", inherited_sendfile).on(connected),
    Route::new("inherited-splice", "splice(2) to a connection from before", inherited_splice).on(connected),
    // UDP.
    Route::new("udp-connect", "connect(2), UDP", udp_connect).on(udp),
    Route::new("udp-sendto", "sendto(2), UDP, not connected", udp_sendto).on(udp),
    Route::new("udp-sendmsg", "sendmsg(2), UDP, not connected", udp_sendmsg).on(udp),
    Route::new("udp-sendmmsg", "sendmmsg(2), UDP, not connected", udp_sendmmsg).on(udp),
    Route::new("udp-mapped", "sendto(2) to an IPv4 address mapped to IPv6", udp_mapped).on(udp),
    // Others.
    Route::new("sctp-connect", "connect(2), SCTP", sctp_connect).on(sctp_stream),
    Route::new("sctp-connectx", "setsockopt(2) SCTP_SOCKOPT_CONNECTX of a socket from before", sctp_connectx)
        .on(sctp_with_socket),
    Route::new("source-route", "setsockopt(2) IP_OPTIONS: a route by way of another host", source_route).on(bare),
    Route::new("sctp-sendto", "sendto(2), SCTP, not connected", sctp_sendto).on(sctp_messages),
    Route::new("raw-socket", "UDP packet by a raw socket", raw_socket).on(udp),
    Route::new("packet-socket", "Ethernet frame by a packet socket", packet_socket).on(frames),
    Route::new("xdp-socket", "socket(2) AF_XDP", xdp).on(bare),
    Route::new("alg-socket", "socket(2) AF_ALG and bind(2)", alg).on(bare),
    Route::new("vsock", "socket(2) AF_VSOCK", vsock).on(bare),
    Route::new("netlink-address", "RTM_NEWADDR by a netlink socket", netlink_address)
        .on(address_is_there)
        .after(own_network),
    Route::new("netlink-filter", "new table by NETLINK_NETFILTER", netlink_filter).on(bare).after(own_network),
    Route::new("ioctl-address", "ioctl(2) SIOCSIFADDR", ioctl_address).on(address_is_there).after(own_network),
    Route::new("tun", "open(2) of /dev/net/tun and TUNSETIFF", tun).on(interface_is_there).after(own_network),
    // Deputies on this host.
    Route::new("unix-stream", "connect(2) to a UNIX socket of an outside process", unix_stream).on(stream_deputy),
    Route::new("unix-abstract", "connect(2) to an abstract UNIX socket", unix_abstract).on(abstract_deputy),
    Route::new("unix-datagram", "sendto(2) to a UNIX socket of an outside process", unix_datagram).on(datagram_deputy),
    Route::new("unix-datagram-abstract", "sendto(2) to an abstract UNIX socket", abstract_datagram)
        .on(abstract_datagrams),
    Route::new("unix-sendmmsg", "sendmmsg(2) to a UNIX socket of an outside process", unix_sendmmsg)
        .on(datagram_deputy),
];

// --- Scenes -------------------------------------------------------------------------------------------------------

/// The effect is that a listener gets a connection.
pub fn tcp(ground: &Ground, route: &Route) -> io::Result<Scene> {
    listening(Scene::new(ground, route)?, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

fn tcp6(ground: &Ground, route: &Route) -> io::Result<Scene> {
    listening(Scene::new(ground, route)?, SocketAddr::from((Ipv6Addr::LOCALHOST, 0)))
}

fn listening(mut scene: Scene, at: SocketAddr) -> io::Result<Scene> {
    let listener = TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    scene.orders.port = listener.local_addr()?.port();
    Ok(scene.seen(move |_| listener.accept().is_ok()))
}

/// The attacker has a socket that is not connected, and the effect is a connection of it.
fn with_socket(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    scene.lend(socket(libc::AF_INET, libc::SOCK_STREAM, 0)?)?;
    listening(scene, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// The attacker has a connection, and the effect is that the other end gets the marker.
fn connected(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    fs::write(scene.orders.outside.join("data"), &scene.orders.marker)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    scene.lend(TcpStream::connect(listener.local_addr()?)?.into())?;
    let (mut other, _) = listener.accept()?;
    other.set_nonblocking(true)?;
    Ok(scene.seen(move |_| other.read(&mut [0; 64]).is_ok_and(|length| length > 0)))
}

/// The effect is that this process can connect to the port.
fn free_port(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    scene.orders.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let to = (Ipv4Addr::LOCALHOST, scene.orders.port);
    Ok(scene.seen(move |_| TcpStream::connect(to).is_ok()))
}

/// The effect is that the port of resolvers is taken, at an address that nobody else uses.
fn dns(ground: &Ground, route: &Route) -> io::Result<Scene> {
    drop(UdpSocket::bind(DNS)?);
    Ok(Scene::new(ground, route)?.seen(|_| UdpSocket::bind(DNS).is_err()))
}

/// The effect is that a socket gets a datagram.
fn udp(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    scene.orders.port = socket.local_addr()?.port();
    Ok(scene.seen(move |_| socket.recv(&mut [0; 64]).is_ok()))
}

/// A listening SCTP socket, and its port.
fn sctp_listener(kind: i32) -> io::Result<(OwnedFd, u16)> {
    let listener = socket(libc::AF_INET, kind | libc::SOCK_NONBLOCK, libc::IPPROTO_SCTP)?;
    let at = inet(LOCAL, 0);
    sys!(libc::SYS_bind, &listener, &at, at.len())?;
    sys!(libc::SYS_listen, &listener, 8)?;
    let (mut name, mut length) = (vec![0; 16], 16_u32.to_ne_bytes().to_vec());
    sys!(libc::SYS_getsockname, &listener, &mut name, &mut length)?;
    Ok((listener, u16::from_be_bytes([name[2], name[3]])))
}

fn sctp_stream(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let (listener, port) = sctp_listener(libc::SOCK_STREAM)?;
    scene.orders.port = port;
    Ok(scene.seen(move |_| sys!(libc::SYS_accept4, &listener, 0, 0, 0).and_then(owned).is_ok()))
}

/// The attacker has an SCTP socket that is not connected.
fn sctp_with_socket(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = sctp_stream(ground, route)?;
    scene.lend(socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?)?;
    Ok(scene)
}

fn sctp_messages(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let (listener, port) = sctp_listener(libc::SOCK_SEQPACKET)?;
    scene.orders.port = port;
    Ok(scene.seen(move |_| {
        let mut data = vec![0; 64];
        sys!(libc::SYS_recvfrom, &listener, &mut data, 64, 0, 0, 0).is_ok()
    }))
}

/// The effect is that a frame arrives at the loopback device.
fn frames(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK;
    let socket = socket(libc::AF_PACKET, kind, i32::from(EXPERIMENT.to_be()))?;
    Ok(scene.seen(move |_| {
        let mut data = vec![0; 64];
        sys!(libc::SYS_recvfrom, &socket, &mut data, 64, 0, 0, 0).is_ok()
    }))
}

/// The effect is that the attacker's network has the address.
fn address_is_there(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let address = Ipv4Addr::from(EXAMPLE).to_string();
    let table = move |pid| fs::read_to_string(format!("/proc/{pid}/net/fib_trie")).unwrap_or_default();
    Ok(Scene::new(ground, route)?.seen(move |pid| table(pid).contains(&address)))
}

/// The effect is that the attacker's network has the interface.
fn interface_is_there(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    scene.orders.name = TUN.to_owned();
    if !Path::new(TUN).exists() {
        // Its opening has the kernel look for the module.
        let node = scene.orders.disk.join("tun");
        mknod(&node, SFlag::S_IFCHR, Mode::S_IRUSR, makedev(10, 200))?;
        scene.orders.name = node.to_string_lossy().into_owned();
    }
    let table = move |pid| fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    Ok(scene.seen(move |pid| table(pid).contains(INTERFACE)))
}

/// The effect is that an outside process's socket gets a connection.
fn stream_deputy(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let listener = UnixListener::bind(scene.orders.outside.join("deputy"))?;
    accepting(scene, listener)
}

fn abstract_deputy(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let listener = UnixListener::bind_addr(&abstract_name(&scene.orders)?)?;
    accepting(scene, listener)
}

fn accepting(scene: Scene, listener: UnixListener) -> io::Result<Scene> {
    listener.set_nonblocking(true)?;
    Ok(scene.seen(move |_| listener.accept().is_ok()))
}

fn datagram_deputy(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let socket = UnixDatagram::bind(scene.orders.outside.join("deputy"))?;
    hearing(scene, socket)
}

fn abstract_datagrams(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let socket = UnixDatagram::bind_addr(&abstract_name(&scene.orders)?)?;
    hearing(scene, socket)
}

fn hearing(scene: Scene, socket: UnixDatagram) -> io::Result<Scene> {
    socket.set_nonblocking(true)?;
    Ok(scene.seen(move |_| socket.recv(&mut [0; 64]).is_ok()))
}

fn abstract_name(orders: &Orders) -> io::Result<UnixAddr> {
    UnixAddr::from_abstract_name(format!("holdpoint-attack-{}", orders.marker))
}

// --- Attempts: TCP ------------------------------------------------------------------------------------------------

pub fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    owned(sys!(libc::SYS_socket, family, kind | libc::SOCK_CLOEXEC, protocol)?)
}

fn here(orders: &Orders) -> Vec<u8> {
    inet(LOCAL, orders.port)
}

fn mapped(orders: &Orders) -> Vec<u8> {
    inet6(Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets(), orders.port)
}

fn connect(socket: &OwnedFd, to: &[u8]) -> io::Result<i64> {
    sys!(libc::SYS_connect, socket, to, to.len())
}

fn say(socket: &OwnedFd, orders: &Orders) -> io::Result<i64> {
    sys!(libc::SYS_write, socket, orders.marker.as_bytes(), orders.marker.len())
}

fn send_to(socket: &OwnedFd, orders: &Orders, to: &[u8], flags: i32) -> io::Result<i64> {
    let data = orders.marker.as_bytes();
    sys!(libc::SYS_sendto, socket, data, data.len(), flags, to, to.len())
}

fn connect_v4(orders: &Orders) -> io::Result<String> {
    done(connect(&socket(libc::AF_INET, libc::SOCK_STREAM, 0)?, &here(orders))?)
}

fn connect_v6(orders: &Orders) -> io::Result<String> {
    let to = inet6(Ipv6Addr::LOCALHOST.octets(), orders.port);
    done(connect(&socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?, &to)?)
}

fn connect_mapped(orders: &Orders) -> io::Result<String> {
    done(connect(&socket(libc::AF_INET6, libc::SOCK_STREAM, 0)?, &mapped(orders))?)
}

fn connect_nonblocking(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    match connect(&socket, &here(orders)) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            // Kept, so that it can come about.
            std::mem::forget(socket);
            Ok(String::new())
        }
        other => done(other?),
    }
}

fn connect_32bit(orders: &Orders) -> io::Result<String> {
    const SOCKET: i32 = 359;
    const CONNECT: i32 = 362;
    let mut low = Low::new()?;
    let to = low.put(&here(orders));
    let kind = [libc::AF_INET, libc::SOCK_STREAM, 0].map(i32::cast_unsigned);
    let socket = owned(low.call(SOCKET, kind)?)?;
    done(low.call(CONNECT, [socket.as_raw_fd().cast_unsigned(), to, 16])?)
}

fn fast_open(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    done(send_to(&socket, orders, &here(orders), libc::MSG_FASTOPEN)?)
}

fn fast_open_connect(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
    let on = 1_i32.to_ne_bytes();
    let option = libc::TCP_FASTOPEN_CONNECT;
    sys!(libc::SYS_setsockopt, &socket, libc::IPPROTO_TCP, option, &on[..], on.len())?;
    connect(&socket, &here(orders))?;
    done(say(&socket, orders)?)
}

fn reconnect(orders: &Orders) -> io::Result<String> {
    let socket = owned(orders.fd)?;
    connect(&socket, &[0; 16])?;
    done(connect(&socket, &here(orders))?)
}

fn mptcp(orders: &Orders) -> io::Result<String> {
    done(connect(&socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)?, &here(orders))?)
}

fn listen(orders: &Orders) -> io::Result<String> {
    // Kept, so that it can be seen.
    std::mem::forget(TcpListener::bind((Ipv4Addr::UNSPECIFIED, orders.port))?);
    Ok(String::new())
}

fn resolver_port(_: &Orders) -> io::Result<String> {
    // Likewise.
    std::mem::forget(UdpSocket::bind(DNS)?);
    Ok(String::new())
}

// --- A connection from before -------------------------------------------------------------------------------------

fn inherited_write(orders: &Orders) -> io::Result<String> {
    done(say(&owned(orders.fd)?, orders)?)
}

fn data(orders: &Orders) -> io::Result<OwnedFd> {
    Ok(fs::File::open(orders.outside.join("data"))?.into())
}

fn inherited_sendfile(orders: &Orders) -> io::Result<String> {
    let (socket, data) = (owned(orders.fd)?, data(orders)?);
    done(sys!(libc::SYS_sendfile, &socket, &data, 0, orders.marker.len())?)
}

fn inherited_splice(orders: &Orders) -> io::Result<String> {
    let (socket, data, length) = (owned(orders.fd)?, data(orders)?, orders.marker.len());
    let (out, into) = nix::unistd::pipe()?;
    sys!(libc::SYS_splice, &data, 0, &into, 0, length, 0)?;
    done(sys!(libc::SYS_splice, &out, 0, &socket, 0, length, 0)?)
}

// --- UDP ----------------------------------------------------------------------------------------------------------

fn udp_connect(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    connect(&socket, &here(orders))?;
    done(say(&socket, orders)?)
}

fn udp_sendto(orders: &Orders) -> io::Result<String> {
    done(send_to(&socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?, orders, &here(orders), 0)?)
}

fn udp_sendmsg(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let (to, mut iovec) = (here(orders), Vec::new());
    let message = message(&to, orders.marker.as_bytes(), &mut iovec);
    done(sys!(libc::SYS_sendmsg, &socket, &message, 0)?)
}

/// `sendmmsg(2)` of one message.
fn send_many(socket: &OwnedFd, orders: &Orders, to: &[u8]) -> io::Result<String> {
    let mut iovec = Vec::new();
    // `struct mmsghdr`: the message, and how much of it was sent.
    let mut message = message(to, orders.marker.as_bytes(), &mut iovec);
    message.extend(words(&[0]));
    done(sys!(libc::SYS_sendmmsg, socket, &mut message, 1, 0)?)
}

fn udp_sendmmsg(orders: &Orders) -> io::Result<String> {
    send_many(&socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?, orders, &here(orders))
}

fn udp_mapped(orders: &Orders) -> io::Result<String> {
    done(send_to(&socket(libc::AF_INET6, libc::SOCK_DGRAM, 0)?, orders, &mapped(orders), 0)?)
}

// --- Others -------------------------------------------------------------------------------------------------------

fn sctp_connect(orders: &Orders) -> io::Result<String> {
    done(connect(&socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP)?, &here(orders))?)
}

/// Loose source routing (RFC 791): by way of this host.
fn source_route(_: &Orders) -> io::Result<String> {
    const LOOSE: u8 = 131;
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let route = [&[LOOSE, 7, 4][..], &LOCAL, &[0]].concat();
    done(sys!(libc::SYS_setsockopt, &socket, libc::IPPROTO_IP, libc::IP_OPTIONS, &route, route.len())?)
}

fn sctp_connectx(orders: &Orders) -> io::Result<String> {
    let socket = owned(orders.fd)?;
    let to = here(orders);
    done(sys!(libc::SYS_setsockopt, &socket, libc::IPPROTO_SCTP, SCTP_CONNECTX, &to, to.len())?)
}

fn sctp_sendto(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_SEQPACKET, libc::IPPROTO_SCTP)?;
    send_to(&socket, orders, &here(orders), 0)?;
    // Kept: what is queued while the association is made would go with the socket.
    std::mem::forget(socket);
    Ok(String::new())
}

/// The kernel adds the header of IPv4; a checksum of zero is none (RFC 768).
fn raw_socket(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
    let length = u16::try_from(8 + orders.marker.len()).expect("a short marker");
    let header = [9_u16, orders.port, length, 0].map(u16::to_be_bytes).concat();
    let packet = [&header, orders.marker.as_bytes()].concat();
    let to = inet(LOCAL, 0);
    done(sys!(libc::SYS_sendto, &socket, &packet, packet.len(), 0, &to, to.len())?)
}

/// `sockaddr_ll` names protocol and device.
fn packet_socket(orders: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    let family = libc::AF_PACKET as u16;
    let mut to = [&family.to_ne_bytes()[..], &EXPERIMENT.to_be_bytes(), &LOOPBACK_INDEX.to_ne_bytes()].concat();
    to.extend([0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
    done(send_to(&socket, orders, &to, 0)?)
}

fn xdp(_: &Orders) -> io::Result<String> {
    done(socket(libc::AF_XDP, libc::SOCK_RAW, 0)?)
}

/// `sockaddr_alg`: what kind, and which.
fn alg(_: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)?;
    let mut name = (libc::AF_ALG as u16).to_ne_bytes().to_vec();
    name.extend(b"hash\0\0\0\0\0\0\0\0\0\0");
    name.resize(24, 0);
    name.extend(b"sha256");
    name.resize(88, 0);
    done(sys!(libc::SYS_bind, &socket, &name, name.len())?)
}

fn vsock(_: &Orders) -> io::Result<String> {
    done(socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)?)
}

/// One netlink message: its header and `body`.
fn netlink(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).expect("a short message");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend([kind.to_ne_bytes(), flags.to_ne_bytes()].concat());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// One attribute.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("a short value");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends messages, and takes the first acknowledgement for the answer.
fn ask_netlink(protocol: i32, messages: &[u8]) -> io::Result<String> {
    const ERROR: u16 = 2;
    let socket = socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)?;
    sys!(libc::SYS_sendto, &socket, messages, messages.len(), 0, 0, 0)?;
    let mut reply = vec![0; 4096];
    sys!(libc::SYS_recvfrom, &socket, &mut reply, 4096, 0, 0, 0)?;
    let error = i32::from_ne_bytes([reply[16], reply[17], reply[18], reply[19]]);
    match u16::from_ne_bytes([reply[4], reply[5]]) {
        ERROR if error != 0 => Err(io::Error::from_raw_os_error(-error)),
        _ => Ok(String::new()),
    }
}

/// `NLM_F_REQUEST | NLM_F_ACK`, and `NLM_F_CREATE` with them.
const REQUEST: u16 = 1;
const ACKNOWLEDGED: u16 = 4;
const CREATE: u16 = 0x400;

fn netlink_address(_: &Orders) -> io::Result<String> {
    const NEW_ADDRESS: u16 = 20;
    let mut body = vec![2, 32, 0, 0];
    body.extend(LOOPBACK_INDEX.to_ne_bytes());
    body.extend([attribute(2, &EXAMPLE), attribute(1, &EXAMPLE)].concat());
    ask_netlink(libc::NETLINK_ROUTE, &netlink(NEW_ADDRESS, REQUEST | ACKNOWLEDGED | CREATE, &body))
}

fn netlink_filter(_: &Orders) -> io::Result<String> {
    const BEGIN: u16 = 0x10;
    const END: u16 = 0x11;
    const NFTABLES: u16 = 10;
    // `struct nfgenmsg`: family, version, and for a batch the subsystem.
    let batch = [&[0, 0][..], &NFTABLES.to_be_bytes()].concat();
    let table = [&[2, 0, 0, 0][..], &attribute(1, b"attack\0")].concat();
    let messages = [
        netlink(BEGIN, REQUEST, &batch),
        netlink(NFTABLES << 8, REQUEST | ACKNOWLEDGED | CREATE, &table),
        netlink(END, REQUEST, &batch),
    ];
    ask_netlink(libc::NETLINK_NETFILTER, &messages.concat())
}

/// `struct ifreq`: a name, and what belongs to the request.
fn interface(name: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes.extend(value);
    bytes.resize(40, 0);
    bytes
}

fn ioctl_address(_: &Orders) -> io::Result<String> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let request = interface("lo", &inet(EXAMPLE, 0));
    done(sys!(libc::SYS_ioctl, &socket, SIOCSIFADDR, &request)?)
}

fn tun(orders: &Orders) -> io::Result<String> {
    const TUN_WITHOUT_HEADER: u16 = 0x1001;
    let device: OwnedFd = fs::File::options().read(true).write(true).open(&orders.name)?.into();
    let mut request = interface(INTERFACE, &TUN_WITHOUT_HEADER.to_ne_bytes());
    sys!(libc::SYS_ioctl, &device, TUNSETIFF, &mut request)?;
    // The interface goes with its descriptor.
    std::mem::forget(device);
    Ok(String::new())
}

// --- Deputies -----------------------------------------------------------------------------------------------------

fn unix_stream(orders: &Orders) -> io::Result<String> {
    done(UnixStream::connect(orders.outside.join("deputy"))?)
}

fn unix_abstract(orders: &Orders) -> io::Result<String> {
    done(UnixStream::connect_addr(&abstract_name(orders)?)?)
}

fn unix_datagram(orders: &Orders) -> io::Result<String> {
    done(UnixDatagram::unbound()?.send_to(orders.marker.as_bytes(), orders.outside.join("deputy"))?)
}

fn abstract_datagram(orders: &Orders) -> io::Result<String> {
    done(UnixDatagram::unbound()?.send_to_addr(orders.marker.as_bytes(), &abstract_name(orders)?)?)
}

fn unix_sendmmsg(orders: &Orders) -> io::Result<String> {
    let path = orders.outside.join("deputy");
    let name = [&(libc::AF_UNIX as u16).to_ne_bytes()[..], path.to_string_lossy().as_bytes(), &[0]].concat();
    send_many(&socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?, orders, &name)
}
