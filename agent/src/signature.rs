//! Decisions that a reviewer has signed with an SSH key, as `ssh-keygen -Y sign` does it. Pure: what is signed, and whose
//! signature of it something is. The format is OpenSSH's PROTOCOL.sshsig.

use ssh_key::{HashAlg, LineEnding, PublicKey, SshSig};

use crate::{
    policy::Person,
    request::{Digest, HoldId, Word, shown},
    scope::Scope,
};

/// What such signatures are for: one that was made for anything else is no decision.
pub const NAMESPACE: &str = "decision@holdpoint";

/// Longest signature that is read, in bytes. Those of the keys that a policy takes have less than 500.
pub const LIMIT: usize = 4096;

/// What is signed, byte for byte: one decision on one hold, of exactly what is held, and how far it reaches if that is further.
pub fn statement(hold: HoldId, digest: &Digest, word: Word, scope: Scope) -> String {
    let word = match word {
        Word::Approve => "approve",
        Word::Deny => "deny",
        Word::Kill => "kill",
        Word::Fail => "fail",
    };
    let scope = if scope.is_once() { String::new() } else { format!("scope {scope}\n") };
    format!("holdpoint {word}\nhold {hold}\ndigest {}\n{scope}", digest.0)
}

/// Whose signature it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The person's name.
    pub who: String,
    /// The key's fingerprint: `SHA256:...`.
    pub key: String,
    /// The signature with nothing around it, so that `ssh-keygen -Y verify` takes it, too.
    pub signature: String,
}

/// Why something is no signature of a statement by one of some people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// It cannot be read as one.
    #[error("this is not a signature of SSH")]
    Unreadable,
    /// It was made for something else than decisions.
    #[error("the signature is for \"{0}\", not for \"{NAMESPACE}\"")]
    OtherNamespace(String),
    /// It is by this key, which nobody has.
    #[error("no reviewer in the policy has the key {0}")]
    UnknownKey(String),
    /// The key's owner has signed something else, or something was changed.
    #[error("the signature is not of this decision on this hold")]
    OtherStatement,
}

/// Whose signature of `statement` the text `armored` is.
pub fn verify(people: &[Person], statement: &str, armored: &str) -> Result<Signed, BadSignature> {
    let signature = read(armored)?;
    if signature.namespace() != NAMESPACE {
        return Err(BadSignature::OtherNamespace(shown(signature.namespace())));
    }
    let key = PublicKey::from(signature.public_key().clone());
    let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
    let owner = people.iter().find(|person| person.keys.contains(&key));
    let owner = owner.ok_or_else(|| BadSignature::UnknownKey(fingerprint.clone()))?;
    key.verify(NAMESPACE, statement.as_bytes(), &signature).map_err(|_| BadSignature::OtherStatement)?;
    let signature = signature.to_pem(LineEnding::LF).map_err(|_| BadSignature::Unreadable)?;
    Ok(Signed { who: owner.name.clone(), key: fingerprint, signature })
}

/// Of the one version that there is, and without anything reserved, which `ssh-keygen` does not verify.
fn read(armored: &str) -> Result<SshSig, BadSignature> {
    let signature = (armored.len() <= LIMIT).then(|| SshSig::from_pem(armored.trim_end()).ok()).flatten();
    let is_known = |read: &SshSig| read.version() == SshSig::VERSION && read.reserved().is_empty();
    signature.filter(is_known).ok_or(BadSignature::Unreadable)
}

#[cfg(test)]
pub mod tests;
