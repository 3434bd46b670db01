//! What may be written into the file of a request: bounded, and of the words that there are.

use super::{Asker, LINE_CHARS_MAX};
use crate::authorisation::Purpose;
use crate::desk::DeskError;

/// Characters of a text of several lines.
const TEXT_CHARS_MAX: usize = 2_000;

/// The purpose of this word.
pub(crate) fn purpose(word: &str) -> Result<Purpose, DeskError> {
    let found = Purpose::ALL.into_iter().find(|purpose| purpose.as_str() == word);
    found.ok_or_else(|| {
        let words: Vec<_> = Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect();
        DeskError::Invalid(format!("purpose is one of {}", words.join(", ")))
    })
}

/// Refuses what is no single line of bounded length; empty where it is needed.
pub(crate) fn line(what: &str, text: &str, is_needed: bool) -> Result<(), DeskError> {
    let length = text.chars().count();
    if length > LINE_CHARS_MAX || text.chars().any(char::is_control) {
        return Err(DeskError::Invalid(format!("{what} is one line of at most {LINE_CHARS_MAX} characters")));
    }
    if is_needed && text.trim().is_empty() {
        return Err(DeskError::Invalid(format!("{what} is missing")));
    }
    Ok(())
}

/// Refuses what is too long.
pub(crate) fn text(what: &str, text: &str) -> Result<(), DeskError> {
    let is_good = text.chars().count() <= TEXT_CHARS_MAX && !text.chars().any(|c| c.is_control() && c != '\n');
    is_good.then_some(()).ok_or_else(|| DeskError::Invalid(format!("{what} has at most {TEXT_CHARS_MAX} characters")))
}

/// Refuses an intake that says too little, or too much.
pub(crate) fn checked(asker: &Asker) -> Result<(), DeskError> {
    match asker {
        Asker::Requisition { authority, officer, unit, procedure, legal_basis } => {
            let needed = [
                ("authority", authority),
                ("officer", officer),
                ("unit", unit),
                ("procedure", procedure),
                ("legal_basis", legal_basis),
            ];
            needed.into_iter().try_for_each(|(what, text)| line(what, text, true))?;
            if !legal_basis.bytes().any(|b| b.is_ascii_digit()) {
                let what = "legal_basis names an article, as in CPP 60-1, CPP 77-1-1, CPP 99-3";
                return Err(DeskError::Invalid(what.to_owned()));
            }
            Ok(())
        }
        Asker::PersonFilmed { name, contact, purpose: word, .. } => {
            line("name", name, true)?;
            line("contact", contact, true)?;
            purpose(word).map(drop)
        }
        Asker::Internal { service, person, procedure, .. } => {
            [("service", service), ("person", person), ("procedure", procedure)]
                .into_iter()
                .try_for_each(|(what, text)| line(what, text, true))
        }
    }
}
