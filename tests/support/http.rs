//! HTTP as far as the other sides of channels need it: one request for each connection.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use serde_json::Value;

use crate::LIMIT;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Request {
    /// The next one.
    ///
    /// # Errors
    /// What came is none.
    pub fn read(stream: &TcpStream) -> Result<Self, String> {
        stream.set_read_timeout(Some(LIMIT)).map_err(|error| error.to_string())?;
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(|error| error.to_string()).map(|_| line.trim_end().to_owned())
        };
        let first = line()?;
        let mut words = first.split(' ').map(str::to_owned);
        let (Some(method), Some(path), Some("HTTP/1.1" | "HTTP/1.0")) =
            (words.next(), words.next(), words.next().as_deref())
        else {
            return Err(format!("not HTTP: {first}"));
        };
        let mut headers = BTreeMap::new();
        loop {
            let header = line()?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").map_or(Ok(0), |length| length.parse());
        let mut body = vec![0; length.map_err(|error| format!("content-length: {error}"))?];
        reader.read_exact(&mut body).map_err(|error| error.to_string())?;
        let body = String::from_utf8(body).map_err(|error| error.to_string())?;
        Ok(Self { method, path, headers, body })
    }

    /// The body as JSON, null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What is answered to a request.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

impl Response {
    /// This status and no more.
    pub fn of(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

/// Answers requests at an address of its own by `answer`, from a thread that lives as long as this process; without a word
/// where that says nothing. Gives the address.
///
/// # Panics
/// If it cannot listen.
pub fn serve(answer: impl Fn(Request) -> Option<Response> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(request) = Request::read(&stream) else { continue };
            let Some(Response { status, headers, body }) = answer(request) else { continue };
            let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
            let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
            let response = format!("HTTP/1.1 {status} So\r\n{headers}{length}Connection: close\r\n\r\n{body}");
            // Whoever does not wait for it loses nothing.
            let _ = stream.write_all(response.as_bytes());
        }
    });
    address
}
