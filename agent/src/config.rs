//! `/etc/holdpoint/config.toml`: the ways to reviewers and back. Read strictly, and whole before anything
//! starts: every problem is shown with its place and its remedy.
//!
//! ```toml
//! [listener]
//! address = "127.0.0.1:8700"                 # where callbacks arrive
//! url = "https://holdpoint.example"          # what reviewers call it; default: http://<address>
//!
//! [[channel]]
//! name = "ops"
//! kind = "webhook"
//! url = "https://reviews.example/holdpoint"  # https; http to this host only
//! secret_file = "/etc/holdpoint/ops.secret"  # whsec_...; or credential = "NAME" (systemd)
//! ca_file = "/etc/holdpoint/ops-ca.pem"      # optional: trust these authorities only
//! reviewers = ["security"]                   # groups that this channel asks
//! ```

pub mod destination;
mod secrets;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use crate::{
    approval::standard_webhooks::Secret,
    policy::{Problem, Refusal, Source},
};

/// What the operator configured. The default, without a file: nobody is asked, nothing listens.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where callbacks arrive, if anywhere.
    pub listener: Option<Listener>,
    /// Ways to reviewers. Names are unique, and so are secrets: a secret tells which channel answers.
    pub channels: Vec<Channel>,
}

/// Where callbacks arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The socket's address.
    pub address: SocketAddr,
    /// What reviewers call it, without a slash at the end.
    pub url: String,
}

/// One way to reviewers: a webhook.
#[derive(Clone)]
pub struct Channel {
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// Where questions go. May contain a token, so it is not shown.
    pub url: Url,
    /// Signs what goes out and what comes back.
    pub secret: Secret,
    /// Certificates (PEM) that the reviewers' side is checked against instead of the system's.
    pub authorities: Option<Vec<u8>>,
    /// Groups of reviewers that are asked this way.
    pub reviewers: Vec<String>,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        f.debug_struct("Channel").field("name", &self.name).field("host", &host).finish_non_exhaustive()
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
    #[serde(default)]
    channel: Vec<Spanned<RawChannel>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListener {
    address: Spanned<String>,
    url: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChannel {
    name: Spanned<String>,
    kind: Spanned<String>,
    url: Spanned<String>,
    secret_file: Option<Spanned<PathBuf>>,
    credential: Option<Spanned<String>>,
    ca_file: Option<Spanned<PathBuf>>,
    reviewers: Spanned<Vec<String>>,
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

fn parse(source: Source, credentials: Option<&Path>) -> Result<(Config, Vec<PathBuf>), Refusal> {
    let text = source.files.first().map_or("", |file| &file.text);
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            let message = error.message().replace('\n', ", ");
            let problem =
                Problem::new(error.span().unwrap_or_default(), message, "see holdpoint's example of config.toml");
            return Err(Refusal::new(source, vec![problem]));
        }
    };
    let mut problems = vec![];
    let listener = file.listener.and_then(|raw| kept(listener(&raw), &mut problems));
    let channels = channels(&file.channel, credentials, &mut problems);
    let named = file.channel.iter().filter_map(|channel| channel.get_ref().secret_file.as_ref());
    let secrets = named.map(|file| file.get_ref().clone()).collect();
    if problems.is_empty() { Ok((Config { listener, channels }, secrets)) } else { Err(Refusal::new(source, problems)) }
}

fn kept<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

fn at<T>(spanned: &Spanned<T>, message: impl Into<String>, remedy: impl Into<String>) -> Problem {
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

fn base(raw: &Spanned<String>) -> Result<String, Problem> {
    let remedy = "http(s)://host/path, without user, query and fragment";
    let url = Url::parse(raw.get_ref()).map_err(|error| at(raw, format!("not a URL: {error}"), remedy))?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !plain || url.cannot_be_a_base() || !matches!(url.scheme(), "http" | "https") {
        return Err(at(raw, "this cannot be the beginning of a callback's URL", remedy));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn channels(raw: &[Spanned<RawChannel>], credentials: Option<&Path>, problems: &mut Vec<Problem>) -> Vec<Channel> {
    let mut channels: Vec<Channel> = vec![];
    for (index, spanned) in raw.iter().enumerate() {
        let raw_channel = spanned.get_ref();
        let earlier =
            raw[..index].iter().find(|earlier| earlier.get_ref().name.get_ref() == raw_channel.name.get_ref());
        if let Some(earlier) = earlier {
            let message = format!("a channel named \"{}\" exists already", raw_channel.name.get_ref());
            let problem = at(&raw_channel.name, message, "give each channel a name of its own");
            problems.push(problem.against(earlier.get_ref().name.span()));
        }
        let Some(channel) = kept(channel(spanned, credentials), problems) else { continue };
        if let Some(same) = channels.iter().find(|other| other.secret == channel.secret) {
            let message = format!("channel \"{}\" has the same secret as \"{}\"", channel.name, same.name);
            problems.push(at(&raw_channel.name, message, "a secret tells who answers: give each channel its own"));
        }
        channels.push(channel);
    }
    channels
}

fn channel(spanned: &Spanned<RawChannel>, credentials: Option<&Path>) -> Result<Channel, Problem> {
    let raw = spanned.get_ref();
    let name = raw.name.get_ref();
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)) {
        return Err(at(&raw.name, "not a channel's name", "1 to 64 letters, digits, - and _"));
    }
    if raw.kind.get_ref() != "webhook" {
        return Err(at(&raw.kind, format!("unknown kind \"{}\"", raw.kind.get_ref()), "one of: webhook"));
    }
    if raw.reviewers.get_ref().is_empty() {
        return Err(at(&raw.reviewers, "this channel asks nobody", "name groups of the policy's [reviewers]"));
    }
    let url = destination::parse(raw.url.get_ref())
        .map_err(|flaw| at(&raw.url, flaw, "an https URL, or http to this host: http://127.0.0.1:PORT/..."))?;
    Ok(Channel {
        name: name.clone(),
        url,
        secret: secrets::secret(spanned, credentials)?,
        authorities: raw.ca_file.as_ref().map(secrets::authorities).transpose()?,
        reviewers: raw.reviewers.get_ref().clone(),
    })
}

#[cfg(test)]
mod tests;
