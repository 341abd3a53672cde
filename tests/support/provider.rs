//! A login provider on the loopback interface: OpenID Connect, as far as the review page needs it.

use std::{
    collections::HashMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    http::{Request, Response, serve},
    site,
};

const CLIENT: &str = "holdpoint";
const SECRET: &str = "a-secret";

/// Somebody who has logged in, until the code is used.
struct Login {
    subject: String,
    nonce: String,
    challenge: String,
}

/// The provider.
pub struct Provider {
    issuer: String,
    directory: PathBuf,
    logins: Arc<Mutex<HashMap<String, Login>>>,
}

impl Provider {
    /// One where anybody is whoever they say.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let key = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key");
        let logins = Arc::<Mutex<HashMap<String, Login>>>::default();
        let shared = Arc::clone(&logins);
        let address = serve(move |request| Some(replied(&request, &key, &shared)));
        let directory =
            PathBuf::from(format!("/run/holdpoint-tests/provider-{}-{}", std::process::id(), site::fresh()));
        fs::create_dir_all(&directory).expect("create a directory");
        let file = directory.join("secret");
        fs::write(&file, SECRET).expect("write the secret");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("chmod");
        Self { issuer: format!("http://{address}"), directory, logins }
    }

    /// As it calls itself.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The section `[page.sso]`.
    pub fn config(&self) -> String {
        let secret = self.directory.join("secret");
        let secret = secret.display();
        let issuer = &self.issuer;
        format!("[page.sso]\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT}\"\nclient_secret_file = \"{secret}\"\n")
    }

    /// A browser that was sent to `location` logs in as `subject`: the query with which it is sent back.
    ///
    /// # Panics
    /// If it was not sent here, or not with what it takes.
    #[track_caller]
    pub fn log_in(&self, location: &str, subject: &str) -> String {
        let query = location.strip_prefix(&format!("{}/authorize?", self.issuer));
        let asked = fields(query.unwrap_or_else(|| panic!("not to this provider: {location}")));
        assert_eq!((&*asked["response_type"], &*asked["code_challenge_method"]), ("code", "S256"), "{location}");
        let code = format!("code-{}", site::fresh());
        let [nonce, challenge] = ["nonce", "code_challenge"].map(|name| asked[name].clone());
        lock(&self.logins).insert(code.clone(), Login { subject: subject.into(), nonce, challenge });
        format!("code={code}&state={}", asked["state"])
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names and values, none of which needs to be decoded to be compared.
fn fields(query: &str) -> HashMap<String, String> {
    query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

fn replied(request: &Request, key: &Ed25519KeyPair, logins: &Mutex<HashMap<String, Login>>) -> Response {
    let issuer = format!("http://{}", request.headers.get("host").map_or("", String::as_str));
    let body = match &*request.path {
        "/.well-known/openid-configuration" => json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "jwks_uri": format!("{issuer}/keys"),
        }),
        "/keys" => {
            let x = URL_SAFE_NO_PAD.encode(key.public_key());
            json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "1", "x": x }] })
        }
        "/token" => match token(request, &issuer, key, logins) {
            Some(token) => json!({ "access_token": "x", "token_type": "Bearer", "id_token": token }),
            None => return Response::of(400),
        },
        _ => return Response::of(404),
    };
    Response { status: 200, headers: vec![], body: body.to_string() }
}

/// For a code, once, by the client that has the secret and the verifier.
fn token(
    request: &Request,
    issuer: &str,
    key: &Ed25519KeyPair,
    logins: &Mutex<HashMap<String, Login>>,
) -> Option<String> {
    let form = fields(&request.body);
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{SECRET}"));
    let is_client = request.headers.get("authorization") == Some(&format!("Basic {basic}"));
    let login = lock(logins).remove(form.get("code")?).filter(|_| is_client)?;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(form.get("code_verifier")?));
    let now = Timestamp::now().as_second();
    let claims = json!({
        "iss": issuer, "sub": login.subject, "aud": CLIENT, "nonce": login.nonce, "iat": now, "exp": now + 600,
    });
    (challenge == login.challenge).then(|| signed(key, &claims))
}

fn signed(key: &Ed25519KeyPair, claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let said = format!("{}.{}", encoded(&json!({ "alg": "EdDSA", "kid": "1" })), encoded(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(said.as_bytes()));
    format!("{said}.{signature}")
}
