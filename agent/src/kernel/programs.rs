//! Loading, attaching and pinning the programs, and taking them off again.
//!
//! Everything is pinned below one directory of the BPF file system, so that enforcement outlives the agent:
//! `maps/` holds the maps, `links/<object>/` one link per program, where `<object>` is the digest of the compiled
//! programs. An agent that finds its own links adopts them. One that was upgraded attaches its programs beside the
//! old ones on the same maps and then removes the old links: there is no moment without a gate.

use std::{
    fs,
    io::ErrorKind,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use anyhow::{Context, Result, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData, MapInfo},
    programs::{BtfTracePoint, FEntry, Iter, Lsm, Program, links::FdLink},
};
use holdpoint_common::{CONTRACT, pod::MAPS};
use sha2::{Digest as _, Sha256};

use super::{btf, symbols};
use crate::request::hexadecimal;

/// The compiled programs, made by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/holdpoint-ebpf"));

/// Names this build of the programs.
static OBJECT_DIGEST: LazyLock<String> = LazyLock::new(|| hexadecimal(&Sha256::digest(OBJECT)[..8]));

/// The iterator over what runs: opening its pin begins a pass.
const RUNNING: &str = "running";

/// Each program: its name, and what it attaches to.
const PROGRAMS: [(&str, Attach); 74] = [
    ("inherit", Attach::Lsm("task_alloc")),
    ("placed", Attach::Lsm("task_alloc")),
    ("named", Attach::Tracepoint("sched_process_fork")),
    ("forget", Attach::Lsm("task_free")),
    (RUNNING, Attach::Iterator("task")),
    ("interrupted", Attach::Function("arch_do_signal_or_restart")),
    ("delivered", Attach::Tracepoint("signal_deliver")),
    ("enter", Attach::Lsm("bprm_creds_for_exec")),
    ("exec", Attach::Lsm("bprm_creds_for_exec")),
    ("found_at_exec", Attach::Lsm("bprm_creds_for_exec")),
    ("interpreter", Attach::Lsm("bprm_check_security")),
    ("credentials", Attach::Lsm("bprm_creds_from_file")),
    ("executed", Attach::Lsm("bprm_committed_creds")),
    ("open", Attach::Lsm("file_open")),
    ("create", Attach::Lsm("path_mknod")),
    ("truncate", Attach::Lsm("path_truncate")),
    ("truncate_open", Attach::LsmIfThere("file_truncate")),
    ("map", Attach::Lsm("mmap_file")),
    ("protect", Attach::Lsm("file_mprotect")),
    ("receive", Attach::Lsm("file_receive")),
    ("link", Attach::Lsm("path_link")),
    ("rename", Attach::Lsm("path_rename")),
    ("unlink", Attach::Lsm("path_unlink")),
    ("rmdir", Attach::Lsm("path_rmdir")),
    ("mkdir", Attach::Lsm("path_mkdir")),
    ("symlink", Attach::Lsm("path_symlink")),
    ("chmod", Attach::Lsm("path_chmod")),
    ("chown", Attach::Lsm("path_chown")),
    ("set_attribute", Attach::Lsm("inode_setxattr")),
    ("remove_attribute", Attach::Lsm("inode_removexattr")),
    ("set_list", Attach::LsmIfThere("inode_set_acl")),
    ("remove_list", Attach::LsmIfThere("inode_remove_acl")),
    ("touch", Attach::LsmTaking("inode_setattr", 2)),
    ("touch_mapped", Attach::LsmTaking("inode_setattr", 3)),
    ("connect", Attach::Lsm("socket_connect")),
    ("send", Attach::Lsm("socket_sendmsg")),
    ("bind", Attach::Lsm("socket_bind")),
    ("listen", Attach::Lsm("socket_listen")),
    ("connect_to_all", Attach::Lsm("sctp_bind_connect")),
    ("option", Attach::Lsm("socket_setsockopt")),
    ("shutdown", Attach::Lsm("socket_shutdown")),
    ("create_socket", Attach::Lsm("socket_create")),
    ("created", Attach::Lsm("socket_post_create")),
    ("accepted", Attach::Lsm("sock_graft")),
    ("freed", Attach::Lsm("sk_free_security")),
    ("query", Attach::Function("ip_send_skb")),
    ("query6", Attach::Function("ip6_send_skb")),
    ("answer", Attach::Function("skb_consume_udp")),
    ("deputy", Attach::Lsm("unix_stream_connect")),
    ("datagram", Attach::Lsm("unix_may_send")),
    ("mount", Attach::Lsm("sb_mount")),
    ("move_mount", Attach::Lsm("move_mount")),
    ("unmount", Attach::Lsm("sb_umount")),
    ("pivot_root", Attach::Lsm("sb_pivotroot")),
    ("change_root", Attach::Lsm("path_chroot")),
    ("namespace", Attach::Lsm("userns_create")),
    ("trace", Attach::Lsm("ptrace_access_check")),
    ("be_traced", Attach::Lsm("ptrace_traceme")),
    ("signal", Attach::Lsm("task_kill")),
    ("nice", Attach::Lsm("task_setnice")),
    ("scheduler", Attach::Lsm("task_setscheduler")),
    ("input_priority", Attach::Lsm("task_setioprio")),
    ("limits", Attach::Lsm("task_prlimit")),
    ("read_code", Attach::Lsm("kernel_read_file")),
    ("load_code", Attach::Lsm("kernel_load_data")),
    ("bpf", Attach::Lsm("bpf")),
    ("perf", Attach::Lsm("perf_event_open")),
    ("capability", Attach::Lsm("capable")),
    ("ioctl", Attach::Lsm("file_ioctl")),
    ("ioctl_compat", Attach::LsmIfThere("file_ioctl_compat")),
    ("anonymous", Attach::Lsm("inode_init_security_anon")),
    ("uring", Attach::LsmIfThere("uring_allowed")),
    ("control", Attach::Lsm("file_fcntl")),
    ("key", Attach::Lsm("key_permission")),
];

/// The hooks that the canary proves at every start: those that ordinary calls reach without harm.
pub const HOOKS: [&str; 18] = [
    "bprm_creds_for_exec",
    "file_open",
    "path_mknod",
    "path_truncate",
    "path_link",
    "path_rename",
    "path_unlink",
    "path_symlink",
    "path_mkdir",
    "path_rmdir",
    "path_chmod",
    "path_chown",
    "socket_connect",
    "socket_sendmsg",
    "unix_stream_connect",
    "unix_may_send",
    "task_kill",
    "capable",
];

#[derive(Clone, Copy)]
enum Attach {
    Lsm(&'static str),
    /// A hook that some kernels do not have.
    LsmIfThere(&'static str),
    /// A hook that has so many parameters on some kernels.
    LsmTaking(&'static str, u32),
    Function(&'static str),
    Tracepoint(&'static str),
    Iterator(&'static str),
}

impl Attach {
    fn is_possible(self) -> Result<bool> {
        match self {
            Self::LsmIfThere(hook) => Ok(btf::parameters(hook)?.is_some()),
            Self::LsmTaking(hook, parameters) => Ok(btf::parameters(hook)? == Some(parameters)),
            Self::Lsm(_) | Self::Function(_) | Self::Tracepoint(_) | Self::Iterator(_) => Ok(true),
        }
    }
}

/// Where things are pinned.
pub struct Pins {
    root: PathBuf,
}

impl Pins {
    /// Pins below `root`, a directory on a BPF file system (usually `/sys/fs/bpf/holdpoint`).
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn maps(&self) -> PathBuf {
        self.root.join(format!("maps-{CONTRACT}"))
    }

    fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Those of this agent's programs.
    fn own_links(&self) -> PathBuf {
        self.links().join(&*OBJECT_DIGEST)
    }

    /// The iterator over what runs.
    pub fn running(&self) -> PathBuf {
        self.own_links().join(RUNNING)
    }

    /// Bytes of memory that the maps take: `memlock` in their `/proc/self/fdinfo` (`bpf_map_show_fdinfo`).
    pub fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for name in MAPS {
            let path = self.maps().join(name);
            let info = MapInfo::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
            let file = format!("/proc/self/fdinfo/{}", info.fd()?.as_fd().as_raw_fd());
            let text = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
            let bytes = text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse::<u64>().ok());
            sum += bytes.with_context(|| format!("{file} does not say how much memory the map takes"))?;
        }
        Ok(sum)
    }

    /// Whether any program is attached by a pin here.
    pub fn attached(&self) -> bool {
        directories(&self.links()).is_ok_and(|objects| !objects.is_empty())
    }

    /// Programs of this agent's that are not attached.
    pub fn missing(&self) -> Result<Vec<&'static str>> {
        Ok(self.missing_links()?.into_iter().map(|(name, _)| name).collect())
    }

    fn missing_links(&self) -> Result<Vec<(&'static str, Attach)>> {
        let own = self.own_links();
        let mut missing = Vec::new();
        for (name, attach) in PROGRAMS {
            if !own.join(name).exists() && attach.is_possible()? {
                missing.push((name, attach));
            }
        }
        Ok(missing)
    }

    /// Makes sure that this agent's programs are attached, and gives the maps that they work on.
    pub fn ensure(&self) -> Result<Vec<(&'static str, Map)>> {
        self.refuse_other_contracts()?;
        fs::create_dir_all(self.maps()).with_context(|| {
            format!("cannot create {}: is a BPF file system mounted there, and is this root?", self.maps().display())
        })?;
        let own = self.own_links();
        let missing = self.missing_links()?;
        if !missing.is_empty() {
            // The links of another object stay until ours are on.
            self.attach(&own, &missing)?;
        }
        for other in directories(&self.links())? {
            if other != own {
                remove_tree(&other)?;
            }
        }
        MAPS.iter().map(|name| Ok((*name, self.open_map(name)?))).collect()
    }

    /// Takes everything off. Whatever is held at this moment would go through: see the daemon's detach.
    pub fn remove(&self) -> Result<()> {
        remove_tree(&self.links())?;
        remove_tree(&self.maps())?;
        remove_tree(&self.root)
    }

    /// Maps of another contract cannot be read, and a second set of programs would hold everything twice.
    fn refuse_other_contracts(&self) -> Result<()> {
        for entry in directories(&self.root)? {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.starts_with("maps-") && entry != self.maps() {
                bail!(
                    "{} was pinned by an incompatible version of holdpoint: run that version's `holdpoint detach` first",
                    entry.display()
                );
            }
        }
        Ok(())
    }

    fn open_map(&self, name: &str) -> Result<Map> {
        let path = self.maps().join(name);
        let data =
            MapData::from_pin(&path).with_context(|| format!("cannot open the pinned map {}", path.display()))?;
        Map::from_map_data(data).with_context(|| format!("{} is not a map that this agent knows", path.display()))
    }

    fn attach(&self, links: &Path, programs: &[(&str, Attach)]) -> Result<()> {
        let mut ebpf = self.load()?;
        let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF")?;
        fs::create_dir_all(links).with_context(|| format!("cannot create {}", links.display()))?;
        for &(name, attach) in programs {
            let program = ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))?;
            attach_one(program, attach, &btf)
                .and_then(|link| Ok(link.pin(links.join(name))?))
                .with_context(|| format!("cannot attach the program \"{name}\" to this kernel"))?;
            let verified = program.info().ok().and_then(|info| info.verified_instruction_count());
            tracing::debug!(name, verified, "attached");
        }
        Ok(())
    }

    fn load(&self) -> Result<Ebpf> {
        let (layout, symbols) = (btf::running_layout()?, symbols::running_symbols()?);
        let mut loader = EbpfLoader::new();
        loader.override_global("LAYOUT", &layout, true).override_global("SYMBOLS", &symbols, true);
        for name in MAPS {
            loader.map_pin_path(name, self.maps().join(name));
        }
        loader.load(OBJECT).context("cannot create the maps")
    }
}

fn attach_one(program: &mut Program, attach: Attach, btf: &Btf) -> Result<FdLink> {
    Ok(match attach {
        Attach::Lsm(hook) | Attach::LsmIfThere(hook) | Attach::LsmTaking(hook, _) => {
            let program: &mut Lsm = program.try_into()?;
            program.load(hook, btf)?;
            let link = program.attach()?;
            program.take_link(link)?.into()
        }
        Attach::Function(function) => {
            let program: &mut FEntry = program.try_into()?;
            program.load(function, btf)?;
            let link = program.attach()?;
            program.take_link(link)?.into()
        }
        Attach::Tracepoint(name) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(name, btf)?;
            let link = program.attach()?;
            program.take_link(link)?.into()
        }
        Attach::Iterator(over) => {
            let program: &mut Iter = program.try_into()?;
            program.load(over, btf)?;
            let link = program.attach()?;
            program.take_link(link)?.try_into()?
        }
    })
}

fn directories(parent: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(parent) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list {}", parent.display())),
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
