//! Running a program that may not be run, and becoming somebody else by it.

use std::{
    fs, io,
    os::{
        fd::AsFd as _,
        unix::{
            fs::{OpenOptionsExt as _, PermissionsExt as _},
            process::CommandExt as _,
        },
    },
    path::Path,
    process::Command,
    thread,
};

use nix::{
    libc,
    sys::memfd::{MFdFlags, memfd_create},
};

use super::{Route, own_mounts, spoken};
use crate::attack::{
    raw::{Low, Mapping, address, c, sys, words},
    scene::{Ground, Orders, Scene},
};

/// A program that prints its arguments.
const ECHO: &str = "/bin/echo";
/// The loader of 64-bit programs, by the name that is part of the ABI.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

pub const ROUTES: &[Route] = &[
    Route::new("execve", "execve(2) of a protected program", execve).on(program),
    Route::new("execve-thread", "execve(2) by a second thread", execve_thread).on(program),
    Route::new("execve-32bit", "execve(2) by the 32-bit entry, int 0x80", execve_32bit).on(program),
    Route::new("execveat-opath", "execveat(2) of a descriptor opened with O_PATH", execveat).on(program),
    Route::new("execve-memfd", "execveat(2) of a copy in memory, memfd_create(2)", memfd).on(program),
    Route::new("execve-script", "execve(2) of a protected script, #!", script).on(protected_script),
    Route::new("execve-interpreter", "protected program as the interpreter of another script", script).on(interpreter),
    Route::new("execve-hard-link", "execve(2) by a hard link from before", hard_link).on(linked_program),
    Route::new("loader", "protected program as the operand of ld.so", loader).on(program),
    Route::new("mmap-exec", "mmap(2) PROT_EXEC of a program that may be read", mmap).on(mapped),
    Route::new("mprotect-exec", "mprotect(2) PROT_EXEC of a mapped program that may be read", mprotect).on(mapped),
    Route::new("set-uid", "execve(2) of a set-uid program", set_uid).on(set_uid_program),
    Route::new("file-capability", "execve(2) of a program with file capabilities", set_uid).on(capable_program),
    Route::new("execve-bind", "execve(2) below a bind mount from before", bound).on(program).after(bind_before),
];

/// A protected program.
fn program(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    fs::copy(ECHO, scene.orders.inside.join("program"))?;
    Ok(scene)
}

fn write_script(path: &Path, interpreter: &Path) -> io::Result<()> {
    // A script's name is appended, and echo does not mind.
    let text = format!("#!{} says\n", interpreter.display());
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn protected_script(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let path = scene.orders.inside.join("script");
    write_script(&path, Path::new(ECHO))?;
    scene.orders.name = path.to_string_lossy().into_owned();
    Ok(scene)
}

fn interpreter(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = program(ground, route)?;
    let path = scene.orders.outside.join("script");
    write_script(&path, &scene.orders.inside.join("program"))?;
    scene.orders.name = path.to_string_lossy().into_owned();
    Ok(scene)
}

fn linked_program(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = program(ground, route)?;
    fs::hard_link(scene.orders.inside.join("program"), scene.orders.outside.join("program"))?;
    Ok(scene)
}

/// The effect is an executable mapping of the program.
fn mapped(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    fs::copy(ECHO, scene.orders.program())?;
    let path = scene.orders.program().to_string_lossy().into_owned();
    Ok(scene.seen(move |pid| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.lines().any(|line| line.ends_with(&path) && line.contains("r-xp"))
    }))
}

/// A program of root's that anybody can run as root; it tells whose rights it has.
fn set_uid_program(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let program = scene.orders.disk.join("program");
    fs::copy("/usr/bin/id", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    // What `id` says of somebody who is root and was not.
    scene.secret = "euid=0".to_owned();
    Ok(scene)
}

fn capable_program(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let program = scene.orders.disk.join("program");
    fs::copy("/bin/cat", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    // Version 2, effective; permitted: CAP_DAC_READ_SEARCH.
    let value: Vec<u8> = [0x0200_0001_u32, 1 << 2, 0, 0, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
    let (path, name) = (c(&program)?, c("security.capability")?);
    sys!(libc::SYS_setxattr, &path, &name, &value, value.len(), 0)?;
    // What only root may read, and is not protected otherwise.
    fs::write(scene.orders.disk.join("root"), &scene.secret)?;
    fs::set_permissions(scene.orders.disk.join("root"), fs::Permissions::from_mode(0o600))?;
    Ok(scene)
}

fn execve(orders: &Orders) -> io::Result<String> {
    Err(Command::new(orders.inside.join("program")).arg(&orders.marker).exec())
}

fn execve_thread(orders: &Orders) -> io::Result<String> {
    let orders = orders.clone();
    thread::spawn(move || execve(&orders)).join().map_err(|_| io::Error::other("the thread failed"))?
}

/// `execve` is 11 there; the vectors are of 32-bit addresses, next to what they point to.
fn execve_32bit(orders: &Orders) -> io::Result<String> {
    let mut low = Low::new()?;
    let path = low.put(c(orders.inside.join("program"))?.as_bytes_with_nul());
    let marker = low.put(c(&orders.marker)?.as_bytes_with_nul());
    let vector = low.put(&[path.to_ne_bytes(), marker.to_ne_bytes(), [0; 4]].concat());
    low.call(11, [path, vector, 0])?;
    Ok(String::new())
}

fn execveat(orders: &Orders) -> io::Result<String> {
    let file = fs::File::options().read(true).custom_flags(libc::O_PATH).open(orders.inside.join("program"))?;
    exec_descriptor(&file.into(), &orders.marker)
}

fn memfd(orders: &Orders) -> io::Result<String> {
    let memory = memfd_create("program", MFdFlags::MFD_CLOEXEC)?;
    io::copy(&mut fs::File::open(ECHO)?, &mut fs::File::from(memory.try_clone()?))?;
    exec_descriptor(&memory, &orders.marker)
}

fn exec_descriptor(fd: &std::os::fd::OwnedFd, marker: &str) -> io::Result<String> {
    let (empty, marker) = (c("")?, c(marker)?);
    let arguments = words(&[address(empty.as_ptr()), address(marker.as_ptr()), 0]);
    let environment = words(&[0]);
    sys!(libc::SYS_execveat, fd, &empty, &arguments, &environment, libc::AT_EMPTY_PATH)?;
    Ok(String::new())
}

fn script(orders: &Orders) -> io::Result<String> {
    Err(Command::new(&orders.name).arg(&orders.marker).exec())
}

fn hard_link(orders: &Orders) -> io::Result<String> {
    Err(Command::new(orders.outside.join("program")).arg(&orders.marker).exec())
}

fn loader(orders: &Orders) -> io::Result<String> {
    spoken(Command::new(LOADER).arg(orders.inside.join("program")).arg(&orders.marker))
}

fn map(orders: &Orders, how: i32) -> io::Result<Mapping> {
    let file = fs::File::open(orders.program())?;
    Mapping::new(Some(file.as_fd()), 4096, 0, how, libc::MAP_PRIVATE)
}

fn mmap(orders: &Orders) -> io::Result<String> {
    // Kept to the end, so that it can be seen.
    std::mem::forget(map(orders, libc::PROT_READ | libc::PROT_EXEC)?);
    Ok(String::new())
}

fn mprotect(orders: &Orders) -> io::Result<String> {
    let mapping = map(orders, libc::PROT_READ)?;
    mapping.protect(libc::PROT_READ | libc::PROT_EXEC)?;
    std::mem::forget(mapping);
    Ok(String::new())
}

/// As nobody, who has no rights to keep.
fn set_uid(orders: &Orders) -> io::Result<String> {
    const NOBODY: u32 = 65_534;
    let mut command = Command::new(orders.disk.join("program"));
    if orders.route == "file-capability" {
        command.arg(orders.disk.join("root"));
    }
    spoken(command.current_dir("/").uid(NOBODY).gid(NOBODY))
}

fn bind_before(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    super::mounts::bind(&orders.inside, &orders.outside)
}

fn bound(orders: &Orders) -> io::Result<String> {
    Err(Command::new(orders.outside.join("program")).arg(&orders.marker).exec())
}
