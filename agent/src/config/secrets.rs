//! Files that a channel names: its secrets, the authorities that it trusts, its program.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::{fcntl::OFlag, unistd::geteuid};

use crate::policy::Flaw;

/// Longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

/// The text of a file that nobody else can read.
pub(super) fn text(path: &Path) -> Result<String, Flaw> {
    // What is no text is no secret of any kind, which is said of the empty text too.
    Ok(String::from_utf8(read(path, true)?).unwrap_or_default())
}

/// The certificates in a file.
pub(super) fn authorities(path: &Path) -> Result<Vec<u8>, Flaw> {
    let pem = read(path, false)?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(Flaw::new("no certificate in it", "a file of one or more PEM certificates")),
    }
}

/// The text of a credential; `file_key` is what would do instead.
pub(super) fn credential(name: &str, directory: Option<&Path>, file_key: &str) -> Result<String, Flaw> {
    if name.is_empty() || name.contains('/') || name == ".." || name == "." {
        return Err(Flaw::new(format!("{name:?} is not a credential's name"), "the name given to LoadCredential="));
    }
    let remedy = format!("add LoadCredential={name}:/path to holdpoint.service, or use {file_key}");
    let directory = directory.ok_or_else(|| Flaw::new("systemd passes no credentials", remedy))?;
    // systemd keeps them where only the service looks, with modes of its own.
    Ok(String::from_utf8(read(&directory.join(name), false)?).unwrap_or_default())
}

/// Whether it is a program that only root, or who runs the agent, can change.
pub(super) fn program(path: &Path) -> Result<(), Flaw> {
    let shown = path.display();
    if !path.is_absolute() {
        return Err(Flaw::new(format!("{shown} is not an absolute path"), "write the whole path"));
    }
    let about = path.metadata().map_err(|error| Flaw::new(format!("{shown}: {error}"), "name a file that exists"))?;
    if !about.is_file() || about.mode() & 0o111 == 0 {
        return Err(Flaw::new(format!("{shown} is not a program"), format!("chmod +x {shown}")));
    }
    if about.mode() & 0o022 != 0 || !is_own(about.uid()) {
        return Err(Flaw::new(
            format!("{shown} can be changed by others"),
            format!("chown root {shown}; chmod go-w {shown}"),
        ));
    }
    Ok(())
}

fn is_own(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
}

fn read(path: &Path, is_secret: bool) -> Result<Vec<u8>, Flaw> {
    let shown = path.display();
    // A FIFO must not make the agent wait.
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = file.map_err(|error| Flaw::new(format!("{shown}: {error}"), "name a file that exists"))?;
    check(&file, &shown.to_string(), is_secret)?;
    let mut bytes = vec![];
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| Flaw::new(format!("{shown}: {error}"), "check the disk"))?;
    Ok(bytes)
}

fn check(file: &File, shown: &str, is_secret: bool) -> Result<(), Flaw> {
    let about = file.metadata().map_err(|error| Flaw::new(format!("{shown}: {error}"), "check the disk"))?;
    if !about.is_file() {
        return Err(Flaw::new(format!("{shown} is not a regular file"), "name a regular file"));
    }
    if is_secret && !is_own(about.uid()) {
        return Err(Flaw::new(format!("{shown} belongs to user {}", about.uid()), format!("chown root {shown}")));
    }
    if is_secret && about.mode() & 0o177 != 0 {
        return Err(Flaw::new(
            format!("{shown} has mode {:04o}", about.mode() & 0o7777),
            format!("chmod 0600 {shown}"),
        ));
    }
    Ok(())
}
