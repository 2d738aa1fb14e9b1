//! boxgate: an authenticating reverse proxy in front of the Box API. This is the map, from the top downwards: a module
//! imports only those below it.

pub mod cli; // what each subcommand does
pub mod server; // the process: accept, serve, stop
mod admin; // what operators are told
mod proxy; // the path of one request
pub mod config; // what proxy.toml means
mod access; // who may call?
pub mod limits; // may it go to Box now?
mod upstream; // connections to Box
pub mod routing; // which app, which operation, which host of Box?
pub mod oauth; // identities and their tokens
pub mod telemetry; // log, access lines, metrics, history, traces
mod http; // parsing and checks of HTTP
pub mod net; // sockets, certificates, secrets, time
#[cfg(feature = "sandbox")]
pub mod sandbox; // a Box to try against; imports nothing of the others
