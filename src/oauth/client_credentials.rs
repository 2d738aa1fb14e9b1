//! The Client Credentials Grant: its form, and what to do about refusals.

use crate::oauth::identity::{Identity, Subject};
use crate::oauth::token_endpoint::Refused;

/// The form for a token of this identity.
pub(crate) fn form(identity: &Identity) -> [(&'static str, &str); 5] {
    let (subject_type, subject_id) = match &identity.subject {
        Subject::Enterprise(id) => ("enterprise", id),
        Subject::User(id) => ("user", id),
    };
    [
        ("grant_type", "client_credentials"),
        ("client_id", identity.client_id.as_str()),
        ("client_secret", identity.client_secret.expose()),
        ("box_subject_type", subject_type),
        ("box_subject_id", subject_id.as_str()),
    ]
}

/// The known cause of a refusal, and where to fix it.
/// Sources: `docs/box-api.md#tokens`.
pub(crate) fn advice(refused: &Refused, identity: &Identity) -> String {
    const REAUTHORIZE: &str = "Admin Console → Apps → Platform Apps Manager";
    let description = refused.description.to_lowercase();
    let client = &identity.client_id;
    match (refused.error.as_str(), &identity.subject) {
            ("invalid_client", _) => {
                "client_id or client_secret is wrong, from another app, or has white space in it. Copy both again from \
                 Developer Console → the app → Configuration → OAuth 2.0 Credentials (showing the secret needs 2FA)"
                    .to_owned()
            }
            ("invalid_grant", Subject::Enterprise(id)) => format!(
                "the enterprise id {id} is not the app's own, the secret belongs to another app or was rotated, or the \
                 app is no longer authorized. The id: Developer Console → the app → General Settings, or Admin Console → \
                 Account & Billing. Authorize again: {REAUTHORIZE}, client id {client}"
            ),
            ("invalid_grant", Subject::User(id)) => format!(
                "a token for user {id} needs \"App + Enterprise Access\" and \"Generate user access tokens\" (Developer \
                 Console → the app → Configuration), then a new authorization ({REAUTHORIZE}). The id must be an active \
                 user's of the same enterprise (digits, Admin Console → Users, in the URL), not the service account's own"
            ),
            ("unauthorized_client", _) if description.contains("not authorized by the enterprise") => format!(
                "the app was never authorized, or waits for authorization after a change: {REAUTHORIZE} → Add Platform \
                 App, client id {client}, in the enterprise of the configuration. Free developer enterprises need it too"
            ),
            ("unauthorized_client", _) | ("invalid_request", _)
                if description.contains("box_subject_type") || description.contains("grant type") =>
            {
                "the app was made with another authentication method, which cannot be changed: create a new app of type \
                 \"Server Authentication (Client Credentials Grant)\" in the Developer Console"
                    .to_owned()
            }
            ("invalid_request", _) if description.contains("user token") => format!(
                "the app's access level excludes this user: set \"App + Enterprise Access\" (Developer Console → the app → \
                 Configuration), then authorize again ({REAUTHORIZE})"
            ),
            ("invalid_request", _) => {
                "Box did not receive the form; check [box] token_url and any proxy on the way to Box".to_owned()
            }
            ("insufficient_scope", _) => format!("the app lacks a scope or its authorization: {REAUTHORIZE}, client id {client}"),
            _ => format!(
                "an unknown cause; check the app's type, access level and authorization \
                 (Developer Console → the app → Configuration; {REAUTHORIZE})"
            ),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::secret::Secret;
    use crate::oauth::token_endpoint::GrantType;

    fn identity(subject: Subject) -> Identity {
        Identity {
            name: "service".into(),
            client_id: "cid".into(),
            client_secret: Secret::new("s".into()),
            subject,
            downscope: None,
        }
    }

    #[test]
    fn each_known_refusal_says_where_to_fix_it() {
        let enterprise = identity(Subject::Enterprise("1".into()));
        let user = identity(Subject::User("2".into()));
        let of = |error: &str, description: &str, identity: &Identity| {
            let grant_type = GrantType::ClientCredentials;
            advice(&Refused { grant_type, error: error.into(), description: description.into() }, identity)
        };
        assert!(of("invalid_client", "The client credentials are invalid", &user).contains("client_secret"));
        assert!(
            of("invalid_grant", "Grant credentials are invalid", &enterprise).contains("enterprise id 1")
        );
        assert!(
            of("invalid_grant", "Grant credentials are invalid", &user)
                .contains("Generate user access tokens")
        );
        let never =
            of("unauthorized_client", "This app is not authorized by the enterprise admin", &enterprise);
        assert!(never.contains("Platform Apps Manager") && never.contains("cid"));
        let other = of(
            "unauthorized_client",
            "The \"box_subject_type\" value is unauthorized for this client_id",
            &user,
        );
        assert!(other.contains("create a new app"));
        assert!(
            of("invalid_request", "The grant type is unauthorized for this client_id", &user)
                .contains("new app")
        );
    }
}
