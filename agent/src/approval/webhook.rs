//! One attempt to POST a message to a channel. The only user of reqwest.
//!
//! No proxy from the environment, no cookies, no redirects: the question goes to the configured place or
//! nowhere. Names are resolved here, so that one that points to a refused address is not followed.

use std::{error::Error, net::SocketAddr, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{
    Client, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect,
};

use super::{
    delivery::{Attempt, retry_after},
    standard_webhooks::sign,
};
use crate::config::{Channel, destination};

/// A channel with its connections.
#[derive(Debug)]
pub(super) struct Webhook {
    channel: Channel,
    client: Client,
}

impl Webhook {
    pub(super) fn new(channel: Channel) -> anyhow::Result<Self> {
        // An error says that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(Guarded { scheme: channel.url.scheme().to_owned() })
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("holdpoint/", env!("CARGO_PKG_VERSION")));
        let client = match &channel.authorities {
            Some(pem) => client.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?),
            // Plain http: a host without certificate authorities is no obstacle.
            None if channel.url.scheme() == "http" => client.tls_certs_only([]),
            None => client,
        };
        let client = client.build().map_err(|error| {
            anyhow::anyhow!("channel \"{}\": TLS cannot be set up: {}", channel.name, reason(&error))
        })?;
        Ok(Self { channel, client })
    }

    pub(super) fn name(&self) -> &str {
        &self.channel.name
    }

    pub(super) fn asks(&self, group: &str) -> bool {
        self.channel.reviewers.iter().any(|asked| asked == group)
    }

    /// Sends `body` as the message `id`, signed as of now.
    pub(super) fn post(&self, id: &str, body: Bytes) -> impl Future<Output = Attempt> + Send + use<> {
        let now = Timestamp::now();
        let mut request = self.client.post(self.channel.url.clone()).header(CONTENT_TYPE, "application/json");
        for (name, value) in sign(&self.channel.secret, id, now.as_second(), &body) {
            request = request.header(name, value);
        }
        let sent = request.body(body).send();
        async move {
            match sent.await {
                Ok(response) => judge(&response, now),
                Err(error) => Attempt::Failed { error: reason(&error), pause: None },
            }
        }
    }
}

fn judge(response: &reqwest::Response, now: Timestamp) -> Attempt {
    let status = response.status();
    if status.is_success() {
        return Attempt::Delivered;
    }
    if status == StatusCode::GONE {
        return Attempt::Gone;
    }
    let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let pause = header.and_then(|value| retry_after(value, now));
    let about = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    Attempt::Failed { error: format!("{}{about}", status.as_u16()), pause }
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
