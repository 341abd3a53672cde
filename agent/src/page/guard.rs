//! What keeps other sites away from the page: headers of every response, the cookie, and where a form comes from.

use std::sync::LazyLock;

use axum::{
    http::{
        HeaderMap, HeaderName, HeaderValue,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::SignedDuration;
use reqwest::Url;
use sha2::{Digest as _, Sha256};

use super::{sessions, sso, view};

/// The script and the style are in the page, and nothing else is executed or applied.
static CONTENT: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
        hash(view::SCRIPT),
        hash(view::STYLE),
    );
    HeaderValue::try_from(policy).expect("printable ASCII")
});

/// Names of cookies: of a session, and of a login that has begun.
const SESSION: &str = "holdpoint";
const ATTEMPT: &str = "holdpoint-sso";

/// Puts the headers on that every response has.
pub async fn shielded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, CONTENT.clone());
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        // Not `no-referrer`: with that a form says that it comes from nowhere.
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Where browsers say that the page is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Scheme, host and port.
    origin: String,
    /// Whether others on the way can neither read nor change it.
    secure: bool,
}

impl Place {
    /// Of the configured URL.
    pub fn of(url: &str) -> Self {
        let url = Url::parse(url).ok();
        let origin = url.as_ref().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        Self { origin, secure: url.is_some_and(|url| url.scheme() == "https") }
    }

    /// Whether a form with these headers was on the page itself. Every browser says so with a POST.
    pub fn sent(&self, headers: &HeaderMap) -> bool {
        let site = text(headers, "sec-fetch-site");
        text(headers, "origin") == Some(&self.origin) && site.is_none_or(|site| site == "same-origin")
    }

    /// The session's cookie in this request; empty if there is none.
    pub fn cookie<'a>(&self, headers: &'a HeaderMap) -> &'a str {
        self.found(headers, SESSION)
    }

    /// Has the browser keep `cookie` as long as its session lasts; none has it forget the one that it has.
    pub fn set_cookie(&self, cookie: Option<&str>) -> String {
        self.set(SESSION, cookie, sessions::LIFETIME, "Strict")
    }

    /// The cookie of the login that the browser has begun, likewise.
    pub fn attempt<'a>(&self, headers: &'a HeaderMap) -> &'a str {
        self.found(headers, ATTEMPT)
    }

    /// Likewise. It comes along when the provider's page leads back here.
    pub fn set_attempt(&self, cookie: Option<&str>) -> String {
        self.set(ATTEMPT, cookie, sso::LIFETIME, "Lax")
    }

    fn found<'a>(&self, headers: &'a HeaderMap, name: &str) -> &'a str {
        let wanted = format!("{}{name}", self.cookie_prefix());
        let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
    }

    fn set(&self, name: &str, cookie: Option<&str>, lifetime: SignedDuration, site: &str) -> String {
        let age = if cookie.is_some() { lifetime.as_secs() } else { 0 };
        let (prefix, secure) = (self.cookie_prefix(), if self.secure { "; Secure" } else { "" });
        let cookie = cookie.unwrap_or_default();
        format!("{prefix}{name}={cookie}; Path=/; Max-Age={age}; HttpOnly; SameSite={site}{secure}")
    }

    /// With TLS the browser itself keeps other hosts from setting cookies that begin so.
    fn cookie_prefix(&self) -> &'static str {
        if self.secure { "__Host-" } else { "" }
    }
}

/// Whether another site has brought the browser here: it sends no cookie then, though it may have one.
pub fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    text(headers, "sec-fetch-site").is_some_and(|site| matches!(site, "cross-site" | "same-site"))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_form_is_from_the_page_itself() {
        let place = Place::of("https://hp.example/a");
        let (origin, site) = (("origin", "https://hp.example"), "sec-fetch-site");
        assert!(place.sent(&headers(&[origin])) && place.sent(&headers(&[origin, (site, "same-origin")])));
        for bad in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://hp.example")],
            &[("origin", "https://hp.example:8443")],
            &[("origin", "https://hp.example.evil.example")],
            &[(site, "same-origin")],
            &[origin, (site, "cross-site")],
            &[origin, (site, "same-site")],
            &[origin, (site, "none")],
        ] {
            assert!(!place.sent(&headers(bad)), "{bad:?}");
        }
    }

    #[test]
    fn the_cookie_is_for_this_page_alone() {
        let place = Place::of("https://hp.example");
        let set = place.set_cookie(Some("x"));
        assert_eq!(set, "__Host-holdpoint=x; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict; Secure");
        let plain = Place::of("http://127.0.0.1:8701");
        assert_eq!(plain.set_cookie(None), "holdpoint=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict");
        assert_eq!(place.cookie(&headers(&[("cookie", "a=b; __Host-holdpoint=x; holdpoint=y")])), "x");
        assert_eq!(plain.cookie(&headers(&[("cookie", "a=b;holdpoint=y")])), "y");
        assert_eq!(plain.cookie(&headers(&[("cookie", "a=b")])), "");
        let both = headers(&[("cookie", "holdpoint-sso=z; holdpoint=y")]);
        assert_eq!((plain.cookie(&both), plain.attempt(&both), place.attempt(&both)), ("y", "z", ""));
        let set = place.set_attempt(Some("x"));
        assert_eq!(set, "__Host-holdpoint-sso=x; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure");
    }
}
