//! The guest's side: process 1 of the virtual machine, and the server of its sessions.
//!
//! Process 1 does only what it alone can do: it mounts the file systems, starts the server and reaps orphans. The server is a
//! process of its own, so that reaping "any child" never takes the exit status of a command from the thread that waits for it.

mod agent;
mod session;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::wait;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::protocol::{SESSIONS, port_name};

/// Where the initramfs put this program; see `initramfs.rs`.
pub const XTASK: &str = "/run/xtask";

/// Where the files that the host hands over are mounted.
pub const HANDED_OVER: &str = "/run/host";

/// The name of the orders among those files.
pub const ORDERS: &str = "orders.json";

/// 9p mount tag of the files that the host hands over.
pub const HOST_TAG: &str = "host";
/// 9p mount tag of the kernel's modules.
pub const MODULES_TAG: &str = "modules";
/// 9p mount tag of the directory that the user shares.
pub const SHARE_TAG: &str = "share";

/// 9p over virtio. The default of 8 KiB a message makes a copied program slow under emulation.
pub const NINE_P_OPTIONS: &str = "trans=virtio,version=9p2000.L,msize=262144";

/// Where programs are looked for, as Debian has it for root.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the host asks of a machine that boots.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Orders {
    /// Files that were handed over, by name, and where they are installed.
    pub install: BTreeMap<String, PathBuf>,
    /// Whether the agent is started, and must be ready, before commands are run.
    pub agent: bool,
    /// Whether there is a shared directory.
    pub share: bool,
}

/// Process 1. Returns only by ending the machine.
pub fn init() -> Result<()> {
    ensure!(
        nix::unistd::getpid() == Pid::from_raw(1),
        "`guest` is process 1 of a virtual machine; use `cargo xtask vm`"
    );
    let outcome = prepare().and_then(|()| serve_and_reap());
    match outcome {
        Ok(status) => eprintln!("holdpoint guest: the session server ended: {status:?}"),
        Err(error) => eprintln!("holdpoint guest: {error:#}"),
    }
    // QEMU runs with -no-reboot: it exits, and the host says so.
    reboot(RebootMode::RB_AUTOBOOT).context("failed to end the machine")?;
    Ok(())
}

/// The file systems that every Linux program expects.
fn prepare() -> Result<()> {
    let mounts = [
        ("sysfs", "/sys", ""),
        ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"),
        ("tmpfs", "/dev/shm", "mode=1777"),
        ("tmpfs", "/tmp", "mode=1777"),
        ("cgroup2", "/sys/fs/cgroup", ""),
        ("bpf", "/sys/fs/bpf", "mode=700"),
        ("securityfs", "/sys/kernel/security", ""),
        ("tracefs", "/sys/kernel/tracing", ""),
    ];
    for (kind, target, options) in mounts {
        mount_at(kind, kind, target, MsFlags::empty(), options)?;
    }
    for (name, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(Path::new("/proc/self").join(target), Path::new("/dev").join(name))
            .with_context(|| format!("failed to link /dev/{name}"))?;
    }
    mount_at("9p", HOST_TAG, HANDED_OVER, MsFlags::MS_RDONLY, NINE_P_OPTIONS)?;
    mount_at("9p", MODULES_TAG, "/lib/modules", MsFlags::MS_RDONLY, NINE_P_OPTIONS)?;
    nix::unistd::sethostname("holdpoint-vm").context("failed to set the host name")?;
    run("ip", &["link", "set", "lo", "up"])
}

fn mount_at(kind: &str, source: &str, target: &str, flags: MsFlags, options: &str) -> Result<()> {
    fs::create_dir_all(target).with_context(|| format!("failed to create {target}"))?;
    mount(Some(source), target, Some(kind), flags, Some(options))
        .with_context(|| format!("failed to mount {kind} ({source}) at {target}"))
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let status =
        Command::new(program).args(arguments).status().with_context(|| format!("failed to start {program}"))?;
    ensure!(status.success(), "`{program} {}` failed: {status}", arguments.join(" "));
    Ok(())
}

fn serve_and_reap() -> Result<nix::sys::wait::WaitStatus> {
    let server = Command::new(XTASK)
        .arg("guest-serve")
        .env("PATH", PATH)
        .spawn()
        .context("failed to start the session server")?;
    let server = Pid::from_raw(server.id().cast_signed());
    loop {
        match wait() {
            Ok(status) if status.pid() == Some(server) => return Ok(status),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("failed to wait for processes"),
        }
    }
}

/// The server: follows the orders, then runs commands until the machine is switched off.
///
/// If the orders cannot be followed, it says so to every session instead: the host learns the reason in the ordinary way.
pub fn serve() -> Result<()> {
    let refusal = follow_orders().err().map(|error| format!("{error:#}"));
    let ports = session_ports()?;
    thread::scope(|scope| {
        for port in &ports {
            scope.spawn(|| session::serve(port, refusal.as_deref()));
        }
    });
    bail!("all session ports are gone")
}

fn follow_orders() -> Result<()> {
    let path = Path::new(HANDED_OVER).join(ORDERS);
    let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let orders: Orders =
        serde_json::from_slice(&text).with_context(|| format!("failed to parse {}", path.display()))?;
    for (name, target) in &orders.install {
        install(&Path::new(HANDED_OVER).join(name), target)?;
    }
    if orders.share {
        mount_at("9p", SHARE_TAG, "/share", MsFlags::empty(), NINE_P_OPTIONS)?;
    }
    if orders.agent { agent::start() } else { Ok(()) }
}

/// Copies, because a program that is run from 9p is not the ordinary file that people have.
fn install(source: &Path, target: &Path) -> Result<()> {
    let directory = target.parent().context("nothing can be installed at /")?;
    fs::create_dir_all(directory).with_context(|| format!("failed to create {}", directory.display()))?;
    fs::copy(source, target).with_context(|| format!("failed to install {}", target.display()))?;
    Ok(())
}

/// The devices of the session ports; their names are in sysfs, as there is no udev to make links of them.
fn session_ports() -> Result<Vec<PathBuf>> {
    const CLASS: &str = "/sys/class/virtio-ports";
    let mut devices = BTreeMap::new();
    for entry in fs::read_dir(CLASS).with_context(|| format!("failed to list {CLASS}"))? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        devices.insert(name.trim().to_owned(), Path::new("/dev").join(entry.file_name()));
    }
    (0..SESSIONS)
        .map(|index| {
            devices.remove(&port_name(index)).with_context(|| format!("there is no port {}", port_name(index)))
        })
        .collect()
}

/// What a shell would report: the exit code, or 128+n for signal n.
fn shell_status(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}
