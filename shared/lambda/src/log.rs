//! Log lines: one JSON object a line, with the fields of the event and of every span around it side by side.

use std::fmt;
use std::io::Write;
use std::panic::PanicHookInfo;

use delivery::ports::Clock;
use lambda_runtime::tracing::subscriber::layer::{Context, Layer, SubscriberExt};
use lambda_runtime::tracing::subscriber::registry::{LookupSpan, Registry};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock::SystemClock;

/// Crates whose lines below a warning are of no use to an operator.
const CHATTY: [&str; 6] = ["aws_", "hyper", "rustls", "object_store", "lambda_runtime", "reqwest"];

/// The runtime logs every error that a handler returns once more, as `Debug` text and without fields.
const REPEATED: &str = "lambda_runtime::layers::panic";

/// Sends log lines to standard output and makes a panic one of them. Later calls change nothing.
pub fn start_logging() {
    let lines = Lines { clock: SystemClock, write: write_stdout };
    if tracing::subscriber::set_global_default(Registry::default().with(lines)).is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

fn write_stdout(line: &[u8]) {
    // A line that cannot be written cannot be reported either.
    let _ = std::io::stdout().lock().write_all(line);
}

/// A panic's text may hold what must not be logged, so only its place is.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(panic.location = place, "the function panicked");
}

struct Lines<C, W> {
    clock: C,
    write: W,
}

fn is_wanted(metadata: &Metadata<'_>) -> bool {
    let chatty = CHATTY.iter().any(|name| metadata.target().starts_with(name));
    let least = if chatty { Level::WARN } else { Level::INFO };
    *metadata.level() <= least && metadata.target() != REPEATED
}

/// The fields of a span, kept with it.
struct Fields(Map<String, Value>);

impl<S, C, W> Layer<S> for Lines<C, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    C: Clock + 'static,
    W: Fn(&[u8]) + Send + Sync + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(Map::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !is_wanted(event.metadata()) {
            return;
        }
        let mut line = Fields(Map::new());
        line.0.insert("timestamp".to_owned(), self.clock.now().to_string().into());
        line.0.insert("level".to_owned(), event.metadata().level().as_str().into());
        event.record(&mut line);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(Fields(fields)) = span.extensions().get::<Fields>() {
                for (name, value) in fields {
                    line.0.entry(name.as_str()).or_insert_with(|| value.clone());
                }
            }
        }
        let mut bytes = Value::Object(line.0).to_string().into_bytes();
        bytes.push(b'\n');
        (self.write)(&bytes);
    }
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::RefCell;
    use std::sync::OnceLock;

    use delivery::timestamp::Timestamp;

    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::parse("2026-09-01T06:07:30Z").unwrap()
        }
    }

    thread_local! {
        static LINES: RefCell<Vec<Value>> = const { RefCell::new(Vec::new()) };
    }

    /// What is logged on the thread of one test.
    pub(crate) struct Captured;

    impl Captured {
        /// The lines so far, and none of them a second time.
        pub(crate) fn take(&self) -> Vec<Value> {
            LINES.take()
        }
    }

    /// Captures what this thread logs from here on. One subscriber serves all threads for good: with one per test,
    /// tracing may remember from a test that captures nothing that nobody wants an event.
    pub(crate) fn capture() -> Captured {
        static STARTED: OnceLock<()> = OnceLock::new();
        STARTED.get_or_init(|| {
            let write = |line: &[u8]| LINES.with_borrow_mut(|lines| lines.push(serde_json::from_slice(line).unwrap()));
            let subscriber = Registry::default().with(Lines { clock: Stopped, write });
            tracing::subscriber::set_global_default(subscriber).unwrap();
            tracing::callsite::rebuild_interest_cache();
        });
        LINES.take();
        Captured
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::testing::capture;

    #[test]
    fn a_line_holds_the_fields_of_the_event_and_of_its_spans() {
        let captured = capture();
        let outer = tracing::info_span!("outer", step = "StageRun", connector.id = tracing::field::Empty);
        outer.record("connector.id", "acme-token");
        outer.in_scope(|| tracing::info_span!("inner", run.id = "r-1").in_scope(|| tracing::warn!(rows = 3, "slow")));
        let expected = json!({
            "timestamp": "2026-09-01T06:07:30Z", "level": "WARN", "message": "slow", "rows": 3,
            "run.id": "r-1", "step": "StageRun", "connector.id": "acme-token",
        });
        assert_eq!(captured.take(), [expected]);
    }

    #[test]
    fn chatter_and_the_runtimes_repetition_are_left_out() {
        let captured = capture();
        tracing::debug!("too fine");
        tracing::info!(target: "aws_config::profile", "chatter");
        tracing::error!(target: "lambda_runtime::layers::panic", "Reported");
        tracing::warn!(target: "aws_config::profile", "worth a line");
        let messages: Vec<_> = captured.take().iter().map(|line| line["message"].clone()).collect();
        assert_eq!(messages, ["worth a line"]);
    }
}
