//! The view Configuration: the one in use, without secrets; what came of the last reload; and the button to reload.

use jiff::Timestamp;
use maud::{Markup, html};

use super::Asked;
use super::figures::{ago, at};
use crate::admin::Overview;
use crate::admin::reloads::{LastReload, Outcome};
use crate::config::{Config, Frame};
use crate::telemetry::words::rfc_3339;

/// The most problems of a refused reload that are listed.
const PROBLEMS: usize = 20;

/// The content of the view. What the file says is shown to those who may see single requests: it names ids, files,
/// networks and rules.
pub(super) fn view(overview: &Overview, asked: &Asked) -> Markup {
    let now = rfc_3339(overview.process.clock.wall());
    let last = overview.reloads.last();
    let gateway = overview.gateway.load();
    let config = &gateway.config;
    let warnings = &config.warnings;
    html! {
        h1.unseen { "Configuration" }
        (reload(overview, last.as_ref(), asked.sees_requests, &now))
        @if !warnings.is_empty() {
            section #s-warnings aria-labelledby="t-warnings" {
                header { h2 #t-warnings { "Warnings" } p { "allowed, but not advised" } }
                ul.lines { @for warning in warnings { li.warn { (warning) } } }
            }
        }
        (certificates(overview, &now))
        @if asked.sees_requests { (written(config)) } @else {
            section { p { "What the file says is shown on the gateway's machine, or to whoever has " code { "[admin] key" } ": none is set." } }
        }
    }
}

/// The file, without comments and secrets.
fn written(config: &Config) -> Markup {
    html! {
        section #s-written aria-labelledby="t-written" {
            header {
                h2 #t-written { "In use" }
                p { "as written, without comments and secrets; keys that are left out have their defaults" }
                @if !config.written.text.is_empty() {
                    button.to.scripted #copy-written type="button" data-copy=(config.written.text) { "Copy" }
                }
            }
            @if !config.written.overrides.is_empty() {
                ul.lines { @for by in &config.written.overrides { li { (by) } } }
            }
            @if config.written.text.is_empty() {
                p.dim { "There is no configuration file." }
            } @else {
                div.scroll tabindex="0" role="group" aria-label="The configuration in use" { pre { code { (highlighted(&config.written.text)) } } }
            }
        }
    }
}

/// The file, since when it is in use, what came of the last reload, and the button.
fn reload(overview: &Overview, last: Option<&LastReload>, has_frames: bool, now: &str) -> Markup {
    let in_use_since = rfc_3339(overview.reloads.last_taken_over());
    let (taken_over, refused) = overview.reloads.counts();
    html! {
        section #s-reload aria-labelledby="t-reload" {
            header {
                h2 #t-reload { "Reload" }
                p { "reads the file, its secrets and certificates again; if anything is wrong, nothing changes" }
            }
            dl.facts {
                div {
                    dt { "File" }
                    dd {
                        @match &overview.file {
                            Some(file) => code { (file.display()) },
                            None => "none",
                        }
                    }
                }
                div { dt { "In use since" } dd { (at(&in_use_since, now)) " (" (ago(&in_use_since, now)) ")" } }
                div { dt { "Last reload" } dd { (outcome(last, now)) } }
                div { dt { "Since the start" } dd { (taken_over) " taken over, " (refused) " refused" } }
            }
            form #reload method="post" action="/reload" data-post data-doing="The configuration is read" {
                button { "Reload now" }
                " " span.dim { "or " code { "boxgate reload" } ", or SIGHUP" }
                div #reloaded role="status" data-keep {}
            }
            @if let Some(LastReload { outcome, frames, .. }) = last {
                (details(outcome, if has_frames { frames } else { &[] }))
            }
        }
    }
}

fn outcome(last: Option<&LastReload>, now: &str) -> Markup {
    let Some(LastReload { at: time, why, outcome, .. }) = last else {
        return html! { "none since the start" };
    };
    let time = rfc_3339(*time);
    html! {
        @match outcome {
            Outcome::TakenOver { .. } => span.mark.good { "taken over" },
            Outcome::Refused { problems } => {
                strong.mark.bad { "REFUSED" }
                ": " (problems.len()) @if problems.len() == 1 { " problem" } @else { " problems" }
                "; the configuration before stays in use"
            }
        }
        ", " (at(&time, now)) " (" (ago(&time, now)) "), by " (why)
    }
}

/// Each problem with its line of the file, or each note.
fn details(outcome: &Outcome, frames: &[Option<Frame>]) -> Markup {
    match outcome {
        Outcome::TakenOver { notes } => html! {
            @if !notes.is_empty() { ul.lines { @for note in notes { li.warn { (note) } } } }
        },
        Outcome::Refused { problems } => html! {
            ol.problems {
                @for (index, problem) in problems.iter().take(PROBLEMS).enumerate() {
                    li {
                        (problem)
                        @if let Some(Some(frame)) = frames.get(index) { (code_frame(frame)) }
                    }
                }
            }
            @if problems.len() > PROBLEMS { p { (problems.len() - PROBLEMS) " more problems: boxgate check shows all." } }
        },
    }
}

/// A line of the file, with the part that is wrong marked.
fn code_frame(frame: &Frame) -> Markup {
    let Frame { line, text, mark } = frame;
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    html! {
        pre.frame {
            span.dim { (line) " │ " } (part(0..mark.start)) mark { (part(mark.clone())) } (part(mark.end..text.len()))
        }
    }
}

/// When the certificates end that files hold; nothing without any.
fn certificates(overview: &Overview, now: &str) -> Markup {
    let certificates = overview.gateway.load().config.certificates();
    html! {
        @if !certificates.is_empty() {
            section #s-certificates aria-labelledby="t-certificates" {
                header { h2 #t-certificates { "Certificates" } }
                dl.facts {
                    @for (key, tls) in &certificates {
                        div { dt { code { (key) } } dd { "ends " (at(&end(tls.ends()), now)) } }
                    }
                }
            }
        }
    }
}

fn end(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// Headers and keys stand out.
fn highlighted(toml: &str) -> Markup {
    html! {
        @for line in toml.lines() {
            @match line.split_once(" = ") {
                _ if line.starts_with('[') => strong { (line) },
                Some((key, value)) => { span.key { (key) } " = " (value) }
                None => (line),
            }
            "\n"
        }
    }
}
