//! What the registry decides, over SQLite.

use super::*;

async fn server(name: &str) -> (Server, std::path::PathBuf) {
    let folder = std::env::temp_dir().join(format!("weir-registry-{name}-{}", std::process::id()));
    std::fs::remove_dir_all(&folder).ok();
    let store = Store::open(&format!("sqlite:{}", folder.join("weir.db").display())).await.unwrap();
    (Server::new(store), folder)
}

fn avro(fields: &str) -> SchemaText {
    let schema = format!(r#"{{"type":"record","name":"Order","fields":[{fields}]}}"#);
    SchemaText { schema, kind: SchemaType::Avro, references: Vec::new(), ..SchemaText::default() }
}

const ID: &str = r#"{"name":"id","type":"string"}"#;
const NOTE: &str = r#"{"name":"note","type":"string","default":"-"}"#;
const STRICT: &str = r#"{"name":"cents","type":"long"}"#;

fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> u32 {
    result.unwrap_err().code
}

#[tokio::test]
async fn one_schema_has_one_id_and_each_subject_its_versions() {
    let (server, folder) = server("ids").await;
    let first = server.register("a", &avro(ID)).await.unwrap();
    let spaced = SchemaText { schema: avro(ID).schema.replace(':', " : "), ..avro(ID) };
    assert_eq!(server.register("a", &spaced).await.unwrap(), first, "white space means nothing");
    assert_eq!(server.register("b", &avro(ID)).await.unwrap(), first);
    let second = server.register("a", &avro(&format!("{ID},{NOTE}"))).await.unwrap();
    assert_eq!((first, second), (1, 2));
    assert_eq!(server.versions("a", Deleted::No).await.unwrap(), [1, 2]);
    assert_eq!(server.subjects(Deleted::No).await.unwrap(), ["a", "b"]);
    let shown = server.version("a", Asked::Latest, Deleted::No).await.unwrap();
    assert_eq!((shown.version, shown.id), (Some(2), Some(2)));
    let by_guid = server.by_guid(&shown.guid).await.unwrap();
    assert_eq!((by_guid.id, by_guid.schema), (Some(2), shown.schema));
    assert_eq!(server.look_up("b", &avro(ID), Deleted::No).await.unwrap().version, Some(1));
    assert_eq!(code(server.look_up("b", &avro(STRICT), Deleted::No).await), 40_403);
    assert_eq!(code(server.look_up("c", &avro(ID), Deleted::No).await), 40_401);
    assert_eq!(server.places(1, Deleted::No).await.unwrap(), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(code(server.by_id(3).await), 40_403);
    assert_eq!(code(server.version("a", Asked::Number(9), Deleted::No).await), 40_402);
    for wrong in ["0", "-5", "x", "99999999999"] {
        assert_eq!(code(Asked::read(wrong)), 42_202, "{wrong}");
    }
    assert_eq!(code(server.register("", &avro(ID)).await), 42_208);
    let wrong = SchemaText { schema: "{".to_owned(), ..avro(ID) };
    assert_eq!(code(server.register("a", &wrong).await), 42_201);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_is_not_compatible_is_refused_by_the_level_of_its_subject() {
    let (server, folder) = server("levels").await;
    server.register("a", &avro(ID)).await.unwrap();
    let stricter = avro(&format!("{ID},{STRICT}"));
    let refusal = server.register("a", &stricter).await.unwrap_err();
    assert_eq!((refusal.code, refusal.status()), (409, 409));
    assert!(
        refusal.message.contains("cannot read what version 1 wrote: /: the field cents"),
        "{}",
        refusal.message
    );
    assert!(refusal.message.contains("compatibility: FULL_TRANSITIVE"), "{}", refusal.message);
    assert!(!server.obstacles("a", None, &stricter).await.unwrap().is_empty());
    assert_eq!(server.obstacles("new", None, &stricter).await.unwrap(), Vec::<String>::new());
    server.set_level("a", Some("forward")).await.unwrap();
    let second = server.register("a", &stricter).await.unwrap();
    server.set_level("a", Some("BACKWARD")).await.unwrap();
    assert_eq!(server.level("b").await.unwrap(), Level::FullTransitive);
    // Backward looks at the last version alone, transitively at each.
    let looser = avro(STRICT);
    assert_eq!(server.obstacles("a", None, &looser).await.unwrap(), Vec::<String>::new());
    server.set_level("a", Some("BACKWARD_TRANSITIVE")).await.unwrap();
    let told = server.obstacles("a", None, &looser).await.unwrap().join(" ");
    assert!(told.contains("version 1") && !told.contains("version 2"), "{told}");
    assert_eq!(code(server.set_level("a", Some("SOMETIMES")).await), 42_203);
    let json = SchemaText {
        schema: "{}".to_owned(),
        kind: SchemaType::Json,
        references: Vec::new(),
        ..SchemaText::default()
    };
    assert!(
        server.register("a", &json).await.unwrap_err().message.contains("one is JSON Schema, the other Avro")
    );
    server.set_level("a", Some("NONE")).await.unwrap();
    assert!(server.register("a", &json).await.unwrap() > second);
    server.set_mode("", Some("READONLY")).await.unwrap();
    assert!(server.register("a", &json).await.is_ok(), "what is there is found");
    assert_eq!(code(server.register("x", &avro(ID)).await), 42_205);
    server.set_mode("x", Some("READWRITE")).await.unwrap();
    server.register("x", &avro(ID)).await.unwrap();
    server.set_mode("", Some("READONLY_OVERRIDE")).await.unwrap();
    assert_eq!(code(server.delete_subject("x", false).await), 42_205);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn deleting_is_soft_first_and_never_of_what_others_use() {
    let (server, folder) = server("deleting").await;
    server.set_level("", Some("NONE")).await.unwrap();
    let money =
        SchemaText { schema: r#"{"type":"record","name":"Money","fields":[]}"#.to_owned(), ..avro(ID) };
    server.register("money", &money).await.unwrap();
    let used = Reference { name: "Money".to_owned(), subject: "money".to_owned(), version: -1 };
    let order = SchemaText { references: vec![used.clone()], ..avro(r#"{"name":"m","type":"Money"}"#) };
    let id = server.register("order", &order).await.unwrap();
    assert_eq!(server.by_id(id).await.unwrap().references, [Reference { version: 1, ..used.clone() }]);
    assert_eq!(server.used_by("money", Asked::Latest).await.unwrap(), [id]);
    assert_eq!(code(server.delete_version("money", Asked::Latest, false).await), 42_206);
    assert_eq!(code(server.delete_subject("order", true).await), 40_405);
    assert_eq!(server.delete_subject("order", false).await.unwrap(), [1]);
    assert_eq!(code(server.delete_subject("order", false).await), 40_404);
    assert_eq!(code(server.versions("order", Deleted::No).await), 40_401);
    assert_eq!(server.versions("order", Deleted::Also).await.unwrap(), [1]);
    assert_eq!(server.subjects(Deleted::No).await.unwrap(), ["money"]);
    server.by_id(id).await.unwrap();
    assert_eq!(server.register("order", &order).await.unwrap(), id, "the id stays");
    assert_eq!(server.versions("order", Deleted::Also).await.unwrap(), [2]);
    assert_eq!(code(server.delete_version("order", Asked::Number(2), true).await), 40_407);
    server.delete_version("order", Asked::Number(2), false).await.unwrap();
    assert_eq!(code(server.delete_version("order", Asked::Number(2), false).await), 40_406);
    server.delete_version("order", Asked::Number(2), true).await.unwrap();
    assert_eq!(code(server.by_id(id).await), 40_403);
    server.delete_subject("money", false).await.unwrap();
    server.delete_subject("money", true).await.unwrap();
    let missing = server.register("order", &order).await.unwrap_err();
    assert!(
        missing.code == 42_201 && missing.message.contains("uses `Money`, which is not there"),
        "{missing:?}"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn files_are_registered_under_their_names_those_first_that_others_use() {
    let (server, folder) = server("seed").await;
    let file = |path: &str, text: &str| SeedFile::new(path, text.to_owned()).unwrap();
    let refused = server
        .seed(vec![
            file(
                "a/order.avsc",
                r#"{"type":"record","name":"Order","fields":[{"name":"m","type":"shop.Money"}]}"#,
            ),
            file("money.avsc", r#"{"type":"record","name":"Money","namespace":"shop","fields":[]}"#),
            file("unused.avsc", r#"{"type":"enum","name":"Level","symbols":["A"]}"#),
            file("line.json", r#"{"$ref":"sku.json"}"#),
            file("sku.json", r#"{"type":"string"}"#),
            file("broken.avsc", "{"),
        ])
        .await;
    assert_eq!(refused.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["broken.avsc"]);
    let subjects = server.subjects(Deleted::No).await.unwrap();
    assert_eq!(subjects, ["a/order", "line", "money", "sku", "unused"]);
    let order = server.version("a/order", Asked::Latest, Deleted::No).await.unwrap();
    assert_eq!(
        order.references,
        [Reference { name: "shop.Money".to_owned(), subject: "money".to_owned(), version: 1 }]
    );
    let line = server.version("line", Asked::Latest, Deleted::No).await.unwrap();
    assert_eq!(line.references.iter().map(|used| used.name.as_str()).collect::<Vec<_>>(), ["sku.json"]);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn many_register_at_once_and_no_id_is_given_twice() {
    let (server, folder) = server("race").await;
    let other =
        Server::new(Store::open(&format!("sqlite:{}", folder.join("weir.db").display())).await.unwrap());
    let schemas: Vec<_> = (0..20).map(|n| avro(&format!(r#"{{"name":"f{n}","type":"long"}}"#))).collect();
    let at = |n: usize| if n.is_multiple_of(2) { &server } else { &other };
    let registered = schemas
        .iter()
        .enumerate()
        .map(async |(n, schema)| at(n).register(&format!("s{n}"), schema).await.unwrap());
    let ids = futures_util::future::join_all(registered).await;
    let different: BTreeSet<u32> = ids.iter().copied().collect();
    assert_eq!(different.len(), 20, "{ids:?}");
    std::fs::remove_dir_all(folder).unwrap();
}
