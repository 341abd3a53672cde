//! `/etc/holdpoint/config.toml`: the ways to reviewers and back. Read strictly, and whole before anything
//! starts: every problem is shown with its place and its remedy.
//!
//! ```toml
//! [listener]
//! address = "127.0.0.1:8700"                 # where callbacks arrive
//! url = "https://holdpoint.example"          # what reviewers call it; default: http://<address>
//!
//! [page]                                     # where reviewers look and answer; off without it
//! address = "127.0.0.1:8701"                 # the default
//! url = "https://holdpoint.example"          # what browsers call it; default: http://<address>
//!
//! [page.sso]                                 # optional: logging in there by OpenID Connect
//! issuer = "https://login.example"
//! client_id = "holdpoint"
//! client_secret_file = "/etc/holdpoint/sso.secret"
//!
//! [[channel]]
//! name = "ops"
//! kind = "webhook"
//! url = "https://reviews.example/holdpoint"  # https; http to this host only
//! secret_file = "/etc/holdpoint/ops.secret"  # whsec_...; or credential = "NAME" (systemd)
//! ca_file = "/etc/holdpoint/ops-ca.pem"      # optional: trust these authorities only
//! reviewers = ["security"]                   # groups that this channel asks
//! reader = "alice"                           # optional: who alone reads it, and is logged in by its links
//! ```
//!
//! The other kinds: docs/channels.md.

pub mod destination;
mod files;
mod keys;
mod secrets;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use reqwest::Url;
use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use self::files::Named;
pub use self::{
    files::Files,
    keys::{Around, Keys},
};
use crate::{
    approval::{
        channel::{Channel, KINDS},
        review::Review,
    },
    page::sso::{self, Sso},
    policy::{Problem, Refusal, Source},
};

/// Where the page is unless said: on this host only.
const PAGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8701);

/// What the operator configured. The default, without a file: nobody is asked, nothing listens.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where callbacks arrive, if anywhere.
    pub listener: Option<Listener>,
    /// Where the review page is, if anywhere.
    pub page: Option<Listener>,
    /// The login provider of the page, if there is one.
    pub sso: Option<Arc<Sso>>,
    /// Ways to reviewers. Names are unique, and so are secrets of callbacks: these tell which channel answers.
    pub channels: Vec<Channel>,
    /// Programs of channels, what may be their scripts, and authorities that they trust: no subject may change them.
    pub trusted: Vec<PathBuf>,
}

/// Where others come to the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The socket's address.
    pub address: SocketAddr,
    /// What reviewers call it, without a slash at the end.
    pub url: String,
}

impl Listener {
    /// The URL's path, without a slash at the end: empty if it has none.
    pub fn prefix(&self) -> String {
        let url = Url::parse(&self.url);
        url.map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default()
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there but cannot be read.
    #[error("{path}: cannot be read: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It was read and refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listener: Option<RawListener>,
    page: Option<RawPage>,
    #[serde(default)]
    channel: Vec<RawChannel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListener {
    address: Spanned<String>,
    url: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPage {
    address: Option<Spanned<String>>,
    url: Option<Spanned<String>>,
    sso: Option<sso::Raw>,
}

/// What every kind has; the rest is read by the kind.
#[derive(Deserialize)]
struct RawChannel {
    name: Spanned<String>,
    kind: Spanned<String>,
    reviewers: Spanned<Vec<String>>,
    reader: Option<Spanned<String>>,
}

/// Reads the file at `path` and the secrets that it names, and gives the files of these too: no subject may have them.
/// `credentials` is systemd's `$CREDENTIALS_DIRECTORY`. A file that does not exist is the default.
///
/// # Errors
/// The file cannot be read, or something in it or in the files that it names is not as it must be.
pub fn load(path: &Path, credentials: Option<&Path>) -> Result<(Config, Vec<PathBuf>), ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(error) => return Err(ConfigError::Read { path: path.to_owned(), error }),
    };
    Ok(parse(Source::one(path.display().to_string(), text), credentials)?)
}

/// Where systemd put this service's credentials, if it did.
pub fn credentials() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

fn parse(source: Source, credentials: Option<&Path>) -> Result<(Config, Vec<PathBuf>), Refusal> {
    let text = source.files.first().map_or("", |file| &file.text);
    let parsed = toml::from_str(text).and_then(|file: File| Ok((file, DeTable::parse(text)?)));
    let (file, mut table) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            let problem = malformed(&error);
            return Err(Refusal::new(source, vec![problem]));
        }
    };
    let mut problems = vec![];
    let listener = file.listener.and_then(|raw| kept(listener(&raw), &mut problems));
    let login = file.page.as_ref().and_then(|raw| raw.sso.as_ref());
    let page = file.page.as_ref().and_then(|raw| kept(page(raw), &mut problems));
    let tables = match table.get_mut().remove("channel").map(Spanned::into_inner) {
        Some(DeValue::Array(tables)) => tables.into_iter().collect(),
        _ => vec![],
    };
    let mut named = Named::default();
    let sso = login.zip(page.as_ref()).and_then(|(raw, page)| {
        let mut files = Files { owner: &raw.issuer, what: "this login", credentials, named: Named::default() };
        let sso = kept(Sso::read(raw, &page.url, &mut files), &mut problems);
        named.add(files.named);
        sso.map(Arc::new)
    });
    let around = Around { listens: listener.is_some(), page: page.as_ref() };
    let channels = channels(&file.channel, tables, around, credentials, &mut named, &mut problems);
    let Named { secrets, trusted } = named;
    match problems.is_empty() {
        true => Ok((Config { listener, page, sso, channels, trusted }, secrets)),
        false => Err(Refusal::new(source, problems)),
    }
}

fn malformed(error: &toml::de::Error) -> Problem {
    let message = error.message().replace('\n', ", ");
    Problem::new(error.span().unwrap_or_default(), message, "see docs/channels.md")
}

fn kept<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// The problem that `message` says, at this value.
pub fn at<T>(spanned: &Spanned<T>, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem::new(spanned.span(), message, remedy)
}

fn listener(raw: &RawListener) -> Result<Listener, Problem> {
    let text = raw.address.get_ref();
    let address: SocketAddr = text.parse().map_err(|_| {
        at(&raw.address, format!("\"{text}\" is not an address and a port"), "for example \"127.0.0.1:8700\"")
    })?;
    let url = match &raw.url {
        Some(url) => base(url)?,
        None if address.ip().is_unspecified() || address.port() == 0 => {
            let message = format!("{address} is not an address that reviewers can call");
            return Err(at(&raw.address, message, "add url = \"https://...\", what reviewers call it"));
        }
        None => format!("http://{address}"),
    };
    Ok(Listener { address, url })
}

fn page(raw: &RawPage) -> Result<Listener, Problem> {
    let RawPage { address, url, .. } = raw;
    let Some(address) = address else {
        let Some(raw) = url else { return Ok(Listener { address: PAGE, url: format!("http://{PAGE}") }) };
        return shown_to_nobody_else(Listener { address: PAGE, url: base(raw)? }, raw);
    };
    let page = listener(&RawListener { address: address.clone(), url: url.clone() })?;
    if page.address.port() == 0 {
        return Err(at(address, "subjects cannot be kept from a port that is not known", "name a port"));
    }
    shown_to_nobody_else(page, url.as_ref().unwrap_or(address))
}

/// The page, unless a reviewer's session would go over a network in clear: who takes it answers.
fn shown_to_nobody_else(page: Listener, span: &Spanned<String>) -> Result<Listener, Problem> {
    match destination::parse(&page.url) {
        Ok(_) => Ok(page),
        Err(flaw) => Err(at(span, flaw, "url = \"https://...\", spoken by a proxy; http is for this host alone")),
    }
}

fn base(raw: &Spanned<String>) -> Result<String, Problem> {
    let remedy = "http(s)://host/path, without user, query and fragment";
    let url = Url::parse(raw.get_ref()).map_err(|error| at(raw, format!("not a URL: {error}"), remedy))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !plain || url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
        return Err(at(raw, "this cannot be the beginning of a callback's URL", remedy));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn channels<'a>(
    raw: &'a [RawChannel],
    tables: Vec<Spanned<DeValue<'a>>>,
    around: Around<'a>,
    credentials: Option<&'a Path>,
    named: &mut Named,
    problems: &mut Vec<Problem>,
) -> Vec<Channel> {
    let mut channels: Vec<Channel> = vec![];
    for ((index, raw_channel), table) in raw.iter().enumerate().zip(tables) {
        let RawChannel { name, .. } = raw_channel;
        if let Some(earlier) = raw[..index].iter().find(|earlier| earlier.name.get_ref() == name.get_ref()) {
            let message = format!("a channel named \"{}\" exists already", name.get_ref());
            let problem = at(name, message, "give each channel a name of its own");
            problems.push(problem.against(earlier.name.span()));
        }
        let reader = raw_channel.reader.as_ref();
        let files = Files { owner: name, what: "this channel", credentials, named: Named::default() };
        let mut keys = Keys { name, table, reader, around, files };
        let channel = kept(channel(raw_channel, &mut keys), problems);
        named.add(keys.files.named);
        let Some(channel) = channel else { continue };
        let same = |other: &&Channel| other.way.secret().is_some() && other.way.secret() == channel.way.secret();
        if let Some(same) = channels.iter().find(same) {
            let message = format!("channel \"{}\" has the same secret as \"{}\"", channel.name, same.name);
            problems.push(at(name, message, "a secret tells who answers: give each channel its own"));
        }
        let app = |other: &&Channel| other.way.app().iter().any(|secret| channel.way.app().contains(secret));
        if let Some(same) = channels.iter().find(app) {
            let message = format!("channel \"{}\" has the same app as \"{}\"", channel.name, same.name);
            problems.push(at(name, message, "make an app for each channel: its clicks go to one place"));
        }
        channels.push(channel);
    }
    channels
}

fn channel(raw: &RawChannel, keys: &mut Keys<'_>) -> Result<Channel, Problem> {
    let name = raw.name.get_ref();
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Err(at(&raw.name, "not a channel's name", "1 to 64 letters, digits, - and _"));
    }
    let Some(kind) = KINDS.iter().find(|kind| kind.word == raw.kind.get_ref()) else {
        let known = KINDS.map(|kind| kind.word).join(", ");
        return Err(at(&raw.kind, format!("unknown kind \"{}\"", raw.kind.get_ref()), format!("one of: {known}")));
    };
    if raw.reviewers.get_ref().is_empty() {
        return Err(at(&raw.reviewers, "this channel asks nobody", "name groups of the policy's [reviewers]"));
    }
    if let DeValue::Table(table) = keys.table.get_mut() {
        for common in ["name", "kind", "reviewers", "reader"] {
            table.remove(common);
        }
    }
    let review = review(raw, keys.around.page)?;
    let way = (kind.read)(keys)?;
    Ok(Channel { name: name.clone(), kind: kind.word, reviewers: raw.reviewers.get_ref().clone(), review, way })
}

/// Where the channel's messages lead. Whether its reader is one of the reviewers is for the policy to say: [`crate::approval::review::judge`].
fn review(raw: &RawChannel, page: Option<&Listener>) -> Result<Option<Review>, Problem> {
    match (page, &raw.reader) {
        (None, Some(reader)) => {
            Err(at(reader, "there is no page to log the reader in", "add [page], or remove reader"))
        }
        (page, reader) => {
            let reader = reader.as_ref().map(|reader| reader.get_ref().clone());
            Ok(page.map(|page| Review { page: page.url.clone(), reader }))
        }
    }
}

#[cfg(test)]
mod tests;
