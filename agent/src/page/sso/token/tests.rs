use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use super::*;
use crate::{
    page::sso::forge::{Key, by_p256, said},
    request::sample::start,
};

const ISSUER: &str = "https://login.example/a";
const US: &str = "holdpoint";

fn expected() -> Expected<'static> {
    Expected { issuer: ISSUER, client: US, nonce: "n1", now: start() }
}

fn claims() -> Value {
    let now = start().as_second();
    json!({ "iss": ISSUER, "sub": "42", "aud": US, "exp": now + 300, "iat": now, "nonce": "n1" })
}

/// The claims with this one in the place of its own.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn keys(keys: &[Value]) -> Vec<Jwk> {
    keys.iter().map(|key| serde_json::from_value(key.clone()).unwrap()).collect()
}

#[test]
fn what_the_provider_says_to_us_in_this_login_is_believed() {
    let (key, now) = (Key::new("one"), start().as_second());
    let all = keys(&[Key::new("other").public(), key.public()]);
    let found = |claims: Value| read(&key.signs(&claims), &all, &expected()).map(|found| found.subject);
    let in_time = |exp: Value| with("exp", exp);
    for good in [
        claims(),
        with("aud", json!([US])),
        with("azp", json!(US)),
        in_time(json!((now + 300) as f64 + 0.5)),
        in_time(json!(now - 59)),
        with("iat", json!(now + 60)),
    ] {
        assert_eq!(found(good.clone()).as_deref(), Ok("42"), "{good}");
    }
    let mut for_others = with("aud", json!([US, "other"]));
    for_others["azp"] = json!(US);
    assert_eq!(found(for_others).as_deref(), Ok("42"));
    let (token, key) = by_p256(&claims());
    assert!(read(&token, &keys(&[key]), &expected()).is_ok(), "without a name there is only one key");
}

#[test]
fn each_claim_is_checked() {
    let (key, now) = (Key::new("one"), start().as_second());
    let all = keys(&[key.public()]);
    for (name, value, bad) in [
        ("iss", json!("https://login.example"), Bad::Issuer),
        ("iss", json!("https://login.example/a/"), Bad::Issuer),
        ("iss", json!([ISSUER]), Bad::Malformed),
        ("aud", json!("other"), Bad::Audience),
        ("aud", json!([]), Bad::Audience),
        ("aud", json!([US, "other"]), Bad::Audience),
        ("azp", json!("other"), Bad::Audience),
        ("exp", json!(now - 60), Bad::Time),
        ("exp", json!("9999999999"), Bad::Malformed),
        ("exp", Value::Null, Bad::Malformed),
        ("iat", json!(now + 61), Bad::Time),
        ("nbf", json!(now + 61), Bad::Time),
        ("nonce", json!("n2"), Bad::Nonce),
        ("nonce", Value::Null, Bad::Nonce),
        ("sub", json!(""), Bad::Subject),
        ("sub", json!("é"), Bad::Subject),
        ("sub", json!("4".repeat(256)), Bad::Subject),
        ("sub", json!(42), Bad::Malformed),
    ] {
        let token = key.signs(&with(name, value.clone()));
        assert_eq!(read(&token, &all, &expected()), Err(bad), "{name}: {value}");
    }
}

#[test]
fn nobody_else_can_sign_it() {
    let (key, stranger) = (Key::new("one"), Key::new("one"));
    let all = keys(&[key.public(), Key::new("two").public()]);
    let check = |token: &str, bad| assert_eq!(read(token, &all, &expected()), Err(bad), "{token}");
    let good = key.signs(&claims());
    assert!(read(&good, &all, &expected()).is_ok(), "the control");
    check(&stranger.signs(&claims()), Bad::Signature);
    check(&Key::new("three").signs(&claims()), Bad::Key);
    check(&key.signs_as(&json!({ "alg": "EdDSA" }), &claims()), Bad::Key);
    check(&key.signs_as(&json!({ "alg": "EdDSA", "kid": "two" }), &claims()), Bad::Signature);
    check(&key.signs_as(&json!({ "alg": "ES256", "kid": "one" }), &claims()), Bad::Key);
    check(&key.signs_as(&json!({ "alg": "EdDSA", "kid": "one", "crit": ["x"], "x": 1 }), &claims()), Bad::Malformed);
    for none in ["none", "None", "NONE"] {
        let said = said(&json!({ "alg": none, "kid": "one" }), &claims());
        check(&format!("{said}."), Bad::Algorithm);
        check(&key.signs_as(&json!({ "alg": none, "kid": "one" }), &claims()), Bad::Algorithm);
    }
    // By what everybody knows: the public key as a secret.
    let said = said(&json!({ "alg": "HS256", "kid": "one" }), &claims());
    let secret = URL_SAFE_NO_PAD.decode(key.public()["x"].as_str().unwrap()).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(&said).finalize().into_bytes();
    check(&format!("{said}.{}", URL_SAFE_NO_PAD.encode(mac)), Bad::Algorithm);
    // What is signed is what is read.
    let [head, _, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = URL_SAFE_NO_PAD.encode(with("sub", json!("43")).to_string());
    check(&format!("{head}.{other}.{signature}"), Bad::Signature);
    for malformed in ["", "a.b", "a.b.c", &format!("{good}.x")] {
        assert!(read(malformed, &all, &expected()).is_err(), "{malformed}");
    }
}

/// Made by OpenSSL: `openssl genrsa`, and `openssl dgst -sha256 -sign`, also with `-sigopt rsa_padding_mode:pss`.
const RSA: &str = include_str!("rsa.json");

#[test]
fn what_openssl_has_signed_is_believed() {
    let sample: Value = serde_json::from_str(RSA).unwrap();
    let known = keys(&[sample["key"].clone()]);
    let [rs, ps] = ["RS256", "PS256"].map(|name| sample["tokens"][name].as_str().unwrap());
    for token in [rs, ps] {
        assert_eq!(read(token, &known, &expected()).map(|found| found.subject).as_deref(), Ok("42"), "{token}");
    }
    let (said, signature) = (rs.rsplit_once('.').unwrap().0, ps.rsplit_once('.').unwrap().1);
    assert_eq!(read(&format!("{said}.{signature}"), &known, &expected()), Err(Bad::Signature));
}

#[test]
fn a_key_is_for_what_it_says() {
    let key = Key::new("one");
    let token = key.signs(&claims());
    for (name, value) in [("use", "enc"), ("alg", "RS256"), ("crv", "P-256")] {
        let mut public = key.public();
        public[name] = json!(value);
        let known: Vec<Jwk> = serde_json::from_value(public).into_iter().collect();
        assert_eq!(read(&token, &known, &expected()), Err(Bad::Key), "{name}");
    }
    let secret = json!({ "kty": "oct", "kid": "one", "k": "c2VjcmV0" });
    assert_eq!(read(&token, &keys(&[secret]), &expected()), Err(Bad::Key));
}

#[test]
fn an_address_counts_only_as_far_as_the_provider_has_verified_it() {
    let key = Key::new("one");
    let all = keys(&[key.public()]);
    let found = |verified: Value| {
        let mut claims = with("email", json!("a@b.example"));
        claims["email_verified"] = verified;
        read(&key.signs(&claims), &all, &expected()).unwrap().email
    };
    assert_eq!(found(json!(true)).as_deref(), Some("a@b.example"));
    for not in [json!(false), json!("true"), json!(1), Value::Null] {
        assert_eq!(found(not.clone()), None, "{not}");
    }
}
