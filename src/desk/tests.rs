//! Which steps follow which, and what a file says of persons.

use super::file::*;
use super::*;

fn at(text: &str) -> WallTime {
    text.parse().unwrap()
}

fn file(asker: Asker) -> File {
    let period = Period { start: at("2026-03-01T09:00:00Z"), end: at("2026-03-01T10:00:00Z") };
    let intake = Intake {
        asker,
        cameras: vec!["gate".parse().unwrap()],
        place: String::new(),
        periods: vec![period],
        note: String::new(),
        paper: "folder 12".to_owned(),
    };
    taken_in(intake, at("2026-03-01T12:00:00Z"), &TimeZone::UTC).unwrap()
}

fn person(wants: Wants) -> File {
    let asker = Asker::PersonFilmed {
        name: "Zoé Filmée".to_owned(),
        contact: "zoe@example.org".to_owned(),
        wants,
        purpose: "persons_and_property".to_owned(),
    };
    file(asker)
}

#[test]
fn no_state_allows_a_step_that_is_not_drawn() {
    use State::{Closed, HandedOver, Held, Prepared as Ready, Received, Refused, Released};
    let by = Author::Operator;
    let hand_over = || HandOver {
        recipient: "x".to_owned(),
        unit: String::new(),
        medium: "DVD-R".to_owned(),
        at: at("2026-03-01T12:00:00Z"),
        keep_until: None,
        by: Author::Operator,
    };
    let prepared = || Prepared { export: "e".to_owned(), files: Vec::new(), key: None, by: Author::Operator };
    for state in [Received, Held, Ready, Released, HandedOver, Refused, Closed] {
        let fresh = || File { state, prepared: Some(prepared()), ..person(Wants::Limitation) };
        assert_eq!(fresh().prepare(prepared()).is_ok(), [Received, Held, Ready].contains(&state), "{state:?}");
        assert_eq!(fresh().release(&by, false).is_ok(), state == Ready, "{state:?}");
        assert_eq!(fresh().hand_over(hand_over()).is_ok(), state == Released, "{state:?}");
        let refusal = Refusal { ground: Ground::PublicSecurity, explanation: String::new() };
        assert_eq!(fresh().refuse(refusal).is_ok(), [Received, Held, Ready].contains(&state), "{state:?}");
        let closes = |outcome| {
            let at = at("2026-03-01T12:00:00Z");
            fresh().close(outcome, at, at).is_ok()
        };
        assert_eq!(closes(Outcome::HandedOver), state == HandedOver, "{state:?}");
        assert_eq!(closes(Outcome::Refused), state == Refused, "{state:?}");
        assert_eq!(closes(Outcome::Limited), state == Held, "{state:?}");
        assert_eq!(closes(Outcome::NothingFound), [Received, Held].contains(&state), "{state:?}");
        assert_eq!(closes(Outcome::Withdrawn), [Received, Held, Ready, Released].contains(&state), "{state:?}");
    }
}

#[test]
fn a4_what_holds_and_the_journal_say_names_nobody_who_was_filmed() {
    let file = person(Wants::Copy);
    let by = By { author: Author::AccessToken, address: None };
    let said = format!("{:?} {:?}", file.named(), draft(&file, &by, RequestStep::Opened, None));
    assert!(!said.contains("Filmée") && !said.contains("zoe"), "{said}");
}

#[test]
fn a4_the_regime_and_the_day_of_an_answer_follow_from_the_purpose() {
    for (purpose, regime, months) in [
        (crate::authorisation::Purpose::PersonsAndProperty, Regime::TitleIii, 2),
        (crate::authorisation::Purpose::TrafficRegulation, Regime::TitleIi, 1),
        (crate::authorisation::Purpose::NationalDefence, Regime::TitleIv, 2),
    ] {
        assert_eq!((Regime::of(purpose), Regime::of(purpose).months()), (regime, months));
    }
    // The end of January has no counterpart in February.
    let due = months_after(at("2026-01-31T12:00:00Z"), 1, &TimeZone::UTC);
    assert_eq!(due, at("2026-02-28T12:00:00Z"));
}

#[test]
fn a_file_reads_back_as_it_was_written() {
    let file = person(Wants::Viewing);
    let row = row_of(&"town".parse().unwrap(), &file).unwrap();
    assert_eq!(read(&row).unwrap(), file);
}
