//! The provider, as the agent asks it: what it says of itself, its keys, and its token for a code. What goes wrong is said in
//! words for the log; nobody gets in then.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::jwk::Jwk;
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::{
    Client,
    attempts::Attempt,
    token::{self, Bad, Expected, Found},
};
use crate::{approval::http, config::destination};

/// Time for one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest reply, in bytes.
const LONGEST: usize = 256 * 1024;
/// How long is believed what it said of itself, and its keys.
const FRESH: Duration = Duration::from_secs(3600);
/// How long it is left alone when it did not reply; and how long it is not asked anew for its keys when it has said them.
const REST: Duration = Duration::from_secs(20);

/// What it says of itself: OpenID Connect Discovery 1.0, section 3.
#[derive(Clone, Debug, Deserialize)]
pub struct Metadata {
    issuer: String,
    #[serde(deserialize_with = "url")]
    pub authorization_endpoint: Url,
    #[serde(deserialize_with = "url")]
    token_endpoint: Url,
    #[serde(deserialize_with = "url")]
    jwks_uri: Url,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// An address where questions may be sent.
fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    destination::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// What is known of it.
#[derive(Default)]
pub struct Provider(Mutex<Known>);

#[derive(Default)]
struct Known {
    metadata: Option<(Metadata, Instant)>,
    keys: Vec<Jwk>,
    keys_at: Option<Instant>,
    /// When it did not reply, and what went wrong.
    failed: Option<(Instant, String)>,
}

impl Provider {
    /// What it says of itself. One question for all who want to know.
    pub async fn metadata(&self, client: &Client) -> Result<Metadata, String> {
        let mut known = self.0.lock().await;
        if let Some((metadata, at)) = &known.metadata
            && at.elapsed() < FRESH
        {
            return Ok(metadata.clone());
        }
        let metadata = known.ask(client, discovered(client)).await?;
        known.metadata = Some((metadata.clone(), Instant::now()));
        Ok(metadata)
    }

    /// Who has logged in, by the code that the browser brought.
    pub async fn redeem(
        &self,
        client: &Client,
        metadata: &Metadata,
        attempt: &Attempt,
        code: &str,
    ) -> Result<Found, String> {
        let token = exchanged(client, metadata, attempt, code).await?;
        let expected =
            Expected { issuer: &client.issuer, client: &client.id, nonce: &attempt.nonce, now: jiff::Timestamp::now() };
        let mut known = self.0.lock().await;
        let old = known.keys_at.is_none_or(|at| at.elapsed() >= FRESH);
        if old {
            known.learn_keys(client, metadata).await?;
        }
        let mut found = token::read(&token, &known.keys, &expected);
        // It may have changed its keys. Who makes tokens up does not have it asked more than now and then.
        let rested = known.keys_at.is_some_and(|at| at.elapsed() >= REST);
        if matches!(found, Err(Bad::Key | Bad::Signature)) && rested {
            known.learn_keys(client, metadata).await?;
            found = token::read(&token, &known.keys, &expected);
        }
        found.map_err(|bad| format!("the ID token is not believed: {bad}"))
    }
}

impl Known {
    async fn learn_keys(&mut self, client: &Client, metadata: &Metadata) -> Result<(), String> {
        self.keys = self.ask(client, keys(client, metadata)).await?;
        self.keys_at = Some(Instant::now());
        Ok(())
    }

    /// What it replies, unless it did not a moment ago.
    async fn ask<T>(&mut self, client: &Client, reply: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        if let Some((at, error)) = &self.failed
            && at.elapsed() < REST
        {
            return Err(error.clone());
        }
        reply.await.inspect_err(|error| {
            tracing::warn!(issuer = client.issuer, error, "nobody can log in by the provider");
            self.failed = Some((Instant::now(), error.clone()));
        })
    }
}

async fn keys(client: &Client, metadata: &Metadata) -> Result<Vec<Jwk>, String> {
    let reply = got(client, metadata.jwks_uri.clone()).await.map_err(|error| format!("its keys: {error}"))?;
    let keys = reply["keys"].as_array().ok_or("its keys: no such list")?;
    // Keys of kinds that are not known here are no obstacle.
    Ok(keys.iter().filter_map(|key| serde_json::from_value(key.clone()).ok()).collect())
}

async fn discovered(client: &Client) -> Result<Metadata, String> {
    let url = format!("{}/.well-known/openid-configuration", client.issuer.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|error| error.to_string())?;
    let reply = got(client, url).await.map_err(|error| format!("its configuration: {error}"))?;
    let metadata: Metadata = serde_json::from_value(reply).map_err(|error| format!("its configuration: {error}"))?;
    if metadata.issuer != client.issuer {
        return Err("its configuration: it calls itself by another name than issuer in config.toml".into());
    }
    let scheme = client.issuer.split(':').next().unwrap_or_default();
    for url in [&metadata.authorization_endpoint, &metadata.token_endpoint, &metadata.jwks_uri] {
        if url.scheme() != scheme {
            return Err(format!("its configuration: an address of it is not {scheme}"));
        }
    }
    Ok(metadata)
}

/// The ID token for the code: RFC 6749, section 4.1.3.
async fn exchanged(client: &Client, metadata: &Metadata, attempt: &Attempt, code: &str) -> Result<String, String> {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &client.redirect),
        ("code_verifier", &attempt.verifier),
    ];
    let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
    // Basic is what is there if nothing is said.
    let by_post = methods.is_some_and(|methods| {
        !methods.iter().any(|method| method == "client_secret_basic")
            && methods.iter().any(|method| method == "client_secret_post")
    });
    let mut headers = vec![("accept", "application/json".to_owned())];
    match by_post {
        true => fields.extend([("client_id", &*client.id), ("client_secret", &*client.secret)]),
        false => {
            // Both are encoded as forms are: RFC 6749, section 2.3.1.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(&client.id), encoded(&client.secret));
            headers.push(("authorization", format!("Basic {}", STANDARD.encode(pair))));
        }
    }
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let sent = client.http.form(metadata.token_endpoint.clone(), headers, body);
    let reply = read(sent).await.map_err(|error| format!("its token for the code: {error}"))?;
    reply["id_token"].as_str().map(str::to_owned).ok_or_else(|| "its token for the code: no ID token".to_owned())
}

async fn got(client: &Client, url: Url) -> Result<Value, String> {
    read(client.http.get(url, vec![("accept", "application/json".to_owned())])).await
}

/// The JSON of a reply that comes in time.
async fn read(sent: impl Future<Output = Result<Response, String>>) -> Result<Value, String> {
    let whole = async {
        let response = sent.await?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(format!("status {}", status.as_u16()));
        }
        let body = http::body(response, LONGEST).await.ok_or("it breaks off, or is too long")?;
        serde_json::from_slice(&body).map_err(|_| "it is no JSON".to_owned())
    };
    timeout(PATIENCE, whole).await.unwrap_or_else(|_| Err("no answer in time".into()))
}
