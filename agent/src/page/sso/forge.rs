//! A provider's keys, for tests: what it signs, and what others would like it to have signed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use serde_json::{Value, json};

/// A key of this name.
pub struct Key {
    name: &'static str,
    pair: Ed25519KeyPair,
}

impl Key {
    pub fn new(name: &'static str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { name, pair: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap() }
    }

    /// Its public half, as providers list it.
    pub fn public(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.name, "x": x })
    }

    /// A token that says so.
    pub fn signs(&self, claims: &Value) -> String {
        self.signs_as(&json!({ "alg": "EdDSA", "kid": self.name }), claims)
    }

    /// Likewise with this header.
    pub fn signs_as(&self, header: &Value, claims: &Value) -> String {
        let said = said(header, claims);
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(said.as_bytes()));
        format!("{said}.{signature}")
    }
}

/// What a token says, without the signature.
pub fn said(header: &Value, claims: &Value) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encoded(header), encoded(claims))
}

/// A token by a key of another kind, and that key.
pub fn by_p256(claims: &Value) -> (String, Value) {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let said = said(&json!({ "alg": "ES256" }), claims);
    let signature = URL_SAFE_NO_PAD.encode(pair.sign(&random, said.as_bytes()).unwrap());
    let [x, y] = [1..33, 33..65].map(|range| URL_SAFE_NO_PAD.encode(&pair.public_key().as_ref()[range]));
    (format!("{said}.{signature}"), json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }))
}
