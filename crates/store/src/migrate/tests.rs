use super::*;

#[test]
fn a_script_keeps_its_own_engines_blocks() {
    let script = "-- why\nCREATE TABLE a (\n    id UUID\n)\n-- only: sqlite\nWITHOUT ROWID\n-- end\n\
                  -- only: postgres\nPARTITION BY RANGE (id)\n-- end\n;\n";
    assert_eq!(script_for("sqlite", script), "CREATE TABLE a (\n    id UUID\n)\nWITHOUT ROWID\n;\n");
    assert_eq!(script_for("postgres", script), "CREATE TABLE a (\n    id UUID\n)\nPARTITION BY RANGE (id)\n;\n");
}

#[test]
fn versions_rise_by_one_from_one() {
    for (index, (version, ..)) in MIGRATIONS.iter().enumerate() {
        assert_eq!(*version, i64::try_from(index).unwrap() + 1);
    }
}
