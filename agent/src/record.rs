//! The record: one line of JSON per transition, appended to a file that only root reads.
//!
//! A decision is on disk before [`Record::append`] returns, so before the kernel is told; other lines are
//! written when seen and reach the disk when the kernel likes. A line that a crash or a full disk tore is
//! ended with a newline before the next one is written: it stays as it is, a line that is not JSON, and every
//! other line is whole. Readers skip what they cannot parse.
//!
//! Not here yet: the chain that makes a line that was changed or removed visible. It will wrap
//! [`Entry`] as it is serialised in [`Record::append`], the one place where lines are made.

pub mod before;
pub mod entry;

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use holdpoint_common::decision::Decision;
use jiff::Timestamp;
use serde::Deserialize;

use self::before::Past;
pub use self::{
    before::{Before, OperationKey},
    entry::{ByGrant, Decided, Entry, Event},
};
use crate::{
    quorum,
    request::{Digest, End, HoldId, Request},
};

/// Longest line that is read back, in bytes: a decision is far shorter.
const LONGEST: u64 = 1 << 20;

/// The open record.
#[derive(Debug)]
pub struct Record {
    file: File,
    /// The file may end within a line.
    torn: bool,
    decided: HashMap<HoldId, Recorded>,
    past: Past,
}

/// A decision found in the record: made by an agent that died, perhaps before the kernel was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What was held.
    pub digest: Digest,
    /// How it ended.
    pub state: End,
    /// What the kernel was to be told.
    pub decision: Decision,
    /// As of [`crate::request::Standing::by`].
    pub by: Option<String>,
}

impl Record {
    /// Opens the record at `path`, or creates it with mode 0600, and reads which decisions it holds.
    ///
    /// # Errors
    /// Those of `open`, `fchmod`, `read` and `write`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let (decided, past) = decisions(&file)?;
        let mut record = Self { torn: ends_within_a_line(&mut file)?, file, decided, past };
        record.end_torn_line()?;
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // A new name survives a crash only once its directory is on disk.
            File::open(directory)?.sync_all()?;
        }
        Ok(record)
    }

    /// Writes one line. A decision is on disk when this returns.
    ///
    /// # Errors
    /// Those of `write` and `fdatasync`. The line may then be there, whole or in part, or not: the caller
    /// treats it as lost, and the next line begins on a line of its own.
    pub fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_torn_line()?;
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.torn = true;
        self.file.write_all(&line)?;
        self.torn = false;
        if entry.decides().is_none() {
            return Ok(());
        }
        self.file.sync_data()?;
        // As the next agent reads it.
        if let Ok(line) = serde_json::from_slice(&line) {
            self.past.note(&line);
        }
        Ok(())
    }

    /// What reviewers have decided of the same operation before. `request` is as it is shown: masked.
    pub fn before(&self, request: &Request) -> Vec<Before> {
        OperationKey::of(request).map(|key| self.past.of(&key)).unwrap_or_default()
    }

    /// What an earlier agent decided of a hold, unless the record says that the hold was over by then.
    pub fn decided(&self, id: HoldId) -> Option<&Recorded> {
        self.decided.get(&id)
    }

    fn end_torn_line(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        Ok(())
    }
}

fn ends_within_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// The part of a line that matters when it is read back.
#[derive(Deserialize)]
struct Line {
    event: String,
    time: Option<Timestamp>,
    hold: HoldId,
    operation_key: Option<OperationKey>,
    digest: Option<Digest>,
    state: Option<End>,
    decision: Option<String>,
    #[serde(default)]
    approvals: Vec<Who>,
    answer: Option<Who>,
    granted_by: Option<String>,
}

#[derive(Deserialize)]
struct Who {
    who: String,
    why: Option<String>,
}

impl Line {
    fn recorded(self) -> Option<Recorded> {
        let decision = match self.decision.as_deref()? {
            "approve" => Decision::Approve,
            "fail" => Decision::Fail,
            "kill" => Decision::Kill,
            _ => return None,
        };
        let by = self.by().or(self.granted_by);
        Some(Recorded { digest: self.digest?, state: self.state?, decision, by })
    }

    /// Whose answers decided.
    fn by(&self) -> Option<String> {
        let who = |last| quorum::joined(self.approvals.iter().chain([last]).map(|it: &Who| it.who.clone()));
        self.answer.as_ref().map(who)
    }
}

/// Decisions of holds that, as far as the record goes, are not over; and all that reviewers have decided.
fn decisions(file: &File) -> io::Result<(HashMap<HoldId, Recorded>, Past)> {
    let (mut decided, mut past) = (HashMap::new(), Past::default());
    let mut reader = BufReader::new(file);
    let mut bytes = Vec::new();
    while reader.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)? > 0 {
        if let Ok(line) = serde_json::from_slice::<Line>(&bytes) {
            past.note(&line);
            note(&mut decided, line);
        }
        bytes.clear();
    }
    Ok((decided, past))
}

fn note(decided: &mut HashMap<HoldId, Recorded>, line: Line) {
    match line.event.as_str() {
        "decided" => {
            let hold = line.hold;
            if let Some(recorded) = line.recorded() {
                decided.insert(hold, recorded);
            }
        }
        "withdrawn" | "refused" | "left" => {
            decided.remove(&line.hold);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
