//! Names of users and groups.

use nix::{
    errno::Errno,
    unistd::{Gid, Group, Uid, User},
};

/// The name of user `uid`, or the number where there is none.
pub fn name(uid: u32) -> String {
    known(uid).unwrap_or_else(|| uid.to_string())
}

/// The number of the user of that name.
pub fn number(name: &str) -> Option<u32> {
    looked_up(name).ok().flatten()
}

/// Likewise.
///
/// # Errors
/// It cannot be told whether there is one: a directory service does not answer.
pub fn looked_up(name: &str) -> nix::Result<Option<u32>> {
    match User::from_name(name) {
        Ok(user) => Ok(user.map(|user| user.uid.as_raw())),
        // getpwnam_r(3): some services say so of who is not there.
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The number of the group of that name.
pub fn group_number(name: &str) -> Option<u32> {
    Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
}

/// The name of group `gid`, or the number where there is none.
pub fn group_name(gid: u32) -> String {
    let known = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    known.map_or_else(|| gid.to_string(), |group| group.name)
}

/// The name of user `uid`, if it has one.
pub fn known(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}
