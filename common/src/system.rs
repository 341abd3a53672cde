//! What a governed process may not do to the host unless the policy says so: the ways round a gate on files, programs
//! and connections that have no file, program or address to name.

/// One kind of such operation. [`System::word`] is its name in a policy: `system = ["mount"]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum System {
    /// Mounting, unmounting, moving mounts, `chroot(2)`, `pivot_root(2)`; snapshots.
    Mount = 0,
    /// A new user namespace: it gives every capability within it.
    Namespace = 1,
    /// Memory, registers and descriptors of a process outside the tree; being traced by one.
    Trace = 2,
    /// A signal to a process outside the tree.
    Signal = 3,
    /// Priority, scheduler, processors, limits of a process outside the tree.
    Schedule = 4,
    /// Kernel modules and `kexec`.
    Module = 5,
    /// `bpf(2)`.
    Bpf = 6,
    /// `perf_event_open(2)`.
    Perf = 7,
    /// Capabilities that rule the host: clock, reboot, names, network, kernel log.
    Admin = 8,
    /// Sockets other than TCP, UDP, ICMP's of `ping(8)`, UNIX, and the routing protocol's for asking; disconnecting a TCP
    /// socket; routes by way of other hosts.
    Socket = 9,
    /// An AF_UNIX socket of a process outside the tree, where no rule on its path accepts it: it works for others.
    Deputy = 10,
    /// Input pushed into a terminal (`TIOCSTI`, `TIOCLINUX`), and opening a terminal that somebody outside works at.
    Terminal = 11,
    /// Devices other than terminals and the harmless memory ones (null, zero, full, random).
    Device = 12,
    /// `userfaultfd(2)`: stops the kernel in the middle of a call.
    Userfaultfd = 13,
    /// Waiting for connections at another address than the loopback device's: who comes from outside was asked about by
    /// nobody.
    Listen = 14,
    /// Keys that the kernel keeps.
    Keys = 15,
    /// `io_uring`: operations that are no system calls of their own.
    IoUring = 16,
    /// Rights that an `execve(2)` gives: set-uid, set-gid, file capabilities. An approval of the program covers them.
    Privilege = 17,
}

/// Number of [`System`]s.
pub const SYSTEMS: usize = 18;

/// Not a system operation.
pub const NO_SYSTEM: u32 = u32::MAX;

impl System {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; SYSTEMS] = [
        Self::Mount,
        Self::Namespace,
        Self::Trace,
        Self::Signal,
        Self::Schedule,
        Self::Module,
        Self::Bpf,
        Self::Perf,
        Self::Admin,
        Self::Socket,
        Self::Deputy,
        Self::Terminal,
        Self::Device,
        Self::Userfaultfd,
        Self::Listen,
        Self::Keys,
        Self::IoUring,
        Self::Privilege,
    ];

    /// The word for it in a policy, in messages and in records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Namespace => "namespace",
            Self::Trace => "trace",
            Self::Signal => "signal",
            Self::Schedule => "schedule",
            Self::Module => "module",
            Self::Bpf => "bpf",
            Self::Perf => "perf",
            Self::Admin => "admin",
            Self::Socket => "socket",
            Self::Deputy => "deputy",
            Self::Terminal => "terminal",
            Self::Device => "device",
            Self::Userfaultfd => "userfaultfd",
            Self::Listen => "listen",
            Self::Keys => "keys",
            Self::IoUring => "io_uring",
            Self::Privilege => "privilege",
        }
    }

    /// Whether it is met at a hook that holds. The others answer at once: some could be held, others would lose
    /// something or turn the refusal into another error (kernel 6.1 and 7.2, measured).
    #[must_use]
    pub const fn can_be_held(self) -> bool {
        matches!(self, Self::Deputy | Self::Device)
    }
}

impl TryFrom<u32> for System {
    type Error = u32;

    fn try_from(raw: u32) -> Result<Self, u32> {
        Self::ALL.get(raw as usize).copied().ok_or(raw)
    }
}
