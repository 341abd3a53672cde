//! Several holds in one question.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Digest, Hold, HoldId, hexadecimal};

/// One of several holds that ask for the same, in the question that lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Same {
    /// The hold.
    pub hold: HoldId,
    /// The digest of it alone.
    pub digest: Digest,
    /// Which process asks.
    pub pid: u32,
    /// The image that it runs, empty if it could not be read: programs that differ can ask for the same.
    pub exe: String,
    /// As of [`Hold::carried`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub carried: Vec<String>,
    /// When silence denies it: that may be sooner than what the question is about.
    pub deadline: Timestamp,
}

impl From<&Hold> for Same {
    fn from(hold: &Hold) -> Self {
        let exe = hold.context.ancestry.first().map(|process| process.exe.clone()).unwrap_or_default();
        let (pid, carried) = (hold.request.pid, hold.carried.clone());
        Self { hold: hold.id, digest: hold.alone(), pid, exe, carried, deadline: hold.deadline }
    }
}

impl Hold {
    /// All that its question is about: itself, and the others. Nothing if it is about one call.
    pub fn listed(&self) -> Vec<Same> {
        let own = (!self.same.is_empty()).then(|| Same::from(self));
        own.into_iter().chain(self.same.iter().cloned()).collect()
    }
}

impl Digest {
    /// That of a question about all of these: SHA-256 over a line for each, its id and its own digest, as `sha256sum` has it.
    /// Who approves that approves each of them, and nothing else.
    pub fn of_all<'a>(listed: impl IntoIterator<Item = &'a Same>) -> Self {
        let lines = listed.into_iter().map(|Same { hold, digest, .. }| format!("{hold} {}\n", digest.0));
        Self(hexadecimal(&Sha256::digest(lines.collect::<String>())))
    }
}
