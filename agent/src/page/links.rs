//! Links by which reviewers come to the page: signed with a key that this agent alone has, each good once, for one reviewer;
//! for a few minutes, or, in the message about a hold, until that is over. They end with the agent.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use super::Reviewer;
use crate::request::{HoldId, hexadecimal};

/// How long a link is good.
pub const LIFETIME: SignedDuration = SignedDuration::from_mins(10);
/// Links of one reviewer that have not been used; a further one ends the oldest.
const OF_ONE: usize = 8;
/// Links that have not been used.
const MOST: usize = 256;
/// Links in messages that have not been used, beside these; a further one ends the oldest. There is one for each message, and
/// the holds are bounded.
const IN_MESSAGES: usize = 4096;

/// All links that have not been used.
pub struct Links {
    key: [u8; 32],
    lifetime: SignedDuration,
    /// Oldest first.
    open: Vec<Open>,
}

/// A link that has not been used: in a message, if it leads to a hold.
struct Open {
    link: Link,
    reviewer: Reviewer,
}

/// What a link says. Who has written it is another matter: see [`Links::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// For whom.
    pub user: String,
    /// What it leads to, unless that is the list.
    pub hold: Option<HoldId>,
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
    /// It was used, there were too many after it, or what it leads to is over.
    Gone,
}

impl Flaw {
    /// For the record.
    pub fn words(self) -> &'static str {
        match self {
            Self::Foreign => "a link to the page that this agent has not made",
            Self::Expired => "an expired link to the page",
            Self::Gone => "a link to the page that is not good any more",
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
                "hold" => link.hold = value.parse().ok(),
                "until" => link.until = value.parse().unwrap_or_default(),
                "number" => link.number = value.into_owned(),
                "signature" => link.signature = value.into_owned(),
                _ => {}
            }
        }
        link
    }

    /// The same, as keys and values.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let Self { user, hold, until, number, signature } = self.clone();
        let hold = hold.map(|hold| ("hold", hold.to_string()));
        let others = [("until", until.to_string()), ("number", number), ("signature", signature)];
        [("for", user)].into_iter().chain(hold).chain(others)
    }

    /// The same, as a query.
    pub fn query(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(self.fields()).finish()
    }

    fn mac(&self, key: &[u8]) -> Hmac<Sha256> {
        let said = serde_json::json!([self.user, self.hold, self.until, self.number]).to_string();
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
        self.open.retain(|open| now.as_second() < open.link.until);
        let is_own = |open: &Open| open.link.hold.is_none() && open.reviewer.user == reviewer.user;
        if self.open.iter().filter(|open| is_own(open)).count() >= OF_ONE
            && let Some(oldest) = self.open.iter().position(is_own)
        {
            self.open.remove(oldest);
        }
        if self.open.iter().filter(|open| open.link.hold.is_none()).count() >= MOST {
            return None;
        }
        let until = now.saturating_add(self.lifetime).unwrap_or(now);
        Some(self.add(reviewer, None, until))
    }

    /// The link for `reviewer` in a message about `hold`, good until then. The one of before, if nobody has used it: so often
    /// as it is said, there is one.
    pub fn invite(&mut self, reviewer: Reviewer, hold: HoldId, until: Timestamp) -> Link {
        let same = |open: &&Open| open.link.hold == Some(hold) && open.reviewer == reviewer;
        if let Some(open) = self.open.iter().find(same) {
            return open.link.clone();
        }
        let in_message = |open: &Open| open.link.hold.is_some();
        if self.open.iter().filter(|open| in_message(open)).count() >= IN_MESSAGES
            && let Some(oldest) = self.open.iter().position(in_message)
        {
            self.open.remove(oldest);
        }
        self.add(reviewer, Some(hold), until)
    }

    fn add(&mut self, reviewer: Reviewer, hold: Option<HoldId>, until: Timestamp) -> Link {
        let link = self.signed(&reviewer, hold, until);
        self.open.push(Open { link: link.clone(), reviewer });
        link
    }

    fn signed(&self, reviewer: &Reviewer, hold: Option<HoldId>, until: Timestamp) -> Link {
        let (user, until) = (reviewer.user.clone(), until.as_second());
        let number = hexadecimal(&rand::random::<[u8; 32]>());
        let mut link = Link { user, hold, until, number, signature: String::new() };
        link.signature = hexadecimal(&link.mac(&self.key).finalize().into_bytes());
        link
    }

    /// Ends the links in messages about that hold.
    pub fn over(&mut self, hold: HoldId) {
        self.open.retain(|open| open.link.hold != Some(hold));
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
        self.open.iter().position(|open| open.link.number == link.number).ok_or(Flaw::Gone)
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
    use crate::request::{Entrance, sample::start};

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
        assert_eq!(links.redeem(start(), &read), Err(Flaw::Gone));
        assert_eq!(links.check(start(), &read), Err(Flaw::Gone));
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
    fn a_link_in_a_message_is_one_for_the_hold_and_ends_with_it() {
        let (mut links, until) = (links(), start() + SignedDuration::from_hours(1));
        let reader = |channel: &str| Reviewer {
            user: "alice".into(),
            entrance: Some(Entrance::Message { channel: channel.into() }),
        };
        let link = links.invite(reader("dm"), HoldId(7), until);
        assert_eq!(Link::read(link.query().as_bytes()), link);
        assert_eq!(links.invite(reader("dm"), HoldId(7), until), link, "said again");
        let [other_channel, other_hold] =
            [("desk", 7), ("dm", 8)].map(|(channel, hold)| links.invite(reader(channel), HoldId(hold), until));
        assert!(link != other_channel && link != other_hold);
        let forged = Link { hold: Some(HoldId(8)), ..link.clone() };
        assert_eq!(links.redeem(start(), &forged), Err(Flaw::Foreign));
        assert_eq!(links.redeem(start(), &Link { hold: None, ..link.clone() }), Err(Flaw::Foreign));
        assert_eq!(links.redeem(until, &link), Err(Flaw::Expired));
        assert_eq!(links.redeem(start() + LIFETIME, &link), Ok(reader("dm")), "longer than others");
        assert_eq!(links.redeem(start(), &link), Err(Flaw::Gone));
        assert_ne!(links.invite(reader("dm"), HoldId(7), until), link, "another one in its place");
        links.over(HoldId(7));
        assert_eq!(
            (links.check(start(), &other_channel), links.check(start(), &other_hold)),
            (Err(Flaw::Gone), Ok(()))
        );
        links.keep(|_| false);
        assert_eq!(links.check(start(), &other_hold), Err(Flaw::Gone));
    }

    #[test]
    fn links_in_messages_take_no_room_from_others_and_are_bounded() {
        let mut links = links();
        let printed = links.issue(start(), reviewer("alice")).unwrap();
        let many: Vec<_> = (0..=IN_MESSAGES as u64)
            .map(|hold| links.invite(reviewer("alice"), HoldId(hold), start() + LIFETIME))
            .collect();
        assert_eq!(links.check(start(), &many[0]), Err(Flaw::Gone));
        assert!([&many[1], &many[IN_MESSAGES], &printed].iter().all(|link| links.check(start(), link).is_ok()));
        let more: Vec<_> = (0..=OF_ONE).map(|_| links.issue(start(), reviewer("alice"))).collect();
        assert!(more.iter().all(Option::is_some), "those in messages are not counted");
        assert!(links.check(start(), &many[1]).is_ok(), "nor ended");
    }

    #[test]
    fn links_that_nobody_uses_are_bounded() {
        let mut links = links();
        let first = links.issue(start(), reviewer("alice")).unwrap();
        let others: Vec<_> = (0..OF_ONE).map(|_| links.issue(start(), reviewer("alice")).unwrap()).collect();
        assert_eq!(links.check(start(), &first), Err(Flaw::Gone));
        assert!(others.iter().all(|link| links.check(start(), link).is_ok()));
        let many = (0..1000).filter_map(|index| links.issue(start(), reviewer(&format!("u{index}"))));
        assert_eq!(many.count(), MOST - OF_ONE);
        assert!(links.issue(start(), reviewer("alice")).is_some(), "who has some gets others in their place");
        assert!(links.issue(start() + LIFETIME, reviewer("late")).is_some());
    }
}
