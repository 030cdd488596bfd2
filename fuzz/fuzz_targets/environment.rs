//! Whatever the environment says, it is a number of workers or an error that repeats it.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use heist::runtime::workers_of;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let text = String::from_utf8_lossy(value);
    let digits = text.trim().strip_prefix('+').unwrap_or(text.trim());
    // A number of any length.
    let significant = digits.trim_start_matches('0');
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| {
        significant.bytes().fold(0_usize, |sum, byte| {
            sum.saturating_mul(10)
                .saturating_add(usize::from(byte - b'0'))
        })
    });
    match workers_of(OsStr::from_bytes(value)) {
        Ok(workers) => {
            assert!((1..=1024).contains(&workers));
            assert_eq!(number, Some(workers));
        }
        Err(error) => {
            assert!(
                number.is_none_or(|number| !(1..=1024).contains(&number)),
                "{text:?}"
            );
            assert_eq!(error.value(), text);
            assert!(error.to_string().contains(error.variable()));
        }
    }
});
