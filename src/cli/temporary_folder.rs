//! A folder in the temporary directory, to which every user of the machine may write. The folder is always new, other
//! users cannot read it, and only it is removed at the end.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::net::file_identity::FileIdentity;

/// A folder of mode 0700 that is removed, with everything in it, when this is dropped.
pub(super) struct TemporaryFolder {
    path: PathBuf,
    /// Compared before the removal: in a directory without the sticky bit, other users can replace the folder.
    made: FileIdentity,
}

impl TemporaryFolder {
    /// Creates `boxgate-PURPOSE-` with 32 random hexadecimal digits in the directory that `TMPDIR` names, else `/tmp`.
    ///
    /// # Errors
    /// The folder cannot be created, or something with this name exists, even a symbolic link. The message names the path.
    pub(super) fn new(purpose: &str) -> io::Result<Self> {
        let mut bytes = [0; 16];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| io::Error::other("the system has no random numbers"))?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::at(std::env::temp_dir().join(format!("boxgate-{purpose}-{digits}")))
    }

    fn at(path: PathBuf) -> io::Result<Self> {
        let named = |error: io::Error| {
            let text = format!(
                "cannot create the temporary folder {}: {error}; set TMPDIR to a directory that you can write to",
                path.display()
            );
            io::Error::new(error.kind(), text)
        };
        // mkdir(2) does not follow a link in the last component, and fails if anything exists.
        DirBuilder::new().mode(0o700).create(&path).map_err(named)?;
        let made = FileIdentity::of(&fs::symlink_metadata(&path).map_err(named)?);
        Ok(Self { path, made })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if self.made.is_at(&self.path) {
            // If it cannot be removed now, the system clears its temporary directory later.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn it_is_private_has_a_random_name_and_is_removed() {
        let (one, other) = (TemporaryFolder::new("test").unwrap(), TemporaryFolder::new("test").unwrap());
        let mode = fs::metadata(one.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let digits = |folder: &TemporaryFolder| {
            let name = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
            name.strip_prefix("boxgate-test-").unwrap().to_owned()
        };
        assert_eq!((digits(&one).len(), digits(&one) == digits(&other)), (32, false));
        fs::create_dir(one.path().join("nested")).unwrap();
        fs::write(one.path().join("nested/file"), "x").unwrap();
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists());
    }

    #[test]
    fn an_existing_path_is_an_error_and_is_not_removed() {
        let outer = TemporaryFolder::new("test").unwrap();
        let theirs = outer.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("kept"), "x").unwrap();
        let path = outer.path().join("prepared");
        let prepare: [&dyn Fn(); 4] = [
            &|| fs::create_dir(&path).unwrap(),
            &|| fs::write(&path, "x").unwrap(),
            &|| symlink(&theirs, &path).unwrap(),
            &|| symlink("nowhere", &path).unwrap(),
        ];
        for (number, prepare) in prepare.into_iter().enumerate() {
            prepare();
            let Err(error) = TemporaryFolder::at(path.clone()) else { panic!("{number} was taken over") };
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists, "{number}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert!(fs::symlink_metadata(&path).is_ok(), "{number} was removed");
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
        assert!(theirs.join("kept").exists());
    }

    #[test]
    fn a_replaced_folder_is_not_removed() {
        let outer = TemporaryFolder::new("test").unwrap();
        let path = outer.path().join("made");
        let put: [&dyn Fn(); 2] =
            [&|| fs::create_dir(&path).unwrap(), &|| symlink(outer.path(), &path).unwrap()];
        for (number, put) in put.into_iter().enumerate() {
            let made = TemporaryFolder::at(path.clone()).unwrap();
            fs::rename(&path, outer.path().join(format!("moved-{number}"))).unwrap();
            put();
            drop(made);
            assert!(fs::symlink_metadata(&path).is_ok(), "{number} was removed");
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
        assert!(outer.path().join("moved-0").exists());
    }
}
