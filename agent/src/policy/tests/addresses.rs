//! Classes of addresses, and exceptions from blocks.

use super::{refusals::assert_said_of_rule, *};

/// Which of these addresses a rule on `connect` meets.
fn met<'a>(connect: &str, addresses: &[&'a str]) -> Vec<&'a str> {
    let tables = tables(&rule("0", &format!("connect = {{ {connect} }}")));
    addresses.iter().copied().filter(|address| to(&tables, address, 443) == Some(0)).collect()
}

/// One of each class, and its neighbours.
const EACH: [&str; 12] = [
    "127.8.0.1",
    "::1",
    "172.31.255.255",
    "fd00::1",
    "100.127.0.1",
    "169.254.169.254",
    "fe80::1",
    "239.0.0.1",
    "ff02::1",
    "172.32.0.0",
    "100.128.0.1",
    "2606:4700::1111",
];

#[test]
fn classes_share_out_the_addresses() {
    assert_eq!(met("to = [\"loopback\"]", &EACH), EACH[..2]);
    assert_eq!(met("to = [\"private\"]", &EACH), EACH[2..5]);
    assert_eq!(met("to = [\"link-local\"]", &EACH), EACH[5..7]);
    assert_eq!(met("to = [\"multicast\"]", &EACH), EACH[7..9]);
    assert_eq!(met("to = [\"public\"]", &EACH), EACH[9..]);
    assert_eq!(met("to = [\"any\"]", &EACH), EACH);
    let special =
        ["0.0.0.0", "0.1.2.3", "192.0.0.192", "255.255.255.255", "::", "::7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::"];
    assert_eq!(met("to = [\"public\"]", &special), [""; 0]);
}

#[test]
fn what_is_excepted_is_not_met_and_all_around_it_is() {
    let around = ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.0.0.0", "10.255.255.255", "11.0.0.0"];
    assert_eq!(
        met("to = [\"10.0.0.0/8\"], not = [\"10.1.2.3\"]", &around),
        [around[0], around[2], around[3], around[4]]
    );
    assert_eq!(met("not = [\"10.0.0.0/8\", \"public\"]", &around), [""; 0]);
    assert_eq!(met("not = [\"10.1.0.0/16\"]", &around), around[3..]);
    assert_eq!(met("to = [\"private\"], not = [\"172.16.0.0/12\"]", &["172.16.0.1", "192.168.0.1"]), ["192.168.0.1"]);
    assert_said_of_rule(
        "connect = { to = [\"10.1.0.0/16\"], not = [\"private\"] }\nthen = \"deny\"",
        "web-1.toml:7:35: not takes all that to names (name less in it)",
    );
}

#[test]
fn what_is_allowed_but_for_this_host_is_not_allowed_by_its_other_name() {
    let allow = rule("0", "connect = { not = [\"loopback\"] }").replace("deny", "allow");
    let tables = tables(&format!("{allow}{}", rule("1", "connect = {}")));
    let met = |address| to(&tables, address, 80);
    assert_eq!(
        ["127.0.0.1", "::1", "0.0.0.0", "::", "10.0.0.1"].map(met),
        [Some(1), Some(1), Some(1), Some(1), Some(0)]
    );
}
