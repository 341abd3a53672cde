//! Policy revisions: each is written beside the one in force and switched to in one step.
//!
//! A hold keeps the rule that made it, so the text of every revision is kept as long as the kernel's memory of it
//! may be (in `/run`, until the next boot): a restarted agent reads it there.

use std::{
    collections::HashMap,
    fs,
    io::Write,
    mem,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use holdpoint_common::task::{Switches, enrols};
use serde::{Deserialize, Serialize};

use super::labels::Bits;
use crate::{
    canary,
    kernel::Kernel,
    policy::{self, Host, Mounts, Objects, Own, Policy, Source, Tables},
};

/// All that it takes to read a revision again.
#[derive(Serialize, Deserialize)]
struct Kept {
    host: Host,
    source: Source,
}

/// The policy in force and those before it.
pub struct Revisions {
    directory: PathBuf,
    run_dir: PathBuf,
    own: Own,
    bits: Bits,
    /// The host's own resolvers, as they were when the agent started: nobody names others since.
    resolvers: Vec<IpAddr>,
    policy: Arc<Policy>,
    mounts: Mounts,
    linked: Objects,
    number: u32,
    /// What runs already is governed.
    searched: bool,
    earlier: HashMap<u32, Arc<Policy>>,
}

impl Revisions {
    /// Compiles `policy` for this host as it is now and puts it in force. Nothing changes if that fails.
    /// `own` is what belongs to Holdpoint.
    pub fn begin(run_dir: &Path, mut policy: Policy, own: Own, kernel: &mut Kernel) -> Result<Self> {
        let directory = run_dir.join("policies");
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        refuse_orphans(&policy, kernel)?;
        let mut bits = Bits::open(run_dir)?;
        bits.assign(&mut policy)?;
        let resolvers = resolvers();
        policy.resolvers.get_or_insert_with(|| resolvers.clone());
        let mut revisions = Self {
            directory,
            run_dir: run_dir.to_owned(),
            policy: Arc::new(policy.with_built_in(&own)),
            own,
            bits,
            resolvers,
            mounts: Mounts::now().context("cannot read the mounts of this host")?,
            linked: Objects::default(),
            number: kernel.switches()?.revision,
            searched: false,
            earlier: HashMap::new(),
        };
        revisions.switch(kernel)?;
        revisions.govern_running(kernel)?;
        Ok(revisions)
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The mounts for which it was compiled.
    pub fn mounts(&self) -> &Mounts {
        &self.mounts
    }

    /// The policy that was in force as revision `number`.
    pub fn of(&mut self, number: u32) -> Option<Arc<Policy>> {
        if number == self.number {
            return Some(Arc::clone(&self.policy));
        }
        if !self.earlier.contains_key(&number) {
            let Kept { host, source } = serde_json::from_slice(&fs::read(self.file(number)).ok()?).ok()?;
            self.earlier.insert(number, Arc::new(policy::parse(source, &host).ok()?.with_built_in(&self.own)));
        }
        self.earlier.get(&number).map(Arc::clone)
    }

    /// The names of the labels in a mask of the kernel's.
    pub fn labels(&self, mask: u64) -> impl Iterator<Item = &str> {
        self.bits.names(mask)
    }

    /// Puts another policy in force. Nothing changes if that fails. Who runs already is found by [`Self::govern_running`].
    pub fn replace(&mut self, mut policy: Policy, kernel: &mut Kernel) -> Result<()> {
        refuse_orphans(&policy, kernel)?;
        self.bits.forget(&self.policy, kernel.carried())?;
        self.bits.assign(&mut policy)?;
        policy.resolvers.get_or_insert_with(|| self.resolvers.clone());
        let mounts = Mounts::now().context("cannot read the mounts of this host")?;
        self.change(Arc::new(policy.with_built_in(&self.own)), mounts, kernel)
    }

    /// Compiles again if file systems were mounted or unmounted since. True if so.
    pub fn follow_mounts(&mut self, kernel: &mut Kernel) -> Result<bool> {
        let mounts = Mounts::now().context("cannot read the mounts of this host")?;
        let changed = mounts != self.mounts;
        if changed {
            self.change(Arc::clone(&self.policy), mounts, kernel)?;
        }
        if changed || !self.searched {
            self.govern_running(kernel)?;
        }
        Ok(changed)
    }

    /// Governs what the policy makes subjects of and runs already. If that fails, the next look at the mounts tries again.
    pub fn govern_running(&mut self, kernel: &mut Kernel) -> Result<()> {
        self.searched = self.policy.enrols() == enrols::NOBODY;
        if !self.searched {
            let processes = kernel.govern_running()?;
            self.searched = true;
            if !processes.is_empty() {
                tracing::info!(processes = processes.len(), "found already running: governed from now on");
            }
        }
        Ok(())
    }

    /// As it was if that fails, so that the next look at the mounts tries again.
    fn change(&mut self, policy: Arc<Policy>, mounts: Mounts, kernel: &mut Kernel) -> Result<()> {
        let number = self.number;
        let mounts = mem::replace(&mut self.mounts, mounts);
        let policy = mem::replace(&mut self.policy, policy);
        let switched = self.switch(kernel);
        match switched {
            // Those before it are read again from their files if anybody asks.
            Ok(()) => self.earlier = HashMap::from([(number, policy)]),
            Err(_) => (self.policy, self.mounts) = (policy, mounts),
        }
        switched
    }

    /// Writes the tables of the next revision beside those in force, keeps its text, and switches.
    fn switch(&mut self, kernel: &mut Kernel) -> Result<()> {
        let number = self.number.wrapping_add(1).max(1);
        let tables = self.compile(number)?;
        tell_of(&tables.objects);
        self.keep(number)?;
        // The rows of the revision in force stay: without them a program that is at work would find no rule.
        kernel.keep_tables_of(self.number)?;
        kernel.write_tables(number, &tables)?;
        let enrols = self.policy.enrols();
        let lineage = self.policy.lineage();
        kernel.set_switches(Switches { revision: number, enrols, lineage, ..kernel.switches()? })?;
        kernel.await_programs();
        self.number = number;
        // Nobody comes to carry what only the policy of before knew.
        if let Err(error) = self.bits.forget(&self.policy, kernel.carried()) {
            tracing::error!("labels that are not needed any more keep their place: {error:#}");
        }
        self.linked = tables.objects;
        Ok(())
    }

    /// Looks again for files of the canaries' that have other names.
    pub fn link_canaries(&self, kernel: &mut Kernel) -> Result<()> {
        let site = canary::directory(&self.run_dir);
        let objects = policy::links_of_canaries(&self.policy, self.number, &self.mounts, &site);
        kernel.write_objects(&objects)
    }

    /// Files that rules mean by one name and that have others.
    pub fn linked(&self) -> &Objects {
        &self.linked
    }

    fn compile(&self, number: u32) -> Result<Tables> {
        let refused = |problems| anyhow::Error::new(self.policy.refused(problems));
        let program = fs::read_link("/proc/self/exe").context("cannot find this program's own file")?;
        let canaries =
            policy::Canaries { sites: &[&canary::directory(&self.run_dir), &program], program: canary::PROGRAM };
        let mut tables = policy::compile(&self.policy, number, &self.mounts, Some(&canaries)).map_err(refused)?;
        policy::links_of_rules(&self.policy, number, &self.mounts, &mut tables);
        Ok(tables.numbered(&self.policy))
    }

    fn keep(&self, number: u32) -> Result<()> {
        let file = self.file(number);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let Policy { host, source, .. } = &*self.policy;
        let kept = serde_json::to_vec(&Kept { host: host.clone(), source: source.clone() })?;
        let written = options.open(&file).and_then(|mut open| open.write_all(&kept));
        written.with_context(|| format!("cannot write {}", file.display()))
    }

    fn file(&self, number: u32) -> PathBuf {
        self.directory.join(format!("{number}.json"))
    }
}

/// Whether the kernel's tables can take `policy` on this host: before anything is touched.
pub fn judge(policy: &Policy, own: &Own) -> Result<()> {
    let mounts = Mounts::now().context("cannot read the mounts of this host")?;
    let policy = policy.clone().with_built_in(own);
    match policy::compile(&policy, 0, &mounts, None) {
        Ok(_) => Ok(()),
        Err(problems) => Err(policy.refused(problems).into()),
    }
}

/// The resolvers of this host. Without any, no name is known.
fn resolvers() -> Vec<IpAddr> {
    policy::host_name::resolvers_of_host().unwrap_or_else(|error| {
        tracing::warn!("the resolvers of this host are not known, and so no name of a host is: {error}");
        Vec::new()
    })
}

/// A hard link from before anybody was governed may be known to somebody who should not.
fn tell_of(linked: &Objects) {
    const SHOWN: usize = 8;
    if !linked.files.is_empty() {
        let files: Vec<_> = linked.files.iter().take(SHOWN).map(|file| file.display().to_string()).collect();
        let count = linked.files.len();
        tracing::warn!(count, files = files.join(", "), "files that rules are about have further names (hard links)");
    }
    if linked.incomplete {
        tracing::warn!("not all files that rules are about were looked at for further names (hard links): too many");
    }
}

/// A tree that is governed, or about to be, stays governed: a policy that no longer knows its subject would let it go.
fn refuse_orphans(policy: &Policy, kernel: &Kernel) -> Result<()> {
    let known = |number| policy.subject(number).is_some() || holdpoint_common::tables::CANARIES.contains(&number);
    let governed = kernel.governed().into_iter().map(|thread| (thread.pid, thread.subject));
    let orphans: Vec<_> = governed.chain(kernel.offered()).filter(|(_, subject)| !known(*subject)).collect();
    match orphans.first() {
        None => Ok(()),
        Some((pid, _)) => bail!(
            "the policy does not name the subject of {} threads that are governed now (process {pid}, for one): keep \
             that subject in the policy until they have ended",
            orphans.len(),
        ),
    }
}
