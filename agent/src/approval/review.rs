//! Where a message leads its reader: to the page of its hold. A channel that one reviewer alone reads says so (`reader`), and
//! its questions lead there by a link that logs this reviewer in.

use std::{collections::BTreeMap, fmt};

use super::channel::Channel;
use crate::request::{Hold, HoldId};

/// Where the messages of a channel lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Review {
    /// The page's URL, without a slash at the end.
    pub page: String,
    /// Who reads them, and nobody else.
    pub reader: Option<String>,
}

/// Where a message leads. It may log in whoever opens it, and is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Link(String);

/// Makes links that log in.
pub trait Invites: Send + Sync {
    /// A link for `reader`, good once and until `hold` is over, for the message of this channel. The one of before, as long as
    /// nobody has used it.
    fn invite(&self, hold: &Hold, channel: &str, reader: &str) -> Option<String>;
}

/// Whether who is said to read a channel alone is a reviewer whom it asks, by these groups.
///
/// # Errors
/// The first who is not.
pub fn judge(channels: &[Channel], groups: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let readers = channels.iter().filter_map(|channel| Some((channel, channel.review.as_ref()?.reader.as_ref()?)));
    for (Channel { name, reviewers, .. }, reader) in readers {
        let asked = groups.iter().filter(|(group, _)| reviewers.contains(group));
        if !asked.into_iter().any(|(_, members)| members.contains(reader)) {
            let asked = reviewers.join(", ");
            return Err(format!(
                "channel \"{name}\": the reader {reader:?} is in none of the groups that it asks ({asked}): add the name to one \
                 of them in the policy's [reviewers], or remove reader"
            ));
        }
    }
    Ok(())
}

impl Review {
    /// To the hold, for who logs in there.
    pub fn plain(&self, hold: HoldId) -> Link {
        Link(format!("{}/h/{hold}", self.page))
    }

    /// What stands in the link's place where nothing is sent.
    pub fn shown(&self, hold: HoldId) -> Link {
        match &self.reader {
            Some(reader) => {
                let pairs = [("for", &**reader), ("signature", "made-when-it-is-sent")];
                let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
                Link(format!("{}/r?{query}", self.page))
            }
            None => self.plain(hold),
        }
    }

    /// The link in a message about `hold` that is sent on this channel.
    pub fn sent(&self, hold: &Hold, channel: &str, invites: Option<&dyn Invites>) -> Link {
        let reader = self.reader.as_ref().filter(|reader| hold.asks(reader));
        let invited = reader.zip(invites).and_then(|(reader, invites)| invites.invite(hold, channel, reader));
        invited.map_or_else(|| self.plain(hold.id), Link)
    }
}

impl Link {
    /// It, as text.
    pub fn url(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::sample;

    struct Doors;

    impl Invites for Doors {
        fn invite(&self, hold: &Hold, channel: &str, reader: &str) -> Option<String> {
            Some(format!("secret {} {channel} {reader}", hold.id))
        }
    }

    fn review(reader: Option<&str>) -> Review {
        Review { page: "https://hp.example/a".into(), reader: reader.map(Into::into) }
    }

    #[test]
    fn only_who_reads_alone_and_is_asked_is_logged_in() {
        let hold = sample::hold(HoldId(7));
        let sent = |reader, invites| review(reader).sent(&hold, "dm", invites).url().to_owned();
        let plain = "https://hp.example/a/h/0000000000000007";
        assert_eq!(sent(Some("alice"), Some(&Doors as &dyn Invites)), "secret 0000000000000007 dm alice");
        assert_eq!(sent(Some("mallory"), Some(&Doors as &dyn Invites)), plain, "who is not asked");
        assert_eq!(sent(None, Some(&Doors as &dyn Invites)), plain);
        assert_eq!(sent(Some("alice"), None), plain);
    }

    #[test]
    fn a_link_that_logs_in_is_not_shown() {
        let link = review(Some("alice")).sent(&sample::hold(HoldId(7)), "dm", Some(&Doors));
        assert_eq!(format!("{link:?}"), "Link");
        let shown = review(Some("a & b")).shown(HoldId(7));
        assert_eq!(shown.url(), "https://hp.example/a/r?for=a+%26+b&signature=made-when-it-is-sent");
    }
}
