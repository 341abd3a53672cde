//! Resolvers that answer as a test says.

use std::{
    fs,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Where programs read whom they ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// An IPv4 address as the type of a question.
const A: [u8; 2] = [0, 1];

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Its id.
    pub id: u16,
    /// The name, without the last dot.
    pub name: String,
    /// Whether it is for IPv4 addresses.
    pub is_for_ipv4: bool,
    /// Name, type and class, as they were sent.
    question: Vec<u8>,
}

impl Query {
    fn parse(message: &[u8]) -> Self {
        let (head, question) = message.split_at(12);
        let mut labels = Vec::new();
        let mut rest = question;
        while let Some((length, label)) = rest.split_first().filter(|(length, _)| **length != 0) {
            let (label, after) = label.split_at(usize::from(*length));
            labels.push(String::from_utf8_lossy(label).into_owned());
            rest = after;
        }
        let length = question.len() - rest.len() + 5;
        Self {
            id: u16::from_be_bytes([head[0], head[1]]),
            name: labels.join("."),
            is_for_ipv4: rest[1..3] == A,
            question: question[..length].to_vec(),
        }
    }

    /// The same question with another id.
    #[must_use]
    pub fn with_id(&self, id: u16) -> Self {
        Self { id, ..self.clone() }
    }

    /// The same about another name.
    #[must_use]
    pub fn about(&self, name: &str) -> Self {
        let labels = name.split('.').flat_map(|label| {
            let length = u8::try_from(label.len()).expect("a short label");
            [&[length], label.as_bytes()].concat()
        });
        let question = labels.chain([0, 0, 1, 0, 1]).collect();
        Self { name: name.to_owned(), question, ..self.clone() }
    }

    /// The answer that it is `address` for so many seconds, by way of an alias; that there is none where IPv4 is not asked
    /// for.
    pub fn answer(&self, address: Ipv4Addr, seconds: u32) -> Vec<u8> {
        let records: u8 = if self.is_for_ipv4 { 2 } else { 0 };
        let mut message =
            [&self.id.to_be_bytes()[..], &[0x81, 0x80, 0, 1, 0, records, 0, 0, 0, 0], &self.question].concat();
        if self.is_for_ipv4 {
            let alias = b"\x05alias\x04test\0";
            let record = |name: &[u8], kind: u8, data: &[u8]| {
                let length = u16::try_from(data.len()).expect("a short record").to_be_bytes();
                [name, &[0, kind, 0, 1], &seconds.to_be_bytes(), &length, data].concat()
            };
            message.extend(record(&[0xc0, 12], 5, alias));
            message.extend(record(alias, 1, &address.octets()));
        }
        message
    }
}

/// A resolver, until it is dropped.
pub struct Resolver {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resolver {
    /// Gives each query that comes to `address`, port 53, to `reply`, with the socket and who asks.
    pub fn at(address: Ipv4Addr, reply: impl Fn(&Query, &UdpSocket, SocketAddr) + Send + 'static) -> Self {
        let socket = UdpSocket::bind((address, 53)).expect("bind");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("set_read_timeout");
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let mut message = [0; 512];
            while !ended.load(Ordering::Relaxed) {
                match socket.recv_from(&mut message) {
                    Ok((length, from)) => reply(&Query::parse(&message[..length]), &socket, from),
                    Err(error) => {
                        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}")
                    }
                }
            }
        });
        Self { ends, thread: Some(thread) }
    }

    /// One that knows these hosts, with how many seconds they may be kept.
    pub fn of(address: Ipv4Addr, hosts: &'static [(&'static str, [u8; 4], u32)]) -> Self {
        Self::at(address, move |query, socket, from| {
            if let Some((_, host, seconds)) = hosts.iter().find(|(name, ..)| name.eq_ignore_ascii_case(&query.name)) {
                socket.send_to(&query.answer((*host).into(), *seconds), from).expect("send");
            }
        })
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            ended.expect("a thread").expect("it has not failed");
        }
    }
}

/// Programs ask the resolver at an address, until this is dropped.
pub struct Asked(Option<String>);

impl Asked {
    /// Writes `/etc/resolv.conf`.
    pub fn at(address: Ipv4Addr) -> Self {
        let before = fs::read_to_string(RESOLV_CONF).ok();
        fs::write(RESOLV_CONF, format!("nameserver {address}\n")).expect("write resolv.conf");
        Self(before)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = match &self.0 {
            Some(text) => fs::write(RESOLV_CONF, text),
            None => fs::remove_file(RESOLV_CONF),
        };
    }
}
