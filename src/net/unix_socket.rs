//! Unix sockets to listen on: stale files at their path, their mode and group, and their removal at the end.
//!
//! A process that is killed leaves its socket's file behind, and `bind` refuses to replace it. Only such a file is
//! removed: a socket that refuses connections, so nobody listens on it (unix(7)). Anything else may be in use and
//! counts as "address in use": other kinds of files, symbolic links (their target does not matter), sockets of another
//! type, and listeners whose queue is full.

use std::fs::{self, FileType, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket, UnixStream};

use crate::net::address::UnixAddress;
use crate::net::file_identity::FileIdentity;

/// A socket that is bound but does not listen yet. It refuses connections until its file has its mode and group, so
/// that nobody connects before those apply.
pub(crate) struct BoundUnixSocket {
    // First, so that the file is compared and removed while the socket still holds its inode number.
    file: SocketFile,
    socket: UnixSocket,
}

/// The file of a socket; dropping this removes the file, unless another one has replaced it.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

impl BoundUnixSocket {
    /// Creates the file, replacing a stale one, and sets its group and mode.
    ///
    /// # Errors
    /// The path is in use ([`ErrorKind::AddrInUse`]), or the file cannot be created or given its group or mode.
    pub(crate) async fn bind(address: &UnixAddress) -> io::Result<Self> {
        let path = &address.path;
        let socket = UnixSocket::new_stream()?;
        match socket.bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_left_behind(path).await?;
                socket.bind(path)?;
            }
            bound => bound?,
        }
        let file =
            SocketFile { path: path.clone(), identity: FileIdentity::of(&fs::symlink_metadata(path)?) };
        let failed = |what: &str, error: &io::Error| {
            io::Error::new(error.kind(), format!("its {what} cannot be set: {error}"))
        };
        if let Some(group) = address.group {
            lchown(path, None, Some(group)).map_err(|error| {
                let hint = match error.kind() {
                    ErrorKind::PermissionDenied => {
                        "; the process must belong to the group (SupplementaryGroups= of systemd) and be allowed to call chown"
                    }
                    _ => "",
                };
                io::Error::new(error.kind(), format!("its group cannot be set to {group}: {error}{hint}"))
            })?;
        }
        if let Some(mode) = address.mode {
            // Setting group and mode follows symbolic links, so the file must not have been replaced by one.
            file.must_be_there()?;
            fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(|error| failed("mode", &error))?;
        }
        Ok(Self { file, socket })
    }

    /// Starts to accept connections.
    ///
    /// # Errors
    /// Another process took the file for a stale one and replaced it.
    pub(crate) fn listen(self, backlog: u32) -> io::Result<(SocketFile, UnixListener)> {
        let Self { file, socket } = self;
        let listener = socket.listen(backlog)?;
        file.must_be_there()?;
        Ok((file, listener))
    }
}

impl SocketFile {
    fn must_be_there(&self) -> io::Result<()> {
        match self.identity.is_at(&self.path) {
            true => Ok(()),
            false => Err(in_use("another process has replaced the socket just now")),
        }
    }
}

/// Removes the file, unless another process has replaced it.
impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_at(&self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a stale socket file.
async fn remove_left_behind(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        // Removed in the meantime.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !found.file_type().is_socket() {
        let what = kind(found.file_type());
        return Err(in_use(&format!(
            "the path is {what}; only a socket that nobody listens on would be removed"
        )));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Ok(_) => return Err(in_use("is another instance running?")),
        Err(error) => {
            return Err(in_use(&format!(
                "the socket there may be another program's; connecting fails: {error}"
            )));
        }
    }
    // Another process may have created a new one meanwhile.
    match fs::symlink_metadata(path) {
        Ok(now) if FileIdentity::of(&now) == FileIdentity::of(&found) => fs::remove_file(path),
        Ok(_) => Err(in_use("is another instance starting?")),
        Err(_) => Ok(()),
    }
}

fn in_use(why: &str) -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, format!("address in use ({why})"))
}

fn kind(of: FileType) -> &'static str {
    if of.is_file() {
        "a regular file"
    } else if of.is_dir() {
        "a directory"
    } else if of.is_symlink() {
        "a symbolic link"
    } else if of.is_fifo() {
        "a FIFO"
    } else {
        "a device"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("boxgate-unix-{}-{}", std::process::id(), fastrand::u64(..));
            let folder = std::env::temp_dir().join(name);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn address(&self, mode: Option<u32>) -> UnixAddress {
            UnixAddress { path: self.0.join("gate.sock"), mode, group: None }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn nobody_connects_before_the_mode_is_set() {
        let folder = Folder::new();
        for mode in [0o600, 0o660, 0o666, 0o222] {
            let address = folder.address(Some(mode));
            let bound = BoundUnixSocket::bind(&address).await.unwrap();
            let found = fs::symlink_metadata(&address.path).unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, mode);
            let refused = UnixStream::connect(&address.path).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            let (_file, _listener) = bound.listen(16).unwrap();
            UnixStream::connect(&address.path).await.unwrap();
        }
        assert!(!folder.address(None).path.exists(), "the file is removed on drop");
    }

    #[tokio::test]
    async fn of_two_that_bind_at_the_same_time_one_gets_address_in_use() {
        let folder = Folder::new();
        let address = folder.address(None);
        let first = BoundUnixSocket::bind(&address).await.unwrap();
        // Nobody listens on the first yet, so it looks stale.
        let (_file, _listener) = BoundUnixSocket::bind(&address).await.unwrap().listen(16).unwrap();
        let error = first.listen(16).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        UnixStream::connect(&address.path).await.unwrap();
    }

    #[tokio::test]
    async fn a_file_that_cannot_get_its_group_is_removed_again() {
        let folder = Folder::new();
        // The greatest number means "no change" to chown; the one before it is nobody's.
        let address = UnixAddress { group: Some(u32::MAX - 1), ..folder.address(None) };
        match BoundUnixSocket::bind(&address).await {
            Err(error) => assert!(error.to_string().contains("its group cannot be set to"), "{error}"),
            // Root may give it to any group.
            Ok(bound) => {
                assert_eq!(fs::symlink_metadata(&address.path).unwrap().gid(), u32::MAX - 1);
                drop(bound);
            }
        }
        assert!(!address.path.exists());
    }
}
