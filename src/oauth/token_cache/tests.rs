use super::rejection::UNHELPFUL_WINDOW;
use super::*;
use crate::net::egress_proxy::{Proxy, proxy_matcher};
use crate::net::own_listeners::OwnListeners;
use crate::net::secret_filter::{self, Audience};
use crate::net::tls_client::Trust;
use crate::oauth::http_client::token_client;
use crate::oauth::identity::Subject;

fn token_endpoint() -> Arc<TokenEndpoint> {
    let trust = Trust::new(&[]).unwrap();
    let client = token_client(&trust, &Proxy::None, Duration::from_secs(1)).unwrap();
    let (proxies, own) = (proxy_matcher(&Proxy::None), OwnListeners::default());
    Arc::new(TokenEndpoint::new(client, "https://api.box.com/oauth2/token".to_owned(), proxies, own))
}

fn tokens(clock: &Clock) -> Arc<Tokens> {
    let identity = Identity {
        name: "service".into(),
        client_id: "id".into(),
        client_secret: Secret::new("secret".into()),
        subject: Subject::Enterprise("1".into()),
        downscope: None,
    };
    Tokens::new(identity, token_endpoint(), clock.clone(), Arc::new(Outages::new(clock.clone())))
}

fn granted(text: &'static str, seconds: u64) -> Granted {
    let token = Secret::new(text.trim_start_matches("Bearer ").to_owned());
    let authorization = HeaderValue::from_static(text);
    Granted { authorization, token, lifetime: Duration::from_secs(seconds), restricted_to: Vec::new() }
}

#[test]
fn a_401_never_retires_a_newer_token() {
    let clock = Clock::adjustable();
    let tokens = tokens(&clock);
    tokens.store(granted("Bearer 1", 3600), clock.now());
    let old = tokens.cached().unwrap();
    tokens.store(granted("Bearer 2", 3600), clock.now());
    assert_eq!(tokens.reject(&old, 1, false), Rejected::Retired);
    assert_eq!(tokens.cached().unwrap().authorization(), "Bearer 2");
}

#[test]
fn a_token_is_blanked_until_it_expires_even_if_replaced() {
    let clock = Clock::adjustable();
    let tokens = tokens(&clock);
    let is_blanked = |number: usize| {
        secret_filter::blanked(format!("t0k3n-of-{number:04}").as_bytes(), Audience::Operators).is_some()
    };
    for text in ["Bearer t0k3n-of-0001", "Bearer t0k3n-of-0002"] {
        tokens.store(granted(text, 3600), clock.now());
    }
    assert!(is_blanked(1) && is_blanked(2) && !is_blanked(3));
    clock.advance(Duration::from_secs(3600));
    tokens.store(granted("Bearer t0k3n-of-0003", 3600), clock.now());
    assert!(!is_blanked(1) && !is_blanked(2) && is_blanked(3));
    // All that operators can have renewed while the first is valid.
    let store = |number: usize| {
        let text: &'static str = format!("Bearer t0k3n-of-{number:04}").leak();
        tokens.store(granted(text, 3600), clock.now());
    };
    let keep_parent = |number: usize| {
        let parent = Secret::new(format!("t0k3n-of-{number:04}"));
        tokens.keep_blanked(clock.now().after(Duration::from_secs(3600)), parent, clock.now());
    };
    for number in (4..722).step_by(2) {
        clock.advance(Duration::from_secs(10));
        keep_parent(number);
        store(number + 1);
    }
    assert!((3..722).all(is_blanked));
    // However often it is replaced, the number is bounded.
    (722..900).for_each(store);
    assert_eq!((3..900).filter(|number| is_blanked(*number)).count(), EARLIER + 1);
}

#[test]
fn renewals_that_do_not_help_are_bounded_in_a_window() {
    let clock = Clock::adjustable();
    let tokens = tokens(&clock);
    let reject = || {
        tokens.store(granted("Bearer x", 3600), clock.now());
        tokens.reject(&tokens.cached().unwrap(), 1, false)
    };
    assert_eq!([reject(), reject(), reject(), reject()], {
        use Rejected::{Retired, Spared};
        [Retired, Retired, Retired, Spared]
    });
    assert!(tokens.cached().is_some(), "a spared token stays");
    clock.advance(UNHELPFUL_WINDOW);
    assert_eq!(reject(), Rejected::Retired);
}

#[test]
fn a_token_that_was_accepted_and_then_revoked_is_replaced_every_time() {
    let clock = Clock::adjustable();
    let tokens = tokens(&clock);
    for _ in 0..20 {
        tokens.store(granted("Bearer x", 3600), clock.now());
        let token = tokens.cached().unwrap();
        token.accepted();
        assert_eq!(tokens.reject(&token, 1, false), Rejected::Retired);
    }
}

#[test]
fn after_a_storm_an_accepted_token_is_replaced_except_for_requests_that_always_get_401() {
    let clock = Clock::adjustable();
    let tokens = tokens(&clock);
    let (bad, good) = (1, 2);
    let fresh = || {
        tokens.store(granted("Bearer x", 3600), clock.now());
        tokens.cached().unwrap()
    };
    let mut token = fresh();
    for _ in 0..3 {
        assert_eq!(tokens.reject(&token, bad, false), Rejected::Retired);
        token = fresh();
        assert_eq!(tokens.reject(&token, bad, true), Rejected::Spared, "the replay failed");
    }
    assert_eq!(tokens.reject(&token, good, false), Rejected::Spared, "Box has accepted nothing so far");
    token.accepted();
    assert_eq!(tokens.reject(&token, bad, false), Rejected::Spared);
    assert_eq!(tokens.reject(&token, good, false), Rejected::Retired);
}

#[test]
fn a_token_is_invalid_once_either_clock_says_it_has_expired() {
    let clock = Clock::adjustable();
    let tokens = tokens(&clock);
    let renew = tokens.store(granted("Bearer x", 3600), clock.now());
    assert!(renew.left(clock.now()) <= Duration::from_secs(3300));
    clock.advance(Duration::from_secs(3599));
    assert!(tokens.cached().is_some());
    clock.advance(Duration::from_secs(1));
    assert!(tokens.cached().is_none());
}

#[test]
fn short_lived_tokens_are_renewed_at_half_their_lifetime() {
    let clock = Clock::adjustable();
    let tokens = tokens(&clock);
    let left = tokens.store(granted("Bearer x", 60), clock.now()).left(clock.now());
    assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(28));
}
