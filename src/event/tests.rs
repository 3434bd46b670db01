use super::words::Language;
use super::*;

/// Marked names that no tenant may read.
pub(crate) const MARK: &str = "MARKED-STORE";

fn at() -> WallTime {
    "2026-03-01T14:30:00.123456Z".parse().unwrap()
}

/// One of each kind, with every field set.
pub(crate) fn all() -> Vec<Fact> {
    let (pack, hold, start, end) = (PackId([7; 16]), HoldId([8; 16]), at(), at());
    let store = || Some(MARK.to_owned());
    let text = || "texte".to_owned();
    let cause = GapCause::Silent;
    let (streets, number) = (|| "streets".parse().unwrap(), || "2026-117".to_owned());
    let day = jiff::civil::date(2031, 1, 4);
    vec![
        Fact::Connected { codecs: "avc1.640028".to_owned(), width: 1920, height: 1080 },
        Fact::Recording,
        Fact::ConnectionLost { cause },
        Fact::ParametersChanged { codecs: "hvc1.1.6.L93.90".to_owned(), width: 1280, height: 720 },
        Fact::StreamOdd { oddity: Oddity::DuplicatePacket },
        Fact::StreamOddEnded { oddity: Oddity::DuplicatePacket, count: 7 },
        Fact::TimestampJump { by_ms: -1_250, count: 3 },
        Fact::TimestampsUnsteady,
        Fact::TimestampsSteady,
        Fact::CameraClockStep { by_ms: 2_000 },
        Fact::CameraClockOff { by_ms: -90_500 },
        Fact::CameraClockRight,
        Fact::ClockStep { by_ms: -3_600_000 },
        Fact::ClockMisdated { by_ms: 90_000 },
        Fact::NotWritten { cause: GapCause::DiskFull },
        Fact::EdgeFilled { start, end, filled_ms: 600_000, error_ms: 20 },
        Fact::EdgeNotFilled { start, end, why: EdgeRefusal::NothingInCommon },
        Fact::PackLost { pack, start, end },
        Fact::FootageMended { pack, start, end, source: MendSource::Spool, places: 2 },
        Fact::FootageLost { pack, start, end, fragments: Some(3) },
        Fact::FootageSharedDamage { pack, start, end },
        Fact::Scrubbed { store: store(), bytes: 1 << 30, mended: 1, lost: 2 },
        Fact::StoreDoubtful { store: store(), packs: 16 },
        Fact::StoreBack { store: store() },
        Fact::StoreAway { store: store() },
        Fact::StoreRefused { store: store() },
        Fact::StoreLies { store: store() },
        Fact::StoreProbe { store: store(), verdict: TrialVerdict::Lacking },
        Fact::PackDeleted { from: start, reason: DestructionReason::Expired },
        Fact::DiskFull { free_bytes: Some(987_654_321), reserve_bytes: Some(876_543_210) },
        Fact::RetentionConflict,
        Fact::CondemnedEarly { packs: 3, bytes: 4 << 20, newest: end },
        Fact::KeyDestroyed { key: KeyId([9; 16]), day: Some(jiff::civil::date(2026, 3, 1)) },
        Fact::ClockDoubted { lead_s: 7_200, retention_by: start },
        Fact::ClockBelieved,
        Fact::HoldPlaced { hold, reference: text(), requester: text(), reason: text(), start, end, until: end },
        Fact::HoldReleased { hold, requester: text() },
        Fact::HoldEnded { hold, requester: text(), start, end },
        Fact::RequestStep { request: RequestId([5; 16]), step: RequestStep::Opened },
        Fact::HoldWaits { hold },
        Fact::HoldDamaged { hold, pack, start, end },
        Fact::SameRank { pack },
        Fact::NothingInCommon,
        Fact::ForeignPackGone { pack },
        Fact::ForeignPackUnusable { pack },
        Fact::PackAbsent { from: start, reason: DestructionReason::Expired },
        Fact::DeletionFailed,
        Fact::DeletionWorks,
        Fact::JournalFailed,
        Fact::JournalWorks,
        Fact::CatalogueFailed,
        Fact::CatalogueWorks,
        Fact::SignedInElsewhere { person: "marie".parse().unwrap() },
        Fact::TokenMade { person: "marie".parse().unwrap(), token: "0123456789abcdef".to_owned() },
        Fact::AccountNamed { person: "marie".parse().unwrap(), provider: "directory".parse().unwrap() },
        Fact::JournalUnproven { proof: JournalProof::Copy },
        Fact::JournalProven { proof: JournalProof::TimeStamp },
        Fact::OverAge { packs: 2, oldest: start },
        Fact::OverAgeEnded,
        Fact::DiskTooSmall { hours: 12 },
        Fact::DiskFullEnded,
        Fact::GatewayKeyKnown,
        Fact::RetentionChangeWithdrawn,
        Fact::DiskTooSmallEnded,
        Fact::DiskHoursLeft { hours: 5 },
        Fact::DiskHoursLeftEnded,
        Fact::CameraUnsteady { cuts: 9 },
        Fact::CameraSteady,
        Fact::CertificateEnds { days: 12 },
        Fact::CertificateRenewed,
        Fact::ServerCertificateEnds { days: 3 },
        Fact::ServerCertificateRenewed,
        Fact::EntryUnreadable { of_kind: MARK.to_owned() },
        Fact::AlarmNotDelivered { target: MARK.to_owned() },
        Fact::AlarmDelivered { target: MARK.to_owned() },
        Fact::Upgraded { from: "0.1.0".to_owned(), to: "0.2.0".to_owned() },
        Fact::RetentionChange { max_hours: 24, from: start, packs: 3, bytes: 4096 },
        Fact::RetentionChanged { max_hours: 24, min_hours: 0, confirmed: true },
        Fact::AuthorisationEnds { authorisation: streets(), number: number(), until: day, notice: Notice::FourMonths },
        Fact::AuthorisationNoticePassed { authorisation: streets(), notice: Notice::FourMonths },
        Fact::AuthorisationEnded { authorisation: streets(), number: number(), until: day, at_end: AtEnd::RecordOn },
        Fact::AuthorisationNotYet { authorisation: streets(), number: number(), from: day, at_end: AtEnd::Stop },
        Fact::AuthorisationSettled { authorisation: streets() },
        Fact::CameraRemoved { max_hours: 720 },
        Fact::StoreNotIdentified { store: store() },
        Fact::StoreMissing { store: store() },
        Fact::StoreOther { store: store() },
        Fact::StoreUnreadable { store: store() },
        Fact::StoreOtherKey { store: store() },
        Fact::StoreKnown { store: store() },
        Fact::StoreNew { store: store() },
        Fact::StoreFound { store: store() },
        Fact::StoreReplaced { store: store() },
        Fact::StoreVersioned { store: store() },
        Fact::StoreCompared { store: store(), objects: 4, adopted: 3, due: 2, unreadable: 1 },
        Fact::IndexRebuilt { store: store(), objects: 4, adopted: 3, due: 2, unreadable: 1 },
        Fact::IndexMissing,
        Fact::IndexDamaged,
        Fact::IndexOther,
        Fact::IndexOlder,
        Fact::GatewayKeyMissing,
        Fact::GatewayKeyOther,
        Fact::GatewayKeyDamaged,
        Fact::GatewayKeyOpen,
        Fact::KeyMissing { key: KeyId([9; 16]), packs: 2 },
        Fact::KeyFound { key: KeyId([9; 16]) },
        Fact::KeyUnusable,
    ]
}

#[test]
fn every_event_survives_its_encoding_and_its_kind_is_the_one_encoded() {
    let camera: CameraKey = "town/gate".parse().unwrap();
    for fact in all() {
        for scope in [Scope::Gateway, Scope::Tenant(camera.tenant.clone()), Scope::Camera(camera.clone())] {
            let event = Event::new(at(), scope, fact.clone()).by(Actor::Operator);
            let encoded = event.encode();
            assert!(encoded.contains(&format!("\"kind\":\"{}\"", fact.kind())), "{encoded}");
            assert_eq!(Event::decode(&encoded).unwrap(), event, "{encoded}");
            assert_eq!(Event::decode(&encoded).unwrap().encode(), encoded);
        }
    }
}

#[test]
fn kinds_are_all_different() {
    let kinds: std::collections::BTreeSet<_> = all().iter().map(Fact::kind).collect();
    assert_eq!(kinds.len(), all().len());
}

#[test]
fn the_encoding_is_canonical_and_names_its_version() {
    let camera: CameraKey = "town/gate".parse().unwrap();
    let fact = Fact::Connected { codecs: "a\"é\u{1}".to_owned(), width: 640, height: 480 };
    let encoded = Event::of_camera(at(), &camera, fact).encode();
    let want = r#"{"actor":"gateway","at":"2026-03-01T14:30:00.123456Z","camera":"gate","fact":{"codecs":"a\"é\u0001","height":480,"kind":"connected","width":640},"tenant":"town","v":1}"#;
    assert_eq!(encoded, want);
}

#[test]
fn a_newer_encoding_is_named_and_what_is_no_event_is_refused() {
    assert!(matches!(Event::decode(r#"{"v":2,"what":"ever"}"#), Err(BadEvent::Newer(2))));
    let lone_camera =
        r#"{"actor":"gateway","at":"2026-03-01T14:30:00Z","camera":"a","fact":{"kind":"clock_believed"},"v":1}"#;
    for bad in ["", "{}", "[]", r#"{"v":1}"#, lone_camera] {
        assert!(matches!(Event::decode(bad), Err(BadEvent::Malformed(_))), "{bad}");
    }
}

#[test]
fn a_tenant_reads_no_name_of_the_operators_things() {
    for fact in all() {
        let operator = fact.words(Language::English);
        assert!(!fact.kind().starts_with("store_") || operator.contains(MARK), "{operator}");
        let Some(shown) = fact.for_tenant() else { continue };
        let facts = serde_json::to_string(&shown).unwrap();
        for text in [shown.words(Language::English), shown.words(Language::French), facts] {
            for hidden in [MARK, "987654321", "876543210", "941"] {
                assert!(!text.contains(hidden), "{text}");
            }
        }
    }
}

#[test]
fn words_are_one_line_in_each_language_and_differ() {
    for fact in all() {
        let (english, french) = (fact.words(Language::English), fact.words(Language::French));
        assert_ne!(english, french);
        for text in [english, french] {
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
        }
    }
    for why in GapCause::ALL {
        assert_ne!(words::cause(why, Language::English), words::cause(why, Language::French));
    }
}

#[test]
fn the_language_is_the_one_of_the_highest_weight() {
    let check = |header: &str, want: Language| assert_eq!(Language::accepted(header), want, "{header}");
    check("", Language::English);
    check("fr", Language::French);
    check("fr-FR,fr;q=0.9,en;q=0.8", Language::French);
    check("en-GB, fr;q=0.9", Language::English);
    check("de, fr;q=0.5, en;q=0.1", Language::French);
    check("fr;q=0, en", Language::English);
    check("*;q=x,FR;q=0.2", Language::French);
    check(&"fr;q=1e999,".repeat(10_000), Language::French);
}
