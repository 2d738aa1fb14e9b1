use std::sync::Mutex;

use tracing_subscriber::fmt::MakeWriter;

use super::*;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Of this test's thread, on which all of its tasks run.
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn with(&self, words: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(words)).count()
    }
}

#[tokio::test]
async fn a_killed_server_delays_no_request_and_is_used_again_later() {
    let (lines, _guard) = Lines::begin();
    let mut server = Server::start().await;
    let side = Side::new(&server.url(), PATIENT, MAX_PAUSE, &[]).shared().await;
    let rule = limit("killed", HOUR, 1);
    assert!(side.passes(&[&rule]).await);
    server.kill();
    side.local().await;
    let began = Instant::now();
    for _ in 0..1000 {
        let cells = [Cell { limit: &rule, key: "" }];
        assert_eq!(side.replicas.ask(&cells, &[]).await, Err(Unavailable));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let snapshot = side.replicas.snapshot();
    assert!(!snapshot.shared && snapshot.losses == 1);
    assert!(server.launch().await);
    let side = side.shared().await;
    assert!(side.passes(&[&rule]).await);
    assert_eq!((lines.with("unreachable since"), lines.with("reachable again after")), (1, 1), "said once");
}

#[tokio::test]
async fn a_slow_server_delays_each_request_at_most_once() {
    let (lines, _guard) = Lines::begin();
    let server = Server::start().await;
    let bound = Duration::from_millis(500);
    let side = Arc::new(Side::new(&server.url(), bound, MAX_PAUSE, &[]).shared().await);
    let rule = limit("slow", HOUR, 100);
    server.signal("STOP");
    let began = Instant::now();
    let mut request_key = JoinSet::new();
    for _ in 0..50 {
        let (side, rule) = (side.clone(), rule.clone());
        request_key.spawn(async move { side.replicas.ask(&[Cell { limit: &rule, key: "" }], &[]).await });
    }
    assert!(request_key.join_all().await.iter().all(|answer| *answer == Err(Unavailable)));
    let took = began.elapsed();
    assert!(took < bound * 3, "{took:?}");
    assert!(!side.replicas.health().is_shared());
    let began = Instant::now();
    assert_eq!(side.replicas.pause(&PauseKey::new(&["slow"]), HOUR).await, Err(Unavailable));
    assert_eq!(side.replicas.spend(&[]).await, Err(Unavailable));
    assert!(began.elapsed() < bound / 2);
    server.signal("CONT");
    in_time(side.replicas.watch().wait_for(Health::is_shared)).await.unwrap();
    assert_eq!((lines.with("unreachable since"), lines.with("reachable again after")), (1, 1), "said once");
    assert_eq!(lines.with("no answer within 500ms"), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_at_the_start_is_found_later() {
    let (lines, _guard) = Lines::begin();
    let mut server = Server::start().await;
    server.kill();
    let side = Side::new(&server.url(), PATIENT, MAX_PAUSE, &[]);
    assert!(side.why().await.contains("refused"));
    assert_eq!(side.replicas.share(), NonZeroU32::MIN);
    assert!(server.launch().await);
    side.shared().await.leave().await;
    assert_eq!((lines.with("unreachable since"), lines.with("reachable again after")), (1, 1), "said once");
}

#[tokio::test]
async fn a_server_that_refuses_writes_is_not_used() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    server.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let rule = limit("full", HOUR, 1);
    let cells = [Cell { limit: &rule, key: "" }];
    assert_eq!(side.replicas.ask(&cells, &[]).await, Err(Unavailable));
    assert!(side.why().await.contains("OOM"));
    server.run(&["CONFIG", "SET", "maxmemory", "0"]).await;
    side.shared().await;
}

#[tokio::test]
async fn replicas_know_how_many_they_are() {
    let server = Server::start().await;
    // Of the wrong kind, and then of another writer.
    server.run(&["SET", "{boxgate:}replicas", "1"]).await;
    let first = Side::join(&server.url()).await;
    let far = (server.micros().await + 3_600_000_000).to_string();
    server.run(&["ZADD", "{boxgate:}replicas", "inf", "a", "-inf", "b", "0", "c", &far, "d"]).await;
    let (second, third) = (Side::join(&server.url()).await, Side::join(&server.url()).await);
    assert_eq!(third.replicas.share().get(), 3);
    until(|| async { first.replicas.share().get() == 3 }).await;
    second.leave().await;
    until(|| async { first.replicas.share().get() == 2 }).await;
    third.vanish();
    until(|| async { first.replicas.share().get() == 1 }).await;
    assert!(first.replicas.snapshot().operations >= 3);
}
