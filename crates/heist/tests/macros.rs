//! The attributes, from the user's side.

use std::io;

#[heist::test]
async fn a_test_runs_on_a_runtime() {
    assert_eq!(heist::spawn(async { 2 }).await.unwrap(), 2);
}

#[heist::test(worker_threads = 2, timeout = "10s")]
async fn a_test_may_return_a_result() -> io::Result<()> {
    let task = heist::spawn(async { Ok::<_, io::Error>(3) });
    assert_eq!(task.await??, 3);
    Ok(())
}

#[heist::test(local, timeout = 10)]
async fn a_local_test_spawns_what_is_not_send() {
    let shared = std::rc::Rc::new(4);
    assert_eq!(*heist::spawn_local(async move { shared }).await.unwrap(), 4);
}

#[heist::test]
#[should_panic(expected = "the body's own words")]
async fn a_panic_fails_the_test() {
    panic!("the body's own words");
}

#[heist::test(timeout = "100ms")]
#[should_panic(expected = "a_test_that_hangs_fails_and_names_itself: not over within 100ms")]
async fn a_test_that_hangs_fails_and_names_itself() {
    std::future::pending::<()>().await;
}

#[heist::test(timeout = "100ms")]
#[should_panic(expected = "not over within 100ms")]
async fn a_test_that_blocks_its_thread_fails_too() {
    let (_kept, never) = std::sync::mpsc::channel::<()>();
    let _ = never.recv();
}

mod renamed {
    pub(crate) use heist as other;

    #[heist::test(crate = "other")]
    async fn a_renamed_crate_is_found() {
        other::task::yield_now().await;
    }
}

#[heist::main(worker_threads = 1)]
async fn entry() -> Result<&'static str, heist::TaskError> {
    heist::spawn(async { "main's result" }).await
}

#[test]
fn main_gives_the_output_back() {
    assert_eq!(entry().unwrap(), "main's result");
}
