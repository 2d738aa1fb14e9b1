use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

async fn works(side: &Side) {
    let rule = limit("way", HOUR, 1);
    assert!(side.passes(&[&rule]).await);
    assert!(!side.passes(&[&rule]).await);
}

#[tokio::test]
async fn passwords_users_and_databases() {
    let user = ["--user", "gate", "on", ">secret", "~*", "+@all"];
    let server = Server::with(&[&["--requirepass", "p@ss/word"][..], &user].concat()).await;
    let at = format!("127.0.0.1:{}", server.port);
    works(&Side::join(&format!("redis://:p%40ss%2Fword@{at}")).await).await;
    works(&Side::join(&format!("redis://gate:secret@{at}/3")).await).await;
    let wrong = Side::new(&format!("redis://:hunter2@{at}"), BOUND, MAX_PAUSE, &[]);
    let why = wrong.why().await;
    assert!(why.contains("WRONGPASS") || why.contains("assword"), "{why}");
    assert!(!why.contains("hunter2"), "{why}");
    let what_to_do = "check user and password in [state] redis";
    assert!(why.contains(what_to_do), "{why}");
    let none = Side::new(&format!("redis://{at}"), BOUND, MAX_PAUSE, &[]);
    let why = none.why().await;
    assert!(why.contains("NOAUTH") && why.contains(what_to_do), "{why}");
    assert_eq!(none.replicas.ask(&[], &[]).await, Err(Unavailable));
}

#[tokio::test]
async fn the_user_that_the_page_of_replicas_makes_can_do_all_of_it() {
    let page = include_str!("../../../docs/replicas.md");
    let (_, line) = page.split_once("\nuser boxgate on #$hash ").unwrap();
    let line = line.split("\nEND\n").next().unwrap().replace("\\\n", " ");
    let words: Vec<&str> = line.split_whitespace().collect();
    let server = Server::start().await;
    server.run(&[&["ACL", "SETUSER", "boxgate", "on", ">PASSWORD"], &words[..]].concat()).await;
    let side = Side::join(&format!("redis://boxgate:PASSWORD@127.0.0.1:{}", server.port)).await;
    works(&side).await;
    let key = PauseKey::new(&["a"]);
    side.replicas.pause(&key, HOUR).await.unwrap();
    assert!(side.paused(&[key]).await.is_some());
    let plan = budgets::budget("plan", 5, WhenSpent::Reject);
    let spend = Spend { made: 2, ..budgets::call(&plan) };
    assert_eq!(side.replicas.spend(&[spend]).await.unwrap().counts, [3]);
    let window = Quota::Window { calls: NonZeroU32::new(2).unwrap(), length: HOUR };
    let rule = Limit { quota: window, ..limit("window", HOUR, 1) };
    let stamp = side.ask(&[&rule]).await.stamp;
    side.replicas.restamp(&[Cell { limit: &rule, key: "10.0.0.7" }], stamp).await.unwrap();
    let key = server.key("w").await;
    // One that is over, one of the future, and more than there should be.
    server.run(&["RPUSH", &key, "1", "9e16", "9e16", "9e16", "9e16", "9e16"]).await;
    assert!(!side.passes(&[&rule]).await);
    server.run(&["LSET", &key, "0", "1"]).await;
    assert!(side.passes(&[&rule]).await);
    // Another writer left something of the wrong kind.
    server.run(&["DEL", "{boxgate:}replicas"]).await;
    server.run(&["SET", "{boxgate:}replicas", "1"]).await;
    works(&Side::join(&format!("redis://boxgate:PASSWORD@127.0.0.1:{}/1", server.port)).await).await;
    let again = Side::join(&format!("redis://boxgate:PASSWORD@127.0.0.1:{}", server.port)).await;
    again.leave().await;
    assert_eq!(side.replicas.snapshot().errors, 0);
}

/// The user of an earlier version lacks the commands of windows.
#[tokio::test]
async fn the_error_for_missing_rights_says_where_they_are_listed() {
    let server = Server::start().await;
    let rights = ["old", "on", ">PASSWORD", "~*", "+@all", "-rpush"];
    server.run(&[&["ACL", "SETUSER"], &rights[..]].concat()).await;
    let side = Side::join(&format!("redis://old:PASSWORD@127.0.0.1:{}", server.port)).await;
    let window = Quota::Window { calls: NonZeroU32::new(2).unwrap(), length: HOUR };
    let rule = Limit { quota: window, ..limit("window", HOUR, 1) };
    let asked = side.replicas.ask(&[Cell { limit: &rule, key: "10.0.0.7" }], &[]).await;
    assert_eq!(asked.map(|_| ()), Err(Unavailable));
    let why = side.why().await;
    assert!(why.contains("the user in [state] redis lacks rights: docs/replicas.md lists them"), "{why}");
}

#[tokio::test]
async fn an_error_that_repeats_the_password_is_not_quoted() {
    let server = Server::with(&["--rename-command", "AUTH", ""]).await;
    for password in ["hunter2", &"hunter2".repeat(30)] {
        let url = format!("redis://user:{password}@127.0.0.1:{}", server.port);
        let why = Side::new(&url, BOUND, MAX_PAUSE, &[]).why().await;
        assert!(!why.contains("hunter2") && !why.is_empty(), "{why}");
    }
}

#[tokio::test]
async fn tls_with_our_own_roots() {
    let folder = std::env::temp_dir().join(format!("boxgate-redis-tls-{:016x}", fastrand::u64(..)));
    std::fs::create_dir_all(&folder).unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca_params = CertificateParams::new(Vec::new()).unwrap();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca_params, ca_key)).unwrap();
    for (name, text) in
        [("ca.pem", ca.pem()), ("tls.crt", certificate.pem()), ("tls.key", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let port = free_port();
    let server = Server::within(
        folder,
        &[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            "DIR/tls.crt",
            "--tls-key-file",
            "DIR/tls.key",
            "--tls-ca-cert-file",
            "DIR/ca.pem",
            "--tls-auth-clients",
            "no",
            "--requirepass",
            "secret",
        ],
    )
    .await;
    let url = format!("rediss://:secret@localhost:{port}");
    let trusting = Side::new(&url, PATIENT, MAX_PAUSE, &[ca.der().clone()]).shared().await;
    works(&trusting).await;
    let why = Side::new(&url, PATIENT, MAX_PAUSE, &[]).why().await;
    assert!(why.contains("TLS") && why.contains("certificate"), "{why}");
    let address = format!("rediss://:secret@127.0.0.1:{port}");
    let why = Side::new(&address, PATIENT, MAX_PAUSE, &[ca.der().clone()]).why().await;
    assert!(why.contains("certificate"), "the certificate is of another name: {why}");
    drop(server);
}

#[tokio::test]
async fn a_unix_socket() {
    let server = Server::with(&["--unixsocket", "DIR/redis.sock"]).await;
    let url = format!("redis+unix://{}?db=1", server.folder.join("redis.sock").display());
    works(&Side::join(&url).await).await;
}
