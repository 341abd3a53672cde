//! The keys of one channel: those that its kind has, and the files that they name.

use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{Listener, at, destination, secrets};
use crate::policy::{Flaw, Problem, Span};

/// What is around a channel's table.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Whether answers are heard: there is a listener.
    pub listens: bool,
    /// Where the review page is, if anywhere.
    pub page: Option<&'a Listener>,
    /// systemd's `$CREDENTIALS_DIRECTORY`.
    pub(super) credentials: Option<&'a Path>,
}

/// What stands in a channel's table besides what all kinds have, and what is around it.
pub struct Keys<'a> {
    /// The channel's name; of a login, its issuer.
    pub name: &'a Spanned<String>,
    pub(super) table: Spanned<DeValue<'a>>,
    /// Who reads the channel alone, if that is said.
    pub reader: Option<&'a Spanned<String>>,
    /// See there.
    pub around: Around<'a>,
    /// Whether they are no channel's, but those of `[page.sso]`.
    pub(super) is_login: bool,
    /// Files with secrets: no subject may have them.
    pub(super) secrets: Vec<PathBuf>,
    /// Programs, what may be their scripts, and authorities: nobody else may change them.
    pub(super) trusted: Vec<PathBuf>,
}

impl<'a> Keys<'a> {
    /// Those of a login by this issuer.
    pub(super) fn of_login(issuer: &'a Spanned<String>, around: Around<'a>) -> Self {
        let table = Spanned::new(issuer.span(), DeValue::Table(DeTable::default()));
        Self { name: issuer, table, reader: None, around, is_login: true, secrets: vec![], trusted: vec![] }
    }

    /// The keys as `T` has them.
    ///
    /// # Errors
    /// One that it does not have, or another type.
    pub fn read<T: Deserialize<'a>>(&self) -> Result<T, Problem> {
        T::deserialize(ValueDeserializer::from(self.table.clone())).map_err(|error| super::malformed(&error))
    }

    /// The URL that a key has, if questions may be sent there.
    ///
    /// # Errors
    /// They may not.
    pub fn url(&self, url: &Spanned<String>) -> Result<Url, Problem> {
        let remedy = "an https URL, or http to this host: http://127.0.0.1:PORT/...";
        destination::parse(url.get_ref()).map_err(|flaw| at(url, flaw, remedy))
    }

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
        self.secrets.extend(file.iter().map(|file| file.get_ref().clone()));
        let (text, span): (_, Span) = match (file, credential) {
            (Some(file), None) => (secrets::text(file.get_ref()).map_err(|flaw| flaw.at(file.span()))?, file.span()),
            (None, Some(name)) => {
                let found = secrets::credential(name.get_ref(), self.around.credentials, file_key);
                (found.map_err(|flaw| flaw.at(name.span()))?, name.span())
            }
            (None, None) => {
                let remedy = format!("add {file_key} = \"...\" or {credential_key} = \"...\"");
                return Err(at(self.name, format!("{} has no {}", self.whose(), noun(file_key)), remedy));
            }
            (Some(_), Some(name)) => {
                let message = format!("{} has two {}s", self.whose(), noun(file_key));
                return Err(at(name, message, format!("keep {file_key} or {credential_key}")));
            }
        };
        parse(text.trim()).map_err(|flaw| flaw.at(span))
    }

    fn whose(&self) -> &'static str {
        if self.is_login { "this login" } else { "this channel" }
    }

    /// The program that a key names, which nobody but the agent's user can change.
    ///
    /// # Errors
    /// It is none, or others can.
    pub fn program(&mut self, path: &Spanned<String>) -> Result<PathBuf, Problem> {
        let program = PathBuf::from(path.get_ref());
        secrets::program(&program).map_err(|flaw| flaw.at(path.span()))?;
        self.trusted.push(program.clone());
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
            self.trusted.push(path);
        }
        Ok(argument.get_ref().clone())
    }

    /// The certificates (PEM) in a file, which nobody but the agent's user can change.
    ///
    /// # Errors
    /// It cannot be read, there are none in it, or others can change it.
    pub fn authorities(&mut self, file: &Spanned<PathBuf>) -> Result<Vec<u8>, Problem> {
        let found = secrets::authorities(file.get_ref()).map_err(|flaw| flaw.at(file.span()))?;
        self.trusted.push(file.get_ref().clone());
        Ok(found)
    }
}

/// What the file of this key has in it.
fn noun(file_key: &str) -> String {
    file_key.trim_end_matches("_file").replace('_', " ")
}
