//! Tables for other programs, as CSV. No cell of it is a formula to a spreadsheet. Pure.

/// What makes a spreadsheet calculate, in the narrow and the wide form.
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// A table with a line per row, all as long as the first, which names the columns.
pub fn sheet(
    columns: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> Result<String, csv::Error> {
    let mut csv = csv::Writer::from_writer(vec![]);
    csv.write_record(columns)?;
    for mut row in rows {
        row.resize(columns.len().max(row.len()), String::new());
        csv.write_record(row.into_iter().map(plain))?;
    }
    let bytes = csv.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8(bytes).expect("cells are text"))
}

/// A cell that is shown as it is. A spreadsheet takes the apostrophe as "this is text"; other programs
/// can take it away again, since none of ours begins with one.
fn plain(cell: String) -> String {
    if cell.starts_with(FORMULA) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_calculates_and_all_are_read_back() {
        let cells = [
            ("0xbb", "0xbb"),
            ("", ""),
            ("a, \"b\"\nc", "a, \"b\"\nc"),
            ("=HYPERLINK(\"https://evil.example\")", "'=HYPERLINK(\"https://evil.example\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("\n=1", "'\n=1"),
            ("＝1", "'＝1"),
            ("1=1", "1=1"),
            ("größer", "größer"),
        ];
        let row: Vec<String> = cells.iter().map(|(cell, _)| (*cell).to_owned()).collect();
        let names: Vec<String> = (0..cells.len()).map(|at| format!("c{at}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = sheet(&names, [row, vec!["short".into()]]).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let read: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        for (found, (cell, expected)) in read[0].iter().zip(cells) {
            assert_eq!(found, expected, "{cell:?}");
        }
        assert_eq!((&read[1][0], read[1].len()), ("short", cells.len()));
    }
}
