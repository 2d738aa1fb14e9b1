//! What `/status.json` says of Redis.

use serde_json::Value;

use super::fleet::Fleet;
use crate::harness::until;

#[tokio::test]
async fn redis_and_its_loss_are_told() {
    let mut fleet = Fleet::new().await;
    let limit = "[[limit]]\nname = \"few\"\nkey = \"global\"\nrate = \"4/h\"\nburst = 4\n";
    let (first, second) = (fleet.gateway(limit).await, fleet.gateway(limit).await);
    let status = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    until(|| async { status(first.admin("/status.json").await.1)["redis"]["replicas"] == 2 }).await;
    assert_eq!((first.pass(3, "few").await, second.pass(2, "few").await), (3, 1));
    let now = status(second.admin("/status.json").await.1);
    let shared = serde_json::json!({"shared": true, "replicas": 2, "since": null, "reason": null});
    assert_eq!((&now["redis"], &now["notes"]), (&shared, &Value::Array(vec![])));
    let few = |now: &Value| {
        now["limits"].as_array().unwrap().iter().find(|of| of["name"] == "few").unwrap().clone()
    };
    assert_eq!((&few(&now)["limited"], &few(&now)["rate"]), (&1.into(), &"4/h".into()));
    // This process alone knows of its own call, against its share.
    let own = serde_json::json!([{"key": "", "used": 0.5, "waiting": 0}]);
    until(|| async { few(&status(second.admin("/status.json").await.1))["share"] == 2 }).await;
    assert_eq!(few(&status(second.admin("/status.json").await.1))["fullest"], own);
    fleet.redis.kill();
    until(|| async { status(first.admin("/status.json").await.1)["redis"]["shared"] == false }).await;
    let now = status(first.admin("/status.json").await.1);
    assert!(now["redis"]["since"].is_string() && now["redis"]["reason"].is_string(), "{now:#}");
    assert!(now["ready"] == true && now["notes"][0].as_str().unwrap().contains("Redis has not been usable"));
}
