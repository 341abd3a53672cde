//! What takes a mount away takes its rules with it: the directory that it covers, and those above, are kept in place.

use super::*;
use crate::policy::{Mounts, Places};

/// Paths in it exist on no host that runs the tests, so that links play no part. `LONG` cannot be spelled out.
const HOST: &str = "\
22 1 254:1 / / rw - ext4 /dev/vda1 rw
23 22 8:1 /data /no-such/srv/customers rw - ext4 /dev/sda1 rw
24 23 8:2 / /no-such/srv/customers/eu/new rw - ext4 /dev/sda2 rw
25 22 0:40 / /no-such/twice rw - tmpfs one rw
26 25 0:41 / /no-such/twice rw - tmpfs two rw
27 22 0:50 / /no-such/over/deep rw - tmpfs hidden rw
28 22 0:51 / /no-such/over rw - tmpfs cover rw
29 22 254:1 /no-such/self /no-such/self rw - ext4 /dev/vda1 rw
30 22 8:3 /volumes/LONG /no-such/long rw - ext4 /dev/sda3 rw
31 30 0:60 / /no-such/long/in rw - tmpfs in rw
";

const ROOT: u32 = 254 << 20 | 1;
const CUSTOMERS: u32 = 8 << 20 | 1;
const VOLUMES: u32 = 8 << 20 | 3;

fn mounts(mountinfo: &str) -> Mounts {
    Mounts::parse(mountinfo.replace("LONG", &"f".repeat(64)).as_bytes()).expect("a mountinfo file")
}

/// A policy of these rules on that host.
fn on_host(rules: &str) -> Tables {
    compile(&policy(&format!("{HEAD}{rules}")), REVISION, &mounts(HOST), None).expect("within the limits")
}

/// A policy of one rule, on reading there.
fn reading(path: &str) -> Tables {
    on_host(&rule("0", &format!("open = {{ path = [\"{path}\"], access = [\"read\"] }}")))
}

/// Index of the rule that subject 0 meets when it removes what is there.
fn removed(tables: &Tables, device: u32, path: &str) -> Option<u32> {
    at_of(tables, 0, device, path, Class::REPLACING)
}

#[test]
fn what_a_mount_is_in_is_not_moved_away() {
    let tables = reading("/no-such/srv/customers/**");
    for path in ["/no-such", "/no-such/srv", "/no-such/srv/customers"] {
        assert_eq!(moved(&tables, ROOT, path, Class::OPENING), Some(0), "{path}");
        assert_eq!(moved(&tables, ROOT, path, Class::REPLACING), Some(0), "{path}");
    }
    for path in ["/no-such/srv/other", "/no-such/home", "/no-such/srv/customers/hidden"] {
        assert_eq!(moved(&tables, ROOT, path, Class::OPENING), None, "{path}");
    }
}

#[test]
fn the_directory_below_a_mount_is_not_removed_but_may_be_read() {
    for path in ["/no-such/srv/customers", "/no-such/srv/customers/**", "/no-such/srv/customers/key"] {
        let tables = reading(path);
        assert_eq!(removed(&tables, ROOT, "/no-such/srv/customers"), Some(0), "{path}");
        assert_eq!(at_of(&tables, 0, ROOT, "/no-such/srv/customers", READ), None, "{path}");
        assert_eq!(removed(&tables, ROOT, "/no-such/srv"), None, "{path}");
    }
}

#[test]
fn each_mount_on_the_way_stays_where_it_is() {
    let tables = reading("/no-such/srv/customers/eu/new/key");
    assert_eq!(moved(&tables, ROOT, "/no-such/srv", Class::OPENING), Some(0));
    assert_eq!(removed(&tables, ROOT, "/no-such/srv/customers"), Some(0));
    assert_eq!(moved(&tables, CUSTOMERS, "/data/eu", Class::OPENING), Some(0));
    assert_eq!(removed(&tables, CUSTOMERS, "/data/eu/new"), Some(0));
}

#[test]
fn each_mount_below_a_directory_stays_where_it_is() {
    let tables = reading("/no-such/srv/**");
    assert_eq!(removed(&tables, ROOT, "/no-such/srv/customers"), Some(0));
    assert_eq!(removed(&tables, CUSTOMERS, "/data/eu/new"), Some(0));
    let tables = reading("/no-such/srv");
    assert_eq!(removed(&tables, ROOT, "/no-such/srv/customers"), None, "the directory alone is meant");
}

#[test]
fn of_mounts_on_each_other_each_stays_where_it_is() {
    let tables = reading("/no-such/twice/key");
    assert_eq!(removed(&tables, ROOT, "/no-such/twice"), Some(0));
    assert_eq!(removed(&tables, 40, "/"), Some(0));
    assert_eq!(removed(&tables, 41, "/"), None);
}

#[test]
fn a_mount_that_another_hides_stays_where_it_is() {
    let tables = reading("/no-such/over/**");
    assert_eq!(removed(&tables, ROOT, "/no-such/over/deep"), Some(0));
    assert_eq!(moved(&tables, ROOT, "/no-such/over", Class::OPENING), Some(0));
}

#[test]
fn a_directory_that_is_mounted_on_itself_hides_nothing() {
    let tables = reading("/no-such/self/key");
    assert_eq!(removed(&tables, ROOT, "/no-such/self"), None);
    assert_eq!(moved(&tables, ROOT, "/no-such/self", Class::OPENING), Some(0));
}

#[test]
fn a_mount_point_that_cannot_be_spelled_out_stays_with_what_is_around_it() {
    let tables = reading("/no-such/long/in/**");
    let point = format!("/volumes/{}/in", "f".repeat(64));
    assert_eq!(removed(&tables, VOLUMES, &point), Some(0));
    assert_eq!(at_of(&tables, 0, VOLUMES, &point, READ), None);
    assert_eq!(removed(&tables, VOLUMES, "/other"), None);
}

#[test]
fn an_earlier_rule_that_lets_a_directory_change_does_not_let_a_mount_in_it_go() {
    let allow = "open = { path = [\"/no-such/srv/**\"], access = [\"write\", \"create\", \"truncate\"] }";
    let deny = "open = { path = [\"/no-such/srv/customers/**\"], access = [\"read\"] }";
    let tables = on_host(&format!("{}{}", rule("0", allow).replace("deny", "allow"), rule("1", deny)));
    assert_eq!(moved(&tables, ROOT, "/no-such/srv/customers", Class::REPLACING), Some(1));
    assert_eq!(moved(&tables, ROOT, "/no-such/srv/other", Class::REPLACING), Some(0));
}

#[test]
fn a_rule_on_a_program_keeps_its_mount_in_place_too() {
    let tables = on_host(&rule("0", "exec = { path = [\"/no-such/srv/customers/tool\"] }"));
    assert_eq!(moved(&tables, ROOT, "/no-such/srv", Class::OPENING), Some(0));
    assert_eq!(removed(&tables, ROOT, "/no-such/srv/customers"), Some(0));
}

#[test]
fn a_rule_that_lets_pass_keeps_nothing_in_place() {
    let open = rule("0", "open = { path = [\"/no-such/srv/customers/**\"] }");
    for verdict in ["allow", "audit"] {
        let tables = on_host(&open.replace("deny", verdict));
        assert!(tables.roots.keys().all(|key| key.device != ROOT), "{verdict}");
    }
}

#[test]
fn a_rule_on_everything_needs_no_mount_in_its_place() {
    assert_eq!(removed(&reading("/**"), ROOT, "/no-such/srv/customers"), None);
}

#[test]
fn a_path_that_no_mount_is_on_is_as_on_a_host_without_mounts() {
    let root = mounts(HOST.lines().next().expect("the root"));
    for path in ["/no-such/home/key", "/no-such/home/**"] {
        let policy = policy(&format!("{HEAD}{}", rule("0", &format!("open = {{ path = [\"{path}\"] }}"))));
        assert_eq!(compile(&policy, REVISION, &mounts(HOST), None), compile(&policy, REVISION, &root, None), "{path}");
    }
    assert_eq!(mounts(HOST).mount_points(Path::new("/no-such/home"), true), []);
}

#[test]
fn a_mount_in_another_encoding_is_found() {
    let line = b"22 1 8:4 /caf\xe9 / rw - ext4 /dev/sda4 rw\n";
    let mounts = Mounts::parse(line).expect("a mountinfo file");
    let policy = policy(&format!("{HEAD}{}", rule("0", "open = { path = [\"/no-such/key\"] }")));
    let tables = compile(&policy, REVISION, &mounts, None).expect("within the limits");
    let names = [OsStr::from_bytes(b"caf\xe9"), OsStr::new("no-such"), OsStr::new("key")];
    let met =
        plain(&tables).path_rule(Asker { revision: REVISION, subject: 0 }, 8 << 20 | 4, &Walk(names.to_vec()), READ);
    assert_eq!(some(met), Some(0));
}

#[test]
fn a_file_with_two_names_is_found_through_a_link_too() {
    let folder = std::env::temp_dir().join(format!("holdpoint-through-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("secret"), "x").unwrap();
    std::fs::hard_link(folder.join("secret"), folder.join("alias")).unwrap();
    std::os::unix::fs::symlink(folder.join("secret"), folder.join("link")).unwrap();
    let mounts = Mounts::now().unwrap();
    let found = |name: &str| mounts.linked(&folder.join(name), false).files.len();
    assert_eq!([found("secret"), found("link"), found("missing")], [1, 1, 0]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn many_rules_with_conditions_may_meet_at_one_mount() {
    let rules: String = (0..20)
        .map(|n| {
            rule(&n.to_string(), &format!("open = {{ path = [\"/no-such/srv/customers/{n}\"] }}\nuser = [\"{n}\"]"))
        })
        .collect();
    let tables = on_host(&rules);
    assert!(removed(&tables, ROOT, "/no-such/srv/customers").is_some(), "by the first that is too many, whoever asks");
}
