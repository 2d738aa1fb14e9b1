//! What the configuration decides about a request, from its head alone: before its body is read, before limits and
//! budgets are asked, and before Box is.
//!
//! [`super::handler`] carries the decision out. `boxgate explain` shows it: it calls this very function with a head that
//! it made, and is told what each stage found.

use std::sync::Arc;

use http::request::Parts;

use crate::access::admission::{self, Admitted};
use crate::access::browser::Page;
use crate::access::caller::Caller;
use crate::access::cors::{self, Reader};
use crate::config::Config;
use crate::http::error::Refusal;
use crate::http::origin::Claim;
use crate::limits::limiter;
use crate::net::client_address::ClientAddress;
use crate::oauth::login_lookup::LoginLookup;
use crate::proxy::front_page::FrontPage;
use crate::proxy::local_response::{OwnPage, ServedPage};
use crate::routing::app::{App, AppId, Apps, Way};
use crate::routing::app_key::ShownKey;
use crate::routing::as_user::Logins;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use crate::routing::operation_policy::OperationPolicy;
use crate::routing::route::{self, Access, Destination, Route};

/// Is told what each stage of a decision found, in their order. What a stage refuses is in the error of the decision.
pub(crate) trait Stages {
    /// The client behind trusted proxies is known.
    fn client(&mut self, _client: ClientAddress) {}

    /// The caller may use the listener; `page`: what its request reveals about a web page.
    fn admitted(&mut self, _admitted: &Admitted<'_>, _page: Page<'_>) {}

    /// A tunnel to this host and port is asked for.
    fn asks_for_tunnel(&mut self, _authority: &str) {}

    /// An app is about to be chosen by these properties of the request.
    fn choosing(&mut self, _apps: &Apps, _path: &str, _of: Way<'_>, _claim: Claim<'_>, _key: ShownKey<'_>) {}

    /// This app is chosen.
    fn chosen(&mut self, _id: AppId, _app: &App) {}

    /// No web page sent the request, or one that may call the app.
    fn page(&mut self, _reader: Reader) {}

    /// The host and path of Box are known. The path is not checked yet.
    fn routed(&mut self, _to: &Destination<'_>) {}

    /// The path can be read in one way only, and the rules are about to be asked.
    fn judging(&mut self, _rules: &OperationPolicy, _operation: Operation<'_>, _to: &Destination<'_>) {}

    /// The rules allow the operation, and `As-User` is about to be checked.
    fn allowed(&mut self, _app: &App, _head: &Parts, _to: &Destination<'_>) {}

    /// The app may act as this user, an id.
    fn acts_as(&mut self, _user: &str) {}
}

/// What becomes of a request.
#[expect(clippy::large_enum_variant, reason = "nearly every request has the large one, and it is not stored")]
pub(crate) enum Decision<'a> {
    /// The gateway answers it itself.
    Own(OwnAnswer<'a>),
    /// It goes to Box, unless a limit, a budget or its body keeps it from there.
    Box(ForBox<'a>),
}

/// A response that the gateway makes itself.
pub(crate) enum OwnAnswer<'a> {
    /// A page of an error code, or the CA.
    Page(ServedPage),
    /// The page at `/`.
    FrontPage(FrontPage),
    /// The answer to a preflight of a page that may call this app.
    Preflight(&'a App),
    /// A placeholder in place of a token.
    PlaceholderToken,
    /// The answer to a revocation, which does nothing.
    Revoked,
}

/// A request that may go to Box.
pub(crate) struct ForBox<'a> {
    pub admitted: Admitted<'a>,
    pub app: &'a App,
    pub to: Destination<'a>,
    /// The properties of the request on which limits depend.
    pub request: limiter::Request<'a>,
}

/// Decides a request other than CONNECT. `logins`: the lookups of the logins in `as_user`, by app id; `None` where Box is
/// not asked.
///
/// # Errors
/// The request is refused.
pub(crate) fn decide<'a>(
    config: &'a Config,
    logins: Option<&'a [Vec<Arc<LoginLookup>>]>,
    caller: &'a Caller,
    head: &'a Parts,
    stages: &mut impl Stages,
) -> Result<Decision<'a>, Refusal> {
    let admitted = admission::check(&config.admission(), caller, head)?; // may this caller use the listener?
    let page = Page::of(&head.method, &head.headers, admitted.secure, Some(admitted.host));
    stages.client(admitted.client);
    stages.admitted(&admitted, page);
    let path = head.uri.path();
    if admitted.named.is_none()
        && let Some(own) = OwnPage::at(path, &config.apps)
    {
        let served = own.check(&head.method, page, config.has_ca())?;
        return Ok(Decision::Own(OwnAnswer::Page(served)));
    }
    let key = if cors::is_preflight(head) { ShownKey::NotNeeded } else { ShownKey::of(&head.headers)? };
    let front_page = admitted.named.is_none().then(|| FrontPage::asked_for(head)).flatten();
    stages.choosing(&config.apps, path, admitted.way(), page.claim(&admitted), key);
    let chosen = config.apps.choose(path, admitted.way(), page.claim(&admitted), key); // which app is calling?
    if let (Err(Refusal::NoSuchApp), Some(front_page), false) = (&chosen, front_page, page.is_one()) {
        return Ok(Decision::Own(OwnAnswer::FrontPage(front_page)));
    }
    let (app_id, app, rest) = chosen?;
    let route = match admitted.named.as_deref() {
        None => route::find(&head.method, rest, &config.hosts), // which host and path of Box?
        Some(named) => route::find_at(&head.method, rest, named),
    };
    if let (Err(Refusal::NotFound), None) = (&route, &admitted.named) {
        config.apps.check_longer_paths(app, path, admitted.way(), page.claim(&admitted), key)?;
    }
    stages.chosen(app_id, app);
    stages.page(page.check(&head.headers, &app.origins, &admitted)?); // is it a web page, and one that may call?
    if cors::is_preflight(head) {
        return Ok(Decision::Own(OwnAnswer::Preflight(app)));
    }
    app.check_enabled()?;
    app.check_header(&head.headers)?;
    if let Some(front_page) = front_page
        && app.rules.check(Operation { method: &head.method, path: "/" }).is_ok()
    {
        return Ok(Decision::Own(OwnAnswer::FrontPage(front_page)));
    }
    let to = match route? {
        Route::Box(destination) => destination,
        Route::PlaceholderToken => return Ok(Decision::Own(OwnAnswer::PlaceholderToken)),
        Route::Revoke => return Ok(Decision::Own(OwnAnswer::Revoked)),
    };
    stages.routed(&to);
    to.check_path()?;
    let operation = Operation { method: &head.method, path: to.operation };
    stages.judging(&app.rules, operation, &to);
    app.rules.check(operation)?; // may this app do this?
    stages.allowed(app, head, &to);
    let logins = logins.map(|of| of.get(app_id.index()).map_or(&[][..], Vec::as_slice));
    let logins = logins.map_or(Logins::NotAsked, Logins::Asked);
    let as_user = app.as_user.check(&head.headers, logins)?; // as whom?
    // With a pre-signed URL, `As-User` has no effect.
    let as_user = as_user.filter(|_| to.access == Access::Token);
    if let Some(user) = as_user {
        stages.acts_as(user);
    }
    let class = Class::of(operation);
    let request = limiter::Request {
        operation,
        class,
        client: admitted.client,
        app: app_id,
        identity: app.identity,
        as_user,
        counted: to.counted,
    };
    Ok(Decision::Box(ForBox { admitted, app, to, request }))
}

#[cfg(test)]
mod tests;
