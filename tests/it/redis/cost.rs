use super::fleet::{Fleet, Gateway, ME};
use super::*;

/// User and system time of a process, in ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// `cargo test --test it redis::cost -- --ignored --nocapture`. The connection's task on a thread of its own, as in
/// the gateway, and on the request_key thread.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement is read")]
fn of_a_question() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, other) = (runtime(), runtime());
    let server = server.block_on(Server::start());
    let rules = [1, 2, 3].map(|nth| limit(&format!("rule-{nth}"), Duration::from_nanos(1000), 1_000_000));
    for (place, apart) in [("thread of its own", true), ("same thread", false)] {
        for together in [1, 16] {
            let request_key = async |side: Arc<Side>| {
                let (began, cpu) = (Instant::now(), ticks(std::process::id()));
                let mut tasks = JoinSet::new();
                for _ in 0..together {
                    let (side, rules) = (side.clone(), rules.clone());
                    tasks.spawn(async move {
                        let cells = rules.each_ref().map(|limit| Cell { limit, key: "10.0.0.7" });
                        let pauses = [PauseKey::new(&["a"]), PauseKey::new(&["b"])];
                        let mut slowest = Duration::ZERO;
                        for _ in 0..20_000 / together {
                            let began = Instant::now();
                            side.replicas.ask(&cells, &pauses).await.unwrap();
                            slowest = slowest.max(began.elapsed());
                        }
                        slowest
                    });
                }
                let slowest = tasks.join_all().await.into_iter().max().unwrap();
                let count = 20_000 / together * together;
                let (took, cpu) =
                    (began.elapsed(), (ticks(std::process::id()) - cpu) * 10_000 / u64::from(count));
                let latency = took * together / count;
                println!("{place}, {together} at once: {latency:?} each, slowest {slowest:?}, {cpu} us CPU");
            };
            if apart {
                let (sent, received) = std::sync::mpsc::channel();
                let (stop, stopped) = oneshot::channel::<()>();
                let url = server.url();
                let main = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        sent.send(Arc::new(Side::join(&url).await)).unwrap();
                        let _ = stopped.await;
                    });
                });
                let side = received.recv().unwrap();
                other.block_on(request_key(side));
                drop(stop);
                main.join().unwrap();
            } else {
                other.block_on(async { request_key(Arc::new(Side::join(&server.url()).await)).await });
            }
        }
    }
}

/// `cargo build --release && BOXGATE=target/release/boxgate cargo test --test it redis::cost::of_a_request -- --ignored
/// --nocapture`. One caller after the other, at a gateway of its own and at one that shares two limits and a budget.
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement is read")]
async fn of_a_request() {
    let rules = "[[limit]]\nname = \"a\"\nkey = \"client\"\nrate = \"100000/s\"\n\n\
                 [[limit]]\nname = \"b\"\nkey = \"global\"\nrate = \"100000/s\"\n";
    let budget = "\n[[budget]]\nname = \"plan\"\nkey = \"global\"\ncalls = 10_000_000\n";
    let fleet = Fleet::new().await;
    let kinds = [("two limits", rules.to_owned()), ("two limits and a budget", format!("{rules}{budget}"))];
    for (what, rules) in kinds {
        let (alone, shared) = (fleet.gateway_at("", &rules).await, fleet.gateway(&rules).await);
        let mut rounds = [Vec::new(), Vec::new()];
        let mut cpu = [0, 0];
        for _ in 0..10 {
            for (place, gateway) in [&alone, &shared].into_iter().enumerate() {
                let before = ticks(gateway.id());
                for _ in 0..500 {
                    rounds[place].push(one(gateway).await);
                }
                cpu[place] += ticks(gateway.id()) - before;
            }
        }
        let median = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            times[times.len() / 2]
        };
        let [mut without, mut with] = rounds;
        let (without, with) = (median(&mut without), median(&mut with));
        let [without_cpu, with_cpu] = cpu.map(|ticks| ticks * 10_000 / 5000);
        println!("{what}: alone {without:?}, {without_cpu} us CPU; shared {with:?}, {with_cpu} us CPU");
    }
}

async fn one(gateway: &Gateway) -> Duration {
    let began = Instant::now();
    let answer = gateway.get(ME).await;
    assert_eq!(answer.status(), 200);
    answer.bytes().await.unwrap();
    began.elapsed()
}
