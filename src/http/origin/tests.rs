use proptest::prelude::*;

use super::*;

fn admits(pattern: &str, origin: &str) -> bool {
    let list = OriginList::new(vec![Pattern::parse(pattern).unwrap()]);
    Origin::parse(origin).is_some_and(|origin| list.admits(origin))
}

#[test]
fn a_listed_origin_is_that_one_and_no_other() {
    const ID: &str = "chrome-extension://abcdefghijklmnopabcdefghijklmnop";
    for (pattern, origin) in [
        ("https://a.example", "https://a.example"),
        ("https://a.example", "HTTPS://A.Example"),
        ("HTTPS://A.Example", "https://a.example"),
        ("https://a.example", "https://a.example:443"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example", "http://a.example:80"),
        ("https://a.example:8443", "https://a.example:8443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example", "https://XN--BCHER-KVA.example"),
        ("https://a_b.example", "https://a_b.example"),
        ("https://intranet", "https://intranet"),
        ("https://*.a.example", "https://x.a.example"),
        ("https://*.a.example", "https://x.y.z.a.example"),
        ("https://*.A.example", "https://X.a.EXAMPLE"),
        ("https://*.a.example:8443", "https://x.a.example:8443"),
        ("https://*.a.example:443", "https://x.a.example"),
        ("https://*.bücher.example", "https://x.xn--bcher-kva.example"),
        ("https://*.example.co.uk", "https://x.example.co.uk"),
        ("https://*.corp.internal", "https://x.corp.internal"),
        (ID, ID),
        ("moz-extension://1f2e-3d4c", "moz-extension://1f2e-3d4c"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("ionic://localhost", "ionic://localhost"),
        ("tauri://localhost", "tauri://localhost"),
    ] {
        assert!(admits(pattern, origin), "{pattern} admits {origin}");
    }
    for (pattern, origin) in [
        ("https://a.example", "http://a.example"),
        ("http://a.example", "https://a.example"),
        ("https://a.example", "https://a.example:80"),
        ("https://a.example", "https://a.example:8443"),
        ("https://a.example:8443", "https://a.example"),
        ("https://a.example", "https://b.example"),
        ("https://a.example", "https://x.a.example"),
        ("https://a.example", "https://a.example.evil.example"),
        ("https://a.example", "https://a.example."),
        ("https://a.example", "https://a.exampl"),
        ("https://a.example", "https://aa.example"),
        ("https://a.example", "https://a-example"),
        ("https://a.example", "https://a.example/"),
        ("https://a.example", "https://a.example/x"),
        ("https://a.example", "https://a.example?x"),
        ("https://a.example", "https://a.example#x"),
        ("https://a.example", "https://a.example\\"),
        ("https://a.example", "https://user@a.example"),
        ("https://a.example", "https://a.example@evil.example"),
        ("https://a.example", "https://evil.example#https://a.example"),
        ("https://a.example", "https://evil.example https://a.example"),
        ("https://a.example", "https://a.example https://a.example"),
        ("https://a.example", "https://a.example,https://a.example"),
        ("https://a.example", " https://a.example"),
        ("https://a.example", "https://a.example "),
        ("https://a.example", "https://a.example\t"),
        ("https://a.example", "https://a.example:"),
        ("https://a.example", "https://a.example:0443"),
        ("https://a.example", "https://a.example:+443"),
        ("https://a.example", "https://a.example:65979"),
        ("https://a.example", "https://a.example:443:443"),
        ("https://a.example", "https://a%2eexample"),
        ("https://a.example", "https:a.example"),
        ("https://a.example", "https:/a.example"),
        ("https://a.example", "https:///a.example"),
        ("https://a.example", "//a.example"),
        ("https://a.example", "a.example"),
        ("https://a.example", "null"),
        ("https://a.example", ""),
        ("https://a.example", "*"),
        ("https://a.example", "https://"),
        ("https://a.example", "https://*"),
        ("https://bücher.example", "https://bücher.example"),
        ("http://127.0.0.1", "http://127.1"),
        ("http://127.0.0.1", "http://0x7f.0.0.1"),
        ("http://127.0.0.1", "http://localhost"),
        ("http://[::1]", "http://::1"),
        ("http://[::1]", "http://[::1"),
        ("http://[::1]", "http://[::1]x"),
        ("http://[::1]", "http://[0::1]"),
        ("https://*.a.example", "https://a.example"),
        ("https://*.a.example", "https://.a.example"),
        ("https://*.a.example", "https://x..a.example"),
        ("https://*.a.example", "https://xa.example"),
        ("https://*.a.example", "https://x.a.example."),
        ("https://*.a.example", "https://x.a.example.evil.example"),
        ("https://*.a.example", "https://evil.example/.a.example"),
        ("https://*.a.example", "https://evil.example?.a.example"),
        ("https://*.a.example", "https://evil.example:80.a.example"),
        ("https://*.a.example", "https://evil.example\\.a.example"),
        ("https://*.a.example", "https://x@.a.example"),
        ("https://*.a.example", "https://*.a.example"),
        ("https://*.a.example", "http://x.a.example"),
        ("https://*.a.example", "https://x.a.example:8443"),
        (ID, "chrome-extension://bbcdefghijklmnopabcdefghijklmnop"),
        (ID, "chrome-extension://abcdefghijklmnopabcdefghijklmnop.x"),
        (ID, "moz-extension://abcdefghijklmnopabcdefghijklmnop"),
        ("capacitor://localhost", "http://localhost"),
        ("capacitor://localhost", "capacitor://localhost:80"),
        ("http://localhost", "capacitor://localhost"),
    ] {
        assert!(!admits(pattern, origin), "{pattern} does not admit {origin}");
    }
}

#[test]
fn an_invalid_or_too_broad_entry_is_refused() {
    for (entry, word) in [
        ("*", "every web page"),
        ("null", "send \"null\""),
        ("", "no scheme"),
        ("a.example", "no scheme"),
        ("a.example:443", "no scheme"),
        ("*.a.example", "no scheme"),
        ("//a.example", "no scheme"),
        ("https:a.example", "no scheme"),
        ("https://", "not a host"),
        ("https://*", "whole labels"),
        ("https://*.", "not a host"),
        ("https://*a.example", "whole labels"),
        ("https://x.*.example", "whole labels"),
        ("https://*.*.example", "whole labels"),
        ("https://a.example:*", "whole labels"),
        ("*://a.example", "no origin"),
        ("https://*.com", "public suffix"),
        ("https://*.co.uk", "public suffix"),
        ("https://*.github.io", "public suffix"),
        ("https://*.公司.cn", "public suffix"),
        ("https://*.localhost", "public suffix"),
        ("https://*.internal", "public suffix"),
        ("https://*.10.1.2.3", "address"),
        ("https://*.[::1]", "address"),
        ("https://a.example/", "write \"https://a.example\""),
        ("https://a.example/x", "no path"),
        ("https://a.example//", "no path"),
        ("https://a.example?x", "no path"),
        ("https://a.example#x", "no path"),
        ("https://a.example\\x", "no path"),
        ("https://a%2eexample", "no path"),
        ("https://a.example.", "final dot"),
        ("https://a..example", "no web page"),
        ("https://a.example:", "port"),
        ("https://a.example:0", "no web page"),
        ("https://a.example:99999", "not a host"),
        ("https://a.example:x", "not a host"),
        ("https://a.example, https://b.example", "one origin"),
        ("https://a.example https://b.example", "one origin"),
        (" https://a.example", "one origin"),
        ("https://a!b.example", "no web page"),
        ("https://xn--a.example", "not a host"),
        ("http://127.1", "browsers write this address as 127.0.0.1"),
        ("http://[0::1]", "browsers write this address as [::1]"),
        ("htps://a.example", "did you mean \"https://\"?"),
        ("httpss://a.example", "did you mean \"https://\"?"),
        ("file://", "no origin"),
        ("file://localhost", "no origin"),
        ("data://x", "no origin"),
        ("wss://a.example", "no origin"),
        ("chrome-extension://*", "write the origin out"),
        ("chrome-extension://", "not a host"),
        ("capacitor://*.localhost", "write the origin out"),
        ("capacitor://a b", "one origin"),
    ] {
        let error = Pattern::parse(entry).expect_err(entry);
        assert!(error.contains(word), "{entry}: {error}");
    }
    assert!(!Pattern::parse("https://u:hunter2@a.example").unwrap_err().contains("hunter2"));
}

#[test]
fn the_origin_of_a_url_is_read() {
    let of =
        |url| Origin::of_url(url).is_some_and(|origin| Origin::parse("https://a.example") == Some(origin));
    for url in
        ["https://a.example/", "https://a.example", "https://a.example/x?y#z", "https://a.example:443?x"]
    {
        assert!(of(url), "{url}");
    }
    for url in ["https://a.example.evil/", "https://u@a.example/", "/x://a.example", "", "https:/a.example/"]
    {
        assert!(!of(url), "{url}");
    }
}

#[test]
fn the_gateways_own_origin_is_recognized() {
    let own = |origin, authority, secure| Origin::parse(origin).unwrap().is_own(authority, secure);
    for (origin, authority, secure) in [
        ("http://gate.internal:8080", "gate.internal:8080", false),
        ("http://gate.internal", "GATE.internal:80", false),
        ("https://gate.internal", "gate.internal", true),
        ("https://gate.internal", "gate.internal.:443", true),
        ("https://gate.internal", "gate.internal", false), // behind a proxy that ends TLS and does not say so
        ("http://127.0.0.1:8080", "127.0.0.1:8080", false),
        ("http://[::1]:8080", "[0::1]:8080", false),
    ] {
        assert!(own(origin, authority, secure), "{origin} at {authority}");
    }
    for (origin, authority, secure) in [
        ("http://gate.internal:8081", "gate.internal:8080", false),
        ("http://gate.internal", "gate.internal", true),
        ("https://page.internal", "gate.internal", true),
        ("http://localhost:8080", "127.0.0.1:8080", false),
        ("capacitor://localhost", "localhost", false),
    ] {
        assert!(!own(origin, authority, secure), "{origin} at {authority}");
    }
}

/// Scheme, host and port as a browser reads them; `None` if no page can have this origin.
fn in_a_browser(text: &str) -> Option<(String, String, u16)> {
    match Url::parse(text).ok()?.origin() {
        url::Origin::Tuple(scheme, host, port) => Some((scheme, host.to_string(), port)),
        url::Origin::Opaque(_) => None,
    }
}

/// A part of an origin, valid or not.
fn part() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("https://"),
        Just("http://"),
        Just("HTTPS://"),
        Just("a.example"),
        Just(".a.example"),
        Just("x."),
        Just("evil.test"),
        Just("."),
        Just(":443"),
        Just(":80"),
        Just(":8443"),
        Just(":"),
        Just("@"),
        Just("/"),
        Just("\\"),
        Just("?"),
        Just("#"),
        Just("%2e"),
        Just(" "),
        Just("\t"),
        Just(","),
        Just("*"),
        Just("["),
        Just("]"),
        Just("::1"),
        Just("127.0.0.1"),
        Just("xn--"),
        Just("ü"),
        Just("\u{3002}"),
        Just("0x7f"),
        Just("null"),
        Just("_"),
        Just("-"),
    ]
}

/// Parts in any order.
fn near_an_origin() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 0..7).prop_map(|parts| parts.concat())
}

/// An admitted origin with something inserted.
fn beside_an_origin() -> impl Strategy<Value = String> {
    let admitted = prop_oneof![Just("https://a.example"), Just("https://x.a.example:8443")];
    (admitted, any::<prop::sample::Index>(), part(), 0..3_usize).prop_map(|(origin, at, part, taken)| {
        let at = at.index(origin.len());
        format!("{}{part}{}", &origin[..at], &origin[(at + taken).min(origin.len())..])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    /// To a browser, every admitted origin is the listed one or a subdomain of it.
    #[test]
    fn nothing_that_a_browser_counts_as_outside_is_admitted(
        origin in prop_oneof![beside_an_origin(), near_an_origin(), near_an_origin().prop_map(|rest| format!("https://{rest}")), any::<String>()],
    ) {
        if admits("https://a.example", &origin) {
            prop_assert_eq!(in_a_browser(&origin), Some(("https".into(), "a.example".into(), 443)));
        }
        if admits("https://*.a.example:8443", &origin) {
            // Invalid Punycode is not a host to a browser.
            if let Some((scheme, host, port)) = in_a_browser(&origin) {
                prop_assert_eq!((scheme.as_str(), port), ("https", 8443));
                prop_assert!(host.ends_with(".a.example") && host.len() > ".a.example".len(), "{}", host);
            }
        }
    }

    /// The origin of every page below a listed domain is admitted, and no other.
    #[test]
    fn a_wildcard_is_every_subdomain(
        labels in prop::collection::vec("[a-z0-9]([a-z0-9_]{0,8}[a-z0-9])?", 1..5),
        port in prop_oneof![Just(443_u16), 1..=u16::MAX],
    ) {
        let below = format!("https://{}.a.example:{port}", labels.join("."));
        let said = Url::parse(&below).unwrap().origin().ascii_serialization();
        let pattern = format!("https://*.a.example:{port}");
        prop_assert!(admits(&pattern, &said), "{}", said);
        prop_assert!(!admits("https://*.a.example:1", &said) || port == 1);
        let beside = format!("https://{}a.example", labels.join("."));
        prop_assert!(!admits("https://*.a.example", &beside) || beside.contains(".a.example"), "{}", beside);
    }

    /// An entry admits the origin as a browser writes it, or the entry is refused.
    #[test]
    fn an_entry_admits_itself_as_a_browser_says_it(entry in near_an_origin()) {
        if let Ok(pattern) = Pattern::parse(&entry) {
            let page = entry.replace("*.", "x.");
            let url = Url::parse(&page).unwrap();
            let is_web = default_port(url.scheme()).is_some();
            let said = if is_web { url.origin().ascii_serialization() } else { page };
            let parsed = Origin::parse(&said);
            prop_assert!(parsed.is_some_and(|origin| pattern.matches(origin)), "{} {}", entry, said);
            prop_assert!(pattern.below == entry.contains('*'));
        }
    }

    /// No text makes the parser panic.
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), authority in any::<String>()) {
        let _ = Pattern::parse(&text);
        let _ = Origin::of_url(&text);
        if let Some(origin) = Origin::parse(&text) {
            let _ = origin.is_own(&authority, false);
        }
    }
}

fn any_pattern() -> impl Strategy<Value = Pattern> {
    let text = prop::sample::select(vec![
        "https://a.example",
        "http://a.example",
        "https://a.example:8443",
        "https://*.a.example",
        "https://*.b.a.example",
        "http://*.a.example:8080",
        "https://b.a.example",
        "https://x.example",
        "http://localhost:3000",
        "https://[2001:db8::1]",
        "chrome-extension://abcdefghijklmnop",
    ]);
    text.prop_map(|text| Pattern::parse(text).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// A list admits what one of its patterns matches, however long it is.
    #[test]
    fn a_list_admits_what_one_of_its_patterns_matches(
        patterns in prop::collection::vec(any_pattern(), 0..9),
        scheme in prop::sample::select(vec!["https", "http", "HTTPS", "chrome-extension"]),
        host in prop::sample::select(vec!["a.example", "A.Example", "b.a.example", "c.B.a.example", "xa.example", ".a.example", "x.example", "localhost", "[2001:DB8::1]", "abcdefghijklmnop", "example"]),
        port in prop::sample::select(vec![None, Some(8443), Some(8080), Some(3000)]),
    ) {
        let origin = Origin { scheme, host, port };
        let walked = patterns.iter().any(|pattern| pattern.matches(origin));
        prop_assert_eq!(OriginList::new(patterns).admits(origin), walked);
    }
}
