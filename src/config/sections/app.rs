//! `[[app]]`: reading apps, and checking whether requests can be assigned to one app.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use toml::de::{DeTable, DeValue};

use super::super::diagnostics::{Location, Notes, nearest};
use super::super::raw::{self, Entry, Table};
use super::super::values;
use super::reader::{self, Text};
use super::secret::{self, Surroundings};
use super::{A_HOST_LIST, host_list, is_empty_list, names, sources};
use crate::http::host::HostList;
use crate::http::origin::{self, OriginList};
use crate::net::certificate_names::CertificateNames;
use crate::oauth::identity::IdentityId;
use crate::oauth::user::{Login, User};
use crate::routing::app::App;
use crate::routing::app::Redirects;
use crate::routing::as_user::AsUser;
use crate::routing::operation_pattern::Pattern;
use crate::routing::operation_policy::{OperationPolicy, Rule};

/// The most logins in `as_user`, those of each identity counted apart: Box is asked for the id of each.
const MOST_LOGINS: usize = 100;

/// All apps, and the origins that they list with their locations.
#[derive(Debug, Default)]
pub(super) struct Apps {
    pub(super) apps: Vec<App>,
    /// What can be judged only together with other tables.
    pub(super) pending: Pending,
}

/// What can be judged only together with other tables.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The `origins` of the apps that list some.
    pub(super) pages: Vec<Pages>,
    /// The locations of `certificates`.
    pub(super) certificates: Vec<Location>,
    /// The locations of `as_user` where it names users, and as whose identity.
    pub(super) as_user: Vec<(Location, IdentityId)>,
    /// The locations of users in `sources`.
    pub(super) users: Vec<Location>,
}

/// The `origins` of an app that lists some.
#[derive(Debug)]
pub(super) struct Pages {
    /// The location of the key `origins`.
    pub(super) location: Location,
    /// The entries with their locations.
    pub(super) patterns: Vec<(Location, origin::Pattern)>,
}

/// `[[app]]`, in the order of the file. `identities` are their names, `follow` is `[upstream] follow_downloads`.
pub(super) fn read(
    entry: Option<&Entry<'_>>,
    identities: &[String],
    follow: Redirects,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Apps {
    let written = names::tables(entry, "app", notes);
    if written.is_empty() {
        let apps = Vec::from_iter(default_app(identities, follow, notes));
        return Apps { apps, pending: Pending::default() };
    }
    let mut pending = Pending::default();
    let mut apps: Vec<(Location, App)> = Vec::new();
    for (location, table) in written {
        if let Some(app) = app(&location, table, identities, follow, around, &mut pending, notes) {
            apps.push((location, app));
        }
    }
    compare(&apps, identities, notes);
    bound_logins(&apps, notes);
    Apps { apps: apps.into_iter().map(|(_, app)| app).collect(), pending }
}

fn default_app(identities: &[String], follow: Redirects, notes: &mut Notes<'_>) -> Option<App> {
    if identities.len() > 1 {
        notes.problem(
            &Location::unwritten("app"),
            format_args!(
                "there are several identities, so apps must name theirs; write an [[app]] with a name and identity = one of {}",
                quoted(identities)
            ),
        );
        return None;
    }
    Some(App {
        name: "default".to_owned(),
        path: String::new(),
        identity: IdentityId::new(0),
        enabled: true,
        hosts: HostList::default(),
        sources: None,
        keys: None,
        certificates: None,
        origins: OriginList::default(),
        require_header: None,
        rules: OperationPolicy::new(vec![Rule::Pattern(Pattern::everything())], Vec::new()),
        as_user: AsUser::Only(Vec::new()),
        forward_headers: Vec::new(),
        follow_downloads: follow,
        max_in_flight: None,
    })
}

/// `None` if it has a problem: comparing an incomplete app with others would be meaningless.
fn app<'d>(
    location: &Location,
    table: &'d DeTable<'d>,
    identities: &[String],
    follow: Redirects,
    around: &Surroundings<'_>,
    pending: &mut Pending,
    notes: &mut Notes<'_>,
) -> Option<App> {
    let before = notes.count();
    let written = raw::App::of(table, &location.key, notes);
    if written.name.is_none() {
        notes.problem(&location.below("name"), "is missing; each app has a name of its own");
    }
    let name = reader::parsed(
        written.name.as_ref(),
        "a name",
        |text| values::app_name(text).map(|()| text.to_owned()),
        notes,
    );
    let path = reader::parsed(written.path.as_ref(), "a path such as \"/intranet\"", values::app_path, notes);
    let app = App {
        name: name.unwrap_or_default(),
        path: path.unwrap_or_default(),
        identity: IdentityId::new(identity(written.identity.as_ref(), location, identities, notes)),
        enabled: reader::boolean(written.enabled.as_ref(), true, notes),
        hosts: host_list(
            &reader::list(written.hosts.as_ref(), A_HOST_LIST, notes).unwrap_or_default(),
            notes,
        ),
        sources: written.sources.as_ref().map(|entry| {
            sources::list(
                entry,
                "no one could call this app; leave the key out to admit all of [listen] sources",
                &mut pending.users,
                notes,
            )
        }),
        keys: written
            .key
            .as_ref()
            .map(|entry| secret::keys(entry, "no one could call this app", around, notes)),
        certificates: written
            .certificates
            .as_ref()
            .map(|entry| certificates(entry, &mut pending.certificates, notes)),
        origins: origins(written.origins.as_ref(), &mut pending.pages, notes),
        require_header: reader::parsed(
            written.require_header.as_ref(),
            "the name of a header such as \"X-Box-Gateway\"",
            values::required_header,
            notes,
        ),
        rules: OperationPolicy::new(
            allowed(written.allow.as_ref(), notes),
            rules(written.deny.as_ref(), notes).unwrap_or_default(),
        ),
        as_user: as_user(written.as_user.as_ref(), notes),
        forward_headers: reader::list(written.forward_headers.as_ref(), "[\"X-Rep-Hints\"]", notes)
            .unwrap_or_default()
            .iter()
            .filter_map(|item| notes.take(&item.location, values::forwarded_header(item.text)))
            .collect(),
        follow_downloads: reader::redirects(written.follow_downloads.as_ref(), follow, notes),
        max_in_flight: written
            .max_in_flight
            .as_ref()
            .and_then(|entry| NonZeroU32::new(reader::integer(Some(entry), 1..=1_000_000, 1, notes))),
    };
    let names_users = match &app.as_user {
        AsUser::Any => true,
        AsUser::Only(users) => !users.is_empty(),
    };
    if let Some(entry) = written.as_user.as_ref().filter(|_| names_users) {
        pending.as_user.push((entry.location.clone(), app.identity));
    }
    (notes.count() == before).then_some(app)
}

fn identity(
    entry: Option<&Entry<'_>>,
    app: &Location,
    identities: &[String],
    notes: &mut Notes<'_>,
) -> usize {
    let find = |text: &str| match identities.iter().position(|name| name == text) {
        Some(index) => Ok(index),
        None => Err(match nearest(text, identities.iter().map(String::as_str)) {
            Some(name) => format!(
                "no identity is named {text:?}; did you mean {name:?}? allowed: {}",
                quoted(identities)
            ),
            None => format!("no identity is named {text:?}; allowed: {}", quoted(identities)),
        }),
    };
    if identities.is_empty() {
        // The missing identities have been reported already.
        return 0;
    }
    if entry.is_none() && identities.len() > 1 {
        notes.problem(
            &app.below("identity"),
            format_args!("is missing, and there are several identities; write one of {}", quoted(identities)),
        );
    }
    reader::parsed(entry, "the name of an identity", find, notes).unwrap_or_default()
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

fn rules(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> Option<Vec<Rule>> {
    let items = reader::list(entry, "[\"read\", \"GET /2.0/files/*/content\"]", notes)?;
    Some(items.iter().filter_map(|item| notes.take(&item.location, values::rule(item.text))).collect())
}

fn allowed(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> Vec<Rule> {
    let Some(rules) = rules(entry, notes) else { return vec![Rule::Pattern(Pattern::everything())] };
    if let Some(entry) = entry
        && rules.iter().any(Rule::is_batch)
    {
        notes.warning(
            &entry.location,
            "it allows /2.0/batch: the body of a batch carries operations, each with an As-User, that rules, limits and budgets cannot check",
        );
    }
    rules
}

fn origins(entry: Option<&Entry<'_>>, pages: &mut Vec<Pages>, notes: &mut Notes<'_>) -> OriginList {
    let items = reader::list(entry, "[\"https://intranet.example.com\"]", notes).unwrap_or_default();
    let mut patterns: Vec<(Location, origin::Pattern)> = Vec::new();
    for item in items {
        if let Some(pattern) = notes.take(&item.location, origin::Pattern::parse(item.text)) {
            patterns.push((item.location, pattern));
        }
    }
    let list = OriginList::new(patterns.iter().map(|(_, pattern)| pattern.clone()).collect());
    if let Some(entry) = entry.filter(|_| !list.is_empty()) {
        pages.push(Pages { location: entry.location.clone(), patterns });
    }
    list
}

fn certificates(entry: &Entry<'_>, locations: &mut Vec<Location>, notes: &mut Notes<'_>) -> CertificateNames {
    locations.push(entry.location.clone());
    if is_empty_list(entry) {
        notes.problem(
            &entry.location,
            "an empty list: no one could call this app; leave the key out to admit any certificate",
        );
    }
    let items = reader::list(Some(entry), "[\"spiffe://corp/intranet\", \"intranet.corp\"]", notes);
    let name = |item: &Text<'_>| values::certificate_name(item.text);
    let names =
        items.unwrap_or_default().iter().filter_map(|item| notes.take(&item.location, name(item))).collect();
    CertificateNames::new(names)
}

/// Whether `tls` has a `client_ca`.
pub(super) fn has_client_ca(tls: &Entry<'_>) -> bool {
    matches!(tls.value, DeValue::Table(table) if table.contains_key("client_ca"))
}

/// Apps with `certificates` are a problem where callers cannot show one. `tls`: of `[listen]`.
pub(super) fn judge_certificates(locations: &[Location], tls: Option<&Entry<'_>>, notes: &mut Notes<'_>) {
    if tls.is_some_and(has_client_ca) {
        return;
    }
    for location in locations {
        notes.problem(
            location,
            "no caller can show a certificate, since tls of [listen] has no client_ca; add it, as in tls = { cert = \"tls.crt\", key = \"tls.key\", client_ca = \"callers-ca.crt\" }, or take certificates out",
        );
    }
}

fn as_user(entry: Option<&Entry<'_>>, notes: &mut Notes<'_>) -> AsUser {
    let items = reader::list(entry, "[\"11446498\", \"ann@corp.com\"] or [\"*\"]", notes).unwrap_or_default();
    if let [Text { text: "*", .. }] = items.as_slice() {
        return AsUser::Any;
    }
    let mut users: Vec<User> = Vec::new();
    for item in &items {
        let user = match item.text {
            "*" => Err("\"*\" means any user and must be the only entry".to_owned()),
            text => values::user(text).and_then(|user| match users.contains(&user) {
                true => Err(format!("{text:?} is listed twice; take one out")),
                false => Ok(user),
            }),
        };
        users.extend(notes.take(&item.location, user));
    }
    AsUser::Only(users)
}

/// Refuses more than [`MOST_LOGINS`], at the first app that goes beyond.
fn bound_logins(apps: &[(Location, App)], notes: &mut Notes<'_>) {
    let mut logins: BTreeSet<(IdentityId, &Login)> = BTreeSet::new();
    for (location, app) in apps {
        logins.extend(app.as_user.logins().map(|login| (app.identity, login)));
        if logins.len() > MOST_LOGINS {
            notes.problem(
                &location.below("as_user"),
                format_args!(
                    "as_user of all apps together has more than {MOST_LOGINS} logins, for each of which Box is asked; write ids for the others"
                ),
            );
            return;
        }
    }
}

/// Apps are a problem if a request can match two of them equally well. They get a warning if callers of one can use the
/// other. Each group of connected apps is reported once, at the location of the second.
fn compare(apps: &[(Location, App)], identities: &[String], notes: &mut Notes<'_>) {
    let mut ambiguous = Groups::of(apps);
    let mut interchangeable = Groups::of(apps);
    for (number, (_, app)) in apps.iter().enumerate() {
        for (earlier, (_, other)) in apps.iter().enumerate().take(number) {
            if other.name == app.name {
                // Two apps of the same name are reported elsewhere.
            } else if app.is_ambiguous_with(other) {
                ambiguous.join(number, earlier);
            } else if !app.is_separate_from(other) && !is_alike(app, other) {
                interchangeable.join(number, earlier);
            }
        }
    }
    for (location, apps) in ambiguous.larger_than_one() {
        let names: Vec<String> = apps.iter().map(|app| format!("{:?}", app.name)).collect();
        let which = match names.as_slice() {
            [one, other] => format!("both {one} and {other}"),
            _ => format!("several of {}", joined(names)),
        };
        let first = apps.first().map(|app| &app.origins);
        let why = match apps.iter().all(|app| Some(&app.origins) == first) {
            true => "",
            false => ", since not every request has an Origin",
        };
        notes.problem(
            location,
            format_args!(
                "some requests could match {which}{why}; give {} a different path, or hosts, sources, a key or certificates of its own",
                if apps.len() > 2 { "each" } else { "one of them" }
            ),
        );
    }
    for (location, apps) in interchangeable.larger_than_one() {
        notes.warning(
            location,
            format_args!(
                "{} differ in {}, but nothing separates their callers: any program can choose a path and a Host; if callers of one must not use the other, give each app its own sources, key or certificates",
                listed(&apps),
                differences(&apps, identities).join(" and ")
            ),
        );
    }
}

/// Groups of connected apps (union-find).
struct Groups<'a> {
    apps: &'a [(Location, App)],
    /// The group number of each app.
    numbers: Vec<usize>,
}

impl<'a> Groups<'a> {
    /// Begins with each app in a group of its own.
    fn of(apps: &'a [(Location, App)]) -> Self {
        Self { apps, numbers: (0..apps.len()).collect() }
    }

    /// Merges the groups of two apps, given by index.
    fn join(&mut self, one: usize, other: usize) {
        if let (Some(&from), Some(&to)) = (self.numbers.get(one), self.numbers.get(other)) {
            self.numbers.iter_mut().filter(|number| **number == from).for_each(|number| *number = to);
        }
    }

    /// The groups of two or more apps, each with the location of its second app.
    fn larger_than_one(&self) -> impl Iterator<Item = (&'a Location, Vec<&'a App>)> {
        (0..self.apps.len()).filter_map(|group| {
            let members: Vec<&(Location, App)> = self
                .apps
                .iter()
                .zip(&self.numbers)
                .filter(|(_, of)| **of == group)
                .map(|(app, _)| app)
                .collect();
            let (location, _) = members.get(1)?;
            Some((location, members.iter().map(|(_, app)| app).collect()))
        })
    }
}

/// Whether both have the same rights: identity, `as_user` and rules.
fn is_alike(a: &App, b: &App) -> bool {
    a.identity == b.identity && a.as_user == b.as_user && a.rules == b.rules
}

/// The apps' names; apps with the same rights are listed together.
fn listed(apps: &[&App]) -> String {
    let mut kinds: Vec<Vec<&App>> = Vec::new();
    for app in apps {
        match kinds.iter_mut().find(|kind| kind.first().is_some_and(|first| is_alike(first, app))) {
            Some(kind) => kind.push(app),
            None => kinds.push(vec![app]),
        }
    }
    let of_kind = |kind: &Vec<&App>| {
        let names = kind.iter().map(|app| format!("{:?}", app.name)).collect::<Vec<_>>().join(", ");
        if kind.len() > 1 { format!("({names})") } else { names }
    };
    joined(kinds.iter().map(of_kind).collect())
}

/// Joins as in `a, b and c`.
fn joined(mut words: Vec<String>) -> String {
    let last = words.pop().unwrap_or_default();
    if words.is_empty() { last } else { format!("{} and {last}", words.join(", ")) }
}

fn differences(apps: &[&App], identities: &[String]) -> Vec<String> {
    let differ = |same: fn(&App, &App) -> bool| {
        let first = apps.first();
        first.is_some_and(|first| apps.iter().any(|app| !same(first, app)))
    };
    let mut differences = Vec::new();
    if differ(|a, b| a.identity == b.identity) {
        let mut names = Vec::new();
        for name in apps.iter().filter_map(|app| identities.get(app.identity.index())) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        differences.push(format!("identity ({})", quoted(&names)));
    }
    if differ(|a, b| a.as_user == b.as_user) {
        differences.push("as_user".to_owned());
    }
    if differ(|a, b| a.rules == b.rules) {
        differences.push("rules (allow, deny)".to_owned());
    }
    differences
}
