//! What the kernel tells: who has become governed, what was refused, what was read.

use std::collections::BTreeSet;

use holdpoint_common::{
    event::{Bell, Kind, RING_BYTES, Reason},
    pending::Strings,
    request::Facts,
    tables::CANARIES,
};

use super::{BATCH, Daemon, held::Due};
use crate::{
    claims::Speaker,
    denials::Denial,
    holds::Input,
    kernel::{Event, Events, Reader},
    policy::{Policy, verdict_word},
    process,
    record::{self, Entry},
    request::{HoldId, Reading, Request, Withdrawal},
    sockets::{Notice, message::tree_text},
};

/// Batches of events that the ring can hold: bells only, each with 8 bytes of the ring's own.
const RING_BATCHES: usize = RING_BYTES as usize / (size_of::<Bell>() + 8) / BATCH;

impl Daemon {
    /// Takes events that are there, not so many that nobody else gets a turn; true if it took all.
    pub(super) fn drain(&mut self, events: &mut Events) -> bool {
        for _ in 0..BATCH {
            match events.next() {
                Some(Event::Bell { kind, id, pid }) => self.bell(kind, id, pid),
                Some(Event::Report { kind, reason, labels, facts, strings }) => {
                    self.report((kind, reason), labels, &facts, strings.as_deref());
                }
                None => return true,
            }
        }
        false
    }

    fn bell(&mut self, kind: Kind, id: u64, pid: u32) {
        let hold = HoldId(id);
        match kind {
            Kind::Held => _ = self.held(hold),
            Kind::Passed => self.met(hold, Input::Passed(hold)),
            Kind::Refused => self.met(hold, Input::Refused(hold)),
            Kind::Left => self.met(hold, self.left(hold)),
            Kind::Enrolled => self.enrolled(id, pid, false),
            Kind::Found => self.enrolled(id, pid, true),
            Kind::ControlRefused => self.intruded(pid, None),
            Kind::Audited | Kind::Denied | Kind::DeniedAgain | Kind::Killed | Kind::NotHeld | Kind::Labelled => {}
        }
    }

    /// The held call is over, or is another request under another policy.
    fn left(&self, hold: HoldId) -> Input {
        match self.watched.get(&hold).map(|watched| watched.due) {
            Some(Due::Policy { .. }) => Input::Gone(hold, Withdrawal::PolicyChanged),
            _ => Input::Left(hold),
        }
    }

    /// The thread met its decision.
    fn met(&mut self, hold: HoldId, input: Input) {
        if let Some(watched) = self.watched.get_mut(&hold) {
            watched.due = Due::Nothing;
        }
        if !matches!(input, Input::Passed(_)) {
            self.watched.remove(&hold);
        }
        self.input(input);
    }

    fn enrolled(&mut self, tree: u64, pid: u32, already_running: bool) {
        let Some(governed) = self.kernel.governed().into_iter().find(|governed| governed.tree == tree) else { return };
        if CANARIES.contains(&governed.subject) {
            return;
        }
        let subject = self.reader_subject(governed.subject);
        let tree = tree_text(tree);
        if already_running {
            tracing::info!(pid, subject, tree, "already running: governed from now on");
        }
        let mut claims = self.claims_of(&tree, self.now());
        claims.retain(|claim| matches!(claim.by, Speaker::Launcher { .. }));
        let launcher = governed.launcher;
        let event = record::Event::Enrolled { tree: tree.clone(), subject, pid, launcher, already_running };
        self.note(&Entry { time: self.now(), event });
        claims.into_iter().for_each(|claim| self.claimed(&tree, claim));
    }

    pub(super) fn reader_subject(&self, number: u32) -> String {
        Reader { policy: self.revisions.policy(), mounts: self.revisions.mounts(), boot: self.boot }.subject(number)
    }

    fn report(&mut self, end: (Kind, Option<Reason>), labels: u64, facts: &Facts, strings: Option<&Strings>) {
        if CANARIES.contains(&facts.subject) {
            return;
        }
        let Some(policy) = self.revisions.of(facts.revision) else {
            let pid = facts.tgid;
            return tracing::error!(?end, pid, "not in the record: a request judged by a policy that is not kept");
        };
        let reader = Reader { policy: &policy, mounts: self.revisions.mounts(), boot: self.boot };
        let Some(mut request) = reader.reported(facts, strings).map(Box::new) else { return };
        self.add_hosts(&mut request, facts);
        self.masks().request(&mut request);
        self.labelled(&policy, labels, &request);
        let time = request.at;
        let event = match end {
            (Kind::Audited, _) => {
                let rule = policy.rule(facts.rule).filter(|rule| policy.in_force(rule) != rule.verdict());
                record::Event::Audited { would: rule.map(|rule| verdict_word(rule.verdict())), request }
            }
            (Kind::Denied, _) => {
                self.denied(&request, Denial::of_request(&request));
                record::Event::Denied { again: false, request }
            }
            (Kind::DeniedAgain, _) => {
                self.denied(&request, self.denials.again(&request));
                record::Event::Denied { again: true, request }
            }
            (Kind::Killed, _) => {
                self.denied(&request, Denial::of_request(&request));
                record::Event::Killed(request)
            }
            (Kind::NotHeld, Some(reason)) => {
                self.denied(&request, Denial::not_held(&request, reason.word()));
                record::Event::NotHeld { reason: reason.word(), request }
            }
            _ => return,
        };
        self.note(&Entry { time, event });
    }

    /// Keeps it for the tree, and tells who launched it; of the same again and again, the first, and the second where that
    /// alone says that nobody is asked any more.
    fn denied(&mut self, request: &Request, denial: Denial) {
        let told = if denial.until.is_some() { 2 } else { 1 };
        if self.denials.keep(&request.tree, denial.clone()) <= told {
            self.notify(&request.tree, &Notice::Denied(denial));
        }
    }

    /// Who asks reads data with these labels, and carries them from now on.
    fn labelled(&mut self, policy: &Policy, labels: u64, request: &Request) {
        if labels == 0 {
            return;
        }
        let mut context = process::context(request.pid);
        self.masks().context(&mut context);
        let exe = context.ancestry.first().map(|process| process.exe.clone());
        let governed: BTreeSet<_> = self.kernel.governed().iter().map(|governed| tree_text(governed.tree)).collect();
        let names: Vec<_> = self.revisions.labels(labels).map(str::to_owned).collect();
        for name in names {
            let reading = Reading {
                tree: request.tree.clone(),
                lineage: policy.labels.iter().any(|label| label.name == name && label.lineage),
                label: name,
                path: request.what.path().unwrap_or_default().to_owned(),
                pid: request.pid,
                started: request.started,
                exe: exe.clone().filter(|exe| !exe.is_empty()),
                at: request.at,
            };
            let first = self.readings.note(&reading, &governed);
            if let Err(error) = &first {
                tracing::error!("what was read is not shown after a restart of the agent: {error:#}");
            }
            if first.unwrap_or(true) {
                self.note(&Entry { time: reading.at, event: record::Event::Labelled(Box::new(reading)) });
            }
        }
    }

    /// Takes all events that are there: as many as fit into the ring.
    pub(super) fn drain_all(&mut self, events: &mut Events) {
        let mut batches = RING_BATCHES;
        while batches > 0 && !self.drain(events) {
            batches -= 1;
        }
    }
}
