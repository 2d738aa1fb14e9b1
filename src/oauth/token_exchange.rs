//! The token exchange (RFC 8693) by which Box narrows a token to scopes and one file or folder: its form, what the answer says of
//! the new token, whether that is narrow enough, and what to do about refusals.
//!
//! Sources: `docs/box-api.md#downscoped-tokens`.

use std::fmt;

use serde_json::Value;

use crate::net::secret::Secret;
use crate::net::secret_filter;
use crate::oauth::identity::{Downscope, Identity, ResourceKind, Subject};
use crate::oauth::token_endpoint::{Fault, Issued, Refused};

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The most characters of a name in `restricted_to`.
const LONGEST_NAME: usize = 100;
/// The most rights that are named to operators where a token has too many.
const MOST_NAMED: usize = 3;

/// The values of `scope` and `resource`.
pub(crate) fn parameters(downscope: &Downscope) -> (String, Option<String>) {
    (downscope.scopes.join(" "), downscope.resource.as_ref().map(|resource| resource.url()))
}

/// The form that exchanges a token. It has no client credentials: the token is enough.
pub(crate) fn form<'a>(
    parent: &'a Secret,
    scopes: &'a str,
    resource: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let mut form = vec![
        ("grant_type", GRANT_TYPE),
        ("subject_token", parent.expose()),
        ("subject_token_type", ACCESS_TOKEN),
        ("scope", scopes),
    ];
    form.extend(resource.map(|resource| ("resource", resource)));
    form
}

/// The new token, if it is another one.
///
/// # Errors
/// It is the token that was to be exchanged, with all its rights.
pub(crate) fn narrower(child: Issued, parent: &Secret) -> Result<Issued, Fault> {
    if child.token == *parent {
        let cause = "the token endpoint answers with the very token that was to be narrowed".to_owned();
        return Err(Fault::NotNarrowed(cause));
    }
    Ok(child)
}

/// Compares what Box says that a token reaches with the file or folder that was asked for. Scopes are not compared: Box may name
/// those that a `base_…` scope consists of. No restrictions say nothing.
///
/// # Errors
/// A right holds for something else or for everything: Box may give such a token where it ignores the resource.
pub(crate) fn within(granted: &[Restriction], asked: &Downscope) -> Result<(), Fault> {
    let Some(resource) = &asked.resource else { return Ok(()) };
    let is_it = |object: &Object| object.kind == resource.kind.as_str() && object.id == resource.id;
    let (mut wider, mut more): (Vec<String>, &str) = (Vec::new(), "");
    for right in granted.iter().filter(|right| !right.object.as_ref().is_some_and(is_it)) {
        let words = right.to_string();
        if wider.contains(&words) {
            continue;
        }
        if wider.len() == MOST_NAMED {
            more = " and more";
            break;
        }
        wider.push(words);
    }
    if wider.is_empty() {
        return Ok(());
    }
    Err(Fault::NotNarrowed(format!(
        "the token endpoint answers with a token for more than {resource}, which was asked for: {}{more}",
        wider.join(", ")
    )))
}

/// A right of a token, as Box states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restriction {
    /// Such as `item_preview`.
    pub scope: String,
    /// The only file or folder for which it holds; `None`: for all.
    pub object: Option<Object>,
}

/// As in `item_preview on folder 42`.
impl fmt::Display for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            Some(object) => write!(f, "{} on {object}", self.scope),
            None => write!(f, "{} on {EVERYTHING}", self.scope),
        }
    }
}

/// What a token without a file or folder reaches.
pub(crate) const EVERYTHING: &str = "all that the account reaches";

/// A file or folder of a restriction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// `file` or `folder`.
    pub kind: String,
    pub id: String,
    /// Empty if Box does not say.
    pub name: String,
}

/// As in `folder 42`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, id, .. } = self;
        match (kind.as_str(), id.as_str()) {
            ("", _) | (_, "") => f.write_str("an object without type or id"),
            (kind, id) => write!(f, "{kind} {id}"),
        }
    }
}

/// Reads `restricted_to`, a list of `{"scope":…,"object":{"type":…,"id":…,"name":…}}`. Entries without a scope are left out.
/// The answer's size bounds their number.
pub(crate) fn restrictions(restricted_to: &Value) -> Vec<Restriction> {
    let text = |value: &Value, key: &str| {
        let text = value.get(key).and_then(Value::as_str).unwrap_or_default();
        secret_filter::shortened(text.chars().filter(|c| !c.is_control()).collect(), LONGEST_NAME)
    };
    let entries = restricted_to.as_array().into_iter().flatten();
    let read = |entry: &Value| {
        let scope = text(entry, "scope");
        let object = entry.get("object").filter(|object| object.is_object()).map(|object| Object {
            kind: text(object, "type"),
            id: text(object, "id"),
            name: text(object, "name"),
        });
        (!scope.is_empty()).then_some(Restriction { scope, object })
    };
    entries.filter_map(read).collect()
}

/// The known cause of a refusal, and where to fix it.
pub(crate) fn advice(refused: &Refused, identity: &Identity, downscope: &Downscope) -> String {
    let name = &identity.name;
    let scopes = downscope.scopes.join(", ");
    let account = match &identity.subject {
        Subject::Enterprise(_) => {
            "the service account (its login, AutomationUser_…@boxdevedition.com, is in the Developer Console → the app → General Settings)".to_owned()
        }
        Subject::User(id) => format!("user {id}"),
    };
    match (refused.error.as_str(), &downscope.resource) {
        ("invalid_resource" | "invalid_target", Some(resource)) => {
            let invite = match resource.kind {
                ResourceKind::File => "the file, or a folder that it is in",
                ResourceKind::Folder => "that folder",
            };
            format!(
                "the identity cannot see {resource}, or it does not exist: invite {account} to {invite} as a collaborator, or correct downscope.resource of [identity.{name}]"
            )
        }
        ("invalid_scope", _) => format!(
            "Box does not know one of the scopes {scopes}, or does not grant it to this app: correct downscope.scopes of [identity.{name}]; docs/access-and-rules.md lists those that Box documents"
        ),
        ("insufficient_scope", _) => format!(
            "the app itself lacks rights that {scopes} needs: Developer Console → the app → Configuration → Application Scopes, then a new authorization (Admin Console → Apps → Platform Apps Manager, client id {}); or take the scope out of downscope.scopes of [identity.{name}]",
            identity.client_id
        ),
        ("invalid_grant" | "invalid_token", _) => {
            "Box does not accept the token that it has just given, so the user or the app may have been deactivated meanwhile: Admin Console → Users, and Apps → Platform Apps Manager".to_owned()
        }
        ("invalid_request", _) => format!(
            "Box cannot read the request; check downscope of [identity.{name}], [box] token_url and any proxy on the way to Box"
        ),
        _ => format!(
            "an unknown cause; check downscope of [identity.{name}], and the app's scopes and authorization (Developer Console → the app → Configuration)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::uri::Authority;
    use serde_json::json;

    use super::*;
    use crate::oauth::identity::Resource;
    use crate::oauth::token_endpoint::GrantType;

    fn downscope(kind: ResourceKind) -> Downscope {
        let host = Authority::from_static("api.box.com");
        Downscope {
            scopes: vec!["base_explorer".to_owned(), "item_upload".to_owned()],
            resource: Some(Resource { host, kind, id: "42".to_owned() }),
        }
    }

    #[test]
    fn the_form_is_that_of_rfc_8693_without_client_credentials() {
        let parent = Secret::new("parent".to_owned());
        let (scopes, resource) = parameters(&downscope(ResourceKind::Folder));
        let common = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", "parent"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("scope", "base_explorer item_upload"),
        ];
        let mut all = common.to_vec();
        all.push(("resource", "https://api.box.com/2.0/folders/42"));
        assert_eq!(form(&parent, &scopes, resource.as_deref()), all);
        assert_eq!(form(&parent, &scopes, None), common);
        let file = parameters(&downscope(ResourceKind::File)).1;
        assert_eq!(file.as_deref(), Some("https://api.box.com/2.0/files/42"));
    }

    #[test]
    fn a_token_that_comes_back_as_it_was_is_no_child() {
        let issued = |text: &str| Issued {
            token: Secret::new(text.to_owned()),
            lifetime: Duration::from_secs(1),
            restricted_to: Value::Null,
        };
        let parent = Secret::new("parent".to_owned());
        assert!(narrower(issued("child"), &parent).is_ok());
        assert!(matches!(narrower(issued("parent"), &parent), Err(Fault::NotNarrowed(_))));
    }

    #[test]
    fn what_box_states_is_read_as_far_as_it_can_be() {
        let folder =
            json!({ "type": "folder", "id": "42", "sequence_id": "0", "etag": "0", "name": "Re\nports" });
        let stated = json!([
            { "scope": "item_preview", "object": folder },
            { "scope": "item_upload" },
            { "scope": "item_share", "object": {} },
            { "object": { "type": "file" } },
            "item_delete",
            { "scope": 1 },
        ]);
        let object = |kind: &str, id: &str, name: &str| {
            Some(Object { kind: kind.to_owned(), id: id.to_owned(), name: name.to_owned() })
        };
        let restriction = |scope: &str, object| Restriction { scope: scope.to_owned(), object };
        let want = [
            restriction("item_preview", object("folder", "42", "Reports")),
            restriction("item_upload", None),
            restriction("item_share", object("", "", "")),
        ];
        assert_eq!(restrictions(&stated), want);
        for none in [Value::Null, json!([]), json!({}), json!("x")] {
            assert!(restrictions(&none).is_empty(), "{none}");
        }
    }

    #[test]
    fn each_right_must_be_for_the_object_that_was_asked_for() {
        let asked = downscope(ResourceKind::Folder);
        let right =
            json!({ "scope": "item_preview", "object": { "type": "folder", "id": "42", "name": "Reports" } });
        let fault = |stated: &Value| match within(&restrictions(stated), &asked) {
            Ok(()) => None,
            Err(Fault::NotNarrowed(cause)) => Some(cause),
            Err(fault) => panic!("{fault:?}"),
        };
        for narrow in [Value::Null, json!([]), json!([right]), json!([right, right]), json!(["x", right])] {
            assert_eq!(fault(&narrow), None, "{narrow}");
        }
        for (object, words) in [
            (Value::Null, "x on all that the account reaches"),
            (json!("folder 42"), "x on all that the account reaches"),
            (json!({ "type": "folder", "id": "4" }), "x on folder 4"),
            (json!({ "type": "folder", "id": "0" }), "x on folder 0"),
            (json!({ "type": "file", "id": "42" }), "x on file 42"),
            (json!({ "type": "folder" }), "x on an object without type or id"),
            (json!({}), "x on an object without type or id"),
        ] {
            for stated in [
                json!([{ "scope": "x", "object": object }]),
                json!([right, { "scope": "x", "object": object }]),
                // However many are right before it.
                Value::from(
                    [vec![right.clone(); 1000], vec![json!({ "scope": "x", "object": object })]].concat(),
                ),
            ] {
                let cause = fault(&stated).unwrap_or_else(|| panic!("{object}"));
                assert_eq!(
                    cause,
                    format!(
                        "the token endpoint answers with a token for more than folder 42, which was asked for: {words}"
                    )
                );
            }
        }
        let many: Vec<Value> = (0..9).map(|number| json!({ "scope": format!("s{}", number % 5) })).collect();
        assert!(fault(&Value::from(many)).unwrap().ends_with("s2 on all that the account reaches and more"));
        // Without a resource, everything was asked for.
        let scopes_alone = Downscope { resource: None, ..downscope(ResourceKind::File) };
        assert_eq!(within(&restrictions(&json!([{ "scope": "x" }])), &scopes_alone), Ok(()));
    }

    #[test]
    fn each_known_refusal_says_where_to_fix_it() {
        let of = |error: &str, kind: ResourceKind, subject: Subject| {
            let downscope = downscope(kind);
            let identity = Identity {
                name: "reports".into(),
                client_id: "cid".into(),
                client_secret: Secret::new("s".into()),
                subject,
                downscope: Some(downscope.clone()),
            };
            let grant_type = GrantType::TokenExchange;
            let refused = Refused { grant_type, error: error.into(), description: String::new() };
            assert_eq!(
                refused.advice(&identity),
                advice(&refused, &identity, &downscope),
                "not that of credentials"
            );
            advice(&refused, &identity, &downscope)
        };
        let enterprise = || Subject::Enterprise("1".into());
        let unseen = of("invalid_resource", ResourceKind::Folder, enterprise());
        for part in ["cannot see folder 42", "invite the service account", "[identity.reports]"] {
            assert!(unseen.contains(part), "{part}: {unseen}");
        }
        let unseen = of("invalid_resource", ResourceKind::File, Subject::User("7".into()));
        assert!(unseen.contains("invite user 7 to the file, or a folder"), "{unseen}");
        assert!(of("invalid_scope", ResourceKind::File, enterprise()).contains("base_explorer, item_upload"));
        let lacking = of("insufficient_scope", ResourceKind::File, enterprise());
        assert!(lacking.contains("Application Scopes") && lacking.contains("cid"), "{lacking}");
        for error in ["invalid_grant", "invalid_request", "invalid_client"] {
            assert!(!of(error, ResourceKind::File, enterprise()).contains("client_secret"), "{error}");
        }
    }
}
