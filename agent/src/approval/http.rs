//! Connections to where reviewers are, and to who says who they are. The only user of reqwest's client.
//!
//! No proxy from the environment, no cookies, no redirects: the question goes to the configured place or
//! nowhere. Names are resolved here, so that one that points to a refused address is not followed.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Client, ClientBuilder, Response, StatusCode, Upgraded, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{
        CONNECTION, CONTENT_TYPE, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    redirect,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

use super::delivery::{Attempt, retry_after};
use crate::config::destination;

/// How long who has had too many requests is left alone, if it does not say.
const BUSY: Duration = Duration::from_secs(1);

/// The connections to one place.
#[derive(Clone)]
pub struct Http(Client);

/// A place on this host where nobody listens: the discard port.
pub(super) fn nowhere() -> Url {
    Url::parse("http://127.0.0.1:9").expect("a URL")
}

impl Http {
    /// Connections to the host of `url`, which is checked against `authorities` (PEM) instead of the system's if there
    /// are any.
    ///
    /// # Errors
    /// Why TLS cannot be set up: the system has no certificate authorities.
    pub fn new(url: &Url, authorities: Option<&[u8]>) -> Result<Self, String> {
        Self::build(Self::builder(url, authorities)?)
    }

    /// Likewise by HTTP/1.1, with which WebSockets begin. Each request has a connection to itself, so what the other side
    /// keeps open is in no other's way.
    ///
    /// # Errors
    /// Likewise.
    pub(super) fn apart(url: &Url, authorities: Option<&[u8]>) -> Result<Self, String> {
        Self::build(Self::builder(url, authorities)?.http1_only())
    }

    fn build(client: ClientBuilder) -> Result<Self, String> {
        Ok(Self(client.build().map_err(|error| format!("TLS cannot be set up: {}", reason(&error)))?))
    }

    fn builder(url: &Url, authorities: Option<&[u8]>) -> Result<ClientBuilder, String> {
        // An error says that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(Guarded { scheme: url.scheme().to_owned() })
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("holdpoint/", env!("CARGO_PKG_VERSION")));
        let certificates = |pem| reqwest::Certificate::from_pem_bundle(pem).map_err(|error| reason(&error));
        Ok(match authorities {
            Some(pem) => client.tls_certs_only(certificates(pem)?),
            // Plain http: a host without certificate authorities is no obstacle.
            None if url.scheme() == "http" => client.tls_certs_only([]),
            None => client,
        })
    }

    /// What is at that place; what went wrong otherwise.
    pub async fn get(&self, url: Url, headers: Vec<(&'static str, String)>) -> Result<Response, String> {
        let request = headers.into_iter().fold(self.0.get(url), |request, (name, value)| request.header(name, value));
        request.send().await.map_err(|error| reason(&error))
    }

    /// Posts a form; what went wrong otherwise.
    pub fn form(
        &self,
        url: Url,
        headers: Vec<(&'static str, String)>,
        form: String,
    ) -> impl Future<Output = Result<Response, String>> + Send + use<> {
        let request = self.0.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let sent = request.body(form).send();
        async move { sent.await.map_err(|error| reason(&error)) }
    }

    /// A WebSocket to that place, with messages of at most `longest` bytes: RFC 6455, section 4.1.
    pub(super) async fn socket(&self, url: Url, longest: usize) -> Result<WebSocketStream<Upgraded>, String> {
        let key = generate_key();
        let request = self.0.get(url).header(CONNECTION, "Upgrade").header(UPGRADE, "websocket");
        let request = request.header(SEC_WEBSOCKET_VERSION, "13").header(SEC_WEBSOCKET_KEY, &key);
        let response = request.send().await.map_err(|error| reason(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(format!("{} instead of a WebSocket", response.status().as_u16()));
        }
        let accepted = response.headers().get(SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes());
        if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err("the other side has not understood that this is a WebSocket".into());
        }
        let stream = response.upgrade().await.map_err(|error| reason(&error))?;
        let limits = WebSocketConfig::default().max_message_size(Some(longest)).max_frame_size(Some(longest));
        Ok(WebSocketStream::from_raw_socket(stream, Role::Client, Some(limits)).await)
    }

    /// Posts JSON. What is no success is a failed attempt.
    pub(super) fn post(
        &self,
        url: Url,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    ) -> impl Future<Output = Result<Response, Attempt>> + Send + use<> {
        let mut request = self.0.post(url).header(CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let sent = request.body(body).send();
        async move {
            match sent.await {
                Ok(response) => judge(response),
                Err(error) => Err(Attempt::failed(reason(&error))),
            }
        }
    }
}

fn judge(response: Response) -> Result<Response, Attempt> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status == StatusCode::GONE {
        return Err(Attempt::Gone { error: "410: it wants no more".into() });
    }
    let pause = pause(&response).or((status == StatusCode::TOO_MANY_REQUESTS).then_some(BUSY));
    let about = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    Err(Attempt::Failed { error: format!("{}{about}", status.as_u16()), pause })
}

/// The body of a response; nothing if it has more than `longest` bytes, or breaks off.
pub async fn body(mut response: Response, longest: usize) -> Option<Vec<u8>> {
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > longest {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

/// How long the other side wants to be left alone, if it says so.
pub(super) fn pause(response: &Response) -> Option<Duration> {
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok())?;
    retry_after(header, Timestamp::now())
}

/// The innermost cause: the outer ones contain the URL, which may contain a token.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<reqwest::Error>() {
        Some(_) => "the request could not be made".into(),
        None => cause.to_string(),
    }
}

/// The system's resolver, without addresses that questions may not be sent to.
struct Guarded {
    scheme: String,
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let scheme = self.scheme.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> =
                found.filter(|address| destination::may_connect(&scheme, address.ip())).collect();
            if allowed.is_empty() {
                return Err(format!("{} has no address that may be asked", name.as_str()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
