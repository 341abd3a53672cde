//! What the tools say.

use std::{collections::BTreeMap, fs, path::PathBuf};

use holdpoint_tests::{Json, User, agent::say};

use super::{Answer, Round, policy};

/// Where the policies and their test files are.
const FILES: &str = "/run/holdpoint-tests/agree";

fn file(number: usize) -> PathBuf {
    PathBuf::from(FILES).join(format!("{number}.toml"))
}

fn write(rounds: &[Round]) -> Vec<String> {
    fs::create_dir_all(FILES).unwrap();
    let files = (0..rounds.len()).map(file);
    for (file, round) in files.clone().zip(rounds) {
        fs::write(file, round.policy.text()).unwrap();
    }
    files.map(|file| file.display().to_string()).collect()
}

/// Leaves out the rules that earlier ones take all of, which a policy may not have.
pub fn keep_what_can_match(rounds: &mut [Round]) {
    let files = write(rounds);
    let reply = say(User::ROOT, ["policy", "check", "--json"].into_iter().chain(files.iter().map(String::as_str)));
    for line in reply.stdout.lines() {
        let said: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
        let Some(message) = said["message"].as_str() else { continue };
        let (name, rest) = quoted(message).unwrap_or_else(|| panic!("{said}"));
        assert!(
            rest.starts_with(" can never match"),
            "{said}\n{}",
            fs::read_to_string(said["file"].as_str().unwrap()).unwrap()
        );
        let number = files.iter().position(|file| said["file"] == **file).expect("a file of these");
        rounds[number].policy.rules.retain(|rule| rule.name != name);
    }
}

/// What user space says of each question: the verdict and the rule that decides. By round, tree, request and question.
pub fn answers(rounds: &[Round]) -> BTreeMap<[usize; 4], Answer> {
    let files = write(rounds);
    let at = policy::now();
    for (round, file) in rounds.iter().zip(&files) {
        let trees = round.trees.iter().enumerate();
        let cases: String = trees.map(|(tree, asked)| asked.cases(tree, &at)).collect();
        fs::write(file.replace(".toml", ".test.toml"), cases).unwrap();
    }
    let reply = say(User::ROOT, ["policy", "test", "--json"].into_iter().chain(files.iter().map(String::as_str)));
    assert!(matches!(reply.status.code(), Some(0 | 1)), "{reply:?}");
    let said: Vec<Json> = serde_json::from_str(&reply.stdout).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    said.iter().map(answer).collect()
}

/// `hold by "r3" (0.toml:17)`, `allow by no rule`
fn answer(said: &Json) -> ([usize; 4], Answer) {
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("no {name}: {said}"));
    let round = text("file").rsplit('/').next().and_then(|name| name.strip_suffix(".test.toml")).expect("a test file");
    let name = format!("{round} {}", text("case"));
    let place: Vec<_> = name.split(' ').map(|number| number.parse().expect("a number")).collect();
    let (verdict, by) = text("came").split_once(" by ").expect("a rule or none");
    let rule = quoted(by).map(|(rule, _)| rule.to_owned());
    (place.try_into().expect("four numbers"), (verdict.to_owned(), rule))
}

/// What stands between the first quotation marks, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.split_once('"')?.1.split_once('"')
}
