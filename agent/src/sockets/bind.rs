//! Bringing a socket into being so that nobody reaches it before it is guarded.
//!
//! A bound socket refuses every connection until `listen(2)`. So the order is: bind, owner, mode, tell the
//! kernel side which inode it is, and only then listen. No temporary name and no rename are needed, and a
//! umask, which all threads share, is left alone. The path itself is safe: only root can write to the directory.

use std::{
    fs,
    io::{self, Error, ErrorKind},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::{UnixListener as BlockingListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, setsockopt, socket, sockopt::PassCred,
        },
        stat::{major, minor},
        statfs::{TMPFS_MAGIC, statfs},
    },
    unistd::{Gid, Group, Uid, chown},
};
use tokio::net::UnixListener;

use super::{CONTROL, TREE};

/// Group whose members may review by the local command line.
pub const GROUP: &str = "holdpoint";

/// Connections that wait to be accepted. A full queue makes clients wait, and `run` with them; it harms nobody else.
const BACKLOG: i32 = 128;

/// A socket with its name and its guard, not yet reachable.
#[derive(Debug)]
pub struct Bound {
    path: PathBuf,
    socket: OwnedFd,
}

/// Creates `directory` if need be and binds the socket with authority: 0660, root and group `holdpoint`.
pub fn control(directory: &Path) -> io::Result<Bound> {
    let group = Group::from_name(GROUP)?.map(|group| group.gid);
    Bound::new(&prepared(directory)?.join(CONTROL), 0o660, group)
}

/// Creates `directory` if need be and binds the socket for everyone: 0666.
pub fn tree(directory: &Path) -> io::Result<Bound> {
    Bound::new(&prepared(directory)?.join(TREE), 0o666, None)
}

/// The directory, there and writable by its owner alone.
fn prepared(directory: &Path) -> io::Result<&Path> {
    fs::create_dir_all(directory)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != Uid::effective().as_raw() {
        let cause = format!("{} is not a directory of this user", directory.display());
        return Err(Error::new(ErrorKind::PermissionDenied, cause));
    }
    Ok(directory)
}

impl Bound {
    fn new(path: &Path, mode: u32, group: Option<Gid>) -> io::Result<Self> {
        clear(path)?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // On the listener, since accepted sockets inherit it: set later, first bytes would come without a sender.
        setsockopt(&socket, PassCred, &true)?;
        bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        chown(path, None, group)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(Self { path: path.to_owned(), socket })
    }

    /// `s_dev` and inode of the socket's file, as the kernel side sees them.
    ///
    /// What `stat` says is `s_dev` only on some file systems (not on overlayfs or btrfs), so any other than
    /// tmpfs is an error: a wrong number would leave the socket unguarded.
    pub fn identity(&self) -> io::Result<(u32, u64)> {
        if statfs(&self.path)?.filesystem_type() != TMPFS_MAGIC {
            let cause = format!("{} must be on tmpfs, as /run is", self.path.display());
            return Err(Error::new(ErrorKind::Unsupported, cause));
        }
        let file = fs::symlink_metadata(&self.path)?;
        let number = (major(file.dev()) << 20) | minor(file.dev());
        let device = u32::try_from(number).map_err(|_| Error::other("device number out of range"))?;
        Ok((device, file.ino()))
    }

    /// Opens it for connections. Within a tokio runtime.
    pub fn listen(self) -> io::Result<UnixListener> {
        listen(&self.socket, Backlog::new(BACKLOG)?)?;
        UnixListener::from_std(BlockingListener::from(self.socket))
    }
}

/// Removes what an earlier agent left; refuses to take the name from a living one, or to remove anything else.
fn clear(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(file) if !file.file_type().is_socket() => {
            let cause = format!("{} is in the way and not a socket", path.display());
            return Err(Error::new(ErrorKind::AlreadyExists, cause));
        }
        Ok(_) => {}
    }
    if UnixStream::connect(path).is_ok() {
        let cause = format!("another agent listens on {}", path.display());
        return Err(Error::new(ErrorKind::AddrInUse, cause));
    }
    fs::remove_file(path)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// A directory of its own on tmpfs, removed at the end.
    pub(in super::super) struct Directory(pub(in super::super) PathBuf);

    impl Directory {
        pub(in super::super) fn new(name: &str) -> Self {
            Self(PathBuf::from(format!("/dev/shm/holdpoint-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_socket_is_guarded_before_it_can_be_reached() {
        let directory = Directory::new("guarded");
        let bound = control(&directory.0).unwrap();
        let path = directory.0.join(CONTROL);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(bound.identity().unwrap().1, fs::metadata(&path).unwrap().ino());
        let _listener = bound.listen().unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn the_name_is_taken_from_the_dead_and_not_from_the_living() {
        let directory = Directory::new("stale");
        let living = tree(&directory.0).unwrap().listen().unwrap();
        assert_eq!(tree(&directory.0).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(living);
        // A child that another test forks has the listener too, until it executes its program.
        let limit = Instant::now() + Duration::from_secs(10);
        while let Err(error) = tree(&directory.0) {
            assert!(error.kind() == ErrorKind::AddrInUse && Instant::now() < limit, "{error}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_not_removed() {
        let directory = Directory::new("file");
        fs::create_dir_all(&directory.0).unwrap();
        fs::write(directory.0.join(TREE), "precious").unwrap();
        assert_eq!(tree(&directory.0).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(directory.0.join(TREE)).unwrap(), "precious");
    }
}
