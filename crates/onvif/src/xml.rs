//! XML as devices send it: read into a small tree, written with its text escaped.
//!
//! Invariant: what is read is bounded in depth, elements, attributes and lengths, and takes no more memory than a fixed
//! multiple of its bytes. A document type declaration is refused, so no entity but the five of XML is ever expanded.
//! Elements are found by their local names: devices choose prefixes, and some write wrong namespaces.

use std::borrow::Cow;

use quick_xml::XmlVersion;
use quick_xml::escape::{escape, resolve_xml_entity, unescape};
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{NamespaceResolver, ResolveResult};
use quick_xml::reader::NsReader;

/// Elements inside one another.
const DEPTH_MAX: usize = 64;
/// Elements of one document.
const ELEMENTS_MAX: usize = 20_000;
/// Attributes of one element, declarations of namespaces included.
const ATTRIBUTES_MAX: usize = 64;
/// Bytes of a name or of a namespace: each element keeps its own.
const NAME_BYTES_MAX: usize = 256;

/// Why a text is no document that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum XmlError {
    #[error("it is no well-formed XML: {0}")]
    Malformed(String),
    #[error("it declares a document type, which is refused")]
    DocumentType,
    #[error("it refers to the entity {0}, which is not known")]
    Entity(String),
    #[error("it has too many {0}")]
    TooMany(&'static str),
    #[error("it ends too early")]
    CutOff,
}

impl From<quick_xml::Error> for XmlError {
    fn from(error: quick_xml::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// An attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    namespace: String,
    name: String,
    value: String,
}

/// An element with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    namespace: String,
    name: String,
    attributes: Vec<Attribute>,
    children: Vec<Element>,
    /// Its own text, that between its children included.
    text: String,
}

impl Element {
    /// Reads a document; gives its root.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, XmlError> {
        // Some devices write names of places in other encodings than they say: such a letter is lost, not the document.
        let text = String::from_utf8_lossy(bytes);
        let mut reader = NsReader::from_str(text.trim_start_matches('\u{feff}').trim());
        reader.resolver_mut().set_max_declarations_per_element(ATTRIBUTES_MAX);
        let mut open: Vec<Element> = Vec::new();
        let mut elements = 0;
        loop {
            let event = reader.read_event()?;
            match event {
                Event::Start(ref start) | Event::Empty(ref start) => {
                    elements += 1;
                    if elements > ELEMENTS_MAX {
                        return Err(XmlError::TooMany("elements"));
                    }
                    if open.len() >= DEPTH_MAX {
                        return Err(XmlError::TooMany("elements inside one another"));
                    }
                    let element = Self::begin(start, reader.resolver())?;
                    if matches!(event, Event::Start(_)) {
                        open.push(element);
                    } else if let Some(root) = close(element, &mut open) {
                        return Ok(root);
                    }
                }
                Event::End(_) => {
                    let element = open.pop().ok_or(XmlError::CutOff)?;
                    if let Some(root) = close(element, &mut open) {
                        return Ok(root);
                    }
                }
                Event::Text(text) => add(&mut open, &text.decode().map_err(quick_xml::Error::from)?),
                Event::CData(text) => add(&mut open, &text.decode().map_err(quick_xml::Error::from)?),
                Event::GeneralRef(reference) => match reference.resolve_char_ref()? {
                    Some(letter) => add(&mut open, letter.encode_utf8(&mut [0; 4])),
                    None => {
                        let name = reference.decode().map_err(quick_xml::Error::from)?;
                        let known = resolve_xml_entity(&name);
                        add(&mut open, known.ok_or_else(|| XmlError::Entity(name.chars().take(32).collect()))?);
                    }
                },
                Event::DocType(_) => return Err(XmlError::DocumentType),
                Event::Eof => return Err(XmlError::CutOff),
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            }
        }
    }

    fn begin(start: &BytesStart<'_>, resolver: &NamespaceResolver) -> Result<Self, XmlError> {
        let (namespace, name) = resolver.resolve_element(start.name());
        let mut element =
            Self { namespace: namespace_of(&namespace)?, name: text_of(name.as_ref())?, ..Self::default() };
        // Names that are there twice are no matter here, and comparing all of them with one another takes long.
        for (number, attribute) in start.attributes().with_checks(false).enumerate() {
            if number >= ATTRIBUTES_MAX {
                return Err(XmlError::TooMany("attributes"));
            }
            let attribute = attribute.map_err(quick_xml::Error::from)?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let (namespace, name) = resolver.resolve_attribute(attribute.key);
            element.attributes.push(Attribute {
                namespace: namespace_of(&namespace)?,
                name: text_of(name.as_ref())?,
                value: attribute.normalized_value(XmlVersion::Implicit1_0)?.into_owned(),
            });
        }
        Ok(element)
    }

    /// Its local name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its own text, without the space around it.
    pub(crate) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name == name).map(|a| a.value.trim())
    }

    pub(crate) fn children(&self) -> impl Iterator<Item = &Element> {
        self.children.iter()
    }

    /// Its children of one name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// What lies at the end of a path of names, each the first of its name.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Element> {
        path.iter().try_fold(self, |element, name| element.children.iter().find(|c| c.name == *name))
    }

    /// The text at the end of a path, unless it is empty.
    pub(crate) fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(Element::text).filter(|text| !text.is_empty())
    }

    /// A number at the end of a path.
    pub(crate) fn number_at<T: std::str::FromStr>(&self, path: &[&str]) -> Option<T> {
        self.text_at(path)?.parse().ok()
    }

    /// Its bytes, each element with its own declarations: a header block that goes back to the device as it came.
    pub(crate) fn write(&self, out: &mut String, extra: &str) {
        let (prefix, colon) = if self.namespace.is_empty() { ("", "") } else { ("r", ":") };
        out.push_str(&format!("<{prefix}{colon}{}", self.name));
        if !self.namespace.is_empty() {
            out.push_str(&format!(" xmlns:r=\"{}\"", escaped(&self.namespace)));
        }
        for (number, attribute) in self.attributes.iter().enumerate() {
            let value = escaped(&attribute.value);
            if attribute.namespace.is_empty() {
                out.push_str(&format!(" {}=\"{value}\"", attribute.name));
            } else {
                let namespace = escaped(&attribute.namespace);
                out.push_str(&format!(" xmlns:a{number}=\"{namespace}\" a{number}:{}=\"{value}\"", attribute.name));
            }
        }
        out.push_str(extra);
        out.push('>');
        out.push_str(&escaped(&self.text));
        self.children.iter().for_each(|child| child.write(out, ""));
        out.push_str(&format!("</{prefix}{colon}{}>", self.name));
    }
}

/// Hangs a whole element into the one around it; gives it back where there is none.
fn close(element: Element, open: &mut [Element]) -> Option<Element> {
    let Some(parent) = open.last_mut() else { return Some(element) };
    parent.children.push(element);
    None
}

fn add(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn namespace_of(resolved: &ResolveResult<'_>) -> Result<String, XmlError> {
    match resolved {
        ResolveResult::Bound(namespace) => {
            let text = text_of(namespace.as_ref())?;
            let unescaped = unescape(&text).map(Cow::into_owned);
            Ok(unescaped.unwrap_or(text))
        }
        // A prefix that was never declared is an error of XML, and nothing that matters here.
        ResolveResult::Unbound | ResolveResult::Unknown(_) => Ok(String::new()),
    }
}

fn text_of(bytes: &[u8]) -> Result<String, XmlError> {
    if bytes.len() > NAME_BYTES_MAX {
        return Err(XmlError::TooMany("letters in a name"));
    }
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// A text between tags or quotes: control characters, which no XML may hold, are left out.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    let is_forbidden = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    if text.contains(is_forbidden) {
        let text: String = text.chars().filter(|c| !is_forbidden(*c)).collect();
        return Cow::Owned(escape(text.as_str()).into_owned());
    }
    escape(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_are_found_whatever_their_prefixes() {
        for text in [
            r#"<a:x xmlns:a="urn:1"><a:y t="1 &amp; 2"><b:z xmlns:b="urn:2"> A &lt;&#66;<![CDATA[&c]]> </b:z></a:y></a:x>"#,
            r#"<?xml version="1.0"?><x xmlns="urn:1"><!-- z --><y t='1 &#38; 2'><z xmlns="urn:2">A &#x3c;B<![CDATA[&c]]></z></y></x>"#,
        ] {
            let root = Element::parse(text.as_bytes()).expect(text);
            assert_eq!(root.text_at(&["y", "z"]), Some("A <B&c"), "{text}");
            assert_eq!(root.at(&["y"]).and_then(|y| y.attribute("t")), Some("1 & 2"), "{text}");
            assert_eq!(root.at(&["y", "z"]).map(|z| z.namespace.as_str()), Some("urn:2"), "{text}");
            assert_eq!(root.at(&["z"]), None);
        }
    }

    #[test]
    fn what_would_cost_memory_or_time_is_refused() {
        let check = |text: String, expect: XmlError| assert_eq!(Element::parse(text.as_bytes()), Err(expect));
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>";
        check(bomb.to_owned(), XmlError::DocumentType);
        check("<x>&b;</x>".to_owned(), XmlError::Entity("b".to_owned()));
        check("<a>".repeat(1_000), XmlError::TooMany("elements inside one another"));
        check(format!("<x>{}</x>", "<y/>".repeat(ELEMENTS_MAX)), XmlError::TooMany("elements"));
        let attributes: String = (0..1_000).map(|n| format!(" a{n}=\"\"")).collect();
        check(format!("<x{attributes}/>"), XmlError::TooMany("attributes"));
        check(format!("<{}/>", "x".repeat(1_000)), XmlError::TooMany("letters in a name"));
        check("<x><y></y>".to_owned(), XmlError::CutOff);
        check(String::new(), XmlError::CutOff);
        let declarations: String = (0..1_000).map(|n| format!(" xmlns:a{n}=\"urn:{n}\"")).collect();
        assert!(matches!(Element::parse(format!("<x{declarations}/>").as_bytes()), Err(XmlError::Malformed(_))));
        assert!(matches!(Element::parse(b"<x></y>"), Err(XmlError::Malformed(_))));
    }

    #[test]
    fn an_element_that_goes_back_means_the_same() {
        let text = r#"<d:Id xmlns:d="urn:d&amp;e" xmlns:w="urn:w" w:must="1" plain="&lt;">7 &amp; 8<d:More/></d:Id>"#;
        let element = Element::parse(text.as_bytes()).expect("well-formed");
        let mut written = String::new();
        element.write(&mut written, "");
        assert_eq!(Element::parse(written.as_bytes()), Ok(element), "{written}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = Element::parse(&bytes);
        }

        #[test]
        fn anything_between_tags_is_read_or_refused(text in "(<[/!?]?[a-c:]{0,3}( [a-b:]{1,3}=\"[&;#a-c0-9]{0,4}\")?/?>|[&;a-c#0-9\\]\\[]{0,4}){0,40}") {
            let _ = Element::parse(format!("<x>{text}</x>").as_bytes());
        }

        #[test]
        fn a_text_is_the_same_after_escaping(text in "\\PC{0,64}") {
            let root = Element::parse(format!("<x a=\"{0}\">{0}</x>", escaped(&text)).as_bytes()).expect("well-formed");
            prop_assert_eq!(root.text(), text.trim());
            prop_assert_eq!(root.attribute("a"), Some(text.trim()));
        }
    }
}
