//! Who may answer a hold, and what the answer has to name.

use crate::request::{Answer, Digest, Hold, Proof, Refusal};

/// What is kept of a hold to judge answers by, also when the rest is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    digest: Digest,
    group: String,
    members: Vec<String>,
    /// User ids of the requester: who runs the process, who launched the tree, as whom somebody logged in for that.
    uids: Vec<u32>,
    /// Their names, where they have any.
    names: Vec<String>,
}

impl Panel {
    pub(super) fn of(hold: &Hold) -> Self {
        let (request, login) = (&hold.request, hold.request.login.as_ref());
        Self {
            digest: hold.digest.clone(),
            group: hold.reviewers.clone(),
            members: hold.members.clone(),
            uids: [request.uid, request.launcher].into_iter().chain(login.map(|login| login.uid)).collect(),
            names: hold.requesters().cloned().collect(),
        }
    }

    /// Whether `answer` is about what is held and comes from a reviewer whom the rule names and who is not
    /// the requester.
    pub(super) fn admits(&self, answer: &Answer) -> Result<(), Refusal> {
        if answer.digest != self.digest {
            Err(Refusal::WrongDigest)
        } else if self.is_requester(answer) {
            Err(Refusal::Requester)
        } else if self.members.contains(&answer.who) && self.is_asked_by(&answer.proof) {
            Ok(())
        } else {
            Err(Refusal::NotNamed)
        }
    }

    fn is_requester(&self, answer: &Answer) -> bool {
        let by_uid = match answer.proof {
            Proof::Local { uid } | Proof::Page { uid: Some(uid), .. } => self.uids.contains(&uid),
            _ => false,
        };
        by_uid || self.names.contains(&answer.who)
    }

    fn is_asked_by(&self, proof: &Proof) -> bool {
        match proof {
            Proof::Webhook { asks, .. } | Proof::Slack { asks, .. } | Proof::Exec { asks, .. } => {
                asks.contains(&self.group)
            }
            Proof::Local { .. } | Proof::Page { .. } | Proof::Signed { .. } => true,
        }
    }
}
