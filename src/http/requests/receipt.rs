//! The receipt of a hand-over: one page to print and sign, in French or English, without any script.
//!
//! Invariant: whatever somebody wrote is escaped where it goes into the page.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use journal::entry::Author;

use super::known;
use crate::desk::DeskError;
use crate::desk::file::{Asker, File, HandOver};
use crate::event::words::Language;
use crate::http::Service;
use crate::http::params::{RequestPath, Spoken};
use crate::http::problem::Problem;
use crate::http::scope::TenantScope;
use crate::retrieve::labels::Labels;

/// The style of receipts.
#[utoipa::path(get, path = "/receipt.css", tag = "page", operation_id = "receipt_style",
    responses((status = OK, content_type = "text/css", body = String)))]
pub(in crate::http) async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8"))];
    (headers, include_str!("receipt.css")).into_response()
}

/// The receipt of what was handed over for a request, to print and sign. `Accept-Language` chooses French or English.
#[utoipa::path(
    get, path = "/api/requests/{request}/receipt", tag = "requests", operation_id = "receipt",
    params(("request" = String, Path, description = "Request id")),
    responses((status = OK, content_type = "text/html", body = String), (status = NOT_FOUND), (status = CONFLICT))
)]
pub(in crate::http) async fn of_request(
    scope: TenantScope,
    RequestPath(id): RequestPath,
    Spoken(language): Spoken,
    State(service): State<Service>,
) -> Result<Response, Problem> {
    let file = known(&service, &scope, id).await?;
    let Some(hand_over) = &file.hand_over else {
        return Err(DeskError::NotNow(format!("nothing was handed over for request {id} yet")).into());
    };
    let labels = service.footage().labels();
    let authority = labels.authorities.get(scope.tenant()).cloned().unwrap_or_else(|| scope.tenant().to_string());
    let page = page(&file, hand_over, (&labels, &authority), language);
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    Ok((headers, page).into_response())
}

/// Text that means itself, in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// One of two wordings.
fn in_language(language: Language, french: &'static str, english: &'static str) -> &'static str {
    match language {
        Language::French => french,
        Language::English => english,
    }
}

/// Who did something, and by which act.
fn who(author: &Author, language: Language) -> String {
    let say = |french, english| in_language(language, french, english).to_owned();
    match author {
        Author::Person(person) => format!("{} ({})", person.name, person.act),
        Author::AccessToken => say("porteur du jeton de la collectivité", "holder of the access token"),
        Author::Loopback | Author::Operator => say("opérateur de la machine", "operator of the machine"),
        Author::Gateway => "Vigie".to_owned(),
    }
}

fn asker_rows(asker: &Asker, language: Language) -> Vec<(&'static str, String)> {
    let say = |french, english| in_language(language, french, english);
    match asker {
        Asker::Requisition { authority, officer, unit, procedure, legal_basis } => vec![
            (say("Autorité", "Authority"), authority.clone()),
            (say("Officier", "Officer"), officer.clone()),
            (say("Unité", "Unit"), unit.clone()),
            (say("Procédure", "Procedure"), procedure.clone()),
            (say("Fondement", "Legal basis"), legal_basis.clone()),
        ],
        Asker::PersonFilmed { name, .. } => vec![
            (say("Personne filmée", "Person who was filmed"), name.clone()),
            (say("Fondement", "Legal basis"), "CSI R253-6".to_owned()),
        ],
        Asker::Internal { service, person, procedure, .. } => vec![
            (say("Service", "Service"), format!("{service}, {person}")),
            (say("Procédure", "Procedure"), procedure.clone()),
            (say("Fondement", "Legal basis"), "CSI R253-4".to_owned()),
        ],
    }
}

fn rows(file: &File, hand_over: &HandOver, labels: &Labels, language: Language) -> Vec<(&'static str, String)> {
    let say = |french, english| in_language(language, french, english);
    let mut rows = vec![(say("Demande", "Request"), file.id.to_string())];
    rows.extend(asker_rows(&file.asker, language));
    let cameras: Vec<_> = file.cameras.iter().map(ToString::to_string).collect();
    rows.push((say("Caméras", "Cameras"), cameras.join(", ")));
    for period in &file.periods {
        let text = format!("{} – {}", labels.local(period.start), labels.local(period.end));
        rows.push((say("Période", "Period"), text));
    }
    let recipient = match hand_over.unit.as_str() {
        "" => hand_over.recipient.clone(),
        unit => format!("{}, {unit}", hand_over.recipient),
    };
    rows.push((say("Remis à", "Handed to"), recipient));
    rows.push((say("Support", "Medium"), hand_over.medium.clone()));
    rows.push((say("Remis le", "Handed over on"), labels.local(hand_over.at)));
    rows.push((say("Remis par", "Handed over by"), who(&hand_over.by, language)));
    if let Some(prepared) = &file.prepared {
        rows.push((say("Export", "Export"), prepared.export.clone()));
        rows.push((say("Préparé par", "Prepared by"), who(&prepared.by, language)));
    }
    if let Some(released) = &file.released_by {
        rows.push((say("Libéré par", "Released by"), who(released, language)));
    }
    rows
}

/// Until when the recipient may keep it.
fn notice(hand_over: &HandOver, labels: &Labels, language: Language) -> String {
    let say = |french, english| in_language(language, french, english);
    let Some(until) = hand_over.keep_until else {
        let french = "Une procédure exige ces images : leur conservation suit cette procédure (CSI L252-3, L252-5).";
        let english = "A procedure needs this footage: it is kept as that procedure requires (CSI L252-3, L252-5).";
        return say(french, english).to_owned();
    };
    let begin = say("Le destinataire conserve ces images jusqu'au", "The recipient keeps this footage until");
    let end = say(
        "au plus tard (un mois, CSI L252-3), sauf si une procédure l'exige.",
        "at the latest (one month, CSI L252-3), unless a procedure needs it.",
    );
    format!("{begin} {} {end}", labels.local(until))
}

/// The page.
fn page(file: &File, hand_over: &HandOver, (labels, authority): (&Labels, &str), language: Language) -> String {
    let say = |french, english| in_language(language, french, english);
    let title = say("Récépissé de remise d'images", "Receipt of footage handed over");
    let mut page = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n<title>{}</title>\n\
         <link rel=\"stylesheet\" href=\"/receipt.css\">\n</head>\n<body>\n<h1>{}<br>{}</h1>\n<table>\n",
        say("fr", "en"),
        escaped(title),
        escaped(authority),
        escaped(title)
    );
    // Writing to a String cannot fail.
    for (what, value) in rows(file, hand_over, labels, language) {
        let _ = writeln!(page, "<tr><th>{}</th><td>{}</td></tr>", escaped(what), escaped(&value));
    }
    page.push_str("</table>\n");
    if let Some(prepared) = file.prepared.as_ref().filter(|prepared| !prepared.files.is_empty()) {
        let _ = writeln!(page, "<table>\n<tr><th>{}</th><th>SHA-256</th></tr>", say("Fichier", "File"));
        for of in &prepared.files {
            let (name, hash) = (escaped(&of.name), escaped(&of.sha256));
            let _ = writeln!(page, "<tr><td>{name}</td><td class=\"hash\">{hash}</td></tr>");
        }
        page.push_str("</table>\n");
    }
    let _ = writeln!(page, "<p class=\"notice\">{}</p>", escaped(&notice(hand_over, labels, language)));
    let _ = writeln!(
        page,
        "<div class=\"sign\"><div>{}</div><div>{}</div></div>\n</body>\n</html>",
        say("Remis par (date, signature)", "Handed over by (date, signature)"),
        say("Reçu par (date, nom, signature)", "Received by (date, name, signature)")
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_somebody_wrote_becomes_markup(text in "(?s).{0,100}") {
            let shown = escaped(&text);
            prop_assert!(!shown.contains(['<', '>', '"', '\'']));
            let back = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(back.replace("&amp;", "&"), text);
        }
    }
}
