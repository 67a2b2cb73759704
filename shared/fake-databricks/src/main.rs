//! The fake workspace as a program: prints its URL as one line of JSON and runs until it is ended.
//!
//! `fake-databricks [--port N] [--page-items N] [--empty-pages] [--already-exists-400] [--statement-polls N]
//! [--catalog NAME --location s3://bucket/prefix] [--logs http://storage]`

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use delivery::ports::Clock;
use delivery::timestamp::Timestamp;
use fake_databricks::logs::StoredLogs;
use fake_databricks::{AlreadyExists, FakeDatabricks, Options, ReadyCatalog, Switch};

struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        i64::try_from(micros).ok().and_then(Timestamp::from_micros).unwrap_or(Timestamp::EPOCH)
    }
}

/// Reads the arguments: options and port.
fn options(arguments: impl Iterator<Item = String>) -> Result<(Options, u16), String> {
    let mut arguments = arguments;
    let mut options = Options::new(Arc::new(MachineClock));
    let (mut port, mut catalog, mut location) = (0, None, None);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--port" => port = number(&value()?)?,
            "--page-items" => options.page_items = number(&value()?)?,
            "--statement-polls" => options.statement_polls = number(&value()?)?,
            "--empty-pages" => options.empty_pages = Switch::On,
            "--already-exists-400" => options.already_exists = AlreadyExists::BadRequest,
            "--logs" => options.logs = Some(Arc::new(StoredLogs::new(&value()?))),
            "--catalog" => catalog = Some(value()?),
            "--location" => location = Some(value()?),
            other => return Err(format!("{other} is not an option")),
        }
    }
    options.catalog = match (catalog, location) {
        (Some(name), Some(location_url)) => Some(ReadyCatalog { name, location_url }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err("--catalog and --location go together".to_owned()),
    };
    Ok((options, port))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text} is not a number that fits"))
}

async fn run(options: Options, port: u16) -> std::io::Result<()> {
    let fake = FakeDatabricks::start_on(options, port).await?;
    writeln!(std::io::stdout(), "{}", serde_json::json!({"url": fake.url()}))?;
    std::io::stdout().flush()?;
    fake.ended().await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match options(std::env::args().skip(1)) {
        Ok((options, port)) => run(options, port).await.map_err(|error| error.to_string()),
        Err(message) => Err(message),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "fake-databricks: {message}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(Options, u16), String> {
        options(line.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn arguments_are_read_and_others_refused() {
        let (options, port) = read("--port 80 --empty-pages --catalog main --location s3://b/c").unwrap();
        let catalog = ReadyCatalog { name: "main".to_owned(), location_url: "s3://b/c".to_owned() };
        assert_eq!((port, options.empty_pages, options.catalog), (80, Switch::On, Some(catalog)));
        for wrong in ["--port", "--port x", "--catalog main", "--what"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
