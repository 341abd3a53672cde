//! Who is logged in on the page. Sessions are kept in memory only: they end with the agent.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Reviewer;
use crate::request::hexadecimal;

/// How long a session lasts, whatever is done in it.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(8);
/// Sessions of one reviewer; a further one ends the oldest.
const OF_ONE: usize = 8;
/// Sessions of all.
const MOST: usize = 256;

/// A reviewer who has come by a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub reviewer: Reviewer,
    /// Stands in each form of the session: another site does not know it.
    pub token: String,
    until: Timestamp,
    /// Whether the policy has taken it back. It is kept, for who comes with it to be told.
    over: bool,
}

/// All sessions.
#[derive(Default)]
pub struct Sessions {
    /// By the digest of the cookie: how long a look-up takes says nothing of a cookie.
    open: HashMap<[u8; 32], Session>,
}

impl Session {
    /// Whether the form is of this session. Takes the same time whatever differs.
    pub fn wrote(&self, token: &str) -> bool {
        self.token.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

impl Sessions {
    /// Begins one; what its cookie says. None if too many others are logged in.
    pub fn begin(&mut self, now: Timestamp, reviewer: Reviewer) -> Option<String> {
        self.open.retain(|_, session| now < session.until);
        let own = self.open.iter().filter(|(_, session)| session.reviewer.user == reviewer.user);
        let (count, oldest) = (own.clone().count(), own.min_by_key(|(_, session)| session.until));
        if let Some(oldest) = oldest.map(|(key, _)| *key).filter(|_| count >= OF_ONE) {
            self.open.remove(&oldest);
        }
        if self.open.len() >= MOST {
            return None;
        }
        let [cookie, token] = rand::random::<[[u8; 32]; 2]>().map(|random| hexadecimal(&random));
        let until = now.saturating_add(LIFETIME).unwrap_or(now);
        self.open.insert(key(&cookie), Session { reviewer, token, until, over: false });
        Some(cookie)
    }

    /// The session of this cookie.
    pub fn get(&self, now: Timestamp, cookie: &str) -> Option<&Session> {
        self.open.get(&key(cookie)).filter(|session| now < session.until && !session.over)
    }

    /// Ends the sessions of others than these, for good.
    pub fn keep(&mut self, these: impl Fn(&Reviewer) -> bool) {
        self.open.values_mut().for_each(|session| session.over |= !these(&session.reviewer));
    }

    /// Whether the policy has ended the session of this cookie.
    pub fn is_over(&self, cookie: &str) -> bool {
        self.open.get(&key(cookie)).is_some_and(|session| session.over)
    }

    /// Ends it.
    pub fn end(&mut self, cookie: &str) {
        self.open.remove(&key(cookie));
    }
}

fn key(cookie: &str) -> [u8; 32] {
    Sha256::digest(cookie).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::sample::start;

    fn reviewer(user: &str) -> Reviewer {
        Reviewer { user: user.into(), entrance: None }
    }

    #[test]
    fn a_cookie_is_256_bits_and_its_session_ends_after_hours() {
        let mut sessions = Sessions::default();
        let cookie = sessions.begin(start(), reviewer("alice")).unwrap();
        assert_eq!(cookie.len(), 64);
        let session = sessions.get(start(), &cookie).unwrap();
        assert_eq!((session.reviewer.user.as_str(), session.token.len()), ("alice", 64));
        assert_ne!(session.token, cookie);
        assert!(sessions.get(start() + LIFETIME, &cookie).is_none());
        assert!(sessions.get(start(), "").is_none() && sessions.get(start(), &"0".repeat(64)).is_none());
    }

    #[test]
    fn a_token_is_of_one_session() {
        let mut sessions = Sessions::default();
        let cookies = ["alice", "alice"].map(|user| sessions.begin(start(), reviewer(user)).unwrap());
        let [one, other] = cookies.each_ref().map(|cookie| sessions.get(start(), cookie).unwrap());
        assert!(one.wrote(&one.token) && !one.wrote(&other.token) && !one.wrote(""));
    }

    #[test]
    fn who_logs_out_is_out_and_nobody_else() {
        let mut sessions = Sessions::default();
        let cookies = ["alice", "bob"].map(|user| sessions.begin(start(), reviewer(user)).unwrap());
        sessions.end(&cookies[0]);
        let open = cookies.map(|cookie| sessions.get(start(), &cookie).is_some());
        assert_eq!(open, [false, true]);
    }

    #[test]
    fn what_the_policy_has_ended_does_not_begin_again() {
        let mut sessions = Sessions::default();
        let cookies = ["alice", "bob"].map(|user| sessions.begin(start(), reviewer(user)).unwrap());
        sessions.keep(|reviewer| reviewer.user == "bob");
        sessions.keep(|_| true);
        let open = cookies.each_ref().map(|cookie| sessions.get(start(), cookie).is_some());
        let over = cookies.each_ref().map(|cookie| sessions.is_over(cookie));
        assert_eq!((open, over), ([false, true], [true, false]));
    }

    #[test]
    fn sessions_are_bounded() {
        let mut sessions = Sessions::default();
        let first = sessions.begin(start(), reviewer("alice")).unwrap();
        let later = start() + SignedDuration::from_secs(1);
        let others: Vec<_> = (0..OF_ONE).map(|_| sessions.begin(later, reviewer("alice")).unwrap()).collect();
        assert!(sessions.get(later, &first).is_none());
        assert!(others.iter().all(|cookie| sessions.get(later, cookie).is_some()));
        let many = (0..1000).filter_map(|index| sessions.begin(later, reviewer(&format!("u{index}"))));
        assert_eq!(many.count(), MOST - OF_ONE);
        assert!(sessions.begin(later, reviewer("alice")).is_some());
    }
}
