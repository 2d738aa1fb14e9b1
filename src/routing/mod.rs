//! Where a request leads.

pub mod tunnel_list; // to which hosts besides Box's
