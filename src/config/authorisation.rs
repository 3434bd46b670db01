//! `[[tenant.authorisation]]`, and what a camera says of the law: which it records under, what it shows, when it was declared.

use std::collections::HashMap;

use jiff::ToSpan;
use jiff::civil::Date;

use super::build::{identity, retention, retention_keys};
use super::*;
use crate::authorisation::{
    AtEnd, Authorisation, Basis, Installation, PROVISIONAL_MONTHS_MAX, Purpose, View, YEARS_MAX,
};
use crate::policy::SHORTEST_MONTH;
use footage::units::AuthorisationId;

/// Recipients of one authorisation.
const RECIPIENTS_MAX: usize = 64;
/// Characters of one.
const RECIPIENT_CHARS_MAX: usize = 200;

/// Of one tenant, in the order of the file; and whether all of them are sound.
fn authorisations(tenant: &Section<'_>, margin: Duration) -> (Vec<Authorisation>, bool) {
    let problems_before = tenant.report().problem_count();
    let mut ids = HashMap::new();
    let mut all = Vec::new();
    for section in tenant.tables("authorisation") {
        all.extend(authorisation(&section, margin, &mut ids));
        section.close();
    }
    (all, tenant.report().problem_count() == problems_before)
}

/// `None` only after a problem was noted.
fn authorisation(section: &Section<'_>, margin: Duration, ids: &mut HashMap<String, usize>) -> Option<Authorisation> {
    let problems_before = section.report().problem_count();
    let id = identity::<AuthorisationId>(section, "id", "streets", ids);
    let number = section.required_text("number", "2026-117");
    let date = required_day(section, "date", "2026-01-05");
    let from = day(section, "from").or(date);
    let until = required_day(section, "until", "2031-01-04");
    let provisional = section.flag("provisional").unwrap_or(false);
    if let (Some(date), Some(from), Some(until)) = (date, from, until) {
        check_days(section, date, from, until, provisional);
    }
    let purposes = purposes(section);
    let recipients = recipients(section);
    let [max_keys, _] = retention_keys();
    if !max_keys.iter().any(|key| section.has(key)) {
        section.refuse("max_days", "is missing: write the retention that the authorisation allows, in days or hours");
    }
    let bounds = retention(section, Retention::default(), Some(margin));
    let at_end = section.choice("at_end", &[("stop", AtEnd::Stop), ("record_on", AtEnd::RecordOn)]);
    if section.report().problem_count() > problems_before {
        return None;
    }
    let (id, number, date, from, until) = (id?, number?, date?, from?, until?);
    let Retention { max, min } = bounds;
    Some(Authorisation { id, number, date, from, until, provisional, purposes, recipients, max, min, at_end })
}

/// The first of what is wrong.
fn check_days(section: &Section<'_>, date: Date, from: Date, until: Date, provisional: bool) {
    let (years, months) = (from.saturating_add(YEARS_MAX.years()), PROVISIONAL_MONTHS_MAX.months());
    if from < date {
        section.refuse("from", format!("is before date, {date}: nobody may record before it was authorised"));
    } else if until < from {
        section.refuse("until", format!("is before the first day, {from}"));
    } else if provisional && until > from.saturating_add(months) {
        let law = "a provisional authorisation is in force for four months at most (CSI L252-6, L252-7)";
        section.refuse("until", format!("{law}: write its last day"));
    } else if until > years {
        let law = "an authorisation is in force for five years at most (CSI L252-4)";
        section.refuse("until", format!("{law}: write its last day, {years} or before"));
    }
}

fn purposes(section: &Section<'_>) -> Vec<Purpose> {
    let problems_before = section.report().problem_count();
    let words = section.texts("purposes");
    let found: Vec<_> =
        words.iter().map(|word| Purpose::ALL.into_iter().find(|purpose| purpose.as_str() == word)).collect();
    let known = || Purpose::ALL.map(Purpose::as_str).join(", ");
    if section.report().problem_count() > problems_before {
        // What is no list is one mistake.
    } else if found.is_empty() {
        section.refuse("purposes", format!("is missing or empty: list some of {} (CSI L251-2)", known()));
    } else if found.contains(&None) {
        section.refuse("purposes", format!("holds what is none of {}", known()));
    }
    let mut purposes: Vec<_> = found.into_iter().flatten().collect();
    purposes.sort_unstable();
    purposes.dedup();
    purposes
}

fn recipients(section: &Section<'_>) -> Vec<String> {
    let recipients = section.texts("recipients");
    let is_line = |text: &String| {
        !text.trim().is_empty() && !text.chars().any(char::is_control) && text.chars().count() <= RECIPIENT_CHARS_MAX
    };
    if recipients.len() > RECIPIENTS_MAX {
        section.refuse("recipients", format!("names more than {RECIPIENTS_MAX}"));
    } else if !recipients.iter().all(is_line) {
        let wrong = "holds what is empty, longer than a line of 200 characters, or more than a line";
        section.refuse("recipients", wrong);
    }
    recipients
}

fn view(section: &Section<'_>) -> Option<View> {
    let word = section.text("view")?;
    let view = [View::Narrow, View::Wide].into_iter().find(|view| view.as_str() == word);
    if view.is_none() {
        section.refuse("view", "is neither \"narrow\" nor \"wide\"");
    }
    view
}

fn required_day(section: &Section<'_>, key: &str, example: &str) -> Option<Date> {
    section.required_text(key, example).and_then(|text| parsed_day(section, key, &text))
}

fn day(section: &Section<'_>, key: &str) -> Option<Date> {
    section.text(key).and_then(|text| parsed_day(section, key, &text))
}

fn parsed_day(section: &Section<'_>, key: &str, text: &str) -> Option<Date> {
    let written = text.len() == 10;
    let day = text.parse::<Date>().ok().filter(|day| written && (1950..=2999).contains(&day.year()));
    if day.is_none() {
        section.refuse(key, "is no date: write \"2026-01-05\"");
    }
    day
}

/// What cameras inherit: the tenant's bounds, or those of the authorisation that they record under with what the tenant sets.
pub(super) struct Inherited {
    tenant: Retention,
    under: Vec<(Authorisation, Retention)>,
    /// No authorisation was refused: what names none of these is a mistake of its own.
    all_sound: bool,
    margin: Duration,
}

impl Inherited {
    /// Of a tenant, from its table `[tenant.retention]` and what that says. What it sets beyond one of the tenant's
    /// authorisations is refused.
    pub(super) fn new(of: &Section<'_>, section: &Section<'_>, tenant: Retention, margin: Duration) -> Self {
        let (all, all_sound) = authorisations(of, margin);
        let under = all.into_iter().map(|of| {
            let [sets_max, sets_min] = retention_keys().map(|keys| keys.iter().any(|key| section.has(key)));
            let bounds = Retention {
                max: if sets_max { tenant.max } else { of.max },
                min: if sets_min { tenant.min } else { of.min },
            };
            check_within(section, &of, bounds, margin);
            (of, bounds)
        });
        Self { tenant, under: under.collect(), all_sound, margin }
    }

    /// Those of the tenant.
    pub(super) fn into_authorisations(self) -> Vec<Authorisation> {
        self.under.into_iter().map(|(of, _)| of).collect()
    }

    /// A camera's bounds. What its table sets beyond its authorisation is refused.
    pub(super) fn retention(&self, section: &Section<'_>, basis: &Basis) -> Retention {
        let Some((of, inherited)) = self.of(basis) else {
            return retention(section, self.tenant, Some(self.margin));
        };
        let problems_before = section.report().problem_count();
        let bounds = retention(section, *inherited, Some(self.margin));
        if section.report().problem_count() == problems_before {
            check_within(section, of, bounds, self.margin);
        }
        bounds
    }

    fn of(&self, basis: &Basis) -> Option<&(Authorisation, Retention)> {
        let Basis::Authorisation(id) = basis else { return None };
        self.under.iter().find(|(of, _)| of.id == *id)
    }

    /// What a camera says of the law.
    pub(super) fn installation(&self, section: &Section<'_>) -> Installation {
        let basis = self.basis(section);
        let view = view(section);
        let fast_movement = section.flag("fast_movement").unwrap_or(false);
        let (declared, in_service) = (day(section, "declared"), day(section, "in_service"));
        if let (Some(declared), Some(in_service)) = (declared, in_service)
            && declared > in_service
        {
            section.warn(
                "declared",
                format!("is after in_service, {in_service}: putting a camera into service, and moving one, is declared beforehand (CSI R252-17)"),
            );
        }
        Installation { basis, view, fast_movement, declared, in_service }
    }

    fn basis(&self, section: &Section<'_>) -> Basis {
        let (named, outside) = (section.text("authorisation"), section.text("legal_basis"));
        let known = || self.under.iter().map(|(of, _)| of.id.to_string()).collect::<Vec<_>>().join(", ");
        match (named, outside) {
            (Some(_), Some(_)) => {
                section
                    .refuse("legal_basis", "is one too many: keep it, for a basis outside title V, or authorisation");
                Basis::Unstated
            }
            (None, Some(text)) => Basis::Outside(text),
            (Some(name), None) => match self.under.iter().find(|(of, _)| of.id.to_string() == name) {
                Some((of, _)) => Basis::Authorisation(of.id.clone()),
                None if !self.all_sound => Basis::Unstated,
                None => {
                    let advice =
                        if self.under.is_empty() { "add [[tenant.authorisation]]".to_owned() } else { known() };
                    section.refuse("authorisation", format!("names none of the tenant's authorisations: {advice}"));
                    Basis::Unstated
                }
            },
            // A value of the wrong kind was noted already.
            (None, None) if section.has("authorisation") || section.has("legal_basis") || !self.all_sound => {
                Basis::Unstated
            }
            (None, None) => match &self.under[..] {
                [] => Basis::Unstated,
                [(only, _)] => Basis::Authorisation(only.id.clone()),
                _ => {
                    let advice = format!("is missing: say which of {} it records under, or legal_basis", known());
                    section.refuse("authorisation", advice);
                    Basis::Unstated
                }
            },
        }
    }

    /// Title V allows no sound (CSI R253-1).
    pub(super) fn check_sound(section: &Section<'_>, basis: &Basis) {
        if let Basis::Authorisation(id) = basis
            && section.has("audio_legal_basis")
        {
            section.refuse(
                "audio_legal_basis",
                format!("is for cameras outside title V: this one records under {id}, and without sound (CSI R253-1)"),
            );
        }
    }
}

/// Refuses what a table sets and an authorisation does not allow.
fn check_within(section: &Section<'_>, of: &Authorisation, bounds: Retention, margin: Duration) {
    let [max_key, min_key] = retention_keys().map(|keys| keys.into_iter().find(|key| section.has(key)));
    let hours = |length: Duration| length.as_secs() / 3_600;
    let Some(any_key) = min_key.or(max_key) else { return };
    let id = &of.id;
    if let Some(key) = max_key.filter(|_| bounds.max > of.max) {
        let allowed = hours(of.max);
        section.refuse(key, format!("authorisation {id} allows {allowed} h at most (CSI L252-5): write that, or less"));
    } else if let Some(key) = min_key.filter(|_| bounds.min < of.min) {
        let least = hours(of.min);
        section
            .refuse(key, format!("authorisation {id} asks for {least} h at least (CSI L252-5): write that, or more"));
    } else if bounds.min + margin > bounds.max.min(SHORTEST_MONTH) {
        let (min, max, margin_s) = (hours(bounds.min), hours(bounds.max), margin.as_secs());
        section.refuse(
            any_key,
            format!("under authorisation {id} the minimum ({min} h) is not {margin_s} s below the maximum ({max} h)"),
        );
    }
}
