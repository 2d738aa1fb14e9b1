//! The configuration itself: what it holds, and what it warns of.

use std::path::Path;

use super::findings::{About, Row};
use crate::config::{Config, Problems};

/// What a configuration that is well formed holds, and a row for each of its warnings.
pub(super) fn rows(name: &str, config: &Config) -> Vec<Row> {
    let about = about(name);
    let counts = [
        (config.identities.len(), "identity", "identities"),
        (config.apps.iter().len(), "app", "apps"),
        (config.limits.len(), "limit", "limits"),
        (config.budgets.len(), "budget", "budgets"),
        (config.warnings.len(), "warning", "warnings"),
    ];
    let counts = counts
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, more)| format!("{count} {}", if *count == 1 { one } else { more }));
    let mut rows = vec![about.ok(counts.collect::<Vec<_>>().join(", "))];
    rows.extend(config.warnings.iter().map(|warning| about.part(part(name, warning)).warning(warning, "")));
    rows
}

/// A row for each problem.
pub(super) fn problems(name: &str, problems: &Problems) -> Vec<Row> {
    let row = |problem: String| about(name).part(part(name, &problem)).failed(problem, "");
    problems.iter().map(|problem| row(problem.to_string())).collect()
}

fn about(name: &str) -> About {
    let file = Path::new(name).file_name().map(|file| file.to_string_lossy().into_owned());
    About::new("configuration", file.unwrap_or_else(|| name.to_owned()))
}

/// The line in the file of a warning or a problem, which begins with its place.
fn part(name: &str, text: &str) -> String {
    let line = text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')?.split(':').next());
    match line.filter(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(line) => format!("line {line}"),
        None => "setting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_is_named_by_its_line() {
        assert_eq!(part("a/proxy.toml", "a/proxy.toml:12:5: listen.tls: it does nothing"), "line 12");
        for text in ["--listen: no", "a/proxy.toml: listen: is missing", "a/proxy.toml"] {
            assert_eq!(part("a/proxy.toml", text), "setting", "{text}");
        }
    }
}
