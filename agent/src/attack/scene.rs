//! The scene of one attempt: what the attacker may not touch, what it may, and how the effect is seen from outside.
//! Each attempt has a fresh one; dropped, it leaves nothing behind.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde::{Deserialize, Serialize};

use super::{
    routes::Route,
    runner::{Agent, Report},
};
use crate::{canary, request::hexadecimal};

/// How long an effect is waited for after a call that succeeded, and after one that failed.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_millis(100)];
/// How long is waited between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Where all scenes are, and what there is of the agent.
pub struct Ground {
    inside: PathBuf,
    outside: PathBuf,
    disk: PathBuf,
    /// The agent's process.
    pub agent: i32,
    /// Its policy.
    pub policy: PathBuf,
    /// Its control socket's directory.
    pub run_dir: PathBuf,
}

impl Ground {
    /// Makes the directories: below the canary's, beside the agent's on the same file system, and on a disk.
    pub fn new(run_dir: &Path, agent: &Agent) -> io::Result<Self> {
        let name = format!("holdpoint-attack-{}", process::id());
        let ground = Self {
            inside: canary::directory(run_dir).join(format!("attack-{}", process::id())),
            outside: run_dir.with_file_name(&name),
            disk: Path::new("/var/tmp").join(&name),
            agent: agent.pid,
            policy: agent.policy.clone(),
            run_dir: run_dir.to_owned(),
        };
        for directory in ground.all() {
            remove_leftovers(directory);
            fs::create_dir_all(directory)?;
        }
        Ok(ground)
    }

    fn all(&self) -> [&Path; 3] {
        [&self.inside, &self.outside, &self.disk]
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for directory in self.all() {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Removes what attacks before this one, killed, have left beside `directory`: its name, with the number of a process
/// that is no more.
fn remove_leftovers(directory: &Path) {
    let own = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((stem, _)) = own.rsplit_once('-') else { return };
    for entry in directory.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('-'));
        if number.is_some_and(|number| number.parse::<u32>().is_ok() && !Path::new("/proc").join(number).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// What an attacker is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The route.
    pub route: String,
    /// A directory that is denied to the governed, with `file` in it.
    pub inside: PathBuf,
    /// A directory that is not, on the same file system.
    pub outside: PathBuf,
    /// Likewise on a disk, if there is one.
    pub disk: PathBuf,
    /// What a program is to print, a message to say: it is told from everything else.
    pub marker: String,
    /// A process.
    pub pid: i32,
    /// A port.
    pub port: u16,
    /// A descriptor, the attacker's own or the process's.
    pub fd: RawFd,
    /// Whatever has a name.
    pub name: String,
    /// An address in the memory of the process, or another number.
    pub number: u64,
}

impl Orders {
    /// A program that may be read and not executed.
    pub fn program(&self) -> PathBuf {
        self.outside.join(canary::PROGRAM)
    }

    /// The protected file.
    pub fn file(&self) -> PathBuf {
        self.inside.join("file")
    }
}

/// How the effect is seen.
enum Effect {
    /// The attacker can tell the secret.
    Told,
    /// The kernel did what it was asked: there is nothing to be seen from outside.
    Done,
    /// It is there to be seen; given the attacker's process.
    Seen(Box<dyn FnMut(u32) -> bool>),
}

/// One scene.
pub struct Scene {
    /// What the attacker is told.
    pub orders: Orders,
    /// The content of the protected file. It is not told.
    pub secret: String,
    effect: Effect,
    undo: Vec<Box<dyn FnOnce()>>,
}

impl Scene {
    /// A protected directory with a secret file in it. The effect is that the attacker tells the secret.
    pub fn new(ground: &Ground, route: &Route) -> io::Result<Self> {
        let [inside, outside, disk] = ground.all().map(|directory| directory.join(route.name));
        for directory in [&inside, &outside, &disk] {
            fs::create_dir_all(directory)?;
        }
        let secret = random();
        let marker = random();
        let orders = Orders { route: route.name.to_owned(), inside, outside, disk, marker, ..Orders::default() };
        fs::write(orders.file(), &secret)?;
        Ok(Self { orders, secret, effect: Effect::Told, undo: Vec::new() })
    }

    /// The effect is that the call succeeds.
    pub fn done(mut self) -> Self {
        self.effect = Effect::Done;
        self
    }

    /// The effect is that `look`, given the attacker's process, says so.
    pub fn seen(mut self, look: impl FnMut(u32) -> bool + 'static) -> Self {
        self.effect = Effect::Seen(Box::new(look));
        self
    }

    /// The effect is that `look` is not what it is now.
    pub fn changed<T: PartialEq + 'static>(self, look: impl Fn() -> T + 'static) -> Self {
        let before = look();
        self.seen(move |_| look() != before)
    }

    /// To be done when the attempt is over, the last first.
    pub fn undo(&mut self, undo: impl FnOnce() + 'static) {
        self.undo.push(Box::new(undo));
    }

    /// Keeps something to the end.
    pub fn keep(&mut self, prop: impl Sized + 'static) {
        self.undo(move || drop(prop));
    }

    /// Lends the attacker a descriptor: it has it from before it is governed.
    pub fn lend(&mut self, fd: OwnedFd) -> io::Result<()> {
        inherit(&fd)?;
        self.orders.fd = fd.as_raw_fd();
        self.keep(fd);
        Ok(())
    }

    /// An ungoverned process of somebody else's, that sleeps, with the secret in its environment.
    pub fn victim(&mut self) -> io::Result<()> {
        let mut sleep = Command::new("sleep");
        sleep.arg("600").env("HOLDPOINT_ATTACK", &self.secret);
        self.outsider(&mut sleep, Stdio::null())
    }

    /// An ungoverned process of somebody else's, until the attempt is over.
    pub fn outsider(&mut self, command: &mut Command, input: Stdio) -> io::Result<()> {
        let outsider = command.stdin(input).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        self.orders.pid = outsider.id().cast_signed();
        self.keep(Outsider(outsider));
        Ok(())
    }

    /// Whether there was the effect. `report` is what the attacker, process `pid`, said.
    pub fn reached(&mut self, pid: u32, report: &Report) -> bool {
        let done = matches!(report, Report::Done(_));
        match &mut self.effect {
            Effect::Done => done,
            Effect::Told => {
                report.text().is_some_and(|text| text.contains(&self.secret) || text.contains(&self.orders.marker))
            }
            Effect::Seen(look) => {
                let end = Instant::now() + PATIENCE[usize::from(!done)];
                loop {
                    if look(pid) {
                        return true;
                    }
                    if Instant::now() > end {
                        return false;
                    }
                    thread::sleep(LOOK);
                }
            }
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        while let Some(undo) = self.undo.pop() {
            undo();
        }
        for directory in [&self.orders.inside, &self.orders.outside, &self.orders.disk] {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// Ended when dropped.
struct Outsider(Child);

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a descriptor pass an `execve(2)`.
pub fn inherit(fd: &OwnedFd) -> io::Result<()> {
    fcntl(fd.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}

/// What nobody can have by chance.
fn random() -> String {
    hexadecimal(&rand::random::<[u8; 16]>())
}
