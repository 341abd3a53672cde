//! The agent's side of the border: the maps, as typed operations. Nothing else in the agent knows aya.

mod btf;
mod events;
mod hosts;
mod programs;
mod running;
mod symbols;
mod tables;

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsRawFd, RawFd},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError, RingBuf};
use holdpoint_common::{
    decision::{DIGEST_BYTES, Decision, DecisionRecord},
    event::Reason,
    pending::{Pending, Refused},
    task::{Carrier, Enrolment, Switches, Task},
};

use rustix::thread::{MembarrierCommand, membarrier};

pub use self::{
    events::{Event, Reader},
    programs::{HOOKS, Pins},
};
use crate::request::HoldId;

/// Far longer than any program runs.
const LONGEST_RUN: Duration = Duration::from_millis(500);

/// The maps of the attached programs.
pub struct Kernel {
    tasks: HashMap<MapData, u64, Task>,
    carriers: HashMap<MapData, u64, Carrier>,
    enrolments: HashMap<MapData, u32, Enrolment>,
    pending: HashMap<MapData, u64, Pending>,
    decisions: HashMap<MapData, u64, DecisionRecord>,
    refused: HashMap<MapData, Refused, u64>,
    switches: Array<MapData, Switches>,
    counters: Array<MapData, u64>,
    tables: tables::Maps,
    hosts: hosts::Maps,
    /// See [`running::find`].
    running: PathBuf,
}

/// The kernel's reports. [`AsRawFd`] for waiting until there are some.
pub struct Events(RingBuf<MapData>);

/// One governed thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Governed {
    /// Its process.
    pub pid: u32,
    /// Its tree.
    pub tree: u64,
    /// Its subject.
    pub subject: u32,
    /// Who launched the tree.
    pub launcher: u32,
}

impl Kernel {
    /// Attaches the programs, or adopts them if they are attached, and opens their maps. Needs root.
    pub fn open(pins: &Path) -> Result<(Self, Events)> {
        let pins = Pins::new(pins);
        let mut maps: std::collections::HashMap<_, _> = pins.ensure()?.into_iter().collect();
        let mut take = |name: &str| maps.remove(name).with_context(|| format!("the programs have no map {name}"));
        let events = Events(typed("EVENTS", take("EVENTS")?)?);
        let kernel = Self {
            tasks: typed("TASKS", take("TASKS")?)?,
            carriers: typed("CARRIERS", take("CARRIERS")?)?,
            enrolments: typed("ENROLMENTS", take("ENROLMENTS")?)?,
            pending: typed("PENDING", take("PENDING")?)?,
            decisions: typed("DECISIONS", take("DECISIONS")?)?,
            refused: typed("REFUSED", take("REFUSED")?)?,
            switches: typed("SWITCHES", take("SWITCHES")?)?,
            counters: typed("COUNTERS", take("COUNTERS")?)?,
            tables: tables::Maps {
                roots: typed("ROOTS", take("ROOTS")?)?,
                edges: typed("EDGES", take("EDGES")?)?,
                letters: typed("LETTERS", take("LETTERS")?)?,
                links: typed("LINKS", take("LINKS")?)?,
                words: typed("WORDS", take("WORDS")?)?,
                conditions: typed("CONDITIONS", take("CONDITIONS")?)?,
                members: typed("MEMBERS", take("MEMBERS")?)?,
                host_names: typed("HOST_NAMES", take("HOST_NAMES")?)?,
                resolvers: typed("RESOLVERS", take("RESOLVERS")?)?,
                schedules: typed("SCHEDULES", take("SCHEDULES")?)?,
                names: typed("NAMES", take("NAMES")?)?,
                addresses: typed("ADDRESSES", take("ADDRESSES")?)?,
                starters: typed("STARTERS", take("STARTERS")?)?,
                rules: typed("RULES", take("RULES")?)?,
                system: typed("SYSTEM", take("SYSTEM")?)?,
                objects: typed("OBJECTS", take("OBJECTS")?)?,
            },
            hosts: hosts::Maps { queries: typed("QUERIES", take("QUERIES")?)?, hosts: typed("HOSTS", take("HOSTS")?)? },
            running: pins.running(),
        };
        Ok((kernel, events))
    }

    /// All holds that the kernel has: the truth, whatever events were lost.
    pub fn pending(&self) -> Result<Vec<HoldId>> {
        self.pending.keys().map(|id| id.map(HoldId).context("cannot list the pending holds")).collect()
    }

    /// One hold, if it is still there and complete.
    pub fn hold(&self, id: HoldId) -> Result<Option<Pending>> {
        let found = found(self.pending.get(&id.0, 0)).context("cannot read a pending hold")?;
        Ok(found.filter(|pending| pending.ready == 1))
    }

    /// What was decided about a hold, if anything, and the digest of what it was. What cannot be understood kills, as in
    /// the kernel.
    pub fn decided(&self, id: HoldId) -> Result<Option<(Decision, [u8; DIGEST_BYTES])>> {
        let record = found(self.decisions.get(&id.0, 0)).context("cannot read a decision")?;
        Ok(record.map(|record| (Decision::try_from(record.decision).unwrap_or(Decision::Kill), record.digest)))
    }

    /// Writes the decision on what has this digest; the held call meets it when it is executed again.
    pub fn decide(&mut self, id: HoldId, decision: Decision, digest: [u8; DIGEST_BYTES]) -> Result<()> {
        let record = DecisionRecord { decision: decision as u32, reserved: 0, digest };
        self.decisions.insert(id.0, record, 0).with_context(|| format!("cannot write the decision on {id}"))
    }

    /// What is held is refused until then, a time since boot, if it is asked for again, and nobody is asked; longer if that has
    /// been said before.
    pub fn refuse_again(&mut self, id: HoldId, until: Duration) -> Result<()> {
        let Some(pending) = self.hold(id)? else { return Ok(()) };
        let key = Refused { tree: pending.facts.tree, fingerprint: pending.fingerprint };
        let until = until.as_nanos().try_into().unwrap_or(u64::MAX);
        let before = self.refused.get(&key, 0).unwrap_or_default();
        self.refused
            .insert(key, until.max(before), 0)
            .with_context(|| format!("cannot refuse what {id} was if it is asked for again"))
    }

    /// Removes what is left of a hold whose thread is gone or has moved on.
    pub fn forget(&mut self, id: HoldId) {
        // Either may be gone already: the kernel removes them too.
        let _ = self.pending.remove(&id.0);
        let _ = self.decisions.remove(&id.0);
    }

    /// Offers process `pid` to become governed at its next exec.
    pub fn offer(&mut self, pid: u32, enrolment: Enrolment) -> Result<()> {
        self.enrolments.insert(pid, enrolment, 0).with_context(|| format!("cannot offer enrolment to process {pid}"))
    }

    /// Ends the offer to `pid`; true if it was taken.
    pub fn end_offer(&mut self, pid: u32) -> bool {
        let taken = self.enrolments.get(&pid, 0).is_ok_and(|offer| offer.taken == 1);
        let _ = self.enrolments.remove(&pid);
        taken
    }

    /// Ends all offers: those of an agent before this one.
    pub fn end_offers(&mut self) -> Result<()> {
        let offered: Vec<u32> = self.enrolments.keys().collect::<Result<_, _>>().context("cannot list the offers")?;
        for pid in offered {
            self.end_offer(pid);
        }
        Ok(())
    }

    /// The names by which a tree had looked up an address, as of `at`, nanoseconds of `CLOCK_BOOTTIME`.
    pub fn hosts(&self, tree: u64, address: [u8; 16], at: u64) -> Vec<String> {
        self.hosts.of(tree, address, at)
    }

    /// Forgets questions that were over by `unanswered`, and names that were by `then`, both moments long past.
    pub fn forget_hosts(&mut self, unanswered: u64, then: u64) -> Result<()> {
        self.hosts.forget(unanswered, then)
    }

    /// All governed threads.
    pub fn governed(&self) -> Vec<Governed> {
        let tasks = self.tasks.iter().flatten();
        tasks.map(|(_, t)| Governed { pid: t.tgid, tree: t.tree, subject: t.subject, launcher: t.launcher }).collect()
    }

    /// Labels that anybody carries: a mask.
    pub fn carried(&self) -> u64 {
        self.carriers.iter().flatten().fold(0, |mask, (_, carrier)| mask | carrier.labels)
    }

    /// The subjects of offers, by the process that has each.
    pub fn offered(&self) -> Vec<(u32, u32)> {
        self.enrolments.iter().flatten().map(|(pid, offer)| (pid, offer.subject)).collect()
    }

    /// How process `pid` is governed, if it is.
    pub fn governed_process(&self, pid: u32) -> Option<Governed> {
        self.governed().into_iter().find(|governed| governed.pid == pid)
    }

    /// The switches in force.
    pub fn switches(&self) -> Result<Switches> {
        self.switches.get(&0, 0).context("cannot read the switches")
    }

    /// Sets the switches.
    pub fn set_switches(&mut self, switches: Switches) -> Result<()> {
        self.switches.set(0, switches, 0).context("cannot write the switches")
    }

    /// Waits until no program is at work any more that began under switches of before.
    pub fn await_programs(&self) {
        // It waits for an RCU grace period, and programs run under RCU. Not where `nohz_full=` forbids it.
        if membarrier(MembarrierCommand::Global).is_err() {
            thread::sleep(LONGEST_RUN);
        }
    }

    /// Governs what runs already and is a subject under the policy in force; gives the processes.
    pub fn govern_running(&mut self) -> Result<BTreeSet<u32>> {
        self.set_searching(true)?;
        let found = running::find(&self.running);
        self.set_searching(false)?;
        found
    }

    fn set_searching(&mut self, searching: bool) -> Result<()> {
        let switches = self.switches()?;
        self.set_switches(Switches { searching: searching.into(), ..switches })
    }

    /// What was refused or lost, by reason.
    pub fn counters(&self) -> Result<Vec<(Reason, u64)>> {
        let count = |reason: Reason| self.counters.get(&(reason as u32), 0).map(|count| (reason, count));
        Reason::ALL.into_iter().map(count).collect::<Result<_, _>>().context("cannot read the counters")
    }

    /// Writes the tables of a policy beside those in force: nothing changes until the switches name their revision.
    pub fn write_tables(&mut self, number: u32, tables: &crate::policy::Tables) -> Result<()> {
        self.tables.write(number, tables)
    }

    /// Writes rows on files with several names, beside those that there are.
    pub fn write_objects(&mut self, objects: &crate::policy::Objects) -> Result<()> {
        self.tables.write_objects(&objects.rows)
    }

    /// Removes the tables of every revision but `number`.
    pub fn keep_tables_of(&mut self, number: u32) -> Result<()> {
        self.tables.keep(number)
    }
}

impl Events {
    /// The next event, if there is one.
    pub fn next(&mut self) -> Option<Event> {
        events::parse(&self.0.next()?)
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn typed<T: TryFrom<Map, Error = MapError>>(name: &str, map: Map) -> Result<T> {
    T::try_from(map).with_context(|| format!("the pinned map {name} has another shape; detach and start again"))
}

/// A missing key is not an error.
fn found<T>(result: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
