//! What tells one series of requests from another. Labels are bounded by the configuration.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use http::{Method, StatusCode};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "other"];

/// The origin of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum AnsweredBy {
    /// Box.
    Box,
    /// The gateway itself.
    Gateway,
}

impl AnsweredBy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Box => "box",
            Self::Gateway => "gateway",
        }
    }
}

/// Names and their numbers. A name keeps its number as long as the process runs, so that counters continue when a reload
/// changes the order of what is configured.
#[derive(Debug, Default)]
struct Names(Mutex<Vec<Arc<str>>>);

impl Names {
    fn number(&self, name: &str) -> Option<u16> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.iter().position(|known| **known == *name);
        let number = u16::try_from(known.unwrap_or(names.len())).ok()?;
        if known.is_none() {
            names.push(name.into());
        }
        Some(number)
    }

    fn known(&self, name: &str) -> Option<u16> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().position(|known| **known == *name).and_then(|index| u16::try_from(index).ok())
    }

    fn name(&self, number: u16) -> Arc<str> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(usize::from(number)).cloned().unwrap_or_default()
    }
}

/// The names of apps, of all configurations so far.
#[derive(Debug, Default)]
pub(crate) struct AppLabels(Names);

/// The number of an app's name in [`AppLabels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct AppLabel(u16);

impl AppLabels {
    /// The number of this name; `None` beyond 65,536 names, whose requests are counted without an app.
    pub(crate) fn label(&self, name: &str) -> Option<AppLabel> {
        self.0.number(name).map(AppLabel)
    }

    /// The number of this name, if any configuration so far has it.
    pub(crate) fn known(&self, name: &str) -> Option<AppLabel> {
        self.0.known(name).map(AppLabel)
    }

    /// The name of this number.
    pub(crate) fn name(&self, label: AppLabel) -> Arc<str> {
        self.0.name(label.0)
    }
}

impl AppLabel {
    pub(super) fn of(number: u16) -> Self {
        Self(number)
    }

    pub(super) fn number(self) -> u16 {
        self.0
    }
}

/// The configured hosts of Box, of all configurations so far.
#[derive(Debug, Default)]
pub(crate) struct HostLabels(Names);

/// The number of a host in [`HostLabels`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HostLabel(u16);

impl HostLabels {
    /// The number of this authority; `None` beyond 65,536, which are counted with the hosts that are not configured.
    pub(crate) fn label(&self, authority: &str) -> Option<HostLabel> {
        self.0.number(authority).map(HostLabel)
    }
}

impl HostLabel {
    pub(super) fn of(number: u16) -> Self {
        Self(number)
    }

    pub(super) fn number(self) -> u16 {
        self.0
    }
}

/// The number of a class of operations, in the order that the caller of this module gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClassLabel(pub(crate) u8);

/// What tells one series of requests from another. Only some of it are labels of each metric; a scrape adds up over the
/// rest, so that a request is counted in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels {
    /// `None` before one was chosen.
    pub(crate) app: Option<AppLabel>,
    /// `None` of what is no operation of Box, or was refused before that was known.
    pub(crate) class: Option<ClassLabel>,
    method: u8,
    pub(crate) status: u16,
    pub(crate) answered_by: AnsweredBy,
}

/// As one number: each request is hashed once, and several small writes take the hasher longer.
impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let app = self.app.map_or(0, |AppLabel(number)| u64::from(number) + 1);
        let class = self.class.map_or(0, |ClassLabel(number)| u64::from(number) + 1);
        let rest = [u64::from(self.method), self.answered_by as u64, u64::from(self.status)];
        let [method, answered_by, status] = rest;
        state.write_u64(app << 40 | class << 28 | method << 20 | answered_by << 16 | status);
    }
}

impl Labels {
    /// Labels of a request that was answered so; status 499 stands for a caller that left before.
    pub(crate) fn new(
        app: Option<AppLabel>,
        class: Option<ClassLabel>,
        method: &Method,
        status: u16,
        answered_by: AnsweredBy,
    ) -> Self {
        let known = METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1);
        Self { app, class, method: known as u8, status, answered_by }
    }

    /// The same labels without the class.
    pub(super) fn of_any_class(self) -> Self {
        Self { class: None, ..self }
    }

    /// A known method, or `other`.
    pub(crate) fn method(self) -> &'static str {
        METHODS.get(usize::from(self.method)).copied().unwrap_or("other")
    }
}

/// The status for a caller that disconnected before a response (nginx's number).
pub(crate) const CALLER_LEFT: u16 = 499;

/// The status in the labels.
pub(crate) fn status(status: Option<StatusCode>) -> u16 {
    status.map_or(CALLER_LEFT, |status| status.as_u16())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_label() {
        let labels = AppLabels::default();
        let (web, jobs) = (labels.label("web").unwrap(), labels.label("jobs").unwrap());
        assert_ne!(web, jobs);
        assert_eq!((labels.label("web"), &*labels.name(jobs)), (Some(web), "jobs"));
        assert_eq!((labels.known("jobs"), labels.known("other")), (Some(jobs), None));
    }

    #[test]
    fn unknown_methods_share_a_label() {
        let method = Method::from_bytes(b"BREW").unwrap();
        assert_eq!(Labels::new(None, None, &method, 400, AnsweredBy::Gateway).method, 8);
    }
}
