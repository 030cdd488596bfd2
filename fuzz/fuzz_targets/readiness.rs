//! The word of a source against plain fields: what each event adds, what a late clear must leave, and what may go ahead.

#![no_main]

use arbitrary::Arbitrary;
use heist_io::readiness::{Interest, Readiness, Ready};
use libfuzzer_sys::fuzz_target;

/// What may be known about a source, one flag each.
const FLAGS: [Ready; 7] = [
    Ready::READABLE,
    Ready::WRITABLE,
    Ready::READ_CLOSED,
    Ready::WRITE_CLOSED,
    Ready::ERROR,
    Ready::PRIORITY,
    Ready::GONE,
];

#[derive(Arbitrary, Debug)]
enum Step {
    Event {
        flags: u8,
    },
    /// An operation begins: it remembers what it saw.
    Begin,
    /// One of those that have begun found nothing.
    Clear {
        write: bool,
        begun: u8,
    },
}

#[derive(Default)]
struct Model {
    flags: [bool; 7],
    events: u64,
}

impl Model {
    fn event(&mut self, flags: u8) {
        for (bit, flag) in self.flags.iter_mut().enumerate() {
            *flag |= flags & (1 << bit) != 0;
        }
        self.events += 1;
    }

    fn allows(&self, direction: usize, tried: Option<u64>) -> bool {
        let open = self.flags[direction];
        let closed = self.flags[direction + 2];
        open || (closed && tried != Some(self.events))
    }
}

fuzz_target!(|program: (u8, Vec<Step>)| {
    let (first, steps) = program;
    let union = |flags: u8| {
        let of_bit = |(bit, flag): (usize, &Ready)| (flags & (1 << bit) != 0).then_some(*flag);
        FLAGS
            .iter()
            .enumerate()
            .filter_map(of_bit)
            .fold(Ready::EMPTY, Ready::union)
    };
    let word = Readiness::new(union(first));
    let mut model = Model::default();
    model.event(first);
    model.events = 0;
    let mut begun = vec![0];
    for step in steps {
        match step {
            Step::Event { flags } => {
                word.on_event(union(flags));
                model.event(flags);
            }
            Step::Begin => begun.push(word.load().tick),
            Step::Clear {
                write,
                begun: which,
            } => {
                let seen = begun[usize::from(which) % begun.len()];
                let direction = usize::from(write);
                word.clear([Interest::Readable, Interest::Writable][direction], seen);
                if seen == model.events {
                    model.flags[direction] = false;
                }
            }
        }
        let now = word.load();
        assert_eq!(now.tick, model.events);
        for (bit, flag) in FLAGS.into_iter().enumerate() {
            assert_eq!(now.ready.intersects(flag), model.flags[bit], "{flag:?}");
        }
        for (direction, interest) in [Interest::Readable, Interest::Writable]
            .into_iter()
            .enumerate()
        {
            for tried in begun.iter().map(|&tick| Some(tick)).chain([None]) {
                assert_eq!(now.allows(interest, tried), model.allows(direction, tried));
            }
        }
    }
});
