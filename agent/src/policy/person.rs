//! Reviewers as people with keys, by which their answers can be told from others'.

use ssh_key::{Algorithm, EcdsaCurve, PublicKey};

use super::problem::Flaw;

/// A reviewer, and the keys that are this person's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name, as groups have it.
    pub name: String,
    /// Public keys, without the comments.
    pub keys: Vec<PublicKey>,
}

/// The key that `text` spells, as a line of `authorized_keys` does.
pub fn key(text: &str) -> Result<PublicKey, Flaw> {
    let key = PublicKey::from_openssh(text).map_err(|_| {
        let remedy = "write what a file such as ~/.ssh/id_ed25519.pub has: \"ssh-ed25519 AAAA...\"";
        Flaw::new("this is not a public key of SSH", remedy)
    })?;
    match key.algorithm() {
        // Without its comment: a key is the same one under any.
        Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => Ok(key.key_data().clone().into()),
        other => Err(Flaw::new(
            format!("keys of the kind {:?} are not taken", other.as_str()),
            "one of: ssh-ed25519, ecdsa-sha2-nistp256; `ssh-keygen -t ed25519` makes one",
        )),
    }
}
