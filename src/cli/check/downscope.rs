//! What a downscoped token may do, as Box states it in its answer to the token exchange.

use super::findings::{About, Row};
use crate::oauth::identity::Downscope;
use crate::oauth::scopes;
use crate::oauth::token_exchange::{EVERYTHING, Object, Restriction};

/// Compares what Box granted with what was asked for. A token for another file or folder than the one that was asked for is none.
pub(super) fn row(about: &About, asked: &Downscope, granted: &[Restriction]) -> Row {
    let about = about.part("downscope");
    if granted.is_empty() {
        return about.info(
            "unknown",
            format!("asked for: {asked}; Box gives a token and does not say what it may do"),
            "try what the apps need",
        );
    }
    let mut may: Vec<&str> = Vec::new();
    let mut objects: Vec<Option<&Object>> = Vec::new();
    for Restriction { scope, object } in granted {
        if !may.contains(&scope.as_str()) {
            may.push(scope);
        }
        if !objects.contains(&object.as_ref()) {
            objects.push(object.as_ref());
        }
    }
    let in_words = may.iter().map(|scope| match scopes::permits(scope) {
        Some(permits) => format!("{permits} ({scope})"),
        None => (*scope).to_owned(),
    });
    let on = objects.iter().map(|object| object.map_or(EVERYTHING.to_owned(), named));
    let words = format!(
        "may {} on {}",
        in_words.collect::<Vec<_>>().join("; "),
        on.collect::<Vec<_>>().join(" and ")
    );
    let missing: Vec<&str> =
        asked.scopes.iter().map(String::as_str).filter(|scope| !may.contains(scope)).collect();
    match missing.as_slice() {
        [] => about.ok(words),
        missing => about.info(
            "narrower",
            format!("{words}; asked for and not stated: {}", missing.join(", ")),
            "where apps need it, look at Developer Console → the app → Configuration → Application Scopes",
        ),
    }
}

fn named(object: &Object) -> String {
    match object.name.as_str() {
        "" => object.to_string(),
        name => format!("{object} {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use http::uri::Authority;

    use super::super::findings::State;
    use super::*;
    use crate::oauth::identity::{Resource, ResourceKind};

    #[test]
    fn what_is_granted_is_compared_with_what_was_asked() {
        let resource = Resource {
            host: Authority::from_static("api.box.com"),
            kind: ResourceKind::Folder,
            id: "42".to_owned(),
        };
        let asked = |resource: Option<&Resource>| Downscope {
            scopes: vec!["item_preview".to_owned(), "x_new".to_owned()],
            resource: resource.cloned(),
        };
        let of = |scope: &str, object: Option<(&str, &str, &str)>| Restriction {
            scope: scope.to_owned(),
            object: object.map(|(kind, id, name)| Object {
                kind: kind.to_owned(),
                id: id.to_owned(),
                name: name.to_owned(),
            }),
        };
        let folder = Some(("folder", "42", "Re\"ports"));
        let says = |asked: &Downscope, granted: &[Restriction]| {
            let row = row(&About::new("identity", "a"), asked, granted);
            assert_eq!(row.name(), "  downscope");
            (row.state(), row.label(), row.text())
        };
        let all = [of("item_preview", folder), of("x_new", folder)];
        let words = "may preview files (item_preview); x_new on folder 42 \"Re\\\"ports\"";
        assert_eq!(says(&asked(Some(&resource)), &all), (State::Ok, "ok", words.to_owned()));

        let (state, label, text) = says(&asked(Some(&resource)), &all[..1]);
        assert_eq!((state, label), (State::Info, "narrower"));
        assert!(text.contains("not stated: x_new"), "{text}");

        let everywhere = [of("item_preview", None), of("x_new", None)];
        let (state, _, text) = says(&asked(None), &everywhere);
        assert_eq!(state, State::Ok);
        assert!(text.ends_with(" on all that the account reaches"), "{text}");

        let (state, label, text) = says(&asked(Some(&resource)), &[]);
        assert_eq!((state, label), (State::Info, "unknown"));
        assert!(text.contains("item_preview, x_new on folder 42"), "{text}");
    }
}
