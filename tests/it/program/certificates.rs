//! Certificate authorities for tests, and certificates that they sign.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::harness::Folder;

pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) cert: String,
    pub(super) key: String,
}

impl Authority {
    /// `name` must be unique, since issuers are found by name.
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Of `localhost`.
    pub(super) fn server(&self) -> Made {
        self.server_of(2020, 2120)
    }

    /// Valid from the beginning of one year to that of another.
    pub(super) fn server_of(&self, from: i32, to: i32) -> Made {
        let mut params =
            CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        self.sign(params)
    }

    /// Of the hosts of Box that the forward proxy stands for.
    pub(super) fn box_hosts(&self) -> Made {
        let names = ["api.box.com", "upload.box.com", "dl.boxcloud.com"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// Of a caller.
    pub(super) fn client(&self) -> Made {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "caller");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    /// Of a caller, with these URIs and DNS names.
    pub(super) fn client_of(&self, names: &[&str]) -> Made {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let name = |name: &&str| match name.contains(':') {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        self.sign(params)
    }

    pub(super) fn sign(&self, params: CertificateParams) -> Made {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().pem();
        Made { cert, key: key.serialize_pem() }
    }
}

impl Made {
    /// As `tls.crt` and `tls.key`.
    pub(super) fn write(&self, folder: &Folder) {
        folder.write("tls.crt", &self.cert);
        folder.write("tls.key", &self.key);
    }
}
