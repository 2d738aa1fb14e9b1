//! The real binary as a child process, in front of a sandbox.

pub(crate) mod harness; // the child process and its Box
mod client; // a plain client
mod ways; // clients of HTTP/1.1 and HTTP/2, over TLS, Unix sockets and tunnels
mod command; // flags, files, exit codes
mod check; // what `boxgate check` finds
mod certificates; // certificates for tests
mod volume; // a volume of Kubernetes
mod fake_admin; // an admin listener that says what a test wants
mod health; // boxgate health
mod status_command; // boxgate status
mod usage; // boxgate usage
mod manual; // completions and the manual page
mod service; // under a service manager
mod life; // starting, draining, stopping
mod core_dumps; // core dumps are disabled
mod hardening; // of the gateway's process
mod exposed_files; // files that every user can read or replace
mod exposure; // who may call an open gateway is told
mod tls; // TLS of the callers' listener
mod reload; // another configuration meanwhile
mod rotation; // secrets, certificates and the configuration replaced under load
mod status; // /status.json over reloads
mod secrets; // secrets in output
mod access; // access lines
mod access_fields; // what single fields of them say
mod at_terminal; // lines for people
mod outages; // log lines about outages of Box
mod audit; // the file of the audit log, and its chain
mod streams; // output that no one reads
mod requests; // the last requests
mod resources; // descriptors, memory
mod egress; // a proxy between the gateway and Box
mod proxies; // balancers in front, each a real program
mod unix_sockets; // stale files, modes and groups
mod fake_gateway; // a scripted gateway for env and exec
mod environment; // env and exec
mod terminal; // a program on a pseudo-terminal
mod init; // the first files
mod downscope; // identities whose tokens have fewer rights
mod explain; // what a code means, and how a request is decided
mod decisions; // which app and identity serve a request
mod code_frames; // problems of a configuration on a terminal
mod traces; // what a collector that fails costs
mod kubernetes; // deploy/kubernetes, without a cluster
mod tunnels; // log and metrics of tunnels
mod monitoring; // alerts, the dashboard and the runbook, with a real Prometheus
