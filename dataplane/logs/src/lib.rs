//! The log of a process: standard error, for people or as JSON, and never a flood.
//!
//! Owns the subscriber and its options. A place in the code that writes more than [`LINE_COUNT_MAX`] lines in any
//! [`WINDOW`] is held back; how much was, and what it was like, is said once the window has passed, by a thread that
//! sleeps meanwhile. What the filter takes out counts for nothing. A shard writes no log; this never runs on one.
//!
//! ```text
//! event -> filter (TRUNKLINE_LOG) -> limit, by callsite -> standard error
//!                                      '-> held back: count, first line -> said after the window
//! ```

mod limit;

use clap::{Args, ValueEnum};
use limit::{HeldBack, Limit, Line};
use std::io::{self, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

pub use limit::{LINE_COUNT_MAX, WINDOW};

/// Lines about lines that were held back have this target. They are at most one per callsite and window, so they are
/// not limited themselves.
const TARGET: &str = "logs";

/// How often it is looked whether a window has passed.
const LOOK: Duration = Duration::from_secs(1);

/// How a process logs.
#[derive(Clone, Debug, Args)]
#[group(skip)]
pub struct Options {
    /// How the log is written
    #[arg(long, env = "TRUNKLINE_LOG_FORMAT", value_name = "FORM", default_value = "human")]
    pub log: Form,

    /// Short for `--log json`
    #[arg(long)]
    pub log_json: bool,

    /// What is logged: error, warn, info, debug, trace, or by room as in `info,push=debug`
    #[arg(long, env = "TRUNKLINE_LOG", value_name = "FILTER", default_value = "info")]
    pub log_filter: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// Lines for people, in colours on a terminal.
    Human,
    /// One JSON object a line.
    Json,
}

/// The log of this process. When it is dropped, what is still held back is said.
#[derive(Debug)]
pub struct Log {
    /// Closed, it ends the thread.
    running: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the log of this process, once.
///
/// # Errors
/// When the filter cannot be read, or a log is there already.
pub fn start(options: &Options) -> Result<Log, String> {
    let form = if options.log_json { Form::Json } else { options.log };
    let calm = Calm::default();
    let (subscriber, colours) = (calm.clone(), io::stderr().is_terminal());
    subscriber.subscriber(form, &options.log_filter, colours, io::stderr)?.try_init().map_err(|e| e.to_string())?;
    let (running, stopped) = channel::<()>();
    let watch = move || {
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            calm.say(calm.lock().due(Instant::now()));
        }
        calm.say(calm.lock().rest());
    };
    let thread = thread::Builder::new().name("logs".into()).spawn(watch).map_err(|error| error.to_string())?;
    Ok(Log { running: Some(running), thread: Some(thread) })
}

impl Drop for Log {
    fn drop(&mut self) {
        self.running = None;
        if let Some(thread) = self.thread.take() {
            // It could only have failed to write a last line.
            let _said = thread.join();
        }
    }
}

/// The limit as a layer: an event beyond it reaches no writer.
#[derive(Clone, Default)]
struct Calm(Arc<Mutex<Limit>>);

impl Calm {
    fn lock(&self) -> std::sync::MutexGuard<'_, Limit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, held_back: Vec<HeldBack>) {
        for HeldBack { count, target, line, at } in held_back {
            tracing::warn!(target: TARGET, count, of = target, line, at, "lines like this one were held back");
        }
    }

    fn subscriber<W>(self, form: Form, filter: &str, colours: bool, writer: W) -> Result<impl Subscriber, String>
    where
        W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let unreadable = |error: &dyn std::fmt::Display| format!("--log-filter {filter}: {error}");
        // Whatever else is wanted: that lines are missing is not left out.
        let always = "logs=warn".parse().map_err(|error| unreadable(&error))?;
        let filter = EnvFilter::try_new(filter).map_err(|error| unreadable(&error))?.add_directive(always);
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        let lines = match form {
            Form::Human => lines.with_ansi(colours).with_target(false).boxed(),
            Form::Json => lines.json().boxed(),
        };
        Ok(tracing_subscriber::registry().with(lines).with(self).with(filter))
    }
}

impl<S: Subscriber> Layer<S> for Calm {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        metadata.target() == TARGET || self.lock().admit(metadata.callsite(), &Line(event), Instant::now())
    }
}

#[cfg(test)]
mod tests;
