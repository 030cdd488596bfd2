//! Feeds every legal word to every event of the table in `transitions.md`.

use super::*;

const FLAGS: &[(&str, u64)] = &[
    ("sched", Snapshot::SCHED),
    ("run", Snapshot::RUN),
    ("over", Snapshot::CANCELLED),
    ("hold", Snapshot::HOLD),
    ("callbacks", Snapshot::CALLBACKS),
    ("join", Snapshot::JOIN),
    ("join_waker", Snapshot::JOIN_WAKER),
    ("waking", Snapshot::WAKING),
    ("taken", Snapshot::TAKEN),
    ("alive", Snapshot::ALIVE),
    ("cancel", Snapshot::CANCEL),
    ("abort", Snapshot::ABORT),
    ("catch", Snapshot::CATCH),
    ("watch", Snapshot::WATCH),
];

#[derive(Debug)]
struct Row {
    event: String,
    /// Set and clear, as masks: of the precondition, and of the row.
    given: (u64, u64),
    when: (u64, u64),
    add: u64,
    remove: u64,
    counts: i128,
    action: String,
}

/// Splits `+a -b` into masks of what has a plus and what has a minus, and the change of the counts.
fn parse(cell: &str) -> (u64, u64, i128) {
    let (mut plus, mut minus, mut counts) = (0, 0, 0);
    for word in cell.split_whitespace() {
        let (sign, name) = word.split_at(1);
        let sign: i128 = if sign == "+" { 1 } else { -1 };
        match name {
            "waker" => counts += sign * i128::from(Snapshot::ONE_WAKER),
            "handle" => counts += sign * i128::from(Snapshot::ONE_HANDLE),
            _ => {
                let flag = FLAGS.iter().find(|(flag, _)| *flag == name);
                let flag = flag.unwrap_or_else(|| panic!("no flag is called {name}")).1;
                if sign > 0 {
                    plus |= flag
                } else {
                    minus |= flag
                }
            }
        }
    }
    (plus, minus, counts)
}

fn table() -> Vec<Row> {
    let text = include_str!("../transitions.md");
    let begin = text.find("| event |").expect("the table of events");
    let rows = text[begin..]
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [event, given, when, then, action] = cells[..] else {
            panic!("five columns: {line}")
        };
        let (given, when, then) = (parse(given), parse(when), parse(then));
        Row {
            event: event.into(),
            given: (given.0, given.1),
            when: (when.0, when.1),
            add: then.0,
            remove: then.1,
            counts: then.2,
            action: action.into(),
        }
    })
    .collect()
}

fn legal(word: Snapshot) -> bool {
    let has = |flag| word.has(flag);
    let over = word.is_over();
    let begins = Snapshot::HOLD | Snapshot::TAKEN | Snapshot::WAKING;
    let rules = [
        !(over && has(Snapshot::LIFE)),
        over || !has(begins),
        over || has(Snapshot::ALIVE),
        has(Snapshot::CANCEL) || !has(Snapshot::ABORT),
        has(Snapshot::JOIN_WAKER) || !has(Snapshot::WAKING),
        !has(Snapshot::JOIN_WAKER)
            || has(Snapshot::WAKING)
            || has(Snapshot::JOIN) && (has(Snapshot::HOLD) || !over),
    ];
    rules.iter().all(|kept| *kept)
}

/// Every legal word, with no references beside the flags and with some of each kind.
fn words() -> impl Iterator<Item = Snapshot> {
    // An interpreter gets a part of them: the code is pure.
    (0..1_u64 << if cfg!(miri) { 6 } else { FLAGS.len() })
        .map(|bits| {
            let set = FLAGS.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1);
            Snapshot(set.map(|(_, (_, flag))| flag).sum())
        })
        .filter(|word| legal(*word))
        .flat_map(|word| {
            [
                0,
                Snapshot::ONE_WAKER,
                Snapshot::ONE_HANDLE,
                3 * Snapshot::ONE_WAKER,
            ]
            .map(|counts| Snapshot(word.0 + counts))
        })
}

fn fits(word: Snapshot, (set, clear): (u64, u64)) -> bool {
    word.0 & set == set && word.0 & clear == 0
}

fn feed(event: &str, word: Snapshot) -> (Snapshot, Action) {
    let end = TaskState::Cancelled;
    match event {
        "wake" => word.on_wake(),
        "wake_by_value" => word.on_wake_by_value(),
        "start" => word.on_start(),
        "pending" => word.on_pending(),
        "finish" => word.on_finish(end),
        "finish_bare" => word.on_finish_bare(end),
        "complete" => word.on_complete(end),
        "drained" => word.on_drained(),
        "release" => word.on_release(),
        "release_woken" => word.on_release_woken(),
        "woken" => word.on_woken(),
        "claim" => word.on_claim(),
        "unclaim" => word.on_unclaim(),
        "cancel" => word.on_cancel(),
        "abort" => word.on_abort(),
        "cancel_blocking" => word.on_cancel_blocking(),
        "deliver" => word.on_deliver(),
        "uncancel" => word.on_uncancel(),
        "catch" => word.on_catch(),
        "watch" => word.on_watch(),
        "uncatch" => word.on_uncatch(),
        "add_callback" => word.on_add_callback(),
        "add_early_callback" => word.on_add_early_callback(),
        "take" => word.on_take(),
        "set_join_waker" => word.on_set_join_waker(),
        "unset_join_waker" => word.on_unset_join_waker(),
        "drop_join" => word.on_drop_join(),
        "drop_waker" => word.on_drop_waker(),
        "drop_handle" => word.on_drop_handle(),
        other => panic!("the table has an event that the code does not: {other}"),
    }
}

#[test]
fn every_legal_word_and_every_event_do_what_the_table_says() {
    let table = table();
    let mut checked = 0;
    let mut events: Vec<&str> = table.iter().map(|row| row.event.as_str()).collect();
    events.dedup();
    assert_eq!(events.len(), 29, "an event left the table");
    for event in events {
        let rows: Vec<&Row> = table.iter().filter(|row| row.event == event).collect();
        for word in words().filter(|word| fits(*word, rows[0].given)) {
            // Only somebody who has a count gives it back, and nobody else's count is the last owner's.
            let needs = if event.contains("waker") && !event.contains("join_waker")
                || event == "wake_by_value"
            {
                word.wakers() > 0
            } else if event == "drop_handle" {
                word.0 >> 40 > 0
            } else {
                true
            };
            if !needs || (rows[0].given.0 & Snapshot::RUN != 0 && word.is_over()) {
                continue;
            }
            let fitting: Vec<&&Row> = rows.iter().filter(|row| fits(word, row.when)).collect();
            assert_eq!(fitting.len(), 1, "{event} at [{word:?}] fits {fitting:?}");
            let row = fitting[0];
            let flags = (word.0 | row.add) & !row.remove;
            let expected = Snapshot(u64::try_from(i128::from(flags) + row.counts).expect("counts"));
            let (next, action) = feed(event, word);
            assert_eq!(next, expected, "{event} at [{word:?}]");
            let (name, may_free) = match row.action.strip_suffix("?free") {
                Some(name) => (name, true),
                None => (row.action.as_str(), false),
            };
            let name = if may_free && next.is_unowned() {
                "Free"
            } else {
                name
            };
            assert_eq!(format!("{action:?}"), name, "{event} at [{word:?}]");
            assert!(
                legal(next),
                "{event} made [{word:?}] into [{next:?}], which is not legal"
            );
            checked += 1;
        }
    }
    assert!(
        cfg!(miri) || checked > 10_000,
        "only {checked} pairs were checked"
    );
}

#[test]
fn only_the_last_owner_frees() {
    for word in words() {
        let owners = u64::from(word.has(Snapshot::ALIVE)) + word.handles() + word.wakers();
        assert_eq!(word.is_unowned(), owners == 0, "[{word:?}]");
    }
}

#[test]
fn each_outcome_is_read_back() {
    for outcome in [
        TaskState::Finished,
        TaskState::Cancelled,
        TaskState::Panicked,
    ] {
        let running = Snapshot(Snapshot::RUN | Snapshot::ALIVE | Snapshot::JOIN);
        assert_eq!(running.on_finish(outcome).0.outcome(), outcome);
    }
    assert_eq!(Snapshot::SPAWNED.outcome(), TaskState::Pending);
}

#[test]
fn counts_stick_instead_of_overflowing() {
    let nearly_full = (Snapshot::COUNT / 2 - 5) * Snapshot::ONE_WAKER;
    let state = State::new(Snapshot(Snapshot::SPAWNED.0 + nearly_full));
    for _ in 0..20 {
        state.add_waker();
    }
    let full = state.load();
    assert!(full.has(Snapshot::SATURATED));
    for _ in 0..20 {
        let _ = state.drop_waker();
    }
    assert_eq!(state.load(), full);
}
