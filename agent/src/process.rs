//! Held processes, seen from user space: what they are, whether they are still there, how they are woken.
//!
//! Signals go through a pidfd, which names one process for ever; a number could be somebody else's by then.

use std::{fs, os::fd::OwnedFd, path::Path};

use procfs::{
    ProcResult,
    process::{Process as Proc, Stat},
};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{
    request::{Context, Process, Withdrawal},
    user,
};

/// Deepest ancestry that is shown.
const GENERATIONS: usize = 32;

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
    pub fn find(pid: u32, tid: u32, started: u64, syscall: u32) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        // Looked at after the pidfd was opened: if this is still the process, the pidfd is its.
        let held = Self { pidfd, pid, tid, started, syscall, elsewhere: Elsewhere::default() };
        held.is_same_process().then_some(held)
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
        let Ok((stat, signals)) = self.read() else {
            return State::Gone(Withdrawal::ProcessDead);
        };
        if matches!(stat.state, 'Z' | 'X' | 'x') || !self.is_same_process() {
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

    fn read(&self) -> ProcResult<(Stat, Signals)> {
        let task = Proc::new(self.pid.cast_signed())?.task_from_tid(self.tid.cast_signed())?;
        let status = task.status()?;
        let signals = Signals {
            waiting: status.sigpnd | status.shdpnd,
            blocked: status.sigblk,
            ignored: status.sigign,
            caught: status.sigcgt,
        };
        Ok((task.stat()?, signals))
    }

    /// Whether the thread is in the call that is held, as when it waits in a frozen control group.
    fn is_in_call(&self) -> bool {
        let path = format!("/proc/{}/task/{}/syscall", self.pid, self.tid);
        let number = fs::read_to_string(path).ok().and_then(|text| text.split(' ').next()?.parse::<u32>().ok());
        number == Some(self.syscall & !(1 << 31))
    }

    fn is_same_process(&self) -> bool {
        let start = || Proc::new(self.pid.cast_signed())?.stat().map(|stat| stat.starttime);
        start().is_ok_and(|ticks| ticks == self.started / (1_000_000_000 / procfs::ticks_per_second()))
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
    Context { cwd: shown(&cwd), ancestry }
}

/// The parent of process `pid`, if there is such a process.
pub fn parent(pid: u32) -> Option<u32> {
    Proc::new(pid.cast_signed()).ok()?.stat().ok().map(|stat| stat.ppid.cast_unsigned())
}

/// A process and its parent's id.
fn ancestor(pid: u32) -> Option<(Process, u32)> {
    let proc = Proc::new(pid.cast_signed()).ok()?;
    let status = proc.status().ok()?;
    let exe = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let process =
        Process { pid, exe: shown(&exe), argv: proc.cmdline().unwrap_or_default(), user: user::name(status.euid) };
    Some((process, status.ppid.cast_unsigned()))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
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
    }
}
