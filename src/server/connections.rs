//! All connections of a worker, so that they can be told to close.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use super::watched_socket::Control;

/// All connections of a worker, so that they can be told to close.
#[derive(Default)]
pub(super) struct Connections {
    draining: Cell<bool>,
    open: RefCell<Vec<Weak<Control>>>,
}

impl Connections {
    /// Idle connections close at once, the others after what they have under way.
    pub(super) fn drain(&self) {
        self.draining.set(true);
        for control in self.open.borrow_mut().drain(..).filter_map(|weak| weak.upgrade()) {
            control.drain();
        }
    }

    pub(super) fn register(&self) -> Rc<Control> {
        let control = Rc::new(Control { draining: Cell::new(self.draining.get()), ..Control::default() });
        let mut open = self.open.borrow_mut();
        if open.len() == open.capacity() {
            open.retain(|weak| weak.strong_count() > 0);
        }
        open.push(Rc::downgrade(&control));
        control
    }
}
