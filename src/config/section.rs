//! One table of the file, read key by key: each wrong value is noted with its line, and reading goes on.
//!
//! Invariant: a value that is refused leaves exactly one problem, and the caller gets the default, or nothing, to go on
//! with; [`Section::close`] notes every key that nobody asked for. The value of a secret never enters a message.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

use super::ConfigProblem;

/// Longest text of one key, in characters: names, places and legal bases are lines, not pages.
const TEXT_CHARS_MAX: usize = 1_000;

/// Problems kept: in a file with more, the rest shows once these are mended.
const PROBLEMS_MAX: usize = 100;

/// What is noted while a file is read.
pub(super) struct Mistakes {
    /// Offset at which each line begins.
    line_starts: Vec<usize>,
    problems: RefCell<Vec<ConfigProblem>>,
    warnings: RefCell<Vec<ConfigProblem>>,
    /// Every key that was asked for, as `tenant.camera.url`: what the example has to show.
    known: RefCell<BTreeSet<String>>,
}

impl Mistakes {
    pub(super) fn new(text: &str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { line_starts, problems: RefCell::default(), warnings: RefCell::default(), known: RefCell::default() }
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset).max(1)
    }

    pub(super) fn refuse(&self, line: usize, key: String, message: String) {
        push_bounded(&self.problems, ConfigProblem { line, key, message });
    }

    /// How many problems there are: unchanged after a stretch of reading when all of that was sound.
    pub(super) fn problem_count(&self) -> usize {
        self.problems.borrow().len()
    }

    /// Problems and warnings, each by line.
    pub(super) fn into_parts(self) -> (Vec<ConfigProblem>, Vec<ConfigProblem>) {
        let (mut problems, mut warnings) = (self.problems.into_inner(), self.warnings.into_inner());
        problems.sort_by_key(|p| p.line);
        warnings.sort_by_key(|p| p.line);
        (problems, warnings)
    }

    #[cfg(test)]
    pub(super) fn known_keys(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }
}

fn push_bounded(list: &RefCell<Vec<ConfigProblem>>, problem: ConfigProblem) {
    let mut list = list.borrow_mut();
    if list.len() < PROBLEMS_MAX {
        list.push(problem);
    }
}

/// One table, or its absence.
pub(super) struct Section<'a> {
    report: &'a Mistakes,
    /// Dotted path, empty for the root.
    path: String,
    line: usize,
    table: Option<&'a DeTable<'a>>,
    asked: RefCell<BTreeSet<String>>,
}

impl<'a> Section<'a> {
    pub(super) fn root(report: &'a Mistakes, table: &'a DeTable<'a>) -> Self {
        Self { report, path: String::new(), line: 1, table: Some(table), asked: RefCell::default() }
    }

    pub(super) fn report(&self) -> &'a Mistakes {
        self.report
    }

    /// The key with the path before it.
    fn full(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The line of a key, or of the table that lacks it.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let span = self.table.and_then(|t| t.get_key_value(key)).map(|(k, _)| k.span());
        span.map_or(self.line, |s: Range<usize>| self.report.line(s.start))
    }

    /// Notes that a key's value cannot be used.
    pub(super) fn refuse(&self, key: &str, message: impl Into<String>) {
        self.report.refuse(self.line_of(key), self.full(key), message.into());
    }

    /// Notes what the operator should know about a key whose value can be used.
    pub(super) fn warn(&self, key: &str, message: impl Into<String>) {
        let warning = ConfigProblem { line: self.line_of(key), key: self.full(key), message: message.into() };
        push_bounded(&self.report.warnings, warning);
    }

    /// The key is known here, and not set.
    pub(super) fn note(&self, key: &str) {
        self.value(key);
    }

    /// True when the file sets the key to this text.
    pub(super) fn is_text(&self, key: &str, text: &str) -> bool {
        self.table.and_then(|t| t.get(key)).is_some_and(|v| v.get_ref().as_str() == Some(text))
    }

    /// True when the file sets the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|t| t.contains_key(key))
    }

    fn value(&self, key: &str) -> Option<&'a DeValue<'a>> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.report.known.borrow_mut().insert(self.full(key));
        self.table.and_then(|t| t.get(key)).map(|v| v.get_ref())
    }

    /// A text that is not blank, on one line.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let text = match self.value(key)? {
            DeValue::String(s) => s,
            other => {
                self.refuse(key, format!("needs a text in quotes, not {}", kind(other)));
                return None;
            }
        };
        if text.trim().is_empty() {
            self.refuse(key, "is empty: write a text, or leave the key out");
        } else if text.chars().any(char::is_control) {
            self.refuse(key, "holds a line break or another control character: write one line");
        } else if text.chars().count() > TEXT_CHARS_MAX {
            self.refuse(key, format!("is longer than {TEXT_CHARS_MAX} characters"));
        } else {
            return Some(text.to_string());
        }
        None
    }

    /// A text, or an inline table with a text under one of `places`, which is named then: `{ file = "…" }`.
    pub(super) fn text_or_place(&self, key: &str, places: &[&'static str]) -> Option<(Option<&'static str>, String)> {
        let Some(DeValue::Table(_)) = self.value(key) else {
            return self.text(key).map(|text| (None, text));
        };
        let table = self.table(key);
        let chosen = places.iter().copied().filter(|place| table.has(place)).collect::<Vec<_>>();
        let forms = || places.iter().map(|place| format!("{{ {place} = \"…\" }}")).collect::<Vec<_>>().join(", ");
        match chosen[..] {
            [place] => {
                let text = table.text(place);
                table.close();
                text.map(|text| (Some(place), text))
            }
            [] => {
                self.refuse(key, format!("needs a text in quotes, or one of {}", forms()));
                None
            }
            [..] => {
                self.refuse(key, format!("has one place too many: keep one of {}", forms()));
                None
            }
        }
    }

    /// One of several words, each for a value; the first where the key is not set, or refused.
    pub(super) fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> T {
        let text = self.text(key);
        let chosen = text.as_ref().and_then(|text| choices.iter().find(|(word, _)| word == text));
        if text.is_some() && chosen.is_none() {
            let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
            self.refuse(key, format!("is none of {}", words.join(", ")));
        }
        chosen.unwrap_or(&choices[0]).1
    }

    /// A text that must be there; `example` is what the message shows.
    pub(super) fn required_text(&self, key: &str, example: &str) -> Option<String> {
        let text = self.text(key);
        if !self.has(key) {
            self.refuse(key, format!("is missing: add a line such as {key} = {example:?}"));
        }
        text
    }

    /// A whole number inside bounds; `None` when it is not set, or refused.
    pub(super) fn count(&self, key: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (*bounds.start(), *bounds.end());
        let count = match self.value(key)? {
            DeValue::Integer(i) => u64::from_str_radix(i.as_str(), i.radix()).ok().filter(|n| bounds.contains(n)),
            other => {
                self.refuse(key, format!("needs a whole number from {low} to {high}, not {}", kind(other)));
                return None;
            }
        };
        if count.is_none() {
            self.refuse(key, format!("needs a whole number from {low} to {high}"));
        }
        count
    }

    /// A number inside bounds, with or without a fraction; `None` when it is not set, or refused.
    pub(super) fn number(&self, key: &str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value(key)? {
            DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok().map(|n| n as f64),
            DeValue::Float(f) => f.as_str().parse().ok(),
            _ => None,
        };
        let number = number.filter(|n| bounds.contains(n));
        if number.is_none() {
            self.refuse(key, format!("needs a number from {} to {}", bounds.start(), bounds.end()));
        }
        number
    }

    /// A list of texts; empty when it is not set, or refused.
    pub(super) fn texts(&self, key: &str) -> Vec<String> {
        let texts = match self.value(key) {
            None => return Vec::new(),
            Some(DeValue::Array(items)) => {
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
            }
            Some(_) => None,
        };
        texts.unwrap_or_else(|| {
            self.refuse(key, "needs a list of texts: write [\"one\", \"another\"]");
            Vec::new()
        })
    }

    /// `true` or `false`; `None` when it is not set, or refused.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            DeValue::Boolean(b) => Some(*b),
            other => {
                self.refuse(key, format!("needs true or false, without quotes, not {}", kind(other)));
                None
            }
        }
    }

    /// A table inside this one; an absent one reads as empty.
    pub(super) fn table(&self, key: &str) -> Section<'a> {
        let table = match self.value(key) {
            None => None,
            Some(DeValue::Table(table)) => Some(table),
            Some(other) => {
                self.refuse(key, format!("needs a table, [{}], not {}", self.full(key), kind(other)));
                None
            }
        };
        self.child(key, self.line_of(key), table)
    }

    /// One of the tables of an array that the file does not have; it reads as empty.
    pub(super) fn absent_table(&self, key: &str) -> Section<'a> {
        self.child(key, self.line, None)
    }

    /// The tables of an array of tables inside this one, in order.
    pub(super) fn tables(&self, key: &str) -> Vec<Section<'a>> {
        let full = self.full(key);
        let items = match self.value(key) {
            None => return Vec::new(),
            Some(DeValue::Array(items)) => items,
            Some(other) => {
                self.refuse(key, format!("needs double brackets, [[{full}]], one for each: this is {}", kind(other)));
                return Vec::new();
            }
        };
        let mut sections = Vec::new();
        for item in items.iter() {
            let line = self.report.line(item.span().start);
            match item.get_ref() {
                DeValue::Table(table) => sections.push(self.child(key, line, Some(table))),
                other => {
                    let message = format!("needs tables, [[{full}]], not {}", kind(other));
                    self.report.refuse(line, full.clone(), message);
                }
            }
        }
        sections
    }

    fn child(&self, key: &str, line: usize, table: Option<&'a DeTable<'a>>) -> Section<'a> {
        Section { report: self.report, path: self.full(key), line, table, asked: RefCell::default() }
    }

    /// Notes every key that nobody asked for.
    pub(super) fn close(self) {
        let asked = self.asked.into_inner();
        let unknown = self.table.into_iter().flat_map(|t| t.keys()).filter(|k| !asked.contains(k.get_ref().as_ref()));
        let keys: Vec<_> = asked.iter().map(String::as_str).collect();
        let place = if self.path.is_empty() { "at the top".to_owned() } else { format!("in {}", self.path) };
        for key in unknown {
            let name: String = key.get_ref().chars().take(80).collect();
            let full = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
            let message = format!("no such key {place}: the keys are {}", keys.join(", "));
            self.report.refuse(self.report.line(key.span().start), full, message);
        }
    }
}

/// What a value is, for people.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
