//! Files that a channel names: its secret, and the authorities that it trusts.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use nix::{fcntl::OFlag, unistd::geteuid};
use toml::Spanned;

use super::{RawChannel, at};
use crate::{approval::standard_webhooks::Secret, policy::Problem};

/// Longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;

pub(super) fn secret(channel: &Spanned<RawChannel>, credentials: Option<&Path>) -> Result<Secret, Problem> {
    let raw = channel.get_ref();
    match (&raw.secret_file, &raw.credential) {
        (Some(file), None) => {
            let bytes = read(file.get_ref(), true).map_err(|flaw| at(file, flaw.0, flaw.1))?;
            parse(&bytes).map_err(|flaw| at(file, flaw.0, flaw.1))
        }
        (None, Some(name)) => credential(name.get_ref(), credentials).map_err(|flaw| at(name, flaw.0, flaw.1)),
        (None, None) => {
            Err(at(&raw.name, "this channel has no secret", "add secret_file = \"...\" or credential = \"...\""))
        }
        (Some(_), Some(name)) => Err(at(name, "this channel has two secrets", "keep secret_file or credential")),
    }
}

pub(super) fn authorities(file: &Spanned<std::path::PathBuf>) -> Result<Vec<u8>, Problem> {
    let pem = read(file.get_ref(), false).map_err(|flaw| at(file, flaw.0, flaw.1))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(pem),
        _ => Err(at(file, "no certificate in it", "a file of one or more PEM certificates")),
    }
}

/// What is wrong, and what to do about it.
type Flaw = (String, String);

fn credential(name: &str, directory: Option<&Path>) -> Result<Secret, Flaw> {
    if name.is_empty() || name.contains('/') || name == ".." || name == "." {
        return Err((format!("{name:?} is not a credential's name"), "the name given to LoadCredential=".into()));
    }
    let remedy = format!("add LoadCredential={name}:/path to holdpoint.service, or use secret_file");
    let directory = directory.ok_or(("systemd passes no credentials".to_owned(), remedy))?;
    // systemd keeps them where only the service looks, with modes of its own.
    parse(&read(&directory.join(name), false)?)
}

fn parse(bytes: &[u8]) -> Result<Secret, Flaw> {
    let remedy = "whsec_ and the base64 of 24 to 64 random bytes: echo whsec_$(openssl rand -base64 32)";
    let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
    text.parse().map_err(|flaw| (format!("not a secret: {flaw}"), remedy.into()))
}

fn read(path: &Path, is_secret: bool) -> Result<Vec<u8>, Flaw> {
    let shown = path.display();
    // A FIFO must not make the agent wait.
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path);
    let file = file.map_err(|error| (format!("{shown}: {error}"), "name a file that exists".into()))?;
    check(&file, &shown.to_string(), is_secret)?;
    let mut bytes = vec![];
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(|error| (format!("{shown}: {error}"), "check the disk".into()))?;
    Ok(bytes)
}

fn check(file: &File, shown: &str, is_secret: bool) -> Result<(), Flaw> {
    let about = file.metadata().map_err(|error| (format!("{shown}: {error}"), "check the disk".into()))?;
    if !about.is_file() {
        return Err((format!("{shown} is not a regular file"), "name a regular file".into()));
    }
    if is_secret && about.uid() != 0 && about.uid() != geteuid().as_raw() {
        return Err((format!("{shown} belongs to user {}", about.uid()), format!("chown root {shown}")));
    }
    if is_secret && about.mode() & 0o177 != 0 {
        return Err((format!("{shown} has mode {:04o}", about.mode() & 0o7777), format!("chmod 0600 {shown}")));
    }
    Ok(())
}
