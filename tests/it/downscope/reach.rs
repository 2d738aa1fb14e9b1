//! What Box says a token reaches, compared with the file or folder that was asked for: Box may give a token for everything where
//! it was asked for one folder.

use serde_json::json;

use super::*;

/// The child that the token endpoint gives with this `restricted_to`; `null`: without one.
fn stating(restricted_to: &Value) -> TokenAnswer {
    let mut answer =
        json!({ "access_token": "a-child-of-a-test", "expires_in": 3600, "token_type": "bearer" });
    if !restricted_to.is_null() {
        answer["restricted_to"] = restricted_to.clone();
    }
    body(200, &answer.to_string(), "application/json")
}

fn object(kind: &str, id: &str) -> Value {
    json!({ "type": kind, "id": id, "sequence_id": "0", "etag": "0", "name": "Reports" })
}

#[tokio::test]
async fn a_token_that_reaches_more_than_was_asked_for_is_never_sent_to_box() {
    let cases = |folder: &str| {
        let right = json!({ "scope": "base_explorer", "object": object("folder", folder) });
        [
            (
                json!([{ "scope": "base_explorer" }]),
                "base_explorer on all that the account reaches".to_owned(),
            ),
            (
                json!([{ "scope": "item_upload", "object": null }]),
                "on all that the account reaches".to_owned(),
            ),
            (json!([{ "scope": "item_upload", "object": object("folder", "0") }]), "on folder 0".to_owned()),
            (
                json!([{ "scope": "item_upload", "object": object("file", folder) }]),
                format!("on file {folder}"),
            ),
            (
                // One that is right does not make up for another.
                json!([right, { "scope": "item_upload" }]),
                "item_upload on all that the account reaches".to_owned(),
            ),
            (
                Value::from([vec![right.clone(); 300], vec![json!({ "scope": "item_delete" })]].concat()),
                "item_delete on all that the account reaches".to_owned(),
            ),
        ]
    };
    for case in 0..cases("").len() {
        let mut words = String::new();
        let narrow = Narrow::knowing(|sandbox, folder| {
            let (stated, reach) = cases(folder)[case].clone();
            sandbox.exchange_always(Some(stating(&stated)));
            words = reach;
        })
        .await;
        for answer in narrow.bench.gets(&narrow.path(), 5).await {
            assert_eq!(refusal(answer).await, (503, "token_unavailable".to_owned()), "{words}");
        }
        let (status, why) = narrow.bench.admin("/readyz").await;
        assert_eq!(status, 503, "{words}");
        let asked = format!("more than folder {}, which was asked for", narrow.folder);
        assert!(why.contains(&words) && why.contains(&asked), "{words}: {why}");
        assert_eq!(narrow.bench.sandbox.calls(), 0, "{words}");
        assert!(narrow.exchanges("failed").await >= 1.0 && narrow.exchanges("exchanged").await == 0.0);
        // It ends by itself.
        narrow.bench.sandbox.exchange_always(None);
        narrow.bench.clock.advance(Duration::from_secs(60));
        narrow.bench.until_ready().await;
        assert_eq!(narrow.bench.get(&narrow.path()).await.status(), 200);
        narrow.all_narrow();
    }
}

/// Box names what `base_…` is made of, and may grant less.
#[tokio::test]
async fn a_token_for_the_object_alone_is_used_whatever_its_scopes_are_called() {
    let narrow = Narrow::knowing(|sandbox, folder| {
        let of = |scope: &str| json!({ "scope": scope, "object": object("folder", folder) });
        sandbox.exchange_always(Some(stating(&json!([of("item_preview"), of("item_read")]))));
    })
    .await;
    narrow.bench.until_ready().await;
    assert_eq!(narrow.exchanges("exchanged").await, 1.0);
}

/// Nothing is known then of what the token reaches: neither that it is more, nor that it is not.
#[tokio::test]
async fn a_token_of_unknown_reach_is_used() {
    for stated in [Value::Null, json!([])] {
        let narrow = Narrow::with(|sandbox| sandbox.exchange_always(Some(stating(&stated)))).await;
        narrow.bench.until_ready().await;
        assert_eq!(narrow.exchanges("exchanged").await, 1.0, "{stated}");
    }
}

#[tokio::test]
async fn an_earlier_token_stays_in_use_while_box_gives_ones_that_reach_more() {
    let narrow = Narrow::start().await;
    let Narrow { bench, .. } = &narrow;
    bench.sandbox.exchange_always(Some(stating(&json!([{ "scope": "base_explorer" }]))));
    let (status, said) = narrow.renew().await;
    assert_eq!((status, &said["code"]), (503, &Value::from("token_unavailable")));
    assert!(said["message"].as_str().unwrap().contains("all that the account reaches"), "{said}");
    assert_eq!(bench.get(ME).await.status(), 200);
    assert_eq!(narrow.all_narrow(), 1);
}
