//! Promises 1 to 3 where containers live: an open of a file on overlayfs opens and copies what is behind it too.

use std::{fs, os::unix::fs::chown, process::Command, sync::LazyLock};

use holdpoint_tests::{Agent, Hold, control, shared, shared::Shared, site};

const ROOT: &str = "/srv/overlay";

/// Where the rule is: on the path that the program uses, on what is behind it, on both.
const PLACES: [(&str, &str); 3] = [("front", "front/merged"), ("behind", "behind/lower"), ("both", "both")];

/// An overlay for each place, mounted before the agent starts.
static MOUNTED: LazyLock<()> = LazyLock::new(|| {
    for (place, _) in PLACES {
        let base = format!("{ROOT}/{place}");
        for layer in ["lower", "upper", "work", "merged"] {
            fs::create_dir_all(format!("{base}/{layer}")).expect("create a directory");
        }
        give(&format!("{base}/upper"));
        let options = format!("lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
        let merged = format!("{base}/merged");
        let mount = Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options, &merged]).status();
        assert!(mount.expect("start mount").success(), "mount {merged}");
    }
});

/// Makes the user `agent` the owner.
fn give(path: &str) {
    chown(path, Some(site::AGENT), Some(site::AGENT)).expect("chown");
}

fn agent() -> Shared {
    LazyLock::force(&MOUNTED);
    let mut policy = "[[subject]]\nname = \"tests\"\n\n[reviewers]\npeople = [\"reviewer\"]\n".to_owned();
    for (place, path) in PLACES {
        policy += &format!(
            "\n[[rule]]\nname = \"{place}\"\nopen = {{ path = [\"{ROOT}/{path}/**\"] }}\n\
             then = \"hold\"\nreviewers = \"people\"\ntimeout = \"3m\"\non_deny = \"fail\"\n"
        );
    }
    shared(&policy)
}

/// A file that is only in the lower layer.
struct Lower {
    place: &'static str,
    name: String,
}

impl Lower {
    fn new(place: &'static str) -> Self {
        LazyLock::force(&MOUNTED);
        let file = Self { place, name: format!("file-{}", site::fresh()) };
        fs::write(file.on("lower"), "Ada\n").expect("write a file");
        give(&file.on("lower"));
        file
    }

    fn on(&self, layer: &str) -> String {
        format!("{ROOT}/{}/{layer}/{}", self.place, self.name)
    }

    /// The file that the reviewer is shown.
    fn shown(&self) -> String {
        self.on(if self.place == "behind" { "lower" } else { "merged" })
    }

    fn is_held(&self, agent: &Agent, actor: &holdpoint_tests::Actor) -> Hold {
        let hold = agent.hold_of(actor);
        assert_eq!((hold.text("path"), hold.text("rule")), (&*self.shown(), self.place));
        hold
    }
}

fn places() -> impl Iterator<Item = &'static str> {
    PLACES.into_iter().map(|(place, _)| place)
}

#[test]
fn a_file_on_overlayfs_is_read_after_one_approval() {
    for place in places() {
        let file = Lower::new(place);
        let steps = [&format!("open {} r", file.on("merged")), "read", "close"].map(str::to_owned);
        let twice = || steps.iter().chain(&steps);
        assert_eq!(control(twice()).stdout, "open ok\nread Ada\n".repeat(2), "the control");

        let agent = agent();
        let actor = agent.act(twice());
        let first = file.is_held(&agent, &actor);
        assert_eq!(actor.stdout(), "");
        agent.approve(&first);
        let second = agent.wait_for_hold(|hold| hold.tree() == first.tree() && hold.id() != first.id());
        assert_eq!((actor.stdout().as_str(), second.text("path")), ("open ok\nread Ada\n", &*file.shown()));
        agent.deny(&second);
        assert_eq!(actor.end().stdout, "open ok\nread Ada\nopen EPERM\nread EBADF\n");
        assert_eq!(agent.questions(first.tree()), 2);
    }
}

#[test]
fn a_file_on_overlayfs_is_copied_up_after_the_approval() {
    for place in places() {
        let file = Lower::new(place);
        let steps = |file: &Lower| [format!("open {} rw", file.on("merged")), "write Bob".to_owned()];
        let other = Lower::new(place);
        assert_eq!(control(steps(&other)).stdout, "open ok\nwrite ok\n", "the control");
        assert!(site::exists(other.on("upper")));

        let agent = agent();
        let actor = agent.act(steps(&file));
        let hold = file.is_held(&agent, &actor);
        assert!(!site::exists(file.on("upper")));
        agent.deny(&hold);
        assert_eq!(actor.end().stdout, "open EPERM\nwrite EBADF\n");
        assert!(!site::exists(file.on("upper")));

        let actor = agent.act(steps(&file));
        let hold = file.is_held(&agent, &actor);
        agent.approve(&hold);
        assert_eq!(actor.end().stdout, "open ok\nwrite ok\n");
        assert_eq!(agent.questions(hold.tree()), 1);
        assert_eq!(
            (site::content(file.on("upper")).as_str(), site::content(file.on("lower")).as_str()),
            ("Bob\n", "Ada\n")
        );
    }
}

#[test]
fn a_file_on_overlayfs_is_created_and_emptied_after_one_approval() {
    for place in ["front", "both"] {
        let file = Lower::new(place);
        let fresh = format!("{}-new", file.on("merged"));
        let steps = [format!("open {fresh} w+creat+excl"), format!("open {} w+trunc", file.on("merged"))];
        let agent = agent();
        let actor = agent.act(&steps);
        let first = agent.hold_of(&actor);
        assert!(!site::exists(&fresh));
        agent.approve(&first);
        let second = agent.wait_for_hold(|hold| hold.tree() == first.tree() && hold.id() != first.id());
        assert_eq!((site::content(&fresh).as_str(), site::content(file.on("merged")).as_str()), ("", "Ada\n"));
        agent.approve(&second);
        assert_eq!(actor.end().stdout, "open ok\nopen ok\n");
        assert_eq!(site::content(file.on("merged")), "");
        assert_eq!(agent.questions(first.tree()), 2);

        fs::remove_file(&fresh).unwrap();
        fs::write(file.on("merged"), "Ada\n").unwrap();
        assert_eq!(control(&steps).stdout, "open ok\nopen ok\n", "the control");
        assert_eq!(site::content(file.on("merged")), "");
    }
}

#[test]
fn an_approval_covers_what_is_behind_a_file_also_after_a_change_of_the_policy() {
    let [file, other] = [Lower::new("both"), Lower::new("both")];
    let steps = |file: &Lower| [format!("open {} rw", file.on("merged")), "write Bob".to_owned()];
    assert_eq!(control(steps(&other)).stdout, "open ok\nwrite ok\n", "the control");

    let agent = agent();
    let actor = agent.act(steps(&file));
    let hold = file.is_held(&agent, &actor);
    let changed = agent.reload(&format!("# Other words, the same rules.\n{}", agent.policy()));
    assert!(changed.success(), "{changed:?}");
    agent.approve(&hold);
    assert_eq!(actor.end().stdout, "open ok\nwrite ok\n");
    assert_eq!(agent.questions(hold.tree()), 1);
    assert!(agent.reload(agent.policy()).success());
}
