//! Labels: the files that they stand for, and the rules that ask for them.

use super::{
    refusals::{assert_said, assert_said_of_rule},
    *,
};

/// The tables of a policy with these labels and rules.
fn labelled(labels: &str, rules: &str) -> Tables {
    tables(&format!("[labels]\n{labels}\n{rules}"))
}

/// The labels of the data at `path`, as a mask.
fn of(tables: &Tables, path: &str) -> u64 {
    labels(tables, 1, path).0
}

fn labels(tables: &Tables, device: u32, path: &str) -> (u64, u64) {
    plain(tables).labels(Asker { revision: REVISION, subject: 0 }, device, &Walk::new(path))
}

#[test]
fn patterns_of_every_shape_say_which_labels_a_file_has() {
    let tables = labelled(
        "a = [\"/srv/exports/**\"]\nb = { path = [\"/home/*/.ssh/id_*\", \"**/.env\"], by = \"lineage\" }\nc = [\"**/x/y\", \"/srv/exports/one\"]",
        "",
    );
    assert_eq!(of(&tables, "/srv/exports"), 1);
    assert_eq!(of(&tables, "/srv/exports/deep/below"), 1);
    assert_eq!(of(&tables, "/srv/exports/one"), 1 | 4);
    assert_eq!(of(&tables, "/srv/exports/x/y"), 1 | 4);
    assert_eq!(of(&tables, "/srv/exports/.env"), 1 | 2);
    assert_eq!(of(&tables, "/home/ada/.ssh/id_rsa"), 2);
    assert_eq!(of(&tables, "/home/ada/.ssh/config"), 0);
    assert_eq!(of(&tables, "/srv"), 0);
    assert_eq!(of(&tables, "/etc/passwd"), 0);
}

#[test]
fn rules_on_the_same_paths_stay_as_they_are() {
    let rules = [rule("0", "open = { path = [\"/srv/**\"] }"), rule("1", "open = { path = [\"**/.env\"] }")];
    let tables = labelled("a = [\"/srv/a/**\", \"**/.env\", \"**/*.key\"]", &rules.concat());
    assert_eq!(at(&tables, "/srv/a/b", READ), Some(0));
    assert_eq!(at(&tables, "/etc/.env", READ), Some(1));
    assert_eq!(at(&tables, "/etc/a.key", READ), None);
    assert_eq!([of(&tables, "/srv/a/b"), of(&tables, "/etc/.env"), of(&tables, "/etc/a.key")], [1, 1, 1]);
}

#[test]
fn who_moves_a_directory_takes_the_labels_of_all_below_it() {
    let tables = labelled("a = [\"/srv/exports/**\"]\nb = [\"/srv/one\"]\nc = [\"**/.env\"]\nd = [\"**/x/y\"]", "");
    assert_eq!(labels(&tables, 1, "/srv"), (0, 1 | 2));
    assert_eq!(labels(&tables, 1, "/srv/exports"), (1, 0));
    assert_eq!(labels(&tables, 1, "/etc"), (0, 0), "whatever it is called, .env stays .env");
    assert_eq!(labels(&tables, 1, "/etc/x"), (0, 8));
}

#[test]
fn what_cannot_be_told_has_every_label_that_it_may_have() {
    let tables = labelled("a = [\"/srv/exports/**\"]\nb = [\"/**\"]", "");
    assert_eq!(labels(&tables, 9, "/elsewhere").0, 2, "a file system that the policy does not name");
    let mut unknown = 0;
    let asker = Asker { revision: REVISION, subject: 0 };
    assert_eq!(matcher::unknown_path_rule(&plain(&tables), asker, READ, &mut unknown), NO_RULE);
    assert_eq!(unknown, 3);
}

#[test]
fn a_rule_applies_once_one_of_its_labels_is_carried() {
    let rules = [
        rule("0", "connect = {}\nif_read = [\"a\", \"c\"]"),
        rule("1", "connect = { port = [80] }\nif_read = [\"b\"]"),
        rule("2", "connect = { port = [80] }"),
    ];
    let tables = labelled("a = [\"/a\"]\nb = [\"/b\"]\nc = [\"/c\"]", &rules.concat());
    let asker = Asker { revision: REVISION, subject: 0 };
    let met = |labels, port| {
        let circumstances = Circumstances { labels, ..Circumstances::default() };
        some(matcher::address_rule(&Evaluation::new(&tables, circumstances), asker, &[0; 16], port))
    };
    assert_eq!([0, 1, 2, 4, 6].map(|labels| met(labels, 80)), [Some(2), Some(0), Some(1), Some(0), Some(0)]);
    assert_eq!([0, 1, 2].map(|labels| met(labels, 81)), [None, Some(0), None]);
}

#[test]
fn a_label_stands_for_its_paths_in_a_rule() {
    let rules = rule("0", "open = { label = [\"a\", \"b\"], access = [\"read\"] }");
    let tables = labelled("a = [\"/a/**\"]\nb = [\"**/b\"]\nc = [\"/c\"]", &rules);
    let met = ["/a/x", "/x/b", "/c"].map(|path| at(&tables, path, READ));
    assert_eq!(met, [Some(0), Some(0), None]);
    assert_eq!(at(&tables, "/a/x", WRITE), None);
}

#[test]
fn what_is_no_label_is_refused() {
    assert_said(
        "[labels]\n\"a b\" = [\"/x\"]\nc = [\"x\"]\nd = {}\ne = { path = [\"/e\"], by = \"user\", of = 1 }\nf = 1\n",
        "web-1.toml:6:1: \"a b\" is not a name (letters, digits, - _ and . only, at most 64)\n\
         web-1.toml:7:6: \"x\" is not an absolute path (begin it with / or **/)\n\
         web-1.toml:8:5: a label has no path (add path = [\"/dir/**\"])\n\
         web-1.toml:9:27: a label does not go by \"user\" (one of: tree, lineage)\n\
         web-1.toml:9:35: a label has no key \"of\" (one of: path, by)\n\
         web-1.toml:10:5: f is not a list but an integer (write [\"...\"], also for one)",
    );
    assert_said("[[labels]]\n", "web-1.toml:5:1: labels is not a table but a list (write { key = value, ... })");
}

#[test]
fn unknown_labels_are_refused() {
    assert_said(
        "[labels]\na = [\"/a\"]\n[[rule]]\nname = \"r\"\nopen = { label = [\"b\"] }\nif_read = [\"c\"]\nthen = \"deny\"\n",
        "web-1.toml:9:19: no label is named \"b\" (define it, or one of: a)\n\
         web-1.toml:10:12: no label is named \"c\" (define it, or one of: a)",
    );
    assert_said_of_rule(
        "connect = {}\nif_read = [\"a\"]\nthen = \"deny\"",
        "web-1.toml:8:12: no label is named \"a\" (none is defined)",
    );
}

#[test]
fn a_rule_names_files_by_path_or_by_label() {
    assert_said(
        "[labels]\na = [\"/a\"]\n[[rule]]\nname = \"r\"\nopen = { path = [\"/b\"], label = [\"a\"] }\nthen = \"deny\"\n",
        "web-1.toml:9:25: open has path and label (keep one: a label stands for its own paths)",
    );
}

#[test]
fn more_labels_than_a_mask_has_bits_are_refused() {
    let labels = |count| -> String { (0..count).map(|number| format!("l{number} = [\"/{number}\"]\n")).collect() };
    assert_eq!(of(&labelled(&labels(64), ""), "/63"), 1 << 63);
    assert_said(
        &format!("[labels]\n{}", labels(65)),
        "web-1.toml:70:1: the policy has more than 64 labels (join some: a label can have many paths)",
    );
}
