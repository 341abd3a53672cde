//! What the policies and the requests are about: so little that they meet often.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixListener,
    },
    path::Path,
    thread,
};

use holdpoint_tests::site;
use nix::unistd::{Group, User};

use super::dice::Dice;

/// Where the files are.
pub const ROOT: &str = "/srv/hp/agree";
/// Directories below it, and names in each of them.
pub const DIRECTORIES: [&str; 4] = ["a", "b", "a/b", "b/a"];
pub const DATA: [&str; 3] = ["key", "kit", "log.txt"];
pub const PROGRAMS: [&str; 2] = ["run", "ran"];
pub const SOCKETS: [&str; 2] = ["talk", "tell"];
/// What has a label wherever the policy looks for it otherwise.
pub const CUSTOMER: &str = "/srv/hp/agree-read/customer";
pub const SECRET: &str = "/srv/hp/agree-read/secret";
/// What is opened last, for the record.
pub const MARK: &str = "/srv/hp/agree-read/mark";

/// The actor with root's rights, whoever starts it: it acts for several users, and no permission stands in its way.
pub const ACTOR: &str = "/srv/hp/agree-read/actor";

/// Who asks. Whoever asks cannot answer, and root does.
pub const ASKERS: [&str; 3] = ["agent", "daemon", "reviewer"];
/// Who has logged in to start a tree, where somebody has.
pub const LOGINS: [&str; 2] = ["agent", "daemon"];
/// Groups that who asks belongs to beside its own.
pub const GROUPS: [&str; 3] = ["daemon", "adm", "staff"];
/// Whose files there are.
pub const OWNERS: [&str; 3] = ["root", "agent", "daemon"];
const DATA_MODES: [u32; 6] = [0o600, 0o644, 0o666, 0o755, 0o2644, 0o4600];
/// Executable by root, and without more rights for anybody.
const PROGRAM_MODES: [u32; 5] = [0o700, 0o711, 0o755, 0o757, 0o2755];

/// Where the requests connect to, and what it is safe to connect by.
pub const ADDRESSES: [(&str, &[&str]); 14] = [
    ("127.0.0.1", &["tcp", "udp", "mptcp", "udplite"]),
    ("127.0.0.2", &["tcp", "udp", "udplite"]),
    ("127.1.2.3", &["tcp", "udp", "mptcp"]),
    ("::1", &["tcp", "udp", "mptcp"]),
    ("::ffff:127.0.0.1", &["tcp", "udp"]),
    ("0.0.0.0", &["tcp", "udp"]),
    ("::", &["tcp", "udp"]),
    ("10.9.9.9", &["tcp", "udp"]),
    ("192.168.7.7", &["udp"]),
    ("169.254.1.1", &["udp"]),
    ("224.0.0.1", &["udp"]),
    ("203.0.113.9", &["udp", "udplite"]),
    ("9.9.9.9", &["udp", "udplite"]),
    ("2620:fe::9", &["udp"]),
];
/// Who says which of them has which name, and for how many seconds.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
pub const HOSTS: [(&str, [u8; 4], u32); 3] = [
    ("api.agree.test", [10, 9, 9, 9], 3600),
    ("data.agree.test", [203, 0, 113, 9], 3600),
    ("a.b.agree.test", [9, 9, 9, 9], 3600),
];
pub const PORTS: [u16; 5] = [22, 80, 443, 8080, 8999];
pub const WORDS: [&str; 6] = ["push", "pull", "--force", "s3", "cp", "status"];
/// What the actor's step `host` can do.
pub const SYSTEM: [&str; 9] =
    ["mount", "namespace", "trace", "signal", "schedule", "admin", "socket", "listen", "userfaultfd"];

/// A file of the world.
#[derive(Clone)]
pub struct File {
    pub path: String,
    pub owner: &'static str,
    pub mode: u32,
}

pub struct World {
    pub data: Vec<File>,
    pub programs: Vec<File>,
    pub sockets: Vec<File>,
}

impl World {
    pub fn random(dice: &mut Dice) -> Self {
        let mut files = |names: &[&str], modes: &[u32]| -> Vec<File> {
            let paths = DIRECTORIES.iter().flat_map(|directory| names.iter().map(move |name| (directory, name)));
            let file = |(directory, name)| File {
                path: format!("{ROOT}/{directory}/{name}"),
                owner: dice.pick(&OWNERS),
                mode: dice.pick(modes),
            };
            paths.map(file).collect()
        };
        Self {
            data: files(&DATA, &DATA_MODES),
            programs: files(&PROGRAMS, &PROGRAM_MODES),
            sockets: files(&SOCKETS, &[0o666]),
        }
    }

    /// Makes all of it, and nothing else.
    pub fn make(&self) {
        let _ = fs::remove_dir_all(ROOT);
        for path in [CUSTOMER, SECRET, MARK] {
            make(&File { path: path.to_owned(), owner: "root", mode: 0o644 }, b"Ada\n");
        }
        self.data.iter().for_each(|file| make(file, b"Ada\n"));
        let program = fs::read(site::actor()).unwrap();
        make(&File { path: ACTOR.to_owned(), owner: "root", mode: 0o4755 }, &program);
        self.programs.iter().for_each(|file| make(file, &program));
        self.sockets.iter().for_each(listen);
    }
}

fn make(file: &File, content: &[u8]) {
    fs::create_dir_all(Path::new(&file.path).parent().unwrap()).unwrap();
    fs::write(&file.path, content).unwrap();
    give(file);
}

/// A socket at which everybody is heard, as long as the tests run.
fn listen(file: &File) {
    let listener = UnixListener::bind(&file.path).unwrap();
    give(file);
    thread::spawn(move || listener.incoming().for_each(drop));
}

fn give(file: &File) {
    chown(&file.path, Some(number(file.owner)), None).unwrap();
    fs::set_permissions(&file.path, fs::Permissions::from_mode(file.mode)).unwrap();
}

/// The number of a group.
pub fn group(name: &str) -> u32 {
    Group::from_name(name).unwrap().unwrap_or_else(|| panic!("no group {name}")).gid.as_raw()
}

/// The number of a user.
pub fn number(user: &str) -> u32 {
    User::from_name(user).unwrap().unwrap_or_else(|| panic!("no user {user}")).uid.as_raw()
}
