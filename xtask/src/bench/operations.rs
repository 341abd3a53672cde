//! In the guest: the operations that are counted.

use std::fs::{self, File, Permissions};
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::kill;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::getpid;

use super::Counts;

/// Eight directories deep: what it costs to judge a path grows with its depth.
const DIRECTORY: &str = "/srv/a/b/c/d/e/f/g";

/// What is done once, and how often in a round.
type Operation = (&'static str, u32, Box<dyn FnMut() -> Result<()>>);

/// Prints how many instructions each operation takes, or else this command, as JSON.
pub fn count(command: &[String]) -> Result<()> {
    let counts = match command {
        [] => of_operations()?,
        [program, arguments @ ..] => Counts::from([(command.join(" "), of_command(program, arguments)?)]),
    };
    println!("{}", serde_json::to_string(&counts).context("failed to write JSON")?);
    Ok(())
}

/// On all processes of the guest, until the command has ended.
fn of_command(program: &str, arguments: &[String]) -> Result<i64> {
    let start = now()?;
    let output =
        Command::new(program).args(arguments).output().with_context(|| format!("failed to start {program}"))?;
    let taken = now()? - start;
    ensure!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(taken)
}

/// The mean of the best of some rounds. The others were interrupted more often.
fn of_operations() -> Result<Counts> {
    if Path::new(DIRECTORY).exists() {
        // What an earlier count in this guest has left.
        fs::remove_dir_all(DIRECTORY).with_context(|| format!("failed to remove {DIRECTORY}"))?;
    }
    fs::create_dir_all(DIRECTORY).with_context(|| format!("failed to create {DIRECTORY}"))?;
    let mut counts = Counts::new();
    for (name, times, mut operation) in operations()? {
        let count = best(times, &mut operation).with_context(|| format!("failed to {name}"))?;
        counts.insert(name.to_owned(), count);
    }
    Ok(counts)
}

fn operations() -> Result<Vec<Operation>> {
    let path = |name: &str| Path::new(DIRECTORY).join(name);
    let [file, other, new, socket] = ["file", "other", "new", "socket"].map(path);
    let opened = File::create(&file)?;
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let unix = UnixListener::bind(&socket)?;
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (tcp_address, udp_address) = (tcp.local_addr()?, udp.local_addr()?);
    let asked = opened.try_clone()?;
    Ok(vec![
        ("open and close a file", 10_000, {
            let file = file.clone();
            Box::new(move || File::open(&file).map(drop).map_err(Into::into))
        }),
        ("create and unlink a file", 2_000, {
            let new = new.clone();
            Box::new(move || {
                File::create(&new)?;
                Ok(fs::remove_file(&new)?)
            })
        }),
        ("make and remove a directory", 2_000, {
            let new = new.clone();
            Box::new(move || {
                fs::create_dir(&new)?;
                Ok(fs::remove_dir(&new)?)
            })
        }),
        ("link and unlink a file", 2_000, {
            let (file, new) = (file.clone(), new);
            Box::new(move || {
                fs::hard_link(&file, &new)?;
                Ok(fs::remove_file(&new)?)
            })
        }),
        ("rename a file and back", 2_000, {
            let file = file.clone();
            Box::new(move || {
                fs::rename(&file, &other)?;
                Ok(fs::rename(&other, &file)?)
            })
        }),
        ("change a file's mode", 5_000, {
            let file = file.clone();
            Box::new(move || Ok(fs::set_permissions(&file, Permissions::from_mode(0o600))?))
        }),
        ("truncate a file", 2_000, Box::new(move || Ok(opened.set_len(0)?))),
        ("fcntl(F_GETFL)", 10_000, {
            let asked = asked.try_clone()?;
            Box::new(move || fcntl(&asked, FcntlArg::F_GETFL).map(drop).map_err(Into::into))
        }),
        ("ioctl(TCGETS) of a file", 10_000, {
            Box::new(move || {
                ensure!(!asked.is_terminal(), "a file is no terminal");
                Ok(())
            })
        }),
        ("kill(2), signal 0", 10_000, Box::new(|| Ok(kill(getpid(), None)?))),
        ("connect over TCP, accept and close", 500, {
            Box::new(move || {
                let _there = TcpStream::connect(tcp_address)?;
                tcp.accept().map(drop).map_err(Into::into)
            })
        }),
        ("connect to a UNIX socket, accept and close", 2_000, {
            Box::new(move || {
                let _there = UnixStream::connect(&socket)?;
                unix.accept().map(drop).map_err(Into::into)
            })
        }),
        ("send and receive over UDP", 2_000, {
            Box::new(move || {
                udp.send_to(b"x", udp_address)?;
                udp.recv(&mut [0; 8]).map(drop).map_err(Into::into)
            })
        }),
        ("spawn a program and wait", 100, {
            Box::new(move || {
                ensure!(Command::new("/bin/true").status()?.success(), "/bin/true failed");
                Ok(())
            })
        }),
    ])
}

fn best(times: u32, operation: &mut dyn FnMut() -> Result<()>) -> Result<i64> {
    const ROUNDS: u32 = 5;
    for _ in 0..times / 10 {
        operation()?;
    }
    let mut best = i64::MAX;
    for _ in 0..ROUNDS {
        let start = now()?;
        for _ in 0..times {
            operation()?;
        }
        best = best.min(now()? - start);
    }
    Ok(best / i64::from(times))
}

fn now() -> Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("failed to read the clock")?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
