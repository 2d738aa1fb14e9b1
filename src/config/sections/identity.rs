//! Identities: the accounts at Box, from the file or, without a file, from the environment.

use toml::de::DeValue;

use super::super::diagnostics::{Location, Notes, Position, dotted};
use super::super::raw::{self, Entry, kind};
use super::super::values;
use super::downscope;
use super::secret::{self, Surroundings};
use crate::net::secret::Secret;
use crate::oauth::identity::{Identity, IdentityId, Subject};

/// The identities, sorted by name. An identity with a problem is left out, but its name is kept, since apps refer to
/// it.
#[derive(Debug, Default)]
pub(super) struct Identities {
    pub(super) names: Vec<String>,
    pub(super) read: Vec<Identity>,
    /// The resources of `downscope`, whose hosts are not judged yet.
    pub(super) resources: Vec<downscope::Located>,
}

/// Reads the tables `[identity.NAME]`.
pub(super) fn from_table(
    entry: Option<&Entry<'_>>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Identities {
    let mut identities = Identities::default();
    let Some(entry) = entry else {
        notes.problem(
            &Location::unwritten("identity"),
            "there must be at least one; write [identity.service] and its keys",
        );
        return identities;
    };
    let DeValue::Table(table) = entry.value else {
        notes.problem(
            &entry.location,
            format_args!("expected tables [identity.NAME], found {}", kind(entry.value)),
        );
        return identities;
    };
    if table.is_empty() {
        notes.problem(&entry.location, "there must be at least one; write [identity.service] and its keys");
    }
    let mut named: Vec<_> = table.iter().collect();
    named.sort_by_key(|(name, _)| name.get_ref());
    for (name, value) in named {
        let key = dotted(&entry.location.key, name.get_ref());
        let named = Location { position: Position::At(name.span().start), key: key.clone() };
        notes.take(&named, values::identity_name(name.get_ref()));
        let location = Location { position: Position::At(value.span().start), key };
        identities.read.extend(identity(
            name.get_ref(),
            &Entry { location, value: value.get_ref() },
            around,
            &mut identities.resources,
            notes,
        ));
        identities.names.push(name.get_ref().to_string());
    }
    identities
}

fn identity(
    name: &str,
    entry: &Entry<'_>,
    around: &Surroundings<'_>,
    resources: &mut Vec<downscope::Located>,
    notes: &mut Notes<'_>,
) -> Option<Identity> {
    if !matches!(entry.value, DeValue::Table(_)) {
        notes.problem(
            &entry.location,
            format_args!(
                "expected a table, found {}; an identity has a name: [identity.NAME]",
                kind(entry.value)
            ),
        );
        return None;
    }
    let written: raw::Identity<'_> = raw::read(Some(entry), notes);
    let client_id = required(&written.client_id, entry, "client_id", "BOX_CLIENT_ID", notes)
        .and_then(|entry| plain(entry, values::credential, around, notes));
    let client_secret = required(&written.client_secret, entry, "client_secret", "BOX_CLIENT_SECRET", notes)
        .and_then(|entry| secret::secret(entry, around, notes));
    let subject = match (&written.enterprise_id, &written.user_id) {
        (Some(id), None) => plain(id, values::box_id, around, notes).map(Subject::Enterprise),
        (None, Some(id)) => plain(id, values::box_id, around, notes).map(Subject::User),
        (None, None) => {
            notes.problem(
                &entry.location,
                "enterprise_id (for the service account) or user_id (for one user) is missing",
            );
            None
        }
        (Some(enterprise), Some(user)) => {
            // Both are read, so that their own problems are reported in the same run.
            plain(enterprise, values::box_id, around, notes);
            plain(user, values::box_id, around, notes);
            notes.problem(
                &user.location,
                "cannot be combined with enterprise_id; an identity has exactly one of the two",
            );
            None
        }
    };
    let downscope = written.downscope.as_ref().map(|entry| downscope::read(entry, resources, notes));
    Some(Identity {
        name: name.to_owned(),
        client_id: client_id?,
        client_secret: client_secret?,
        subject: subject?,
        // One with a problem is not left out: the token would have all rights.
        downscope: match downscope {
            Some(downscope) => Some(downscope?),
            None => None,
        },
    })
}

/// Warns of apps that may act as other users with a token of fewer rights.
pub(super) fn judge_as_user(apps: &[(Location, IdentityId)], identities: &Identities, notes: &mut Notes<'_>) {
    for (location, id) in apps {
        let name = identities.names.get(id.index());
        let identity = identities.read.iter().find(|identity| Some(&identity.name) == name);
        if let Some(Identity { name, downscope: Some(_), .. }) = identity {
            notes.warning(
                location,
                format_args!(
                    "identity {name:?} has downscope, and Box may refuse As-User to such a token; boxgate check tries it. Give the app an identity without downscope, or take as_user out"
                ),
            );
        }
    }
}

fn required<'e, 'd>(
    entry: &'e Option<Entry<'d>>,
    table: &Entry<'_>,
    key: &str,
    variable: &str,
    notes: &mut Notes<'_>,
) -> Option<&'e Entry<'d>> {
    if entry.is_none() {
        notes.problem(
            &table.location.below(key),
            format_args!("is missing; write for example {key} = {{ env = \"{variable}\" }}"),
        );
    }
    entry.as_ref()
}

/// A text that is not a secret. Messages show it only if it is in the file itself: a reference may lead to a secret by
/// mistake.
fn plain(
    entry: &Entry<'_>,
    check: impl Fn(&str) -> Result<(), String>,
    around: &Surroundings<'_>,
    notes: &mut Notes<'_>,
) -> Option<String> {
    if let DeValue::Integer(number) = entry.value {
        notes.problem(
            &entry.location,
            format_args!("expected a string, found the integer {number}; put it in quotes"),
        );
        return None;
    }
    let found = secret::referred_if_read(entry, around, notes)?;
    if found.is_unread {
        // For explanations, which show it in place of the id.
        return Some(format!("({} was not read)", entry.location.key));
    }
    let checked = check(&found.text).map_err(|what| match found.is_literal {
        true => format!("{:?}: {what}", *found.text),
        false => what,
    });
    notes.take(&entry.location, checked)?;
    Some(found.text.to_string())
}

/// Reads the identity "service" from `BOX_CLIENT_ID`, `BOX_CLIENT_SECRET` and one of `BOX_ENTERPRISE_ID`,
/// `BOX_USER_ID`.
pub(super) fn from_environment(
    variable: &dyn Fn(&str) -> Option<String>,
    notes: &mut Notes<'_>,
) -> Identities {
    let set = |name| secret::variable(name, variable).filter(|text| !text.is_empty());
    let client_id = set("BOX_CLIENT_ID");
    let client_secret = set("BOX_CLIENT_SECRET");
    let subject = match (set("BOX_ENTERPRISE_ID"), set("BOX_USER_ID")) {
        (Some(_), Some(_)) => {
            notes.problem(
                &Location::outside("environment"),
                "BOX_ENTERPRISE_ID and BOX_USER_ID are both set; set exactly one of them",
            );
            None
        }
        (Some(id), None) => Some(("BOX_ENTERPRISE_ID", Subject::Enterprise(id.to_string()), id)),
        (None, Some(id)) => Some(("BOX_USER_ID", Subject::User(id.to_string()), id)),
        (None, None) => None,
    };
    let missing: Vec<&str> = [
        client_id.is_none().then_some("BOX_CLIENT_ID"),
        client_secret.is_none().then_some("BOX_CLIENT_SECRET"),
        (set("BOX_ENTERPRISE_ID").is_none() && set("BOX_USER_ID").is_none())
            .then_some("one of BOX_ENTERPRISE_ID and BOX_USER_ID"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !missing.is_empty() {
        notes.problem(
            &Location::outside("environment"),
            format_args!(
                "not set: {}; set what is missing, or give a configuration file: --config FILE",
                missing.join(", ")
            ),
        );
    }
    let mut check = |name, checked| notes.take(&Location::outside(name), checked);
    let read = || {
        let (client_id, client_secret, (id_name, subject, id)) = (client_id?, client_secret?, subject?);
        let fit = [
            check("BOX_CLIENT_ID", values::credential(&client_id)),
            check("BOX_CLIENT_SECRET", values::credential(&client_secret)),
            check(id_name, values::box_id(&id)),
        ];
        fit.into_iter().collect::<Option<Vec<()>>>()?;
        Some(Identity {
            name: "service".to_owned(),
            client_id: client_id.to_string(),
            client_secret: Secret::new(client_secret.to_string()),
            subject,
            downscope: None,
        })
    };
    Identities { read: Vec::from_iter(read()), resources: Vec::new(), names: vec!["service".to_owned()] }
}
