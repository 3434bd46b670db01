//! Events in words, French and English: what happened, what it means, and what to do, in one line.
//!
//! A fact that is shown to a tenant goes through [`Fact::for_tenant`] first: the words name only what the fact holds.

use std::borrow::Cow;

use crate::authorisation::{AtEnd, Notice};

use super::{DestructionReason, EdgeRefusal, Fact, JournalProof, MendSource, StoreName, TrialVerdict};
use footage::media::GapCause;

/// A language of people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// French.
    French,
}

impl Language {
    /// From an `Accept-Language` header (RFC 9110 §12.5.4): the one of ours with the highest weight.
    pub fn accepted(header: &str) -> Self {
        let mut best = (0u16, Self::default());
        for range in header.split(',').take(32) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let language = match tag.split('-').next() {
                Some(primary) if primary.eq_ignore_ascii_case("fr") => Self::French,
                Some(primary) if primary.eq_ignore_ascii_case("en") => Self::English,
                _ => continue,
            };
            let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let weight = (weight.clamp(0.0, 1.0) * 1_000.0) as u16;
            if weight > best.0 {
                best = (weight, language);
            }
        }
        best.1
    }
}

impl Fact {
    /// What happened, in one line.
    pub fn words(&self, language: Language) -> String {
        match language {
            Language::English => english(self),
            Language::French => french(self),
        }
    }
}

/// Why there is no footage, and what to do.
pub fn cause(cause: GapCause, language: Language) -> &'static str {
    let (english, french) = match cause {
        GapCause::GatewayStopped => ("the gateway was stopped", "la passerelle a été arrêtée"),
        GapCause::Reconfigured => (
            "the camera was changed in the configuration, or taken out of it",
            "la caméra a été modifiée dans la configuration, ou en a été retirée",
        ),
        GapCause::GatewayCrashed => {
            ("the gateway stopped without closing its files", "la passerelle s'est arrêtée sans fermer ses fichiers")
        }
        GapCause::ConnectFailed => (
            "the camera cannot be reached: check its power and network, and the host and port of its URL",
            "la caméra est injoignable : vérifiez son alimentation, son réseau, ainsi que l'hôte et le port de son URL",
        ),
        GapCause::Unauthorized => (
            "the camera refuses the credentials: check username and password",
            "la caméra refuse les identifiants : vérifiez l'utilisateur et le mot de passe",
        ),
        GapCause::UnsupportedMedia => (
            "the camera offers no video that can be recorded: choose H.264 or H.265 on the camera",
            "la caméra n'offre aucune vidéo enregistrable : choisissez H.264 ou H.265 sur la caméra",
        ),
        GapCause::ProtocolError => (
            "the camera answers with an error or with what is not RTSP: check the path of its URL and its settings",
            "la caméra répond par une erreur ou ne parle pas RTSP : vérifiez le chemin de son URL et ses réglages",
        ),
        GapCause::SetupTimeout => (
            "the camera does not answer while the session is opened: check its load and network",
            "la caméra ne répond pas à l'ouverture de la session : vérifiez sa charge et son réseau",
        ),
        GapCause::Silent => (
            "the camera is connected and sends no picture: check the camera and its network",
            "la caméra est connectée mais n'envoie aucune image : vérifiez la caméra et son réseau",
        ),
        GapCause::Disconnected => ("the camera closed the connection", "la caméra a fermé la connexion"),
        GapCause::PacketLoss => (
            "packets were lost on the network: check the network, or set transport = \"tcp\"",
            "des paquets ont été perdus sur le réseau : vérifiez le réseau, ou choisissez transport = \"tcp\"",
        ),
        GapCause::ClockStep => (
            "the gateway's clock was set ahead: no footage bears these times, and none is missing",
            "l'horloge de la passerelle a été avancée : aucune image ne porte ces heures, et il n'en manque aucune",
        ),
        GapCause::DiskFull => (
            "the gateway's disk is full: add disk or shorten the guaranteed minimum",
            "le disque de la passerelle est plein : ajoutez du disque ou réduisez la durée minimale garantie",
        ),
        GapCause::DiskSlow => (
            "the gateway's disk does not keep up with the cameras: see what else uses it, or spread the cameras over more disks",
            "le disque de la passerelle ne suit pas les caméras : voyez ce qui l'occupe, ou répartissez les caméras sur plus de disques",
        ),
        GapCause::NotAuthorised => (
            "the authorisation that the camera records under is not in force: renew it in the configuration and reload",
            "l'autorisation de la caméra n'est pas en vigueur : renouvelez-la dans la configuration et rechargez",
        ),
        GapCause::WriteFailed => (
            "the gateway's disk fails to write: check the disk",
            "le disque de la passerelle n'écrit plus : vérifiez le disque",
        ),
        GapCause::Corrupt => (
            "the footage was recorded and is damaged beyond repair",
            "les images étaient enregistrées et sont endommagées de façon irréparable",
        ),
    };
    match language {
        Language::English => english,
        Language::French => french,
    }
}

/// Milliseconds as signed seconds: `+1.250`.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    format!("{sign}{}.{:03}", ms.unsigned_abs() / 1_000, ms.unsigned_abs() % 1_000)
}

fn notice_en(notice: Notice) -> &'static str {
    match notice {
        Notice::SixMonths => "six months",
        Notice::FourMonths => "four months",
        Notice::FourWeeks => "four weeks",
        Notice::TwoWeeks => "two weeks",
        Notice::OneWeek => "a week",
    }
}

fn notice_fr(notice: Notice) -> &'static str {
    match notice {
        Notice::SixMonths => "six mois",
        Notice::FourMonths => "quatre mois",
        Notice::FourWeeks => "quatre semaines",
        Notice::TwoWeeks => "deux semaines",
        Notice::OneWeek => "une semaine",
    }
}

fn at_end_en(at_end: AtEnd) -> &'static str {
    match at_end {
        AtEnd::Stop => "its cameras are not recorded",
        AtEnd::RecordOn => "its cameras are recorded all the same, as the configuration says (at_end)",
    }
}

fn at_end_fr(at_end: AtEnd) -> &'static str {
    match at_end {
        AtEnd::Stop => "ses caméras ne sont pas enregistrées",
        AtEnd::RecordOn => "ses caméras sont enregistrées malgré tout, comme le veut la configuration (at_end)",
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

fn unproven_en(proof: JournalProof) -> &'static str {
    match proof {
        JournalProof::Copy => "the journal has no copy in the store, or its copy there is damaged",
        JournalProof::TimeStamp => {
            "the journal's checkpoints have no time stamps: the authority does not answer, or answers something else"
        }
    }
}

fn unproven_fr(proof: JournalProof) -> &'static str {
    match proof {
        JournalProof::Copy => "le journal n'a pas de copie dans le stockage, ou sa copie y est abîmée",
        JournalProof::TimeStamp => {
            "les points de contrôle du journal ne sont pas horodatés : l'autorité ne répond pas, ou répond autre chose"
        }
    }
}

fn store_en(name: &StoreName) -> Cow<'static, str> {
    name.as_ref().map_or("a store".into(), |name| format!("store {name}").into())
}

fn store_fr(name: &StoreName) -> Cow<'static, str> {
    name.as_ref().map_or("un entrepôt".into(), |name| format!("l'entrepôt {name}").into())
}

fn english(fact: &Fact) -> String {
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
            store_en(store),
            mebibytes(*bytes)
        ),
        Fact::StoreDoubtful { store, packs } => format!(
            "{packs} packs in a row cannot be read from {}: check that it is the right folder or bucket, and whole",
            store_en(store)
        ),
        Fact::StoreBack { store } => format!("{} takes packs again", store_en(store)),
        Fact::StoreAway { store } => {
            format!("{} does not answer: packs wait in the spool, recording goes on", store_en(store))
        }
        Fact::StoreRefused { store } => {
            format!("{} refuses its credentials: check the access key; packs wait in the spool", store_en(store))
        }
        Fact::StoreLies { store } => {
            format!("{} returned other bytes than it was sent: check it; packs wait in the spool", store_en(store))
        }
        Fact::StoreProbe { store, verdict } => {
            let what = match verdict {
                TrialVerdict::Lacking => "lacks an ability that Vigie uses",
                TrialVerdict::Away => "did not answer its trial",
                TrialVerdict::Refused => "refuses what Vigie cannot do without",
            };
            format!("{} {what}: run `vigie check-config --probe`", store_en(store))
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
        Fact::JournalUnproven { proof } => format!("{}; cameras are recorded, the journal is written, and footage is handed out; see the gateway's log", unproven_en(*proof)),
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
            notice_en(*notice),
            if *notice == Notice::SixMonths { "prepare its renewal" } else { "ask for its renewal, and enter it in the configuration" }
        ),
        Fact::AuthorisationNoticePassed { authorisation, .. } => {
            format!("the end of authorisation {authorisation} is nearer or further than an alarm said: that one is over")
        }
        Fact::AuthorisationEnded { authorisation, number, until, at_end } => format!(
            "authorisation {authorisation} ({number}) ended on {until}: {}; renew it in the configuration and reload",
            at_end_en(*at_end)
        ),
        Fact::AuthorisationNotYet { authorisation, number, from, at_end } => {
            format!("authorisation {authorisation} ({number}) is in force from {from} on only: {}", at_end_en(*at_end))
        }
        Fact::AuthorisationSettled { authorisation } => {
            format!("authorisation {authorisation} is in force, or no camera records under it any more")
        }
        Fact::CameraRemoved { max_hours } => format!("the camera is not in the configuration any more: its footage stays until its maximum of {max_hours} h, as before"),
        Fact::StoreNotIdentified { store } => format!("{} has not been identified yet: packs wait in the spool", store_en(store)),
        Fact::StoreMissing { store } => format!("{} has no marker: is the disk mounted, is it the right folder, bucket and prefix? Packs stay in the spool, nothing is deleted; for a new, empty store run `vigie store adopt`", store_en(store)),
        Fact::StoreOther { store } => format!("{} has the marker of another: it is another folder, bucket or prefix. Packs stay in the spool, nothing is deleted; if it takes the place of the known one on purpose, run `vigie store adopt` with its id", store_en(store)),
        Fact::StoreUnreadable { store } => format!("what answers for {} is no store of Vigie: is it a proxy or another server? Packs stay in the spool, nothing is deleted", store_en(store)),
        Fact::StoreOtherKey { store } => format!("{} belongs to another gateway.key: restore that key and restart. Packs stay in the spool, nothing is called lost", store_en(store)),
        Fact::StoreKnown { store } => format!("{} is there again: what waits is sent", store_en(store)),
        Fact::StoreNew { store } => format!("{} is used for the first time", store_en(store)),
        Fact::StoreFound { store } => format!("{} was in use before: it is looked through for packs", store_en(store)),
        Fact::StoreReplaced { store } => format!("{} takes the place of the former one, as an operator said", store_en(store)),
        Fact::StoreVersioned { store } => format!("the bucket of {} keeps versions: what Vigie deletes stays readable there; turn versioning off, or have old versions expire", store_en(store)),
        Fact::StoreCompared { store, objects, adopted, due, unreadable } => format!("{}: {objects} objects compared with the index, {adopted} packs entered that it did not know; {due} cannot be read and are due, {unreadable} cannot be read and are left alone until they are", store_en(store)),
        Fact::IndexRebuilt { store, objects, adopted, due, unreadable } => format!("{}: {objects} objects compared with the index, {adopted} packs entered that it did not know; {due} cannot be read and are due, {unreadable} cannot be read and are left alone until they are", store_en(store)),
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

fn french(fact: &Fact) -> String {
    match fact {
        Fact::Connected { codecs, width, height } => format!("connectée : {codecs}, {width}x{height}"),
        Fact::ConnectionLost { cause: why } => format!("pas d'enregistrement : {}", cause(*why, Language::French)),
        Fact::ParametersChanged { codecs, width, height } => {
            format!("la caméra a changé sa vidéo en {codecs}, {width}x{height}")
        }
        Fact::StreamOdd { oddity } => {
            format!("le flux présente une particularité et est enregistré malgré cela : {}", oddity.as_str())
        }
        Fact::StreamOddEnded { oddity, count } => {
            format!("le flux ne présente plus cette particularité : {}, relevée {count} fois", oddity.as_str())
        }
        Fact::TimestampJump { by_ms, count } => format!(
            "les horodatages de la caméra ont sauté de {} s ({count} sauts depuis le dernier événement) : les images restent à \
             l'heure de leur prise",
            seconds(*by_ms)
        ),
        Fact::TimestampsUnsteady => {
            "les horodatages de la caméra ne suivent pas le temps : les images sont datées par leur \
             arrivée ; vérifiez ses réglages de cadence"
                .to_owned()
        }
        Fact::TimestampsSteady => "les horodatages de la caméra suivent le temps depuis une minute".to_owned(),
        Fact::CameraClockStep { by_ms } => format!(
            "l'horloge de la caméra a bougé de {} s par rapport à la passerelle : vérifiez son service de temps",
            seconds(*by_ms)
        ),
        Fact::CameraClockOff { by_ms } => format!(
            "l'horloge de la caméra est décalée de {} s : donnez-lui le serveur de temps de la passerelle",
            seconds(*by_ms)
        ),
        Fact::CameraClockRight => "l'horloge de la caméra est de nouveau à l'heure, ou n'est plus comparée".to_owned(),
        Fact::ClockStep { by_ms } => format!(
            "l'horloge de la passerelle a été changée de {} s : les heures de ce qui a été enregistré depuis son réglage \
             précédent sont fausses d'autant ; vérifiez son service de temps",
            seconds(*by_ms)
        ),
        Fact::ClockMisdated { by_ms } => format!(
            "des images d'avant le démarrage de la machine portent des heures futures : son horloge avançait d'au moins {} s ; \
             vérifiez son service de temps",
            seconds(*by_ms)
        ),
        Fact::NotWritten { cause: why } => format!("des images se perdent : {}", cause(*why, Language::French)),
        Fact::EdgeFilled { start, end, filled_ms, error_ms } => format!(
            "la coupure de {start} à {end} a été comblée depuis la mémoire de la caméra : {} s, chaque image à {} s près de sa \
             prise",
            seconds(*filled_ms),
            seconds(*error_ms)
        ),
        Fact::EdgeNotFilled { start, end, why } => {
            let why = edge_refusal(*why, Language::French);
            format!("la coupure de {start} à {end} n'est pas comblée depuis la mémoire de la caméra : {why}")
        }
        Fact::PackLost { pack, start, end } => {
            format!("le paquet {pack} ({start} à {end}) est perdu : ni dans le tampon local ni dans son entrepôt")
        }
        Fact::FootageMended { pack, start, end, source, places } => {
            let how = match source {
                MendSource::Itself => "à partir de ce qu'il en reste",
                MendSource::OtherPack => "à partir d'un autre paquet qui contient les mêmes images",
                MendSource::Spool => "à partir de la copie du tampon local",
                MendSource::Reappeared => "car ses octets sont de nouveau lus correctement",
            };
            format!("le paquet {pack} ({start} à {end}) était endommagé en {places} endroits ; il est réparé {how}")
        }
        Fact::FootageLost { pack, start, end, fragments } => match fragments {
            Some(n) => format!("paquet {pack} ({start} à {end}) : {n} fragments sont endommagés de façon irréparable"),
            None => format!("le paquet {pack} ({start} à {end}) est endommagé de façon irréparable"),
        },
        Fact::FootageSharedDamage { pack, start, end } => {
            format!("le paquet {pack} ({start} à {end}) partage des images avec un paquet dont l'état a changé")
        }
        Fact::Scrubbed { store, bytes, mended, lost } => format!(
            "chaque paquet de {} a été relu et vérifié ({} Mio) : {mended} réparés, {lost} irréparables",
            store_fr(store),
            mebibytes(*bytes)
        ),
        Fact::StoreDoubtful { store, packs } => format!(
            "{packs} paquets de suite sont illisibles dans {} : vérifiez que c'est le bon dossier ou le bon bucket, et \
             qu'il est entier",
            store_fr(store)
        ),
        Fact::StoreBack { store } => format!("{} accepte de nouveau les paquets", store_fr(store)),
        Fact::StoreAway { store } => format!(
            "{} ne répond pas : les paquets attendent dans le tampon local, l'enregistrement continue",
            store_fr(store)
        ),
        Fact::StoreRefused { store } => format!(
            "{} refuse les identifiants : vérifiez la clé d'accès ; les paquets attendent dans le tampon local",
            store_fr(store)
        ),
        Fact::StoreLies { store } => format!(
            "{} a rendu d'autres octets que ceux reçus : vérifiez-le ; les paquets attendent dans le tampon local",
            store_fr(store)
        ),
        Fact::StoreProbe { store, verdict } => {
            let what = match verdict {
                TrialVerdict::Lacking => "n'a pas une capacité que Vigie utilise",
                TrialVerdict::Away => "n'a pas répondu à l'essai",
                TrialVerdict::Refused => "refuse ce dont Vigie ne peut se passer",
            };
            format!("{} {what} : lancez `vigie check-config --probe`", store_fr(store))
        }
        Fact::PackDeleted { from, reason } => {
            let why = match reason {
                DestructionReason::Expired => "leur durée de conservation est écoulée",
                DestructionReason::DiskFull => "le disque est plein",
                DestructionReason::HoldEnded => "leur réquisition est terminée",
            };
            format!(
                "les images à partir de {from} sont en cours de destruction : {why} ; le registre couvre la journée"
            )
        }
        Fact::DiskFull { free_bytes, .. } => format!(
            "le disque est plein{} et toutes les images sont dans leur durée garantie : ajoutez du disque ou réduisez le \
             minimum ; l'enregistrement s'arrête quand il ne reste rien",
            free_bytes.map_or_else(String::new, |free| format!(" ({} Mio libres)", mebibytes(free)))
        ),
        Fact::RetentionConflict => {
            "des images sont détruites avant leur durée garantie, car le maximum légal ne la laisse \
                                    pas : réduisez le minimum de la caméra"
                .to_owned()
        }
        Fact::CondemnedEarly { packs, bytes, newest } => format!(
            "le disque est plein : {packs} paquets ({} Mio) jusqu'au {newest} sont détruits avant leur maximum",
            mebibytes(*bytes)
        ),
        Fact::KeyDestroyed { key, day } => {
            let day = day.map_or_else(String::new, |day| format!(" du {day}"));
            format!(
                "la clé de jour {key}{day} est détruite : ce qu'elle chiffrait n'est plus lisible dans aucune copie"
            )
        }
        Fact::ClockDoubted { lead_s, retention_by } => format!(
            "l'horloge avance de {lead_s} s sur ce qui peut être garanti : vérifiez le service de temps ; la conservation \
             suit {retention_by} jusqu'à ce que l'horloge revienne ou tienne un jour"
        ),
        Fact::ClockBelieved => "la conservation suit de nouveau l'horloge".to_owned(),
        Fact::HoldPlaced { hold, reference, requester, reason, start, end, until } => {
            let reference = if reference.is_empty() { "aucune" } else { reference };
            format!(
                "réquisition {hold} posée par {requester} ({reason}), référence {reference}, du {start} au {end}, \
                 jusqu'au {until}"
            )
        }
        Fact::HoldReleased { hold, requester } => {
            format!("la réquisition {hold} de {requester} est levée : ce qu'elle gardait est détruit")
        }
        Fact::HoldEnded { hold, requester, start, end } => format!(
            "la réquisition {hold} de {requester}, du {start} au {end}, est terminée : ce qu'elle gardait est détruit"
        ),
        Fact::HoldWaits { hold } => format!(
            "la réquisition {hold} ne peut pas être copiée pour l'instant : ses images restent dans les paquets d'origine"
        ),
        Fact::HoldDamaged { hold, pack, start, end } => format!(
            "réquisition {hold} : les images du {start} au {end} sont endommagées dans le paquet {pack} et ne peuvent \
             être gardées"
        ),
        Fact::SameRank { pack } => format!(
            "le paquet {pack} de l'entrepôt partagé porte le rang de cette passerelle et n'est pas dans son index : donnez \
             un rang propre à chaque passerelle ; si l'index est perdu, lancez `vigie rebuild-index`"
        ),
        Fact::NothingInCommon => {
            "une autre passerelle enregistre cette caméra au même moment et rien n'est égal, donc les \
                                  deux sont stockées : vérifiez que les deux ont la même clé et reçoivent le même flux"
                .to_owned()
        }
        Fact::ForeignPackGone { pack } => {
            format!("le paquet {pack}, stocké par une autre passerelle, a disparu avant son terme ici")
        }
        Fact::ForeignPackUnusable { pack } => format!(
            "le paquet {pack}, stocké par une autre passerelle, est inutilisable : cette passerelle stocke ses images"
        ),
        Fact::PackAbsent { from, .. } => format!("des images à partir de {from} étaient échues et absentes du stockage : autre chose les a supprimées avant ; le registre donne la journée"),
        Fact::DeletionFailed => "des images échues ne peuvent pas être supprimées : nouvel essai à chaque passage ; voyez le journal de la passerelle".to_owned(),
        Fact::DeletionWorks => "les images échues sont de nouveau supprimées".to_owned(),
        Fact::JournalFailed => "le journal ne peut pas être écrit, ou il est endommagé : les caméras sont enregistrées, aucune image n'est remise avant qu'il soit rétabli ; voyez le journal technique de la passerelle".to_owned(),
        Fact::JournalWorks => "le journal est de nouveau écrit, les images sont remises".to_owned(),
        Fact::CatalogueFailed => "le catalogue des personnes manque, est endommagé ou n'est pas celui qui était connu : les caméras sont enregistrées, personne n'est admis avant qu'il soit rétabli ; voyez le journal technique de la passerelle".to_owned(),
        Fact::CatalogueWorks => "le catalogue des personnes est de nouveau lu".to_owned(),
        Fact::SignedInElsewhere { person } => format!("{person} s'est identifié depuis une autre adresse pendant qu'une session était ouverte : celle-ci est terminée"),
        Fact::JournalUnproven { proof } => format!("{} ; les caméras sont enregistrées, le journal est écrit, les images sont remises ; voyez le journal technique de la passerelle", unproven_fr(*proof)),
        Fact::JournalProven { proof } => match proof {
            JournalProof::Copy => "le journal est de nouveau copié dans le stockage".to_owned(),
            JournalProof::TimeStamp => "les points de contrôle du journal sont de nouveau horodatés".to_owned(),
        },
        Fact::OverAge { packs, oldest } => format!("{packs} paquets sont conservés au-delà de leur durée maximale, le plus ancien de {oldest} : cherchez pourquoi ils ne peuvent être supprimés"),
        Fact::OverAgeEnded => "plus aucune image n'est conservée au-delà de sa durée maximale".to_owned(),
        Fact::DiskTooSmall { hours } => format!("le disque est trop petit pour la conservation : il contient environ {hours} h d'images, et le reste est détruit avant sa durée maximale ; ajoutez du disque ou réduisez le maximum"),
        Fact::RetentionChange { max_hours, from, packs, bytes } => format!("une conservation plus courte (au plus {max_hours} h) prend effet à {from} : elle détruit {packs} paquets ({bytes} octets) actuels ; `vigie retention confirm` l'applique aussitôt, rétablir les anciennes bornes l'arrête"),
        Fact::RetentionChanged { max_hours, min_hours, confirmed } => format!("la conservation est désormais de {max_hours} h au plus et {min_hours} h au moins : {}", if *confirmed { "un opérateur l'a confirmée" } else { "son heure est venue" }),
        Fact::AuthorisationEnds { authorisation, number, until, notice } => format!(
            "l'autorisation {authorisation} ({number}) prend fin dans moins de {}, le {until} : {}",
            notice_fr(*notice),
            if *notice == Notice::SixMonths { "préparez son renouvellement" } else { "demandez son renouvellement et inscrivez-le dans la configuration" }
        ),
        Fact::AuthorisationNoticePassed { authorisation, .. } => {
            format!("la fin de l'autorisation {authorisation} est plus proche ou plus lointaine qu'une alarme ne le disait : celle-ci est terminée")
        }
        Fact::AuthorisationEnded { authorisation, number, until, at_end } => format!(
            "l'autorisation {authorisation} ({number}) a pris fin le {until} : {} ; renouvelez-la dans la configuration et rechargez",
            at_end_fr(*at_end)
        ),
        Fact::AuthorisationNotYet { authorisation, number, from, at_end } => {
            format!("l'autorisation {authorisation} ({number}) n'est en vigueur qu'à partir du {from} : {}", at_end_fr(*at_end))
        }
        Fact::AuthorisationSettled { authorisation } => {
            format!("l'autorisation {authorisation} est en vigueur, ou plus aucune caméra n'en dépend")
        }
        Fact::CameraRemoved { max_hours } => format!("la caméra n'est plus dans la configuration : ses images restent jusqu'à leur maximum de {max_hours} h, comme avant"),
        Fact::StoreNotIdentified { store } => format!("{} n'est pas encore identifié : les paquets attendent dans le spool", store_fr(store)),
        Fact::StoreMissing { store } => format!("{} n'a pas de marqueur : le disque est-il monté, est-ce le bon dossier, compartiment et préfixe ? Les paquets restent dans le spool, rien n'est supprimé ; pour un stockage neuf et vide, lancez `vigie store adopt`", store_fr(store)),
        Fact::StoreOther { store } => format!("{} porte le marqueur d'un autre : c'est un autre dossier, compartiment ou préfixe. Les paquets restent dans le spool, rien n'est supprimé ; s'il remplace volontairement le stockage connu, lancez `vigie store adopt` avec son identifiant", store_fr(store)),
        Fact::StoreUnreadable { store } => format!("ce qui répond pour {} n'est pas un stockage de Vigie : un mandataire, un autre serveur ? Les paquets restent dans le spool, rien n'est supprimé", store_fr(store)),
        Fact::StoreOtherKey { store } => format!("{} appartient à un autre gateway.key : restaurez cette clé et redémarrez. Les paquets restent dans le spool, rien n'est déclaré perdu", store_fr(store)),
        Fact::StoreKnown { store } => format!("{} est de retour : ce qui attend est envoyé", store_fr(store)),
        Fact::StoreNew { store } => format!("{} est utilisé pour la première fois", store_fr(store)),
        Fact::StoreFound { store } => format!("{} a déjà servi : ses paquets sont recherchés", store_fr(store)),
        Fact::StoreReplaced { store } => format!("{} remplace le précédent, comme un opérateur l'a demandé", store_fr(store)),
        Fact::StoreVersioned { store } => format!("le compartiment de {} garde les versions : ce que Vigie supprime y reste lisible ; désactivez les versions ou faites-les expirer", store_fr(store)),
        Fact::StoreCompared { store, objects, adopted, due, unreadable } => format!("{} : {objects} objets comparés à l'index, {adopted} paquets inconnus ajoutés ; {due} illisibles et échus, {unreadable} illisibles et laissés jusqu'à leur terme", store_fr(store)),
        Fact::IndexRebuilt { store, objects, adopted, due, unreadable } => format!("{} : {objects} objets comparés à l'index, {adopted} paquets inconnus ajoutés ; {due} illisibles et échus, {unreadable} illisibles et laissés jusqu'à leur terme", store_fr(store)),
        Fact::GatewayKeyKnown => "gateway.key est de nouveau la clé connue".to_owned(),
        Fact::RetentionChangeWithdrawn => "la conservation plus courte est retirée : les bornes d'avant restent".to_owned(),
        Fact::Recording => "les images sont enregistrées".to_owned(),
        Fact::DiskFullEnded => "le disque accepte de nouveau des images".to_owned(),
        Fact::DiskTooSmallEnded => "le disque contient de nouveau ce que la conservation demande".to_owned(),
        Fact::DiskHoursLeft { hours } => format!(
            "le stockage est absent et le disque se remplit : il reste environ {hours} h d'enregistrement ; rétablissez le \
             stockage, ou ajoutez du disque"
        ),
        Fact::DiskHoursLeftEnded => "le disque ne se remplit plus".to_owned(),
        Fact::CameraUnsteady { cuts } => format!(
            "la caméra a été coupée {cuts} fois en une heure : vérifiez son alimentation, son câble et la charge de son réseau"
        ),
        Fact::CameraSteady => "la caméra n'est presque plus coupée".to_owned(),
        Fact::CertificateEnds { days } => format!(
            "le certificat de la caméra expire dans {days} jours : renouvelez-le, sinon elle ne sera plus enregistrée dès \
             sa prochaine connexion"
        ),
        Fact::ServerCertificateEnds { days } => format!("le certificat de la passerelle prend fin dans {days} jours, et les navigateurs le refuseront : remplacez les fichiers que nomme [http.tls]"),
        Fact::ServerCertificateRenewed => "le certificat de la passerelle est renouvelé".to_owned(),
        Fact::CertificateRenewed => "le certificat de la caméra est renouvelé".to_owned(),
        Fact::EntryUnreadable { of_kind } => format!(
            "l'index contient une entrée de type « {of_kind} » que cette version de Vigie ne sait pas lire : une version plus récente l'a écrite, ou elle est endommagée ; lancez cette version, ou vérifiez le disque et lancez `vigie fsck`"
        ),
        Fact::AlarmNotDelivered { target } => format!(
            "les alarmes n'arrivent pas à « {target} » : vérifiez son adresse et son mot de passe avec `vigie alarms test`"
        ),
        Fact::AlarmDelivered { target } => format!("les alarmes arrivent de nouveau à « {target} »"),
        Fact::Upgraded { from, to } => {
            format!("Vigie {to} a pris la suite de Vigie {from} : l'interruption qui précède est celle de la mise à jour")
        }
        Fact::IndexMissing => "l'index manque ou est vide : l'enregistrement continue, et les paquets du spool et des stockages sont réinscrits ; les événements, suppressions et réquisitions depuis le dernier instantané sont perdus".to_owned(),
        Fact::IndexDamaged => "l'index est endommagé et gardé sous un autre nom : l'enregistrement continue, et les paquets du spool et des stockages sont réinscrits ; les événements, suppressions et réquisitions depuis le dernier instantané sont perdus".to_owned(),
        Fact::IndexOther => "l'index n'est pas le dernier utilisé ici : l'enregistrement continue, et les paquets du spool et des stockages sont réinscrits ; les événements, suppressions et réquisitions depuis le dernier instantané sont perdus".to_owned(),
        Fact::IndexOlder => "l'index est une copie ancienne, ou a perdu son journal : l'enregistrement continue, et les paquets du spool et des stockages sont réinscrits ; les événements, suppressions et réquisitions depuis le dernier instantané sont perdus".to_owned(),
        Fact::GatewayKeyMissing => "gateway.key manque. Restaurez-le depuis sa sauvegarde et redémarrez. D'ici là, les images sont enregistrées sous une clé de remplacement et restent dans le spool, et rien n'est vérifié ni déclaré endommagé".to_owned(),
        Fact::GatewayKeyOther => "gateway.key contient une autre clé que celle que l'index connaît. Restaurez-le depuis sa sauvegarde et redémarrez. D'ici là, les images sont enregistrées sous une clé de remplacement et restent dans le spool, et rien n'est vérifié ni déclaré endommagé".to_owned(),
        Fact::GatewayKeyDamaged => "gateway.key ne contient pas de clé. Restaurez-le depuis sa sauvegarde et redémarrez. D'ici là, les images sont enregistrées sous une clé de remplacement et restent dans le spool, et rien n'est vérifié ni déclaré endommagé".to_owned(),
        Fact::GatewayKeyOpen => "gateway.key est lisible par d'autres utilisateurs : lancez `chmod 600`. Restaurez-le depuis sa sauvegarde et redémarrez. D'ici là, les images sont enregistrées sous une clé de remplacement et restent dans le spool, et rien n'est vérifié ni déclaré endommagé".to_owned(),
        Fact::KeyMissing { key, packs } => format!("la clé de jour {key}, requise par {packs} paquets, manque : restaurez le dossier des clés ; ces paquets sont illisibles d'ici là et ne sont pas perdus"),
        Fact::KeyFound { key } => format!("la clé de jour {key} est de retour, ou plus rien ne la requiert"),
        Fact::KeyUnusable => "une clé des paquets chiffrés est inutilisable (le journal nomme le fichier) : restaurez-la. Les nouvelles images sont chiffrées sous une autre clé, celles de cette clé ne sont pas perdues".to_owned(),
    }
}

fn edge_refusal(why: EdgeRefusal, language: Language) -> &'static str {
    let (english, french) = match why {
        EdgeRefusal::NoService => (
            "its device has no search or no replay service (ONVIF Profile G)",
            "l'appareil n'a pas de service de recherche ou de relecture (ONVIF Profile G)",
        ),
        EdgeRefusal::NothingRecorded => ("it has no recording of that time", "elle n'a rien enregistré à ce moment"),
        EdgeRefusal::SeveralSources => (
            "it has recordings of several views, and does not say which is this camera's",
            "elle a des enregistrements de plusieurs vues sans dire laquelle est celle de cette caméra",
        ),
        EdgeRefusal::NothingInCommon => (
            "no picture of its recording is one that was recorded here beside the cut, so its times prove nothing",
            "aucune image de son enregistrement n'est une de celles enregistrées ici près de la coupure : ses heures ne prouvent \
             rien",
        ),
        EdgeRefusal::ClockMoved => ("its clock moved during the cut", "son horloge a bougé pendant la coupure"),
        EdgeRefusal::TimesUnknown => (
            "no right time is known of the footage beside the cut",
            "aucune heure sûre n'est connue pour les images près de la coupure",
        ),
    };
    match language {
        Language::English => english,
        Language::French => french,
    }
}
