//! Error messages for people: an error with its causes.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// Messages of layers that only wrap a cause.
const WRAPPERS: [&str; 3] = ["client error (Connect)", "tcp connect error", "client error (SendRequest)"];

/// The message of an error, with those of its causes.
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

/// The message of one error. System errors lose their number (`os error 111`); an untrusted certificate comes with what
/// to do; messages that libraries address to programmers are replaced.
fn words_of(error: &(dyn Error + 'static)) -> String {
    let text = error.to_string();
    if is_untrusted(error) {
        return format!("{text}; {UNTRUSTED}");
    }
    if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
        return format!("the response is not HTTP ({text})");
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
        // `BadSignature`: a trusted authority has the same name but another key.
        return matches!(
            error,
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature
            )
        );
    }
    // The error inside an `io::Error` is not its `source`.
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| is_untrusted(inner))
}

/// The likely cause, and the key to set.
const UNTRUSTED: &str = "its certificate authority is not trusted: if a proxy or firewall of your network intercepts TLS, add its CA to [box] ca_file";

/// Replaces rustls's message, which is written for programmers.
const CUT: &str = "the other side closed the connection without ending TLS";

/// The standard library's name for errors without a kind.
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
    fn causes_are_shown_without_wrappers_and_error_numbers() {
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
