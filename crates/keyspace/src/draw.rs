//! Random draws from a collection whose elements have places, by dice and places alone: equal on
//! every replica, and each element with the same chance.

use std::collections::BTreeSet;

use stdx::Rng;

/// Draws few places one by one, and many by walking over all, once this part of them is wanted.
const WALK_FRACTION: usize = 3;

/// `count` different places below `total`, ascending; all of them if `count` is larger.
pub fn distinct(rng: &mut Rng, total: usize, count: usize) -> Vec<usize> {
    if count >= total {
        return (0..total).collect();
    }
    if count.saturating_mul(WALK_FRACTION) <= total {
        let mut places = BTreeSet::new();
        while places.len() < count {
            places.insert(rng.below(total as u64) as usize);
        }
        return places.into_iter().collect();
    }
    // Selection sampling: Knuth, volume 2, algorithm S.
    let mut places = Vec::with_capacity(count);
    for place in 0..total {
        let wanted = (count - places.len()) as u64;
        if rng.below((total - place) as u64) < wanted {
            places.push(place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::distinct;

    #[test]
    fn every_place_is_drawn_equally_often() {
        let mut rng = stdx::Rng::new(5);
        for count in [1, 3, 5, 9] {
            let mut hits = [0u32; 10];
            for _ in 0..10_000 {
                let places = distinct(&mut rng, 10, count);
                assert_eq!(places.len(), count);
                assert!(places.windows(2).all(|pair| pair[0] < pair[1]));
                places.iter().for_each(|place| hits[*place] += 1);
            }
            let expect = 1_000.0 * count as f64;
            let chi = hits.iter().map(|h| (f64::from(*h) - expect).powi(2) / expect).sum::<f64>();
            assert!(chi < 40.0, "{count} of 10: {hits:?}");
        }
        assert_eq!(distinct(&mut rng, 3, 7), [0, 1, 2]);
    }
}
