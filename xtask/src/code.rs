//! Rust source as the checks look at it: without comments, without what stands in literals.

/// The code of a source text. Comments and the contents of string literals become blanks, so that lines keep their numbers.
pub(crate) fn strip(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = token_end(bytes, at);
        let keep = end == at + 1;
        for &byte in &bytes[at..end] {
            code.push(if keep || byte == b'\n' { byte } else { b' ' });
        }
        at = end;
    }
    String::from_utf8_lossy(&code).into_owned()
}

/// The part of a code text before its first inline test module, which may use what the rest may not. `mod tests;` hides
/// nothing: its file is looked at by its own name.
pub(crate) fn without_tests(code: &str) -> &str {
    let gates = ["#[cfg(test)]", "#[cfg(all(test"];
    let inline = |at: &usize| {
        let rest = &code[*at..];
        rest.find("mod ")
            .and_then(|module| rest[module..].find(['{', ';']).map(|end| module + end))
            .is_some_and(|end| rest[end..].starts_with('{'))
    };
    let start = gates
        .into_iter()
        .flat_map(|gate| code.match_indices(gate))
        .map(|(at, _)| at)
        .filter(inline)
        .min();
    start.map_or(code, |start| &code[..start])
}

/// How many lines hold code.
pub(crate) fn lines(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

/// Where the comment or literal that starts at `at` ends; one further where none starts.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        at + rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len())
    } else if rest.starts_with(b"/*") {
        at + block_comment(rest)
    } else if rest[0] == b'"' {
        at + quoted(rest, b'"')
    } else if rest[0] == b'r' && !is_word(bytes, at) && raw_string(rest).is_some() {
        at + raw_string(rest).unwrap_or(1)
    } else if rest[0] == b'\'' {
        at + character(rest)
    } else {
        at + 1
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"')
        .chain(std::iter::repeat_n(b'#', hashes))
        .collect();
    let body = &rest[2 + hashes..];
    let length = body.windows(end.len()).position(|window| window == end);
    Some(length.map_or(rest.len(), |length| 2 + hashes + length + end.len()))
}

/// A character literal, told from a lifetime by its closing quote.
fn character(rest: &[u8]) -> usize {
    match rest {
        [_, b'\\', ..] => quoted(rest, b'\''),
        [_, _, b'\'', ..] => 3,
        _ => 1,
    }
}

/// Whether the byte before `at` belongs to an identifier.
fn is_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_blanks() {
        assert_eq!(strip("a // b\nc"), "a     \nc");
        assert_eq!(strip("a /* b /* c */ \n */ d"), "a              \n    d");
        assert_eq!(
            strip(r#"f("x\"y", 'z', '\n', &'a b)"#),
            r"f(      ,    ,     , &'a b)"
        );
        assert_eq!(strip("r#\"a\"b\"# c"), "         c");
    }

    #[test]
    fn only_lines_with_code_count() {
        assert_eq!(lines(&strip("// a\n\nfn b() {}\n")), 1);
    }

    #[test]
    fn test_modules_are_cut_off() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests { b }"), "a\n");
        let gated = "a\n#[cfg(all(test, unix))]\nmod tests {";
        assert_eq!(without_tests(gated), "a\n");
        let elsewhere = "#[cfg(test)]\nmod tests;\nb { }";
        assert_eq!(without_tests(elsewhere), elsewhere);
    }
}
