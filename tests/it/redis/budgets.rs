use super::*;

fn budget(name: &str, calls: u64, when_spent: WhenSpent) -> Budget {
    Budget {
        name: name.into(),
        key: budget::Key::Global,
        calls: NonZeroU64::new(calls).unwrap(),
        per: Period::Month,
        when_spent,
        enforce: true,
    }
}

fn call(budget: &Budget) -> Spend<'_> {
    Spend { budget, key: "", period: "2026-11", ends_in: HOUR, at_least: 0, made: 0 }
}

#[tokio::test]
async fn three_replicas_spend_a_budget_to_the_last_call() {
    let server = Server::start().await;
    let plan = budget("plan", 100, WhenSpent::Reject);
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        let side = Arc::new(Side::join(&server.url()).await);
        for _ in 0..60 {
            let (side, plan) = (side.clone(), plan.clone());
            calls.spawn(async move { side.replicas.spend(&[call(&plan)]).await.unwrap() });
        }
    }
    let answers = calls.join_all().await;
    let mut spent: Vec<u64> =
        answers.iter().filter(|spent| spent.refused.is_none()).map(|spent| spent.counts[0]).collect();
    spent.sort_unstable();
    assert_eq!(spent, (1..=100).collect::<Vec<u64>>());
    assert!(answers.iter().filter(|spent| spent.refused.is_some()).all(|spent| spent.counts == [100]));
}

#[tokio::test]
async fn a_call_is_on_all_budgets_or_on_none() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let (plan, app) = (budget("plan", 10, WhenSpent::Reject), budget("app", 2, WhenSpent::Reject));
    let watched = budget("watched", 1, WhenSpent::Warn);
    let all = [call(&plan), call(&app), call(&watched)];
    for count in 1..=2 {
        let spent = side.replicas.spend(&all).await.unwrap();
        assert_eq!((spent.refused, spent.counts), (None, vec![count; 3]), "a warning is no refusal");
    }
    let spent = side.replicas.spend(&all).await.unwrap();
    assert_eq!((spent.refused, spent.counts), (Some(1), vec![2, 2, 2]));
    let next = Spend { period: "2026-12", ..call(&app) };
    assert_eq!(side.replicas.spend(&[next]).await.unwrap().counts, [1], "a period of its own");
    for key in server.keys("*}b:*").await {
        let life: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut server.other().await).await.unwrap();
        assert!(life > 3_600_000 && life <= 7_200_000, "{key}: {life}");
    }
}

#[tokio::test]
async fn what_redis_has_lost_or_missed_is_put_right() {
    let server = Server::start().await;
    let side = Side::join(&server.url()).await;
    let plan = budget("plan", 50, WhenSpent::Reject);
    let spend = async |at_least, made| {
        let spent = side.replicas.spend(&[Spend { at_least, made, ..call(&plan) }]).await.unwrap();
        (spent.refused, spent.counts[0])
    };
    assert_eq!(spend(30, 0).await, (None, 31));
    server.run(&["FLUSHALL"]).await;
    assert_eq!(spend(31, 0).await, (None, 32));
    assert_eq!(spend(0, 7).await, (None, 40));
    assert_eq!(spend(0, 12).await, (Some(0), 52), "made is made");
    let key = server.key("b").await;
    for absent in ["", "abc", "-5", "1e3", "1.5", "99999999999999999999", "nan"] {
        server.run(&["SET", &key, absent]).await;
        assert_eq!(spend(3, 0).await, (None, 4), "{absent:?}");
    }
    server.run(&["DEL", &key]).await;
    server.run(&["LPUSH", &key, "1"]).await;
    assert_eq!(spend(0, 0).await, (None, 1));
}
