//! Opening, migrating, and what is said where that does not work.

use std::path::PathBuf;

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("weir-store-{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&folder).ok();
    folder
}

#[tokio::test]
async fn several_open_one_file_at_once_and_find_it_migrated() {
    let folder = folder("open");
    let url = format!("sqlite:{}", folder.join("a/weir.db").display());
    let all = futures_util::future::join_all((0..4).map(|_| Store::open(&url))).await;
    for store in all {
        let store = store.unwrap();
        let count: (i64,) =
            on!(store, pool => sqlx::query_as("SELECT COUNT(*) FROM registry_schemas").fetch_one(pool).await)
                .unwrap();
        assert_eq!(count.0, 0);
        store.close().await;
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_cannot_be_opened_says_what_to_do() {
    let folder = folder("broken");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("weir.db");
    let url = format!("sqlite:{}", path.display());
    let said = async |url: &str| Store::open(url).await.unwrap_err().to_string();
    std::fs::write(&path, "this is no database, and long enough to be taken for one by its size".repeat(100))
        .unwrap();
    assert!(said(&url).await.contains("is damaged: move it away"), "{}", said(&url).await);
    std::fs::remove_file(&path).unwrap();

    let store = Store::open(&url).await.unwrap();
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (999, 'x', TRUE, x'00', 0)";
    on!(store, pool => sqlx::query(newer).execute(pool).await.map(drop)).unwrap();
    store.close().await;
    assert!(said(&url).await.contains("changes of a newer Weir (migration 999)"), "{}", said(&url).await);

    assert!(said("mysql://u:c4nary@h/d").await.contains("neither sqlite:PATH nor postgres://"));
    assert!(said("sqlite:").await.contains("sqlite:.weir/weir.db"));
    let closed = said("postgres://u:c4nary@127.0.0.1:1/d").await;
    assert!(closed.contains("Postgres at 127.0.0.1:1") && !closed.contains("c4nary"), "{closed}");
    std::fs::remove_dir_all(folder).unwrap();
}
