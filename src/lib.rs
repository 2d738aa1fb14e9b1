//! boxgate: an authenticating reverse proxy in front of the Box API. This is the map.

// The path of a request, on one screen, and the stages in its order.
pub mod gateway;
pub mod proxy; // programs that use the gateway as their proxy
pub mod access; // who may call?
pub mod admit; // may this caller speak to us?
pub mod target; // can the target be read in one way only?
pub mod app; // which app is calling?
pub mod page; // is it a web page, and one that may call?
pub mod cors; // what may that page read?
pub mod route; // where at Box?
pub mod routing; // and besides Box?
pub mod box_host; // which hosts are Box's?
pub mod operation; // may this app do this?
pub mod class; // of which class is it?
pub mod throttle; // may it go now?
pub mod limit; // how often?
pub mod budget; // how often in a month?
pub mod replicas; // how often all replicas together?
pub mod headers; // which fields pass, in both directions?
pub mod upload; // the request's body
pub mod oauth; // as whom?
pub mod token; // with what authority?
pub mod grant; // the question to the token endpoint
pub mod outbound; // what goes to Box
pub mod forward; // again, and with a fresh token
pub mod redirect; // on to where Box keeps the content
pub mod upstream; // the pool of connections to Box
pub mod connect; // name, TCP, proxy, TLS
pub mod rewrite; // URLs and tokens in the answer
pub mod json_edit; // how they are found
pub mod download; // the answer's body
pub mod own_answer; // what the gateway answers itself
pub mod refusal; // where it says no
pub mod exchange; // the record of a request

// The shell: starting, serving, stopping.
pub mod config;
pub mod server;
pub mod listen;
pub mod tls; // towards callers
pub mod worker;
pub mod admin;
pub mod log;
pub mod check;
pub mod cli; // how do programs with Box's hosts built in get here?

// Ground.
pub mod http; // bodies whose end can be believed
pub mod host;
pub mod origin;
pub mod net; // what sockets cost, and how long they may take
pub mod network;
pub mod secret;
pub mod clock;
pub mod metrics;
pub mod telemetry; // lines on their way out
pub mod figures; // of limits and budgets

// A Box to try against, and its page.
#[cfg(feature = "sandbox")]
pub mod sandbox;
