//! Who may call.

pub mod app_key; // which secret does it show?
pub mod caller; // what does the connection tell?
pub mod client_ip; // who is behind trusted proxies?
pub mod proxy_authorization; // which app does a program name that uses the gateway as its proxy?
