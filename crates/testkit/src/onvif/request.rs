//! What a request says, read strictly.

use std::collections::HashMap;

use quick_xml::events::Event;
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

const ENVELOPE: &str = "http://www.w3.org/2003/05/soap-envelope";
const SECURITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const UTILITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const PASSWORD_DIGEST: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Local name of the body's element.
    pub(super) operation: String,
    /// Its namespace.
    pub(super) namespace: String,
    /// Texts of the body by local name.
    pub(super) fields: HashMap<String, String>,
    pub(super) token: Option<Token>,
    /// The subscription that the header names.
    pub(super) subscription: Option<u64>,
}

/// A user name token.
#[derive(Debug, Default)]
pub(super) struct Token {
    pub(super) username: String,
    pub(super) digest: String,
    pub(super) nonce: String,
    pub(super) created: String,
}

/// Namespaces and local names from the envelope to an element.
type Path = Vec<(String, String)>;

impl Asked {
    /// Reads it; an error says what is wrong with it.
    pub(super) fn read(body: &[u8], path: &str, content_type: &str) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|e| e.to_string())?;
        if !content_type.starts_with("application/soap+xml") {
            return Err(format!("the content type is {content_type}"));
        }
        let mut asked = Self::default();
        let mut password_type = String::new();
        let mut reader = NsReader::from_str(text);
        let mut open: Path = Vec::new();
        loop {
            let (namespace, event) = reader.read_resolved_event().map_err(|e| e.to_string())?;
            let namespace = match namespace {
                ResolveResult::Bound(namespace) => String::from_utf8_lossy(namespace.as_ref()).into_owned(),
                ResolveResult::Unbound => String::new(),
                ResolveResult::Unknown(prefix) => return Err(format!("no prefix {prefix:?}")),
            };
            match event {
                Event::Start(ref start) | Event::Empty(ref start) => {
                    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
                    if name == "Password" {
                        let value = start.try_get_attribute("Type").map_err(|e| e.to_string())?;
                        password_type =
                            value.map(|v| String::from_utf8_lossy(&v.value).into_owned()).unwrap_or_default();
                    }
                    open.push((namespace, name));
                    asked.opened(&open);
                    if matches!(event, Event::Empty(_)) {
                        open.pop();
                    }
                }
                Event::End(_) => drop(open.pop()),
                Event::Text(text) => asked.text(&open, &text.decode().map_err(|e| e.to_string())?),
                Event::GeneralRef(reference) => {
                    let name = reference.decode().map_err(|e| e.to_string())?;
                    let text = quick_xml::escape::resolve_xml_entity(&name).ok_or("an entity")?;
                    asked.text(&open, text);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        if asked.token.is_some() && password_type != PASSWORD_DIGEST {
            return Err(format!("a password of type {password_type:?}"));
        }
        let expected = match path {
            "/onvif/device_service" => "http://www.onvif.org/ver10/device/wsdl",
            "/onvif/media" => "http://www.onvif.org/ver10/media/wsdl",
            "/onvif/media2" => "http://www.onvif.org/ver20/media/wsdl",
            "/onvif/search" => "http://www.onvif.org/ver10/search/wsdl",
            "/onvif/replay" => "http://www.onvif.org/ver10/replay/wsdl",
            "/onvif/events" => "http://www.onvif.org/ver10/events/wsdl",
            "/onvif/subscription" if asked.operation == "PullMessages" => "http://www.onvif.org/ver10/events/wsdl",
            "/onvif/subscription" => "http://docs.oasis-open.org/wsn/b-2",
            other => return Err(format!("no service at {other}")),
        };
        if asked.namespace != expected {
            return Err(format!("{} is not of the service at {path}", asked.namespace));
        }
        Ok(asked)
    }

    fn opened(&mut self, open: &Path) {
        let place = |at: usize, name: &str| open.get(at).is_some_and(|p| p.0 == ENVELOPE && p.1 == name);
        if place(0, "Envelope") && place(1, "Body") && open.len() == 3 {
            (self.namespace, self.operation) = open[2].clone();
        }
    }

    fn text(&mut self, open: &Path, text: &str) {
        let Some((namespace, name)) = open.last() else { return };
        let is_in = |wanted: &str| open.get(1).is_some_and(|p| p.1 == wanted);
        if is_in("Body") {
            self.fields.entry(name.clone()).or_default().push_str(text);
        } else if open.iter().any(|p| p.1 == "UsernameToken" && p.0 == SECURITY) {
            let token = self.token.get_or_insert_default();
            match (namespace.as_str(), name.as_str()) {
                (SECURITY, "Username") => token.username.push_str(text),
                (SECURITY, "Password") => token.digest.push_str(text),
                (SECURITY, "Nonce") => token.nonce.push_str(text),
                (UTILITY, "Created") => token.created.push_str(text),
                _ => {}
            }
        } else if is_in("Header") && name == "SubscriptionId" && namespace == "urn:vigie:simulated" {
            self.subscription = text.parse().ok();
        }
    }

    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |text| text.trim())
    }
}
