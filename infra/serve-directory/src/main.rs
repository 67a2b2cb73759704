//! The process: arguments in, a table of what is shared out, then answers until Ctrl-C.
#![expect(clippy::print_stdout, reason = "a command talks to its terminal")]

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use serve_directory::{Listening, Settings};
use sharing::ports::RateLimit;
use sharing::server::USUAL_LIMIT;

const USAGE: &str = "\
Shares Delta tables in directories by the open Delta Sharing protocol.

  serve-directory <share file or directory> [--port N] [--listen ADDRESS] [--url URL]
                  [--profiles DIRECTORY] [--requests-per-second N]

Without a port it takes a free one. Profiles are written into the working directory unless told otherwise.";

/// Threads that read files. Each has a heap of its own, which keeps what it once needed: with hundreds of them, memory
/// would grow with the number of clients.
const FILE_THREADS_MAX: usize = 2;

fn main() -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(FILE_THREADS_MAX).build();
    match runtime {
        Ok(runtime) => runtime.block_on(serve()),
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> ExitCode {
    tracing_subscriber::fmt().json().flatten_event(true).with_target(false).with_writer(std::io::stderr).init();
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let Some(settings) = parse(&arguments) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<Settings> {
    let (source, mut rest) = arguments.split_first().filter(|(source, _)| !source.starts_with('-'))?;
    let mut settings = Settings {
        source: PathBuf::from(source),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port: 0,
        url: None,
        profiles: PathBuf::from("."),
        rate_limit: USUAL_LIMIT,
    };
    while let [flag, value, after @ ..] = rest {
        match flag.as_str() {
            "--port" => settings.port = value.parse().ok()?,
            "--url" => {
                settings.url = Some(value.clone())
                    .filter(|url| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)))?
                    .into()
            }
            "--listen" => settings.address = value.parse().ok()?,
            "--requests-per-second" => {
                let per_second = value.parse().ok().filter(|number| *number > 0)?;
                settings.rate_limit = RateLimit { burst: per_second, per_second };
            }
            "--profiles" => settings.profiles = PathBuf::from(value),
            _ => return None,
        }
        rest = after;
    }
    rest.is_empty().then_some(settings)
}

async fn run(settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    let listening = Listening::start(settings).await?;
    println!("Serving {} tables at {}", listening.tables.len(), listening.endpoint);
    listening.tables.iter().for_each(|table| println!("  {table}"));
    listening.skipped.iter().for_each(|skipped| println!("not shared: {skipped}"));
    for profile in &listening.profiles {
        println!("profile: {}", profile.display());
    }
    println!("Ctrl-C ends it.");
    let end = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    Ok(listening.serve(end).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Settings> {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn arguments_are_read_or_the_usage_is_shown() {
        let settings = parsed("shares.yaml --port 8080 --listen 127.0.0.2 --url http://h:1 --profiles p").unwrap();
        assert_eq!(settings.url.as_deref(), Some("http://h:1"));
        assert_eq!((settings.port, settings.address.to_string()), (8080, "127.0.0.2".to_owned()));
        assert_eq!((settings.source, settings.profiles), (PathBuf::from("shares.yaml"), PathBuf::from("p")));
        for wrong in [
            "",
            "--port 1",
            "d --port",
            "d --port x",
            "d --listen here",
            "d e",
            "d --what 1",
            "d --url httpx://host:8080",
            "d --requests-per-second 0",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
