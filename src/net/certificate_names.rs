//! The names in a certificate by which it can be told from others: URIs, such as SPIFFE ids, and DNS names.

use x509_parser::extensions::GeneralName;

/// The URIs and DNS names of a certificate's subject alternative names (RFC 5280 §4.2.1.6). The common name is not among
/// them: it is text for people, and a CA need not verify it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames(Vec<Box<str>>);

impl CertificateNames {
    /// Reads them from a certificate in DER. One that cannot be parsed has none.
    pub fn of(certificate: &[u8]) -> Self {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
            return Self::default();
        };
        let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Self::default() };
        let names = extension.value.general_names.iter().filter_map(|name| match name {
            // Only a URI has a colon: none can stand for the other, since a CA may verify one kind and not the other.
            GeneralName::URI(uri) if uri.contains(':') => Some((*uri).into()),
            GeneralName::DNSName(name) if !name.contains(':') => Some(name.to_ascii_lowercase().into()),
            _ => None,
        });
        Self(names.collect())
    }

    /// These names, as [`CertificateNames::of`] would read them.
    pub fn new(names: Vec<Box<str>>) -> Self {
        Self(names)
    }

    /// Whether they have a name in common.
    pub fn overlap(&self, other: &Self) -> bool {
        self.0.iter().any(|name| other.0.contains(name))
    }

    /// All names: URIs as they are, DNS names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn uris_and_dns_names_count_and_nothing_else() {
        let mut params =
            CertificateParams::new(vec!["Intranet.Corp".to_owned(), "10.1.2.3".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://corp/Intranet".try_into().unwrap()));
        params.subject_alt_names.push(SanType::URI("reports.corp".try_into().unwrap()));
        params.subject_alt_names.push(SanType::DnsName("spiffe://corp/reports".try_into().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("ops@corp.example".try_into().unwrap()));
        params.distinguished_name.push(DnType::CommonName, "reports.corp");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = CertificateNames::of(certificate.der());
        assert_eq!(names.iter().collect::<Vec<_>>(), ["intranet.corp", "spiffe://corp/Intranet"]);
        assert_eq!(CertificateNames::of(b"no certificate"), CertificateNames::default());
    }

    #[test]
    fn names_overlap_if_one_is_the_same() {
        let of = |names: &[&str]| CertificateNames::new(names.iter().map(|name| (*name).into()).collect());
        assert!(of(&["a", "b"]).overlap(&of(&["b", "c"])));
        assert!(!of(&["a"]).overlap(&of(&["c"])) && !of(&["a"]).overlap(&of(&[])));
    }
}
