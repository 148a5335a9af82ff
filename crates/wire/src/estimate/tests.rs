use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn an_estimate_is_never_above_the_bound(
        text in 0..10_000_u64, wide in 0..10_000_u64, messages in 0..50_u32, tools in 0..50_u32, images in 0..5_u32,
    ) {
        let peek = Peek {
            text_bytes: text.max(wide), wide_bytes: wide, messages, tools, images, documents: 1, ..Peek::default()
        };
        let bound = peek.text_bytes / 2 + 64 * u64::from(messages + tools) + 1_600 * u64::from(images + 1);
        prop_assert!(prompt_tokens(&peek, 1_600) <= bound);
    }
}

#[test]
fn text_is_four_bytes_to_a_token_and_three_outside_ascii() {
    let peek = Peek { text_bytes: 4_000 + 3_000, wide_bytes: 3_000, messages: 2, ..Peek::default() };
    assert_eq!(prompt_tokens(&peek, 0), 1_000 + 1_000 + 2 * 8);
    for (bytes, tokens) in [(0, 0), (1, 1), (4, 1), (5, 2), (u64::MAX, u64::MAX / 4 + 1)] {
        assert_eq!(text_tokens(bytes), tokens);
    }
}
