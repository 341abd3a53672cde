//! The keys of one channel: those that its kind has.

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeValue, ValueDeserializer},
};

use super::{Files, Listener};
use crate::policy::Problem;

/// What is around a channel's table.
#[derive(Clone, Copy)]
pub struct Around<'a> {
    /// Whether answers are heard: there is a listener.
    pub listens: bool,
    /// Where the review page is, if anywhere.
    pub page: Option<&'a Listener>,
}

/// What stands in a channel's table besides what all kinds have, and what is around it.
pub struct Keys<'a> {
    /// The channel's name.
    pub name: &'a Spanned<String>,
    pub(super) table: Spanned<DeValue<'a>>,
    /// Who reads the channel alone, if that is said.
    pub reader: Option<&'a Spanned<String>>,
    /// See there.
    pub around: Around<'a>,
    /// The files that they name.
    pub files: Files<'a>,
}

impl<'a> Keys<'a> {
    /// The keys as `T` has them.
    ///
    /// # Errors
    /// One that it does not have, or another type.
    pub fn read<T: Deserialize<'a>>(&self) -> Result<T, Problem> {
        T::deserialize(ValueDeserializer::from(self.table.clone())).map_err(|error| super::malformed(&error))
    }
}
