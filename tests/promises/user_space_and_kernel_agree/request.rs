//! Random requests: as steps of the actor, and as cases of a test file.

use std::{collections::BTreeSet, fmt::Write as _, net::Ipv4Addr};

use super::{
    dice::Dice,
    policy::{Policy, SUBJECTS},
    world::{
        ACTOR, ADDRESSES, ASKERS, CUSTOMER, DIRECTORIES, File, GROUPS, HOSTS, LOGINS, MARK, PORTS, RESOLVER, ROOT,
        SECRET, SYSTEM, WORDS, World, group, number,
    },
};

/// Requests in one tree.
pub const REQUESTS: usize = 25;

/// What one tree asks for, each request by a process of its own.
pub struct Tree {
    pub subject: &'static str,
    /// Who has logged in to start it.
    pub login: Option<&'static str>,
    /// Whether it has looked up the hosts that have names.
    knows_names: bool,
    /// Whether it has read what has the label of the whole tree.
    pub customer: bool,
    pub requests: Vec<Request>,
}

pub struct Request {
    user: &'static str,
    group: &'static str,
    /// Where it works.
    directory: String,
    /// Whether the process has read what has the label that only processes carry.
    secret: bool,
    /// What the actor does.
    step: String,
    /// What the kernel is asked by it, as test files write it: twice where something comes into being and is opened.
    questions: Vec<String>,
}

impl Tree {
    pub fn random(dice: &mut Dice, world: &World, policy: &Policy) -> Self {
        let (subject, customer, knows_names) = (dice.pick(&SUBJECTS), dice.chance(50), dice.chance(80));
        let login = dice.chance(80).then(|| dice.pick(&LOGINS));
        let mut seen = BTreeSet::new();
        let mut requests = Vec::new();
        while requests.len() < REQUESTS {
            let request = Request::random(dice, world, policy, knows_names);
            if seen.insert(request.step.clone()) {
                requests.push(request);
            }
        }
        Self { subject, login, knows_names, customer, requests }
    }

    /// All requests at the same time, and at the end one that is on record when all are.
    pub fn command(&self) -> Vec<String> {
        let reads = self.customer.then(|| format!("open {CUSTOMER} r"));
        let known = if self.knows_names { &HOSTS[..] } else { &[] };
        let looks_up = known.iter().map(|(name, ..)| format!("resolve {name} {RESOLVER}"));
        let first = [ACTOR.to_owned()].into_iter().chain(reads).chain(looks_up);
        let last = ["gather".to_owned(), format!("open {MARK} r")];
        first.chain(self.requests.iter().map(Request::apart)).chain(last).collect()
    }

    /// The cases of the test file that ask the same, named by the number of the tree, of the request and of the question.
    pub fn cases(&self, tree: usize, at: &str) -> String {
        let mut text = String::new();
        for (index, request) in self.requests.iter().enumerate() {
            let labels: Vec<_> = [("customer", self.customer), ("secret", request.secret)]
                .into_iter()
                .filter_map(|(label, carried)| carried.then_some(label))
                .collect();
            let read = if labels.is_empty() { String::new() } else { format!("if_read = {labels:?}\n") };
            let login = self.login.map_or_else(String::new, |login| format!("login = {login:?}\n"));
            for (number, question) in request.questions.iter().enumerate() {
                let Request { user, group, directory, .. } = request;
                let _ = write!(
                    text,
                    "[[case]]\nname = \"{tree} {index} {number}\"\nsubject = {:?}\nuser = {user:?}\ngroup = [{group:?}]\n\
                     cwd = {directory:?}\nat = {at:?}\n{read}{login}{question}\nexpect = \"allow\"\n",
                    self.subject
                );
            }
        }
        text
    }
}

impl Request {
    fn random(dice: &mut Dice, world: &World, policy: &Policy, knows_names: bool) -> Self {
        let (user, group, secret) = (dice.pick(&ASKERS), dice.pick(&GROUPS), dice.chance(30));
        let directory = if dice.chance(20) { "/".to_owned() } else { format!("{ROOT}/{}", dice.pick(&DIRECTORIES)) };
        let (step, questions) = match dice.roll(34) {
            0..=8 => open(dice, world),
            9 | 10 => create(dice),
            11..=20 => exec(dice, &world.programs, policy),
            21..=27 => connect(dice, knows_names),
            28..=30 => connect_by_path(dice, &world.sockets),
            _ => system(dice),
        };
        Self { user, group, directory, secret, step, questions }
    }

    pub fn is_exec(&self) -> bool {
        self.step.starts_with("exec ")
    }

    /// The step of the actor, in a process of its own.
    fn apart(&self) -> String {
        let read = if self.secret { SECRET } else { "-" };
        let (user, group) = (number(self.user), group(self.group));
        format!("apart {user} {group} {} {read} {}", self.directory, self.step)
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user, group, directory, secret, .. } = self;
        write!(f, "{} (as {user}, in {group}, at {directory}, secret read: {secret})", self.questions.join(", then "))
    }
}

fn opening(path: &str, access: &[&str], facts: &str) -> String {
    format!("open = {{ path = {path:?}, access = {access:?}{facts} }}")
}

/// Of a file that is there.
fn open(dice: &mut Dice, world: &World) -> (String, Vec<String>) {
    const WAYS: [(&str, &str, &[&str]); 9] = [
        ("open", "r", &["read"]),
        ("open", "w", &["write"]),
        ("open", "rw", &["read", "write"]),
        ("open", "w+append", &["append"]),
        ("open", "rw+append", &["read", "append"]),
        ("open", "w+trunc", &["write", "truncate"]),
        ("open", "rw+trunc", &["read", "write", "truncate"]),
        ("truncate", "3", &["write", "truncate"]),
        ("utime", "", &["read", "write", "create", "truncate"]),
    ];
    // Programs are only read: they are busy.
    let ((step, how, access), file) = match dice.chance(10) {
        true => (WAYS[0], dice.pick(&world.programs)),
        false => (dice.pick(&WAYS), dice.pick(&world.data)),
    };
    (format!("{step} {} {how}", file.path).trim_end().to_owned(), vec![opening(&file.path, access, &facts(&file))])
}

fn facts(file: &File) -> String {
    format!(", owner = {:?}, mode = \"{:04o}\"", file.owner, file.mode)
}

/// Of a file that is not there. What has come into being is then opened.
fn create(dice: &mut Dice) -> (String, Vec<String>) {
    // Some rules are on all that begins so; and no other request makes it.
    let path = format!("{ROOT}/{}/k-{:x}", dice.pick(&DIRECTORIES), dice.roll(1 << 40));
    let made = ", owner = \"root\", mode = \"0644\"";
    match dice.roll(5) {
        0 => (format!("mknod {path}"), vec![opening(&path, &["create"], made)]),
        1 => opened_anew(&path, "w+creat", &["write", "create"], made),
        2 => opened_anew(&path, "w+creat+append", &["append", "create"], made),
        3 => opened_anew(&path, "w+creat+excl", &["write", "create"], made),
        _ => opened_anew(&path, "rw+creat", &["read", "write", "create"], made),
    }
}

fn opened_anew(path: &str, how: &str, access: &[&str], made: &str) -> (String, Vec<String>) {
    (format!("open {path} {how}"), vec![opening(path, access, made); 2])
}

/// With arguments that some rule asks for, and others.
fn exec(dice: &mut Dice, programs: &[File], policy: &Policy) -> (String, Vec<String>) {
    let file = dice.pick(programs);
    let others: Vec<_> = (0..dice.roll(4)).map(|_| dice.pick(&WORDS)).collect();
    let args = [others, dice.pick(&policy.arguments())].concat();
    let step = [vec!["exec", &file.path], args.clone()].concat().join(" ");
    let listed = if args.is_empty() { String::new() } else { format!(", args = {args:?}") };
    (step, vec![format!("exec = {{ path = {:?}{listed}{} }}", file.path, facts(&file))])
}

fn connect(dice: &mut Dice, knows_names: bool) -> (String, Vec<String>) {
    let has_name = |address: &str| HOSTS.iter().find(|(_, host, _)| Ipv4Addr::from(*host).to_string() == address);
    let named: Vec<_> = ADDRESSES.into_iter().filter(|(address, _)| has_name(address).is_some()).collect();
    let (address, protocols) = if dice.chance(45) { dice.pick(&named) } else { dice.pick(&ADDRESSES) };
    let (protocol, port) = (dice.pick(protocols), dice.pick(&PORTS));
    // Its number (RFC 3828).
    let spelled = if protocol == "udplite" { "136" } else { protocol };
    let looked_up = has_name(address).filter(|_| knows_names);
    let name = looked_up.map_or_else(String::new, |(name, ..)| format!(", name = {name:?}"));
    let question = format!("connect = {{ to = {address:?}, port = {port}, protocol = {spelled:?}{name} }}");
    (format!("connect {address} {port} nonblock+{protocol}"), vec![question])
}

fn connect_by_path(dice: &mut Dice, sockets: &[File]) -> (String, Vec<String>) {
    let socket = dice.pick(sockets);
    let question = format!("connect = {{ unix = {:?}{} }}", socket.path, facts(&socket));
    (format!("connect {}", socket.path), vec![question])
}

fn system(dice: &mut Dice) -> (String, Vec<String>) {
    let word = dice.pick(&SYSTEM);
    (format!("host {word}"), vec![format!("system = {word:?}")])
}
