//! The people of the sandbox's enterprise.

use serde_json::{Value, json};

use super::{Options, shape};

const SERVICE_ACCOUNT_ID: &str = "3550001234";
const CREATED: &str = "2024-02-12T10:53:43-08:00";

struct User {
    id: String,
    name: &'static str,
    login: String,
    role: &'static str,
}

/// The service account first, then the managed users.
pub(super) struct Users {
    enterprise: Value,
    all: Vec<User>,
}

impl Users {
    pub(super) fn new(options: &Options) -> Self {
        let automation = "AutomationUser_1234567_aBcDeF1234@boxdevedition.com".to_owned();
        let mut users = Self {
            enterprise: json!({ "type": "enterprise", "id": options.enterprise_id, "name": "Sandbox" }),
            all: vec![User {
                id: SERVICE_ACCOUNT_ID.to_owned(),
                name: "Boxgate Sandbox",
                login: automation,
                role: "admin",
            }],
        };
        let managed = [
            (options.user_id.as_str(), "Uma User", "uma@sandbox.example", "user"),
            ("11446498", "Aaron Adams", "aaron@sandbox.example", "coadmin"),
            ("11446499", "Berta Brown", "berta@sandbox.example", "user"),
        ];
        for (id, name, login, role) in managed {
            // The user of the options may be one of the other two.
            if users.find(id).is_none() {
                users.all.push(User { id: id.to_owned(), name, login: login.to_owned(), role });
            }
        }
        users
    }

    pub(super) fn service_account(&self) -> &str {
        SERVICE_ACCOUNT_ID
    }

    pub(super) fn is_service_account(&self, id: &str) -> bool {
        id == SERVICE_ACCOUNT_ID
    }

    pub(super) fn is_managed(&self, id: &str) -> bool {
        !self.is_service_account(id) && self.find(id).is_some()
    }

    fn find(&self, id: &str) -> Option<&User> {
        self.all.iter().find(|user| user.id == id)
    }

    pub(super) fn mini(&self, id: &str) -> Value {
        self.find(id).map_or(
            Value::Null,
            |user| json!({ "type": "user", "id": user.id, "name": user.name, "login": user.login }),
        )
    }

    pub(super) fn by_login(&self, login: &str) -> Option<Value> {
        let user = self.all.iter().find(|user| user.login.eq_ignore_ascii_case(login))?;
        Some(self.mini(&user.id))
    }

    pub(super) fn full(&self, id: &str, fields: Option<&[&str]>) -> Option<Value> {
        self.find(id).map(|user| self.shaped(user, fields))
    }

    /// The managed users: Box lists no service accounts unless asked to.
    pub(super) fn managed(&self, fields: Option<&[&str]>) -> Vec<Value> {
        let managed = self.all.iter().filter(|user| !self.is_service_account(&user.id));
        managed.map(|user| self.shaped(user, fields)).collect()
    }

    fn shaped(&self, user: &User, fields: Option<&[&str]>) -> Value {
        let mut full = json!({
            "type": "user",
            "id": user.id,
            "name": user.name,
            "login": user.login,
            "created_at": CREATED,
            "modified_at": CREATED,
            "language": "en",
            "timezone": "America/Los_Angeles",
            "space_amount": 10_737_418_240_u64,
            "space_used": 0,
            "max_upload_size": 53_687_091_200_u64,
            "status": "active",
            "job_title": "",
            "phone": "",
            "address": "",
            "avatar_url": format!("https://app.box.com/api/avatar/large/{}", user.id),
            "notification_email": null,
        });
        if let (Some(fields), Some(object)) = (fields, full.as_object_mut()) {
            object.insert("enterprise".to_owned(), self.enterprise.clone());
            object.insert("role".to_owned(), json!(user.role));
            return shape::picked(full, fields);
        }
        full
    }
}
