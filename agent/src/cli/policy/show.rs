//! `holdpoint policy show`: the policy as it will be compiled for this host.

use std::{path::Path, process::ExitCode};

use serde_json::{Value, json};

use super::{Asking, Report, said};
use crate::{
    mask::{Masks, Said},
    policy::{Judge, Pattern, Rule, Usage, User, usage, verdict_word},
};

/// Shows the policy in `file`.
pub fn show(file: &Path, asking: &Asking, json: bool) -> ExitCode {
    said(asking.judge(file).map(|judge| report(&judge)), json)
}

fn report(judge: &Judge) -> Report {
    let usage = usage(&judge.tables, judge.policy.subjects.len());
    Report { text: text(judge, &usage), json: value(judge, &usage), code: 0 }
}

fn text(judge: &Judge, usage: &[Usage]) -> String {
    let policy = &judge.policy;
    let mode = if policy.observes { "observe: nothing is held, denied or killed" } else { "enforce" };
    let mut text = format!("revision {} (SHA-256 {})\nmode {mode}\n", policy.revision(), policy.digest);
    text += &format!("host {}\n\nfiles\n", policy.host.name().escape_debug());
    for (file, here) in policy.source.files.iter().zip(&policy.here) {
        text += &format!("  {}{}\n", file.name.escape_debug(), if *here { "" } else { " (for other hosts)" });
    }
    text += "\nsubjects\n";
    for subject in &policy.subjects {
        let exe = subject.exe.iter().map(|path| path.display().to_string());
        let starters: Vec<_> = exe.chain(subject.cgroup.iter().map(Pattern::to_string)).collect();
        let starters = if starters.is_empty() { "holdpoint run".to_owned() } else { starters.join(", ") };
        let parent = subject.parent.iter().map(|path| path.display().to_string()).collect();
        let only = [(" from ", parent), (" by ", names(&subject.users)), (" in group ", names(&subject.groups))];
        let only = only.iter().filter(|(_, names)| !names.is_empty());
        let only: String = only.map(|(word, names): &(_, Vec<String>)| format!("{word}{}", names.join(", "))).collect();
        text += &format!("  {}: {}{}\n", subject.name, starters.escape_debug(), only.escape_debug());
    }
    text += &format!("\nmasks\n{}", masks(&policy.masks));
    text += "\nrules, the first that matches wins\n";
    for (index, rule) in policy.rules.iter().enumerate() {
        text += &format!("{index:>5}  {:<5}  {:?} ({})\n", word(rule), rule.name, judge.place(rule));
    }
    text += "\ntables of the kernel\n";
    for Usage { what, rows, limit, bytes } in usage {
        text += &format!("  {what:<36}{rows:>7} of {limit:>6}  {bytes:>9} bytes\n");
    }
    text
}

/// What is not shown of what is asked.
fn masks(masks: &Masks) -> String {
    let Said { off: _, after, variable, text } = &masks.said;
    let text = text.iter().map(ToString::to_string).collect();
    let built_in = masks.built_in().map(|one| one.word().to_owned()).collect();
    let all = [("built in", built_in), ("after", after.clone()), ("variable", variable.clone()), ("text", text)];
    let said = all.iter().filter(|(_, words): &&(_, Vec<String>)| !words.is_empty());
    said.map(|(word, words)| format!("  {word}: {}\n", words.join(", ").escape_debug())).collect()
}

fn value(judge: &Judge, usage: &[Usage]) -> Value {
    let subjects = judge.policy.subjects.iter().map(|subject| {
        let cgroup: Vec<_> = subject.cgroup.iter().map(Pattern::to_string).collect();
        json!({
            "name": subject.name, "exe": subject.exe, "parent": subject.parent, "cgroup": cgroup,
            "user": names(&subject.users), "group": names(&subject.groups),
        })
    });
    let rules = judge.policy.rules.iter().map(|rule| {
        json!({ "name": rule.name, "verdict": word(rule), "at": judge.place(rule), "built_in": judge.is_built_in(rule) })
    });
    let tables = usage.iter().map(
        |Usage { what, rows, limit, bytes }| json!({ "what": what, "rows": rows, "limit": limit, "bytes": bytes }),
    );
    let files = judge.policy.source.files.iter().zip(&judge.policy.here);
    let files = files.map(|(file, here)| json!({ "file": file.name, "here": here }));
    json!({
        "host": judge.policy.host, "files": files.collect::<Vec<_>>(),
        "revision": judge.policy.revision(), "digest": judge.policy.digest, "observes": judge.policy.observes,
        "masks": { "built_in": judge.policy.masks.built_in().collect::<Vec<_>>(), "said": judge.policy.masks.said },
        "subjects": subjects.collect::<Vec<_>>(), "rules": rules.collect::<Vec<_>>(), "tables": tables.collect::<Vec<_>>(),
    })
}

fn names(users: &[User]) -> Vec<String> {
    users.iter().map(User::to_string).collect()
}

fn word(rule: &Rule) -> &'static str {
    verdict_word(rule.verdict())
}
