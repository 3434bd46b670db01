//! The receipt of a hand-over: one page to print and sign, in French or English.

use axum::extract::State;
use axum::response::Response;
use journal::entry::Author;

use super::known;
use crate::desk::DeskError;
use crate::desk::file::{Asker, File, HandOver};
use crate::event::words::Language;
use crate::http::Service;
use crate::http::page;
use crate::http::params::{RequestPath, Spoken};
use crate::http::problem::Problem;
use crate::http::scope::TenantScope;
use crate::inspection::tables::author;
use crate::printed::Page;
use crate::retrieve::labels::Labels;

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
    Ok(page::printed(receipt(&file, hand_over, (&labels, &authority), language)))
}

/// Who did something, and by which act.
fn who(by: &Author, language: Language) -> String {
    match author(by, language) {
        (name, act) if act.is_empty() => name,
        (name, act) => format!("{name}, {act}"),
    }
}

fn asker_rows(asker: &Asker, language: Language) -> Vec<(&'static str, String)> {
    let say = |french, english| language.pick(english, french);
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
    let say = |french, english| language.pick(english, french);
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
        let key = prepared.key.clone();
        rows.extend(key.map(|key| (say("Clé de signature (SHA-256)", "Key that signed it (SHA-256)"), key)));
    }
    if let Some(released) = &file.released_by {
        rows.push((say("Libéré par", "Released by"), who(released, language)));
    }
    rows
}

/// Until when the recipient may keep it.
fn notice(hand_over: &HandOver, labels: &Labels, language: Language) -> String {
    let say = |french, english| language.pick(english, french);
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

fn receipt(file: &File, hand_over: &HandOver, (labels, authority): (&Labels, &str), language: Language) -> String {
    let say = |french, english| language.pick(english, french);
    let mut page = Page::new(language, say("Récépissé de remise d'images", "Receipt of footage handed over"));
    page.lines(authority, &[]);
    page.facts(&rows(file, hand_over, labels, language));
    if let Some(prepared) = file.prepared.as_ref().filter(|prepared| !prepared.files.is_empty()) {
        let files: Vec<_> = prepared.files.iter().map(|of| vec![of.name.clone(), of.sha256.clone()]).collect();
        page.table(&[say("Fichier", "File"), "SHA-256"], &files);
    }
    page.notice(&notice(hand_over, labels, language));
    page.signatures(&[
        say("Remis par (date, signature)", "Handed over by (date, signature)"),
        say("Reçu par (date, nom, signature)", "Received by (date, name, signature)"),
    ]);
    page.finish()
}
