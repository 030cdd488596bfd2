//! What a socket can be bound or connected to, and looking up names.
//!
//! The standard `ToSocketAddrs` looks names up on the calling thread, without saying whether it will. So there is one of
//! our own, which tells addresses from names. A lookup is a job for the blocking pool and a [`Slot`] that both sides
//! count: whichever comes second finds what the first left. A job that is dropped without being run, because the runtime
//! goes away, leaves an error.

use crate::sync::{Arc, Mutex};
use heist_core::context::current_or_global;
use heist_core::error::RuntimeGone;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::task::{Poll, Waker};

/// What names one or more socket addresses: addresses, `(address, port)`, `"host:port"`, `("host", port)`.
///
/// IP addresses are used as they are; only a host name is looked up, on a thread of the runtime that may block. Cannot
/// be implemented outside of this crate.
pub trait ToSocketAddrs: sealed::Sealed {}

/// Addresses, or a name that has to be looked up.
#[expect(
    unnameable_types,
    reason = "nobody outside implements the trait that it belongs to"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    One(SocketAddr),
    Many(Vec<SocketAddr>),
    Name(String, u16),
    Invalid,
}

mod sealed {
    #[expect(
        unnameable_types,
        reason = "that is what keeps others from implementing it"
    )]
    pub trait Sealed {
        fn target(&self) -> super::Target;
    }
}

use sealed::Sealed;

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}
impl<T: Sealed + ?Sized> Sealed for &T {
    fn target(&self) -> Target {
        (**self).target()
    }
}

impl ToSocketAddrs for SocketAddr {}
impl Sealed for SocketAddr {
    fn target(&self) -> Target {
        Target::One(*self)
    }
}

impl ToSocketAddrs for SocketAddrV4 {}
impl Sealed for SocketAddrV4 {
    fn target(&self) -> Target {
        Target::One((*self).into())
    }
}

impl ToSocketAddrs for SocketAddrV6 {}
impl Sealed for SocketAddrV6 {
    fn target(&self) -> Target {
        Target::One((*self).into())
    }
}

impl ToSocketAddrs for (IpAddr, u16) {}
impl Sealed for (IpAddr, u16) {
    fn target(&self) -> Target {
        Target::One((*self).into())
    }
}

impl ToSocketAddrs for (Ipv4Addr, u16) {}
impl Sealed for (Ipv4Addr, u16) {
    fn target(&self) -> Target {
        Target::One((*self).into())
    }
}

impl ToSocketAddrs for (Ipv6Addr, u16) {}
impl Sealed for (Ipv6Addr, u16) {
    fn target(&self) -> Target {
        Target::One((*self).into())
    }
}

impl ToSocketAddrs for [SocketAddr] {}
impl Sealed for [SocketAddr] {
    fn target(&self) -> Target {
        Target::Many(self.to_vec())
    }
}

impl ToSocketAddrs for Vec<SocketAddr> {}
impl Sealed for Vec<SocketAddr> {
    fn target(&self) -> Target {
        Target::Many(self.clone())
    }
}

impl ToSocketAddrs for (&str, u16) {}
impl Sealed for (&str, u16) {
    fn target(&self) -> Target {
        match self.0.parse::<IpAddr>() {
            Ok(address) => Target::One((address, self.1).into()),
            Err(_) => Target::Name(self.0.to_owned(), self.1),
        }
    }
}

impl ToSocketAddrs for (String, u16) {}
impl Sealed for (String, u16) {
    fn target(&self) -> Target {
        (self.0.as_str(), self.1).target()
    }
}

impl ToSocketAddrs for str {}
impl Sealed for str {
    fn target(&self) -> Target {
        if let Ok(address) = self.parse() {
            return Target::One(address);
        }
        match self.rsplit_once(':') {
            Some((host, port)) => port
                .parse()
                .map_or(Target::Invalid, |port| (host, port).target()),
            None => Target::Invalid,
        }
    }
}

impl ToSocketAddrs for String {}
impl Sealed for String {
    fn target(&self) -> Target {
        self.as_str().target()
    }
}

/// Looks up the addresses that a name stands for, in the order in which they are to be tried.
///
/// On a thread of the runtime that may block. What is an address already comes back as it is. Connecting and binding
/// look names up by themselves; this is for who wants to choose among the addresses, or to keep them.
///
/// # Errors
///
/// What the system says of the name; [`InvalidInput`](io::ErrorKind::InvalidInput) if it is not written `host:port`, or
/// if there is no address at all, so that the iterator is never empty. For a name also outside of any runtime, and when
/// the runtime has been shut down.
///
/// # Cancel safety
///
/// Safe: the lookup goes on, since nothing can stop it, and its answer is dropped.
///
/// # Examples
///
/// ```no_run
/// # use heist_io as heist;
/// # async fn work() -> std::io::Result<()> {
/// for address in heist::net::lookup_host(("localhost", 80)).await? {
///     println!("{address}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Counterpart
///
/// `loop.getaddrinfo`; tokio's `lookup_host`. Addresses only: neither families nor protocols can be asked for.
#[doc(alias = "getaddrinfo")]
pub async fn lookup_host(host: impl ToSocketAddrs) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    Ok(resolve(host).await?.into_iter())
}

/// The addresses, looked up if need be. Not empty.
pub(crate) async fn resolve(addresses: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    // The caller's value may not be kept over an await: it need not be `Send`.
    let target = addresses.target();
    drop(addresses);
    resolve_target(target).await
}

/// [`resolve`] for what has been read from the caller's value already.
pub(crate) async fn resolve_target(target: Target) -> io::Result<Vec<SocketAddr>> {
    let found = match target {
        Target::One(address) => vec![address],
        Target::Many(addresses) => addresses,
        Target::Name(host, port) => look_up(host, port).await?,
        Target::Invalid => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an address is written `host:port`",
            ));
        }
    };
    if found.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is no address to use",
        ));
    }
    Ok(found)
}

/// Tries each address in turn. The error of the last one, if none will do.
pub(crate) fn first<T>(
    addresses: &[SocketAddr],
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::ErrorKind::InvalidInput.into();
    for address in addresses {
        match attempt(*address) {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}

enum Slot {
    Waiting(Option<Waker>),
    Done(Option<io::Result<Vec<SocketAddr>>>),
}

/// The job's side of a lookup. Leaves an error when it is dropped without an answer.
struct Answer(Arc<Mutex<Slot>>);

impl Answer {
    fn set(&self, result: io::Result<Vec<SocketAddr>>) {
        let was = {
            let mut slot = self.0.lock();
            if matches!(*slot, Slot::Done(_)) {
                return;
            }
            mem::replace(&mut *slot, Slot::Done(Some(result)))
        };
        if let Slot::Waiting(Some(waker)) = was {
            waker.wake();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.set(Err(RuntimeGone.into()));
    }
}

async fn look_up(host: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let slot = Arc::new(Mutex::new(Slot::Waiting(None)));
    let answer = Answer(Arc::clone(&slot));
    let job = move || {
        answer.set(
            std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port)).map(Iterator::collect),
        );
    };
    {
        let runtime = current_or_global()?;
        runtime
            .call_blocking(Box::new(job))
            .map_err(|_job| RuntimeGone)?;
    }
    poll_fn(|cx| {
        let waker = cx.waker().clone();
        let mut slot = slot.lock();
        let old = match &mut *slot {
            Slot::Done(result) => {
                return Poll::Ready(result.take().unwrap_or_else(|| Err(RuntimeGone.into())));
            }
            Slot::Waiting(old) => old.replace(waker),
        };
        drop(slot);
        drop(old);
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        let one = |text: &str| Target::One(text.parse().unwrap());
        assert_eq!("127.0.0.1:80".target(), one("127.0.0.1:80"));
        assert_eq!("[::1]:80".target(), one("[::1]:80"));
        assert_eq!(("::1", 80).target(), one("[::1]:80"));
        assert_eq!(String::from("1.2.3.4:5").target(), one("1.2.3.4:5"));
        assert_eq!((Ipv4Addr::LOCALHOST, 7).target(), one("127.0.0.1:7"));
        assert_eq!(
            "localhost:80".target(),
            Target::Name("localhost".into(), 80)
        );
        assert_eq!(
            ("example.org", 1).target(),
            Target::Name("example.org".into(), 1)
        );
        for bad in ["localhost", "localhost:", "localhost:http", "a:70000"] {
            assert_eq!(bad.target(), Target::Invalid, "{bad}");
        }
    }
}
