//! Stores: the default one, named ones, and who uses which.

use std::collections::HashMap;

use super::secret::secret;
use super::*;

/// Name of the store that `[[store]]` describes.
pub const DEFAULT_STORE: &str = "default";

/// `[[store]]`, or one of `[[store]]`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// [`DEFAULT_STORE`] for `[[store]]`.
    pub name: String,
    /// `file:///…`, `s3://bucket/prefix`, or `memory:///` for trials.
    pub url: Url,
    /// How an `s3://` store is reached.
    pub s3: S3,
    /// Which of the packs that wait goes first.
    pub order: SendOrder,
    /// Packs are encrypted before they leave the gateway's process, and their names reveal nothing.
    pub encrypt: bool,
    /// What is read back of a pack that was sent.
    pub verify: Verify,
    /// Every byte is read and checked once in this many days; 0: never.
    pub scrub_days: u32,
    /// The uplink's timetable: the first that covers a time holds; without one, nothing is held back.
    pub caps: Vec<Cap>,
    /// Other gateways record the same cameras into it.
    pub shared: Option<SharedStore>,
}

/// A store that several gateways write into, each recording the same cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedStore {
    /// No two gateways have the same. The least stores at once, others wait whether it does.
    pub rank: u8,
    /// The store is looked through for the others' packs this often.
    pub poll: Duration,
    /// So long after its end, times its rank, a pack is left to gateways of lower rank.
    pub wait: Duration,
}

impl SharedStore {
    /// As the defaults have it.
    pub fn of_rank(rank: u8) -> Self {
        Self { rank, poll: Duration::from_secs(30), wait: Duration::from_secs(300) }
    }
}

impl StoreConfig {
    /// The default store at this address, everything else as the defaults have it.
    pub fn at(url: Url) -> Self {
        let (name, s3, caps, shared) = (DEFAULT_STORE.to_owned(), S3::default(), Vec::new(), None);
        let (order, verify, scrub_days) = (SendOrder::default(), Verify::default(), scrub_days_default(&url));
        let encrypt = encrypt_default(&url);
        Self { name, url, s3, order, encrypt, verify, scrub_days, caps, shared }
    }
}

/// Which of the packs that wait for a store goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SendOrder {
    /// What was filmed first: the store's footage has no holes.
    #[default]
    OldestFirst,
    /// What was filmed last: the latest events are soon outside the building, the backlog follows.
    NewestFirst,
}

/// What is read back of a pack before it counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Its last bytes, and with them its size.
    #[default]
    End,
    /// All of it, for a store that is not trusted: as many bytes come down as went up.
    Whole,
}

/// `[[store.cap]]`: how fast bytes may go to the store at some hours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    /// Monday first, in [`Config::time_zone`].
    pub days: [bool; 7],
    /// Minutes of the local day: from the first up to, and not with, the second.
    pub minutes: std::ops::Range<u16>,
    /// 0 sends nothing.
    pub bits_per_s: u64,
}

impl Cap {
    /// Whether it holds at this local time.
    pub fn covers(&self, at: jiff::civil::DateTime) -> bool {
        let minute = at.hour() as u16 * 60 + at.minute() as u16;
        self.days[at.weekday().to_monday_zero_offset() as usize] && self.minutes.contains(&minute)
    }
}

/// Which store a tenant's or a camera's packs go to, and where earlier ones may still lie; names of stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreChoice {
    /// `None`: as the level above says, in the end [`DEFAULT_STORE`].
    pub store: Option<String>,
    /// Stores that had its packs before: they are read and deleted there too.
    pub former: Vec<String>,
}

/// Every store of the file, the default one first; `None` after a problem was noted.
pub(super) fn stores(
    root: &Section<'_>,
    data: &Path,
    spool: &Path,
    recording: &RecordingConfig,
    around: &Surroundings<'_>,
) -> Option<Vec<StoreConfig>> {
    let mut sections = root.tables("store");
    let is_default = |section: &Section<'_>| !section.has("name") || section.is_text("name", DEFAULT_STORE);
    match sections.iter().position(is_default) {
        // Stable, so that the others stay in their order.
        Some(at) => sections[..=at].rotate_right(1),
        None => sections.insert(0, root.absent_table("store")),
    }
    let (mut names, mut places) = (HashMap::new(), HashMap::new());
    let mut stores = Some(Vec::new());
    let mut taken: Vec<(StoreConfig, usize)> = Vec::new();
    for section in sections {
        let name = store_name(&section).filter(|name| {
            let taken = names.insert(name.clone(), section.line_of("name"));
            if let Some(line) = taken {
                section.refuse("name", format!("is the name of line {line} too: choose another"));
            }
            taken.is_none()
        });
        let read = store(&section, name, data, spool, recording, around);
        if let Some(read) = &read {
            let place = (read.url.clone(), read.s3.endpoint.clone());
            if let Some(line) = places.insert(place, section.line_of("url"))
                && read.url.scheme() != "memory"
            {
                section.refuse("url", format!("is the store of line {line} too: name one store for both"));
            } else if let Some((_, line)) = taken.iter().find(|(of, _)| lie_in_one_another(of, read)) {
                section.refuse("url", format!("and the store of line {line} lie in one another: keep them apart"));
            }
            taken.push((read.clone(), section.line_of("url")));
        }
        section.close();
        match (&mut stores, read) {
            (Some(stores), Some(read)) => stores.push(read),
            _ => stores = None,
        }
    }
    stores
}

/// Whether the one's objects would be listed in the other.
fn lie_in_one_another(a: &StoreConfig, b: &StoreConfig) -> bool {
    if a.url.scheme() == "memory" || a.url.scheme() != b.url.scheme() || a.s3.endpoint != b.s3.endpoint {
        return false;
    }
    let parts = |store: &StoreConfig| -> Vec<String> {
        let path = store.url.path().split('/').filter(|part| !part.is_empty()).map(str::to_owned);
        store.url.host_str().map(str::to_owned).into_iter().chain(path).collect()
    };
    let (a, b) = (parts(a), parts(b));
    a.starts_with(&b) || b.starts_with(&a)
}

/// The one without a name is the default.
fn store_name(section: &Section<'_>) -> Option<String> {
    let name = match section.text("name") {
        None if section.has("name") => return None,
        name => name.unwrap_or_else(|| DEFAULT_STORE.to_owned()),
    };
    if name.len() <= 63 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Some(name);
    }
    section.refuse("name", "is not a store's name: up to 63 of a-z, 0-9 and `-`");
    None
}

/// `store` and `former_stores` of a tenant or a camera.
pub(super) fn choice(section: &Section<'_>, stores: Option<&[StoreConfig]>) -> StoreChoice {
    let choice = StoreChoice { store: section.text("store"), former: section.texts("former_stores") };
    // Where the stores themselves are wrong, their names are not known.
    let Some(stores) = stores else { return choice };
    let known = |name: &String| stores.iter().any(|s| s.name == *name);
    let unknown = |key: &str, name: &str| {
        let names: Vec<_> = stores.iter().map(|s| s.name.as_str()).collect();
        section.refuse(key, format!("{name:?} is no store's name: the names are {}", names.join(", ")));
    };
    if let Some(name) = choice.store.as_ref().filter(|name| !known(name)) {
        unknown("store", name);
    }
    if let Some(name) = choice.former.iter().find(|name| !known(name)) {
        unknown("former_stores", name);
    }
    choice
}

fn store(
    section: &Section<'_>,
    name: Option<String>,
    data: &Path,
    spool: &Path,
    recording: &RecordingConfig,
    around: &Surroundings<'_>,
) -> Option<StoreConfig> {
    let problems_before = section.report().problem_count();
    let url = match section.text("url") {
        Some(text) => store_url(section, &text),
        None if name.as_deref() == Some(DEFAULT_STORE) || section.has("url") => {
            // An absolute path without `..` always makes a URL.
            Url::from_file_path(data.join("store")).ok()
        }
        None => {
            section.refuse("url", "is missing: write file:///srv/vigie or s3://bucket/prefix");
            None
        }
    };
    let endpoint = section.text("endpoint").and_then(|text| endpoint(section, &text));
    let s3 = S3 {
        region: section.text("region"),
        endpoint,
        path_style: section.flag("path_style").unwrap_or(false),
        access_key_id: secret(section, "access_key_id", around),
        secret_access_key: secret(section, "secret_access_key", around),
    };
    let orders = [("oldest-first", SendOrder::OldestFirst), ("newest-first", SendOrder::NewestFirst)];
    let order = section.choice("order", &orders);
    let verify = section.choice("verify", &[("end", Verify::End), ("whole", Verify::Whole)]);
    let caps = section.tables("cap").into_iter().filter_map(cap).collect();
    let shared = shared(section, recording);
    if section.report().problem_count() == problems_before
        && let Some(url) = &url
    {
        check_store(section, url, &s3, data, spool);
    }
    let scrub_days = section.count("scrub_days", 0..=3_650).and_then(|days| u32::try_from(days).ok());
    let url = url?;
    let scrub_days = scrub_days.unwrap_or_else(|| scrub_days_default(&url));
    let encrypt = section.flag("encrypt").unwrap_or_else(|| encrypt_default(&url));
    if shared.is_some() && encrypt {
        let key = if section.has("encrypt") { "encrypt" } else { "shared" };
        let advice = "an encrypted store cannot be shared: each gateway has its own keys of packs; set encrypt = false";
        section.refuse(key, advice);
    }
    Some(StoreConfig { name: name?, url, s3, order, encrypt, verify, scrub_days, caps, shared })
}

/// `[store.shared]`.
fn shared(of_store: &Section<'_>, recording: &RecordingConfig) -> Option<SharedStore> {
    if !of_store.has("shared") {
        of_store.note("shared");
        return None;
    }
    let section = of_store.table("shared");
    let problems_before = section.report().problem_count();
    let default = SharedStore::of_rank(0);
    let rank = section.count("rank", 0..=9);
    if !section.has("rank") {
        section.refuse("rank", "is missing: add rank = 0 on one of the gateways, 1 on the next");
    }
    let poll = section.count("poll_seconds", 1..=3_600).map_or(default.poll, Duration::from_secs);
    let wait = section.count("wait_seconds", 1..=86_400).map_or(default.wait, Duration::from_secs);
    let least = recording.pack_duration_max + 2 * poll;
    if rank.is_some_and(|rank| rank > 0) && wait < least && section.report().problem_count() == problems_before {
        let key = if section.has("wait_seconds") { "wait_seconds" } else { "rank" };
        let advice = format!(
            "wait_seconds must be {} or more: a pack of pack_seconds_max has to be over, and two polls of poll_seconds",
            least.as_secs()
        );
        section.refuse(key, advice);
    }
    section.close();
    Some(SharedStore { rank: rank? as u8, poll, wait })
}

/// An S3 store is most often somebody else's.
fn encrypt_default(url: &Url) -> bool {
    url.scheme() == "s3"
}

/// What lies here is read for nothing; what is read back from a provider costs, and takes the uplink.
fn scrub_days_default(url: &Url) -> u32 {
    if url.scheme() == "s3" { 0 } else { 30 }
}

fn cap(section: Section<'_>) -> Option<Cap> {
    let problems_before = section.report().problem_count();
    let days = section.text("days").map_or(Some([true; 7]), |text| days(&section, &text));
    let from = section.text("from").map_or(Some(0), |text| time_of_day(&section, "from", &text));
    let to = section.text("to").map_or(Some(24 * 60), |text| time_of_day(&section, "to", &text));
    let mbit_s = section.number("mbit_s", 0.0..=100_000.0);
    if !section.has("mbit_s") {
        section.refuse("mbit_s", "is missing: add a line such as mbit_s = 4, or 0 to send nothing");
    }
    if let (Some(from), Some(to)) = (from, to)
        && section.report().problem_count() == problems_before
        && from >= to
    {
        section.refuse(
            "to",
            "is not after `from`: for a night write two caps, one up to \"24:00\" and one from \"00:00\"",
        );
    }
    section.close();
    Some(Cap { days: days?, minutes: from?..to?, bits_per_s: (mbit_s? * 1e6) as u64 })
}

/// `mon-fri`, `sat,sun`, or both kinds together.
fn days(section: &Section<'_>, text: &str) -> Option<[bool; 7]> {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let day = |name: &str| NAMES.iter().position(|n| *n == name.trim());
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (day(first), day(last)) else {
            section.refuse("days", "is not a list of days: write \"mon-fri\", \"sat,sun\" or \"mon,wed-fri\"");
            return None;
        };
        // `sat-mon` goes over the end of the week.
        for offset in 0..=(last + 7 - first) % 7 {
            days[(first + offset) % 7] = true;
        }
    }
    Some(days)
}

/// Minutes since midnight; `24:00` is the end of the day.
fn time_of_day(section: &Section<'_>, key: &str, text: &str) -> Option<u16> {
    let number = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let read = text.split_once(':').and_then(|(h, m)| Some((number(h)?, number(m)?)));
    match read {
        Some((hour, minute)) if minute < 60 && hour * 60 + minute <= 24 * 60 => Some(hour * 60 + minute),
        _ => {
            section.refuse(key, "is not a time of day: write \"08:00\", or \"24:00\" for the day's end");
            None
        }
    }
}

fn store_url(section: &Section<'_>, text: &str) -> Option<Url> {
    const FORMS: &str = "write file:///srv/vigie or s3://bucket/prefix";
    let Ok(url) = Url::parse(text) else {
        section.refuse("url", format!("is not a URL: {FORMS}"));
        return None;
    };
    let wrong = if !url.username().is_empty() || url.password().is_some() {
        "holds credentials: take them out, and set access_key_id and secret_access_key, each to { file = \"…\" }"
            .to_owned()
    } else if url.query().is_some() || url.fragment().is_some() {
        format!("holds a `?` or `#` part, which a store has not: {FORMS}")
    } else {
        match url.scheme() {
            "file" if url.host().is_some() => {
                "names a host: a local directory has three slashes, file:///srv/vigie".into()
            }
            "file" if url.path() == "/" => "is the root directory: name a directory of its own".into(),
            "s3" if !url.host_str().is_some_and(is_bucket_name) => {
                "names no bucket: write s3://bucket/prefix; 3 to 63 of a-z, 0-9, `-` and `.`".into()
            }
            "s3" if url.port().is_some() => "holds a port: set endpoint = \"https://host:port\" instead".into(),
            "memory" => {
                section.warn("url", "footage in memory is gone when the gateway stops: for trials only");
                return Some(url);
            }
            "file" | "s3" => return Some(url),
            _ => format!("is neither a directory nor S3: {FORMS}"),
        }
    };
    section.refuse("url", wrong);
    None
}

fn is_bucket_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| legal(b) || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(legal)
}

fn endpoint(section: &Section<'_>, text: &str) -> Option<Url> {
    let wrong = match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "holds credentials: take them out, and set access_key_id and secret_access_key, each to { file = \"…\" }"
        }
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => return Some(url),
        _ => "is not a web address: write https://s3.example.org, or http://host:port on a network of your own",
    };
    section.refuse("endpoint", wrong);
    None
}

fn check_store(section: &Section<'_>, url: &Url, s3: &S3, data: &Path, spool: &Path) {
    if let Ok(dir) = url.to_file_path()
        && url.scheme() == "file"
    {
        if dir.starts_with(spool) || spool.starts_with(&dir) {
            section.refuse("url", format!("{} and the spool {} lie in one another", dir.display(), spool.display()));
        }
        if data.starts_with(&dir) {
            section
                .refuse("url", format!("holds the data directory {}: name a directory apart from it", data.display()));
        }
        if dir.starts_with(data.join("keys")) || dir.starts_with(data.join("scrub")) {
            section.refuse("url", format!("lies in a directory that Vigie uses: {}", dir.display()));
        }
        for key in ["endpoint", "region", "path_style"] {
            if section.has(key) {
                section.refuse(key, "is for s3:// only: take it out, or set url = \"s3://bucket/prefix\"");
            }
        }
    }
    if s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
        section.refuse("access_key_id", "goes with secret_access_key: set both, or neither to use the environment");
    }
    if s3.endpoint.as_ref().is_some_and(|e| e.scheme() == "http" && !is_loopback(e)) {
        section.warn("endpoint", "footage travels in the clear: use https unless this network is your own");
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
