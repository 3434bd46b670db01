//! The facts in French.

use std::borrow::Cow;

use super::{Language, cause, edge_refusal, mebibytes, seconds};
use crate::authorisation::{AtEnd, Notice};
use crate::event::{DestructionReason, Fact, JournalProof, MendSource, RequestStep, StoreName, TrialVerdict};

pub(super) fn french(fact: &Fact) -> String {
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
            store_name(store),
            mebibytes(*bytes)
        ),
        Fact::StoreDoubtful { store, packs } => format!(
            "{packs} paquets de suite sont illisibles dans {} : vérifiez que c'est le bon dossier ou le bon bucket, et \
             qu'il est entier",
            store_name(store)
        ),
        Fact::StoreBack { store } => format!("{} accepte de nouveau les paquets", store_name(store)),
        Fact::StoreAway { store } => format!(
            "{} ne répond pas : les paquets attendent dans le tampon local, l'enregistrement continue",
            store_name(store)
        ),
        Fact::StoreRefused { store } => format!(
            "{} refuse les identifiants : vérifiez la clé d'accès ; les paquets attendent dans le tampon local",
            store_name(store)
        ),
        Fact::StoreLies { store } => format!(
            "{} a rendu d'autres octets que ceux reçus : vérifiez-le ; les paquets attendent dans le tampon local",
            store_name(store)
        ),
        Fact::StoreProbe { store, verdict } => {
            let what = match verdict {
                TrialVerdict::Lacking => "n'a pas une capacité que Vigie utilise",
                TrialVerdict::Away => "n'a pas répondu à l'essai",
                TrialVerdict::Refused => "refuse ce dont Vigie ne peut se passer",
            };
            format!("{} {what} : lancez `vigie check-config --probe`", store_name(store))
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
        Fact::RequestStep { request, step } => format!("demande d'images {request} : {}", request_step(*step)),
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
        Fact::TokenMade { person, token } => format!("jeton {token} créé pour {person}"),
        Fact::AccountNamed { person, provider } => format!("{person} s'identifie désormais par un compte chez {provider}"),
        Fact::JournalUnproven { proof } => format!("{} ; les caméras sont enregistrées, le journal est écrit, les images sont remises ; voyez le journal technique de la passerelle", unproven_words(*proof)),
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
            notice_words(*notice),
            if *notice == Notice::SixMonths { "préparez son renouvellement" } else { "demandez son renouvellement et inscrivez-le dans la configuration" }
        ),
        Fact::AuthorisationNoticePassed { authorisation, .. } => {
            format!("la fin de l'autorisation {authorisation} est plus proche ou plus lointaine qu'une alarme ne le disait : celle-ci est terminée")
        }
        Fact::AuthorisationEnded { authorisation, number, until, at_end } => format!(
            "l'autorisation {authorisation} ({number}) a pris fin le {until} : {} ; renouvelez-la dans la configuration et rechargez",
            at_end_words(*at_end)
        ),
        Fact::AuthorisationNotYet { authorisation, number, from, at_end } => {
            format!("l'autorisation {authorisation} ({number}) n'est en vigueur qu'à partir du {from} : {}", at_end_words(*at_end))
        }
        Fact::AuthorisationSettled { authorisation } => {
            format!("l'autorisation {authorisation} est en vigueur, ou plus aucune caméra n'en dépend")
        }
        Fact::CameraRemoved { max_hours } => format!("la caméra n'est plus dans la configuration : ses images restent jusqu'à leur maximum de {max_hours} h, comme avant"),
        Fact::StoreNotIdentified { store } => format!("{} n'est pas encore identifié : les paquets attendent dans le spool", store_name(store)),
        Fact::StoreMissing { store } => format!("{} n'a pas de marqueur : le disque est-il monté, est-ce le bon dossier, compartiment et préfixe ? Les paquets restent dans le spool, rien n'est supprimé ; pour un stockage neuf et vide, lancez `vigie store adopt`", store_name(store)),
        Fact::StoreOther { store } => format!("{} porte le marqueur d'un autre : c'est un autre dossier, compartiment ou préfixe. Les paquets restent dans le spool, rien n'est supprimé ; s'il remplace volontairement le stockage connu, lancez `vigie store adopt` avec son identifiant", store_name(store)),
        Fact::StoreUnreadable { store } => format!("ce qui répond pour {} n'est pas un stockage de Vigie : un mandataire, un autre serveur ? Les paquets restent dans le spool, rien n'est supprimé", store_name(store)),
        Fact::StoreOtherKey { store } => format!("{} appartient à un autre gateway.key : restaurez cette clé et redémarrez. Les paquets restent dans le spool, rien n'est déclaré perdu", store_name(store)),
        Fact::StoreKnown { store } => format!("{} est de retour : ce qui attend est envoyé", store_name(store)),
        Fact::StoreNew { store } => format!("{} est utilisé pour la première fois", store_name(store)),
        Fact::StoreFound { store } => format!("{} a déjà servi : ses paquets sont recherchés", store_name(store)),
        Fact::StoreReplaced { store } => format!("{} remplace le précédent, comme un opérateur l'a demandé", store_name(store)),
        Fact::StoreVersioned { store } => format!("le compartiment de {} garde les versions : ce que Vigie supprime y reste lisible ; désactivez les versions ou faites-les expirer", store_name(store)),
        Fact::StoreCompared { store, objects, adopted, due, unreadable } => format!("{} : {objects} objets comparés à l'index, {adopted} paquets inconnus ajoutés ; {due} illisibles et échus, {unreadable} illisibles et laissés jusqu'à leur terme", store_name(store)),
        Fact::IndexRebuilt { store, objects, adopted, due, unreadable } => format!("{} : {objects} objets comparés à l'index, {adopted} paquets inconnus ajoutés ; {due} illisibles et échus, {unreadable} illisibles et laissés jusqu'à leur terme", store_name(store)),
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

fn notice_words(notice: Notice) -> &'static str {
    match notice {
        Notice::SixMonths => "six mois",
        Notice::FourMonths => "quatre mois",
        Notice::FourWeeks => "quatre semaines",
        Notice::TwoWeeks => "deux semaines",
        Notice::OneWeek => "une semaine",
    }
}

fn at_end_words(at_end: AtEnd) -> &'static str {
    match at_end {
        AtEnd::Stop => "ses caméras ne sont pas enregistrées",
        AtEnd::RecordOn => "ses caméras sont enregistrées malgré tout, comme le veut la configuration (at_end)",
    }
}

fn unproven_words(proof: JournalProof) -> &'static str {
    match proof {
        JournalProof::Copy => "le journal n'a pas de copie dans le stockage, ou sa copie y est abîmée",
        JournalProof::TimeStamp => {
            "les points de contrôle du journal ne sont pas horodatés : l'autorité ne répond pas, ou répond autre chose"
        }
    }
}

fn store_name(name: &StoreName) -> Cow<'static, str> {
    name.as_ref().map_or("un entrepôt".into(), |name| format!("l'entrepôt {name}").into())
}

fn request_step(step: RequestStep) -> &'static str {
    match step {
        RequestStep::Opened => "reçue",
        RequestStep::ScanAttached => "un scan est joint",
        RequestStep::ScanRead => "un scan a été lu",
        RequestStep::Held => "réquisitions posées",
        RequestStep::Prepared => "images préparées",
        RequestStep::Released => "images libérées pour remise",
        RequestStep::HandedOver => "images remises",
        RequestStep::Refused => "refusée",
        RequestStep::Closed => "close",
        RequestStep::Destroyed => "dossier détruit, son délai est passé",
    }
}
