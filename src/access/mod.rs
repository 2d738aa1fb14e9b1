//! Who may call?

pub mod caller; // what does the connection tell?
pub mod client_ip; // who is behind trusted proxies?
pub mod admission; // may this caller speak to us?
pub mod browser; // is it a web page, and one that may call?
pub mod cors; // what may that page read?
