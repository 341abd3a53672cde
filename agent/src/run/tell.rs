//! The one quiet line that `holdpoint run` shows when something is held, and when that ends.

use std::io::{self, IsTerminal as _, Write as _};

use jiff::tz::TimeZone;
use nix::sys::termios::{OutputFlags, tcgetattr};

use crate::{
    request::{End, HoldId, shown},
    sockets::{Notice, message::word},
};

/// Writes to standard error. If nobody can read it, nothing is lost but the line.
pub(super) fn tell(text: &str) {
    let end = if raw_terminal() { ("\r", "\r\n") } else { ("", "\n") };
    let _ = io::stderr().write_all(format!("{}holdpoint: {text}{}", end.0, end.1).as_bytes());
}

/// A program has taken the terminal and does its own line ends.
fn raw_terminal() -> bool {
    let stderr = io::stderr();
    let cooked = OutputFlags::OPOST | OutputFlags::ONLCR;
    stderr.is_terminal() && tcgetattr(&stderr).is_ok_and(|mode| !mode.output_flags.contains(cooked))
}

/// The line for this notice.
pub(super) fn sentence(notice: &Notice, zone: &TimeZone) -> String {
    match notice {
        Notice::Held { id, sentence, since, reviewers } => {
            let since = since.to_zoned(zone.clone()).strftime("%H:%M:%S");
            format!("held {} {} since {since}, asking {}", short(*id), shown(sentence), shown(reviewers))
        }
        Notice::Denied(denial) => super::why::sentence(denial, zone),
        Notice::Ended { id, end, who, why, after } => {
            let by = who.as_deref().map(|who| format!(" by {}", shown(who))).unwrap_or_default();
            let why = why.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
            match end {
                End::Approved => format!("{} approved{by} after {} s", short(*id), after / 1000),
                End::Denied => format!("{} denied{by}{why}", short(*id)),
                End::Expired | End::Withdrawn => format!("{} {}", short(*id), word(*end)),
            }
        }
    }
}

/// Enough of an id to name it to `holdpoint show`.
pub(super) fn short(id: HoldId) -> String {
    format!("{:.8}…", id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: HoldId = HoldId(0x3f9c_12ab_0000_0000);

    fn ended(end: End, who: Option<&str>, why: Option<&str>) -> String {
        let [who, why] = [who, why].map(|text| text.map(str::to_owned));
        sentence(&Notice::Ended { id: ID, end, who, why, after: 4321 }, &TimeZone::UTC)
    }

    #[test]
    fn a_hold_is_one_line() {
        let since = "2026-05-01T12:01:05Z".parse().unwrap();
        let held = Notice::Held { id: ID, sentence: "open /srv/x (read)".into(), since, reviewers: "security".into() };
        let line = sentence(&held, &TimeZone::UTC);
        assert_eq!(line, "held 3f9c12ab… open /srv/x (read) since 12:01:05, asking security");
    }

    #[test]
    fn its_end_is_one_line() {
        assert_eq!(ended(End::Approved, Some("bob"), None), "3f9c12ab… approved by bob after 4 s");
        assert_eq!(ended(End::Denied, Some("bob"), Some("not\ntoday")), "3f9c12ab… denied by bob: not\\u{a}today");
        assert_eq!(ended(End::Expired, None, None), "3f9c12ab… expired");
        assert_eq!(ended(End::Withdrawn, None, None), "3f9c12ab… withdrawn");
    }
}
