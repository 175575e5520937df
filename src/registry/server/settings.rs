//! How much a subject may change, and whether it may be written at all. A subject that says nothing follows the global one.

use super::{GLOBAL, Refusal, Server, cut, named, refuse};
use crate::registry::compat::Level;

/// What may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    ReadWrite,
    /// Nothing.
    ReadOnly,
    /// Nothing, whatever a subject says.
    ReadOnlyOverride,
    /// Schemas with ids of their own.
    Import,
}

impl Mode {
    /// Every mode.
    pub const ALL: &'static [Mode] = &[Mode::ReadWrite, Mode::ReadOnly, Mode::ReadOnlyOverride, Mode::Import];

    /// The registry's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::ReadWrite => "READWRITE",
            Mode::ReadOnly => "READONLY",
            Mode::ReadOnlyOverride => "READONLY_OVERRIDE",
            Mode::Import => "IMPORT",
        }
    }

    fn read(word: &str) -> Option<Mode> {
        Mode::ALL.iter().copied().find(|mode| mode.as_str().eq_ignore_ascii_case(word))
    }
}

impl Server {
    /// The level that a subject follows.
    pub async fn level(&self, subject: &str) -> Result<Level, Refusal> {
        for subject in [subject, GLOBAL] {
            if let (Some(word), _) = self.rows.settings(subject).await? {
                return Ok(Level::read(&word).unwrap_or_default());
            }
        }
        Ok(Level::default())
    }

    /// The level that a subject has itself; `None` where it follows the global one. The empty subject is the global one.
    pub async fn own_level(&self, subject: &str) -> Result<Option<Level>, Refusal> {
        let (word, _) = self.rows.settings(subject).await?;
        let own = word.map(|word| Level::read(&word).unwrap_or_default());
        Ok(own.or((subject == GLOBAL).then(Level::default)))
    }

    /// Sets or forgets the level of a subject.
    pub async fn set_level(&self, subject: &str, word: Option<&str>) -> Result<Option<Level>, Refusal> {
        let level = word.map(|word| {
            Level::read(word).ok_or_else(|| {
                let words: Vec<_> = Level::ALL.iter().map(|level| level.as_str()).collect();
                refuse(42_203, format!("Invalid compatibility level. Valid values are {}", words.join(", ")))
            })
        });
        let level = level.transpose()?;
        self.may_be_set(subject)?;
        let _alone = self.alone().await?;
        let (_, mode) = self.rows.settings(subject).await?;
        self.rows.set(subject, level.map(Level::as_str), mode.as_deref()).await?;
        Ok(level)
    }

    /// The mode that a subject has itself; `None` where it follows the global one.
    pub async fn own_mode(&self, subject: &str) -> Result<Option<Mode>, Refusal> {
        let (_, word) = self.rows.settings(subject).await?;
        let own = word.and_then(|word| Mode::read(&word));
        Ok(own.or((subject == GLOBAL).then_some(Mode::ReadWrite)))
    }

    /// Sets or forgets the mode of a subject.
    pub async fn set_mode(&self, subject: &str, word: Option<&str>) -> Result<Option<Mode>, Refusal> {
        let mode = word.map(|word| {
            Mode::read(word).filter(|mode| *mode != Mode::Import).ok_or_else(|| {
                refuse(42_204, "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE")
            })
        });
        let mode = mode.transpose()?;
        self.may_be_set(subject)?;
        let _alone = self.alone().await?;
        let (level, _) = self.rows.settings(subject).await?;
        self.rows.set(subject, level.as_deref(), mode.map(Mode::as_str)).await?;
        Ok(mode)
    }

    fn may_be_set(&self, subject: &str) -> Result<(), Refusal> {
        if subject == GLOBAL { Ok(()) } else { named(subject) }
    }

    pub(super) async fn may_write(&self, subject: &str) -> Result<(), Refusal> {
        let global = self.own_mode(GLOBAL).await?.unwrap_or(Mode::ReadWrite);
        let mode = match global {
            Mode::ReadOnlyOverride => global,
            _ => self.own_mode(subject).await?.unwrap_or(global),
        };
        match mode {
            Mode::ReadWrite | Mode::Import => Ok(()),
            Mode::ReadOnly | Mode::ReadOnlyOverride => {
                Err(refuse(42_205, format!("Subject {} is in read-only mode", cut(subject))))
            }
        }
    }
}
