//! A QR code, for a device that has a camera and no network. Drawn as text for a terminal and as a
//! path for a page.

use std::fmt::Write;

use qrcode::{Color, EcLevel};

/// Light modules around a code, in modules, as ISO/IEC 18004 wants them.
const QUIET: usize = 4;

/// A text that does not fit a QR code (2,953 bytes).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the text is too long for a QR code")]
pub struct TooLong;

/// The modules of a code with its quiet zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QrCode {
    side: usize,
    /// Row by row; true is dark.
    dark: Vec<bool>,
}

impl QrCode {
    /// With the least error correction: a screen is not torn or stained, and the fewer modules
    /// there are, the larger each is.
    ///
    /// # Errors
    /// [`TooLong`]
    pub fn of(text: &str) -> Result<Self, TooLong> {
        let code =
            qrcode::QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| TooLong)?;
        let (width, side) = (code.width(), code.width() + 2 * QUIET);
        let mut dark = vec![false; side * side];
        for (index, color) in code.into_colors().into_iter().enumerate() {
            let (row, column) = (index / width + QUIET, index % width + QUIET);
            dark[row * side + column] = color == Color::Dark;
        }
        Ok(Self { side, dark })
    }

    /// Modules along each side.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    fn is_dark(&self, row: usize, column: usize) -> bool {
        self.dark.get(row * self.side + column).copied().unwrap_or_default()
    }

    /// Two rows of modules in each line, light ones drawn as blocks: right where text is lighter
    /// than what is behind it.
    #[must_use]
    pub fn half_blocks(&self) -> String {
        let mut text = String::new();
        for row in (0..self.side).step_by(2) {
            for column in 0..self.side {
                text.push(match (self.is_dark(row, column), self.is_dark(row + 1, column)) {
                    (true, true) => ' ',
                    (true, false) => '▄',
                    (false, true) => '▀',
                    (false, false) => '█',
                });
            }
            text.push('\n');
        }
        text
    }

    /// The dark modules as the `d` of an SVG path, in units of a module: one rectangle for each run
    /// in a row.
    #[must_use]
    pub fn svg_path(&self) -> String {
        let mut path = String::new();
        for row in 0..self.side {
            let mut column = 0;
            while column < self.side {
                let run = (column..self.side).take_while(|at| self.is_dark(row, *at)).count();
                if run > 0 {
                    write!(path, "M{column} {row}h{run}v1H{column}z")
                        .expect("a String takes everything");
                }
                column += run.max(1);
            }
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a code the way a camera does, with another program's reader, from what is drawn.
    fn read(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        const PIXELS: usize = 3;
        let shade = |x: usize, y: usize| if is_dark(y / PIXELS, x / PIXELS) { 0 } else { 255 };
        let (width, height) = (side * PIXELS, side * PIXELS);
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, shade);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1, "one code is seen");
        grids[0].decode().unwrap().1
    }

    /// What stands on a dark terminal.
    fn read_blocks(text: &str) -> String {
        let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        read(lines[0].len(), |row, column| {
            let lower = row % 2 == 1;
            match lines[row / 2][column] {
                ' ' => true,
                '▄' => !lower,
                '▀' => lower,
                '█' => false,
                other => panic!("{other:?} is no block"),
            }
        })
    }

    /// What a browser fills.
    fn read_path(side: usize, path: &str) -> String {
        let mut dark = vec![false; side * side];
        for rectangle in path.split('z').filter(|part| !part.is_empty()) {
            let numbers: Vec<usize> = rectangle
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|part| part.parse().ok())
                .collect();
            let [x, y, run, 1, back] = numbers[..] else { panic!("{rectangle}") };
            assert_eq!(back, x);
            dark[y * side + x..y * side + x + run].fill(true);
        }
        read(side, |row, column| dark[row * side + column])
    }

    #[test]
    fn another_reader_reads_both_drawings() {
        let hash = "4D2C552B33042D30B5E7521D9577319354D9A519A48A2CBB85298ACFB33C9423";
        let text =
            format!("Nonce: 7\nDomain hash: 0x{hash}\nsafeTxHash: 0x{}", hash.to_lowercase());
        let code = QrCode::of(&text).unwrap();
        assert_eq!(read_blocks(&code.half_blocks()), text);
        assert_eq!(read_path(code.side(), &code.svg_path()), text);
    }

    #[test]
    fn a_code_has_its_quiet_zone_and_fits_a_terminal() {
        let code = QrCode::of(&"x".repeat(321)).unwrap();
        let blocks = code.half_blocks();
        assert!(blocks.lines().take(2).all(|line| line.chars().all(|c| c == '█')));
        assert!(blocks.lines().all(|line| line.starts_with("████") && line.ends_with("████")));
        assert!(blocks.lines().all(|line| line.chars().count() <= 80), "{}", code.side());
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        assert!(QrCode::of(&"x".repeat(2953)).is_ok());
        assert_eq!(QrCode::of(&"x".repeat(2954)), Err(TooLong));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(6))]
        #[test]
        fn what_is_drawn_is_what_is_read(text in "[ -~\n]{1,300}") {
            let code = QrCode::of(&text).unwrap();
            prop_assert_eq!(read_blocks(&code.half_blocks()), text.clone());
            prop_assert_eq!(read_path(code.side(), &code.svg_path()), text);
        }
    }
}
