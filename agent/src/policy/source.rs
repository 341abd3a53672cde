//! The text that was read: of one file, or of a policy's main file and of its parts.

use serde::{Deserialize, Serialize};

use super::problem::Span;

/// Files in their order, and one space of [`Span`]s for all: that of each file begins after the end of the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The files; the first is the main one.
    pub files: Vec<File>,
}

/// The text of a file and the name it goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The file, as the person named it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// A place as people look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'a> {
    /// The file.
    pub file: &'a str,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
}

impl File {
    /// The bytes that it takes in the space: its end is a place, too.
    fn length(&self) -> usize {
        self.text.len() + 1
    }
}

impl Source {
    /// One file.
    pub fn one(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { files: vec![File { name: name.into(), text: text.into() }] }
    }

    /// The name of the main file.
    pub fn name(&self) -> &str {
        self.files.first().map_or("", |file| &file.name)
    }

    /// The files, each with the place at which it begins.
    pub fn begun(&self) -> impl Iterator<Item = (usize, &File)> {
        self.files.iter().scan(0, |next, file| {
            let begin = *next;
            *next += file.length();
            Some((begin, file))
        })
    }

    /// Where the space ends.
    pub fn end(&self) -> usize {
        self.files.iter().map(File::length).sum()
    }

    /// The file in which a span lies, and the span in it.
    pub fn within(&self, span: &Span) -> (&File, Span) {
        let file = self.begun().filter(|(begin, _)| *begin <= span.start).last();
        let (begin, file) = file.expect("a source has a file");
        let length = file.text.len();
        (file, (span.start - begin).min(length)..(span.end.saturating_sub(begin)).min(length))
    }

    /// Where a byte is.
    pub fn position(&self, byte: usize) -> Position<'_> {
        let (file, span) = self.within(&(byte..byte));
        let before = &file.text[..file.text.floor_char_boundary(span.start)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Position { file: &file.name, line, column: before[line_start..].chars().count() + 1 }
    }
}

impl std::fmt::Display for Position<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file.escape_debug(), self.line, self.column)
    }
}
