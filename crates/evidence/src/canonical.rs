//! The one encoding of JSON in a package: that of RFC 8785, for values without fractions.
//!
//! Members are sorted by name, there is no space between anything, texts escape what they have to and nothing else. Numbers are
//! whole and less than 2⁵³, which every reader has exactly.

use serde::Serialize;
use serde_json::Value;

/// The largest number (RFC 8785 §3.2.2.3, RFC 8259 §6).
pub const NUMBER_MAX: u64 = (1 << 53) - 1;

/// A value has no encoding here.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    /// It does not serialise.
    #[error("it is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A number is too large, negative beyond the bound, or has a fraction.
    #[error("the number {0} is not a whole one below 2^53")]
    Number(serde_json::Number),
    /// It is nested too deeply.
    #[error("it is nested more than {DEPTH_MAX} deep")]
    Depth,
}

/// A package nests five deep.
const DEPTH_MAX: usize = 16;

/// The encoding of this value.
///
/// # Errors
/// See [`NotCanonical`].
pub fn encode(value: &impl Serialize) -> Result<Vec<u8>, NotCanonical> {
    let mut out = Vec::new();
    write(&serde_json::to_value(value)?, DEPTH_MAX, &mut out)?;
    Ok(out)
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), NotCanonical> {
    let deeper = depth.checked_sub(1).ok_or(NotCanonical::Depth)?;
    match value {
        Value::Object(members) => {
            // ASCII names: bytes sort as UTF-16 does.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_bytes());
            out.push(b'{');
            for (place, (name, value)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name)?;
                out.push(b':');
                write(value, deeper, out)?;
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            out.push(b'[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write(value, deeper, out)?;
            }
            out.push(b']');
        }
        Value::Number(number) => {
            let whole = number.as_i64().filter(|n| n.unsigned_abs() <= NUMBER_MAX);
            let whole = whole.ok_or_else(|| NotCanonical::Number(number.clone()))?;
            out.extend(whole.to_string().as_bytes());
        }
        Value::Null | Value::Bool(_) | Value::String(_) => serde_json::to_writer(&mut *out, value)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_and_nothing_is_between_them() {
        let value = json!({"b": [1, -2, true, null], "a": {"z": "é\"\\\n\u{1}", "": ""}});
        let text = String::from_utf8(encode(&value).unwrap()).unwrap();
        assert_eq!(text, "{\"a\":{\"\":\"\",\"z\":\"é\\\"\\\\\\n\\u0001\"},\"b\":[1,-2,true,null]}");
        assert_eq!(encode(&serde_json::from_str::<Value>(&text).unwrap()).unwrap(), text.as_bytes());
    }

    #[test]
    fn numbers_that_a_reader_could_take_for_others_are_refused() {
        for bad in [json!(0.5), json!(1_u64 << 53), json!(u64::MAX), json!(-(1_i64 << 53))] {
            assert!(matches!(encode(&bad), Err(NotCanonical::Number(_))), "{bad}");
        }
        let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
        assert!(matches!(encode(&deep), Err(NotCanonical::Depth)));
    }
}
