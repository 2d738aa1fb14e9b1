use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CidrSubnet, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree as Subtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm,
    date_time_ymd,
};

use super::*;

const NAME_CONSTRAINTS: [u64; 4] = [2, 5, 29, 30];

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn constraints() -> NameConstraints {
    NameConstraints {
        permitted_subtrees: PERMITTED_DOMAINS.map(|name| Subtree::DnsName(name.to_owned())).to_vec(),
        excluded_subtrees: vec![
            Subtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            Subtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    }
}

fn root() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "root");
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2036, 1, 1));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(constraints());
    params
}

fn intermediate() -> CertificateParams {
    let mut params = root();
    params.distinguished_name.push(DnType::CommonName, "intermediate");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn key(kind: &'static SignatureAlgorithm) -> KeyPair {
    KeyPair::generate_for(kind).unwrap()
}

/// Root and intermediate.
fn signed(root: CertificateParams, intermediate: &CertificateParams) -> (Certificate, Certificate) {
    signed_with(root, &PKCS_ECDSA_P256_SHA256, intermediate, &PKCS_ECDSA_P256_SHA256)
}

fn signed_with(
    root: CertificateParams,
    root_kind: &'static SignatureAlgorithm,
    intermediate: &CertificateParams,
    kind: &'static SignatureAlgorithm,
) -> (Certificate, Certificate) {
    let root_key = key(root_kind);
    let own = root.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root, root_key);
    (own, intermediate.signed_by(&key(kind), &issuer).unwrap())
}

fn pem(certificates: &[&Certificate]) -> String {
    certificates.iter().map(|certificate| certificate.pem()).collect()
}

fn parsed(root: CertificateParams, intermediate: &CertificateParams) -> Result<CaChain, String> {
    let (root, intermediate) = signed(root, intermediate);
    CaChain::parse(pem(&[&root, &intermediate]).as_bytes(), now())
}

/// Changes the root and then the intermediate in the same way; both must be refused with all of these words.
fn each_refused(change: impl Fn(&mut CertificateParams), words: &[&str]) {
    let (mut changed_root, mut changed_intermediate) = (root(), intermediate());
    change(&mut changed_root);
    change(&mut changed_intermediate);
    refused(parsed(changed_root, &intermediate()), &[words, &["root"]].concat());
    refused(parsed(root(), &changed_intermediate), &[words, &["intermediate"]].concat());
}

fn refused(parsed: Result<CaChain, String>, words: &[&str]) {
    let said = parsed.expect_err("it is refused");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
}

/// An extension with these constraints, encoded by the test.
fn raw_constraints(constraints: &[u8], critical: bool) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&NAME_CONSTRAINTS, constraints.to_vec());
    extension.set_criticality(critical);
    extension
}

fn encoded_constraints() -> Vec<u8> {
    let domains: Vec<u8> =
        PERMITTED_DOMAINS.iter().flat_map(|name| tagged(0x30, &tagged(0x82, name.as_bytes()))).collect();
    let networks =
        [tagged(0x30, &tagged(0x87, &EXCLUDED_IPV4)), tagged(0x30, &tagged(0x87, &EXCLUDED_IPV6))].concat();
    tagged(0x30, &[tagged(0xa0, &domains), tagged(0xa1, &networks)].concat())
}

#[test]
fn a_root_and_an_intermediate_with_exactly_the_constraints_pass() {
    let (own, signed) = signed(root(), &intermediate());
    let text = format!("# a comment\n{}", pem(&[&own, &signed]));
    let chain = CaChain::parse(text.as_bytes(), now()).unwrap();
    assert_eq!(chain.roots().collect::<Vec<_>>(), [own.der()]);
    let digits = chain.fingerprint();
    assert_eq!(digits.len(), 64);
    let colons: Vec<&str> =
        digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
    for given in [digits.clone(), digits.to_uppercase(), colons.join(":"), colons.join(":").to_uppercase()] {
        assert_eq!(chain.clone().pinned(&given), Ok(chain.clone()), "{given}");
    }
    refused(chain.clone().pinned(&"0".repeat(64)), &["no root has the fingerprint", &digits]);
    refused(chain.pinned("abc"), &["not a SHA-256 fingerprint"]);
}

#[test]
fn the_order_of_names_networks_and_certificates_is_free() {
    let (mut first, mut second) = (root(), intermediate());
    for params in [&mut first, &mut second] {
        let constraints = params.name_constraints.as_mut().unwrap();
        constraints.permitted_subtrees.reverse();
        constraints.excluded_subtrees.reverse();
    }
    let (own, signed) = signed(first, &second);
    CaChain::parse(pem(&[&signed, &own]).as_bytes(), now()).unwrap();
}

#[test]
fn two_pairs_pass_even_where_their_subjects_are_the_same_and_one_can_be_pinned() {
    let (old, old_intermediate) = signed(root(), &intermediate());
    let (new, new_intermediate) = signed(root(), &intermediate());
    let text = pem(&[&old, &old_intermediate, &new, &new_intermediate]);
    let chain = CaChain::parse(text.as_bytes(), now()).unwrap();
    assert_eq!(chain.roots().count(), 2);
    assert_eq!(chain.fingerprint(), fingerprint(old.der()));
    let pinned = chain.pinned(&fingerprint(new.der())).unwrap();
    assert_eq!(pinned.roots().collect::<Vec<_>>(), [new.der()]);
}

#[test]
fn no_constraints_are_refused() {
    each_refused(|params| params.name_constraints = None, &["no name constraints", "box-gov.com"]);
}

#[test]
fn constraints_that_are_not_critical_are_refused() {
    let change = |critical| {
        move |params: &mut CertificateParams| {
            params.name_constraints = None;
            params.custom_extensions.push(raw_constraints(&encoded_constraints(), critical));
        }
    };
    each_refused(change(false), &["not critical"]);
    // Except for the critical flag, this extension equals rcgen's.
    let (mut first, mut second) = (root(), intermediate());
    change(true)(&mut first);
    change(true)(&mut second);
    parsed(first, &second).unwrap();
}

#[test]
fn constraints_twice_are_refused() {
    each_refused(
        |params| params.custom_extensions.push(raw_constraints(&encoded_constraints(), true)),
        &["twice"],
    );
}

#[test]
fn another_set_of_domains_is_refused() {
    let changes: [fn(&mut Vec<Subtree>); 7] = [
        |domains| domains.push(Subtree::DnsName("example.com".to_owned())),
        |domains| domains.push(Subtree::DnsName("box.com".to_owned())),
        |domains| domains.push(Subtree::Rfc822Name("box.com".to_owned())),
        |domains| domains.truncate(3),
        |domains| domains.clear(),
        |domains| domains[0] = Subtree::DnsName(".box.com".to_owned()),
        |domains| domains[0] = Subtree::DnsName("com".to_owned()),
    ];
    for change in changes {
        each_refused(
            |params| change(&mut params.name_constraints.as_mut().unwrap().permitted_subtrees),
            &["name constraints", "box-gov.com"],
        );
    }
}

#[test]
fn another_set_of_excluded_networks_is_refused() {
    let changes: [fn(&mut Vec<Subtree>); 6] = [
        |networks| networks.clear(),
        |networks| networks.truncate(1),
        |networks| drop(networks.remove(0)),
        |networks| networks[0] = Subtree::IpAddress(CidrSubnet::V4([10, 0, 0, 0], [255, 0, 0, 0])),
        |networks| networks.push(Subtree::DnsName("api.box.com".to_owned())),
        |networks| networks.push(Subtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4]))),
    ];
    for change in changes {
        each_refused(
            |params| change(&mut params.name_constraints.as_mut().unwrap().excluded_subtrees),
            &["name constraints exclude", "0.0.0.0/0"],
        );
    }
}

#[test]
fn constraints_with_anything_beside_names_are_refused() {
    let good = encoded_constraints();
    // A third list after the two.
    let third = tagged(0x30, &[&good[2..], &[0xa2, 0x00]].concat());
    // A minimum of 1 in the first subtree.
    let mut names: Vec<Vec<u8>> =
        PERMITTED_DOMAINS.iter().map(|name| tagged(0x30, &tagged(0x82, name.as_bytes()))).collect();
    names[0] = tagged(0x30, &[&names[0][2..], &[0x80, 0x01, 0x01]].concat());
    let networks =
        [tagged(0x30, &tagged(0x87, &EXCLUDED_IPV4)), tagged(0x30, &tagged(0x87, &EXCLUDED_IPV6))].concat();
    let minimum = tagged(0x30, &[tagged(0xa0, &names.concat()), tagged(0xa1, &networks)].concat());
    for odd in [third, minimum] {
        let change = |params: &mut CertificateParams| {
            params.name_constraints = None;
            params.custom_extensions.push(raw_constraints(&odd, true));
        };
        let mut changed = root();
        change(&mut changed);
        assert!(parsed(changed, &intermediate()).is_err());
        let mut changed = intermediate();
        change(&mut changed);
        assert!(parsed(root(), &changed).is_err());
    }
}

#[test]
fn an_intermediate_that_could_make_further_cas_is_refused() {
    for basic in [BasicConstraints::Constrained(1), BasicConstraints::Unconstrained] {
        let mut params = intermediate();
        params.is_ca = IsCa::Ca(basic);
        refused(parsed(root(), &params), &["intermediate", "path length"]);
    }
}

#[test]
fn an_intermediate_for_anything_but_servers_is_refused() {
    use ExtendedKeyUsagePurpose::{Any, ClientAuth, CodeSigning, ServerAuth};
    for usages in
        [vec![], vec![ClientAuth], vec![ServerAuth, ClientAuth], vec![ServerAuth, CodeSigning], vec![Any]]
    {
        let mut params = intermediate();
        params.extended_key_usages = usages;
        refused(parsed(root(), &params), &["intermediate", "serverAuth"]);
    }
}

#[test]
fn certificates_that_may_not_sign_are_refused() {
    each_refused(|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature], &["keyCertSign"]);
    each_refused(|params| params.key_usages.clear(), &["keyCertSign"]);
    each_refused(|params| params.is_ca = IsCa::ExplicitNoCa, &["not a CA"]);
}

#[test]
fn an_intermediate_of_another_root_is_refused() {
    let (own, _) = signed(root(), &intermediate());
    let (_, strange) = signed(root(), &intermediate());
    refused(
        CaChain::parse(pem(&[&own, &strange]).as_bytes(), now()),
        &["intermediate", "not signed by exactly one root"],
    );
}

#[test]
fn a_root_that_only_names_itself_as_issuer_is_refused() {
    let (own, signed) = signed(root(), &intermediate());
    let issuer = Issuer::new(root(), key(&PKCS_ECDSA_P256_SHA256));
    let forged = root().signed_by(&key(&PKCS_ECDSA_P256_SHA256), &issuer).unwrap();
    refused(
        CaChain::parse(pem(&[&own, &signed, &forged]).as_bytes(), now()),
        &["root", "not signed with its own key"],
    );
}

#[test]
fn roots_and_intermediates_that_do_not_pair_up_are_refused() {
    let root_key = key(&PKCS_ECDSA_P256_SHA256);
    let own = root().self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root(), root_key);
    let [one, two] = [(), ()].map(|()| {
        let key = key(&PKCS_ECDSA_P256_SHA256);
        intermediate().signed_by(&key, &issuer).unwrap()
    });
    let parse = |certificates: &[&Certificate]| CaChain::parse(pem(certificates).as_bytes(), now());
    parse(&[&own, &one]).unwrap();
    refused(parse(&[&own]), &["has signed no intermediate"]);
    refused(parse(&[&one]), &["not signed by exactly one root"]);
    refused(parse(&[&own, &one, &two]), &["has signed another certificate too"]);
    refused(parse(&[&own, &own, &one]), &["not signed by exactly one root"]);
    refused(parse(&[&own; 9]), &["9 certificates"]);
}

#[test]
fn a_leaf_is_refused() {
    let mut leaf = CertificateParams::new(vec!["api.box.com".to_owned()]).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, "leaf");
    refused(parsed(root(), &leaf), &["leaf", "not a CA"]);
}

#[test]
fn other_kinds_of_keys_are_refused() {
    for kind in [&PKCS_ED25519, &PKCS_ECDSA_P384_SHA384] {
        let (own, signed) = signed_with(root(), kind, &intermediate(), &PKCS_ECDSA_P256_SHA256);
        refused(CaChain::parse(pem(&[&own, &signed]).as_bytes(), now()), &["root", "P-256"]);
        let (own, signed) = signed_with(root(), &PKCS_ECDSA_P256_SHA256, &intermediate(), kind);
        refused(CaChain::parse(pem(&[&own, &signed]).as_bytes(), now()), &["intermediate", "P-256"]);
    }
}

#[test]
fn expired_and_future_certificates_are_refused() {
    each_refused(|params| params.not_after = date_time_ymd(2026, 5, 31), &["has expired"]);
    each_refused(|params| params.not_before = date_time_ymd(2026, 6, 2), &["not valid yet"]);
}

#[test]
fn files_with_anything_but_certificates_are_refused() {
    let (own, signed) = signed(root(), &intermediate());
    let good = pem(&[&own, &signed]);
    let parse = |text: &str| CaChain::parse(text.as_bytes(), now());
    refused(parse(""), &["no certificate"]);
    refused(parse("<html>"), &["no certificate"]);
    refused(parse(&good[..good.len() - 40]), &[]);
    refused(parse(&good.replacen("MII", "!!!", 1)), &[]);
    refused(parse("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"), &["cannot be read"]);
    let secret = key(&PKCS_ECDSA_P256_SHA256).serialize_pem();
    refused(parse(&format!("{good}{secret}")), &["something other than certificates"]);
    let odd = secret.replace("PRIVATE KEY", "ODD THING");
    refused(parse(&format!("{good}{odd}")), &["something other than certificates"]);
}
