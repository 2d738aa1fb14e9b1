//! Who may ask what on the admin listener: its key, guesses of it, and what is answered without one.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::RequestBuilder;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Bench, refusal};

const KEY: &str = "canary-key-of-operators-1";
const OTHER: &str = "canary-key-of-operators-2";
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// With methods; what has no page here is among them.
const GUARDED: [(&str, &str); 20] = [
    ("GET", "/status.json"),
    ("GET", "/history.json"),
    ("GET", "/usage.json"),
    ("GET", "/usage.csv"),
    ("POST", "/reload"),
    ("GET", "/"),
    ("GET", "/no/such/page"),
    ("GET", "/healthz/"),
    ("POST", "/identities/nobody/renew"),
    ("GET", "/identities/service/renew"),
    ("GET", "/requests.json"),
    ("GET", "/page.css"),
    ("GET", "/page.js"),
    ("GET", "/page.svg"),
    ("HEAD", "/"),
    ("HEAD", "/status.json"),
    ("OPTIONS", "/status.json"),
    ("OPTIONS", "/identities/service/renew"),
    // The probes are these alone as they stand.
    ("GET", "/%68ealthz"),
    ("GET", "//healthz"),
];

async fn with_key() -> Bench {
    let key = format!("key = [{KEY:?}, {OTHER:?}]");
    let bench = Bench::with(&format!("[admin]\naddress = \"127.0.0.1:0\"\n{key}\n")).await;
    bench.until_ready().await;
    bench
}

fn basic(user: &str, key: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{key}")))
}

impl Bench {
    fn ask(&self, (method, path): (&str, &str)) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.admin))
    }
}

#[tokio::test]
async fn every_path_but_the_probes_asks_for_the_key() {
    let bench = with_key().await;
    for path in PROBES {
        assert_eq!(bench.ask(("GET", path)).send().await.unwrap().status(), 200, "{path}");
    }
    for asked in GUARDED {
        let answer = bench.ask(asked).send().await.unwrap();
        let scheme = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
        assert_eq!(scheme, "Basic realm=\"boxgate admin\", charset=\"UTF-8\"", "{asked:?}");
        assert_eq!(answer.status(), 401, "{asked:?}");
        // The answer to HEAD has no body.
        if asked.0 != "HEAD" {
            assert_eq!(refusal(answer).await, (401, "admin_key_required".to_owned()), "{asked:?}");
        }
    }
    assert_eq!(bench.ask(("POST", "/identities/service/renew")).send().await.unwrap().status(), 401);
    assert_eq!(bench.sandbox.token_requests(), 1);
}

#[tokio::test]
async fn an_absolute_target_asks_for_the_key_as_its_path_does() {
    let bench = with_key().await;
    let status = async |method: &str, target: &str| {
        let mut socket = tokio::net::TcpStream::connect(&bench.admin).await.unwrap();
        let host = &bench.admin;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let own = format!("http://{}", bench.admin);
    for (method, path) in GUARDED {
        assert_eq!(status(method, &format!("{own}{path}")).await, "401", "{method} {path}");
    }
    for target in
        [own.clone(), format!("{own}?/healthz"), format!("{own}/?/healthz"), "/?/healthz".to_owned()]
    {
        assert_eq!(status("GET", &target).await, "401", "{target}");
    }
    assert_eq!(status("OPTIONS", "*").await, "401");
    for path in PROBES {
        assert_eq!(status("GET", &format!("{own}{path}")).await, "200", "{path}");
    }
}

#[tokio::test]
async fn the_key_is_taken_from_the_header_and_from_http_basic() {
    let bench = with_key().await;
    let admitted = |answer: reqwest::Response| answer.status() != 401 && answer.status() != 429;
    for asked in GUARDED {
        for key in [KEY, OTHER] {
            let by_header = bench.ask(asked).header("X-Boxgate-Key", key).send().await.unwrap();
            assert!(admitted(by_header), "{asked:?}");
            let by_basic =
                bench.ask(asked).header("Authorization", basic("anyone", key)).send().await.unwrap();
            assert!(admitted(by_basic), "{asked:?}");
        }
    }
    let both = bench.ask(("GET", "/status.json")).header("X-Boxgate-Key", KEY);
    let both = both.header("Authorization", basic("", OTHER)).send().await.unwrap();
    assert_eq!(both.status(), 200);
}

#[tokio::test]
async fn one_wrong_key_among_several_is_refused() {
    let bench = with_key().await;
    let (wrong, right) = ("canary-key-of-operators", basic("a", KEY));
    let cases: [&[(&str, &str)]; 9] = [
        &[("X-Boxgate-Key", wrong)],
        &[("X-Boxgate-Key", "")],
        &[("Authorization", &basic(KEY, wrong))],
        &[("Authorization", "Basic !")],
        &[("X-Boxgate-Key", KEY), ("X-Boxgate-Key", wrong)],
        &[("X-Boxgate-Key", wrong), ("X-Boxgate-Key", KEY)],
        &[("X-Boxgate-Key", KEY), ("Authorization", &basic("a", wrong))],
        &[("X-Boxgate-Key", wrong), ("Authorization", &right)],
        &[("Authorization", &right), ("Authorization", &basic("a", wrong))],
    ];
    for fields in cases {
        for asked in GUARDED {
            let request =
                fields.iter().fold(bench.ask(asked), |request, (name, value)| request.header(*name, *value));
            assert_eq!(request.send().await.unwrap().status(), 401, "{asked:?} {fields:?}");
        }
    }
    // A credential of another scheme is none.
    let other =
        bench.ask(("GET", "/status.json")).header("Authorization", "Bearer x").header("X-Boxgate-Key", KEY);
    assert_eq!(other.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn host_and_source_are_judged_before_the_key() {
    let bench = with_key().await;
    let rebound = bench.ask(("GET", "/status.json")).header("Host", "evil.example").send().await.unwrap();
    assert_eq!(refusal(rebound).await.0, 421);
    let sources =
        format!("[admin]\naddress = \"127.0.0.1:0\"\nsources = [\"192.0.2.0/24\"]\nkey = {KEY:?}\n");
    let bench = Bench::with(&sources).await;
    let stranger = bench.ask(("GET", "/status.json")).send().await.unwrap();
    assert_eq!(refusal(stranger).await, (403, "source_not_allowed".to_owned()));
}

#[tokio::test]
async fn connections_from_outside_of_the_sources_leave_room_for_operators() {
    let bench = Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nsources = [\"127.0.0.2/32\"]\n").await;
    // More than any listener has room for. Each waits for a head, as a slow one does.
    let mut strangers = Vec::new();
    for _ in 0..300 {
        strangers.push(tokio::net::TcpStream::connect(&bench.admin).await.unwrap());
    }
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut operator = socket.connect(bench.admin.parse().unwrap()).await.unwrap();
    operator
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    operator.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    // All of them are closed, most at once.
    for mut stranger in strangers {
        let ended =
            tokio::time::timeout(std::time::Duration::from_secs(30), stranger.read(&mut [0; 512])).await;
        assert!(matches!(ended, Ok(Ok(0) | Err(_))), "it is still open: {ended:?}");
    }
}

#[tokio::test]
async fn guesses_are_bounded_and_the_same_wrong_key_is_no_guess() {
    let bench = with_key().await;
    let with = |key: String| bench.ask(("GET", "/status.json")).header("X-Boxgate-Key", key);
    for _ in 0..20 {
        assert_eq!(with("the old key".to_owned()).send().await.unwrap().status(), 401);
    }
    assert_eq!(with(KEY.to_owned()).send().await.unwrap().status(), 200);
    for guess in 1..10 {
        assert_eq!(with(format!("guess {guess}")).send().await.unwrap().status(), 401);
    }
    // Not even the right one is looked at now; the probes and a request without any go on.
    let refused = with(KEY.to_owned()).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "60");
    assert_eq!(refusal(refused).await, (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(bench.ask(("GET", "/status.json")).send().await.unwrap().status(), 401);
    assert_eq!(bench.admin("/metrics").await.0, 200);
    bench.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(with(KEY.to_owned()).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn without_a_key_a_request_through_a_proxy_changes_nothing() {
    let bench = Bench::start().await;
    for field in ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"] {
        let answer = bench.ask(("POST", "/reload")).header(field, "1.1 somebody").send().await.unwrap();
        let text = answer.text().await.unwrap();
        assert!(text.contains("caller_not_allowed") && text.contains("[admin] key"), "{field}: {text}");
        let read = bench.ask(("GET", "/status.json")).header(field, "1.1 somebody").send().await.unwrap();
        assert_eq!(read.status(), 200, "{field}");
    }
    // This gateway has nothing to reload, but the request got that far.
    let direct = bench.ask(("POST", "/reload")).send().await.unwrap();
    assert_eq!(refusal(direct).await.1, "reload_unavailable");
}

#[tokio::test]
async fn a_key_that_is_repeated_in_the_path_or_an_error_is_blanked() {
    let bench = with_key().await;
    for path in ["/status.json", "/metrics", "/readyz", &format!("/usage.json?by={KEY}"), &format!("/{KEY}")]
    {
        let answer = bench.ask(("GET", path)).header("X-Boxgate-Key", KEY).send().await.unwrap();
        let fields = format!("{:?}", answer.headers());
        let text = fields + &answer.text().await.unwrap();
        assert!(!text.contains(KEY) && !text.contains(OTHER), "{path}: {text}");
    }
    let rebound = format!("GET / HTTP/1.1\r\nHost: {KEY}.example\r\nConnection: close\r\n\r\n");
    let mut socket = tokio::net::TcpStream::connect(&bench.admin).await.unwrap();
    socket.write_all(rebound.as_bytes()).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("host_not_allowed") && !text.contains(KEY), "{text}");
}

#[tokio::test]
async fn the_script_of_a_page_is_refused_without_a_dialog_of_the_browser() {
    let bench =
        Bench::with("[admin]\naddress = \"127.0.0.1:0\"\nkey = \"a key that is long enough\"\n").await;
    let url = format!("http://{}/", bench.admin);
    let by_script = bench.client.get(&url).header("sec-fetch-dest", "empty").send().await.unwrap();
    assert_eq!((by_script.status().as_u16(), by_script.headers().get("www-authenticate")), (401, None));
    let by_person = bench.client.get(&url).header("sec-fetch-dest", "document").send().await.unwrap();
    assert!(by_person.headers().contains_key("www-authenticate"));
}

/// It serves all the same: whoever set it up may mean it.
#[tokio::test]
async fn a_gateway_that_is_open_to_other_machines_says_so() {
    let bench = Bench::with("[listen]\naddress = \"0.0.0.0:0\"\n").await;
    bench.until_ready().await;
    let (_, ready) = bench.admin("/readyz").await;
    assert!(ready.contains("0.0.0.0:0 can be reached from other machines"), "{ready}");
    assert!(ready.contains("set sources of [listen] to the networks of the callers"), "{ready}");
    let (_, status) = bench.admin("/status.json").await;
    assert!(status.contains("can be reached from other machines"), "{status}");
    assert!(bench.admin("/?view=configuration").await.1.contains("can be reached from other machines"));
}

/// On loopback, too: the proxy's clients are not there.
#[tokio::test]
async fn a_gateway_that_is_open_to_the_clients_of_a_proxy_says_so() {
    let open =
        "[listen]\naddress = \"127.0.0.1:0\"\nsources = [\"loopback\"]\ntrusted_proxies = [\"loopback\"]\n";
    let bench = Bench::with(open).await;
    bench.until_ready().await;
    for page in ["/readyz", "/status.json", "/", "/?view=configuration"] {
        let (status, said) = bench.admin(page).await;
        let words =
            said.contains("reaches app") && said.contains("Give the app a key, certificates or sources");
        assert!(status == 200 && words, "{page}: {said}");
    }
    let key = "[[app]]\nname = \"a\"\nkey = \"a key that is long enough\"\n";
    let closed = Bench::with(&format!("{open}{key}")).await;
    closed.until_ready().await;
    assert!(!closed.admin("/readyz").await.1.contains("reaches app"));
}
