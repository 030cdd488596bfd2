//! Executed instructions, each by its address, and which of them are atomic.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Subject;
use crate::process::{Outcome, bounded, capture};
use crate::project;

/// Places whose atomics are on lines that several workers write: a label, a part of the path and a part of the name
/// of the function that one frame of the place must have.
const SHARED: &[(&str, &str, &str)] = &[
    ("task ids", "heist-core/src/task/id.rs", ""),
    (
        "registry, from outside",
        "heist-core/src/registry.rs",
        "insert_outside",
    ),
    (
        "registry, slots freed elsewhere",
        "heist-core/src/registry.rs",
        "refill",
    ),
    // Of the deque's own operations only stealing and the injector's push have any; the owner's pop is on its own line.
    ("injector", "crossbeam-deque", "push"),
    ("injector or stealing", "crossbeam-deque", "steal"),
    ("sleep and idle word", "heist-scheduler/src/sleep/", ""),
    (
        "state of the scheduler",
        "heist-scheduler/src/shared.rs",
        "",
    ),
    ("metrics", "heist-scheduler/src/metrics.rs", ""),
    ("blocking pool", "heist-scheduler/src/blocking.rs", ""),
    ("timers", "heist-io/src/timer", ""),
    ("a reference count", "alloc/src/sync.rs", ""),
];

/// Places that the list above would take for shared, and that are not: the owner's own lines, and what a worker does by the
/// clock. (Callgrind makes the program fifty times slower, not the clock.)
const OWN: &[(&str, &str)] = &[
    ("heist-core/src/task/runnable.rs", "swap"),
    ("heist-scheduler/src/queue.rs", "settle"),
    ("heist-scheduler/src/worker/maintenance.rs", "maintain"),
];

/// What one operation executes.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) instructions: f64,
    /// Calls of the allocator that return memory.
    pub(super) allocations: f64,
    places: Vec<Place>,
}

/// An atomic instruction that was executed.
#[derive(Debug)]
struct Place {
    per_operation: f64,
    instruction: String,
    /// Functions with their source lines, the innermost first.
    frames: Vec<String>,
    shared: Option<&'static str>,
}

impl Counts {
    /// All atomic read-modify-writes and fences.
    pub(super) fn atomics(&self) -> f64 {
        self.places.iter().map(|place| place.per_operation).sum()
    }

    /// Those on shared lines.
    pub(super) fn shared(&self) -> f64 {
        self.places
            .iter()
            .filter(|place| place.shared.is_some())
            .map(|place| place.per_operation)
            .sum()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.places {
            let label = place
                .shared
                .map_or(String::new(), |label| format!("SHARED ({label}) "));
            writeln!(
                f,
                "  {:8.4} {label}{}",
                place.per_operation, place.instruction
            )?;
            for frame in ours(&place.frames) {
                writeln!(f, "             {}", short(frame))?;
            }
        }
        write!(f, "  {:8.4} in all", self.atomics())
    }
}

/// The frames that are not of the standard library, at most three.
fn ours(frames: &[String]) -> impl Iterator<Item = &String> {
    frames
        .iter()
        .filter(|frame| !frame.contains("/rustc/") && !frame.contains("/library/"))
        .take(3)
}

/// The functions of the C library that return memory.
const ALLOCATORS: &[&str] = &[
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

/// What a run executed.
#[derive(Debug, Default)]
struct Profile {
    instructions: u64,
    allocations: u64,
    /// Of the program itself, not of the libraries that it loads: the allocator's own locks do not count.
    by_address: BTreeMap<u64, u64>,
}

/// Runs `workload` with both lengths and divides what the longer one has executed more.
pub(super) fn difference(
    subject: &Subject,
    workload: &str,
    short: u32,
    long: u32,
) -> Outcome<Counts> {
    let less = profile(subject, workload, short)?;
    let more = profile(subject, workload, long)?;
    let operations = f64::from(long - short);
    let atomics = atomic_instructions(&subject.program)?;
    let mut places = Vec::new();
    for (address, instruction) in atomics {
        let count =
            |profile: &Profile| profile.by_address.get(&address).copied().unwrap_or(0) as f64;
        let per_operation = (count(&more) - count(&less)) / operations;
        // Less than one time in two thousand operations is the noise of threads that start and stop.
        if per_operation.abs() * 2000.0 > 1.0 {
            places.push((
                address,
                Place {
                    per_operation,
                    instruction,
                    frames: Vec::new(),
                    shared: None,
                },
            ));
        }
    }
    let addresses: Vec<u64> = places.iter().map(|(address, _)| *address).collect();
    let frames = frames(&subject.program, &addresses)?;
    for ((_, place), frames) in places.iter_mut().zip(frames) {
        place.shared = shared_label(&place.instruction, &frames);
        place.frames = frames;
    }
    let mut places: Vec<Place> = places.into_iter().map(|(_, place)| place).collect();
    places.sort_by(|a, b| b.per_operation.total_cmp(&a.per_operation));
    let instructions = (more.instructions as f64 - less.instructions as f64) / operations;
    let allocations = (more.allocations as f64 - less.allocations as f64) / operations;
    if instructions < 1.0 {
        return Err(format!("callgrind has counted nothing of {workload}"));
    }
    Ok(Counts {
        instructions,
        allocations,
        places,
    })
}

fn shared_label(instruction: &str, frames: &[String]) -> Option<&'static str> {
    // A fence is on the stack of its thread.
    if instruction.contains("(%rsp)") || instruction.starts_with("mfence") {
        return None;
    }
    let places: Vec<(&str, &str)> = frames
        .iter()
        .filter_map(|frame| frame.split_once(" at "))
        .collect();
    let is_at = |path: &str, function: &str| {
        places
            .iter()
            .any(|(name, place)| place.contains(path) && bare(name).contains(function))
    };
    if OWN.iter().any(|(path, function)| is_at(path, function)) {
        return None;
    }
    SHARED
        .iter()
        .find(|(_, path, function)| is_at(path, function))
        .map(|(label, ..)| *label)
}

/// The name of a function without its type parameters.
fn bare(function: &str) -> &str {
    function.split('<').next().unwrap_or(function)
}

/// A frame without type parameters and without the folders that crates are unpacked in.
fn short(frame: &str) -> String {
    let (function, place) = frame.split_once(" at ").unwrap_or((frame, ""));
    let unpacked = place
        .split_once("/registry/src/")
        .and_then(|(_, rest)| rest.split_once('/'));
    format!(
        "{} at {}",
        bare(function),
        unpacked.map_or(place, |(_, rest)| rest)
    )
}

fn profile(subject: &Subject, workload: &str, operations: u32) -> Outcome<Profile> {
    let file = project::target("gates").join(format!("callgrind.{workload}.{operations}"));
    let mut command = Command::new("valgrind");
    command.args([
        "--tool=callgrind",
        "--dump-instr=yes",
        "--compress-strings=no",
        "--compress-pos=no",
        "--fair-sched=yes",
        // The monitor goes by the clock, and the program is fifty times slower here, the clock is not.
        "--toggle-collect=*heist_scheduler*monitor*watch*",
        "--collect-atstart=yes",
    ]);
    command
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(&subject.program);
    command.args([
        &subject.backend,
        workload,
        "--cold",
        "--workers",
        "1",
        "--n",
        &operations.to_string(),
    ]);
    let ran = bounded(&mut command, Duration::from_secs(120))?;
    if !ran.success() {
        return Err(format!("callgrind of {workload} failed:\n{}", ran.tail(20)));
    }
    let text = fs::read_to_string(&file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Ok(parse(&text, &subject.program.display().to_string()))
}

/// Reads a profile without compression: `ob=` names the object, cost lines are `0xADDRESS LINE COST`, and the line
/// after `calls=` is the cost of the callee, which has its own lines.
fn parse(text: &str, program: &str) -> Profile {
    let mut profile = Profile::default();
    let mut inside = false;
    let mut after_call = false;
    let mut allocates = false;
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            inside = object == program;
        } else if let Some(total) = line
            .strip_prefix("totals: ")
            .or_else(|| line.strip_prefix("summary: "))
        {
            profile.instructions = total.trim().parse().unwrap_or(profile.instructions);
        } else if let Some(callee) = line.strip_prefix("cfn=") {
            allocates = ALLOCATORS.contains(&callee);
        } else if let Some(count) = line.strip_prefix("calls=") {
            after_call = true;
            if inside && allocates {
                let count = count.split(' ').next().unwrap_or(count);
                profile.allocations += count.parse::<u64>().unwrap_or(0);
            }
        } else if let Some(fields) = line.strip_prefix("0x") {
            if inside
                && !after_call
                && let Some((address, count)) = cost(fields)
            {
                *profile.by_address.entry(address).or_default() += count;
            }
            after_call = false;
        }
    }
    profile
}

fn cost(fields: &str) -> Option<(u64, u64)> {
    let mut fields = fields.split(' ');
    let address = u64::from_str_radix(fields.next()?, 16).ok()?;
    let count = fields.nth(1)?.parse().ok()?;
    Some((address, count))
}

/// The address and the text of each instruction that locks the bus or fences.
fn atomic_instructions(program: &Path) -> Outcome<Vec<(u64, String)>> {
    let listing = capture(
        Command::new("objdump")
            .args(["--disassemble", "--no-show-raw-insn"])
            .arg(program),
    )?;
    let instruction = |line: &str| {
        let (address, text) = line.split_once(":\t")?;
        let address = u64::from_str_radix(address.trim(), 16).ok()?;
        is_atomic(text).then(|| {
            (
                address,
                text.split_whitespace().collect::<Vec<_>>().join(" "),
            )
        })
    };
    Ok(listing.lines().filter_map(instruction).collect())
}

fn is_atomic(text: &str) -> bool {
    // An exchange with memory locks without saying so.
    let exchange = text.starts_with("xchg") && text.contains('(') && !text.contains("%ax,%ax");
    text.starts_with("lock ") || text.starts_with("mfence") || exchange
}

/// The functions, with their source lines, that each address was inlined from.
fn frames(program: &Path, addresses: &[u64]) -> Outcome<Vec<Vec<String>>> {
    let mut command = Command::new("addr2line");
    command
        .args([
            "--addresses",
            "--functions",
            "--inlines",
            "--demangle",
            "--exe",
        ])
        .arg(program);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start addr2line: {error}"))?;
    let wanted: String = addresses
        .iter()
        .map(|address| format!("{address:#x}\n"))
        .collect();
    let input = child.stdin.take();
    input
        .map_or(Ok(()), |mut input| input.write_all(wanted.as_bytes()))
        .map_err(|error| format!("addr2line: {error}"))?;
    let output = child
        .wait_with_output()
        .map_err(|error| format!("addr2line: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = group(&text);
    if found.len() == addresses.len() {
        Ok(found)
    } else {
        Err("addr2line did not answer for each address".to_owned())
    }
}

/// Each address is followed by pairs of lines, a function and a place.
fn group(text: &str) -> Vec<Vec<String>> {
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            groups.push(Vec::new());
        } else if let (Some(group), Some(place)) = (groups.last_mut(), lines.next()) {
            group.push(format!("{line} at {place}"));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_cost_is_counted() {
        let text = "events: Ir\nob=/p\nfn=f\n0x10 5 3\ncalls=1 0x99 7\n0x14 5 1000\n0x18 6 2\nob=/libc\n0x20 0 9\nob=/p\n0x10 5 4\ntotals: 1018\n";
        let profile = parse(text, "/p");
        assert_eq!(profile.instructions, 1018);
        assert_eq!(profile.allocations, 0);
        assert_eq!(profile.by_address, BTreeMap::from([(0x10, 7), (0x18, 2)]));
    }

    #[test]
    fn the_programs_own_allocations_are_counted() {
        let text = "ob=/p\nfn=f\ncob=/libc\ncfn=malloc\ncalls=3 0x20 0\n0x14 5 90\ncfn=free\ncalls=2 0x30 0\n0x18 5 40\nob=/libc\nfn=g\ncfn=malloc\ncalls=7 0x20 0\n0x40 0 9\n";
        assert_eq!(parse(text, "/p").allocations, 3);
    }

    #[test]
    fn atomic_instructions_are_told_from_others() {
        assert!(
            is_atomic("lock xadd %rax,(%rdi)")
                && is_atomic("xchg   %rax,0x8(%rdi)")
                && is_atomic("mfence")
        );
        assert!(
            !is_atomic("xchg   %ax,%ax")
                && !is_atomic("xchg   %rax,%rbx")
                && !is_atomic("mov    %rax,(%rdi)")
        );
    }

    #[test]
    fn inlined_frames_belong_to_their_address() {
        let groups = group("0x1\nf\na.rs:1\ng\nb.rs:2\n0x2\nh\nc.rs:3\n");
        assert_eq!(
            groups,
            [
                vec!["f at a.rs:1".to_owned(), "g at b.rs:2".to_owned()],
                vec!["h at c.rs:3".to_owned()]
            ]
        );
    }

    #[test]
    fn a_shared_place_is_found_in_any_frame() {
        let frames = [
            "fetch_add<u64> at /rustc/x/atomic.rs:1".to_owned(),
            "refill at crates/heist-core/src/task/id.rs:40".to_owned(),
        ];
        assert_eq!(
            shared_label("lock xadd %rax,(%rdi)", &frames),
            Some("task ids")
        );
        assert_eq!(shared_label("lock xadd %rax,(%rdi)", &frames[..1]), None);
        assert_eq!(shared_label("lock orl $0x0,-0x40(%rsp)", &frames), None);
    }

    #[test]
    fn frames_are_shown_without_what_nobody_reads() {
        assert_eq!(
            short("pop<a::B<c>> at /x/registry/src/index-1/tokio-1.0.0/src/q.rs:7"),
            "pop at tokio-1.0.0/src/q.rs:7"
        );
        assert_eq!(
            short("f at crates/heist/src/lib.rs:1"),
            "f at crates/heist/src/lib.rs:1"
        );
    }
}
