//! Logins that have begun: what was sent to the provider, and by which browser. Each ends once, or in a few minutes.

use std::collections::VecDeque;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::request::HoldId;

/// How long who logs in may take at the provider.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// At a time; a further one ends the oldest. Whoever finds the page can begin one.
const MOST: usize = 256;

/// A login.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Comes back with the answer.
    pub state: String,
    /// Is in the token.
    pub nonce: String,
    /// Whoever has the code needs it, too: RFC 7636.
    pub verifier: String,
    /// What the browser keeps meanwhile.
    pub cookie: String,
    /// Where it leads, unless to the list.
    pub hold: Option<HoldId>,
    until: Timestamp,
}

/// All of them, oldest first.
#[derive(Default)]
pub struct Attempts(VecDeque<Attempt>);

impl Attempt {
    /// What the provider gets of the verifier.
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(&self.verifier))
    }
}

impl Attempts {
    /// A new one.
    pub fn begin(&mut self, now: Timestamp, hold: Option<HoldId>) -> Attempt {
        self.0.retain(|attempt| now < attempt.until);
        if self.0.len() >= MOST {
            self.0.pop_front();
        }
        let [state, nonce, verifier, cookie] =
            rand::random::<[[u8; 32]; 4]>().map(|random| URL_SAFE_NO_PAD.encode(random));
        let until = now.saturating_add(LIFETIME).unwrap_or(now);
        let attempt = Attempt { state, nonce, verifier, cookie, hold, until };
        self.0.push_back(attempt.clone());
        attempt
    }

    /// Ends the one of this state, if it is of the browser with this cookie.
    pub fn end(&mut self, now: Timestamp, state: &str, cookie: &str) -> Option<Attempt> {
        let same = |one: &str, other: &str| bool::from(one.as_bytes().ct_eq(other.as_bytes()));
        let at = self.0.iter().position(|attempt| same(&attempt.state, state))?;
        let attempt = self.0.remove(at)?;
        (now < attempt.until && same(&attempt.cookie, cookie)).then_some(attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::sample::start;

    #[test]
    fn a_login_ends_once_in_the_browser_that_began_it_and_in_time() {
        let mut attempts = Attempts::default();
        let begin = |attempts: &mut Attempts| attempts.begin(start(), Some(HoldId(7)));
        let one = begin(&mut attempts);
        assert!([&one.state, &one.nonce, &one.verifier, &one.cookie].iter().all(|text| text.len() == 43));
        assert_eq!(attempts.end(start(), &one.state, &one.cookie).unwrap().hold, Some(HoldId(7)));
        assert!(attempts.end(start(), &one.state, &one.cookie).is_none(), "replayed");
        let (other, foreign) = (begin(&mut attempts), begin(&mut attempts));
        assert!(attempts.end(start(), &other.state, &foreign.cookie).is_none(), "another browser's");
        assert!(attempts.end(start(), &other.state, &other.cookie).is_none(), "and it is over by that");
        assert!(attempts.end(start(), "", "").is_none());
        assert!(attempts.end(start() + LIFETIME, &foreign.state, &foreign.cookie).is_none(), "too late");
    }

    #[test]
    fn logins_are_bounded() {
        let mut attempts = Attempts::default();
        let all: Vec<_> = (0..=MOST).map(|_| attempts.begin(start(), None)).collect();
        assert!(attempts.end(start(), &all[0].state, &all[0].cookie).is_none());
        assert!(attempts.end(start(), &all[1].state, &all[1].cookie).is_some());
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned();
        let attempt = Attempt { verifier, ..Attempts::default().begin(start(), None) };
        assert_eq!(attempt.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
