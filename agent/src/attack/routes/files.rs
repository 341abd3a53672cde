//! Reading and changing a protected file by its path, and everything that can be done to its name.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use nix::{
    fcntl::AT_FDCWD,
    libc,
    sys::stat::{Mode, SFlag, mknod},
};

use super::{Route, bare, content, done, spoken};
use crate::attack::{
    raw::{Low, c, owned, sys, words},
    scene::{Ground, Orders, Scene},
};

/// Bit of the x32 ABI in a system call's number.
const X32: i64 = 0x4000_0000;
/// The attribute that is a file's access control list.
const LIST: &str = "system.posix_acl_access";
/// `RENAME_EXCHANGE`.
const EXCHANGE: u32 = 2;

pub const ROUTES: &[Route] = &[
    // Opening it.
    Route::new("open", "open(2) of a protected file", open),
    Route::new("open-thread", "open(2) by a second thread", open_thread),
    Route::new("open-descendant", "open(2) by a program that the attacker starts", descendant),
    Route::new("openat2", "openat2(2)", openat2),
    Route::new("open-32bit", "open(2) by the 32-bit entry, int 0x80", open_32bit),
    Route::new("open-x32", "openat(2) by the x32 table", open_x32),
    Route::new("open-handle", "open_by_handle_at(2)", open_handle),
    Route::new("open-opath", "O_PATH, then again by /proc/self/fd", open_opath),
    Route::new("open-symlink", "open(2) by a symbolic link", open_symlink),
    Route::new("open-hard-link", "open(2) by a hard link from before", open_hard_link).on(linked),
    Route::new("open-proc-cwd", "open(2) by /proc/self/cwd", open_cwd),
    // Changing it.
    Route::new("open-write", "open(2) for writing", open_write).on(content_changes),
    Route::new("open-truncate", "open(2) with O_TRUNC", open_truncate).on(content_changes),
    Route::new("handle-truncate", "open_by_handle_at(2) with O_TRUNC", handle_truncate).on(content_changes),
    Route::new("truncate", "truncate(2)", truncate).on(content_changes),
    Route::new("chmod", "chmod(2)", chmod).on(metadata_changes),
    Route::new("fchmod-opath", "fchmodat(2) by /proc/self/fd of an O_PATH descriptor", chmod_opath)
        .on(metadata_changes),
    Route::new("chown", "chown(2)", chown).on(metadata_changes),
    Route::new("utimes", "utimensat(2)", utimes).on(metadata_changes),
    Route::new("setxattr", "setxattr(2)", setxattr).on(attribute_changes).trusted(),
    Route::new("removexattr", "removexattr(2)", removexattr).on(attribute_changes).trusted(),
    Route::new("set-acl", "setxattr(2) of an access control list", set_acl).on(metadata_changes),
    Route::new("remove-acl", "removexattr(2) of an access control list", remove_acl).on(with_list),
    // Bringing something into its directory.
    Route::new("creat", "creat(2) in a protected directory", creat).on(entries_change),
    Route::new("mknod", "mknod(2) in a protected directory", make_fifo).on(entries_change),
    Route::new("tmpfile", "O_TMPFILE in a protected directory", tmpfile).on(bare),
    Route::new("mkdir", "mkdir(2) in a protected directory", mkdir).on(entries_change),
    Route::new("symlink-in", "symlink(2) in a protected directory", symlink_in).on(entries_change),
    Route::new("link-in", "link(2) into a protected directory", link_in).on(entries_change),
    Route::new("bind-socket", "bind(2) of a socket in a protected directory", bind_socket).on(entries_change),
    Route::new("rename-in", "rename(2) into a protected directory", rename_in).on(entries_change),
    // Its name.
    Route::new("unlink", "unlink(2)", unlink).on(entries_change),
    Route::new("rmdir", "rmdir(2)", rmdir).on(entries_change),
    Route::new("link-out", "link(2) of a protected file to elsewhere", link_out).on(outside_changes),
    Route::new("link-out-opath", "linkat(2) by /proc/self/fd of an O_PATH descriptor", link_opath).on(outside_changes),
    Route::new("rename-out", "rename(2) of a protected file to elsewhere", rename_out).on(outside_changes),
    Route::new("rename-over", "rename(2) over a protected file", rename_over).on(content_changes),
    Route::new("rename-exchange", "renameat2(2) with RENAME_EXCHANGE", rename_exchange).on(content_changes),
    Route::new("rename-parent", "rename(2) of the protected directory", rename_parent).on(outside_changes),
    // Watching it, and whoever uses it.
    Route::new("fanotify", "a descriptor from fanotify(7), of a file that an outside process opens", fanotify)
        .on(in_use),
];

// --- Scenes -------------------------------------------------------------------------------------------------------

pub fn content_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let file = scene.orders.file();
    Ok(scene.changed(move || fs::read_to_string(&file).ok()))
}

fn metadata_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let file = scene.orders.file();
    let look = move || fs::symlink_metadata(&file).ok().map(|it| (it.mode(), it.uid(), it.ctime(), it.ctime_nsec()));
    Ok(scene.changed(look))
}

/// The file has an access control list.
fn with_list(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let file = scene.orders.file();
    set_list(&file)?;
    Ok(scene.changed(move || attributes(&file).ok()))
}

/// The file has an attribute already.
fn attribute_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let file = scene.orders.file();
    set_attribute(&file, "trusted.kept", b"value")?;
    Ok(scene.changed(move || attributes(&file).ok()))
}

/// There is an empty directory in the protected one.
fn entries_change(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    fs::create_dir(scene.orders.inside.join("empty"))?;
    fs::write(scene.orders.outside.join("other"), "another file")?;
    let directory = scene.orders.inside.clone();
    Ok(scene.changed(move || entries(&directory)))
}

fn outside_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let directory = scene.orders.outside.clone();
    Ok(scene.changed(move || entries(&directory)))
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = all.map(|entry| entry.path()).collect();
    names.sort();
    names
}

fn linked(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    fs::hard_link(scene.orders.file(), scene.orders.outside.join("alias"))?;
    Ok(scene)
}

// --- Opening it ---------------------------------------------------------------------------------------------------

fn open(orders: &Orders) -> io::Result<String> {
    fs::read_to_string(orders.file())
}

fn open_thread(orders: &Orders) -> io::Result<String> {
    let file = orders.file();
    thread::spawn(move || fs::read_to_string(file)).join().map_err(|_| io::Error::other("the thread failed"))?
}

fn descendant(orders: &Orders) -> io::Result<String> {
    spoken(Command::new("setsid").args(["--fork", "--wait", "cat"]).arg(orders.file()))
}

fn openat2(orders: &Orders) -> io::Result<String> {
    let (path, how) = (c(orders.file())?, words(&[libc::O_RDONLY as u64, 0, 0]));
    content(owned(sys!(libc::SYS_openat2, AT_FDCWD.as_raw_fd(), &path, &how, how.len())?)?)
}

fn open_32bit(orders: &Orders) -> io::Result<String> {
    const OPEN: i32 = 5;
    let mut low = Low::new()?;
    let path = low.put(c(orders.file())?.as_bytes_with_nul());
    content(owned(low.call(OPEN, [path, 0, 0])?)?)
}

fn open_x32(orders: &Orders) -> io::Result<String> {
    let path = c(orders.file())?;
    content(owned(sys!(libc::SYS_openat | X32, AT_FDCWD.as_raw_fd(), &path, libc::O_RDONLY, 0)?)?)
}

fn by_handle(orders: &Orders, flags: i32) -> io::Result<fs::File> {
    const HANDLE_BYTES: u32 = 128;
    let path = c(orders.file())?;
    let mut handle = HANDLE_BYTES.to_ne_bytes().to_vec();
    handle.resize(8 + HANDLE_BYTES as usize, 0);
    let mut mount = vec![0; 4];
    sys!(libc::SYS_name_to_handle_at, AT_FDCWD.as_raw_fd(), &path, &mut handle, &mut mount, 0)?;
    // Any descriptor on the file system will do.
    let place = File::open(&orders.outside)?;
    let fd = sys!(libc::SYS_open_by_handle_at, place.as_raw_fd(), &handle, flags)?;
    Ok(owned(fd)?.into())
}

fn open_handle(orders: &Orders) -> io::Result<String> {
    io::read_to_string(by_handle(orders, libc::O_RDONLY)?)
}

fn by_opath(orders: &Orders) -> io::Result<(File, String)> {
    let file = File::options().read(true).custom_flags(libc::O_PATH).open(orders.file())?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((file, name))
}

fn open_opath(orders: &Orders) -> io::Result<String> {
    let (_file, name) = by_opath(orders)?;
    fs::read_to_string(name)
}

fn open_symlink(orders: &Orders) -> io::Result<String> {
    let link = orders.outside.join("link");
    symlink(orders.file(), &link)?;
    fs::read_to_string(link)
}

fn open_hard_link(orders: &Orders) -> io::Result<String> {
    fs::read_to_string(orders.outside.join("alias"))
}

fn open_cwd(orders: &Orders) -> io::Result<String> {
    std::env::set_current_dir(&orders.inside)?;
    fs::read_to_string("/proc/self/cwd/file")
}

// --- Changing it --------------------------------------------------------------------------------------------------

fn open_write(orders: &Orders) -> io::Result<String> {
    use io::Write as _;
    done(File::options().write(true).open(orders.file())?.write_all(b"changed")?)
}

fn open_truncate(orders: &Orders) -> io::Result<String> {
    done(File::options().write(true).truncate(true).open(orders.file())?)
}

fn handle_truncate(orders: &Orders) -> io::Result<String> {
    done(by_handle(orders, libc::O_WRONLY | libc::O_TRUNC)?)
}

fn truncate(orders: &Orders) -> io::Result<String> {
    done(nix::unistd::truncate(&orders.file(), 1)?)
}

fn chmod(orders: &Orders) -> io::Result<String> {
    done(fs::set_permissions(orders.file(), fs::Permissions::from_mode(0o777))?)
}

fn chmod_opath(orders: &Orders) -> io::Result<String> {
    let (_file, name) = by_opath(orders)?;
    done(fs::set_permissions(name, fs::Permissions::from_mode(0o777))?)
}

fn chown(orders: &Orders) -> io::Result<String> {
    done(std::os::unix::fs::chown(orders.file(), Some(65_534), None)?)
}

fn utimes(orders: &Orders) -> io::Result<String> {
    let (path, times) = (c(orders.file())?, words(&[1, 0, 1, 0]));
    done(sys!(libc::SYS_utimensat, AT_FDCWD.as_raw_fd(), &path, &times, 0)?)
}

fn set_attribute(path: &Path, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (c(path)?, c(name)?);
    sys!(libc::SYS_setxattr, &path, &name, value, value.len(), 0).map(drop)
}

fn attributes(path: &Path) -> io::Result<Vec<u8>> {
    let (path, mut names) = (c(path)?, vec![0; 1024]);
    sys!(libc::SYS_listxattr, &path, &mut names, 1024)?;
    Ok(names)
}

fn setxattr(orders: &Orders) -> io::Result<String> {
    done(set_attribute(&orders.file(), "trusted.changed", b"value")?)
}

fn removexattr(orders: &Orders) -> io::Result<String> {
    let (path, name) = (c(orders.file())?, c("trusted.kept")?);
    done(sys!(libc::SYS_removexattr, &path, &name)?)
}

fn set_acl(orders: &Orders) -> io::Result<String> {
    done(set_list(&orders.file())?)
}

fn remove_acl(orders: &Orders) -> io::Result<String> {
    let (path, name) = (c(orders.file())?, c(LIST)?);
    done(sys!(libc::SYS_removexattr, &path, &name)?)
}

/// Owner, group, mask and others may do everything (`acl(5)`, `linux/posix_acl_xattr.h`).
fn set_list(path: &Path) -> io::Result<()> {
    const VERSION: u32 = 2;
    const NOBODY: u32 = u32::MAX;
    let mut list = VERSION.to_le_bytes().to_vec();
    for (tag, whom) in [(1_u16, NOBODY), (2, 65_534), (4, NOBODY), (0x10, NOBODY), (0x20, NOBODY)] {
        list.extend([&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &whom.to_le_bytes()].concat());
    }
    set_attribute(path, LIST, &list)
}

// --- Bringing something into its directory ------------------------------------------------------------------------

fn creat(orders: &Orders) -> io::Result<String> {
    done(File::create_new(orders.inside.join("new"))?)
}

fn make_fifo(orders: &Orders) -> io::Result<String> {
    done(mknod(&orders.inside.join("new"), SFlag::S_IFIFO, Mode::S_IRUSR, 0)?)
}

fn tmpfile(orders: &Orders) -> io::Result<String> {
    done(File::options().write(true).custom_flags(libc::O_TMPFILE).open(&orders.inside)?)
}

fn mkdir(orders: &Orders) -> io::Result<String> {
    done(fs::create_dir(orders.inside.join("new"))?)
}

fn symlink_in(orders: &Orders) -> io::Result<String> {
    done(symlink("/", orders.inside.join("new"))?)
}

fn link_in(orders: &Orders) -> io::Result<String> {
    done(fs::hard_link(orders.outside.join("other"), orders.inside.join("new"))?)
}

fn bind_socket(orders: &Orders) -> io::Result<String> {
    done(std::os::unix::net::UnixListener::bind(orders.inside.join("new"))?)
}

fn rename_in(orders: &Orders) -> io::Result<String> {
    done(fs::rename(orders.outside.join("other"), orders.inside.join("new"))?)
}

// --- Its name -----------------------------------------------------------------------------------------------------

fn unlink(orders: &Orders) -> io::Result<String> {
    done(fs::remove_file(orders.file())?)
}

fn rmdir(orders: &Orders) -> io::Result<String> {
    done(fs::remove_dir(orders.inside.join("empty"))?)
}

fn link_out(orders: &Orders) -> io::Result<String> {
    done(fs::hard_link(orders.file(), orders.outside.join("alias"))?)
}

fn link_opath(orders: &Orders) -> io::Result<String> {
    let (_file, name) = by_opath(orders)?;
    let (from, to, here) = (c(name)?, c(orders.outside.join("alias"))?, AT_FDCWD.as_raw_fd());
    done(sys!(libc::SYS_linkat, here, &from, here, &to, libc::AT_SYMLINK_FOLLOW)?)
}

fn rename_out(orders: &Orders) -> io::Result<String> {
    done(fs::rename(orders.file(), orders.outside.join("moved"))?)
}

fn replacement(orders: &Orders) -> io::Result<PathBuf> {
    let path = orders.outside.join("replacement");
    fs::write(&path, "replaced")?;
    Ok(path)
}

fn rename_over(orders: &Orders) -> io::Result<String> {
    done(fs::rename(replacement(orders)?, orders.file())?)
}

fn rename_exchange(orders: &Orders) -> io::Result<String> {
    let (from, to, here) = (c(replacement(orders)?)?, c(orders.file())?, AT_FDCWD.as_raw_fd());
    done(sys!(libc::SYS_renameat2, here, &from, here, &to, EXCHANGE)?)
}

fn rename_parent(orders: &Orders) -> io::Result<String> {
    done(fs::rename(&orders.inside, orders.outside.join("moved"))?)
}

// --- Watching it --------------------------------------------------------------------------------------------------

/// Somebody outside opens the file again and again.
fn in_use(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let mut user = Command::new("sh");
    user.args(["-c", "while sleep 0.1; do : <\"$0\"; done"]).arg(scene.orders.file());
    scene.outsider(&mut user, Stdio::null())?;
    Ok(scene)
}

/// The descriptor is the fifth word of an event (`struct fanotify_event_metadata`).
fn fanotify(orders: &Orders) -> io::Result<String> {
    let group = owned(sys!(libc::SYS_fanotify_init, libc::FAN_CLASS_NOTIF, libc::O_RDONLY)?)?;
    let (path, here) = (c(orders.file())?, AT_FDCWD.as_raw_fd());
    sys!(libc::SYS_fanotify_mark, &group, libc::FAN_MARK_ADD, libc::FAN_OPEN, here, &path)?;
    let mut event = vec![0; 24];
    sys!(libc::SYS_read, &group, &mut event, 24)?;
    content(owned(i32::from_ne_bytes([event[16], event[17], event[18], event[19]]))?)
}
