//! What is wrong with a policy: where, what, and what to do about it. All problems are shown, not the first.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// Bytes of the source.
pub type Span = Range<usize>;

/// The text of a policy and the name it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as the person named it.
    pub file: String,
    /// Its content.
    pub text: String,
}

/// What is wrong with one value, whose place the caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

/// One thing that is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The place that it contradicts, if there is one.
    pub earlier: Option<Span>,
}

/// A policy that is refused, with every problem found in it. Shows one line per problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The policy.
    pub source: Source,
    /// What is wrong, in the order of the source.
    pub problems: Vec<Problem>,
}

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy is refused for it.
    Error,
    /// It should be known.
    Warning,
}

/// A problem for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the policy is refused for it.
    pub severity: Severity,
    /// The file, as the person named it.
    pub file: String,
    /// Line, from 1; none if the file could not be read.
    pub line: Option<usize>,
    /// Character in the line, from 1; likewise.
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Source {
    /// Line and character of a byte, both from 1.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(byte)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before[line_start..].chars().count() + 1)
    }
}

impl Flaw {
    /// A flaw.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }

    /// The flaw, found at `span`.
    pub fn at(self, span: Span) -> Problem {
        Problem { span, message: self.message, remedy: self.remedy, earlier: None }
    }
}

impl Problem {
    /// A problem.
    pub fn new(span: Span, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Flaw::new(message, remedy).at(span)
    }

    /// The same, naming the place that it contradicts.
    pub fn against(self, earlier: Span) -> Self {
        Self { earlier: Some(earlier), ..self }
    }
}

impl Refusal {
    /// The refusal of `source` for `problems`.
    pub fn new(source: Source, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.span.start);
        Self { source, problems }
    }

    /// The problems for machines.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        self.diagnostics_as(Severity::Error)
    }

    /// Likewise, of that severity.
    pub fn diagnostics_as(&self, severity: Severity) -> Vec<Diagnostic> {
        self.problems.iter().map(|problem| self.diagnostic(problem, severity)).collect()
    }

    fn diagnostic(&self, problem: &Problem, severity: Severity) -> Diagnostic {
        let (line, column) = self.source.position(problem.span.start);
        Diagnostic {
            severity,
            file: self.source.file.clone(),
            line: Some(line),
            column: Some(column),
            message: problem.message.clone(),
            remedy: problem.remedy.clone(),
        }
    }

    /// The problems for people: each with its line of the source.
    pub fn rendered(&self, colour: bool) -> String {
        self.rendered_as(Severity::Error, colour)
    }

    /// Likewise, of that severity.
    pub fn rendered_as(&self, severity: Severity, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let level = match severity {
            Severity::Error => Level::ERROR.no_name(),
            Severity::Warning => Level::WARNING,
        };
        let shown: Vec<_> =
            self.problems.iter().map(|problem| self.excerpt(problem, level.clone(), &renderer)).collect();
        shown.join("\n\n")
    }

    fn excerpt(&self, problem: &Problem, level: Level<'static>, renderer: &Renderer) -> String {
        let place = Snippet::source(&self.source.text)
            .annotation(AnnotationKind::Primary.span(self.within(problem.span.clone())));
        let place = match &problem.earlier {
            Some(span) => place.annotation(AnnotationKind::Context.span(self.within(span.clone())).label("this one")),
            None => place,
        };
        let title = level.primary_title(self.headline(problem));
        renderer.render(&[title.element(place).element(Level::HELP.message(problem.remedy.as_str()))])
    }

    fn within(&self, span: Span) -> Span {
        let length = self.source.text.len();
        span.start.min(length)..span.end.min(length)
    }

    fn headline(&self, problem: &Problem) -> String {
        let (line, column) = self.source.position(problem.span.start);
        format!("{}:{line}:{column}: {}", self.source.file.escape_debug(), problem.message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{} ({})", self.headline(problem), problem.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}
