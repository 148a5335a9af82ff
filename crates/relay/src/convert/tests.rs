use super::*;

#[test]
fn losses_are_named_by_what_they_have_in_common() {
    for (pointer, want) in [
        ("/top_k", "/top_k"),
        ("/messages/12/content/0/cache_control", "/messages/*/content/*/cache_control"),
        ("/tools/3", "/tools/*"),
        ("", ""),
    ] {
        assert_eq!(without_numbers(pointer), want);
    }
}
