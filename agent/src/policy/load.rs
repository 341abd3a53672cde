//! From a file to a policy. Everything that can be wrong with the file is said here or by [`parse()`].

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{
    Policy, parse,
    problem::{Diagnostic, Problem, Refusal, Severity, Source},
};

/// Largest policy. Nothing that people write comes near; the limit keeps a wrong file from being read whole.
const FILE_LIMIT: usize = 4 << 20;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
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

/// The policy in `file`.
pub fn load(file: &Path) -> Result<Policy, LoadError> {
    Ok(parse(source(file)?)?)
}

/// The text of a policy, or of what belongs to one.
pub fn source(file: &Path) -> Result<Source, LoadError> {
    let name = file.display().to_string();
    let bytes = read(file).map_err(|source| LoadError::Unreadable { file: name.clone(), source })?;
    Ok(text(name, bytes)?)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(file: String, bytes: Vec<u8>) -> Result<Source, Refusal> {
    if bytes.len() > FILE_LIMIT {
        let problem = Problem::new(0..0, "the file is larger than 4 MiB", "is this the right file? split it otherwise");
        return Err(Refusal::new(Source { file, text: String::new() }, vec![problem]));
    }
    String::from_utf8(bytes).map(|text| Source { file: file.clone(), text }).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let replaced = valid..valid + char::REPLACEMENT_CHARACTER.len_utf8();
        let problem = Problem::new(replaced, "the file is not UTF-8 from here on", "save it as UTF-8");
        Refusal::new(Source { file, text }, vec![problem])
    })
}
