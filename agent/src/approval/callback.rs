//! The listener for callbacks: `POST {base}/v1/holds/{id}/answer`, signed with the secret of a channel, and
//! `POST {base}/v1/{kind}/{name}` for channels that hear in their own way.
//!
//! Whoever cannot sign is told no more than what is wrong with the request; other paths and methods get an empty 404. It
//! speaks plain HTTP, since an answer is signed, not secret; TLS is for a proxy in front of it. An answer that is sent
//! again by somebody who recorded it does no harm: it counts once.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use self::refused::Refused;
use super::{
    Submission,
    channel::{Channel, Unheard},
    said,
    standard_webhooks::{ID, Received, Rejection, SIGNATURE, TIMESTAMP, verify},
};
use crate::{
    config::Config,
    record::Entry,
    request::{Outcome, Proof, Refusal},
};

mod refused;

/// Longest body, in bytes: an answer has a few hundred.
const LONGEST: usize = 64 * 1024;
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
/// Takes callbacks and hands their answers on.
#[derive(Debug)]
pub struct Callbacks {
    channels: Vec<Channel>,
    /// Path of the configured URL, which a proxy may or may not take away.
    prefix: String,
    answers: mpsc::Sender<Submission>,
    refused: Refused,
}

/// The address of the other side.
#[derive(Clone, Copy)]
struct Peer(IpAddr);

/// Why a callback goes no further than here.
type Stopped = (StatusCode, &'static str);

impl Callbacks {
    /// Callbacks for the channels of `config`. Answers go to `answers`; what is refused before it is an answer
    /// goes to `notes`, to be recorded.
    pub fn new(config: &Config, answers: mpsc::Sender<Submission>, notes: mpsc::Sender<Entry>) -> Self {
        let url = config.listener.as_ref().and_then(|listener| reqwest::Url::parse(&listener.url).ok());
        let prefix = url.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default();
        Self { channels: config.channels.clone(), prefix, answers, refused: Refused::new(notes) }
    }

    /// Serves `listener` until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        let router = self.router();
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
                    tracing::warn!(%error, "a callback could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn router(self) -> Router {
        const ANSWERS: &str = "/v1/holds/{id}/answer";
        const INTERACTIONS: &str = "/v1/{kind}/{name}";
        let nothing = || async { StatusCode::NOT_FOUND };
        let mut router = Router::new().without_v07_checks();
        let prefixes = [String::new(), self.prefix.clone()];
        for prefix in &prefixes[..if self.prefix.is_empty() { 1 } else { 2 }] {
            router = router.route(&format!("{prefix}{ANSWERS}"), post(answer));
            router = router.route(&format!("{prefix}{INTERACTIONS}"), post(interaction));
        }
        router.fallback(nothing).method_not_allowed_fallback(nothing).with_state(Arc::new(self))
    }

    /// The channel whose secret signed the callback.
    fn channel(&self, headers: &HeaderMap, body: &[u8]) -> Result<&Channel, Rejection> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Rejection::Header);
        let received = Received { id: header(ID)?, timestamp: header(TIMESTAMP)?, signature: header(SIGNATURE)? };
        let now = Timestamp::now().as_second();
        let mut rejection = Rejection::Signature;
        for channel in &self.channels {
            match channel.way.secret().map(|secret| verify(secret, received, body, now)) {
                Some(Ok(())) => return Ok(channel),
                Some(Err(found)) => rejection = found,
                None => {}
            }
        }
        Err(rejection)
    }

    /// Nothing if no such channel hears anything.
    async fn interaction(
        &self,
        kind: &str,
        name: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Option<Result<(), Unheard>> {
        let channel = self.channels.iter().find(|channel| channel.kind == kind && channel.name == name)?;
        let unheard = |(status, why): Stopped| Unheard { status, why: why.into(), hold: None, signed: false };
        match whole(headers, body).await {
            Ok(body) => channel.way.hear(channel, headers, &body, &self.answers),
            Err(stopped) => Some(Err(unheard(stopped))),
        }
    }

    async fn hear(&self, path: &str, headers: &HeaderMap, body: Body) -> Result<Response, Stopped> {
        let body = whole(headers, body).await?;
        let channel = self.channel(headers, &body).map_err(|rejection| match rejection {
            Rejection::Header => (StatusCode::UNAUTHORIZED, "a webhook header is missing or malformed"),
            Rejection::Timestamp => (StatusCode::UNAUTHORIZED, "old timestamp"),
            Rejection::Signature => (StatusCode::UNAUTHORIZED, "bad signature"),
        })?;
        let hold = path.parse().map_err(|_| (StatusCode::NOT_FOUND, "unknown hold"))?;
        let proof = Proof::Webhook { channel: channel.name.clone(), asks: channel.reviewers.clone() };
        let answer = said::read(hold, &body, proof).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        let (reply, result) = oneshot::channel();
        let ending = (StatusCode::SERVICE_UNAVAILABLE, "the agent is ending");
        self.answers.send(Submission { answer, reply }).await.map_err(|_| ending)?;
        Ok(respond(result.await.map_err(|_| ending)?))
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
        tracing::debug!(%peer, %error, "a callback's connection failed");
    }
}

async fn answer(
    State(callbacks): State<Arc<Callbacks>>,
    Path(hold): Path<String>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match callbacks.hear(&hold, &headers, body).await {
        Ok(response) => response,
        Err((status, why)) => {
            callbacks.refused.note(hold.parse().ok(), why, from, false);
            (status, Json(json!({ "error": why }))).into_response()
        }
    }
}

async fn interaction(
    State(callbacks): State<Arc<Callbacks>>,
    Path((kind, name)): Path<(String, String)>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> StatusCode {
    match callbacks.interaction(&kind, &name, &headers, body).await {
        None => StatusCode::NOT_FOUND,
        Some(Ok(())) => StatusCode::OK,
        Some(Err(Unheard { status, why, hold, signed })) => {
            callbacks.refused.note(hold, &why, from, signed);
            status
        }
    }
}

/// The whole body, if it comes in time and is not too long.
async fn whole(headers: &HeaderMap, body: Body) -> Result<Bytes, Stopped> {
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

fn respond(result: Result<Outcome, Refusal>) -> Response {
    let refusal = match result {
        Ok(Outcome::Accepted(standing) | Outcome::Again(standing)) => return Json(standing).into_response(),
        Err(refusal) => refusal,
    };
    let status = match &refusal {
        Refusal::UnknownHold => StatusCode::NOT_FOUND,
        Refusal::WrongDigest => StatusCode::UNPROCESSABLE_ENTITY,
        Refusal::NotNamed | Refusal::Requester => StatusCode::FORBIDDEN,
        Refusal::NotRecorded => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Conflict(standing) => return (StatusCode::CONFLICT, Json(standing)).into_response(),
        Refusal::Over(standing) => return (StatusCode::GONE, Json(standing)).into_response(),
    };
    (status, Json(json!({ "error": refusal.to_string() }))).into_response()
}

#[cfg(test)]
mod tests;
