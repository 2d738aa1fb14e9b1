//! Zips.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_zip_is_created_downloaded_without_a_token_and_has_a_status() {
    let bench = Bench::start().await;
    let folder = bench.sandbox.add_folder("0", "Folder");
    bench.sandbox.add_file(&folder, "in.txt", Content::Bytes("inside".into()));
    let one = bench.sandbox.add_file("0", "a.txt", Content::Bytes("one".into()));
    let other = bench.sandbox.add_file(&folder, "a.txt", Content::Zeros(100_000));
    let item = |kind: &str, id: &str| json!({ "type": kind, "id": id });
    let items = [item("folder", &folder), item("file", &one), item("file", &other), item("file", "1")];
    let body = json!({ "items": items, "download_file_name": "All" });
    let asked = bench.send("POST", "/2.0/zip_downloads", body).await;
    assert_eq!(asked.status(), 202);
    let zip = json(asked).await;
    let group = zip["name_conflicts"][0].as_array().unwrap();
    assert_eq!((group.len(), &group[0]["original_name"]), (2, &json!("a.txt")));
    let status_url = zip["status_url"].as_str().unwrap();
    assert_eq!(json(bench.get(status_url).await).await["state"], "in_progress");

    let url = zip["download_url"].as_str().unwrap();
    let fetched = bench.client.get(url).send().await.unwrap();
    assert_eq!(fetched.headers()["content-type"], "application/zip");
    let disposition = fetched.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(disposition.contains("filename=\"All.zip\""), "{disposition}");
    let bytes = fetched.bytes().await.unwrap();
    let names = String::from_utf8_lossy(&bytes);
    for name in ["Folder/in.txt", "Folder/a.txt", group[0]["download_name"].as_str().unwrap()] {
        assert_eq!(names.matches(name).count(), 2, "{name}");
    }
    let status = json(bench.get(status_url).await).await;
    let expected = json!({
        "total_file_count": 4,
        "downloaded_file_count": 4,
        "skipped_file_count": 1,
        "skipped_folder_count": 0,
        "state": "succeeded",
    });
    assert_eq!(status, expected);
}

#[tokio::test]
async fn unknown_zips_are_not_found() {
    let bench = Bench::start().await;
    let url = bench.sandbox.download_url() + "/2.0/zip_downloads/x/content";
    assert_eq!(bench.client.get(url).send().await.unwrap().status(), 404);
    assert_eq!(bench.get("/2.0/zip_downloads/x/status").await.status(), 404);
    assert_eq!(bench.send("POST", "/2.0/zip_downloads", json!({ "items": [] })).await.status(), 400);
}
