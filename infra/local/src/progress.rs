//! Tells a person what happens: one line per stage, with the time it took.
//!
//! The only module that writes to the terminal. On a terminal the running stage is shown live; into
//! a file or a pipe goes one line when a stage ends, and one now and then while it lasts.

use std::{
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Where progress goes.
#[derive(Debug, Clone)]
pub struct Progress {
    screen: Arc<Screen>,
}

#[derive(Debug)]
struct Screen {
    live: bool,
    silent: bool,
    pen: Mutex<()>,
}

/// A stage that is running. It must be ended with [`Stage::done`]; dropped, it counts as failed.
#[derive(Debug)]
pub struct Stage {
    screen: Arc<Screen>,
    shared: Arc<Mutex<StageText>>,
    started: Instant,
    ticker: tokio::task::JoinHandle<()>,
    ended: bool,
}

#[derive(Debug)]
struct StageText {
    name: String,
    detail: String,
}

const TICK: Duration = Duration::from_millis(120);
const QUIET_TICKS: u32 = 250;
const WIDTH: usize = 100;

impl Progress {
    /// Progress on standard error.
    #[must_use]
    pub fn new() -> Self {
        Self::with(std::io::stderr().is_terminal(), false)
    }

    /// No progress at all, for tests.
    #[must_use]
    pub fn silent() -> Self {
        Self::with(false, true)
    }

    fn with(live: bool, silent: bool) -> Self {
        Self { screen: Arc::new(Screen { live, silent, pen: Mutex::default() }) }
    }

    /// Says whether a person watches.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.screen.live
    }

    /// Begins a stage. Needs a running tokio runtime.
    #[must_use]
    pub fn stage(&self, name: &str) -> Stage {
        let text = StageText { name: name.to_owned(), detail: String::new() };
        let shared = Arc::new(Mutex::new(text));
        let started = Instant::now();
        let ticker = tokio::spawn(tick(self.screen.clone(), shared.clone(), started));
        Stage { screen: self.screen.clone(), shared, started, ticker, ended: false }
    }

    /// Says something that is no stage.
    pub fn say(&self, text: &str) {
        self.screen.line(text);
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// Shows what the stage is at.
    pub fn detail(&self, detail: &str) {
        lock(&self.shared).detail = detail.to_owned();
    }

    /// Ends the stage well.
    pub fn done(self) {
        self.done_with("");
    }

    /// Ends the stage well, with a remark.
    pub fn done_with(mut self, remark: &str) {
        lock(&self.shared).detail = remark.to_owned();
        self.end('✓');
    }

    fn end(&mut self, sign: char) {
        self.ended = true;
        self.ticker.abort();
        let text = lock(&self.shared);
        let seconds = self.started.elapsed().as_secs_f64();
        let remark = if text.detail.is_empty() { String::new() } else { format!("  {}", text.detail) };
        self.screen.line(&format!("{sign} {:<44} {seconds:>6.1} s{remark}", text.name));
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.ended {
            self.end('✗');
        }
    }
}

impl Screen {
    fn line(&self, text: &str) {
        let clear = if self.live { "\r\x1b[2K" } else { "" };
        self.write(&format!("{clear}{text}\n"));
    }

    fn write(&self, text: &str) {
        if self.silent {
            return;
        }
        let _pen = lock(&self.pen);
        let mut screen = std::io::stderr();
        // A screen that cannot be written to is nobody's error.
        let _ = screen.write_all(text.as_bytes()).and_then(|()| screen.flush());
    }
}

async fn tick(screen: Arc<Screen>, shared: Arc<Mutex<StageText>>, started: Instant) {
    let mut signs = ['⠋', '⠙', '⠸', '⠴', '⠦', '⠇'].into_iter().cycle();
    let mut ticks = 0_u32;
    loop {
        tokio::time::sleep(TICK).await;
        ticks += 1;
        let (name, detail) = {
            let text = lock(&shared);
            (text.name.clone(), text.detail.clone())
        };
        let seconds = started.elapsed().as_secs();
        if screen.live {
            let sign = signs.next().unwrap_or(' ');
            let line: String = format!("{sign} {name:<44} {seconds:>4} s    {detail}").chars().take(WIDTH).collect();
            screen.write(&format!("\r\x1b[2K{line}"));
        } else if ticks.is_multiple_of(QUIET_TICKS) {
            screen.line(&cut(&format!("… {name:<44} {seconds:>4} s    {detail}")));
        }
    }
}

fn cut(line: &str) -> String {
    line.chars().take(WIDTH).collect()
}

fn lock<T>(guarded: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a command's result to standard output.
pub fn result(text: &str) {
    // A closed pipe is the reader's choice.
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Takes colours and other terminal codes out of a program's output.
#[must_use]
pub fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            // A code ends with its first letter.
            for inner in characters.by_ref() {
                if inner.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(without_colours("\u{1b}[1m\u{1b}[92m Compiling\u{1b}[0m x"), " Compiling x");
    }

    #[tokio::test]
    async fn a_stage_can_be_ended_and_dropped() {
        let progress = Progress::silent();
        let stage = progress.stage("one");
        stage.detail("half");
        stage.done();
        drop(progress.stage("two"));
    }
}
