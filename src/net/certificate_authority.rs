//! The certificate authority (CA) of the forward proxy. Callers trust it, so that the gateway can terminate TLS for
//! Box's hosts.
//!
//! Callers that trust it must not thereby trust the gateway for any other host. So a root signs one intermediate and
//! its key is destroyed; both carry critical name constraints (RFC 5280 §4.2.1.10) that permit Box's domains and
//! exclude every IP address. The intermediate's key, which is kept, can sign for no other host.
//!
//! A root is replaced long before its end: for `OVERLAP` callers are given both, so those that fetched the roots in
//! fetch the roots in that time trust certificates of either. The reasons: `docs/decisions/constrained-ca.md`.

use std::fs;
use std::io;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tracing::warn;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use crate::net::hidden_characters::without_byte_order_mark;
use crate::net::secret::Secret;

/// The domains that a leaf may name, with everything below them.
pub const PERMITTED_DOMAINS: [&str; 4] = ["box.com", "boxcloud.com", "box.net", "box-gov.com"];

/// In the state folder: for each generation a root, an intermediate and the intermediate's key, as PEM.
const FILE: &str = "forward-proxy-ca.pem";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// How long before a root expires its successor is created and published.
const OVERLAP: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// How long before it expires a root is no longer used for new certificates.
const RETIRES: Duration = Duration::from_secs(60 * 24 * 60 * 60);
/// How long before `now` certificates become valid, since clocks differ.
const BACKDATED: Duration = DAY;
/// The validity of a leaf; with [`BACKDATED`] it must be at most 30 days.
const LEAF_LIFETIME: Duration = Duration::from_secs(29 * 24 * 60 * 60);

/// A CA with all generations that it has published.
pub struct CertificateAuthority {
    generations: Vec<Generation>,
    /// The file that stores it; `None`: the configuration names the certificates and they are not renewed here.
    file: Option<PathBuf>,
}

/// A root and the intermediate that it signed.
struct Generation {
    root: CertificateDer<'static>,
    intermediate: CertificateDer<'static>,
    /// When the first of the two certificates expires.
    not_after: SystemTime,
    /// `None`: another replica has the key.
    issuer: Option<Issuer<'static, KeyPair>>,
    /// The issuer's key as PEM, registered so that it is blanked in all output.
    _key: Option<Secret>,
}

/// A certificate for one host.
pub struct Leaf {
    /// The leaf and its intermediate.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the leaf expires.
    pub not_after: SystemTime,
}

impl CertificateAuthority {
    /// Loads the CA of this state folder; creates it if there is none yet.
    ///
    /// # Errors
    /// The file cannot be read, written or parsed; the message names it.
    pub fn open(folder: &Path, now: SystemTime) -> io::Result<Self> {
        let file = folder.join(FILE);
        let shown = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("the forward proxy's CA, {}: {error}", file.display()))
        };
        if let Ok(found) = fs::metadata(&file)
            && found.permissions().mode() & 0o077 != 0
        {
            warn!(
                "{} can be read or written by users other than its owner: its key can sign certificates for Box's hosts that your callers trust; run chmod 600 on it, or remove it so that a new CA is created",
                file.display()
            );
        }
        let generations = match fs::read(&file).map(Zeroizing::new) {
            Ok(pem) => generations(&pem, &pem).map_err(|error| {
                shown(&format!("{error}; restore the file, or remove it so that a new CA is created, which callers must then fetch"))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(shown(&error)),
        };
        let mut authority = Self { generations, file: Some(file.clone()) };
        authority.maintain(now).map_err(|error| shown(&error))?;
        Ok(authority)
    }

    /// The CA that the configuration names: all roots and intermediates, and the key of one intermediate.
    ///
    /// # Errors
    /// What is wrong with them; the message shows nothing of the key.
    pub fn given(certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        Ok(Self { generations: generations(certificates, key)?, file: None })
    }

    /// What callers must trust: every root with its intermediate, as PEM.
    pub fn pem(&self) -> String {
        self.generations
            .iter()
            .flat_map(|made| [&made.root, &made.intermediate])
            .map(|der| certificate_pem(der))
            .collect()
    }

    /// Creates a successor if the newest root expires within `OVERLAP`, and drops expired roots. Does nothing to a CA
    /// from the configuration. Returns whether [`CertificateAuthority::pem`] has changed.
    ///
    /// # Errors
    /// The file cannot be written; nothing has changed then.
    pub fn maintain(&mut self, now: SystemTime) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let mut changed = false;
        if self.generations.iter().all(|made| made.not_after < now + OVERLAP) {
            let next = Generation::new(now).map_err(io::Error::other)?;
            let kept = self.generations.iter().filter(|made| made.not_after > now).chain([&next]);
            let is_first = self.generations.is_empty();
            let parts: Vec<_> = kept.filter_map(Generation::secret_pem).collect();
            if write(file, &parts, is_first)? {
                self.generations.push(next);
            } else {
                // Another gateway has created it in the meantime.
                let pem = Zeroizing::new(fs::read(file)?);
                self.generations = generations(&pem, &pem).map_err(io::Error::other)?;
            }
            changed = true;
        }
        let count = self.generations.len();
        self.generations.retain(|made| made.not_after > now);
        Ok(changed || self.generations.len() != count)
    }

    /// When the last root expires; `None` without a root.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.generations.iter().map(|made| made.not_after).max()
    }

    /// Signs a leaf for this host, a DNS name in lower case.
    ///
    /// # Errors
    /// There is no valid signing key, or the host is not a DNS name.
    pub fn issue(&self, host: &str, key: &KeyPair, now: SystemTime) -> Result<Leaf, String> {
        // Callers that fetched the roots long ago know only the oldest, so it signs as long as it may.
        let usable = |made: &&Generation| made.issuer.is_some() && made.not_after > now;
        let signing = self.generations.iter().filter(usable).find(|made| made.not_after > now + RETIRES);
        let signing = signing.or_else(|| self.generations.iter().rfind(usable));
        let signing = signing
            .ok_or("the forward proxy's CA has expired; renew it, and have callers fetch the new one")?;
        let issuer = signing.issuer.as_ref().ok_or("the forward proxy's CA has no private key")?;
        let not_after = (now - BACKDATED + LEAF_LIFETIME).min(signing.not_after);
        let mut params = CertificateParams::default();
        params.distinguished_name = named(host);
        params.subject_alt_names =
            vec![SanType::DnsName(host.try_into().map_err(|_| format!("{host:?} is not a host name"))?)];
        params.serial_number = Some(serial_number());
        params.not_before = (now - BACKDATED).into();
        params.not_after = not_after.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(key, issuer).map_err(|error| error.to_string())?;
        Ok(Leaf { chain: vec![leaf.der().clone(), signing.intermediate.clone()], not_after })
    }
}

impl Generation {
    fn new(now: SystemTime) -> Result<Self, rcgen::Error> {
        let not_after = now + CA_LIFETIME;
        let year = jiff::Timestamp::try_from(now).map(|now| now.strftime("%Y-%m").to_string());
        let year = year.unwrap_or_default();
        // A random number besides the date, so that two gateways' roots have different names.
        let number = fastrand::u32(..);
        let params = |what: &str, constraint, purposes: &[ExtendedKeyUsagePurpose]| {
            let mut params = CertificateParams::default();
            params.distinguished_name = named(&format!("boxgate {what} {year} {number:08x}"));
            params.serial_number = Some(serial_number());
            params.not_before = (now - BACKDATED).into();
            params.not_after = not_after.into();
            params.is_ca = IsCa::Ca(constraint);
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params.extended_key_usages = purposes.to_vec();
            params.name_constraints = Some(constraints());
            params
        };
        let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let root_params = params("root", BasicConstraints::Constrained(1), &[]);
        let root = root_params.self_signed(&root_key)?;
        // The root's key is dropped with this issuer, at the end of this function.
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let own =
            params("intermediate", BasicConstraints::Constrained(0), &[ExtendedKeyUsagePurpose::ServerAuth]);
        let intermediate = own.signed_by(&key, &root_issuer)?;
        let secret = Some(Secret::new(key.serialize_pem()));
        let issuer = Some(Issuer::new(own, key));
        let (root, intermediate) = (root.der().clone(), intermediate.der().clone());
        Ok(Self { root, intermediate, not_after, issuer, _key: secret })
    }

    /// Certificates and key as stored in the file.
    fn secret_pem(&self) -> Option<Zeroizing<String>> {
        let key = Zeroizing::new(self.issuer.as_ref()?.key().serialize_pem());
        Some(Zeroizing::new(format!(
            "{}{}{}",
            certificate_pem(&self.root),
            certificate_pem(&self.intermediate),
            key.as_str()
        )))
    }
}

/// Unique among the certificates of an issuer, positive, at most 20 bytes (RFC 5280 §4.1.2.2).
fn serial_number() -> SerialNumber {
    let mut number = fastrand::u128(..).to_be_bytes();
    if let Some(first) = number.first_mut() {
        *first = *first & 0x7f | 0x40;
    }
    SerialNumber::from(number.to_vec())
}

fn named(name: &str) -> DistinguishedName {
    let mut named = DistinguishedName::new();
    // RFC 5280: a common name has at most 64 characters. The subjectAltName holds the name as well.
    if name.len() <= 64 {
        named.push(DnType::CommonName, name);
    }
    named
}

fn constraints() -> NameConstraints {
    NameConstraints {
        permitted_subtrees: PERMITTED_DOMAINS.map(|domain| GeneralSubtree::DnsName(domain.to_owned())).into(),
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    }
}

/// Pairs each intermediate with its root, by issuer name, and with its private key, by public key.
fn generations(certificates: &[u8], keys: &[u8]) -> Result<Vec<Generation>, String> {
    let (certificates, keys) = (without_byte_order_mark(certificates), without_byte_order_mark(keys));
    let damaged = |_| "damaged PEM".to_owned();
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>().map_err(damaged)?;
    let mut key_pairs = Vec::new();
    for key in PrivatePkcs8KeyDer::pem_slice_iter(keys) {
        let key = key.map_err(damaged)?;
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| "a private key is not ECDSA P-256 in PKCS#8")?;
        key_pairs.push(pair);
    }
    let parsed: Vec<X509Certificate<'_>> = certificates
        .iter()
        .map(|der| X509Certificate::from_der(der).map(|(_, parsed)| parsed))
        .collect::<Result<_, _>>()
        .map_err(|_| "a certificate cannot be read")?;
    let mut generations = Vec::new();
    for (der, intermediate) in certificates.iter().zip(&parsed) {
        if intermediate.subject() == intermediate.issuer() {
            continue;
        }
        let signed = |root: &X509Certificate<'_>| {
            root.subject() == intermediate.issuer()
                && root.subject() == root.issuer()
                && intermediate.verify_signature(Some(root.public_key())).is_ok()
        };
        let found = certificates.iter().zip(&parsed).find(|(_, root)| signed(root));
        let (root_der, root) =
            found.ok_or_else(|| format!("the root that signed {} is missing", intermediate.subject()))?;
        let public = intermediate.public_key().raw;
        let key = key_pairs.iter().position(|pair| pair.subject_public_key_info() == public);
        let issuer = key.map(|key| Issuer::from_ca_cert_der(der, key_pairs.swap_remove(key))).transpose();
        let ends = |certificate: &X509Certificate<'_>| certificate.validity().not_after.timestamp();
        let not_after = u64::try_from(ends(intermediate).min(ends(root))).unwrap_or_default();
        let issuer = issuer.map_err(|error| error.to_string())?;
        generations.push(Generation {
            root: root_der.clone(),
            intermediate: der.clone(),
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(not_after),
            _key: issuer.as_ref().map(|issuer| Secret::new(issuer.key().serialize_pem())),
            issuer,
        });
    }
    if !generations.iter().any(|made| made.issuer.is_some()) {
        return Err("there is no intermediate with its private key".to_owned());
    }
    generations.sort_by_key(|made| made.not_after);
    Ok(generations)
}

fn certificate_pem(der: &CertificateDer<'_>) -> String {
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der.to_vec()), unix)
}

/// Writes the file atomically, readable by its owner only. `is_new`: only if it does not exist yet. Returns whether it
/// was written.
fn write(file: &Path, parts: &[Zeroizing<String>], is_new: bool) -> io::Result<bool> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let beside = file.with_extension(format!("{}-{:016x}.tmp", std::process::id(), fastrand::u64(..)));
    let written = (|| {
        let mut open = fs::OpenOptions::new();
        let mut out = open.write(true).create_new(true).mode(0o600).open(&beside)?;
        for part in parts {
            out.write_all(part.as_bytes())?;
        }
        out.sync_all()?;
        if !is_new {
            return fs::rename(&beside, file).map(|()| true);
        }
        match fs::hard_link(&beside, file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true),
        }
    })();
    if is_new || written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let name = format!("boxgate-ca-{}-{:016x}", std::process::id(), fastrand::u64(..));
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn roots(authority: &CertificateAuthority) -> usize {
        authority.pem().matches("BEGIN CERTIFICATE").count() / 2
    }

    fn signer(authority: &CertificateAuthority, now: SystemTime) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let leaf = authority.issue("api.box.com", &key, now).unwrap();
        assert!(leaf.not_after > now && leaf.not_after < now + DAY * 30);
        leaf.chain[1].clone()
    }

    #[test]
    fn it_is_created_once_with_mode_600_and_loaded_again() {
        use std::os::unix::fs::PermissionsExt as _;
        let (folder, now) = (Folder::new(), crate::net::clock::Clock::real().wall());
        let made = CertificateAuthority::open(&folder.0, now).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.0.join(FILE))), (0o700, 0o600));
        let again = CertificateAuthority::open(&folder.0, now).unwrap();
        assert_eq!((made.pem(), roots(&made)), (again.pem(), 1));
        assert_eq!(signer(&made, now), signer(&again, now));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_root_gets_its_successor_a_year_before_it_expires_and_signs_nearly_until_then() {
        let (folder, now) = (Folder::new(), crate::net::clock::Clock::real().wall());
        let mut authority = CertificateAuthority::open(&folder.0, now).unwrap();
        let (end, first) = (authority.not_after().unwrap(), signer(&authority, now));
        assert!(!authority.maintain(end - OVERLAP - DAY).unwrap());
        assert!(authority.maintain(end - OVERLAP + DAY).unwrap());
        assert!(!authority.maintain(end - OVERLAP + DAY).unwrap());
        assert_eq!(roots(&authority), 2);
        assert_eq!(signer(&authority, end - RETIRES - DAY), first);
        let second = signer(&authority, end - RETIRES + DAY);
        assert_ne!(second, first);
        // A restart in between loads both.
        let again = CertificateAuthority::open(&folder.0, end - RETIRES + DAY).unwrap();
        assert_eq!((again.pem(), signer(&again, end - RETIRES + DAY)), (authority.pem(), second));
        assert!(authority.maintain(end + DAY).unwrap());
        assert_eq!(roots(&authority), 1);
    }

    #[test]
    fn a_configured_ca_needs_the_root_and_one_key_and_is_not_renewed() {
        let (folder, now) = (Folder::new(), crate::net::clock::Clock::real().wall());
        let made = CertificateAuthority::open(&folder.0, now).unwrap();
        let kept = fs::read(folder.0.join(FILE)).unwrap();
        let mut given = CertificateAuthority::given(made.pem().as_bytes(), &kept).unwrap();
        assert_eq!(signer(&given, now), signer(&made, now));
        assert!(!given.maintain(now + CA_LIFETIME).unwrap());
        let key = KeyPair::generate().unwrap();
        assert!(given.issue("api.box.com", &key, now + CA_LIFETIME + DAY).is_err());
        let other = CertificateAuthority::open(&Folder::new().0, now).unwrap();
        let refused = |certificates: &str, key: &[u8]| {
            CertificateAuthority::given(certificates.as_bytes(), key).err().unwrap()
        };
        assert!(refused(&made.pem(), made.pem().as_bytes()).contains("private key"));
        assert!(refused(&other.pem(), &kept).contains("private key"));
        let pem = made.pem();
        let intermediate = pem.split_at(pem.rfind("-----BEGIN").unwrap()).1.to_owned();
        assert!(refused(&intermediate, &kept).contains("root that signed"), "{intermediate}");
        assert!(refused("", &kept).contains("private key"));
    }

    #[test]
    fn gateways_that_start_at_the_same_time_share_one_ca() {
        let (folder, now) = (Folder::new(), crate::net::clock::Clock::real().wall());
        let opened: Vec<_> = (0..8)
            .map(|_| {
                let folder = folder.0.clone();
                std::thread::spawn(move || CertificateAuthority::open(&folder, now).unwrap().pem())
            })
            .collect();
        let pems: std::collections::BTreeSet<String> =
            opened.into_iter().map(|opening| opening.join().unwrap()).collect();
        assert_eq!(pems.len(), 1);
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    }
}
