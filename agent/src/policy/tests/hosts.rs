//! Where paths live on a host.

use std::{ffi::OsString, os::unix::fs::symlink, path::PathBuf};

use super::*;
use crate::policy::{Linked, Mounts, Place, Places};

/// Paths in it exist on no host that runs the tests, so that links play no part.
const HOST: &str = "\
22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
23 22 0:21 / /no-such/proc rw - proc proc rw
24 22 8:1 /volumes/data /no-such/srv rw master:2 propagate_from:3 - ext4 /dev/sda1 rw
25 24 0:30 / /no-such/srv/tmp\\040dir rw - tmpfs tmpfs rw
26 22 254:1 /no-such/a/file /no-such/b rw - ext4 /dev/vda1 rw
27 22 0:40 / /no-such/twice rw - tmpfs one rw
28 27 0:41 / /no-such/twice rw - tmpfs two rw
29 22 0:50 / /no-such/over/deep rw - tmpfs hidden rw
30 22 0:51 / /no-such/over rw - tmpfs cover rw
31 22 259:1048575 net:[4026531840] /no-such/net rw - nsfs nsfs rw
";

const ROOT: u32 = 254 << 20 | 1;

fn host() -> Mounts {
    Mounts::parse(HOST.as_bytes()).expect("a mountinfo file")
}

fn place(device: u32, path: &str) -> Place {
    Place { device, components: Path::new(path).iter().skip(1).map(OsString::from).collect() }
}

fn resolved(path: &str) -> Vec<Place> {
    host().resolve(Path::new(path))
}

#[test]
fn a_path_lives_on_the_mount_that_it_leads_to() {
    assert_eq!(resolved("/no-such/x"), [place(ROOT, "/no-such/x")]);
    assert_eq!(resolved("/no-such/proc/1"), [place(21, "/1")]);
    assert_eq!(resolved("/no-such/processes"), [place(ROOT, "/no-such/processes")]);
    assert_eq!(resolved("/no-such/srv"), [place(8 << 20 | 1, "/volumes/data")]);
    assert_eq!(resolved("/no-such/srv/x"), [place(8 << 20 | 1, "/volumes/data/x")]);
    assert_eq!(resolved("/no-such/b"), [place(ROOT, "/no-such/a/file")]);
    assert_eq!(resolved("/no-such/net"), [place(259 << 20 | 1_048_575, "/")]);
}

#[test]
fn escapes_in_mountinfo_are_undone() {
    assert_eq!(resolved("/no-such/srv/tmp dir/x"), [place(30, "/x")]);
}

#[test]
fn a_later_mount_hides_what_it_covers() {
    assert_eq!(resolved("/no-such/twice/x"), [place(41, "/x")]);
    assert_eq!(resolved("/no-such/over/deep/x"), [place(51, "/deep/x")]);
}

#[test]
fn below_a_directory_are_the_mounts_in_it() {
    let below = host().below(Path::new("/no-such/srv"));
    assert_eq!(below, [place(30, "/"), place(8 << 20 | 1, "/volumes/data")]);
    assert_eq!(host().below(Path::new("/no-such/srv/sub")), [place(8 << 20 | 1, "/volumes/data/sub")]);
    let everything = host().below(Path::new("/"));
    assert!(everything.contains(&place(ROOT, "/")) && !everything.contains(&place(ROOT, "/no-such/a/file")));
}

#[test]
fn a_line_that_is_no_mount_is_an_error() {
    let error = Mounts::parse(b"22 1 254:1 / / rw - ext4 x rw\n22 1 254 / / rw - ext4 x rw\n").expect_err("no colon");
    assert_eq!(error.line, 2);
    for line in ["22", "x 1 8:1 / / rw - a", "1 2 4096:1 / / rw - a", "1 2 8:1 / relative rw - a", "1 2 8:1 / / rw"] {
        assert!(Mounts::parse(line.as_bytes()).is_err(), "{line}");
    }
}

#[test]
fn this_host_can_be_read() {
    let mounts = Mounts::now().expect("mountinfo");
    assert!(!mounts.resolve(Path::new("/etc/passwd")).is_empty());
    assert!(mounts.below(Path::new("/")).len() > 1);
}

#[test]
fn links_are_followed_and_their_own_place_is_kept() {
    let folder = std::env::temp_dir().join(format!("holdpoint-links-{}", std::process::id()));
    let folder = {
        std::fs::create_dir_all(folder.join("real")).expect("a folder");
        std::fs::canonicalize(folder).expect("a folder")
    };
    std::fs::write(folder.join("real/file"), "").expect("a file");
    symlink("real", folder.join("dir")).expect("a link");
    symlink("later/file", folder.join("dangling")).expect("a link");
    symlink("loop", folder.join("loop")).expect("a link");
    let spelled = |names: &[&str]| -> Vec<Place> {
        let mut places: Vec<_> =
            names.iter().map(|name| place(ROOT, &folder.join(name).display().to_string())).collect();
        places.sort();
        places
    };
    let resolved = |name: &str| -> Vec<Place> { host().resolve(&folder.join(name)) };
    assert_eq!(resolved("dir/file"), spelled(&["dir/file", "real/file"]));
    assert_eq!(resolved("dir/new"), spelled(&["dir/new", "real/new"]));
    assert_eq!(resolved("dangling"), spelled(&["dangling", "later/file"]));
    assert_eq!(resolved("loop"), spelled(&["loop"]));
    std::fs::remove_dir_all(folder).expect("the folder");
}

#[test]
fn a_directory_rule_reaches_what_is_mounted_below_it() {
    let text = format!("{HEAD}{}", rule("0", "open = { path = [\"/no-such/srv/**\"] }"));
    let tables = compile(&policy(&text), REVISION, &host(), None).expect("within the limits");
    assert_eq!(at_of(&tables, 0, 30, "/x", READ), Some(0));
    assert_eq!(at_of(&tables, 0, 8 << 20 | 1, "/volumes/data/x", READ), Some(0));
    assert_eq!(at_of(&tables, 0, 8 << 20 | 1, "/volumes/x", READ), None);
    assert_eq!(at_of(&tables, 0, ROOT, "/no-such/srv/x", READ), None);
    assert_eq!(at_of(&tables, 0, ROOT, "/no-such/srv", WRITE), Some(0), "it is what the mount is on");
    assert_eq!(moved(&tables, ROOT, "/no-such", Class::OPENING), Some(0));
}

#[test]
fn a_rule_on_a_directory_does_not_hide_the_rules_on_the_kind_of_what_is_mounted_there() {
    let rules = rule("0", r#"open = { path = ["/proc/sys/**"] }"#) + &rule("1", r#"open = { path = ["/no-such/**"] }"#);
    let tables = compile(&policy(&format!("{HEAD}{rules}")), REVISION, &host(), None).expect("within the limits");
    assert_eq!(at_of(&tables, 0, 21, "/sys/kernel", READ), Some(0));
    assert_eq!(at_of(&tables, 0, 21, "/1", READ), Some(1));
}

#[test]
fn a_rule_on_everything_reaches_the_whole_of_each_file_system() {
    let text = format!("{HEAD}{}", rule("0", "open = { path = [\"/**\"] }"));
    let tables = compile(&policy(&text), REVISION, &host(), None).expect("within the limits");
    for device in [21, 30, 40, 41, 50, 51, 8 << 20 | 1, ROOT, 259 << 20 | 1_048_575] {
        assert_eq!(at_of(&tables, 0, device, "/any/where", READ), Some(0), "{device}");
    }
}

/// A host whose every path lives at this place.
struct Fixed(Place);

impl Places for Fixed {
    fn resolve(&self, _: &Path) -> Vec<Place> {
        vec![self.0.clone()]
    }

    fn below(&self, path: &Path) -> Vec<Place> {
        self.resolve(path)
    }

    fn mounted(&self, _: &Path) -> Vec<(Vec<OsString>, Place)> {
        Vec::new()
    }

    fn mount_points(&self, _: &Path, _: bool) -> Vec<Place> {
        Vec::new()
    }

    fn user(&self, _: &str) -> Option<u32> {
        Some(1000)
    }

    fn group(&self, _: &str) -> Option<u32> {
        Some(1000)
    }

    fn linked(&self, _: &Path, _: bool) -> Linked {
        Linked::default()
    }
}

#[test]
fn a_mount_that_cannot_be_spelled_out_is_held_with_what_is_around_it_and_never_let_pass() {
    let long = PathBuf::from(format!("/volumes/{}/data", "f".repeat(64)));
    let host = Fixed(place(1, &long.display().to_string()));
    let deny = format!("{HEAD}{}", rule("0", "open = { path = [\"/mnt/**\"] }"));
    let denied = compile(&policy(&deny), REVISION, &host, None).expect("within the limits");
    assert_eq!(at(&denied, &format!("{}/x", long.display()), READ), Some(0));
    assert_eq!(at(&denied, "/other", READ), None);
    let allowed = compile(&policy(&deny.replace("deny", "allow")), REVISION, &host, None).expect("within the limits");
    assert_eq!(at(&allowed, "/volumes/x", READ), None);
}

#[test]
fn an_exact_path_that_cannot_be_spelled_out_is_refused() {
    let host = Fixed(place(1, &format!("/{}", "f".repeat(64))));
    let policy = policy(&format!("{HEAD}{}", rule("0", "open = { path = [\"/link\"] }")));
    let problems = compile(&policy, REVISION, &host, None).expect_err("too long");
    let said = policy.refused(problems).to_string();
    assert!(said.starts_with("web-1.toml:6:8: /link is /fff") && said.contains("cannot be spelled out"), "{said}");
}
