//! Promise 8, of descriptors that come from another process: who receives one is judged as if it had opened the file, by what
//! the descriptor can be made to do. What is refused does not arrive.

use std::{
    fs::{self, File, OpenOptions},
    io::IoSlice,
    os::{
        fd::AsRawFd as _,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
};

use holdpoint_tests::{
    Agent, LIMIT, User, shared,
    site::{self, ROOT},
    ungoverned, wait_for,
};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// Where the files are.
const PLACE: &str = "received";

/// The rule that lets a subject connect to who sends.
const PEER: &str = "[[rule]]\nname = \"peer\"\nconnect = { unix = [\"/srv/hp/received/**\"] }\nthen = \"allow\"\n";

/// Opens the first argument, if there is one, to read it, and works in the second; then says how many descriptors have come by the socket at the last.
const RECEIVE: &str = "
import os, socket, sys
if len(sys.argv) > 3:
    os.chdir(sys.argv[2])
if len(sys.argv) > 2:
    open(sys.argv[1]).read()
peer = socket.socket(socket.AF_UNIX)
peer.connect(sys.argv[-1])
print(len(socket.recv_fds(peer, 9, 1)[1]), 'received')";

/// What becomes of sending `sent` to a process, governed by `agent` if there is one, that has read the first of `before`, and
/// works in the second.
fn received(agent: Option<&Agent>, sent: &File, before: &[&str]) -> String {
    let socket = site::nothing(PLACE);
    let listener = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let command: Vec<_> =
        ["python3", "-c", RECEIVE].into_iter().chain(before.iter().copied()).chain([socket.as_str()]).collect();
    let process = match agent {
        Some(agent) => agent.spawn_as(User::AGENT, PLACE, command),
        None => ungoverned(User::AGENT, command),
    };
    listener.set_nonblocking(true).unwrap();
    let peer = wait_for(&format!("{process:?} connects"), LIMIT, || listener.accept().ok().map(|(peer, _)| peer));
    let descriptors = [sent.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(peer.as_raw_fd(), &[IoSlice::new(b"here")], &rights, MsgFlags::empty(), None).unwrap();
    process.end().stdout
}

fn file(place: &str) -> String {
    site::file(&format!("{PLACE}/{place}"), "Ada\n")
}

#[test]
fn one_that_appends_is_taken_for_one_that_writes_anywhere() {
    let rule = |name: &str, access: &str, then: &str| {
        let path = format!("{ROOT}/{PLACE}/{name}/**");
        format!("[[rule]]\nname = \"{name} {then}\"\nopen = {{ path = [\"{path}\"]{access} }}\nthen = \"{then}\"\n")
    };
    let (logs, data) = (file("logs"), file("data"));
    let agent = shared(&format!(
        "[[subject]]\nname = \"{PLACE}\"\n{PEER}{}{}{}{}",
        rule("logs", ", access = [\"read\", \"append\"]", "allow"),
        rule("logs", "", "deny"),
        rule("data", ", access = [\"read\", \"write\"]", "allow"),
        rule("data", "", "deny"),
    ));
    // Who has sent it takes O_APPEND off, since both share it, and nobody is asked.
    let appends = |path: &str| OpenOptions::new().append(true).open(path).unwrap();
    let reads = |path: &str| File::open(path).unwrap();
    assert_eq!(received(None, &appends(&logs), &[]), "1 received\n", "the control");
    assert_eq!(received(Some(&agent), &appends(&logs), &[]), "0 received\n");
    assert_eq!(received(Some(&agent), &reads(&logs), &[]), "1 received\n");
    assert_eq!(received(Some(&agent), &appends(&data), &[]), "1 received\n");
}

#[test]
fn labels_of_what_was_read_before_are_no_working_directory() {
    let (customer, secret) = (file("customer"), file("secret"));
    let prod = format!("{ROOT}/{PLACE}/prod");
    fs::create_dir_all(&prod).unwrap();
    let agent = shared(&format!(
        "[[subject]]\nname = \"{PLACE}\"\n[labels]\ncustomer = [\"{customer}\"]\n{PEER}[[rule]]\nname = \"in prod\"\n\
         open = {{ path = [\"{secret}\"] }}\ncwd = [\"{prod}\"]\nthen = \"deny\"\n"
    ));
    let sent = File::open(&secret).unwrap();
    assert_eq!(received(None, &sent, &[&customer]), "1 received\n", "the control");
    assert_eq!(received(Some(&agent), &sent, &[&customer]), "1 received\n");
    assert_eq!(received(Some(&agent), &sent, &[&customer, &prod]), "0 received\n", "where it is one");
}
