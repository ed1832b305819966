//! How even a load is: two figures.

/// The load of nodes beside their fair shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The fullest node's load over its fair share; 1 is even.
    pub max: f64,
    /// The standard deviation of all nodes' loads over their fair shares; 0 is even.
    pub deviation: f64,
}

impl Spread {
    /// Of nodes that hold so much and should hold so much. Nodes that should hold nothing are not
    /// looked at; without any others everything is even.
    pub fn of(loads: impl IntoIterator<Item = (f64, f64)>) -> Spread {
        let fair = loads.into_iter().filter(|(_, fair)| *fair > 0.0);
        let parts: Vec<f64> = fair.map(|(load, fair)| load / fair).collect();
        if parts.is_empty() {
            return Spread { max: 1.0, deviation: 0.0 };
        }
        let count = parts.len() as f64;
        let mean = parts.iter().sum::<f64>() / count;
        let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / count;
        let max = parts.iter().copied().fold(0.0, f64::max);
        Spread { max, deviation: variance.sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn an_even_load_has_no_spread_and_weights_count() {
        let even = Spread { max: 1.0, deviation: 0.0 };
        assert_eq!(Spread::of([(2.0, 2.0), (4.0, 4.0), (0.0, 0.0)]), even);
        assert_eq!(Spread::of([]), even);
        assert_eq!(Spread::of([(1.0, 2.0), (3.0, 2.0)]), Spread { max: 1.5, deviation: 0.5 });
    }
}
