//! The table of rows and tests is complete, and the tests that it names exist.

use std::{fs, path::Path};

/// Rows of the field map.
const ROWS: usize = 99;

fn sources(folder: &Path, out: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, out);
        } else if entry.extension().is_some_and(|kind| kind == "rs") {
            out.push_str(&fs::read_to_string(entry).unwrap());
        }
    }
}

#[test]
fn every_row_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    for folder in ["src/convert/tests", "../relay/tests/it", "../relay/src/convert"] {
        sources(&root.join(folder), &mut code);
    }
    let table = fs::read_to_string(root.join("src/convert/tests/field_map.md")).unwrap();
    let mut next = 1;
    for line in table.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Ok(row) = cells[1].parse::<usize>() else { continue };
        assert_eq!(row, next, "rows in their order: {line}");
        next += 1;
        let tests: Vec<&str> = cells[3].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{line}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "row {row}: {test}");
        }
    }
    assert_eq!(next, ROWS + 1);
}
