//! Methods that sockets of several kinds have, and that differ in nothing but the type.
//!
//! Each macro is for a type that has its socket in an [`Async`](crate::fd::Async) called `io`.

/// To and from the standard type, and what every socket can be asked.
macro_rules! socket {
    ($type:ty => $std:ty) => {
        impl $type {
            /// The error that the socket keeps, if it has one, which is taken.
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.io.get_ref().take_error()
            }

            /// Watches a standard socket, as [`TryFrom`].
            ///
            /// # Errors
            ///
            /// As [`Async::new`](crate::fd::Async::new).
            pub fn from_std(socket: $std) -> std::io::Result<Self> {
                Ok(Self {
                    io: crate::fd::Async::new(socket)?,
                })
            }

            /// The standard socket, still in non-blocking mode.
            ///
            /// # Errors
            ///
            /// None today.
            pub fn into_std(self) -> std::io::Result<$std> {
                self.io.into_inner()
            }
        }

        /// Puts it into non-blocking mode and watches it with the current runtime.
        impl TryFrom<$std> for $type {
            type Error = std::io::Error;

            fn try_from(socket: $std) -> std::io::Result<Self> {
                Self::from_std(socket)
            }
        }

        /// The socket stays in non-blocking mode.
        impl TryFrom<$type> for $std {
            type Error = std::io::Error;

            fn try_from(socket: $type) -> std::io::Result<Self> {
                socket.into_std()
            }
        }
    };
}
pub(crate) use socket;

/// Waiting, for what is read from and written to.
macro_rules! readiness {
    ($type:ty) => {
        impl $type {
            /// Waits until a read may go ahead. See [`Async::readable`](crate::fd::Async::readable).
            ///
            /// # Errors
            ///
            /// When the runtime has been shut down.
            ///
            /// # Cancel safety
            ///
            /// Safe: nothing is consumed.
            ///
            /// # Counterpart
            ///
            /// `loop.add_reader`.
            pub async fn readable(&self) -> std::io::Result<()> {
                self.io.readable().await
            }

            /// Waits until a write may go ahead. See [`Async::writable`](crate::fd::Async::writable).
            ///
            /// # Errors
            ///
            /// When the runtime has been shut down.
            ///
            /// # Cancel safety
            ///
            /// Safe: nothing is consumed.
            ///
            /// # Counterpart
            ///
            /// `loop.add_writer`.
            pub async fn writable(&self) -> std::io::Result<()> {
                self.io.writable().await
            }
        }
    };
}
pub(crate) use readiness;

/// The hop limit, for what sends IP packets.
macro_rules! ttl {
    ($type:ty) => {
        impl $type {
            /// The hop limit of its packets.
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn ttl(&self) -> std::io::Result<u32> {
                self.io.get_ref().ttl()
            }

            /// Sets the hop limit of its packets.
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn set_ttl(&self, ttl: u32) -> std::io::Result<()> {
                self.io.get_ref().set_ttl(ttl)
            }
        }
    };
}
pub(crate) use ttl;
