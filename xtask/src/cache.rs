//! Things that are built once and kept outside the tree: kernels, the root image, the initramfs.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::progress;

/// `$XDG_CACHE_HOME/holdpoint`, or `~/.cache/holdpoint`.
pub fn directory() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => {
            PathBuf::from(std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?).join(".cache")
        }
    };
    let directory = base.join("holdpoint");
    fs::create_dir_all(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    Ok(directory)
}

/// The directory `name` as `recipe` makes it, built by `build` if it is not there.
///
/// A changed recipe has another name, so it is built anew. It is built under a temporary name and renamed when complete: what
/// is interrupted leaves nothing half made. A lock makes a second builder wait for the first.
pub fn artefact(name: &str, recipe: impl Hash, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = directory()?;
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    let finished = cache.join(format!("{name}-{:016x}", hasher.finish()));
    if finished.is_dir() {
        return Ok(finished);
    }
    let _lock = lock(&cache.join(format!("{name}.lock")))?;
    if finished.is_dir() {
        return Ok(finished);
    }
    progress(&format!("building {name} (once, kept in {})", cache.display()));
    let partial = cache.join(format!("{name}.partial"));
    remove_directory(&partial)?;
    fs::create_dir(&partial).with_context(|| format!("failed to create {}", partial.display()))?;
    build(&partial).with_context(|| format!("failed to build {name}"))?;
    fs::rename(&partial, &finished).with_context(|| format!("failed to finish {}", finished.display()))?;
    Ok(finished)
}

fn lock(path: &Path) -> Result<Flock<File>> {
    let file = File::create(path).with_context(|| format!("failed to create {}", path.display()))?;
    let file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(lock),
        Err((file, _)) => file,
    };
    progress(&format!("waiting for another builder that holds {}", path.display()));
    Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("failed to lock {}", path.display()))
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
