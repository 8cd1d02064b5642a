//! What a test plans for the calls of its own thread: failures, losses, and a list of them.

use std::cell::{Cell, RefCell};

use super::context::Context;
use super::driver::{Driver, with_context_stack};
use super::error::{Code, Result, refuse};
use super::table::Handle;

/// Why a call of a lost context is refused.
pub(crate) const LOST: &str = "the context is lost, errors stay";

thread_local! {
    static RULES: RefCell<Vec<Rule>> = const { RefCell::new(Vec::new()) };
    static FAILED: Cell<u64> = const { Cell::new(0) };
    static TRACE: RefCell<Trace> = const { RefCell::new(Trace { on: false, calls: Vec::new() }) };
}

struct Trace {
    on: bool,
    calls: Vec<&'static str>,
}

/// Which calls fail, and how.
pub(crate) struct Rule {
    /// Of every name without one.
    pub(crate) name: Option<String>,
    /// Calls that pass before the first that fails.
    pub(crate) skip: u64,
    /// Calls that fail then.
    pub(crate) count: u64,
    pub(crate) code: Code,
    /// Whether the call's context is lost with it.
    pub(crate) loses: bool,
}

impl Rule {
    /// Counts a call; whether it is one that fails.
    fn meets(&mut self, symbol: &str) -> bool {
        if self.name.as_ref().is_some_and(|name| name != symbol) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let fails = self.count > 0;
        self.count = self.count.saturating_sub(1);
        fails
    }
}

/// Adds a rule for this thread.
pub(crate) fn plan(rule: Rule) {
    RULES.with_borrow_mut(|rules| rules.push(rule));
}

/// Forgets this thread's rules and counts its failures from 0 again. What is lost stays lost.
pub(crate) fn clear() {
    RULES.with_borrow_mut(Vec::clear);
    FAILED.set(0);
}

/// The calls of this thread that failed by a rule.
pub(crate) fn failed() -> u64 {
    FAILED.get()
}

/// Begins an empty list of this thread's calls, or ends it.
pub(crate) fn trace(on: bool) {
    TRACE.with_borrow_mut(|trace| {
        trace.on = on;
        if on {
            trace.calls.clear();
        }
    });
}

/// The list, a name a line.
pub(crate) fn traced() -> String {
    TRACE.with_borrow(|trace| trace.calls.iter().map(|call| format!("{call}\n")).collect())
}

/// Notes a call of this thread. Of the rules that it meets the first that was given decides: the code,
/// and whether the context is lost.
fn note(symbol: &'static str) -> Option<(Code, bool)> {
    TRACE.with_borrow_mut(|trace| {
        if trace.on {
            trace.calls.push(symbol);
        }
    });
    RULES.with_borrow_mut(|rules| {
        let mut decided = None;
        for rule in rules {
            if rule.meets(symbol) {
                decided.get_or_insert((rule.code, rule.loses));
            }
        }
        decided
    })
}

impl Driver {
    /// The code that a rule of the thread has for this call.
    pub(crate) fn planned(&mut self, symbol: &'static str) -> Option<Code> {
        let (code, loses) = note(symbol)?;
        FAILED.set(FAILED.get() + 1);
        // HIP finds its context at the beginning of a call.
        if loses
            && self.enter().is_ok()
            && let Some(context) = current().and_then(|context| self.contexts.get_mut(context).ok())
        {
            context.fatal.get_or_insert(code);
        }
        Some(code)
    }

    /// The error that stays with a device: that of one of its contexts, also of one that is gone.
    pub(crate) fn lost(&self, device: usize) -> Option<Code> {
        let mut contexts = self.contexts.iter().map(|(_, context)| context);
        let fatal = |context: &Context| context.fatal.filter(|_| context.device == device);
        self.devices[device].lost.or_else(|| contexts.find_map(fatal))
    }

    /// Refuses work where the current context is lost, whatever objects the call names.
    pub(crate) fn refuse_lost(&self, symbol: &str) -> Result<()> {
        let context = current().and_then(|context| self.contexts.get(context).ok());
        match context.and_then(|context| context.fatal) {
            Some(code) if !asks_only(symbol) => refuse(code, LOST),
            _ => Ok(()),
        }
    }
}

/// The handle of the thread's current context.
fn current() -> Option<Handle> {
    with_context_stack(|stack| stack.last().copied())
}

/// Calls that use no context, or only say which one is current: they work with a lost one too.
fn asks_only(symbol: &str) -> bool {
    const NAMES: [&str; 13] = [
        "cuCtxDestroy_v2",
        "cuCtxGetCurrent",
        "cuCtxPopCurrent_v2",
        "cuCtxPushCurrent_v2",
        "cuCtxSetCurrent",
        "cuDevicePrimaryCtxGetState",
        "cuDevicePrimaryCtxRelease_v2",
        "cuDevicePrimaryCtxReset_v2",
        "cuDevicePrimaryCtxRetain",
        "cuDeviceTotalMem_v2",
        "hipGetDevice",
        "hipGetDeviceProperties",
        "hipGetStreamDeviceId",
    ];
    NAMES.contains(&symbol)
        || symbol.starts_with("cuDeviceGet")
        || symbol.starts_with("hipDeviceGet")
}
