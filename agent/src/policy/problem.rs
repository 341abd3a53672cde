//! What is wrong with a policy: where, what, and what to do about it. All problems are shown, not the first.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use super::source::Source;

/// Bytes of the source: of its files, one after the other.
pub type Span = Range<usize>;

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
    /// Where what is wrong is used, if it stands in a list.
    pub used: Option<Span>,
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

impl Flaw {
    /// A flaw.
    pub fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }

    /// The flaw, found at `span`.
    pub fn at(self, span: Span) -> Problem {
        Problem { span, message: self.message, remedy: self.remedy, earlier: None, used: None }
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
        let place = self.source.position(problem.span.start);
        Diagnostic {
            severity,
            file: place.file.to_owned(),
            line: Some(place.line),
            column: Some(place.column),
            message: self.message(problem),
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
        let mut marks = vec![(&problem.span, AnnotationKind::Primary, None)];
        marks.extend(problem.earlier.iter().map(|span| (span, AnnotationKind::Context, Some("this one"))));
        marks.extend(problem.used.iter().map(|span| (span, AnnotationKind::Context, Some("used here"))));
        let (home, _) = self.source.within(&problem.span);
        let mut excerpt = Group::with_title(level.primary_title(self.headline(problem)));
        // One piece for each file, that of the problem first.
        while let Some((first, ..)) = marks.first() {
            let (file, _) = self.source.within(first);
            let (here, elsewhere) =
                marks.into_iter().partition(|(span, ..)| self.source.within(span).0.name == file.name);
            marks = elsewhere;
            let piece = Snippet::source(&file.text).path((file.name != home.name).then_some(&file.name));
            excerpt = excerpt.element(here.into_iter().fold(piece, |piece, (span, kind, label)| {
                piece.annotation(kind.span(self.source.within(span).1).label(label))
            }));
        }
        renderer.render(&[excerpt.element(Level::HELP.message(problem.remedy.as_str()))])
    }

    /// What is wrong, and the other places that it takes to see why, where they are in other files or lists.
    fn message(&self, problem: &Problem) -> String {
        let mut message = problem.message.clone();
        let place = |span: &Span| self.source.position(span.start);
        if let Some(earlier) = problem.earlier.as_ref().map(place)
            && earlier.file != place(&problem.span).file
        {
            message += &format!(", in {earlier}");
        }
        if let Some(used) = problem.used.as_ref().map(place) {
            message += &format!(", used in {used}");
        }
        message
    }

    fn headline(&self, problem: &Problem) -> String {
        format!("{}: {}", self.source.position(problem.span.start), self.message(problem))
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
