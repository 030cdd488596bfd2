//! From names to addresses: literals at once, names on a thread that may block.

use crate::context::no_runtime_error;
use heist_core::context::current_or_global;
use heist_core::error::RuntimeGone;
use heist_core::future::promise;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Something that can be turned into socket addresses, maybe by asking the system's resolver.
pub trait ToSocketAddrs {
    /// The addresses, or the name to look up.
    #[doc(hidden)]
    fn to_target(&self) -> io::Result<Target>;
}

/// What [`ToSocketAddrs`] gives.
#[doc(hidden)]
#[derive(Debug)]
pub enum Target {
    /// Known without asking.
    Addrs(Vec<SocketAddr>),
    /// Host and port.
    Name(String, u16),
}

macro_rules! known {
    ($($type:ty),*) => {$(
        impl ToSocketAddrs for $type {
            fn to_target(&self) -> io::Result<Target> {
                Ok(Target::Addrs(vec![SocketAddr::from(*self)]))
            }
        }
    )*};
}

known!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToSocketAddrs for [SocketAddr] {
    fn to_target(&self) -> io::Result<Target> {
        Ok(Target::Addrs(self.to_vec()))
    }
}

impl ToSocketAddrs for (&str, u16) {
    fn to_target(&self) -> io::Result<Target> {
        Ok(match self.0.parse::<IpAddr>() {
            Ok(ip) => Target::Addrs(vec![SocketAddr::new(ip, self.1)]),
            Err(_) => Target::Name(self.0.to_owned(), self.1),
        })
    }
}

impl ToSocketAddrs for (String, u16) {
    fn to_target(&self) -> io::Result<Target> {
        (self.0.as_str(), self.1).to_target()
    }
}

impl ToSocketAddrs for str {
    fn to_target(&self) -> io::Result<Target> {
        if let Ok(address) = self.parse::<SocketAddr>() {
            return Ok(Target::Addrs(vec![address]));
        }
        let parts = self
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let Some((host, port)) = parts else {
            let text = format!("{self:?} is not an address; write `host:port`");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        (host, port).to_target()
    }
}

impl ToSocketAddrs for String {
    fn to_target(&self) -> io::Result<Target> {
        self.as_str().to_target()
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    fn to_target(&self) -> io::Result<Target> {
        (**self).to_target()
    }
}

/// Asks the system's resolver for the addresses of a host, on the blocking pool. A literal is answered at once.
///
/// # Errors
///
/// What the resolver says; outside of a runtime; if the runtime is gone.
///
/// # Cancel safety
///
/// Nothing is lost; a question that was asked is answered to nobody.
///
/// # Counterpart
///
/// `loop.getaddrinfo`. Tokio's `lookup_host`.
#[doc(alias = "getaddrinfo")]
pub async fn lookup_host(host: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    // Not across the await: the argument may not be `Send`.
    let target = host.to_target();
    drop(host);
    resolve(target?).await
}

pub(super) async fn resolve(target: Target) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = match target {
        Target::Addrs(addresses) => return Ok(addresses),
        Target::Name(host, port) => (host, port),
    };
    let answer = {
        let runtime = current_or_global().ok_or_else(no_runtime_error)?;
        let (promise, answer) = promise();
        let job = Box::new(move || {
            let found = std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port));
            // Nobody may be waiting any more.
            let _ = promise.set_result(found.map(Iterator::collect::<Vec<_>>));
        });
        runtime.call_blocking(job).map_err(|_| RuntimeGone)?;
        answer
    };
    answer.await?
}

/// Tries each address in turn. The error of the last one counts.
pub(super) async fn each<T, F: Future<Output = io::Result<T>>>(
    addresses: Vec<SocketAddr>,
    mut f: impl FnMut(SocketAddr) -> F,
) -> io::Result<T> {
    let mut last = None;
    for address in addresses {
        match f(address).await {
            Ok(done) => return Ok(done),
            Err(error) => last = Some(error),
        }
    }
    let none = || io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    Err(last.unwrap_or_else(none))
}
