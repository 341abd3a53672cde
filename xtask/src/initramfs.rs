//! The first files that a kernel sees: enough modules to mount the root, and a script that hands over to it.
//!
//! Debian builds the drivers of virtual disks and of ext4 as modules. All other modules the guest loads by itself from
//! /lib/modules when they are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::Archive;
use crate::cache::artefact;
use crate::guest::{HOST_TAG, NINE_P_OPTIONS, XTASK};
use crate::kernel::{Kernel, KernelFiles};
use crate::modules::ModuleIndex;

/// What it takes to reach the root, the host's files and the session ports. ext4 asks for crc32c by name, while it mounts.
const MODULES: [&str; 7] =
    ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "9pnet_virtio", "9p", "virtio_console"];

/// The initramfs of `kernel`, built if it is not there.
pub fn initramfs(kernel: Kernel, files: &KernelFiles) -> Result<PathBuf> {
    let recipe = (MODULES, script(), files.image(), 1);
    let directory = artefact(&format!("initramfs-{kernel}"), recipe, |target| build(files, target))?;
    Ok(directory.join("initramfs"))
}

fn build(files: &KernelFiles, target: &Path) -> Result<()> {
    let work = target.join("work");
    let busybox = work.join("busybox");
    Archive::open(work.join("apt"), "bookworm")?.unpack("busybox-static", &busybox)?;
    let busybox = fs::read(busybox.join("bin/busybox")).context("busybox-static has no /bin/busybox")?;

    let mut archive = Cpio::default();
    for directory in ["bin", "dev", "proc", "root", "host", "modules"] {
        archive.directory(directory);
    }
    archive.file("bin/busybox", 0o755, &busybox);
    archive.file("init", 0o755, script().as_bytes());
    let tree = files.module_tree()?;
    for (place, module) in ModuleIndex::read(&tree)?.in_order_of_loading(&MODULES)?.iter().enumerate() {
        let name = format!("modules/{place:02}.ko");
        archive.file(&name, 0o644, &decompressed(&tree.join(module))?);
    }
    fs::write(target.join("initramfs"), archive.finish()).context("failed to write the initramfs")?;
    fs::remove_dir_all(&work).context("failed to remove what is not needed any more")
}

/// busybox cannot load compressed modules.
fn decompressed(module: &Path) -> Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("failed to read {}", path.display()));
    match module.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => read(module),
        Some("xz") => {
            let output = Command::new("xz").arg("-dc").arg(module).output().context("failed to start xz")?;
            anyhow::ensure!(output.status.success(), "xz failed to decompress {}", module.display());
            Ok(output.stdout)
        }
        _ => bail!("{} is compressed in a way that is not known", module.display()),
    }
}

/// /init. On failure the kernel panics as process 1 exits, which ends QEMU; the message is in the console log.
fn script() -> String {
    format!(
        r#"#!/bin/busybox sh
set -e
b=/bin/busybox
$b mount -t devtmpfs dev /dev
for module in /modules/*; do $b insmod $module; done
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    [ -b /dev/vda ] && break
    $b sleep 0.1
done
$b mount -t ext4 /dev/vda /root
$b mount -t 9p -o ro,{NINE_P_OPTIONS} {HOST_TAG} /host
$b mount -t tmpfs -o mode=755 run /root/run
$b cp /host/xtask /root{XTASK}
$b umount /host
$b mount -t proc proc /root/proc
$b mount --move /dev /root/dev
exec $b switch_root /root {XTASK} guest
"#
    )
}

/// A cpio archive in the format that the kernel unpacks ("newc").
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: usize,
}

impl Cpio {
    fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    fn file(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entry(name, 0o100_000 | mode, content);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // inode, mode, uid, gid, links, time, size, four device numbers, length of the name with its NUL, checksum
        let fields = [self.entries, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_the_trailer_ends_them() {
        let mut archive = Cpio::default();
        archive.directory("bin");
        archive.file("bin/sh", 0o755, b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let heads: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"070701")).collect();
        assert_eq!(heads.len(), 3);
        assert!(heads.iter().all(|at| at % 4 == 0));
        assert!(bytes.windows(10).any(|window| window == b"TRAILER!!!"));
    }
}
