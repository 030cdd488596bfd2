//! The stages, and the queues between them.
//!
//! ```text
//!             ┌── work ───► workers ──┐ a oneshot each
//!  read ──────┤                       ▼
//!             └── order ─────────► write
//! ```
//! The reader puts each line into two queues: into `work` for whichever worker is free, and into `order` the place where its result
//! will be. The writer takes these places one after the other and waits at each, so that the output is in the order of the input,
//! whoever was faster. Both queues are bounded. `order` is what holds the reader back: as long as the writer waits, or nobody reads
//! what it writes, the reader reads only so many lines more.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use heist::sync::{Closed, Queue, TaskDoneError, TryPutError, oneshot};
use heist::task::{GroupError, TaskGroup};
use sha2::{Digest, Sha256};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    /// How many lines may wait for the writer.
    pub(crate) window: usize,
    /// How often each line is hashed.
    pub(crate) rounds: u32,
}

/// What one run has done.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) lines: usize,
    pub(crate) different: usize,
}

#[derive(Debug)]
pub(crate) struct Pipeline {
    settings: Settings,
    work: Queue<Job>,
    order: Queue<Place>,
    gauge: Arc<Gauge>,
}

/// A line for a worker.
struct Job {
    line: Vec<u8>,
    done: oneshot::Sender<Hashed>,
}

/// Where the writer finds what has become of a line.
struct Place {
    hashed: oneshot::Receiver<Hashed>,
    _under_way: UnderWay,
}

struct Hashed {
    line: Vec<u8>,
    digest: [u8; 32],
}

impl Pipeline {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            work: Queue::bounded(settings.workers),
            order: Queue::bounded(settings.window),
            gauge: Arc::default(),
        }
    }

    /// Hashes the lines of the inputs, and writes each with its digest.
    ///
    /// If it is cut short, or something fails, the queues are closed, and what was in them is gone. It can be run once.
    pub(crate) async fn run<I>(
        self: &Arc<Self>,
        inputs: I,
        output: impl Write + Send + 'static,
    ) -> Result<Totals, GroupError>
    where
        I: IntoIterator<Item: FnOnce() -> io::Result<Box<dyn BufRead>>> + Send + 'static,
    {
        TaskGroup::run(async |group| {
            let closes = CloseOnDrop(Arc::clone(self));
            for number in 0..self.settings.workers {
                let worker = Arc::clone(self).work(group.clone());
                group.named(format!("worker {number}")).spawn(worker)?;
            }
            let pipeline = Arc::clone(self);
            let writer = group
                .named("writer")
                .spawn_blocking(move || pipeline.write(output))?;
            // A thread that nobody waits for: a read of a terminal cannot be cancelled. It ends at its next line, since the queues are
            // closed then.
            let (read, is_read) = oneshot::channel();
            let pipeline = Arc::clone(self);
            thread::spawn(move || read.send(pipeline.read(inputs)));

            is_read.await??;
            self.work.join().await;
            // Everything is in `order`. The workers have nothing to do any more, and the writer ends with the last line.
            self.work.close();
            self.order.close();
            let totals = writer.await?;
            drop(closes);
            Ok(totals)
        })
        .await
    }

    /// The first stage, on a thread of its own: reads until there is nothing more, or nobody wants it.
    fn read<I>(&self, inputs: I) -> io::Result<()>
    where
        I: IntoIterator<Item: FnOnce() -> io::Result<Box<dyn BufRead>>>,
    {
        for open in inputs {
            for line in open()?.split(b'\n') {
                if self.put(line?).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn put(&self, line: Vec<u8>) -> Result<(), Closed> {
        let (done, hashed) = oneshot::channel();
        let place = Place {
            hashed,
            _under_way: UnderWay::new(&self.gauge),
        };
        self.put_into(&self.order, place)?;
        self.put_into(&self.work, Job { line, done })
    }

    fn put_into<T>(&self, queue: &Queue<T>, item: T) -> Result<(), Closed> {
        let put = match queue.try_put(item) {
            Err(TryPutError::Full(item)) => {
                self.gauge.waits.fetch_add(1, Ordering::Relaxed);
                queue.put_blocking(item)
            }
            Err(TryPutError::Closed(item)) => Err(Closed(item)),
            Ok(()) => Ok(()),
        };
        put.map_err(|_| Closed(()))
    }

    /// The second stage, of which there are several.
    async fn work(self: Arc<Self>, group: TaskGroup) -> Result<(), TaskDoneError> {
        let rounds = self.settings.rounds;
        while let Ok(Job { line, done }) = self.work.get().await {
            // Work for the processor alone would keep a thread of the runtime from everything else.
            let hash = move || {
                let digest = hash(&line, rounds);
                Ok::<_, Infallible>(Hashed { line, digest })
            };
            // The group is being cancelled if it takes no child, or if that has no result: it knows why.
            let Ok(child) = group.named("hash").spawn_blocking(hash) else {
                break;
            };
            let Ok(hashed) = child.await else {
                break;
            };
            // If the writer is gone it has said why.
            let _ = done.send(hashed);
            self.work.task_done()?;
        }
        Ok(())
    }

    /// The last stage, on a thread that may block: whoever reads the output may be slow.
    fn write(&self, mut output: impl Write) -> io::Result<Totals> {
        let mut totals = Totals::default();
        let mut different = HashSet::new();
        while let Ok(place) = self.order.get_blocking() {
            let Ok(Hashed { line, digest }) = place.hashed.recv_blocking() else {
                // Whoever should have sent it is gone, and the group knows why.
                break;
            };
            for byte in digest {
                write!(output, "{byte:02x}")?;
            }
            output.write_all(b"  ")?;
            output.write_all(&line)?;
            output.write_all(b"\n")?;
            // Somebody may sit there, and wait for the answer to a line.
            if self.order.is_empty() {
                output.flush()?;
            }
            totals.lines += 1;
            totals.different += usize::from(different.insert(digest));
        }
        output.flush()?;
        Ok(totals)
    }

    pub(crate) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    /// How many lines may be under way: those in `order`, one in the reader's hands, and one in the writer's.
    pub(crate) fn bound(&self) -> usize {
        self.settings.window + 2
    }
}

fn hash(line: &[u8], rounds: u32) -> [u8; 32] {
    let first = Sha256::digest(line).into();
    (1..rounds).fold(first, |digest: [u8; 32], _| Sha256::digest(digest).into())
}

/// Lets nobody wait who works at a pipeline that is over.
struct CloseOnDrop(Arc<Pipeline>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.work.close_now();
        self.0.order.close_now();
    }
}

/// What can be seen of a pipeline from outside.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    under_way: AtomicUsize,
    most: AtomicUsize,
    waits: AtomicUsize,
}

impl Gauge {
    /// How many lines have been read, and are neither written nor given up.
    #[allow(dead_code, reason = "the tests ask")]
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    /// How many there were at most.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// How often the reader had to wait for a later stage.
    pub(crate) fn waits(&self) -> usize {
        self.waits.load(Ordering::Relaxed)
    }
}

/// A line that is under way.
struct UnderWay(Arc<Gauge>);

impl UnderWay {
    fn new(gauge: &Arc<Gauge>) -> Self {
        let under_way = gauge.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        gauge.most.fetch_max(under_way, Ordering::Relaxed);
        Self(Arc::clone(gauge))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
