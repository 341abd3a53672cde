//! User names.

use nix::unistd::{Uid, User};

/// The name of user `uid`, or the number where there is none.
pub fn name(uid: u32) -> String {
    known(uid).unwrap_or_else(|| uid.to_string())
}

/// The name of user `uid`, if it has one.
pub fn known(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}
