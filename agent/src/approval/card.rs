//! A question as people read it: one sentence, what the kernel saw, and, apart from that, what is claimed: what was said of
//! the tree, and what the processes say of themselves. Text that a subject can choose is made harmless here, once, for all
//! channels that show a card.

use std::net::SocketAddr;

use holdpoint_common::decision::Decision;
use jiff::Timestamp;

use super::channel::{Message, Says};
use crate::{
    claims::Claim,
    ladder,
    process::GENERATIONS,
    quorum::{Assurance, SelfAnswer},
    request::{End, Hold, Operation, Process, Reading, Same, Standing, quoted, shown},
};

/// What there is to show of a hold. No text in it has a control character, or one that hides or reorders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The operation.
    pub title: String,
    /// As the kernel saw it.
    pub facts: Vec<Fact>,
    /// What who launched the tree, or its processes, have said of it, and as the processes show themselves: they can write
    /// there what they like.
    pub claims: Vec<Fact>,
    /// Whether all of the operation is there, and all calls that it is of. Nobody can approve what they have not seen.
    pub whole: bool,
}

/// Something with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is.
    pub label: &'static str,
    /// Usually one.
    pub lines: Vec<String>,
}

/// How much is shown: characters of a line, lines of a fact.
#[derive(Clone, Copy, Debug)]
struct Size {
    characters: usize,
    lines: usize,
}

/// How much of what is shown.
#[derive(Clone, Copy, Debug)]
struct Room {
    /// Of the operation: its sentence, its objects, the process that asks, where that works, and which calls are approved with it.
    operation: Size,
    /// Of everything else, of which a subject can make as much as it likes.
    rest: Size,
}

/// The processes above, down to the one that asks.
const ANCESTRY: &str = "Ancestry";
/// The words of each of these.
const COMMAND_LINES: &str = "Command lines";

const fn size(characters: usize, lines: usize) -> Size {
    Size { characters, lines }
}

/// Most blanks after each other.
const BLANKS: usize = 2;
/// Nearly every operation as a whole.
const WHOLE: Size = size(2900, 250);
/// What is left of the rest before the operation gives way.
const LEAST: Size = size(80, 3);

/// From nearly everything to what fits everywhere. The operation gives way last.
const ROOMS: [Room; 8] = [
    Room { operation: WHOLE, rest: size(2000, 64) },
    Room { operation: WHOLE, rest: size(400, 24) },
    Room { operation: WHOLE, rest: size(150, 12) },
    Room { operation: WHOLE, rest: size(80, 6) },
    Room { operation: WHOLE, rest: LEAST },
    Room { operation: size(400, 24), rest: LEAST },
    Room { operation: size(150, 12), rest: LEAST },
    Room { operation: size(80, 6), rest: size(80, 2) },
];

/// Everything. The kernel holds nothing that could not be shown; the claims are bounded where they are read.
const ALL: Room = Room { operation: size(usize::MAX, usize::MAX), rest: size(usize::MAX, usize::MAX) };

impl Card {
    /// The card of the message's hold with all that there is to show.
    pub fn whole(message: &Message) -> Self {
        Draft::of(message).within(ALL)
    }

    /// The card of the message's hold, as much of it as `fits`.
    pub fn of(message: &Message, fits: impl Fn(&Self) -> bool) -> Self {
        let draft = Draft::of(message);
        let [first, others @ ..] = ROOMS;
        let smaller = |card, room| if fits(&card) { card } else { draft.within(room) };
        others.into_iter().fold(draft.within(first), smaller)
    }
}

/// All that there is to show.
struct Draft {
    title: String,
    operation: Vec<Fact>,
    rest: Vec<Fact>,
    claims: Vec<Fact>,
    /// What to do if the operation does not fit.
    elsewhere: Option<Fact>,
}

impl Draft {
    fn of(message: &Message) -> Self {
        let hold = &message.hold;
        let (mut operation, mut rest) = (vec![], vec![]);
        objects(&hold.request.what, &mut |label, lines| operation.push(Fact { label, lines }));
        operation.push(Fact { label: "Process", lines: vec![process(hold)] });
        operation.push(Fact { label: "Directory", lines: vec![hold.context.cwd.clone()] });
        let carried = (!hold.carried.is_empty()).then(|| hold.carried.join(", "));
        operation.push(Fact { label: "Has read", lines: carried.into_iter().collect() });
        operation.push(Fact { label: "Calls", lines: calls(hold) });
        // Nobody approves a call that is not in the list.
        operation.push(Fact { label: "Approved with it", lines: hold.same.iter().map(same).collect() });
        let mut add = |label, lines| rest.push(Fact { label, lines });
        add("Read before", hold.read.iter().map(reading).collect());
        add("Waits behind", hold.behind.iter().map(|first| format!("hold {first}, which asks for the same")).collect());
        add("Decided before", hold.before.iter().map(|before| before.sentence(moment)).collect());
        asker(hold, &mut add);
        add("Host", vec![message.host.clone()]);
        rule(hold, &mut add);
        if let Says::Counted { missing } = &message.says {
            add("Still needed", vec![missing.clone()]);
        }
        let purpose = Fact { label: "Purpose", lines: hold.claims.iter().map(Claim::sentence).collect() };
        let lines = hold.context.ancestry.iter().filter_map(command_line).collect();
        let claims = vec![purpose, Fact { label: COMMAND_LINES, lines }];
        let elsewhere = format!("Too long to be shown whole here: `holdpoint show {}`, and approve there", hold.id);
        let elsewhere = message.asks().then(|| Fact { label: "Cut", lines: vec![elsewhere] });
        Self { title: hold.request.what.sentence(), operation, rest, claims, elsewhere }
    }

    fn within(&self, room: Room) -> Card {
        let (title, titled) = fitted(&self.title, room.operation.characters);
        let (operation, listed) = within(&self.operation, room.operation);
        let whole = titled && listed;
        let cut = self.elsewhere.iter().filter(|_| !whole).cloned();
        let facts = cut.chain(operation).chain(within(&self.rest, room.rest).0).collect();
        Card { title, facts, claims: within(&self.claims, room.rest).0, whole }
    }
}

/// Those of the facts that have lines, within `size`, and whether that is all of them.
fn within(facts: &[Fact], size: Size) -> (Vec<Fact>, bool) {
    let mut whole = true;
    let fact = |Fact { label, lines }: &Fact| {
        let fitting = lines.iter().take(size.lines).map(|text| fitted(text, size.characters));
        let (mut shown, all): (Vec<_>, Vec<_>) = fitting.unzip();
        let more = lines.len() - shown.len();
        shown.extend((more > 0).then(|| format!("… {more} more")));
        if [ANCESTRY, COMMAND_LINES].contains(label) {
            // The newest are kept, and read down from the oldest of them.
            shown.reverse();
        }
        whole &= more == 0 && !all.contains(&false);
        Fact { label, lines: shown }
    };
    let facts = facts.iter().filter(|fact| !fact.lines.is_empty()).map(fact).collect();
    (facts, whole)
}

/// Text on one line, harmless, and no longer than that but for saying so. Blanks that would push the rest to another
/// line are shown, too.
pub fn line(text: &str, characters: usize) -> String {
    fitted(text, characters).0
}

/// As [`line`], and whether that is all of it.
fn fitted(text: &str, characters: usize) -> (String, bool) {
    let (mut line, mut length, mut blanks) = (String::new(), 0, 0);
    for (index, c) in text.chars().enumerate() {
        blanks = if c == ' ' { blanks + 1 } else { 0 };
        let piece = match c.is_whitespace() && (c != ' ' || blanks > BLANKS) {
            true => c.escape_unicode().to_string(),
            false => shown(c.encode_utf8(&mut [0; 4])),
        };
        length += piece.chars().count();
        if length > characters {
            return (format!("{line}… {} more characters", text.chars().count() - index), false);
        }
        line += &piece;
    }
    (line, true)
}

fn objects(what: &Operation, add: &mut impl FnMut(&'static str, Vec<String>)) {
    match what {
        Operation::Exec { path, filename, argv, check, cut, masked, .. } => {
            add("Program", vec![path.clone()]);
            add("Check", said(*check, "only whether it could be executed"));
            if filename != path {
                add("Called as", vec![filename.clone()]);
            }
            add("Arguments", argv.clone());
            add("Masked", (*masked > 0).then(|| pieces(*masked)).into_iter().collect());
            add("More arguments", said(*cut, "they are not all here"));
        }
        Operation::Open { path, access, owner, mode, size, length, .. } => {
            add("File", vec![path.clone()]);
            add("Access", vec![access.join(", ")]);
            add("Owner", owner.iter().cloned().collect());
            add("Mode", octal(*mode));
            add("Size", size.iter().map(|size| format!("{size} bytes")).collect());
            add("Truncated to", length.iter().map(|length| format!("{length} bytes")).collect());
        }
        Operation::Connect { address, port, protocol, names } => {
            add("Destination", vec![format!("{} ({protocol})", SocketAddr::new(*address, *port))]);
            add("Looked up as", names.clone());
        }
        Operation::File { action, path, kind, target, exchange, replaces, mode, owner, group, .. } => {
            add("Action", vec![(*action).to_owned()]);
            add("File", path.iter().cloned().collect());
            add("Kind", kind.iter().map(|kind| (*kind).to_owned()).collect());
            add("Target", target.iter().cloned().collect());
            add("Exchange", said(*exchange, "the target gets the file's name"));
            add("Replaces", said(*replaces, "what has the target's name"));
            add("New mode", octal(*mode));
            add("New owner", owner.iter().cloned().collect());
            add("New group", group.iter().cloned().collect());
        }
        Operation::System { system, process, detail } => {
            add("System operation", vec![(*system).to_owned()]);
            add("Detail", vec![detail.to_string()]);
            add("On process", process.iter().map(u32::to_string).collect());
        }
    }
}

/// What a flag says, where it is set.
fn said(flag: bool, text: &str) -> Vec<String> {
    flag.then(|| text.to_owned()).into_iter().collect()
}

/// What stands for secrets, told from what only looks like it.
fn pieces(masked: usize) -> String {
    let pieces = if masked == 1 { "1 piece".to_owned() } else { format!("{masked} pieces") };
    format!("{pieces} of the arguments, by the policy")
}

fn octal(mode: Option<u32>) -> Vec<String> {
    mode.iter().map(|mode| format!("{mode:04o}")).collect()
}

/// Who asks. The image is last: a long one hides nothing else.
fn process(hold: &Hold) -> String {
    let (request, image) = (&hold.request, hold.context.ancestry.first().map_or_else(|| "?".to_owned(), image));
    let user = name(&hold.user, request.uid);
    format!("{}, thread {}, user {user}, image {image}", request.pid, request.tid)
}

fn name(name: &Option<String>, uid: u32) -> String {
    name.as_ref().map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

fn asker(hold: &Hold, add: &mut impl FnMut(&'static str, Vec<String>)) {
    let request = &hold.request;
    let ancestry = &hold.context.ancestry;
    let is_first = |age: usize| age + 1 == ancestry.len() && ancestry.len() < GENERATIONS;
    let generation = |(age, process)| generation(process, is_first(age));
    add(ANCESTRY, ancestry.iter().enumerate().map(generation).collect());
    add("Subject", vec![format!("{} (tree {})", request.subject, request.tree)]);
    add("Unit", hold.context.unit.iter().cloned().collect());
    add("Launched by", vec![name(&hold.launcher_name, request.launcher)]);
    let login =
        request.login.as_ref().map(|login| format!("{}, session {}", name(&login.user, login.uid), login.session));
    add("Login", login.into_iter().collect());
}

/// One process of those above, below the one that has started it unless it is the first.
fn generation(process: &Process, is_first: bool) -> String {
    let below = if is_first { "" } else { "↳ " };
    format!("{below}{} {} ({})", process.pid, image(process), process.user)
}

/// What the kernel says that it runs.
fn image(Process { exe, .. }: &Process) -> String {
    shown_image(exe)
}

fn shown_image(exe: &str) -> String {
    if exe.is_empty() { "?".to_owned() } else { quoted(exe) }
}

fn rule(hold: &Hold, add: &mut impl FnMut(&'static str, Vec<String>)) {
    let request = &hold.request;
    add("Rule", request.rule.iter().cloned().collect());
    add("Why", request.why.iter().cloned().collect());
    add("Policy", vec![request.policy.clone()]);
    add("Reviewers", ladder::named(&hold.reviewers, &hold.escalation, moment));
    add("Approved by", hold.approved.clone());
    let assurance = (hold.assurance > Assurance::Basic).then(|| format!("only {}", hold.assurance.way()));
    add("Approve", assurance.into_iter().collect());
    let own = (hold.own == SelfAnswer::Allowed).then(|| "may answer: the rule says so".to_owned());
    add("Requester", own.into_iter().collect());
    add("A no means", vec![consequence(hold.on_deny).to_owned()]);
    add("Deadline", vec![format!("{}, then {}", moment(hold.deadline), consequence(hold.on_timeout))]);
    add("Hold", vec![hold.id.to_string()]);
    add("Digest", vec![hold.digest.0.clone()]);
}

/// How many calls an approval is for, where it is for more than the one.
fn calls(hold: &Hold) -> Vec<String> {
    let count = (!hold.same.is_empty()).then(|| hold.same.len() + 1);
    count
        .map(|count| format!("{count} calls of this tree ask for exactly this: an answer is for all of them"))
        .into_iter()
        .collect()
}

/// The image is last: a long one hides nothing else.
fn same(Same { hold, pid, exe, carried, deadline, .. }: &Same) -> String {
    let read = if carried.is_empty() { String::new() } else { format!(", has read {}", carried.join(", ")) };
    format!("hold {hold} of process {pid}, until {}{read}, image {}", moment(*deadline), shown_image(exe))
}

fn reading(Reading { label, path, pid, exe, at, .. }: &Reading) -> String {
    let exe = exe.as_ref().map_or_else(String::new, |exe| format!(", {}", quoted(exe)));
    format!("{label}: {} ({}, process {pid}{exe})", quoted(path), moment(*at))
}

/// The words in which a process shows itself, each told from the next.
fn command_line(Process { pid, argv, .. }: &Process) -> Option<String> {
    let words: Vec<_> = argv.iter().map(|word| format!("{word:?}")).collect();
    (!words.is_empty()).then(|| format!("{pid}: {}", words.join(" ")))
}

fn consequence(decision: Decision) -> &'static str {
    if decision == Decision::Fail { "the call fails with EPERM" } else { "the process is killed" }
}

/// For people everywhere.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// What it is about, in a few words: a question, or how it ended.
pub fn head(message: &Message) -> String {
    match &message.says {
        _ if message.test => "TEST of this channel: nothing is held".to_owned(),
        Says::Reminder { .. } => "Approval still needed".to_owned(),
        Says::Counted { missing } if !message.hold.approved.is_empty() => {
            let by = line(&message.hold.approved.join(", "), 80);
            format!("Approved by {by}, still needed: {}", line(missing, 80))
        }
        Says::Question { .. } | Says::Counted { .. } => "Approval needed".to_owned(),
        Says::Outcome(standing) => ending(standing),
    }
}

/// How it ended, and by whom.
pub fn ending(standing: &Standing) -> String {
    let by = standing.by.as_ref().map_or_else(String::new, |by| format!(" by {}", line(by, 80)));
    match (standing.state, standing.decision) {
        (End::Approved, _) => format!("Approved{by}"),
        (End::Denied, decision) => format!("Denied{by}: {}", consequence(decision)),
        (End::Expired, decision) => format!("Expired, nobody answered: {}", consequence(decision)),
        (End::Withdrawn, _) => "Withdrawn: the call is gone".to_owned(),
    }
}
