//! The programs are in `examples/`, their tests in `tests/`. This library is empty but for the code in the README and in
//! the guides, which is tested here.

#![cfg_attr(doctest, doc = include_str!("../../README.md"))]
#![cfg_attr(doctest, doc = include_str!("../../docs/guides/getting-started.md"))]
#![cfg_attr(doctest, doc = include_str!("../../docs/guides/coming-from-asyncio.md"))]
#![cfg_attr(doctest, doc = include_str!("../../docs/guides/coming-from-tokio.md"))]
#![cfg_attr(doctest, doc = include_str!("../../docs/guides/cancellation.md"))]
#![cfg_attr(doctest, doc = include_str!("../../docs/guides/testing.md"))]
