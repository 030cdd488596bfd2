//! The tour prints what the primer prints.

#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

mod support;

use support::example;

#[test]
fn the_tour_prints_what_the_primer_prints() {
    let output = example("asyncio_tour").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let [
        waiting,
        time,
        before,
        second,
        after,
        third,
        callback,
        fourth,
        with_argument,
    ] = lines[..]
    else {
        panic!("not nine lines:\n{text}");
    };
    for line in [waiting, second, third, fourth] {
        assert_eq!(line, "Waiting: 2");
    }
    let elapsed: f64 = time.strip_prefix("TIME: ").expect(time).parse().unwrap();
    assert!((0.0..5.0).contains(&elapsed), "{time}");
    let rest = before.strip_prefix("<Task pending").expect(before);
    assert!(
        rest.contains(" name=\"Task-") && rest.contains("asyncio_tour.rs:"),
        "{before}"
    );
    assert_eq!(after, format!("<Task finished{rest}"));
    assert_eq!(callback, "Callback: Done after 2s");
    assert_eq!(with_argument, "Callback: 2 Done after 2s");
}
