//! The default exception handler: one message on standard error.

use std::fmt;
use std::io::Write;

use heist_core::error::{ExceptionContext, ExceptionKind};

/// Writes one message, in one piece.
pub(crate) fn print(exception: &ExceptionContext<'_>) {
    let text = format!("{}\n", Message(exception));
    // Where standard error is closed there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// An exception in asyncio's words.
struct Message<'a>(&'a ExceptionContext<'a>);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(headline(self.0.kind()))?;
        if let Some((_, name)) = self.0.task() {
            write!(f, "\n  task: {name:?}")?;
            if let Some(location) = self.0.location() {
                write!(f, " spawned at {location}")?;
            }
        }
        let label = if self.0.payload().is_some() {
            "panic"
        } else {
            "cause"
        };
        write!(f, "\n  {label}: {}", self.0.message())
    }
}

fn headline(kind: ExceptionKind) -> &'static str {
    match kind {
        ExceptionKind::NeverRetrieved => "Task exception was never retrieved",
        ExceptionKind::Callback => "Exception in callback",
        ExceptionKind::Drop => "Exception in a destructor",
        ExceptionKind::Waker => "Exception in a waker",
        ExceptionKind::Hook => "Exception in a hook of the runtime",
        _ => "The runtime reports a problem",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_what_happened_and_the_cause() {
        let payload: Box<dyn std::any::Any + Send> = Box::new("boom");
        let exception =
            ExceptionContext::new(ExceptionKind::Callback, "boom").with_payload(&*payload);
        assert_eq!(
            Message(&exception).to_string(),
            "Exception in callback\n  panic: boom"
        );
        let exception =
            ExceptionContext::new(ExceptionKind::Runtime, "cannot start another thread");
        let text = "The runtime reports a problem\n  cause: cannot start another thread";
        assert_eq!(Message(&exception).to_string(), text);
    }
}
