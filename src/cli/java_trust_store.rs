//! A trust store for Java: a JKS file with only certificates, which every JDK reads without a password.
//!
//! Format: big-endian; magic, version 2, count; for each certificate tag 2, alias, time, "X.509", length, DER; at the
//! end a SHA-1 keyed with a password, which Java verifies only if it is given one.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;

const MAGIC: u32 = 0xFEED_FEED;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 2;
/// The password of Java's own trust store; it protects nothing.
const PASSWORD: &str = "changeit";
/// Part of the format.
const SALT: &[u8] = b"Mighty Aphrodite";

/// The bytes of a trust store. The same certificates give the same bytes.
pub(super) fn encode(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut store = Vec::new();
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_be_bytes();
    let text = |store: &mut Vec<u8>, text: &str| {
        store.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        store.extend_from_slice(text.as_bytes());
    };
    store.extend_from_slice(&MAGIC.to_be_bytes());
    store.extend_from_slice(&VERSION.to_be_bytes());
    store.extend_from_slice(&number(certificates.len()));
    for (index, certificate) in certificates.iter().enumerate() {
        store.extend_from_slice(&TRUSTED_CERTIFICATE.to_be_bytes());
        text(&mut store, &format!("root-{index}"));
        // The time of adding: unused, and constant so that the same certificates give the same content.
        store.extend_from_slice(&0_u64.to_be_bytes());
        text(&mut store, "X.509");
        store.extend_from_slice(&number(certificate.len()));
        store.extend_from_slice(certificate);
    }
    let mut sum = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    let password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for part in [&password[..], SALT, &store] {
        sum.update(part);
    }
    store.extend_from_slice(sum.finish().as_ref());
    store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_certificates_give_the_same_bytes_and_all_are_in_it() {
        let certificates = [&b"one"[..], b"two"].map(CertificateDer::from);
        let store = encode(&certificates);
        assert_eq!(store, encode(&certificates));
        assert_eq!(store[..12], [0xFE, 0xED, 0xFE, 0xED, 0, 0, 0, 2, 0, 0, 0, 2]);
        let first = [&[0, 0, 0, 2, 0, 6][..], b"root-0", &[0; 8], &[0, 5], b"X.509", &[0, 0, 0, 3], b"one"];
        assert_eq!(store[12..12 + first.concat().len()], first.concat());
        assert_eq!(store.len(), 12 + 2 * first.concat().len() + 20);
    }
}
