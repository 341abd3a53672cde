//! What the webhook and the record say, for people.

use std::time::Duration;

use serde_json::Value;

/// A string, or a dash.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// What names the hold, as `holdpoint run` shows it.
pub fn short(hold: &Value) -> &str {
    text(&hold["hold"]).get(..8).unwrap_or_default()
}

/// The best part of a question, as JSON in lines.
pub fn question(data: &Value) -> Vec<String> {
    const KEYS: [&str; 8] = ["hold", "digest", "summary", "rule", "why", "process", "deadline", "callback_url"];
    const WIDTH: usize = 80;
    let field = |key| {
        let value = data[key].to_string();
        let cut = if value.chars().count() > WIDTH { "…" } else { "" };
        format!("  \"{key}\": {}{cut},", value.chars().take(WIDTH).collect::<String>())
    };
    let more = data.as_object().map_or(0, |all| all.keys().filter(|key| !KEYS.contains(&key.as_str())).count());
    let rest = format!("  … {more} more: operation, subject, ancestry, …");
    ["{".to_owned()].into_iter().chain(KEYS.map(field)).chain([rest, "}".to_owned()]).collect()
}

/// From one timestamp (`2027-01-15T08:01:00.5Z`) to one within a day of it.
pub fn span(from: &Value, to: &Value) -> Option<Duration> {
    const DAY: u64 = 24 * 60 * 60;
    let second = |value: &Value| {
        let time = value.as_str()?.split('T').nth(1)?.get(..8)?;
        time.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))
    };
    Some(Duration::from_secs((second(to)? + DAY - second(from)?) % DAY))
}

/// A line of the record for people, if it is one about a hold.
pub fn recorded(entry: &Value) -> Option<String> {
    let (request, answer) = (&entry["request"], &entry["answer"]);
    let what = match text(&entry["event"]) {
        "held" if request["path"].is_string() => {
            format!("open {} by process {}", text(&request["path"]), request["pid"])
        }
        "held" => {
            format!("connect {}:{} by process {}", text(&request["address"]), request["port"], request["pid"])
        }
        "decided" => {
            let way = answer["proof"]["channel"].as_str().map_or("the command line", |_| "the webhook");
            format!("{} by {}, by {way}: {}", text(&entry["decision"]), text(&answer["who"]), text(&answer["why"]))
        }
        "passed" => "the call went through".to_owned(),
        "refused" => "the call did not happen".to_owned(),
        _ => return None,
    };
    let time = text(&entry["time"]).split('T').nth(1)?.get(..8)?;
    Some(format!("{time}  {}  {:<8} {what}", short(entry), text(&entry["event"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_span_may_pass_midnight() {
        let [from, to] = ["2026-05-01T23:58:00.25Z", "2026-05-02T00:03:00.25Z"].map(|time| json!(time));
        assert_eq!(span(&from, &to), Some(Duration::from_secs(300)));
        assert_eq!(span(&Value::Null, &to), None);
    }

    #[test]
    fn a_decision_is_told_with_its_answer() {
        let answer = json!({ "who": "bob", "why": "no", "proof": { "by": "local", "uid": 1001 } });
        let time = "2026-05-01T23:58:00.25Z";
        let entry = json!({ "time": time, "event": "decided", "hold": "3f9c12ab00000001", "decision": "kill", "answer": answer });
        let told = "23:58:00  3f9c12ab  decided  kill by bob, by the command line: no";
        assert_eq!(recorded(&entry).as_deref(), Some(told));
        assert_eq!(recorded(&json!({ "time": time, "event": "stopped" })), None);
    }

    #[test]
    fn a_question_is_cut_where_it_is_long() {
        let lines = question(&json!({ "hold": "3f9c12ab00000001", "why": "w".repeat(200), "tree": "t" }));
        assert!(lines.iter().all(|line| line.chars().count() < 110), "{lines:?}");
        assert_eq!(lines[1], "  \"hold\": \"3f9c12ab00000001\",");
    }
}
