//! The audit log: a file with one JSON line for each call that changes something at Box, in a chain of hashes. Why it is built
//! so: `docs/decisions/audit-log.md`.
//!
//! What a line says of a request is made by `proxy::audit_line`. Here lines are put into the chain and written.

pub(crate) mod audit_log; // the queue, and the thread that writes
pub(crate) mod audit_file; // the file: opened, locked, appended to, mended
pub(crate) mod chain; // how a line names the one before it
pub(crate) mod verification; // is the chain of files whole?
