//! A text for people, block by block: titles, facts, tables, lines. Tables and colour on a terminal,
//! plain aligned text in a pipe. Text that came from elsewhere cannot steer the terminal: control
//! and direction characters are shown as `?`.

use std::io::{self, IsTerminal};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{
    Attribute, Cell as TableCell, Color, ColumnConstraint, ContentArrangement, Table, presets,
};

/// Longest text without blanks that a table on a terminal keeps on one line: an id or an address.
const WORD_MAX: usize = 42;
/// Columns that a sentence needs to be read with ease.
const SENTENCE_MIN: usize = 20;

/// What a piece of text means, which a terminal shows as colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Waiting,
    Bad,
}

impl Tone {
    fn color(self) -> Option<(Color, AnsiColor)> {
        match self {
            Self::Plain => None,
            Self::Good => Some((Color::Green, AnsiColor::Green)),
            Self::Waiting => Some((Color::Yellow, AnsiColor::Yellow)),
            Self::Bad => Some((Color::Red, AnsiColor::Red)),
        }
    }
}

/// A piece of text in a table or beside a name.
#[derive(Debug, Clone)]
pub struct Cell {
    text: String,
    tone: Tone,
    /// Whether a table on a terminal may show only its ends.
    long: bool,
}

impl Cell {
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone, long: false }
    }

    /// A hash or an address.
    pub fn hash(text: impl Into<String>) -> Self {
        Self { text: text.into(), tone: Tone::Plain, long: true }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

#[derive(Debug)]
enum Block {
    Title(String),
    Facts(Vec<(&'static str, Cell)>),
    Table(Vec<&'static str>, Vec<Vec<Cell>>),
    /// A table that a narrow terminal shows without some columns, these first; or else row by row.
    WideTable(Vec<&'static str>, Vec<Vec<Cell>>, &'static [&'static str]),
    /// What words mean; a program that reads along does not ask.
    Legend(Vec<(&'static str, &'static str)>),
    Lines(Vec<Cell>),
    Raw(String),
    /// Drawn in light blocks on a dark ground.
    Picture(String),
}

/// A text for people, block by block.
#[derive(Debug, Default)]
pub struct Page {
    blocks: Vec<Block>,
}

impl Page {
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.blocks.push(Block::Title(title.into()));
        self
    }

    /// Names and values.
    pub fn facts(mut self, facts: Vec<(&'static str, Cell)>) -> Self {
        self.blocks.push(Block::Facts(facts));
        self
    }

    pub fn table(mut self, heads: Vec<&'static str>, rows: Vec<Vec<Cell>>) -> Self {
        self.blocks.push(Block::Table(heads, rows));
        self
    }

    /// A table that may be wider than a terminal: then `first_to_go` are left out, in this order, or
    /// every row is shown line by line.
    pub fn wide_table(
        mut self,
        heads: Vec<&'static str>,
        rows: Vec<Vec<Cell>>,
        first_to_go: &'static [&'static str],
    ) -> Self {
        self.blocks.push(Block::WideTable(heads, rows, first_to_go));
        self
    }

    /// What words of this page mean, for a terminal alone.
    pub fn legend(mut self, words: Vec<(&'static str, &'static str)>) -> Self {
        self.blocks.push(Block::Legend(words));
        self
    }

    pub fn line(self, line: impl Into<Cell>) -> Self {
        self.lines(vec![line.into()])
    }

    pub fn lines(mut self, lines: Vec<Cell>) -> Self {
        self.blocks.push(Block::Lines(lines));
        self
    }

    /// Text that another program reads as it is.
    pub fn verbatim(mut self, text: impl Into<String>) -> Self {
        self.blocks.push(Block::Raw(text.into()));
        self
    }

    /// A drawing of light blocks, which a terminal shows on a dark ground.
    pub fn picture(mut self, drawing: impl Into<String>) -> Self {
        self.blocks.push(Block::Picture(drawing.into()));
        self
    }

    pub fn render(&self, look: Look) -> String {
        let mut text = String::new();
        for block in &self.blocks {
            if matches!(block, Block::Title(_)) && !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&block.render(look));
        }
        text
    }
}

/// What the output can show.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    terminal: bool,
    color: bool,
    /// Columns of the terminal, if they are known.
    width: Option<u16>,
}

impl Look {
    pub fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let width = Table::new().width().filter(|_| terminal);
        Self { terminal, color: terminal && !refused, width }
    }

    #[cfg(test)]
    pub fn of_pipe() -> Self {
        Self { terminal: false, color: false, width: None }
    }

    fn paint(self, text: &str, style: Style) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn tone(self, text: &str, tone: Tone) -> String {
        tone.color().map_or_else(
            || text.to_owned(),
            |(_, color)| self.paint(text, Style::new().fg_color(Some(color.into()))),
        )
    }
}

impl Block {
    fn render(&self, look: Look) -> String {
        match self {
            Self::Title(title) => format!("{}\n", look.paint(&clean(title), Style::new().bold())),
            Self::Facts(facts) => {
                let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
                let line = |(name, cell): &(&'static str, Cell)| {
                    let name = look.paint(&format!("{name:width$}"), Style::new().dimmed());
                    format!("  {name}  {}\n", look.tone(&clean(&cell.text), cell.tone))
                };
                facts.iter().map(line).collect()
            }
            Self::Table(heads, rows) => table(heads, rows, look),
            Self::WideTable(heads, rows, first_to_go) => narrow(heads, rows, first_to_go, look),
            Self::Legend(_) if !look.terminal => String::new(),
            Self::Legend(words) => {
                let line = |(word, meaning): &(&str, &str)| {
                    look.paint(&format!("  {word}: {meaning}"), Style::new().dimmed()) + "\n"
                };
                std::iter::once("\n".to_owned()).chain(words.iter().map(line)).collect()
            }
            Self::Lines(lines) => {
                let line =
                    |cell: &Cell| format!("  {}\n", look.tone(&clean(&cell.text), cell.tone));
                lines.iter().map(line).collect()
            }
            Self::Picture(text) => {
                let style = Style::new()
                    .fg_color(Some(AnsiColor::BrightWhite.into()))
                    .bg_color(Some(AnsiColor::Black.into()));
                let line = |line: &str| format!("{}\n", look.paint(line, style));
                text.lines().map(line).collect()
            }
            Self::Raw(text) if text.ends_with('\n') => text.clone(),
            Self::Raw(text) => format!("{text}\n"),
        }
    }
}

/// As a table if the terminal has room for it, without some columns if need be; or row by row.
fn narrow(heads: &[&'static str], rows: &[Vec<Cell>], first_to_go: &[&str], look: Look) -> String {
    let Some(width) = look.width.map(usize::from) else { return table(heads, rows, look) };
    for gone in 0..=first_to_go.len() {
        let kept: Vec<usize> =
            (0..heads.len()).filter(|at| !first_to_go[..gone].contains(&heads[*at])).collect();
        let least: usize = kept.iter().map(|at| least_width(heads, rows, *at)).sum();
        if least <= width {
            let heads: Vec<_> = kept.iter().map(|at| heads[*at]).collect();
            let pick = |row: &Vec<Cell>| {
                kept.iter().filter_map(|at| row.get(*at)).cloned().collect::<Vec<_>>()
            };
            return table(&heads, &rows.iter().map(pick).collect::<Vec<_>>(), look);
        }
    }
    let record = |row: &Vec<Cell>| {
        let fact = |(head, cell): (&&'static str, &Cell)| (*head, cell.clone());
        Block::Facts(heads.iter().zip(row).map(fact).collect()).render(look)
    };
    rows.iter().map(record).collect::<Vec<_>>().join("\n")
}

/// Columns that a column of a table needs, with the blanks beside it: its words whole, sentences in
/// a few lines.
fn least_width(heads: &[&str], rows: &[Vec<Cell>], at: usize) -> usize {
    let cells = || rows.iter().filter_map(|row| row.get(at));
    let shown = |cell: &Cell| {
        let text = if cell.long { ends(&cell.text) } else { cell.text.clone() };
        text.chars().count()
    };
    let longest = cells().map(shown).max().unwrap_or_default();
    let least = if cells().all(is_word) { longest } else { longest.min(SENTENCE_MIN) };
    least.max(heads[at].len()) + 2
}

fn is_word(cell: &Cell) -> bool {
    cell.long || (cell.text.len() <= WORD_MAX && !cell.text.contains(' '))
}

fn table(heads: &[&'static str], rows: &[Vec<Cell>], look: Look) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(width) = look.width {
        table.set_width(width);
    }
    if look.terminal {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty();
    }
    if look.color {
        table.enforce_styling();
    }
    let head = |head: &&str| {
        let cell = TableCell::new(head.to_uppercase());
        if look.color { cell.add_attribute(Attribute::Dim) } else { cell }
    };
    table.set_header(heads.iter().map(head).collect::<Vec<_>>());
    for row in rows {
        let cell = |cell: &Cell| {
            let text = clean(&cell.text);
            let text = if look.terminal && cell.long { ends(&text) } else { text };
            match cell.tone.color() {
                Some((color, _)) if look.color => TableCell::new(text).fg(color),
                _ => TableCell::new(text),
            }
        };
        table.add_row(row.iter().map(cell).collect::<Vec<_>>());
    }
    if look.terminal {
        keep_words_whole(&mut table, rows);
    }
    // The style pads both sides of a column; in a pipe the first one would only be in the way.
    let shown = table.lines().map(|line| {
        let line =
            if look.terminal { line.as_str() } else { line.strip_prefix(' ').unwrap_or(&line) };
        format!("{}\n", line.trim_end())
    });
    shown.collect()
}

/// Ids and statuses are not broken over lines; sentences are.
fn keep_words_whole(table: &mut Table, rows: &[Vec<Cell>]) {
    for (index, column) in table.column_iter_mut().enumerate() {
        if rows.iter().filter_map(|row| row.get(index)).all(is_word) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
}

/// The first and last digits of a hash.
fn ends(text: &str) -> String {
    match (text.get(..8), text.get(text.len().saturating_sub(6)..)) {
        (Some(start), Some(end)) if text.len() > 20 => format!("{start}…{end}"),
        _ => text.to_owned(),
    }
}

/// Text on one line that cannot move the cursor, colour what follows or turn its direction.
pub fn clean(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Look = Look { terminal: false, color: false, width: None };
    const TERMINAL: Look = Look { terminal: true, color: true, width: None };

    #[test]
    fn facts_stand_in_line_and_titles_apart() {
        let facts = vec![("Id", "1".into()), ("Status", Cell::toned("running", Tone::Good))];
        let page = Page::default().title("Request").facts(facts).title("Next").line("nothing");
        let plain = "Request\n  Id      1\n  Status  running\n\nNext\n  nothing\n";
        assert_eq!(page.render(PIPE), plain);
        assert!(page.render(TERMINAL).contains("\u{1b}[32mrunning\u{1b}[0m"));
    }

    #[test]
    fn a_pipe_gets_whole_hashes_and_a_terminal_their_ends() {
        let hash = format!("0x{}", "ab".repeat(32));
        let page = Page::default().table(vec!["hash"], vec![vec![Cell::hash(&hash)]]);
        assert_eq!(page.render(PIPE), format!("HASH\n{hash}\n"));
        assert!(page.render(TERMINAL).contains("0xababab…ababab"));
    }

    #[test]
    fn a_narrow_terminal_shows_less_or_row_by_row_and_a_pipe_all_of_it() {
        let id = "019a9b1c-7c1e-7cc0-9d33-0f9d3c9f0a11";
        let (hash, why) = (format!("0x{}", "ab".repeat(20)), "2 of 3 owners have signed so far");
        let (heads, row) = (
            vec!["id", "status", "app", "next"],
            vec![id.into(), "proposed".into(), Cell::hash(&hash), why.into()],
        );
        let page = Page::default().wide_table(heads, vec![row], &["app", "status"]);
        let seen = |width| page.render(Look { terminal: true, color: false, width: Some(width) });
        let lines_fit = |width: u16| {
            let shown = seen(width);
            let fits = shown.lines().all(|line| line.chars().count() <= width.into());
            assert!(fits, "{width}: {shown}");
            shown
        };
        let whole = lines_fit(120);
        assert!(whole.contains("APP") && whole.contains("proposed"), "{whole}");
        let less = lines_fit(80);
        assert!(less.contains(id) && !less.contains("APP"), "{less}");
        assert!(less.contains("proposed") && less.contains("NEXT"), "{less}");
        let records = lines_fit(54);
        assert!(records.contains(&format!("  id      {id}\n")), "{records}");
        assert!(records.contains(&hash) && records.contains(why), "{records}");
        let piped = page.render(PIPE);
        assert!(piped.contains(&hash) && piped.lines().count() == 2, "{piped}");
    }

    #[test]
    fn a_legend_is_for_people_alone() {
        let page = Page::default().legend(vec![("Drift", "what differs")]);
        assert_eq!(page.render(PIPE), "");
        assert!(page.render(TERMINAL).contains("Drift: what differs"));
    }

    #[test]
    fn a_picture_is_light_on_dark_whatever_the_terminals_colours() {
        let page = Page::default().picture("█▀\n▄ \n");
        assert_eq!(page.render(PIPE), "█▀\n▄ \n");
        for line in page.render(TERMINAL).lines() {
            assert!(
                line.starts_with("\u{1b}[97m\u{1b}[40m") && line.ends_with("\u{1b}[0m"),
                "{line:?}"
            );
        }
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        let note = "red \u{1b}[31m, left \u{202e}, line\nbreak \u{9b}1m";
        let page = Page::default().line(note).table(vec!["note"], vec![vec![note.into()]]);
        let shown = page.render(PIPE);
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{shown:?}");
        assert_eq!(shown.lines().count(), 3);
    }
}
