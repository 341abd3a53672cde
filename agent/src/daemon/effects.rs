//! Carrying out what the state machine says, in its order.

use holdpoint_common::decision::Decision;

use super::{Daemon, Waiting, held::Due, since_boot};
use crate::{
    denials::Denial,
    holds::{Crowd, Effect, Input},
    record::Entry,
    request::{Hold, HoldId, Standing},
    sockets::{Declined, Notice},
};

impl Daemon {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Ask(hold) => {
                if let Some(hold) = self.pending(&hold) {
                    self.approval.ask(self.now(), &hold);
                    self.announce(&hold);
                }
            }
            Effect::Record(entry) => self.record(&entry),
            Effect::Decide { hold, decision } => self.decide(hold, decision),
            Effect::TellTree { hold, standing, crowd } => {
                self.notify(&hold.request.tree, &Notice::held(&hold));
                let of_hold = || Denial::of_hold(&hold, &standing, self.now(), None);
                let denial = crowd.map(|crowd| Denial::of_crowd(&hold, crowd, self.now())).or_else(of_hold);
                if let Some(page) = &self.page {
                    // It may have been there, while it waited behind another one.
                    page.forget(hold.id);
                }
                self.tell_tree(&hold, &standing, denial, crowd.map(Crowd::words));
            }
            Effect::Join(hold) => {
                // Asked about by now, it has been announced.
                if let Some(hold) = self.pending(&hold).filter(|hold| hold.behind.is_some()) {
                    self.announce(&hold);
                }
            }
            Effect::Escalate(hold) => self.escalate(&hold),
            Effect::Remind { hold, number } => {
                if let Some(hold) = self.pending(&hold) {
                    self.approval.remind(self.now(), &hold, number);
                }
            }
            Effect::Counted { hold, missing } => self.counted(&hold, &missing),
            Effect::Grants(grants) => {
                if let Some(page) = &self.page {
                    page.granted(grants);
                }
            }
            Effect::Wake(hold) => self.wake(hold),
            Effect::Reply { ticket, result } => match self.waiting.remove(&ticket) {
                // Whoever no longer listens does not change the decision.
                Some(Waiting::Callback(reply)) => drop(reply.send(result)),
                Some(Waiting::Local(reply)) => drop(reply.send(result.map_err(Declined::from))),
                None => {}
            },
            Effect::Tell { hold, standing } => self.tell(&hold, &standing),
            Effect::Forget(hold) => {
                self.watched.remove(&hold);
                self.kernel.forget(hold);
            }
        }
    }

    /// The hold as it is by now: what an effect before this one has led to may have changed it, or decided it.
    fn pending(&self, then: &Hold) -> Option<Hold> {
        self.holds.get(then.id).filter(|_| self.holds.is_pending(then.id)).cloned()
    }

    fn escalate(&mut self, then: &Hold) {
        let Some(hold) = self.pending(then) else { return };
        if then.behind.is_none() {
            // Those whose turn it was then: there may have been others since.
            let escalation = then.escalation.clone();
            self.approval.escalate(self.now(), &Hold { escalation, ..hold.clone() });
        }
        self.changed(&hold);
    }

    fn counted(&mut self, then: &Hold, missing: &str) {
        let Some(hold) = self.pending(then) else { return };
        if then.behind.is_none() {
            self.approval.counted(self.now(), &hold, missing);
        }
        self.changed(&hold);
    }

    /// To who launched the tree, and on the page.
    fn announce(&mut self, hold: &Hold) {
        self.notify(&hold.request.tree, &Notice::held(hold));
        if let Some(page) = &self.page {
            page.asked(hold);
        }
    }

    /// Somebody has approved, or others are asked, too.
    fn changed(&self, hold: &Hold) {
        if let Some(page) = &self.page {
            page.changed(hold);
        }
    }

    /// On record first: nothing follows from a decision before its line is on disk.
    fn record(&mut self, entry: &Entry) {
        let written = self.record.append(entry);
        if let Err(error) = &written {
            tracing::error!(%error, "cannot write to the record");
        }
        if let Some(hold) = entry.decides() {
            self.input(if written.is_ok() { Input::Recorded(hold) } else { Input::RecordFailed(hold) });
        }
    }

    fn decide(&mut self, hold: HoldId, decision: Decision) {
        self.refuse_again(hold);
        let digest = self.holds.get(hold).map(|hold| hold.alone().bytes()).unwrap_or_default();
        if let Err(error) = self.kernel.decide(hold, decision, digest) {
            // It stays held; the next reconciliation finds no decision in the kernel and tries again.
            return tracing::error!("{error:#}");
        }
        tracing::info!(%hold, ?decision, "decided");
        if decision == Decision::Kill
            && let Some(watched) = self.watched.get(&hold)
        {
            watched.process.kill();
        }
        self.wake(hold);
    }

    /// Before the decision itself: who is refused may ask again at once.
    fn refuse_again(&mut self, hold: HoldId) {
        let Some(pause) = self.holds.pause(hold) else { return };
        if let Err(error) = self.kernel.refuse_again(hold, since_boot().unsigned_abs() + pause) {
            tracing::error!("{error:#}");
        }
    }

    fn wake(&mut self, hold: HoldId) {
        if let Some(watched) = self.watched.get_mut(&hold) {
            watched.wake(Due::Decision);
        }
    }

    fn tell(&mut self, hold: &Hold, standing: &Standing) {
        let now = self.now();
        if hold.behind.is_none() {
            self.approval.tell(now, hold, standing);
        }
        // What waits behind another hold is decided by what was said of that one.
        let said = [Some(hold.id), hold.behind].into_iter().flatten().find_map(|id| self.words.get(&id));
        let why = said.cloned();
        if let Some(page) = &self.page {
            page.ended(now, hold, standing, why.clone());
        }
        let denial = Denial::of_hold(hold, standing, now, why.clone());
        self.tell_tree(hold, standing, denial, why);
    }

    fn tell_tree(&mut self, hold: &Hold, standing: &Standing, denial: Option<Denial>, why: Option<String>) {
        let tree = &hold.request.tree;
        if let Some(denial) = denial {
            self.denials.keep(tree, denial);
        }
        self.notify(tree, &Notice::ended(hold, standing, self.now(), why));
    }
}
