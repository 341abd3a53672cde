//! Acting on a process outside the tree: a victim of this command's own, that sleeps.

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill as send},
        wait::waitpid,
    },
    unistd::{Pid, pipe},
};

use super::{Route, done};
use crate::attack::{
    raw::{c, owned, sys, words},
    scene::{Ground, Orders, Scene},
};

/// Where systemd and the virtual machine have the unified hierarchy.
const CGROUPS: &str = "/sys/fs/cgroup";

pub const ROUTES: &[Route] = &[
    Route::new("ptrace-attach", "ptrace(2) PTRACE_ATTACH of an outside process", attach).on(is_traced),
    Route::new("ptrace-seize", "ptrace(2) PTRACE_SEIZE of an outside process", seize).on(is_traced),
    Route::new("ptrace-traceme", "ptrace(2) PTRACE_TRACEME with a parent outside", trace_me).on(attacker_is_traced),
    Route::new("kill", "kill(2) of an outside process", kill).on(dies),
    Route::new("tgkill", "tgkill(2) of an outside process", tgkill).on(dies),
    Route::new("pidfd-signal", "pidfd_send_signal(2) to an outside process", pidfd_signal).on(dies),
    Route::new("sigqueue", "rt_sigqueueinfo(2) to an outside process", sigqueue).on(dies),
    Route::new("sigio", "F_SETOWN: the kernel signals an outside process", sigio).on(dies),
    Route::new("setpriority", "setpriority(2) of an outside process", setpriority).on(priority_changes),
    Route::new("sched-setscheduler", "sched_setscheduler(2) of an outside process", scheduler).on(scheduler_changes),
    Route::new("sched-setaffinity", "sched_setaffinity(2) of an outside process", affinity).on(affinity_changes),
    Route::new("prlimit", "prlimit(2) of an outside process", prlimit).on(limits_change),
    Route::new("ioprio-set", "ioprio_set(2) of an outside process", ioprio).on(ioprio_changes),
    Route::new("migrate-pages", "migrate_pages(2) of an outside process", migrate).on(victim),
    Route::new("oom-score", "write(2) to /proc/PID/oom_score_adj", oom_score).on(oom_score_changes),
    Route::new("cgroup-freeze", "write(2) to cgroup.freeze of an outside group", freeze).on(freezes),
    Route::new("cgroup-procs", "write(2) to cgroup.procs: moves an outside process", move_out).on(moves),
    Route::new("cgroup-kill", "write(2) to cgroup.kill of an outside group", kill_group).on(group_dies),
    Route::new("clone-into-cgroup", "clone3(2) CLONE_INTO_CGROUP into an outside group", clone_into).on(in_its_group),
    Route::new("key", "keyctl(2) KEYCTL_READ of a key from outside", read_key).on(key),
];

// --- Scenes -------------------------------------------------------------------------------------------------------

/// A victim; success of the call is all that there is to see.
fn victim(ground: &Ground, route: &Route) -> io::Result<Scene> {
    Ok(with_victim(ground, route)?.done())
}

fn with_victim(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    scene.victim()?;
    Ok(scene)
}

/// The effect is that something of the victim's is not what it was.
fn changes<T: PartialEq + 'static>(
    ground: &Ground,
    route: &Route,
    look: impl Fn(i32) -> T + 'static,
) -> io::Result<Scene> {
    let scene = with_victim(ground, route)?;
    let pid = scene.orders.pid;
    Ok(scene.changed(move || look(pid)))
}

fn tracer(pid: impl std::fmt::Display) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map(|pid| pid.trim().to_owned())
}

fn is_traced(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, tracer)
}

fn attacker_is_traced(ground: &Ground, route: &Route) -> io::Result<Scene> {
    Ok(Scene::new(ground, route)?.seen(|pid| tracer(pid).is_some_and(|tracer| tracer != "0")))
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

fn dies(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, lives)
}

fn priority_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, |pid| sys!(libc::SYS_getpriority, libc::PRIO_PROCESS, pid).ok())
}

fn scheduler_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, |pid| sys!(libc::SYS_sched_getscheduler, pid).ok())
}

fn affinity_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().find(|line| line.starts_with("Cpus_allowed:")).map(str::to_owned)
    })
}

fn limits_change(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, |pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok())
}

fn ioprio_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, |pid| sys!(libc::SYS_ioprio_get, 1, pid).ok())
}

fn oom_score_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    changes(ground, route, |pid| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok())
}

/// A victim in a control group of its own.
fn grouped(ground: &Ground, route: &Route) -> io::Result<(Scene, PathBuf)> {
    let mut scene = Scene::new(ground, route)?;
    let group = Path::new(CGROUPS).join(format!("holdpoint-attack-{}", scene.orders.marker));
    if !Path::new(CGROUPS).join("cgroup.procs").exists() {
        return Err(io::Error::other(format!("{CGROUPS} is not a unified hierarchy of control groups")));
    }
    fs::create_dir(&group)?;
    let gone = group.clone();
    scene.undo(move || remove_group(&gone));
    // Ended before the group is removed: it was kept after it.
    scene.victim()?;
    fs::write(group.join("cgroup.procs"), scene.orders.pid.to_string())?;
    scene.orders.name = group.to_string_lossy().into_owned();
    Ok((scene, group))
}

/// A group is busy until its dead have been counted out.
fn remove_group(group: &Path) {
    for _ in 0..100 {
        if fs::remove_dir(group).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Success of the call is all that there is to see: the child is gone at once.
fn in_its_group(ground: &Ground, route: &Route) -> io::Result<Scene> {
    Ok(grouped(ground, route)?.0.done())
}

fn freezes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let (scene, group) = grouped(ground, route)?;
    let events = group.join("cgroup.events");
    Ok(scene.seen(move |_| fs::read_to_string(&events).is_ok_and(|text| text.contains("frozen 1"))))
}

fn moves(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let (scene, _) = grouped(ground, route)?;
    let membership = format!("/proc/{}/cgroup", scene.orders.pid);
    Ok(scene.changed(move || fs::read_to_string(&membership).ok()))
}

fn group_dies(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let (scene, _) = grouped(ground, route)?;
    let pid = scene.orders.pid;
    Ok(scene.changed(move || lives(pid)))
}

/// A key with the secret, that any process of this user may use.
fn key(ground: &Ground, route: &Route) -> io::Result<Scene> {
    const OF_THE_USER: i32 = -4;
    const SET_PERMISSIONS: i32 = 5;
    const INVALIDATE: i32 = 21;
    const POSSESSOR_AND_USER: u32 = 0x3f3f_0000;
    let mut scene = Scene::new(ground, route)?;
    let (kind, name) = (c("user")?, c(format!("holdpoint-attack-{}", scene.orders.marker))?);
    let secret = scene.secret.as_bytes();
    let serial = sys!(libc::SYS_add_key, &kind, &name, secret, secret.len(), OF_THE_USER)?;
    scene.undo(move || drop(sys!(libc::SYS_keyctl, INVALIDATE, serial)));
    sys!(libc::SYS_keyctl, SET_PERMISSIONS, serial, POSSESSOR_AND_USER)?;
    scene.orders.number = serial.cast_unsigned();
    Ok(scene)
}

// --- Attempts -----------------------------------------------------------------------------------------------------

fn pid(orders: &Orders) -> Pid {
    Pid::from_raw(orders.pid)
}

fn attach(orders: &Orders) -> io::Result<String> {
    done(ptrace::attach(pid(orders))?)
}

fn seize(orders: &Orders) -> io::Result<String> {
    done(ptrace::seize(pid(orders), Options::empty())?)
}

fn trace_me(_: &Orders) -> io::Result<String> {
    done(ptrace::traceme()?)
}

/// SIGUSR1 ends who does not expect it. (SIGTERM is blocked in what this command starts, since it takes it itself.)
fn kill(orders: &Orders) -> io::Result<String> {
    done(send(pid(orders), Signal::SIGUSR1)?)
}

fn tgkill(orders: &Orders) -> io::Result<String> {
    done(sys!(libc::SYS_tgkill, orders.pid, orders.pid, libc::SIGUSR1)?)
}

fn pidfd_signal(orders: &Orders) -> io::Result<String> {
    let pidfd = owned(sys!(libc::SYS_pidfd_open, orders.pid, 0)?)?;
    done(sys!(libc::SYS_pidfd_send_signal, &pidfd, libc::SIGUSR1, 0, 0)?)
}

/// `siginfo_t` of SI_QUEUE, 128 bytes.
fn sigqueue(orders: &Orders) -> io::Result<String> {
    let mut info = [libc::SIGUSR1, 0, -1].map(i32::to_ne_bytes).concat();
    info.resize(128, 0);
    done(sys!(libc::SYS_rt_sigqueueinfo, orders.pid, libc::SIGUSR1, &info)?)
}

/// The owner of a pipe that can be read is sent SIGIO, whose default ends it.
fn sigio(orders: &Orders) -> io::Result<String> {
    let (out, into) = pipe()?;
    sys!(libc::SYS_fcntl, &out, libc::F_SETOWN, orders.pid)?;
    sys!(libc::SYS_fcntl, &out, libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK)?;
    done(nix::unistd::write(into.as_fd(), b"x")?)
}

fn setpriority(orders: &Orders) -> io::Result<String> {
    done(sys!(libc::SYS_setpriority, libc::PRIO_PROCESS, orders.pid, 5)?)
}

fn scheduler(orders: &Orders) -> io::Result<String> {
    let parameters = words(&[0]);
    done(sys!(libc::SYS_sched_setscheduler, orders.pid, libc::SCHED_BATCH, &parameters)?)
}

fn affinity(orders: &Orders) -> io::Result<String> {
    let mask = words(&[1]);
    done(sys!(libc::SYS_sched_setaffinity, orders.pid, mask.len(), &mask)?)
}

fn prlimit(orders: &Orders) -> io::Result<String> {
    let limit = words(&[64, 64]);
    done(sys!(libc::SYS_prlimit64, orders.pid, 7, &limit, 0)?)
}

fn ioprio(orders: &Orders) -> io::Result<String> {
    const OF_A_PROCESS: i32 = 1;
    const IDLE: i32 = 3 << 13;
    done(sys!(libc::SYS_ioprio_set, OF_A_PROCESS, orders.pid, IDLE)?)
}

/// From the first node of memory to itself.
fn migrate(orders: &Orders) -> io::Result<String> {
    let node = words(&[1]);
    done(sys!(libc::SYS_migrate_pages, orders.pid, 64, &node, &node)?)
}

fn oom_score(orders: &Orders) -> io::Result<String> {
    done(fs::write(format!("/proc/{}/oom_score_adj", orders.pid), "500")?)
}

fn control(orders: &Orders, file: &str, value: &str) -> io::Result<String> {
    done(fs::write(Path::new(&orders.name).join(file), value)?)
}

fn freeze(orders: &Orders) -> io::Result<String> {
    control(orders, "cgroup.freeze", "1")
}

fn kill_group(orders: &Orders) -> io::Result<String> {
    control(orders, "cgroup.kill", "1")
}

/// `struct clone_args`, `include/uapi/linux/sched.h`: flags, the signal at the end, and last the group.
fn clone_into(orders: &Orders) -> io::Result<String> {
    const INTO_CGROUP: u64 = 1 << 33;
    let group = fs::File::open(&orders.name)?;
    let descriptor = u64::try_from(group.as_raw_fd()).map_err(io::Error::other)?;
    let arguments = words(&[INTO_CGROUP, 0, 0, 0, Signal::SIGCHLD as u64, 0, 0, 0, 0, 0, descriptor]);
    match sys!(libc::SYS_clone3, &arguments, arguments.len())? {
        0 => process::exit(0),
        child => {
            waitpid(Pid::from_raw(child.try_into().map_err(io::Error::other)?), None)?;
            done(child)
        }
    }
}

fn move_out(orders: &Orders) -> io::Result<String> {
    done(fs::write(Path::new(CGROUPS).join("cgroup.procs"), orders.pid.to_string())?)
}

fn read_key(orders: &Orders) -> io::Result<String> {
    const READ: i32 = 11;
    let mut bytes = vec![0; 64];
    match sys!(libc::SYS_keyctl, READ, orders.number, &mut bytes, 64) {
        // It was there before: a key that may not be looked at is one that is not found.
        Err(error) if error.raw_os_error() == Some(libc::ENOKEY) => return Err(Errno::EPERM.into()),
        other => other?,
    };
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
