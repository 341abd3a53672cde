//! Where the paths of a policy live: on which file system, under which names there. The kernel knows a file
//! by these alone, whatever it is called in the mount namespace of whoever opens it.
//!
//! The device is the one in `/proc/self/mountinfo`: `s_dev` of the superblock, which is what the kernel side
//! reads. (`stat` shows others on btrfs and overlayfs.)

mod kinds;
mod linked;

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io, iter,
    os::unix::ffi::OsStringExt,
    path::{Component, Path, PathBuf},
};

pub use self::linked::Linked;

/// Most symbolic links that are followed for one path, as in the kernel (`MAXSYMLINKS`).
const LINKS: usize = 40;

/// A path within one file system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// `s_dev`: `MAJOR << 20 | MINOR`.
    pub device: u32,
    /// Names from the file system's root down; none for the root itself.
    pub components: Vec<OsString>,
}

/// Knows where paths live.
pub trait Places {
    /// Where `path` itself lives: as it is spelled, and where links lead it.
    fn resolve(&self, path: &Path) -> Vec<Place>;
    /// The same, and the root of every file system that is mounted below it.
    fn below(&self, path: &Path) -> Vec<Place>;
    /// What is mounted at `path` and below it: the names that lead there from `path`, and where its root lives.
    fn mounted(&self, path: &Path) -> Vec<(Vec<OsString>, Place)>;
    /// What is mounted over on the way to `path`, and below it if `below`: where each such directory or file lives itself.
    fn mount_points(&self, path: &Path, below: bool) -> Vec<Place>;
    /// The number of a user.
    fn user(&self, name: &str) -> Option<u32>;
    /// The number of a group.
    fn group(&self, name: &str) -> Option<u32>;
    /// The files at `path`, and below it if `below`, that have further names.
    fn linked(&self, path: &Path, below: bool) -> Linked;
}

/// A mountinfo line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of mountinfo is not as proc(5) describes it: {text:?}")]
pub struct BadMount {
    /// From 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

/// The mounts of one mount namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounts(Vec<Mount>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: u32,
    parent: u32,
    device: u32,
    /// What of the file system is mounted.
    root: PathBuf,
    /// Where.
    point: PathBuf,
    /// Kind of file system.
    kind: String,
}

impl Mounts {
    /// The mounts as this process sees them. It should live in the host's mount namespace: a path means
    /// what it means here.
    pub fn now() -> io::Result<Self> {
        Self::parse(&fs::read("/proc/self/mountinfo")?).map_err(io::Error::other)
    }

    /// The mounts in the text of a mountinfo file.
    pub fn parse(text: &[u8]) -> Result<Self, BadMount> {
        let lines = text.split(|byte| *byte == b'\n').zip(1..).filter(|(line, _)| !line.is_empty());
        let mounts = lines.map(|(text, line)| {
            Mount::parse(text).ok_or_else(|| BadMount { line, text: String::from_utf8_lossy(text).into_owned() })
        });
        mounts.collect::<Result<_, _>>().map(Self)
    }

    /// The path of `names`, walked down from the root of the file system on `device`: as one of its mounts shows it.
    pub fn shown(&self, device: u32, names: &[&OsStr]) -> PathBuf {
        let inside: PathBuf = iter::once(OsStr::new("/")).chain(names.iter().copied()).collect();
        let shows = |mount: &&Mount| mount.device == device && inside.starts_with(&mount.root);
        match self.0.iter().find(shows).and_then(|mount| Some((mount, inside.strip_prefix(&mount.root).ok()?))) {
            Some((mount, rest)) if rest.as_os_str().is_empty() => mount.point.clone(),
            Some((mount, rest)) => mount.point.join(rest),
            None => inside,
        }
    }

    /// Where a path without links lives.
    fn place(&self, path: &Path) -> Option<Place> {
        self.way(path).last().map(|mount| mount.place(path))
    }

    /// The mounts that one goes through to a path without links, from the root's. Goes down the tree of mounts as the
    /// kernel does: what is mounted over a directory hides what had been mounted there and below.
    fn way(&self, path: &Path) -> impl Iterator<Item = &Mount> {
        let is_root =
            |mount: &&Mount| mount.point == Path::new("/") && self.0.iter().all(|other| other.id != mount.parent);
        let root = self.0.iter().rfind(is_root);
        iter::successors(root, move |mount| self.crossed(mount, path)).take(self.0.len())
    }

    /// The mount that one enters first on the way from the root of `mount` to `path`.
    fn crossed(&self, mount: &Mount, path: &Path) -> Option<&Mount> {
        let children = self.0.iter().filter(|child| child.parent == mount.id && child.id != mount.id);
        let on_the_way = children.filter(|child| path.starts_with(&child.point));
        on_the_way.rev().min_by_key(|child| child.point.components().count())
    }

    /// Mounts at `path` and below, hidden ones too: their files can still be reached by who holds them open.
    fn mounted_below(&self, path: &Path) -> impl Iterator<Item = &Mount> {
        self.0.iter().filter(move |mount| mount.point.starts_with(path))
    }

    /// A place in a kind of file system, and in each that is mounted: the kernel looks for what the policy says of a device,
    /// and only where that is nothing for what it says of its kind.
    fn instances(&self, place: Place) -> Vec<Place> {
        let mounted = self.0.iter().filter(|mount| kinds::is_of(place.device, &mount.kind));
        let own = mounted.map(|mount| Place { device: mount.device, components: place.components.clone() });
        own.chain([place.clone()]).collect()
    }

    /// What `mount` is mounted on. None for the root, and for a directory on itself: it goes nowhere without its files.
    fn covered(&self, mount: &Mount) -> Option<Place> {
        let parent = self.0.iter().find(|parent| parent.id == mount.parent && parent.id != mount.id)?;
        Some(parent.place(&mount.point)).filter(|covered| *covered != mount.top())
    }
}

impl Places for Mounts {
    fn resolve(&self, path: &Path) -> Vec<Place> {
        let spellings = spellings(path);
        let of_kinds = spellings.iter().flat_map(|path| kinds::place(path)).flat_map(|place| self.instances(place));
        let places: BTreeSet<_> = spellings.iter().filter_map(|path| self.place(path)).chain(of_kinds).collect();
        places.into_iter().collect()
    }

    fn below(&self, path: &Path) -> Vec<Place> {
        let spellings = spellings(path);
        let below = spellings.iter().flat_map(|path| {
            let mounted = self.place(path).into_iter().chain(self.mounted_below(path).map(Mount::top));
            let of_kinds = kinds::place(path).into_iter().chain(kinds::below(path).map(|(_, place)| place));
            mounted.chain(of_kinds.flat_map(|place| self.instances(place)))
        });
        let mut places: Vec<Place> = Vec::new();
        for place in below.collect::<BTreeSet<_>>() {
            // Sorted: a directory comes before all that is in it.
            if !places.iter().any(|wide| wide.device == place.device && place.components.starts_with(&wide.components))
            {
                places.push(place);
            }
        }
        places
    }

    fn mounted(&self, path: &Path) -> Vec<(Vec<OsString>, Place)> {
        let spellings = spellings(path);
        let mounted = spellings.iter().flat_map(|path| {
            let mounts = self.mounted_below(path).map(|mount| (names_from(path, &mount.point), mount.top()));
            let kinds = kinds::below(path).flat_map(|(point, place)| {
                let names = names_from(path, point);
                self.instances(place).into_iter().map(move |place| (names.clone(), place))
            });
            mounts.chain(kinds)
        });
        let mounted: BTreeSet<_> = mounted.collect();
        mounted.into_iter().collect()
    }

    fn mount_points(&self, path: &Path, below: bool) -> Vec<Place> {
        let spellings = spellings(path);
        let mounts = spellings.iter().flat_map(|path| {
            let inside = self.mounted_below(path).filter(|_| below);
            self.way(path).chain(inside)
        });
        let points: BTreeSet<_> = mounts.filter_map(|mount| self.covered(mount)).collect();
        points.into_iter().collect()
    }

    fn user(&self, name: &str) -> Option<u32> {
        crate::user::number(name)
    }

    fn group(&self, name: &str) -> Option<u32> {
        crate::user::group_number(name)
    }

    fn linked(&self, path: &Path, below: bool) -> Linked {
        let mut linked = Linked::default();
        let spellings = spellings(path);
        let is_pseudo = |device| self.0.iter().any(|mount| mount.device == device && linked::is_pseudo(&mount.kind));
        let inside = self
            .0
            .iter()
            .map(|mount| &mount.point)
            .filter(|point| below && spellings.iter().any(|path| point.starts_with(path) && *point != path));
        for path in spellings.iter().chain(inside) {
            let Some(place) = self.place(path).filter(|place| !is_pseudo(place.device)) else { continue };
            let found = linked::find(path, place.device, below);
            linked.files.extend(found.files);
            linked.incomplete |= found.incomplete;
        }
        linked
    }
}

impl Mount {
    /// `36 35 98:0 /root /point options - type source options`: proc(5).
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut next = || fields.next();
        let id = number(next()?)?;
        let parent = number(next()?)?;
        let device = device(next()?)?;
        let root = PathBuf::from(OsString::from_vec(unescaped(next()?)));
        let point = PathBuf::from(OsString::from_vec(unescaped(next()?)));
        // Options, and as many fields as there are up to a dash.
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        let kind = String::from_utf8_lossy(rest.next()?).into_owned();
        point.is_absolute().then_some(Self { id, parent, device, root, point, kind })
    }

    /// Where the directory or file that is mounted lives.
    fn top(&self) -> Place {
        self.place(&self.point)
    }

    /// Where `path` lives if it is in this mount. A root that is no path (`net:[4026531840]`) is taken for
    /// the file system's.
    fn place(&self, path: &Path) -> Place {
        let inside = path.strip_prefix(&self.point).unwrap_or(Path::new(""));
        let root = if self.root.is_absolute() { self.root.as_path() } else { Path::new("/") };
        Place { device: self.device, components: names(root).chain(names(inside)).collect() }
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        _ => None,
    })
}

/// The names that lead from `above` to `path`, which is below it.
fn names_from(above: &Path, path: &Path) -> Vec<OsString> {
    path.strip_prefix(above).map_or_else(|_| Vec::new(), |rest| names(rest).collect())
}

fn number(text: &[u8]) -> Option<u32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// `MAJOR:MINOR` in the kernel's own encoding of `dev_t` (`MKDEV`): 12 and 20 bits.
fn device(text: &[u8]) -> Option<u32> {
    let colon = text.iter().position(|byte| *byte == b':')?;
    let (major, minor) = (number(&text[..colon])?, number(&text[colon + 1..])?);
    (major < 1 << 12 && minor < 1 << 20).then_some(major << 20 | minor)
}

/// Undoes the octal escapes of spaces and the like: `\040`.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    bytes
}

fn octal(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"\\")?.get(..3)?;
    digits.iter().all(|digit| matches!(digit, b'0'..=b'7')).then_some(())?;
    u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok()
}

/// The path as it is spelled, and each path that links make of it: a link may be replaced by a file at any
/// time, and a link to nothing may get something to lead to.
fn spellings(path: &Path) -> BTreeSet<PathBuf> {
    let mut spellings = BTreeSet::from([path.to_owned()]);
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let (existing, missing) = settled(&path);
        path = joined(&existing, &missing);
        spellings.insert(path.clone());
        match followed(&existing, &missing) {
            Some(next) => path = next,
            None => break,
        }
    }
    spellings
}

/// The longest part of `path` that exists, links followed, and the rest.
fn settled(path: &Path) -> (PathBuf, PathBuf) {
    for ancestor in path.ancestors() {
        if let Ok(existing) = fs::canonicalize(ancestor) {
            let missing = path.strip_prefix(ancestor).unwrap_or(Path::new(""));
            return (existing, missing.to_owned());
        }
    }
    (PathBuf::from("/"), path.strip_prefix("/").unwrap_or(path).to_owned())
}

/// What a link to nothing, the first of `missing`, makes of the path. None if it leads up from something
/// that does not exist: nobody knows where that is.
fn followed(existing: &Path, missing: &Path) -> Option<PathBuf> {
    let mut rest = missing.components();
    let target = fs::read_link(existing.join(rest.next()?)).ok()?;
    let next = joined(&existing.join(target), rest.as_path());
    let (_, still_missing) = settled(&next);
    let leads_up = still_missing.components().any(|component| component == Component::ParentDir);
    (!leads_up).then_some(next)
}

/// The path without links, as far as it exists.
pub fn real(path: &Path) -> PathBuf {
    let (existing, missing) = settled(path);
    joined(&existing, &missing)
}

/// One below the other. Other than by [`Path::join`], nothing below it leaves it as it is: a slash at the end would mean
/// a directory to the kernel.
fn joined(path: &Path, below: &Path) -> PathBuf {
    path.components().chain(below.components()).collect()
}
