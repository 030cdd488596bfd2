use super::*;

const BOTH: [Interest; 2] = [Interest::Readable, Interest::Writable];

fn every_set() -> impl Iterator<Item = Ready> {
    (0..128).map(Ready)
}

#[test]
fn packing_keeps_everything() {
    for ready in every_set() {
        for tick in [0, 1, 77, (1 << 56) - 1] {
            let snapshot = Snapshot { ready, tick };
            assert_eq!(Snapshot::unpack(snapshot.pack()), snapshot);
        }
    }
}

#[test]
fn an_event_adds_and_never_takes_away() {
    for before in every_set() {
        for event in every_set() {
            let after = Snapshot {
                ready: before,
                tick: 5,
            }
            .on_event(event);
            assert_eq!(after.ready, before | event);
            assert_eq!(after.tick, 6);
        }
    }
}

#[test]
fn a_clear_takes_one_bit_and_only_at_its_own_tick() {
    for before in every_set() {
        for interest in BOTH {
            for (tick, seen) in [
                (5, 5),
                (5, 4),
                (5, 6),
                (5, 5 + (1 << 16)),
                (0, (1 << 56) - 1),
            ] {
                let snapshot = Snapshot {
                    ready: before,
                    tick,
                };
                let after = snapshot.on_clear(interest, seen);
                assert_eq!(after.tick, tick);
                let kept = if tick == seen {
                    before.0 & !interest.clearable().0
                } else {
                    before.0
                };
                assert_eq!(after.ready.0, kept, "{snapshot:?}");
                assert_eq!(after.ready.0 & 0b111_1100, before.0 & 0b111_1100, "INV-1");
            }
        }
    }
}

#[test]
fn closed_goes_ahead_once_and_then_after_each_event() {
    let closed = Snapshot {
        ready: Ready::READ_CLOSED,
        tick: 3,
    };
    assert!(closed.allows(Interest::Readable, None));
    assert!(closed.allows(Interest::Readable, Some(2)));
    assert!(!closed.allows(Interest::Readable, Some(3)));
    assert!(!closed.allows(Interest::Writable, None));
    assert!(
        closed
            .on_event(Ready::READABLE)
            .allows(Interest::Readable, Some(4))
    );
}

#[test]
fn an_error_alone_lets_nothing_go_ahead() {
    for ready in [Ready::ERROR, Ready::PRIORITY, Ready::GONE, Ready::EMPTY] {
        for interest in BOTH {
            assert!(!Snapshot { ready, tick: 1 }.allows(interest, None));
        }
    }
}

/// As many events as a 16-bit tick has values lie between an operation and its clear.
#[test]
fn an_old_clear_after_65536_events_changes_nothing() {
    let word = Readiness::new(Ready::EMPTY);
    word.on_event(Ready::READABLE);
    let seen = word.load();
    for _ in 0..1 << 16 {
        word.on_event(Ready::READABLE);
    }
    word.clear(Interest::Readable, seen.tick);
    assert!(word.load().ready.is_readable());
    word.clear(Interest::Readable, word.load().tick);
    assert!(!word.load().ready.is_readable());
}

#[test]
fn debug_names_the_bits() {
    assert_eq!(
        format!("{:?}", Ready::READABLE | Ready::GONE),
        "{READABLE, GONE}"
    );
}
