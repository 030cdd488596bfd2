//! `heist::run`: draining, Ctrl-C, the process-wide runtime. Each test has a process of its own.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]
#![cfg(unix)]

mod support;

use std::error::Error;
use std::future::pending;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use heist::runtime::{BuildGlobalError, ConfigError};
use heist::task::catch_cancel;
use heist::{Handle, Runtime, promise};
use rustix::process::{Pid, Signal, kill_process};
use support::{alone, bounded, child};

#[test]
fn run_gives_the_output_and_drains_what_is_left() {
    let Some(command) = child() else {
        let seven = heist::run(async {
            let (told, asleep) = promise();
            heist::spawn(async {
                let caught = catch_cancel(async move {
                    let _ = told.set_result(());
                    pending::<()>().await;
                });
                assert!(caught.await.is_err());
                heist::task::yield_now().await;
                println!("cleaned up");
            })
            .detach();
            asleep.await.unwrap();
            7
        });
        println!("gave {seven}");
        return;
    };
    bounded(|| {
        let output = finish(command);
        let (cleaned, gave) = (output.find("cleaned up"), output.find("gave 7"));
        assert!(cleaned.is_some() && cleaned < gave, "{output}");
    });
}

#[test]
fn the_first_interrupt_cancels_main_and_exits_with_130_after_its_clean_up() {
    let Some(command) = child() else {
        heist::run(async {
            let caught = catch_cancel(async {
                println!("ready");
                pending::<()>().await;
            });
            assert!(caught.await.is_err());
            heist::task::yield_now().await;
            println!("cleaned up");
        });
        unreachable!("run returned after an interrupt");
    };
    bounded(|| {
        let (mut child, mut output) = ready(command);
        interrupt(&child);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("cleaned up"), "{rest}");
        assert_eq!(child.wait().unwrap().code(), Some(130));
    });
}

#[test]
fn the_second_interrupt_exits_at_once() {
    let Some(command) = child() else {
        heist::run(async {
            loop {
                let caught = catch_cancel(async {
                    println!("ready");
                    pending::<()>().await;
                });
                let _ = caught.await;
            }
        });
        return;
    };
    bounded(|| {
        let (mut child, mut output) = ready(command);
        interrupt(&child);
        let mut line = String::new();
        while !line.contains("ready") {
            assert_ne!(output.read_line(&mut line).unwrap(), 0);
        }
        interrupt(&child);
        assert_eq!(child.wait().unwrap().code(), Some(130));
    });
}

#[test]
fn an_interrupt_while_the_rest_drains_exits_with_130_after_that() {
    let Some(mut command) = child() else {
        heist::run(leave_a_task(|| {
            println!("ready");
            io::stdin().read_line(&mut String::new()).unwrap();
            // Until the signal has arrived, however slow that is.
            while !is_delivered() {
                thread::yield_now();
            }
            println!("cleaned up");
        }));
        unreachable!("run returned after an interrupt");
    };
    bounded(move || {
        command.stdin(Stdio::piped());
        let (mut child, mut output) = ready(command);
        interrupt(&child);
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("cleaned up"), "{rest}");
        assert_eq!(child.wait().unwrap().code(), Some(130));
    });
}

#[test]
fn the_second_interrupt_while_the_rest_drains_exits_at_once() {
    let Some(command) = child() else {
        let builder = Runtime::builder().shutdown_grace(Duration::MAX);
        return builder.run(leave_a_task(|| {
            println!("ready");
            thread::park_timeout(Duration::from_secs(60));
        }));
    };
    bounded(|| {
        let (mut child, _output) = ready(command);
        let status = loop {
            // Two that come at once are one.
            interrupt(&child);
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None => thread::yield_now(),
            }
        };
        assert_eq!(status.code(), Some(130));
    });
}

/// What is left has this as its clean-up.
async fn leave_a_task(clean_up: impl FnOnce() + Send + 'static) {
    let (told, asleep) = promise();
    heist::spawn(async {
        let caught = catch_cancel(async move {
            let _ = told.set_result(());
            pending::<()>().await;
        });
        assert!(caught.await.is_err());
        clean_up();
    })
    .detach();
    asleep.await.unwrap();
}

/// The signals of this process for which this line of its status has a bit, where the system says so.
fn signals(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let signals = lines.find_map(|line| line.strip_prefix(name));
    signals.map_or(0, |signals| {
        u64::from_str_radix(signals.trim(), 16).unwrap()
    })
}

/// Whether no signal waits for this process.
fn is_delivered() -> bool {
    signals("ShdPnd:") == 0
}

/// Whether an interrupt does nothing to this process and its children: so in the background of a shell.
fn is_ignored() -> bool {
    signals("SigIgn:") & (1 << 1) != 0
}

#[test]
fn after_run_an_interrupt_does_what_it_did_before() {
    let Some(mut command) = child() else {
        let listens = std::env::var_os("HEIST_TEST_LISTENS").is_some();
        for _ in 0..2 {
            heist::run(async {
                if listens {
                    drop(heist::signal::signal(heist::signal::SignalKind::interrupt()).unwrap());
                }
            });
        }
        println!("ready");
        io::stdin().read_line(&mut String::new()).unwrap();
        return;
    };
    bounded(move || {
        command.stdin(Stdio::piped());
        let (mut child, _output) = ready(command);
        // A wait would close it first, and the child end before it handles the signal.
        let open = child.stdin.take();
        interrupt(&child);
        if is_ignored() {
            drop(open);
            assert_eq!(child.wait().unwrap().code(), Some(0));
        } else {
            assert_eq!(child.wait().unwrap().signal(), Some(2));
        }

        let mut command = support::child().unwrap();
        command.stdin(Stdio::piped()).env("HEIST_TEST_LISTENS", "1");
        let (mut child, _output) = ready(command);
        interrupt(&child);
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn the_process_wide_runtime_is_that_of_run_while_it_lasts() {
    let Some(command) = child() else {
        for round in ["first", "second"] {
            let inside = heist::run(async {
                let thread = thread::spawn(|| {
                    heist::spawn(async { thread_name() })
                        .wait_blocking()
                        .unwrap()
                });
                let outside = heist::spawn_blocking(|| thread.join().unwrap())
                    .await
                    .unwrap();
                let own = heist::spawn(async { Handle::current().all_tasks().len() })
                    .await
                    .unwrap();
                assert!(own >= 2);
                outside
            });
            println!("{round}: {inside}");
        }
        // The role is free again: this starts the other kind.
        assert_eq!(heist::spawn(async { 5 }).wait_blocking().unwrap(), 5);
        assert!(Runtime::builder().build_global().is_err());
        println!("over");
        return;
    };
    bounded(|| assert!(finish(command).contains("over")));
}

#[test]
fn a_local_main_is_the_first_task_and_its_runtime_the_process_wide_one() {
    #[heist::main(local)]
    async fn local_main() {
        println!("main is {}", heist::task::current().name());
        let spawn = || heist::spawn(async { thread_name() }).wait_blocking();
        let outside = thread::spawn(spawn);
        let ran_on = heist::spawn_blocking(|| outside.join().unwrap().unwrap());
        assert_eq!(ran_on.await.unwrap(), thread_name());
    }
    let Some(command) = child() else {
        local_main();
        // The role is free again.
        let elsewhere = heist::spawn(async { thread_name() }).wait_blocking();
        assert_ne!(elsewhere.unwrap(), thread_name());
        println!("over");
        return;
    };
    bounded(|| {
        let output = finish(command);
        assert!(output.contains("main is Task-1\n"), "{output}");
        assert!(output.contains("over"), "{output}");
    });
}

/// Whether this says that there is one already, and what to do about it.
#[track_caller]
fn is_late(built: Result<(), BuildGlobalError>) {
    let error = built.unwrap_err();
    assert!(error.is_already_started(), "{error}");
    let message = error.to_string();
    let advice = "call build_global before the first spawn";
    assert!(message.contains(advice), "{message}");
    assert!(error.source().is_none());
}

#[test]
fn build_global_comes_too_late_once_somebody_has_used_the_process_wide_runtime() {
    bounded(|| {
        let Some(first) = std::env::var_os("HEIST_TEST_FIRST") else {
            for first in ["build_global", "run", "spawn", "call", "sleep", "block_on"] {
                let mut command = child().unwrap();
                command.env("HEIST_TEST_FIRST", first);
                assert!(finish(command).contains("1 passed"), "{first}");
            }
            return;
        };
        let build = || Runtime::builder().worker_threads(1).build_global();
        match first.to_str().unwrap() {
            "build_global" => build().unwrap(),
            "run" => {
                let inside = heist::run(async {
                    let elsewhere = thread::spawn(build);
                    let job = heist::spawn_blocking(|| elsewhere.join().unwrap());
                    is_late(job.await.unwrap());
                    build()
                });
                is_late(inside);
                // The role is free again.
                build().unwrap();
            }
            "spawn" => heist::spawn(async {}).wait_blocking().unwrap(),
            "call" => heist::spawn_blocking(|| ()).wait_blocking().unwrap(),
            "sleep" => {
                let sleep = heist::time::sleep(Duration::from_millis(1));
                futures_lite::future::block_on(sleep);
            }
            "block_on" => heist::block_on(async {}),
            other => unreachable!("{other}"),
        }
        is_late(build());
    });
}

#[test]
fn a_build_global_that_cannot_start_says_why_and_can_be_tried_again() {
    alone(|| {
        let bad = Runtime::builder().worker_threads(0).build_global();
        let error = bad.unwrap_err();
        assert!(!error.is_already_started());
        let message = "the process-wide runtime cannot be started";
        assert_eq!(error.to_string(), message);
        let source = error.source().unwrap();
        let source = source.downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::InvalidInput);
        let inner = source.get_ref().unwrap();
        let inner = inner.downcast_ref::<ConfigError>().unwrap();
        assert_eq!((inner.field(), inner.value()), ("worker_threads", "0"));
        let good = Runtime::builder().worker_threads(1).thread_name("again");
        good.build_global().unwrap();
        let name = heist::spawn(async { thread_name() }).wait_blocking();
        assert!(name.unwrap().starts_with("again"));
        is_late(Runtime::builder().build_global());
    });
}

#[test]
fn the_process_wide_runtime_can_be_configured_before_its_first_use() {
    let Some(command) = child() else {
        Runtime::builder()
            .worker_threads(1)
            .thread_name("global")
            .build_global()
            .unwrap();
        let error = Runtime::builder().build_global().unwrap_err();
        println!("{error}");
        println!(
            "on {}",
            heist::spawn(async { thread_name() })
                .wait_blocking()
                .unwrap()
        );
        assert_eq!(
            heist::block_on(async { heist::time::sleep(std::time::Duration::ZERO).await }),
            ()
        );
        return;
    };
    bounded(|| {
        let output = finish(command);
        assert!(output.contains("on global"), "{output}");
        assert!(output.contains("build_global"), "{output}");
    });
}

#[test]
fn the_environment_says_how_many_workers_there_are() {
    let Some(mut command) = child() else {
        let threads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&threads);
        let counted = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        match Runtime::builder().on_thread_start(counted).build() {
            Ok(runtime) => {
                drop(runtime);
                println!("workers: {}", threads.load(Ordering::SeqCst));
            }
            Err(error) => println!("error: {error}"),
        }
        return;
    };
    bounded(move || {
        let mut with = |value: &str| {
            let output = command.env("HEIST_WORKERS", value).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(with("3").contains("workers: 3"));
        for bad in ["0", "many", "", "-1"] {
            let output = with(bad);
            assert!(output.contains("error: HEIST_WORKERS"), "{bad:?}: {output}");
        }
        let mut with = |value: &str| {
            let command = command.env("HEIST_WORKERS", "1").env("HEIST_DEBUG", value);
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        for good in ["1", "0"] {
            assert!(with(good).contains("workers: 1"), "{good}");
        }
        for bad in ["yes", "", "2"] {
            let output = with(bad);
            assert!(output.contains("error: HEIST_DEBUG"), "{bad:?}: {output}");
        }
    });
}

#[test]
fn a_leaf_future_may_be_the_first_that_a_program_asks_for() {
    bounded(|| {
        let Some(first) = std::env::var_os("HEIST_TEST_FIRST") else {
            for first in [
                "socket", "connect", "interval", "timeout", "lookup", "signal",
            ] {
                let mut command = child().unwrap();
                command.env("HEIST_TEST_FIRST", first);
                assert!(finish(command).contains("1 passed"), "{first}");
            }
            return;
        };
        futures_lite::future::block_on(async {
            match first.to_str().unwrap() {
                "socket" => drop(heist::net::UdpSocket::bind("127.0.0.1:0").await.unwrap()),
                "connect" => {
                    let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
                    let address = there.local_addr().unwrap();
                    heist::net::TcpStream::connect(address).await.unwrap();
                }
                "interval" => {
                    let mut ticks = heist::time::interval(Duration::from_millis(1));
                    ticks.tick().await;
                    ticks.tick().await;
                }
                "timeout" => {
                    let never = std::future::pending::<()>();
                    let limit = Duration::from_millis(1);
                    heist::time::timeout(limit, never).await.unwrap_err();
                }
                "lookup" => drop(heist::net::lookup_host("localhost:80").await.unwrap()),
                "signal" => {
                    let mut alarms =
                        heist::signal::signal(heist::signal::SignalKind::user_defined1()).unwrap();
                    let own = rustix::process::getpid();
                    kill_process(own, Signal::USR1).unwrap();
                    alarms.recv().await;
                }
                other => unreachable!("{other}"),
            }
        });
    });
}

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

fn finish(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// Starts the child and waits until it says that it is ready.
fn ready(mut command: Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("ready") {
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "{line}");
    }
    (child, output)
}

fn interrupt(child: &Child) {
    let id = i32::try_from(child.id()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
}
