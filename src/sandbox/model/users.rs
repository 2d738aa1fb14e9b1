//! The people of the sandbox's enterprise.

use super::options::Options;

const SERVICE_ACCOUNT_ID: &str = "3550001234";

pub(crate) struct User {
    pub(crate) id: String,
    pub(crate) name: &'static str,
    pub(crate) login: String,
    pub(crate) role: &'static str,
}

/// The service account first, then the managed users.
pub(crate) struct Users {
    pub(crate) enterprise_id: String,
    all: Vec<User>,
}

impl Users {
    pub(crate) fn new(options: &Options) -> Self {
        let automation = "AutomationUser_1234567_aBcDeF1234@boxdevedition.com".to_owned();
        let mut users = Self {
            enterprise_id: options.enterprise_id.clone(),
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
        let further = options.users.iter().map(|(id, login)| User {
            id: id.clone(),
            name: "Further User",
            login: login.clone(),
            role: "user",
        });
        users.all.extend(further);
        users
    }

    pub(crate) fn service_account(&self) -> &str {
        SERVICE_ACCOUNT_ID
    }

    pub(crate) fn is_service_account(&self, id: &str) -> bool {
        id == SERVICE_ACCOUNT_ID
    }

    pub(crate) fn is_managed(&self, id: &str) -> bool {
        !self.is_service_account(id) && self.find(id).is_some()
    }

    pub(crate) fn find(&self, id: &str) -> Option<&User> {
        self.all.iter().find(|user| user.id == id)
    }

    pub(crate) fn by_login(&self, login: &str) -> Option<&User> {
        self.all.iter().find(|user| user.login.eq_ignore_ascii_case(login))
    }

    /// The users that Box lists: no service accounts unless asked for, and only those whose name or login begins with
    /// `term`, without regard to case.
    pub(crate) fn managed(&self, term: &str) -> impl Iterator<Item = &User> {
        let begins = move |text: &str| {
            let start = text.get(..term.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(term))
        };
        self.all.iter().filter(move |user| {
            !self.is_service_account(&user.id) && (begins(user.name) || begins(&user.login))
        })
    }
}
