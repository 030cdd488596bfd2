//! The attributes of the heist runtime: `#[heist::main]` and `#[heist::test]`.
//!
//! Use them through the crate `heist`, which re-exports them. This crate knows no other crate of the workspace: it
//! emits paths below `::heist`, or below what the option `crate = "…"` names.

mod entry;

use proc_macro::TokenStream;

use entry::Kind;

/// Makes an `async fn main` the program's entry: runs it on the process-wide runtime, as `heist::run` does.
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `worker_threads = 4` | how many workers; without it as many as there are cores, or what `HEIST_WORKERS` says |
/// | `local` | one thread for everything, the calling one: `heist::spawn_local` works in it |
/// | `crate = "path"` | where the crate `heist` is found, if it was renamed |
///
/// The function may return whatever `fn main` may, `Result` included.
///
/// # Examples
///
/// ```ignore
/// #[heist::main]
/// async fn main() -> std::io::Result<()> {
///     let task = heist::spawn(async { 6 * 7 });
///     assert_eq!(task.await?, 42);
///     Ok(())
/// }
/// ```
///
/// # Counterpart
///
/// `asyncio.run(main())`; `#[tokio::main]`. Unlike the latter it drains what main left running: left tasks are
/// cancelled and get the grace period for their clean-up.
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(Kind::Main, options.into(), item.into()).into()
}

/// Makes an `async fn` a test that runs on a runtime of its own and fails when it hangs.
///
/// # Options
///
/// | option | meaning |
/// |---|---|
/// | `worker_threads = 2` | how many workers; without it as many as there are cores, or what `HEIST_WORKERS` says |
/// | `timeout = "10s"` | how long the test may take: seconds as a number, or text in `ms`, `s` or `m`; without it 60 s |
/// | `local` | one thread for everything: `heist::spawn_local` works in it |
/// | `crate = "path"` | where the crate `heist` is found, if it was renamed |
///
/// A test that is not over in time fails with a message that names it and lists the tasks that still wait, even when
/// it blocks its thread. `#[should_panic]` and `#[ignore]` work as usual, and the function may return a `Result`.
///
/// # Examples
///
/// ```ignore
/// #[heist::test(worker_threads = 2, timeout = "10s")]
/// async fn adds_up() {
///     assert_eq!(heist::spawn(async { 1 + 1 }).await.unwrap(), 2);
/// }
/// ```
///
/// # Counterpart
///
/// `unittest.IsolatedAsyncioTestCase`; `#[tokio::test]`, which has no time limit.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    entry::expand(Kind::Test, options.into(), item.into()).into()
}
