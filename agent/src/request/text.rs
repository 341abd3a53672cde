//! Text for people, and from them.

use std::time::Duration;

/// One argument or path, so that it can be told from two.
pub fn quoted(argument: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\\' | '[' | ']');
    match !argument.is_empty() && argument.chars().all(plain) {
        true => shown(argument),
        false => format!("\"{}\"", shown(&argument.replace('\\', "\\\\").replace('"', "\\\""))),
    }
}

/// Text from the subject with everything that could forge a line or hide in it made visible.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Control characters, those that reorder or hide text (Unicode Cf), and those that are not seen
/// (`Default_Ignorable_Code_Point`, blank letters).
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{34f}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}')
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A span of time for people. What is negative is over.
pub fn span(seconds: i64) -> String {
    match seconds {
        ..=0 => "0 s".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// Likewise.
pub fn span_of(duration: Duration) -> String {
    span(i64::try_from(duration.as_secs()).unwrap_or(i64::MAX))
}

/// Seconds of a span of time as people write it: `90s`, `5m`, `1h`. As good as infinite where the number is too large.
pub fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(number.parse().unwrap_or(u64::MAX).saturating_mul(factor))
}

/// Lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        let spans = [-3, 0, 59, 60, 3599, 7260].map(span);
        assert_eq!(spans, ["0 s", "0 s", "59 s", "1 min 0 s", "59 min 59 s", "2 h 1 min"]);
    }

    #[test]
    fn what_hides_or_reorders_text_is_shown() {
        assert_eq!(shown("a\n\u{202e}b"), "a\\u{a}\\u{202e}b");
        for ignored in "\u{180b}\u{180f}\u{1bca0}\u{1bca3}\u{fff0}\u{fff8}\u{e0000}\u{e0080}\u{e01f0}\u{e0fff}".chars()
        {
            assert_eq!(shown(&ignored.to_string()), ignored.escape_unicode().to_string());
        }
    }
}
