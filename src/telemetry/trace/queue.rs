//! Spans on their way from workers to the exporter. The queue is bounded, and whoever adds to it never waits: what finds
//! no room is lost and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::sync::mpsc;

use crate::net::clock::Clock;

/// The most spans that wait: with about a kilobyte each, some ten megabytes.
pub(crate) const MOST: usize = 8192;
/// The most spans of one batch.
pub(crate) const BATCH: usize = 512;
/// How long a batch that is not full waits for more.
const DELAY: Duration = Duration::from_secs(1);

/// What became of spans, since the process started.
#[derive(Debug, Default)]
pub(crate) struct SpanCounts {
    exported: AtomicU64,
    lost: AtomicU64,
}

impl SpanCounts {
    /// Spans that a collector took.
    pub(crate) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// Spans that no collector took.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn add_lost(&self, count: usize) {
        self.lost.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// A queue for `most` spans.
pub(crate) fn queue(most: usize, counts: Arc<SpanCounts>) -> (SpanSender, SpanQueue) {
    let (sender, receiver) = mpsc::channel(most);
    let queue = SpanQueue { receiver, begun: Vec::new(), counts: counts.clone() };
    (SpanSender { sender, counts }, queue)
}

/// The end at which spans are added.
#[derive(Debug, Clone)]
pub(crate) struct SpanSender {
    sender: mpsc::Sender<Span>,
    counts: Arc<SpanCounts>,
}

impl SpanSender {
    /// Adds the spans of one request: all of them or, if there is not room for all, none.
    pub(crate) fn offer(&self, spans: Vec<Span>) {
        match self.sender.try_reserve_many(spans.len()) {
            Ok(room) => room.zip(spans).for_each(|(place, span)| place.send(span)),
            Err(_) => self.counts.add_lost(spans.len()),
        }
    }
}

/// The end at which the exporter takes batches. Spans that are in it when it is dropped are lost.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    receiver: mpsc::Receiver<Span>,
    /// Of the next batch.
    begun: Vec<Span>,
    counts: Arc<SpanCounts>,
}

impl SpanQueue {
    /// The next batch, once it is full or has waited; `None` if no spans will come any more. May be cancelled without
    /// losing spans.
    pub(crate) async fn next(&mut self, clock: &Clock) -> Option<Batch> {
        if self.begun.is_empty() && self.receiver.recv_many(&mut self.begun, BATCH).await == 0 {
            return None;
        }
        let mut waited = std::pin::pin!(clock.sleep_until(clock.now().after(DELAY)));
        while self.begun.len() < BATCH {
            let room = BATCH - self.begun.len();
            tokio::select! {
                received = self.receiver.recv_many(&mut self.begun, room) => if received == 0 { break },
                () = &mut waited => break,
            }
        }
        self.take()
    }

    /// Whether no spans will come any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.receiver.is_closed()
    }

    /// The next batch of what is there already; `None` if nothing is.
    pub(crate) fn next_now(&mut self) -> Option<Batch> {
        while self.begun.len() < BATCH {
            let Ok(span) = self.receiver.try_recv() else { break };
            self.begun.push(span);
        }
        self.take()
    }

    fn take(&mut self) -> Option<Batch> {
        let spans = std::mem::take(&mut self.begun);
        (!spans.is_empty()).then(|| Batch {
            outcome: Undelivered { count: spans.len(), counts: self.counts.clone() },
            spans,
        })
    }
}

impl Drop for SpanQueue {
    fn drop(&mut self) {
        // Closed first: a span that comes later is counted by whoever offers it.
        self.receiver.close();
        let mut waiting = 0;
        while self.receiver.try_recv().is_ok() {
            waiting += 1;
        }
        self.counts.add_lost(self.begun.len() + waiting);
    }
}

/// Spans that go to the collector together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) spans: Vec<Span>,
    pub(crate) outcome: Undelivered,
}

/// Spans that were taken from the queue. They count as lost unless the collector takes them.
#[derive(Debug)]
#[must_use = "spans that are dropped count as lost"]
pub(crate) struct Undelivered {
    count: usize,
    counts: Arc<SpanCounts>,
}

impl Undelivered {
    /// The collector took the batch, but not these spans of it.
    pub(crate) fn taken_but(mut self, rejected: usize) {
        let rejected = rejected.min(self.count);
        self.counts.exported.fetch_add((self.count - rejected) as u64, Ordering::Relaxed);
        self.count = rejected;
    }
}

impl Drop for Undelivered {
    fn drop(&mut self) {
        self.counts.add_lost(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(count: usize) -> Vec<Span> {
        vec![Span::default(); count]
    }

    #[test]
    fn what_finds_no_room_is_lost_and_counted_and_nobody_waits() {
        let counts = Arc::new(SpanCounts::default());
        let (sender, mut queue) = queue(10, counts.clone());
        sender.offer(spans(8));
        sender.offer(spans(3));
        assert_eq!(counts.lost(), 3, "a request is queued whole or not at all");
        sender.offer(spans(2));
        assert_eq!(counts.lost(), 3);
        sender.offer(spans(1));
        sender.offer(spans(100));
        assert_eq!(counts.lost(), 104);
        let batch = queue.next_now().unwrap();
        assert_eq!(batch.spans.len(), 10);
        batch.outcome.taken_but(4);
        assert_eq!((counts.exported(), counts.lost()), (6, 108));
        assert!(queue.next_now().is_none());
    }

    #[test]
    fn what_was_queued_or_taken_and_not_delivered_is_lost() {
        let counts = Arc::new(SpanCounts::default());
        let (sender, mut queue) = queue(2 * BATCH, counts.clone());
        sender.offer(spans(BATCH + 3));
        drop(queue.next_now().unwrap());
        assert_eq!(counts.lost(), BATCH as u64);
        drop(queue);
        assert_eq!(counts.lost(), BATCH as u64 + 3);
        sender.offer(spans(2));
        assert_eq!((counts.exported(), counts.lost()), (0, BATCH as u64 + 5), "the exporter has ended");
    }

    #[tokio::test]
    async fn a_batch_waits_until_it_is_full_or_the_delay_is_over() {
        let clock = Clock::adjustable();
        let (sender, mut queue) = queue(2 * BATCH, Arc::default());
        sender.offer(spans(BATCH + 1));
        assert_eq!(queue.next(&clock).await.unwrap().spans.len(), BATCH, "a full one waits for nothing");
        {
            let mut next = std::pin::pin!(queue.next(&clock));
            assert!(
                std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx).is_pending())).await
            );
            clock.advance(DELAY);
            assert_eq!(next.await.unwrap().spans.len(), 1);
        }
        sender.offer(spans(2));
        {
            // Cancelled while it waits for more.
            let mut next = std::pin::pin!(queue.next(&clock));
            assert!(
                std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx).is_pending())).await
            );
        }
        drop(sender);
        assert!(queue.is_closed());
        assert_eq!(queue.next(&clock).await.unwrap().spans.len(), 2);
        assert!(queue.next(&clock).await.is_none(), "no more will come");
    }
}
