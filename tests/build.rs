//! Builds `actor`, the program whose system calls the promises are about. In C, and static: what it does must be exactly
//! what is said, and some of it (jumping out of a signal handler, sharing memory with another process) cannot be said in
//! safe Rust.

use std::{env, path::PathBuf, process::Command};

fn main() {
    let source = "support/actor.c";
    println!("cargo::rerun-if-changed={source}");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("actor");
    let status = Command::new("gcc")
        .args(["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", "-o"])
        .arg(&target)
        .arg(source)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("gcc did not compile {source}: {status}"),
        Err(error) => panic!("cannot start gcc: {error}"),
    }
}
