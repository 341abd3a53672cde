//! The names that the kernel side has learned: see `holdpoint_common::host`.

use anyhow::{Context, Result};
use aya::maps::{HashMap, MapData};
use holdpoint_common::host::{HOST_SLOTS, Host, HostKey, Question};

pub(super) struct Maps {
    pub queries: HashMap<MapData, Question, u64>,
    pub hosts: HashMap<MapData, HostKey, Host>,
}

impl Maps {
    /// See [`super::Kernel::hosts`].
    pub fn of(&self, tree: u64, address: [u8; 16], at: u64) -> Vec<String> {
        let slots = (0..HOST_SLOTS).map(|slot| HostKey { tree, address, slot, reserved: 0 });
        let known = slots.filter_map(|key| self.hosts.get(&key, 0).ok()).filter(|host| host.until > at);
        known.map(|host| text(&host)).collect()
    }

    /// See [`super::Kernel::forget_hosts`].
    pub fn forget(&mut self, unanswered: u64, then: u64) -> Result<()> {
        let questions = self.queries.iter().filter(|row| row.as_ref().is_ok_and(|(_, until)| *until < unanswered));
        let questions: Vec<_> =
            questions.collect::<Result<_, _>>().context("cannot list the questions to resolvers")?;
        for (question, _) in questions {
            // It may have been answered in this very moment.
            let _ = self.queries.remove(&question);
        }
        let hosts = self.hosts.iter().filter(|row| row.as_ref().is_ok_and(|(_, host)| host.until < then));
        let hosts: Vec<_> = hosts.collect::<Result<_, _>>().context("cannot list the names of hosts")?;
        for (key, _) in hosts {
            self.hosts.remove(&key).context("cannot forget the name of a host")?;
        }
        Ok(())
    }
}

fn text(host: &Host) -> String {
    let name = host.name.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}
