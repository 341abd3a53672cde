//! Another name for the protected object, or another object under its name, by mounts and namespaces. All of it happens
//! in mount namespaces of the attacker's own.

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    unistd::{chroot, pivot_root},
};

use super::{Route, content, done, own_mounts};
use crate::attack::{
    raw::{c, owned, sys},
    scene::{Ground, Orders, Scene},
};

/// `include/uapi/linux/mount.h`.
const OPEN_TREE_CLONE: u32 = 1;
const MOVE_FROM_EMPTY: u32 = 4;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CREATE: u32 = 6;

pub const ROUTES: &[Route] = &[
    Route::new("bind-directory", "mount(2) MS_BIND of the protected directory", bind_directory)
        .on(mounts_change)
        .after(separate)
        .trusted(),
    Route::new("bind-file", "mount(2) MS_BIND of the protected file", bind_file)
        .on(mounts_change)
        .after(separate)
        .trusted(),
    Route::new("open-bind", "open(2) below a bind mount from before", open_view).after(bound_before),
    Route::new("mount-over", "mount(2) over the protected directory", mount_over)
        .on(mounts_change)
        .after(separate)
        .trusted(),
    Route::new("bind-over-file", "mount(2) MS_BIND over the protected file", bind_over)
        .on(mounts_change)
        .after(separate)
        .trusted(),
    Route::new("mount-overlay", "mount(2) of overlayfs over the protected directory", mount_overlay)
        .on(mounts_change)
        .after(separate)
        .trusted(),
    Route::new("open-overlay", "open(2) below an overlayfs from before", open_view).after(overlaid_before),
    Route::new("open-tree", "openat(2) below open_tree(2) OPEN_TREE_CLONE", open_tree).after(separate),
    Route::new("move-mount", "open_tree(2) and move_mount(2) of the protected directory", move_mount)
        .on(mounts_change)
        .after(separate)
        .trusted(),
    Route::new("fsmount", "fsopen(2), fsmount(2), move_mount(2) over the protected directory", fsmount)
        .on(mounts_change)
        .after(separate)
        .trusted(),
    Route::new("umount", "umount(2) of what hides something in the protected directory", umount)
        .on(mounts_change)
        .after(hidden_before)
        .trusted(),
    Route::new("remount", "mount(2) MS_REMOUNT of a mount in the protected directory", remount)
        .on(mounts_change)
        .after(hidden_before)
        .trusted(),
    Route::new("mount-move", "mount(2) MS_MOVE of a mount in the protected directory", mount_move)
        .on(mounts_change)
        .after(hidden_before)
        .trusted(),
    Route::new("pivot-root", "pivot_root(2)", change_root).on(root_changes).after(new_root_before).trusted(),
    Route::new("chroot", "chroot(2)", change_root_directory).on(root_moves),
    Route::new("open-chroot", "chroot(2) to the protected directory, then open(2)", open_in_chroot),
    Route::new("unshare-user", "unshare(2) of user and mount namespaces", unshare_user)
        .on(user_namespace_changes)
        .trusted(),
    Route::new("setns-mount", "setns(2) into an outside process's mount namespace", enter).on(returns).after(separate),
    Route::new("setns-pidfd", "setns(2) by a pidfd of an outside process", enter_by_pidfd).on(returns).after(separate),
];

// --- Scenes -------------------------------------------------------------------------------------------------------

/// The effect is another list of mounts than the attacker had when it was ready, which [`note`] has written down.
fn mounts_change(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let noted = noted_in(&scene.orders);
    Ok(scene.seen(move |pid| {
        let now = mounts(&pid.to_string()).unwrap_or_default();
        fs::read_to_string(&noted).is_ok_and(|before| !now.is_empty() && now != before)
    }))
}

/// Likewise another root.
fn root_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    Ok(scene.seen(|pid| Path::new(&format!("/proc/{pid}/root/new-root")).exists()))
}

/// Likewise a root below the present one.
fn root_moves(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let scene = Scene::new(ground, route)?;
    let place = scene.orders.outside.clone();
    Ok(scene.seen(move |pid| fs::read_link(format!("/proc/{pid}/root")).is_ok_and(|root| root == place)))
}

/// Likewise another user namespace than this process's.
fn user_namespace_changes(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let own = fs::read_link("/proc/self/ns/user")?;
    let scene = Scene::new(ground, route)?;
    Ok(scene.seen(move |pid| fs::read_link(format!("/proc/{pid}/ns/user")).is_ok_and(|theirs| theirs != own)))
}

/// Likewise this process's own mount namespace, which the attacker had left.
fn returns(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let own = fs::read_link("/proc/self/ns/mnt")?;
    let mut scene = Scene::new(ground, route)?;
    scene.orders.pid = std::process::id().cast_signed();
    Ok(scene.seen(move |pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|theirs| theirs == own)))
}

fn mounts(pid: &str) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/mountinfo"))
}

fn noted_in(orders: &Orders) -> PathBuf {
    orders.outside.join("mounts")
}

// --- Before it is governed ----------------------------------------------------------------------------------------

/// Mounts of its own, and a note of what there are.
fn separate(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    note(orders)
}

fn note(orders: &Orders) -> io::Result<()> {
    fs::write(noted_in(orders), mounts("self")?)
}

fn view(orders: &Orders) -> io::Result<PathBuf> {
    let view = orders.outside.join("view");
    fs::create_dir_all(&view)?;
    Ok(view)
}

fn bound_before(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    bind(&orders.inside, &view(orders)?)
}

fn overlaid_before(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    overlay(orders)
}

/// A file system mounted in the protected directory.
fn hidden_before(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    let place = orders.inside.join("mounted");
    fs::create_dir_all(&place)?;
    mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::empty(), None::<&Path>)?;
    note(orders)
}

/// A root to change to: everything below the present one, and a mark.
fn new_root_before(orders: &mut Orders) -> io::Result<()> {
    own_mounts(orders)?;
    let root = view(orders)?;
    mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), None::<&Path>)?;
    fs::create_dir(root.join("old"))?;
    fs::write(root.join("new-root"), "")
}

// --- Attempts -----------------------------------------------------------------------------------------------------

/// Makes what is at `from` appear at `to` too.
pub fn bind(from: &Path, to: &Path) -> io::Result<()> {
    mount(Some(from), to, None::<&Path>, MsFlags::MS_BIND, None::<&Path>).map_err(Into::into)
}

fn bind_directory(orders: &Orders) -> io::Result<String> {
    done(bind(&orders.inside, &view(orders)?)?)
}

fn bind_file(orders: &Orders) -> io::Result<String> {
    let place = orders.outside.join("place");
    File::create(&place)?;
    done(bind(&orders.file(), &place)?)
}

fn bind_over(orders: &Orders) -> io::Result<String> {
    let other = orders.outside.join("other");
    fs::write(&other, "another file")?;
    done(bind(&other, &orders.file())?)
}

fn open_view(orders: &Orders) -> io::Result<String> {
    fs::read_to_string(view(orders)?.join("file"))
}

fn mount_over(orders: &Orders) -> io::Result<String> {
    done(mount(Some("tmpfs"), &orders.inside, Some("tmpfs"), MsFlags::empty(), None::<&Path>)?)
}

/// The protected directory as the lower of two; what is written goes to the other.
fn overlay(orders: &Orders) -> io::Result<()> {
    let [upper, work] = ["upper", "work"].map(|name| orders.outside.join(name));
    for directory in [&upper, &work] {
        fs::create_dir_all(directory)?;
    }
    let (lower, upper, work) = (orders.inside.display(), upper.display(), work.display());
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
    mount(Some("overlay"), &view(orders)?, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(Into::into)
}

fn mount_overlay(orders: &Orders) -> io::Result<String> {
    done(overlay(orders)?)
}

fn cloned_tree(orders: &Orders) -> io::Result<OwnedFd> {
    let path = c(&orders.inside)?;
    owned(sys!(libc::SYS_open_tree, libc::AT_FDCWD, &path, OPEN_TREE_CLONE)?)
}

fn open_tree(orders: &Orders) -> io::Result<String> {
    let (tree, name) = (cloned_tree(orders)?, c("file")?);
    content(owned(sys!(libc::SYS_openat, &tree, &name, libc::O_RDONLY, 0)?)?)
}

fn attach(tree: &OwnedFd, place: &Path) -> io::Result<i64> {
    let (empty, place) = (c("")?, c(place)?);
    sys!(libc::SYS_move_mount, tree, &empty, libc::AT_FDCWD, &place, MOVE_FROM_EMPTY)
}

fn move_mount(orders: &Orders) -> io::Result<String> {
    done(attach(&cloned_tree(orders)?, &view(orders)?)?)
}

fn fsmount(orders: &Orders) -> io::Result<String> {
    let (kind, source) = (c("tmpfs")?, c("source")?);
    let context = owned(sys!(libc::SYS_fsopen, &kind, 0)?)?;
    sys!(libc::SYS_fsconfig, &context, FSCONFIG_SET_STRING, &source, &kind, 0)?;
    sys!(libc::SYS_fsconfig, &context, FSCONFIG_CREATE, 0, 0, 0)?;
    let tree = owned(sys!(libc::SYS_fsmount, &context, 0, 0)?)?;
    done(attach(&tree, &orders.inside)?)
}

fn umount(orders: &Orders) -> io::Result<String> {
    done(umount2(&orders.inside.join("mounted"), MntFlags::MNT_DETACH)?)
}

fn remount(orders: &Orders) -> io::Result<String> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    done(mount(None::<&Path>, &orders.inside.join("mounted"), None::<&Path>, flags, None::<&Path>)?)
}

fn mount_move(orders: &Orders) -> io::Result<String> {
    let (from, to) = (orders.inside.join("mounted"), view(orders)?);
    done(mount(Some(&from), &to, None::<&Path>, MsFlags::MS_MOVE, None::<&Path>)?)
}

fn change_root(orders: &Orders) -> io::Result<String> {
    let root = view(orders)?;
    done(pivot_root(&root, &root.join("old"))?)
}

fn change_root_directory(orders: &Orders) -> io::Result<String> {
    done(chroot(&orders.outside)?)
}

fn open_in_chroot(orders: &Orders) -> io::Result<String> {
    chroot(&orders.inside)?;
    fs::read_to_string("/file")
}

fn unshare_user(_: &Orders) -> io::Result<String> {
    done(unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?)
}

fn enter(orders: &Orders) -> io::Result<String> {
    let namespace = File::open(format!("/proc/{}/ns/mnt", orders.pid))?;
    done(setns(&namespace, CloneFlags::CLONE_NEWNS)?)
}

fn enter_by_pidfd(orders: &Orders) -> io::Result<String> {
    let pidfd = owned(sys!(libc::SYS_pidfd_open, orders.pid, 0)?)?;
    done(setns(&pidfd, CloneFlags::CLONE_NEWNS)?)
}
