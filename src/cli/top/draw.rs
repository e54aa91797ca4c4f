//! The screen as it is drawn.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Sparkline, Wrap};

use super::figures::Figures;
use super::screen::Screen;
use super::table::{Cell, Kind, Tone, fitted, indent};
use super::views::{self, View};

/// The styles of a terminal with colors, or of one that is to have none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) is_colored: bool,
}

/// Rows of the overview's chart, where there is room.
const CHART_ROWS: u16 = 4;

const HELP: [(&str, &str); 10] = [
    ("1-5, Tab", "a view: overview, upstreams, routes, workers, certificates"),
    ("Left, Right, s", "the column that rows are sorted by"),
    ("r", "the other direction"),
    ("/", "a filter: part of a name or state; Enter keeps it, Esc clears it"),
    ("Up, Down, PgUp, PgDn", "further rows"),
    ("Space", "pause, go on"),
    ("q, Esc, Ctrl-C", "quit"),
    ("OPEN", "requests and connections under way"),
    ("MEANms, P50ms", "time to the response's head; of routes, to its end"),
    ("LOOP50ms", "how late a worker's timer runs: the time of one turn"),
];

impl Theme {
    fn tone(self, tone: Tone) -> Style {
        let color = match tone {
            Tone::Plain => return Style::new(),
            Tone::Good => Color::Green,
            Tone::Warning => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        match (self.is_colored, tone) {
            (true, _) => Style::new().fg(color),
            (false, Tone::Good) => Style::new(),
            (false, _) => Style::new().add_modifier(Modifier::BOLD),
        }
    }
}

const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);
const STRONG: Style = Style::new().add_modifier(Modifier::BOLD);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen, theme: Theme) {
    let with_summary = u16::from(screen.view != View::Overview && frame.area().height >= 10) * 2;
    let rows = [
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(with_summary),
        Constraint::Min(0),
        Constraint::Length(1),
    ];
    let [title, tabs, summary, body, foot] = Layout::vertical(rows).areas(frame.area());
    // Taken out while the rest of the screen is changed.
    let figures = screen.figures.take();
    let text = figures.as_ref().map_or_else(|| format!("ringate at {}", screen.instance), views::process);
    frame.render_widget(Line::styled(text, STRONG), title);
    if let Some(figures) = &figures {
        let lines = views::summary(figures).map(Line::raw);
        frame.render_widget(Paragraph::new(lines.to_vec()), summary);
        match screen.view {
            View::Overview => overview(frame, body, figures, screen, theme),
            _ => table(frame, body, figures, screen, theme),
        }
    }
    frame.render_widget(tab_line(screen), tabs);
    frame.render_widget(foot_line(screen, figures.as_ref(), theme), foot);
    if screen.shows_help {
        let lines = HELP
            .map(|(keys, what)| Line::from(vec![Span::styled(format!("{keys:<21}"), STRONG), what.into()]));
        frame.render_widget(Clear, body);
        frame.render_widget(Paragraph::new(lines.to_vec()).wrap(Wrap { trim: false }), body);
    }
    screen.figures = figures;
}

fn tab_line(screen: &Screen) -> Line<'static> {
    let mut spans = Vec::new();
    for (index, view) in View::ALL.into_iter().enumerate() {
        let style = if view == screen.view { CHOSEN } else { Style::new() };
        spans.extend([Span::styled(format!(" {} {} ", index + 1, view.title()), style), Span::raw(" ")]);
    }
    Line::from(spans)
}

/// What needs attention, or what can be done.
fn foot_line(screen: &Screen, figures: Option<&Figures>, theme: Theme) -> Line<'static> {
    if screen.is_editing {
        return Line::raw(format!("filter: {}_  (Enter keeps it, Esc clears it)", screen.filter));
    }
    if let Some(fault) = &screen.fault {
        let since = figures.map_or_else(String::new, |figures| format!("; figures of {}", figures.at));
        let fault = crate::cli::printable(fault);
        return Line::styled(
            format!("GONE, trying again{since}: {fault}"),
            theme.tone(Tone::Bad).patch(CHOSEN),
        );
    }
    let mut spans = Vec::new();
    if screen.is_paused {
        spans.push(Span::styled(" PAUSED ", CHOSEN));
    }
    if !screen.filter.is_empty() {
        spans.push(Span::styled(format!(" filter: {} ", screen.filter), CHOSEN));
    }
    let at = figures.map_or_else(|| "waiting for figures".to_owned(), |figures| figures.at.to_string());
    spans.push(Span::raw(format!(" {at}  ? help  q quit  / filter  s sort  r reverse  space pause")));
    Line::from(spans)
}

fn overview(frame: &mut Frame<'_>, area: Rect, figures: &Figures, screen: &mut Screen, theme: Theme) {
    let named = views::overview(figures).into_iter();
    let mut lines: Vec<Line<'_>> = named
        .map(|(name, text)| Line::from(vec![Span::styled(format!("{name:<12}"), STRONG), text.into()]))
        .collect();
    let problems = views::problems(figures);
    lines
        .extend(problems.into_iter().map(|(tone, text)| Line::styled(format!("! {text}"), theme.tone(tone))));
    let length = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    let chart = if area.height >= length.saturating_add(CHART_ROWS + 1) { CHART_ROWS + 1 } else { 0 };
    let [text, caption, chart] = Layout::vertical([
        Constraint::Min(0),
        Constraint::Length(u16::from(chart > 0)),
        Constraint::Length(chart.saturating_sub(1)),
    ])
    .areas(area);
    let first = screen.first_row(lines.len(), text.height.into());
    frame.render_widget(Paragraph::new(lines.split_off(first)), text);
    if chart.height > 0 {
        let most = screen.history.iter().copied().fold(0.0, f64::max);
        let most = super::units::number(most);
        frame.render_widget(Line::styled(format!("Requests/s, {most} at most"), STRONG), caption);
        let shown = screen.history.len().saturating_sub(chart.width.into());
        // Tenths, so that less than one a second is seen, too.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // no rate is negative
        let rates = screen.history.iter().skip(shown).map(|rate| (rate * 10.0).round() as u64);
        frame.render_widget(Sparkline::default().data(rates.collect::<Vec<u64>>()), chart);
    }
}

fn table(frame: &mut Frame<'_>, area: Rect, figures: &Figures, screen: &mut Screen, theme: Theme) {
    let Some(table) = screen.view.table(figures) else { return };
    let order = screen.order();
    let columns = fitted(table.columns, area.width, order.column);
    let mut head = Vec::new();
    for (column, width) in &columns {
        let arrow = if order.descending { "v" } else { "^" };
        let is_sorted = *column == order.column;
        let title = table.columns[*column].title;
        let title = if is_sorted { format!("{title}{arrow}") } else { title.to_owned() };
        let style = if is_sorted { CHOSEN } else { STRONG };
        let text = placed(&title, usize::from(*width), table.columns[*column].kind);
        head.extend([Span::styled(text, style), Span::raw(" ")]);
    }
    let rows = table.arranged(order, &screen.filter);
    let room = usize::from(area.height.saturating_sub(1));
    let first = screen.first_row(rows.len(), room);
    let mut lines = vec![Line::from(head)];
    if rows.is_empty() {
        let text = if screen.filter.is_empty() { "there are none" } else { "the filter leaves none" };
        lines.push(Line::raw(text));
    }
    for (depth, row) in rows.iter().skip(first).take(room) {
        let spans = columns.iter().flat_map(|(column, width)| {
            let cell: &Cell = &row[*column];
            let width = usize::from(*width).saturating_sub(indent(*depth, *column));
            let text = placed(&cell.text, width, table.columns[*column].kind);
            let text = format!("{:indent$}{text} ", "", indent = indent(*depth, *column));
            [Span::styled(text, theme.tone(cell.tone))]
        });
        lines.push(Line::from(spans.collect::<Vec<_>>()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// A text of exactly `width` characters. What is cut ends with `~`.
fn placed(text: &str, width: usize, kind: Kind) -> String {
    let length = text.chars().count();
    if length > width {
        let kept: String = text.chars().take(width.saturating_sub(1)).collect();
        return if width == 0 { kept } else { kept + "~" };
    }
    match kind {
        Kind::Text => format!("{text:<width$}"),
        Kind::Number => format!("{text:>width$}"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;

    use super::super::figures::tests::figures;
    use super::*;

    /// The lines of a screen of this size after these keys.
    fn drawn(width: u16, height: u16, screen: &mut Screen, keys: &[KeyCode]) -> Vec<String> {
        for code in keys {
            screen.press((*code).into());
        }
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, screen, Theme { is_colored: false })).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
            .collect()
    }

    fn with_figures() -> Screen {
        let mut screen = Screen::new("unix:run/admin.sock".to_owned());
        screen.receive(Ok(figures()));
        screen
    }

    #[test]
    fn the_overview_has_all_that_counts_on_80_by_24() {
        let lines = drawn(80, 24, &mut with_figures(), &[]);
        assert_eq!(lines[0], "ringate 0.1.0  up 7s  1 workers on io_uring  config 0");
        assert_eq!(lines[1], " 1 Overview   2 Upstreams   3 Routes   4 Workers   5 Certificates");
        assert_eq!(lines[2], "Requests    10/s, 30 since the start");
        let text = lines.join("\n");
        for part in ["! app db/10.0.0.1:9002: down: refused", "Requests/s, 10 at most", "? help"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn upstreams_with_their_endpoints_fit_80_columns() {
        let lines = drawn(80, 24, &mut with_figures(), &[KeyCode::Char('2')]);
        assert_eq!(lines[2], "10 req/s  2xx 10  3xx 0  4xx 0  5xx 0  0 connections");
        let table = [
            "UPSTREAM^          STATE    REQ/S  ERR/S  OPEN  MEANms  P50ms  P90ms  P99ms",
            "app                1/2 up      10      2     7       -      -      -      -",
            "  127.0.0.1:9001   up          10      2     3       -",
            "  db/10.0.0.1:9002 down         0      0     4       -",
            "other              0/0 up       0      0     0       -      -      -      -",
        ];
        let squeezed = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        for (line, expected) in lines[4..].iter().zip(table) {
            assert_eq!(squeezed(line), squeezed(expected), "{}", lines.join("\n"));
            assert!(line.chars().count() <= 80);
        }
    }

    #[test]
    fn the_filter_and_the_order_show() {
        let mut screen = with_figures();
        let keys = [KeyCode::Char('2'), KeyCode::Right, KeyCode::Right, KeyCode::Char('/')];
        let lines = drawn(80, 24, &mut screen, &keys);
        assert!(lines[4].contains("REQ/Sv"), "{lines:?}");
        assert!(lines[23].starts_with("filter: _"), "{lines:?}");
        let lines = drawn(80, 24, &mut screen, &[KeyCode::Char('d'), KeyCode::Char('b'), KeyCode::Enter]);
        assert!(lines[6].contains("down") && lines[7].is_empty(), "{lines:?}");
        assert!(lines[23].starts_with(" filter: db"), "{lines:?}");
        let lines = drawn(80, 24, &mut screen, &[KeyCode::Char('/'), KeyCode::Char('x'), KeyCode::Enter]);
        assert_eq!(lines[5], "the filter leaves none");
    }

    #[test]
    fn a_fault_says_of_when_the_figures_are() {
        let mut screen = with_figures();
        screen.receive(Err("no instance runs".to_owned()));
        let lines = drawn(120, 24, &mut screen, &[]);
        assert_eq!(lines[23], "GONE, trying again; figures of 1970-01-01T00:00:00Z: no instance runs");
    }

    #[test]
    fn each_size_can_be_drawn() {
        for (width, height) in [(1, 1), (2, 9), (20, 5), (40, 12), (200, 60)] {
            let mut screen = with_figures();
            for view in '1'..='5' {
                drawn(width, height, &mut screen, &[KeyCode::Char(view), KeyCode::Char('?')]);
                drawn(width, height, &mut screen, &[KeyCode::Char('x'), KeyCode::End]);
            }
            drawn(width, height, &mut Screen::new("here".to_owned()), &[KeyCode::Char('2')]);
        }
    }

    #[test]
    fn without_colors_problems_are_bold() {
        for tone in [Tone::Plain, Tone::Good, Tone::Warning, Tone::Bad] {
            let style = Theme { is_colored: false }.tone(tone);
            assert_eq!((style.fg, style.bg), (None, None));
            let is_problem = matches!(tone, Tone::Warning | Tone::Bad);
            assert_eq!(style.add_modifier.contains(Modifier::BOLD), is_problem);
        }
    }
}
