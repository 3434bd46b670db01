//! Conditional and range requests (RFC 9110 §13, §14) on a representation whose length and strong entity tag are known.
//!
//! One range is served; several are answered with the whole, as §14.2 allows: no player of video asks for several.
//! There is no `Last-Modified`, so conditions on dates are false or ignored, as §13.1 says.

use std::ops::Range;

use axum::http::{HeaderMap, HeaderValue, Method, header};

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RangeAnswer {
    /// 200 with everything.
    Whole,
    /// 206 with these bytes: not empty, inside the length.
    Part(Range<u64>),
    /// 304: the client has it.
    NotModified,
    /// 412: the client wants another version than this.
    PreconditionFailed,
    /// 416: nothing asked for lies inside the length.
    NotSatisfiable,
}

/// Evaluates the request's conditions in the order of RFC 9110 §13.2.2.
pub(super) fn evaluate(method: &Method, headers: &HeaderMap, etag: &str, len: u64) -> RangeAnswer {
    let lists = |name| header_list(headers, name);
    if lists(header::IF_MATCH).is_some_and(|tags| !matches(&tags, etag, Comparison::Strong)) {
        return RangeAnswer::PreconditionFailed;
    }
    if lists(header::IF_NONE_MATCH).is_some_and(|tags| matches(&tags, etag, Comparison::Weak)) {
        return RangeAnswer::NotModified;
    }
    // Range handling is defined for GET alone (§14.2).
    let Some(range) = single(headers, header::RANGE).filter(|_| *method == Method::GET) else {
        return RangeAnswer::Whole;
    };
    if headers.contains_key(header::IF_RANGE) && single(headers, header::IF_RANGE) != Some(etag) {
        return RangeAnswer::Whole;
    }
    match parse(range) {
        None => RangeAnswer::Whole,
        Some(spec) => spec.within(len).map_or(RangeAnswer::NotSatisfiable, RangeAnswer::Part),
    }
}

/// Whether a request asks for bytes after the first: the continuation of a download or of a playback.
pub(super) fn continues(headers: &HeaderMap) -> bool {
    match single(headers, header::RANGE).and_then(parse) {
        None => false,
        Some(Spec::From { first, .. }) => first > 0,
        Some(Spec::Last(_)) => true,
    }
}

/// One range of bytes as asked (§14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spec {
    /// From `first`, to `last` included or to the end.
    From { first: u64, last: Option<u64> },
    /// The last so many bytes.
    Last(u64),
}

impl Spec {
    /// The bytes inside a representation of `len` bytes; `None` when there is none.
    fn within(self, len: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => first..last.map_or(len, |last| last.saturating_add(1).min(len)),
            Self::Last(count) => len.saturating_sub(count)..len,
        };
        (!range.is_empty()).then_some(range)
    }
}

/// `None` for what the server is to ignore: another unit, several ranges, bad syntax.
fn parse(value: &str) -> Option<Spec> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t'])).filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else {
        return None;
    };
    let (first, last) = spec.split_once('-')?;
    match (first, last) {
        ("", count) => Some(Spec::Last(number(count)?)),
        (first, "") => Some(Spec::From { first: number(first)?, last: None }),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(Spec::From { first, last: Some(last) })
        }
    }
}

/// Digits alone; a number beyond 64 bits lies beyond any end, which the largest one does too.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// The one value of a header; `None` when it is absent, repeated or not text.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.to_str().ok()).flatten()
}

fn header_list(headers: &HeaderMap, name: header::HeaderName) -> Option<Vec<&HeaderValue>> {
    headers.contains_key(&name).then(|| headers.get_all(name).iter().collect())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names this one (§8.8.3.2). Our tags hold no comma, so that a split by comma cannot cut
/// one that would have matched.
fn matches(lists: &[&HeaderValue], etag: &str, comparison: Comparison) -> bool {
    lists.iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).any(|tag| {
        let tag = tag.trim_matches([' ', '\t']);
        let opaque = match comparison {
            Comparison::Strong => tag,
            Comparison::Weak => tag.strip_prefix("W/").unwrap_or(tag),
        };
        tag == "*" || opaque == etag
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ETAG: &str = "\"tag\"";

    fn answer(headers: &[(header::HeaderName, &str)], len: u64) -> RangeAnswer {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect::<Vec<_>>();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        evaluate(&Method::GET, &map, ETAG, len)
    }

    #[test]
    fn one_range_is_served_and_bad_syntax_is_ignored() {
        let check =
            |range: &str, want: RangeAnswer| assert_eq!(answer(&[(header::RANGE, range)], 1000), want, "{range}");
        check("bytes=0-0", RangeAnswer::Part(0..1));
        check("bytes=0-", RangeAnswer::Part(0..1000));
        check("bytes=999-", RangeAnswer::Part(999..1000));
        check("bytes=10-19", RangeAnswer::Part(10..20));
        check("Bytes=10-19", RangeAnswer::Part(10..20));
        check("bytes= ,10-19 , ", RangeAnswer::Part(10..20));
        check("bytes=990-5000", RangeAnswer::Part(990..1000));
        check("bytes=-1", RangeAnswer::Part(999..1000));
        check("bytes=-5000", RangeAnswer::Part(0..1000));
        check("bytes=0-99999999999999999999999999", RangeAnswer::Part(0..1000));
        check("bytes=-99999999999999999999999999", RangeAnswer::Part(0..1000));
        check("bytes=1000-", RangeAnswer::NotSatisfiable);
        check("bytes=1000-2000", RangeAnswer::NotSatisfiable);
        check("bytes=-0", RangeAnswer::NotSatisfiable);
        check("bytes=99999999999999999999999999-", RangeAnswer::NotSatisfiable);
        let ignored = [
            "bytes=20-10",
            "bytes=0-1,5-6",
            "items=0-1",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1-2-3",
            "bytes=1.0-2",
            "bytes=٣-٤",
        ];
        for range in ignored {
            let Ok(_) = range.parse::<HeaderValue>() else { continue };
            check(range, RangeAnswer::Whole);
        }
    }

    #[test]
    fn an_empty_representation_has_no_part() {
        for range in ["bytes=0-", "bytes=0-0", "bytes=-1"] {
            assert_eq!(answer(&[(header::RANGE, range)], 0), RangeAnswer::NotSatisfiable, "{range}");
        }
    }

    #[test]
    fn conditions_come_before_the_range_and_in_their_order() {
        let part = (header::RANGE, "bytes=0-9");
        let check = |condition: &[(header::HeaderName, &str)], want: RangeAnswer| {
            let headers: Vec<_> = condition.iter().cloned().chain([part.clone()]).collect();
            assert_eq!(answer(&headers, 1000), want, "{condition:?}");
        };
        check(&[(header::IF_RANGE, ETAG)], RangeAnswer::Part(0..10));
        check(&[(header::IF_RANGE, "\"other\"")], RangeAnswer::Whole);
        check(&[(header::IF_RANGE, "W/\"tag\"")], RangeAnswer::Whole);
        check(&[(header::IF_RANGE, "Sat, 29 Oct 1994 19:43:31 GMT")], RangeAnswer::Whole);
        check(&[(header::IF_NONE_MATCH, ETAG)], RangeAnswer::NotModified);
        check(&[(header::IF_NONE_MATCH, "\"a\", W/\"tag\"")], RangeAnswer::NotModified);
        check(&[(header::IF_NONE_MATCH, "*")], RangeAnswer::NotModified);
        check(&[(header::IF_NONE_MATCH, "\"a\"")], RangeAnswer::Part(0..10));
        check(&[(header::IF_NONE_MATCH, "\"a\""), (header::IF_NONE_MATCH, ETAG)], RangeAnswer::NotModified);
        check(&[(header::IF_MATCH, ETAG)], RangeAnswer::Part(0..10));
        check(&[(header::IF_MATCH, "*")], RangeAnswer::Part(0..10));
        check(&[(header::IF_MATCH, "W/\"tag\"")], RangeAnswer::PreconditionFailed);
        check(&[(header::IF_MATCH, "\"a\""), (header::IF_NONE_MATCH, ETAG)], RangeAnswer::PreconditionFailed);
        check(&[(header::IF_MODIFIED_SINCE, "Sat, 29 Oct 1994 19:43:31 GMT")], RangeAnswer::Part(0..10));
        check(&[(header::RANGE, "bytes=5-6")], RangeAnswer::Whole);
    }

    #[test]
    fn head_has_no_ranges() {
        let headers = HeaderMap::from_iter([(header::RANGE, "bytes=5000-".parse().unwrap())]);
        assert_eq!(evaluate(&Method::HEAD, &headers, ETAG, 1000), RangeAnswer::Whole);
    }

    #[test]
    fn only_a_range_that_leaves_out_the_first_byte_continues() {
        let check = |range: &str, want: bool| {
            let headers = HeaderMap::from_iter([(header::RANGE, range.parse().unwrap())]);
            assert_eq!(continues(&headers), want, "{range}");
        };
        check("bytes=0-", false);
        check("bytes=0-1", false);
        check("bytes=1-", true);
        check("bytes=-10", true);
        check("nonsense", false);
        assert!(!continues(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn whatever_is_asked_a_part_lies_inside_and_is_not_empty(value in "(bytes=)?[0-9 ,=-]{0,40}", len in 0u64..=u64::MAX) {
            let Ok(value) = value.parse::<HeaderValue>() else { return Ok(()) };
            let headers = HeaderMap::from_iter([(header::RANGE, value)]);
            if let RangeAnswer::Part(part) = evaluate(&Method::GET, &headers, ETAG, len) {
                prop_assert!(part.start < part.end && part.end <= len);
            }
        }
    }
}
