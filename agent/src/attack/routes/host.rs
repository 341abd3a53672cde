//! Changing the kernel or the host under everybody's feet. Values are set to what they are; what would change something is
//! well-formed up to the place where the kernel asks whether it may, and refused by the kernel after that.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    libc,
    mount::{MsFlags, mount},
    sched::CloneFlags,
    sys::{
        reboot::set_cad_enabled,
        stat::{Mode, SFlag, mknod},
    },
    time::{ClockId, clock_gettime, clock_settime},
    unistd::sethostname,
};

use super::{Route, bare, done, own, own_mounts};
use crate::attack::{
    raw::{address, c, sys, words},
    scene::{Ground, Orders, Scene},
};

const CORE_PATTERN: &str = "/proc/sys/kernel/core_pattern";
const MODPROBE: &str = "/proc/sys/kernel/modprobe";
const CTRL_ALT_DEL: &str = "/proc/sys/kernel/ctrl-alt-del";

pub const ROUTES: &[Route] = &[
    // Devices.
    Route::new("block-device", "open(2) of a block device", block_device).on(with_disk),
    Route::new("mknod-block", "mknod(2) of a block device", block_node).on(new_node),
    Route::new("dev-mem", "open(2) of /dev/mem", dev_mem).on(bare),
    Route::new("kcore", "open(2) of /proc/kcore", kcore).on(bare),
    Route::new("ioperm", "ioperm(2): input and output without the kernel", ioperm).on(bare),
    Route::new("swapon", "swapon(2)", swapon).on(swaps),
    // What the kernel starts outside the tree.
    Route::new("core-pattern", "write(2) to /proc/sys/kernel/core_pattern", core_pattern).on(bare),
    Route::new("modprobe-path", "write(2) to /proc/sys/kernel/modprobe", modprobe_path).on(bare),
    Route::new("binfmt-misc", "write(2) to binfmt_misc's register", binfmt).on(is_registered).after(binfmt_mounted),
    Route::new("release-agent", "write(2) to release_agent of control groups", release_agent)
        .on(agent_is_set)
        .after(hierarchy_mounted),
    Route::new("sysrq", "open(2) of /proc/sysrq-trigger", sysrq).on(bare),
    // Code and state of the kernel.
    Route::new("init-module", "init_module(2)", init_module).on(bare).trusted(),
    Route::new("finit-module", "finit_module(2)", finit_module).on(bare).trusted(),
    Route::new("kexec-load", "kexec_load(2)", kexec_load).on(bare).trusted(),
    Route::new("kexec-file-load", "kexec_file_load(2)", kexec_file_load).on(bare).trusted(),
    Route::new("bpf-program", "bpf(2) BPF_PROG_LOAD", bpf_program).on(bare).trusted(),
    Route::new("perf-event", "perf_event_open(2)", perf_event).on(bare).trusted(),
    Route::new("tracefs", "open(2) of kprobe_events", tracefs).on(bare),
    Route::new("userfaultfd", "userfaultfd(2)", userfaultfd).on(bare),
    Route::new("syslog", "syslog(2)", syslog).on(bare),
    Route::new("reboot", "reboot(2) LINUX_REBOOT_CMD_CAD_OFF", cad_off).on(keeps_cad),
    Route::new("clock-settime", "clock_settime(2)", clock).on(bare),
    Route::new("adjtimex", "adjtimex(2)", adjtimex).on(bare),
    Route::new("sethostname", "sethostname(2)", hostname).on(bare).after(own_name),
];

// --- Devices ------------------------------------------------------------------------------------------------------

/// A disk that has content.
fn disk() -> io::Result<PathBuf> {
    for entry in fs::read_dir("/sys/class/block")?.flatten() {
        let device = Path::new("/dev").join(entry.file_name());
        let size = fs::read_to_string(entry.path().join("size")).unwrap_or_default();
        if size.trim() != "0" && device.exists() {
            return Ok(device);
        }
    }
    Err(io::Error::other("there is no block device"))
}

fn with_disk(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = bare(ground, route)?;
    scene.orders.name = disk()?.to_string_lossy().into_owned();
    Ok(scene)
}

fn new_node(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = with_disk(ground, route)?;
    let node = scene.orders.outside.join("node");
    Ok(scene.changed(move || fs::symlink_metadata(&node).ok().map(|node| node.rdev())))
}

fn first_bytes(path: impl AsRef<Path>) -> io::Result<String> {
    done(File::open(path)?.read_exact(&mut [0; 16])?)
}

fn block_device(orders: &Orders) -> io::Result<String> {
    first_bytes(&orders.name)
}

fn block_node(orders: &Orders) -> io::Result<String> {
    let device = fs::metadata(&orders.name)?.rdev();
    done(mknod(&orders.outside.join("node"), SFlag::S_IFBLK, Mode::S_IRUSR, device)?)
}

fn dev_mem(_: &Orders) -> io::Result<String> {
    first_bytes("/dev/mem")
}

fn kcore(_: &Orders) -> io::Result<String> {
    first_bytes("/proc/kcore")
}

/// The port of the firmware's progress codes, which nobody minds; it is not touched.
fn ioperm(_: &Orders) -> io::Result<String> {
    done(sys!(libc::SYS_ioperm, 0x80, 1, 1)?)
}

/// A small swap area. The effect is that the kernel uses it, which is ended then.
fn swaps(ground: &Ground, route: &Route) -> io::Result<Scene> {
    const PAGE: usize = 4096;
    const PAGES: u32 = 64;
    let mut scene = Scene::new(ground, route)?;
    let path = scene.orders.disk.join("swap");
    let mut area = vec![0; PAGES as usize * PAGE];
    area[1024..1032].copy_from_slice(&[1_u32, PAGES - 1].map(u32::to_ne_bytes).concat());
    area[PAGE - 10..PAGE].copy_from_slice(b"SWAPSPACE2");
    fs::write(&path, area)?;
    // The blocks must have their place on the disk.
    File::open(&path)?.sync_all()?;
    let (name, used) = (c(&path)?, path.to_string_lossy().into_owned());
    scene.undo(move || drop(sys!(libc::SYS_swapoff, &name)));
    Ok(scene.seen(move |_| fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.contains(&used))))
}

fn swapon(orders: &Orders) -> io::Result<String> {
    let path = c(orders.disk.join("swap"))?;
    done(sys!(libc::SYS_swapon, &path, 0)?)
}

// --- What the kernel starts ---------------------------------------------------------------------------------------

/// Writes what is there already.
fn rewrite(path: &str) -> io::Result<String> {
    let value = fs::read(path)?;
    done(File::options().write(true).open(path)?.write_all(&value)?)
}

fn core_pattern(_: &Orders) -> io::Result<String> {
    rewrite(CORE_PATTERN)
}

fn modprobe_path(_: &Orders) -> io::Result<String> {
    rewrite(MODPROBE)
}

fn mounted(orders: &Orders, kind: &str, options: Option<&str>) -> io::Result<()> {
    let place = orders.outside.join("mounted");
    fs::create_dir_all(&place)?;
    mount(Some(kind), &place, Some(kind), MsFlags::empty(), options).map_err(Into::into)
}

/// A file as the attacker sees it, in its own mounts.
fn attackers(pid: u32, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{}", path.display()))
}

fn binfmt_mounted(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    mounted(orders, "binfmt_misc", None)
}

/// The effect is a new kind of program, which is taken back at once.
fn is_registered(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let entry = scene.orders.outside.join("mounted").join(format!("attack-{}", scene.orders.marker));
    Ok(scene.seen(move |pid| {
        let entry = attackers(pid, &entry);
        entry.exists() && fs::write(entry, "-1").is_ok()
    }))
}

/// Programs that begin as nobody's program does.
fn binfmt(orders: &Orders) -> io::Result<String> {
    let register = orders.outside.join("mounted/register");
    let line = format!(":attack-{0}:M::{0}::/bin/true:", orders.marker);
    done(File::options().write(true).open(register)?.write_all(line.as_bytes())?)
}

fn hierarchy_mounted(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    mounted(orders, "cgroup", Some(&format!("none,name=attack-{}", orders.marker)))
}

fn agent_is_set(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let file = scene.orders.outside.join("mounted/release_agent");
    Ok(scene.seen(move |pid| fs::read_to_string(attackers(pid, &file)).is_ok_and(|text| text.contains("/bin/true"))))
}

fn release_agent(orders: &Orders) -> io::Result<String> {
    done(fs::write(orders.outside.join("mounted/release_agent"), "/bin/true")?)
}

fn sysrq(_: &Orders) -> io::Result<String> {
    done(File::options().write(true).open("/proc/sysrq-trigger")?)
}

// --- Code and state of the kernel ---------------------------------------------------------------------------------

/// An error that comes after the kernel has asked whether it may: it had been allowed to.
fn after_the_question<T>(result: io::Result<T>, errors: &[Errno]) -> io::Result<String> {
    match result {
        Err(error) if errors.iter().any(|errno| error.raw_os_error() == Some(*errno as i32)) => Ok(String::new()),
        other => done(other?),
    }
}

/// What the kernel says of an image that it has read: no program, or not signed by anybody it knows.
const READ_AND_REFUSED: [Errno; 4] = [Errno::ENOEXEC, Errno::ENOKEY, Errno::EKEYREJECTED, Errno::EBADMSG];

/// The header of a relocatable file for this machine, with no sections.
fn module() -> Vec<u8> {
    const RELOCATABLE: u16 = 1;
    const X86_64: u16 = 62;
    let mut image = b"\x7fELF\x02\x01\x01".to_vec();
    image.resize(16, 0);
    image.extend([RELOCATABLE.to_le_bytes(), X86_64.to_le_bytes()].concat());
    image.extend(1_u32.to_le_bytes());
    image.resize(52, 0);
    image.extend(64_u16.to_le_bytes());
    image.resize(4096, 0);
    image
}

fn image_file(orders: &Orders) -> io::Result<File> {
    let path = orders.outside.join("image");
    fs::write(&path, module())?;
    File::open(path)
}

fn init_module(_: &Orders) -> io::Result<String> {
    let (image, parameters) = (module(), c("")?);
    let result = sys!(libc::SYS_init_module, &image, image.len(), &parameters);
    after_the_question(result, &READ_AND_REFUSED)
}

fn finit_module(orders: &Orders) -> io::Result<String> {
    let (image, parameters) = (image_file(orders)?, c("")?);
    let result = sys!(libc::SYS_finit_module, image.as_raw_fd(), &parameters, 0);
    after_the_question(result, &READ_AND_REFUSED)
}

/// One segment more than there can be, which is looked at last.
fn kexec_load(_: &Orders) -> io::Result<String> {
    const SEGMENTS: i32 = 17;
    let segments = vec![0; 17 * 32];
    let result = sys!(libc::SYS_kexec_load, 0, SEGMENTS, &segments, 0);
    after_the_question(result, &[Errno::EINVAL])
}

fn kexec_file_load(orders: &Orders) -> io::Result<String> {
    const NO_INITRAMFS: i32 = 4;
    let (image, parameters) = (image_file(orders)?, c("")?);
    let result = sys!(libc::SYS_kexec_file_load, image.as_raw_fd(), -1, 1, &parameters, NO_INITRAMFS);
    after_the_question(result, &READ_AND_REFUSED)
}

/// `r0 = 0; exit`, as a filter of sockets.
fn bpf_program(_: &Orders) -> io::Result<String> {
    const LOAD: i32 = 5;
    const SOCKET_FILTER: u32 = 1;
    let (program, licence) = (words(&[0xb7, 0x95]), c("GPL")?);
    let mut attributes = [SOCKET_FILTER, 2].map(u32::to_ne_bytes).concat();
    attributes.extend(words(&[address(program.as_ptr()), address(licence.as_ptr())]));
    attributes.resize(128, 0);
    done(sys!(libc::SYS_bpf, LOAD, &attributes, attributes.len())?)
}

/// The clock of the first processor.
fn perf_event(_: &Orders) -> io::Result<String> {
    const SOFTWARE: u32 = 1;
    let mut attributes = [SOFTWARE, 128].map(u32::to_ne_bytes).concat();
    attributes.resize(128, 0);
    done(sys!(libc::SYS_perf_event_open, &attributes, -1, 0, -1, 0)?)
}

/// Without O_TRUNC, which would remove probes.
fn tracefs(_: &Orders) -> io::Result<String> {
    done(File::options().append(true).open("/sys/kernel/tracing/kprobe_events")?)
}

fn userfaultfd(_: &Orders) -> io::Result<String> {
    done(sys!(libc::SYS_userfaultfd, libc::O_CLOEXEC)?)
}

fn syslog(_: &Orders) -> io::Result<String> {
    const READ_ALL: i32 = 3;
    let mut buffer = vec![0; 4096];
    done(sys!(libc::SYS_syslog, READ_ALL, &mut buffer, 4096)?)
}

/// What Ctrl-Alt-Del does is put back.
fn keeps_cad(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = bare(ground, route)?;
    let enabled = fs::read_to_string(CTRL_ALT_DEL)?.trim() == "1";
    scene.undo(move || {
        let _ = set_cad_enabled(enabled);
    });
    Ok(scene)
}

fn cad_off(_: &Orders) -> io::Result<String> {
    done(set_cad_enabled(false)?)
}

fn clock(_: &Orders) -> io::Result<String> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    done(clock_settime(ClockId::CLOCK_REALTIME, now)?)
}

/// The frequency that it has.
fn adjtimex(_: &Orders) -> io::Result<String> {
    const FREQUENCY: u32 = 2;
    let mut clock = vec![0; size_of::<libc::timex>()];
    sys!(libc::SYS_adjtimex, &mut clock)?;
    clock[..4].copy_from_slice(&FREQUENCY.to_ne_bytes());
    done(sys!(libc::SYS_adjtimex, &mut clock)?)
}

fn own_name(_: &mut Orders) -> io::Result<()> {
    own(CloneFlags::CLONE_NEWUTS)
}

fn hostname(orders: &Orders) -> io::Result<String> {
    done(sethostname(&orders.marker)?)
}
