//! The proof: three gateways, one limit, and one of them is killed and comes back.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fleet::{Fleet, ME};
use super::*;

const RATE: f64 = 50.0;
const BURST: f64 = 50.0;
const LENGTH: Duration = Duration::from_secs(20);
/// At each gateway; they ask for several times what may pass.
const CALLERS: usize = 3;
/// So that a busy machine copes.
const PAUSE: Duration = Duration::from_millis(25);

#[tokio::test]
async fn three_gateways_keep_to_one_rate_while_one_of_them_is_killed_and_comes_back() {
    let fleet = Fleet::new().await;
    let rule = "[[limit]]\nname = \"joint\"\nkey = \"global\"\nrate = \"50/s\"\nburst = 50\n";
    let (first, second, third) = tokio::join!(fleet.gateway(rule), fleet.gateway(rule), fleet.gateway(rule));
    for gateway in [&first, &second, &third] {
        gateway.shares_with(3).await;
    }
    // Where the callers of each gateway find it.
    let addresses = Arc::new(Mutex::new([&first, &second, &third].map(|gateway| gateway.url(ME))));
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    let began = Instant::now();
    for place in 0..3 * CALLERS {
        let (client, addresses, stop) = (fleet.client.clone(), addresses.clone(), stop.clone());
        callers.spawn(async move {
            let mut strange = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let url = addresses.lock().unwrap()[place / CALLERS].clone();
                match client.get(url).send().await.map(|answer| answer.status().as_u16()) {
                    Ok(200 | 429) => {}
                    Ok(status) => strange.push(status),
                    // The killed one's.
                    Err(_) if place / CALLERS == 2 => {}
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(PAUSE).await;
            }
            strange
        });
    }
    // At no time more than the limit has let pass until then.
    let within = || {
        let calls = fleet.sandbox.calls() as f64;
        let most = BURST + RATE * began.elapsed().as_secs_f64();
        assert!(calls <= most, "{calls} of {most}");
        (calls, most)
    };
    let mut third = Some(third);
    let mut returned = 0.0;
    for second in 1..=20 {
        tokio::time::sleep_until(began + LENGTH / 20 * second).await;
        within();
        if second == 7 {
            third.as_mut().unwrap().kill().await;
        }
        if second == 11 {
            let again = third.take().unwrap().again().await;
            addresses.lock().unwrap()[2] = again.url(ME);
            again.shares_with(3).await;
            third = Some(again);
        }
    }
    let (calls, most) = within();
    stop.store(true, Ordering::Relaxed);
    assert!(callers.join_all().await.concat().is_empty(), "200 and 429 alone");
    assert!(calls >= 0.98 * most, "{calls} of {most}");
    for gateway in [&first, &second, third.as_ref().unwrap()] {
        let passed = r#"boxgate_requests_total{app="intranet",method="GET",status="200",answered_by="box"}"#;
        returned = gateway.metric(passed).await;
        assert!(returned > 0.0, "each has its part");
        assert_eq!(gateway.metric("boxgate_redis_losses_total").await, 0.0, "{}", gateway.text());
    }
    assert!(returned < calls / 2.0);
}
