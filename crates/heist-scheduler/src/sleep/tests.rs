//! Who goes when a blocked worker is back.

use heist_core::platform::{Parker, Platform};

use super::{Bed, Rest, Sleep, Wake};
use crate::platform::SystemPlatform;
use crate::sync::Arc;

fn parker() -> Arc<dyn Parker> {
    SystemPlatform::with_key(0).parker()
}

/// One worker, which is blocked, as is each spare but the last.
fn with_spares(spares: usize) -> Sleep {
    let sleep = Sleep::new(spares + 1, 1);
    assert_eq!(sleep.first_slot(), Some(0));
    sleep.move_in(0, parker());
    for spare in 1..=spares {
        assert!(sleep.block(spare - 1));
        let wake = sleep.take_sleeper(true);
        assert!(matches!(wake, Wake::Spare { slot, .. } if slot == spare));
        sleep.move_in(spare, parker());
    }
    sleep
}

#[test]
fn a_spare_that_sleeps_in_the_driver_hands_it_over_and_goes() {
    let sleep = with_spares(1);
    let rest = sleep.fall_asleep(1, Bed::Driver, false);
    assert!(matches!(rest, Rest::Asleep(Wake::Nobody)));
    let _calls = sleep.unblock(0);
    let rest = sleep.fall_asleep(0, Bed::Parker, false);
    assert!(matches!(rest, Rest::Asleep(Wake::Driver)));
    assert!(!sleep.leave(1), "it was taken");
    let rest = sleep.fall_asleep(1, Bed::Driver, true);
    assert!(matches!(rest, Rest::Retire(Wake::Parker(_))));
    assert!(!sleep.leave(0), "it was taken");
    let rest = sleep.fall_asleep(0, Bed::Driver, true);
    assert!(matches!(rest, Rest::Asleep(Wake::Nobody)));
    let left = sleep.glance();
    assert_eq!((left.sleeping(), left.searching()), (1, 0));
}

#[test]
fn a_spare_stays_in_the_driver_while_nobody_could_go_there() {
    let sleep = with_spares(1);
    let _calls = sleep.unblock(0);
    let rest = sleep.fall_asleep(1, Bed::Driver, false);
    assert!(matches!(rest, Rest::Asleep(Wake::Nobody)));
}

#[test]
fn a_spare_that_goes_wakes_the_next_one() {
    let sleep = with_spares(2);
    let rest = sleep.fall_asleep(2, Bed::Parker, false);
    assert!(matches!(rest, Rest::Asleep(Wake::Nobody)));
    let _calls = sleep.unblock(0) | sleep.unblock(1);
    let rest = sleep.fall_asleep(1, Bed::Parker, false);
    assert!(matches!(rest, Rest::Retire(Wake::Parker(_))));
    assert!(!sleep.leave(2), "it was taken");
    let rest = sleep.fall_asleep(2, Bed::Parker, true);
    assert!(matches!(rest, Rest::Retire(Wake::Nobody)));
    let rest = sleep.fall_asleep(0, Bed::Parker, false);
    assert!(matches!(rest, Rest::Asleep(Wake::Nobody)));
    let left = sleep.glance();
    assert_eq!((left.sleeping(), left.searching()), (1, 0));
}
