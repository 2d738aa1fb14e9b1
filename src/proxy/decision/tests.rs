//! The decision table, at the decision itself. The whole program is tested with the same table.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Request;

use super::*;
use crate::access::caller::Shown;
use crate::config::{self, Overrides};
use crate::net::certificate_names::CertificateNames;
use crate::net::peer::Peer;
use crate::proxy::connect::{self, Asked};

#[path = "../../../tests/decisions/table.rs"]
mod table;

use table::{Over, Row};

const OWN: u32 = 1000;
const IDENTITIES: [&str; 4] = ["service", "uma", "aaron", "berta"];

struct Nobody;

impl Stages for Nobody {}

/// The configuration of one of the two listeners; its files are in this folder.
fn configuration(folder: &Path, is_secure: bool) -> Config {
    let tls = "tls = { cert = \"tls.crt\", key = \"tls.key\", client_ca = \"tls.crt\" }\n";
    let mut text = format!(
        "[forward_proxy]\n[listen]\naddress = [\"127.0.0.1:0\", \"unix:gate.sock\"]\n{}{}",
        table::LISTEN,
        if is_secure { tls } else { "" }
    );
    for (number, name) in IDENTITIES.into_iter().enumerate() {
        let user = number + 1;
        text.push_str(&format!(
            "[identity.{name}]\nclient_id = \"i\"\nclient_secret = \"secret\"\nuser_id = \"{user}\"\n"
        ));
    }
    text.push_str(&table::apps(OWN, is_secure));
    let config = config::from_text(&text, &folder.join("p.toml"), &Overrides::default(), &|_| None);
    config.unwrap_or_else(|problems| panic!("{problems}"))
}

fn head(method: &str, target: &str, host: &str, fields: &[(&str, String)]) -> Parts {
    let builder = Request::builder().method(method).uri(target).header("host", host);
    let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, value));
    builder.body(()).unwrap().into_parts().0
}

/// The names of app and identity, or the code of the refusal.
fn decided(config: &Config, row: &Row) -> Result<(String, String), &'static str> {
    let mut caller = Caller::outside(match row.over {
        Over::Unix => Peer::process(Some(OWN)),
        over => Peer::new(row.from.into(), over == Over::Tls),
    });
    if row.over == Over::Tls {
        let names = row.certificate.iter().map(|name| match name.contains(':') {
            true => (*name).into(),
            false => name.to_lowercase().into(),
        });
        caller.shown = Some(Rc::new(Shown::with_names(CertificateNames::new(names.collect()))));
    }
    let code = |refusal: Refusal| refusal.status_and_code().1;
    let mut fields: Vec<(&str, String)> =
        row.fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let forwarded = row.client.map(|client| ("x-forwarded-for", client.to_owned()));
    if row.in_tunnel {
        let user = row.user.map(|user| ("proxy-authorization", format!("Basic {}", STANDARD.encode(user))));
        let on_connect: Vec<_> = forwarded.into_iter().chain(user).collect();
        let connect = head("CONNECT", "api.box.com:443", "api.box.com:443", &on_connect);
        let inside = match connect::admit(config, &caller, &connect, &mut Nobody).map_err(code)? {
            Asked::Box(inside) => inside,
            Asked::Other { authority } => panic!("{authority} is Box's"),
        };
        (caller.peer.secure, caller.inside) = (true, Some(Arc::new(inside)));
    } else {
        fields.extend(forwarded);
    }
    let host = row.host.unwrap_or(if row.in_tunnel { "api.box.com" } else { "localhost" });
    match decide(config, None, &caller, &head("GET", &row.path, host, &fields), &mut Nobody).map_err(code)? {
        Decision::Own(_) => panic!("the gateway answers it itself"),
        Decision::Box(ForBox { app, request, .. }) => {
            let identity = &config.identities[request.identity.index()];
            Ok((app.name.clone(), identity.name.clone()))
        }
    }
}

#[test]
fn each_request_of_the_decision_table_gets_its_app_and_identity_or_its_refusal() {
    let folder =
        std::env::temp_dir().join(format!("boxgate-table-{}-{}", std::process::id(), fastrand::u64(..)));
    std::fs::create_dir(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    let configurations = [false, true].map(|is_secure| configuration(&folder, is_secure));
    std::fs::remove_dir_all(&folder).unwrap();
    let rows = table::rows();
    assert!(rows.len() > 80, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let config = &configurations[usize::from(row.over.is_of_secure_listener())];
        let wanted = row.wanted.map(|(app, identity)| (app.to_owned(), identity.to_owned()));
        let decided = decided(config, row);
        if decided != wanted {
            wrong.push(format!("{}: {decided:?}", row.text));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
