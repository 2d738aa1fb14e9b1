//! The methods of a running sandbox, usable from any thread.

use std::time::Duration;

use super::{
    Sandbox,
    api::events,
    control::{
        faults::{Fault, Thumbnail, TokenAnswer},
        holds::Hold,
    },
    http::{host::Role, lock::lock, recorder::Seen},
    model::{content::Content, events::EventType},
};

/// Addresses and credentials.
impl Sandbox {
    /// Scheme and authority of the API host: always its own port, whatever [`Names`](super::Names) says.
    pub fn api_url(&self) -> String {
        self.state.urls.api.clone()
    }

    /// Scheme and authority of the upload host.
    pub fn upload_url(&self) -> String {
        self.state.urls.upload.clone()
    }

    /// Scheme and authority of the download host.
    pub fn download_url(&self) -> String {
        self.state.urls.download.clone()
    }

    /// The CONNECT proxy that connects Box's host names to this sandbox, and to nothing else.
    pub fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy_port)
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.state.urls.api)
    }

    /// The CA certificate that clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The app's client id.
    pub fn client_id(&self) -> &str {
        &self.state.options.client_id
    }

    /// The app's secret.
    pub fn client_secret(&self) -> &str {
        &self.state.options.client_secret
    }

    /// The id of the enterprise for whose service account the app gets tokens.
    pub fn enterprise_id(&self) -> &str {
        &self.state.options.enterprise_id
    }

    /// The id of the user for whom the app gets tokens.
    pub fn user_id(&self) -> &str {
        &self.state.options.user_id
    }
}

/// Adding content.
impl Sandbox {
    /// Adds a file owned by the service account and returns its id.
    ///
    /// # Panics
    /// If the folder does not exist, or the name is invalid or taken.
    pub fn add_file(&self, parent: &str, name: &str, content: Content) -> String {
        let sha1 = content.sha1();
        let user_id = self.state.users.service_account();
        let mut store = self.state.store();
        let file = store.create_file(parent, name, user_id, content, sha1);
        let id = file.expect("the caller chose a free name in a folder that exists").id.to_string();
        if let Ok(file) = store.file(&id) {
            events::record_as(user_id, &self.state, EventType::Upload, &store, file);
        }
        id
    }

    /// Adds a folder owned by the service account and returns its id.
    ///
    /// # Panics
    /// If the parent does not exist, or the name is invalid or taken.
    pub fn add_folder(&self, parent: &str, name: &str) -> String {
        let user_id = self.state.users.service_account();
        let mut store = self.state.store();
        let folder = store.create_folder(parent, name, user_id);
        let id = folder.expect("the caller chose a free name in a folder that exists").id.to_string();
        if let Ok(folder) = store.folder(&id) {
            events::record_as(user_id, &self.state, EventType::Create, &store, folder);
        }
        id
    }
}

/// What has arrived. Requests to the token endpoint are counted separately.
impl Sandbox {
    /// How many requests the token endpoint has received.
    pub fn token_requests(&self) -> usize {
        self.state.recorder.token_requests.get()
    }

    /// How many other requests the three hosts have received.
    pub fn calls(&self) -> usize {
        self.state.recorder.calls.get()
    }

    /// The requests behind [`Self::calls`], oldest first; the last [`Options::remembered`](super::Options).
    pub fn seen(&self) -> Vec<Seen> {
        self.state.recorder.requests.all()
    }

    /// The last of [`Self::seen`].
    pub fn last_seen(&self) -> Option<Seen> {
        self.state.recorder.requests.last()
    }

    /// The requests to the token endpoint and for revocation, oldest first.
    pub fn token_seen(&self) -> Vec<Seen> {
        self.state.recorder.token_calls.all()
    }

    /// Forgets all requests; the counters are not reset.
    pub fn clear_seen(&self) {
        self.state.recorder.requests.clear();
        self.state.recorder.token_calls.clear();
    }

    /// Resolves once [`Self::calls`] has reached this number.
    pub async fn wait_for_calls(&self, count: usize) {
        self.state.recorder.calls.at_least(count).await;
    }

    /// Resolves once [`Self::token_requests`] has reached this number.
    pub async fn wait_for_token_requests(&self, count: usize) {
        self.state.recorder.token_requests.at_least(count).await;
    }

    /// How many calls are being answered.
    pub fn requests_in_flight(&self) -> usize {
        self.state.recorder.in_flight.get()
    }

    /// Resolves once exactly this many calls are being answered.
    pub async fn wait_for_in_flight(&self, count: usize) {
        self.state.recorder.in_flight.exactly(count).await;
    }

    /// How many calls ended before their response was complete, since the caller left.
    pub fn cancelled(&self) -> usize {
        self.state.recorder.cancelled.get()
    }

    /// Resolves once [`Self::cancelled`] has reached this number.
    pub async fn wait_for_cancelled(&self, count: usize) {
        self.state.recorder.cancelled.at_least(count).await;
    }

    /// The CONNECT targets requested from [`Self::proxy_url`], allowed or not, oldest first.
    pub fn tunnelled(&self) -> Vec<String> {
        lock(&self.state.tunnelled).clone()
    }

    /// How many connections a host has accepted.
    pub fn connections(&self, role: Role) -> usize {
        self.state.recorder.connections.of(role).get()
    }
}

/// Injecting faults. A prefix is compared with path and query as received, on any host.
impl Sandbox {
    /// Accepts and counts token requests, but answers none until the hold is dropped.
    pub fn hold_token_replies(&self) -> Hold {
        self.state.control.hold_tokens()
    }

    /// Accepts and counts requests with this prefix, but neither reads their bodies nor answers them until the hold is
    /// dropped.
    pub fn hold_replies(&self, path_prefix: &str) -> Hold {
        self.state.control.hold(path_prefix)
    }

    /// Revokes all tokens issued so far.
    pub fn expire_tokens(&self) {
        self.state.tokens().expire_all();
    }

    /// Answers requests with this prefix with 401, whatever their token.
    pub fn always_unauthorized(&self, path_prefix: &str) {
        self.state.control.always_unauthorized(path_prefix);
    }

    /// Answers the next token requests with these, in this order, after those of earlier calls.
    pub fn token_script(&self, answers: Vec<TokenAnswer>) {
        self.state.control.token_script(answers);
    }

    /// Answers all other token requests with this; `None`: as usual.
    pub fn token_always(&self, answer: Option<TokenAnswer>) {
        self.state.control.token_always(answer);
    }

    /// Answers the next token exchanges with these, in this order, after those of earlier calls. Other token requests
    /// are answered as ever; [`Self::token_script`] and [`Self::token_always`] count for exchanges too, after this.
    pub fn exchange_script(&self, answers: Vec<TokenAnswer>) {
        self.state.control.exchange_script(answers);
    }

    /// Answers all other token exchanges with this; `None`: as usual.
    pub fn exchange_always(&self, answer: Option<TokenAnswer>) {
        self.state.control.exchange_always(answer);
    }

    /// Tokens are given for these client secrets alone from now on, as while one follows another.
    pub fn accept_secrets(&self, secrets: &[&str]) {
        self.state.accept_secrets(secrets.iter().map(|secret| (*secret).to_owned()).collect());
    }

    /// Sets the lifetime of tokens issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.state.tokens().set_lifetime(lifetime);
    }

    /// Makes the next requests with this prefix fail, one fault each, in this order. If several calls match a request,
    /// the oldest one with faults left applies.
    pub fn script(&self, path_prefix: &str, faults: Vec<Fault>) {
        self.state.control.script(path_prefix, faults);
    }

    /// Answers the next commits of upload sessions, this many, with 202 and `Retry-After: 1` (not ready yet).
    pub fn hold_commits(&self, count: usize) {
        self.state.control.commits_held.set(count);
    }

    /// Answers the next `GET /files/ID/content`, this many, with 202 and `Retry-After: 1` (not ready yet).
    pub fn downloads_pending(&self, count: usize) {
        self.state.control.downloads_pending.set(count);
    }

    /// Makes `GET /files/ID/content` redirect to this URL; `None`: to a valid pre-signed one.
    pub fn redirect_downloads_to(&self, url: Option<String>) {
        self.state.control.set_download_target(url);
    }

    /// Makes pre-signed URLs redirect this many times before they give the content. Every other `Location` is relative.
    pub fn download_hops(&self, count: usize) {
        self.state.control.set_hops(count);
    }

    /// Sets the state of thumbnails.
    pub fn thumbnails(&self, thumbnail: Thumbnail) {
        self.state.control.set_thumbnail(thumbnail);
    }

    /// Removes scripted faults, [`Self::always_unauthorized`], and settings of commits, downloads and thumbnails; holds
    /// stay.
    pub fn clear_faults(&self) {
        self.state.control.clear();
    }
}
