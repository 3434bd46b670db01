//! A package that is written from tasks: in threads that may block, in steps, no faster than it may be.

use std::fs::File as DiskFile;
use std::io;
use std::time::Duration;

use evidence::write::{ReadBack, Step, WriteError, Writer, Written};
use footage::platform;
use tokio::time::{Instant, sleep_until};

/// Bytes that are written at a time.
const STEP_BYTES: usize = 1 << 20;
/// What was written is made durable after so many bytes: the recorders' flush shall not find a day of it in memory.
const SYNC_BYTES: u64 = 16 << 20;
/// Who was held up for longer does not catch up.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// So many bytes a second, and no more.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u64,
    due: Instant,
}

impl Pace {
    pub(super) fn new(per_second: u64) -> Self {
        Self { per_second: per_second.max(1), due: Instant::now() }
    }

    /// Waits until so many bytes may follow those of before.
    pub(super) async fn spend(&mut self, bytes: u64) {
        sleep_until(self.due).await;
        let least = Instant::now().checked_sub(BEHIND_MAX).unwrap_or(self.due);
        let takes = Duration::from_secs_f64(bytes as f64 / self.per_second as f64);
        self.due = self.due.max(least) + takes;
    }
}

/// A package being written.
#[derive(Debug)]
pub(super) struct Sink {
    writer: Option<Writer>,
    buffer: Vec<u8>,
    unsynced: u64,
    pace: Pace,
}

impl Sink {
    pub(super) fn new(file: DiskFile, pace: Pace) -> Self {
        Self { writer: Some(Writer::new(file)), buffer: Vec::with_capacity(STEP_BYTES), unsynced: 0, pace }
    }

    /// Does something with the writer, where waiting is allowed.
    pub(super) async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Writer) -> Result<T, WriteError> + Send + 'static,
    ) -> Result<T, WriteError> {
        let ended = || WriteError::Io(io::Error::other("the work on it ended badly"));
        let mut writer = self.writer.take().ok_or_else(ended)?;
        let done = platform::spawn_blocking(move || {
            let done = work(&mut writer);
            (writer, done)
        });
        let (writer, done) = done.await.map_err(|_| ended())?;
        self.writer = Some(writer);
        done
    }

    /// Writes more of the file that was begun.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        for bytes in bytes.chunks(STEP_BYTES) {
            self.buffer.extend_from_slice(bytes);
            if self.buffer.len() >= STEP_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Hands on what was kept back.
    pub(super) async fn flush(&mut self) -> Result<(), WriteError> {
        let bytes = std::mem::replace(&mut self.buffer, Vec::with_capacity(STEP_BYTES));
        self.pace.spend(bytes.len() as u64).await;
        self.unsynced += bytes.len() as u64;
        let syncs = self.unsynced >= SYNC_BYTES;
        self.with(move |writer| {
            writer.write(&bytes)?;
            if syncs { writer.sync() } else { Ok(()) }
        })
        .await?;
        if syncs {
            self.unsynced = 0;
        }
        Ok(())
    }

    /// Takes back what was written of a file that was not ended.
    pub(super) async fn abandon(&mut self) -> Result<(), WriteError> {
        self.buffer.clear();
        self.with(|writer| {
            writer.abandon();
            Ok(())
        })
        .await
    }

    /// Ends it, and reads it back: the SHA-256 of the whole.
    pub(super) async fn finish(
        mut self,
        file: DiskFile,
        end: impl FnOnce(Writer) -> Result<Written, WriteError> + Send + 'static,
    ) -> Result<(Written, String), WriteError> {
        let ended = || WriteError::Io(io::Error::other("the work on it ended badly"));
        let writer = self.writer.take().ok_or_else(ended)?;
        let written = platform::spawn_blocking(move || end(writer)).await.map_err(|_| ended())??;
        let mut back = ReadBack::new(file, &written);
        loop {
            let step = platform::spawn_blocking(move || {
                let step = back.step();
                (back, step)
            });
            let step = step.await.map_err(|_| ended())?;
            back = step.0;
            match step.1? {
                Step::Read(bytes) => self.pace.spend(bytes).await,
                Step::Whole(sha256) => return Ok((written, sha256)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_go_no_faster_than_they_may_and_who_was_held_up_does_not_catch_up() {
        let mut pace = Pace::new(1_000);
        let begun = Instant::now();
        for _ in 0..10 {
            pace.spend(500).await;
        }
        assert_eq!(begun.elapsed().as_millis(), 4_500, "the last five hundred are on their way");
        tokio::time::advance(Duration::from_secs(60)).await;
        let begun = Instant::now();
        for _ in 0..10 {
            pace.spend(500).await;
        }
        assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}
