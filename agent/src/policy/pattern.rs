//! Path patterns: a closed set of shapes that the kernel can decide.
//!
//! A pattern is a list of names. `**` stands for any number of them, none included; within a name, `*` stands for any
//! characters, `?` for one, and `{a,b}` for one of several texts. A pattern that begins with `**/` may begin in any
//! directory; others begin with `/`.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use holdpoint_common::{matcher::DEPTH, tables::LITERAL_BYTES};

use super::{
    problem::Flaw,
    wildcard::{self, Wildcard},
};

/// Longest file name that a pattern can spell out.
pub const NAME_LIMIT: usize = LITERAL_BYTES - 1;

/// Which files a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// Whether it may begin in any directory.
    pub anywhere: bool,
    /// What it says, name by name, without the `**` that it may begin with.
    pub parts: Vec<Part>,
    /// As it was written.
    text: String,
}

/// What a pattern says of one name, or of several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// This one. Of a file system as it is: in any encoding.
    Name(OsString),
    /// One that it matches.
    Like(Wildcard),
    /// `**`: any number of names.
    Any,
}

impl Pattern {
    /// The patterns that `text` spells: one for each choice of what is in braces.
    pub fn parse(text: &str) -> Result<Vec<Self>, Flaw> {
        if text.contains(char::is_control) {
            return Err(control_character(text));
        }
        let spelled = wildcard::expanded(text)?;
        spelled.iter().map(|spelling| Self::spelled(spelling, text)).collect()
    }

    /// This file or directory, whatever characters are in its path.
    pub fn exact(path: &Path) -> Self {
        Self { anywhere: false, parts: names(path).collect(), text: path.display().to_string() }
    }

    /// This directory and all below it.
    pub fn below(path: &Path) -> Self {
        let text = format!("{}/**", path.display());
        Self { anywhere: false, parts: names(path).chain([Part::Any]).collect(), text }
    }

    /// Every path.
    pub fn everything() -> Self {
        Self { anywhere: false, parts: vec![Part::Any], text: "/**".to_owned() }
    }

    /// This, and all below what it accepts.
    pub fn with_all_below(mut self) -> Self {
        if self.parts.last() != Some(&Part::Any) {
            self.parts.push(Part::Any);
        }
        self
    }

    fn spelled(spelling: &str, whole: &str) -> Result<Self, Flaw> {
        let (anywhere, rest) = match spelling.strip_prefix('/') {
            _ if spelling == "/**" => (false, "**"),
            Some(rest) => rest.strip_prefix("**/").map_or((false, rest), |rest| (true, rest)),
            None => match spelling.strip_prefix("**/") {
                Some(rest) => (true, rest),
                None => return Err(Flaw::new(format!("{whole:?} is not an absolute path"), "begin it with / or **/")),
            },
        };
        if rest.is_empty() && !anywhere {
            return Err(Flaw::new(format!("{whole:?} is the root directory alone"), "write \"/**\" for everything"));
        }
        let parts = rest.split('/').map(|name| part(name, whole)).collect::<Result<Vec<_>, _>>()?;
        if anywhere && parts.iter().all(|part| *part == Part::Any) {
            return Err(Flaw::new(format!("{whole:?} names nothing"), "write \"/**\" for everything"));
        }
        match parts.len() {
            0..=DEPTH => Ok(Self { anywhere, parts, text: whole.to_owned() }),
            count => Err(too_deep(whole, count)),
        }
    }

    /// Whether this is `/**`.
    pub fn is_everything(&self) -> bool {
        !self.anywhere && self.parts == [Part::Any]
    }

    /// Whether it is one path in full.
    pub fn is_exact(&self) -> bool {
        !self.anywhere && self.parts.iter().all(|part| matches!(part, Part::Name(_)))
    }

    /// The path that it begins with, and what comes then. None if it may begin anywhere.
    pub fn beginning(&self) -> Option<(PathBuf, &[Part])> {
        let spelled = self.parts.iter().map_while(|part| match part {
            Part::Name(name) => Some(name.as_os_str()),
            Part::Like(_) | Part::Any => None,
        });
        let path: PathBuf = [OsStr::new("/")].into_iter().chain(spelled).collect();
        let rest = &self.parts[path.components().count() - 1..];
        (!self.anywhere).then_some((path, rest))
    }

    /// Whether it accepts this absolute path.
    pub fn accepts(&self, path: &Path) -> bool {
        let names: Vec<&[u8]> = path.iter().skip(1).map(OsStrExt::as_bytes).collect();
        let starts = if self.anywhere { names.len() } else { 0 };
        (0..=starts).any(|start| spans(&self.parts, &names[start..], |part, name| part.accepts(name)))
    }

    /// Whether every path that `other` accepts is accepted by this one. Judged by the spelling alone: false where that
    /// cannot tell, as of a path in full, which may be a link to a file of another name.
    pub fn covers(&self, other: &Self) -> bool {
        let starts = if self.anywhere { other.parts.len() } else { 0 };
        let same_beginning = self.anywhere == other.anywhere || self.is_everything();
        same_beginning && (0..=starts).any(|start| spans(&self.parts, &other.parts[start..], Part::covers))
    }
}

impl Part {
    /// Whether it is, or matches, that name. `**` is not asked.
    pub fn accepts(&self, name: &[u8]) -> bool {
        match self {
            Self::Name(known) => known.as_bytes() == name,
            Self::Like(wildcard) => wildcard.matches(name),
            Self::Any => true,
        }
    }

    /// Whether it accepts each name that `other` does, as far as the spelling tells.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Like(wildcard), Self::Name(name)) => wildcard.matches(name.as_bytes()),
            (Self::Like(wildcard), Self::Like(_)) if wildcard.is_everything() => true,
            _ => self == other,
        }
    }
}

/// Whether the parts, one after the other, take all of `names`.
fn spans<T>(parts: &[Part], names: &[T], takes: impl Fn(&Part, &T) -> bool) -> bool {
    let mut ends = BTreeSet::from([0]);
    for part in parts {
        ends = match part {
            Part::Any => ends.first().into_iter().flat_map(|first| *first..=names.len()).collect(),
            part => ends
                .iter()
                .filter(|end| names.get(**end).is_some_and(|name| takes(part, name)))
                .map(|end| end + 1)
                .collect(),
        };
    }
    ends.contains(&names.len())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn names(path: &Path) -> impl Iterator<Item = Part> {
    path.iter().skip(1).map(|name| Part::Name(name.to_owned()))
}

fn part(text: &str, whole: &str) -> Result<Part, Flaw> {
    if text == "**" {
        return Ok(Part::Any);
    }
    if text.contains("**") {
        let remedy = "write ** as a whole name, as in \"/dir/**/name\", or one *";
        return Err(Flaw::new(format!("{whole:?} has ** within a name"), remedy));
    }
    match wildcard::parse(text, whole)? {
        Ok(plain) => name(&plain, whole).map(|name| Part::Name(name.into())),
        Err(wildcard) => Ok(Part::Like(wildcard)),
    }
}

/// The absolute path that `path` spells, part of the pattern `whole`; without wildcards, links not followed.
pub fn absolute(path: &str, whole: &str) -> Result<PathBuf, Flaw> {
    let Some(relative) = path.strip_prefix('/') else {
        return Err(Flaw::new(format!("{whole:?} is not an absolute path"), "begin it with /"));
    };
    if relative.is_empty() {
        return Err(Flaw::new(format!("{whole:?} is the root directory alone"), "name something in it"));
    }
    if path.contains(wildcard::SPECIAL) {
        return Err(Flaw::new(format!("{whole:?} has a wildcard"), "write one path in full: this is no pattern"));
    }
    for component in relative.split('/') {
        name(component, whole)?;
    }
    match relative.split('/').count() {
        0..=DEPTH => Ok(PathBuf::from(path)),
        count => Err(too_deep(whole, count)),
    }
}

fn too_deep(whole: &str, count: usize) -> Flaw {
    let remedy = format!("name a directory above it: at most {DEPTH} components");
    Flaw::new(format!("{whole:?} has {count} components"), remedy)
}

/// Whether the kernel tables can spell this path out.
pub fn can_be_spelled(components: &[impl AsRef<std::ffi::OsStr>]) -> bool {
    components.len() <= DEPTH && components.iter().all(|name| name.as_ref().as_bytes().len() <= NAME_LIMIT)
}

fn name(component: &str, whole: &str) -> Result<String, Flaw> {
    match component {
        "" => Err(Flaw::new(
            format!("{whole:?} has an empty component"),
            "write one / between names and none at the end; /dir/** is the directory and all below it",
        )),
        "." | ".." => Err(Flaw::new(format!("{whole:?} has a component {component:?}"), "write the path without it")),
        _ if component.contains(char::is_control) => Err(control_character(whole)),
        _ if component.len() > NAME_LIMIT => Err(Flaw::new(
            format!("{whole:?} has a component of {} bytes", component.len()),
            format!("name the directory that holds it: at most {NAME_LIMIT} bytes"),
        )),
        _ => Ok(component.to_owned()),
    }
}

fn control_character(whole: &str) -> Flaw {
    Flaw::new(format!("{whole:?} has a control character"), "name the directory that holds it")
}
