//! Tracks an HTTP/2 caller's frames (RFC 9113 §4.1), so that request heads have the same time limit as on HTTP/1.1: h2
//! waits without limit for the rest of a frame, or for the CONTINUATION frames of a head.

use tokio::time::Instant;

/// The client's connection preface (RFC 9113 §3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Parses the headers of frames as bytes are read.
pub(super) struct FrameWatch {
    preface_left: usize,
    header: [u8; HEADER],
    /// The number of header bytes received.
    have: usize,
    payload_left: usize,
    /// The payload belongs to a body, which has its own time limit.
    is_data: bool,
    /// The head continues in the next frame.
    head_is_open: bool,
    since: Option<Instant>,
}

impl FrameWatch {
    /// `preface_left`: how many bytes of the preface are still to come.
    pub(super) fn new(preface_left: usize) -> Self {
        Self {
            preface_left,
            header: [0; HEADER],
            have: 0,
            payload_left: 0,
            is_data: false,
            head_is_open: false,
            since: None,
        }
    }

    /// Since when a head, or a frame other than DATA, is incomplete.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Processes received bytes.
    pub(super) fn see(&mut self, bytes: &[u8]) {
        let of_preface = self.preface_left.min(bytes.len());
        self.preface_left -= of_preface;
        let mut bytes = bytes.get(of_preface..).unwrap_or_default();
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let passed = self.payload_left.min(bytes.len());
                self.payload_left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                if self.payload_left == 0 && !self.head_is_open {
                    // The next frame has its own time limit, even if it arrives together with the end of this one.
                    self.since = None;
                }
                continue;
            }
            let (first, rest) = bytes.split_at((HEADER - self.have).min(bytes.len()));
            for (to, from) in self.header.iter_mut().skip(self.have).zip(first) {
                *to = *from;
            }
            self.have += first.len();
            bytes = rest;
            if self.have == HEADER {
                self.begin_frame();
            }
        }
        let is_under_way = self.head_is_open || self.have > 0 || (self.payload_left > 0 && !self.is_data);
        match (is_under_way, self.since) {
            (true, None) => self.since = Some(Instant::now()),
            (false, Some(_)) => self.since = None,
            _ => {}
        }
    }

    fn begin_frame(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.have = 0;
        self.payload_left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.is_data = kind == DATA;
        if kind == HEADERS || kind == CONTINUATION {
            self.head_is_open = flags & END_HEADERS == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize, kind: u8, flags: u8) -> Vec<u8> {
        let mut frame = vec![0, (length >> 8) as u8, length as u8, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(7, length));
        frame
    }

    /// Fed byte by byte and as a whole: whether something is incomplete after the last byte, and after all but the
    /// last.
    fn under_way(bytes: &[u8]) -> (bool, bool) {
        let mut slow = FrameWatch::new(0);
        let (last, but_last) = bytes.split_last().unwrap();
        but_last.iter().for_each(|byte| slow.see(&[*byte]));
        let before = slow.since().is_some();
        slow.see(&[*last]);
        let mut fast = FrameWatch::new(0);
        fast.see(bytes);
        assert_eq!(fast.since().is_some(), slow.since().is_some());
        (before, slow.since().is_some())
    }

    #[test]
    fn a_head_is_incomplete_until_its_last_frame_has_arrived() {
        assert_eq!(under_way(&frame(20, HEADERS, END_HEADERS)), (true, false));
        assert_eq!(under_way(&frame(20, HEADERS, 0)), (true, true));
        let with = |last| [frame(5, HEADERS, 0), frame(0, CONTINUATION, 0), last].concat();
        assert_eq!(under_way(&with(frame(5, CONTINUATION, 0))), (true, true));
        assert_eq!(under_way(&with(frame(5, CONTINUATION, END_HEADERS))), (true, false));
        assert_eq!(under_way(&frame(0, HEADERS, END_HEADERS)), (true, false));
    }

    #[test]
    fn a_body_does_not_count_but_half_a_frame_header_does() {
        assert_eq!(under_way(&frame(1000, DATA, 0)), (false, false));
        assert_eq!(under_way(&frame(1000, DATA, 0)[..500]), (false, false));
        assert_eq!(under_way(&frame(1000, DATA, 0)[..8]), (true, true));
        assert_eq!(under_way(&[frame(1000, DATA, 0), vec![0]].concat()), (false, true));
        assert_eq!(under_way(&frame(6, 4, 0)), (true, false));
    }

    #[test]
    fn the_preface_is_no_frame() {
        let mut watch = FrameWatch::new(PREFACE.len());
        for byte in PREFACE {
            watch.see(&[*byte]);
            assert!(watch.since().is_none());
        }
        watch.see(&[0]);
        assert!(watch.since().is_some());
        let mut watch = FrameWatch::new(PREFACE.len());
        watch.see(&[PREFACE, &frame(6, 4, 0)].concat());
        assert!(watch.since().is_none());
    }
}
