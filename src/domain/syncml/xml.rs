//! A bounded reader of a device's XML: no DTD, no entities but the five of XML, no unlimited size or depth.

use quick_xml::{Reader, XmlVersion, events::Event};

use crate::domain::counted::size;

/// Largest body read, in bytes. Windows caps its own messages at half a megabyte.
pub const SYNCML_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Deepest nesting read. SyncML's own deepest path has eight elements.
pub const SYNCML_DEPTH_MAX: usize = 32;

/// Why a body is no SyncML that is read here. No variant holds a part of the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncMlError {
    /// More than [`SYNCML_BYTES_MAX`].
    #[error(
        "the SyncML body is longer than {}, the most that is read",
        size(SYNCML_BYTES_MAX)
    )]
    TooLarge,
    /// More than [`SYNCML_DEPTH_MAX`] elements inside one another.
    #[error("the SyncML body nests more than {SYNCML_DEPTH_MAX} elements")]
    TooDeep,
    /// The binary form.
    #[error("the SyncML body is WBXML, only XML is read")]
    Wbxml,
    /// Bytes that are not UTF-8.
    #[error("the SyncML body is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Offset of the first offending byte.
        at: usize,
    },
    /// A document type, which may define entities.
    #[error("the SyncML body has a document type declaration, which is refused")]
    Dtd,
    /// A reference to an entity that is not one of XML's five, or to a character XML does not have.
    #[error("the SyncML body refers to an unknown entity before byte {at}")]
    Entity {
        /// Offset after the reference.
        at: u64,
    },
    /// Not well-formed.
    #[error("the SyncML body is not well-formed XML at byte {at}")]
    Malformed {
        /// Offset of the fault.
        at: u64,
    },
    /// Well-formed, but its root is not `SyncML`.
    #[error("the XML is not SyncML: its root element is not named SyncML")]
    NotSyncMl,
    /// Results for several providers, and nobody said whose count.
    #[error(
        "the message speaks of more than one DMClient provider: say with provider_id which one counts"
    )]
    Ambiguous,
}

/// What a reader of elements sees. Names are without prefix: devices and servers bind SyncML's namespaces in many ways.
pub(super) trait Visitor {
    /// An element begins.
    fn start(&mut self, name: &str);
    /// Text of the innermost open element; it may come in pieces.
    fn text(&mut self, text: &str);
    /// The innermost open element ends.
    fn end(&mut self);
}

/// Walks through `body`, which must be one `SyncML` element.
pub(super) fn walk(body: &[u8], visitor: &mut impl Visitor) -> Result<(), SyncMlError> {
    let mut reader = Reader::from_str(text_of(body)?);
    reader.config_mut().expand_empty_elements = true;
    let mut depth = 0_usize;
    let mut ended = false;
    loop {
        let malformed = |at| SyncMlError::Malformed { at };
        let event = reader
            .read_event()
            .map_err(|_| malformed(reader.error_position()))?;
        let at = reader.buffer_position();
        match event {
            Event::Start(element) => {
                let name = element.local_name();
                let name: &str = name.as_ref();
                if ended {
                    return Err(malformed(at));
                }
                if depth == 0 && name != "SyncML" {
                    return Err(SyncMlError::NotSyncMl);
                }
                if depth == SYNCML_DEPTH_MAX {
                    return Err(SyncMlError::TooDeep);
                }
                depth += 1;
                visitor.start(name);
            }
            Event::End(_) => {
                depth -= 1;
                ended = depth == 0;
                visitor.end();
            }
            Event::Text(text) => visitor.text(&text.xml_content(XmlVersion::Explicit1_0)),
            // Devices are told not to expect CDATA; what they send of it is text all the same.
            Event::CData(text) => visitor.text(&text.xml_content(XmlVersion::Explicit1_0)),
            Event::GeneralRef(reference) => {
                let mut buffer = [0; 4];
                visitor.text(resolve(&reference, &mut buffer).ok_or(SyncMlError::Entity { at })?);
            }
            Event::DocType(_) => return Err(SyncMlError::Dtd),
            Event::Eof if ended => return Ok(()),
            Event::Eof if depth == 0 => return Err(SyncMlError::NotSyncMl),
            Event::Eof => return Err(malformed(at)),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn text_of(body: &[u8]) -> Result<&str, SyncMlError> {
    if body.len() > SYNCML_BYTES_MAX {
        return Err(SyncMlError::TooLarge);
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // WBXML begins with its version, 1.0 to 1.3, where XML has a visible character.
    if matches!(body.first(), Some(0..=3)) {
        return Err(SyncMlError::Wbxml);
    }
    std::str::from_utf8(body).map_err(|error| SyncMlError::NotUtf8 {
        at: error.valid_up_to(),
    })
}

fn resolve<'b>(
    reference: &quick_xml::events::BytesRef<'_>,
    buffer: &'b mut [u8; 4],
) -> Option<&'b str> {
    if let Some(text) = quick_xml::escape::resolve_xml_entity(reference) {
        return Some(text);
    }
    let c = reference.resolve_char_ref().ok().flatten()?;
    let legal = !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    legal.then(|| &*c.encode_utf8(buffer))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps all text.
    struct Text(String);

    impl Visitor for Text {
        fn start(&mut self, _name: &str) {}
        fn text(&mut self, text: &str) {
            self.0.push_str(text);
        }
        fn end(&mut self) {}
    }

    fn read(body: impl AsRef<[u8]>) -> Result<String, SyncMlError> {
        let mut text = Text(String::new());
        walk(body.as_ref(), &mut text).map(|()| text.0)
    }

    #[test]
    fn the_five_entities_and_characters_are_text() {
        let body = "<SyncML>&lt;&gt;&amp;&quot;&apos;&#65;&#x42;&#x1F600;<![CDATA[&c;]]></SyncML>";
        assert_eq!(read(body).unwrap(), "<>&\"'AB\u{1f600}&c;");
    }

    #[test]
    fn a_document_type_is_refused_before_it_defines_anything() {
        let bomb = "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>\
                    <SyncML><SyncBody>&b;</SyncBody></SyncML>";
        let outside = "<!DOCTYPE SyncML SYSTEM \"file:///etc/passwd\"><SyncML/>";
        assert_eq!(read(bomb), Err(SyncMlError::Dtd));
        assert_eq!(read(outside), Err(SyncMlError::Dtd));
    }

    #[test]
    fn other_entities_and_characters_are_refused() {
        for reference in [
            "&b;",
            "&nbsp;",
            "&AMP;",
            "&#0;",
            "&#x1;",
            "&#xD800;",
            "&#x110000;",
            "&#;",
        ] {
            let result = read(format!("<SyncML>{reference}</SyncML>"));
            assert!(
                matches!(result, Err(SyncMlError::Entity { .. })),
                "{reference}: {result:?}"
            );
        }
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let ten_megabytes = 10 * 1024 * 1024;
        let large = format!("<SyncML>{}</SyncML>", "x".repeat(ten_megabytes));
        let nested = |depth| "<SyncML>".repeat(depth) + &"</SyncML>".repeat(depth);
        assert_eq!(read(large), Err(SyncMlError::TooLarge));
        let said = SyncMlError::TooLarge.to_string();
        assert!(said.contains("longer than 2 MiB (2097152 bytes)"), "{said}");
        assert_eq!(read(nested(SYNCML_DEPTH_MAX)), Ok(String::new()));
        assert_eq!(
            read(nested(SYNCML_DEPTH_MAX + 1)),
            Err(SyncMlError::TooDeep)
        );
    }

    #[test]
    fn another_root_or_none_is_not_syncml() {
        for body in [
            "",
            " ",
            "<html/>",
            "hello",
            "{}",
            "<!-- <SyncML/> -->",
            "<syncml/>",
        ] {
            assert_eq!(read(body), Err(SyncMlError::NotSyncMl), "{body}");
        }
    }

    #[test]
    fn broken_xml_is_refused_with_its_place() {
        for body in [
            "<SyncML>",
            "<SyncML",
            "<SyncML></SyncMl>",
            "<SyncML/></SyncML>",
            "<SyncML/><SyncML/>",
            "<SyncML>&amp</SyncML>",
            "<SyncML><![CDATA[</SyncML>",
        ] {
            let result = read(body);
            assert!(
                matches!(result, Err(SyncMlError::Malformed { .. })),
                "{body}: {result:?}"
            );
        }
    }

    #[test]
    fn other_encodings_are_named() {
        assert_eq!(read(b"\x03\x00\x00\x6a"), Err(SyncMlError::Wbxml));
        assert_eq!(
            read(b"<SyncML>\xff</SyncML>"),
            Err(SyncMlError::NotUtf8 { at: 8 })
        );
        assert_eq!(read(b"\xff\xfe<\0S\0"), Err(SyncMlError::NotUtf8 { at: 0 }));
        assert_eq!(read(b"\xef\xbb\xbf<SyncML>x</SyncML>"), Ok("x".to_owned()));
    }
}
