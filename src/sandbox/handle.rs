//! What the holder of a sandbox can ask and tell it, from any thread.

use std::time::Duration;

use super::{
    Sandbox,
    api::events,
    control::faults::{Fault, Hold, Thumbnail, TokenAnswer},
    http::{host::Role, lock::lock, recorder::Seen},
    model::{content::Content, events::Kind},
};

/// Where it is and who may use it.
impl Sandbox {
    /// Scheme and authority of the API host: always where it really is, whatever [`Names`](super::Names).
    pub fn api_url(&self) -> String {
        self.world.urls.api.clone()
    }

    /// Scheme and authority of the upload host.
    pub fn upload_url(&self) -> String {
        self.world.urls.upload.clone()
    }

    /// Scheme and authority of the download host.
    pub fn download_url(&self) -> String {
        self.world.urls.download.clone()
    }

    /// The proxy for CONNECT that leads from Box's names to here, and nowhere else.
    pub fn proxy_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy_port)
    }

    /// The token endpoint.
    pub fn token_url(&self) -> String {
        format!("{}/oauth2/token", self.world.urls.api)
    }

    /// The certificate of the authority that clients must trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The app's client id.
    pub fn client_id(&self) -> &str {
        &self.world.options.client_id
    }

    /// The app's secret.
    pub fn client_secret(&self) -> &str {
        &self.world.options.client_secret
    }

    /// The enterprise.
    pub fn enterprise_id(&self) -> &str {
        &self.world.options.enterprise_id
    }

    /// The user whom the app can be.
    pub fn user_id(&self) -> &str {
        &self.world.options.user_id
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
        let who = self.world.users.service_account();
        let mut store = self.world.store();
        let file = store.create_file(parent, name, who, content, sha1);
        let id = file.expect("the caller chose a free name in a folder that exists").id.to_string();
        if let Ok(file) = store.file(&id) {
            events::record_as(who, &self.world, Kind::Upload, &store, file);
        }
        id
    }

    /// Adds a folder of the service account's and gives its id.
    ///
    /// # Panics
    /// Where the parent does not exist or the name is bad or taken.
    pub fn add_folder(&self, parent: &str, name: &str) -> String {
        let who = self.world.users.service_account();
        let mut store = self.world.store();
        let folder = store.create_folder(parent, name, who);
        let id = folder.expect("the caller chose a free name in a folder that exists").id.to_string();
        if let Ok(folder) = store.folder(&id) {
            events::record_as(who, &self.world, Kind::Create, &store, folder);
        }
        id
    }
}

/// What it has seen. The token endpoint is counted apart from all else.
impl Sandbox {
    /// How many requests the token endpoint got.
    pub fn token_requests(&self) -> usize {
        self.world.ledger.token_requests.get()
    }

    /// How many other requests the three hosts got.
    pub fn calls(&self) -> usize {
        self.world.ledger.calls.get()
    }

    /// The requests behind [`Self::calls`], oldest first; the last [`Options::remembered`](super::Options).
    pub fn seen(&self) -> Vec<Seen> {
        self.world.ledger.requests.all()
    }

    /// The last of [`Self::seen`].
    pub fn last_seen(&self) -> Option<Seen> {
        self.world.ledger.requests.last()
    }

    /// The requests to the token endpoint and for revocation, oldest first.
    pub fn token_seen(&self) -> Vec<Seen> {
        self.world.ledger.token_calls.all()
    }

    /// Forgets all requests; the counters go on.
    pub fn clear_seen(&self) {
        self.world.ledger.requests.clear();
        self.world.ledger.token_calls.clear();
    }

    /// Resolves once there have been so many [`Self::calls`].
    pub async fn wait_for_calls(&self, count: usize) {
        self.world.ledger.calls.at_least(count).await;
    }

    /// Resolves once there have been so many [`Self::token_requests`].
    pub async fn wait_for_token_requests(&self, count: usize) {
        self.world.ledger.token_requests.at_least(count).await;
    }

    /// How many calls are being answered.
    pub fn requests_in_flight(&self) -> usize {
        self.world.ledger.in_flight.get()
    }

    /// Resolves once exactly so many calls are being answered.
    pub async fn wait_for_in_flight(&self, count: usize) {
        self.world.ledger.in_flight.exactly(count).await;
    }

    /// How many calls ended before their answer was given whole: the caller went away.
    pub fn cancelled(&self) -> usize {
        self.world.ledger.cancelled.get()
    }

    /// Resolves once so many calls were [`Self::cancelled`].
    pub async fn wait_for_cancelled(&self, count: usize) {
        self.world.ledger.cancelled.at_least(count).await;
    }

    /// The targets that [`Self::proxy_url`] was asked for, allowed or not, oldest first.
    pub fn tunnelled(&self) -> Vec<String> {
        lock(&self.world.tunnelled).clone()
    }

    /// How many connections a host has accepted.
    pub fn connections(&self, role: Role) -> usize {
        self.world.ledger.connections.of(role).get()
    }
}

/// What shall go wrong in it. A prefix is one of path and query as received, on any host.
impl Sandbox {
    /// Token requests are taken and counted, but not answered while the hold lives.
    pub fn hold_token_replies(&self) -> Hold {
        self.world.control.hold_tokens()
    }

    /// Requests with this prefix are taken and counted, but their bodies are not read and they are not
    /// answered while the hold lives.
    pub fn hold_replies(&self, path_prefix: &str) -> Hold {
        self.world.control.hold(path_prefix)
    }

    /// No token issued so far is good any longer.
    pub fn expire_tokens(&self) {
        self.world.tokens().expire_all();
    }

    /// Requests with this prefix get 401 whatever their token.
    pub fn always_unauthorized(&self, path_prefix: &str) {
        self.world.control.always_unauthorized(path_prefix);
    }

    /// The next token requests are answered so, in this order, after what earlier scripts have left.
    pub fn token_script(&self, answers: Vec<TokenAnswer>) {
        self.world.control.token_script(answers);
    }

    /// All token requests that no script covers are answered so; `None` for as usual.
    pub fn token_always(&self, answer: Option<TokenAnswer>) {
        self.world.control.token_always(answer);
    }

    /// How long tokens live that are issued from now on.
    pub fn set_token_lifetime(&self, lifetime: Duration) {
        self.world.tokens().set_lifetime(lifetime);
    }

    /// The next requests with this prefix fail so, one fault each, in this order. Of several scripts that a
    /// request fits, the oldest that is not used up counts.
    pub fn script(&self, path_prefix: &str, faults: Vec<Fault>) {
        self.world.control.script(path_prefix, faults);
    }

    /// The next so many commits of upload sessions are answered 202 with `Retry-After: 1`: not ready yet.
    pub fn hold_commits(&self, count: usize) {
        self.world.control.commits_held.set(count);
    }

    /// The next so many `GET /files/ID/content` are answered 202 with `Retry-After: 1`: not ready yet.
    pub fn downloads_pending(&self, count: usize) {
        self.world.control.downloads_pending.set(count);
    }

    /// `GET /files/ID/content` leads to this URL, whatever it is; `None` for a good pre-signed one.
    pub fn redirect_downloads_to(&self, url: Option<String>) {
        self.world.control.set_download_target(url);
    }

    /// Pre-signed URLs lead through so many further 302s before they give the content. Every other `Location`
    /// is relative.
    pub fn download_hops(&self, count: usize) {
        self.world.control.set_hops(count);
    }

    /// How far thumbnails are.
    pub fn thumbnails(&self, thumbnail: Thumbnail) {
        self.world.control.set_thumbnail(thumbnail);
    }

    /// Forgets scripts, [`Self::always_unauthorized`], and all that was said of commits, downloads and thumbnails;
    /// holds stay.
    pub fn clear_faults(&self) {
        self.world.control.clear();
    }
}
