use super::*;

#[test]
fn how_long_a_connection_stays() {
    const NOTHING: Found = Found { is_open: false, begun: 0, heard: false };
    const BYTES: Found = Found { heard: true, ..NOTHING };
    const OPEN: Found = Found { is_open: true, begun: 1, heard: false };
    const DONE: Found = Found { is_open: false, begun: 1, heard: false };
    for (name, found, want) in [
        ("says nothing", &[NOTHING; 4][..], &[true, true, true, false][..]),
        ("spells a head", &[BYTES, BYTES], &[true, false]),
        ("begins a head and stops", &[BYTES, NOTHING], &[true, false]),
        ("waits for a long answer", &[OPEN; 9], &[true; 9]),
        ("is idle after an answer", &[OPEN, DONE, DONE, DONE, DONE], &[true, true, true, true, false]),
        ("asks again and again", &[DONE, Found { begun: 9, ..DONE }], &[true, true]),
        ("sends a body slowly", &[Found { heard: true, ..OPEN }; 9], &[true; 9]),
        ("spells a second head", &[DONE, Found { heard: true, ..DONE }, DONE], &[true, true, false]),
    ] {
        let mut looks = Looks::default();
        let stayed: Vec<_> = found.iter().map(|found| looks.look(*found)).collect();
        assert_eq!(stayed, want, "{name}");
    }
}
