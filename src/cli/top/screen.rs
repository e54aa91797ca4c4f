//! What is on the screen, and what keys do to it. No terminal.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::figures::Figures;
use super::table::Order;
use super::views::View;

/// Rates of requests that are kept for the overview's chart.
const HISTORY: usize = 240;
/// Most characters of a filter.
const FILTER_CHARS: usize = 100;

/// The state of the screen.
#[derive(Debug)]
pub(super) struct Screen {
    /// Where the instance answers, in words.
    pub(super) instance: String,
    pub(super) view: View,
    /// What each view's table is sorted by.
    orders: [Order; View::ALL.len()],
    pub(super) filter: String,
    /// Whether keys write the filter.
    pub(super) is_editing: bool,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// Rows above the first one that is shown.
    offset: usize,
    /// Rows that there are, and that have room, when it was drawn last.
    rows: (usize, usize),
    pub(super) figures: Option<Figures>,
    /// Why there are no newer figures.
    pub(super) fault: Option<String>,
    /// Requests a second, the latest one last.
    pub(super) history: VecDeque<f64>,
}

/// What follows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    End,
}

impl Screen {
    pub(super) fn new(instance: String) -> Self {
        Self {
            instance,
            view: View::Overview,
            orders: View::ALL.map(View::order),
            filter: String::new(),
            is_editing: false,
            is_paused: false,
            shows_help: false,
            offset: 0,
            rows: (0, 0),
            figures: None,
            fault: None,
            history: VecDeque::new(),
        }
    }

    /// New figures, or why there are none. While it is paused the figures stay.
    pub(super) fn receive(&mut self, answer: Result<Figures, String>) {
        match answer {
            Ok(figures) => {
                self.fault = None;
                if self.is_paused && self.figures.is_some() {
                    return;
                }
                if let Some(rate) = figures.totals.requests_per_second {
                    self.history.push_back(rate);
                    self.history.drain(..self.history.len().saturating_sub(HISTORY));
                }
                self.figures = Some(figures);
            }
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// What the view's table is sorted by.
    pub(super) fn order(&self) -> Order {
        self.orders[self.index()]
    }

    fn index(&self) -> usize {
        View::ALL.iter().position(|view| *view == self.view).unwrap_or_default()
    }

    /// The first row to show of `rows`, of which `room` fit.
    pub(super) fn first_row(&mut self, rows: usize, room: usize) -> usize {
        self.rows = (rows, room);
        self.offset = self.offset.min(rows.saturating_sub(room));
        self.offset
    }

    /// A key was pressed.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::GoOn;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Next::End,
                KeyCode::Char('u') if self.is_editing => self.filter.clear(),
                _ => {}
            }
            return Next::GoOn;
        }
        if self.is_editing {
            self.edit(key.code);
            return Next::GoOn;
        }
        if self.shows_help && key.code != KeyCode::Char('q') {
            self.shows_help = false;
            return Next::GoOn;
        }
        self.command(key.code)
    }

    fn edit(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_editing = false,
            KeyCode::Esc => {
                self.is_editing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(char) if self.filter.chars().count() < FILTER_CHARS => self.filter.push(char),
            _ => {}
        }
    }

    fn command(&mut self, code: KeyCode) -> Next {
        let page = self.rows.1.max(1);
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Next::End,
            KeyCode::Char(digit @ '1'..='5') => self.show(digit as usize - '1' as usize),
            KeyCode::Tab => self.show(self.index() + 1),
            KeyCode::BackTab => self.show(self.index() + View::ALL.len() - 1),
            KeyCode::Right | KeyCode::Char('s') => self.sort(1),
            KeyCode::Left => self.sort(-1),
            KeyCode::Char('r') => {
                let at = self.index();
                self.orders[at].descending = !self.orders[at].descending;
            }
            KeyCode::Char('/') => self.is_editing = true,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Down | KeyCode::Char('j') => self.offset += 1,
            KeyCode::Up | KeyCode::Char('k') => self.offset = self.offset.saturating_sub(1),
            KeyCode::PageDown => self.offset += page,
            KeyCode::PageUp => self.offset = self.offset.saturating_sub(page),
            KeyCode::Home => self.offset = 0,
            KeyCode::End => self.offset = self.rows.0,
            _ => {}
        }
        Next::GoOn
    }

    fn show(&mut self, view: usize) {
        self.view = View::ALL[view % View::ALL.len()];
        self.offset = 0;
    }

    /// Sorts by another column, so many to the right.
    fn sort(&mut self, by: isize) {
        let Some(columns) = self.view.columns() else { return };
        let at = self.index();
        let next = self.orders[at].column.cast_signed() + by;
        let column = next.rem_euclid(columns.len().cast_signed()).cast_unsigned();
        self.orders[at] = Order::by(columns, column);
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figures;
    use super::*;

    fn press(screen: &mut Screen, keys: &[KeyCode]) -> Next {
        keys.iter().map(|code| screen.press((*code).into())).last().unwrap()
    }

    fn typed(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    #[test]
    fn keys_choose_views_and_columns() {
        let mut screen = Screen::new("here".to_owned());
        press(&mut screen, &typed("3"));
        assert_eq!((screen.view, screen.order().column), (View::Routes, 1));
        press(&mut screen, &[KeyCode::Left]);
        assert_eq!(screen.order(), Order { column: 0, descending: false });
        press(&mut screen, &[KeyCode::Left]);
        assert_eq!(screen.order(), Order { column: 10, descending: true });
        press(&mut screen, &typed("sr"));
        assert_eq!(screen.order(), Order { column: 0, descending: true });
        press(&mut screen, &[KeyCode::Tab, KeyCode::Tab, KeyCode::Tab]);
        assert_eq!(screen.view, View::Overview);
        press(&mut screen, &[KeyCode::BackTab]);
        assert_eq!(screen.view, View::Certificates);
        // Each view keeps its own order.
        press(&mut screen, &typed("3"));
        assert_eq!(screen.order(), Order { column: 0, descending: true });
    }

    #[test]
    fn a_filter_is_written_kept_and_cleared() {
        let mut screen = Screen::new(String::new());
        press(&mut screen, &typed("/app q"));
        assert!(screen.is_editing);
        press(&mut screen, &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Enter]);
        assert_eq!((&*screen.filter, screen.is_editing), ("app", false));
        press(&mut screen, &typed("/"));
        press(&mut screen, &typed(&"x".repeat(200)));
        assert_eq!(screen.filter.len(), FILTER_CHARS);
        assert_eq!(press(&mut screen, &[KeyCode::Esc]), Next::GoOn);
        assert_eq!((&*screen.filter, screen.is_editing), ("", false));
    }

    #[test]
    fn it_ends_by_each_of_its_keys() {
        for code in [KeyCode::Char('q'), KeyCode::Esc] {
            assert_eq!(Screen::new(String::new()).press(code.into()), Next::End);
        }
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        let mut screen = Screen::new(String::new());
        press(&mut screen, &typed("/"));
        assert_eq!(screen.press(interrupt), Next::End);
        let mut screen = Screen::new(String::new());
        assert_eq!(press(&mut screen, &[KeyCode::Char('?'), KeyCode::Esc]), Next::GoOn);
        assert!(!screen.shows_help);
    }

    #[test]
    fn pause_keeps_the_figures_and_a_fault_is_shown_until_the_next_ones() {
        let mut screen = Screen::new(String::new());
        screen.receive(Ok(figures()));
        press(&mut screen, &typed(" "));
        let mut later = figures();
        later.totals.requests = 1e6;
        screen.receive(Ok(later));
        assert_eq!(screen.figures.as_ref().unwrap().totals.requests, 30.0);
        screen.receive(Err("gone".to_owned()));
        assert_eq!(screen.fault.as_deref(), Some("gone"));
        press(&mut screen, &typed(" "));
        screen.receive(Ok(figures()));
        assert_eq!((screen.fault.as_deref(), screen.history.len()), (None, 2));
    }

    #[test]
    fn rows_scroll_within_what_there_is() {
        let mut screen = Screen::new(String::new());
        assert_eq!(screen.first_row(10, 4), 0);
        press(&mut screen, &[KeyCode::PageDown, KeyCode::Down]);
        assert_eq!(screen.first_row(10, 4), 5);
        press(&mut screen, &[KeyCode::End]);
        assert_eq!(screen.first_row(10, 4), 6);
        press(&mut screen, &[KeyCode::PageUp, KeyCode::Up]);
        assert_eq!(screen.first_row(10, 4), 1);
        assert_eq!(screen.first_row(3, 20), 0);
    }
}
