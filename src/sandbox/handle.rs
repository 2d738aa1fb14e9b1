//! What the holder of a sandbox can ask and tell it, from any thread.

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

/// Where it is and who may use it.
impl Sandbox {
    /// Scheme and authority of the API host: always where it really is, whatever [`Names`](super::Names).
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

    /// The proxy for CONNECT that leads from Box's names to here, and nowhere else.
    pub fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy_port)
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.state.urls.api)
    }

    /// The certificate of the authority that clients must trust.
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

    /// The id of the enterprise whose service account the app can be.
    pub fn enterprise_id(&self) -> &str {
        &self.state.options.enterprise_id
    }

    /// The user whom the app can be.
    pub fn user_id(&self) -> &str {
        &self.state.options.user_id
    }
}

/// What is stored in it.
impl Sandbox {
    /// Adds a file of the service account's and gives its id.
    ///
    /// # Panics
    /// Where the folder does not exist or the name is bad or taken.
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

    /// Adds a folder of the service account's and gives its id.
    ///
    /// # Panics
    /// Where the parent does not exist or the name is bad or taken.
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

/// What it has seen. The token endpoint is counted apart from all else.
impl Sandbox {
    /// How many requests the token endpoint got.
    pub fn token_requests(&self) -> usize {
        self.state.recorder.token_requests.get()
    }

    /// How many other requests the three hosts got.
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

    /// Forgets all requests; the counters go on.
    pub fn clear_seen(&self) {
        self.state.recorder.requests.clear();
        self.state.recorder.token_calls.clear();
    }

    /// Resolves once there have been so many [`Self::calls`].
    pub async fn wait_for_calls(&self, count: usize) {
        self.state.recorder.calls.at_least(count).await;
    }

    /// Resolves once there have been so many [`Self::token_requests`].
    pub async fn wait_for_token_requests(&self, count: usize) {
        self.state.recorder.token_requests.at_least(count).await;
    }

    /// How many calls are being answered.
    pub fn requests_in_flight(&self) -> usize {
        self.state.recorder.in_flight.get()
    }

    /// Resolves once exactly so many calls are being answered.
    pub async fn wait_for_in_flight(&self, count: usize) {
        self.state.recorder.in_flight.exactly(count).await;
    }

    /// How many calls ended before their answer was given whole: the caller went away.
    pub fn cancelled(&self) -> usize {
        self.state.recorder.cancelled.get()
    }

    /// Resolves once so many calls were [`Self::cancelled`].
    pub async fn wait_for_cancelled(&self, count: usize) {
        self.state.recorder.cancelled.at_least(count).await;
    }

    /// The targets that [`Self::proxy_url`] was asked for, allowed or not, oldest first.
    pub fn tunnelled(&self) -> Vec<String> {
        lock(&self.state.tunnelled).clone()
    }

    /// How many connections a host has accepted.
    pub fn connections(&self, role: Role) -> usize {
        self.state.recorder.connections.of(role).get()
    }
}

/// What shall go wrong in it. A prefix is one of path and query as received, on any host.
impl Sandbox {
    /// Token requests are taken and counted, but not answered while the hold lives.
    pub fn hold_token_replies(&self) -> Hold {
        self.state.control.hold_tokens()
    }

    /// Requests with this prefix are taken and counted, but their bodies are not read and they are not
    /// answered while the hold lives.
    pub fn hold_replies(&self, path_prefix: &str) -> Hold {
        self.state.control.hold(path_prefix)
    }

    /// No token issued so far is good any longer.
    pub fn expire_tokens(&self) {
        self.state.tokens().expire_all();
    }

    /// Requests with this prefix get 401 whatever their token.
    pub fn always_unauthorized(&self, path_prefix: &str) {
        self.state.control.always_unauthorized(path_prefix);
    }

    /// The next token requests are answered so, in this order, after what earlier scripts have left.
    pub fn token_script(&self, answers: Vec<TokenAnswer>) {
        self.state.control.token_script(answers);
    }

    /// All token requests that no script covers are answered so; `None` for as usual.
    pub fn token_always(&self, answer: Option<TokenAnswer>) {
        self.state.control.token_always(answer);
    }

    /// Tokens are given for these client secrets alone from now on, as while one follows another.
    pub fn accept_secrets(&self, secrets: &[&str]) {
        self.state.accept_secrets(secrets.iter().map(|secret| (*secret).to_owned()).collect());
    }

    /// How long tokens live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.state.tokens().set_lifetime(lifetime);
    }

    /// The next requests with this prefix fail so, one fault each, in this order. Of several scripts that a
    /// request fits, the oldest that is not used up counts.
    pub fn script(&self, path_prefix: &str, faults: Vec<Fault>) {
        self.state.control.script(path_prefix, faults);
    }

    /// The next so many commits of upload sessions are answered 202 with `Retry-After: 1`: not ready yet.
    pub fn hold_commits(&self, count: usize) {
        self.state.control.commits_held.set(count);
    }

    /// The next so many `GET /files/ID/content` are answered 202 with `Retry-After: 1`: not ready yet.
    pub fn downloads_pending(&self, count: usize) {
        self.state.control.downloads_pending.set(count);
    }

    /// `GET /files/ID/content` leads to this URL, whatever it is; `None` for a good pre-signed one.
    pub fn redirect_downloads_to(&self, url: Option<String>) {
        self.state.control.set_download_target(url);
    }

    /// Pre-signed URLs lead through so many further 302s before they give the content. Every other `Location`
    /// is relative.
    pub fn download_hops(&self, count: usize) {
        self.state.control.set_hops(count);
    }

    /// How far thumbnails are.
    pub fn thumbnails(&self, thumbnail: Thumbnail) {
        self.state.control.set_thumbnail(thumbnail);
    }

    /// Forgets scripts, [`Self::always_unauthorized`], and all that was said of commits, downloads and thumbnails;
    /// holds stay.
    pub fn clear_faults(&self) {
        self.state.control.clear();
    }
}
