//! Sizes of what crosses the border, and the only `unsafe` of this crate: the promise that these records
//! are plain bytes.

use core::mem::size_of;

use crate::{
    decision::{DIGEST_BYTES, DecisionRecord},
    event::{Bell, ExecReport, Report},
    host::{HOST_BYTES, Host, HostKey, Message, Question, ResolverKey},
    layout::{Layout, Symbols},
    matcher::DEPTH,
    pending::{ARGUMENT_BYTES, FILENAME_BYTES, Pending, Refused, Strings},
    request::{Binding, Facts, PATH_BYTES, Path, Request, Stamps},
    tables::{
        AddressKey, Conditions, Consequence, EdgeKey, LITERAL_BYTES, Letters, Link, Marks, MemberKey, NameKey, Named,
        ObjectKey, PORT_INTERVALS, Ports, RootKey, RuleKey, Schedule, State, SystemKey, Word, WordKey,
    },
    task::{Carrier, Connection, Enrolment, Met, Program, Socket, Switches, Task},
};

/// Asserts that a record's size is the sum of its fields: no implicit padding, whose bytes the verifier
/// would refuse and a hash key would compare; and implements `aya::Pod` for user space.
macro_rules! record {
    ($($record:ty = $bytes:expr;)*) => {
        $(
            const _: () = assert!(size_of::<$record>() == $bytes, "no implicit padding");
            // SAFETY: `#[repr(C)]`, `Copy`, made of integers and arrays of integers only, and without padding
            // (asserted above): every byte pattern is a valid value.
            #[cfg(feature = "user")]
            #[allow(unsafe_code, reason = "aya asks for this promise to copy records to and from maps")]
            unsafe impl aya::Pod for $record {}
        )*
    };
}

const BINDING: usize = 4 * 8 + 6 * 4 + 16 + 2 * 4;
const PROGRAM: usize = 8 + 2 * 4;
const PATH: usize = 2 * 4 + PATH_BYTES;
const STAMPS: usize = 4 * 8 + 2 * 4;
const FACTS: usize = 5 * 8 + BINDING + 2 * STAMPS + 14 * 4 + 2 * PATH;
const STRINGS: usize = 4 * 4 + FILENAME_BYTES + ARGUMENT_BYTES;
const REPORT: usize = 2 * 4 + 8 + FACTS;
const SCRATCH: usize = 4 * 8 + 3 * 4 + 2 * LITERAL_BYTES + 5 * 4;
const MET: usize = 2 * 8 + 4 * 4;
const WORD_KEY: usize = 2 * 4 + LITERAL_BYTES;
const WORDS: usize = 3 * 8 + WORD_KEY + 8 * 4;
const MARKS: usize = 4 * Marks::SLOTS;
const HOST: usize = 8 + HOST_BYTES;
const QUESTION: usize = 8 + 16 + 4 * 4 + HOST;

record! {
    Binding = BINDING;
    Stamps = STAMPS;
    Path = PATH;
    Facts = FACTS;
    Strings = STRINGS;
    Pending = 4 * 8 + 8 * 4 + FACTS + 2 * STRINGS;
    Refused = 2 * 8;
    DecisionRecord = 2 * 4 + DIGEST_BYTES;
    Bell = 2 * 4 + 8;
    Report = REPORT;
    ExecReport = REPORT + STRINGS;
    Program = PROGRAM;
    Request = BINDING + 3 * 8 + 8 * 4;
    Task = 7 * 8 + 2 * PROGRAM + 6 * 4 + BINDING + 3 * 8 + 8 * 4 + MET + SCRATCH + WORDS + 8 * DEPTH;
    Enrolment = 8 + 4 * 4;
    Met = MET;
    Carrier = 2 * 8;
    Socket = 2 * 8;
    Connection = 8 + 16 + 2 * 4;
    Switches = 4 * 8 + 6 * 4;
    Layout = 4 * Layout::FIELDS;
    Symbols = 3 * 8;
    Marks = MARKS;
    Named = 8 + MARKS;
    RootKey = 3 * 4;
    EdgeKey = 4 + LITERAL_BYTES;
    State = 2 * 8 + 4 * 4 + MARKS;
    Letters = 2 * 256 + 4;
    Link = 2 * 4 + 8;
    WordKey = WORD_KEY;
    Word = 2 * 4 + 8;
    Conditions = 2 * 8 + 10 * 4;
    MemberKey = 3 * 4;
    ResolverKey = 4 + 16;
    Question = QUESTION;
    Message = QUESTION + 2 * 8 + 6 * 4;
    HostKey = 8 + 16 + 2 * 4;
    Host = HOST;
    Schedule = 8 * Schedule::WORDS;
    NameKey = 2 * 4 + LITERAL_BYTES;
    AddressKey = 2 * 4 + 16;
    Ports = 4 + 8 * PORT_INTERVALS;
    SystemKey = 3 * 4;
    ObjectKey = 8 + 4 * 4;
    RuleKey = 2 * 4;
    Consequence = 2 * 8 + 2 * 4;
}

/// The maps that are pinned, by the names of the statics in `ebpf/src/maps.rs`: all that programs share, also those that
/// only they read, since programs that are attached later must work on the same ones.
pub const MAPS: [&str; 31] = [
    "TASKS",
    "CARRIERS",
    "ENROLMENTS",
    "PENDING",
    "DECISIONS",
    "REFUSED",
    "SWITCHES",
    "COUNTERS",
    "EVENTS",
    "ROOTS",
    "EDGES",
    "LETTERS",
    "LINKS",
    "WORDS",
    "CONDITIONS",
    "MEMBERS",
    "SCHEDULES",
    "NAMES",
    "ADDRESSES",
    "RULES",
    "STARTERS",
    "SYSTEM",
    "OBJECTS",
    "CANDIDATES",
    "SOCKETS",
    "JUDGED",
    "BUSY",
    "RESOLVERS",
    "QUERIES",
    "HOSTS",
    "HOST_NAMES",
];
