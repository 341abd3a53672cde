//! From files to a policy. Everything that can be wrong with the files is said here or by [`parse()`].
//!
//! A policy is the file that was named and, in the order of their names, the parts beside it: `policy.toml`, then
//! `policy.d/*.toml`. The main file comes first so that no part, whoever put it there, takes anything away from it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

use super::{
    Host, Policy, cases, parse,
    problem::{Diagnostic, Problem, Refusal, Severity},
    source::Source,
};

/// Largest policy, with its parts. Nothing that people write comes near; the limit keeps a wrong file from being read
/// whole.
const SIZE_LIMIT: usize = 4 << 20;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file could not be read.
    #[error("cannot read the policy {}: {source}", file.escape_debug())]
    Unreadable {
        /// The file, as the person named it.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// It was read, and is refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl LoadError {
    /// The problems for machines.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Refused(refusal) => refusal.diagnostics(),
            Self::Unreadable { file, source } => vec![Diagnostic {
                severity: Severity::Error,
                file: file.clone(),
                line: None,
                column: None,
                message: format!("cannot read the policy: {source}"),
                remedy: "name a file that can be read".to_owned(),
            }],
        }
    }

    /// The problems for people.
    pub fn rendered(&self, colour: bool) -> String {
        match self {
            Self::Refused(refusal) => refusal.rendered(colour),
            Self::Unreadable { .. } => self.to_string(),
        }
    }
}

/// The policy in `file` and the parts beside it, for `host`.
pub fn load(file: &Path, host: &Host) -> Result<Policy, LoadError> {
    Ok(parse(whole(file)?, host)?)
}

/// The text of a policy with its parts.
pub fn whole(file: &Path) -> Result<Source, LoadError> {
    let mut whole = one(file)?;
    let directory = parts_directory(file);
    let parts = directory.as_deref().map_or(Ok(Vec::new()), parts);
    for part in parts.map_err(|source| unreadable(&directory.unwrap_or_default(), source))? {
        let opened = open_part(&part).map_err(|source| unreadable(&part, source))?;
        whole.files.extend(text(&part, opened, SIZE_LIMIT.saturating_sub(whole.end()))?.files);
    }
    Ok(whole)
}

/// The text of a file that has no parts.
pub fn one(file: &Path) -> Result<Source, LoadError> {
    text(file, File::open(file).map_err(|source| unreadable(file, source))?, SIZE_LIMIT)
}

/// Where the parts of the policy in `file` are, whether there are any or not.
pub fn parts_directory(file: &Path) -> Option<PathBuf> {
    (file.extension() == Some(OsStr::new("toml"))).then(|| file.with_extension("d"))
}

/// The policy that `file` is a part of, or else itself.
pub fn main_file(file: &Path) -> PathBuf {
    let main = file.parent().filter(|directory| directory.extension() == Some(OsStr::new("d")));
    let main = main.map(|directory| directory.with_extension("toml"));
    main.filter(|main| main.is_file()).unwrap_or_else(|| file.to_owned())
}

/// The parts in a directory, in the order of their names. What is hidden or holds tests is none.
fn parts(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let is_part = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.ends_with(".toml") && !name.ends_with(cases::ENDING) && !name.starts_with('.')
    };
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.retain(|name| is_part(name));
    names.sort();
    Ok(names.iter().map(|name| directory.join(name)).collect())
}

/// Nothing but a file: what a link leads to is not kept from the policy's subjects, and a pipe would keep the reader.
fn open_part(part: &Path) -> io::Result<File> {
    let wrong = || io::Error::other("a part of a policy is a regular file: put what is meant there, or remove it");
    if !fs::symlink_metadata(part)?.is_file() {
        return Err(wrong());
    }
    let file = File::options().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(part)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(wrong()) }
}

fn unreadable(file: &Path, source: io::Error) -> LoadError {
    LoadError::Unreadable { file: file.display().to_string(), source }
}

/// What `opened` holds, if it is at most `room` bytes of UTF-8.
fn text(file: &Path, opened: File, room: usize) -> Result<Source, LoadError> {
    let name = file.display().to_string();
    let mut bytes = Vec::new();
    opened.take(room as u64 + 1).read_to_end(&mut bytes).map_err(|source| unreadable(file, source))?;
    if bytes.len() > room {
        let message = match room {
            SIZE_LIMIT => "the file is larger than 4 MiB",
            _ => "with this file the policy is larger than 4 MiB",
        };
        let problem = Problem::new(0..0, message, "is this the right file? lists and wildcards say much in few lines");
        return Err(Refusal::new(Source::one(name, ""), vec![problem]).into());
    }
    String::from_utf8(bytes).map(|text| Source::one(&name, text)).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let replaced = valid..valid + char::REPLACEMENT_CHARACTER.len_utf8();
        let problem = Problem::new(replaced, "the file is not UTF-8 from here on", "save it as UTF-8");
        Refusal::new(Source::one(&name, text), vec![problem]).into()
    })
}
