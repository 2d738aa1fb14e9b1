//! Parameters of a query, as HTML forms and URLs write them (`application/x-www-form-urlencoded`, WHATWG URL §5.1).

use percent_encoding::percent_decode_str;

/// Names and values, decoded, in their order. What is not UTF-8 is replaced by U+FFFD.
pub(crate) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

/// The message about a parameter with a value that is not allowed.
pub(crate) fn wrong(name: &str, value: &str, allowed: &str) -> String {
    format!("The query parameter {name} has the value {:?}; allowed: {allowed}.", shortened(value))
}

/// The message about a parameter that does not exist.
pub(crate) fn unknown(name: &str, allowed: &str) -> String {
    format!("The query parameter {:?} is not known here; allowed: {allowed}.", shortened(name))
}

/// The message about a parameter that may not be repeated.
pub(crate) fn twice(name: &str) -> String {
    format!("The query parameter {name} is there twice; allowed: once.")
}

/// At most 60 characters of it.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::parameters;

    #[test]
    fn names_and_values_are_decoded() {
        for (query, want) in [
            ("", vec![]),
            ("&&", vec![]),
            ("month=2026-11&by=app,day", vec![("month", "2026-11"), ("by", "app,day")]),
            ("by=app%2Cday&b%79=a+b%20c", vec![("by", "app,day"), ("by", "a b c")]),
            ("by&=x&a=b=c", vec![("by", ""), ("", "x"), ("a", "b=c")]),
            ("a=%zz%ff", vec![("a", "%zz\u{fffd}")]),
        ] {
            let found: Vec<(String, String)> = parameters(query).collect();
            let found: Vec<(&str, &str)> =
                found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(found, want, "{query}");
        }
    }
}
