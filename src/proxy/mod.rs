//! The forward proxy: CONNECT, for programs that have Box's hosts built in.

pub mod blind_tunnel; // to hosts that are not Box's
pub mod connect; // may this tunnel be opened?
pub mod forward_proxy; // what all tunnels share
