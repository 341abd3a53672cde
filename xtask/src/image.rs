//! The root file system of the virtual machine: a small Debian 12 with what people use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt;
use crate::cache::artefact;
use crate::process::{output_of, run};

/// What a shell user, an agent or a test expects to find.
const PACKAGES: [&str; 21] = [
    "bash",
    "ca-certificates",
    "coreutils",
    "curl",
    "file",
    "gcc",
    "git",
    "iproute2",
    "kmod",
    "libc6-dev",
    "make",
    "netcat-openbsd",
    "openssh-client",
    "procps",
    "python3",
    "python3-pip",
    "socat",
    "strace",
    "tmux",
    "util-linux",
    "vim-tiny",
];

/// `agent` is whom agents run as; `reviewer` may answer holds, by the group. Host keys, caches and manuals are not needed.
const CUSTOMISE: &str = r#"
set -e
chroot "$1" groupadd --system holdpoint
chroot "$1" useradd --create-home --shell /bin/bash --uid 1000 agent
chroot "$1" useradd --create-home --shell /bin/bash --uid 1001 --groups holdpoint reviewer
printf '127.0.0.1 localhost holdpoint-vm\n::1 localhost\n' >"$1/etc/hosts"
echo holdpoint-vm >"$1/etc/hostname"
mkdir -p "$1/share" "$1/lib/modules"
rm -rf "$1/usr/share/doc" "$1/usr/share/man" "$1/usr/share/locale" "$1/etc/apt/apt.conf.d/99mmdebstrap"
"#;

const SIZE: &str = "3G";

/// The root image, built if it is not there. Machines use it with `snapshot=on`: what they write vanishes with them.
pub fn root_image() -> Result<PathBuf> {
    let directory = artefact("root", (PACKAGES, CUSTOMISE, SIZE, 1), build)?;
    Ok(directory.join("root.ext4"))
}

fn build(target: &Path) -> Result<()> {
    let work = target.join("work");
    fs::create_dir(&work).context("failed to create a work directory")?;
    let (root, sources, options) = (work.join("root"), work.join("debian.sources"), work.join("apt.conf"));
    fs::write(&sources, apt::sources("bookworm")?).context("failed to write the sources")?;
    // mmdebstrap does not look at the host's apt configuration, where a proxy may be.
    let acquire = output_of(Command::new("apt-config").args(["dump", "--format", "%F \"%v\";%n", "Acquire"]))?;
    fs::write(&options, acquire).context("failed to write apt's options")?;

    run(Command::new("mmdebstrap")
        .args(["--variant=minbase", "--mode=root", "--architectures=amd64"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(format!("--aptopt={}", options.display()))
        .arg(format!("--customize-hook={CUSTOMISE}"))
        .arg("bookworm")
        .args([&root, &sources]))?;
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-L", "holdpoint", "-d"])
        .arg(&root)
        .arg(target.join("root.ext4"))
        .arg(SIZE))?;
    fs::remove_dir_all(&work).context("failed to remove what is not needed any more")
}
