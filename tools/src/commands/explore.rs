//! `mapleaf explore`: a store page by page, in the terminal.

use crate::cli::{FormatArgs, LogArg, order};
use crate::explorer::view::draw;
use crate::explorer::{Explorer, Next};
use crate::failure::{Failure, Outcome, Result};
use crate::store::open_to_read;
use crate::terminal::{Colors, When};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The arguments of explore.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "From the tables down to branches, leaves, entries and bytes; at the right how space is used now, and who reads, \
                  looked at once a second. What is walked through is one snapshot, which is among the readers and keeps its pages \
                  until r lets it go for the newest one.\n\n\
                  Keys: arrows, PgUp, PgDn, Home, End (or h j k l g G); Enter or right goes in, left or Esc out; b shows the page \
                  byte by byte; r takes the newest state; q ends.\n\n\
                  Examples:\n  mapleaf explore app.maple"
)]
pub struct Args {
    /// The store
    pub file: PathBuf,
    /// How keys and values are shown
    #[command(flatten)]
    pub formats: FormatArgs,
    /// Colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto, display_order = order::COLOR)]
    color: When,
    #[command(flatten)]
    log: LogArg,
}

/// How often the panels at the right are looked at anew.
const LIVE: Duration = Duration::from_secs(1);

/// Runs it.
pub fn run(args: &Args) -> Result {
    let db = open_to_read(&args.file, args.log)?;
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let instead = "\"mapleaf tree\", \"mapleaf map\" and \"mapleaf page\" write to anything";
        return Err(Failure::Usage(format!("explore needs a terminal; {instead}")));
    }
    let name = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let explorer = Explorer::new(db, name, args.formats.clone())?;
    let mut terminal = ratatui::try_init().map_err(of_terminal)?;
    let ended = walk(&mut terminal, explorer, Colors::of_output(args.color)).map_err(of_terminal);
    ratatui::restore();
    ended.map(|()| Outcome::Fine)
}

fn of_terminal(error: io::Error) -> Failure {
    Failure::elsewhere("terminal", error.to_string())
}

fn walk(terminal: &mut DefaultTerminal, mut explorer: Explorer, colors: Colors) -> io::Result<()> {
    let mut looked = Instant::now();
    loop {
        terminal.draw(|frame| draw(frame, &mut explorer, colors))?;
        if event::poll(LIVE.saturating_sub(looked.elapsed()))?
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && explorer.press(key) == Next::Quit
        {
            return Ok(());
        }
        if looked.elapsed() >= LIVE {
            explorer.refresh();
            looked = Instant::now();
        }
    }
}
