//! boxgate: an authenticating reverse proxy in front of the Box API. This is the map, from the top downwards: a module
//! imports only those below it.

pub mod cli; // what each subcommand does
pub mod server; // the process: accept, serve, stop
mod admin; // what operators are told
mod proxy; // the way of one request
pub mod config; // what proxy.toml means
mod access; // who may call?
pub mod limits; // may it go now?
mod upstream; // connections to Box
pub mod routing; // which app, which operation, which host of Box?
pub mod oauth; // as whom?
pub mod telemetry; // log, access lines, metrics
mod http; // what HTTP means here
pub mod net; // sockets, certificates, secrets, time
#[cfg(feature = "sandbox")]
pub mod sandbox; // a Box to try against; imports nothing of the others
