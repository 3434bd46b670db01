//! Schemas of the words that rooms below `http` define: those know nothing of OpenAPI.

use std::borrow::Cow;

use crate::event::Actor;
use footage::media::{GapCause, Oddity};
use onvif::NotificationKind;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

fn words(description: &str, words: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    let words: Vec<&str> = words.into_iter().collect();
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).enum_values(Some(words)).into()
}

/// Of [`GapCause`].
pub(super) struct GapCauseSchema;

impl PartialSchema for GapCauseSchema {
    fn schema() -> RefOr<Schema> {
        let description = "Why a stretch of time has no footage, or less than the camera filmed.";
        words(description, GapCause::ALL.map(GapCause::as_str))
    }
}

impl ToSchema for GapCauseSchema {
    fn name() -> Cow<'static, str> {
        "GapCause".into()
    }
}

/// Of [`Oddity`].
pub(super) struct OdditySchema;

impl PartialSchema for OdditySchema {
    fn schema() -> RefOr<Schema> {
        let description = "A kind of deviation from the standards; what deviates is recorded all the same.";
        words(description, Oddity::ALL.iter().map(|kind| kind.as_str()))
    }
}

impl ToSchema for OdditySchema {
    fn name() -> Cow<'static, str> {
        "Oddity".into()
    }
}

/// Of [`NotificationKind`].
pub(super) struct OccurrenceKindSchema;

impl PartialSchema for OccurrenceKindSchema {
    fn schema() -> RefOr<Schema> {
        words("What a camera noticed.", NotificationKind::ALL.map(NotificationKind::as_str))
    }
}

impl ToSchema for OccurrenceKindSchema {
    fn name() -> Cow<'static, str> {
        "OccurrenceKind".into()
    }
}

/// Of [`Actor`].
pub(super) struct ActorSchema;

impl PartialSchema for ActorSchema {
    fn schema() -> RefOr<Schema> {
        words("Who caused an event.", Actor::ALL.map(Actor::as_str))
    }
}

impl ToSchema for ActorSchema {
    fn name() -> Cow<'static, str> {
        "Actor".into()
    }
}
