//! Faults on demand: one call of a fake fails, before or after it did its work.

use std::fmt;
use std::sync::Mutex;

use delivery::ports::{PortError, PortErrorKind};

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strikes {
    /// Before the call: nothing happened.
    Before,
    /// After the call: it happened, and its answer is lost.
    After,
}

/// Counts the calls of a fake, and fails the one that it was told to.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    calls: Vec<&'static str>,
    fault: Option<(usize, PortErrorKind, Strikes)>,
    meanwhile: Option<(usize, Box<dyn FnOnce() + Send>)>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("calls", &self.calls).field("fault", &self.fault).finish_non_exhaustive()
    }
}

impl Faults {
    /// Fails the call with this number, counted from 0 over the life of the fake. Later calls are well again.
    pub fn fail_call(&self, number: usize, kind: PortErrorKind, strikes: Strikes) {
        self.with(|inner| inner.fault = Some((number, kind, strikes)));
    }

    /// Takes back a fault that has not struck.
    pub fn heal(&self) {
        self.with(|inner| inner.fault = None);
    }

    /// Lets others work before the call with this number, counted from 0 over the life of the fake: what a caller does
    /// that was held up there meets what they did.
    pub fn meanwhile(&self, number: usize, act: impl FnOnce() + Send + 'static) {
        self.with(|inner| inner.meanwhile = Some((number, Box::new(act))));
    }

    /// The names of the calls so far, in order.
    #[must_use]
    pub fn calls(&self) -> Vec<&'static str> {
        self.with(|inner| inner.calls.clone())
    }

    /// Makes one call.
    ///
    /// # Errors
    ///
    /// Returns the fault, if this call is the one that fails.
    pub fn call<T>(&self, name: &'static str, act: impl FnOnce() -> Result<T, PortError>) -> Result<T, PortError> {
        let (fault, meanwhile) = self.with(|inner| {
            let number = inner.calls.len();
            inner.calls.push(name);
            let fault = inner.fault.filter(|(failing, ..)| *failing == number);
            let meanwhile = inner.meanwhile.take_if(|(held, _)| *held == number);
            (fault, meanwhile)
        });
        if let Some((_, act)) = meanwhile {
            act();
        }
        match fault {
            Some((_, kind, Strikes::Before)) => Err(PortError::new(kind, name, "injected before the call")),
            Some((_, kind, Strikes::After)) => {
                act()?;
                Err(PortError::new(kind, name, "injected after the call"))
            }
            None => act(),
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
