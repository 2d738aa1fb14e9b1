//! What a configuration keeps from the previous one at a reload.

use std::sync::Arc;

use super::{Config, ProxyCertificate};
use crate::net::tls_server::Tls;

impl Config {
    /// Keeps unchanged certificates, and with them the TLS sessions that callers may resume.
    pub(crate) fn keep_certificates(&mut self, running: &Self) {
        let keep = |now: &mut Arc<Tls>, before: &Arc<Tls>| {
            if **now == **before {
                *now = before.clone();
            }
        };
        if let (Some(now), Some(before)) = (&mut self.tls, &running.tls) {
            keep(now, before);
        }
        if let (Some(now), Some(before)) = (&mut self.admin_tls, &running.admin_tls) {
            keep(now, before);
        }
        if let (Some(now), Some(before)) = (&mut self.forward_proxy, &running.forward_proxy)
            && let (ProxyCertificate::One(now), ProxyCertificate::One(before)) =
                (&mut now.certificate, &before.certificate)
        {
            keep(now, before);
        }
    }

    /// Keeps the values of `running` that only a restart can change. Returns the keys whose values differ.
    pub(crate) fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let mut differ = Vec::new();
        let mut keep = |key, differs: bool| {
            if differs {
                differ.push(key);
            }
        };
        keep("[listen] address", self.listen.addresses != running.listen.addresses);
        keep("[listen] workers", self.workers != running.workers);
        keep("[listen] max_connections", self.max_connections != running.max_connections);
        // Whether a listener uses TLS is decided when it is bound.
        let switches_tls = self.tls.is_some() != running.tls.is_some();
        keep("[listen] tls, if it is added or removed", switches_tls);
        keep("[admin] address", self.admin.addresses != running.admin.addresses);
        let switches_admin_tls = self.admin_tls.is_some() != running.admin_tls.is_some();
        keep("[admin] tls, if it is added or removed", switches_admin_tls);
        let moves_admin = switches_admin_tls || self.admin.addresses != running.admin.addresses;
        // Who may connect was written for the addresses and the TLS that are yet to come: until then, those that are bound
        // must not be open to others than before.
        let moves = switches_tls || self.listen.addresses != running.listen.addresses;
        let networks = [
            ("[listen] sources", moves, &mut self.listen.sources, &running.listen.sources),
            ("[listen] trusted_proxies", moves, &mut self.trusted_proxies, &running.trusted_proxies),
            ("[listen] proxy_protocol", moves, &mut self.proxy_protocol, &running.proxy_protocol),
            ("[admin] sources", moves_admin, &mut self.admin.sources, &running.admin.sources),
        ];
        for (key, is_kept, now, before) in networks {
            keep(key, is_kept && now != before);
            if is_kept {
                now.clone_from(before);
            }
        }
        // A key that is taken out may have been written for the addresses that are yet to come, too.
        let keeps_key = moves_admin && self.admin_keys.is_none() && running.admin_keys.is_some();
        keep("[admin] key, which is taken out", keeps_key);
        let wants = |tls: &Option<Arc<Tls>>| tls.as_ref().is_some_and(|tls| tls.wants_certificates());
        let keeps_authority = moves && !switches_tls && wants(&running.tls) && !wants(&self.tls);
        keep("[listen] tls, which has no client_ca any more", keeps_authority);
        let keeps_admin_authority =
            moves_admin && !switches_admin_tls && wants(&running.admin_tls) && !wants(&self.admin_tls);
        keep("[admin] tls, which has no client_ca any more", keeps_admin_authority);
        // The names are of certificates that the TLS yet to come asks for: the one that is bound admits those it did.
        let keeps_names = (switches_tls || keeps_authority) && self.apps.keep_certificates(&running.apps);
        keep("[[app]] certificates, with [listen] tls", keeps_names);
        if moves {
            self.exposure.clone_from(&running.exposure);
        }
        keep("[state] dir", self.state.dir != running.state.dir);
        keep("[state] redis", self.state.redis != running.state.redis);
        keep("[state] redis_prefix", self.state.redis_prefix != running.state.redis_prefix);
        keep("[log] level", self.log.level != running.log.level);
        keep("[log] format", self.log.format != running.log.format);
        keep("[log] access", self.log.access != running.log.access);
        keep("[log] audit", self.log.audit != running.log.audit);
        self.listen.addresses.clone_from(&running.listen.addresses);
        self.admin.addresses.clone_from(&running.admin.addresses);
        if switches_admin_tls || keeps_admin_authority {
            self.admin_tls.clone_from(&running.admin_tls);
        }
        if keeps_key {
            self.admin_keys.clone_from(&running.admin_keys);
        }
        self.workers = running.workers;
        self.max_connections = running.max_connections;
        if switches_tls || keeps_authority {
            self.tls.clone_from(&running.tls);
        }
        self.state.clone_from(&running.state);
        self.log.clone_from(&running.log);
        differ
    }
}
