//! The configurations of `deploy/proxies`, each run by its own program in front of the real gateway and a sandbox.

mod balancer; // nginx, Caddy, HAProxy, Envoy as a process
mod caller; // curl, from an address of its own
mod site; // a sandbox, one or two gateways and a balancer
mod requests; // client address, names, targets, heads
mod bodies; // streamed in both directions
mod timeouts; // long polls
mod drains; // a gateway stops while the other goes on
mod passthrough; // TCP passed on, with the PROXY protocol
