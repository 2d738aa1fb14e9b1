//! Who may call?

pub(crate) mod caller; // what does the connection tell?
pub(crate) mod forwarded_for; // who is behind trusted proxies?
pub(crate) mod admission; // may this caller use the listener?
pub(crate) mod browser; // is it a web page, and one that may call?
pub(crate) mod cors; // what may that page read?
