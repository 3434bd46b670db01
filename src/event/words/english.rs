//! The facts in English.

use std::borrow::Cow;

use super::{Language, cause, edge_refusal, mebibytes, seconds};
use crate::authorisation::{AtEnd, Notice};
use crate::event::{DestructionReason, Fact, JournalProof, MendSource, RequestStep, StoreName, TrialVerdict};

pub(super) fn english(fact: &Fact) -> String {
    match fact {
        Fact::Connected { codecs, width, height } => format!("connected: {codecs}, {width}x{height}"),
        Fact::ConnectionLost { cause: why } => format!("not recording: {}", cause(*why, Language::English)),
        Fact::ParametersChanged { codecs, width, height } => {
            format!("the camera changed its video to {codecs}, {width}x{height}")
        }
        Fact::StreamOdd { oddity } => format!("the stream is odd, and recorded all the same: {}", oddity.as_str()),
        Fact::StreamOddEnded { oddity, count } => {
            format!("the stream is not odd any more: {}, which occurred {count} times", oddity.as_str())
        }
        Fact::TimestampJump { by_ms, count } => format!(
            "the camera's timestamps jumped by {} s ({count} jumps since the last such event): footage stays where it was filmed",
            seconds(*by_ms)
        ),
        Fact::TimestampsUnsteady => {
            "the camera's timestamps do not keep time: footage is placed by its arrival; check its frame rate settings"
                .to_owned()
        }
        Fact::TimestampsSteady => "the camera's timestamps have kept time for a minute".to_owned(),
        Fact::CameraClockStep { by_ms } => {
            format!("the camera's clock moved by {} s against the gateway's: check its time service", seconds(*by_ms))
        }
        Fact::CameraClockOff { by_ms } => {
            format!("the camera's clock is off by {} s: set its time server to the gateway's", seconds(*by_ms))
        }
        Fact::CameraClockRight => "the camera's clock is right again, or is not compared any more".to_owned(),
        Fact::ClockStep { by_ms } => format!(
            "the gateway's clock was set by {} s: what was recorded since it was last set has times that are wrong by as \
             much; check its time service",
            seconds(*by_ms)
        ),
        Fact::ClockMisdated { by_ms } => format!(
            "footage of before the machine was started bears times of the future: its clock was ahead by {} s at least; \
             check its time service",
            seconds(*by_ms)
        ),
        Fact::NotWritten { cause: why } => format!("footage is being lost: {}", cause(*why, Language::English)),
        Fact::EdgeFilled { start, end, filled_ms, error_ms } => format!(
            "the cut from {start} to {end} was filled from the camera's own storage: {} s, each picture within {} s of when it \
             was filmed",
            seconds(*filled_ms),
            seconds(*error_ms)
        ),
        Fact::EdgeNotFilled { start, end, why } => {
            let why = edge_refusal(*why, Language::English);
            format!("the cut from {start} to {end} is not filled from the camera's own storage: {why}")
        }
        Fact::PackLost { pack, start, end } => {
            format!("pack {pack} ({start} to {end}) is lost: it is neither in the spool nor in its store")
        }
        Fact::FootageMended { pack, start, end, source, places } => {
            let how = match source {
                MendSource::Itself => "from what is left of it",
                MendSource::OtherPack => "from another pack that has the same footage",
                MendSource::Spool => "from the copy in the spool",
                MendSource::Reappeared => "because its bytes read right again",
            };
            format!("pack {pack} ({start} to {end}) was damaged in {places} places and is mended {how}")
        }
        Fact::FootageLost { pack, start, end, fragments } => match fragments {
            Some(n) => format!("pack {pack} ({start} to {end}): {n} fragments are damaged beyond repair"),
            None => format!("pack {pack} ({start} to {end}) is damaged beyond repair"),
        },
        Fact::FootageSharedDamage { pack, start, end } => {
            format!("pack {pack} ({start} to {end}) shares footage with a pack whose damage changed")
        }
        Fact::Scrubbed { store, bytes, mended, lost } => format!(
            "every pack of {} was read and checked ({} MiB): {mended} mended, {lost} damaged beyond repair",
            store_name(store),
            mebibytes(*bytes)
        ),
        Fact::StoreDoubtful { store, packs } => format!(
            "{packs} packs in a row cannot be read from {}: check that it is the right folder or bucket, and whole",
            store_name(store)
        ),
        Fact::StoreBack { store } => format!("{} takes packs again", store_name(store)),
        Fact::StoreAway { store } => {
            format!("{} does not answer: packs wait in the spool, recording goes on", store_name(store))
        }
        Fact::StoreRefused { store } => {
            format!("{} refuses its credentials: check the access key; packs wait in the spool", store_name(store))
        }
        Fact::StoreLies { store } => {
            format!("{} returned other bytes than it was sent: check it; packs wait in the spool", store_name(store))
        }
        Fact::StoreProbe { store, verdict } => {
            let what = match verdict {
                TrialVerdict::Lacking => "lacks an ability that Vigie uses",
                TrialVerdict::Away => "did not answer its trial",
                TrialVerdict::Refused => "refuses what Vigie cannot do without",
            };
            format!("{} {what}: run `vigie check-config --probe`", store_name(store))
        }
        Fact::PackDeleted { from, reason } => {
            let why = match reason {
                DestructionReason::Expired => "its time is over",
                DestructionReason::DiskFull => "the disk is full",
                DestructionReason::HoldEnded => "its hold is over",
            };
            format!("footage from {from} on is being destroyed: {why}; the register has the whole day")
        }
        Fact::DiskFull { free_bytes, .. } => format!(
            "the disk is full{} and all footage is within its guaranteed time: add disk or shorten the minimum; \
             recording stops when nothing is left",
            free_bytes.map_or_else(String::new, |free| format!(" ({} MiB free)", mebibytes(free)))
        ),
        Fact::RetentionConflict => {
            "footage is destroyed before its guaranteed time, because the legal maximum does not \
                                    leave it: shorten the camera's minimum"
                .to_owned()
        }
        Fact::CondemnedEarly { packs, bytes, newest } => format!(
            "the disk is full: {packs} packs ({} MiB) up to {newest} are destroyed before their maximum",
            mebibytes(*bytes)
        ),
        Fact::KeyDestroyed { key, day } => {
            let day = day.map_or_else(String::new, |day| format!(" of {day}"));
            format!("day key {key}{day} was destroyed: what was encrypted with it cannot be read from any copy")
        }
        Fact::ClockDoubted { lead_s, retention_by } => format!(
            "the clock is {lead_s} s ahead of what can be vouched for: check the time service; retention goes by \
             {retention_by} until the clock is back or has held for a day"
        ),
        Fact::ClockBelieved => "retention goes by the clock again".to_owned(),
        Fact::HoldPlaced { hold, reference, requester, reason, start, end, until } => {
            let reference = if reference.is_empty() { "none" } else { reference };
            format!(
                "hold {hold} placed by {requester} ({reason}), reference {reference}, on {start} to {end}, until {until}"
            )
        }
        Fact::HoldReleased { hold, requester } => {
            format!("hold {hold} of {requester} was released: what it kept is destroyed")
        }
        Fact::HoldEnded { hold, requester, start, end } => {
            format!("hold {hold} of {requester}, on {start} to {end}, is over: what it kept is destroyed")
        }
        Fact::RequestStep { request, step } => format!("request for footage {request}: {}", request_step(*step)),
        Fact::HoldWaits { hold } => {
            format!("hold {hold} cannot be copied for now: its footage stays in the original packs until it can")
        }
        Fact::HoldDamaged { hold, pack, start, end } => {
            format!("hold {hold}: footage of {start} to {end} is damaged in pack {pack} and cannot be kept")
        }
        Fact::SameRank { pack } => format!(
            "pack {pack} in the shared store has this gateway's rank and is not in its index: give each gateway its own \
             rank; if the index was lost, run `vigie rebuild-index`"
        ),
        Fact::NothingInCommon => {
            "another gateway records this camera at the same time, and nothing is equal, so both are \
                                  stored: check that both gateways have the same key and receive the same stream"
                .to_owned()
        }
        Fact::ForeignPackGone { pack } => {
            format!("pack {pack}, stored by another gateway, is gone before its time here")
        }
        Fact::ForeignPackUnusable { pack } => {
            format!("pack {pack}, stored by another gateway, cannot be used: this gateway stores its own footage")
        }
        Fact::PackAbsent { from, .. } => format!("footage from {from} on was due and was not in the store: something else removed it before; the register has the whole day"),
        Fact::DeletionFailed => "footage that is due cannot be deleted: it is tried again with each sweep; see the gateway's log".to_owned(),
        Fact::DeletionWorks => "footage that is due is deleted again".to_owned(),
        Fact::JournalFailed => "the journal cannot be written, or is damaged: cameras are recorded, and no footage is handed out until it is put right; see the gateway's log".to_owned(),
        Fact::JournalWorks => "the journal is written again, and footage is handed out".to_owned(),
        Fact::CatalogueFailed => "the catalogue of persons is missing, damaged, or not the one that was known: cameras are recorded, and no person is let in until it is put right; see the gateway's log".to_owned(),
        Fact::CatalogueWorks => "the catalogue of persons is read again".to_owned(),
        Fact::SignedInElsewhere { person } => format!("{person} signed in from another address while a session of theirs went on: that session is over"),
        Fact::TokenMade { person, token } => format!("token {token} was made for {person}"),
        Fact::AccountNamed { person, provider } => format!("{person} signs in by an account at {provider} from now on"),
        Fact::JournalUnproven { proof } => format!("{}; cameras are recorded, the journal is written, and footage is handed out; see the gateway's log", unproven_words(*proof)),
        Fact::JournalProven { proof } => match proof {
            JournalProof::Copy => "the journal is copied to the store again".to_owned(),
            JournalProof::TimeStamp => "the journal's checkpoints have time stamps again".to_owned(),
        },
        Fact::OverAge { packs, oldest } => format!("{packs} packs are kept longer than their maximum, the oldest from {oldest}: see why they cannot be deleted"),
        Fact::OverAgeEnded => "no footage is kept longer than its maximum any more".to_owned(),
        Fact::DiskTooSmall { hours } => format!("the disk is too small for the retention: it holds about {hours} h of footage, and what is older is destroyed before its maximum; add disk, or shorten the maximum"),
        Fact::RetentionChange { max_hours, from, packs, bytes } => format!("a shorter retention (at most {max_hours} h) takes effect at {from}: it destroys {packs} packs ({bytes} bytes) of what there is now; `vigie retention confirm` lets it take effect at once, restoring the former bounds stops it"),
        Fact::RetentionChanged { max_hours, min_hours, confirmed } => format!("retention is at most {max_hours} h and at least {min_hours} h from now on: {}", if *confirmed { "an operator confirmed it" } else { "its time has come" }),
        Fact::AuthorisationEnds { authorisation, number, until, notice } => format!(
            "authorisation {authorisation} ({number}) ends in less than {}, on {until}: {}",
            notice_words(*notice),
            if *notice == Notice::SixMonths { "prepare its renewal" } else { "ask for its renewal, and enter it in the configuration" }
        ),
        Fact::AuthorisationNoticePassed { authorisation, .. } => {
            format!("the end of authorisation {authorisation} is nearer or further than an alarm said: that one is over")
        }
        Fact::AuthorisationEnded { authorisation, number, until, at_end } => format!(
            "authorisation {authorisation} ({number}) ended on {until}: {}; renew it in the configuration and reload",
            at_end_words(*at_end)
        ),
        Fact::AuthorisationNotYet { authorisation, number, from, at_end } => {
            format!("authorisation {authorisation} ({number}) is in force from {from} on only: {}", at_end_words(*at_end))
        }
        Fact::AuthorisationSettled { authorisation } => {
            format!("authorisation {authorisation} is in force, or no camera records under it any more")
        }
        Fact::CameraRemoved { max_hours } => format!("the camera is not in the configuration any more: its footage stays until its maximum of {max_hours} h, as before"),
        Fact::StoreNotIdentified { store } => format!("{} has not been identified yet: packs wait in the spool", store_name(store)),
        Fact::StoreMissing { store } => format!("{} has no marker: is the disk mounted, is it the right folder, bucket and prefix? Packs stay in the spool, nothing is deleted; for a new, empty store run `vigie store adopt`", store_name(store)),
        Fact::StoreOther { store } => format!("{} has the marker of another: it is another folder, bucket or prefix. Packs stay in the spool, nothing is deleted; if it takes the place of the known one on purpose, run `vigie store adopt` with its id", store_name(store)),
        Fact::StoreUnreadable { store } => format!("what answers for {} is no store of Vigie: is it a proxy or another server? Packs stay in the spool, nothing is deleted", store_name(store)),
        Fact::StoreOtherKey { store } => format!("{} belongs to another gateway.key: restore that key and restart. Packs stay in the spool, nothing is called lost", store_name(store)),
        Fact::StoreKnown { store } => format!("{} answers again: its backlog is sent", store_name(store)),
        Fact::StoreNew { store } => format!("{} is used for the first time", store_name(store)),
        Fact::StoreFound { store } => format!("{} was in use before: it is looked through for packs", store_name(store)),
        Fact::StoreReplaced { store } => format!("{} takes the place of the former one, as an operator said", store_name(store)),
        Fact::StoreVersioned { store } => format!("the bucket of {} keeps versions: what Vigie deletes stays readable there; turn versioning off, or have old versions expire", store_name(store)),
        Fact::StoreCompared { store, objects, adopted, due, unreadable } => format!("{}: {objects} objects compared with the index, {adopted} packs entered that it did not know; {due} cannot be read and are due, {unreadable} cannot be read and are left alone until they are", store_name(store)),
        Fact::IndexRebuilt { store, objects, adopted, due, unreadable } => format!("{}: {objects} objects compared with the index, {adopted} packs entered that it did not know; {due} cannot be read and are due, {unreadable} cannot be read and are left alone until they are", store_name(store)),
        Fact::GatewayKeyKnown => "gateway.key is the known key again".to_owned(),
        Fact::RetentionChangeWithdrawn => "the shorter retention is withdrawn: the former bounds stay".to_owned(),
        Fact::Recording => "footage is recorded".to_owned(),
        Fact::DiskFullEnded => "the disk takes footage again".to_owned(),
        Fact::DiskTooSmallEnded => "the disk holds what the retention asks for again".to_owned(),
        Fact::DiskHoursLeft { hours } => format!(
            "the store is away and the disk fills: about {hours} h of recording are left; bring the store back, or add disk"
        ),
        Fact::DiskHoursLeftEnded => "the disk does not fill any more".to_owned(),
        Fact::CameraUnsteady { cuts } => format!(
            "the camera was cut off {cuts} times within an hour: check its power supply, its cable and the load of its network"
        ),
        Fact::CameraSteady => "the camera is hardly cut off any more".to_owned(),
        Fact::CertificateEnds { days } => format!(
            "the camera's certificate runs out in {days} days: renew it, or it is not recorded from its next session on"
        ),
        Fact::ServerCertificateEnds { days } => format!("the gateway's own certificate ends in {days} days, and browsers refuse it then: put another in the place of the files that [http.tls] names"),
        Fact::ServerCertificateRenewed => "the gateway's own certificate is renewed".to_owned(),
        Fact::CertificateRenewed => "the camera's certificate is renewed".to_owned(),
        Fact::EntryUnreadable { of_kind } => format!(
            "the index holds an entry of kind {of_kind} that this Vigie cannot read: a newer Vigie wrote it, or it is damaged; run the newer Vigie, or check the disk and run `vigie fsck`"
        ),
        Fact::AlarmNotDelivered { target } => {
            format!("alarms do not reach {target}: check its address and password with `vigie alarms test`")
        }
        Fact::AlarmDelivered { target } => format!("alarms reach {target} again"),
        Fact::Upgraded { from, to } => {
            format!("Vigie {to} took over from Vigie {from}: the gap before this is that of the upgrade")
        }
        Fact::IndexMissing => "the index is missing or empty: recording goes on, and the packs of spool and stores are entered again; events, deletions and holds since the last snapshot are lost".to_owned(),
        Fact::IndexDamaged => "the index is damaged and kept under another name: recording goes on, and the packs of spool and stores are entered again; events, deletions and holds since the last snapshot are lost".to_owned(),
        Fact::IndexOther => "the index is not the one that was used here last: recording goes on, and the packs of spool and stores are entered again; events, deletions and holds since the last snapshot are lost".to_owned(),
        Fact::IndexOlder => "the index is an older copy, or has lost its log: recording goes on, and the packs of spool and stores are entered again; events, deletions and holds since the last snapshot are lost".to_owned(),
        Fact::GatewayKeyMissing => "gateway.key is missing. Restore it from its backup and restart. Until then footage is recorded under a substitute key and stays in the spool, and nothing is checked or called damaged".to_owned(),
        Fact::GatewayKeyOther => "gateway.key holds another key than the index knows. Restore it from its backup and restart. Until then footage is recorded under a substitute key and stays in the spool, and nothing is checked or called damaged".to_owned(),
        Fact::GatewayKeyDamaged => "gateway.key does not hold a key. Restore it from its backup and restart. Until then footage is recorded under a substitute key and stays in the spool, and nothing is checked or called damaged".to_owned(),
        Fact::GatewayKeyOpen => "gateway.key can be read by other users: run `chmod 600` on it. Restore it from its backup and restart. Until then footage is recorded under a substitute key and stays in the spool, and nothing is checked or called damaged".to_owned(),
        Fact::KeyMissing { key, packs } => format!("day key {key}, which {packs} packs need, is missing: restore the keys folder from its backup; those packs cannot be read until then and are not lost"),
        Fact::KeyFound { key } => format!("day key {key} is there again, or nothing needs it any more"),
        Fact::KeyUnusable => "a key of encrypted packs cannot be used (the log names its file): restore it. New footage is encrypted under another key, the footage of this one is not lost".to_owned(),
    }
}

fn notice_words(notice: Notice) -> &'static str {
    match notice {
        Notice::SixMonths => "six months",
        Notice::FourMonths => "four months",
        Notice::FourWeeks => "four weeks",
        Notice::TwoWeeks => "two weeks",
        Notice::OneWeek => "a week",
    }
}

fn at_end_words(at_end: AtEnd) -> &'static str {
    match at_end {
        AtEnd::Stop => "its cameras are not recorded",
        AtEnd::RecordOn => "its cameras are recorded all the same, as the configuration says (at_end)",
    }
}

fn unproven_words(proof: JournalProof) -> &'static str {
    match proof {
        JournalProof::Copy => "the journal has no copy in the store, or its copy there is damaged",
        JournalProof::TimeStamp => {
            "the journal's checkpoints have no time stamps: the authority does not answer, or answers something else"
        }
    }
}

fn store_name(name: &StoreName) -> Cow<'static, str> {
    name.as_ref().map_or("a store".into(), |name| format!("store {name}").into())
}

fn request_step(step: RequestStep) -> &'static str {
    match step {
        RequestStep::Opened => "taken in",
        RequestStep::ScanAttached => "a scan is attached",
        RequestStep::ScanRead => "a scan was read",
        RequestStep::Held => "holds placed",
        RequestStep::Prepared => "footage prepared",
        RequestStep::Released => "footage released for hand-over",
        RequestStep::HandedOver => "footage handed over",
        RequestStep::Refused => "refused",
        RequestStep::Closed => "closed",
        RequestStep::Destroyed => "file destroyed, its time is over",
    }
}
