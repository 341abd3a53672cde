//! Files of the run directory: what the agent knows of the trees that are governed, for the next agent. They stay as long as
//! the kernel's memory of those trees may: until the next boot.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// What an agent before this one has kept; nothing if there was none.
///
/// # Errors
/// Those of `read`, and a content that is not understood.
pub fn read<T: DeserializeOwned + Default>(file: &Path) -> Result<T> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("cannot understand {}", file.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Whole or not at all.
///
/// # Errors
/// Those of `write` and `rename`: the file is as it was.
pub fn write(file: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let new = file.with_extension("new");
    let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, file));
    written.with_context(|| format!("cannot write {}", file.display()))
}
