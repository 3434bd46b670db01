//! What a camera asks for before it answers: digest (RFC 7616, RFC 2617 §3) or basic (RFC 7617) authentication.

use http_auth::{ChallengeParser, PasswordClient};

/// The strongest challenge that is understood, of all that an answer holds: a digest before basic, and of several digests
/// the first, which is the one that the camera prefers (RFC 7616 §3.7).
pub fn strongest<'a>(headers: impl Iterator<Item = &'a str>) -> Option<PasswordClient> {
    let mut basic = None;
    for header in headers {
        let readable = ChallengeParser::new(header).all(|challenge| challenge.is_ok());
        let mended;
        let header = if readable {
            header
        } else {
            mended = quoted(header);
            &mended
        };
        for challenge in ChallengeParser::new(header).map_while(Result::ok) {
            match PasswordClient::try_from(&challenge) {
                Ok(digest @ PasswordClient::Digest(_)) => return Some(digest),
                Ok(other) => basic = basic.or(Some(other)),
                Err(_) => {}
            }
        }
    }
    basic
}

/// Whether the last answer was refused for the age of its nonce alone.
pub(super) fn is_stale(client: &PasswordClient) -> bool {
    matches!(client, PasswordClient::Digest(digest) if digest.stale())
}

/// One challenge with each value in quotes: some cameras leave them out where a value holds spaces, or write letters that
/// no header may hold.
fn quoted(header: &str) -> String {
    let (scheme, fields) = header.trim().split_once(char::is_whitespace).unwrap_or((header, ""));
    let mut parts: Vec<String> = Vec::new();
    for field in split_outside_quotes(fields) {
        let Some((name, value)) = field.split_once('=') else { continue };
        let name = name.trim().to_ascii_lowercase();
        let value: String =
            value.trim().trim_matches('"').chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        // These two are never quoted (RFC 7616 §3.3).
        let plain = matches!(name.as_str(), "stale" | "algorithm");
        parts.push(if plain { format!("{name}={value}") } else { format!("{name}=\"{value}\"") });
    }
    format!("{scheme} {}", parts.join(", "))
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut inside, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if inside => escaped = true,
            '"' => inside = !inside,
            ',' if !inside => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[&str], expect: &str) {
        let chosen = strongest(headers.iter().copied());
        let text = chosen.map(|client| match client {
            PasswordClient::Digest(d) => format!("{:?} {} {} {}", d.algorithm(), d.realm(), d.nonce(), d.stale()),
            PasswordClient::Basic(_) => "basic".to_owned(),
            _ => "other".to_owned(),
        });
        assert_eq!(text.unwrap_or_default(), expect, "{headers:?}");
    }

    #[test]
    fn of_several_challenges_the_first_digest_that_is_understood_is_answered() {
        let (sha, md5) = ("Digest realm=\"r\", nonce=\"s\", algorithm=SHA-256", "Digest realm=\"r\", nonce=\"m\"");
        check(&[sha, md5, "Basic realm=\"r\""], "Sha256 r s false");
        check(&["Basic realm=\"r\"", md5], "Md5 r m false");
        check(&["Digest realm=\"r\", nonce=\"x\", algorithm=ROT13", md5], "Md5 r m false");
        check(&["Basic realm=\"r\", Digest realm=\"r\", nonce=\"n\", stale=TRUE"], "Md5 r n true");
        check(&["Bearer x=\"y\"", "Basic realm=\"r\""], "basic");
        check(&["Bearer x=\"y\""], "");
        check(&[], "");
    }

    #[test]
    fn challenges_that_are_written_oddly_are_understood() {
        check(&[r#"Digest realm="Cam \"A\", hall", nonce="n""#], r#"Md5 Cam "A", hall n false"#);
        check(&["Digest realm=IP Camera(12345), nonce=0a1b==, stale=false"], "Md5 IP Camera(12345) 0a1b== false");
        check(&["digest  Realm=\"r\",Nonce=\"n\",algorithm=MD5"], "Md5 r n false");
        check(&["Basic realm=caméra 1"], "basic");
    }
}
