//! The kinds of cells, and the events of the task word that come in each.

use crate::races::Kind;

/// All of them. Together they have each event of the table.
pub const KINDS: [&Kind; 5] = [&TASK, &CATCHING, &BLOCKING, &LOCAL, &PROMISE];

/// A task that any worker may run.
pub const TASK: Kind = Kind {
    events: &[
        "abort",
        "add_callback",
        "cancel",
        "drained",
        "drop_handle",
        "drop_join",
        "drop_waker",
        "finish",
        "finish_bare",
        "pending",
        "release",
        "release_woken",
        "set_join_waker",
        "start",
        "take",
        "uncancel",
        "unset_join_waker",
        "wake",
        "wake_by_value",
        "woken",
    ],
    rights: RIGHTS,
    apart: &[("finish_bare", "woken", BARE)],
};

/// The same, with catchers in it.
pub const CATCHING: Kind = Kind {
    events: &[
        "abort",
        "add_callback",
        "cancel",
        "catch",
        "deliver",
        "drained",
        "drop_handle",
        "drop_join",
        "drop_waker",
        "finish",
        "finish_bare",
        "pending",
        "release",
        "release_woken",
        "set_join_waker",
        "start",
        "take",
        "uncancel",
        "uncatch",
        "unset_join_waker",
        "wake",
        "wake_by_value",
        "woken",
    ],
    rights: RIGHTS,
    apart: &[("finish_bare", "woken", BARE)],
};

const BARE: &str = "a task that ends without a handle has nobody who could have awaited it";

const RIGHTS: &[(&str, &[&str])] = &[
    (
        "to touch the body, and to let go of a task that ends",
        &[
            "start",
            "pending",
            "finish",
            "finish_bare",
            "catch",
            "deliver",
            "release",
            "release_woken",
        ],
    ),
    ("to run callbacks", &["drained"]),
    ("to the waker slot", &["woken", "release_woken"]),
    (
        "the handle",
        &["take", "set_join_waker", "unset_join_waker", "drop_join"],
    ),
];

/// A closure in the pool.
pub const BLOCKING: Kind = Kind {
    events: &[
        "add_callback",
        "cancel_blocking",
        "drained",
        "drop_handle",
        "drop_join",
        "finish",
        "finish_bare",
        "release",
        "release_woken",
        "set_join_waker",
        "start",
        "take",
        "uncancel",
        "unset_join_waker",
        "woken",
    ],
    rights: RIGHTS,
    apart: &[("finish_bare", "woken", BARE)],
};

/// A task that stays on its thread.
pub const LOCAL: Kind = Kind {
    events: &[
        "abort",
        "add_callback",
        "add_early_callback",
        "cancel",
        "drained",
        "drop_handle",
        "drop_join",
        "drop_waker",
        "finish",
        "pending",
        "release",
        "release_woken",
        "set_join_waker",
        "start",
        "take",
        "uncancel",
        "unset_join_waker",
        "wake",
        "wake_by_value",
        "woken",
    ],
    rights: &[(
        "its thread",
        &[
            "start",
            "pending",
            "finish",
            "finish_bare",
            "catch",
            "deliver",
            "release",
            "release_woken",
            "drained",
            "woken",
            "take",
            "set_join_waker",
            "unset_join_waker",
            "drop_join",
            "add_callback",
        ],
    )],
    apart: &[],
};

/// A promise.
pub const PROMISE: Kind = Kind {
    events: &[
        "add_callback",
        "claim",
        "complete",
        "drained",
        "drop_handle",
        "drop_join",
        "release",
        "set_join_waker",
        "take",
        "unclaim",
        "unset_join_waker",
        "watch",
        "woken",
    ],
    rights: &[
        ("the promise", &["watch", "release", "unclaim"]),
        ("to store an output", &["unclaim", "complete"]),
        ("to run callbacks", &["drained"]),
        ("to the waker slot", &["woken"]),
        (
            "the handle",
            &["take", "set_join_waker", "unset_join_waker", "drop_join"],
        ),
    ],
    apart: &[
        ("add_callback", "unclaim", NOBODY),
        ("drained", "unclaim", NOBODY),
        ("unclaim", "woken", NOBODY),
    ],
};

const NOBODY: &str = "a value is taken back where nobody awaits it, and nobody comes who could";
