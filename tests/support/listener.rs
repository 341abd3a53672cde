//! Listeners that the subjects connect to.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    thread,
};

use nix::sys::socket::{Backlog, listen};

use crate::{policy::port, wait::LIMIT, wait_for};

/// A listener on the loopback interface, at a port of its own.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// At a port that the policy treats by `rule`, on `127.0.0.1`.
    pub fn v4(rule: &str) -> Self {
        Self::at("127.0.0.1", rule)
    }

    /// Likewise, on `::1`.
    pub fn v6(rule: &str) -> Self {
        Self::at("::1", rule)
    }

    fn at(host: &str, rule: &str) -> Self {
        let listener = wait_for("a free port", LIMIT, || match TcpListener::bind((host, port(rule))) {
            Ok(listener) => Some(listener),
            // What a test before has left listening.
            Err(error) if error.kind() == ErrorKind::AddrInUse => None,
            Err(error) => panic!("bind: {error}"),
        });
        listener.set_nonblocking(true).expect("set_nonblocking");
        let address = listener.local_addr().expect("an address");
        Self { listener, address }
    }

    /// What the actor's step `connect` takes: address and port.
    pub fn target(&self) -> String {
        format!("{} {}", self.address.ip(), self.address.port())
    }

    /// The address with its port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection that waits to be accepted, if there is one.
    pub fn waiting(&self) -> Option<TcpStream> {
        match self.listener.accept() {
            Ok((stream, _)) => Some(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        }
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> TcpStream {
        wait_for("a connection", LIMIT, || self.waiting())
    }

    /// From now on a `connect()` blocks, until [`Self::accept`] makes room: the queue is full. Gives what fills it.
    pub fn fill(&self) -> Vec<TcpStream> {
        listen(&self.listener.as_fd(), Backlog::new(0).expect("a backlog")).expect("listen");
        // A queue of length 0 takes one connection.
        vec![TcpStream::connect(self.address).expect("connect")]
    }

    /// Answers every request with `body`, by HTTP, from a thread that lives as long as this process.
    pub fn serve(self, body: &'static str) -> SocketAddr {
        self.listener.set_nonblocking(false).expect("set_nonblocking");
        let address = self.address;
        thread::spawn(move || {
            for stream in self.listener.incoming() {
                let mut stream = stream.expect("accept");
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
            }
        });
        address
    }
}
