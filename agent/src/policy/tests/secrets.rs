//! Secrets in a policy are seen, and what is none is left alone.

use super::*;
use crate::policy::secrets;

#[test]
fn what_looks_like_a_secret_is_found_where_it_stands() {
    for (line, column, what) in [
        ("# -----BEGIN OPENSSH PRIVATE KEY-----", 3, "a private key or certificate"),
        ("why = \"use ghp_abcdefghijklmnopqrstuvwxyz0123456789\"", 12, "a token of GitHub"),
        ("# xoxb-1234567890-abcdefghij", 3, "a token of Slack"),
        ("# AKIAIOSFODNN7EXAMPLE", 3, "an access key of AWS"),
        ("# password = dGhpcyBpcyBhIHNlY3JldCBvZiAzMg==", 14, "a secret"),
    ] {
        let source = source(&format!("{HEAD}{line}\n"));
        let found = secrets::found(&source);
        let [problem] = found.as_slice() else { panic!("{line}: {found:?}") };
        assert_eq!(source.position(problem.span.start).to_string(), format!("web-1.toml:5:{column}"));
        assert_eq!(problem.message, format!("this looks like {what}"));
    }
}

#[test]
fn the_shipped_policies_have_none() {
    for name in ["default.toml", "demo.toml"] {
        let file = format!("{}/../policies/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).expect("a policy");
        assert!(secrets::found(&source(&text)).is_empty(), "{name}");
    }
}
