//! `holdpoint status` as people read it.

use crate::{request::shown, sockets::Status};

/// The state in one word first, then what it rests on.
pub(super) fn lines(status: &Status) -> String {
    let mut text = format!("{}\n", headline(status));
    for problem in &status.problems {
        text += &format!("  problem    {}\n", shown(problem));
    }
    text += &format!("  agent      {}, running since {}\n", status.version, status.since);
    text += &format!("  policy     {}, revision {}\n", shown(&status.policy_file), shown(&status.policy_revision));
    text += &format!("  host       {}\n", shown(&status.host));
    text += &format!("  hooks      {}\n", hooks(status));
    let memory = status.kernel_memory.map_or("?".to_owned(), |bytes| bytes.div_ceil(1 << 20).to_string());
    text += &format!("  memory     {memory} MiB of the kernel's, for tables\n");
    text += &format!("  governed   {} threads\n", status.governed_threads);
    text += &format!("  pending    {} holds\n", status.pending_holds);
    text += &format!("  hard links {} files that rules are about have further names\n", status.hard_links);
    text += &format!("  lost       {} events\n", status.lost_events);
    text + &format!("  not held   {}\n", not_held(status))
}

fn headline(status: &Status) -> &'static str {
    match (status.attached, status.enforcing) {
        (_, true) => "enforcing",
        (true, false) => "attached, NOT enforcing",
        (false, false) => "NOT attached, NOT enforcing",
    }
}

/// Those that were not proven are named first: they are the news.
fn hooks(status: &Status) -> String {
    let names = |proven: bool| {
        let chosen = status.hooks.iter().filter(|hook| hook.proven == proven).map(|hook| hook.name.as_str());
        chosen.collect::<Vec<_>>().join(", ")
    };
    match (names(false), names(true)) {
        (none, nothing) if none.is_empty() && nothing.is_empty() => "none".to_owned(),
        (none, proven) if none.is_empty() => format!("all proven: {proven}"),
        (missing, proven) => format!("NOT proven: {missing}; proven: {proven}"),
    }
}

fn not_held(status: &Status) -> String {
    let counts = status.not_held.iter().filter(|(_, count)| **count != 0);
    let text = counts.map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ");
    if text.is_empty() { "0 requests".to_owned() } else { format!("refused instead: {text}") }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::sockets::Hook;

    fn status(enforcing: bool) -> Status {
        let hook = |name: &str, proven| Hook { name: name.into(), proven };
        Status {
            version: "0.1.0".into(),
            since: Timestamp::UNIX_EPOCH,
            attached: true,
            enforcing,
            problems: vec![],
            hooks: vec![hook("file_open", true), hook("socket_connect", enforcing)],
            policy_file: "/etc/holdpoint/policy.toml".into(),
            host: "web-1".into(),
            policy_revision: "ab".into(),
            kernel_memory: Some(3 << 20),
            governed_threads: 3,
            pending_holds: 1,
            hard_links: 0,
            lost_events: 0,
            not_held: [("no_restart".to_owned(), 2), ("no_signal".to_owned(), 0)].into(),
        }
    }

    #[test]
    fn attached_is_not_enforcing() {
        assert!(lines(&status(true)).starts_with("enforcing\n"));
        let text = lines(&status(false));
        assert!(text.starts_with("attached, NOT enforcing\n"));
        assert!(text.contains("NOT proven: socket_connect; proven: file_open"), "{text}");
    }

    #[test]
    fn only_what_was_refused_is_counted_out() {
        assert!(lines(&status(true)).contains("refused instead: 2 no_restart\n"));
    }
}
