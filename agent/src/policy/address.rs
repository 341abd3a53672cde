//! Address blocks and ports. An IPv4 address is its IPv4-mapped IPv6 address throughout, as in the kernel
//! tables; so `any` is `::/0` and one order of prefixes holds all.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use ipnet::{IpNet, Ipv6Net};

use super::problem::Flaw;

/// Where IPv4 lives in IPv6: `::ffff:0:0/96`.
const MAPPED: Block = Block(Ipv6Net::new_assert(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(), 96));

/// Addresses with a common beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block(Ipv6Net);

impl Block {
    /// Every address.
    pub const ANY: Self = Self(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0));

    /// The blocks that `text` spells: `any`, a class, an address, or an address and a prefix length.
    pub fn parse(text: &str) -> Result<Vec<Self>, Flaw> {
        match text {
            "any" => Ok(vec![Self::ANY]),
            "public" => Ok(public()),
            _ => match class(text) {
                Some(blocks) => Ok(blocks),
                None => Self::spelled(text).map(|block| vec![block]),
            },
        }
    }

    fn spelled(text: &str) -> Result<Self, Flaw> {
        let network = match text.parse() {
            Ok(network) => network,
            Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| not_an_address(text))?),
        };
        if network.trunc() != network {
            return Err(Flaw::new(
                format!("{text:?} has address bits set after its prefix"),
                format!("write \"{}\" for the block, \"{}\" for the address", network.trunc(), network.addr()),
            ));
        }
        Self::of(network, text)
    }

    fn of(network: IpNet, text: &str) -> Result<Self, Flaw> {
        let block = match network {
            IpNet::V4(block) => Self(
                Ipv6Net::new(block.addr().to_ipv6_mapped(), block.prefix_len() + 96).expect("a prefix of at most 128"),
            ),
            IpNet::V6(block) => Self(block),
        };
        if block != MAPPED && block.contains(MAPPED) {
            return Err(Flaw::new(
                format!("{text:?} holds every IPv4 address too, as ::ffff:0:0/96"),
                "write \"any\" for every address, or \"2000::/3\" for global IPv6",
            ));
        }
        Ok(block)
    }

    /// The block of this address alone.
    pub fn only(address: IpAddr) -> Self {
        Self(Ipv6Net::from(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        }))
    }

    /// What is left of it without `taken`.
    fn without(self, taken: Self) -> Vec<Self> {
        match self.0.subnets(self.bits() + 1) {
            _ if taken.contains(self) => Vec::new(),
            Ok(halves) if self.contains(taken) => halves.flat_map(|half| Self(half).without(taken)).collect(),
            _ => vec![self],
        }
    }

    /// Whether all of `other` lies in this block.
    pub fn contains(self, other: Self) -> bool {
        self.0.contains(&other.0)
    }

    /// The block of this length that holds it; `bits` is at most its own.
    fn widened(self, bits: u8) -> Self {
        Self(Ipv6Net::new(self.0.addr(), bits).expect("a length of at most 128").trunc())
    }

    /// The first address, as bytes of the key.
    pub fn octets(self) -> [u8; 16] {
        self.0.addr().octets()
    }

    /// Length of the common beginning, in bits.
    pub fn bits(self) -> u8 {
        self.0.prefix_len()
    }
}

/// Classes of addresses, by the registries of IANA for special purposes (RFC 6890).
const CLASSES: [(&str, &[&str]); 4] = [
    ("loopback", &["127.0.0.0/8", "::1"]),
    // RFC 1918, RFC 6598, RFC 4193.
    ("private", &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]),
    // RFC 3927, RFC 4291. Clouds answer there, with credentials.
    ("link-local", &["169.254.0.0/16", "fe80::/10"]),
    ("multicast", &["224.0.0.0/4", "ff00::/8"]),
];

/// This host and network, and what is reserved or leads elsewhere: in no class.
const SPECIAL: [&str; 10] = [
    "0.0.0.0/8",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    // Teredo, documentation, 6to4.
    "2001::/32",
    "2001:db8::/32",
    "2002::/16",
];

/// What is given out of IPv6 (RFC 4291).
const GLOBAL: &str = "2000::/3";

fn class(name: &str) -> Option<Vec<Block>> {
    CLASSES.iter().find(|(known, _)| *known == name).map(|(_, blocks)| known_good(blocks))
}

/// What is in none of the other classes.
fn public() -> Vec<Block> {
    let others = CLASSES.iter().flat_map(|(_, blocks)| known_good(blocks));
    let all = [vec![MAPPED], known_good(&[GLOBAL])].concat();
    without(all, &others.chain(known_good(&SPECIAL)).collect::<Vec<_>>())
}

fn known_good(blocks: &[&str]) -> Vec<Block> {
    blocks.iter().map(|block| Block::spelled(block).expect("a constant that a test reads")).collect()
}

/// What is left of `blocks` without what is in `taken`.
pub fn without(blocks: Vec<Block>, taken: &[Block]) -> Vec<Block> {
    taken.iter().fold(blocks, |left, taken| left.into_iter().flat_map(|block| block.without(*taken)).collect())
}

/// Something for each of many blocks, found by what lies in them.
#[derive(Clone, Debug)]
pub struct ByBlock<V> {
    rows: HashMap<Block, Vec<V>>,
    /// Lengths of the blocks that there are.
    lengths: BTreeSet<u8>,
}

impl<V> Default for ByBlock<V> {
    fn default() -> Self {
        Self { rows: HashMap::new(), lengths: BTreeSet::new() }
    }
}

impl<V> ByBlock<V> {
    /// Adds `value` to what `block` has.
    pub fn insert(&mut self, block: Block, value: V) {
        self.lengths.insert(block.bits());
        self.rows.entry(block).or_default().push(value);
    }

    /// What the blocks have that hold all of `block`.
    pub fn around(&self, block: Block) -> impl Iterator<Item = &V> {
        let wider = self.lengths.range(..=block.bits()).map(move |bits| block.widened(*bits));
        wider.filter_map(|wide| self.rows.get(&wide)).flatten()
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.addr().to_ipv4_mapped() {
            _ if *self == Self::ANY => f.write_str("any"),
            Some(address) if MAPPED.contains(*self) => write!(f, "{address}/{}", self.bits() - 96),
            _ => write!(f, "{}", self.0),
        }
    }
}

fn not_an_address(text: &str) -> Flaw {
    let remedy = "write an address, a block such as \"10.0.0.0/8\" or \"fd00::/8\", any, public, private, link-local, loopback or \
         multicast; a host name goes in name";
    Flaw::new(format!("{text:?} is not an address"), remedy)
}

/// The range of ports that `text` spells: `8000-8999`, or one number.
pub fn ports(text: &str) -> Result<RangeInclusive<u16>, Flaw> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => {
            Err(Flaw::new(format!("port range {text:?} runs backwards"), "write the lower port first"))
        }
        _ => Err(Flaw::new(
            format!("{text:?} is not a port"),
            "write a number from 0 to 65535, or a range such as \"8000-8999\"",
        )),
    }
}

fn number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
