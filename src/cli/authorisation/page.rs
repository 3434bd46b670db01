//! The page: what the gateway knows of a tenant's system for the file of its request to the prefect (CSI R252-3).
//!
//! Invariant: no secret, no user name and no address of a camera is in it.

use std::collections::BTreeMap;

use catalogue::Right;
use footage::units::WallTime;
use rtsp::Transport;
use vigie::authorisation::{AtEnd, Authorisation, Basis, Purpose, View};
use vigie::config::{CameraConfig, Config, StoreConfig, Tenant};
use vigie::event::words::Language;
use vigie::printed::Page;

use crate::cli::show;

/// What the page is made of.
pub(super) struct Known<'a> {
    pub(super) config: &'a Config,
    pub(super) tenant: &'a Tenant,
    /// Persons in force by role, where the gateway said.
    pub(super) persons: Option<BTreeMap<String, usize>>,
    pub(super) now: WallTime,
    pub(super) language: Language,
}

/// The whole page.
pub(super) fn html(of: &Known<'_>) -> String {
    let title = of.t(
        "Video protection: what the gateway knows for the file of the request",
        "Vidéoprotection : éléments du dossier de demande connus de la passerelle",
    );
    let at = show::time(&of.config.time_zone, of.now);
    let origin = of.t(
        "Code de la sécurité intérieure, R252-3. Written by Vigie",
        "Code de la sécurité intérieure, R252-3. Établi par Vigie",
    );
    let mut page = Page::new(of.language, title);
    let who = format!("{} ({})", of.tenant.name, of.tenant.id);
    page.lines(&who, &[&format!("{origin} {}, {at}", env!("CARGO_PKG_VERSION"))]);
    for section in [authorisations, cameras, retention, stores, persons, measures, missing] {
        section(of, &mut page);
    }
    page.finish()
}

impl Known<'_> {
    fn t(&self, english: &'static str, french: &'static str) -> &'static str {
        self.language.pick(english, french)
    }

    fn under(&self, camera: &CameraConfig) -> Option<&Authorisation> {
        let Basis::Authorisation(id) = &camera.installation.basis else { return None };
        self.tenant.authorisations.iter().find(|of| of.id == *id)
    }

    /// The stores that the tenant's cameras use.
    fn stores(&self) -> impl Iterator<Item = &StoreConfig> {
        let default = self.config.default_store();
        let used = move |store: &StoreConfig| {
            self.tenant.cameras.iter().any(|camera| {
                let named = camera.store.store.as_ref().or(self.tenant.store.store.as_ref());
                *named.unwrap_or(&default.name) == store.name
            })
        };
        self.config.stores.iter().filter(move |store| used(store))
    }

    fn day(&self, day: Option<jiff::civil::Date>) -> String {
        day.map_or_else(|| "–".to_owned(), |day| day.to_string())
    }

    fn hours(&self, length: std::time::Duration) -> String {
        let hours = length.as_secs() / 3_600;
        match hours.is_multiple_of(24) {
            true => format!("{} {}", hours / 24, self.t("days", "jours")),
            false => format!("{hours} h"),
        }
    }

    /// How long footage is kept.
    fn bounds(&self, min: std::time::Duration, max: std::time::Duration) -> String {
        let most = format!("{} {}", self.hours(max), self.t("at most", "au plus"));
        match min.is_zero() {
            true => most,
            false => format!("{} {}, {most}", self.hours(min), self.t("at least", "au moins")),
        }
    }

    fn right(&self, right: Right) -> &'static str {
        match right {
            Right::SeeCameras => self.t("state of the cameras", "état des caméras"),
            Right::ViewLive => self.t("live images", "images en direct"),
            Right::ViewRecorded => self.t("recorded images", "images enregistrées"),
            Right::Export => self.t("extract images", "extraction d'images"),
            Right::OperateCameras => self.t("have a camera tried again", "relance d'une caméra"),
            Right::SeeEvents => self.t("events and alarms", "événements et alarmes"),
            Right::AcknowledgeAlarms => self.t("acknowledge alarms", "acquittement des alarmes"),
            Right::SeeHolds => self.t("see legal holds", "consultation des réquisitions"),
            Right::PlaceHolds => self.t("place legal holds", "mise en réserve sur réquisition"),
            Right::ReleaseHolds => self.t("release legal holds", "levée d'une réquisition"),
            Right::ReadJournal => self.t("read the journal", "lecture du journal"),
            Right::ManagePeople => self.t("designate persons", "désignation des personnes"),
            Right::SeeRequests => self.t("see requests for footage", "consultation des demandes d'images"),
            Right::HandleRequests => self.t("handle requests for footage", "traitement des demandes d'images"),
            Right::ReleaseExports => self.t("release exports for hand-over", "libération des exports à remettre"),
        }
    }

    fn purpose(&self, purpose: Purpose) -> &'static str {
        match purpose {
            Purpose::PublicBuildings => self.t(
                "protection of public buildings and installations and what is around them (1°)",
                "protection des bâtiments et installations publics et de leurs abords (1°)",
            ),
            Purpose::NationalDefence => self.t(
                "installations that national defence uses (2°)",
                "sauvegarde des installations utiles à la défense nationale (2°)",
            ),
            Purpose::TrafficRegulation => {
                self.t("regulation of transport (3°)", "régulation des flux de transport (3°)")
            }
            Purpose::TrafficOffences => self.t(
                "establishing offences against traffic rules (4°)",
                "constatation des infractions aux règles de la circulation (4°)",
            ),
            Purpose::PersonsAndProperty => self.t(
                "prevention of harm to persons and property in exposed places (5°)",
                "prévention des atteintes à la sécurité des personnes et des biens dans des lieux exposés (5°)",
            ),
            Purpose::Terrorism => {
                self.t("prevention of acts of terrorism (6°)", "prévention d'actes de terrorisme (6°)")
            }
            Purpose::NaturalRisks => self.t(
                "prevention of natural or technological risks (7°)",
                "prévention des risques naturels ou technologiques (7°)",
            ),
            Purpose::RescueAndFire => self.t(
                "rescue of persons and protection against fire (8°)",
                "secours aux personnes et défense contre l'incendie (8°)",
            ),
            Purpose::AmusementParks => self.t(
                "safety of installations in amusement parks (9°)",
                "sécurité des installations accueillant du public dans les parcs d'attraction (9°)",
            ),
            Purpose::VehicleInsurance => {
                self.t("duty to insure vehicles (10°)", "respect de l'obligation d'assurance des véhicules (10°)")
            }
            Purpose::WasteDumping => self.t(
                "dumping of waste, materials and other objects (11°)",
                "abandon d'ordures, de déchets, de matériaux ou d'autres objets (11°)",
            ),
            Purpose::PlacesOpenToPublic => self.t(
                "places open to the public that are exposed to assault or theft",
                "lieux ouverts au public exposés à des risques d'agression ou de vol",
            ),
        }
    }
}

fn authorisations(of: &Known<'_>, page: &mut Page) {
    let row = |a: &Authorisation| {
        let purposes: Vec<_> = a.purposes.iter().map(|purpose| of.purpose(*purpose)).collect();
        let kind = if a.provisional { of.t(" (provisional)", " (provisoire)") } else { "" };
        let at_end = match a.at_end {
            AtEnd::Stop => of.t("recording stops", "l'enregistrement cesse"),
            AtEnd::RecordOn => of.t("recording goes on, with an alarm", "l'enregistrement continue, avec une alarme"),
        };
        vec![
            format!("{}{kind}", a.number),
            format!("{} → {}", a.from, a.until),
            purposes.join(" ; "),
            of.bounds(a.min, a.max),
            a.recipients.join(" ; "),
            at_end.to_owned(),
        ]
    };
    let heads = [
        of.t("Number", "Numéro"),
        of.t("In force", "En vigueur"),
        of.t("Purposes (L251-2)", "Finalités (L251-2)"),
        of.t("Retention", "Conservation"),
        of.t("Recipients", "Destinataires"),
        of.t("At its end", "À son terme"),
    ];
    let rows: Vec<_> = of.tenant.authorisations.iter().map(row).collect();
    page.section(of.t("Authorisations so far", "Autorisations à ce jour"));
    page.table(&heads, &rows);
}

fn cameras(of: &Known<'_>, page: &mut Page) {
    let row = |camera: &CameraConfig| {
        let installation = &camera.installation;
        let view = match installation.view {
            Some(View::Narrow) => of.t("narrow", "plan étroit"),
            Some(View::Wide) => of.t("wide", "plan large"),
            None => "–",
        };
        let fast = if installation.fast_movement { of.t(", fast movement", ", mouvement rapide") } else { "" };
        let basis = match (&installation.basis, of.under(camera)) {
            (Basis::Outside(text), _) => text.clone(),
            (_, Some(under)) => under.number.clone(),
            (_, None) => of.t("not stated", "non indiqué").to_owned(),
        };
        let sound = match &camera.audio_legal_basis {
            Some(basis) => format!("{}: {basis}", of.t("yes", "oui")),
            None => of.t("no", "non").to_owned(),
        };
        vec![
            format!("{} ({})", camera.name, camera.id),
            camera.place.clone(),
            format!("{view}{fast}"),
            of.day(installation.declared),
            of.day(installation.in_service),
            basis,
            sound,
        ]
    };
    let heads = [
        of.t("Camera", "Caméra"),
        of.t("Place", "Emplacement"),
        of.t("View", "Vue"),
        of.t("Declared (R252-17)", "Déclarée (R252-17)"),
        of.t("In service since", "En service depuis"),
        of.t("Records under", "Fondement"),
        of.t("Sound", "Son"),
    ];
    let rows: Vec<_> = of.tenant.cameras.iter().map(row).collect();
    let title = of.t("Cameras", "Caméras");
    page.section(&format!("{title} ({})", rows.len()));
    page.table(&heads, &rows);
}

fn retention(of: &Known<'_>, page: &mut Page) {
    let mut by_bounds: BTreeMap<(u64, u64), (String, Vec<String>)> = BTreeMap::new();
    for camera in &of.tenant.cameras {
        let bounds = camera.retention;
        let words = of.bounds(bounds.min, bounds.max);
        let entry = by_bounds.entry((bounds.max.as_secs(), bounds.min.as_secs()));
        entry.or_insert_with(|| (words, Vec::new())).1.push(camera.id.to_string());
    }
    let rows: Vec<_> = by_bounds.into_values().map(|(words, cameras)| vec![words, cameras.join(", ")]).collect();
    let heads = [of.t("Kept", "Conservation"), of.t("Cameras", "Caméras")];
    let how = of.t(
        "Footage is destroyed automatically at the end of this time, and never later than a calendar month after it was filmed (L252-5). \
         What a requisition covers is copied apart and kept until its own date.",
        "Les images sont détruites automatiquement à l'issue de ce délai, et jamais plus d'un mois de date à date après leur \
         enregistrement (L252-5). Ce qu'une réquisition couvre est copié à part et gardé jusqu'à sa propre échéance.",
    );
    page.section(of.t("Retention", "Délai de conservation"));
    page.paragraph(how);
    page.table(&heads, &rows);
}

fn stores(of: &Known<'_>, page: &mut Page) {
    let mut rows = vec![vec![
        of.t("local buffer and cache", "tampon local et cache").to_owned(),
        of.config.spool_dir.display().to_string(),
        of.t("as the store", "comme l'entrepôt").to_owned(),
        "–".to_owned(),
    ]];
    rows.extend(of.stores().map(|store| {
        let place = match (store.url.scheme(), &store.s3.endpoint, &store.s3.region) {
            ("s3", endpoint, region) => {
                let host = endpoint.as_ref().and_then(|url| url.host_str()).unwrap_or("Amazon S3");
                let region = region.as_ref().map_or_else(String::new, |region| format!(", {region}"));
                format!("{} ({host}{region})", store.url)
            }
            _ => store.url.to_file_path().map_or_else(|()| store.url.to_string(), |path| path.display().to_string()),
        };
        let encrypted = match store.encrypt {
            true => of.t(
                "AES-256-GCM, before footage leaves the gateway",
                "AES-256-GCM, avant que les images ne quittent la passerelle",
            ),
            false => of.t("no", "non"),
        };
        let scrubbed = match store.scrub_days {
            0 => of.t("no", "non").to_owned(),
            days => format!("{} {days} {}", of.t("every", "tous les"), of.t("days", "jours")),
        };
        vec![store.name.clone(), place, encrypted.to_owned(), scrubbed]
    }));
    let heads = [
        of.t("Store", "Entrepôt"),
        of.t("Where footage lies", "Lieu de stockage"),
        of.t("Encrypted", "Chiffrement"),
        of.t("Read back and checked", "Relu et vérifié"),
    ];
    page.section(of.t("Stores", "Stockage des images"));
    page.table(&heads, &rows);
}

fn persons(of: &Known<'_>, page: &mut Page) {
    let roles = &of.config.roles;
    let rows: Vec<_> = roles
        .names()
        .map(|role| {
            let rights: Vec<_> = roles.get(role).into_iter().flatten().map(|right| of.right(*right)).collect();
            let sees = roles.get(role).is_some_and(|rights| rights.iter().any(|right| Right::shows_footage(*right)));
            let count = of.persons.as_ref().map_or_else(
                || of.t("not known", "inconnu").to_owned(),
                |persons| persons.get(role).copied().unwrap_or_default().to_string(),
            );
            let sees = if sees { of.t("yes", "oui") } else { of.t("no", "non") };
            vec![role.to_owned(), count, sees.to_owned(), rights.join(", ")]
        })
        .collect();
    let heads = [
        of.t("Role", "Rôle"),
        of.t("Persons", "Personnes"),
        of.t("Sees images", "Voit les images"),
        of.t("Rights", "Droits"),
    ];
    let how = of.t(
        "Each person is designated by name and by an act in force (R253-3), and sees images within its scope alone.",
        "Chaque personne est désignée nominativement, par un acte en vigueur (R253-3), et ne voit d'images que dans ce cadre.",
    );
    let shared = match of.config.roles.get(&of.tenant.token_role) {
        Some(rights) if rights.iter().any(|right| right.shows_footage()) => of.t(
            " The tenant's access token shows images as well, to each holder of it.",
            " Le jeton d'accès de l'organisme montre aussi des images, à quiconque le détient.",
        ),
        _ => "",
    };
    page.section(of.t("Access rules", "Règles d'accès"));
    page.paragraph(&format!("{how}{shared}"));
    page.table(&heads, &rows);
}

fn measures(of: &Known<'_>, page: &mut Page) {
    let config = of.config;
    let secured = of.tenant.cameras.iter().filter(|camera| camera.url.scheme() == "rtsps").count();
    let over_udp = of.tenant.cameras.iter().filter(|camera| camera.transport == Transport::Udp).count();
    let total = of.tenant.cameras.len();
    let mut items = vec![
        match (&config.http_tls, config.http_listen.ip().is_loopback()) {
            (Some(_), _) => of.t(
                "Images are consulted over TLS, with the gateway's own certificate.",
                "La consultation passe par TLS, avec le certificat de la passerelle.",
            ),
            (None, _) => of.t(
                "The gateway listens to its own machine alone; other machines reach it through a proxy with TLS.",
                "La passerelle n'écoute que sa propre machine ; les autres postes passent par un mandataire TLS.",
            ),
        }
        .to_owned(),
        format!(
            "{} {secured}/{total}. {} {over_udp}/{total}.",
            of.t("Streams encrypted between camera and gateway (RTSPS):", "Flux chiffrés entre caméra et passerelle (RTSPS) :"),
            of.t("Cameras over UDP:", "Caméras en UDP :")
        ),
        format!(
            "{} {} {}",
            of.t(
                "Every consultation, export, hold and destruction is entered in a journal that cannot be changed unnoticed (R253-5, Merkle tree with signed checkpoints), kept for",
                "Toute consultation, extraction, mise en réserve et destruction est inscrite dans un journal que nul ne modifie sans que cela se voie (R253-5, arbre de Merkle à points de contrôle signés), conservé",
            ),
            of.tenant.journal_months,
            of.t("months.", "mois.")
        ),
        of.t(
            "Extracts are lossless, and recording goes on meanwhile.",
            "Les extractions se font sans perte de qualité et sans interrompre l'enregistrement.",
        )
        .to_owned(),
        of.t(
            "Each fragment of footage has a keyed hash (BLAKE3): a byte that changes is found, and each missing stretch has its cause.",
            "Chaque fragment d'image porte une empreinte à clé (BLAKE3) : tout octet modifié est décelé, et chaque interruption a sa cause.",
        )
        .to_owned(),
        format!(
            "{} {}.",
            of.t("Time zone of dates:", "Fuseau horaire des dates :"),
            config.time_zone.iana_name().unwrap_or("UTC")
        ),
        format!("{} {}.", of.t("Alarms are sent to so many places:", "Destinations des alarmes :"), config.alarms.len()),
    ];
    if of.stores().any(|store| store.encrypt) {
        let shredded = of.t(
            "Keys of encrypted footage are destroyed at the end of its time, so that no copy can be read, a provider's neither.",
            "Les clés des images chiffrées sont détruites à leur terme : plus aucune copie n'est lisible, pas même chez un hébergeur.",
        );
        items.push(shredded.to_owned());
    }
    page.section(of.t("Security measures", "Mesures de sécurité"));
    page.list(&items);
}

fn missing(of: &Known<'_>, page: &mut Page) {
    let items = [
        of.t(
            "report that presents the system, and its reasons",
            "rapport de présentation et justification du dispositif",
        ),
        of.t("plans, and the zones that cameras cover", "plans, et zones couvertes par les caméras"),
        of.t("how the public is informed", "modalités d'information du public"),
        of.t(
            "person or service in charge, and orders to the staff",
            "personne ou service responsable, et consignes au personnel",
        ),
        of.t("how the right of access is exercised", "modalités du droit d'accès"),
        of.t(
            "that cameras mask dwellings and their entrances (L251-3)",
            "masquage des habitations et de leurs entrées (L251-3)",
        ),
    ];
    page.section(of.t("Not known to the gateway, to be added", "Non connus de la passerelle, à joindre"));
    page.list(&items.map(str::to_owned));
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TOWN, config};
    use super::*;

    fn page(language: Language, persons: Option<BTreeMap<String, usize>>) -> String {
        let config = config(TOWN);
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        html(&Known { config: &config, tenant: &config.tenants[0], persons, now, language })
    }

    #[test]
    fn h3_the_page_has_cameras_retention_stores_access_and_security_in_both_languages() {
        let english = page(Language::English, Some([("operator".to_owned(), 4)].into()));
        for part in [
            "Ville de &lt;Saint-Exemple&gt;",
            "<td>2026-117</td><td>2026-01-05 → 2031-01-04</td>",
            "rescue of persons and protection against fire (8°)",
            "gendarmerie &amp; police",
            "<td>Place (square)</td><td>Place de la Mairie</td><td>narrow, fast movement</td><td>2026-01-12</td><td>2026-01-19</td><td>2026-117</td><td>no</td>",
            "<td>Règlement intérieur</td><td>yes: Règlement intérieur</td>",
            "<td>15 days at most</td><td>square</td>",
            "<td>30 days at most</td><td>depot</td>",
            "<td>s3://footage-of-towns/vigie (s3.example.org, fr-par)</td><td>AES-256-GCM",
            "<td>operator</td><td>4</td><td>yes</td>",
            "<td>technician</td><td>0</td><td>no</td>",
            "(RTSPS): 1/2",
            "kept for 36 months.",
            "Keys of encrypted footage are destroyed",
            "how the public is informed",
        ] {
            assert!(english.contains(part), "{part}:\n{english}");
        }
        let french = page(Language::French, None);
        for part in [
            "<html lang=\"fr\">",
            "plan étroit, mouvement rapide",
            "15 jours",
            "<td>inconnu</td>",
            "Règles d&#39;accès",
        ] {
            assert!(french.contains(part), "{part}:\n{french}");
        }
        assert_eq!(english.matches("<section>").count(), french.matches("<section>").count());
        assert_eq!(english.matches("<td>").count(), french.matches("<td>").count());
    }

    #[test]
    fn h3_the_page_needs_nothing_but_itself_and_tells_no_secret() {
        for page in [page(Language::English, None), page(Language::French, None)] {
            for outside in ["http://", "https://", "src=", "href=", "@import", "url(", "<script"] {
                assert!(!page.contains(outside), "{outside}: {page}");
            }
            let secrets =
                ["KEY-ID-OF-THE-TOWN", "SECRET-OF-THE-TOWN", "a-token-of-sixteen", "PASSWORD-OF", "viewer", "192.0.2."];
            for secret in secrets {
                assert!(!page.contains(secret), "{secret}: {page}");
            }
            for tag in ["table", "tr", "td", "section", "ul", "li", "h2"] {
                let (opened, closed) =
                    (page.matches(&format!("<{tag}>")).count(), page.matches(&format!("</{tag}>")).count());
                assert!(opened > 0 && opened == closed, "{tag}: {opened} {closed}");
            }
        }
    }
}
