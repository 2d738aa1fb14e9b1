//! Pages that were rendered within the last second, so that a hundred open pages cost little more than one.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use lru::LruCache;
use ring::digest::{Context, SHA256};

use crate::net::clock::Moment;

/// How long a rendered page is used again. Pages ask every two seconds.
const FRESH: Duration = Duration::from_secs(1);
/// The most pages that are kept.
const KEPT: NonZeroUsize = NonZeroUsize::new(32).unwrap();
/// The largest page that is kept, in bytes.
const LARGEST: usize = 1024 * 1024;
/// Attributes of elements whose text follows from the time alone. They are the last ones of their elements.
const TICKING: [&str; 3] = [" data-relative>", " data-countdown>", " data-made>"];

/// What a page depends on besides the gateway's state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// As it was sent.
    pub(super) query: String,
    /// What links to error codes begin with.
    pub(super) help_base: String,
    /// A page with single requests is not for everybody who may see the others.
    pub(super) sees_requests: bool,
}

/// A page.
#[derive(Debug, Clone)]
pub(super) struct Rendered {
    pub(super) status: StatusCode,
    pub(super) html: Bytes,
    /// The weak entity tag, with its quotes. Pages have the same one if they differ only in texts that the script counts on by
    /// itself, such as "3 min ago".
    pub(super) tag: String,
}

impl Rendered {
    pub(super) fn of(status: StatusCode, html: String) -> Self {
        let tag = tag(&html);
        Self { status, html: html.into(), tag }
    }
}

/// The pages that are kept. Their number and their sizes are bounded.
#[derive(Debug)]
pub(crate) struct RenderedPages(Mutex<LruCache<Key, (Moment, Rendered)>>);

impl Default for RenderedPages {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl RenderedPages {
    /// The page, if it was rendered within the last second.
    pub(super) fn get(&self, key: &Key, now: Moment) -> Option<Rendered> {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, rendered) = pages.get(key)?;
        (!at.after(FRESH).has_come(now)).then(|| rendered.clone())
    }

    /// Forgets all: what they show has just been changed.
    pub(in crate::admin) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Keeps a page that was rendered now, unless it is very large.
    pub(super) fn keep(&self, key: Key, rendered: Rendered, now: Moment) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Others would stay until as many new ones came, which may be never.
        while pages.peek_lru().is_some_and(|(_, (at, _))| at.after(FRESH).has_come(now)) {
            pages.pop_lru();
        }
        if rendered.html.len() + key.query.len() <= LARGEST {
            pages.put(key, (now, rendered));
        }
    }
}

fn tag(html: &str) -> String {
    let mut digest = Context::new(&SHA256);
    let mut rest = html;
    while let Some(start) = next_ticking(rest) {
        let (before, ticking) = rest.split_at(start);
        digest.update(before.as_bytes());
        rest = ticking.find('<').map_or("", |end| ticking.get(end..).unwrap_or_default());
    }
    digest.update(rest.as_bytes());
    let digest = digest.finish();
    let half = digest.as_ref().iter().take(16);
    format!("W/\"{}\"", half.map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Where the text of the next ticking element begins.
fn next_ticking(html: &str) -> Option<usize> {
    let data = memchr::memmem::find_iter(html.as_bytes(), " data-");
    data.filter_map(|at| {
        let rest = html.get(at..)?;
        TICKING.iter().find(|attribute| rest.starts_with(**attribute)).map(|attribute| at + attribute.len())
    })
    .next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock::Clock;

    #[test]
    fn texts_that_tick_do_not_change_the_tag() {
        let page = |ago: &str, requests: &str| {
            tag(&format!("<p data-x>a <time datetime=\"t\" data-relative>{ago}</time> b {requests}</p>"))
        };
        assert_eq!(page("3 s ago", "5"), page("4 s ago", "5"));
        assert_ne!(page("3 s ago", "5"), page("3 s ago", "6"));
        assert_ne!(tag("<p data-x>1</p>"), tag("<p data-x>2</p>"));
        assert_ne!(
            tag("<time datetime=\"1\" data-countdown>1</time>"),
            tag("<time datetime=\"2\" data-countdown>1</time>")
        );
        assert!(tag("<time data-made>unclosed").starts_with("W/\""));
    }

    #[test]
    fn a_page_is_kept_for_a_second_and_never_many() {
        let clock = Clock::adjustable();
        let pages = RenderedPages::default();
        let key =
            |query: &str| Key { query: query.to_owned(), help_base: String::new(), sees_requests: true };
        let page = || Rendered::of(StatusCode::OK, "a".to_owned());
        let now = clock.now();
        pages.keep(key("a"), page(), now);
        assert!(pages.get(&key("a"), now).is_some());
        assert!(pages.get(&key("b"), now).is_none());
        let later = Moment { mono: now.mono + FRESH, wall: now.wall + FRESH };
        assert!(pages.get(&key("a"), later).is_none());
        for number in 0..100 {
            pages.keep(key(&number.to_string()), page(), later);
        }
        assert_eq!(pages.0.lock().unwrap().len(), KEPT.get());
        pages.keep(key("large"), Rendered::of(StatusCode::OK, "a".repeat(LARGEST)), later);
        assert!(pages.get(&key("large"), later).is_none());
    }
}
