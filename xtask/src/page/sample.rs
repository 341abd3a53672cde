//! `holdpoint page --sample`: the page with holds that nobody holds.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// One that runs. Ends with this value.
pub struct Sample {
    process: Child,
    /// Logs alice in.
    pub alice: String,
    /// Logs bob in.
    pub bob: String,
}

impl Sample {
    /// Starts `program` with links that are good for so many seconds.
    pub fn start(program: &Path, seconds: u32) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["page", "--sample", "--address", "127.0.0.1:0", "--seconds", &seconds.to_string()]);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("failed to start holdpoint")?;
        let output = process.stdout.take().context("holdpoint has no output")?;
        let mut sample = Self { process, alice: String::new(), bob: String::new() };
        let mut lines = BufReader::new(output).lines();
        for (name, link) in [("alice ", &mut sample.alice), ("bob ", &mut sample.bob)] {
            let line = lines.next().with_context(|| format!("no link for {name}"))??;
            *link = line.strip_prefix(name).with_context(|| format!("not a link for {name}: {line}"))?.to_owned();
        }
        Ok(sample)
    }

    /// Where it is: scheme, host and port.
    pub fn origin(&self) -> &str {
        self.alice.split_once("/r?").map_or(&self.alice, |(origin, _)| origin)
    }

    /// A link of another one, as if it were this one's.
    pub fn foreign(&self, other: &Self) -> String {
        other.alice.replace(other.origin(), self.origin())
    }

    /// The page of a hold.
    pub fn hold(&self, number: u32) -> String {
        format!("{}/h/{number:016x}", self.origin())
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        // It may have gone by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
