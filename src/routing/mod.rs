//! Where a request leads: which app, which operation, which host of Box?

pub mod app; // which app is calling?
pub(crate) mod app_index; // which apps can it be?
pub(crate) mod app_key; // which key does the caller send?
pub(crate) mod proxy_user; // which app does Proxy-Authorization name?
pub(crate) mod route; // which host and path of Box?
pub(crate) mod box_hosts; // which hosts are Box's?
pub mod as_user; // as whom may it act?
pub mod operation; // which call of Box's API?
pub mod operation_pattern; // does it match a pattern?
pub mod operation_group; // of which named groups is it?
pub mod operation_policy; // may this app do this?
pub mod operation_class; // of which class is it?
pub(crate) mod operation_template; // without what it names
pub(crate) mod tunnel_list; // which other hosts may be reached?
