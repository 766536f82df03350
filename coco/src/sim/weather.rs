//! Disturbances that the kernel's ABI allows, decided by a seed: interrupted and partly done commands,
//! busy operands, too little entropy. Never anything that a correct launcher could not recover from.

/// When the simulator disturbs a command. The same seed and the same commands give the same disturbances.
#[derive(Debug, Clone)]
pub struct Weather {
    state: u64,
    /// A disturbance at one in so many chances; 0 for none ever.
    one_in: u64,
    /// Disturbances since the last chance that passed without one.
    in_a_row: u32,
}

impl Weather {
    /// No disturbances.
    pub fn calm() -> Self {
        Weather { state: 0, one_in: 0, in_a_row: 0 }
    }

    /// A disturbance at every third chance or so, as `seed` has it.
    pub fn rough(seed: u64) -> Self {
        Weather { state: seed, one_in: 3, in_a_row: 0 }
    }

    /// Whether to disturb now; never more often than `most` times in a row.
    pub(super) fn strikes(&mut self, most: u32) -> bool {
        let strikes = self.one_in != 0 && self.in_a_row < most && self.below(self.one_in) == 0;
        self.in_a_row = if strikes { self.in_a_row.saturating_add(1) } else { 0 };
        strikes
    }

    /// One of `choices`.
    pub(super) fn one_of<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        const { assert!(N > 0) };
        choices[(self.below(N as u64)) as usize]
    }

    /// A number below `bound`, which is not 0 (splitmix64; the small bias does not matter here).
    fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

impl Default for Weather {
    fn default() -> Self {
        Weather::calm()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rough_weather_strikes_but_lets_through() {
        let mut calm = Weather::calm();
        assert!((0..1000).all(|_| !calm.strikes(u32::MAX)));
        let mut rough = Weather::rough(7);
        let struck: Vec<bool> = (0..1000).map(|_| rough.strikes(2)).collect();
        let count = struck.iter().filter(|s| **s).count();
        assert!((150..450).contains(&count), "{count} of 1000");
        assert!(struck.windows(3).all(|w| w.iter().any(|s| !s)), "three in a row");
        let mut again = Weather::rough(7);
        assert!(struck.iter().all(|s| *s == again.strikes(2)), "the same seed gives the same weather");
    }
}
