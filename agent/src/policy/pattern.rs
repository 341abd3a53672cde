//! Path patterns: a closed set of shapes that the kernel can decide.

use std::{
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use holdpoint_common::{matcher::DEPTH, tables::LITERAL_BYTES};

use super::problem::Flaw;

/// Longest file name that a pattern can spell out.
pub const NAME_LIMIT: usize = LITERAL_BYTES - 1;

/// Which files a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `/path`: this one.
    Exact(PathBuf),
    /// `/dir/**`: the directory and everything below it.
    Below(PathBuf),
    /// `**/name`: everything of that name, wherever it stands.
    Named(String),
}

impl Pattern {
    /// The pattern that `text` spells.
    pub fn parse(text: &str) -> Result<Self, Flaw> {
        if text == "/**" {
            return Ok(Self::Below(PathBuf::from("/")));
        }
        if let Some(name) = text.strip_prefix("**/") {
            return named(text, name);
        }
        match text.strip_suffix("/**") {
            Some(directory) => Ok(Self::Below(absolute(directory, text)?)),
            None => Ok(Self::Exact(absolute(text, text)?)),
        }
    }

    /// Whether this is `/**`.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::Below(directory) if directory == Path::new("/"))
    }

    /// The path that it begins at, and whether it goes on below. None for a name wherever it stands, and for everything.
    pub fn site(&self) -> Option<(&Path, bool)> {
        match self {
            Self::Exact(path) => Some((path, false)),
            Self::Below(directory) if !self.is_everything() => Some((directory, true)),
            Self::Below(_) | Self::Named(_) => None,
        }
    }

    /// Whether every path that `other` accepts is accepted by this one. Judged by the spelling alone: false
    /// where that cannot tell.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(wide), Self::Exact(narrow) | Self::Below(narrow)) => narrow.starts_with(wide),
            _ => self == other || self.is_everything(),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "{}", path.display()),
            Self::Below(_) if self.is_everything() => f.write_str("/**"),
            Self::Below(directory) => write!(f, "{}/**", directory.display()),
            Self::Named(name) => write!(f, "**/{name}"),
        }
    }
}

/// The absolute path that `path` spells, part of the pattern `whole`; without wildcards, links not followed.
pub fn absolute(path: &str, whole: &str) -> Result<PathBuf, Flaw> {
    plain(path, whole)?;
    let Some(relative) = path.strip_prefix('/') else {
        return Err(Flaw::new(format!("{whole:?} is not an absolute path"), "begin it with /"));
    };
    if relative.is_empty() {
        return Err(Flaw::new(format!("{whole:?} is the root directory alone"), "write \"/**\" for everything"));
    }
    for component in relative.split('/') {
        name(component, whole)?;
    }
    match relative.split('/').count() {
        0..=DEPTH => Ok(PathBuf::from(path)),
        count => Err(Flaw::new(
            format!("{whole:?} has {count} components"),
            format!("name a directory above it: at most {DEPTH} components"),
        )),
    }
}

/// Whether the kernel tables can spell this path out.
pub fn can_be_spelled(components: &[impl AsRef<std::ffi::OsStr>]) -> bool {
    components.len() <= DEPTH && components.iter().all(|name| name.as_ref().as_bytes().len() <= NAME_LIMIT)
}

fn named(whole: &str, text: &str) -> Result<Pattern, Flaw> {
    plain(text, whole)?;
    if text.contains('/') {
        return Err(unknown_shape(whole));
    }
    name(text, whole)?;
    Ok(Pattern::Named(text.to_owned()))
}

fn plain(text: &str, whole: &str) -> Result<(), Flaw> {
    match text.contains(['*', '?', '[', '{']) {
        true => Err(unknown_shape(whole)),
        false => Ok(()),
    }
}

fn unknown_shape(whole: &str) -> Flaw {
    Flaw::new(
        format!("{whole:?} is a pattern of an unknown shape"),
        "this version knows exact paths, /dir/** and **/name",
    )
}

fn name(component: &str, whole: &str) -> Result<(), Flaw> {
    match component {
        "" => Err(Flaw::new(
            format!("{whole:?} has an empty component"),
            "write one / between names and none at the end; /dir/** is the directory and all below it",
        )),
        "." | ".." => Err(Flaw::new(format!("{whole:?} has a component {component:?}"), "write the path without it")),
        _ if component.contains(char::is_control) => {
            Err(Flaw::new(format!("{whole:?} has a control character"), "name the directory that holds it"))
        }
        _ if component.len() > NAME_LIMIT => Err(Flaw::new(
            format!("{whole:?} has a component of {} bytes", component.len()),
            format!("name the directory that holds it: at most {NAME_LIMIT} bytes"),
        )),
        _ => Ok(()),
    }
}
