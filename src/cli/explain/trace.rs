//! What each stage of a decision finds, in words. The stages themselves are the gateway's; nothing is decided here.

use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use serde_json::Value;

use super::advice::{self, Subject};
use super::counts;
use super::explanation::{Detail, Explanation, Fact, State, Step, Verdict, shown};
use super::request::{self, Asked};
use super::target::Target;
use crate::access::admission::Admitted;
use crate::access::browser::{Page, Sign};
use crate::access::caller::{Caller, Shown};
use crate::access::cors::Reader;
use crate::config::{Config, UnreadSecret};
use crate::http::error::Refusal;
use crate::http::headers::AS_USER;
use crate::http::host::Host;
use crate::http::origin::Claim;
use crate::net::client_address::ClientAddress;
use crate::net::peer::Peer;
use crate::oauth::identity;
use crate::oauth::user::{is_id, is_login};
use crate::proxy::audit_line;
use crate::proxy::connect::{self, Asked as Tunnel};
use crate::proxy::decision::{self, Decision, ForBox, OwnAnswer, Stages};
use crate::proxy::local_response::ServedPage;
use crate::routing::app::{App, AppId, Apps, Mismatch, Way};
use crate::routing::app_key::ShownKey;
use crate::routing::operation::Operation;
use crate::routing::operation_class::Class;
use crate::routing::operation_group::Found;
use crate::routing::operation_policy::{Judgement, OperationPolicy, Rule};
use crate::routing::operation_template;
use crate::routing::route::{Access, Destination};

/// More apps that other paths lead to are counted, not listed.
const MOST_OTHER_PATHS: usize = 5;

const NONE_SERVES: &str = "none serves this request";

/// Decides the request as the gateway does, and says what each stage found.
pub(super) fn explained(config: &Config, asked: &Asked) -> Explanation {
    let mut trace = Trace::new(config, asked);
    trace.unread();
    let mut caller = Caller::outside(asked.peer);
    caller.shown = asked.certificate.clone().map(|names| Rc::new(Shown::with_names(names)));
    if let Some(connect) = &asked.connect {
        trace.reached = "tunnel";
        match connect::admit(config, &caller, connect, &mut trace) {
            Err(refusal) => return trace.refused(&refusal, connect),
            Ok(Tunnel::Other { authority }) => {
                let words = "tunnel of [forward_proxy] lists it: its bytes are copied and not read, if its address may be dialled";
                trace.step("tunnel", State::Ok, format!("{authority} is not Box's; {words}"));
                return trace.ended(Verdict::Passes(format!("a blind tunnel to {authority}")), asked);
            }
            Ok(Tunnel::Box(inside)) => {
                trace.step("tunnel", State::Ok, format!("CONNECT to {}, a host of Box", inside.authority));
                if asked.head.is_none() {
                    let verdict = Verdict::Passes(format!("a tunnel to {}", inside.authority));
                    return trace.ended(verdict, asked);
                }
                trace.app = None;
                (caller.peer.secure, caller.inside) = (true, Some(Arc::new(inside)));
            }
        }
    }
    let Some(head) = &asked.head else { return trace.ended(Verdict::Passes(String::new()), asked) };
    trace.reached = "listener";
    match decision::decide(config, None, &caller, head, &mut trace) {
        Err(refusal) => trace.refused(&refusal, head),
        Ok(Decision::Own(own)) => {
            let verdict = trace.answered(&own);
            trace.ended(verdict, asked)
        }
        Ok(Decision::Box(for_box)) => {
            let verdict = trace.passes(&for_box);
            trace.ended(verdict, asked)
        }
    }
}

/// The steps so far.
struct Trace<'c> {
    config: &'c Config,
    target: Target,
    peer: Peer,
    /// The stage that is under way.
    reached: &'static str,
    steps: Vec<Step>,
    facts: Vec<Fact>,
    app: Option<&'c App>,
    client: ClientAddress,
    sign: Option<Sign>,
    /// The apps that a condition other than path and host keeps from serving the request, and that come before the one
    /// that serves it, for the advice.
    misses: Vec<(String, Mismatch)>,
    operation: Option<String>,
}

impl<'c> Trace<'c> {
    fn new(config: &'c Config, asked: &Asked) -> Self {
        let peer = asked.peer;
        Self {
            config,
            target: Target::of(config, asked),
            peer,
            reached: "listener",
            steps: Vec::new(),
            facts: Vec::new(),
            app: None,
            client: peer.client,
            sign: None,
            misses: Vec::new(),
            operation: None,
        }
    }

    fn step(&mut self, name: &'static str, state: State, words: impl Into<String>) {
        self.steps.push(Step { name, state, words: words.into(), details: Vec::new() });
    }

    fn fact(&mut self, name: &'static str, value: impl Into<Value>) {
        self.facts.push((name, value.into()));
    }

    /// Names secrets that could not be read, which changes no decision.
    fn unread(&mut self) {
        let secrets = &self.config.unread_secrets;
        if secrets.is_empty() {
            return;
        }
        let detail = |secret: &UnreadSecret| Detail {
            what: secret.key.clone(),
            found: secret.why.clone(),
            decides: false,
        };
        let words = "not read; only a key that is shown would need them, and --app shows the right one";
        let details = secrets.iter().map(detail).collect();
        self.steps.push(Step { name: "secrets", state: State::Info, words: words.to_owned(), details });
    }

    /// The explanation of a request that a stage refuses.
    fn refused(mut self, refusal: &Refusal, head: &Parts) -> Explanation {
        let name = match refusal {
            Refusal::AppDisabled | Refusal::HeaderMissing(_) => "app",
            _ => self.reached,
        };
        let (status, code) = refusal.status_and_code();
        let message = refusal.message();
        match self.steps.last_mut().filter(|step| step.name == name) {
            Some(step) => {
                step.state = State::Refused;
                // An app with a shorter path would serve it, were it a path of Box below that.
                if step.words.is_empty() {
                    NONE_SERVES.clone_into(&mut step.words);
                    for detail in step.details.iter_mut().filter(|detail| detail.decides) {
                        "its path is shorter, and below it this is no path of Box"
                            .clone_into(&mut detail.found);
                        detail.decides = false;
                    }
                }
            }
            None => self.step(name, State::Refused, message.clone()),
        }
        let cause = match refusal {
            Refusal::SourceNotAllowed => Some(Mismatch::Source),
            Refusal::KeyMissing => Some(Mismatch::Key),
            Refusal::CertificateNotAllowed => Some(Mismatch::Certificate),
            Refusal::OriginNotAllowed => Some(Mismatch::Origin),
            _ => None,
        };
        let misses = self.misses.iter().find(|(_, mismatch)| Some(*mismatch) == cause);
        let misses = misses.or(self.misses.first());
        let subject = Subject {
            head,
            app: self.app.map(|app| app.name.as_str()),
            as_user: self.app.map(|app| &app.as_user),
            misses: misses.map(|(app, mismatch)| (app.as_str(), *mismatch)),
            operation: self.operation.as_deref(),
            peer: self.peer.source(),
            client: self.client,
            has_forward_proxy: self.config.forward_proxy.is_some(),
        };
        let (by, mut advice) = advice::of(refusal, &subject);
        // Otherwise it looks as if the path were wrong, although it is a condition of the app with that path.
        if let (Some(app), Some((missed, mismatch))) = (self.app, misses)
            && app.name != *missed
        {
            let what = match mismatch {
                Mismatch::Path => "path",
                Mismatch::Host => "hosts",
                Mismatch::Source => "sources",
                Mismatch::Key => "key",
                Mismatch::Certificate => "certificates",
                Mismatch::Origin => "origins",
            };
            advice.push_str(&format!(
                "; app {missed:?}, below whose path it is, does not serve it because of its {what}"
            ));
        }
        let rule = match refusal {
            Refusal::OperationNotAllowed { denied_by: Some(rule) } => Some(rule.to_string()),
            _ => None,
        };
        let verdict = Verdict::Refused { status: status.as_u16(), code, rule, by, message, advice };
        Explanation { request: self.target.to_string(), steps: self.steps, verdict, facts: self.facts }
    }

    /// The explanation of a request that is not refused.
    fn ended(self, verdict: Verdict, asked: &Asked) -> Explanation {
        let verdict = match (&asked.as_app, self.app) {
            (Some(wanted), Some(app)) if *wanted != app.name => {
                Verdict::OtherApp { wanted: wanted.clone(), served_by: app.name.clone() }
            }
            _ => verdict,
        };
        Explanation { request: self.target.to_string(), steps: self.steps, verdict, facts: self.facts }
    }

    /// What the gateway answers itself.
    fn answered(&mut self, own: &OwnAnswer<'_>) -> Verdict {
        let (status, what) = match own {
            OwnAnswer::Page(ServedPage::Ca) => (200, "the CA of its forward proxy".to_owned()),
            OwnAnswer::Page(ServedPage::ErrorCode(entry)) => (200, format!("the page about {}", entry.code)),
            OwnAnswer::FrontPage(_) => (200, "a page that says what it is".to_owned()),
            OwnAnswer::Preflight(_) => (
                204,
                "what pages may send: rules, limits and Box are asked for the request itself".to_owned(),
            ),
            OwnAnswer::PlaceholderToken => (200, "a placeholder in place of a token".to_owned()),
            OwnAnswer::Revoked => (200, "and revokes nothing".to_owned()),
        };
        self.step("answer", State::Ok, format!("the gateway itself: {status}, {what}"));
        Verdict::Answered(status, what)
    }

    /// What happens to a request that goes to Box.
    fn passes(&mut self, for_box: &ForBox<'_>) -> Verdict {
        let ForBox { to, request, .. } = for_box;
        let identity = self.config.identities.get(request.identity.index());
        let name = identity.map(|identity| identity.name.clone()).unwrap_or_default();
        let account = match identity.map(|identity| &identity.subject) {
            Some(identity::Subject::Enterprise(id)) => format!("the service account of enterprise {id}"),
            Some(identity::Subject::User(id)) => format!("user {id}"),
            None => String::new(),
        };
        let downscope = identity.and_then(|identity| identity.downscope.as_ref());
        let account = match downscope {
            Some(downscope) => format!("{account}, downscoped to {downscope}"),
            None => account,
        };
        let as_whom = match request.as_user {
            Some(user) => format!("user {user}, by As-User with the token of {account}"),
            None => account,
        };
        match to.access {
            Access::Token => self.step("identity", State::Info, format!("{name:?}: {as_whom}")),
            Access::Presigned | Access::Realtime => {
                self.step("identity", State::Info, "none: the URL is its own credential, no token is sent");
            }
        }
        self.fact("class", request.class.as_str());
        let (steps, facts) = counts::counted(self.config, *request);
        self.steps.extend(steps);
        self.facts.extend(facts);
        let as_whom = if to.access == Access::Token { format!(", as {name:?}") } else { String::new() };
        Verdict::Passes(format!("to {}{as_whom}", to.authority))
    }
}

impl Stages for Trace<'_> {
    fn client(&mut self, client: ClientAddress) {
        self.client = client;
    }

    fn admitted(&mut self, admitted: &Admitted<'_>, page: Page<'_>) {
        let mut words = match self.steps.iter().any(|step| step.name == "tunnel") {
            true => "through the tunnel".to_owned(),
            false => format!("{} is in sources of [listen]", self.peer.source().as_source()),
        };
        let speaks_for = self.peer.source() != admitted.client;
        if speaks_for {
            words.push_str(&format!(" and speaks for {}", admitted.client));
        } else if request::speaks_proxy_protocol(self.config, self.peer) {
            words.push_str(" and its PROXY protocol header names itself (--client names another)");
        }
        let authority = admitted.authority;
        words.push_str(&match (&admitted.named, admitted.host) {
            (Some(_), _) => format!("; {authority} is a host of Box"),
            (None, host) if self.config.listen.hosts.lists(host) => format!("; Host {authority} is listed"),
            (None, Host::Ip(_)) => format!("; Host {authority} is an address, which always works"),
            (None, Host::Name(_)) => format!("; Host {authority} always works"),
        });
        if self.config.tls.is_some() && self.peer.secure {
            words.push_str("; over TLS, with a client certificate if one is asked for");
        }
        self.step("listener", State::Ok, words);
        self.sign = page.sign();
        self.reached = "answer";
    }

    fn choosing(&mut self, apps: &Apps, path: &str, of: Way<'_>, claim: Claim<'_>, key: ShownKey<'_>) {
        let (mut details, mut other_paths, mut is_chosen) = (Vec::new(), Vec::new(), false);
        for (_, app, served) in apps.candidates(path, of, claim, key) {
            let found = match served {
                Ok(_) if is_chosen => {
                    "fits too, and comes later: its path is shorter, or it names less".to_owned()
                }
                Ok(_) => conditions(app),
                Err(Mismatch::Path) => {
                    other_paths.push(app);
                    continue;
                }
                Err(mismatch) => {
                    if mismatch != Mismatch::Host && !is_chosen {
                        self.misses.push((app.name.clone(), mismatch));
                    }
                    missed(app, mismatch, of, key)
                }
            };
            let decides = served.is_ok() && !is_chosen;
            is_chosen |= decides;
            details.push(Detail { what: app.name.clone(), found, decides });
        }
        let more = other_paths.len().saturating_sub(MOST_OTHER_PATHS);
        for app in other_paths.iter().take(MOST_OTHER_PATHS) {
            let found = format!("the path does not begin with {}", base(app));
            details.push(Detail { what: app.name.clone(), found, decides: false });
        }
        if more > 0 {
            let found = "the path does not begin with theirs".to_owned();
            details.push(Detail { what: format!("{more} more"), found, decides: false });
        }
        let words = match of.user.filter(|_| of.names_box) {
            Some(user) => format!("{:?}, which Proxy-Authorization names", user.app),
            None if is_chosen => String::new(),
            None => NONE_SERVES.to_owned(),
        };
        self.steps.push(Step { name: "app", state: State::Info, words, details });
        self.reached = "app";
    }

    fn chosen(&mut self, id: AppId, _: &App) {
        self.app = self.config.apps.iter().nth(id.index());
        let Some(app) = self.app else { return };
        let (name, identity) = (app.name.clone(), self.config.identities.get(app.identity.index()));
        let identity = identity.map(|identity| identity.name.clone());
        if let Some(step) = self.steps.last_mut().filter(|step| step.name == "app") {
            step.state = State::Ok;
            if step.words.is_empty() {
                step.words = format!("{name:?}");
            }
            // At the CONNECT of a tunnel it is only looked at.
            self.fact("app", name);
            self.fact("identity", identity);
            self.reached = "web page";
        }
    }

    fn page(&mut self, reader: Reader) {
        let words = match (&reader, self.sign) {
            (Reader::NoPage, _) => "no web page sent it".to_owned(),
            (Reader::Scripts(origin), _) => {
                format!("origins lists {}: its pages may call", origin.to_str().unwrap_or_default())
            }
            (Reader::Elements, _) => "origins lists the origin of Referer: its pages may show it".to_owned(),
        };
        self.step("web page", State::Ok, words);
        self.reached = "route";
    }

    fn routed(&mut self, to: &Destination<'_>) {
        let api = if to.under_api { "/api" } else { "" };
        let path = to
            .template()
            .map_or_else(|| format!("{api}{}", to.path), |_| " (its path is a credential)".to_owned());
        let token = match to.access {
            Access::Token => "with the access token",
            Access::Presigned => "without a token: the URL is pre-signed",
            Access::Realtime => "without a token: the URL is that of the long poll",
        };
        self.step("route", State::Ok, format!("{}{path}, {token}", to.authority));
        self.target.template = to.template();
        self.fact("box_host", to.authority.as_str());
        self.fact("sends_token", to.access == Access::Token);
        self.reached = "path";
    }

    fn judging(&mut self, rules: &OperationPolicy, operation: Operation<'_>, to: &Destination<'_>) {
        let mut template = format!("{} ", operation.method);
        match to.operation_template() {
            Some(of_credential) => template.push_str(of_credential),
            None => operation_template::push(operation.path, &mut template),
        }
        let class = Class::of(operation).as_str();
        let groups = match Found::of(operation).names().as_slice() {
            [] => "in no group".to_owned(),
            [group] => format!("group {group}"),
            groups => format!("groups {}", groups.join(" and ")),
        };
        let audited =
            self.config.log.audit.is_some() && audit_line::is_change(operation.method, Some(operation.path));
        let in_log = if audited { ", in the audit log" } else { "" };
        self.step("operation", State::Info, format!("{template}, class {class}, {groups}{in_log}"));
        self.fact("audited", audited);
        self.fact("operation", shown(&template));
        self.operation = Some(template);
        let judgement = rules.judge(operation);
        let deciding = match judgement {
            Judgement::AllowedBy(rule) | Judgement::DeniedBy(rule) => Some(rule),
            Judgement::NotAllowed | Judgement::UnnamedBatch => None,
        };
        let deny = rules.deny_rules(operation).map(|rule| ("deny", rule));
        let allow = rules.allow_rules(operation).map(|rule| ("allow", rule));
        let detail = |(list, (rule, matches)): (&str, (&Rule, bool))| Detail {
            what: format!("{list} \"{rule}\""),
            found: if matches { "matches" } else { "does not match" }.to_owned(),
            decides: deciding.is_some_and(|deciding| std::ptr::eq(deciding, rule)),
        };
        let details = deny.chain(allow).map(detail).collect();
        let words = match judgement {
            Judgement::AllowedBy(rule) => format!("allow \"{rule}\" matches, and no deny"),
            Judgement::DeniedBy(rule) => {
                format!("deny \"{rule}\" matches, in any spelling of the path")
            }
            Judgement::NotAllowed => "no allow matches".to_owned(),
            Judgement::UnnamedBatch => "a batch, which no allow names without *".to_owned(),
        };
        self.steps.push(Step { name: "rules", state: State::Ok, words, details });
        self.reached = "rules";
    }

    fn allowed(&mut self, app: &App, head: &Parts, to: &Destination<'_>) {
        let _ = to;
        let words = match head.headers.get(AS_USER).map(http::HeaderValue::to_str) {
            None => "not sent".to_owned(),
            Some(Ok(user)) if is_id(user) => format!("{user}; the app may name {}", app.as_user),
            Some(Ok(user)) if is_login(user) => format!(
                "{user}, a login, whose id is not known here: a gateway asks Box for it, and limits count under it; the app may name {}",
                app.as_user
            ),
            Some(_) => {
                "neither an id of a user, 1 to 20 digits and the first of them not 0, nor a login".to_owned()
            }
        };
        self.step("as user", State::Ok, words);
        self.reached = "as user";
    }
}

/// The base path as it is configured.
fn base(app: &App) -> &str {
    if app.path.is_empty() { "/" } else { &app.path }
}

/// Why an app serves a request: the conditions that it has, all of which hold.
fn conditions(app: &App) -> String {
    let has = [
        ("hosts", !app.hosts.is_empty()),
        ("sources", app.sources.is_some()),
        ("key", app.keys.is_some()),
        ("certificates", app.certificates.is_some()),
    ];
    let has: Vec<&str> = has.into_iter().filter_map(|(name, has)| has.then_some(name)).collect();
    match has.split_last() {
        None => format!("its path {} fits", base(app)),
        Some((last, [])) => format!("its path {} and its {last} fit", base(app)),
        Some((last, others)) => format!("its path {}, {} and {last} fit", base(app), others.join(", ")),
    }
}

/// Why an app does not serve a request.
fn missed(app: &App, mismatch: Mismatch, of: Way<'_>, key: ShownKey<'_>) -> String {
    match mismatch {
        Mismatch::Path => format!("the path does not begin with {}", base(app)),
        Mismatch::Host => {
            let names: Vec<&str> = app.hosts.names().collect();
            format!("its hosts are {}", names.join(", "))
        }
        Mismatch::Source => format!("its sources do not contain {}", of.client.as_source()),
        Mismatch::Key => match (key, app.keys.is_some()) {
            (ShownKey::Key(_), true) => "the key shown is not its key",
            (ShownKey::Key(_), false) => "a key is shown, and it has none",
            (ShownKey::Nothing | ShownKey::NotNeeded, _) => "its key is not shown",
        }
        .to_owned(),
        Mismatch::Certificate => match of.certificate {
            None => "no client certificate is shown; name what one carries with --certificate".to_owned(),
            Some(shown) => {
                let shown: Vec<&str> = shown.iter().collect();
                format!("its certificates list none of {}", shown.join(", "))
            }
        },
        Mismatch::Origin => "its origins do not list that of the page".to_owned(),
    }
}
