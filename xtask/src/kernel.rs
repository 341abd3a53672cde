//! The kernels that holdpoint is tested on, as Debian builds them.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::apt::Archive;
use crate::cache::artefact;
use crate::process::run;

/// A kernel to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Kernel {
    /// Linux 6.1, the kernel of Debian 12.
    #[value(name = "debian-12")]
    Debian12,
    /// Linux 6.12, the kernel of Debian 13.
    #[value(name = "debian-13")]
    Debian13,
}

impl Kernel {
    /// All of them, oldest first.
    pub const ALL: [Self; 2] = [Self::Debian12, Self::Debian13];

    fn suite(self) -> &'static str {
        match self {
            Self::Debian12 => "bookworm",
            Self::Debian13 => "trixie",
        }
    }

    /// The kernel's files, fetched if they are not there.
    pub fn files(self) -> Result<KernelFiles> {
        let recipe = ("linux-image-amd64", self.suite(), 2);
        let directory = artefact(&format!("kernel-{self}"), recipe, |target| self.fetch(target))?;
        Ok(KernelFiles { directory })
    }

    /// The meta package names the kernel that is current in this suite; its modules get the index that its installation
    /// script would make.
    fn fetch(self, target: &Path) -> Result<()> {
        let work = target.join("work");
        let archive = Archive::open(work.join("apt"), self.suite())?;
        let dependencies = archive.dependencies("linux-image-amd64")?;
        let package = dependencies
            .iter()
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("linux-image-amd64 of {} depends on no kernel", self.suite()))?;
        let unpacked = work.join("package");
        archive.unpack(package, &unpacked)?;

        let release = package.trim_start_matches("linux-image-");
        if !unpacked.join("lib").exists() {
            // Since Debian 13 the modules are packed below /usr/lib, and /lib is a link of the installed system.
            symlink("usr/lib", unpacked.join("lib")).context("failed to link /lib")?;
        }
        run(Command::new("depmod").arg("-b").arg(&unpacked).arg(release))?;
        let compressed =
            fs::read(unpacked.join("boot").join(format!("vmlinuz-{release}"))).context("the package has no vmlinuz")?;
        decompress(&compressed, &work, &target.join("vmlinux"))?;
        fs::rename(unpacked.join("lib/modules"), target.join("modules")).context("the package has no modules")?;
        fs::write(target.join("release"), release).context("failed to write the release")?;
        fs::remove_dir_all(&work).context("failed to remove what is not needed any more")
    }
}

/// Unpacks the kernel out of a bzImage here, because under emulation its own decompressor takes longer than the whole boot.
fn decompress(bzimage: &[u8], work: &Path, target: &Path) -> Result<()> {
    let payload = payload(bzimage).context("vmlinuz is not a bzImage of boot protocol 2.08 or later")?;
    let decompressor = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => bail!("vmlinuz is compressed in a way that is not known"),
    };
    let packed = work.join("payload");
    fs::write(&packed, payload).context("failed to write the compressed kernel")?;
    let kernel = File::create(target).with_context(|| format!("failed to create {}", target.display()))?;
    let status = Command::new(decompressor)
        .arg("-dc")
        .stdin(File::open(&packed)?)
        .stdout(kernel)
        .status()
        .with_context(|| format!("failed to start {decompressor}"))?;
    ensure!(status.success(), "{decompressor} failed to decompress the kernel: {status}");
    Ok(())
}

/// The compressed kernel in a bzImage, without the length that the kernel's build appends.
/// Offsets: <https://www.kernel.org/doc/html/v6.1/x86/boot.html>
fn payload(bzimage: &[u8]) -> Option<&[u8]> {
    const APPENDED: usize = 4;
    let number = |offset: usize| {
        let bytes = bzimage.get(offset..offset + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    let setup_sectors = usize::from(*bzimage.get(0x1f1)?);
    let start = (setup_sectors + 1) * 512 + number(0x248)?;
    bzimage.get(start..start + number(0x24c)?.checked_sub(APPENDED)?)
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian12 => "debian-12",
            Self::Debian13 => "debian-13",
        })
    }
}

/// One kernel in the cache.
pub struct KernelFiles {
    directory: PathBuf,
}

impl KernelFiles {
    /// What QEMU boots: the kernel as an ELF file, entered by the PVH protocol.
    pub fn image(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    /// What the guest has as /lib/modules.
    pub fn modules(&self) -> PathBuf {
        self.directory.join("modules")
    }

    /// The modules of this very kernel, with their index.
    pub fn module_tree(&self) -> Result<PathBuf> {
        let release =
            fs::read_to_string(self.directory.join("release")).context("failed to read the kernel's release")?;
        Ok(self.modules().join(release))
    }
}
