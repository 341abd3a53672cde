//! Names of hosts: what a rule asks for, and whom the kernel believes about them.
//!
//! A connection has no name. The kernel side keeps the name by which a governed tree has looked an address up, as the
//! answer of a resolver says it (`holdpoint_common::host`), and rules with `name` ask for that; what was not looked up so
//! is judged by its address alone.

use std::{fmt, fs, io, net::IpAddr};

use holdpoint_common::tables::LITERAL_BYTES;

use super::problem::Flaw;

/// Longest label of a name (RFC 1035).
const LABEL: usize = 63;
/// Where the host says whom its programs ask.
const RESOLVERS: &str = "/etc/resolv.conf";

/// Names that a rule asks for: one, or all below one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName {
    /// `api.github.com`, or `.github.com` for all that ends so.
    spelled: String,
}

impl HostName {
    /// The names that `text` spells: `api.github.com`, `*.github.com`.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        let plain = text.strip_prefix("*.").unwrap_or(text);
        let spelled = if plain == text { "" } else { "." }.to_owned() + &plain.to_ascii_lowercase();
        let flaw = |what: &str, remedy: &str| Err(Flaw::new(format!("{text:?} {what}"), remedy));
        if plain.parse::<IpAddr>().is_ok() {
            return flaw("is an address", "write it in to");
        }
        if !plain.split('.').all(is_label) {
            let remedy = "write it as in \"api.github.com\", or \"*.github.com\" for all below it; names in other \
                          scripts in their xn-- form";
            return flaw("is not a host name", remedy);
        }
        if spelled.len() >= LITERAL_BYTES {
            return flaw("is too long", "at most 63 bytes: write \"*.\" before its end");
        }
        Ok(Self { spelled })
    }

    /// As the kernel compares it.
    pub fn key(&self) -> [u8; LITERAL_BYTES] {
        let mut key = [0; LITERAL_BYTES];
        key[..self.spelled.len()].copy_from_slice(self.spelled.as_bytes());
        key
    }

    /// Whether `name` is one of these.
    pub fn matches(&self, name: &str) -> bool {
        let name = plain(name);
        if self.spelled.starts_with('.') { name.ends_with(&self.spelled) } else { name == self.spelled }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.spelled.starts_with('.') { "*" } else { "" };
        write!(f, "{all}{}", self.spelled)
    }
}

/// A name as the kernel keeps it.
pub fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The one name that `text` spells, as somebody could have looked it up.
pub fn asked(text: &str) -> Result<String, Flaw> {
    match plain(text) {
        name if name.split('.').all(is_label) => Ok(name),
        _ => Err(Flaw::new(format!("{text:?} is not a host name"), "write it as in \"api.github.com\"")),
    }
}

fn is_label(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=LABEL).contains(&text.len()) && text.bytes().all(good)
}

/// The resolver that `text` names.
pub fn resolver(text: &str) -> Result<IpAddr, Flaw> {
    text.parse().map_err(|_| {
        Flaw::new(format!("{text:?} is not an address"), "write the address of a resolver, which answers at port 53")
    })
}

/// The resolvers that this host's programs ask.
pub fn resolvers_of_host() -> io::Result<Vec<IpAddr>> {
    Ok(nameservers(&fs::read_to_string(RESOLVERS)?))
}

/// `nameserver ADDRESS` (resolv.conf(5)); the zone of a link-local address is not looked at.
fn nameservers(text: &str) -> Vec<IpAddr> {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    let mut addresses: Vec<_> = named.filter_map(|word| word.split('%').next()?.parse().ok()).collect();
    addresses.dedup();
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_all_below_one() {
        let matches = |pattern: &str, name| HostName::parse(pattern).unwrap().matches(name);
        assert!(matches("api.GitHub.com", "API.github.com."));
        assert!(!matches("api.github.com", "xapi.github.com"));
        assert!(matches("*.github.com", "api.github.com") && matches("*.github.com", "a.b.github.com"));
        assert!(!matches("*.github.com", "github.com") && !matches("*.github.com", "evilgithub.com"));
        assert_eq!(HostName::parse("*.a.b").unwrap().to_string(), "*.a.b");
        for bad in ["", "*", "a..b", ".a", "a.", "a*.b", "*.*.b", "*.", "ü.de", "a b", "10.0.0.1", "::1"] {
            assert!(HostName::parse(bad).is_err(), "{bad}");
        }
        assert!(HostName::parse(&"a.".repeat(32)[..63]).is_ok());
        assert!(HostName::parse(&format!("{}b", "a.".repeat(32))).is_err());
    }

    #[test]
    fn resolvers_are_read_as_the_library_reads_them() {
        let text =
            "# nameserver 192.0.2.1\nnameserver 127.0.0.53\noptions edns0\nnameserver fe80::1%eth0 # x\nnameserver x\n";
        let expected: [IpAddr; 2] = ["127.0.0.53".parse().unwrap(), "fe80::1".parse().unwrap()];
        assert_eq!(nameservers(text), expected);
    }
}
