//! Files that a channel names: its secrets, the authorities that it trusts, its program.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, unistd::geteuid};

use crate::policy::Flaw;

/// Longest file that is read, in bytes.
const LONGEST: u64 = 1 << 20;
/// Most links on the way to a file, as in the kernel.
const LINKS: usize = 40;

/// The text of a file that nobody else can read.
pub(super) fn text(path: &Path) -> Result<String, Flaw> {
    // What is no text is no secret of any kind, which is said of the empty text too.
    Ok(String::from_utf8(read(path, true)?).unwrap_or_default())
}

/// The certificates in a file that nobody else can change.
pub(super) fn authorities(path: &Path) -> Result<Vec<u8>, Flaw> {
    guarded(&std::path::absolute(path).map_err(|error| Flaw::new(error.to_string(), "write the whole path"))?)?;
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
    guarded(path)
}

/// Whether only root, or who runs the agent, can change a file or put another one in its place: by a directory above
/// it, or by a link that leads there. What is not there yet, they alone can make.
pub(super) fn guarded(path: &Path) -> Result<(), Flaw> {
    let mut way = Some(path.to_owned());
    for _ in 0..LINKS {
        let Some(next) = way else { return Ok(()) };
        way = follow(&next, path)?;
    }
    Err(Flaw::new(format!("{}: too many links", path.display()), "name the file itself"))
}

/// Looks at the directories of `way`, and at what it leads to, up to the first link; gives the way on from there.
fn follow(way: &Path, file: &Path) -> Result<Option<PathBuf>, Flaw> {
    // Without a slash at its end, which would follow a link.
    let way: PathBuf = way.components().collect();
    let mut steps: Vec<_> = way.ancestors().collect();
    while let Some(step) = steps.pop() {
        let Ok(about) = step.symlink_metadata() else { return Ok(None) };
        if let (true, Ok(target)) = (about.is_symlink(), step.read_link()) {
            let rest = way.strip_prefix(step).unwrap_or(Path::new(""));
            return Ok(Some(step.with_file_name("").join(target).join(rest)));
        }
        if about.mode() & 0o022 != 0 || !is_own(about.uid()) {
            return Err(changeable(step, file, about.is_dir()));
        }
    }
    Ok(None)
}

fn changeable(step: &Path, file: &Path, is_directory: bool) -> Flaw {
    let (shown, file) = (step.display(), file.display());
    match is_directory {
        true => Flaw::new(
            format!("{file} is below {shown}, which can be changed by others"),
            "move it to where only root can change directories: /etc/holdpoint, /usr/local/bin",
        ),
        false => {
            Flaw::new(format!("{shown} can be changed by others"), format!("chown root {shown}; chmod go-w {shown}"))
        }
    }
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
