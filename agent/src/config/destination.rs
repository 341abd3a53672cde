//! Where questions may be sent: https anywhere but to addresses that only this machine's cloud answers at;
//! http to this machine only. Checked in the URL, and again for what a name resolves to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use toml::Spanned;

use super::at;
use crate::policy::Problem;

/// Services on public addresses that answer for the machine itself: Azure, Alibaba, AWS over IPv6.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The URL that a key of the configuration has, if questions may be sent there.
///
/// # Errors
/// They may not.
pub fn read(url: &Spanned<String>) -> Result<Url, Problem> {
    parse(url.get_ref()).map_err(|flaw| at(url, flaw, "an https URL, or http to this host: http://127.0.0.1:PORT/..."))
}

/// The URL in `text`, if questions may be sent there.
///
/// # Errors
/// What is wrong, without the URL: it may contain a token.
pub fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>().ok();
    match url.scheme() {
        "https" | "http" if address.is_some_and(is_refused) => {
            Err("link-local, multicast and metadata addresses are not asked".into())
        }
        "https" => Ok(url),
        "http" if host == "localhost" || address.is_some_and(|address| address.is_loopback()) => Ok(url),
        "http" => Err("http to another host can be read and changed on its way".into()),
        other => Err(format!("\"{other}\" is not https")),
    }
}

/// Whether `address`, which the name in a URL of this `scheme` resolves to, may be connected to.
pub fn may_connect(scheme: &str, address: IpAddr) -> bool {
    let address = address.to_canonical();
    if scheme == "https" { !is_refused(address) } else { address.is_loopback() }
}

fn is_refused(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    local || address.is_unspecified() || address.is_multicast() || METADATA.contains(&address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_to_this_host() {
        for good in [
            "https://reviews.example/x?y=z",
            "https://10.0.0.1",
            "http://127.0.0.1:9",
            "http://[::1]/x",
            "http://localhost",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://reviews.example",
            "http://10.0.0.1",
            "ftp://reviews.example",
            "reviews.example",
            "http://localhost.example",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_that_only_this_machine_sees_are_not_asked() {
        for bad in [
            "169.254.169.254",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "100.100.100.200",
            "0.0.0.0",
            "2852039166",
        ] {
            assert!(parse(&format!("https://{bad}/")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_judged_by_what_it_resolves_to() {
        assert!(may_connect("https", Ipv4Addr::new(10, 0, 0, 1).into()));
        assert!(!may_connect("https", Ipv4Addr::new(169, 254, 169, 254).into()));
        assert!(may_connect("http", Ipv4Addr::LOCALHOST.into()));
        assert!(!may_connect("http", Ipv4Addr::new(10, 0, 0, 1).into()));
    }
}
