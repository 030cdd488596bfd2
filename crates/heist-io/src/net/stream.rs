//! What all byte streams have in common, as a macro: their types share no trait that could carry it.

/// For a `$stream` with a field `io: Async<$std>`.
macro_rules! byte_stream {
    ($stream:ident, $std:ty) => {
        impl $stream {
            pub(crate) fn from_async(io: Async<$std>) -> Self {
                Self { io }
            }

            /// Waits until a read may succeed, or the other side has closed.
            ///
            /// # Errors
            ///
            /// If the runtime is gone.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            pub async fn readable(&self) -> io::Result<()> {
                self.io.readable().await
            }

            /// Waits until a write may succeed.
            ///
            /// # Errors
            ///
            /// If the runtime is gone.
            ///
            /// # Cancel safety
            ///
            /// Nothing is lost.
            pub async fn writable(&self) -> io::Result<()> {
                self.io.writable().await
            }

            /// Reads what is there, without waiting.
            ///
            /// # Errors
            ///
            /// `WouldBlock` if nothing is; what the system says.
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                self.io.try_io(Interest::Readable, |mut io| io.read(buffer))
            }

            /// Writes what fits, without waiting.
            ///
            /// # Errors
            ///
            /// `WouldBlock` if nothing does; what the system says.
            pub fn try_write(&self, data: &[u8]) -> io::Result<usize> {
                self.io.try_io(Interest::Writable, |io| sys::send(io, data))
            }

            /// Closes one direction, or both.
            ///
            /// # Errors
            ///
            /// What the system says, such as `NotConnected`.
            pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
                self.io.get_ref().shutdown(how)
            }

            /// The error that is pending on the socket, which is taken by this.
            ///
            /// # Errors
            ///
            /// What the system says.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.io.get_ref().take_error()
            }

            /// Two halves that can be moved to different tasks. Dropping the write half closes that direction.
            pub fn into_split(self) -> (OwnedReadHalf<Self>, OwnedWriteHalf<Self>) {
                crate::net::split::split(self)
            }

            /// The standard library's socket, in non-blocking mode.
            ///
            /// # Errors
            ///
            /// None today.
            pub fn into_std(self) -> io::Result<$std> {
                self.io.into_inner()
            }

            pub(crate) fn poll_recv(
                &self,
                cx: &mut Context<'_>,
                wanted: usize,
                mut f: impl FnMut(&$std) -> io::Result<usize>,
            ) -> Poll<io::Result<usize>> {
                let short = |moved: &usize| 0 < *moved && *moved < wanted;
                self.io.poll_run(cx, Interest::Readable, &mut f, short)
            }

            pub(crate) fn poll_send(
                &self,
                cx: &mut Context<'_>,
                wanted: usize,
                mut f: impl FnMut(&$std) -> io::Result<usize>,
            ) -> Poll<io::Result<usize>> {
                self.io
                    .poll_run(cx, Interest::Writable, &mut f, |moved| *moved < wanted)
            }
        }

        impl AsyncRead for &$stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.poll_recv(cx, buffer.len(), |mut io| io.read(buffer))
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                let wanted = buffers.iter().map(|buffer| buffer.len()).sum();
                self.poll_recv(cx, wanted, |mut io| io.read_vectored(buffers))
            }
        }

        impl AsyncWrite for &$stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.poll_send(cx, data.len(), |io| sys::send(io, data))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let wanted = data.iter().map(|data| data.len()).sum();
                self.poll_send(cx, wanted, |io| sys::send_vectored(io, data))
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                match self.shutdown(Shutdown::Write) {
                    // The other side was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                        Poll::Ready(Ok(()))
                    }
                    done => Poll::Ready(done),
                }
            }
        }

        impl AsyncRead for $stream {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_read(cx, buffer)
            }

            fn poll_read_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffers: &mut [IoSliceMut<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_read_vectored(cx, buffers)
            }
        }

        impl AsyncWrite for $stream {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[u8],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_write(cx, data)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                data: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                Pin::new(&mut &*self).poll_write_vectored(cx, data)
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut &*self).poll_flush(cx)
            }

            fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Pin::new(&mut &*self).poll_close(cx)
            }
        }

        impl Halves for $stream {
            fn close_write(&self) {
                // There is nobody to tell.
                let _ = self.shutdown(Shutdown::Write);
            }
        }

        source_of_std!($stream, $std, Ready::READABLE | Ready::WRITABLE);
    };
}

/// Conversions between a socket of ours, with a field `io`, and the standard library's.
macro_rules! source_of_std {
    ($socket:ident, $std:ty, $ready:expr) => {
        impl TryFrom<$std> for $socket {
            type Error = io::Error;

            /// Puts the socket into non-blocking mode and registers it with the current runtime.
            fn try_from(socket: $std) -> io::Result<Self> {
                sys::set_nonblocking(&socket)?;
                Ok(Self {
                    io: Async::assume(socket, $ready)?,
                })
            }
        }

        #[cfg(unix)]
        impl std::os::fd::AsFd for $socket {
            fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
                self.io.get_ref().as_fd()
            }
        }

        #[cfg(unix)]
        impl std::os::fd::AsRawFd for $socket {
            fn as_raw_fd(&self) -> std::os::fd::RawFd {
                self.io.get_ref().as_raw_fd()
            }
        }

        #[cfg(unix)]
        impl std::os::fd::IntoRawFd for $socket {
            /// Takes the socket out of its runtime.
            fn into_raw_fd(self) -> std::os::fd::RawFd {
                match self.io.into_inner() {
                    Ok(socket) => std::os::fd::IntoRawFd::into_raw_fd(socket),
                    Err(_) => unreachable!("leaving the reactor does not fail"),
                }
            }
        }

        #[cfg(windows)]
        impl std::os::windows::io::AsSocket for $socket {
            fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
                self.io.get_ref().as_socket()
            }
        }
    };
}
