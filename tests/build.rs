//! Builds `actor`, the program whose system calls the promises are about, and `racer`, which does them over and over. In C,
//! and static: what they do must be exactly what is said, and some of it (jumping out of a signal handler, sharing memory
//! with another process) cannot be said in safe Rust.

use std::{env, path::PathBuf, process::Command};

fn main() {
    for program in ["actor", "racer"] {
        compile(program);
    }
}

fn compile(program: &str) {
    let source = format!("support/{program}.c");
    println!("cargo::rerun-if-changed={source}");
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join(program);
    let status = Command::new("gcc")
        .args(["-std=gnu17", "-O1", "-Wall", "-Wextra", "-Werror", "-static", "-pthread", "-o"])
        .arg(&target)
        .arg(&source)
        .status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("gcc did not compile {source}: {status}"),
        Err(error) => panic!("cannot start gcc: {error}"),
    }
}
