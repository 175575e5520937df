//! What is deleted: softly first, so that it can come back, then for good; never what others use.

use super::rows::Row;
use super::{Asked, Deleted, Refusal, Server, cut, no_subject, refuse};

impl Server {
    /// Deletes all versions of a subject: first softly, then for good.
    pub async fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<u32>, Refusal> {
        let _alone = self.alone().await?;
        self.may_write(subject).await?;
        let rows = self.rows.subject(subject).await?;
        if rows.is_empty() {
            return Err(no_subject(subject));
        }
        let alive: Vec<u32> = rows.iter().filter(|row| !row.deleted).map(|row| row.version).collect();
        match (permanent, alive.is_empty()) {
            (true, false) => {
                return Err(refuse(
                    40_405,
                    format!(
                        "Subject '{}' was not deleted first before being permanently deleted",
                        cut(subject)
                    ),
                ));
            }
            (false, true) => {
                return Err(refuse(
                    40_404,
                    format!(
                        "Subject '{}' was soft deleted. Set permanent=true to delete permanently",
                        cut(subject)
                    ),
                ));
            }
            _ => {}
        }
        let versions = if permanent { rows.iter().map(|row| row.version).collect() } else { alive };
        self.not_used(subject, &versions).await?;
        self.rows.delete(subject, &versions, permanent).await?;
        if permanent {
            self.rows.forget_settings(subject).await?;
        }
        Ok(versions)
    }

    /// Deletes one version: first softly, then for good.
    pub async fn delete_version(&self, subject: &str, asked: Asked, permanent: bool) -> Result<u32, Refusal> {
        let _alone = self.alone().await?;
        self.may_write(subject).await?;
        let row = self.row(subject, asked, if permanent { Deleted::Also } else { Deleted::No }).await;
        let row = match row {
            Err(refusal) if !permanent => {
                return Err(match self.row(subject, asked, Deleted::Only).await {
                    Ok(row) => refuse(
                        40_406,
                        format!(
                            "Subject '{}' Version {} was soft deleted. Set permanent=true to delete permanently",
                            cut(subject),
                            row.version
                        ),
                    ),
                    Err(_) => refusal,
                });
            }
            other => other?,
        };
        if permanent && !row.deleted {
            let message = format!(
                "Subject '{}' Version {} was not deleted first before being permanently deleted",
                cut(subject),
                row.version
            );
            return Err(refuse(40_407, message));
        }
        self.not_used(subject, &[row.version]).await?;
        self.rows.delete(subject, &[row.version], permanent).await?;
        Ok(row.version)
    }

    async fn not_used(&self, subject: &str, versions: &[u32]) -> Result<(), Refusal> {
        let all = self.rows.all().await?;
        let uses = |user: &&Row| {
            !(user.subject == subject && versions.contains(&user.version))
                && versions.iter().any(|version| user.schema.uses_version(subject, *version))
        };
        match all.iter().find(uses) {
            Some(user) => Err(refuse(
                42_206,
                format!(
                    "One or more references exist to the schema {{subject={}}}: {} version {}",
                    cut(subject),
                    user.subject,
                    user.version
                ),
            )),
            None => Ok(()),
        }
    }
}
