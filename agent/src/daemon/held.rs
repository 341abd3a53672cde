//! What the kernel holds: described for those who are asked, and its threads watched until they have met their decision.

use std::{ops::Bound, time::Duration};

use holdpoint_common::{decision::Decision, pending::Pending};
use tokio::time::Instant;

use super::{BATCH, Daemon};
use crate::{
    class::Class,
    holds::Input,
    kernel::Reader,
    process::{self, State},
    request::{Digest, Hold, HoldId, Withdrawal},
    user,
};

/// How long a process that was woken may sleep on before it is woken again: at first, and at most.
const FIRST_NUDGE: Duration = Duration::from_millis(100);
/// See [`FIRST_NUDGE`].
const LAST_NUDGE: Duration = Duration::from_secs(1);

/// A hold whose thread is watched.
pub(super) struct Watched {
    pub(super) process: process::Held,
    /// When it asked, in nanoseconds of `CLOCK_BOOTTIME`.
    asked: u64,
    pub(super) due: Due,
    /// When it was last woken, and how long to wait before it is again.
    woken: (Instant, Duration),
}

/// What a held thread was woken for and has not been seen to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// The decision, which is in place.
    Decision,
    /// Another policy. It has been stopped again, if it is, once the kernel counts more stops than these.
    Policy {
        entries: u32,
    },
}

impl Daemon {
    /// Takes what the kernel has of this hold, and gives when it was asked (before everything, if that cannot be read);
    /// nothing if it is over already.
    pub(super) fn held(&mut self, id: HoldId) -> Option<u64> {
        match self.kernel.hold(id) {
            Ok(pending) => {
                let pending = pending?;
                self.take(id, &pending);
                Some(pending.facts.at)
            }
            Err(error) => {
                tracing::error!("{error:#}");
                Some(0)
            }
        }
    }

    fn take(&mut self, id: HoldId, pending: &Pending) {
        // What is known of a hold does not change, and gathering it anew would cost.
        let known = self.holds.get(id).cloned();
        let Some(hold) = known.or_else(|| self.describe(id, pending)) else {
            return self.kill_unknown(id, pending);
        };
        let fresh = !self.watched.contains_key(&id) && self.holds.get(id).is_none();
        if fresh {
            let Some(process) = self.find(id, pending) else { return };
            let woken = (Instant::now(), FIRST_NUDGE);
            let asked = pending.facts.at;
            self.watched.insert(id, Watched { process, asked, due: Due::Nothing, woken });
        }
        let kernel = match self.kernel.decided(id).unwrap_or_default() {
            Some((_, digest)) if digest != hold.alone().bytes() => return self.kill_unknown(id, pending),
            decided => decided.map(|(decision, _)| decision),
        };
        let recorded = self.record.decided(id).cloned();
        let passed = pending.passed != 0;
        self.input(Input::Held { hold: Box::new(hold), kernel, passed, recorded });
        if fresh {
            self.judge_anew(id);
        }
    }

    /// What is held under another policy than the one in force is executed again, unless it is decided: it stays held where
    /// the same rule holds it.
    pub(super) fn judge_anew(&mut self, id: HoldId) {
        let of_another = |hold: &Hold| hold.request.policy != self.revisions.policy().revision();
        if !self.holds.get(id).is_some_and(of_another) || self.holds.standing(id).is_some() {
            return;
        }
        let Ok(Some(Pending { entries, .. })) = self.kernel.hold(id) else { return };
        if let Some(watched) = self.watched.get_mut(&id) {
            watched.wake(Due::Policy { entries });
        }
    }

    /// The thread of a hold. If it is gone, the kernel's hold goes too; if that cannot be told, it stays, and the next
    /// reconciliation tries again.
    fn find(&mut self, id: HoldId, pending: &Pending) -> Option<process::Held> {
        let facts = &pending.facts;
        match process::Held::find(facts.tgid, facts.tid, facts.started, facts.syscall) {
            Ok(None) => self.kernel.forget(id),
            Ok(found) => return found,
            Err(error) => tracing::error!(%id, pid = facts.tgid, "a held process cannot be looked at: {error}"),
        }
        None
    }

    /// A hold that cannot be shown, since its policy is gone, cannot be approved; and a decision on something else, as
    /// another version of the agent can have left it, was not about this.
    fn kill_unknown(&mut self, id: HoldId, pending: &Pending) {
        let Some(process) = self.find(id, pending) else { return };
        tracing::error!(%id, pid = pending.facts.tgid, "killed: what it is held for cannot be understood any more");
        match self.kernel.decide(id, Decision::Kill, Default::default()) {
            Ok(()) => process.kill(),
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    /// Everything that is shown and compared of a hold. From here on it has no secret that a mask knows.
    fn describe(&mut self, id: HoldId, pending: &Pending) -> Option<Hold> {
        let policy = self.revisions.of(pending.facts.revision)?;
        let reader = Reader { policy: &policy, mounts: self.revisions.mounts(), boot: self.boot };
        let mut request = reader.held(pending)?;
        self.add_hosts(&mut request, &pending.facts);
        let rule = policy.rule(pending.facts.rule)?;
        let terms = rule.terms()?;
        let (digest, class) = (Digest::of(id, &request), Class::of(&request));
        let mut context = process::context(request.pid);
        self.masks().request(&mut request);
        self.masks().context(&mut context);
        let carried: Vec<_> = self.revisions.labels(pending.carried).map(str::to_owned).collect();
        let read = self.readings.of(&request.tree, &carried, &rule.only.labels, &context);
        let mut hold = Hold {
            id,
            digest,
            deadline: reader.moment(pending.deadline),
            reviewers: terms.reviewers.clone(),
            escalation: terms.escalate.iter().map(|escalation| escalation.of(request.at)).collect(),
            remind: terms.remind,
            assurance: terms.assurance,
            own: terms.own,
            scopes: terms.scopes.clone(),
            approved: vec![],
            on_deny: terms.on_deny,
            on_timeout: terms.on_timeout,
            pause: terms.pause,
            user: user::known(request.uid),
            launcher_name: user::known(request.launcher),
            same: vec![],
            alone: None,
            behind: None,
            if_read: rule.only.labels.clone(),
            carried,
            read,
            // By what is shown: the request is masked already.
            before: self.record.before(&request),
            claims: self.claims_of(&request.tree, request.at),
            context,
            class,
            request,
        };
        // A policy that is not in force any more offers nothing; and what cannot be told from other requests is asked each time.
        let in_force = hold.request.policy == self.revisions.policy().revision();
        if !hold.scopes.is_empty() && (!in_force || hold.class().is_none()) {
            hold.scopes.clear();
        }
        Some(hold)
    }

    /// Looks at the next of the held threads, whether they are not yet awake; gives those that are gone or elsewhere.
    pub(super) fn look(&mut self) -> Vec<(HoldId, Withdrawal)> {
        let mut gone = Vec::new();
        let after = (Bound::Excluded(self.looked_at), Bound::Unbounded);
        let mut last = HoldId(0);
        for (looked, (id, watched)) in self.watched.range_mut(after).take(BATCH).enumerate() {
            if looked + 1 == BATCH {
                last = *id;
            }
            let entries = self.kernel.hold(*id).ok().flatten().map(|pending| pending.entries);
            watched.stopped_again(entries);
            match watched.process.look(entries.unwrap_or(0)) {
                State::Gone(reason) => gone.push((*id, reason)),
                State::Waiting { stopped } => watched.nudge(stopped),
            }
        }
        self.looked_at = last;
        gone
    }

    pub(super) fn gone(&mut self, gone: Vec<(HoldId, Withdrawal)>) {
        for (id, reason) in gone {
            if reason == Withdrawal::ProcessDead {
                self.watched.remove(&id);
            }
            self.input(Input::Gone(id, reason));
        }
    }

    /// The pending map is the truth: whatever an event did not say is found here. Gives when the first of what is held was
    /// asked, in nanoseconds of `CLOCK_BOOTTIME` (without any, after everything); none if that cannot be listed.
    pub(super) fn take_pending(&mut self) -> Option<u64> {
        let pending = self.kernel.pending().inspect_err(|error| tracing::error!("{error:#}")).ok()?;
        let asked = |id| self.waits_still(id).or_else(|| self.held(id));
        Some(pending.into_iter().filter_map(asked).min().unwrap_or(u64::MAX))
    }

    /// When this was asked, if it is known and nothing has come of it: then there is nothing to look at.
    fn waits_still(&self, id: HoldId) -> Option<u64> {
        let undecided = self.holds.is_pending(id) && self.kernel.decided(id).is_ok_and(|decided| decided.is_none());
        self.watched.get(&id).filter(|_| undecided).map(|watched| watched.asked)
    }
}

impl Watched {
    /// Has the process execute its held call again, to meet what is due.
    pub(super) fn wake(&mut self, due: Due) {
        self.due = due;
        self.woken = (Instant::now(), FIRST_NUDGE);
        self.process.wake();
    }

    /// The kernel has stopped it so often, unless its hold is over.
    fn stopped_again(&mut self, stops: Option<u32>) {
        if matches!((self.due, stops), (Due::Policy { entries }, Some(stops)) if entries != stops) {
            self.due = Due::Nothing;
        }
    }

    /// Wakes a process that sleeps on although something is due: the stop of a sibling can have come between.
    fn nudge(&mut self, stopped: bool) {
        let (at, pause) = self.woken;
        if self.due != Due::Nothing && stopped && at.elapsed() >= pause {
            self.process.wake();
            self.woken = (Instant::now(), (pause * 2).min(LAST_NUDGE));
        }
    }
}
