//! An answer as a reviewer's side writes it: in a callback, or on a program's standard output.

use serde::Deserialize;

use crate::{
    request::{Answer, Digest, HoldId, Proof, Word},
    scope::Scope,
};

/// Longest name of a reviewer, in characters.
const WHO: usize = 256;
/// Longest explanation, in characters.
pub const WHY: usize = 4096;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    hold: HoldId,
    digest: Digest,
    decision: Word,
    #[serde(default)]
    scope: Scope,
    who: String,
    why: Option<String>,
}

/// The answer to `hold` in `body`, or what is wrong with it.
pub(super) fn read(hold: HoldId, body: &[u8], proof: Proof) -> Result<Answer, &'static str> {
    let said: Said = serde_json::from_slice(body).map_err(|_| "malformed: not an answer")?;
    if said.hold != hold {
        return Err("malformed: another hold than is asked about");
    }
    let long = said.who.chars().count() > WHO || said.why.as_ref().is_some_and(|why| why.chars().count() > WHY);
    if said.who.is_empty() || long {
        return Err("malformed: \"who\" or \"why\" has the wrong length");
    }
    let Said { digest, decision: word, scope, who, why, .. } = said;
    Ok(Answer { hold, digest, word, scope, who, why, proof, known: Box::default() })
}
