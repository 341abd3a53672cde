//! Promise 2, for whole programs: where all that they ask is approved at once, they print the same, end the same and leave
//! the same files as without holdpoint.
//!
//! Held are every program that is executed, every connection, and opening [`MADE`] to write. What a program renames,
//! removes or changes the mode of is not among these: such calls are never held, but refused where a rule would hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use holdpoint_tests::{
    Actor, Ended, Json, LIMIT, User, policy,
    reviewer::{Asked, Manner, asked_under},
    site, ungoverned, wait_for, wait_until,
};

/// What is held when it is opened to write: the directory of a test for that, and files that programs make elsewhere.
const MADE: [&str; 6] =
    ["/srv/hp/made/**", "**/customers.csv", "**/description", "**/harbour.py", "**/METADATA", "**/lock"];

/// Programs that are asked about everything.
fn policy() -> String {
    let hold = "then = \"hold\"\nreviewers = \"people\"\ntimeout = \"3m\"\nwhy = \"a test\"";
    let rules = [
        ("programs", "exec = { path = [\"/**\"] }".to_owned()),
        ("connections", "connect = { to = [\"any\"] }".to_owned()),
        ("files", format!("open = {{ path = {MADE:?}, access = [\"write\", \"create\", \"truncate\"] }}")),
    ];
    let rules = rules.map(|(name, what)| format!("\n[[rule]]\nname = \"{name}\"\n{what}\n{hold}\n"));
    let people = "[reviewers]\npeople = [\"reviewer\"]\nothers = [\"root\"]\n";
    format!("[[subject]]\nname = \"tests\"\n\n{people}{}", rules.concat())
}

/// Where a program runs, and where it makes what is held.
struct Place {
    work: PathBuf,
    made: PathBuf,
}

impl Place {
    fn new() -> Self {
        Self { work: site::directory("work"), made: site::directory("made") }
    }

    /// Runs the script to its end; gives how it ended and the files that are there then.
    fn result(&self, mut actor: Actor) -> Outcome {
        wait_for(&format!("the end of {actor:?}"), 4 * LIMIT, || actor.has_ended().then_some(()));
        let mut files = BTreeMap::new();
        for directory in [&self.work, &self.made] {
            collect(directory, &mut files);
        }
        Outcome { ended: actor.end(), files }
    }

    /// Both, for a script.
    fn text(&self) -> (String, String) {
        (self.work.display().to_string(), self.made.display().to_string())
    }
}

/// Adds the directory's files with their modes and contents, and removes them: the next run finds what this one found.
fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
            fs::remove_dir(&path).unwrap();
        } else {
            let mode = path.symlink_metadata().unwrap().permissions().mode();
            files.insert(path.clone(), (mode, fs::read(&path).unwrap_or_default()));
            fs::remove_file(&path).unwrap();
        }
    }
}

/// What a program leaves.
#[derive(Debug, PartialEq)]
struct Outcome {
    ended: Ended,
    files: BTreeMap<PathBuf, (u32, Vec<u8>)>,
}

impl Outcome {
    /// Without what stands between `from` and `to`, wherever it stands: it differs from run to run anyway.
    fn without(mut self, from: &str, to: &str) -> Self {
        for text in [&mut self.ended.stdout, &mut self.ended.stderr] {
            let mut pieces = text.split(from);
            let first = pieces.next().unwrap_or_default().to_owned();
            let rest = pieces.map(|piece| format!("{from}{}", piece.split_once(to).map_or(piece, |(_, rest)| rest)));
            *text = rest.fold(first, |text, piece| text + &piece);
        }
        self
    }

    /// Without the files that a path's end tells.
    fn without_files(mut self, ends: &[&str]) -> Self {
        self.files.retain(|path, _| !ends.iter().any(|end| path.ends_with(end)));
        self
    }
}

/// Runs the script without holdpoint, then with everything approved at once, and compares what `settled` makes of both.
/// The holds were of these kinds, each was approved and passed, and nothing was refused.
#[track_caller]
fn goes_on(user: User, place: &Place, script: &str, kinds: &[&str], settled: impl Fn(Outcome) -> Outcome) -> Outcome {
    let command = ["sh", "-c", &format!("cd {} && umask 022\n{script}", place.work.display())];
    let control = settled(place.result(ungoverned(user, command)));
    assert!(control.ended.status.success(), "the control: {control:?}");
    let Asked { agent, reviewer } = asked_under(&policy());
    reviewer.behaves(Manner::Approves);
    let before = agent.record().len();
    let governed = settled(place.result(agent.spawn(user, command)));
    let since = |events: &[&str]| about(&agent.record()[before..], events);
    let refused = || since(&["denied", "killed", "not-held", "refused", "withdrawn"]);
    assert_eq!(governed, control, "refused: {:#?}", refused());
    // The record can be a moment behind the program.
    wait_until("each hold is over", || since(&["passed", "refused", "withdrawn"]).len() == since(&["held"]).len());
    assert_eq!(refused(), Vec::<Json>::new());
    let held = since(&["held"]);
    let held: BTreeSet<_> = held.iter().filter_map(|line| line["request"]["operation"].as_str()).collect();
    assert_eq!(held, BTreeSet::from_iter(kinds.iter().copied()));
    reviewer.messages();
    control
}

fn about(record: &[Json], events: &[&str]) -> Vec<Json> {
    record.iter().filter(|line| line["event"].as_str().is_some_and(|event| events.contains(&event))).cloned().collect()
}

/// Starts a server that is not governed, and waits until it takes connections.
fn served(port: u16, command: &[&str]) -> Actor {
    let server = ungoverned(User::AGENT, command);
    wait_until("the server", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

/// Has a shell prepare what a program is given.
#[track_caller]
fn prepare(directory: &Path, script: &str) {
    let made = ungoverned(User::AGENT, ["sh", "-ec", &format!("cd {}\n{script}", directory.display())]).end();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn git_clones_from_a_server() {
    let (origin, port) = (site::directory("origin"), policy::port("hold"));
    prepare(
        &origin,
        "git init -q -b main ships && cd ships && mkdir data && echo Ada >data/customers.csv && echo ships >README && \
         git add . && git -c user.name=a -c user.email=a@b commit -q -m 'all customers'",
    );
    let base = format!("--base-path={}", origin.display());
    let port_text = format!("--port={port}");
    let daemon = ["git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1", &port_text, &base];
    let _server = served(port, &daemon);
    let script = format!(
        "git clone git://127.0.0.1:{port}/ships && cd ships && git status && git log && git ls-files -s && git fsck"
    );
    // The index knows the files' inodes and times, the logs when they were written.
    let settled = |outcome: Outcome| {
        outcome.without_files(&["index", "logs/HEAD", "logs/refs/heads/main", "logs/refs/remotes/origin/HEAD"])
    };
    let place = Place::new();
    let outcome = goes_on(User::AGENT, &place, &script, &["exec", "connect", "open"], settled);
    assert_eq!(outcome.files[&place.work.join("ships/data/customers.csv")].1, b"Ada\n");
}

#[test]
fn pip_installs_a_wheel() {
    let wheels = site::directory("wheels");
    fs::write(
        wheels.join("make.py"),
        r#"
import zipfile
info = "harbour-1.0.dist-info/"
files = {
    "harbour.py": "def main():\n    print('a ship')\n",
    info + "METADATA": "Metadata-Version: 2.1\nName: harbour\nVersion: 1.0\n",
    info + "WHEEL": "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    info + "entry_points.txt": "[console_scripts]\nharbour = harbour:main\n",
}
files[info + "RECORD"] = "".join(f"{name},,\n" for name in [*files, info + "RECORD"])
with zipfile.ZipFile("harbour-1.0-py3-none-any.whl", "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
"#,
    )
    .unwrap();
    prepare(&wheels, "python3 make.py");
    let wheel = wheels.join("harbour-1.0-py3-none-any.whl");
    let script = format!(
        "pip install --no-index --prefix=ships {} && PYTHONPATH=$(echo ships/local/lib/python3*/dist-packages) \
         ships/local/bin/harbour",
        wheel.display()
    );
    // It contains when its source was written.
    let settled = |mut outcome: Outcome| {
        outcome.files.retain(|path, _| path.extension().is_none_or(|extension| extension != "pyc"));
        outcome
    };
    let outcome = goes_on(User::AGENT, &Place::new(), &script, &["exec", "open"], settled);
    assert!(outcome.ended.stdout.ends_with("Successfully installed harbour-1.0\na ship\n"), "{outcome:?}");
}

#[test]
fn a_python_server_answers_curl() {
    let place = Place::new();
    let (ships, port) = (site::directory("ships"), policy::port("hold"));
    fs::write(ships.join("ship"), "a ship\n").unwrap();
    let script = format!(
        "mkfifo said\n\
         python3 -u -m http.server --bind 127.0.0.1 --directory {} {port} >said 2>log & server=$!\n\
         read line <said; echo \"$line\"\n\
         curl --silent --show-error --dump-header - --output {made}/page http://127.0.0.1:{port}/ship\n\
         curl --silent --show-error --fail --dump-header - http://127.0.0.1:{port}/none; echo $?\n\
         {{ kill $server; wait $server; }} 2>/dev/null; echo $?; rm said; cat log >&2; rm log",
        ships.display(),
        made = place.made.display()
    );
    let settled = |outcome: Outcome| outcome.without("Date: ", "\r\n").without(" - - [", "] ");
    let outcome = goes_on(User::AGENT, &place, &script, &["exec", "connect", "open"], settled);
    assert_eq!(outcome.files[&place.made.join("page")].1, b"a ship\n");
}

#[test]
fn apt_get_downloads_from_a_mirror() {
    let (mirror, port) = (site::directory("mirror"), policy::port("hold"));
    prepare(
        &mirror,
        "mkdir -p ship/DEBIAN && cat >ship/DEBIAN/control <<end\n\
         Package: ship\nVersion: 1.0\nArchitecture: all\nMaintainer: Ada <ada@ships.example>\nDescription: a ship\nend\n\
         dpkg-deb --build --root-owner-group ship ship_1.0_all.deb\n\
         { cat ship/DEBIAN/control; echo \"Filename: ./ship_1.0_all.deb\"\n\
         echo \"Size: $(stat -c %s ship_1.0_all.deb)\"\n\
         echo \"SHA256: $(sha256sum ship_1.0_all.deb | cut -d ' ' -f 1)\"; } >Packages",
    );
    let (port_text, files) = (port.to_string(), mirror.to_str().unwrap());
    let python = ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", files, &port_text];
    let _server = served(port, &python);
    let place = Place::new();
    let (work, _) = place.text();
    // As root, who gives the work to the user _apt.
    let script = format!(
        "mkdir -p lists/partial cache/archives/partial ships && chmod 777 ships && : >status\n\
         echo 'deb [trusted=yes] http://127.0.0.1:{port} ./' >sources\n\
         cat >apt.conf <<end\n\
         Dir::State::lists \"{work}/lists\"; Dir::State::status \"{work}/status\"; Dir::Cache \"{work}/cache\";\n\
         Dir::Etc::sourcelist \"{work}/sources\"; Dir::Etc::sourceparts \"-\"; Acquire::Languages \"none\";\nend\n\
         export APT_CONFIG={work}/apt.conf; apt-get update && cd ships && apt-get download ship && ls -l",
    );
    let settled = |outcome: Outcome| {
        // How long it took, and in `ls`, when.
        let outcome = outcome.without("Fetched ", "\n").without(" root root ", " ship_");
        // They contain the times of files.
        outcome.without_files(&["cache/pkgcache.bin", "cache/srcpkgcache.bin"])
    };
    let outcome = goes_on(User::ROOT, &place, &script, &["exec", "connect", "open"], settled);
    let original = fs::read(mirror.join("ship_1.0_all.deb")).unwrap();
    assert_eq!(outcome.files[&place.work.join("ships/ship_1.0_all.deb")].1, original);
}

#[test]
fn gcc_builds_a_program() {
    let place = Place::new();
    let (_, made) = place.text();
    let script = format!(
        "cat >main.c <<end\n\
         #include <stdio.h>\nconst char *ship(void);\n\
         int main(void) {{ int unused; puts(ship()); return 3; }}\nend\n\
         echo 'const char *ship(void) {{ return \"a ship\"; }}' >ship.c\n\
         gcc -Wall -O2 -c -o {made}/main.o main.c && gcc -Wall -O2 -c -o {made}/ship.o ship.c\n\
         ar rcs libship.a {made}/ship.o && gcc -o ship {made}/main.o libship.a && ./ship; echo $?\n\
         gcc -c -o {made}/broken.o {made}/main.o ship.c; echo $?; gcc none.c; echo $?"
    );
    let outcome = goes_on(User::AGENT, &place, &script, &["exec", "open"], |outcome| outcome);
    assert!(outcome.ended.stdout.starts_with("a ship\n3\n"), "{outcome:?}");
    assert!(outcome.ended.stderr.contains("unused variable"), "{outcome:?}");
}

#[test]
fn make_runs_two_hundred_processes() {
    let place = Place::new();
    let (work, made) = place.text();
    // Each `cp` is held, and some of them twice.
    let script = format!(
        "for ship in $(seq 200); do echo \"ship $ship\" >$ship; done\n\
         printf 'all: $(addprefix {made}/,$(shell seq 20)) $(addprefix {work}/to-,$(shell seq 21 200))\\n' >Makefile\n\
         printf '{made}/%%: %%\\n\\tcp $< $@\\n{work}/to-%%: %%\\n\\tcp $< $@\\n' >>Makefile\n\
         make -j all"
    );
    let settled = |mut outcome: Outcome| {
        // Whichever is first.
        let mut lines: Vec<_> = outcome.ended.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        outcome.ended.stdout = lines.concat();
        outcome
    };
    let outcome = goes_on(User::AGENT, &place, &script, &["exec", "open"], settled);
    assert_eq!(outcome.files[&place.work.join("to-200")].1, b"ship 200\n");
}
