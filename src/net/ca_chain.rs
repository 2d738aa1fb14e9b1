//! The CA of a gateway's forward proxy, checked before a program is made to trust it.
//!
//! A root without constraints could sign a certificate for any host: a program that trusts it for Box would also trust
//! it for a bank. So a file is accepted only if critical name constraints limit every certificate in it to Box's
//! domains. A stolen key of such a CA, or a hostile gateway, can then impersonate only Box.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, GeneralSubtree};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256, OID_X509_EXT_NAME_CONSTRAINTS,
};
use x509_parser::prelude::FromDer as _;

/// The domains for which the CA may sign, each with its subdomains: those that a gateway makes its CA for.
pub use super::certificate_authority::PERMITTED_DOMAINS;

/// The addresses for which it may not sign, as RFC 5280 encodes them (address, then mask): all of IPv4.
pub const EXCLUDED_IPV4: [u8; 8] = [0; 8];
/// All of IPv6, in the same encoding.
pub const EXCLUDED_IPV6: [u8; 32] = [0; 32];

/// While a CA is renewed, two pairs of root and intermediate are expected.
const MOST_CERTIFICATES: usize = 8;

/// Roots, each with exactly one intermediate, all of them with exactly the constraints above.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaChain {
    /// In the order of the file: root, intermediate.
    pairs: Vec<(CertificateDer<'static>, CertificateDer<'static>)>,
}

impl CaChain {
    /// Parses a PEM file and checks it, with `now` as the time for validity.
    ///
    /// # Errors
    /// Names the certificate by its subject, what is wrong with it, and what is expected.
    pub fn parse(pem: &[u8], now: Timestamp) -> Result<Self, String> {
        let ders = certificates(pem)?;
        let mut parsed = Vec::with_capacity(ders.len());
        for (number, der) in ders.iter().enumerate() {
            let (rest, certificate) = X509Certificate::from_der(der)
                .map_err(|error| format!("certificate {} cannot be read: {error}", number + 1))?;
            if !rest.is_empty() {
                return Err(format!("certificate {} is followed by {} extra bytes", number + 1, rest.len()));
            }
            check(&certificate, now).map_err(|words| format!("{}: {words}", name(&certificate)))?;
            parsed.push((der, certificate));
        }
        let is_root = |certificate: &X509Certificate<'_>| {
            certificate.subject().as_raw() == certificate.issuer().as_raw()
        };
        let (roots, intermediates): (Vec<_>, Vec<_>) =
            parsed.iter().partition(|(_, certificate)| is_root(certificate));
        for (_, root) in &roots {
            root.verify_signature(None).map_err(|_| {
                format!("{}: names itself as its issuer, but is not signed with its own key", name(root))
            })?;
        }
        let mut by_root = vec![None; roots.len()];
        for (der, intermediate) in &intermediates {
            check_intermediate(intermediate).map_err(|words| format!("{}: {words}", name(intermediate)))?;
            let mut signers = roots.iter().zip(&mut by_root).filter(|((_, root), _)| {
                root.subject().as_raw() == intermediate.issuer().as_raw()
                    && intermediate.verify_signature(Some(root.public_key())).is_ok()
            });
            let (Some((_, slot)), None) = (signers.next(), signers.next()) else {
                return Err(format!(
                    "{}: is not signed by exactly one root in the same file",
                    name(intermediate)
                ));
            };
            if slot.replace((*der).clone()).is_some() {
                return Err(format!("{}: its root has signed another certificate too", name(intermediate)));
            }
        }
        let mut pairs = Vec::with_capacity(roots.len());
        for ((der, root), intermediate) in roots.iter().zip(by_root) {
            let intermediate = intermediate
                .ok_or_else(|| format!("{}: has signed no intermediate in the same file", name(root)))?;
            pairs.push(((*der).clone(), intermediate));
        }
        if pairs.is_empty() {
            return Err("the file has no root (a self-signed certificate)".to_owned());
        }
        Ok(Self { pairs })
    }

    /// The roots. Only they go into a trust store: some programs (Java) do not apply the constraints of the trust
    /// anchor itself, so those of the intermediate below it must apply.
    pub fn roots(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.pairs.iter().map(|(root, _)| root)
    }

    /// SHA-256 of the first root's DER, 64 lower-case hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        self.pairs.first().map(|(root, _)| fingerprint(root)).unwrap_or_default()
    }

    /// Only the chain whose root has this fingerprint; other chains in the file are dropped. `expected`: 64 hexadecimal
    /// digits in any case, with or without colons.
    ///
    /// # Errors
    /// `expected` is no SHA-256 fingerprint, or no root has it.
    pub fn pinned(self, expected: &str) -> Result<Self, String> {
        let digits: String =
            expected.chars().filter(|c| *c != ':' && !c.is_whitespace()).collect::<String>().to_lowercase();
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!(
                "{expected:?} is not a SHA-256 fingerprint: 64 hexadecimal digits, colons between them allowed"
            ));
        }
        let found: Vec<_> = self.roots().map(fingerprint).collect();
        let pairs: Vec<_> = self.pairs.into_iter().filter(|(root, _)| fingerprint(root) == digits).collect();
        if pairs.is_empty() {
            return Err(format!("no root has the fingerprint {digits}; found: {}", found.join(" ")));
        }
        Ok(Self { pairs })
    }
}

fn fingerprint(der: &CertificateDer<'_>) -> String {
    digest(&SHA256, der).as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The certificates of a file that has nothing else in it.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "the file is damaged PEM".to_owned())?;
    if certificates.is_empty() {
        return Err("the file has no certificate in it".to_owned());
    }
    // Counted in the text, since the parser skips PEM sections that it does not know.
    let begin = b"-----BEGIN ";
    let sections = pem.windows(begin.len()).filter(|window| window == begin).count();
    if sections != certificates.len() {
        return Err("the file holds something other than certificates; it must not hold a key".to_owned());
    }
    if certificates.len() > MOST_CERTIFICATES {
        return Err(format!(
            "the file has {} certificates; at most {MOST_CERTIFICATES} are expected",
            certificates.len()
        ));
    }
    Ok(certificates)
}

/// By its subject, as it may be shown on a terminal.
fn name(certificate: &X509Certificate<'_>) -> String {
    format!("{:?}", certificate.subject().to_string())
}

/// The checks that apply to both roots and intermediates.
fn check(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), String> {
    let key = &certificate.public_key().algorithm;
    let curve = key.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    if key.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
        return Err("its key is not ECDSA P-256".to_owned());
    }
    if certificate.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
        return Err("it is not signed with ECDSA and SHA-256".to_owned());
    }
    let validity = certificate.validity();
    if now.as_second() < validity.not_before.timestamp() {
        return Err(format!(
            "it is not valid yet (from {}); is the clock of this machine right?",
            validity.not_before
        ));
    }
    if now.as_second() > validity.not_after.timestamp() {
        return Err(format!("it has expired ({}); is the clock of this machine right?", validity.not_after));
    }
    match twice(certificate.basic_constraints())? {
        Some(basic) if basic.critical && basic.value.ca => {}
        Some(basic) if basic.value.ca => return Err("its basic constraints are not critical".to_owned()),
        _ => return Err("it is not a CA (basic constraints CA:TRUE)".to_owned()),
    }
    match twice(certificate.key_usage())? {
        Some(usage) if usage.value.key_cert_sign() => {}
        _ => return Err("its key usage does not allow signing certificates (keyCertSign)".to_owned()),
    }
    name_constraints(certificate)
}

fn check_intermediate(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let path = twice(certificate.basic_constraints())?.and_then(|basic| basic.value.path_len_constraint);
    if path != Some(0) {
        return Err("its path length is not limited to 0, so it could make further CAs".to_owned());
    }
    let usage = twice(certificate.extended_key_usage())?;
    let is_server_alone = usage.is_some_and(|usage| {
        let usage = usage.value;
        usage.server_auth
            && !(usage.any
                || usage.client_auth
                || usage.code_signing
                || usage.email_protection
                || usage.time_stamping
                || usage.ocsp_signing)
            && usage.other.is_empty()
    });
    if !is_server_alone {
        return Err("its extended key usage is not exactly serverAuth".to_owned());
    }
    Ok(())
}

fn twice<T, E>(found: Result<T, E>) -> Result<T, String> {
    found.map_err(|_| "an extension is damaged or occurs twice".to_owned())
}

/// Exactly the constraints above, critical, in any order.
fn name_constraints(certificate: &X509Certificate<'_>) -> Result<(), String> {
    let Some(constraints) = twice(certificate.name_constraints())? else {
        return Err(format!(
            "it has no name constraints, so it could sign any host; expected: {}",
            expected()
        ));
    };
    if !constraints.critical {
        return Err("its name constraints are not critical, so a program may ignore them".to_owned());
    }
    let permitted = constraints.value.permitted_subtrees.as_deref().unwrap_or_default();
    let excluded = constraints.value.excluded_subtrees.as_deref().unwrap_or_default();
    let domains: Option<BTreeSet<&str>> = permitted
        .iter()
        .map(|subtree| match subtree.base {
            GeneralName::DNSName(name) => Some(name),
            _ => None,
        })
        .collect();
    if permitted.len() != PERMITTED_DOMAINS.len() || domains != Some(PERMITTED_DOMAINS.into()) {
        let found = listed(permitted);
        return Err(format!("its name constraints permit {found}; expected: {}", expected()));
    }
    let networks: Option<BTreeSet<&[u8]>> = excluded
        .iter()
        .map(|subtree| match subtree.base {
            GeneralName::IPAddress(network) => Some(network),
            _ => None,
        })
        .collect();
    if excluded.len() != 2 || networks != Some([&EXCLUDED_IPV4[..], &EXCLUDED_IPV6[..]].into()) {
        let found = listed(excluded);
        return Err(format!("its name constraints exclude {found}; expected: {}", expected()));
    }
    // The parser skips a subtree's minimum and maximum, and anything after the two lists. So the extension is encoded
    // again from what was read and compared; both lists are short enough for one-byte lengths.
    let raw = twice(certificate.get_extension_unique(&OID_X509_EXT_NAME_CONSTRAINTS))?;
    let again = tagged(0x30, &[subtrees(0xa0, permitted), subtrees(0xa1, excluded)].concat());
    if raw.is_none_or(|raw| raw.value != again) {
        return Err("its name constraints hold more than names and networks".to_owned());
    }
    Ok(())
}

fn expected() -> String {
    format!("permitted {}, excluded 0.0.0.0/0 and ::/0, nothing else", PERMITTED_DOMAINS.join(", "))
}

fn listed(subtrees: &[GeneralSubtree<'_>]) -> String {
    if subtrees.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<String> = subtrees.iter().map(|subtree| subtree.base.to_string()).collect();
    format!("{:?}", names.join(", "))
}

fn subtrees(tag: u8, subtrees: &[GeneralSubtree<'_>]) -> Vec<u8> {
    let encoded: Vec<u8> = subtrees
        .iter()
        .flat_map(|subtree| {
            tagged(
                0x30,
                &match subtree.base {
                    GeneralName::DNSName(name) => tagged(0x82, name.as_bytes()),
                    GeneralName::IPAddress(network) => tagged(0x87, network),
                    _ => Vec::new(),
                },
            )
        })
        .collect();
    tagged(tag, &encoded)
}

/// DER of a value of less than 128 bytes. A longer one yields bytes that equal no valid encoding.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).ok().filter(|length| *length < 128);
    length.map(|length| [&[tag, length], value].concat()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
