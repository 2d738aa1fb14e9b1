//! `application/x-www-form-urlencoded`, as in bodies and queries.

/// Names and values in the order they came.
#[derive(Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
        Self(pairs.collect())
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a name comes more than once.
    pub(crate) fn has_repeated(&self) -> bool {
        let names = self.0.iter().map(|(name, _)| name);
        names
            .clone()
            .enumerate()
            .any(|(index, name)| names.clone().take(index).any(|earlier| earlier == name))
    }
}

/// Decodes percent-encoding; an invalid `%` stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', &[high, low, ..]) => hex(high).zip(hex(low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        match (escaped, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
                continue;
            }
            (None, b'+') => bytes.push(b' '),
            (None, other) => bytes.push(other),
        }
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_broken_ones_kept() {
        let form = Form::parse("a=1%202&b=x+y&c=%zz%4&a=later&%64");
        assert_eq!(form.get("a"), Some("1 2"));
        assert_eq!(form.get("b"), Some("x y"));
        assert_eq!(form.get("c"), Some("%zz%4"));
        assert_eq!(form.get("d"), Some(""));
        assert_eq!(form.get("e"), None);
        assert!(form.has_repeated() && !Form::parse("a=1&b=1").has_repeated());
    }
}
