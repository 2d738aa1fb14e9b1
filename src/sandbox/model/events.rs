//! Events, and channels that wait for them.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use crate::sandbox::http::lock::lock;

/// How many events are remembered.
const REMEMBERED: usize = 1000;

/// The first position, as large as Box's, but exact in JavaScript (below 2^53).
const FIRST_POSITION: u64 = 1_348_790_499_819;

/// Box's types of events.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventType {
    Create,
    Upload,
    Rename,
    Move,
    Copy,
    Trash,
    Restore,
    Share,
    Unshare,
    Comment,
    CommentDelete,
    Collaborate,
}

impl EventType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "ITEM_CREATE",
            Self::Upload => "ITEM_UPLOAD",
            Self::Rename => "ITEM_RENAME",
            Self::Move => "ITEM_MOVE",
            Self::Copy => "ITEM_COPY",
            Self::Trash => "ITEM_TRASH",
            Self::Restore => "ITEM_UNDELETE_VIA_TRASH",
            Self::Share => "ITEM_SHARED_CREATE",
            Self::Unshare => "ITEM_SHARED_UNSHARE",
            Self::Comment => "COMMENT_CREATE",
            Self::CommentDelete => "COMMENT_DELETE",
            Self::Collaborate => "COLLAB_ADD_COLLABORATOR",
        }
    }
}

/// The stream of events, and the channels of the long poll.
pub(crate) struct Events {
    latest: Mutex<VecDeque<(u64, Value)>>,
    /// The position after the last event.
    next: watch::Sender<u64>,
    /// The position up to which each channel was told.
    channels: Mutex<HashMap<String, u64>>,
}

impl Default for Events {
    fn default() -> Self {
        let next = watch::Sender::new(FIRST_POSITION);
        Self { latest: Mutex::default(), next, channels: Mutex::default() }
    }
}

impl Events {
    pub(crate) fn add(&self, event: Value) {
        let mut latest = lock(&self.latest);
        if latest.len() >= REMEMBERED {
            latest.pop_front();
        }
        // While the list is locked, so that positions are in its order.
        self.next.send_modify(|next| {
            latest.push_back((*next, event));
            *next += 1;
        });
    }

    /// The events from a position on, and the position after them.
    pub(crate) fn since(&self, position: u64, limit: usize) -> (Vec<Value>, u64) {
        let latest = lock(&self.latest);
        let chunk: Vec<&(u64, Value)> = latest.iter().filter(|(at, _)| *at >= position).take(limit).collect();
        let next = chunk.last().map_or_else(|| position.max(FIRST_POSITION), |(at, _)| at + 1);
        (chunk.into_iter().map(|(_, event)| event.clone()).collect(), next)
    }

    /// The position after the last event.
    pub(crate) fn next_position(&self) -> u64 {
        *self.next.borrow()
    }

    /// Opens this channel for events from now on.
    pub(crate) fn open_channel(&self, channel: String) {
        lock(&self.channels).insert(channel, self.next_position());
    }

    /// Waits for an event since the channel's last answer; `false` if there was none, `None` if there is no such
    /// channel.
    pub(crate) async fn news(&self, channel: &str, patience: Duration) -> Option<bool> {
        let known = lock(&self.channels).get(channel).copied()?;
        let mut news = self.next.subscribe();
        let news = tokio::time::timeout(patience, news.wait_for(|next| *next > known)).await;
        // The sender lives as long as the events.
        let news = news.ok().and_then(Result::ok).map(|next| *next);
        if let Some(next) = news {
            lock(&self.channels).insert(channel.to_owned(), next);
        }
        Some(news.is_some())
    }
}
