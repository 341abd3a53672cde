//! Which name an address was looked up by: learned from what passes between the governed trees and the resolvers that the
//! policy names.
//!
//! Both the query and the answer are read in the packet, where nobody can change it any more: the query as it leaves,
//! the answer as it is received, before the call returns that receives it. So whoever connects to what it has just been
//! told is judged by the name. An answer teaches only what a governed process has asked:
//!
//! * it comes from a resolver's address and port, to the socket and port that the question came from, with the same id
//!   and the same question (case aside), and it is the first such;
//! * on the host's own network: in another namespace any address can be anybody's;
//! * not from a governed process: none of them gets hold of a resolver's port on this network ([`bind`], [`answers`]).
//!
//! What is not understood (several questions, no answer, names with other characters than those of hosts, what does not
//! lie in one piece) teaches nothing, and the connection is judged by its address.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::generated::bpf_ktime_get_boot_ns,
    macros::{fentry, lsm},
    programs::{FEntryContext, LsmContext},
};
use holdpoint_common::{
    host::{DNS_PORT, HOST_BYTES, HOST_SLOTS, Host, HostKey, LONGEST, Message, Question, ResolverKey},
    matcher::Turn,
    system::System,
    task::Task,
};

use super::{
    net::{IPPROTO_UDP, mapped},
    system::refused,
};
use crate::{
    kernel::{current, offset, opaque, read, repeat, symbols},
    maps::{HOSTS, MESSAGES, NO_MESSAGE, QUERIES, RESOLVERS, SWITCHES},
    task::governed,
};

const SECOND: u64 = 1_000_000_000;
/// How long an answer is waited for.
const PATIENCE: u64 = 60 * SECOND;
/// A name is known for so many seconds at least, since who has asked connects a moment later; and at most.
const LIFETIME: core::ops::RangeInclusive<u32> = 5..=86_400;
/// Bytes before the question, and of what follows a record's name.
const HEADER: u64 = 12;
const RECORD: u64 = 10;
/// Of the header's second word (RFC 1035, 4.1.1): it is an answer; what kind of query; truncated; what came of it.
const ANSWER: u16 = 1 << 15;
const OPCODE: u16 = 0xf << 11;
const TRUNCATED: u16 = 1 << 9;
const CODE: u16 = 0xf;
/// Types of records: IPv4 and IPv6 addresses; the class of the Internet.
const A: u16 = 1;
const AAAA: u16 = 28;
const INTERNET: u16 = 1;
/// Steps through the labels and records of an answer.
const STEPS: u32 = 512;

/// A datagram between a governed process and a resolver.
struct Datagram {
    resolver: [u8; 16],
    /// The governed process's port.
    port: u16,
    sock: u64,
    /// Where its data begins and ends.
    start: u64,
    end: u64,
}

/// `ip_send_skb(net, skb)`: what a socket sends by IPv4 and UDP, among others, with all headers.
#[fentry(function = "ip_send_skb")]
pub fn query(ctx: FEntryContext) -> u32 {
    sent(ctx.arg(1))
}

/// `ip6_send_skb(skb)`, likewise.
#[fentry(function = "ip6_send_skb")]
pub fn query6(ctx: FEntryContext) -> u32 {
    sent(ctx.arg(0))
}

/// `skb_consume_udp(sk, skb, len)`: the last step of receiving a datagram, in the call of who receives it.
#[fentry(function = "skb_consume_udp")]
pub fn answer(ctx: FEntryContext) -> u32 {
    let Some(task) = governed(current()) else { return 0 };
    let sock: u64 = ctx.arg(0);
    if let Some(datagram) = between(ctx.arg(1), sock, true)
        && is_on_host(sock)
    {
        with_message(&datagram, |message| received(task, message, &datagram));
    }
    0
}

#[inline(always)]
fn sent(packet: u64) -> u32 {
    if governed(current()).is_some()
        && let Some(datagram) = between(packet, read(packet, offset!(packet_sock)), false)
    {
        with_message(&datagram, |message| asked(message, &datagram));
    }
    0
}

/// The datagram in `packet`, if it is UDP from a resolver, or to one.
#[inline(always)]
fn between(packet: u64, sock: u64, from_resolver: bool) -> Option<Datagram> {
    let head: u64 = read(packet, offset!(packet_head));
    let network = head + u64::from(read::<u16>(packet, offset!(packet_network)));
    let transport = head + u64::from(read::<u16>(packet, offset!(packet_transport)));
    let ports = [read::<u16>(transport, 0), read::<u16>(transport, 2)].map(u16::from_be);
    let (resolvers, port) = if from_resolver { (ports[0], ports[1]) } else { (ports[1], ports[0]) };
    if resolvers != DNS_PORT {
        return None;
    }
    let version: u8 = read(network, 0);
    let (protocol, resolver) = if version >> 4 == 4 {
        (read(network, 9), mapped(read(network, if from_resolver { 12 } else { 16 })))
    } else {
        (read::<u8>(network, 6), read(network, if from_resolver { 8 } else { 24 }))
    };
    // An array's record always exists.
    let revision = SWITCHES.get(0).map_or(0, |switches| switches.revision);
    // SAFETY: rows of a revision in force are not changed.
    if u16::from(protocol) != IPPROTO_UDP
        || unsafe { RESOLVERS.get(ResolverKey { revision, address: resolver }) }.is_none()
    {
        return None;
    }
    let end = head + u64::from(read::<u32>(packet, offset!(packet_tail)));
    Some(Datagram { resolver, port, sock, start: transport + 8, end })
}

/// Gives `work` the message in the datagram, read to the end of its question, if there is one question.
#[inline(always)]
fn with_message(datagram: &Datagram, work: impl FnOnce(&mut Message)) {
    let (key, Some(zero)) = (current(), NO_MESSAGE.get_ptr(0)) else { return };
    // SAFETY: the template is never written.
    if MESSAGES.insert(key, unsafe { &*zero }, 0).is_err() {
        return;
    }
    if let Some(message) = MESSAGES.get_ptr_mut(key) {
        // SAFETY: the entry is the current thread's own.
        let message = unsafe { &mut *message };
        if read_question(message, datagram) {
            work(message);
        }
    }
    let _ = MESSAGES.remove(key);
}

#[inline(always)]
fn read_question(message: &mut Message, datagram: &Datagram) -> bool {
    message.at = datagram.start + HEADER;
    message.end = datagram.end;
    repeat(LONGEST as u32, &mut Name { message });
    if message.whole == 0 || message.at + 4 > message.end || word(datagram.start, 4) != 1 {
        return false;
    }
    let Question { sock, resolver, id, port, kind, .. } = &mut message.question;
    (*sock, *resolver, *port) = (datagram.sock, datagram.resolver, u32::from(datagram.port));
    *id = u32::from(word(datagram.start, 0));
    *kind = u32::from(word(message.at, 0)) << 16 | u32::from(word(message.at, 2));
    message.at += 4;
    true
}

/// The way through the labels of a question's name.
struct Name<'a> {
    message: &'a mut Message,
}

impl Turn for Name<'_> {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> bool {
        let message = &mut *self.message;
        if message.at >= message.end {
            return false;
        }
        let byte: u8 = read(message.at, 0);
        message.at += 1;
        if message.left != 0 {
            message.left -= 1;
            return is_of_hosts(byte) && push(message, byte.to_ascii_lowercase());
        }
        message.left = u32::from(byte);
        if byte == 0 {
            message.whole = 1;
        }
        // Neither the end nor a pointer, which no question needs.
        (1..64).contains(&byte) && (message.length == 0 || push(message, b'.'))
    }
}

/// A dot within a label would look like one between two.
#[inline(always)]
fn is_of_hosts(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

#[inline(always)]
fn push(message: &mut Message, byte: u8) -> bool {
    let at = opaque(u64::from(message.length)) as usize & (LONGEST - 1);
    message.question.host.name[at] = byte;
    message.length += 1;
    true
}

/// Keeps the question in mind until it is answered.
#[inline(always)]
fn asked(message: &mut Message, datagram: &Datagram) {
    if word(datagram.start, 2) & (ANSWER | OPCODE) == 0 {
        let _ = QUERIES.insert(&message.question, now() + PATIENCE, 0);
    }
}

/// Takes the answer for what it is, if that was asked.
#[inline(always)]
fn received(task: *mut Task, message: &mut Message, datagram: &Datagram) {
    // SAFETY: a number is read.
    let asked = unsafe { QUERIES.get(&message.question) }.is_some_and(|until| now() < *until);
    if !asked || QUERIES.remove(&message.question).is_err() {
        return;
    }
    if word(datagram.start, 2) & (ANSWER | OPCODE | TRUNCATED | CODE) != ANSWER {
        return;
    }
    message.records = u32::from(word(datagram.start, 6));
    message.lifetime = *LIFETIME.end();
    // SAFETY: the entry is the current thread's own.
    let tree = unsafe { (*task).tree };
    repeat(STEPS, &mut Records { message, tree });
}

/// The way through the records of an answer. Whatever name they are of: an alias (CNAME) leads from the one that was asked
/// for to the one that has the address.
struct Records<'a> {
    message: &'a mut Message,
    tree: u64,
}

impl Turn for Records<'_> {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> bool {
        let message = &mut *self.message;
        if message.records == 0 || message.at >= message.end {
            return false;
        }
        let byte: u8 = read(message.at, 0);
        if (1..64).contains(&byte) {
            message.at += 1 + u64::from(byte);
            return true;
        }
        // The end of the name, or a pointer to its rest.
        let record = message.at + if byte == 0 { 1 } else { 2 };
        let length = word(record, 8);
        message.at = record + RECORD + u64::from(length);
        message.records -= 1;
        if message.at > message.end {
            return false;
        }
        let lifetime = u32::from(word(record, 4)) << 16 | u32::from(word(record, 6));
        message.lifetime = message.lifetime.min(lifetime).max(*LIFETIME.start());
        if word(record, 2) == INTERNET {
            match (word(record, 0), length) {
                (A, 4) => learn(message, self.tree, mapped(read(record, RECORD))),
                (AAAA, 16) => learn(message, self.tree, read(record, RECORD)),
                _ => (),
            }
        }
        true
    }
}

/// The address has the name that was asked for.
#[inline(always)]
fn learn(message: &mut Message, tree: u64, address: [u8; 16]) {
    message.question.host.until = now() + u64::from(message.lifetime) * SECOND;
    let key = HostKey { tree, address, slot: 0, reserved: 0 };
    repeat(HOST_SLOTS, &mut Place { key, host: &raw const message.question.host });
}

/// The search for a place among the names of an address.
struct Place {
    key: HostKey,
    host: *const Host,
}

impl Turn for Place {
    #[inline(always)]
    fn turn(&mut self, slot: u32) -> bool {
        self.key.slot = slot;
        let Some(there) = HOSTS.get_ptr_mut(&self.key) else {
            // SAFETY: the name is in the current thread's own entry.
            let _ = HOSTS.insert(&self.key, unsafe { &*self.host }, BPF_NOEXIST as u64);
            return false;
        };
        // SAFETY: names are written once; of two lifetimes that are written at once one counts, and both are true.
        unsafe {
            let same = is_same(there, self.host);
            if same && (*there).until < (*self.host).until {
                (&raw mut (*there).until).write_volatile((*self.host).until);
            }
            !same
        }
    }
}

/// Whether both are the same name.
///
/// # Safety
///
/// Both point to a whole one.
#[inline(always)]
unsafe fn is_same(one: *const Host, other: *const Host) -> bool {
    const WORDS: usize = HOST_BYTES / 8;
    // SAFETY: see above; the field is 8-aligned.
    let words = |host: *const Host| unsafe { (&raw const (*host).name).cast::<[u64; WORDS]>() };
    let (one, other) = (words(one), words(other));
    let mut different = 0;
    for word in 0..WORDS {
        // Opaque: the compiler would make a branch of each word, and the verifier would follow all of them.
        // SAFETY: inside the array.
        different |= opaque(unsafe { (*one)[word] ^ (*other)[word] });
    }
    different == 0
}

/// The 16-bit number at `base + offset`, as the network has it.
#[inline(always)]
fn word(base: u64, offset: u64) -> u16 {
    u16::from_be(read(base, offset))
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Whether the socket is in the host's own network namespace.
#[inline(always)]
fn is_on_host(sock: u64) -> bool {
    read::<u64>(sock, offset!(sock_network)) == symbols().init_net
}

/// `security_socket_bind(sock, address, addrlen)`: who has a resolver's port can answer in its name, from any of this
/// host's addresses.
#[lsm(hook = "socket_bind")]
pub fn bind(ctx: LsmContext) -> i32 {
    if governed(current()).is_none() {
        return 0;
    }
    let sock: u64 = read(ctx.arg(0), offset!(socket_sk));
    let given: u64 = ctx.arg(1);
    if word(given, 2) == DNS_PORT && is_udp_on_host(sock) { refused(System::Listen, DNS_PORT.into()) } else { 0 }
}

/// Whether what the socket sends could be taken for a resolver's answer: it had the port before it was governed.
#[inline(always)]
pub fn answers(sock: u64) -> bool {
    read::<u16>(sock, offset!(sock_local_port)) == DNS_PORT && is_udp_on_host(sock)
}

#[inline(always)]
fn is_udp_on_host(sock: u64) -> bool {
    read::<u16>(sock, offset!(sock_protocol)) == IPPROTO_UDP && is_on_host(sock)
}
