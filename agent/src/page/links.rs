//! Links by which reviewers come to the page: signed with a key that this agent alone has, each good once, for a few
//! minutes, for one reviewer. They end with the agent.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use super::Reviewer;
use crate::request::hexadecimal;

/// How long a link is good.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// Links of one reviewer that have not been used; a further one ends the oldest.
const OF_ONE: usize = 8;
/// Links that have not been used.
const MOST: usize = 256;

/// All links that have not been used.
pub struct Links {
    key: [u8; 32],
    lifetime: SignedDuration,
    /// Oldest first.
    open: Vec<Open>,
}

struct Open {
    number: String,
    reviewer: Reviewer,
    until: Timestamp,
}

/// What a link says. Who has written it is another matter: see [`Links::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// For whom.
    pub user: String,
    until: i64,
    number: String,
    signature: String,
}

/// Why a link leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// This agent has not made it, or not so.
    Foreign,
    /// Its time is over.
    Expired,
    /// It was used, or there were too many after it.
    Used,
}

impl Flaw {
    /// For the record.
    pub fn words(self) -> &'static str {
        match self {
            Self::Foreign => "a link to the page that this agent has not made",
            Self::Expired => "an expired link to the page",
            Self::Used => "a link to the page that was used before",
        }
    }
}

impl Link {
    /// What stands in a query or a form.
    pub fn read(fields: &[u8]) -> Self {
        let mut link = Self::default();
        for (key, value) in form_urlencoded::parse(fields) {
            match &*key {
                "for" => link.user = value.into_owned(),
                "until" => link.until = value.parse().unwrap_or_default(),
                "number" => link.number = value.into_owned(),
                "signature" => link.signature = value.into_owned(),
                _ => {}
            }
        }
        link
    }

    /// The same, as keys and values.
    pub fn fields(&self) -> [(&'static str, String); 4] {
        let Self { user, until, number, signature } = self.clone();
        [("for", user), ("until", until.to_string()), ("number", number), ("signature", signature)]
    }

    /// The same, as a query.
    pub fn query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(self.fields()).finish()
    }

    fn mac(&self, key: &[u8]) -> Hmac<Sha256> {
        let said = serde_json::json!([self.user, self.until, self.number]).to_string();
        Hmac::<Sha256>::new_from_slice(key).expect("a key of any length").chain_update(said)
    }
}

impl Links {
    /// None yet, each to be good for `lifetime`.
    pub fn new(lifetime: SignedDuration) -> Self {
        Self { key: rand::random(), lifetime, open: vec![] }
    }

    /// A new link for `reviewer`; none if too many of others have not been used.
    pub fn issue(&mut self, now: Timestamp, reviewer: Reviewer) -> Option<Link> {
        self.open.retain(|open| now < open.until);
        let own = |open: &Open| open.reviewer.user == reviewer.user;
        if self.open.iter().filter(|open| own(open)).count() >= OF_ONE
            && let Some(oldest) = self.open.iter().position(own)
        {
            self.open.remove(oldest);
        }
        if self.open.len() >= MOST {
            return None;
        }
        let until = now.saturating_add(self.lifetime).unwrap_or(now);
        let number = hexadecimal(&rand::random::<[u8; 32]>());
        let mut link = Link { user: reviewer.user.clone(), until: until.as_second(), number, ..Link::default() };
        link.signature = hexadecimal(&link.mac(&self.key).finalize().into_bytes());
        self.open.push(Open { number: link.number.clone(), reviewer, until });
        Some(link)
    }

    /// Ends the links of others than these.
    pub fn keep(&mut self, these: impl Fn(&Reviewer) -> bool) {
        self.open.retain(|open| these(&open.reviewer));
    }

    /// Whether `link` can be used. Looking does not use it.
    ///
    /// # Errors
    /// It cannot. What a foreign one says is not looked at.
    pub fn check(&self, now: Timestamp, link: &Link) -> Result<(), Flaw> {
        self.find(now, link).map(|_| ())
    }

    /// Uses `link`: for whom it was.
    ///
    /// # Errors
    /// It cannot be used, any more.
    pub fn redeem(&mut self, now: Timestamp, link: &Link) -> Result<Reviewer, Flaw> {
        let at = self.find(now, link)?;
        Ok(self.open.remove(at).reviewer)
    }

    fn find(&self, now: Timestamp, link: &Link) -> Result<usize, Flaw> {
        let signature = bytes(&link.signature).ok_or(Flaw::Foreign)?;
        link.mac(&self.key).verify_slice(&signature).map_err(|_| Flaw::Foreign)?;
        if now.as_second() >= link.until {
            return Err(Flaw::Expired);
        }
        self.open.iter().position(|open| open.number == link.number).ok_or(Flaw::Used)
    }
}

/// What hexadecimal digits stand for.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.as_bytes().chunks(2).map(pair).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::sample::start;

    fn reviewer(user: &str) -> Reviewer {
        Reviewer { user: user.into(), entrance: None }
    }

    fn links() -> Links {
        Links::new(LIFETIME)
    }

    #[test]
    fn a_link_is_good_once_and_looking_does_not_use_it() {
        let mut links = links();
        let link = links.issue(start(), reviewer("alice & co")).unwrap();
        let read = Link::read(link.query().as_bytes());
        assert_eq!(read, link);
        assert_eq!((links.check(start(), &read), links.check(start(), &read)), (Ok(()), Ok(())));
        assert_eq!(links.redeem(start(), &read), Ok(reviewer("alice & co")));
        assert_eq!(links.redeem(start(), &read), Err(Flaw::Used));
        assert_eq!(links.check(start(), &read), Err(Flaw::Used));
    }

    #[test]
    fn a_link_expires() {
        let mut links = links();
        let link = links.issue(start(), reviewer("alice")).unwrap();
        assert_eq!(links.check(start() + SignedDuration::from_secs(599), &link), Ok(()));
        assert_eq!(links.redeem(start() + LIFETIME, &link), Err(Flaw::Expired));
    }

    #[test]
    fn a_link_of_another_agent_or_changed_is_foreign() {
        let mut links = links();
        let link = links.issue(start(), reviewer("alice")).unwrap();
        let foreign = self::links().issue(start(), reviewer("alice")).unwrap();
        let changed = [
            foreign,
            Link { user: "bob".into(), ..link.clone() },
            Link { until: link.until + 1, ..link.clone() },
            Link { number: "00".repeat(32), ..link.clone() },
            Link { signature: String::new(), ..link.clone() },
            Link { signature: "+f".repeat(32), ..link.clone() },
            Link { signature: "é".repeat(32), ..link.clone() },
            Link { signature: link.signature.clone() + "00", ..link.clone() },
            Link::default(),
        ];
        for link in changed {
            assert_eq!(links.redeem(start(), &link), Err(Flaw::Foreign), "{link:?}");
        }
        assert_eq!(links.redeem(start(), &link), Ok(reviewer("alice")));
    }

    #[test]
    fn links_that_nobody_uses_are_bounded() {
        let mut links = links();
        let first = links.issue(start(), reviewer("alice")).unwrap();
        let others: Vec<_> = (0..OF_ONE).map(|_| links.issue(start(), reviewer("alice")).unwrap()).collect();
        assert_eq!(links.check(start(), &first), Err(Flaw::Used));
        assert!(others.iter().all(|link| links.check(start(), link).is_ok()));
        let many = (0..1000).filter_map(|index| links.issue(start(), reviewer(&format!("u{index}"))));
        assert_eq!(many.count(), MOST - OF_ONE);
        assert!(links.issue(start(), reviewer("alice")).is_some(), "who has some gets others in their place");
        assert!(links.issue(start() + LIFETIME, reviewer("late")).is_some());
    }
}
