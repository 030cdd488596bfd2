//! What a thread is doing, as the system sees it: whether it runs, or waits, and in which system call.
//!
//! Read from `/proc`, and unknown where there is none.

use std::fmt;
use std::fs;
use std::time::Duration;

use crate::sync;

/// A thread, for whoever wants to know later what it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Occupant {
    name: String,
    /// Its folder in `/proc`.
    folder: Option<String>,
}

impl Occupant {
    pub(crate) fn this_thread() -> Self {
        Self {
            name: sync::thread::current()
                .name()
                .unwrap_or_default()
                .to_owned(),
            folder: sync::thread_folder(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it does at this moment.
    pub(crate) fn activity(&self) -> Activity {
        match self.read("stat").as_deref().and_then(state) {
            Some('R') => Activity::Running,
            Some('S' | 'D' | 'T' | 't' | 'I') => Activity::Blocked {
                syscall: self.read("syscall").as_deref().and_then(Syscall::parse),
            },
            _ => Activity::Unknown,
        }
    }

    /// For how long it has had a processor, if the system tells.
    pub(crate) fn processor_time(&self) -> Option<Duration> {
        let file = self.read("schedstat")?;
        let nanoseconds = file.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }

    fn read(&self, file: &str) -> Option<String> {
        let folder = self.folder.as_ref()?;
        fs::read_to_string(format!("{folder}/{file}")).ok()
    }
}

/// The state in a `stat` file: the word behind the name, which is in parentheses and may have some itself.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// What a thread was found doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activity {
    /// It computes, or would if it had a processor.
    Running,
    /// It waits for something in the kernel.
    Blocked {
        /// In this system call, if that can be told.
        syscall: Option<Syscall>,
    },
    /// The system does not tell.
    Unknown,
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Blocked { syscall: None } => f.write_str("blocked"),
            Self::Blocked {
                syscall: Some(syscall),
            } => write!(f, "blocked in {syscall}"),
            Self::Unknown => f.write_str("doing something unknown"),
        }
    }
}

/// A system call, by its number on this platform.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Syscall(i64);

impl Syscall {
    /// From the first word of a `syscall` file. There is none while the thread runs, and `-1` means that it waits outside of one.
    fn parse(file: &str) -> Option<Self> {
        let number = file.split_ascii_whitespace().next()?.parse().ok()?;
        (number >= 0).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }

    /// Its name, if it is one of those in which threads usually block.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let known = NAMES.iter().find(|(number, _)| *number == self.0);
        known.map(|(_, name)| *name)
    }
}

impl fmt::Display for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "system call {}", self.0),
        }
    }
}

impl fmt::Debug for Syscall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.0)
    }
}

use names::NAMES;

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
mod names {
    macro_rules! names {
        ($($constant:ident $name:literal,)*) => {
            /// Those that wait for something, under their names.
            pub(super) const NAMES: &[(i64, &str)] = &[$((libc::$constant, $name)),*];
        };
    }

    names! {
        SYS_accept "accept",
        SYS_accept4 "accept4",
        SYS_clock_nanosleep "clock_nanosleep",
        SYS_connect "connect",
        SYS_copy_file_range "copy_file_range",
        SYS_epoll_pwait "epoll_pwait",
        SYS_epoll_pwait2 "epoll_pwait2",
        SYS_fallocate "fallocate",
        SYS_fcntl "fcntl",
        SYS_fdatasync "fdatasync",
        SYS_flock "flock",
        SYS_fsync "fsync",
        SYS_ftruncate "ftruncate",
        SYS_futex "futex",
        SYS_getdents64 "getdents64",
        SYS_io_uring_enter "io_uring_enter",
        SYS_ioctl "ioctl",
        SYS_madvise "madvise",
        SYS_mmap "mmap",
        SYS_msync "msync",
        SYS_munmap "munmap",
        SYS_nanosleep "nanosleep",
        SYS_newfstatat "newfstatat",
        SYS_openat "openat",
        SYS_ppoll "ppoll",
        SYS_pread64 "pread64",
        SYS_preadv "preadv",
        SYS_pselect6 "pselect6",
        SYS_pwrite64 "pwrite64",
        SYS_pwritev "pwritev",
        SYS_read "read",
        SYS_readv "readv",
        SYS_recvfrom "recvfrom",
        SYS_recvmsg "recvmsg",
        SYS_renameat2 "renameat2",
        SYS_sendfile "sendfile",
        SYS_sendmsg "sendmsg",
        SYS_sendto "sendto",
        SYS_splice "splice",
        SYS_statx "statx",
        SYS_sync "sync",
        SYS_unlinkat "unlinkat",
        SYS_wait4 "wait4",
        SYS_waitid "waitid",
        SYS_write "write",
        SYS_writev "writev",
    }
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
mod names {
    pub(super) const NAMES: &[(i64, &str)] = &[];
}

#[cfg(all(test, not(any(loom, miri))))]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_behind_the_name_of_the_thread() {
        assert_eq!(state("7 (heist-worker-0) S 1 7"), Some('S'));
        assert_eq!(state("7 (a) R (b)) D 1 7"), Some('D'));
        assert_eq!(state("7 (never ended"), None);
    }

    #[test]
    fn a_system_call_has_a_number_and_perhaps_a_name() {
        assert_eq!(Syscall::parse("running\n"), None);
        assert_eq!(Syscall::parse("-1 0x7ffc 0x7f00\n"), None);
        let unknown = Syscall::parse("99999 0x0 0x0\n").unwrap();
        assert_eq!(unknown.to_string(), "system call 99999");
        assert_eq!(format!("{unknown:?}"), "system call 99999 (99999)");
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn a_thread_is_seen_where_it_sleeps_and_where_it_runs() {
        assert_eq!(Occupant::this_thread().activity(), Activity::Running);
        let (tell, told) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            tell.send(Occupant::this_thread()).unwrap();
            released.recv().unwrap_err();
        });
        let sleeper = told.recv().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let blocked = loop {
            let seen = sleeper.activity();
            if matches!(seen, Activity::Blocked { .. }) || std::time::Instant::now() > deadline {
                break seen;
            }
            std::thread::yield_now();
        };
        assert_eq!(blocked.to_string(), "blocked in futex");
        // A sleeper has no processor, and this thread has one.
        let this = Occupant::this_thread();
        let before = (sleeper.processor_time(), this.processor_time());
        while this
            .processor_time()
            .is_some_and(|now| Some(now) == before.1)
        {
            assert!(std::time::Instant::now() < deadline);
        }
        assert_eq!(sleeper.processor_time(), before.0);
        drop(release);
        thread.join().unwrap();
    }
}
