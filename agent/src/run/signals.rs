//! Signals of `holdpoint run`: taken without handlers, handed down, and died of.

use std::{
    fmt, io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command},
};

use nix::{
    sys::{
        prctl::set_dumpable,
        resource::{Resource, setrlimit},
        signal::{SigSet, Signal, kill, raise},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};

/// Handed down, if a process sent them. If the kernel did, they came from the terminal, and went to the whole
/// foreground group, the command included.
const HANDED_DOWN: [Signal; 6] =
    [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

/// Blocked besides. SIGCHLD is read; SIGTTOU is not: blocked, it lets this process write to the terminal while
/// the command has it (`stty tostop`). SIGTSTP and SIGTTIN stay as they are: Ctrl-Z stops the whole job.
const BLOCKED_TOO: [Signal; 2] = [Signal::SIGCHLD, Signal::SIGTTOU];

/// The signals that this process takes.
pub(super) struct Signals {
    arriving: SignalFd,
    added: Blocked,
}

/// Signals that were not blocked before; shown as what `--unblock` takes.
pub(super) struct Blocked(Vec<Signal>);

impl Signals {
    /// From now on. Blocks for the calling thread, so it must be the only one.
    pub(super) fn take() -> nix::Result<Self> {
        let before = SigSet::thread_get_mask()?;
        let all = HANDED_DOWN.into_iter().chain(BLOCKED_TOO);
        let taken: SigSet = all.collect();
        taken.thread_block()?;
        let read: SigSet = taken.iter().filter(|signal| *signal != Signal::SIGTTOU).collect();
        let arriving = SignalFd::with_flags(&read, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let added = Blocked(taken.iter().filter(|signal| !before.contains(*signal)).collect());
        Ok(Self { arriving, added })
    }

    /// What the child has to unblock again.
    pub(super) fn added(&self) -> &Blocked {
        &self.added
    }

    /// Hands down what has arrived. The child is not reaped before the next `try_wait`, so its id is its own.
    pub(super) fn hand_down(&self, child: &Child) -> io::Result<()> {
        while let Some(arrived) = self.arriving.read_signal()? {
            if let Some(signal) = to_hand_down(arrived.ssi_signo, arrived.ssi_code) {
                let id = i32::try_from(child.id()).map_err(io::Error::other)?;
                // An error means that it may not be signalled any more (set-uid), which is the sender's loss.
                let _ = kill(Pid::from_raw(id), signal);
            }
        }
        Ok(())
    }
}

/// `si_code` is at most 0 if a process sent it (sigaction(2)).
fn to_hand_down(number: u32, code: i32) -> Option<Signal> {
    let signal = Signal::try_from(i32::try_from(number).ok()?).ok()?;
    (code <= 0 && HANDED_DOWN.contains(&signal)).then_some(signal)
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.arriving.as_fd()
    }
}

impl Blocked {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(|signal| (*signal as i32).to_string()).collect();
        f.write_str(&numbers.join(","))
    }
}

/// Unblocks what [`Signals::take`] had added. What was pending acts now, as the caller wants it to.
pub(super) fn unblock(numbers: &[i32]) -> nix::Result<()> {
    let signals: SigSet = numbers.iter().map(|number| Signal::try_from(*number)).collect::<Result<_, _>>()?;
    signals.thread_unblock()
}

/// A caller that ignores SIGCHLD hands that down, and then a child leaves no status. tokio's handler replaces
/// the disposition, without unsafe code; it never runs, SIGCHLD being blocked. After the fork, so that the
/// command still has what the caller gave.
pub(super) fn make_children_waitable() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _inside = runtime.enter();
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).map(drop)
}

/// Dies by the signal of this number, without a core dump of its own. Returns if that cannot be: a real-time
/// signal, or one that the caller had ignored.
pub(super) fn die_by(number: i32) {
    let Ok(signal) = Signal::try_from(number) else { return };
    // A core pattern that is a pipe does not look at the limit; "not dumpable" covers both.
    let _ = set_dumpable(false);
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if signal == Signal::SIGPIPE {
        // Rust ignores it from the start on. A failing exec leaves it at its default (documented: signal
        // handling may have changed), and nothing else can without unsafe code.
        let _ = Command::new("/").exec();
    }
    let _ = SigSet::from(signal).thread_unblock();
    // Rust's handler for SIGSEGV and SIGBUS takes the first one to restore the default.
    for _ in 0..2 {
        let _ = raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM_KERNEL: i32 = 0x80;
    const FROM_KILL: i32 = 0;

    #[test]
    fn what_the_terminal_sent_has_reached_the_command_already() {
        assert_eq!(to_hand_down(Signal::SIGINT as u32, FROM_KERNEL), None);
        assert_eq!(to_hand_down(Signal::SIGINT as u32, FROM_KILL), Some(Signal::SIGINT));
        assert_eq!(to_hand_down(Signal::SIGTERM as u32, FROM_KILL), Some(Signal::SIGTERM));
    }

    #[test]
    fn the_end_of_a_child_is_not_handed_down() {
        assert_eq!(to_hand_down(Signal::SIGCHLD as u32, FROM_KILL), None);
    }

    #[test]
    fn a_stop_from_the_terminal_is_left_alone() {
        assert!(
            !HANDED_DOWN.iter().chain(&BLOCKED_TOO).any(|signal| [Signal::SIGTSTP, Signal::SIGTTIN].contains(signal))
        );
    }
}
