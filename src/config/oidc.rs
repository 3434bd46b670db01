//! `[[oidc]]`: identity providers by which persons sign in (OpenID Connect Core 1.0).

use std::collections::HashMap;

use secrecy::SecretString;

use super::build::{identity, path};
use super::secret::secret;
use super::*;
use footage::units::ProviderId;

/// An identity provider.
#[derive(Clone, Debug)]
pub struct OidcProvider {
    /// Its id: also a part of the addresses that it redirects to.
    pub id: ProviderId,
    /// For people.
    pub name: String,
    /// As it names itself, to the letter.
    pub issuer: String,
    /// What it knows the gateway as.
    pub client_id: String,
    /// The gateway's secret there.
    pub client_secret: SecretString,
    /// Certificates of authorities besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Levels of authentication of which one is needed; empty: whatever the provider deems enough.
    pub acr_values: Vec<String>,
    /// How it may sign.
    pub algorithms: Vec<OidcAlgorithm>,
    /// Whether, and how, its user info endpoint is asked for claims.
    pub userinfo: UserInfo,
    /// An e-mail address counts although the provider does not say that it is verified.
    pub email_trusted: bool,
    /// For which tenants it vouches.
    pub tenants: Vec<OidcTenant>,
    /// The claim that lists what `roles` stand for; none: roles are not compared.
    pub role_claim: Option<String>,
    /// Values of that claim, each with the role that it stands for.
    pub roles: Vec<(String, String)>,
    /// The claim that has the number of the act; none: acts are not compared.
    pub act_claim: Option<String>,
}

/// An algorithm by which a provider signs (RFC 7518 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OidcAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// What is asked of a provider's user info endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserInfo {
    /// Nothing: the ID token has all claims.
    No,
    /// Claims, believed for the connection's sake.
    Plain,
    /// Claims, signed.
    Signed,
}

/// A tenant that a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcTenant {
    /// The tenant.
    pub id: TenantId,
    /// A claim, and the value that it has to have or to list; none: all accounts of the provider may be this tenant's.
    pub claim: Option<(String, String)>,
}

const ALGORITHMS: [(&str, OidcAlgorithm); 5] = [
    ("RS256", OidcAlgorithm::Rs256),
    ("PS256", OidcAlgorithm::Ps256),
    ("ES256", OidcAlgorithm::Es256),
    ("ES384", OidcAlgorithm::Es384),
    ("EdDSA", OidcAlgorithm::EdDsa),
];

/// All providers; those with a mistake are left out, with a problem noted.
pub(super) fn providers(
    root: &Section<'_>,
    public_url: Option<&Url>,
    (tenants, roles): (&[Tenant], &Roles),
    around: &Surroundings<'_>,
) -> Vec<OidcProvider> {
    let (mut ids, mut issuers) = (HashMap::new(), HashMap::new());
    let mut providers = Vec::new();
    for section in root.tables("oidc") {
        if public_url.is_none() {
            let advice = "needs public_url in [http]: the address at which browsers reach this gateway";
            section.refuse("issuer", advice);
        }
        if let Some(provider) = provider(&section, (tenants, roles), &mut ids, around) {
            // Accounts are known by provider and subject: two ids for one provider would be two persons in one.
            if let Some(line) = issuers.insert(provider.issuer.clone(), section.line_of("issuer")) {
                section.refuse("issuer", format!("is the issuer of line {line} too: write one [[oidc]] for it"));
            }
            providers.push(provider);
        }
        section.close();
    }
    providers
}

fn provider(
    section: &Section<'_>,
    (tenants, roles): (&[Tenant], &Roles),
    ids: &mut HashMap<String, usize>,
    around: &Surroundings<'_>,
) -> Option<OidcProvider> {
    let id = identity::<ProviderId>(section, "id", "proconnect", ids);
    let name = section.text("name");
    let issuer = section.required_text("issuer", "https://id.example.org").filter(|text| is_issuer(section, text));
    let client_id = section.required_text("client_id", "vigie");
    let client_secret = secret(section, "client_secret", around);
    if client_secret.is_none() && !section.has("client_secret") {
        section.refuse("client_secret", "is missing: write client_secret = { file = \"…\" }");
    }
    let ca_file = path(section, "ca_file");
    let scopes = words(section, "scopes");
    let acr_values = words(section, "acr_values");
    if acr_values.is_empty() {
        section.warn(
            "id",
            "names no acr_values: whatever the provider deems enough opens footage, a password alone too; name the levels of \
             authentication of which one is needed",
        );
    }
    let kinds = [("no", UserInfo::No), ("plain", UserInfo::Plain), ("signed", UserInfo::Signed)];
    let userinfo = section.choice("userinfo", &kinds);
    let email_trusted = section.flag("email_trusted").unwrap_or(false);
    let algorithms = algorithms(section);
    let of_tenants = of_tenants(section, tenants);
    let role_claim = section.text("role_claim");
    let of_roles = of_roles(section, roles);
    if role_claim.is_none() != of_roles.is_empty() {
        section.refuse("role_claim", "goes with [[oidc.role]]: the claim, and what its values stand for");
    }
    let act_claim = section.text("act_claim");
    let id = id?;
    Some(OidcProvider {
        name: name.unwrap_or_else(|| id.to_string()),
        id,
        issuer: issuer?,
        client_id: client_id?,
        client_secret: client_secret?,
        ca_file,
        scopes,
        acr_values,
        algorithms,
        userinfo,
        email_trusted,
        tenants: of_tenants,
        role_claim,
        roles: of_roles,
        act_claim,
    })
}

/// An `https://` address; `http://` for a provider on this machine alone.
fn is_issuer(section: &Section<'_>, text: &str) -> bool {
    let url = Url::parse(text).ok().filter(|url| {
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        bare && url.password().is_none() && is_protected(url)
    });
    if url.is_none() {
        section.refuse("issuer", "is no https:// address without query: write it as the provider's metadata has it");
    }
    url.is_some()
}

/// Nobody reads along: `https://`, or to this machine itself.
pub(crate) fn is_protected(url: &Url) -> bool {
    let is_here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    (url.scheme() == "https" && url.has_host()) || (url.scheme() == "http" && is_here)
}

/// Texts that a space separates from others when they are sent.
fn words(section: &Section<'_>, key: &str) -> Vec<String> {
    let words = section.texts(key);
    if words.iter().any(|word| word.is_empty() || !word.bytes().all(|b| b.is_ascii_graphic())) {
        section.refuse(key, "holds a text that is empty or has a space: write one word for each");
    }
    words
}

fn algorithms(section: &Section<'_>) -> Vec<OidcAlgorithm> {
    let named = section.texts("algorithms");
    if named.is_empty() {
        return vec![OidcAlgorithm::Rs256, OidcAlgorithm::Es256];
    }
    let known = |name: &String| ALGORITHMS.iter().find(|(word, _)| word == name).map(|(_, algorithm)| *algorithm);
    let algorithms: Option<Vec<OidcAlgorithm>> = named.iter().map(known).collect();
    algorithms.unwrap_or_else(|| {
        let words = ALGORITHMS.map(|(word, _)| word).join(", ");
        section.refuse("algorithms", format!("holds what is none of {words}"));
        Vec::new()
    })
}

fn of_tenants(section: &Section<'_>, tenants: &[Tenant]) -> Vec<OidcTenant> {
    let mut found: Vec<OidcTenant> = Vec::new();
    for of in section.tables("tenant") {
        let id = of.required_text("id", "mairie");
        let (claim, value) = (of.text("claim"), of.text("value"));
        if claim.is_some() != value.is_some() {
            of.refuse("claim", "and value go together: the claim, and what it has to be or to list");
        }
        let known = id.as_ref().and_then(|id| tenants.iter().find(|tenant| tenant.id.as_str() == id));
        match (id, known) {
            (Some(id), None) => of.refuse("id", format!("no [[tenant]] has the id {id:?}")),
            (Some(_), Some(tenant)) if found.iter().any(|of| of.id == tenant.id) => {
                of.refuse("id", "is named twice for this provider");
            }
            (Some(_), Some(tenant)) => found.push(OidcTenant { id: tenant.id.clone(), claim: claim.zip(value) }),
            (None, _) => {}
        }
        of.close();
    }
    if found.is_empty() && !section.has("tenant") {
        section.refuse("tenant", "is missing: add [[oidc.tenant]] with the id of each tenant that it vouches for");
    }
    found
}

fn of_roles(section: &Section<'_>, roles: &Roles) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for of in section.tables("role") {
        let value = of.required_text("value", "video-operators");
        let role = of.required_text("role", "operator").filter(|role| {
            let is_known = roles.get(role).is_some();
            if !is_known {
                let known = roles.names().collect::<Vec<_>>().join(", ");
                of.refuse("role", format!("names no role: choose one of {known}"));
            }
            is_known
        });
        found.extend(value.zip(role));
        of.close();
    }
    found
}

/// `[http] public_url`: where browsers reach the gateway, without a path.
pub(super) fn public_url(section: &Section<'_>) -> Option<Url> {
    let text = section.text("public_url")?;
    let url = Url::parse(&text).ok().filter(|url| {
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        bare && url.password().is_none() && is_protected(url)
    });
    if url.is_none() {
        section.refuse("public_url", "is no https:// address without a path: write \"https://vigie.example.org\"");
    }
    url
}
