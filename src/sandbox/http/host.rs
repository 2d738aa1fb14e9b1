//! The three hosts of Box.

/// One of Box's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// `api.box.com`: the API and the token endpoint.
    Api,
    /// `upload.box.com`.
    Upload,
    /// `dl.boxcloud.com`.
    Download,
}

impl Role {
    /// The three hosts of Box that the sandbox stands for.
    pub const ALL: [Self; 3] = [Self::Api, Self::Upload, Self::Download];
}

/// One thing for each role.
#[derive(Debug, Clone, Default)]
pub(crate) struct PerRole<T> {
    pub(crate) api: T,
    pub(crate) upload: T,
    pub(crate) download: T,
}

impl<T> PerRole<T> {
    pub(crate) fn of(&self, role: Role) -> &T {
        match role {
            Role::Api => &self.api,
            Role::Upload => &self.upload,
            Role::Download => &self.download,
        }
    }
}
