//! What the server is doing, for whoever sends it SIGUSR1.

use std::io::{self, BufWriter, Write};

use heist::signal::{SignalKind, signal};
use heist::{Handle, Task, TaskRef};

/// From here on the signal does not end the process.
pub(crate) fn start() -> io::Result<Task<()>> {
    let mut asked = signal(SignalKind::user_defined1())?;
    Ok(heist::task::Builder::new()
        .name("reporter")
        .spawn(async move {
            while asked.recv().await.is_some() {
                let tasks = Handle::current().all_tasks();
                // Standard error may be a pipe that nobody reads at the moment.
                let _ = heist::spawn_blocking(move || list(&tasks)).await;
            }
        }))
}

fn list(tasks: &[TaskRef]) {
    let mut output = BufWriter::new(io::stderr().lock());
    for task in tasks {
        // If nobody listens, nobody misses it.
        let _ = writeln!(
            output,
            "task {} {:?} {} spawned at {} {:.1?} ago",
            task.id(),
            task.name(),
            task.state(),
            task.spawn_location(),
            task.age(),
        );
    }
}
