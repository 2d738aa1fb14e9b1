//! Comma-separated values (RFC 4180), safe to open in a spreadsheet.

/// A line with its end. Every field that begins like a formula gets an apostrophe in front, which spreadsheets take as
/// "this is text" (source: OWASP, CSV Injection). Fields with commas, quotes or line breaks are quoted.
pub(super) fn line<'f>(fields: impl IntoIterator<Item = &'f str>) -> String {
    let mut line = fields.into_iter().map(field).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

fn field(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if is_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn fields_are_quoted_where_needed_and_never_formulas() {
        for (fields, want) in [
            (vec!["2026-11", "intranet", "", "7"], "2026-11,intranet,,7\r\n"),
            (vec!["a,b", "say \"so\"", "two\nlines"], "\"a,b\",\"say \"\"so\"\"\",\"two\nlines\"\r\n"),
            (vec!["-1", "=1+1", "@x", "+1", "\tx"], "'-1,'=1+1,'@x,'+1,'\tx\r\n"),
            (vec!["=a,b", "a-b", "a=b"], "\"'=a,b\",a-b,a=b\r\n"),
        ] {
            assert_eq!(line(fields.iter().copied()), want);
        }
    }
}
