//! Where panics end: every export's body is an argument of [`guard`] or [`or`].

use super::status::{EXPERTILE_INTERNAL, EXPERTILE_OK, Failure};
use super::text;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs an export's body: its failure becomes the thread's last error and a status.
pub(super) fn guard(body: impl FnOnce() -> Result<(), Failure>) -> i32 {
    // After a panic nothing is looked at but the registry, whose lock ignores poison.
    let kept = AssertUnwindSafe(|| match body() {
        Ok(()) => EXPERTILE_OK,
        Err(failure) => {
            text::keep(format_args!("{failure}"));
            failure.status()
        }
    });
    catch_unwind(kept).unwrap_or_else(|payload| {
        text::keep(format_args!("expertile: internal error: {}", message(&*payload)));
        // Its drop is not this crate's code and may panic too.
        std::mem::forget(payload);
        EXPERTILE_INTERNAL
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "a panic without a text",
    }
}

/// Runs the body of an export that has no status.
pub(super) fn or<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        fallback
    })
}
