//! Files with a gateway's CA and the roots that programs trusted before.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;

use super::temporary_folder::TemporaryFolder;

/// Part of the name of every Java trust store, by which a later run recognizes it.
pub(super) const JAVA_NAME: &str = "-boxgate-java-";

/// A folder that other users cannot read.
pub(super) struct Folder {
    path: PathBuf,
    /// Removes the folder when dropped; `None` for a folder that stays.
    _temporary: Option<TemporaryFolder>,
}

impl Folder {
    /// A folder that stays; created with its parents if missing.
    ///
    /// # Errors
    /// It cannot be created, or not be made private.
    pub(super) fn lasting(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
        Ok(Self { path: path.to_owned(), _temporary: None })
    }

    /// A folder that is removed when this is dropped.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn temporary() -> io::Result<Self> {
        let temporary = TemporaryFolder::new("exec")?;
        Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    /// Writes a file atomically. Its name has a digest of its content, so that shells with different roots do not
    /// overwrite each other's files and the same content gives one file.
    fn write(&self, start: &str, end: &str, content: &[u8]) -> io::Result<PathBuf> {
        let digest: String =
            digest(&SHA256, content).as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let path = self.path.join(format!("{start}-{digest}.{end}"));
        if fs::read(&path).is_ok_and(|there| there == content) {
            return Ok(path);
        }
        let new = self.path.join(format!(".{}-{:016x}", std::process::id(), fastrand::u64(..)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        let written = file.write_all(content).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written.map(|()| path)
    }
}

/// The certificates of a gateway's CA, and the roots that the caller trusts.
pub(super) struct TrustFiles<'a> {
    folder: &'a Folder,
    /// The beginning of the files' names.
    name: String,
    own: Vec<CertificateDer<'static>>,
    platform: Vec<CertificateDer<'static>>,
}

impl<'a> TrustFiles<'a> {
    /// `fingerprint`: that of the first root. The platform's roots are those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, if
    /// these are set.
    pub(super) fn new(folder: &'a Folder, fingerprint: &str, own: Vec<CertificateDer<'static>>) -> Self {
        let platform = rustls_native_certs::load_native_certs().certs;
        let name = fingerprint.get(..16).unwrap_or(fingerprint).to_owned();
        Self { folder, name, own, platform }
    }

    /// A file for a variable that replaces a program's roots: those of the file or folder that it named before (else
    /// the platform's) and the gateway's.
    pub(super) fn replacing(&self, earlier: Option<&str>) -> io::Result<PathBuf> {
        let earlier = earlier.map(roots_at).unwrap_or_default();
        let base = if earlier.is_empty() { &self.platform } else { &earlier };
        self.write("roots", &self.with_own(base))
    }

    /// A file for a variable that adds to a program's roots: those of the file that it named before and the gateway's.
    pub(super) fn adding(&self, earlier: Option<&str>) -> io::Result<PathBuf> {
        self.write("added", &self.with_own(&earlier.map(roots_at).unwrap_or_default()))
    }

    /// A trust store for Java, with the platform's roots.
    pub(super) fn java(&self) -> io::Result<PathBuf> {
        let store = super::java_trust_store::encode(&self.with_own(&self.platform));
        let start = format!("{}{}", self.name, JAVA_NAME.trim_end_matches('-'));
        self.folder.write(&start, "jks", &store)
    }

    fn write(&self, what: &str, certificates: &[CertificateDer<'static>]) -> io::Result<PathBuf> {
        self.folder.write(&format!("{}-{what}", self.name), "pem", pem_text(certificates).as_bytes())
    }

    /// All certificates without duplicates and in a fixed order, so that a second run on the files of the first changes
    /// nothing.
    fn with_own(&self, base: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
        let all: BTreeSet<&[u8]> = base.iter().chain(&self.own).map(AsRef::as_ref).collect();
        all.into_iter().map(|certificate| CertificateDer::from(certificate.to_vec())).collect()
    }
}

fn roots_at(path: &str) -> Vec<CertificateDer<'static>> {
    let path = Path::new(path);
    let (file, folder) = if path.is_dir() { (None, Some(path)) } else { (Some(path), None) };
    rustls_native_certs::load_certs_from_paths(file, folder).certs
}

fn pem_text(certificates: &[CertificateDer<'_>]) -> String {
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let sections: Vec<_> =
        certificates.iter().map(|der| pem::Pem::new("CERTIFICATE", der.to_vec())).collect();
    pem::encode_many_config(&sections, unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> CertificateDer<'static> {
        rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap().cert.into()
    }

    fn read(path: &Path) -> BTreeSet<Vec<u8>> {
        roots_at(path.to_str().unwrap()).iter().map(|certificate| certificate.to_vec()).collect()
    }

    fn set(certificates: &[&CertificateDer<'static>]) -> BTreeSet<Vec<u8>> {
        certificates.iter().map(|certificate| certificate.to_vec()).collect()
    }

    #[test]
    fn earlier_roots_stay_and_the_gateways_are_added_once() {
        let folder = Folder::temporary().unwrap();
        let (own, earlier, platform) = (certificate(), certificate(), certificate());
        let before = folder.path.join("before.pem");
        fs::write(&before, format!("# mine\n{}", pem_text(std::slice::from_ref(&earlier)))).unwrap();
        let files = TrustFiles {
            folder: &folder,
            name: "abc".to_owned(),
            own: vec![own.clone()],
            platform: vec![platform.clone()],
        };
        let replaced = files.replacing(None).unwrap();
        assert_eq!(read(&replaced), set(&[&platform, &own]));
        assert_eq!(files.replacing(Some("/nowhere.pem")).unwrap(), replaced);
        // Again, with the resulting file.
        assert_eq!(files.replacing(replaced.to_str()).unwrap(), replaced);
        assert_eq!(read(&files.replacing(before.to_str()).unwrap()), set(&[&earlier, &own]));
        assert_eq!(read(&files.adding(None).unwrap()), set(&[&own]));
        assert_eq!(read(&files.adding(before.to_str()).unwrap()), set(&[&earlier, &own]));
        assert!(files.java().unwrap().starts_with(&folder.path));
        for entry in fs::read_dir(&folder.path).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} is left over");
        }
    }

    #[test]
    fn folders_are_private_and_the_temporary_one_is_removed() {
        let temporary = Folder::temporary().unwrap();
        let path = temporary.path.clone();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        let nested = path.join("a/b");
        fs::create_dir_all(&nested).unwrap();
        drop(Folder::lasting(&nested).unwrap());
        assert_eq!(mode(&nested), 0o700);
        drop(temporary);
        assert!(!path.exists());
    }
}
