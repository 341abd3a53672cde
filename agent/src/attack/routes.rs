//! The routes. One is a small function that makes the attempt, and one row in the list of its file; what the attempt
//! needs is staged by one of few other functions.

mod exec;
mod files;
mod handles;
mod host;
mod itself;
mod mounts;
mod network;
mod processes;
mod terminals;
mod uring;

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::scene::{Ground, Orders, Scene};

/// One way round.
pub struct Route {
    /// Its name.
    pub name: &'static str,
    /// What it uses.
    pub mechanism: &'static str,
    /// Sets the scene.
    pub stage: fn(&Ground, &Route) -> io::Result<Scene>,
    /// What the attacker does before it is governed.
    pub prepare: fn(&mut Orders) -> io::Result<()>,
    /// What it tries. What it can tell then is its result.
    pub attempt: fn(&Orders) -> io::Result<String>,
    /// Whether the attacker may rule the host, since the kernel asks that before it comes to what is tried.
    pub trusted: bool,
}

impl Route {
    /// A route to the secret in the protected file.
    const fn new(name: &'static str, mechanism: &'static str, attempt: fn(&Orders) -> io::Result<String>) -> Self {
        Self { name, mechanism, stage: Scene::new, prepare: |_| Ok(()), attempt, trusted: false }
    }

    /// The same in another scene.
    const fn on(self, stage: fn(&Ground, &Self) -> io::Result<Scene>) -> Self {
        Self { stage, ..self }
    }

    /// The same with something done before the attacker is governed.
    const fn after(self, prepare: fn(&mut Orders) -> io::Result<()>) -> Self {
        Self { prepare, ..self }
    }

    /// The same by an attacker who may rule the host.
    const fn trusted(self) -> Self {
        Self { trusted: true, ..self }
    }
}

/// All routes, in the order in which they are tried.
pub fn all() -> Vec<&'static Route> {
    let lists: [&'static [Route]; 10] = [
        exec::ROUTES,
        files::ROUTES,
        handles::ROUTES,
        uring::ROUTES,
        mounts::ROUTES,
        network::ROUTES,
        processes::ROUTES,
        terminals::ROUTES,
        host::ROUTES,
        itself::ROUTES,
    ];
    lists.into_iter().flatten().collect()
}

/// The route of this name.
pub fn named(name: &str) -> io::Result<&'static Route> {
    all().into_iter().find(|route| route.name == name).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// A scene in which success of the call is all that there is to see.
fn bare(ground: &Ground, route: &Route) -> io::Result<Scene> {
    Ok(Scene::new(ground, route)?.done())
}

/// Success, with nothing to tell.
fn done<T>(_: T) -> io::Result<String> {
    Ok(String::new())
}

/// What a descriptor gives.
fn content(fd: OwnedFd) -> io::Result<String> {
    io::read_to_string(fs::File::from(fd))
}

/// What a program says. Its complaint is taken for the error that it means.
fn spoken(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    for errno in [Errno::EPERM, Errno::EACCES] {
        if complaint.contains(errno.desc()) {
            return Err(errno.into());
        }
    }
    Err(io::Error::other(format!("{}: {}", output.status, complaint.trim())))
}

/// Namespaces of the attacker's own; mounts in them stay there.
fn own(flags: CloneFlags) -> io::Result<()> {
    unshare(flags)?;
    if flags.contains(CloneFlags::CLONE_NEWNS) {
        let none = None::<&Path>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    }
    Ok(())
}

/// Mounts of the attacker's own.
fn own_mounts(_: &mut Orders) -> io::Result<()> {
    own(CloneFlags::CLONE_NEWNS)
}

/// A network of the attacker's own.
fn own_network(_: &mut Orders) -> io::Result<()> {
    own(CloneFlags::CLONE_NEWNET)
}
