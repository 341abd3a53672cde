//! What the agent's listeners have in common: plain HTTP/1.1 within limits of size, time and number. TLS is for a proxy
//! in front of it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, StatusCode},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

pub use self::refused::{Refused, Window};
use crate::request::Refusal;

mod refused;

/// Longest body, in bytes: an answer has a few hundred.
pub const LONGEST: usize = 64 * 1024;
/// Longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// Most headers.
const HEADERS: usize = 64;
/// Time for the head, and again for the body.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time for a connection as a whole.
const CONNECTION: Duration = Duration::from_secs(40);
/// Connections at a time; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 128;

/// The address of the other side; behind a proxy, the proxy's.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Why a request goes no further, and what its sender is told.
pub type Stopped = (StatusCode, &'static str);

/// Nobody takes an answer any more.
pub const ENDING: Stopped = (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");

/// Serves `listener` until the task is dropped. Each connection carries one request, and `router` gets its [`Peer`].
pub async fn serve(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION, connection(stream, peer, router)).await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others have to go first.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router) {
    let service = TowerToHyperService::new(router.layer(Extension(Peer(peer.ip()))));
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%peer, %error, "a connection failed");
    }
}

/// The beginnings of paths: none, and that of the configured URL, which a proxy may or may not take away.
pub fn prefixes(prefix: &str) -> impl Iterator<Item = &str> {
    [""].into_iter().chain((!prefix.is_empty()).then_some(prefix))
}

/// The whole body.
///
/// # Errors
/// It is too long, or does not come in time.
pub async fn whole(headers: &HeaderMap, body: Body) -> Result<Bytes, Stopped> {
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "too large");
    let announced = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > LONGEST) {
        return Err(too_large);
    }
    match timeout(PATIENCE, to_bytes(body, LONGEST)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(too_large),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

/// The status that says why an answer was refused.
pub fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::UnknownHold => StatusCode::NOT_FOUND,
        Refusal::WrongDigest => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::Stranger(_) | Refusal::NotNamed | Refusal::Requester => StatusCode::FORBIDDEN,
        Refusal::Assurance(_) | Refusal::Scope(_) | Refusal::NotShown => StatusCode::FORBIDDEN,
        Refusal::NotRecorded => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Conflict(_) | Refusal::NotNeeded(_) | Refusal::Granted(_) => StatusCode::CONFLICT,
        Refusal::Over(_) => StatusCode::GONE,
    }
}
