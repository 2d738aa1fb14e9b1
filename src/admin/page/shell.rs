//! What is around a view: title, header with the state and the navigation, footer, and what the script needs.

use maud::{DOCTYPE, Markup, html};

use super::asset;
use super::figures::clock_time;
use super::{VIEWS, View};
use crate::admin::Overview;
use crate::admin::readiness::Readiness;
use std::sync::atomic::Ordering;

/// The keys of the page, and what they do.
fn keys() -> [(String, &'static str); 5] {
    [
        ("r".to_owned(), "refresh now"),
        ("p".to_owned(), "pause, or go on"),
        (format!("1 … {}", VIEWS.len()), "go to a view"),
        ("?".to_owned(), "this list"),
        ("Esc".to_owned(), "close this list"),
    ]
}

/// The address of a view.
pub(super) fn address(view: &View) -> String {
    if VIEWS.first().is_some_and(|first| first.name == view.name) {
        "/".to_owned()
    } else {
        format!("/?view={}", view.name)
    }
}

/// Whether the gateway is ready: its words, the sign before them in the title, and the class of its colour.
fn state(overview: &Overview) -> (&'static str, &'static str, &'static str) {
    if overview.process.draining.load(Ordering::Relaxed) {
        ("stopping", "○ ", "warn")
    } else if Readiness::of(overview).is_ready() {
        ("ready", "", "good")
    } else {
        ("not ready", "● ", "bad")
    }
}

/// The whole page. `view`: the one that is shown; `None`: it does not exist.
pub(super) fn document(overview: &Overview, view: Option<&View>, content: Markup) -> String {
    let (state, sign, class) = state(overview);
    let of_view = match view {
        Some(view) if Some(view.name) != VIEWS.first().map(|first| first.name) => {
            format!("{} – ", view.title)
        }
        Some(_) => String::new(),
        None => "Not found – ".to_owned(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (sign) (state) " – " (of_view) "boxgate" }
                link rel="icon" type="image/svg+xml" href=(asset::address("/page.svg"));
                link rel="stylesheet" href=(asset::address("/page.css"));
                script src=(asset::address("/page.js")) defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header #head {
                    a.brand href="/" {
                        img src=(asset::address("/page.svg")) alt="" width="20" height="20";
                        "boxgate"
                    }
                    span.version { (env!("CARGO_PKG_VERSION")) }
                    strong #state.pill.(class) { (state) }
                    nav #views aria-label="Views" {
                        @for one in VIEWS {
                            a href=(address(one)) aria-current=[view.filter(|view| view.name == one.name).map(|_| "page")] {
                                (one.title)
                            }
                        }
                    }
                    div.live {
                        p #updated {
                            "Updated "
                            (clock_time(overview.process.clock.wall()))
                        }
                        a #anew.scripted href="" hidden { "Reload the page" }
                        button #refresh.scripted type="button" title="Refresh now (r)" { "Refresh" }
                        button #pause.scripted type="button" aria-pressed="false" title="Stop refreshing every 2 s (p)" { "Pause" }
                    }
                }
                main #main tabindex="-1" { (content) }
                footer {
                    p {
                        "All times are in UTC. As data: "
                        a href="/status.json" { "status" } ", " a href="/requests.json" { "requests" } ", " a href="/history.json" { "history" } ", "
                        a href="/usage.json" { "usage" } ", " a href="/metrics" { "metrics" } "."
                    }
                    p.scripted {
                        kbd { "r" } " refresh  " kbd { "p" } " pause  " kbd { "1" } "…" kbd { (VIEWS.len()) } " views  "
                        button #help type="button" { kbd { "?" } " all keys" }
                    }
                }
                p #announcer.unseen role="status" {}
                div #tip hidden {}
                dialog #keys aria-labelledby="keys-title" {
                    h2 #keys-title { "Keys" }
                    dl {
                        @for (key, what) in keys() {
                            div { dt { kbd { (key) } } dd { (what) } }
                        }
                    }
                    form method="dialog" { button autofocus { "Close" } }
                }
            }
        }
    };
    page.into_string()
}
