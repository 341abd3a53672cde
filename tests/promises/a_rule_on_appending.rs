//! Promise 8, of files that may only grow: who may append does nothing else to what is there, by whichever call.

use std::{fs, path::Path};

use holdpoint_tests::{
    Agent, User,
    actor::with_actor,
    shared,
    shared::Shared,
    site::{self, ROOT},
    ungoverned,
};

/// Where the files are: what may be appended to, what may be written, and what is held before it shrinks.
const PLACES: [(&str, &str, &str); 3] = [
    ("log", "[\"read\", \"append\", \"create\"]", "then = \"allow\""),
    ("data", "[\"read\", \"write\", \"create\"]", "then = \"allow\""),
    ("kept", "[\"truncate\"]", "then = \"hold\"\nreviewers = \"people\"\non_deny = \"fail\"\npause = \"0s\""),
];

fn agent() -> Shared {
    for (place, ..) in PLACES {
        fs::create_dir_all(format!("{ROOT}/grow/{place}")).unwrap();
    }
    let rules = PLACES.map(|(place, access, then)| {
        format!(
            "[[rule]]\nname = \"{place}\"\nopen = {{ path = [\"{ROOT}/grow/{place}/**\"], access = {access} }}\n{then}\n"
        )
    });
    let rest = ["log", "data"].map(|place| format!("\"{ROOT}/grow/{place}/**\"")).join(", ");
    shared(&format!(
        "[[subject]]\nname = \"grow\"\n[reviewers]\npeople = [\"reviewer\"]\n{}[[rule]]\nname = \"rest\"\n\
         open = {{ path = [{rest}] }}\nthen = \"deny\"\n",
        rules.concat()
    ))
}

/// A file there.
fn file(place: &str) -> String {
    site::file(&format!("grow/{place}"), "Ada\n")
}

fn said(agent: &Agent, steps: &[String]) -> String {
    agent.spawn_as(User::AGENT, "grow", with_actor(steps)).end().stdout
}

/// Ways to change what is there: what is done first, and what changes it.
const WAYS: [(&str, &str); 9] = [
    ("", "open FILE w"),
    ("", "open FILE rw+trunc+append"),
    ("", "truncate FILE 0"),
    ("open FILE rw+append", "overwrite"),
    ("open FILE rw+append", "share"),
    ("open FILE rw+append", "share-later"),
    ("open FILE rw+append", "share exec"),
    ("open FILE rw+append", "share-later exec"),
    ("open FILE w+append", "resize 0"),
];

#[test]
fn who_may_append_changes_nothing_that_is_there() {
    let agent = agent();
    let log = file("log");
    let append = ["open FILE w+append", "write Grace"].map(|step| step.replace("FILE", &log));
    assert_eq!(said(&agent, &append), "open ok\nwrite ok\n");
    assert_eq!(fs::read_to_string(&log).unwrap(), "Ada\nGrace");
    for (first, change) in WAYS {
        let word = change.split(' ').next().unwrap();
        let steps = |file: &str| -> Vec<_> {
            [first, change].iter().filter(|step| !step.is_empty()).map(|step| step.replace("FILE", file)).collect()
        };
        let begun = if first.is_empty() { "" } else { "open ok\n" };
        let other = file("log");
        let control = ungoverned(User::AGENT, with_actor(steps(&other))).end();
        assert_eq!(control.stdout, format!("{begun}{word} ok\n"), "the control: {change}");
        assert_eq!(said(&agent, &steps(&log)), format!("{begun}{word} EPERM\n"), "{change}");
        assert_eq!(fs::read_to_string(&log).unwrap(), "Ada\nGrace", "{change}");
    }
}

#[test]
fn who_may_write_may_append_and_go_on_to_write_elsewhere() {
    let agent = agent();
    let steps = |place: &str| {
        let steps = ["open FILE rw+append", "write Grace", "share", "share-later", "overwrite", "open FILE w"];
        steps.map(|step| step.replace("FILE", &file(place)))
    };
    let expected = "open ok\nwrite ok\nshare ok\nshare-later ok\noverwrite ok\nopen ok\n";
    assert_eq!(said(&agent, &steps("data")), expected);
}

#[test]
fn a_file_that_is_made_to_be_appended_to_is_not_one_to_be_written() {
    let agent = agent();
    let made = |how: &str| {
        let new = format!("{}-new", file("log"));
        let said = said(&agent, &[format!("open {new} {how}")]);
        (said, Path::new(&new).exists())
    };
    assert_eq!(made("w+creat+append"), ("open ok\n".to_owned(), true));
    assert_eq!(made("w+creat"), ("open EPERM\n".to_owned(), false));
}

#[test]
fn shortening_a_file_that_is_open_is_held() {
    let agent = agent();
    for (answer, said, content) in [("approve", "ok", ""), ("deny", "EPERM", "Ada\n")] {
        let kept = file("kept");
        let steps = [format!("open {kept} w"), "resize 0".to_owned()];
        let control = ungoverned(User::AGENT, with_actor(&steps)).end();
        assert_eq!(control.stdout, "open ok\nresize ok\n", "the control");
        fs::write(&kept, "Ada\n").unwrap();
        let actor = agent.spawn_as(User::AGENT, "grow", with_actor(&steps));
        let hold = agent.hold_of(&actor);
        assert_eq!((hold.text("rule"), hold.text("path")), ("kept", &*kept));
        assert_eq!(fs::read_to_string(&kept).unwrap(), "Ada\n", "nothing before the answer");
        if answer == "approve" {
            agent.approve(&hold)
        } else {
            agent.deny(&hold)
        }
        assert_eq!(actor.end().stdout, format!("open ok\nresize {said}\n"));
        assert_eq!(fs::read_to_string(&kept).unwrap(), content);
    }
}
