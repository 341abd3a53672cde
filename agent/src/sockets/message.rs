//! The lines that go over both sockets: one JSON object per line, `{"version":1,"body":{...}}`.

use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Declined, Enrolled, Reloaded, Status};
use crate::{
    approval::channel::Preview,
    claims::{Claim, Said},
    denials::Denial,
    request::{self, Digest, End, Hold, HoldId, Outcome, Standing, Word},
    scope::Scope,
};

/// Version of every line. Client and agent are one program: another version means that one of them is old.
pub const VERSION: u32 = 1;

/// What a client asks of `control`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// All pending holds.
    Holds,
    /// One hold.
    Show {
        /// Which.
        #[serde(deserialize_with = "text")]
        id: HoldId,
    },
    /// What a channel would be asked about a hold.
    Preview {
        /// Which hold.
        #[serde(deserialize_with = "text")]
        id: HoldId,
        /// The channel's name.
        channel: String,
    },
    /// A reviewer's answer. Who says so is what the kernel says of the sender, or whose signature it is, so it is not in here.
    Answer {
        /// The hold.
        #[serde(deserialize_with = "text")]
        id: HoldId,
        /// The digest of what was shown.
        digest: Digest,
        /// What is said.
        word: Word,
        /// How far an approval reaches; who does not say it means the one call.
        #[serde(default)]
        scope: Scope,
        /// In the reviewer's words.
        why: Option<String>,
        /// The reviewer's signature of [`crate::signature::statement`]; none if the sender is the reviewer.
        signature: Option<String>,
    },
    /// All grants.
    Grants,
    /// Take grants back. Who does is what the kernel says of the sender.
    Revoke {
        /// Which.
        which: Which,
        /// In the sender's words.
        why: Option<String>,
    },
    /// A link to the review page. For whom is what the kernel says of the sender, unless root says it.
    Page {
        /// The reviewer's name.
        reviewer: Option<String>,
    },
    /// How the agent is.
    Status,
    /// Read the policy anew.
    Reload,
    /// Deny everything, detach, stop.
    Detach,
    /// Govern a child of the sender as the canary is governed, from its next `execve(2)` on: `holdpoint attack`.
    /// The offer ends with the connection.
    Canary {
        /// The child.
        pid: u32,
        /// Whether it may rule the host: for what is refused by that alone otherwise.
        trusted: bool,
    },
    /// Was it done? Ends the offer.
    CanaryTaken {
        /// The child.
        pid: u32,
    },
}

/// Which grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// That of this hold.
    One(#[serde(deserialize_with = "text")] HoldId),
    /// Those of this tree, 16 hexadecimal digits.
    Tree(String),
    /// All.
    All,
}

/// What `control` replies: always one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum ControlReply {
    /// All pending holds, each as [`view`].
    Holds {
        /// In the order of the daemon.
        holds: Vec<Value>,
    },
    /// One hold, as [`view`].
    Hold {
        /// It.
        hold: Value,
    },
    /// What would be asked.
    Preview(Preview),
    /// The answer was taken.
    Answered {
        /// How the hold ended.
        end: End,
        /// Whose answer counted.
        by: Option<String>,
        /// Whether that stood already: this answer changed nothing.
        repeated: bool,
    },
    /// The approval counts, and others must join it.
    Counted {
        /// Whose are needed still: [`crate::quorum::phrase`].
        missing: String,
    },
    /// All grants, each as [`crate::holds::grants::Grant`] is serialised.
    Grants {
        /// By the ids of their holds.
        grants: Vec<Value>,
    },
    /// They are over.
    Revoked {
        /// Their ids.
        grants: Vec<String>,
    },
    /// A link to the review page.
    Page {
        /// It.
        link: String,
        /// For whom.
        reviewer: String,
    },
    /// How the agent is.
    Status(Status),
    /// It is in force.
    Reloaded(Reloaded),
    /// It is done.
    Detached,
    /// The child may become governed.
    Offered,
    /// The answer to [`ControlRequest::CanaryTaken`].
    Taken {
        /// Whether the child has become governed.
        taken: bool,
    },
    /// It is not done.
    Refused(Declined),
}

/// What a client asks of `tree`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum TreeRequest {
    /// Govern the sender from its next `execve(2)` on. Whom that means is what the kernel says of the sender.
    Enrol {
        /// Under this subject of the policy; none leaves the choice to the policy.
        subject: Option<String>,
        /// What is claimed of the tree. Counts for nothing where the sender is in one already.
        said: Said,
    },
    /// Was it done?
    Confirm,
    /// Stream the holds of a tree. The connection carries nothing else from then on.
    Watch {
        /// 16 hexadecimal digits.
        tree: String,
    },
    /// The holds of the sender's own tree, and what was refused there.
    Mine,
    /// Claim something of the sender's own tree. Which that is, is what the kernel says of the sender.
    Annotate {
        /// It replaces what the tree has said of the same kinds.
        said: Said,
    },
}

/// What `tree` replies: one line; for [`TreeRequest::Watch`] `watching` and then [`Notice`]s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum TreeReply {
    /// Taken at the sender's next `execve(2)`.
    Enrolled {
        /// The new tree, 16 hexadecimal digits.
        tree: String,
    },
    /// The sender is governed and stays so.
    AlreadyGoverned {
        /// Under this subject.
        subject: String,
    },
    /// The answer to [`TreeRequest::Confirm`].
    Confirmed {
        /// Whether the sender is governed now.
        taken: bool,
    },
    /// The holds pending now.
    Watching {
        /// Each a [`Notice::Held`].
        held: Vec<Notice>,
    },
    /// Something was held, or a hold ended.
    Notice(Notice),
    /// The answer to [`TreeRequest::Mine`].
    Mine {
        /// The tree; none if the sender is not governed.
        tree: Option<String>,
        /// Its subject.
        subject: Option<String>,
        /// Each a [`Notice::Held`].
        held: Vec<Notice>,
        /// What was refused of late, the first one first.
        denied: Vec<Denial>,
    },
    /// The answer to [`TreeRequest::Annotate`].
    Annotated {
        /// All that is claimed of the tree now, by whomever.
        claims: Vec<Claim>,
    },
    /// It is not done.
    Refused(Declined),
}

impl From<Enrolled> for TreeReply {
    fn from(enrolled: Enrolled) -> Self {
        match enrolled {
            Enrolled::Offered { tree } => Self::Enrolled { tree: tree_text(tree) },
            Enrolled::Already { subject } => Self::AlreadyGoverned { subject },
        }
    }
}

impl From<Outcome> for ControlReply {
    fn from(outcome: Outcome) -> Self {
        let (Standing { state, by, .. }, repeated) = match outcome {
            Outcome::Accepted(standing) => (standing, false),
            Outcome::Again(standing) => (standing, true),
            Outcome::Counted(missing) => return Self::Counted { missing },
        };
        Self::Answered { end: state, by, repeated }
    }
}

/// The word for an end, in messages.
pub fn word(end: End) -> &'static str {
    match end {
        End::Approved => "approved",
        End::Denied => "denied",
        End::Expired => "expired",
        End::Withdrawn => "withdrawn",
    }
}

/// What who launched a tree is told of its holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum Notice {
    /// Something is held.
    Held {
        /// The hold.
        #[serde(deserialize_with = "text")]
        id: HoldId,
        /// [`crate::request::Operation::sentence`].
        sentence: String,
        /// Since when.
        since: Timestamp,
        /// Who is asked.
        reviewers: String,
    },
    /// A hold is over.
    Ended {
        /// The hold.
        #[serde(deserialize_with = "text")]
        id: HoldId,
        /// How.
        end: End,
        /// Whose answer it was, if it was one.
        who: Option<String>,
        /// Their words.
        why: Option<String>,
        /// How long it took, milliseconds.
        after: u64,
    },
    /// Something was refused without a question.
    Denied(Denial),
}

impl Notice {
    /// That `hold` began.
    pub fn held(hold: &Hold) -> Self {
        Self::Held { id: hold.id, sentence: hold.sentence(), since: hold.request.at, reviewers: hold.asked_briefly() }
    }

    /// That `hold` ended at `now` with `standing`; `why` are the words of the reviewer whose answer counted.
    pub fn ended(hold: &Hold, standing: &Standing, now: Timestamp, why: Option<String>) -> Self {
        Self::Ended {
            id: hold.id,
            end: standing.state,
            who: standing.by.clone(),
            why,
            after: u64::try_from(now.duration_since(hold.request.at).as_millis()).unwrap_or(0),
        }
    }
}

/// A hold as `control` shows it: the whole of it, in one line for people, and what a no and silence do.
pub fn view(hold: &Hold) -> Value {
    let mut value = serde_json::to_value(hold).expect("plain data always serialises");
    value["sentence"] = hold.sentence().into();
    value["on_deny"] = request::word(hold.on_deny).into();
    value["on_timeout"] = request::word(hold.on_timeout).into();
    value
}

/// A tree's name on the wire.
pub fn tree_text(tree: u64) -> String {
    HoldId(tree).to_string()
}

/// The tree of this name.
pub fn tree_number(text: &str) -> Result<u64, Declined> {
    let id = HoldId::from_str(text).map_err(|_| Declined::new("a tree is named by 16 hexadecimal digits"))?;
    Ok(id.0)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HoldId, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    version: u32,
    body: T,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// The line that says `body`, with its newline.
pub fn encode<T: Serialize>(body: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Line { version: VERSION, body }).expect("plain data always serialises");
    line.push(b'\n');
    line
}

/// What a line says. The version is read first, so that a newer line is not called malformed.
pub fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<T, Declined> {
    let malformed = |error: serde_json::Error| Declined::new(format!("malformed line: {error}"));
    let Head { version } = serde_json::from_slice(line).map_err(malformed)?;
    if version != VERSION {
        let cause = format!("the line is of version {version}, not {VERSION}");
        return Err(Declined::new(cause).remedy("client and agent differ: restart the agent after an upgrade"));
    }
    let Line { body, .. } = serde_json::from_slice(line).map_err(malformed)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{claims::Kind, request::sample};

    fn comes_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(body: &T) {
        let line = encode(body);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line");
        assert_eq!(decode::<T>(&line).as_ref(), Ok(body));
    }

    #[test]
    fn requests_come_back_as_they_were() {
        let id = HoldId(0x3f9c);
        comes_back(&ControlRequest::Show { id });
        let digest = Digest("ab".into());
        let (word, why) = (Word::Kill, Some("line\nbreak".into()));
        let (scope, signature) = (Scope::Time(90), Some("-----BEGIN".into()));
        comes_back(&ControlRequest::Answer { id, digest, word, scope, why, signature });
        for which in [Which::One(id), Which::Tree(tree_text(7)), Which::All] {
            comes_back(&ControlRequest::Revoke { which, why: Some("enough".into()) });
        }
        comes_back(&ControlRequest::Detach);
        comes_back(&ControlRequest::Page { reviewer: Some("alice".into()) });
        comes_back(&ControlRequest::Canary { pid: 7, trusted: true });
        let said = Said::from([(Kind::Intent, "line\nbreak".into()), (Kind::Prompt, String::new())]);
        comes_back(&TreeRequest::Enrol { subject: None, said: said.clone() });
        comes_back(&TreeRequest::Annotate { said });
        comes_back(&TreeRequest::Watch { tree: tree_text(7) });
    }

    #[test]
    fn replies_come_back_as_they_were() {
        comes_back(&ControlReply::Answered { end: End::Denied, by: Some("bob".into()), repeated: true });
        comes_back(&ControlReply::Refused(Declined::new("no").remedy("ask")));
        comes_back(&TreeReply::Watching { held: vec![] });
        comes_back(&TreeReply::Annotated { claims: sample::hold(HoldId(1)).claims });
        let ended = Notice::Ended { id: HoldId(1), end: End::Expired, who: None, why: None, after: 4000 };
        comes_back(&TreeReply::Notice(ended));
    }

    #[test]
    fn an_answer_cannot_name_its_author() {
        let line = br#"{"version":1,"body":{"ask":"answer","id":"0000000000000001","digest":"","word":"approve","who":"bob"}}"#;
        assert!(decode::<ControlRequest>(line).unwrap_err().cause.contains("unknown field `who`"));
    }

    #[test]
    fn another_version_is_named_as_such() {
        let refusal = decode::<TreeRequest>(br#"{"version":2,"body":{"ask":"future"}}"#).unwrap_err();
        assert_eq!(refusal.cause, "the line is of version 2, not 1");
    }

    #[test]
    fn an_id_is_sixteen_digits() {
        let line = br#"{"version":1,"body":{"ask":"show","id":"3f9c"}}"#;
        assert!(decode::<ControlRequest>(line).is_err());
    }
}
