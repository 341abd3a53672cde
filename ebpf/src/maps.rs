//! Each map: who writes it, who reads it, what happens when it is full. All are pinned by the agent, so that
//! they and what they hold outlive it.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, RingBuf},
};
use holdpoint_common::{
    decision::DecisionRecord,
    event::{REASONS, RING_BYTES},
    host::{Host, HostKey, Message, Question, ResolverKey},
    pending::{PENDING_HOLDS, Pending, Refused},
    tables::{
        AddressKey, Conditions, Consequence, EdgeKey, LETTERS as LETTERS_OF_ONE, LINKS as LINKS_OF_ONE, Letters, Link,
        MemberKey, NameKey, Named, ObjectKey, Ports, RootKey, RuleKey, SCHEDULES as SCHEDULES_OF_ONE, Schedule, State,
        SystemKey, Word, WordKey,
    },
    task::{Carrier, Connection, Enrolment, Program, Socket, Switches, Task},
};

/// Governed threads. Written here at fork, enrolment and search, emptied when a thread is freed. Full: the fork is
/// refused, and a search fails.
#[map]
pub static TASKS: HashMap<u64, Task> = HashMap::with_max_entries(16384, 0);

/// Governed trees and processes with the labels that they carry. Written here, with [`TASKS`]. Full: the fork is refused,
/// and a search fails. Twice as many: each thread can be a process, and each process a tree.
#[map]
pub static CARRIERS: HashMap<u64, Carrier> = HashMap::with_max_entries(32768, 0);

/// Scratch of ungoverned threads while an entry is made up, for them or by them. Full: their exec or fork is refused.
#[map]
pub static CANDIDATES: HashMap<u64, Task> = HashMap::with_max_entries(256, 0);

/// Sockets that governed trees made, by the address of the `sock`. Written here when one is made or accepted,
/// emptied when it is freed. Full: the socket is refused.
#[map]
pub static SOCKETS: HashMap<u64, Socket> = HashMap::with_max_entries(65536, 1); // BPF_F_NO_PREALLOC

/// What labels who connected a socket to a place, or sent on it there, carried when that was last judged, and passed: a
/// mask. Written and read here. Full: what was not looked at for longest goes, and is judged again.
#[map]
pub static JUDGED: LruHashMap<Connection, u64> = LruHashMap::with_max_entries(16384, 0);

/// How many threads are held in an exec of a program, or run it after an approval. Written and read here. Full: what was
/// not looked at for longest goes, which is one that nobody runs any more: each has cost a hold.
#[map]
pub static BUSY: LruHashMap<Program, u64> = LruHashMap::with_max_entries(16384, 0);

/// What the agent offers processes, by process id. Written by the agent, marked as taken here.
#[map]
pub static ENROLMENTS: HashMap<u32, Enrolment> = HashMap::with_max_entries(1024, 0);

/// Holds, by id: the truth about what is pending. Written here, read by the agent. Full: the request is refused.
#[map]
pub static PENDING: HashMap<u64, Pending> = HashMap::with_max_entries(PENDING_HOLDS, 0);

/// Decisions, by hold id. Written by the agent, read here. A hold without one is pending.
#[map]
pub static DECISIONS: HashMap<u64, DecisionRecord> = HashMap::with_max_entries(2 * PENDING_HOLDS, 0);

/// What a reviewer refused, and until when it is refused without a question: nanoseconds of `CLOCK_BOOTTIME`. Written by
/// the agent, read here. Full: what was not asked for longest goes, and is asked about again.
#[map]
pub static REFUSED: LruHashMap<Refused, u64> = LruHashMap::with_max_entries(4096, 0);

/// One zeroed record each, the source of new ones: they are too large for the stack.
#[map]
pub static NO_TASK: Array<Task> = Array::with_max_entries(1, 0);

/// See [`NO_TASK`].
#[map]
pub static NO_PENDING: Array<Pending> = Array::with_max_entries(1, 0);

/// What the agent sets for all programs.
#[map]
pub static SWITCHES: Array<Switches> = Array::with_max_entries(1, 0);

/// Counts by [`holdpoint_common::event::Reason`]. Written here, read by the agent.
#[map]
pub static COUNTERS: Array<u64> = Array::with_max_entries(REASONS, 0);

/// Reports to the agent. Full: the report is lost and counted; no hold is.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// The policy; written by the agent, read here. Full: the agent refuses the policy.
#[map]
pub static ROOTS: HashMap<RootKey, State> = HashMap::with_max_entries(16384, 0);

/// See [`ROOTS`].
#[map]
pub static EDGES: HashMap<EdgeKey, State> = HashMap::with_max_entries(2 * 65536, 0);

/// See [`ROOTS`].
#[map]
pub static LETTERS: Array<Letters> = Array::with_max_entries(2 * LETTERS_OF_ONE, 0);

/// See [`ROOTS`].
#[map]
pub static LINKS: Array<Link> = Array::with_max_entries(2 * LINKS_OF_ONE, 0);

/// See [`ROOTS`].
#[map]
pub static WORDS: HashMap<WordKey, Word> = HashMap::with_max_entries(32768, 1); // BPF_F_NO_PREALLOC

/// See [`ROOTS`].
#[map]
pub static CONDITIONS: HashMap<RuleKey, Conditions> = HashMap::with_max_entries(32768, 1); // BPF_F_NO_PREALLOC

/// See [`ROOTS`].
#[map]
pub static MEMBERS: HashMap<MemberKey, u32> = HashMap::with_max_entries(8192, 0);

/// See [`ROOTS`].
#[map]
pub static SCHEDULES: Array<Schedule> = Array::with_max_entries(2 * SCHEDULES_OF_ONE, 0);

/// See [`ROOTS`].
#[map]
pub static NAMES: HashMap<NameKey, Named> = HashMap::with_max_entries(16384, 0);

/// See [`ROOTS`].
#[map]
pub static ADDRESSES: LpmTrie<AddressKey, Ports> = LpmTrie::with_max_entries(2 * (16384 + 2), 0);

/// See [`ROOTS`].
#[map]
pub static RULES: HashMap<RuleKey, Consequence> = HashMap::with_max_entries(2 * (16384 + 2), 0);

/// See [`ROOTS`].
#[map]
pub static STARTERS: HashMap<RuleKey, u32> = HashMap::with_max_entries(256, 0);

/// See [`ROOTS`].
#[map]
pub static SYSTEM: HashMap<SystemKey, u32> = HashMap::with_max_entries(4096, 0);

/// Rules on files with several names. Written by the agent.
#[map]
pub static OBJECTS: HashMap<ObjectKey, Named> = HashMap::with_max_entries(8192, 0);

/// See [`ROOTS`]: the resolvers whose answers are believed.
#[map]
pub static RESOLVERS: HashMap<ResolverKey, u32> = HashMap::with_max_entries(128, 0);

/// See [`ROOTS`]: the names of hosts that rules ask for, by set.
#[map]
pub static HOST_NAMES: HashMap<NameKey, u32> = HashMap::with_max_entries(32768, 1); // BPF_F_NO_PREALLOC

/// Questions to resolvers, and when they are given up. Written here, emptied by the answer, and by the agent. Full: the
/// answer teaches nothing.
#[map]
pub static QUERIES: HashMap<Question, u64> = HashMap::with_max_entries(4096, 1); // BPF_F_NO_PREALLOC

/// Names of addresses, as the trees have asked for them. Written here, emptied by the agent. Full: an answer teaches nothing.
#[map]
pub static HOSTS: HashMap<HostKey, Host> = HashMap::with_max_entries(16384, 1); // BPF_F_NO_PREALLOC

/// Messages of DNS that are being read, by the thread that reads. Full: what is read teaches nothing.
#[map]
pub static MESSAGES: HashMap<u64, Message> = HashMap::with_max_entries(256, 0);

/// See [`NO_TASK`].
#[map]
pub static NO_MESSAGE: Array<Message> = Array::with_max_entries(1, 0);
