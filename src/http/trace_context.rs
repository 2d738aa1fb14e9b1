//! W3C Trace Context: the fields `traceparent` and `tracestate`, which say to which trace a request belongs.
//!
//! Source: W3C Trace Context, §3.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::http::headers::find;

/// Which trace, and which span of it is the parent.
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What the systems on the way add for themselves.
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The flag of a trace that is recorded (§3.2.2.5.1).
pub(crate) const SAMPLED: u8 = 0x01;
/// The flag of a trace id whose right half is random (level 2, §3.2.2.5.2). It is passed on as it came.
const RANDOM: u8 = 0x02;
/// Of a longer `tracestate`, nothing is recorded: systems must pass on 512 characters and may drop more (§3.3.1.5).
const LONGEST_STATE: usize = 512;

/// A well-formed `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// Not zero.
    pub(crate) trace_id: u128,
    /// The span that sent the request; not zero.
    pub(crate) parent_id: u64,
    /// Those of level 2 that are known; others mean nothing yet.
    pub(crate) flags: u8,
}

impl TraceContext {
    /// That of a request; `None` without a well-formed one, or with more than one: then the caller has no trace.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        find(headers, &TRACEPARENT)?;
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        Self::parse(value.as_bytes())
    }

    fn parse(value: &[u8]) -> Option<Self> {
        // A later version may have more fields behind these (§4.3).
        let (known, later) = value.split_at_checked(55)?;
        let text = std::str::from_utf8(known).ok()?;
        let mut fields = text.split('-');
        let (version, trace, parent, flags) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let version = hex(version, 2)?;
        let fits = match version {
            0 => later.is_empty(),
            0xff => false,
            _ => later.is_empty() || later.starts_with(b"-"),
        };
        let trace_id = hex(trace, 32).filter(|id| *id != 0)?;
        let parent_id = u64::try_from(hex(parent, 16)?).ok().filter(|id| *id != 0)?;
        let flags = u8::try_from(hex(flags, 2)?).ok()? & (SAMPLED | RANDOM);
        fits.then_some(Self { trace_id, parent_id, flags })
    }

    pub(crate) fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The value of `traceparent` for a request whose parent is `parent_id`.
    pub(crate) fn value(self) -> HeaderValue {
        let Self { trace_id, parent_id, flags } = self;
        let text = format!("00-{trace_id:032x}-{parent_id:016x}-{flags:02x}");
        HeaderValue::try_from(text).expect("hexadecimal digits and dashes are a header value")
    }
}

/// The trace id of a well-formed `traceparent`, as text.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<String> {
    TraceContext::of(headers).map(|context| trace_id_text(context.trace_id))
}

/// A trace id as it is written.
pub(crate) fn trace_id_text(id: u128) -> String {
    format!("{id:032x}")
}

/// The value of `tracestate`, whose fields are one list; empty if there is none that can be recorded.
pub(crate) fn trace_state(headers: &HeaderMap) -> String {
    let mut state = String::new();
    for value in headers.get_all(TRACESTATE) {
        let Ok(value) = value.to_str() else { return String::new() };
        if !state.is_empty() {
            state.push(',');
        }
        state.push_str(value);
        if state.len() > LONGEST_STATE {
            return String::new();
        }
    }
    state
}

/// A number of exactly so many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let fits = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    u128::from_str_radix(text, 16).ok().filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(values: &[&str]) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        }
        TraceContext::of(&headers)
    }

    #[test]
    fn a_well_formed_field_is_read_and_written_alike() {
        let context = of(&[GOOD]).unwrap();
        assert_eq!(context.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((context.parent_id, context.flags), (0x00f0_67aa_0ba9_02b7, 1));
        assert_eq!(context.value(), GOOD);
        assert!(context.is_sampled());
        // Of the flags, those that are known.
        let other = of(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe"]).unwrap();
        assert_eq!((other.flags, other.is_sampled()), (2, false));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-bring",
        ] {
            assert_eq!(of(&[later]), of(&[GOOD]), "{later}");
        }
    }

    #[test]
    fn any_other_field_is_none() {
        for bad in [
            "",
            "garbage",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7x-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&[GOOD, GOOD]), None, "two fields are no field");
    }

    #[test]
    fn the_state_is_one_list_of_bounded_length() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(TRACESTATE, HeaderValue::from_str(value).unwrap());
            }
            trace_state(&headers)
        };
        assert_eq!(of(&["a=1", "b=2,c=3"]), "a=1,b=2,c=3");
        assert_eq!(of(&[]), "");
        assert_eq!(of(&[&"x".repeat(LONGEST_STATE)]).len(), LONGEST_STATE);
        assert_eq!(of(&[&"x".repeat(LONGEST_STATE + 1)]), "");
    }
}
