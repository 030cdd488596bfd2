//! What the guide shows is what is here.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test fails where it panics")]

/// Lines without their indentation, and a break at the end of each.
fn flat(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    lines.fold("\n".to_owned(), |all, line| all + line + "\n")
}

#[test]
fn each_block_of_the_guide_is_in_a_file_of_this_package() {
    let guide = include_str!("../../../docs/guides/model-checking.md");
    let files = [
        include_str!("../Cargo.toml"),
        include_str!("../src/lib.rs"),
        include_str!("../src/sync.rs"),
        include_str!("model.rs"),
    ]
    .map(flat);
    let mut blocks = 0;
    for part in guide.split("\n```").skip(1).step_by(2) {
        let (language, block) = part.split_once('\n').unwrap();
        if !["sh", "text"].contains(&language) {
            blocks += 1;
            assert!(["rust,ignore", "toml"].contains(&language), "{language}");
            let block = flat(block);
            assert!(files.iter().any(|file| file.contains(&block)), "{block}");
        }
    }
    assert!(blocks >= 5, "the guide lost its code");
}
