//! The pipeline, from the outside; that it holds back who reads; and that a run that is cut short at any await leaves no task and no
//! line behind.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

#[path = "../examples/pipeline/pipeline.rs"]
mod pipeline;
mod support;

use std::io::{self, BufRead, Cursor, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use heist::task::{ChildError, TaskRef};
use heist::{Handle, spawn};
use pipeline::{Pipeline, Settings};
use sha2::{Digest, Sha256};
use support::{Cut, Program, example, until};

const SETTINGS: Settings = Settings {
    workers: 3,
    window: 4,
    rounds: 1,
};

fn start(settings: Settings) -> Arc<Pipeline> {
    Arc::new(Pipeline::new(settings))
}

/// An input of this text.
fn text(
    text: impl Into<String>,
) -> [impl FnOnce() -> io::Result<Box<dyn BufRead>> + Send + 'static; 1] {
    let text = text.into();
    [move || Ok(Box::new(Cursor::new(text)) as Box<dyn BufRead>)]
}

/// What the pipeline prints for these lines.
fn hashed<'a>(lines: impl IntoIterator<Item = &'a str>) -> String {
    let one = |line: &str| {
        let digest = Sha256::digest(line);
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{hex}  {line}\n")
    };
    lines.into_iter().map(one).collect()
}

/// An output that can be looked at.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("{number}\n")).collect()
}

#[heist::test]
async fn the_output_is_in_the_order_of_the_input() {
    let (pipeline, output, input) = (start(SETTINGS), Output::default(), numbers(500));
    let totals = pipeline.run(text(&input), output.clone()).await.unwrap();
    assert_eq!(output.text(), hashed(input.lines()));
    assert_eq!((totals.lines, totals.different), (500, 500));
    assert!((1..=pipeline.bound()).contains(&pipeline.gauge().most()));
    is_empty(&pipeline);
}

#[heist::test]
async fn several_inputs_are_one_and_equal_lines_are_counted_once() {
    let (pipeline, output) = (start(SETTINGS), Output::default());
    let inputs = text("a\nb\n").into_iter().chain(text("b\n\nno end"));
    let totals = pipeline.run(inputs, output.clone()).await.unwrap();
    assert_eq!(output.text(), hashed(["a", "b", "b", "", "no end"]));
    assert_eq!((totals.lines, totals.different), (5, 4));
}

#[heist::test]
async fn nothing_in_is_nothing_out() {
    let (pipeline, output) = (start(SETTINGS), Output::default());
    let totals = pipeline.run(text(""), output.clone()).await.unwrap();
    assert_eq!((totals.lines, output.text().as_str()), (0, ""));
}

/// An output that takes nothing until it is opened.
#[derive(Clone, Default)]
struct Gate {
    knocked: Arc<AtomicBool>,
    open: Arc<AtomicBool>,
    output: Output,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.knocked.store(true, Ordering::SeqCst);
        while !self.open.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[heist::test]
async fn an_output_that_nobody_reads_holds_the_reader_back() {
    let (pipeline, gate) = (start(SETTINGS), Gate::default());
    let input = numbers(200);
    let run = spawn({
        let (pipeline, gate) = (Arc::clone(&pipeline), gate.clone());
        let input = text(&input);
        async move { pipeline.run(input, gate).await }
    });
    // The reader has one line in its hands and no room for it.
    until(|| pipeline.gauge().under_way() == pipeline.bound()).await;
    until(|| pipeline.gauge().waits() > 0).await;
    assert_eq!(gate.output.text(), "");
    gate.open.store(true, Ordering::SeqCst);
    assert_eq!(run.await.unwrap().unwrap().lines, 200);
    assert_eq!(gate.output.text(), hashed(input.lines()));
    // Nor did it read more at any time.
    assert_eq!(pipeline.gauge().most(), pipeline.bound());
    is_empty(&pipeline);
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Broken {
    fn read(&mut self, _bytes: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::NotFound.into())
    }
}

#[heist::test]
async fn an_output_that_fails_ends_it_however_long_the_input_is() {
    let pipeline = start(SETTINGS);
    let endless = [|| Ok(Box::new(io::BufReader::new(io::repeat(b'\n'))) as Box<dyn BufRead>)];
    let error = pipeline.run(endless, Broken).await.unwrap_err();
    assert_eq!(kinds(error.errors()), [Some(ErrorKind::BrokenPipe)]);
    is_over(&pipeline).await;
}

#[heist::test]
async fn an_input_that_fails_ends_it() {
    let pipeline = start(SETTINGS);
    let broken = [|| Ok(Box::new(io::BufReader::new(Broken)) as Box<dyn BufRead>)];
    let error = pipeline.run(broken, io::sink()).await.unwrap_err();
    assert_eq!(kinds(error.errors()), [Some(ErrorKind::NotFound)]);
    is_over(&pipeline).await;
}

fn kinds(errors: &[ChildError]) -> Vec<Option<ErrorKind>> {
    let kind = |error: &ChildError| Some(error.downcast_ref::<io::Error>()?.kind());
    errors.iter().map(kind).collect()
}

/// No line is in it, and nobody waits at its queues.
fn is_empty(pipeline: &Arc<Pipeline>) {
    assert_eq!(pipeline.gauge().under_way(), 0);
    let text = format!("{pipeline:?}");
    for part in ["closed: true", "len: 0", "getting: 0", "putting: 0"] {
        assert_eq!(text.matches(part).count(), 2, "{text}");
    }
}

/// The same, as soon as the reader has seen that nobody wants more; and no task is left but this one.
async fn is_over(pipeline: &Arc<Pipeline>) {
    until(|| Arc::strong_count(pipeline) == 1).await;
    is_empty(pipeline);
    until(|| Handle::current().all_tasks().len() == 1).await;
}

/// More lines than fit into the pipeline.
const LINES: usize = 40;

#[heist::test(local)]
async fn a_run_that_is_cut_short_at_any_await_leaves_no_task_and_no_line() {
    for how in Cut::ALL {
        let (mut over, mut polls) = (false, 0);
        while !over {
            let (pipeline, output) = (start(SETTINGS), Output::default());
            let run = pipeline.run(text(numbers(LINES)), output.clone());
            over = match how.after(polls, run).await {
                Some(totals) => totals.unwrap().lines == LINES,
                None => false,
            };
            leaves_nothing(&pipeline, &output).await;
            polls += 1;
        }
        assert!(polls > 3, "it waited {polls} times");
    }
}

/// The children are at other awaits each time.
#[heist::test]
async fn a_run_that_is_cancelled_at_any_line_leaves_no_task_and_no_line() {
    for last in 0..LINES {
        let (pipeline, output) = (start(SETTINGS), Output::default());
        let run = Arc::new(OnceLock::<TaskRef>::new());
        let input = (0..LINES).map({
            let run = Arc::clone(&run);
            move |line| {
                let run = Arc::clone(&run);
                move || {
                    if line == last {
                        run.wait().cancel();
                    }
                    Ok(Box::new(Cursor::new(format!("{line}\n"))) as Box<dyn BufRead>)
                }
            }
        });
        let task = spawn({
            let (pipeline, output) = (Arc::clone(&pipeline), output.clone());
            async move { pipeline.run(input, output).await }
        });
        run.set(task.task_ref()).unwrap();
        assert!(task.await.unwrap_err().is_cancelled());
        leaves_nothing(&pipeline, &output).await;
    }
}

/// And the runtime is as good as new.
async fn leaves_nothing(pipeline: &Arc<Pipeline>, output: &Output) {
    until(|| Arc::strong_count(pipeline) == 1).await;
    assert_eq!(pipeline.gauge().under_way(), 0);
    until(|| Handle::current().all_tasks().len() == 1).await;
    let whole = hashed(numbers(LINES).lines());
    assert!(whole.starts_with(&output.text()));
    let (again, output) = (start(SETTINGS), Output::default());
    let totals = again.run(text(numbers(LINES)), output.clone()).await;
    assert_eq!(totals.unwrap().lines, LINES);
    assert_eq!(output.text(), whole);
    is_over(&again).await;
}

#[heist::test]
async fn a_run_that_is_cancelled_waits_for_the_write_that_is_under_way() {
    let (pipeline, gate) = (start(SETTINGS), Gate::default());
    let run = spawn({
        let (pipeline, gate) = (Arc::clone(&pipeline), gate.clone());
        async move { pipeline.run(text(numbers(LINES)), gate).await }
    });
    until(|| gate.knocked.load(Ordering::SeqCst)).await;
    run.cancel();
    // The workers are gone. The writer is in the middle of something.
    let names = || {
        let tasks = Handle::current().all_tasks();
        let name = |task: &TaskRef| task.name();
        tasks.iter().map(name).collect::<Vec<_>>()
    };
    until(|| names().len() == 3).await;
    assert!(names().contains(&"writer".to_owned()));
    assert!(!run.is_finished());
    gate.open.store(true, Ordering::SeqCst);
    assert!(run.await.unwrap_err().is_cancelled());
    is_over(&pipeline).await;
}

#[test]
fn files_are_hashed_line_by_line_and_the_rest_is_said_on_standard_error() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = example("pipeline").args([&file, &file]).output().unwrap();
    let content = std::fs::read_to_string(&file).unwrap();
    let lines = content.lines().chain(content.lines());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), hashed(lines));
    let errors = String::from_utf8(output.stderr).unwrap();
    let count = content.lines().count() * 2;
    assert!(errors.starts_with(&format!("{count} lines, ")), "{errors}");
    assert!(output.status.success());
}

#[test]
fn who_types_a_line_gets_its_answer_before_the_next_one() {
    let mut command = example("pipeline");
    let mut program = Program::start(command.stdin(Stdio::piped()));
    let mut input = program.input();
    for line in ["first", "second"] {
        writeln!(input, "{line}").unwrap();
        assert_eq!(program.line(), hashed([line]));
    }
    drop(input);
    let (rest, status) = program.finish();
    assert_eq!((rest.as_str(), status.success()), ("", true));
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_although_the_terminal_is_being_read() {
    let mut command = example("pipeline");
    let mut program = Program::start(command.stdin(Stdio::piped()));
    let mut input = program.input();
    writeln!(input, "a line").unwrap();
    assert_eq!(program.line(), hashed(["a line"]));
    let id = program.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.unwrap().success());
    let (rest, status) = program.finish();
    assert_eq!((rest.as_str(), status.code()), ("", Some(130)));
    drop(input);
}

#[test]
fn who_has_enough_ends_it_whatever_is_still_to_be_read() {
    let mut command = example("pipeline");
    let mut program = Program::start(command.stdin(Stdio::piped()));
    let mut input = program.input();
    let feeder = thread::spawn(move || while writeln!(input, "y").is_ok() {});
    assert_eq!(program.line(), hashed(["y"]));
    // As `head -1`.
    assert!(program.leave().success());
    feeder.join().unwrap();
}

#[test]
fn what_cannot_be_read_is_one_line_and_status_1() {
    for arguments in [["no such file", "-"], ["--workers", "0"], ["--what", "-"]] {
        let output = example("pipeline").args(arguments).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.starts_with("pipeline: "), "{errors}");
    }
}
