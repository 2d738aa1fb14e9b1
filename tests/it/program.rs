//! The program as its user meets it: the real binary as a child process, in front of a sandbox of Box.

pub(crate) mod harness; // the child and its Box
mod client; // a plain client
mod command; // flags, files, exit codes
mod certificates; // authorities and what they sign
mod life; // starting, draining, stopping
mod core_dumps; // none
mod tls; // TLS towards callers
mod reload; // another configuration meanwhile
mod secrets; // what must never show
mod access; // access lines
mod outages; // what the log says of Box's faults
mod streams; // lines that nobody takes
mod resources; // descriptors, memory
mod unix_sockets; // what is in their way, who may connect
mod fake_gateway; // what programs with Box's hosts built in meet
mod environment; // env and exec
mod tunnels; // what is told of tunnels
