//! Tables without a terminal: sorted, filtered, and fitted to a width.

use std::cmp::Ordering;

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// In characters; of the first one the least.
    pub(super) width: u16,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// At the left, ascending when it is chosen, searched by the filter.
    Text,
    /// At the right, descending when it is chosen.
    Number,
}

/// How a cell stands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Good,
    Warning,
    Bad,
}

#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    /// What it is sorted by in a column of numbers. None: behind all others.
    key: Option<f64>,
    pub(super) tone: Tone,
}

/// A row, and those below it: they stay with it, and are sorted among themselves.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) head: Vec<Cell>,
    pub(super) members: Vec<Vec<Cell>>,
}

#[derive(Debug)]
pub(super) struct Table {
    pub(super) columns: &'static [Column],
    pub(super) groups: Vec<Group>,
}

/// What a table is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) column: usize,
    pub(super) descending: bool,
}

impl Cell {
    pub(super) fn text(text: &str) -> Self {
        Self { text: crate::cli::printable(text), key: None, tone: Tone::Plain }
    }

    pub(super) fn number(value: Option<f64>, text: fn(f64) -> String) -> Self {
        Self { text: super::units::or_none(value, text), key: value, tone: Tone::Plain }
    }

    /// A text that is sorted as a number.
    pub(super) fn ranked(text: String, key: f64) -> Self {
        Self { text, key: Some(key), tone: Tone::Plain }
    }

    pub(super) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// The same if there is something wrong: a number above 0.
    pub(super) fn bad_above_zero(self) -> Self {
        if self.key.is_some_and(|key| key > 0.0) { self.toned(Tone::Bad) } else { self }
    }
}

impl From<Vec<Cell>> for Group {
    fn from(head: Vec<Cell>) -> Self {
        Self { head, members: Vec::new() }
    }
}

impl Order {
    /// By a column that was chosen just now.
    pub(super) fn by(columns: &[Column], column: usize) -> Self {
        Self { column, descending: columns[column].kind == Kind::Number }
    }

    fn compare(self, kind: Kind, one: &[Cell], other: &[Cell]) -> Ordering {
        let (a, b) = (&one[self.column], &other[self.column]);
        let directed = |ordering: Ordering| if self.descending { ordering.reverse() } else { ordering };
        let ordering = match (kind, a.key, b.key) {
            (Kind::Text, ..) => directed(a.text.cmp(&b.text)),
            (Kind::Number, Some(a), Some(b)) => directed(a.total_cmp(&b)),
            // What has no figure stands last in either direction.
            (Kind::Number, a, b) => b.is_some().cmp(&a.is_some()),
        };
        ordering.then_with(|| one[0].text.cmp(&other[0].text))
    }
}

impl Table {
    /// Its rows in order, with the depth of each: those whose texts have `filter` in them, whatever the case. A head that
    /// has it brings its members; a member that has it brings its head.
    pub(super) fn arranged(&self, order: Order, filter: &str) -> Vec<(usize, &[Cell])> {
        let filter = filter.to_lowercase();
        let fits = |row: &[Cell]| {
            let mut texts = self.columns.iter().zip(row).filter(|(column, _)| column.kind == Kind::Text);
            filter.is_empty() || texts.any(|(_, cell)| cell.text.to_lowercase().contains(&filter))
        };
        let kind = self.columns[order.column].kind;
        let mut groups: Vec<&Group> = self.groups.iter().collect();
        groups.sort_by(|one, other| order.compare(kind, &one.head, &other.head));
        let mut rows: Vec<(usize, &[Cell])> = Vec::new();
        for group in groups {
            let with_all = fits(&group.head);
            let members = group.members.iter().map(Vec::as_slice).filter(|member| with_all || fits(member));
            let mut members: Vec<&[Cell]> = members.collect();
            if !with_all && members.is_empty() {
                continue;
            }
            members.sort_by(|one, other| order.compare(kind, one, other));
            rows.push((0, &group.head));
            rows.extend(members.into_iter().map(|member| (1, member)));
        }
        rows
    }

    /// All of it as text.
    pub(super) fn plain(&self, order: Order) -> String {
        let rows = self.arranged(order, "");
        let all = 0..self.columns.len();
        let width = |column: usize| {
            let cells =
                rows.iter().map(|(depth, row)| row[column].text.chars().count() + indent(*depth, column));
            let title = self.columns[column].title.len();
            cells.chain([title]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = all.map(width).collect();
        let line = |depth: usize, texts: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for ((at, text), column) in texts.enumerate().zip(self.columns) {
                let text = format!("{:indent$}{text}", "", indent = indent(depth, at));
                let padded = match column.kind {
                    Kind::Text => format!("{text:<width$}  ", width = widths[at]),
                    Kind::Number => format!("{text:>width$}  ", width = widths[at]),
                };
                line.push_str(&padded);
            }
            line.trim_end().to_owned() + "\n"
        };
        let mut out = line(0, &mut self.columns.iter().map(|column| column.title));
        for (depth, row) in &rows {
            out.push_str(&line(*depth, &mut row.iter().map(|cell| &*cell.text)));
        }
        out
    }
}

/// How far a row's cell is moved in.
pub(super) fn indent(depth: usize, column: usize) -> usize {
    if column == 0 { depth * 2 } else { 0 }
}

/// The columns that have room in `width` characters, with a space between them, and how wide each is: the first one, the one
/// that is sorted by, then the others from the left. The first gets what is left if it
/// is a text.
pub(super) fn fitted(columns: &[Column], width: u16, sorted: usize) -> Vec<(usize, u16)> {
    let mut left = width.saturating_sub(columns[0].width);
    let mut take = |column: usize| {
        let fits = left > columns[column].width;
        if fits {
            left -= columns[column].width + 1;
        }
        fits
    };
    let with_sorted = sorted == 0 || take(sorted);
    // No column is left out for one behind it.
    let mut goes_on = true;
    let shown = (1..columns.len()).filter(|column| {
        if *column == sorted {
            return with_sorted;
        }
        goes_on = goes_on && take(*column);
        goes_on
    });
    let shown: Vec<usize> = shown.collect();
    let rest = if columns[0].kind == Kind::Text { left } else { 0 };
    let first = (0, columns[0].width.min(width) + rest);
    std::iter::once(first).chain(shown.into_iter().map(|column| (column, columns[column].width))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "NAME", width: 6, kind: Kind::Text },
        Column { title: "STATE", width: 5, kind: Kind::Text },
        Column { title: "RATE", width: 4, kind: Kind::Number },
    ];

    fn row(name: &str, state: &str, rate: Option<f64>) -> Vec<Cell> {
        vec![Cell::text(name), Cell::text(state), Cell::number(rate, super::super::units::number)]
    }

    fn table() -> Table {
        let members = vec![row("b2", "up", Some(1.0)), row("b1", "down", Some(9.0)), row("b3", "up", None)];
        let groups = vec![
            Group { head: row("b", "2/3", Some(10.0)), members },
            row("A", "", None).into(),
            row("c", "", Some(100.0)).into(),
        ];
        Table { columns: &COLUMNS, groups }
    }

    fn names(order: Order, filter: &str) -> Vec<String> {
        let table = table();
        table.arranged(order, filter).iter().map(|(_, row)| row[0].text.clone()).collect()
    }

    #[test]
    fn rows_are_sorted_within_their_group() {
        let by_rate = Order::by(&COLUMNS, 2);
        assert!(by_rate.descending);
        assert_eq!(names(by_rate, ""), ["c", "b", "b1", "b2", "b3", "A"]);
        // What has no figure stays last.
        let reversed = Order { descending: false, ..by_rate };
        assert_eq!(names(reversed, ""), ["b", "b2", "b1", "b3", "c", "A"]);
        assert_eq!(names(Order { column: 0, descending: false }, ""), ["A", "b", "b1", "b2", "b3", "c"]);
        assert_eq!(names(Order { column: 0, descending: true }, ""), ["c", "b", "b3", "b2", "b1", "A"]);
    }

    #[test]
    fn the_filter_keeps_what_belongs_together() {
        let by_name = Order { column: 0, descending: false };
        assert_eq!(names(by_name, "DOWN"), ["b", "b1"]);
        assert_eq!(names(by_name, "a"), ["A"]);
        assert_eq!(names(by_name, "b3"), ["b", "b3"]);
        assert_eq!(names(by_name, "2/3"), ["b", "b1", "b2", "b3"]);
        assert_eq!(names(by_name, "100"), [""; 0], "figures are not searched");
    }

    #[test]
    fn columns_fit_the_width_and_the_sorted_one_stays() {
        assert_eq!(fitted(&COLUMNS, 20, 0), [(0, 9), (1, 5), (2, 4)]);
        assert_eq!(fitted(&COLUMNS, 17, 0), [(0, 6), (1, 5), (2, 4)]);
        assert_eq!(fitted(&COLUMNS, 16, 0), [(0, 10), (1, 5)]);
        assert_eq!(fitted(&COLUMNS, 16, 2), [(0, 11), (2, 4)]);
        assert_eq!(fitted(&COLUMNS, 4, 2), [(0, 4)]);
        assert_eq!(fitted(&COLUMNS, 0, 0), [(0, 0)]);
    }

    #[test]
    fn a_plain_table_is_as_wide_as_its_texts() {
        let text = table().plain(Order { column: 0, descending: false });
        let expected = "NAME  STATE  RATE\nA               -\nb     2/3      10\n  b1  down      9\n  b2  up        1\n  b3  up        -\nc              100\n";
        assert_eq!(text, expected.replace("c              100", "c             100"));
    }

    #[test]
    fn texts_from_elsewhere_are_printable() {
        assert!(!Cell::text("a\u{1b}[31mb").text.contains('\u{1b}'));
    }
}
