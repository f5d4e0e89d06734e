//! What a check found, as text with the place in the file, or as JSON.

use std::{io::Write, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// A file that was read.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// The configuration is rejected, or what it says is certainly not meant.
    Error,
    /// The configuration works, and is likely a mistake.
    Warning,
    /// Nothing is wrong.
    Note,
}

/// One finding.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// A name that does not change, for scripts.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: String,
    /// The place in the file.
    pub(crate) span: Range<usize>,
}

impl Finding {
    pub(crate) fn error(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), help: String::new(), span }
    }

    pub(crate) fn warning(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message) }
    }

    pub(crate) fn note(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, span, message) }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        Self { help: help.into(), ..self }
    }
}

#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    severity: Severity,
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    help: &'a str,
}

/// Members whose values are secrets. What stands behind such a name is never printed.
const SECRETS: [&str; 6] =
    ["shared_data_secret", "sharedDataSecret", "request_headers", "requestHeaders", "inline_string", "\"k\""];

/// The text with every secret masked, byte for byte, so that places stay the same. A line with the name of a secret is masked behind
/// the name, and so are lines that are indented further.
fn masked(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut within: Option<usize> = None;
    for line in text.split_inclusive('\n') {
        let indentation = line.len() - line.trim_start_matches([' ', '-']).len();
        let is_within = within.is_some_and(|outer| indentation > outer);
        let at = SECRETS.iter().filter_map(|name| Some(line.find(name)? + name.len())).min();
        let from = match (is_within, at) {
            (true, _) => indentation,
            (false, Some(at)) => {
                within = Some(indentation);
                at
            }
            (false, None) => {
                within = within.filter(|_| line.trim().is_empty());
                masked.push_str(line);
                continue;
            }
        };
        let keep = |c: char| c.is_whitespace() || matches!(c, ':' | '"' | '\'' | ',' | '{' | '}' | '[' | ']');
        masked.push_str(&line[..from]);
        for c in line[from..].chars() {
            match keep(c) {
                true => masked.push(c),
                false => masked.push_str(&"*".repeat(c.len_utf8())),
            }
        }
    }
    masked
}

/// Prints findings as text, each with its lines.
pub(crate) fn print(source: &Source, findings: &[Finding], out: &mut impl Write) -> std::io::Result<()> {
    let text = masked(&source.text);
    for finding in findings {
        let level = match finding.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let span = one_line(&text, finding.span.clone());
        let snippet =
            Snippet::source(text.as_str()).path(source.name.as_str()).annotation(AnnotationKind::Primary.span(span));
        let mut group = level.primary_title(finding.message.as_str()).id(finding.code).element(snippet);
        if !finding.help.is_empty() {
            group = group.element(Level::HELP.message(finding.help.as_str()));
        }
        writeln!(out, "{}\n", Renderer::styled().render(&[group]))?;
    }
    Ok(())
}

/// The findings as JSON values.
pub(crate) fn json(source: &Source, findings: &[Finding]) -> Vec<serde_json::Value> {
    let of = |finding: &Finding| {
        let (line, column) = line_and_column(&source.text, finding.span.start);
        let Finding { severity, code, message, help, .. } = finding;
        let file = &source.name;
        serde_json::to_value(Json { file, line, column, severity: *severity, code, message, help })
    };
    findings.iter().filter_map(|finding| of(finding).ok()).collect()
}

/// Line and column, counted from 1.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The part of a span that is on its first line, and not empty.
fn one_line(text: &str, span: Range<usize>) -> Range<usize> {
    let start = span.start.min(text.len());
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let next = text[start..].chars().next().map_or(start, |char| start + char.len_utf8());
    start..span.end.max(next).min(line_end).max(start)
}
