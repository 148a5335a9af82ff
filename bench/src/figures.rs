//! What many figures come down to.

/// The value in the middle; of two in the middle, their mean. 0 for none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// The smallest value that `share` (0 to 1) of all values do not exceed; sorts them. 0 for none.
pub(crate) fn percentile(values: &mut [u32], share: f64) -> f64 {
    values.sort_unstable();
    let at = (to_f64(values.len()) * share).ceil() - 1.0;
    // In range: a share is at most 1, and what is below 0 becomes 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by `get`")]
    values.get(at.max(0.0) as usize).copied().map_or(0.0, f64::from)
}

/// Counts here are far below 2^52, where every whole number has a float.
#[expect(clippy::cast_precision_loss, reason = "see above")]
pub(crate) const fn to_f64(count: usize) -> f64 {
    count as f64
}

/// `count` times `scale`, at least `least`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of requests")]
pub(crate) fn scaled(count: usize, scale: f64, least: usize) -> usize {
    ((to_f64(count) * scale).round() as usize).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(vec![4.0, 1.0]).to_bits(), 2.5_f64.to_bits());
        assert_eq!(median(Vec::new()).to_bits(), 0.0_f64.to_bits());
        let mut hundred: Vec<u32> = (1..=100).rev().collect();
        for (share, want) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.0, 1.0)] {
            assert_eq!(percentile(&mut hundred, share).to_bits(), f64::to_bits(want), "{share}");
        }
        assert_eq!(percentile(&mut [], 0.5).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_scale_keeps_at_least_one_turn() {
        assert_eq!([scaled(100, 0.5, 1), scaled(100, 0.001, 64)], [50, 64]);
    }
}
