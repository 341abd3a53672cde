//! Compiles `ebpf/` for the BPF target and hands the object to the agent, which embeds it.
//!
//! 1. `HOLDPOINT_EBPF_OBJECT=FILE`: that object is taken as it is (packagers, machines without LLVM).
//! 2. A distribution's rustc that brings a compiled `core` for the BPF target (Debian: rustc-web and
//!    libstd-rust-web-dev-bpf); `HOLDPOINT_BPF_RUSTC` names another than `/usr/bin/rustc`.
//! 3. Otherwise rustup's nightly (`HOLDPOINT_BPF_TOOLCHAIN` names another) with rust-src.
//!
//! 2 and 3 need bpf-linker, built for the LLVM of that rustc; `BPF_LINKER` names it if it is not in PATH.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// What cargo sets for build scripts and would confuse the inner cargo.
const NOT_FOR_THE_INNER_CARGO: [&str; 9] = [
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "RUSTUP_TOOLCHAIN",
    "CARGO",
];

fn main() {
    for name in [
        "HOLDPOINT_EBPF_OBJECT",
        "HOLDPOINT_BPF_RUSTC",
        "HOLDPOINT_BPF_TOOLCHAIN",
        "BPF_LINKER",
        "HOLDPOINT_EBPF_FEATURES",
    ] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = out.join("holdpoint-ebpf");
    let built = match env::var_os("HOLDPOINT_EBPF_OBJECT") {
        Some(prebuilt) => PathBuf::from(prebuilt),
        None => build(&out),
    };
    if let Err(error) = fs::copy(&built, &object) {
        fail(&format!("cannot copy {} to {}: {error}", built.display(), object.display()));
    }
}

/// Runs the inner cargo and returns the object it made.
fn build(out: &Path) -> PathBuf {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let root = manifest.parent().expect("agent/ lies in the workspace");
    let ebpf = root.join("ebpf");
    for watched in [ebpf.join("src"), ebpf.join("Cargo.toml"), ebpf.join("Cargo.lock"), root.join("common")] {
        println!("cargo:rerun-if-changed={}", watched.display());
    }
    let target = match env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let target_dir = out.join("ebpf-target");
    let mut cargo = inner_cargo(target);
    for name in NOT_FOR_THE_INNER_CARGO {
        if name != "RUSTC" || env::var_os("HOLDPOINT_BPF_TOOLCHAIN").is_some() {
            cargo.env_remove(name);
        }
    }
    cargo.current_dir(&ebpf).args(["build", "--locked", "--release", "--target", target, "--target-dir"]);
    cargo.arg(&target_dir).env("CARGO_ENCODED_RUSTFLAGS", rustflags());
    if let Ok(features) = env::var("HOLDPOINT_EBPF_FEATURES") {
        cargo.args(["--features", &features]);
    }
    match cargo.status() {
        Ok(status) if status.success() => target_dir.join(target).join("release/holdpoint-ebpf"),
        Ok(status) => {
            fail(&format!("building ebpf/ failed ({status}); see above. `cargo xtask setup` installs what it needs"))
        }
        Err(error) => fail(&format!("cannot run {cargo:?}: {error}. `cargo xtask setup` installs what it needs")),
    }
}

/// The cargo of the distribution where it can compile for `target`, else rustup's nightly with `build-std`.
fn inner_cargo(target: &str) -> Command {
    let rustc = env::var_os("HOLDPOINT_BPF_RUSTC").unwrap_or_else(|| "/usr/bin/rustc".into());
    if env::var_os("HOLDPOINT_BPF_TOOLCHAIN").is_none() && has_core(&rustc, target) {
        let mut cargo = Command::new(Path::new(&rustc).with_file_name("cargo"));
        // The crates that use unstable features, by name: "1" would make every build script believe in a nightly.
        cargo.env("RUSTC_BOOTSTRAP", "aya_ebpf,aya_ebpf_bindings,holdpoint_ebpf").env("RUSTC", rustc);
        return cargo;
    }
    let toolchain = env::var_os("HOLDPOINT_BPF_TOOLCHAIN").unwrap_or_else(|| "nightly".into());
    let mut cargo = Command::new("rustup");
    cargo.arg("run").arg(toolchain).args(["cargo", "-Z", "build-std=core"]);
    cargo
}

/// Whether `rustc` brings a compiled `core` for `target`.
fn has_core(rustc: &OsString, target: &str) -> bool {
    let Ok(output) = Command::new(rustc).args(["--print", "target-libdir", "--target", target]).output() else {
        return false;
    };
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    fs::read_dir(directory)
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}

fn rustflags() -> OsString {
    let mut flags = OsString::from("-Clinker=");
    flags.push(env::var_os("BPF_LINKER").unwrap_or_else(|| "bpf-linker".into()));
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    // `--btf` and debug information make the .BTF section that the maps and the loader need.
    flags.push(format!("\x1f-Clink-arg=--btf\x1f-Cdebuginfo=2\x1f--cfg=bpf_target_arch=\"{arch}\""));
    flags
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    exit(1);
}
