//! A virtual machine: QEMU, its run directory, and the files handed over to the guest.
//!
//! The run directory has the name by which others find the machine. Its owner holds a lock on it, so a directory without one
//! is what a killed owner left behind, and is removed.
//!
//! ```text
//! holdpoint-vm-NAME/  lock  console.log  session-N  session-N.lock  host/ (mounted in the guest: orders, programs)
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::mkdtemp;

use crate::accel::Accel;
use crate::guest::{HOST_TAG, MODULES_TAG, ORDERS, Orders, SHARE_TAG};
use crate::image::root_image;
use crate::initramfs::initramfs;
use crate::kernel::Kernel;
use crate::programs::copy_stripped;
use crate::progress;
use crate::protocol::{Run, SESSIONS, port_name};
use crate::session::{MachineGone, Port, Signals, Streams, run_here, run_with, socket};

/// From the start of QEMU to the greeting of the guest, agent included. An emulated boot takes some 10 seconds.
const BOOT_PATIENCE: Duration = Duration::from_secs(400);
/// How often a machine is booted. On two emulated processors Linux 6.12 dies now and then as it changes its own code, under
/// QEMU 7.2.
const BOOTS: u32 = 3;

const PREFIX: &str = "holdpoint-vm-";

/// What to boot.
pub struct Plan {
    /// The kernel.
    pub kernel: Kernel,
    /// How to execute it.
    pub accel: Accel,
    /// Further kernel parameters.
    pub append: String,
    /// By what name `--join` finds the machine; the process id if absent.
    pub name: Option<String>,
    /// A directory of the host to have at /share.
    pub share: Option<PathBuf>,
    /// Whether the agent runs.
    pub agent: bool,
    /// Programs (stripped) to install, by their place in the guest.
    pub programs: BTreeMap<PathBuf, PathBuf>,
    /// Other files to install, by their place in the guest.
    pub files: BTreeMap<PathBuf, PathBuf>,
}

impl Plan {
    /// A machine without agent, programs or a shared directory.
    pub fn new(kernel: Kernel, accel: Accel) -> Self {
        Self {
            kernel,
            accel,
            append: String::new(),
            name: None,
            share: None,
            agent: false,
            programs: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    /// Makes what takes long the first time, so that a boot is only that.
    pub fn fetch(&self) -> Result<()> {
        initramfs(self.kernel, &self.kernel.files()?)?;
        root_image().map(drop)
    }
}

/// A machine that runs until it is dropped.
pub struct Machine {
    qemu: Child,
    /// Taken when the machine has greeted; the first session uses it.
    first: Option<Port>,
    directory: RunDirectory,
}

impl Machine {
    /// Boots and waits until commands can be run. What ends as it boots is booted again.
    pub fn boot(plan: &Plan, signals: &Signals) -> Result<Self> {
        for _ in 1..BOOTS {
            let (mut machine, greeting) = Self::start(plan, signals)?;
            let is_gone = greeting.as_ref().is_err_and(|error| error.is::<MachineGone>());
            match machine.with_console(greeting) {
                Err(error) if is_gone => progress(&format!("{error:#}\nbooting it again")),
                greeted => {
                    machine.first = Some(greeted?);
                    return Ok(machine);
                }
            }
        }
        let (mut machine, greeting) = Self::start(plan, signals)?;
        machine.first = Some(machine.with_console(greeting)?);
        Ok(machine)
    }

    /// Starts QEMU and waits for the greeting.
    fn start(plan: &Plan, signals: &Signals) -> Result<(Self, Result<Port>)> {
        let directory = RunDirectory::create(plan.name.as_deref())?;
        hand_over(plan, &directory.path.join("host"))?;
        let qemu = start_qemu(plan, &directory.path)?;
        let mut machine = Self { qemu, first: None, directory };
        machine.await_sockets()?;
        let path = machine.directory.path.clone();
        let greeting = Port::of_booting(&path, BOOT_PATIENCE, signals);
        Ok((machine, greeting))
    }

    /// Runs a command with our own streams; its status.
    pub fn run_here(&mut self, run: Run, signals: &Signals) -> Result<i32> {
        let port = self.port(signals)?;
        let status = run_here(port, run, signals);
        self.with_console(status)
    }

    /// Runs a command without a terminal and with these streams; its status.
    pub fn run(&mut self, run: &Run, streams: Streams<'_>, signals: &Signals) -> Result<i32> {
        let port = self.port(signals)?;
        let status = run_with(port, run, streams, signals);
        self.with_console(status)
    }

    fn port(&mut self, signals: &Signals) -> Result<Port> {
        self.first.take().map_or_else(|| Port::of_running(&self.directory.path, signals), Ok)
    }

    /// QEMU makes the sockets before it starts the guest.
    fn await_sockets(&mut self) -> Result<()> {
        const PATIENCE: u32 = 100;
        for _ in 0..PATIENCE {
            if socket(&self.directory.path, SESSIONS - 1).exists() {
                return Ok(());
            }
            if self.qemu.try_wait().context("failed to wait for QEMU")?.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("QEMU did not start; it said\n{}", tail(&self.directory.path.join("qemu.log")))
    }

    /// If the machine ended: says how, and what it last wrote to the console.
    fn with_console<T>(&mut self, outcome: Result<T>) -> Result<T> {
        let Err(error) = outcome else { return outcome };
        if !error.is::<MachineGone>() {
            return Err(error);
        }
        let status = self.qemu.wait().context("failed to wait for QEMU")?;
        let logs = ["console.log", "qemu.log"].map(|log| tail(&self.directory.path.join(log))).concat();
        bail!("{error} (QEMU: {status}); its console ends with\n{logs}")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    const LINES: usize = 60;
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| format!("    {}\n", line.trim_end())).collect()
}

/// Fills the directory that the guest mounts at /run/host.
fn hand_over(plan: &Plan, directory: &Path) -> Result<()> {
    fs::create_dir(directory).with_context(|| format!("failed to create {}", directory.display()))?;
    let own = std::env::current_exe().context("failed to find this program")?;
    copy_stripped(&own, &directory.join("xtask"))?;
    let mut orders = Orders { agent: plan.agent, share: plan.share.is_some(), ..Orders::default() };
    for (number, (target, source)) in plan.programs.iter().chain(&plan.files).enumerate() {
        let name = format!("install-{number}");
        let handed_over = directory.join(&name);
        if plan.programs.contains_key(target) {
            copy_stripped(source, &handed_over)?;
        } else {
            fs::copy(source, &handed_over).with_context(|| format!("failed to copy {}", source.display()))?;
        }
        orders.install.insert(name, target.clone());
    }
    let orders = serde_json::to_vec(&orders).context("failed to write the orders")?;
    fs::write(directory.join(ORDERS), orders).context("failed to write the orders")
}

fn start_qemu(plan: &Plan, directory: &Path) -> Result<Child> {
    let kernel = plan.kernel.files()?;
    let log = File::create(directory.join("qemu.log")).context("failed to create QEMU's log")?;
    // If we are killed, so is QEMU: nobody else would end it.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "--", "qemu-system-x86_64"])
        .args(plan.accel.arguments())
        .args(["-machine", "q35", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "2048"])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs(plan.kernel, &kernel)?)
        .args(["-append", &format!("console=ttyS0 quiet panic=-1 oops=panic {}", plan.append)])
        .args(["-serial", &format!("file:{}", quoted(&directory.join("console.log")))])
        .args(["-drive", &format!("file={},if=virtio,format=raw,snapshot=on", quoted(&root_image()?))]);
    share(&mut qemu, HOST_TAG, &directory.join("host"), "on");
    share(&mut qemu, MODULES_TAG, &kernel.modules(), "on");
    if let Some(path) = &plan.share {
        let path = path.canonicalize().with_context(|| format!("failed to find {}", path.display()))?;
        share(&mut qemu, SHARE_TAG, &path, "off");
    }
    qemu.args(["-device", &format!("virtio-serial-pci,max_ports={}", SESSIONS + 1)]);
    for index in 0..SESSIONS {
        let path = quoted(&socket(directory, index));
        qemu.args(["-chardev", &format!("socket,id=session{index},path={path},server=on,wait=off")]);
        qemu.args(["-device", &format!("virtserialport,chardev=session{index},name={}", port_name(index))]);
    }
    qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().context("failed to start QEMU by setpriv")
}

fn share(qemu: &mut Command, tag: &str, path: &Path, readonly: &str) {
    let path = quoted(path);
    qemu.args([
        "-fsdev",
        &format!("local,id={tag},path={path},security_model=none,multidevs=remap,readonly={readonly}"),
    ]);
    qemu.args(["-device", &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}")]);
}

/// A path as a value among QEMU's options, where a comma ends it unless doubled.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

struct RunDirectory {
    path: PathBuf,
    _lock: Flock<File>,
}

impl RunDirectory {
    fn create(name: Option<&str>) -> Result<Self> {
        let name = name.map_or_else(|| std::process::id().to_string(), str::to_owned);
        running()?;
        // Locked before it has a name that others look for: they would remove it as abandoned.
        let template = run_directories().join("holdpoint-starting-XXXXXX");
        let nameless = mkdtemp(&template).with_context(|| format!("failed to create {}", template.display()))?;
        let lock = lock(&nameless)?.with_context(|| format!("another process took {}", nameless.display()))?;
        let path = run_directories().join(format!("{PREFIX}{name}"));
        if let Err(error) = fs::rename(&nameless, &path) {
            fs::remove_dir_all(&nameless).with_context(|| format!("failed to remove {}", nameless.display()))?;
            return Err(error).with_context(|| format!("a machine named {name} runs already; choose another --name"));
        }
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Short, because the address of a UNIX socket has at most 107 bytes.
fn run_directories() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()).map_or_else(|| "/tmp".into(), PathBuf::from)
}

/// The lock of a run directory, or `None` if somebody has it.
fn lock(directory: &Path) -> Result<Option<Flock<File>>> {
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

/// The machines that run, by name. What dead ones left behind is removed.
fn running() -> Result<BTreeMap<String, PathBuf>> {
    let base = run_directories();
    let mut machines = BTreeMap::new();
    for entry in fs::read_dir(&base).with_context(|| format!("failed to list {}", base.display()))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(name) = file_name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        match lock(&entry.path()) {
            Ok(None) => drop(machines.insert(name.to_owned(), entry.path())),
            Ok(Some(_abandoned)) => drop(fs::remove_dir_all(entry.path())),
            // Another user's machine.
            Err(_) => {}
        }
    }
    Ok(machines)
}

/// A free port of the running machine `name`, or of the only one.
pub fn join(name: Option<&str>, signals: &Signals) -> Result<Port> {
    let machines = running()?;
    let names = || machines.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let directory = match name {
        Some(name) => machines.get(name).with_context(|| format!("no machine {name} runs (there are: {})", names()))?,
        None if machines.len() > 1 => bail!("several machines run; name one of {} with --name", names()),
        None => machines.values().next().context("no machine runs; start one with `cargo xtask vm -- COMMAND`")?,
    };
    Port::of_running(directory, signals)
}
