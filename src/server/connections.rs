//! The connections of a worker, so that they can be told to close.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use rustls::pki_types::CertificateDer;

use super::watched_socket::Control;
use crate::access::caller::Caller;
use crate::net::tls_server::Tls;

/// The most ended connections that stay in the list until the next look.
const FEW: usize = 64;

/// The open connections of a worker.
#[derive(Default)]
pub(super) struct Connections {
    draining: Cell<bool>,
    open: RefCell<Vec<Weak<Control>>>,
}

impl Connections {
    /// Closes idle connections at once, and the others after their requests in progress.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        for control in self.open.borrow_mut().drain(..).filter_map(|weak| weak.upgrade()) {
            control.drain();
        }
    }

    /// Registers a connection without requests so far, whose caller has shown no certificate.
    pub(super) fn register(&self) -> Rc<Control> {
        self.add(Control::default())
    }

    /// Registers the connection of this caller, or the inside of a tunnel in it.
    pub(super) fn register_for(&self, caller: &Caller) -> Rc<Control> {
        self.add_for(caller, caller.inside.is_some())
    }

    /// A tunnel of this caller.
    pub(super) fn register_tunnel(&self, caller: &Caller) -> Rc<Control> {
        self.add_for(caller, true)
    }

    /// It ends as soon as it can where the caller was revoked before: while the request that asked for a tunnel was under
    /// way.
    fn add_for(&self, caller: &Caller, is_tunnel: bool) -> Rc<Control> {
        let control = Control { shown: caller.shown.clone(), is_tunnel, ..Control::default() };
        control.draining.set(caller.is_revoked());
        self.add(control)
    }

    /// Ends tunnels after what they have under way: there is no forward proxy any more.
    pub(super) fn end_tunnels(&self) {
        for control in self.open.borrow().iter().filter_map(Weak::upgrade) {
            if control.is_tunnel {
                control.drain();
            }
        }
    }

    /// Closes connections whose callers these settings would not admit, after their requests in progress.
    pub(super) fn revoke(&self, tls: &Tls) {
        let mut judged: HashMap<Vec<CertificateDer<'_>>, bool> = HashMap::new();
        for control in self.open.borrow().iter().filter_map(Weak::upgrade) {
            let Some(shown) = &control.shown else { continue };
            // Most callers share a few certificates, and verifying a signature takes 0.1 ms.
            if !*judged.entry(shown.chain.clone()).or_insert_with(|| tls.admits(&shown.chain)) {
                shown.is_revoked.set(true);
                control.drain();
            }
        }
    }

    /// Forgets connections that have ended, once they are more than those that are open: what each shared stays allocated
    /// as long as it is listed here.
    pub(super) fn forget_ended(&self, open: usize) {
        let mut listed = self.open.borrow_mut();
        if listed.len() > 2 * open + FEW {
            listed.retain(|weak| weak.strong_count() > 0);
            listed.shrink_to(2 * open + FEW);
        }
    }

    fn add(&self, control: Control) -> Rc<Control> {
        let control = Rc::new(control);
        if self.draining.get() {
            control.draining.set(true);
        }
        let mut open = self.open.borrow_mut();
        if open.len() == open.capacity() {
            open.retain(|weak| weak.strong_count() > 0);
        }
        open.push(Rc::downgrade(&control));
        control
    }
}
