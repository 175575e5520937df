//! How urgent a record is among those that a stage holds.

/// How urgent a record is. The more urgent is the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Rank {
    /// Before everything.
    Critical,
    /// Before what is usual.
    High,
    /// The usual.
    #[default]
    Normal,
    /// After everything.
    Low,
}

impl Rank {
    /// All, the most urgent first.
    pub const ALL: [Rank; 4] = [Rank::Critical, Rank::High, Rank::Normal, Rank::Low];

    /// The rank of a word; `None` for all but the four.
    pub fn read(word: &str) -> Option<Rank> {
        match word {
            "critical" => Some(Rank::Critical),
            "high" => Some(Rank::High),
            "normal" => Some(Rank::Normal),
            "low" => Some(Rank::Low),
            _ => None,
        }
    }
}
