//! The only reader of the system's clock.

use std::time::{SystemTime, UNIX_EPOCH};

use delivery::ports::Clock;
use delivery::timestamp::Timestamp;

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A machine whose clock is before 1970 or after 9999 counts as being in 1970.
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        i64::try_from(micros).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_run_backwards() {
        let (first, second) = (SystemClock.now(), SystemClock.now());
        assert!(Timestamp::parse("2025-01-01T00:00:00Z").unwrap() < first);
        assert!(first <= second);
    }
}
