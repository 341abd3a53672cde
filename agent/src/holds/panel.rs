//! Who may answer a hold, and what the answer has to name.

use crate::{
    quorum::{self, Assurance, Group},
    request::{Answer, Digest, Hold, Proof, Refusal, Word},
    scope::{self, Scope},
};

/// What is kept of a hold to judge answers by, also when the rest is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    digest: Digest,
    groups: Vec<Group>,
    assurance: Assurance,
    scopes: Vec<Scope>,
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
            groups: hold.reviewers.clone(),
            assurance: hold.assurance,
            scopes: hold.scopes.clone(),
            uids: [request.uid, request.launcher].into_iter().chain(login.map(|login| login.uid)).collect(),
            names: hold.requesters().cloned().collect(),
        }
    }

    /// Whether `answer` is about what is held and comes from a reviewer whom the rule names, who is not the requester, and
    /// of whom that is sure enough. A no needs no more than a name.
    pub(super) fn admits(&self, answer: &Answer) -> Result<(), Refusal> {
        if answer.digest == self.digest { self.admits_of_any(answer) } else { Err(Refusal::WrongDigest) }
    }

    /// Likewise, whatever it is about.
    fn admits_of_any(&self, answer: &Answer) -> Result<(), Refusal> {
        if self.is_requester(answer) {
            Err(Refusal::Requester)
        } else if !self.groups.iter().any(|group| answer.voice().counts_for(group)) {
            Err(Refusal::NotNamed)
        } else if answer.word == Word::Approve && answer.proof.assurance() < self.assurance {
            Err(Refusal::Assurance(self.assurance))
        } else if answer.word == Word::Approve && !answer.scope.is_offered(&self.scopes) {
            Err(Refusal::Scope(scope::listed(&self.scopes)))
        } else {
            Ok(())
        }
    }

    /// Whether these approvals of the same in another call are those that it takes here.
    pub(super) fn would_approve(&self, answers: &[Answer]) -> bool {
        let Some((last, before)) = answers.split_last() else { return false };
        let is_met = || self.missing(before, last).is_ok_and(|missing| missing.is_empty());
        answers.iter().all(|answer| self.admits_of_any(answer).is_ok()) && is_met()
    }

    /// From now on an approval is for the one call only.
    pub(super) fn offers_nothing(&mut self) {
        self.scopes.clear();
    }

    fn is_requester(&self, answer: &Answer) -> bool {
        let by_uid = match answer.proof {
            Proof::Local { uid } | Proof::Page { uid: Some(uid), .. } => self.uids.contains(&uid),
            _ => false,
        };
        by_uid || self.names.contains(&answer.who)
    }

    /// Whose approvals are missing still once those who have `approved` are joined by this one, in words; empty if nobody's.
    /// Everybody counts once.
    pub(super) fn missing(&self, approved: &[Answer], answer: &Answer) -> Result<String, Refusal> {
        let mut voices: Vec<_> = approved.iter().map(Answer::voice).collect();
        let in_words =
            |missing: Vec<(String, u32)>| quorum::phrase(missing.iter().map(|(group, count)| (group, *count)));
        let before = in_words(quorum::missing(&self.groups, &voices).unwrap_or_default());
        voices.push(answer.voice());
        let is_new = !approved.iter().any(|earlier| earlier.who == answer.who);
        let after = quorum::missing(&self.groups, &voices).filter(|_| is_new);
        after.map(in_words).ok_or(Refusal::NotNeeded(before))
    }
}
