//! Check-ins on their way to the broker: lines by app, cut into batches as the postmen become free.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Lines in one request, at most.
const BATCH_LINES_MAX: usize = 5_000;

/// Lines of one app, ready to be posted.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) app: u16,
    pub(super) body: Bytes,
    pub(super) lines: usize,
}

/// The way to the postmen.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) batches: mpsc::Sender<Batch>,
    /// Lines that were handed over and are not yet delivered.
    pub(super) on_the_way: Arc<AtomicUsize>,
}

/// All check-ins that are not yet delivered.
#[derive(Debug)]
pub(super) struct Outbox {
    slot: Option<Slot>,
    apps: Vec<(Vec<u8>, usize)>,
}

impl Outbox {
    /// Without a slot nothing is kept at all.
    pub(super) fn new(apps: usize, slot: Option<Slot>) -> Self {
        Self {
            slot,
            apps: vec![(Vec::new(), 0); apps],
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.slot.is_some()
    }

    /// Begins a line of an app.
    pub(super) fn line(&mut self, app: u16) -> &mut Vec<u8> {
        let (body, lines) = &mut self.apps[usize::from(app)];
        *lines += 1;
        body
    }

    /// Lines that are not yet delivered.
    pub(super) fn waiting(&self) -> usize {
        let own: usize = self.apps.iter().map(|(_, lines)| lines).sum();
        own + self
            .slot
            .as_ref()
            .map_or(0, |slot| slot.on_the_way.load(Relaxed))
    }

    /// Hands over as much as the postmen take.
    pub(super) fn hand_over(&mut self) {
        let Some(slot) = &self.slot else {
            return;
        };
        for (app, (body, lines)) in (0..).zip(&mut self.apps) {
            while *lines > 0 {
                let Ok(permit) = slot.batches.try_reserve() else {
                    return;
                };
                let batch = cut(app, body, lines);
                slot.on_the_way.fetch_add(batch.lines, Relaxed);
                permit.send(batch);
            }
        }
    }
}

/// Cuts a batch off the front.
fn cut(app: u16, body: &mut Vec<u8>, lines: &mut usize) -> Batch {
    if *lines <= BATCH_LINES_MAX {
        return Batch {
            app,
            body: std::mem::take(body).into(),
            lines: std::mem::take(lines),
        };
    }
    let end = memchr::memchr_iter(b'\n', body)
        .nth(BATCH_LINES_MAX - 1)
        .map_or(body.len(), |at| at + 1);
    let rest = body.split_off(end);
    *lines -= BATCH_LINES_MAX;
    Batch {
        app,
        body: std::mem::replace(body, rest).into(),
        lines: BATCH_LINES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_cut_at_line_ends_and_nothing_is_lost() {
        let (batches, mut inbox) = mpsc::channel(2);
        let on_the_way = Arc::new(AtomicUsize::new(0));
        let mut outbox = Outbox::new(
            1,
            Some(Slot {
                batches,
                on_the_way,
            }),
        );
        for number in 0..BATCH_LINES_MAX * 2 + 7 {
            outbox
                .line(0)
                .extend_from_slice(format!("{number}\n").as_bytes());
        }

        outbox.hand_over();
        let first = [inbox.try_recv().unwrap(), inbox.try_recv().unwrap()];
        assert!(
            inbox.try_recv().is_err(),
            "two batches were all there was room for"
        );
        outbox.hand_over();
        let last = inbox.try_recv().unwrap();

        let text: Vec<u8> = first
            .iter()
            .chain([&last])
            .flat_map(|batch| batch.body.to_vec())
            .collect();
        let numbers: Vec<usize> = String::from_utf8(text)
            .unwrap()
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        assert_eq!(numbers, (0..BATCH_LINES_MAX * 2 + 7).collect::<Vec<_>>());
        assert_eq!(last.lines, 7);
        assert_eq!(outbox.waiting(), BATCH_LINES_MAX * 2 + 7);
    }
}
