//! SOAP 1.2 (part 1 §5): envelopes out, bodies and faults in; WS-Security user names (UsernameToken Profile 1.0 §3.1).

use std::fmt::Write as _;

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use footage::platform;
use footage::units::WallTime;

use crate::xml::{Element, XmlError, escaped};

const ENVELOPE: &str = "http://www.w3.org/2003/05/soap-envelope";
const ADDRESSING: &str = "http://www.w3.org/2005/08/addressing";
const SECURITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const UTILITY: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const PASSWORD_DIGEST: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64_BINARY: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// An envelope around these blocks of the header and this body.
pub(crate) fn envelope(header: &str, body: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?><s:Envelope xmlns:s="{ENVELOPE}"><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"#
    )
}

/// The blocks that say what is asked of whom (WS-Addressing 1.0 SOAP Binding §4): events are for those who write them.
pub(crate) fn addressing(action: &str, to: &str, parameters: &[Element]) -> String {
    let (action, to, message) = (escaped(action), escaped(to), uuid());
    let mut blocks = format!(
        r#"<a:Action xmlns:a="{ADDRESSING}">{action}</a:Action><a:MessageID xmlns:a="{ADDRESSING}">{message}</a:MessageID><a:ReplyTo xmlns:a="{ADDRESSING}"><a:Address>{ADDRESSING}/anonymous</a:Address></a:ReplyTo><a:To xmlns:a="{ADDRESSING}">{to}</a:To>"#
    );
    let mark = format!(r#" xmlns:wsa="{ADDRESSING}" wsa:IsReferenceParameter="true""#);
    parameters.iter().for_each(|parameter| parameter.write(&mut blocks, &mark));
    blocks
}

/// A name that no other message has (RFC 9562 §5.4).
pub(crate) fn uuid() -> String {
    let mut bytes: [u8; 16] = platform::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = "urn:uuid:".to_owned();
    for (at, byte) in bytes.iter().enumerate() {
        let dash = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
        let _ = write!(text, "{dash}{byte:02x}");
    }
    text
}

/// The block that proves the password without showing it, made at this time of the device's own clock.
pub(crate) fn username_token(username: &str, password: &str, created: WallTime) -> String {
    let nonce: [u8; 16] = platform::random();
    // To the second: some devices read no fractions.
    let created = created.to_timestamp().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (nonce64, digest, username) =
        (STANDARD.encode(nonce), password_digest(&nonce, &created, password), escaped(username));
    format!(
        r#"<w:Security xmlns:w="{SECURITY}" s:mustUnderstand="1"><w:UsernameToken><w:Username>{username}</w:Username><w:Password Type="{PASSWORD_DIGEST}">{digest}</w:Password><w:Nonce EncodingType="{BASE64_BINARY}">{nonce64}</w:Nonce><u:Created xmlns:u="{UTILITY}">{created}</u:Created></w:UsernameToken></w:Security>"#
    )
}

/// Base64 (SHA-1 (nonce + created + password)), as the profile has it.
fn password_digest(nonce: &[u8], created: &str, password: &str) -> String {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(nonce);
    context.update(created.as_bytes());
    context.update(password.as_bytes());
    STANDARD.encode(context.finish())
}

/// What an envelope holds.
#[derive(Debug)]
pub(crate) enum Message {
    /// The first element of its body.
    Body(Element),
    Fault(Fault),
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Code and subcodes, without prefixes.
    pub(crate) code: String,
    pub(crate) reason: String,
}

impl Fault {
    /// Who asks is not known, or may not (ONVIF Core Specification §5.8.2.3, Web Services Security §12).
    pub(crate) fn is_of_login(&self) -> bool {
        let code = &self.code;
        let known = [
            "NotAuthorized",
            "FailedAuthentication",
            "FailedCheck",
            "InvalidSecurityToken",
            "MessageExpired",
            "InvalidSecurity",
        ];
        // Some say it in words alone.
        let words = self.reason.to_ascii_lowercase();
        known.iter().any(|known| code.contains(known))
            || ["not authorized", "unauthorized", "authority failure"].iter().any(|known| words.contains(known))
    }
}

/// Reads an envelope.
pub(crate) fn read(bytes: &[u8]) -> Result<Message, XmlError> {
    let root = Element::parse(bytes)?;
    let malformed = |what: &str| XmlError::Malformed(what.to_owned());
    if root.name() != "Envelope" {
        return Err(malformed("it is no SOAP envelope"));
    }
    let body = root.at(&["Body"]).ok_or_else(|| malformed("the envelope has no body"))?;
    let first = body.children().next().ok_or_else(|| malformed("the body of the envelope is empty"))?;
    Ok(if first.name() == "Fault" { Message::Fault(fault(first)) } else { Message::Body(first.clone()) })
}

fn fault(fault: &Element) -> Fault {
    let local = |code: &str| code.rsplit(':').next().unwrap_or_default().to_owned();
    let mut codes = Vec::new();
    let mut next = fault.at(&["Code"]);
    while let Some(code) = next {
        codes.extend(code.text_at(&["Value"]).map(local));
        next = code.at(&["Subcode"]);
    }
    // As SOAP 1.1 has it (§4.4), which some devices answer with.
    codes.extend(fault.text_at(&["faultcode"]).map(local));
    let reason = fault.text_at(&["Reason", "Text"]).or(fault.text_at(&["faultstring"]));
    let code = if codes.is_empty() { "without a code".to_owned() } else { codes.join("/") };
    Fault { code, reason: reason.unwrap_or("no reason is given").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_digest_is_the_one_of_the_specification() {
        // The example of the ONVIF Application Programmer's Guide 1.0 §6.1.1.3.
        let nonce = STANDARD.decode("LKqI6G/AikKCQrN0zqZFlg==").expect("base64");
        let digest = password_digest(&nonce, "2010-09-16T07:50:45Z", "userpassword");
        assert_eq!(digest, "tuOSpGlFlIXsozq4HFNeeGeFLEI=");
    }

    #[test]
    fn a_header_says_who_asks_in_well_formed_xml() {
        let reference = Element::parse(b"<d:Id xmlns:d=\"urn:d\">7</d:Id>").expect("well-formed");
        let header =
            addressing("urn:a&b", "http://h/p?a=1&b=2", &[reference]) + &username_token("a<b", "pw", WallTime(0));
        let envelope = Element::parse(envelope(&header, "<x/>").as_bytes()).expect("well-formed");
        let header = envelope.at(&["Header"]).expect("a header");
        assert_eq!(header.text_at(&["To"]), Some("http://h/p?a=1&b=2"));
        assert_eq!(header.text_at(&["Id"]), Some("7"));
        assert_eq!(header.at(&["Id"]).and_then(|id| id.attribute("IsReferenceParameter")), Some("true"));
        let token = ["Security", "UsernameToken"];
        assert_eq!(header.text_at(&[token[0], token[1], "Username"]), Some("a<b"));
        assert_eq!(header.text_at(&[token[0], token[1], "Created"]), Some("1970-01-01T00:00:00Z"));
        assert_ne!(uuid(), uuid());
        assert_eq!(uuid().len(), 45);
    }

    #[test]
    fn faults_are_read_in_both_versions_of_soap() {
        let check = |text: &str, code: &str, reason: &str, is_of_login: bool| {
            let Ok(Message::Fault(fault)) = read(text.as_bytes()) else { panic!("no fault: {text}") };
            assert_eq!((fault.code.as_str(), fault.reason.as_str(), fault.is_of_login()), (code, reason, is_of_login));
        };
        check(
            r#"<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><e:Fault><e:Code><e:Value>e:Sender</e:Value><e:Subcode><e:Value>ter:NotAuthorized</e:Value></e:Subcode></e:Code><e:Reason><e:Text xml:lang="en">no</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>"#,
            "Sender/NotAuthorized",
            "no",
            true,
        );
        check(
            "<Envelope><Body><Fault><faultcode>s:Client</faultcode><faultstring>bad</faultstring></Fault></Body></Envelope>",
            "Client",
            "bad",
            false,
        );
        check("<Envelope><Body><Fault/></Body></Envelope>", "without a code", "no reason is given", false);
        for text in ["<html/>", "<Envelope/>", "<Envelope><Body/></Envelope>", ""] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
