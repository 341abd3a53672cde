//! A terminal that somebody outside works at.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    libc,
    pty::openpty,
    sys::termios::{SetArg, cfmakeraw, tcgetattr, tcgetsid, tcsetattr},
    unistd::{ttyname, write},
};

use super::{Route, bare, done};
use crate::attack::{
    raw::{Low, sys},
    scene::{Ground, Orders, Scene},
};

pub const ROUTES: &[Route] = &[
    Route::new("tiocsti", "ioctl(2) TIOCSTI: types into an outside terminal", type_in).on(typed).trusted(),
    Route::new("tiocsti-32bit", "ioctl(2) TIOCSTI by the 32-bit entry, int 0x80", type_in_32bit).on(typed).trusted(),
    Route::new("tioclinux", "ioctl(2) TIOCLINUX: pastes into a console", paste).on(bare),
    Route::new("terminal-read", "read(2) of an outside terminal", read_terminal).on(typing),
];

/// A terminal without line discipline, its other end, and its name.
fn terminal(scene: &mut Scene) -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = openpty(None, None)?;
    let mut mode = tcgetattr(&pair.slave)?;
    cfmakeraw(&mut mode);
    tcsetattr(&pair.slave, SetArg::TCSANOW, &mode)?;
    scene.orders.name = ttyname(&pair.slave)?.to_string_lossy().into_owned();
    Ok((pair.master, pair.slave))
}

/// The effect is that somebody outside reads what nobody has typed.
fn typed(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let (master, slave) = terminal(&mut scene)?;
    fcntl(&slave, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    scene.keep(master);
    let mut reader = File::from(slave);
    Ok(scene.seen(move |_| reader.read(&mut [0; 8]).is_ok_and(|length| length > 0)))
}

/// Somebody outside works there; the secret has been typed, and nobody has read it.
fn typing(ground: &Ground, route: &Route) -> io::Result<Scene> {
    let mut scene = Scene::new(ground, route)?;
    let (master, slave) = terminal(&mut scene)?;
    scene.outsider(Command::new("setsid").args(["--ctty", "sleep", "600"]), slave.into())?;
    let end = Instant::now() + Duration::from_secs(2);
    while tcgetsid(&master).is_err() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    write(&master, scene.secret.as_bytes())?;
    scene.keep(master);
    Ok(scene)
}

fn open(path: impl AsRef<Path>) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn type_in(orders: &Orders) -> io::Result<String> {
    let terminal = open(&orders.name)?;
    done(sys!(libc::SYS_ioctl, terminal.as_raw_fd(), libc::TIOCSTI, &b"x"[..])?)
}

fn type_in_32bit(orders: &Orders) -> io::Result<String> {
    const IOCTL: i32 = 54;
    let terminal = open(&orders.name)?;
    let mut low = Low::new()?;
    let byte = low.put(b"x");
    let command = u32::try_from(libc::TIOCSTI).expect("commands have 32 bits");
    done(low.call(IOCTL, [terminal.as_raw_fd().cast_unsigned(), command, byte])?)
}

/// Whatever is selected, if anything is, into the last console, where nobody is.
fn paste(_: &Orders) -> io::Result<String> {
    const LAST: &str = "/dev/tty63";
    const PASTE: u8 = 3;
    let console = open(LAST)?;
    let mut command = vec![PASTE, 0, 0, 0];
    done(sys!(libc::SYS_ioctl, console.as_raw_fd(), libc::TIOCLINUX, &mut command)?)
}

fn read_terminal(orders: &Orders) -> io::Result<String> {
    let mut bytes = [0; 64];
    let length = fs::File::open(&orders.name)?.read(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
}
