//! The way from a directory entry up to the real root of its file system: names as they are, whatever mount,
//! link, chroot or namespace the caller came through.

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str},
    maps::lpm_trie::Key,
};
use holdpoint_common::{
    matcher::{self, Asker, Context, DEPTH, Names, Place, Scratch, Tables, Turn, first_of, stricter},
    request::{NAME_BYTES, PATH_BYTES, Path, Request},
    tables::{
        ADDRESS_HEAD_BITS, AddressKey, CGROUPS, Conditions, Consequence, EdgeKey, LETTERS as LETTERS_OF_ONE,
        LINKS as LINKS_OF_ONE, LITERAL_BYTES, Letters, Link, MemberKey, NO_RULE, NameKey, Named, ObjectKey, Ports,
        RootKey, RuleKey, SCHEDULES as SCHEDULES_OF_ONE, Schedule, State, SystemKey, WEEK, Word, WordKey, at, kind,
    },
    task::Task,
};

use crate::{
    host,
    kernel::{self, current, offset, opaque, read},
    labels,
    maps::{
        ADDRESSES, CANDIDATES, CONDITIONS, EDGES, LETTERS, LINKS, MEMBERS, NAMES, OBJECTS, ROOTS, RULES, SCHEDULES,
        SWITCHES, SYSTEM, WORDS,
    },
    strings,
    task::governed,
};

/// `SB_NOUSER`: a file system that cannot be mounted by anybody (pipes, sockets, memfd).
const NO_USER: u64 = 1 << 31;

/// `DCACHE_OP_HASH`, `include/linux/dcache.h`: the file system has a comparison of names of its own (vfat, exfat, cifs,
/// casefold). An entry then has the spelling that somebody used.
const OP_HASH: u32 = 1;

/// The names of a walked path: their entries are in the walker's own [`Task::chain`], leaf first.
pub struct Chain {
    /// Whose chain.
    pub task: *mut Task,
    /// Entries in the chain.
    pub depth: u64,
    /// Whether the walk arrived at the root of the file system.
    pub whole: bool,
    /// Where an entry keeps the pointer to its name.
    name: u64,
}

/// A walked path.
pub struct Walk {
    /// Its names.
    pub chain: Chain,
    /// `s_dev` of the file system.
    pub device: u32,
    /// What kind of file system it is, as [`kind`] has it.
    pub kind: u32,
    /// Whether the file system is one that nobody can mount, so that its files have no path.
    pub nameless: bool,
    /// Whether the file system takes several spellings for one name.
    pub folds: bool,
}

/// A path of directory entries that has been walked.
#[inline(always)]
pub fn chain(task: *mut Task, depth: u64, whole: bool) -> Chain {
    Chain { task, depth, whole, name: offset!(dentry_name) }
}

/// No path at all.
#[inline(always)]
pub fn nowhere(task: *mut Task) -> Walk {
    Walk { chain: chain(task, 0, true), device: 0, kind: 0, nameless: false, folds: false }
}

/// Walks up from `dentry`.
#[inline(always)]
pub fn from_dentry(task: *mut Task, dentry: u64) -> Walk {
    let superblock: u64 = read(dentry, offset!(dentry_super));
    let root: u64 = read(superblock, offset!(super_root));
    let spelling: u32 = read(dentry, offset!(dentry_flags));
    // By way of the entry: it may be a pointer to the verifier, and what a global function is given must not.
    // SAFETY: the chain is the current thread's own.
    unsafe { (*task).chain[0] = dentry };
    let climbed = climb_undisturbed(root);
    Walk {
        chain: chain(task, climbed >> 1, climbed & 1 != 0),
        device: read(superblock, offset!(super_device)),
        kind: kind(read(superblock, offset!(super_magic))),
        nameless: is_nameless(dentry),
        folds: spelling & OP_HASH != 0,
    }
}

/// Whether the file of `dentry` is on a file system that nobody can mount.
#[inline(always)]
pub fn is_nameless(dentry: u64) -> bool {
    let superblock: u64 = read(dentry, offset!(dentry_super));
    let flags: u64 = read(superblock, offset!(super_flags));
    flags & NO_USER != 0
}

/// Walks up from a control group's node in kernfs; `device` is the pseudo device of the policy's trie.
#[inline(always)]
pub fn from_kernfs(task: *mut Task, node: u64, device: u32) -> Walk {
    let mut climb = Climb::<KERNFS>::new(task, node, 0);
    kernel::repeat(DEPTH as u32, &mut climb);
    // The topmost node is the root: it has no parent and no name of its own.
    let depth = if climb.depth > 0 { climb.depth - 1 } else { 0 };
    let chain = Chain { task, depth, whole: climb.at == 0, name: offset!(kernfs_name) };
    Walk { chain, device, kind: device, nameless: false, folds: false }
}

/// Climbs again when an entry of the way was moved meanwhile: parents of two moments make a path that never was. What is
/// renamed elsewhere does not matter. Fills the current thread's chain from its first entry on, and gives its length and a
/// bit for whether it is whole. Global, so that the verifier looks at it once and the small stack is not its callers'.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn climb_undisturbed(root: u64) -> u64 {
    let Some(task) = own_entry() else { return 0 };
    let mut attempts = Attempts(Climb::new(task, entry(task, 0), root));
    kernel::repeat(ATTEMPTS, &mut attempts);
    let Attempts(climb) = attempts;
    climb.depth << 1 | u64::from(climb.changes == 0 && climb.at == root && root != 0)
}

/// A move of an entry takes less than a microsecond: so many in a row are made by somebody who wants to disturb.
const ATTEMPTS: u32 = 64;

struct Attempts(Climb<DENTRIES>);

impl Turn for Attempts {
    #[inline(always)]
    fn turn(&mut self, _: u32) -> bool {
        let Self(climb) = self;
        *climb = Climb::new(climb.task, entry(climb.task, 0), climb.end);
        kernel::repeat(DEPTH as u32, climb);
        kernel::repeat(DEPTH as u32, &mut Recount(climb));
        climb.changes != 0
    }
}

/// What is climbed: directory entries, or nodes of kernfs.
const DENTRIES: bool = true;
const KERNFS: bool = false;

/// The way up until `end`, which fills the chain.
struct Climb<const KIND: bool> {
    task: *mut Task,
    at: u64,
    end: u64,
    depth: u64,
    /// All entries' counts of changes (`d_seq`, `include/linux/dcache.h`), less what [`Recount`] finds them to be: 0 if none
    /// has changed, or is being changed.
    changes: u64,
}

/// More than all counts together.
const CHANGING: u64 = 1 << 40;

impl<const KIND: bool> Climb<KIND> {
    #[inline(always)]
    fn new(task: *mut Task, start: u64, end: u64) -> Self {
        Self { task, at: start, end, depth: 0, changes: 0 }
    }
}

impl<const KIND: bool> Turn for Climb<KIND> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        if self.at == self.end || self.at == 0 {
            return false;
        }
        let slot = opaque(u64::from(index)) & (DEPTH as u64 - 1);
        // SAFETY: the chain is the current thread's own, and the index is masked to its length.
        unsafe { (*self.task).chain[slot as usize] = self.at };
        self.depth = u64::from(index) + 1;
        let parent = if KIND == DENTRIES {
            // Before the parent is read: a move changes both. The count is odd meanwhile. (x86 does not reorder reads.)
            let changes: u32 = read(self.at, offset!(dentry_changes));
            self.changes += u64::from(changes) + u64::from(changes & 1) * CHANGING;
            offset!(dentry_parent)
        } else {
            offset!(kernfs_parent)
        };
        let next = read(self.at, parent);
        let topmost = next == self.at;
        self.at = next;
        !topmost
    }
}

/// The second look at what has been climbed.
struct Recount<'a>(&'a mut Climb<DENTRIES>);

impl Turn for Recount<'_> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        let Self(climb) = self;
        if u64::from(index) >= climb.depth {
            return false;
        }
        let changes: u32 = read(entry(climb.task, u64::from(index)), offset!(dentry_changes));
        climb.changes -= u64::from(changes);
        true
    }
}

impl Walk {
    /// The first rule that accepts `access` to the path; rules on arguments are among them if this is an `exec`.
    #[inline(always)]
    pub fn rule(&self, asker: Asker, access: u32, exec: bool) -> u32 {
        self.rules(asker, access, exec).0
    }

    /// The rule for `access` to the path and, in whatever way, to all that is below it: what moves there, or from there,
    /// takes that along.
    #[inline(always)]
    pub fn moved_rule(&self, asker: Asker, access: u32) -> u32 {
        let (rule, below) = self.rules(asker, access, false);
        let scratch = self.scratch();
        scratch.labels |= scratch.labels_below;
        stricter(&Maps(self.chain.task), asker, rule, below)
    }

    /// Whether a path of the policy leads to the file system.
    #[inline(always)]
    pub fn is_named(&self, asker: Asker) -> bool {
        let key = RootKey { revision: asker.revision, subject: asker.subject, device: self.device };
        Maps(self.chain.task).root(&key).is_some()
    }

    /// Labels of what is at the path.
    #[inline(always)]
    pub fn labels(&self, asker: Asker) -> u64 {
        let scratch = self.scratch();
        // What was looked up for another request may have left some.
        scratch.labels = 0;
        self.choices(asker, 0);
        let labels = scratch.labels;
        (scratch.labels, scratch.labels_below) = (0, 0);
        labels
    }

    /// [`matcher::path_rules`].
    #[inline(always)]
    fn rules(&self, asker: Asker, access: u32, exec: bool) -> (u32, u32) {
        let (choices, below) = self.choices(asker, access);
        (first_of(&Maps(self.chain.task), asker, choices, exec), below)
    }

    /// The choices of what accepts `access` to the path, and what stands in the way of anything below.
    #[inline(always)]
    fn choices(&self, asker: Asker, access: u32) -> ([u32; 3], u32) {
        let way = u64::from(access) << 32 | self.chain.depth << 1 | u64::from(self.device == CGROUPS);
        let who = pair(asker.revision, asker.subject);
        let from_root = choice_from_root(who, pair(self.device, self.kind), way);
        let from_anywhere = choice_from_anywhere(who, way);
        let by_name = choice_by_name(who, way);
        let choices = [from_root >> 32, from_anywhere >> 32, by_name].map(|choice| choice as u32);
        (choices, (from_root as u32).min(from_anywhere as u32))
    }

    /// Where the labels of what is looked up are noted.
    #[inline(always)]
    pub fn scratch(&self) -> &'static mut Scratch {
        // SAFETY: the entry is the current thread's own, and stays while it is in a program.
        unsafe { &mut (*self.chain.task).scratch }
    }
}

impl Chain {
    /// Writes all names, leaf first, to `path`.
    #[inline(always)]
    pub fn write_path(&self, path: *mut Path) {
        // SAFETY: `path` is in a record that only this thread writes.
        unsafe {
            (*path).length = 0;
            (*path).cut = u32::from(!self.whole);
        }
        kernel::repeat(DEPTH as u32, &mut Writing { chain: self, path });
    }
}

struct Writing<'a> {
    chain: &'a Chain,
    /// What is used of the path is counted in there: of a count on the stack the verifier would follow each value.
    path: *mut Path,
}

impl Turn for Writing<'_> {
    #[inline(always)]
    fn turn(&mut self, index: u32) -> bool {
        if u64::from(index) >= self.chain.depth {
            return false;
        }
        // SAFETY: `path` is in a record that only this thread writes.
        let used = unsafe { (&raw const (*self.path).length).read_volatile() };
        let at = opaque(u64::from(used)) & (PATH_BYTES as u64 - 1);
        let name: u64 = read(entry(self.chain.task, u64::from(index)), self.chain.name);
        let mut length = 0;
        if at <= (PATH_BYTES - NAME_BYTES) as u64 {
            // SAFETY: `at` plus a whole name lies inside the array; the helper checks the source.
            length = unsafe {
                let target = (&raw mut (*self.path).bytes).cast::<u8>().add(at as usize);
                bpf_probe_read_kernel_str(target.cast(), NAME_BYTES as u32, name as *const _)
            };
        }
        // SAFETY: see above.
        unsafe {
            if length <= 0 {
                (*self.path).cut = 1;
                return false;
            }
            (&raw mut (*self.path).length).write_volatile(used + length as u32);
        }
        true
    }
}

/// What a look-up needs of a walk.
struct Way {
    task: *mut Task,
    depth: u64,
    kind: u32,
    name: u64,
}

impl Way {
    #[inline(always)]
    fn new(task: *mut Task, kind: u32, way: u64) -> Self {
        let name = if way & 1 != 0 { offset!(kernfs_name) } else { offset!(dentry_name) };
        Self { task, depth: (way & 0xffff_ffff) >> 1, kind, name }
    }

    #[inline(always)]
    fn scratch(&self) -> &'static mut Scratch {
        // SAFETY: the entry is the current thread's own, and stays while it is in a program.
        unsafe { &mut (*self.task).scratch }
    }
}

impl Names for Way {
    #[inline(always)]
    fn depth(&self) -> usize {
        self.depth as usize
    }

    #[inline(always)]
    fn kind(&self) -> u32 {
        self.kind
    }

    #[inline(always)]
    fn component(&self, level: usize, name: &mut [u8; LITERAL_BYTES]) -> bool {
        let pointer = self.start(level);
        clear(name);
        // SAFETY: the target is a whole array; the helper checks the source.
        let length =
            unsafe { bpf_probe_read_kernel_str(name.as_mut_ptr().cast(), LITERAL_BYTES as u32, pointer as *const _) };
        // A name that fills the array may have been cut.
        length > 0 && length < LITERAL_BYTES as i64
    }

    #[inline(always)]
    fn start(&self, level: usize) -> u64 {
        read(entry(self.task, self.depth - 1 - level as u64), self.name)
    }

    #[inline(always)]
    fn letter(&self, start: u64, index: usize) -> u8 {
        read(start, index as u64)
    }
}

/// The entry at `index` in the thread's chain, leaf first.
#[inline(always)]
fn entry(task: *mut Task, index: u64) -> u64 {
    let index = opaque(index) & (DEPTH as u64 - 1);
    // SAFETY: the chain is the current thread's own, and the index is masked to its length.
    unsafe { (*task).chain[index as usize] }
}

/// A hash key counts every byte: what a longer name left behind must go. Word by word, since `[0; 64]` becomes a
/// loop over bytes here.
#[inline(always)]
fn clear(name: &mut [u8; LITERAL_BYTES]) {
    let words = name.as_mut_ptr().cast::<u32>();
    for word in 0..LITERAL_BYTES / 4 {
        // SAFETY: inside the array, which is 4-aligned in every key.
        unsafe { words.add(word).write_volatile(0) };
    }
}

/// The policy in the maps, and the thread whose request it is asked about.
pub struct Maps(pub *mut Task);

impl Tables for Maps {
    #[inline(always)]
    fn repeat(&self, times: u32, turns: &mut impl Turn) {
        kernel::repeat(times, turns);
    }

    #[inline(always)]
    fn root(&self, key: &RootKey) -> Option<&State> {
        // SAFETY: rows of a revision in force are not changed, and are removed a while after it is not.
        unsafe { ROOTS.get(key) }
    }

    #[inline(always)]
    fn edge(&self, key: &EdgeKey) -> Option<&State> {
        // SAFETY: as for `root`.
        unsafe { EDGES.get(key) }
    }

    #[inline(always)]
    fn letters(&self, revision: u32, state: u32) -> Option<&Letters> {
        LETTERS.get(at(revision, state, LETTERS_OF_ONE))
    }

    #[inline(always)]
    fn name(&self, key: &NameKey) -> Option<&Named> {
        // SAFETY: as for `root`.
        unsafe { NAMES.get(key) }
    }

    #[inline(always)]
    fn system(&self, key: &SystemKey) -> Option<&u32> {
        // SAFETY: as for `root`.
        unsafe { SYSTEM.get(key) }
    }

    #[inline(always)]
    fn object(&self, key: &ObjectKey) -> Option<&Named> {
        // SAFETY: as for `root`.
        unsafe { OBJECTS.get(key) }
    }

    #[inline(always)]
    fn consequence(&self, key: &RuleKey) -> Option<&Consequence> {
        // SAFETY: as for `root`.
        unsafe { RULES.get(key) }
    }

    #[inline(always)]
    fn link(&self, revision: u32, index: u32) -> Option<&Link> {
        LINKS.get(at(revision, index, LINKS_OF_ONE))
    }

    #[inline(always)]
    fn conditions(&self, key: &RuleKey) -> Option<&Conditions> {
        // SAFETY: as for `root`.
        unsafe { CONDITIONS.get(key) }
    }

    #[inline(always)]
    fn has_member(&self, key: &MemberKey) -> bool {
        // SAFETY: as for `root`.
        unsafe { MEMBERS.get(key) }.is_some()
    }

    #[inline(always)]
    fn is_named(&self, revision: u32, set: u32) -> bool {
        host::is_named(revision.into(), set.into()) != 0
    }

    #[inline(always)]
    fn schedule(&self, revision: u32, number: u32) -> Option<&Schedule> {
        SCHEDULES.get(at(revision, number, SCHEDULES_OF_ONE))
    }

    #[inline(always)]
    fn word(&self, key: &WordKey) -> Option<&Word> {
        // SAFETY: as for `root`.
        unsafe { WORDS.get(key) }
    }

    #[inline(always)]
    fn first_of_words(&self, revision: u32, table: u32) -> Option<u32> {
        let rule = first_of_words(u64::from(revision), u64::from(table));
        if rule == UNREADABLE { None } else { Some(rule as u32) }
    }

    #[inline(always)]
    fn first_of_chain(&self, revision: u32, choice: u32) -> u32 {
        first_of_chain(u64::from(revision), u64::from(choice)) as u32
    }

    #[inline(always)]
    fn address(&self, key: &AddressKey) -> Option<&Ports> {
        ADDRESSES.get(Key::new(ADDRESS_HEAD_BITS + 128, *key))
    }
}

/// Two numbers as one argument.
#[inline(always)]
fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// [`matcher::from_root`] for the walk whose entries are in the current thread's chain. Global, as what follows, and with
/// numbers for arguments: so the verifier looks at it once, for any numbers, and not once for each way that leads to it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choice_from_root(asker: u64, file_system: u64, way: u64) -> u64 {
    let Some(task) = own_entry() else {
        return pair(NOWHERE, NOWHERE);
    };
    let names = Way::new(task, file_system as u32, way);
    let (device, access) = ((file_system >> 32) as u32, (way >> 32) as u32);
    let (choice, below) = matcher::from_root(&Maps(task), unpaired(asker), device, &names, access, names.scratch());
    pair(choice, below)
}

/// [`matcher::from_anywhere`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choice_from_anywhere(asker: u64, way: u64) -> u64 {
    let Some(task) = own_entry() else {
        return pair(NOWHERE, NOWHERE);
    };
    let names = Way::new(task, 0, way);
    let access = (way >> 32) as u32;
    let (choice, below) = matcher::from_anywhere(&Maps(task), unpaired(asker), &names, access, names.scratch());
    pair(choice, below)
}

/// [`matcher::by_name`], likewise.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn choice_by_name(asker: u64, way: u64) -> u64 {
    let Some(task) = own_entry() else {
        return u64::from(NOWHERE);
    };
    let names = Way::new(task, 0, way);
    u64::from(matcher::by_name(&Maps(task), unpaired(asker), &names, (way >> 32) as u32, names.scratch()))
}

#[inline(always)]
fn unpaired(asker: u64) -> Asker {
    Asker { revision: (asker >> 32) as u32, subject: asker as u32 }
}

/// [`matcher::first_of_chain`] for the current thread's request.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_of_chain(revision: u64, choice: u64) -> u64 {
    let rule = own_entry().map(|task| matcher::first_of_chain(&Maps(task), revision as u32, choice as u32));
    u64::from(rule.unwrap_or(NOWHERE))
}

/// [`matcher::first_of_words`] for what the current thread executes.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_of_words(revision: u64, table: u64) -> u64 {
    let Some(task) = own_entry() else {
        return u64::from(NOWHERE);
    };
    // SAFETY: the entry is the current thread's own.
    let words = unsafe { &mut (*task).words };
    matcher::first_of_words(&Maps(task), revision as u32, table as u32, words).map_or(UNREADABLE, u64::from)
}

/// What [`first_of_words`] gives where the arguments cannot be read.
const UNREADABLE: u64 = u64::MAX;

/// No rule's index, so that it is denied.
const NOWHERE: u32 = NO_RULE - 1;

/// The current thread's entry. Nothing is made up for, or by, a thread that has one.
#[inline(always)]
fn own_entry() -> Option<*mut Task> {
    governed(current()).or_else(|| CANDIDATES.get_ptr_mut(current()))
}

impl Maps {
    /// Whether the entry is being made up: then it is asked about for a thread that need not be the current one.
    #[inline(always)]
    fn is_made_up(&self) -> bool {
        // SAFETY: the entry is the current thread's own.
        unsafe { (*self.0).tree == 0 }
    }

    /// The credentials of who asks.
    #[inline(always)]
    fn credentials(&self) -> u64 {
        // SAFETY: the entry is the current thread's own.
        if self.is_made_up() { unsafe { (*self.0).credentials } } else { read(current(), offset!(task_cred)) }
    }

    #[inline(always)]
    fn request(&self) -> &Request {
        // SAFETY: the entry is the current thread's own.
        unsafe { &(*self.0).request }
    }
}

impl Context for Maps {
    #[inline(always)]
    fn user(&self) -> u32 {
        read(self.credentials(), offset!(cred_real_user))
    }

    #[inline(always)]
    fn login(&self) -> u32 {
        kernel::login()
    }

    #[inline(always)]
    fn group(&self, index: u32) -> Option<u32> {
        let credentials = self.credentials();
        let Some(index) = index.checked_sub(1) else {
            return Some(read(credentials, offset!(cred_real_group)));
        };
        let groups: u64 = read(credentials, offset!(cred_groups));
        let count: u32 = read(groups, offset!(groups_count));
        if index < count { Some(read(groups + 4 * u64::from(index), offset!(groups_ids))) } else { None }
    }

    /// What a subject's starter asks for is found by the program that executes it.
    #[inline(always)]
    fn labels(&self) -> u64 {
        // SAFETY: the entry is the current thread's own.
        if self.is_made_up() { unsafe { (*self.0).callers } } else { labels::carried(self.0) }
    }

    #[inline(always)]
    fn workplaces(&self) -> u64 {
        // SAFETY: the entry is the current thread's own.
        unsafe { (*self.0).workplaces }
    }

    #[inline(always)]
    fn minute(&self) -> u32 {
        // An array's record always exists.
        let monday = SWITCHES.get(0).map_or(0, |switches| switches.monday);
        // SAFETY: no arguments.
        let now = unsafe { bpf_ktime_get_boot_ns() };
        // The compiler would drop the check of the index that this is for, and the verifier misses it.
        opaque((now + monday) / 60_000_000_000 % u64::from(WEEK)) as u32
    }

    #[inline(always)]
    fn owner(&self) -> Option<u32> {
        match self.request() {
            Request { inode: 0, makes: 0, .. } => None,
            Request { inode: 0, .. } => Some(read(self.credentials(), offset!(cred_files_user))),
            Request { inode, .. } => Some(read(*inode, offset!(inode_owner))),
        }
    }

    #[inline(always)]
    fn mode(&self) -> u32 {
        let Request { inode, makes, .. } = self.request();
        if *inode == 0 { *makes } else { u32::from(read::<u16>(*inode, offset!(inode_mode))) }
    }

    #[inline(always)]
    fn protocol(&self) -> u32 {
        self.request().binding.detail
    }

    #[inline(always)]
    fn arguments(&self, place: &mut Place) -> u32 {
        let bprm = self.request().bprm;
        if bprm == 0 { 0 } else { strings::arguments(bprm, place) }
    }

    #[inline(always)]
    fn note(&self, rule: u32) -> bool {
        // SAFETY: the entry is the current thread's own.
        unsafe { (*self.0).noted = rule.min((*self.0).noted) };
        true
    }

    #[inline(always)]
    fn argument(&self, place: &mut Place, index: u32) -> Option<u8> {
        strings::argument(self.request().bprm, place, index)
    }
}
