//! Errors in words.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// What layers say that only hand on a cause.
const WRAPPERS: [&str; 3] = ["client error (Connect)", "tcp connect error", "client error (SendRequest)"];

/// An error's words with those of its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        let more = words_of(error);
        if next.is_some() && WRAPPERS.contains(&more.as_str()) || words.contains(&more) {
            continue;
        }
        if !words.is_empty() {
            words.push_str(": ");
        }
        words.push_str(&more);
    }
    words
}

/// The system's errors by name: the number behind them (`os error 111`) tells readers nothing. An authority that is not
/// trusted comes with what to do, and what libraries say to programmers is said to people.
fn words_of(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    if is_untrusted(error) {
        return format!("{text}; {UNTRUSTED}");
    }
    if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
        return format!("what came is not HTTP ({text})");
    }
    let Some(error) = error.downcast_ref::<io::Error>() else { return text };
    if error.kind() == io::ErrorKind::UnexpectedEof && text.contains("close_notify") {
        return CUT.to_owned();
    }
    match error.kind().to_string() {
        kind if error.raw_os_error().is_some() && kind != UNNAMED => kind,
        _ => text,
    }
}

fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        // The second: an authority of the same name is trusted, but is another one.
        return matches!(
            error,
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            )
        );
    }
    // An error that an `io::Error` wraps is not its source.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| is_untrusted(inner))
}

/// The likely cause, and the key.
const UNTRUSTED: &str = "its authority is not trusted here: if a proxy or firewall of your network ends TLS, add its CA to [box] ca_file";

/// In place of rustls's words, which explain its interface to programmers.
const CUT: &str = "the other side closed the connection in the middle of TLS";

/// What the standard library calls errors for which it has no name.
const UNNAMED: &str = "uncategorized error";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapper(&'static str, io::Error);

    impl std::fmt::Display for Wrapper {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Wrapper {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn causes_are_told_and_neither_wrappers_nor_numbers() {
        let refused = || io::Error::from_raw_os_error(111);
        assert_eq!(chain(&Wrapper("tcp connect error", refused())), "connection refused");
        assert_eq!(chain(&Wrapper("dns error", io::Error::other("no such name"))), "dns error: no such name");
        let untrusted = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let told = chain(&io::Error::other(io::Error::other(untrusted)));
        assert!(told.contains("UnknownIssuer") && told.ends_with("to [box] ca_file"), "{told}");
        let cut = io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "peer closed connection without sending TLS close_notify: https://docs.rs/rustls/",
        );
        assert_eq!(chain(&Wrapper("connection error", cut)), format!("connection error: {CUT}"));
        let unnamed = io::Error::from_raw_os_error(95);
        assert!(!chain(&unnamed).contains("uncategorized"), "{}", chain(&unnamed));
    }
}
