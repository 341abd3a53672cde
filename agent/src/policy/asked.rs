//! A request as the tools spell it: on the command line, in a test file, in the record.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use holdpoint_common::{
    request::Class,
    system::System,
    tables::{Marks, protocol},
};
use jiff::Zoned;

use super::{
    access_words,
    only::{self, User},
    problem::Flaw,
};

/// The moment that counts where none is said.
pub const NOON: u32 = 12 * 60;

/// A request, and who makes it when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Name of the subject.
    pub subject: String,
    /// Who asks; nobody whom a rule names if it is not said.
    pub user: Option<User>,
    /// As whom who asks has logged in; likewise.
    pub login: Option<User>,
    /// The groups of who asks; none that a rule names if it is not said.
    pub groups: Vec<User>,
    /// Where who asks works; nowhere that a rule names if it is not said.
    pub cwd: Option<PathBuf>,
    /// The minute of the week.
    pub at: u32,
    /// Names of the labels whose data was read before.
    pub read: Vec<String>,
    /// What is asked for.
    pub what: What,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Access to a file.
    File {
        /// Its path: absolute.
        path: PathBuf,
        /// A mask of [`Class`] bits: [`Class::Exec`] alone, or others.
        access: u32,
        /// The arguments of an exec.
        args: Vec<String>,
        /// Who owns it, if it exists.
        owner: Option<User>,
        /// Its `i_mode`, 0 if it does not exist.
        mode: u32,
    },
    /// A connection.
    Connect {
        /// Its address.
        to: IpAddr,
        /// Its port.
        port: u16,
        /// `IPPROTO_*` of the socket.
        protocol: u32,
        /// The names by which it was looked up.
        names: Vec<String>,
    },
    /// A connection to a socket that another process has made.
    Socket {
        /// Its path: absolute.
        path: PathBuf,
        /// Who owns it, where that is said.
        owner: Option<User>,
        /// Its `i_mode`, without its type; 0 where that is not said.
        mode: u32,
    },
    /// An operation on the host.
    System(System),
}

impl What {
    /// The file that it is about, and the access that it asks for.
    pub fn file(&self) -> Option<(&Path, u32)> {
        match self {
            Self::File { path, access, .. } => Some((path, *access)),
            Self::Socket { path, .. } => Some((path, Class::TALKING)),
            Self::Connect { .. } | Self::System(_) => None,
        }
    }

    /// Whether it is an exec.
    pub fn is_exec(&self) -> bool {
        self.file().is_some_and(|(_, access)| access & Class::Exec.bit() != 0)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, access, args, .. } if access & Class::Exec.bit() != 0 => {
                let words: Vec<_> = args.iter().map(|word| format!(" {}", word.escape_debug())).collect();
                write!(f, "exec {}{}", path.display().to_string().escape_debug(), words.concat())
            }
            Self::File { path, access, .. } => {
                write!(f, "open {} ({})", path.display().to_string().escape_debug(), access_words(*access).join(", "))
            }
            Self::Connect { to, port, protocol, names } => {
                let words = only::protocol_words(protocol::bit(*protocol)).concat();
                let names: Vec<_> = names.iter().map(|name| format!(", {}", name.escape_debug())).collect();
                write!(f, "connect {} ({words}{})", std::net::SocketAddr::new(*to, *port), names.concat())
            }
            Self::Socket { path, .. } => write!(f, "connect {}", path.display().to_string().escape_debug()),
            Self::System(system) => write!(f, "system {}", system.word()),
        }
    }
}

/// The access that these classes ask for, with what that takes along: who empties a file writes it.
pub fn access(classes: impl Iterator<Item = u32>) -> u32 {
    Marks::asked(Marks::slot(classes.fold(0, |mask, bits| mask | bits)))
}

/// The absolute path that `text` spells.
pub fn path(text: &str) -> Result<PathBuf, Flaw> {
    let path = PathBuf::from(text);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    match path.is_absolute() && plain {
        true => Ok(path),
        false => Err(Flaw::new(format!("{text:?} is not an absolute path"), "begin it with /, and leave out ..")),
    }
}

/// The address that `text` spells.
pub fn address(text: &str) -> Result<IpAddr, Flaw> {
    text.parse().map_err(|_| {
        Flaw::new(
            format!("{text:?} is not an address"),
            "write one address; a name by which it was looked up goes beside it",
        )
    })
}

/// Permission bits in octal, as `chmod` writes them.
pub fn mode(text: &str) -> Result<u32, Flaw> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o7777);
    bits.ok_or_else(|| Flaw::new(format!("{text:?} is not a file mode"), "write it in octal: \"0644\""))
}

/// `IPPROTO_*` of the protocol that `text` names, or its number.
pub fn protocol(text: &str) -> Result<u32, Flaw> {
    const NUMBERS: [(&str, u32); 4] = [("tcp", 6), ("udp", 17), ("sctp", 132), ("mptcp", 262)];
    let named = NUMBERS.iter().find(|(word, _)| *word == text).map(|(_, number)| *number);
    let known = named.or_else(|| text.parse().ok());
    known.ok_or_else(|| Flaw::new(format!("unknown protocol {text:?}"), "one of: tcp, udp, sctp, mptcp, or a number"))
}

/// The address and the port that `text` spells: `10.0.0.1:443`, `[::1]:443`, or an address alone.
pub fn destination(text: &str) -> Result<(IpAddr, Option<u16>), Flaw> {
    if let Ok(both) = text.parse::<std::net::SocketAddr>() {
        return Ok((both.ip(), Some(both.port())));
    }
    address(text.trim_start_matches('[').trim_end_matches(']')).map(|to| (to, None))
}

/// The operation on the host that `text` names.
pub fn system(text: &str) -> Result<System, Flaw> {
    super::parse::rule::operation(text)
}

/// The minute of the week that `text` names.
pub fn moment(text: &str) -> Result<u32, Flaw> {
    only::moment(text)
}

/// The minute of the week that it is on this host.
pub fn now() -> u32 {
    minute(&Zoned::now())
}

/// The minute of the week.
pub fn minute(time: &Zoned) -> u32 {
    let day = time.weekday().to_monday_zero_offset().unsigned_abs();
    (u32::from(day) * 24 + u32::from(time.hour().unsigned_abs())) * 60 + u32::from(time.minute().unsigned_abs())
}
