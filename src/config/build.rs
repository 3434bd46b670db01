//! From the tables of the file to a [`Config`], one function a table.

use std::collections::HashMap;
use std::net::IpAddr;

use catalogue::{Right, Roles};
use secrecy::ExposeSecret;

use super::authorisation::Inherited;
use super::secret::secret;
use super::*;
use crate::policy::{RequestRules, SHORTEST_MONTH};

/// Three years (Code de la sécurité intérieure, R253-5).
pub(super) const JOURNAL_MONTHS_MAX: u64 = 36;

/// CSI L252-5 allows one month; no month is longer.
const RETENTION_DAYS_MAX: u64 = 31;

/// A token that can be guessed is no protection.
const TOKEN_CHARS_MIN: usize = 16;

/// Less could not hold the largest fragments.
const UNWRITTEN_MIB_MIN: u64 = 64;

/// `None` only after a problem was noted.
pub(super) fn config(root: Section<'_>, around: &Surroundings<'_>) -> Option<Config> {
    let time_zone = time_zone(&root);
    let Data { data_dir, spool_dir, disk_reserve_bytes, spool_bytes_max, unwritten_bytes_max } =
        data(root.table("data"));
    let recording = recording(root.table("recording"));
    let stores = store::stores(&root, &data_dir, &spool_dir, &recording, around);
    let master_keys = master::master_keys(root.table("keys"), around);
    let http_section = root.table("http");
    let http_tls = http_tls(http_section.table("tls"));
    let http_listen = listen(&http_section, http_tls.is_some());
    let operator_token = secret(&http_section, "operator_token", around);
    if let Some(token) = &operator_token {
        check_token(&http_section, "operator_token", token, &mut HashMap::new());
    }
    let check_played = http_section.flag("check_played").unwrap_or(true);
    let public_url = oidc::public_url(&http_section);
    http_section.close();
    let signing = root.table("signing");
    let signing_ca_file = path(&signing, "ca_file");
    signing.close();
    let roles = roles(&root);
    let journal_section = root.table("journal");
    let (journal_months, time_stamps) = journal::journal(&journal_section);
    journal_section.close();
    let is_shared = stores.iter().flatten().any(|store| store.shared.is_some());
    let (retention, retention_default) = sweep(&root, &recording, is_shared);
    let margin = Config::retention_margin(&recording, &retention, is_shared);
    let tenants = tenants(
        &root,
        TenantContext {
            default: retention_default,
            margin,
            journal_months,
            roles: &roles,
            http_listen,
            stores: stores.as_deref(),
            around,
        },
    );
    let alarms = alarm::targets(&root, &tenants, around);
    let export_section = root.table("export");
    let export = export::export(&export_section);
    export_section.close();
    let oidc = oidc::providers(&root, public_url.as_ref(), (&tenants, &roles), around);
    root.close();
    Some(Config {
        data_dir,
        spool_dir,
        stores: stores?,
        master_keys,
        disk_reserve_bytes,
        spool_bytes_max,
        unwritten_bytes_max,
        http_listen,
        http_tls,
        operator_token,
        public_url,
        check_played,
        signing_ca_file,
        roles,
        time_stamps,
        recording,
        retention,
        time_zone: time_zone?,
        tenants,
        alarms,
        export,
        oidc,
    })
}

fn time_zone(root: &Section<'_>) -> Option<jiff::tz::TimeZone> {
    let name = root.text("time_zone");
    if name.is_none() && root.has("time_zone") {
        return None;
    }
    let name = name.as_deref().unwrap_or("Europe/Paris");
    match jiff::tz::TimeZone::get(name) {
        Ok(zone) => Some(zone),
        Err(_) => {
            let advice =
                "write an IANA name such as \"Europe/Paris\" or \"Indian/Reunion\", and see that tzdata is installed";
            root.refuse("time_zone", format!("this machine knows no time zone {name:?}: {advice}"));
            None
        }
    }
}

/// `[data]`.
struct Data {
    data_dir: PathBuf,
    spool_dir: PathBuf,
    disk_reserve_bytes: u64,
    spool_bytes_max: Option<u64>,
    unwritten_bytes_max: Option<u64>,
}

fn data(section: Section<'_>) -> Data {
    let data_dir = path(&section, "dir").unwrap_or_else(|| PathBuf::from("/var/lib/vigie"));
    let spool_dir = path(&section, "spool_dir").unwrap_or_else(|| data_dir.join("spool"));
    if data_dir.starts_with(&spool_dir) {
        let key = if section.has("spool_dir") { "spool_dir" } else { "dir" };
        section.refuse(key, "holds the data directory, and must lie in it or apart from it");
    }
    let reserve_mib = section.count("disk_reserve_mib", 64..=100 << 20).unwrap_or(5_120);
    let spool_mib_max = section.count("spool_mib_max", 64..=1 << 40);
    let unwritten_mib_max = section.count("unwritten_mib_max", UNWRITTEN_MIB_MIN..=1 << 20);
    section.close();
    Data {
        data_dir,
        spool_dir,
        disk_reserve_bytes: reserve_mib << 20,
        spool_bytes_max: spool_mib_max.map(|mib| mib << 20),
        unwritten_bytes_max: unwritten_mib_max.map(|mib| mib << 20),
    }
}

/// An absolute path without `..`, so that paths can be compared as texts.
pub(super) fn path(section: &Section<'_>, key: &str) -> Option<PathBuf> {
    let path = PathBuf::from(section.text(key)?);
    let wrong = if !path.is_absolute() {
        "is not an absolute path: begin it with /"
    } else if path.components().any(|c| c == std::path::Component::ParentDir) {
        "holds `..`: write the path itself"
    } else if path.parent().is_none() {
        "is the root directory: name a directory of its own"
    } else {
        return Some(path);
    };
    section.refuse(key, wrong);
    None
}

/// `[http.tls]`.
fn http_tls(section: Section<'_>) -> Option<TlsFiles> {
    let (certificate, key) = (path(&section, "certificate"), path(&section, "key"));
    for (name, missing) in [("certificate", certificate.is_none()), ("key", key.is_none())] {
        if missing && (certificate.is_some() || key.is_some()) && !section.has(name) {
            section.refuse(name, "is missing: certificate and key go together, each a file in PEM");
        }
    }
    section.close();
    Some(TlsFiles { certificate: certificate?, key: key? })
}

fn listen(section: &Section<'_>, over_tls: bool) -> SocketAddr {
    const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
    let Some(text) = section.text("listen") else { return DEFAULT };
    match text.parse::<SocketAddr>() {
        Ok(address) => {
            if !address.ip().is_loopback() && !over_tls {
                section.refuse(
                    "listen",
                    "other machines would reach it in plain HTTP: add [http.tls] with certificate and key, or listen on \
                     127.0.0.1 behind a TLS proxy on this machine",
                );
            }
            address
        }
        Err(_) => {
            section.refuse("listen", "is not an address and a port: write \"127.0.0.1:8080\" or \"[::1]:8080\"");
            DEFAULT
        }
    }
}

fn recording(section: Section<'_>) -> RecordingConfig {
    let default = RecordingConfig::default();
    let problems_before = section.report().problem_count();
    let millis = |key, bounds| section.count(key, bounds).map(Duration::from_millis);
    let recording = RecordingConfig {
        durability: millis("durability_ms", 50..=60_000).unwrap_or(default.durability),
        pack_bytes_max: section.count("pack_mib_max", 1..=1_024).map_or(default.pack_bytes_max, |mib| mib << 20),
        pack_duration_max: seconds(&section, "pack_seconds_max", 5..=900).unwrap_or(default.pack_duration_max),
        tick: millis("tick_ms", 10..=1_000).unwrap_or(default.tick),
        shards: match section.count("shards", 0..=256) {
            None | Some(0) => default.shards,
            Some(shards) => shards as usize,
        },
    };
    if section.report().problem_count() == problems_before && recording.tick > recording.durability {
        section.refuse("tick_ms", "is longer than durability_ms: what waits in a socket is not yet on disk");
    }
    section.close();
    recording
}

pub(super) fn seconds(section: &Section<'_>, key: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<Duration> {
    section.count(key, bounds).map(Duration::from_secs)
}

/// `[sweep]`, how often and how long before the deadline, and `[retention]`, what the law says.
fn sweep(root: &Section<'_>, recording: &RecordingConfig, is_shared: bool) -> (Sweep, Retention) {
    let (section, of_law) = (root.table("sweep"), root.table("retention"));
    let default = Sweep::default();
    let problems_before = section.report().problem_count();
    let sweep = Sweep {
        interval: seconds(&section, "every_seconds", 1..=3_600).unwrap_or(default.interval),
        grace: seconds(&section, "grace_seconds", 0..=86_400).unwrap_or(default.grace),
        change: of_law.count("change_hours", 0..=720).map_or(default.change, |h| Duration::from_secs(h * 3_600)),
    };
    if is_shared && sweep.grace < sweep.interval {
        let advice =
            "is shorter than every_seconds: in a shared store the other gateway would show what is deleted already";
        section.refuse("grace_seconds", advice);
    }
    let margin = Config::retention_margin(recording, &sweep, is_shared);
    let sound = section.report().problem_count() == problems_before;
    let retention = retention(&of_law, Retention::default(), sound.then_some(margin));
    section.close();
    of_law.close();
    (sweep, retention)
}

/// What a table sets of a retention, the rest inherited. Without a `margin` the two bounds are not set against each other.
pub(super) fn retention(section: &Section<'_>, inherited: Retention, margin: Option<Duration>) -> Retention {
    let problems_before = section.report().problem_count();
    let retention = Retention {
        max: days_or_hours(section, "max", 1).unwrap_or(inherited.max),
        min: days_or_hours(section, "min", 0).unwrap_or(inherited.min),
    };
    let Some(margin) = margin else { return retention };
    let sound = section.report().problem_count() == problems_before;
    let set_here = ["min_hours", "min_days", "max_hours", "max_days"].into_iter().find(|key| section.has(key));
    if let Some(key) = set_here
        && sound
        && retention.min + margin > retention.max.min(SHORTEST_MONTH)
    {
        let (hours, margin_s) = (retention.min.as_secs() / 3_600, margin.as_secs());
        let message = if retention.max > SHORTEST_MONTH {
            format!(
                "the guaranteed minimum ({hours} h) must be at least {margin_s} s below 672 h: the law's month has 28 days in \
                 February, and a pack is deleted whole, after grace_seconds"
            )
        } else {
            let max_hours = retention.max.as_secs() / 3_600;
            format!(
                "the guaranteed minimum ({hours} h) must be at least {margin_s} s below the maximum ({max_hours} h): a pack \
                 is deleted whole, after grace_seconds"
            )
        };
        section.refuse(key, message);
        return inherited;
    }
    retention
}

/// Keys of a maximum, and of a minimum.
pub(super) fn retention_keys() -> [[&'static str; 2]; 2] {
    [["max_days", "max_hours"], ["min_days", "min_hours"]]
}

/// `{name}_days` or `{name}_hours`.
fn days_or_hours(section: &Section<'_>, name: &str, least: u64) -> Option<Duration> {
    let (days_key, hours_key) = (format!("{name}_days"), format!("{name}_hours"));
    // Bounds wider than the law's, so that what breaks the law is refused with the law's name.
    let days = section.count(&days_key, least..=36_500);
    let hours = section.count(&hours_key, least..=876_000);
    let (key, hours) = match (days, hours) {
        (Some(_), Some(_)) => {
            section.refuse(&hours_key, format!("is one too many: keep {days_key} or {hours_key}"));
            return None;
        }
        (Some(days), None) => (days_key, days * 24),
        (None, Some(hours)) => (hours_key, hours),
        (None, None) => return None,
    };
    if hours > RETENTION_DAYS_MAX * 24 {
        let law = "the law allows one month at the most (Code de la sécurité intérieure, L252-5)";
        section.refuse(
            &key,
            format!("{law}: write what the prefect's authorisation says, {RETENTION_DAYS_MAX} days or less"),
        );
        return None;
    }
    Some(Duration::from_secs(hours * 3_600))
}

/// What the tables of tenants refer to.
struct TenantContext<'a> {
    default: Retention,
    margin: Duration,
    journal_months: u64,
    roles: &'a Roles,
    http_listen: SocketAddr,
    stores: Option<&'a [StoreConfig]>,
    around: &'a Surroundings<'a>,
}

fn tenants(root: &Section<'_>, context: TenantContext<'_>) -> Vec<Tenant> {
    let sections = root.tables("tenant");
    if sections.is_empty() && !root.has("tenant") {
        root.refuse("tenant", "is missing: add [[tenant]] with id = \"my-town\", and its [[tenant.camera]]");
    }
    let token_wanted = if sections.len() > 1 {
        Some("several tenants share this gateway")
    } else if !context.http_listen.ip().is_loopback() {
        Some("http.listen can be reached from other machines")
    } else {
        None
    };
    let (mut ids, mut tokens) = (HashMap::new(), HashMap::new());
    let mut tenants = Vec::new();
    for section in sections {
        let id = identity::<TenantId>(&section, "id", "mairie", &mut ids);
        let token = secret(&section, "access_token", context.around);
        match (&token, token_wanted) {
            (Some(token), _) => check_token(&section, "access_token", token, &mut tokens),
            (None, Some(reason)) if !section.has("access_token") => {
                let advice =
                    "write access_token = { file = \"…\" }, a file that holds the output of `openssl rand -hex 24`";
                section.refuse("access_token", format!("is missing, and {reason}: {advice}"));
            }
            (None, _) => {}
        }
        let retention_section = section.table("retention");
        let retention = retention(&retention_section, context.default, Some(context.margin));
        let inherited = Inherited::new(&section, &retention_section, retention, context.margin);
        retention_section.close();
        let store = store::choice(&section, context.stores);
        let cameras = cameras(&section, &inherited, &context);
        let name = section.text("name");
        let dedup_domain = section
            .text("dedup_domain")
            .and_then(|text| text.parse::<DomainId>().map_err(|e| section.refuse("dedup_domain", e.to_string())).ok());
        let token_role = token_role(&section, context.roles);
        let months = section.count("journal_months", 1..=JOURNAL_MONTHS_MAX).unwrap_or(context.journal_months);
        let journal_months = u16::try_from(months).expect("a count is within its bounds");
        if let Some(id) = id {
            let name = name.unwrap_or_else(|| id.to_string());
            tenants.push(Tenant {
                id,
                name,
                access_token: token,
                token_role,
                reason_required: section.flag("reason_required").unwrap_or(false),
                store,
                dedup_domain,
                journal_months,
                requests: request_rules(&section),
                authorisations: inherited.into_authorisations(),
                cameras,
            });
        }
        section.close();
    }
    tenants
}

/// How the tenant's requests for footage are handled.
fn request_rules(section: &Section<'_>) -> RequestRules {
    let usual = RequestRules::default();
    let count = |name: &str, bounds: std::ops::RangeInclusive<u64>, usual: u16| {
        section.count(name, bounds).and_then(|count| u16::try_from(count).ok()).unwrap_or(usual)
    };
    RequestRules {
        pre_hold_days: count("pre_hold_days", 1..=31, usual.pre_hold_days),
        two_person_release: section.flag("two_person_release").unwrap_or(usual.two_person_release),
        request_months: count("request_months", 1..=JOURNAL_MONTHS_MAX, usual.request_months),
    }
}

/// What the holder of the tenant's access token may do.
fn token_role(section: &Section<'_>, roles: &Roles) -> String {
    let role = section.text("token_role").unwrap_or_else(|| Roles::TENANT_ADMINISTRATOR.to_owned());
    match roles.get(&role) {
        None => {
            let known = roles.names().collect::<Vec<_>>().join(", ");
            section.refuse("token_role", format!("names no role: choose one of {known}"));
        }
        Some(rights) if rights.iter().any(|right| right.shows_footage()) => section.warn(
            "token_role",
            "shows footage to each holder of the access token, and the journal cannot say who that was: only persons who are \
             designated one by one may see it (Code de la sécurité intérieure, R253-3); designate them with `vigie people`",
        ),
        Some(_) => {}
    }
    role
}

/// `[[role]]`: beside those that every gateway has.
fn roles(root: &Section<'_>) -> Roles {
    let mut roles = Roles::built_in();
    for section in root.tables("role") {
        let problems_before = section.report().problem_count();
        let name = section.required_text("name", "night_desk");
        let rights: Vec<Option<Right>> = section
            .texts("rights")
            .iter()
            .map(|word| Right::ALL.into_iter().find(|right| right.as_str() == word))
            .collect();
        let known = || Right::ALL.map(Right::as_str).join(", ");
        if section.report().problem_count() > problems_before {
            // What is no list, or no name, is one mistake.
        } else if rights.is_empty() {
            section.refuse("rights", format!("is missing or empty: list some of {}", known()));
        } else if rights.contains(&None) {
            section.refuse("rights", format!("holds what is none of {}", known()));
        } else if let Some(name) = name {
            let is_word = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
            if !is_word || name.len() > 64 {
                section.refuse("name", "is 1 to 64 characters of a-z, 0-9, '_' and '-'");
            } else if !roles.add(name, rights.into_iter().flatten().collect()) {
                section.refuse("name", "is the name of a role that is there already");
            }
        }
        section.close();
    }
    roles
}

fn check_token(section: &Section<'_>, name: &str, token: &SecretString, lines: &mut HashMap<String, usize>) {
    let token = token.expose_secret();
    if token.chars().count() < TOKEN_CHARS_MIN {
        section.refuse(
            name,
            format!("is shorter than {TOKEN_CHARS_MIN} characters: make one with `openssl rand -hex 24`"),
        );
    } else if !token.bytes().all(|b| b.is_ascii_graphic()) {
        section.refuse(
            name,
            "holds a space or a letter outside ASCII, which HTTP cannot carry: use `openssl rand -hex 24`",
        );
    } else if let Some(line) = lines.insert(token.to_owned(), section.line_of(name)) {
        section.refuse(name, format!("is the token of line {line} too: a token says which tenant asks, make another"));
    }
}

/// An id that no sibling has.
pub(super) fn identity<T>(
    section: &Section<'_>,
    key: &str,
    example: &str,
    lines: &mut HashMap<String, usize>,
) -> Option<T>
where
    T: std::str::FromStr,
    T::Err: fmt::Display,
{
    let text = section.required_text(key, example)?;
    match text.parse() {
        Ok(id) => {
            if let Some(line) = lines.insert(text, section.line_of(key)) {
                section.refuse(key, format!("is the id of line {line} too: choose another"));
                return None;
            }
            Some(id)
        }
        Err(e) => {
            section.refuse(key, T::Err::to_string(&e));
            None
        }
    }
}

fn cameras(tenant: &Section<'_>, inherited: &Inherited, context: &TenantContext<'_>) -> Vec<CameraConfig> {
    let (mut ids, mut urls) = (HashMap::new(), HashMap::new());
    let mut cameras = Vec::new();
    for section in tenant.tables("camera") {
        if let Some(camera) = camera(&section, inherited, context, &mut ids) {
            if let Some(line) = urls.insert(camera.url.clone(), section.line_of("url")) {
                section.warn("url", format!("is the stream of line {line} too: it will be recorded twice"));
            }
            cameras.push(camera);
        }
        section.close();
    }
    cameras
}

fn camera(
    section: &Section<'_>,
    inherited: &Inherited,
    context: &TenantContext<'_>,
    ids: &mut HashMap<String, usize>,
) -> Option<CameraConfig> {
    let id = identity::<CameraId>(section, "id", "place-mairie-1", ids);
    let name = section.text("name");
    let place = section.required_text("place", "Place de la Mairie, facing the fountain");
    let url = section.required_text("url", "rtsp://192.0.2.10/stream1").and_then(|text| camera_url(section, &text));
    let tls = camera_tls(section, url.as_ref(), "rtsps");
    let username = section.text("username");
    let password = secret(section, "password", context.around);
    if username.is_none() && !section.has("username") && section.has("password") {
        section.refuse("username", "is missing: a password goes with a user name");
    }
    let transport = section.choice("transport", &[("tcp", Transport::Tcp), ("udp", Transport::Udp)]);
    let installation = inherited.installation(section);
    let retention_section = section.table("retention");
    let retention = inherited.retention(&retention_section, &installation.basis);
    retention_section.close();
    let store = store::choice(section, context.stores);
    let audio_legal_basis = section.text("audio_legal_basis");
    Inherited::check_sound(section, &installation.basis);
    let silence_max = seconds(section, "silence_seconds", 2..=600).unwrap_or(CameraConfig::SILENCE_MAX);
    let onvif = onvif::onvif(section, username.as_ref().zip(password.as_ref()), context.around);
    let id = id?;
    Some(CameraConfig {
        name: name.unwrap_or_else(|| id.to_string()),
        id,
        place: place?,
        url: url?,
        tls,
        username,
        password,
        transport,
        installation,
        retention,
        audio_legal_basis,
        silence_max,
        store,
        onvif,
    })
}

/// `scheme` is the one of TLS.
pub(super) fn camera_tls(section: &Section<'_>, url: Option<&Url>, scheme: &str) -> CameraTls {
    let secure = url.is_none_or(|url| url.scheme() == scheme);
    for key in ["tls_trust", "tls_ca_file"] {
        if section.has(key) && !secure {
            section.refuse(key, format!("is for TLS alone: write {scheme}:// in the url, or take this out"));
        }
    }
    let ca_file = path(section, "tls_ca_file");
    match (section.text("tls_trust").as_deref(), ca_file) {
        (None | Some("system"), None) => CameraTls::System,
        (None, Some(file)) => CameraTls::CaFile(file),
        (Some("first_use"), None) => CameraTls::FirstUse,
        (Some("system" | "first_use"), Some(_)) => {
            section.refuse("tls_ca_file", "is one too many: keep it or tls_trust");
            CameraTls::System
        }
        (Some(_), _) => {
            section.refuse("tls_trust", "is neither \"system\" nor \"first_use\"");
            CameraTls::System
        }
    }
}

/// Never shows the text: it may hold a password.
fn camera_url(section: &Section<'_>, text: &str) -> Option<Url> {
    let Ok(url) = Url::parse(text) else {
        section.refuse("url", "is not a URL: write rtsp://host[:port]/path");
        return None;
    };
    let wrong = match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            "holds credentials: take them out, and set username and password = { file = \"…\" }"
        }
        "rtspu" | "rtsph" => "is no scheme that is spoken: write rtsp:// (UDP: transport = \"udp\") or rtsps:// (TLS)",
        "rtsp" | "rtsps" if url.host_str().is_none_or(str::is_empty) => "names no host: write rtsp://host[:port]/path",
        "rtsp" | "rtsps" if url.port() == Some(0) => {
            "has port 0: leave it out for 554 (TLS: 322), or write the camera's"
        }
        "rtsp" | "rtsps" if url.fragment().is_some() => "holds a `#`: write %23 if the camera's path has one",
        "rtsp" | "rtsps" => {
            let seen = url.as_str().to_ascii_lowercase();
            if ["password=", "passwd=", "pwd="].iter().any(|word| seen.contains(word)) {
                section.warn(
                    "url",
                    "seems to hold a password, which logs will show: if the camera can, use username and password = { file = \"…\" }",
                );
            }
            return Some(url);
        }
        _ => "is not an RTSP address: write rtsp://host[:port]/path",
    };
    section.refuse("url", wrong);
    None
}
