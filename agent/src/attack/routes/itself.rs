//! Holdpoint: its process, pins, maps, files and sockets. Nothing of it is changed if an attempt gets through.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use super::{Route, bare, done};
use crate::{
    attack::{
        raw::{address, c, owned, sys, words},
        scene::{Ground, Orders, Scene},
    },
    daemon::{PINS, STATE_DIR},
    sockets::CONTROL,
};

/// Commands of `bpf(2)`, `include/uapi/linux/bpf.h`.
const MAP_CREATE: i32 = 0;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const MAP_BY_ID: i32 = 14;
const INFO_BY_FD: i32 = 15;
const LINK_BY_ID: i32 = 30;

pub const ROUTES: &[Route] = &[
    Route::new("control-socket", "connect(2) to the agent's control socket", control_socket).on(control),
    Route::new("agent-signal", "kill(2) of the agent", signal_agent).on(agent),
    Route::new("agent-trace", "ptrace(2) PTRACE_SEIZE of the agent", trace_agent).on(agent_is_traced),
    Route::new("policy-write", "open(2) for writing of the policy", open_to_write).on(policy),
    Route::new("record-neighbour", "creat(2) beside the record", create).on(beside_record),
    Route::new("record-write", "open(2) for writing of the record", open_to_write).on(record),
    Route::new("binary-chmod", "chmod(2) of the agent's program", chmod_same).on(binary),
    Route::new("pin-unlink", "unlink(2) of a pin", unlink).on(pinned),
    Route::new("pin-open", "bpf(2) BPF_OBJ_GET of the agent's map", get_pin).on(map_pin).trusted(),
    Route::new("map-by-id", "bpf(2) BPF_MAP_GET_FD_BY_ID of the agent's map", map_by_id).on(map_id).trusted(),
    Route::new("link-by-id", "bpf(2) BPF_LINK_GET_FD_BY_ID of the agent's link", link_by_id).on(link_id).trusted(),
];

/// Something with a name; success of the call is all that there is to see.
fn named(ground: &Ground, route: &Route, path: &Path) -> io::Result<Scene> {
    let mut scene = bare(ground, route)?;
    scene.orders.name = path.to_string_lossy().into_owned();
    Ok(scene)
}

fn control(ground: &Ground, route: &Route) -> io::Result<Scene> {
    named(ground, route, &ground.run_dir.join(CONTROL))
}

fn policy(ground: &Ground, route: &Route) -> io::Result<Scene> {
    named(ground, route, &ground.policy)
}

fn record(ground: &Ground, route: &Route) -> io::Result<Scene> {
    named(ground, route, &Path::new(STATE_DIR).join("record.jsonl"))
}

fn agent(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = bare(ground, route)?;
    scene.orders.pid = ground.agent;
    Ok(scene)
}

fn agent_is_traced(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = agent(ground, route)?;
    let status = format!("/proc/{}/status", ground.agent);
    Ok(scene.seen(move |pid| {
        fs::read_to_string(&status).is_ok_and(|status| status.contains(&format!("TracerPid:\t{pid}\n")))
    }))
}

/// The effect is a new file there, which is removed then.
fn beside_record(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let path = Path::new(STATE_DIR).join(format!("attack-{}", scene.orders.marker));
    scene.orders.name = path.to_string_lossy().into_owned();
    let gone = path.clone();
    scene.undo(move || drop(fs::remove_file(gone)));
    Ok(scene.seen(move |_| path.exists()))
}

/// The effect is that the agent's program is marked as changed, though its mode is what it was.
fn binary(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let path = fs::read_link(format!("/proc/{}/exe", ground.agent))?;
    let scene = named(ground, route, &path)?;
    Ok(scene.changed(move || fs::metadata(&path).ok().map(|file| (file.ctime(), file.ctime_nsec()))))
}

/// A pin of this command's own, among those of the agent. The effect is that it is gone.
fn pinned(ground: &Ground, route: &Route) -> io::Result<Scene> {
    const ARRAY: u32 = 2;
    let mut scene = Scene::new(ground, route)?;
    let path = Path::new(PINS).join(format!("attack-{}", scene.orders.marker));
    let map = bpf(MAP_CREATE, &[ARRAY, 4, 4, 1].map(u32::to_ne_bytes).concat())?;
    let map = owned(map)?;
    on_path(OBJ_PIN, &path, Some(&map))?;
    scene.orders.name = path.to_string_lossy().into_owned();
    let gone = path.clone();
    scene.undo(move || drop(fs::remove_file(gone)));
    Ok(scene.changed(move || path.exists()))
}

fn map_pin(ground: &Ground, route: &Route) -> io::Result<Scene> {
    named(ground, route, &a_pin("maps-")?)
}

fn map_id(ground: &Ground, route: &Route) -> io::Result<Scene> {
    with_id(ground, route, "maps-")
}

fn link_id(ground: &Ground, route: &Route) -> io::Result<Scene> {
    with_id(ground, route, "links")
}

fn with_id(ground: &Ground, route: &Route, kind: &str) -> io::Result<Scene> {
    let mut scene = bare(ground, route)?;
    let object = owned(on_path(OBJ_GET, &a_pin(kind)?, None)?)?;
    scene.orders.number = id(&object)?.into();
    Ok(scene)
}

/// The first pin in the agent's directories whose name begins so.
fn a_pin(kind: &str) -> io::Result<PathBuf> {
    let directories = fs::read_dir(PINS)?.flatten();
    let mut found = directories.filter(|entry| entry.file_name().to_string_lossy().starts_with(kind));
    let directory = found.next().ok_or(io::ErrorKind::NotFound)?.path();
    first_file(&directory)?.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn first_file(directory: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)?.flatten() {
        if !entry.file_type()?.is_dir() {
            return Ok(Some(entry.path()));
        }
        if let Some(file) = first_file(&entry.path())? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn bpf(command: i32, attributes: &[u8]) -> io::Result<i64> {
    let mut whole = attributes.to_vec();
    whole.resize(128, 0);
    sys!(libc::SYS_bpf, command, &mut whole, 128)
}

/// `BPF_OBJ_PIN` of a descriptor, `BPF_OBJ_GET` of none.
fn on_path(command: i32, path: &Path, fd: Option<&OwnedFd>) -> io::Result<i64> {
    use std::os::fd::AsRawFd as _;
    let path = c(path)?;
    let mut attributes = words(&[address(path.as_ptr())]);
    attributes.extend(fd.map_or(0, |fd| fd.as_raw_fd()).to_ne_bytes());
    bpf(command, &attributes)
}

/// The number of a map or link: the second word of what is known of it.
fn id(object: &OwnedFd) -> io::Result<u32> {
    use std::os::fd::AsRawFd as _;
    let mut info = vec![0_u8; 256];
    let mut attributes = [object.as_raw_fd().cast_unsigned(), 256].map(u32::to_ne_bytes).concat();
    attributes.extend(words(&[address(info.as_mut_ptr())]));
    bpf(INFO_BY_FD, &attributes)?;
    Ok(u32::from_ne_bytes([info[4], info[5], info[6], info[7]]))
}

// --- Attempts -----------------------------------------------------------------------------------------------------

fn control_socket(orders: &Orders) -> io::Result<String> {
    done(UnixStream::connect(&orders.name)?)
}

/// A signal that is ignored by who has no use for it.
fn signal_agent(orders: &Orders) -> io::Result<String> {
    done(kill(Pid::from_raw(orders.pid), Signal::SIGURG)?)
}

/// Seizing stops nobody.
fn trace_agent(orders: &Orders) -> io::Result<String> {
    done(ptrace::seize(Pid::from_raw(orders.pid), Options::empty())?)
}

/// Nothing is written.
fn open_to_write(orders: &Orders) -> io::Result<String> {
    done(File::options().append(true).open(&orders.name)?)
}

fn create(orders: &Orders) -> io::Result<String> {
    done(File::create_new(&orders.name)?)
}

fn chmod_same(orders: &Orders) -> io::Result<String> {
    let mode = fs::metadata(&orders.name)?.permissions().mode();
    done(fs::set_permissions(&orders.name, fs::Permissions::from_mode(mode))?)
}

fn unlink(orders: &Orders) -> io::Result<String> {
    done(fs::remove_file(&orders.name)?)
}

fn get_pin(orders: &Orders) -> io::Result<String> {
    done(on_path(OBJ_GET, Path::new(&orders.name), None)?)
}

fn map_by_id(orders: &Orders) -> io::Result<String> {
    done(bpf(MAP_BY_ID, &words(&[orders.number]))?)
}

fn link_by_id(orders: &Orders) -> io::Result<String> {
    done(bpf(LINK_BY_ID, &words(&[orders.number]))?)
}
