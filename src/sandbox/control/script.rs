//! The faults that a test has requested, and the requests to which they apply.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    failures::{Call, Failure, Failures},
    faults::{Fault, Thumbnail, TokenAnswer},
    holds::{Gates, Hold},
};
use crate::sandbox::http::lock::lock;

/// This many more times.
#[derive(Default)]
pub(crate) struct Countdown(AtomicUsize);

impl Countdown {
    pub(crate) fn set(&self, count: usize) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// Whether this is one of them.
    pub(crate) fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// Every list is processed in order.
#[derive(Default)]
pub(crate) struct Control {
    failures: Failures,
    gates: Gates,
    token_gates: Gates,
    scripts: Mutex<Vec<(String, VecDeque<Fault>)>>,
    unauthorized: Mutex<Vec<String>>,
    token_script: Mutex<VecDeque<TokenAnswer>>,
    token_always: Mutex<Option<TokenAnswer>>,
    exchange_script: Mutex<VecDeque<TokenAnswer>>,
    exchange_always: Mutex<Option<TokenAnswer>>,
    pub(crate) commits_held: Countdown,
    pub(crate) downloads_pending: Countdown,
    thumbnail: Mutex<Thumbnail>,
    download_target: Mutex<Option<String>>,
    hops: AtomicUsize,
}

impl Control {
    pub(crate) fn new(failures: &[Failure]) -> Self {
        Self { failures: Failures::new(failures), ..Self::default() }
    }

    /// What the sandbox takes for each answer, where it was asked to be slow.
    pub(crate) async fn dawdle(&self) {
        self.failures.dawdle().await;
    }

    pub(crate) fn hold(&self, prefix: &str) -> Hold {
        self.gates.close(prefix)
    }

    pub(crate) fn hold_tokens(&self) -> Hold {
        self.token_gates.close("")
    }

    pub(crate) async fn wait_until_released(&self, target: &str) {
        self.gates.wait(target).await;
    }

    pub(crate) async fn wait_until_tokens_released(&self) {
        self.token_gates.wait("").await;
    }

    pub(crate) fn script(&self, prefix: &str, faults: Vec<Fault>) {
        lock(&self.scripts).push((prefix.to_owned(), faults.into()));
    }

    pub(crate) fn next_fault(&self, target: &str, call: Call) -> Option<Fault> {
        self.scripted(target).or_else(|| self.failures.next(call))
    }

    fn scripted(&self, target: &str) -> Option<Fault> {
        let mut scripts = lock(&self.scripts);
        scripts.retain(|(_, faults)| !faults.is_empty());
        let (_, faults) = scripts.iter_mut().find(|(prefix, _)| target.starts_with(prefix.as_str()))?;
        faults.pop_front()
    }

    pub(crate) fn always_unauthorized(&self, prefix: &str) {
        lock(&self.unauthorized).push(prefix.to_owned());
    }

    pub(crate) fn is_unauthorized(&self, target: &str) -> bool {
        lock(&self.unauthorized).iter().any(|prefix| target.starts_with(prefix.as_str()))
    }

    pub(crate) fn token_script(&self, answers: Vec<TokenAnswer>) {
        lock(&self.token_script).extend(answers);
    }

    pub(crate) fn token_always(&self, answer: Option<TokenAnswer>) {
        *lock(&self.token_always) = answer;
    }

    pub(crate) fn exchange_script(&self, answers: Vec<TokenAnswer>) {
        lock(&self.exchange_script).extend(answers);
    }

    pub(crate) fn exchange_always(&self, answer: Option<TokenAnswer>) {
        *lock(&self.exchange_always) = answer;
    }

    /// What was asked for exchanges comes before what was asked for all token requests.
    pub(crate) fn next_token_answer(&self, is_exchange: bool) -> TokenAnswer {
        if is_exchange {
            let scripted = lock(&self.exchange_script).pop_front();
            if let Some(answer) = scripted.or_else(|| lock(&self.exchange_always).clone()) {
                return answer;
            }
        }
        if let Some(answer) = lock(&self.token_script).pop_front() {
            return answer;
        }
        lock(&self.token_always).clone().unwrap_or_else(|| self.failures.token_answer(is_exchange))
    }

    pub(crate) fn thumbnail(&self) -> Thumbnail {
        *lock(&self.thumbnail)
    }

    pub(crate) fn set_thumbnail(&self, thumbnail: Thumbnail) {
        *lock(&self.thumbnail) = thumbnail;
    }

    pub(crate) fn download_target(&self) -> Option<String> {
        lock(&self.download_target).clone()
    }

    pub(crate) fn set_download_target(&self, url: Option<String>) {
        *lock(&self.download_target) = url;
    }

    pub(crate) fn hops(&self) -> usize {
        self.hops.load(Ordering::Relaxed)
    }

    pub(crate) fn set_hops(&self, hops: usize) {
        self.hops.store(hops, Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        lock(&self.scripts).clear();
        lock(&self.unauthorized).clear();
        lock(&self.token_script).clear();
        self.token_always(None);
        lock(&self.exchange_script).clear();
        self.exchange_always(None);
        self.commits_held.set(0);
        self.downloads_pending.set(0);
        self.set_thumbnail(Thumbnail::Ready);
        self.set_download_target(None);
        self.set_hops(0);
    }
}
