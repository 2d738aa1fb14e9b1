//! Everything built from one configuration; a reload replaces it as a whole.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::Authority;

use crate::access::admission::Admission;
use crate::config::Config;
use crate::limits::budget::spending::BudgetLedger;
use crate::limits::limiter::Limiter;
use crate::oauth::identity::{Downscope, IdentityId};
use crate::oauth::login_lookup::LoginLookup;
use crate::oauth::token_cache::{Renewal, Tokens};
use crate::proxy::forward_proxy::ForwardProxy;
use crate::routing::app::AppId;
use crate::telemetry::labels::{AppLabel, HostLabel};
use crate::telemetry::trace::tracer::Tracer;
use crate::upstream::pool::Upstream;

/// Shared by the workers; it changes only through atomics. A request keeps the gateway with which it began.
pub(crate) struct Gateway {
    /// The checked configuration.
    pub config: Config,
    /// The tokens of each identity, by its id.
    pub tokens: Vec<Arc<Tokens>>,
    /// The tasks that renew the tokens; they run as long as a request may need them.
    pub renewals: Vec<Arc<Renewal>>,
    /// The lookups of the logins in `as_user`, by app id. Apps with the same identity share them.
    pub logins: Vec<Vec<Arc<LoginLookup>>>,
    /// Metric labels, by app id.
    pub app_labels: Vec<Option<AppLabel>>,
    /// Metric labels of the configured hosts of Box.
    pub host_labels: Vec<(Authority, Option<HostLabel>)>,
    /// Counts of calls of Box's API, and the budgets.
    pub ledger: BudgetLedger,
    /// Limits, concurrency and pauses.
    pub limiter: Limiter,
    /// The forward proxy; `None`: CONNECT is refused.
    pub forward_proxy: Option<Arc<ForwardProxy>>,
    /// Traces requests; `None`: none is traced.
    pub tracer: Option<Arc<Tracer>>,
}

impl Gateway {
    /// The tokens of an identity.
    pub(crate) fn tokens(&self, identity: IdentityId) -> Option<&Arc<Tokens>> {
        self.tokens.get(identity.index())
    }

    /// The settings against which a caller's request is checked.
    pub(crate) fn admission(&self) -> Admission<'_> {
        self.config.admission()
    }

    /// An app's name.
    pub(crate) fn app_name(&self, app: AppId) -> Option<&str> {
        self.config.apps.iter().nth(app.index()).map(|app| app.name.as_str())
    }

    /// The label of an app in metrics.
    pub(crate) fn app_label(&self, app: AppId) -> Option<AppLabel> {
        self.app_labels.get(app.index()).copied().flatten()
    }

    /// The label of a host of Box; `None` of one that is not configured.
    pub(crate) fn host_label(&self, authority: &Authority) -> Option<HostLabel> {
        // Nearly always spelled the same, and the comparison without regard to case takes longer.
        let is_it = |known: &Authority| known.as_str() == authority.as_str() || known == authority;
        self.host_labels.iter().find(|(known, _)| is_it(known)).and_then(|(_, label)| *label)
    }

    /// An identity's name.
    pub(crate) fn identity_name(&self, identity: IdentityId) -> Option<&str> {
        self.config.identities.get(identity.index()).map(|identity| identity.name.as_str())
    }

    /// What an identity's tokens are narrowed to.
    pub(crate) fn downscope(&self, identity: IdentityId) -> Option<&Downscope> {
        self.config.identities.get(identity.index()).and_then(|identity| identity.downscope.as_ref())
    }
}

/// A worker's handle of the gateway, and its own connections to the Box of that configuration. It is cloned for each
/// request, so its reference count is local: workers on other cores do not contend for it.
#[derive(Clone)]
pub(crate) struct LocalGateway(Rc<Local>);

struct Local {
    gateway: Arc<Gateway>,
    upstream: Rc<Upstream>,
}

impl LocalGateway {
    /// A handle for one worker.
    pub(crate) fn new(gateway: Arc<Gateway>, upstream: Rc<Upstream>) -> Self {
        Self(Rc::new(Local { gateway, upstream }))
    }

    /// This worker's connections to Box.
    pub(crate) fn upstream(&self) -> &Rc<Upstream> {
        &self.0.upstream
    }
}

impl Deref for LocalGateway {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.0.gateway
    }
}
