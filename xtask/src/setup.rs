//! What the machine must have before anything can be built or booted, and how it gets it.
//!
//! Debian's own packages through apt, and bpf-linker through cargo. rustc-web and its libraries are Debian's newest Rust with
//! a core library for BPF: it compiles the kernel programs, while everything else is compiled by the cargo that runs us.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::process::run_visibly;
use crate::programs::{cargo, path_with_cargo_bin};
use crate::progress;

/// What is needed, and what for.
const PACKAGES: [Package; 19] = [
    ("binutils", "strips programs for the guest"),
    ("cargo-web", "builds the kernel programs"),
    ("debian-archive-keyring", "checks packages for the guest"),
    ("e2fsprogs", "makes the root image"),
    ("gcc", "links"),
    ("kmod", "indexes kernel modules"),
    ("libc6-dev", "links"),
    ("libstd-rust-web-dev-bpf", "the core library for BPF"),
    ("libxml2-dev", "builds bpf-linker"),
    ("libzstd-dev", "builds bpf-linker"),
    ("llvm-22-dev", "builds bpf-linker"),
    ("mmdebstrap", "makes the root image"),
    ("openssh-client", "signs decisions in tests"),
    ("python3-venv", "holds the libraries that channels are tested with"),
    ("qemu-system-x86", "runs virtual machines"),
    ("rustc-web", "builds the kernel programs"),
    ("xz-utils", "unpacks kernel modules"),
    ("zlib1g-dev", "builds bpf-linker"),
    ("zstd", "unpacks kernels"),
];

/// What a browser needs that looks as on a desk.
const BROWSER: [Package; 3] = [
    ("chromium", "shows the review page"),
    ("chromium-driver", "drives the browser"),
    ("fonts-liberation", "text in the browser"),
];

const NPM: [Package; 1] = [("npm", "fetches what shows cards for Teams")];

/// A package of Debian, and what it is for.
type Package = (&'static str, &'static str);

const BPF_LINKER: &str = "0.13.0";

/// Installs what is missing. Takes a fraction of a second if nothing is.
pub fn ensure() -> Result<()> {
    have(&PACKAGES)?;
    if linker_works() { Ok(()) } else { build_linker() }
}

/// Installs a browser and what drives it, if they are missing; and npm, which may have come with Node.
pub fn ensure_browser() -> Result<()> {
    have(&BROWSER)?;
    let npm = Command::new("npm").arg("--version").stdin(Stdio::null()).output();
    if npm.is_ok_and(|output| output.status.success()) { Ok(()) } else { have(&NPM) }
}

fn have(packages: &[Package]) -> Result<()> {
    let missing = missing_packages(packages)?;
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Installs rustfmt and clippy if rustup's minimal profile has left them out.
pub fn ensure_lints() -> Result<()> {
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let found = cargo().args([command, "--version"]).stdin(Stdio::null()).output();
        if !found.is_ok_and(|output| output.status.success()) {
            progress(&format!("adding {component}"));
            run_visibly(Command::new("rustup").args(["component", "add", component]))
                .with_context(|| format!("cargo has no {component}; install it as your Rust toolchain was"))?;
        }
    }
    Ok(())
}

fn missing_packages(packages: &[Package]) -> Result<Vec<Package>> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(packages.iter().map(|(name, _)| name))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| anyhow::Error::new(error).context(ordinary_route("this is not a Debian system")))?;
    let listing = String::from_utf8_lossy(&output.stdout);
    let installed: BTreeSet<_> = listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    Ok(packages.iter().copied().filter(|(name, _)| !installed.contains(name)).collect())
}

fn install(missing: &[Package]) -> Result<()> {
    let names: Vec<_> = missing.iter().map(|&(name, _)| name).collect();
    if !nix::unistd::geteuid().is_root() {
        bail!(ordinary_route(&format!(
            "packages are missing; as root: apt-get install --no-install-recommends {}",
            names.join(" ")
        )));
    }
    for (name, reason) in missing {
        progress(&format!("installing {name} ({reason})"));
    }
    run_visibly(Command::new("apt-get").args(["update", "-qq"]))?;
    run_visibly(
        Command::new("apt-get")
            .args(["install", "--yes", "-qq", "--no-install-recommends"])
            .args(&names)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .with_context(|| ordinary_route("Debian 12 with its security updates has all of them"))
}

fn ordinary_route(problem: &str) -> String {
    format!(
        "{problem}\nOn another system: install QEMU, mmdebstrap, e2fsprogs, kmod, xz and Python with venv; for the kernel programs \
         `rustup toolchain install nightly --component rust-src` and `cargo install bpf-linker`"
    )
}

fn linker_works() -> bool {
    let linker = std::env::var_os("BPF_LINKER").unwrap_or_else(|| "bpf-linker".into());
    find(&linker, &path_with_cargo_bin()).is_some_and(|linker| {
        let version = Command::new(linker).arg("--version").stdin(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// `Command` would search our own PATH, not the one that builds get.
fn find(program: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if Path::new(program).is_absolute() {
        return Some(program.into());
    }
    std::env::split_paths(path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}

/// The linker's LLVM must be of the major version of rustc-web's.
fn build_linker() -> Result<()> {
    progress(&format!("building bpf-linker {BPF_LINKER} (once, some minutes)"));
    run_visibly(
        cargo()
            .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked"])
            .args(["--no-default-features", "--features", "llvm-22"])
            .env("LLVM_PREFIX", "/usr/lib/llvm-22"),
    )
    .context("failed to build bpf-linker")
}
