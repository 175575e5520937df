//! A database of a test's own on the shared PostgreSQL (named in `POSTGRES_URL`, else started once for this process).

use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sqlx::{Connection, PgConnection};

use crate::support::run::{env, root, say};

/// The server that the tests share: a URL of its database `postgres`.
fn server() -> &'static str {
    static SERVER: OnceLock<String> = OnceLock::new();
    SERVER.get_or_init(|| {
        if let Some(url) = env("POSTGRES_URL") {
            return url;
        }
        say("POSTGRES_URL is not set: starting a PostgreSQL, which stays in a folder of the system's temporary ones");
        let folder = std::env::temp_dir().join("weir-test-postgres");
        let started = Command::new(root().join("scripts/postgres"))
            .arg("start")
            .env("POSTGRES_DIR", folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let lines = String::from_utf8_lossy(&started.stdout).into_owned();
        let url = lines.trim().strip_prefix("export POSTGRES_URL=");
        url.expect("scripts/postgres says where it is").to_owned()
    })
}

/// The URL of a new, empty database.
pub(crate) async fn database(name: &str) -> String {
    let name = name.replace('-', "_");
    let mut connection = PgConnection::connect(server()).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE \"{name}\""));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let (server, _) = server().rsplit_once('/').unwrap();
    format!("{server}/{name}")
}
