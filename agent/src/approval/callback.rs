//! The listener for callbacks: `POST {base}/v1/holds/{id}/answer`, signed with the secret of a channel, and
//! `POST {base}/v1/{kind}/{name}` for channels that hear in their own way.
//!
//! Whoever cannot sign is told no more than what is wrong with the request; other paths and methods get an empty 404. It
//! speaks plain HTTP, since an answer is signed, not secret; TLS is for a proxy in front of it. An answer that is sent
//! again by somebody who recorded it does no harm: it counts once.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use jiff::Timestamp;
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    Submission,
    channel::{Channel, Unheard},
    said,
    standard_webhooks::{Received, Rejection, verify},
    submit,
};
use crate::{
    config::Config,
    record::Entry,
    request::{Outcome, Proof, Refusal},
    web::{self, Peer, Refused, Stopped, whole},
};

/// Takes callbacks and hands their answers on.
#[derive(Debug)]
pub struct Callbacks {
    channels: Vec<Channel>,
    /// Path of the configured URL, which a proxy may or may not take away.
    prefix: String,
    answers: mpsc::Sender<Submission>,
    refused: Refused,
}

impl Callbacks {
    /// Callbacks for the channels of `config`. Answers go to `answers`; what is refused before it is an answer
    /// goes to `notes`, to be recorded.
    pub fn new(config: &Config, answers: mpsc::Sender<Submission>, notes: mpsc::Sender<Entry>) -> Self {
        let prefix = config.listener.as_ref().map(|listener| listener.prefix()).unwrap_or_default();
        Self { channels: config.channels.clone(), prefix, answers, refused: Refused::new(notes) }
    }

    /// Serves `listener` until the task is dropped.
    pub async fn serve(self, listener: TcpListener) {
        web::serve(listener, self.router()).await;
    }

    fn router(self) -> Router {
        const ANSWERS: &str = "/v1/holds/{id}/answer";
        const INTERACTIONS: &str = "/v1/{kind}/{name}";
        let nothing = || async { StatusCode::NOT_FOUND };
        let mut router = Router::new().without_v07_checks();
        for prefix in web::prefixes(&self.prefix) {
            router = router.route(&format!("{prefix}{ANSWERS}"), post(answer));
            router = router.route(&format!("{prefix}{INTERACTIONS}"), post(interaction));
        }
        router.fallback(nothing).method_not_allowed_fallback(nothing).with_state(Arc::new(self))
    }

    /// The channel whose secret signed the callback.
    fn channel(&self, headers: &HeaderMap, body: &[u8]) -> Result<&Channel, Rejection> {
        let received = Received::of(headers)?;
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
        let channel =
            self.channel(headers, &body).map_err(|rejection| (StatusCode::UNAUTHORIZED, rejection.words()))?;
        let hold = path.parse().map_err(|_| (StatusCode::NOT_FOUND, "unknown hold"))?;
        let proof = Proof::Webhook { channel: channel.name.clone(), asks: channel.reviewers.clone() };
        let answer = said::read(hold, &body, proof).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
        submit(&self.answers, answer).await.map(respond).ok_or(web::ENDING)
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

fn respond(result: Result<Outcome, Refusal>) -> Response {
    let refusal = match result {
        Ok(Outcome::Accepted(standing) | Outcome::Again(standing)) => return Json(standing).into_response(),
        Ok(Outcome::Counted(missing)) => {
            return (StatusCode::ACCEPTED, Json(json!({ "state": "pending", "missing": missing }))).into_response();
        }
        Err(refusal) => refusal,
    };
    let status = web::status(&refusal);
    match refusal {
        Refusal::Conflict(standing) | Refusal::Over(standing) => (status, Json(standing)).into_response(),
        _ => (status, Json(json!({ "error": refusal.to_string() }))).into_response(),
    }
}

#[cfg(test)]
mod tests;
