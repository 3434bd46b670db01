//! Pages to print, send and keep: one file of HTML that needs nothing but itself.
//!
//! Invariants: whatever is put into a page is escaped here; it has no script, and refers to nothing outside of itself.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::event::words::Language;

const STYLE: &str = "body{font:11pt/1.4 serif;max-width:60em;margin:2em auto;padding:0 1em;color:#000;background:#fff}\
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:1.6em;break-after:avoid}\
table{border-collapse:collapse;width:100%;font-size:.92em}thead{display:table-header-group}tr{break-inside:avoid}\
th,td{border:1px solid #666;padding:.25em .45em;text-align:left;vertical-align:top}td{overflow-wrap:anywhere}th{background:#eee}\
.facts th{width:14em}.notice{border:1px solid #000;padding:.5em}\
.sign{display:flex;gap:2em;margin-top:2em;break-inside:avoid}.sign div{border-top:1px solid #000;flex:1;min-height:5em}\
@page{size:A4;margin:18mm}@media print{body{margin:0;max-width:none;padding:0}}";

/// What a browser lets such a page do: to have its own style, and nothing else.
pub fn content_security_policy() -> String {
    let hash = BASE64.encode(digest(&SHA256, STYLE.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// A page that is being written.
#[derive(Debug)]
pub struct Page {
    language: Language,
    html: String,
    in_section: bool,
}

impl Page {
    /// A page of this title, which is its first heading too.
    pub fn new(language: Language, title: &str) -> Self {
        let lang = language.pick("en", "fr");
        let title = escaped(title);
        let html = format!(
            "<!doctype html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        Self { language, html, in_section: false }
    }

    /// A section begins.
    pub fn section(&mut self, title: &str) {
        self.end_section();
        self.in_section = true;
        self.put(&["<section>\n<h2>", &escaped(title), "</h2>\n"]);
    }

    /// Lines that belong together, the first of them strong.
    pub fn lines(&mut self, strong: &str, lines: &[&str]) {
        self.put(&["<p><strong>", &escaped(strong), "</strong>"]);
        lines.iter().for_each(|line| self.put(&["<br>", &escaped(line)]));
        self.put(&["</p>\n"]);
    }

    /// A paragraph.
    pub fn paragraph(&mut self, text: &str) {
        self.put(&["<p>", &escaped(text), "</p>\n"]);
    }

    /// A list.
    pub fn list(&mut self, items: &[String]) {
        self.put(&["<ul>\n"]);
        items.iter().for_each(|item| self.put(&["<li>", &escaped(item), "</li>\n"]));
        self.put(&["</ul>\n"]);
    }

    /// A table; without rows it says that there are none.
    pub fn table(&mut self, heads: &[&str], rows: &[Vec<String>]) {
        if rows.is_empty() {
            return self.paragraph(self.language.pick("none", "néant"));
        }
        let heads: String = heads.iter().map(|head| format!("<th>{}</th>", escaped(head))).collect();
        self.put(&["<table>\n<thead><tr>", &heads, "</tr></thead>\n<tbody>\n"]);
        for row in rows {
            let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
            self.put(&["<tr>", &cells, "</tr>\n"]);
        }
        self.put(&["</tbody>\n</table>\n"]);
    }

    /// A table of one fact a line: what it is, and which.
    pub fn facts(&mut self, facts: &[(&str, String)]) {
        self.put(&["<table class=\"facts\">\n"]);
        for (what, value) in facts {
            self.put(&["<tr><th>", &escaped(what), "</th><td>", &escaped(value), "</td></tr>\n"]);
        }
        self.put(&["</table>\n"]);
    }

    /// A paragraph in a frame.
    pub fn notice(&mut self, text: &str) {
        self.put(&["<p class=\"notice\">", &escaped(text), "</p>\n"]);
    }

    /// Room to sign, side by side.
    pub fn signatures(&mut self, of: &[&str]) {
        self.put(&["<div class=\"sign\">"]);
        of.iter().for_each(|who| self.put(&["<div>", &escaped(who), "</div>"]));
        self.put(&["</div>\n"]);
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        self.end_section();
        self.html + "</body>\n</html>\n"
    }

    fn end_section(&mut self) {
        if self.in_section {
            self.put(&["</section>\n"]);
        }
    }

    fn put(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.html.push_str(part));
    }
}

/// As text of HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A table that spreadsheets open: RFC 4180, in UTF-8 with its mark, separated as the language's spreadsheets expect.
#[derive(Debug)]
pub struct Csv {
    separator: char,
    text: String,
}

impl Csv {
    /// With a line of heads.
    pub fn new(language: Language, heads: &[&str]) -> Self {
        // Where the comma separates decimals it does not separate columns.
        let mut csv = Self { separator: language.pick(',', ';'), text: "\u{feff}".to_owned() };
        csv.row(heads);
        csv
    }

    /// How long it is so far.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// A row.
    pub fn row(&mut self, cells: &[impl AsRef<str>]) {
        for (n, cell) in cells.iter().enumerate() {
            if n > 0 {
                self.text.push(self.separator);
            }
            self.cell(cell.as_ref());
        }
        self.text.push_str("\r\n");
    }

    fn cell(&mut self, cell: &str) {
        // A spreadsheet runs what begins so.
        let runs = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
        let quoted = runs || cell.contains([self.separator, '"', '\r', '\n']);
        if !quoted {
            return self.text.push_str(cell);
        }
        let guard = if runs { "'" } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(self.text, "\"{guard}{}\"", cell.replace('"', "\"\""));
    }

    /// What was written so far.
    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_put_into_a_page_is_text() {
        let hostile = "<script>alert('x')</script>&\"";
        let mut page = Page::new(Language::English, hostile);
        page.lines(hostile, &[hostile]);
        page.section(hostile);
        page.paragraph(hostile);
        page.list(&[hostile.to_owned()]);
        page.table(&[hostile], &[vec![hostile.to_owned()]]);
        page.facts(&[(hostile, hostile.to_owned())]);
        page.notice(hostile);
        page.signatures(&[hostile]);
        page.section("last");
        page.table(&["empty"], &[]);
        let html = page.finish();
        assert!(!html.contains("<script"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;").count(), 13);
        assert_eq!(html.matches("<section>").count(), html.matches("</section>").count());
        assert!(html.contains("<p>none</p>"));
    }

    #[test]
    fn a_cell_is_no_formula_and_may_hold_anything() {
        let mut csv = Csv::new(Language::French, &["a", "b"]);
        csv.row(&["=1+1", "x;y"]);
        csv.row(&["-3.5", "say \"no\"\n"]);
        let want = "\u{feff}a;b\r\n\"'=1+1\";\"x;y\"\r\n-3.5;\"say \"\"no\"\"\n\"\r\n";
        assert_eq!(csv.finish(), want);
        let english = Csv::new(Language::English, &["x;y", "x,y"]);
        assert_eq!(english.finish(), "\u{feff}x;y,\"x,y\"\r\n");
    }
}
