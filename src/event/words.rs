//! Events in words, French and English: what happened, what it means, and what to do, in one line.
//!
//! A fact that is shown to a tenant goes through [`Fact::for_tenant`] first: the words name only what the fact holds.

mod english;
mod french;

use super::{EdgeRefusal, Fact};
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
    /// What is said in this language.
    pub fn pick<T>(self, english: T, french: T) -> T {
        match self {
            Self::English => english,
            Self::French => french,
        }
    }

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
            Language::English => english::english(self),
            Language::French => french::french(self),
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

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
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
