//! A random policy.

use std::{cmp::Reverse, fmt::Write as _};

use holdpoint_tests::site;
use jiff::Zoned;

use super::{
    dice::Dice,
    world::{
        ACTOR, ASKERS, CUSTOMER, DATA, DIRECTORIES, File, GROUPS, LOGINS, MARK, OWNERS, PROGRAMS, RESOLVER, ROOT,
        SECRET, SOCKETS, SYSTEM, WORDS, World,
    },
};

/// Everything that a rule can ask for, each way of writing a pattern by itself.
pub const MATCHERS: [&str; 30] = [
    "exact path",
    "path/**",
    "*",
    "?",
    "{a,b}",
    "**/name",
    "label",
    "access",
    "appending",
    "owner",
    "mode",
    "exec path",
    "exact argument",
    "argument with wildcards",
    "several arguments",
    "address",
    "class of addresses",
    "not",
    "port",
    "protocol",
    "host name",
    "socket path",
    "system",
    "subject",
    "user",
    "login",
    "group",
    "cwd",
    "during",
    "if_read",
];
pub const SUBJECTS: [&str; 2] = ["one", "two"];
pub const LABELS: [&str; 2] = ["customer", "secret"];
/// All that a pattern can mean.
const WIDEST: &str = "/srv/**";
/// Rules of a policy, before those that can never match are left out.
const RULES: usize = 52;
pub const VERDICTS: [&str; 5] = ["allow", "audit", "hold", "deny", "kill"];
/// How often they are what a rule says: much is allowed by no rule.
const SAID: [&str; 11] = ["allow", "audit", "audit", "audit", "hold", "hold", "hold", "deny", "deny", "kill", "kill"];
const AT_ONCE: [&str; 4] = ["allow", "audit", "deny", "kill"];

const ACCESS: [&str; 5] = ["read", "write", "append", "create", "truncate"];
const MODES: [&str; 5] = ["setuid", "setgid", "executable", "world-readable", "world-writable"];
const PROTOCOLS: [&str; 4] = ["tcp", "udp", "mptcp", "other"];
const CLASSES: [&str; 6] = ["any", "loopback", "private", "link-local", "multicast", "public"];
const BLOCKS: [&str; 10] = [
    "0.0.0.0/0",
    "127.0.0.0/8",
    "127.0.0.0/30",
    "2000::/3",
    "10.0.0.0/8",
    "203.0.113.0/24",
    "8.0.0.0/7",
    // What `not` could take all of.
    "127.0.0.1",
    "127.1.0.0/16",
    "::1",
];
const WIDE: usize = 7;
const NARROW: [&str; 5] = ["127.0.0.1", "127.1.0.0/16", "10.9.0.0/16", "::1", "9.9.9.9"];
/// Directories to work in: one of these holds in most.
const WORKPLACES: [&str; 6] =
    ["/srv/hp/agree/**", "/srv/hp/agree/a", "/srv/hp/*/b/**", "**/b", "/srv/hp/agree/{a,b}", "/tmp/**"];
/// Names of hosts: most are of one that is looked up.
const NAMES: [&str; 5] = ["api.agree.test", "data.agree.test", "*.agree.test", "*.b.agree.test", "other.test"];
const RANGES: [&str; 6] = ["22", "80-443", "1-1023", "8080", "8000-8999", "443"];

pub struct Rule {
    pub name: String,
    pub verdict: &'static str,
    /// Which of [`MATCHERS`] it asks for.
    pub matchers: Vec<&'static str>,
    /// Arguments that it asks for.
    arguments: Vec<&'static str>,
    subject: Option<&'static str>,
    operation: String,
    conditions: String,
}

pub struct Policy {
    labels: String,
    pub rules: Vec<Rule>,
}

impl Policy {
    pub fn random(dice: &mut Dice, world: &World) -> Self {
        let mut secrets = paths(dice, &[&world.data[..], &world.programs].concat(), &DATA).1;
        // The actor is not one: it would have read before it begins.
        secrets.retain(|pattern| pattern != WIDEST);
        secrets.push(SECRET.to_owned());
        let labels = format!("customer = [{CUSTOMER:?}]\nsecret = {{ path = {secrets:?}, by = \"lineage\" }}\n");
        let mut rules: Vec<_> = (0..RULES).map(|index| Rule::random(dice, world, index)).collect();
        // Those that ask for more first, so that they have something to decide.
        rules.sort_by_cached_key(|rule| Reverse(rule.matchers.len() + dice.roll(3)));
        Self { labels, rules }
    }

    /// The file. What the test itself needs comes first.
    pub fn text(&self) -> String {
        let subjects = SUBJECTS.map(|name| format!("[[subject]]\nname = {name:?}\n")).concat();
        let itself = format!(
            "[[rule]]\nname = \"mark\"\nopen = {{ path = [{MARK:?}] }}\nthen = \"audit\"\n\
             [[rule]]\nname = \"ready\"\nopen = {{ path = [\"/run/holdpoint-tests/**\", {CUSTOMER:?}, {SECRET:?}] }}\n\
             then = \"allow\"\n[[rule]]\nname = \"set\"\nexec = {{ path = [{:?}, {ACTOR:?}] }}\nthen = \"allow\"\n\
             [[rule]]\nname = \"go\"\nsystem = [\"privilege\"]\nthen = \"allow\"\n\
             [[rule]]\nname = \"look up\"\nconnect = {{ to = [\"{RESOLVER}\"], port = [53] }}\nthen = \"allow\"\n",
            site::actor()
        );
        let rules: String = self.rules.iter().map(Rule::text).collect();
        let host = format!("[reviewers]\npeople = [\"root\"]\n[dns]\nresolvers = [\"{RESOLVER}\"]\n");
        format!("{subjects}{host}[labels]\n{}{itself}{rules}", self.labels)
    }

    /// What the rules on programs ask for among their arguments.
    pub fn arguments(&self) -> Vec<Vec<&'static str>> {
        let about_programs = self.rules.iter().filter(|rule| rule.matchers.contains(&"exec path"));
        about_programs.map(|rule| rule.arguments.clone()).collect()
    }

    /// The rule of that name.
    pub fn rule(&self, name: &str) -> &Rule {
        self.rules.iter().find(|rule| rule.name == name).unwrap_or_else(|| panic!("no rule {name:?}"))
    }
}

impl Rule {
    fn random(dice: &mut Dice, world: &World, index: usize) -> Self {
        let (mut matchers, mut arguments) = (Vec::new(), Vec::new());
        // No more on one file than a policy can have.
        let operation = match index % 13 {
            0..=3 => open(dice, world, &mut matchers),
            4..=7 => exec(dice, world, &mut matchers, &mut arguments),
            8 | 9 => connect(dice, &mut matchers),
            10 => connect_by_path(dice, world, &mut matchers),
            11 => connect_by_name(dice, &mut matchers),
            _ => system(dice, &mut matchers),
        };
        // Nothing on the host that is used here can be held.
        let verdicts = if matchers.contains(&"system") { &AT_ONCE[..] } else { &SAID };
        let subject = dice.chance(30).then(|| dice.pick(&SUBJECTS));
        matchers.extend(subject.map(|_| "subject"));
        let conditions = conditions(dice, &mut matchers);
        Self {
            name: format!("r{index}"),
            verdict: dice.pick(verdicts),
            matchers,
            arguments,
            subject,
            operation,
            conditions,
        }
    }

    fn text(&self) -> String {
        let Self { name, verdict, operation, conditions, .. } = self;
        let subject = self.subject.map_or_else(String::new, |subject| format!("subject = [{subject:?}]\n"));
        let terms = if *verdict == "hold" { "reviewers = \"people\"\npause = \"0s\"\n" } else { "" };
        format!("[[rule]]\nname = {name:?}\n{subject}{operation}\n{conditions}then = {verdict:?}\n{terms}")
    }
}

/// Patterns of one kind for some of the files, and the kind.
fn paths(dice: &mut Dice, files: &[File], names: &[&str]) -> (&'static str, Vec<String>) {
    // Those that mean the fewest files most often.
    let kind = dice.pick(&[&MATCHERS[..6], &["exact path", "{a,b}", "*"]].concat());
    let most = if kind == "exact path" { 4 } else { 2 };
    let mut patterns: Vec<_> = (0..=dice.roll(most)).map(|_| pattern(dice, kind, files, names)).collect();
    patterns.sort();
    patterns.dedup();
    (kind, patterns)
}

fn pattern(dice: &mut Dice, kind: &str, files: &[File], names: &[&str]) -> String {
    let (directory, name, other) = (dice.pick(&DIRECTORIES), dice.pick(names), dice.pick(names));
    // Names are ASCII.
    let (first, rest) = name.split_at(1);
    match (kind, dice.roll(3)) {
        ("exact path", _) => dice.pick(files).path,
        // Not `/**`: for files with several names, the agent looks through all that is below.
        ("path/**", 0) if dice.chance(30) => WIDEST.to_owned(),
        ("path/**", _) => format!("{ROOT}/{directory}/**"),
        ("*", 0) => format!("{ROOT}/*/{name}"),
        ("*", 1) => format!("{ROOT}/{directory}/{first}*"),
        ("*", _) => format!("{ROOT}/**/*{}", &name[1..]),
        ("?", 0) => format!("{ROOT}/?/{name}"),
        ("?", 1) => format!("{ROOT}/{directory}/?{rest}"),
        ("?", _) => format!("{ROOT}/**/{first}?{}", &rest[1..]),
        ("{a,b}", 0) => format!("{ROOT}/{{a,b}}/{name}"),
        ("{a,b}", _) => format!("{ROOT}/{directory}/{{{name},{other}x,{other}}}"),
        (_, 0) => format!("**/{}/{name}", dice.pick(&["a", "b"])),
        // Nothing that programs are made of begins so.
        (_, 1) => format!("**/{}*", &name[..2]),
        (_, _) => format!("**/{name}"),
    }
}

/// `path` or `label`.
fn object(dice: &mut Dice, files: &[File], names: &[&str], matchers: &mut Vec<&'static str>) -> String {
    if dice.chance(25) {
        matchers.push("label");
        return "label = [\"secret\"]".to_owned();
    }
    let (kind, patterns) = paths(dice, files, names);
    matchers.push(kind);
    format!("path = {patterns:?}")
}

/// `owner` and `mode`.
fn kind_of_file(dice: &mut Dice, text: &mut String, matchers: &mut Vec<&'static str>) {
    if dice.chance(25) {
        matchers.push("owner");
        let _ = write!(text, ", owner = {:?}", dice.some(2, &OWNERS));
    }
    if dice.chance(25) {
        matchers.push("mode");
        let _ = write!(text, ", mode = {:?}", dice.some(3, &MODES));
    }
}

fn open(dice: &mut Dice, world: &World, matchers: &mut Vec<&'static str>) -> String {
    let mut text = object(dice, &world.data, &DATA, matchers);
    if dice.chance(60) {
        let access = dice.some(4, &ACCESS);
        matchers.push(if access.contains(&"append") { "appending" } else { "access" });
        let _ = write!(text, ", access = {access:?}");
    }
    kind_of_file(dice, &mut text, matchers);
    format!("open = {{ {text} }}")
}

fn exec(dice: &mut Dice, world: &World, matchers: &mut Vec<&'static str>, arguments: &mut Vec<&'static str>) -> String {
    let mut text = object(dice, &world.programs, &PROGRAMS, matchers);
    matchers.push("exec path");
    if dice.chance(90) {
        let (word, other) = (dice.pick(&WORDS), dice.pick(&WORDS));
        let (kind, args) = match dice.roll(9) {
            0..=2 => ("exact argument", vec![word.to_owned()]),
            3 => ("argument with wildcards", vec![format!("{}*", &word[..1])]),
            4 => ("argument with wildcards", vec![format!("{{{word},{other}x}}")]),
            _ => ("several arguments", vec![word.to_owned(), format!("*{}", &other[1..])]),
        };
        matchers.push(kind);
        arguments.extend(if kind == "several arguments" { vec![word, other] } else { vec![word] });
        let _ = write!(text, ", args = {args:?}");
    }
    kind_of_file(dice, &mut text, matchers);
    format!("exec = {{ {text} }}")
}

fn connect(dice: &mut Dice, matchers: &mut Vec<&'static str>) -> String {
    let mut parts = Vec::new();
    let others = dice.chance(35);
    match dice.roll(5) {
        0 | 1 => {
            matchers.push("address");
            parts.push(format!("to = {:?}", dice.some(3, if others { &BLOCKS[..WIDE] } else { &BLOCKS })));
        }
        2 | 3 => {
            matchers.push("class of addresses");
            parts.push(format!("to = {:?}", dice.some(3, &CLASSES)));
        }
        _ => {}
    }
    if others {
        matchers.push("not");
        parts.push(format!("not = {:?}", dice.some(2, &NARROW)));
    }
    way_to_connect(dice, &mut parts, matchers);
    format!("connect = {{ {} }}", parts.join(", "))
}

/// To what was looked up.
fn connect_by_name(dice: &mut Dice, matchers: &mut Vec<&'static str>) -> String {
    let mut parts = vec![format!("name = {:?}", dice.some(3, &NAMES))];
    matchers.push("host name");
    if dice.chance(50) {
        way_to_connect(dice, &mut parts, matchers);
    }
    format!("connect = {{ {} }}", parts.join(", "))
}

/// To a socket that has a path.
fn connect_by_path(dice: &mut Dice, world: &World, matchers: &mut Vec<&'static str>) -> String {
    matchers.push("socket path");
    let (kind, patterns) = paths(dice, &world.sockets, &SOCKETS);
    matchers.push(kind);
    format!("connect = {{ unix = {patterns:?} }}")
}

/// `port` and `protocol`.
fn way_to_connect(dice: &mut Dice, parts: &mut Vec<String>, matchers: &mut Vec<&'static str>) {
    if dice.chance(40) {
        matchers.push("port");
        parts.push(format!("port = {:?}", dice.some(3, &RANGES)));
    }
    if dice.chance(45) {
        matchers.push("protocol");
        parts.push(format!("protocol = {:?}", dice.some(2, &PROTOCOLS)));
    }
}

fn system(dice: &mut Dice, matchers: &mut Vec<&'static str>) -> String {
    matchers.push("system");
    format!("system = {:?}", dice.some(4, &SYSTEM))
}

/// What every kind of rule can ask for: most hold.
fn conditions(dice: &mut Dice, matchers: &mut Vec<&'static str>) -> String {
    let mut text = String::new();
    if dice.chance(20) {
        matchers.push("user");
        let _ = writeln!(text, "user = {:?}", dice.some(3, &ASKERS));
    }
    if dice.chance(15) {
        matchers.push("login");
        let _ = writeln!(text, "login = {:?}", dice.some(2, &LOGINS));
    }
    if dice.chance(20) {
        matchers.push("group");
        let _ = writeln!(text, "group = {:?}", dice.some(2, &GROUPS));
    }
    if dice.chance(20) {
        matchers.push("cwd");
        let _ = writeln!(text, "cwd = {:?}", dice.some(2, &WORKPLACES));
    }
    if dice.chance(20) {
        matchers.push("during");
        let _ = writeln!(text, "during = {:?}", [during(dice)]);
    }
    if dice.chance(15) {
        matchers.push("if_read");
        let _ = writeln!(text, "if_read = {:?}", dice.some(2, &LABELS));
    }
    text
}

/// A time that is now, or one that is not, whole days away from it.
fn during(dice: &mut Dice) -> String {
    let (yesterday, tomorrow) = (day(6), day(1));
    match dice.roll(6) {
        0 | 1 => format!("{yesterday}-{tomorrow}"),
        2 => format!("{yesterday}-{tomorrow} 00:00-24:00"),
        3 => format!("not {}-{}", day(3), day(4)),
        4 => format!("{}-{}", day(3), day(4)),
        _ => format!("not {yesterday}-{tomorrow}"),
    }
}

/// The day of the week so many days after today.
fn day(after: usize) -> &'static str {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let today = Zoned::now().weekday().to_monday_zero_offset();
    DAYS[(usize::try_from(today).expect("a day") + after) % 7]
}

/// The minute of the week, as test files write it.
pub fn now() -> String {
    format!("{} {}", day(0), Zoned::now().strftime("%H:%M"))
}
