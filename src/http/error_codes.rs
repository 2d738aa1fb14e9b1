//! What each error code means and what to do about it, in one table: the list in `docs/errors.md` and the pages behind
//! `help_url` are generated from it. A test compares it with the codes of [`super::error`].
//!
//! The texts name keys of the configuration in backticks, as `docs/errors.md` shows them; pages of plain text leave the
//! backticks out. They reveal nothing about the configuration: anyone who can connect can read them.

use std::fmt::Write;

/// The path of the pages below the base URL of the gateway or of an app; the code follows.
pub(crate) const PAGES: &str = "/.well-known/boxgate/errors/";

/// One error code.
#[derive(Debug)]
pub(crate) struct ErrorCode {
    /// The value of `code` in an error.
    pub code: &'static str,
    /// The HTTP status of the response.
    pub status: u16,
    /// What has happened, in sentences.
    pub meaning: &'static str,
    /// What the caller can do.
    pub caller: &'static str,
    /// What the operator of the gateway can do.
    pub operator: &'static str,
}

/// Every code, by status.
pub(crate) static ERROR_CODES: [ErrorCode; 26] = [
    ErrorCode {
        code: "bad_request",
        status: 400,
        meaning: "The request is ambiguous or invalid: its target, a header or the framing of its body. The message says which.",
        caller: "Correct what the message names. A base URL that ends in a slash makes paths such as `//2.0/users/me`: remove the slash.",
        operator: "Nothing, unless a proxy in front of the gateway changes requests: then compare what the caller sends with what arrives.",
    },
    ErrorCode {
        code: "admin_key_required",
        status: 401,
        meaning: "The operators' listener asks for a key, and the request has none or a wrong one.",
        caller: "Nothing; only operators of the gateway use this listener.",
        operator: "Send the `key` of `[admin]` in `X-Boxgate-Key`, or as the password of HTTP Basic with any user name; the commands take it from `--key-file` or `BOXGATE_ADMIN_KEY`.",
    },
    ErrorCode {
        code: "as_user_not_allowed",
        status: 403,
        meaning: "The header `As-User` names a user that this app may not act as, is neither a user id nor a login that the app lists, or is a login that Box does not know.",
        caller: "Leave the header out, or name a user that the app may act as, by its id in digits or a login that the app lists.",
        operator: "Add the user's id or login to `as_user` of the app, if it may act as this user. Of a login that Box does not know, the log and `/status.json` say so: correct it, and reload.",
    },
    ErrorCode {
        code: "budget_spent",
        status: 403,
        meaning: "A budget of calls to Box is used up. The message names it and says when its next period begins.",
        caller: "Wait until then, or ask the operator of the gateway for more calls.",
        operator: "`boxgate usage` says who made the calls, `boxgate status` what is left. Raise `calls` of the `[[budget]]`, or set `when_spent = \"warn\"`.",
    },
    ErrorCode {
        code: "caller_not_allowed",
        status: 403,
        meaning: "Something that this caller must show is missing or wrong: a client certificate, a header or the app's key; or an operator on another machine asks for what a listener without a key answers only on its own. The message says which.",
        caller: "Send the header that the message names, the key in `X-Boxgate-Key`, or a client certificate.",
        operator: "Give the caller a certificate that `[listen] tls.client_ca` has signed, with a name that `certificates` of its app lists, or the `key` of its app; look at `require_header`. For operators on other machines set `key` of `[admin]`.",
    },
    ErrorCode {
        code: "operation_not_allowed",
        status: 403,
        meaning: "The rules of this app do not allow the operation, or it is part of a login at Box, which the gateway does not serve. The message says which.",
        caller: "Use only operations that the app allows. Programs need no login: any text works as their access token.",
        operator: "Change `allow` or `deny` of the app, if it should be allowed; `boxgate explain` with the request says which rule decides. Batches need an `allow` that names `POST /2.0/batch`.",
    },
    ErrorCode {
        code: "origin_not_allowed",
        status: 403,
        meaning: "A web page sent the request, and its origin is not listed for the app; or the request would change something on the admin listener, and the page is not of this listener.",
        caller: "Call from a page with a listed origin, or from a program that is not a browser.",
        operator: "Add the origin to `origins` of the app exactly as the browser's console shows it, with scheme, host and port. For a reload use `boxgate reload`.",
    },
    ErrorCode {
        code: "source_not_allowed",
        status: 403,
        meaning: "The caller's network address, or its user on a Unix socket, is none of those that may call.",
        caller: "Call from another network, or ask the operator of the gateway to allow yours.",
        operator: "Add the network, or the user of a Unix socket, to `sources` of `[listen]`, of the app or, for operators, of `[admin]`. Behind a proxy, list the proxy in `trusted_proxies` or `proxy_protocol`; a client whose address the proxy does not send in a valid form is in no network.",
    },
    ErrorCode {
        code: "tunnel_not_allowed",
        status: 403,
        meaning: "The gateway was used as a proxy to a host that is not one of Box's.",
        caller: "Use the gateway only for Box's hosts: `boxgate exec -- COMMAND` does so, or unset `HTTP_PROXY`, or list the host in `NO_PROXY`.",
        operator: "Add the host to `tunnel` of `[forward_proxy]`, if callers may reach it through the gateway.",
    },
    ErrorCode {
        code: "no_such_app",
        status: 404,
        meaning: "No app has this path and `Host`; or a program that uses the gateway as its proxy names no app, and none has the path `/`.",
        caller: "Check the base URL. As a proxy, name the app in its URL: `http://APP@HOST:PORT`.",
        operator: "Look at `path` and `hosts` of the apps; `boxgate explain` with the request says why each of them does not serve it.",
    },
    ErrorCode {
        code: "not_found",
        status: 404,
        meaning: "An app serves this path, but neither Box nor the gateway has anything there. On the admin listener: there is nothing of the name that the message quotes.",
        caller: "Check the path: those of Box's API begin with `/2.0/`, after the base URL.",
        operator: "Nothing. The CA at `/.well-known/boxgate/ca.pem` exists only with a `[forward_proxy]` without `cert`.",
    },
    ErrorCode {
        code: "method_not_allowed",
        status: 405,
        meaning: "The method is not allowed here: TRACE never is, CONNECT only if the gateway is a proxy and not inside a tunnel, and the gateway's own pages allow only GET and HEAD. `Allow` lists the allowed ones.",
        caller: "Use another method.",
        operator: "Add a `[forward_proxy]`, if programs should use the gateway as their proxy.",
    },
    ErrorCode {
        code: "proxy_authentication_required",
        status: 407,
        meaning: "A program uses the gateway as its proxy and names an app that does not exist, sends a wrong key, or sends no key although every app has one.",
        caller: "Set the proxy to `http://APP:KEY@HOST:PORT`; with `boxgate exec`, use `--app` and `BOXGATE_KEY`.",
        operator: "Compare `name` and `key` of the app with what the program uses.",
    },
    ErrorCode {
        code: "request_timeout",
        status: 408,
        meaning: "The request's body stopped arriving.",
        caller: "Send the request again; check your network if it happens often.",
        operator: "`[upstream] body_timeout` is the longest time without progress of a body.",
    },
    ErrorCode {
        code: "host_not_allowed",
        status: 421,
        meaning: "The `Host` of the request is not one of the gateway's names, or inside a tunnel not the host that the tunnel leads to.",
        caller: "Use a name that the gateway knows, `localhost` or its IP address.",
        operator: "Add the name to `hosts` of `[listen]` or, for operators, of `[admin]`, if it is one of the gateway's.",
    },
    ErrorCode {
        code: "rate_limit_exceeded",
        status: 429,
        meaning: "A limit has no call left for this request, or Box requested a pause; or, on the operators' listener, too many wrong keys came from an address, or a new token was requested twice within ten seconds. The message says which, and the header `RateLimit` names a limit. A response without `Proxy-Status` is from Box.",
        caller: "Send the request again after `Retry-After` seconds, and fewer at once.",
        operator: "`boxgate status` shows which limit is full, which client or user fills it, and which pause holds; `boxgate usage` who made the calls; `boxgate explain` which limits count a request. Change the `[[limit]]` of that name; Box's own limits and pauses cannot be raised here.",
    },
    ErrorCode {
        code: "credentials_refused",
        status: 502,
        meaning: "Box refuses the credentials with which the gateway requests access tokens: client id, client secret, or the account; or it refuses to narrow such a token to the rights that are set for the app (`downscope`). No request of this app can go to Box until that is fixed.",
        caller: "The request is correct. Tell the operator of the gateway.",
        operator: "Run `boxgate check`, which says what Box refuses and where to fix it. The log names the identity and Box's reason.",
    },
    ErrorCode {
        code: "upstream_protocol_error",
        status: 502,
        meaning: "Before a response, the connection to Box broke, or something other than HTTP arrived on it.",
        caller: "Box may have processed the request: check before you repeat one that changes something.",
        operator: "The log names the host and the cause. A proxy or firewall on the way to Box may cut connections.",
    },
    ErrorCode {
        code: "upstream_unauthorized",
        status: 502,
        meaning: "Box answered 401 to an access token that it had just issued, or to a pre-signed URL.",
        caller: "Request a new pre-signed URL, if it was one. Otherwise tell the operator of the gateway.",
        operator: "Run `boxgate check`. The app at Box may lack a scope or its authorization in the Admin Console.",
    },
    ErrorCode {
        code: "upstream_unreachable",
        status: 502,
        meaning: "The gateway cannot open a connection to Box, or to the host of a tunnel. The request was not sent.",
        caller: "Send the request again later.",
        operator: "The log names the host and the cause: check DNS, network, `[upstream] proxy` and `[box] ca_file`; `boxgate check` tries each host and says which step fails.",
    },
    ErrorCode {
        code: "app_disabled",
        status: 503,
        meaning: "The app is disabled, for example for maintenance.",
        caller: "Send the request again later, or ask the operator of the gateway for how long.",
        operator: "Set `enabled` of the app to `true`, or remove the key.",
    },
    ErrorCode {
        code: "overloaded",
        status: 503,
        meaning: "Too many requests are in flight: of the app, or altogether for the limit of open files. The message says which.",
        caller: "Send the request again after `Retry-After` seconds, and fewer at once.",
        operator: "Raise `max_in_flight` of the app, or the limit of open files (`ulimit -n`, `LimitNOFILE`).",
    },
    ErrorCode {
        code: "reload_unavailable",
        status: 503,
        meaning: "The gateway did not carry out a reload (`POST /reload` on the admin listener): it is stopping, has nothing to reload, or has not finished in time.",
        caller: "Nothing; only operators of the gateway request this.",
        operator: "The message says which. If it took too long, a file cannot be read to its end; the log will show the outcome.",
    },
    ErrorCode {
        code: "token_unavailable",
        status: 503,
        meaning: "The gateway has no valid access token at the moment: Box's token endpoint cannot be reached or does not answer as it should, or a token was just retired. Or `As-User` needs the id of a login, and Box has not said it yet. The message says which.",
        caller: "Send the request again after `Retry-After` seconds.",
        operator: "If it lasts, the log names the cause: check network, `[upstream] proxy`, `[box] token_url` and `[box] ca_file`. With `downscope`, Box may have given a token that reaches more than `downscope.resource`, which is not used: `boxgate check` says so. For a login in `as_user`, `/status.json` has it too: the app at Box may lack the scope Manage users.",
    },
    ErrorCode {
        code: "upstream_timeout",
        status: 504,
        meaning: "Box did not begin to answer in time, or stopped taking the request's body.",
        caller: "Box may still process the request: check before you repeat one that changes something.",
        operator: "`[upstream] response_timeout` and `body_timeout` are how long Box may take. Check Box's status page.",
    },
    ErrorCode {
        code: "loop_detected",
        status: 508,
        meaning: "The gateway would send the request to itself or to another boxgate.",
        caller: "The request is correct, unless it went through two gateways. Tell their operators.",
        operator: "The log names the setting that leads back: `HTTPS_PROXY`, `[upstream] proxy` or a host of `[box]`; `boxgate check` finds it too.",
    },
];

/// The entry of a code; `None`: unknown code.
pub(crate) fn find(code: &str) -> Option<&'static ErrorCode> {
    ERROR_CODES.iter().find(|entry| entry.code == code)
}

impl ErrorCode {
    /// The page about it: plain text of a few lines.
    pub(crate) fn page(&self) -> String {
        let mut page = format!("{} (HTTP status {})\n", self.code, self.status);
        for (heading, text) in [
            ("What it means", self.meaning),
            ("If you call the gateway", self.caller),
            ("If you run the gateway", self.operator),
        ] {
            // Writing to a `String` cannot fail.
            let _ = write!(page, "\n{heading}:\n  {}\n", text.replace('`', ""));
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The table in `docs/errors.md`, as it must be.
    fn table() -> String {
        let mut table =
            "| code | status | meaning | callers | operators |\n|---|---|---|---|---|\n".to_owned();
        for ErrorCode { code, status, meaning, caller, operator } in &ERROR_CODES {
            let row =
                format!("| <a id=\"{code}\"></a>`{code}` | {status} | {meaning} | {caller} | {operator} |\n");
            table.push_str(&row);
        }
        table
    }

    #[test]
    fn every_code_of_a_refusal_is_in_the_table_with_its_status() {
        // The source of the exhaustive match is read as text, since no value lists all variants.
        let (_, from) = include_str!("error.rs").split_once("fn status_and_code").unwrap();
        let (body, _) = from.split_once("\n    }\n").unwrap();
        let squeezed: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        let given: BTreeSet<(String, &str)> = squeezed
            .split("(StatusCode::")
            .skip(1)
            .map(|rest| {
                let (status, rest) = rest.split_once(",\"").unwrap();
                (status.to_owned(), rest.split('"').next().unwrap())
            })
            .collect();
        assert!(given.len() > 20, "the match was not found: {given:?}");
        let name = |status| {
            let reason = http::StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
            reason.to_uppercase().replace(' ', "_")
        };
        let listed: BTreeSet<(String, &str)> =
            ERROR_CODES.iter().map(|entry| (name(entry.status), entry.code)).collect();
        assert_eq!(listed, given);
        assert_eq!(listed.len(), ERROR_CODES.len(), "a code is listed twice");
    }

    #[test]
    fn the_page_of_errors_has_this_table() {
        let page = include_str!("../../docs/errors.md");
        // An empty line must follow, so that no row of a removed code is left after it.
        let whole = page.split_once(&table()).is_some_and(|(_, behind)| behind.starts_with('\n'));
        assert!(whole, "the table in docs/errors.md must be:\n{}", table());
    }

    #[test]
    fn entries_are_sorted_and_are_sentences() {
        assert!(ERROR_CODES.is_sorted_by_key(|entry| (entry.status, entry.code)));
        for ErrorCode { code, meaning, caller, operator, .. } in &ERROR_CODES {
            for text in [meaning, caller, operator] {
                assert!(text.ends_with('.') && !text.contains(['\n', '|']), "{code}: {text}");
            }
        }
    }
}
