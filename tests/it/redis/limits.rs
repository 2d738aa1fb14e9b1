use super::*;

#[tokio::test]
async fn replicas_together_keep_to_the_limit_while_one_comes_and_goes() {
    let server = Server::start().await;
    // A second's worth, so that a busy machine's pauses cost nothing.
    let rule = limit("joint", Duration::from_millis(20), 50);
    let mut sides = Vec::new();
    for _ in 0..3 {
        sides.push(Side::join(&server.url()).await);
    }
    let before = server.micros().await;
    let (began, length) = (Instant::now(), Duration::from_secs(4));
    let mut passed = JoinSet::new();
    for (nth, mut side) in sides.into_iter().enumerate() {
        let (url, rule) = (server.url(), rule.clone());
        passed.spawn(async move {
            let mut passed = 0;
            let mut again = nth == 0;
            while began.elapsed() < length {
                if again && began.elapsed() > length / 2 {
                    again = false;
                    side.vanish();
                    side = Side::join(&url).await;
                }
                let limits = [&rule];
                let (one, other) = tokio::join!(side.passes(&limits), side.passes(&limits));
                passed += usize::from(one) + usize::from(other);
            }
            passed
        });
    }
    let passed: usize = passed.join_all().await.iter().sum();
    let micros = server.micros().await - before;
    let most = 50 + usize::try_from(micros / 20_000).unwrap();
    assert!(passed <= most, "{passed} of {most}");
    assert!(passed * 100 >= most * 95, "{passed} of {most}");
}

#[tokio::test]
async fn a_request_that_one_limit_refuses_is_charged_to_none() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let (wide, narrow) = (limit("wide", HOUR, 5), limit("narrow", HOUR, 1));
    let first = side.ask(&[&wide, &narrow]).await;
    assert_eq!(first.verdict, Verdict::Pass { after: Duration::ZERO });
    let tightest = first.tightest.unwrap();
    assert_eq!((tightest.cell, tightest.remaining, tightest.full_in), (1, 0, HOUR));
    for _ in 0..10 {
        let refused = side.ask(&[&wide, &narrow]).await;
        let Verdict::Refused { cell: 1, after } = refused.verdict else { panic!("{refused:?}") };
        assert!(close(after, HOUR), "{after:?}");
    }
    let mut left = Vec::new();
    for _ in 0..4 {
        left.push(side.ask(&[&wide]).await.tightest.unwrap().remaining);
    }
    assert_eq!(left, [3, 2, 1, 0]);
    assert!(!side.passes(&[&wide]).await);
    let twice = limit("slower", HOUR * 2, 1);
    assert!(side.passes(&[&twice]).await);
    let refused = side.ask(&[&narrow, &twice]).await;
    assert!(matches!(refused.verdict, Verdict::Refused { cell: 1, .. }), "the longest is named: {refused:?}");
}

#[tokio::test]
async fn a_request_passes_after_the_announced_time() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let rule = limit("exact", Duration::from_millis(400), 1);
    let before = server.micros().await;
    assert!(side.passes(&[&rule]).await);
    let Verdict::Refused { after, .. } = side.ask(&[&rule]).await.verdict else { panic!("two at once") };
    let elapsed = server.micros().await - before;
    let least = Duration::from_millis(400).saturating_sub(Duration::from_micros(elapsed));
    assert!(after >= least && after <= Duration::from_millis(400), "{after:?}");
    tokio::time::sleep(after).await;
    assert!(side.passes(&[&rule]).await);
}

#[tokio::test]
async fn a_request_that_may_wait_gets_a_turn_and_is_charged_once() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let rule = Limit { wait: HOUR * 2, ..limit("queue", HOUR, 1) };
    for turn in 0..3 {
        let Verdict::Pass { after } = side.ask(&[&rule]).await.verdict else { panic!("turn {turn}") };
        assert!(close(after, HOUR * turn), "{turn}: {after:?}");
    }
    let Verdict::Refused { cell: 0, after } = side.ask(&[&rule]).await.verdict else {
        panic!("a long queue")
    };
    assert!(close(after, HOUR * 3), "{after:?}");
}

/// As after a reload, or while a new configuration reaches one replica after the other.
#[tokio::test]
async fn a_replica_with_a_shorter_wait_keeps_the_turns_of_those_that_wait_elsewhere() {
    let server = Server::start().await;
    let (patient, hasty) = (Side::join(&server.url()).await, Side::join(&server.url()).await);
    let seconds = Duration::from_secs;
    let rule = limit("queue", seconds(10), 1);
    let with_wait = Limit { wait: seconds(30), ..rule.clone() };
    let before = server.micros().await;
    for turn in 0..3 {
        let Verdict::Pass { after } = patient.ask(&[&with_wait]).await.verdict else { panic!("turn {turn}") };
        assert!(close(after, seconds(10 * turn)), "{turn}: {after:?}");
    }
    let Verdict::Refused { after, .. } = hasty.ask(&[&rule]).await.verdict else { panic!("it passes") };
    let elapsed = Duration::from_micros(server.micros().await - before);
    assert!(after + elapsed >= seconds(30), "after those that wait: {after:?}");
    let Verdict::Pass { after } = patient.ask(&[&with_wait]).await.verdict else { panic!("it is refused") };
    let elapsed = Duration::from_micros(server.micros().await - before);
    assert!(after + elapsed >= seconds(30), "a turn that nobody else has: {after:?}");
}

#[tokio::test]
async fn a_limit_that_is_not_enforced_reports_what_it_would_have_refused() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let (real, shadow) = (limit("real", HOUR, 3), Limit { enforce: false, ..limit("shadow", HOUR, 1) });
    assert!(side.ask(&[&real, &shadow]).await.shadow.is_empty());
    for _ in 0..2 {
        let answer = side.ask(&[&real, &shadow]).await;
        assert_eq!((answer.verdict, answer.shadow), (Verdict::Pass { after: Duration::ZERO }, vec![1]));
    }
    assert!(!side.passes(&[&real, &shadow]).await);
}

#[tokio::test]
async fn keys_expire_are_in_one_slot_and_contain_no_address() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let rule = limit("per-caller", Duration::from_secs(60), 100);
    side.ask(&[&rule]).await;
    side.replicas.pause(&PauseKey::new(&["service", "11446498"]), HOUR).await.unwrap();
    let keys = server.keys("*").await;
    assert_eq!(keys.len(), 3, "{keys:?}");
    for key in &keys {
        assert!(
            key.starts_with("{boxgate:}") && !key.contains("10.0.0.7") && !key.contains("11446498"),
            "{key}"
        );
        let life: i64 = redis::cmd("PTTL").arg(key).query_async(&mut server.other().await).await.unwrap();
        assert!(life > 0 && life <= 300_000, "{key}: {life}");
    }
    let key = server.key("l").await;
    let life: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut server.other().await).await.unwrap();
    assert!(life <= 60_000, "one call is forgotten when it is: {life}");
}

#[tokio::test]
async fn scripts_that_the_server_has_lost_are_sent_again() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let rule = limit("flushed", HOUR, 3);
    for _ in 0..3 {
        server.run(&["SCRIPT", "FLUSH"]).await;
        assert!(side.passes(&[&rule]).await);
    }
    assert!(!side.passes(&[&rule]).await);
    assert!(side.replicas.health().is_shared());
    assert_eq!(side.replicas.snapshot().errors, 0);
}

#[tokio::test]
async fn a_value_of_another_program_causes_no_error_and_no_block() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    // At most four hours of calls can be owed.
    let rule = limit("planted", HOUR, 4);
    side.ask(&[&rule]).await;
    let key = server.key("l").await;
    for absent in ["", "abc", "nan", "-nan", "-1", "-inf", "-1e300", "1 2", "12:34", "\0", "0x"] {
        server.run(&["SET", &key, absent]).await;
        assert_eq!(side.ask(&[&rule]).await.tightest.unwrap().remaining, 3, "{absent:?}");
    }
    for absurd in ["inf", "1e300", "1e18", "999999999999999999999999", "0x7fffffffffffff", "9007199254740993"]
    {
        server.run(&["SET", &key, absurd]).await;
        let Verdict::Refused { after, .. } = side.ask(&[&rule]).await.verdict else { continue };
        assert!(after <= MAX_PAUSE, "{absurd}: {after:?}");
    }
    let lists: [&[&str]; 3] = [&["LPUSH", &key, "1"], &["SADD", &key, "1"], &["HSET", &key, "1", "1"]];
    for line in lists {
        server.run(&["DEL", &key]).await;
        server.run(line).await;
        assert!(side.passes(&[&rule]).await, "{line:?}");
    }
    assert_eq!(side.replicas.snapshot().errors, 0);
}

#[tokio::test]
async fn a_changed_limit_begins_a_new_count() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    assert!(side.passes(&[&limit("rule", HOUR, 1)]).await);
    assert!(!side.passes(&[&limit("rule", HOUR, 1)]).await);
    assert!(side.passes(&[&limit("rule", HOUR, 2)]).await);
    assert!(side.passes(&[&limit("rule", HOUR / 2, 1)]).await);
}

#[tokio::test]
async fn limits_of_any_size_work() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    for (nth, interval, burst) in [
        (1, Duration::from_nanos(1), 1),
        (2, Duration::from_nanos(1), u32::MAX),
        (3, Duration::from_secs(86400), u32::MAX),
        (4, Duration::from_secs(u64::MAX / 4), u32::MAX),
    ] {
        let rule = Limit { wait: Duration::MAX, ..limit(&format!("rule-{nth}"), interval, burst) };
        for planted in ["", "inf", "1e300"] {
            assert!(matches!(
                side.ask(&[&rule]).await.verdict,
                Verdict::Pass { .. } | Verdict::Refused { .. }
            ));
            for key in server.keys(&format!("*rule-{nth}:*")).await {
                server.run(&["SET", &key, planted]).await;
            }
        }
    }
    let endless = Side::new(&server.url(), PATIENT, Duration::MAX, &[]).shared().await;
    endless.replicas.pause(&PauseKey::new(&["a"]), Duration::MAX).await.unwrap();
    assert!(endless.paused(&[PauseKey::new(&["a"])]).await.is_some());
    assert!(side.paused(&[PauseKey::new(&["a"])]).await.is_some_and(|(_, left)| left <= MAX_PAUSE));
}

#[tokio::test]
async fn a_redirection_to_another_cluster_node_is_followed() {
    let bus = [free_port().to_string(), free_port().to_string()];
    let node = async |bus: &str, config: &str| {
        Server::with(&["--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-config-file", config])
            .await
    };
    let (with, without) = (node(&bus[0], "a.conf").await, node(&bus[1], "b.conf").await);
    with.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    without.run(&["CLUSTER", "MEET", "127.0.0.1", &with.port.to_string(), &bus[0]]).await;
    for server in [&with, &without] {
        until(|| async {
            let info =
                redis::cmd("CLUSTER").arg("INFO").query_async::<String>(&mut server.other().await).await;
            let info = info.unwrap();
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2")
        })
        .await;
    }
    let side = Side::join(&without.url()).await;
    let (one, other) = (limit("one", HOUR, 1), limit("other", HOUR, 1));
    let cells = [Cell { limit: &one, key: "a" }, Cell { limit: &other, key: "b" }];
    let pauses = [PauseKey::new(&["c"]), PauseKey::new(&["d"])];
    let verdict = side.replicas.ask(&cells, &pauses).await.unwrap().verdict;
    assert_eq!(verdict, Verdict::Pass { after: Duration::ZERO }, "all keys lie in one slot");
    assert_eq!(with.keys("*").await.len(), 3);
}
