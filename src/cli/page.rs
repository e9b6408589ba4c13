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
}

impl Look {
    pub fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { terminal, color: terminal && !refused }
    }

    #[cfg(test)]
    pub fn of_pipe() -> Self {
        Self { terminal: false, color: false }
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

fn table(heads: &[&'static str], rows: &[Vec<Cell>], look: Look) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
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
    let is_word =
        |cell: &Cell| cell.long || (cell.text.len() <= WORD_MAX && !cell.text.contains(' '));
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

    const PIPE: Look = Look { terminal: false, color: false };
    const TERMINAL: Look = Look { terminal: true, color: true };

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
