//! Whether this host can run virtual machines natively, or must emulate.
//!
//! /dev/kvm may exist and yet hang (in a virtual machine without nested virtualisation), so only a boot that succeeds counts.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::cache;
use crate::kernel::{Kernel, KernelFiles};
use crate::progress;

/// The processor that QEMU emulates. With cx16 Linux 6.12 crashes at boot under QEMU 7.2 on two processors. With erms and
/// fsrm Linux copies by `rep movsb`, which QEMU does a byte at a time: the verifier takes twice as long. With la57 each
/// address is looked up on one level more.
const EMULATED: &str = "max,-cx16,-erms,-fsrm,-la57";

/// How QEMU executes the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By translation; slow, but everywhere.
    Tcg,
    /// By translation on one processor, with a clock that counts instructions: 1 ns is one instruction.
    Counting,
}

impl Accel {
    /// The fastest that works here; tried once per boot of the host.
    pub fn best() -> Result<Self> {
        if !Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").context("failed to read the host's boot id")?;
        let memory = cache::directory()?.join("kvm");
        let [works, fails] = ["works", "fails"].map(|result| format!("{} {result}\n", boot.trim()));
        let known = fs::read_to_string(&memory).unwrap_or_default();
        let kvm = if known == works || known == fails {
            known == works
        } else {
            let kvm = kvm_boots(&Kernel::Debian12.files()?)?;
            fs::write(&memory, if kvm { works } else { fails }).context("failed to remember whether KVM works")?;
            kvm
        };
        Ok(if kvm { Self::Kvm } else { Self::Tcg })
    }

    /// QEMU's options for it.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
            Self::Tcg => &["-accel", "tcg", "-cpu", EMULATED, "-smp", "2"],
            Self::Counting => &["-accel", "tcg,thread=single", "-cpu", EMULATED, "-smp", "1", "-icount", "shift=0"],
        }
    }
}

/// Boots a kernel without a root: it panics and QEMU exits, within a second or two if KVM works.
fn kvm_boots(kernel: &KernelFiles) -> Result<bool> {
    const PATIENCE: Duration = Duration::from_secs(10);
    progress("trying whether KVM works (once per boot of this host)");
    let mut qemu = Command::new("qemu-system-x86_64")
        .args(Accel::Kvm.arguments())
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "512"])
        .arg("-kernel")
        .arg(kernel.image())
        .args(["-append", "panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start qemu-system-x86_64")?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = qemu.try_wait().context("failed to wait for QEMU")? {
            return Ok(status.success());
        }
        thread::sleep(Duration::from_millis(50));
    }
    qemu.kill().context("failed to kill QEMU")?;
    qemu.wait().context("failed to wait for QEMU")?;
    Ok(false)
}
