//! What the two local sockets ask. Who may do what is said here.

use holdpoint_common::{
    decision::Decision,
    event::Reason,
    tables::{CANARY, TRUSTED_CANARY},
    task::{Enrolment, Switches},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{CANARY_TREE, Daemon, FAREWELL, SETTLED, Waiting};
use crate::{
    approval::{channel::Preview, said::WHY},
    claims::Said,
    holds::Input,
    identity,
    kernel::{HOOKS, Pins},
    page::{Reviewer, Roll},
    policy, process,
    record::{self, Entry},
    request::{Answer, Caller, Hold, HoldId, Proof, Refusal, shown},
    signature::{self, Signed},
    sockets::{
        Command, Declined, Enrolled, Hook, Mine, Peer, Reloaded, Reply, Status, Watching, Written, message::tree_text,
    },
};

/// Notices that a slow client may leave unread.
const UNREAD: usize = 64;

impl Daemon {
    pub(super) fn command(&mut self, command: Command) {
        // A client that has gone does not need its reply.
        match command {
            Command::Holds { from, reply } => {
                let holds = self.admit(from).map(|()| self.holds.pending().cloned().collect());
                drop(reply.send(holds));
            }
            Command::Show { from, id, reply } => drop(reply.send(self.admit(from).and_then(|()| self.show(id)))),
            Command::Preview { from, id, channel, reply } => {
                let shown = self.admit(from).and_then(|()| self.show(id));
                drop(reply.send(shown.and_then(|hold| self.preview(&hold, &channel))));
            }
            Command::Answer { from, answer, signature, reply } => match self.author(from, answer, signature) {
                Ok(answer) => {
                    let ticket = self.ticket(Waiting::Local(reply));
                    self.answered(answer, ticket);
                }
                Err(declined) => drop(reply.send(Err(declined))),
            },
            Command::Grants { from, reply } => {
                drop(reply.send(self.admit(from).map(|()| self.holds.grants().cloned().collect())));
            }
            Command::Revoke { from, caller, which, why, reply } => {
                // Whoever it is: nothing passes by it.
                let by = identity::local(&self.revisions.policy().people, &caller).unwrap_or(caller.name);
                drop(reply.send(self.admit(from).and_then(|()| self.revoke(&which, &by, why.as_ref()))));
            }
            Command::Page { from, caller, reviewer, reply } => {
                drop(reply.send(self.admit(from).and_then(|()| self.page_link(from, caller, reviewer))));
            }
            Command::Status { from, reply } => drop(reply.send(self.admit(from).and_then(|()| self.status()))),
            Command::Reload { from, reply } => {
                let allowed = self.admit(from).and_then(|()| match from.uid {
                    0 => Ok(()),
                    _ => Err(Declined::new("only root may put another policy in force")),
                });
                drop(reply.send(allowed.and_then(|()| self.reload(Some(from.uid)))));
            }
            Command::Detach { from, reply } => self.detach(from, reply),
            Command::Canary { from, pid, trusted, reply } => drop(reply.send(self.offer_canary(from, pid, trusted))),
            Command::EndCanary { pid, reply } => self.end_canary(pid, reply),
            Command::Enrol { from, subject, said, reply } => {
                drop(reply.send(self.enrol(from, subject.as_deref(), said)));
            }
            Command::Abandon { from } => self.abandon(from),
            Command::Confirm { from, reply } => drop(reply.send(Ok(self.confirm(from)))),
            Command::Watch { from, tree, reply } => drop(reply.send(self.watch(from, tree))),
            Command::Mine { from, reply } => drop(reply.send(Ok(self.mine(from)))),
            Command::Annotate { from, said, reply } => drop(reply.send(self.annotate(from, said))),
        }
    }

    /// No authority for the governed, root or not.
    fn admit(&self, from: Peer) -> Result<(), Declined> {
        match self.kernel.governed_process(from.pid) {
            Some(_) => Err(Declined::new("a governed process may not use the control socket")),
            None => Ok(()),
        }
    }

    /// The answer, in the name of whoever has signed it, if that is said; in the sender's otherwise.
    fn author(&mut self, from: Peer, answer: Answer, signature: Option<String>) -> Result<Answer, Declined> {
        if let Err(declined) = self.admit(from) {
            self.intruded(from.pid, Some(answer.hold));
            return Err(declined);
        }
        fits(answer.why.as_ref())?;
        let Some(signature) = signature else { return Ok(answer) };
        // Of the digest that was shown to the reviewer. Whether that is what is held is judged as of any answer.
        let statement = signature::statement(answer.hold, &answer.digest, answer.word, answer.scope);
        match signature::verify(&self.revisions.policy().people, &statement, &signature) {
            Ok(Signed { who, key, signature }) => {
                Ok(Answer { who, proof: Proof::Signed { key, signature, uid: from.uid }, ..answer })
            }
            Err(bad) => {
                self.refused(Some(answer.hold), Some(answer), bad.to_string(), 0);
                Err(bad.into())
            }
        }
    }

    fn show(&self, id: HoldId) -> Result<Hold, Declined> {
        let over = || match self.holds.standing(id) {
            Some(standing) => Refusal::Over(standing.clone()).into(),
            None => Declined::new(format!("no hold {id}")).remedy("see `holdpoint holds`"),
        };
        self.holds.get(id).cloned().ok_or_else(over)
    }

    fn preview(&self, hold: &Hold, channel: &str) -> Result<Preview, Declined> {
        let none = || Declined::new(format!("no channel \"{}\"", shown(channel))).remedy("see the agent's config.toml");
        self.approval.preview(self.now(), hold, channel).ok_or_else(none)
    }

    /// A link is for who asks; only root asks for others.
    fn page_link(&mut self, from: Peer, caller: Caller, named: Option<String>) -> Result<(String, String), Declined> {
        let own = identity::local(&self.revisions.policy().people, &caller);
        let stranger = own.as_ref().err().filter(|_| named.is_none()).cloned().map(Declined::from);
        let other = || Declined::new("only root may ask for a link for somebody else");
        let login = caller.login;
        let reviewer = Reviewer::asked_by(caller, own.ok(), named);
        let reviewer = reviewer.ok_or_else(|| stranger.unwrap_or_else(other))?;
        let none = || Declined::new("there is no review page").remedy("add [page] to config.toml: docs/channels.md");
        let page = self.page.as_ref().ok_or_else(none)?;
        let user = reviewer.user.clone();
        if !page.knows(&reviewer) {
            let message = format!("{} is no reviewer: no group of the policy has that name", shown(&user));
            return Err(
                Declined::new(message).remedy("see [reviewers] in the policy; root asks for another: --for NAME")
            );
        }
        let full = || Declined::new("too many links have not been used").remedy("try again in 10 minutes");
        let link = page.link(reviewer).ok_or_else(full)?;
        let event = record::Event::PageLink { reviewer: user.clone(), by: from.uid, login, pid: from.pid };
        self.note(&Entry { time: self.now(), event });
        Ok((link, user))
    }

    fn status(&self) -> Result<Status, Declined> {
        let failed = |error: anyhow::Error| Declined::new(format!("{error:#}"));
        let counters = self.kernel.counters().map_err(failed)?;
        let proven = |hook: &str| self.findings.iter().any(|finding| finding.hook == hook && finding.refused);
        let hooks: Vec<_> = HOOKS.iter().map(|name| Hook { name: (*name).to_owned(), proven: proven(name) }).collect();
        let pins = Pins::new(&self.pins);
        let (attached, missing) = (pins.attached(), pins.missing().map_err(failed)?);
        let mut problems: Vec<_> = hooks
            .iter()
            .filter(|hook| !hook.proven)
            .map(|hook| format!("{} was not seen to fire", hook.name))
            .collect();
        if !attached {
            problems.push("the programs are not attached: somebody removed their pins".to_owned());
        } else if !missing.is_empty() {
            problems.push(format!("not attached, since somebody removed their pins: {}", missing.join(", ")));
        }
        if self.holds.unrecorded() > 0 {
            problems.push(format!("{} denials could not be recorded", self.holds.unrecorded()));
        }
        let lost = Reason::RingFull;
        let policy = self.revisions.policy();
        if policy.observes {
            problems
                .push("the policy only observes: what it would hold, deny or kill passes, and is recorded".to_owned());
        }
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            since: self.since,
            attached,
            enforcing: !policy.observes && attached && missing.is_empty() && hooks.iter().all(|hook| hook.proven),
            problems,
            hooks,
            policy_file: policy.source.name().to_owned(),
            host: policy.host.name().to_owned(),
            policy_revision: policy.revision().to_owned(),
            kernel_memory: pins.memory().ok(),
            governed_threads: self.kernel.governed().len() as u64,
            pending_holds: self.holds.pending().count() as u64,
            hard_links: self.revisions.linked().files.len() as u64,
            lost_events: counters.iter().find(|(reason, _)| *reason == lost).map_or(0, |(_, count)| *count),
            not_held: counters
                .into_iter()
                .filter(|(reason, _)| *reason != lost)
                .map(|(reason, count)| (reason.word().to_owned(), count))
                .collect(),
        })
    }

    /// Reads the policy anew and puts it in force; `by` asked for it, or a signal did. Nothing changes if that fails.
    pub(super) fn reload(&mut self, by: Option<u32>) -> Result<Reloaded, Declined> {
        let before = self.revisions.policy().revision().to_owned();
        let replaced = policy::load(&self.policy_file, &policy::Host::this())
            .map_err(|error| anyhow::anyhow!(error.rendered(false)))
            .and_then(|policy| {
                self.approval.judge(&policy.groups).map_err(anyhow::Error::msg)?;
                self.revisions.replace(policy, &mut self.kernel)
            });
        if let Err(error) = replaced {
            tracing::error!("the policy was not put in force, and that of before stays: {error:#}");
            return Err(Declined::new(format!("{error:#}")).remedy("the policy of before stays in force"));
        }
        self.enrol_reviewers();
        let policy = self.revisions.policy().revision().to_owned();
        tracing::info!(policy, before, "another policy is in force");
        let event = record::Event::PolicyChanged { policy: policy.clone(), before: before.clone(), by };
        self.note(&Entry { time: self.now(), event });
        self.input(Input::PolicyChanged);
        self.judge_all_anew();
        match self.revisions.govern_running(&mut self.kernel) {
            Ok(()) => Ok(Reloaded { policy, before }),
            Err(error) => {
                tracing::error!("policy {policy} is in force, but not on all that runs already: {error:#}");
                Err(Declined::new(format!("policy {policy} is in force, but not on all that runs already: {error:#}")))
            }
        }
    }

    /// Tells the page who is a reviewer now.
    pub(super) fn enrol_reviewers(&self) {
        if let Some(page) = &self.page {
            page.enrol(Roll::of(self.revisions.policy()));
        }
    }

    fn judge_all_anew(&mut self) {
        // Those that the kernel has not told of yet too. Whoever was judged by the policy of before is in the map by now.
        self.take_pending();
        let pending: Vec<_> = self.holds.pending().map(|hold| hold.id).collect();
        pending.into_iter().for_each(|id| self.judge_anew(id));
    }

    /// Begins the end of enforcement: no new holds, each pending one denied. [`Self::detached`] ends it.
    fn detach(&mut self, from: Peer, reply: Reply<Written>) {
        let allowed = self.admit(from).and_then(|()| match from.uid {
            0 => Ok(()),
            _ => Err(Declined::new("only root may detach")),
        });
        let closed = allowed.and_then(|()| self.set_closing(true));
        match closed {
            Ok(()) => {
                tracing::warn!(pid = from.pid, "detaching: what is held is denied");
                self.detaching = Some((reply, Instant::now()));
                self.input(Input::Close);
            }
            Err(declined) => drop(reply.send(Err(declined))),
        }
    }

    fn set_closing(&mut self, closing: bool) -> Result<(), Declined> {
        let switches = self.kernel.switches();
        let set =
            switches.and_then(|switches| self.kernel.set_switches(Switches { closing: closing.into(), ..switches }));
        set.map_err(|error| Declined::new(format!("{error:#}")))
    }

    /// Takes the programs off once nothing is held any more: unlinking before would let it through. Returns what
    /// ends when the client has its answer.
    pub(super) fn detached(&mut self) -> anyhow::Result<Option<oneshot::Receiver<()>>> {
        let Some((_, begun)) = &self.detaching else { return Ok(None) };
        let waited = begun.elapsed();
        // A hook that began before the closing may still be writing its hold down.
        if waited > SETTLED && self.is_seen_off()? {
            Pins::new(&self.pins).remove()?;
            tracing::warn!("detached: nothing is enforced any more");
            let (writing, written) = oneshot::channel();
            if let Some((reply, _)) = self.detaching.take() {
                drop(reply.send(Ok(writing)));
            }
            return Ok(Some(written));
        }
        if waited > FAREWELL
            && let Some((reply, _)) = self.detaching.take()
        {
            let reopened = self.set_closing(false);
            self.input(Input::Reopen);
            let declined = Declined::new("a denied process did not end its call; enforcement stays on")
                .remedy("`holdpoint holds` names it: end it, then detach again");
            drop(reply.send(reopened.and(Err(declined))));
        }
        Ok(None)
    }

    /// Whether no held call is left that has yet to be refused.
    fn is_seen_off(&self) -> anyhow::Result<bool> {
        for id in self.kernel.pending()? {
            let Some(pending) = self.kernel.hold(id)? else { continue };
            let decided = self.kernel.decided(id)?;
            if !decided.is_some_and(|(decision, _)| decision == Decision::Approve) || pending.passed == 0 {
                return Ok(false);
            }
        }
        Ok(self.holds.pending().next().is_none())
    }

    fn enrol(&mut self, from: Peer, subject: Option<&str>, said: Said) -> Result<Enrolled, Declined> {
        if let Some(governed) = self.kernel.governed_process(from.pid) {
            let name = self.reader_subject(governed.subject);
            return match subject {
                Some(other) if other != name => Err(Declined::new(format!(
                    "this is in a governed tree of subject \"{name}\" already, and stays there"
                ))),
                _ => Ok(Enrolled::Already { subject: name }),
            };
        }
        let policy = self.revisions.policy();
        let subject = match subject {
            Some(name) => policy.subject_named(name).ok_or_else(|| unknown_subject(name, policy)),
            None => policy.default_subject().map_err(|error| Declined::new(error.to_string())),
        }?;
        let offer = Enrolment {
            tree: rand::random::<u64>().max(1),
            subject: subject.number(),
            launcher: from.uid,
            taken: 0,
            reserved: 0,
        };
        self.introduce(from, offer.tree, said)?;
        self.kernel.offer(from.pid, offer).map_err(|error| Declined::new(format!("{error:#}")))?;
        self.offers.insert(from.pid, offer.tree);
        Ok(Enrolled::Offered { tree: offer.tree })
    }

    /// A child of root's `holdpoint attack` is governed by the rule that denies the agent's own canary everything.
    fn offer_canary(&mut self, from: Peer, pid: u32, trusted: bool) -> Result<(), Declined> {
        self.admit(from)?;
        if from.uid != 0 {
            return Err(Declined::new("only root may do this").remedy("sudo"));
        }
        if process::parent(pid) != Some(from.pid) {
            return Err(Declined::new(format!("process {pid} is not a child of the process that asks")));
        }
        let failed = |error: anyhow::Error| Declined::new(format!("{error:#}"));
        self.revisions.link_canaries(&mut self.kernel).map_err(failed)?;
        let subject = if trusted { TRUSTED_CANARY } else { CANARY };
        let canary = Enrolment { tree: CANARY_TREE, subject, launcher: 0, taken: 0, reserved: 0 };
        self.kernel.offer(pid, canary).map_err(failed)?;
        self.canaries.insert(pid);
        Ok(())
    }

    fn end_canary(&mut self, pid: u32, reply: Option<Reply<bool>>) {
        // Only what was offered so: the offers of `holdpoint run` are nobody else's to end.
        let taken = self.canaries.remove(&pid) && self.kernel.end_offer(pid);
        if let Some(reply) = reply {
            drop(reply.send(Ok(taken)));
        }
    }

    fn abandon(&mut self, from: Peer) {
        self.offers.remove(&from.pid);
        self.kernel.end_offer(from.pid);
    }

    fn confirm(&mut self, from: Peer) -> bool {
        let Some(tree) = self.offers.remove(&from.pid) else { return false };
        let taken = self.kernel.end_offer(from.pid);
        taken && self.kernel.governed_process(from.pid).is_some_and(|governed| governed.tree == tree)
    }

    fn watch(&mut self, from: Peer, tree: u64) -> Result<Watching, Declined> {
        let launcher = self.kernel.governed().into_iter().find(|governed| governed.tree == tree);
        let is_launcher = launcher.is_some_and(|governed| governed.launcher == from.uid);
        if from.uid != 0 && !is_launcher {
            return Err(Declined::new("only who launched a tree, and root, may watch its holds"));
        }
        let (sender, later) = mpsc::channel(UNREAD);
        let name = tree_text(tree);
        let held = self.holds.pending().filter(|hold| hold.request.tree == name).cloned().collect();
        self.watchers.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.is_closed());
            !watchers.is_empty()
        });
        self.watchers.entry(name).or_default().push(sender);
        Ok(Watching { held, later })
    }

    fn mine(&self, from: Peer) -> Mine {
        let Some(governed) = self.kernel.governed_process(from.pid) else {
            return Mine { tree: None, held: Vec::new(), denied: Vec::new() };
        };
        let name = tree_text(governed.tree);
        Mine {
            tree: Some((governed.tree, self.reader_subject(governed.subject))),
            held: self.holds.pending().filter(|hold| hold.request.tree == name).cloned().collect(),
            denied: self.denials.of(&name),
        }
    }
}

fn unknown_subject(name: &str, policy: &crate::policy::Policy) -> Declined {
    let known: Vec<_> = policy.subjects.iter().map(|subject| subject.name.as_str()).collect();
    Declined::new(format!("the policy has no subject \"{name}\"")).remedy(format!("one of: {}", known.join(", ")))
}

/// Whether so many words may be put on record.
pub(super) fn fits(why: Option<&String>) -> Result<(), Declined> {
    match why.is_some_and(|why| why.chars().count() > WHY) {
        true => Err(Declined::new("the reason is too long").remedy(format!("at most {WHY} characters"))),
        false => Ok(()),
    }
}
