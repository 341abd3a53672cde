//! Reviewers as people: by which identities each is known, whatever the way an answer comes.

use std::collections::BTreeMap;

use ssh_key::{Algorithm, EcdsaCurve, PublicKey};

use super::problem::Flaw;
use crate::quorum::Assurance;

/// A reviewer, and all that is this person. No two people share an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// The name, as groups have it.
    pub name: String,
    /// Names of users of this host.
    pub users: Vec<String>,
    /// Users of Slack: `TEAM/USER`.
    pub slack: Vec<String>,
    /// Subjects of login providers: [`sso`].
    pub sso: Vec<String>,
    /// How integrations can name the person besides `name`, and login providers where the configuration says so: [`email`].
    pub emails: Vec<String>,
    /// Channels whose word counts for the person, and how sure that is.
    pub integrations: BTreeMap<String, Assurance>,
    /// Public keys, without the comments.
    pub keys: Vec<PublicKey>,
}

impl Person {
    /// Whether an integration that says `claimed` means this person.
    pub fn is_called(&self, claimed: &str) -> bool {
        self.name == claimed || self.has_email(claimed)
    }

    /// Whether that is an address of this person.
    pub fn has_email(&self, claimed: &str) -> bool {
        email(claimed).is_ok_and(|email| self.emails.contains(&email))
    }

    /// Whether this person is that `subject` to the login provider.
    pub fn logs_in(&self, issuer: &str, subject: &str) -> bool {
        self.sso.iter().any(|known| known.split_once(' ') == Some((issuer, subject)))
    }
}

/// The name of a user of this host that `text` spells. A number would be somebody else's on another host.
pub fn user(text: &str) -> Result<String, Flaw> {
    let good = |c: char| c.is_ascii_alphanumeric() || r"-_.@$\".contains(c);
    match text.chars().all(good) && text.parse::<u32>().is_err() {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(format!("{text:?} is not a user's name"), "write what `id -un` prints for this user")),
    }
}

/// The user of Slack that `text` spells.
pub fn slack(text: &str) -> Result<String, Flaw> {
    match text.split_once('/').is_some_and(|(team, user)| is_slack_id(team) && is_slack_id(user)) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("{text:?} is not a team's and a user's id"),
            "write both as Slack has them: \"T0123ABCD/U0123ABCD\"",
        )),
    }
}

/// The subject of a login provider that `text` spells: `ISSUER SUBJECT`, both as they are in ID tokens.
pub fn sso(text: &str) -> Result<String, Flaw> {
    let good = |(issuer, subject): (&str, &str)| {
        let is_url = issuer.starts_with("https://") || issuer.starts_with("http://");
        is_url && !subject.is_empty() && subject.trim() == subject && !text.contains(char::is_control)
    };
    match text.split_once(' ').is_some_and(good) {
        true => Ok(text.to_owned()),
        false => Err(Flaw::new(
            format!("{text:?} is not an issuer and a subject"),
            "write both as the provider's ID tokens have them: \"https://login.example 248289761001\"",
        )),
    }
}

/// Whether it looks like an id of Slack's.
pub fn is_slack_id(text: &str) -> bool {
    (2..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// The address that `text` spells. What stands before the @ is compared as it is: whether case matters there is for the
/// receiving side to say (RFC 5321, 2.4). The domain's ASCII letters are made small.
pub fn email(text: &str) -> Result<String, Flaw> {
    match text.rsplit_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() && !text.contains(char::is_whitespace) => {
            Ok(format!("{local}@{}", domain.to_ascii_lowercase()))
        }
        _ => Err(Flaw::new(
            format!("{text:?} is not an e-mail address"),
            "write it as the integration gives it: a@b.example",
        )),
    }
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
