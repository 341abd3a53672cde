//! `[dns]`.

use std::net::IpAddr;

use super::plain;
use crate::policy::{host_name, problem::Problem, section::Section};

/// Keys of the table.
pub const DNS_KEYS: [&str; 1] = ["resolvers"];

/// Whose answers are believed; none if that is not said.
pub fn read(top: &Section<'_>, problems: &mut Vec<Problem>) -> Option<Vec<IpAddr>> {
    let (_, value) = top.entry("dns")?;
    let section = Section::of("[dns]", value, &DNS_KEYS, problems)?;
    if section.entry("resolvers").is_none() {
        problems.push(section.lacks("resolvers", "add resolvers = [\"127.0.0.53\"], or remove [dns]"));
    }
    section.texts("resolvers", problems, host_name::resolver).map(|addresses| plain(Some(addresses)))
}
