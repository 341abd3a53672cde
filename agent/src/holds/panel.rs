//! Who may answer a hold, and what the answer has to name.

use crate::{
    quorum::{self, Assurance, Group, SelfAnswer, Voice},
    request::{Answer, Digest, Hold, Refusal, Word},
    scope::{self, Scope},
};

/// What is kept of a hold to judge answers by, also when the rest is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    digest: Digest,
    /// Those who are asked: enough of any element decide.
    asked: Vec<Vec<Group>>,
    assurance: Assurance,
    own: SelfAnswer,
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
            asked: hold.asked().map(<[Group]>::to_vec).collect(),
            assurance: hold.assurance,
            own: hold.own,
            scopes: hold.scopes.clone(),
            uids: [request.uid, request.launcher].into_iter().chain(login.map(|login| login.uid)).collect(),
            names: hold.requesters().cloned().collect(),
        }
    }

    /// Asks these, too.
    pub(super) fn open(&mut self, groups: &[Group]) {
        self.asked.push(groups.to_vec());
    }

    /// From now on answers are about this.
    pub(super) fn asks_about(&mut self, digest: &Digest) {
        self.digest.clone_from(digest);
    }

    /// Whether `answer` is about what is held and comes from a reviewer whom the rule names, who is not the requester unless
    /// the rule allows that, and of whom it is sure enough. A no needs no more than a name.
    pub(super) fn admits(&self, answer: &Answer) -> Result<(), Refusal> {
        if answer.digest == self.digest { self.admits_of_any(answer) } else { Err(Refusal::WrongDigest) }
    }

    /// Likewise, whatever it is about.
    fn admits_of_any(&self, answer: &Answer) -> Result<(), Refusal> {
        if self.own == SelfAnswer::Refused && self.is_requester(answer) {
            Err(Refusal::Requester)
        } else if !self.asked.iter().flatten().any(|group| answer.voice().counts_for(group)) {
            Err(Refusal::NotNamed)
        } else if answer.word == Word::Approve && answer.known.assurance < self.assurance {
            Err(Refusal::Assurance(self.assurance))
        } else if answer.word == Word::Approve && !answer.scope.is_offered(&self.scopes) {
            Err(Refusal::Scope(scope::listed(&self.scopes)))
        } else {
            Ok(())
        }
    }

    /// Whether these approvals of the same in another call are those that it takes here, at this moment.
    pub(super) fn would_approve(&self, answers: &[Answer]) -> bool {
        answers.iter().all(|answer| self.admits_of_any(answer).is_ok()) && self.is_met(answers)
    }

    /// Whether these answers, of which the last one decided another hold, would decide this one at this moment.
    pub(super) fn follows(&self, answers: &[Answer]) -> bool {
        match answers.last() {
            Some(last) if last.word == Word::Approve => self.would_approve(answers),
            last => last.is_some_and(|no| self.admits_of_any(no).is_ok()),
        }
    }

    /// From now on an approval is for the one call only.
    pub(super) fn offers_nothing(&mut self) {
        self.scopes.clear();
    }

    /// Whether it comes from the requester: by a user of this host, by name, or since the reviewer is one of those users.
    pub(super) fn is_requester(&self, answer: &Answer) -> bool {
        let caller = answer.proof.caller();
        let by_uid = caller.is_some_and(|caller| self.uids.iter().any(|uid| caller.is(*uid)));
        let known = &answer.known;
        let by_user = known.users.iter().any(|user| self.names.contains(user))
            || known.uids.iter().any(|uid| self.uids.contains(uid));
        by_uid || by_user || self.names.contains(&answer.who)
    }

    /// Whose approvals are missing still once those who have `approved` are joined by this one, in words; empty if nobody's.
    /// Everybody counts once.
    pub(super) fn missing(&self, approved: &[Answer], answer: &Answer) -> Result<String, Refusal> {
        let before = self.left(approved.iter().map(Answer::voice));
        let after = self.left(approved.iter().chain([answer]).map(Answer::voice));
        if after == before || approved.iter().any(|earlier| earlier.who == answer.who) {
            return Err(Refusal::NotNeeded(in_words(&before)));
        }
        Ok(if after.iter().any(Vec::is_empty) { String::new() } else { in_words(&after) })
    }

    /// Whether those who have approved are enough.
    pub(super) fn is_met(&self, approved: &[Answer]) -> bool {
        self.left(approved.iter().map(Answer::voice)).iter().any(Vec::is_empty)
    }

    /// What is missing of each.
    fn left<'a>(&self, voices: impl Iterator<Item = Voice<'a>>) -> Vec<Vec<(String, u32)>> {
        let voices: Vec<_> = voices.collect();
        self.asked.iter().map(|groups| quorum::missing(groups, &voices)).collect()
    }
}

fn in_words(left: &[Vec<(String, u32)>]) -> String {
    let words = left.iter().map(|missing| quorum::phrase(missing.iter().map(|(group, count)| (group, *count))));
    words.collect::<Vec<_>>().join(", or ")
}
