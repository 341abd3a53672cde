//! Held processes, seen from user space: what they are, whether they are still there, how they are woken.
//!
//! Signals go through a pidfd, which names one process for ever; a number could be somebody else's by then.

use std::{
    fs::{self, File},
    io::Read as _,
    os::fd::OwnedFd,
    path::Path,
};

use holdpoint_common::matcher::NO_LOGIN;
use procfs::{
    ProcError, ProcResult,
    process::{Process as Proc, Stat},
};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::{
    request::{Context, Process, Withdrawal},
    user,
};

/// Deepest ancestry that is shown: what is above it is not known.
pub const GENERATIONS: usize = 32;

/// Bytes that are read of a file whose length is the process's own choice: `PR_SET_MM_MAP` makes a command line of all
/// its memory.
const LONGEST: usize = 4096;

/// Signals whose default does not end the process: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH (signal(7), x86).
const HARMLESS: u64 = bit(17) | bit(18) | bit(19) | bit(20) | bit(21) | bit(22) | bit(23) | bit(28);

const fn bit(signal: u64) -> u64 {
    1 << (signal - 1)
}

/// The thread of a hold.
#[derive(Debug)]
pub struct Held {
    pidfd: OwnedFd,
    pid: u32,
    tid: u32,
    started: u64,
    syscall: u32,
    elsewhere: Elsewhere,
}

/// Looks that found a thread neither stopped nor in the held call.
#[derive(Debug, Default)]
struct Elsewhere {
    /// How many in a row.
    looks: u32,
    /// The kernel's count of stops at the last look.
    entries: u32,
    /// Clock ticks that the thread had run by the last look.
    ran: u64,
}

/// How a held thread is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Stopped, or on its way there or back.
    Waiting {
        /// Whether it is stopped.
        stopped: bool,
    },
    /// Not coming back.
    Gone(Withdrawal),
}

impl Held {
    /// Looks that must find a thread elsewhere before its call counts as abandoned: a handler may be running that
    /// will return to it.
    const PATIENCE: u32 = 10;

    /// Thread `tid` of process `pid`, held in the system call `syscall`; `None` if the process that `started` then
    /// (nanoseconds of `CLOCK_BOOTTIME`) is gone.
    ///
    /// # Errors
    /// It cannot be looked at, and may well be there.
    pub fn find(pid: u32, tid: u32, started: u64, syscall: u32) -> ProcResult<Option<Self>> {
        let Some(pidfd) = open(pid)? else { return Ok(None) };
        // Looked at after the pidfd was opened: if this is still the process, the pidfd is its.
        let held = Self { pidfd, pid, tid, started, syscall, elsewhere: Elsewhere::default() };
        Ok(unless_gone(held.is_same_process())?.unwrap_or(false).then_some(held))
    }

    /// Lets the process run; it meets the decision, or is stopped again.
    pub fn wake(&self) {
        self.send(Signal::CONT);
    }

    /// Kills the process, held or not.
    pub fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.pidfd, signal) {
            // ESRCH: it is gone, which the next look finds.
            tracing::debug!(pid = self.pid, ?signal, %error, "signal not sent");
        }
    }

    /// Looks at the thread. `entries` is how often the kernel has stopped it at its hold.
    pub fn look(&mut self, entries: u32) -> State {
        match unless_gone(self.read()) {
            Ok(Some((stat, signals))) => self.judge(&stat, &signals, entries),
            Ok(None) => State::Gone(Withdrawal::ProcessDead),
            Err(error) => {
                // The next look may tell; until then it counts as there.
                tracing::debug!(pid = self.pid, %error, "a held thread cannot be looked at");
                State::Waiting { stopped: false }
            }
        }
    }

    fn judge(&mut self, stat: &Stat, signals: &Signals, entries: u32) -> State {
        if matches!(stat.state, 'Z' | 'X' | 'x') {
            return State::Gone(Withdrawal::ProcessDead);
        }
        if signals.fatal_waits() {
            return State::Gone(Withdrawal::FatalSignal);
        }
        let stopped = matches!(stat.state, 'T' | 't');
        if stopped || self.is_in_call() || self.elsewhere.entries != entries {
            self.elsewhere = Elsewhere { entries, ..Elsewhere::default() };
            return State::Waiting { stopped };
        }
        // A thread that wants to run and gets no processor has not gone anywhere.
        let ran = stat.utime + stat.stime;
        if stat.state != 'R' || ran != self.elsewhere.ran {
            self.elsewhere.looks += 1;
        }
        self.elsewhere.ran = ran;
        match self.elsewhere.looks {
            0..Self::PATIENCE => State::Waiting { stopped },
            _ => State::Gone(Withdrawal::CallAbandoned),
        }
    }

    /// The thread as it is now.
    fn read(&self) -> ProcResult<(Stat, Signals)> {
        let task = Proc::new(self.pid.cast_signed())?.task_from_tid(self.tid.cast_signed())?;
        let status = task.status()?;
        let signals = Signals {
            waiting: status.sigpnd | status.shdpnd,
            blocked: status.sigblk,
            ignored: status.sigign,
            caught: status.sigcgt,
        };
        let stat = task.stat()?;
        // Last: if it still is, all of that was about it.
        if self.is_same_process()? { Ok((stat, signals)) } else { Err(ProcError::NotFound(None)) }
    }

    /// Whether the thread is in the call that is held, as when it waits in a frozen control group.
    fn is_in_call(&self) -> bool {
        let path = format!("/proc/{}/task/{}/syscall", self.pid, self.tid);
        let number = fs::read_to_string(path).ok().and_then(|text| text.split(' ').next()?.parse::<u32>().ok());
        number == Some(self.syscall & !(1 << 31))
    }

    fn is_same_process(&self) -> ProcResult<bool> {
        let ticks = Proc::new(self.pid.cast_signed())?.stat()?.starttime;
        Ok(ticks == self.started / (1_000_000_000 / procfs::ticks_per_second()))
    }
}

/// A pidfd of process `pid`, if there is one.
fn open(pid: u32) -> ProcResult<Option<OwnedFd>> {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(number, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        // The last two: the number is that of another process's thread by now.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
        Err(error) => Err(ProcError::Io(error.into(), None)),
    }
}

/// What was read of a process; `None` if it is gone. No other error says that: the agent may be out of descriptors.
fn unless_gone<T>(read: ProcResult<T>) -> ProcResult<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(ProcError::NotFound(_)) => Ok(None),
        Err(ProcError::Io(error, _)) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A thread's signal sets, as `/proc/PID/status` shows them: bit `n - 1` is signal `n`.
struct Signals {
    waiting: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl Signals {
    /// Whether a signal waits that will end the process as soon as it runs.
    fn fatal_waits(&self) -> bool {
        self.waiting & !self.blocked & !self.ignored & !self.caught & !HARMLESS != 0
    }
}

/// What is shown beside a request: gathered from `/proc`, with gaps where it cannot be read.
pub fn context(pid: u32) -> Context {
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let mut ancestry = Vec::new();
    let mut next = pid;
    while let Some((process, parent)) = ancestor(next) {
        ancestry.push(process);
        if parent == 0 || ancestry.len() == GENERATIONS {
            break;
        }
        next = parent;
    }
    let unit = head(pid, "cgroup").and_then(|groups| unit(&String::from_utf8_lossy(&groups)));
    Context { cwd: shown(&cwd), unit, ancestry }
}

/// The unit in what a `cgroup` says, as sd_pid_get_unit(3) tells it: what is first below the slices, whatever is below that.
fn unit(groups: &str) -> Option<String> {
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_unit = |name: &&str| name.contains('.') && !name.ends_with(".slice");
    let mut units = group.split('/').skip_while(|name| name.ends_with(".slice"));
    let unit = units.next().filter(is_unit)?;
    let own = units.find(|name| !name.ends_with(".slice")).filter(|name| unit.starts_with("user@") && is_unit(name));
    Some([Some(unit), own].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The parent of process `pid`, if there is such a process.
pub fn parent(pid: u32) -> Option<u32> {
    Proc::new(pid.cast_signed()).ok()?.stat().ok().map(|stat| stat.ppid.cast_unsigned())
}

/// As whom somebody has logged in from whom process `pid` of user `uid` comes, whatever `su` and `sudo` made of them; none
/// for services.
///
/// # Errors
/// It cannot be read, or the number is that of another user's process by now.
pub fn login(pid: u32, uid: u32) -> ProcResult<Option<u32>> {
    // Of one process: both are opened below the same directory, which stays that of a process that has ended.
    let process = Proc::new(pid.cast_signed())?;
    if process.status()?.euid != uid {
        return Err(ProcError::NotFound(None));
    }
    // A kernel without audit has none for anybody.
    if !Path::new("/proc/self/loginuid").exists() {
        return Ok(None);
    }
    Ok(Some(process.loginuid()?).filter(|login| *login != NO_LOGIN))
}

/// A process and its parent's id.
fn ancestor(pid: u32) -> Option<(Process, u32)> {
    let (parent, uid) = origin(&head(pid, "status")?)?;
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let argv = head(pid, "cmdline").as_deref().map(argv).unwrap_or_default();
    Some((Process { pid, exe: shown(&exe), argv, user: user::name(uid) }, parent))
}

/// The beginning of a file of process `pid`: one byte more than [`LONGEST`] if there is more.
fn head(pid: u32, file: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(format!("/proc/{pid}/{file}")).ok()?;
    file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The parent and the effective user in the head of a `status`. Both stand before the list of groups, which can be long.
fn origin(status: &[u8]) -> Option<(u32, u32)> {
    let status = String::from_utf8_lossy(status);
    let number = |key, index| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().nth(index));
    Some((number("PPid:", 0)?.parse().ok()?, number("Uid:", 1)?.parse().ok()?))
}

/// The arguments in the head of a `cmdline`; `…` stands for what was cut off.
fn argv(cmdline: &[u8]) -> Vec<String> {
    let kept = &cmdline[..cmdline.len().min(LONGEST)];
    let arguments = kept.split(|byte| *byte == 0).filter(|argument| !argument.is_empty());
    let cut = (cmdline.len() > LONGEST).then(|| "…".to_owned());
    arguments.map(|argument| String::from_utf8_lossy(argument).into_owned()).chain(cut).collect()
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn waiting(signal: u64) -> Signals {
        Signals { waiting: bit(signal), blocked: 0, ignored: 0, caught: 0 }
    }

    #[test]
    fn a_waiting_sigterm_is_fatal_unless_blocked_ignored_or_caught() {
        assert!(waiting(15).fatal_waits());
        assert!(!Signals { blocked: bit(15), ..waiting(15) }.fatal_waits());
        assert!(!Signals { ignored: bit(15), ..waiting(15) }.fatal_waits());
        assert!(!Signals { caught: bit(15), ..waiting(15) }.fatal_waits());
    }

    #[test]
    fn a_waiting_sigcont_is_not_fatal() {
        assert!(!waiting(18).fatal_waits());
    }

    #[test]
    fn the_ancestry_leads_to_the_first_process() {
        let context = context(std::process::id());
        assert_eq!(context.ancestry[0].pid, std::process::id());
        assert!(context.ancestry.len() > 1);
        assert_eq!(Some(context.ancestry[1].pid), parent(std::process::id()));
        assert_eq!(context.ancestry[0].user, user::name(nix::unistd::geteuid().as_raw()));
    }

    #[test]
    fn the_unit_is_what_is_first_below_the_slices() {
        for (group, name) in [
            ("/system.slice/agent.service", Some("agent.service")),
            ("/system.slice/agent.service/mysql.service", Some("agent.service")),
            ("/user.slice/user-7.slice/session-3.scope", Some("session-3.scope")),
            ("/user.slice/user-7.slice/user@7.service/app.slice/a.service", Some("user@7.service, a.service")),
            ("/user.slice/user-7.slice/user@7.service/init.scope", Some("user@7.service, init.scope")),
            ("/init.scope", Some("init.scope")),
            ("/docker/3f2a9c", None),
            ("/", None),
        ] {
            assert_eq!(unit(&format!("1:name=systemd:/x.service\n0::{group}\n")).as_deref(), name, "{group}");
        }
    }

    #[test]
    fn a_command_line_is_read_no_further_than_what_is_shown() {
        assert_eq!(argv(b"sh\0-c\0\0ls\xff\0"), ["sh", "-c", "ls\u{fffd}"]);
        let long = "x".repeat(3 * LONGEST);
        let mut shell = Command::new("/bin/sh");
        let mut child = shell.args(["-c", "read wait", &long]).stdin(Stdio::piped()).spawn().unwrap();
        let shown = loop {
            // While it executes, it shows nothing yet.
            let argv = ancestor(child.id()).unwrap().0.argv;
            if argv.first().is_some_and(|program| program == "/bin/sh") {
                break argv;
            }
        };
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(shown[1..3], ["-c", "read wait"]);
        assert!(shown[3].len() < LONGEST && long.starts_with(&shown[3]));
        assert_eq!(shown[4..], ["…"]);
    }

    #[test]
    fn a_login_is_told_of_the_process_that_asks_and_of_no_other() {
        let (me, uid) = (std::process::id(), nix::unistd::geteuid().as_raw());
        let text = fs::read_to_string("/proc/self/loginuid").unwrap_or_else(|_| NO_LOGIN.to_string());
        let login = text.trim().parse().ok().filter(|login| *login != NO_LOGIN);
        assert_eq!(login, super::login(me, uid).unwrap());
        assert!(super::login(me, uid + 1).is_err(), "another user's by now");
        assert!(super::login(i32::MAX.cast_unsigned(), uid).is_err());
    }

    #[test]
    fn only_a_process_that_is_gone_is_not_found() {
        let me = std::process::id();
        let ticks = Proc::myself().unwrap().stat().unwrap().starttime;
        let started = ticks * (1_000_000_000 / procfs::ticks_per_second());
        assert!(Held::find(me, me, started, 0).unwrap().is_some());
        assert!(Held::find(me, me, 0, 0).unwrap().is_none(), "the number is another's by now");
        assert!(Held::find(i32::MAX.cast_unsigned(), 1, 0, 0).unwrap().is_none());
        assert!(Held::find(0, 0, 0, 0).unwrap().is_none());
    }

    #[test]
    fn an_error_that_says_nothing_of_the_process_is_not_its_end() {
        let error = |errno: Errno| unless_gone::<()>(Err(ProcError::Io(errno.into(), None)));
        assert!(matches!(error(Errno::SRCH), Ok(None)));
        assert!(error(Errno::MFILE).is_err());
        assert!(error(Errno::NOMEM).is_err());
        assert!(matches!(unless_gone::<()>(Err(ProcError::NotFound(None))), Ok(None)));
    }
}
