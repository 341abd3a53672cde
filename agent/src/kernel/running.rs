//! The search for subjects among what runs already; `ebpf/src/running.rs` says who is one, and why nobody slips through.

use std::{collections::BTreeSet, fs::File, io::Read, path::Path};

use anyhow::{Context, Result, bail};

/// Bytes that are read at once. Less than the 32 KiB that the kernel buffers: where its buffer overflows it would look
/// at a thread twice and tell of it only the second time, when it is governed.
const CHUNK: usize = 4096;

/// Passes of the iterator that is pinned at `pin`, until one finds nobody; gives the processes.
pub fn find(pin: &Path) -> Result<BTreeSet<u32>> {
    let mut processes = BTreeSet::new();
    loop {
        let threads = pass(pin).context("cannot look at what runs on this host")?;
        if threads.is_empty() {
            return Ok(processes);
        }
        for told in threads {
            match u32::try_from(told) {
                Ok(process) => processes.insert(process),
                Err(_) => bail!("cannot govern what runs already ({})", std::io::Error::from_raw_os_error(-told)),
            };
        }
    }
}

/// One pass: a number for each thread that was found.
fn pass(pin: &Path) -> std::io::Result<Vec<i32>> {
    let mut iterator = File::open(pin)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK];
    loop {
        let length = iterator.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..length]);
    }
    Ok(bytes.as_chunks().0.iter().map(|number| i32::from_ne_bytes(*number)).collect())
}
