//! How often in a day or a month?

pub mod call; // a call, as budgets know it
pub mod definition; // what a budget is
pub(crate) mod period; // days and months
pub mod counts; // calls of Box, in memory
pub mod spending; // what is left
pub(crate) mod store; // on the disk
pub(crate) mod writer; // from memory to the disk
