//! `docs/observability.md` lists every field of an audit line.

use std::collections::BTreeSet;

use super::*;

const TEXT: &str = include_str!("../../../docs/observability.md");

#[tokio::test]
async fn every_field_is_documented_and_every_documented_field_exists() {
    let bench = bench("").await;
    asked(&bench, Method::DELETE, "/2.0/files/17", &json!({})).send().await.unwrap();
    let line = lines(&bench, 1).await.remove(0);
    let table = TEXT.split("| audit field |").nth(1).unwrap();
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let documented: BTreeSet<&str> =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2)).collect();
    let has: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(has, documented);
}
