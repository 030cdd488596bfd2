//! The first steps of an asyncio primer, on heist: a coroutine, a task, a callback, a callback with an argument.
//!
//! ```text
//! cargo run --example asyncio_tour
//! ```

#![expect(
    clippy::print_stdout,
    reason = "the output is what this program is for"
)]

use std::time::Instant;

use heist::{LocalRuntime, Runtime, TaskError};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    a_coroutine()?;
    a_task()?;
    a_callback()?;
    a_callback_with_an_argument()
}

/// A coroutine is a value. Making one runs nothing; the event loop runs it to completion.
fn a_coroutine() -> Result<()> {
    async fn do_some_work(x: u32) {
        println!("Waiting: {x}");
    }

    let start = Instant::now();
    let coroutine = do_some_work(2);
    let event_loop = Runtime::new()?;
    event_loop.block_on(coroutine);
    println!("TIME: {}", start.elapsed().as_secs_f64());
    Ok(())
}

/// A task is a coroutine that the event loop owns. Its state can be looked at, and printed, at any time.
///
/// This event loop has no thread of its own, as asyncio's: what is spawned waits until `block_on`.
fn a_task() -> Result<()> {
    async fn do_some_work(x: u32) {
        println!("Waiting: {x}");
    }

    let event_loop = LocalRuntime::new()?;
    let mut task = event_loop.spawn_local(do_some_work(2));
    println!("{task:?}");
    event_loop.block_on(&mut task)?;
    println!("{task:?}");
    Ok(())
}

/// A callback gets the finished task and reads its result. It has run before the awaiting side goes on.
fn a_callback() -> Result<()> {
    let event_loop = Runtime::new()?;
    let task = event_loop.spawn(done_after(2));
    task.add_done_callback(|finished| match finished.result() {
        Ok(text) => println!("Callback: {text}"),
        Err(error) => println!("Callback: {error}"),
    });
    event_loop.block_on(task)?;
    Ok(())
}

/// More arguments are captured by the closure, where Python has `functools.partial`.
fn a_callback_with_an_argument() -> Result<()> {
    let t = 2;
    let event_loop = Runtime::new()?;
    let task = event_loop.spawn(done_after(t));
    task.add_done_callback(move |finished| report(t, finished.result()));
    event_loop.block_on(task)?;
    Ok(())
}

async fn done_after(x: u32) -> String {
    println!("Waiting: {x}");
    format!("Done after {x}s")
}

fn report(t: u32, result: std::result::Result<&String, &TaskError>) {
    match result {
        Ok(text) => println!("Callback: {t} {text}"),
        Err(error) => println!("Callback: {t} {error}"),
    }
}
