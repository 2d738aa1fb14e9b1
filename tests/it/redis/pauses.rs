use super::*;

#[tokio::test]
async fn a_pause_applies_to_all_replicas_and_the_longest_wins() {
    let server = Server::start().await;
    let (one, other) = (Side::join(&server.url()).await, Side::join(&server.url()).await);
    let (search, upload) = (PauseKey::new(&["service", "search"]), PauseKey::new(&["service", "upload"]));
    let seconds = Duration::from_secs;
    assert_eq!(other.paused(&[search.clone(), upload.clone()]).await, None);
    assert_eq!(one.replicas.pause(&search, seconds(60)).await, Ok(seconds(60)));
    let held = one.replicas.pause(&search, seconds(40)).await.unwrap();
    assert!(held > seconds(40) && held <= seconds(60), "the longer one holds: {held:?}");
    let (which, left) = other.paused(&[upload.clone(), search.clone()]).await.unwrap();
    assert!(which == 1 && left > seconds(40) && left <= seconds(60), "{left:?}");
    other.replicas.pause(&upload, seconds(120)).await.unwrap();
    let (which, left) = one.paused(&[upload.clone(), search.clone()]).await.unwrap();
    assert!(which == 0 && left > seconds(60), "{left:?}");
    // What is paused is charged to no limit.
    let rule = limit("unpaid", HOUR, 1);
    let cells = [Cell { limit: &rule, key: "" }];
    let answer = one.replicas.ask(&cells, &[upload]).await.unwrap();
    assert!(matches!(answer.verdict, Verdict::Paused { pause: 0, .. }) && answer.tightest.is_none());
    assert_eq!(server.keys("*}l:*").await.len(), 0);
}

#[tokio::test]
async fn a_short_pause_ends() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let key = PauseKey::new(&["brief"]);
    side.replicas.pause(&key, Duration::from_millis(200)).await.unwrap();
    let Some((_, left)) = side.paused(std::slice::from_ref(&key)).await else { return };
    assert!(left <= Duration::from_millis(200));
    tokio::time::sleep(left).await;
    assert_eq!(side.paused(&[key]).await, None);
}

#[tokio::test]
async fn no_pause_is_longer_than_the_max_pause_of_each_reader() {
    let server = Server::start().await;
    let patient = Side::join(&server.url()).await;
    let hasty = Side::new(&server.url(), PATIENT, Duration::from_secs(10), &[]).shared().await;
    let pause = PauseKey::new(&["service"]);
    patient.replicas.pause(&pause, HOUR).await.unwrap();
    let keys = [pause];
    let left = patient.paused(&keys).await.unwrap().1;
    assert!(left <= MAX_PAUSE && left + PATIENCE >= MAX_PAUSE, "{left:?}");
    // A busy machine may have come too late for it.
    if let Some((_, left)) = hasty.paused(&keys).await {
        assert!(left <= Duration::from_secs(10), "{left:?}");
    }
    let key = server.key("p").await;
    let now = server.micros().await;
    let (far, ago) = (now + 3_600_000_000_000, now - 400_000_000);
    for absent in [
        "1",
        "",
        "abc",
        ":",
        "-1:-1",
        "nan:nan",
        "1e3:1e300",
        // Begun long ago, or not yet: it cannot be held up by either.
        &format!("{ago}:{far}"),
        &format!("{far}:{far}"),
        "0:99999999999999999999999999",
        "99999999999999999999999999:99999999999999999999999999",
    ] {
        server.run(&["SET", &key, absent]).await;
        assert_eq!(patient.paused(&keys).await, None, "{absent:?}");
    }
    server.run(&["SET", &key, &format!("{now}:{far}")]).await;
    let left = patient.paused(&keys).await.unwrap().1;
    assert!(left <= MAX_PAUSE, "{left:?}");
    server.run(&["DEL", &key]).await;
    server.run(&["LPUSH", &key, "1"]).await;
    assert_eq!(patient.paused(&keys).await, None);
    patient.replicas.pause(&PauseKey::new(&["service"]), HOUR).await.unwrap();
    assert!(patient.paused(&keys).await.is_some(), "what made no sense is written over");
}
