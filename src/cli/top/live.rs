//! The terminal: threads for keys, samples and signals, and a loop that draws.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};

use super::draw::{self, Theme};
use super::figures::Figures;
use super::screen::{Next, Screen};
use super::window::{Sample, Window};
use crate::cli::output;
use crate::io::vital;

/// What the loop waits for.
enum Message {
    /// A key, or a terminal of another size.
    Terminal(Event),
    /// The terminal can't be read any more.
    Closed(io::Error),
    Answer(Box<Result<Figures, String>>),
    /// SIGTERM, SIGHUP or SIGINT.
    Signal,
}

/// The longest time that a terminal whose size changed without an event shows the old one.
const REDRAW: Duration = Duration::from_secs(5);

/// Shows the figures until it is ended. `first` is what the instance answered before the terminal was taken.
///
/// # Errors
/// The terminal can't be used, or no thread can be started; in words.
pub(super) fn run(
    config: PathBuf,
    instance: String,
    interval: Duration,
    first: Sample,
) -> Result<(), String> {
    let failed = |what: &str, error: &io::Error| format!("error: {what}: {error}");
    let (sender, receiver) = channel();
    signals(sender.clone()).map_err(|error| failed("signals", &error))?;
    let start = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let work = move || vital::guard("a thread of ringate top", work);
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| failed("threads", &error))
    };
    let samples = sender.clone();
    start("samples", Box::new(move || sample(&config, interval, first, &samples)))?;
    // It restores the terminal when a thread panics.
    let mut terminal = ratatui::try_init().map_err(|error| failed("the terminal can't be used", &error))?;
    let started = start("keys", Box::new(move || keys(&sender)));
    let ended = started.and_then(|_| {
        turn(&mut terminal, &receiver, &mut Screen::new(instance))
            .map_err(|error| failed("the terminal", &error))
    });
    let restored = ratatui::try_restore().map_err(|error| failed("the terminal can't be restored", &error));
    ended.and(restored)
}

fn turn(terminal: &mut DefaultTerminal, messages: &Receiver<Message>, screen: &mut Screen) -> io::Result<()> {
    let theme = Theme { is_colored: output::is_colored_on(&io::stdout()) };
    loop {
        terminal.draw(|frame| draw::draw(frame, screen, theme))?;
        let first = match messages.recv_timeout(REDRAW) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        for message in first.into_iter().chain(messages.try_iter()) {
            match message {
                Message::Terminal(Event::Key(key)) => {
                    if screen.press(key) == Next::End {
                        return Ok(());
                    }
                }
                Message::Terminal(_) => {}
                Message::Answer(answer) => screen.receive(*answer),
                Message::Signal => return Ok(()),
                Message::Closed(error) => return Err(error),
            }
        }
    }
}

/// Sends what the terminal has. Ends with the loop, or with the process.
fn keys(sender: &Sender<Message>) {
    loop {
        let (message, is_last) = match event::read() {
            Ok(event) => (Message::Terminal(event), false),
            Err(error) => (Message::Closed(error), true),
        };
        if sender.send(message).is_err() || is_last {
            return;
        }
    }
}

/// Sends figures, one interval after the other. An instance that is gone is tried again, by the config file as it is then.
fn sample(config: &std::path::Path, interval: Duration, first: Sample, sender: &Sender<Message>) {
    let mut before = Some(first);
    if let Some(first) = &before {
        let figures = Figures::of(Window::new(first, None));
        let _ = sender.send(Message::Answer(Box::new(Ok(figures))));
    }
    loop {
        let began = Instant::now();
        thread::sleep(interval);
        let answer = super::fetch(config);
        let figures = answer.map(|now| {
            let figures = Figures::of(Window::new(&now, before.as_ref()));
            before = Some(now);
            figures
        });
        if sender.send(Message::Answer(Box::new(figures))).is_err() {
            return;
        }
        // A slow instance is not asked more often than it can answer.
        thread::sleep(began.elapsed().saturating_sub(interval).min(interval));
    }
}

/// Announces the first signal that ends the process, in place of its effect.
fn signals(sender: Sender<Message>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    drop(entered);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        let _ = sender.send(Message::Signal);
    })?;
    Ok(())
}
