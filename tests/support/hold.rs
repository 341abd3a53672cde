//! A hold as `holdpoint holds --json` shows it.

use std::ops::Deref;

use serde_json::Value;

use crate::{process::state, site};

/// One hold. Its fields are those of the JSON: `hold["path"]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Hold(pub Value);

impl Hold {
    /// Its id, 16 digits.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// What a reviewer approves.
    pub fn digest(&self) -> &str {
        self.text("digest")
    }

    /// The governed tree that asks.
    pub fn tree(&self) -> &str {
        self.text("tree")
    }

    /// The process that asks.
    pub fn pid(&self) -> u32 {
        self.number("pid")
    }

    /// The thread that asks.
    pub fn tid(&self) -> u32 {
        self.number("tid")
    }

    /// Its process is stopped, and the `file` is as [`crate::Agent::emptying`] has made it.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn check_waits(&self, file: &str) {
        assert_eq!((state(self.pid()), &*site::content(file)), (Some('T'), "Ada\n"));
    }

    /// A text of the JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    /// A number of the JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn number(&self, name: &str) -> u32 {
        let number = self.0[name].as_u64().and_then(|number| number.try_into().ok());
        number.unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}

impl Deref for Hold {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl AsRef<str> for Hold {
    fn as_ref(&self) -> &str {
        self.id()
    }
}
