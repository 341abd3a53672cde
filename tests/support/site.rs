//! The files that the tests are about: below `/srv/hp`, one directory for each thing that the policy can say of them
//! (see [`crate::policy::everything`]), and in it one directory for each use, owned by the user `agent`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Where everything is.
pub const ROOT: &str = "/srv/hp";

/// User id of the user `agent`.
pub const AGENT: u32 = 1000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A number that is given out once.
pub fn fresh() -> u32 {
    // Fails outside the virtual machine, where nothing is to be made.
    let _ = crate::agent::holdpoint();
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A new empty directory below `/srv/hp/RULE`.
pub fn directory(rule: &str) -> PathBuf {
    let path = Path::new(ROOT).join(rule).join(format!("{}-{}", std::process::id(), fresh()));
    fs::create_dir_all(&path).expect("create a directory");
    owned(&path)
}

/// A path below `/srv/hp/RULE` at which there is nothing yet.
pub fn nothing(rule: &str) -> String {
    text(directory(rule).join("file"))
}

/// A file there with this content.
pub fn file(rule: &str, content: &str) -> String {
    let path = directory(rule).join("file");
    fs::write(&path, content).expect("write a file");
    text(owned(&path))
}

/// A program there: a copy of `original`.
pub fn program(rule: &str, original: impl AsRef<Path>) -> String {
    let path = directory(rule).join("program");
    fs::copy(original, &path).expect("copy a program");
    text(owned(&path))
}

/// A script there.
pub fn script(rule: &str, content: &str) -> String {
    let path = directory(rule).join("script");
    fs::write(&path, content).expect("write a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
    text(owned(&path))
}

/// A FIFO there.
pub fn fifo(rule: &str) -> String {
    let path = directory(rule).join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("make a FIFO");
    text(owned(&path))
}

/// What the file contains now.
///
/// # Panics
/// If it cannot be read.
#[track_caller]
pub fn content(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether there is something at `path`.
pub fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().symlink_metadata().is_ok()
}

/// The program `actor`, see its source.
pub fn actor() -> &'static str {
    static ACTOR: LazyLock<String> =
        LazyLock::new(|| installed("actor", include_bytes!(concat!(env!("OUT_DIR"), "/actor"))));
    &ACTOR
}

/// The program `racer`, likewise.
pub fn racer() -> &'static str {
    static RACER: LazyLock<String> =
        LazyLock::new(|| installed("racer", include_bytes!(concat!(env!("OUT_DIR"), "/racer"))));
    &RACER
}

fn installed(name: &str, program: &[u8]) -> String {
    let directory = Path::new("/usr/libexec/holdpoint-tests");
    fs::create_dir_all(directory).expect("create a directory");
    // Another one under the same name may be running.
    let path = directory.join(format!("{name}-{}", std::process::id()));
    fs::write(&path, program).expect("install a program");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make it executable");
    text(path)
}

fn owned(path: &Path) -> PathBuf {
    chown(path, Some(AGENT), Some(AGENT)).expect("chown");
    path.to_owned()
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().expect("UTF-8")
}
