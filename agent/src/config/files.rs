//! Files that a part of the configuration names, and what is in them.

use std::path::{Path, PathBuf};

use toml::Spanned;

use super::{at, secrets};
use crate::policy::{Flaw, Problem, Span};

/// The files of a channel, or of a login.
pub struct Files<'a> {
    /// Its name in the configuration.
    pub(super) owner: &'a Spanned<String>,
    /// What that is: `this channel`.
    pub(super) what: &'static str,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub(super) credentials: Option<&'a Path>,
    /// What it has named so far.
    pub(super) named: Named,
}

/// Files that are Holdpoint's own.
#[derive(Default)]
pub(super) struct Named {
    /// Those with secrets: no subject may have them.
    pub(super) secrets: Vec<PathBuf>,
    /// Programs, what may be their scripts, and authorities: nobody else may change them.
    pub(super) trusted: Vec<PathBuf>,
}

impl Named {
    /// Those of `other`, too.
    pub(super) fn add(&mut self, other: Self) {
        self.secrets.extend(other.secrets);
        self.trusted.extend(other.trusted);
    }
}

impl Files<'_> {
    /// What `parse` makes of the secret that is in a file or a credential, by the keys of these names.
    ///
    /// # Errors
    /// Neither or both are there, it cannot be read, others can read it, or it is no such secret.
    pub fn secret<T>(
        &mut self,
        file_key: &str,
        file: &Option<Spanned<PathBuf>>,
        credential_key: &str,
        credential: &Option<Spanned<String>>,
        parse: impl Fn(&str) -> Result<T, Flaw>,
    ) -> Result<T, Problem> {
        self.named.secrets.extend(file.iter().map(|file| file.get_ref().clone()));
        let (text, span): (_, Span) = match (file, credential) {
            (Some(file), None) => (secrets::text(file.get_ref()).map_err(|flaw| flaw.at(file.span()))?, file.span()),
            (None, Some(name)) => {
                let found = secrets::credential(name.get_ref(), self.credentials, file_key);
                (found.map_err(|flaw| flaw.at(name.span()))?, name.span())
            }
            (None, None) => {
                let remedy = format!("add {file_key} = \"...\" or {credential_key} = \"...\"");
                return Err(at(self.owner, format!("{} has no {}", self.what, noun(file_key)), remedy));
            }
            (Some(_), Some(name)) => {
                let message = format!("{} has two {}s", self.what, noun(file_key));
                return Err(at(name, message, format!("keep {file_key} or {credential_key}")));
            }
        };
        parse(text.trim()).map_err(|flaw| flaw.at(span))
    }

    /// The program that a key names, which nobody but the agent's user can change.
    ///
    /// # Errors
    /// It is none, or others can.
    pub fn program(&mut self, path: &Spanned<String>) -> Result<PathBuf, Problem> {
        let program = PathBuf::from(path.get_ref());
        secrets::program(&program).map_err(|flaw| flaw.at(path.span()))?;
        self.named.trusted.push(program.clone());
        Ok(program)
    }

    /// A program's argument. It may be a script, which then nobody but the agent's user can change.
    ///
    /// # Errors
    /// Others can.
    pub fn argument(&mut self, argument: &Spanned<String>) -> Result<String, Problem> {
        let path = PathBuf::from(argument.get_ref());
        if path.is_absolute() && (path.is_file() || !path.exists()) {
            secrets::guarded(&path).map_err(|flaw| flaw.at(argument.span()))?;
        }
        if path.is_absolute() && path.is_file() {
            self.named.trusted.push(path);
        }
        Ok(argument.get_ref().clone())
    }

    /// The certificates (PEM) in a file, which nobody but the agent's user can change.
    ///
    /// # Errors
    /// It cannot be read, there are none in it, or others can change it.
    pub fn authorities(&mut self, file: &Spanned<PathBuf>) -> Result<Vec<u8>, Problem> {
        let found = secrets::authorities(file.get_ref()).map_err(|flaw| flaw.at(file.span()))?;
        self.named.trusted.push(file.get_ref().clone());
        Ok(found)
    }
}

/// What the file of this key has in it.
fn noun(file_key: &str) -> String {
    file_key.trim_end_matches("_file").replace('_', " ")
}
